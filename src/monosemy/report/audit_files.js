"use strict";
// Files of decisions, written and read. monosemy.report.audit reads the same.
const decisionFiles = (() => {
  const COLUMNS = ["row", "given", "suggested", "decision", "label"];

  // A text that a spreadsheet would compute gets an apostrophe; so does one that could be taken for it when it is read.
  const isFormula = (text) => /^'*[=+\-@\t\r]/.test(text) && !/^-[0-9]+([.][0-9]+)?$/.test(text);
  const quoted = (text) => `"${(isFormula(text) ? `'${text}` : text).replaceAll('"', '""')}"`;
  const unquoted = (text) => (text[0] === "'" && isFormula(text.slice(1)) ? text.slice(1) : text);

  // The mark at the beginning tells spreadsheets that this is UTF-8.
  const asCsv = (found) => "\ufeff" + [COLUMNS, ...found.map((record) => COLUMNS.map((name) => record[name]))]
    .map((line) => `${line.map(quoted).join(",")}\r\n`).join("");

  const asJson = (found) => `${JSON.stringify(found, null, 1)}\n`;

  function parsedCsv(text) {
    const header = text.slice(0, text.search(/[\r\n]|$/)).replaceAll('"', "");
    const separator = [",", ";", "\t"].find((mark) => header.split(mark).includes("decision")) ?? ",";
    const lines = [];
    let line = [];
    const field = new RegExp(`(?:"((?:[^"]|"")*)"|([^"\\r\\n${separator}][^\\r\\n${separator}]*)?)(${separator}|\\r?\\n|\\r|$)`, "y");
    while (field.lastIndex < text.length) {
      const found = field.exec(text);
      if (found === null) throw new Error("its quotation marks do not pair");
      line.push(unquoted(found[1]?.replaceAll('""', '"') ?? found[2] ?? ""));
      if (found[3] !== separator) {
        if (line.length > 1 || line[0] !== "") lines.push(line);
        line = [];
      }
    }
    if (line.length) lines.push([...line, ""]); // the text ends with a separator
    const [names = [], ...rest] = lines;
    return rest.map((values) => Object.fromEntries(names.map((name, i) => [name, values[i]])));
  }

  function decodedText(bytes) {
    try {
      return new TextDecoder("utf-8", { fatal: true }).decode(bytes);
    } catch {
      return new TextDecoder("windows-1252").decode(bytes); // as some spreadsheets save it
    }
  }

  function parsed(bytes) {
    const text = decodedText(bytes);
    const found = /^\s*[[{]/.test(text) ? JSON.parse(text) : parsedCsv(text);
    if (!Array.isArray(found)) throw new Error("it is no list of decisions");
    for (const [number, record] of found.entries()) {
      const missing = COLUMNS.find((name) => typeof record?.[name] !== "string");
      if (missing) throw new Error(`record ${number + 1} has no ${missing}`);
      if (!["accept", "keep", "relabel", "skip"].includes(record.decision)) {
        throw new Error(`“${record.decision}” is no decision`);
      }
    }
    return found;
  }

  return { asCsv, asJson, parsed };
})();
