"use strict";
(() => {
  const { byId, page, inflated, opened, element, whenRead, thumbnail } = packed;
  const ROW_REM = 3.6; // height of a row of the list
  const SPARE = 6; // rows that are drawn above and below the visible ones
  const SHORT = 600; // characters of a text that are shown unopened
  const MATCHES = 50; // classes that a search lists
  const PRINTED = 100; // rows on paper
  const ACCEPT = -1, KEEP = -2, SKIP = -3; // decisions; any other is the class that a row got
  const rows = opened(page.rows);
  const hidden = new RegExp(page.hidden, "g");
  const escaped = (mark) => `\\u${mark.charCodeAt(0).toString(16).padStart(4, "0")}`;
  // Marks that nobody sees, and that could turn the text around them, as escapes.
  const visible = (text) => text.replace(hidden, escaped);
  const classes = page.classes.map(visible);
  const percent = (share) => `${(100 * share).toFixed(1)}\u00a0%`;
  const count = (n, word) => `${n.toLocaleString("en")} ${word}${n === 1 ? "" : "s"}`;
  const bdi = (text) => element("bdi", { text });
  const decisions = new Map(); // of rows
  const done = []; // what undo takes back: the row that was in focus, and what rows were before
  let shown = []; // rows that the filters let through, in order
  let focus = -1; // the row in focus
  let rowHeight = 0;

  // --- names, reasons and texts, in blocks that are read when a row of theirs is needed ---------------------------

  const blocks = []; // that are read
  const reading = []; // promises of them

  function blockOf(row) {
    let low = 0;
    let high = page.blocks.length - 1;
    while (low < high) {
      const middle = (low + high + 1) >> 1;
      if (page.blocks[middle] <= row) low = middle;
      else high = middle - 1;
    }
    return low;
  }

  function readBlock(number) {
    reading[number] ??= new Promise((resolve, reject) => {
      whenRead(`block-${number}`, (text) => inflated(text).then((block) => resolve((blocks[number] = block)), reject));
    });
    return reading[number];
  }

  const readRows = (wanted) => Promise.all([...new Set(wanted.map(blockOf))].map(readBlock));

  // What is to be read of a row; null until its block is.
  function content(row) {
    const number = blockOf(row);
    const block = blocks[number];
    if (!block) return null;
    const at = row - page.blocks[number];
    return { name: block.names[at], reason: block.reasons[at], text: block.texts[at] };
  }

  // --- decisions --------------------------------------------------------------------------------------------------

  const word = (code) => ({ [ACCEPT]: "accept", [KEEP]: "keep", [SKIP]: "skip" })[code] ?? "relabel";
  const labelOf = (row, code) =>
    code === SKIP ? -1 : code === ACCEPT ? rows.suggested[row] : code === KEEP ? rows.given[row] : code;
  const codeOf = (row, label) =>
    label === rows.given[row] ? KEEP : label === rows.suggested[row] ? ACCEPT : label;

  function put(row, code) {
    if (code === undefined) decisions.delete(row);
    else decisions.set(row, code);
  }

  const key = `monosemy-audit-${page.digest}`;

  function store() {
    try {
      localStorage.setItem(key, JSON.stringify([...decisions]));
    } catch {
      byId("unkept").hidden = false; // storage is full or forbidden
    }
  }

  function restore() {
    decisions.clear();
    try {
      const valid = ([row, code]) => Number.isInteger(row) && row >= 0 && row < page.n
        && Number.isInteger(code) && code >= SKIP && code < classes.length;
      for (const [row, code] of JSON.parse(localStorage.getItem(key) ?? "[]").filter(valid)) decisions.set(row, code);
    } catch {
      byId("unkept").hidden = false;
    }
  }

  // Changes [[row, code], ...] are one step of undo.
  function change(changes) {
    done.push({ focus, before: changes.map(([row]) => [row, decisions.get(row)]) });
    for (const [row, code] of changes) put(row, code);
    store();
  }

  function decide(code) {
    if (focus < 0) return;
    const row = focus;
    closePicker();
    change([[row, code]]);
    const next = nextLeft(row);
    refresh(next < 0 ? row : next);
    const name = content(row)?.name;
    const label = labelOf(row, code);
    say(...(name === undefined ? ["The row"] : [bdi(visible(name))]), `: ${word(code)}`,
      ...(label < 0 ? [] : [", label ", bdi(classes[label])]), next < 0 ? ". All rows that are shown are decided." : ".");
  }

  // The next row without a decision among those shown, or from their beginning; -1 where there is none.
  function nextLeft(row) {
    const after = place(row) + 1;
    for (let i = 0; i < shown.length; i++) {
      const candidate = shown[(after + i) % shown.length];
      if (!decisions.has(candidate)) return candidate;
    }
    return -1;
  }

  function undo() {
    const last = done.pop();
    if (!last) {
      say("There is nothing to undo.");
      return;
    }
    for (const [row, code] of last.before) put(row, code);
    store();
    refresh(last.focus);
    say(`${count(last.before.length, "decision")} taken back.`);
  }

  function say(...parts) {
    byId("said").replaceChildren(...parts);
  }

  // --- the rows that are shown ------------------------------------------------------------------------------------

  const states = {
    "all": () => true,
    "none yet": (row) => !decisions.has(row),
    "accept": (row) => decisions.get(row) === ACCEPT,
    "keep": (row) => decisions.get(row) === KEEP,
    "relabel": (row) => decisions.get(row) >= 0,
    "skip": (row) => decisions.get(row) === SKIP,
  };

  // The position among the shown rows, or that of the next one after it.
  function place(row) {
    let low = 0;
    let high = shown.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (shown[middle] < row) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  function filtered() {
    const given = Number(byId("given").value);
    const suggested = Number(byId("suggested").value);
    const least = Math.fround(Number(byId("least").value) / 100);
    const fits = states[byId("state").value];
    const found = [];
    for (let row = 0; row < page.n && rows.probability[row] >= least; row++) { // the probabilities are falling
      if ((given < 0 || rows.given[row] === given) && (suggested < 0 || rows.suggested[row] === suggested) && fits(row)) {
        found.push(row);
      }
    }
    return found;
  }

  // Draw everything again after a change, with a row in focus or the next one that is shown.
  function refresh(wanted) {
    shown = filtered();
    readRows(shown.slice(0, PRINTED)); // else the browser could not print them
    tiles();
    go(shown[Math.min(place(wanted), shown.length - 1)] ?? -1);
  }

  function go(row) {
    if (row !== focus) closePicker();
    focus = row;
    const list = byId("list");
    stretch();
    const top = place(row) * rowHeight;
    if (top < list.scrollTop) list.scrollTop = top;
    else if (top + rowHeight > list.scrollTop + list.clientHeight) list.scrollTop = top + rowHeight - list.clientHeight;
    draw();
    panel();
  }

  function stretch() {
    byId("rows").style.height = `${shown.length * rowHeight}px`;
  }

  function move(step) {
    if (shown.length) go(shown[Math.max(0, Math.min(shown.length - 1, place(focus) + step))]);
  }

  function tiles() {
    const n = { accept: 0, keep: 0, relabel: 0, skip: 0 };
    for (const code of decisions.values()) n[word(code)]++;
    const parts = [["done", decisions.size], ["left", page.n - decisions.size], ["accepted", n.accept], ["kept", n.keep],
      ["relabelled", n.relabel], ["skipped", n.skip], ["shown", shown.length]];
    byId("tiles").replaceChildren(...parts.map(([name, value]) => element("div", {},
      element("dt", { text: name }), element("dd", { id: `n-${name}`, text: value.toLocaleString("en") }))));
    byId("progress").max = Math.max(page.n, 1);
    byId("progress").value = decisions.size;
  }

  // Only the visible rows are in the document, and the one in focus, which the list names to assistive technology.
  function draw() {
    const list = byId("list");
    const first = Math.max(0, Math.floor(list.scrollTop / rowHeight) - SPARE);
    const last = Math.min(shown.length, Math.ceil((list.scrollTop + list.clientHeight) / rowHeight) + SPARE);
    const positions = [];
    for (let position = first; position < last; position++) positions.push(position);
    const own = focus < 0 ? -1 : place(focus);
    if (own >= last) positions.push(own);
    else if (own >= 0 && own < first) positions.unshift(own);
    byId("rows").replaceChildren(...positions.map(item));
    if (!shown.length) byId("rows").append(element("p", { class: "empty", text: "No row fits the filters." }));
    if (focus < 0) list.removeAttribute("aria-activedescendant");
    else list.setAttribute("aria-activedescendant", `row-${focus}`);
    const unread = positions.map((position) => shown[position]).filter((row) => content(row) === null);
    if (unread.length) readRows(unread).then(draw);
  }

  function item(position) {
    const row = shown[position];
    const known = content(row);
    const code = decisions.get(row);
    const labels = element("span", { class: "labels" }, bdi(classes[rows.given[row]]), " → ", bdi(classes[rows.suggested[row]]));
    const said = known === null ? "…" : visible((page.kind === "texts" ? known.text : known.name).slice(0, 200));
    const state = element("span", { class: "state", text: percent(rows.probability[row]) });
    if (code !== undefined) state.append(element("b", { text: word(code) }));
    const made = element("div", {
      class: code === undefined ? "row" : "row decided", role: "option", id: `row-${row}`, "data-row": row,
      "aria-selected": row === focus, "aria-posinset": position + 1, "aria-setsize": shown.length,
    });
    if (page.kind === "images") made.append(picture(row, ""));
    made.append(element("span", { class: "lines" }, labels, element("span", { class: "about", dir: "auto", text: said })), state);
    made.style.top = `${position * rowHeight}px`;
    return made;
  }

  function picture(row, said) {
    const made = thumbnail(row, said);
    if (!said) made.setAttribute("aria-hidden", "true");
    return made;
  }

  // --- the row in focus -------------------------------------------------------------------------------------------

  function panel() {
    const row = focus;
    for (const name of ["accept", "keep", "skip", "relabel"]) byId(name).disabled = row < 0;
    byId("undo").disabled = done.length === 0;
    byId("previous").disabled = row < 0 || place(row) === 0;
    byId("next").disabled = row < 0 || place(row) === shown.length - 1;
    byId("content").scrollTop = 0;
    if (row < 0) {
      byId("head").replaceChildren();
      byId("content").replaceChildren(element("p", { class: "empty", text: "No row is in focus." }));
      byId("accept").textContent = "Accept";
      byId("keep").textContent = "Keep";
      return;
    }
    const known = content(row);
    if (known === null) readBlock(blockOf(row)).then(() => row === focus && panel());
    const [given, suggested] = [classes[rows.given[row]], classes[rows.suggested[row]]];
    const code = decisions.get(row);
    const label = code === undefined ? "" : code === SKIP ? "skip" : `${word(code)}: ${classes[labelOf(row, code)]}`;
    const facts = [["given", given], ["suggested", suggested], ["wrong with probability", percent(rows.probability[row])],
      ...(label ? [["decision", label]] : [])];
    const name = known === null ? "…" : visible(known.name);
    byId("head").replaceChildren(element("h2", { text: name }), element("dl", {}, ...facts.map(([title, value]) =>
      element("div", {}, element("dt", { text: title }), element("dd", { text: value })))));
    byId("content").replaceChildren(...(known === null ? [] : sample(row, known)),
      element("p", { class: "part", text: "Why" }),
      element("p", { class: "reason", dir: "auto", text: known === null ? "…" : visible(known.reason) }));
    byId("accept").replaceChildren("Accept ", bdi(suggested));
    byId("keep").replaceChildren("Keep ", bdi(given));
    const pressed = { accept: ACCEPT, keep: KEEP, skip: SKIP };
    for (const [id, own] of Object.entries(pressed)) byId(id).setAttribute("aria-pressed", code === own);
  }

  function sample(row, known) {
    if (page.kind === "images") return [picture(row, `Image of ${visible(known.name)}`)];
    if (page.kind !== "texts") return [];
    const { text } = known;
    const words = element("p", { class: "sample", dir: "auto", text: visible(text) });
    if (text.length <= SHORT * 1.2) return [words];
    const half = /[\ud800-\udbff]$/.test(text.slice(0, SHORT)); // the cut would split a character
    const start = `${visible(text.slice(0, half ? SHORT - 1 : SHORT))}…`;
    const button = element("button", { type: "button", id: "whole" });
    const open = (whole) => {
      words.textContent = whole ? visible(text) : start;
      button.textContent = whole ? "Show less" : `Show all ${text.length.toLocaleString("en")} characters`;
      button.setAttribute("aria-expanded", whole);
    };
    button.addEventListener("click", () => open(button.getAttribute("aria-expanded") !== "true"));
    open(false);
    return [words, element("p", {}, button)];
  }

  // --- another class ----------------------------------------------------------------------------------------------

  let matches = [];
  let active = 0;

  function openPicker() {
    if (focus < 0) return;
    byId("picker").hidden = false;
    byId("relabel").setAttribute("aria-expanded", "true");
    byId("other").value = "";
    match();
    byId("other").focus();
  }

  function closePicker() {
    if (byId("picker").hidden) return;
    const within = byId("picker").contains(document.activeElement);
    byId("picker").hidden = true;
    byId("relabel").setAttribute("aria-expanded", "false");
    if (within) byId("list").focus({ preventScroll: true });
  }

  // Names that begin so come before those that only hold it.
  function match() {
    const wanted = byId("other").value.trim().toLowerCase();
    const ranks = classes.map((name) => (name.toLowerCase() === wanted ? 0 : 1 + name.toLowerCase().indexOf(wanted)));
    matches = classes.map((_, i) => i).filter((i) => ranks[i] > 0 || classes[i].toLowerCase() === wanted);
    matches.sort((one, two) => Math.min(ranks[one], 2) - Math.min(ranks[two], 2) || one - two);
    active = 0;
    drawMatches();
  }

  function drawMatches() {
    const items = matches.slice(0, MATCHES).map((label, i) => element("li",
      { role: "option", id: `match-${i}`, "data-label": label, "aria-selected": i === active, text: classes[label] }));
    const more = matches.length - items.length;
    if (more > 0) items.push(element("li", { role: "presentation", text: `${more.toLocaleString("en")} more: type on` }));
    if (!items.length) items.push(element("li", { role: "presentation", text: "No class of that name." }));
    byId("matches").replaceChildren(...items);
    if (matches.length) byId("other").setAttribute("aria-activedescendant", `match-${active}`);
    else byId("other").removeAttribute("aria-activedescendant");
    if (matches.length) items[active].scrollIntoView({ block: "nearest" });
  }

  function pickerKey(event) {
    const last = Math.min(matches.length, MATCHES) - 1;
    if (event.key === "ArrowDown") active = Math.min(active + 1, Math.max(last, 0));
    else if (event.key === "ArrowUp") active = Math.max(active - 1, 0);
    else if (event.key === "Escape") closePicker();
    else if (event.key === "Enter" && last >= 0) decide(codeOf(focus, matches[active]));
    else return;
    event.preventDefault();
    event.stopPropagation();
    if (!byId("picker").hidden) drawMatches();
  }

  // --- export and import ------------------------------------------------------------------------------------------

  async function records() {
    const decided = [...decisions.keys()].sort((one, two) => one - two);
    await readRows(decided);
    return decided.map((row) => {
      const code = decisions.get(row);
      const label = labelOf(row, code);
      return { row: content(row).name, given: page.classes[rows.given[row]], suggested: page.classes[rows.suggested[row]],
        decision: word(code), label: label < 0 ? "" : page.classes[label] };
    });
  }

  async function exportAs(suffix) {
    const found = await records();
    const text = suffix === "csv" ? decisionFiles.asCsv(found) : decisionFiles.asJson(found);
    const url = URL.createObjectURL(new Blob([text], { type: suffix === "csv" ? "text/csv" : "application/json" }));
    element("a", { href: url, download: `audit-decisions.${suffix}` }).click();
    setTimeout(() => URL.revokeObjectURL(url), 60_000);
    say(`${count(found.length, "decision")} exported to audit-decisions.${suffix}.`);
  }

  // Labels count, not words: what was accepted may be what is suggested no longer.
  function changesOf(found, rowOf) {
    const labels = new Map(page.classes.map((name, i) => [name, i]));
    const changes = new Map();
    let unknown = 0;
    for (const { row: name, decision, label } of found) {
      const row = rowOf.get(name);
      if (row === undefined) {
        unknown++;
        continue;
      }
      if (decision !== "skip" && !labels.has(label)) throw new Error(`“${label}” is no class of this page`);
      const code = decision === "skip" ? SKIP : codeOf(row, labels.get(label));
      if ((changes.get(row) ?? code) !== code) throw new Error(`${name} stands in it twice, with different decisions`);
      changes.set(row, code);
    }
    return { changes: [...changes], unknown };
  }

  async function importFrom(file) {
    try {
      const found = decisionFiles.parsed(await file.arrayBuffer());
      await Promise.all(page.blocks.map((_, number) => readBlock(number)));
      const rowOf = new Map(Array.from({ length: page.n }, (_, row) => [content(row).name, row]));
      const { changes, unknown } = changesOf(found, rowOf);
      if (changes.length) change(changes);
      refresh(focus);
      say(`${count(changes.length, "decision")} imported.`,
        unknown ? ` ${count(unknown, "record")} left out, of rows that are not on this page.` : "");
    } catch (error) {
      say("Nothing was imported from ", bdi(visible(file.name)), ": ", bdi(visible(error.message)), ".");
    }
  }

  // --- paper ------------------------------------------------------------------------------------------------------

  function printed() {
    const some = shown.slice(0, PRINTED);
    const heads = ["row", "given", "suggested", "wrong", "decision", "sample and reason"];
    const lines = some.map((row) => {
      const known = content(row) ?? { name: "…", reason: "…", text: "…" };
      const code = decisions.get(row);
      const label = code === undefined ? "" : code === SKIP ? "skip" : `${word(code)}: ${classes[labelOf(row, code)]}`;
      const last = element("td");
      if (page.kind === "images") last.append(picture(row, ""));
      if (page.kind === "texts") last.append(element("p", { class: "sample", dir: "auto", text: visible(known.text.slice(0, SHORT)) }));
      last.append(element("p", { dir: "auto", text: visible(known.reason) }));
      const cells = [classes[rows.given[row]], classes[rows.suggested[row]], percent(rows.probability[row]), label];
      return element("tr", {}, element("th", { scope: "row" }, bdi(visible(known.name))),
        ...cells.map((text) => element("td", {}, bdi(text))), last);
    });
    byId("printed").replaceChildren(
      element("p", { class: "note", text: `Here are the first ${some.length} of ${count(shown.length, "row")} that the filters show.` }),
      element("table", {}, element("thead", {}, element("tr", {}, ...heads.map((text) => element("th", { scope: "col", text })))),
        element("tbody", {}, ...lines)));
  }

  // --- the beginning ----------------------------------------------------------------------------------------------

  function onKey(event) {
    if (event.ctrlKey || event.metaKey || event.altKey || event.defaultPrevented) return;
    const { target } = event;
    if (/^(SELECT|TEXTAREA)$/.test(target.tagName) || (target.tagName === "INPUT" && target.type !== "checkbox")) return;
    const screen = Math.max(1, Math.floor(byId("list").clientHeight / rowHeight) - 1);
    const moves = { ArrowDown: 1, ArrowUp: -1,
      ...(target.id === "list" && { PageDown: screen, PageUp: -screen, Home: -page.n, End: page.n }) };
    const scrolls = target.id === "content"; // its arrows scroll a long text
    const letters = { j: () => move(1), k: () => move(-1), a: () => decide(ACCEPT), r: () => decide(KEEP),
      s: () => decide(SKIP), c: openPicker, u: undo };
    const action = event.key in moves && !scrolls ? () => move(moves[event.key])
      : byId("keys").checked ? letters[event.key.toLowerCase()] : undefined;
    if (!action) return;
    event.preventDefault();
    action();
  }

  function options(id, labels) {
    const n = new Uint32Array(classes.length);
    for (const label of labels) n[label]++;
    byId(id).append(element("option", { value: -1, text: "all" }), ...classes.flatMap((name, i) =>
      (n[i] ? [element("option", { value: i, text: `${name} (${n[i].toLocaleString("en")})` })] : [])));
  }

  function listen() {
    document.addEventListener("keydown", onKey);
    byId("other").addEventListener("keydown", pickerKey);
    byId("other").addEventListener("input", match);
    byId("matches").addEventListener("click", (event) => {
      const chosen = event.target.closest("[data-label]");
      if (chosen) decide(codeOf(focus, Number(chosen.dataset.label)));
    });
    byId("list").addEventListener("click", (event) => {
      const chosen = event.target.closest("[data-row]");
      if (chosen) go(Number(chosen.dataset.row));
    });
    let asked = 0;
    byId("list").addEventListener("scroll", () => {
      asked ||= requestAnimationFrame(() => {
        asked = 0;
        draw();
      });
    });
    for (const id of ["given", "suggested", "least", "state"]) byId(id).addEventListener("input", () => refresh(focus));
    const clicks = { accept: () => decide(ACCEPT), keep: () => decide(KEEP), skip: () => decide(SKIP), undo,
      relabel: () => (byId("picker").hidden ? openPicker() : closePicker()), previous: () => move(-1), next: () => move(1),
      csv: () => exportAs("csv"), json: () => exportAs("json"), import: () => byId("chosen-file").click() };
    for (const [id, action] of Object.entries(clicks)) byId(id).addEventListener("click", action);
    byId("chosen-file").addEventListener("change", async ({ target }) => {
      const [file] = target.files;
      if (file) await importFrom(file);
      target.value = ""; // so that the same file can be chosen again
    });
    window.addEventListener("storage", (event) => { // another window with this page has decided
      if (event.key !== key) return;
      restore();
      done.length = 0;
      refresh(focus);
    });
    window.addEventListener("resize", () => { // also where a phone's keyboard comes and goes
      measure();
      stretch();
      draw();
    });
    window.addEventListener("beforeprint", printed);
  }

  function measure() {
    rowHeight = Math.round(ROW_REM * parseFloat(getComputedStyle(document.documentElement).fontSize));
    byId("list").style.setProperty("--row", `${rowHeight}px`);
    if (page.sheets) byId("content").style.setProperty("--own", `${Math.max(page.sheets.width, 160)}px`);
  }

  async function start() {
    if (!("DecompressionStream" in window)) {
      say("This browser is too old to unpack the rows; use a newer one.");
      return;
    }
    options("given", rows.given);
    options("suggested", rows.suggested);
    byId("state").append(...Object.keys(states).map((name) => element("option", { value: name, text: name })));
    restore();
    listen();
    measure();
    refresh(focus);
    if (page.n) await readBlock(0);
    go(focus);
    performance.mark("rows are read"); // the test of this page's speed looks for it
  }

  start();
})();
