"use strict";
// Charts in SVG. Each stands beside a table with its numbers; colour is never the only sign.

Page.charts = (() => {
  const { svg, h } = Page.dom;
  const SHAPES = [
    "M-4,0a4,4 0 1,0 8,0a4,4 0 1,0 -8,0",
    "M-4,-4h8v8h-8z",
    "M0,-5L5,4H-5z",
    "M0,-5L5,0L0,5L-5,0z",
    "M-5,-4H5L0,5z",
    "M-5,-1.5h3.5v-3.5h3v3.5h3.5v3h-3.5v3.5h-3v-3.5h-3.5z",
  ];
  const COLOURS = 6;
  const BOX = { width: 720, height: 400, left: 64, right: 32, top: 24, bottom: 48 };

  // A value with its interval on a scale from `least` to `most`, as high as a line of a table.
  function bar(value, low, high, [least, most], zero = null) {
    const WIDTH = 96;
    const x = (v) => ((Math.min(most, Math.max(least, v)) - least) / (most - least || 1)) * WIDTH;
    const marks = [svg("line", { x1: 0, x2: WIDTH, y1: 7, y2: 7, class: "track" })];
    if (zero !== null)
      marks.push(svg("line", { x1: x(zero), x2: x(zero), y1: 0, y2: 14, class: "zero" }));
    if (low !== null) {
      const width = Math.max(1, x(high) - x(low));
      marks.push(svg("rect", { x: x(low), y: 4, width, height: 6, class: "range" }));
    }
    marks.push(svg("line", { x1: x(value), x2: x(value), y1: 1, y2: 13, class: "point" }));
    const size = { viewBox: `-1 0 ${WIDTH + 2} 14`, width: WIDTH + 2, height: 14 };
    return svg("svg", { ...size, class: "bar", "aria-hidden": "true" }, marks);
  }

  // The least and the greatest end of all intervals.
  const extent = (cells) => [
    Math.min(...cells.map((c) => Math.min(c.value, c.low ?? c.value))),
    Math.max(...cells.map((c) => Math.max(c.value, c.high ?? c.value))),
  ];

  // Round numbers between two ends, about five.
  function ticks(least, most) {
    const raw = (most - least || 1) / 5;
    const power = 10 ** Math.floor(Math.log10(raw));
    const step = power * [1, 2, 5, 10].find((m) => m * power >= raw);
    const list = [];
    for (let k = Math.ceil(least / step - 1e-9); k * step <= most + 1e-9 * step; k++) {
      list.push(Number((k * step).toPrecision(12)));
    }
    return list;
  }

  function powers(least, most) {
    const list = [];
    for (let k = Math.floor(Math.log10(least)); k <= Math.ceil(Math.log10(most)); k++)
      list.push(10 ** k);
    return list;
  }

  // Where values lie: `at` gives pixels, `marks` are values to be written beside the axis.
  function axis(values, from, to, log = false) {
    const scale = log ? Math.log10 : (v) => v;
    const marks = log ? powers(Math.min(...values), Math.max(...values)) : null;
    let ends = log ? [marks[0], marks.at(-1)] : [Math.min(...values), Math.max(...values)];
    if (!log) {
      const room = 0.04 * (ends[1] - ends[0] || 1);
      ends = [ends[0] - room, ends[1] + room];
    }
    const span = scale(ends[1]) - scale(ends[0]) || 1;
    const at = (v) => from + ((scale(v) - scale(ends[0])) / span) * (to - from);
    return { at, marks: marks || ticks(ends[0], ends[1]) };
  }

  function frame(x, y, xTitle, yTitle, name) {
    const bottom = BOX.height - BOX.bottom;
    const right = BOX.width - BOX.right;
    const parts = [];
    for (const [at, text] of y) {
      parts.push(svg("line", { x1: BOX.left, x2: right, y1: at, y2: at, class: "grid" }));
      parts.push(svg("text", { x: BOX.left - 8, y: at + 4, "text-anchor": "end" }, text));
    }
    for (const [at, text] of x) {
      parts.push(svg("line", { x1: at, x2: at, y1: bottom, y2: bottom + 5, class: "grid" }));
      parts.push(svg("text", { x: at, y: bottom + 18, "text-anchor": "middle" }, text));
    }
    const middle = (BOX.left + right) / 2;
    parts.push(svg("text", { x: middle, y: BOX.height - 8, "text-anchor": "middle" }, xTitle));
    const turned = `translate(14 ${(BOX.top + bottom) / 2}) rotate(-90)`;
    parts.push(svg("text", { transform: turned, "text-anchor": "middle" }, yTitle));
    const size = { viewBox: `0 0 ${BOX.width} ${BOX.height}`, class: "chart" };
    return svg("svg", { ...size, role: "img", "aria-label": name }, parts);
  }

  const marker = (x, y, kind, css = "") =>
    svg("path", {
      d: SHAPES[(kind + Math.floor(kind / COLOURS)) % SHAPES.length], // 36 before one comes again
      transform: `translate(${x} ${y})`,
      class: `mark colour${kind % COLOURS} ${css}`,
    });

  // Lines through points with intervals. series: {name, points: [[label, value, low, high]]}; labels are
  // the same in all, in order, and stand at equal distances.
  function lines({ series, scale, xTitle, yTitle, name }) {
    const labels = [...new Set(series.flatMap((s) => s.points.map((p) => p[0])))];
    const ends = series.flatMap((s) => s.points.flatMap((p) => [p[2], p[3]]));
    const step = (BOX.width - BOX.left - BOX.right) / labels.length;
    const at = (label) => BOX.left + (labels.indexOf(label) + 0.5) * step;
    const vertical = axis(
      ends.map((v) => v * scale),
      BOX.height - BOX.bottom,
      BOX.top,
    );
    const y = (value) => vertical.at(value * scale);
    const chart = frame(
      labels.map((label) => [at(label), label]),
      vertical.marks.map((mark) => [vertical.at(mark), `${mark}`]),
      xTitle,
      yTitle,
      name,
    );
    series.forEach((s, kind) => {
      const shift = (kind - (series.length - 1) / 2) * Math.min(5, step / (series.length + 2));
      const path = s.points
        .map((p, i) => `${i ? "L" : "M"}${at(p[0]) + shift},${y(p[1])}`)
        .join("");
      chart.append(svg("path", { d: path, class: `line colour${kind % COLOURS}` }));
      for (const [label, value, low, high] of s.points) {
        const x = at(label) + shift;
        const ends = { x1: x, x2: x, y1: y(low), y2: y(high) };
        chart.append(svg("line", { ...ends, class: `whisker colour${kind % COLOURS}` }));
        chart.append(marker(x, y(value), kind));
      }
    });
    return h("figure", {}, chart, legend(series.map((s) => s.name)));
  }

  const legend = (names) =>
    h(
      "ul",
      { class: "legend" },
      names.map((name, kind) =>
        h(
          "li",
          {},
          svg(
            "svg",
            { viewBox: "-7 -7 14 14", width: 14, height: 14, "aria-hidden": "true" },
            marker(0, 0, kind),
          ),
          ` ${name}`,
        ),
      ),
    );

  // Points over a cost on a logarithmic axis. points: {x > 0, value, low, high, name, kind, front}.
  // Those on the front are joined and named.
  function scatter({ points, kinds, xTitle, yTitle, name }) {
    const horizontal = axis(
      points.map((p) => p.x),
      BOX.left,
      BOX.width - BOX.right,
      true,
    );
    const vertical = axis(
      points.flatMap((p) => [p.low, p.high]),
      BOX.height - BOX.bottom,
      BOX.top,
    );
    const chart = frame(
      horizontal.marks.map((mark) => [horizontal.at(mark), mark.toLocaleString("en")]),
      vertical.marks.map((mark) => [vertical.at(mark), `${mark}`]),
      xTitle,
      yTitle,
      name,
    );
    const place = (p) => [horizontal.at(p.x), vertical.at(p.value)];
    const front = points.filter((p) => p.front).sort((a, b) => a.x - b.x);
    const corners = front.map((p, i) => {
      const [x, y] = place(p);
      return i ? `H${x}V${y}` : `M${x},${y}`;
    });
    chart.append(svg("path", { d: corners.join(""), class: "front" }));
    for (const p of points) {
      const [x, y] = place(p);
      const ends = { x1: x, x2: x, y1: vertical.at(p.low), y2: vertical.at(p.high) };
      const title = svg("title", {}, `${p.name}: ${p.value.toFixed(2)}`);
      const group = svg("g", {}, title);
      group.append(svg("line", { ...ends, class: `whisker colour${p.kind}` }));
      group.append(marker(x, y, p.kind, p.front ? "chosen" : ""));
      chart.append(group);
    }
    front.forEach((p, i) => {
      const [x, y] = place(p);
      const end = x > BOX.width / 2;
      const anchor = end ? "end" : "start"; // names alternate above and below, so that neighbours do not meet
      const where = { x: x + (end ? -8 : 8), y: y + (i % 2 ? 16 : -8), "text-anchor": anchor };
      chart.append(svg("text", { ...where, class: "name" }, p.name));
    });
    return h("figure", {}, chart, legend(kinds));
  }

  return { bar, extent, lines, scatter };
})();
