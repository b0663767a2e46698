"use strict";
// Elements and texts. Nothing of a record is ever parsed as HTML: strings become text or attributes.

const Page = { views: {} };

Page.dom = (() => {
  const SVG = "http://www.w3.org/2000/svg";

  // An element: attributes (null and false are left out; functions are listeners), then children.
  function build(element, attributes, children) {
    for (const [name, value] of Object.entries(attributes || {})) {
      if (typeof value === "function") element.addEventListener(name, value);
      else if (value !== null && value !== undefined && value !== false)
        element.setAttribute(name, value === true ? "" : value);
    }
    element.append(
      ...children.flat(Infinity).filter((child) => child !== null && child !== undefined),
    );
    return element;
  }

  const h = (tag, attributes, ...children) =>
    build(document.createElement(tag), attributes, children);
  const svg = (tag, attributes, ...children) =>
    build(document.createElementNS(SVG, tag), attributes, children);

  // One choice of several: options are [value, text].
  function select(id, label, options, chosen, change) {
    return h(
      "label",
      {},
      `${label} `,
      h(
        "select",
        { id, change: (event) => change(event.target.value) },
        options.map(([value, text]) => h("option", { value, selected: value === chosen }, text)),
      ),
    );
  }

  function checkbox(id, label, checked, change) {
    const box = h("input", { type: "checkbox", id, checked });
    box.addEventListener("change", () => change(box.checked));
    return h("label", { class: "check" }, box, ` ${label}`);
  }

  return { h, svg, select, checkbox };
})();

Page.text = (() => {
  const thousands = new Intl.NumberFormat("en");
  const digits = (scale) => (scale === 100 ? 2 : 3);
  const minus = (text) => text.replace("-", "−");

  // A score of a task in its unit: per cent where the metric is a share.
  const score = (value, scale) => minus((value * scale).toFixed(digits(scale)));

  const interval = (low, high, scale) => `[${score(low, scale)}, ${score(high, scale)}]`;

  const signed = (value, scale) => (value > 0 ? "+" : "") + score(value, scale);

  const range = (first, last) => (first === last ? `${first}` : `${first}–${last}`);

  const whole = (number) => (number === null ? "" : thousands.format(number));

  function duration(seconds) {
    if (seconds < 99.5) return `${seconds.toFixed(seconds < 10 ? 1 : 0)} s`;
    if (seconds < 5970) return `${(seconds / 60).toFixed(0)} min`;
    return `${(seconds / 3600).toFixed(1)} h`;
  }

  const count = (number, one, several = `${one}s`) =>
    `${whole(number)} ${number === 1 ? one : several}`;

  // Of a group of ties, from 1; from 27 on its number.
  const letter = (group) => (group < 27 ? String.fromCharCode(96 + group) : `${group}`);

  return { score, interval, signed, range, whole, duration, count, letter };
})();
