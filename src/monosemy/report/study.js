"use strict";
// The live part of a study's page. Without it the page shows the same numbers as pictures and tables.
(() => {
  const holder = document.getElementById("chart-data");  // missing where a kind of study has no accuracies
  const data = holder ? JSON.parse(holder.textContent) : { features: [], scenarios: [] };
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const shown = new Set([...data.features.keys()].filter((number) => data.features[number].focus));
  let bands = true;

  const all = (selector) => [...document.querySelectorAll(selector)];
  // Plotly reads a little markup in texts; names of data are no markup.
  const plain = (text) => text.replace(/&/g, "&amp;").replace(/</g, "&lt;").replace(/>/g, "&gt;");
  const colour = (feature) => (dark.matches ? feature.dark : feature.light);
  const faded = (hex, alpha) => hex + Math.round(alpha * 255).toString(16).padStart(2, "0");

  function theme() {
    const style = getComputedStyle(document.documentElement);
    const named = (name) => style.getPropertyValue(name).trim();
    return { ink: named("--ink"), soft: named("--soft"), line: named("--line"), card: named("--card"), body: getComputedStyle(document.body).fontFamily };
  }

  function layout(chart, tones) {
    const axis = { gridcolor: tones.line, linecolor: tones.soft, tickcolor: tones.soft, zeroline: false, fixedrange: true, automargin: true, tickfont: { color: tones.soft } };
    return {
      height: chart.clientWidth < 480 ? 320 : 380,
      margin: { l: 40, r: 14, t: 10, b: 44 },
      paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)",
      font: { family: tones.body, size: 13, color: tones.ink },
      showlegend: false, dragmode: false, hovermode: "closest",
      hoverlabel: { bgcolor: tones.card, bordercolor: tones.line, font: { color: tones.ink, size: 13 } },
      xaxis: { ...axis }, yaxis: { ...axis },
    };
  }

  const titled = (axis, text) => { axis.title = { text: plain(text), standoff: 10, font: { size: 13 } }; };
  const marker = (feature, tones, size) => ({ symbol: feature.symbol, size, color: colour(feature), line: { color: tones.card, width: 1 } });

  // Where an interval is not known there is no band: it falls into pieces there.
  function band(x, values) {
    const outline = { x: [], y: [] };
    let piece = [];
    const close = () => {
      if (piece.length > 1) {
        const back = [...piece].reverse();
        outline.x.push(...piece.map((i) => x[i]), ...back.map((i) => x[i]), null);
        outline.y.push(...piece.map((i) => values[i][2]), ...back.map((i) => values[i][1]), null);
      }
      piece = [];
    };
    values.forEach((value, i) => { if (value[1] === null) close(); else piece.push(i); });
    close();
    return outline;
  }

  function extent(values, pad) {
    const known = values.filter((value) => value !== null);
    if (!known.length) return undefined;
    const low = Math.min(...known), high = Math.max(...known), room = (high - low || 1) * pad;
    return [low - room, high + room];
  }

  // Places at least a gap apart and as near to the wanted ones, in rising order, as can be: groups that would lie on each
  // other are put around their common middle.
  function spread(wanted, gap) {
    const groups = [];
    for (const place of wanted) {
      groups.push({ sum: place, n: 1 });
      const last = () => groups[groups.length - 1], before = () => groups[groups.length - 2];
      const middle = (group) => group.sum / group.n;
      while (before() && middle(last()) - middle(before()) < (gap * (last().n + before().n)) / 2) {
        const joined = groups.pop();
        last().sum += joined.sum;
        last().n += joined.n;
      }
    }
    return groups.flatMap((group) => Array.from({ length: group.n }, (_, i) => group.sum / group.n + gap * (i - (group.n - 1) / 2)));
  }

  function endLabels(ends, range, height) {
    ends.sort((a, b) => a.y - b.y);
    const places = spread(ends.map((end) => end.y), ((range[1] - range[0]) * 17) / height);
    return ends.map((end, i) => ({
      xref: "paper", x: 1.015, xanchor: "left", y: places[i], yanchor: "middle", showarrow: false,
      text: plain(end.feature.name), font: { color: colour(end.feature), size: 12, weight: end.feature.strong ? 700 : 400 },
    }));
  }

  function drawLevels(chart, scenario, measure, tones) {
    const figure = { data: [], layout: layout(chart, tones) };
    const ends = [], reached = [];
    const order = scenario.series.filter((line) => shown.has(line.feature)).sort((a, b) => data.features[a.feature].width - data.features[b.feature].width);
    for (const line of order) {
      const feature = data.features[line.feature], values = line[measure];
      if (bands) {
        figure.data.push({ ...band(line.x, values), type: "scatter", mode: "lines", fill: "toself", fillcolor: faded(colour(feature), feature.strong ? 0.2 : 0.1), line: { width: 0 }, hoverinfo: "skip" });
        reached.push(...values.flat());
      }
      reached.push(...values.map((value) => value[0]));
      figure.data.push({
        type: "scatter", mode: "lines+markers", x: line.x, y: values.map((value) => value[0]),
        line: { color: colour(feature), width: feature.width, dash: feature.dash }, marker: marker(feature, tones, 8),
        hovertemplate: line[`${measure}_said`].map((said) => `${plain(feature.name)}: ${plain(said)}<extra></extra>`),
      });
      const y = values[values.length - 1][0];
      if (y !== null) ends.push({ feature, y });
    }
    const { xaxis, yaxis } = figure.layout;
    figure.layout.hovermode = "x unified";
    Object.assign(xaxis, { tickmode: "array", tickvals: scenario.ticks.map((tick) => tick[0]), ticktext: scenario.ticks.map((tick) => tick[1]), showgrid: false, ticks: "outside", tickangle: 0 });
    if (scenario.log) xaxis.type = "log";
    if (scenario.falling) xaxis.autorange = "reversed";
    titled(xaxis, scenario.axis);
    yaxis.range = extent(reached, 0.05);
    if (yaxis.range && measure === "accuracy") yaxis.range = [Math.max(yaxis.range[0], -2), Math.min(yaxis.range[1], 102)];
    if (yaxis.range && chart.clientWidth >= 480) {
      figure.layout.margin.r = 26 + 7 * Math.max(0, ...ends.map((end) => end.feature.name.length));
      figure.layout.annotations = endLabels(ends, yaxis.range, figure.layout.height - 62);
    }
    return figure;
  }

  function errors(value, tone, on) {
    if (!on || value[1] === null) return { visible: false };
    return { type: "data", symmetric: false, array: [value[2] - value[0]], arrayminus: [value[0] - value[1]], color: tone, thickness: 2, width: 0 };
  }

  function drawRows(chart, scenario, measure, tones) {
    const figure = { data: [], layout: layout(chart, tones) };
    const lines = scenario.series.filter((line) => shown.has(line.feature));
    lines.forEach((line, row) => {
      const feature = data.features[line.feature], value = line[measure][0];
      figure.data.push({
        type: "scatter", mode: "markers", x: [value[0]], y: [row], marker: marker(feature, tones, 11),
        error_x: errors(value, colour(feature), bands),
        hovertemplate: `${plain(feature.name)}: ${plain(line[`${measure}_said`][0])}<extra></extra>`,
      });
    });
    figure.layout.height = 90 + 34 * Math.max(1, lines.length);
    Object.assign(figure.layout.yaxis, {
      tickmode: "array", tickvals: [...lines.keys()], ticktext: lines.map((line) => plain(data.features[line.feature].name)),
      range: [lines.length - 0.4, -0.6], showgrid: false,
    });
    return figure;
  }

  // Beside its point, at the side where a name lies on fewest points and names.
  function sides(chart, points, ranges, height) {
    const scale = [chart.clientWidth / (ranges[0][1] - ranges[0][0]), height / (ranges[1][1] - ranges[1][0])];
    const taken = points.map((point) => [point.x * scale[0] - 7, -point.y * scale[1] - 7, 14, 14]);
    const hits = (a) => taken.filter((b) => a[0] < b[0] + b[2] && b[0] < a[0] + a[2] && a[1] < b[1] + b[3] && b[1] < a[1] + a[3]).length;
    return points.map((point) => {
      const width = 7 * point.feature.name.length, x = point.x * scale[0], y = -point.y * scale[1];
      const boxes = {
        "top right": [x + 4, y - 20, width, 16], "top left": [x - 4 - width, y - 20, width, 16],
        "bottom right": [x + 4, y + 4, width, 16], "bottom left": [x - 4 - width, y + 4, width, 16],
      };
      const best = Object.keys(boxes).reduce((a, b) => (hits(boxes[b]) < hits(boxes[a]) ? b : a));
      taken.push(boxes[best]);
      return best;
    });
  }

  function drawScatter(chart, tones) {
    const chosen = (name) => document.getElementById(name).value;
    const cell = data.cells[Number(chosen("scatter-where"))], across = chosen("scatter-across"), up = chosen("scatter-up");
    const figure = { data: [], layout: layout(chart, tones) };
    const points = cell.features
      .map((number, i) => ({ number, feature: data.features[number], across: data.across[across][number], up: cell[up][i], said: cell[`${up}_said`][i] }))
      .filter((point) => shown.has(point.number) && point.across[0] !== null && point.up[0] !== null)
      .map((point) => ({ ...point, x: point.across[0], y: point.up[0] }));
    const { xaxis, yaxis } = figure.layout;
    xaxis.range = extent(points.flatMap((point) => point.across), 0.16);
    yaxis.range = extent(points.flatMap((point) => (bands ? point.up : [point.y])), 0.12);
    titled(xaxis, data.axes[across]);
    titled(yaxis, data.axes[up]);
    const places = points.length ? sides(chart, points, [xaxis.range, yaxis.range], 320) : [];
    points.forEach((point, i) => figure.data.push({
      type: "scatter", mode: "markers+text", x: [point.x], y: [point.y], marker: marker(point.feature, tones, 11),
      text: [plain(point.feature.name)], textposition: places[i], textfont: { color: colour(point.feature), size: 12 }, cliponaxis: false,
      error_x: errors(point.across, colour(point.feature), bands), error_y: errors(point.up, colour(point.feature), bands),
      hovertemplate: `${plain(point.feature.name)}: ${plain(point.said)}<extra></extra>`,
    }));
    return figure;
  }

  function draw(chart) {
    const tones = theme(), scenario = data.scenarios[chart.dataset.scenario], measure = chart.dataset.measure;
    const figure = !scenario ? drawScatter(chart, tones) : (scenario.levelled ? drawLevels : drawRows)(chart, scenario, measure, tones);
    if (measure === "gain") {
      const along = scenario.levelled ? { x0: 0, x1: 1, y0: 0, y1: 0, xref: "paper" } : { x0: 0, x1: 0, y0: 0, y1: 1, yref: "paper" };
      figure.layout.shapes = [{ type: "line", layer: "below", line: { color: tones.soft, width: 1 }, ...along }];
    }
    Plotly.react(chart, figure.data, figure.layout, { displayModeBar: false, responsive: true });
  }

  const drawAll = () => all(".chart").forEach(draw);

  function listen() {
    document.addEventListener("change", ({ target }) => {
      if (target.dataset.feature !== undefined) {
        const number = Number(target.dataset.feature);
        if (target.checked) shown.add(number); else shown.delete(number);
      } else if (target.dataset.bands !== undefined) bands = target.checked;
      else if (target.tagName !== "SELECT") return;
      keepInStep();
      drawAll();
    });
    document.addEventListener("click", ({ target }) => {
      if (target.dataset.show !== undefined) {
        data.features.forEach((feature, number) => { if (target.dataset.show === "all" || feature.strong || feature.baseline) shown.add(number); else shown.delete(number); });
        keepInStep();
        drawAll();
      } else if (target.dataset.copy !== undefined) copy(target);
    });
    dark.addEventListener("change", drawAll);
    let width = innerWidth;
    addEventListener("resize", () => { if (innerWidth !== width) { width = innerWidth; drawAll(); } });
  }

  // The same switches stand above every chart.
  function keepInStep() {
    all("[data-feature]").forEach((box) => { box.checked = shown.has(Number(box.dataset.feature)); });
    all("[data-bands]").forEach((box) => { box.checked = bands; });
  }

  async function copy(button) {
    const source = document.getElementById(button.dataset.copy);
    try {
      await navigator.clipboard.writeText(source.textContent);
      button.textContent = "Copied";
    } catch {
      getSelection().selectAllChildren(source);
      button.textContent = "Selected: copy it now";
    }
  }

  document.documentElement.classList.add("live");
  keepInStep();
  listen();
  drawAll();
})();
