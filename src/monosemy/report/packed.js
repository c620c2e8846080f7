"use strict";
// Data that a page carries inside itself, and elements made from it. Texts go into the page by textContent alone: names
// and samples may hold anything.
const packed = (() => {
  const byId = (id) => document.getElementById(id);
  const page = JSON.parse(byId("page").textContent);
  const buffer = decoded(byId("arrays").textContent).buffer;
  const types = {
    uint8: Uint8Array, uint16: Uint16Array, uint32: Uint32Array, int32: Int32Array, float32: Float32Array,
  };

  function decoded(text) {
    const binary = atob(text);
    const bytes = new Uint8Array(binary.length);
    for (let i = 0; i < bytes.length; i++) bytes[i] = binary.charCodeAt(i);
    return bytes;
  }

  // Deflated JSON.
  async function inflated(text) {
    const stream = new Blob([decoded(text)]).stream().pipeThrough(new DecompressionStream("deflate"));
    return new Response(stream).json();
  }

  // Entries [type, place, length] as typed arrays, at any depth.
  function opened(value) {
    if (Array.isArray(value) && value.length === 3 && value[0] in types) {
      return new types[value[0]](buffer, value[1], value[2]);
    }
    if (value === null || typeof value !== "object" || Array.isArray(value)) return value;
    return Object.fromEntries(Object.entries(value).map(([key, inner]) => [key, opened(inner)]));
  }

  function element(tag, { text, ...attributes } = {}, ...children) {
    const made = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
    if (text !== undefined) made.textContent = text;
    made.append(...children);
    return made;
  }

  // Much of the data stands behind the scripts: the page is drawn before it is read. It is read once and then dropped.
  function whenRead(id, use) {
    const take = () => {
      const source = byId(id);
      const { textContent } = source;
      source.remove();
      use(textContent);
    };
    const source = byId(id);
    const whole = source !== null && (source.nextElementSibling !== null || document.readyState !== "loading");
    if (whole) take();
    else document.addEventListener("DOMContentLoaded", take, { once: true });
  }

  const rules = new CSSStyleSheet();
  document.adoptedStyleSheets = [rules];
  const used = new Set();

  function useSheet(sheet) {
    if (used.has(sheet)) return;
    used.add(sheet);
    whenRead(`sheet-${sheet}`, (file) =>
      rules.insertRule(`.sheet-${sheet} { background-image: url(data:image/webp;base64,${file}); }`));
  }

  // The thumbnail at a place in the sheets; a negative place is that of an image that cannot be read.
  function thumbnail(place, said) {
    if (place < 0) return element("span", { class: "thumbnail gone", role: "img", "aria-label": said, text: "?" });
    const { columns, rows, lastRows, count, height, width } = page.sheets;
    const sheet = Math.floor(place / (columns * rows));
    const within = place % (columns * rows);
    useSheet(sheet);
    const total = sheet === count - 1 ? lastRows : rows; // the last one is only as high as it needs to be
    const made = element("span", { class: `thumbnail sheet-${sheet}`, role: "img", "aria-label": said });
    made.style.aspectRatio = `${width} / ${height}`;
    made.style.backgroundSize = `${100 * columns}% ${100 * total}%`;
    const x = columns > 1 ? (100 * (within % columns)) / (columns - 1) : 0;
    const y = total > 1 ? (100 * Math.floor(within / columns)) / (total - 1) : 0;
    made.style.backgroundPosition = `${x}% ${y}%`;
    return made;
  }

  return { byId, page, inflated, opened, element, whenRead, thumbnail };
})();
