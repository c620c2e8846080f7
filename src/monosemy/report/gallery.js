"use strict";
(() => {
  const CARDS = 24; // that are made at a time
  const TEXTS = 4; // that a card shows unopened
  const { byId, page, opened, element, thumbnail } = packed;
  const texts = JSON.parse(byId("texts").textContent);
  const samples = opened(page.samples);
  const sets = page.sets.map(opened);
  const labelled = page.classes.length > 0;
  const plural = (n, word) => `${n.toLocaleString("en")} ${word}${n === 1 ? "" : "s"}`;
  const percent = (share) => `${(100 * share).toFixed(share > 0 && share < 0.1 ? 1 : 0)} %`;
  const number = (value, digits = 2) => (Number.isFinite(value) ? value.toFixed(digits) : "–");
  let set = sets[0];
  let order = []; // of the dimensions that are asked for
  let made = 0; // cards of them

  function drawn(tag, attributes, ...children) {
    const made = document.createElementNS("http://www.w3.org/2000/svg", tag);
    for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
    made.append(...children);
    return made;
  }

  // --- one dimension ----------------------------------------------------------------------------------------------

  const className = (label) => (label >= 0 ? page.classes[label] : "");

  // Its commonest classes have colours of their own: one colour in a card means one meaning.
  function tone(dimension, label) {
    if (!labelled) return "plain";
    for (let i = 0; i < 3 && i < set.shownClasses; i++) {
      if (set.classes[dimension * set.shownClasses + i] === label) return `class-${i + 1}`;
    }
    return "other";
  }

  function topSamples(dimension) {
    const found = [];
    for (let i = 0; i < set.top; i++) {
      const sample = set.rows[dimension * set.top + i];
      if (sample >= 0) {
        found.push({ sample, activation: (set.values[dimension * set.top + i] / 65535) * set.high[dimension] });
      }
    }
    return found;
  }

  function sampleItem(sample, score, tint, guess) {
    const label = className(samples.label[sample]);
    const verdict = guess === undefined ? "" : `predicted ${guess}`;
    const name = (hidden) => element("span", { class: "label", ...hidden }, element("bdi", { text: label }),
      ...(verdict ? [" → ", element("bdi", { text: guess })] : []));
    const said = [label && `class ${label}`, `${page.rowName} ${samples.row[sample]}`, score, verdict].filter(Boolean).join(", ");
    const item = element("li", { class: `sample ${tint}`, title: said });
    if (page.kind === "images") {
      item.append(thumbnail(samples.place[sample], said), element("span", { class: "score", text: score, "aria-hidden": "true" }));
      if (label) item.append(name({ "aria-hidden": "true" }));
      return item;
    }
    const head = element("span", { class: "head" }, element("span", { class: "score", text: score }));
    if (label) head.append(name());
    const words = page.kind === "texts" ? texts[sample] : `${page.rowName} ${samples.row[sample]}`;
    item.append(element("span", { class: "words", dir: "auto", text: words }), head);
    return item;
  }

  function sampleList(items, name) {
    const list = () => element("ul", { class: `samples ${page.kind}`, "aria-label": name });
    if (page.kind === "images" || items.length <= TEXTS) {
      const all = list();
      all.append(...items);
      return [all];
    }
    const first = list();
    first.append(...items.slice(0, TEXTS));
    const rest = list();
    rest.append(...items.slice(TEXTS));
    return [first, element("details", {}, element("summary", { text: `${items.length - TEXTS} more` }), rest)];
  }

  function classBar(dimension) {
    const at = dimension * set.shownClasses;
    const support = set.support[dimension];
    const bar = element("div", { class: "bar", "aria-hidden": "true" });
    const legend = element("ul", { class: "classes", "aria-label": "Commonest classes" });
    let told = 0;
    for (let i = 0; i < 3 && i < set.shownClasses && set.classes[at + i] >= 0; i++) {
      const share = set.classCounts[at + i] / support;
      told += share;
      const part = element("span", { class: `class-${i + 1}` });
      part.style.width = `${100 * share}%`;
      bar.append(part);
      legend.append(
        element("li", { class: `class-${i + 1}` },
          element("bdi", { text: className(set.classes[at + i]) }), ` ${percent(share)}`),
      );
    }
    if (1 - told > 0.005) legend.append(element("li", { class: "other", text: `others ${percent(1 - told)}` }));
    return [bar, legend];
  }

  function histogram(dimension) {
    const bars = [];
    for (let i = 0; i < set.bins; i++) {
      const height = set.histogram[dimension * set.bins + i] / 255;
      if (height > 0) {
        bars.push(drawn("rect", { x: i * 6, y: 24 * (1 - height), width: 5, height: Math.max(24 * height, 0.8) }));
      }
    }
    const low = number(set.low[dimension]);
    const high = number(set.high[dimension]);
    const picture = drawn("svg", { viewBox: `0 0 ${set.bins * 6} 24`, preserveAspectRatio: "none", role: "img",
      "aria-label": `Histogram of the activations from ${low} to ${high}` }, ...bars);
    return element("div", { class: "histogram" }, picture,
      element("span", { class: "ends", "aria-hidden": "true" },
        element("span", { text: low }), element("span", { text: "activation" }), element("span", { text: high })));
  }

  function facts(dimension, note) {
    const parts = [];
    if (labelled) {
      parts.push(["consistency", number(set.consistency[dimension]), `chance ${number(set.chance[dimension])}`]);
    }
    parts.push(["MonoScore", number(set.monoScore[dimension])]);
    parts.push(["fires for", `${percent(set.support[dimension] / page.n)}`, plural(set.support[dimension], "sample")]);
    if (note) parts.unshift(note);
    return element("dl", { class: "facts" }, ...parts.map(([name, value, under]) =>
      element("div", {}, element("dt", { text: name }), element("dd", { text: value }),
        ...(under ? [element("dd", { class: "under", text: under })] : []))));
  }

  function meaning(dimension) {
    const support = set.support[dimension];
    if (support === 0) return element("p", { class: "meaning", text: "never fires for these samples" });
    const name = set.names?.[dimension];
    if (name) return element("p", { class: "meaning" }, element("bdi", { text: name.text }));
    if (!labelled) return element("p", { class: "meaning", text: `fires for ${plural(support, "sample")}` });
    const at = dimension * set.shownClasses;
    const names = Array.from(set.classes.subarray(at, at + 2)).filter((label) => label >= 0);
    if (set.consistency[dimension] >= 0.5) {
      return element("p", { class: "meaning" }, "mostly ", element("bdi", { text: className(names[0]) }));
    }
    const parts = names.flatMap((label) => [element("bdi", { text: className(label) }), ", "]);
    return element("p", { class: "meaning" }, "mixed: ", ...parts, "…");
  }

  // How far the name holds on samples that did not suggest it, and one for which it does not.
  function evidence(dimension) {
    const name = set.names?.[dimension];
    if (!name) return [];
    const scores = element("p", { class: "named", text:
      `The name fits ${percent(name.confidence)} of the samples that activate it and ${percent(name.chance)} of all; ` +
      `AUC ${number(name.auc)} (${number(name.low)} to ${number(name.high)}).` });
    if (name.counter < 0) return [scores];
    const kind = name.active ? "fires, the name does not fit" : "the name fits, it is silent";
    const item = sampleItem(name.counter, "", tone(dimension, samples.label[name.counter]));
    return [scores, element("div", { class: "counter" }, element("p", { class: "named", text: `Counter-example: ${kind}` }),
      ...sampleList([item], "Counter-example"))];
  }

  function card(dimension, note) {
    const head = element("header", {}, element("h4", { text: `#${dimension}` }), meaning(dimension));
    const made = element("article", { class: "card", "aria-label": `Dimension ${dimension}` }, head);
    if (set.support[dimension] === 0) return made;
    if (labelled) made.append(...classBar(dimension));
    const items = topSamples(dimension).map(({ sample, activation }) => {
      const label = samples.label[sample];
      const guess = set.predictions?.predicted[sample];
      const wrong = guess !== undefined && guess !== label;
      return sampleItem(sample, number(activation), tone(dimension, label), wrong ? className(guess) : undefined);
    });
    if (items.length) made.append(...sampleList(items, "Samples that activate it most, with the activation"));
    made.append(...evidence(dimension), histogram(dimension), facts(dimension, note));
    return made;
  }

  function cards(target, dimensions, note = () => null) {
    target.replaceChildren(...dimensions.map((dimension, i) => card(dimension, note(i))));
  }

  // --- what is shown first ----------------------------------------------------------------------------------------

  function mean(values, kept) {
    let sum = 0;
    let n = 0;
    for (let i = 0; i < values.length; i++) {
      if (kept(i) && Number.isFinite(values[i])) {
        sum += values[i];
        n++;
      }
    }
    return n ? sum / n : NaN;
  }

  function overview() {
    const enough = (i) => set.support[i] >= page.minSupport;
    let alive = 0;
    for (const n of set.support) if (n > 0) alive++;
    const tiles = [["dimensions that fire", alive.toLocaleString("en"), `of ${set.dimensions.toLocaleString("en")}`]];
    if (labelled) {
      const chance = number(mean(set.chance, enough));
      tiles.push(["mean consistency", number(mean(set.consistency, enough)), `chance ${chance}`]);
    }
    tiles.push(["mean MonoScore", number(mean(set.monoScore, () => true)), "over dimensions"]);
    if (set.predictions) tiles.push(["accuracy", percent(set.predictions.accuracy), set.predictions.condition]);
    byId("tiles").replaceChildren(...tiles.map(([name, value, under]) =>
      element("div", {}, element("dt", { text: name }), element("dd", { text: value }),
        element("dd", { class: "under", text: under }))));
    byId("chosen").hidden = set.chosen.most.length === 0;
    cards(byId("most"), set.chosen.most);
    cards(byId("least"), set.chosen.least);
    predictions();
  }

  function predictions() {
    const found = set.predictions;
    byId("predictions").hidden = byId("arrow").hidden = !found;
    if (!found) return;
    byId("condition").textContent = `Predictions ${found.condition} of a linear classifier on these features`;
    for (const end of ["worst", "best"]) {
      const { label, accuracy, dimensions, weights } = found[end];
      byId(`${end}-title`).replaceChildren(end === "worst" ? "Least accurate class: " : "Most accurate class: ",
        element("bdi", { text: className(label) }), `, ${percent(accuracy)} right`);
      cards(byId(end), dimensions.slice(0, 4), (i) => ["weight", `+${number(weights[i])}`, "for this class"]);
    }
    byId("scores").replaceChildren(scoreChart(found));
    const { right, wrong, higher } = found;
    byId("compared").textContent =
      `Mean score of ${plural(right.count, "right prediction")} ${number(right.mean ?? NaN, 3)}, of ` +
      `${plural(wrong.count, "wrong one")} ${number(wrong.mean ?? NaN, 3)}.` +
      (higher === null ? "" : ` A right one scores above a wrong one with probability ${number(higher)} (0.50: no difference).`);
    for (const part of ["right", "wrong"]) {
      byId(`${part}-examples`).replaceChildren(...sampleList(found[part].examples.map((sample) => {
        const guess = part === "wrong" ? className(found.predicted[sample]) : undefined;
        return sampleItem(sample, number(found.monosemanticity[sample]), part, guess);
      }), `Examples of ${part} predictions, with their monosemanticity`));
    }
  }

  function scoreChart({ right, wrong, low, high }) {
    const width = 400;
    const height = 90;
    const share = ({ histogram, count }) => histogram.map((n) => n / Math.max(count, 1));
    const parts = [["right", share(right)], ["wrong", share(wrong)]];
    const top = Math.max(...parts.flatMap(([, shares]) => shares), 1e-9);
    const steps = (shares) => shares.map((s, i) => {
      const y = height * (1 - s / top);
      return `${(i * width) / shares.length},${y} ${((i + 1) * width) / shares.length},${y}`;
    }).join(" ");
    const picture = drawn("svg", { viewBox: `0 -3 ${width} ${height + 4}`, role: "img", preserveAspectRatio: "none",
      "aria-label": `Distribution of the monosemanticity of right and wrong predictions from ${number(low)} to ${number(high)}` },
    ...parts.map(([name, shares]) => drawn("polyline", { class: name, points: `0,${height} ${steps(shares)} ${width},${height}` })));
    return element("figure", { class: "scores" }, picture,
      element("span", { class: "ends", "aria-hidden": "true" },
        element("span", { text: number(low) }), element("span", { text: "monosemanticity of a sample" }),
        element("span", { text: number(high) })),
      element("p", { class: "key" }, element("span", { class: "right", text: "right" }), " ",
        element("span", { class: "wrong", text: "wrong" }), " (shares of each)"));
  }

  // --- all dimensions ---------------------------------------------------------------------------------------------

  const surplus = (i) => (set.support[i] >= page.minSupport ? set.consistency[i] - set.chance[i] : NaN);
  const byScore = (score, falling) => {
    const scores = Float64Array.from({ length: set.dimensions }, (_, i) => score(i));
    const sign = falling ? -1 : 1;
    // Where nothing is known comes last, either way.
    return (a, b) => (Number.isNaN(scores[a]) - Number.isNaN(scores[b])) || sign * (scores[a] - scores[b]) || a - b;
  };
  const sortings = {
    ...(labelled && {
      "consistency, highest first": () => byScore(surplus, true),
      "consistency, lowest first": () => byScore(surplus, false),
    }),
    "MonoScore, highest first": () => byScore((i) => set.monoScore[i], true),
    "MonoScore, lowest first": () => byScore((i) => set.monoScore[i], false),
    ...(sets.some(({ names }) => names) && {
      "AUC of the name, highest first": () => byScore((i) => set.names?.[i]?.auc ?? NaN, true),
    }),
    "support, highest first": () => byScore((i) => set.support[i], true),
    "support, lowest first": () => byScore((i) => set.support[i] || NaN, false),
    "number": () => (a, b) => a - b,
  };

  // A number finds that dimension; anything finds the names and the classes that hold it, these of at least a fifth.
  function matching(wanted) {
    const all = Array.from({ length: set.dimensions }, (_, i) => i);
    if (!wanted) return all;
    const exact = /^#?\d+$/.test(wanted) ? Number(wanted.replace("#", "")) : -1;
    const named = new Set();
    if (!wanted.startsWith("#")) {
      page.classes.forEach((name, i) => name.toLowerCase().includes(wanted) && named.add(i));
    }
    const n = set.shownClasses;
    return all.filter((dimension) => {
      if (dimension === exact) return true;
      if (!wanted.startsWith("#") && set.names?.[dimension]?.text.toLowerCase().includes(wanted)) return true;
      if (!named.size) return false;
      for (let i = 0; i < n; i++) {
        const common = i === 0 || set.classCounts[dimension * n + i] >= 0.2 * set.support[dimension];
        if (common && named.has(set.classes[dimension * n + i])) return true;
      }
      return false;
    });
  }

  function search() {
    const wanted = byId("search").value.trim().toLowerCase();
    order = matching(wanted).sort(sortings[byId("sort").value]());
    const exact = /^#?\d+$/.test(wanted) ? order.indexOf(Number(wanted.replace("#", ""))) : -1;
    if (exact > 0) order.unshift(...order.splice(exact, 1)); // whom the number names comes first
    made = 0;
    byId("all").replaceChildren();
    byId("found").textContent = order.length
      ? `${plural(order.length, "dimension")}${wanted ? " found" : ""}`
      : "No dimension of that number, name or class.";
    more();
  }

  function more() {
    const next = order.slice(made, made + CARDS);
    byId("all").append(...next.map((dimension) => card(dimension)));
    made += next.length;
    byId("more").hidden = made >= order.length;
  }

  function start() {
    const select = byId("set");
    // Wide thumbnails need wider columns.
    const { width, height } = page.sheets ?? { width: 1, height: 1 };
    document.body.style.setProperty("--cell", `${2.2 * Math.sqrt(Math.min(Math.max(width / height, 1), 6))}rem`);
    select.append(...sets.map(({ name, title }, i) =>
      element("option", { value: i, text: title && title !== name ? `${name}: ${title}` : name })));
    byId("choice").hidden = sets.length < 2;
    byId("sort").append(...Object.keys(sortings).map((name) => element("option", { value: name, text: name })));
    byId("names").append(...page.classes.map((name) => element("option", { value: name })));
    const show = () => {
      set = sets[Number(select.value)];
      overview();
      search();
    };
    select.addEventListener("change", show);
    byId("sort").addEventListener("change", search);
    byId("search").addEventListener("input", search);
    byId("more").addEventListener("click", more);
    new IntersectionObserver((seen) => seen.some((entry) => entry.isIntersecting) && more(), { rootMargin: "600px" })
      .observe(byId("more"));
    document.addEventListener("keydown", (event) => {
      const typing = /^(INPUT|SELECT|TEXTAREA)$/.test(document.activeElement?.tagName ?? "");
      if (event.key === "/" && !typing && !event.ctrlKey && !event.metaKey) {
        event.preventDefault();
        byId("search").focus();
      }
    });
    show();
  }

  start();
})();
