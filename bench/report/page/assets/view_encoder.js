"use strict";
// One encoder: all its scores, ties, curves, gains, diagnostics, pictures, and what is missing.

Page.views.encoder = (() => {
  const { h, select } = Page.dom;
  const { read, changed, go, link } = Page.address;
  const { score, interval, signed, range, whole, duration, count } = Page.text;
  const { bar, extent } = Page.charts;
  const { board } = Page;

  function render() {
    const params = read();
    const best = board.overall.length ? board.ordered(board.ties(board.overall))[0] : 0;
    const index = board.encoderAt.get(params.get("encoder")) ?? best ?? 0;
    const encoder = board.page.encoders[index];
    const rows = board.page.tasks.flatMap((task, at) => {
      const cell = board.cell(index, at);
      return cell ? [{ task, at, cell, gain: gainOf(index, at) }] : [];
    });
    const options = board.byName().map((e) => [e.key, e.name + (e.control ? " (control)" : "")]);
    const choose = select("encoder", "Encoder", options, encoder.key, (key) =>
      go(changed({ encoder: key })),
    );
    return {
      title: encoder.name,
      said: `${encoder.name}: ${count(rows.length, "score")}`,
      nodes: [
        h("form", { class: "controls" }, choose),
        facts(encoder),
        tied(index),
        scores(rows),
        curves(index),
        diagnostics(index),
        pictures(index),
        absent(encoder),
      ],
    };
  }

  const gainOf = (encoder, task) =>
    board.page.gains.find((gain) => gain.encoder === encoder && gain.task === task) || null;

  function facts(encoder) {
    const list = [
      ["Specification", h("code", {}, encoder.spec)],
      ["Owner", encoder.owner],
      ["Group", encoder.group + (encoder.control ? ", a control: others have to beat it" : "")],
      ["Trained here", encoder.trained ? "yes" : "no"],
      ["Pretrained on other data", encoder.pretrained ? "yes" : "no"],
      ["Parameters", whole(encoder.parameters) || "unknown"],
      ["Features of an image", whole(encoder.features) || "unknown"],
      ["Run time of its records", duration(encoder.seconds)],
    ];
    const compare = h("a", { href: link("pair", { a: encoder.key }) }, "Compare it with another");
    return [
      h(
        "dl",
        { class: "facts" },
        list.map(([term, text]) => h("div", {}, h("dt", {}, term), h("dd", {}, text))),
      ),
      h("p", {}, compare),
    ];
  }

  // Who does not differ from it on the tasks of the overall ranking.
  function tied(index) {
    if (!board.overall.length) return [];
    const ties = board.ties(board.overall);
    const place = ties.place.get(index);
    const head = h("h2", {}, "Overall");
    if (place === undefined) {
      return [
        head,
        h("p", {}, "It has no overall rank: it is not ranked on every task of that ranking."),
      ];
    }
    const equal = ties.encoders.filter((_, other) => other !== place && !ties.differ(place, other));
    const words = `Rank ${range(ties.first[place], ties.last[place])} of ${ties.encoders.length}, score ${(100 * ties.scores[place]).toFixed(2)}. `;
    const names = equal.map((other, i) => [i ? ", " : "", board.encoderLink(other)]);
    const text = equal.length
      ? ["Does not differ significantly from ", names.flat(2), "."]
      : "It differs significantly from all others.";
    return [head, h("p", {}, words, text), h("p", { class: "notes" }, Page.chooser.ROUNDED)];
  }

  function scores(rows) {
    const family = (name) => board.page.families.find((f) => f.name === name)?.title || name;
    const inUnit = (row) =>
      ["value", "low", "high"].map((end) => 100 * board.normalised(row.at, row.cell[end]));
    const all = rows.flatMap(inUnit);
    const ends = [Math.min(0, ...all), Math.max(100, ...all)];
    const gains = rows.flatMap((row) => (row.gain ? [row.gain] : []));
    const range0 = gains.length ? extent([...gains, { value: 0, low: 0, high: 0 }]) : null;
    const columns = [
      {
        key: "task",
        label: "Task",
        words: true,
        header: true,
        value: (r) => r.task.name,
        cell: (r) => board.taskLink(r.at),
      },
      {
        key: "family",
        label: "Family",
        words: true,
        value: (r) => board.page.families.findIndex((f) => f.name === r.task.family),
        cell: (r) => family(r.task.family),
      },
      {
        key: "metric",
        label: "Metric",
        words: true,
        value: (r) => r.task.metric,
        cell: (r) => r.task.metric,
      },
      {
        key: "score",
        label: "Score",
        descending: true,
        note: "the bar runs from chance to the ceiling",
        value: (r) => board.normalised(r.at, r.cell.value),
        cell(r) {
          const [value, low, high] = inUnit(r);
          const text = score(r.cell.value, r.task.scale);
          return [
            h(
              "span",
              { class: "score" },
              text,
              h("small", {}, ` ${interval(r.cell.low, r.cell.high, r.task.scale)}`),
            ),
            bar(value, Math.min(low, high), Math.max(low, high), ends, 0),
          ];
        },
      },
      {
        key: "rank",
        label: "Rank",
        value: (r) => r.cell.first,
        cell: (r) =>
          r.cell.first
            ? range(r.cell.first, r.cell.last)
            : h("small", { class: "why" }, r.cell.reason || "too few to rank"),
      },
      {
        key: "gain",
        label: "Gain",
        descending: true,
        note: "over the task's baseline",
        value: (r) => r.gain?.value ?? null,
        cell: ({ gain, task }) =>
          gain
            ? [
                h(
                  "span",
                  { class: "score", title: `over ${task.baseline}` },
                  signed(gain.value, task.scale),
                  h("small", {}, ` ${interval(gain.low, gain.high, task.scale)}`),
                ),
                bar(gain.value, gain.low, gain.high, range0, 0),
              ]
            : "–",
      },
      {
        key: "labels",
        label: "Labels seen",
        words: true,
        note: "labels that training of the encoder used",
        value: (r) => r.cell.labels,
        cell: (r) => r.cell.labels,
      },
      {
        key: "trust",
        label: "Checked",
        words: true,
        note: "how far the score was computed again",
        value: (r) => r.cell.trust,
        cell: (r) => r.cell.trust,
      },
      {
        key: "time",
        label: "Time",
        value: (r) => r.cell.seconds,
        cell: (r) => duration(r.cell.seconds),
      },
    ];
    return [
      h("h2", {}, "Scores"),
      Page.table.sorted({
        caption: "Scores with 95 % intervals and exact ranks",
        columns,
        rows,
        first: (c) => c[1],
      }),
    ];
  }

  function curves(index) {
    const parts = board.page.curves
      .filter((curve) => curve.encoder === index && curve.points.length > 1)
      .map((curve) => Page.curves.chart(curve.task, [curve]));
    return parts.length ? [h("h2", {}, "Few labels and shifted images"), parts] : [];
  }

  function diagnostics(index) {
    const rows = board.page.diagnostics
      .filter((d) => d.encoder === index)
      .flatMap((d) => Object.entries(d.values).map(([name, value]) => ({ ...d, name, value })));
    if (!rows.length) return [];
    const columns = [
      { label: "Task", words: true, header: true, cell: (r) => board.taskLink(r.task) },
      { label: "Diagnostic", words: true, cell: (r) => r.of },
      { label: "Measure", words: true, cell: (r) => r.name },
      {
        label: "Value",
        cell: (r) =>
          Number(r.value.toPrecision(4)).toLocaleString("en", { maximumSignificantDigits: 4 }),
      },
    ];
    return [
      h("h2", {}, "Properties of its features"),
      h(
        "details",
        {},
        h("summary", {}, count(rows.length, "value")),
        Page.table.plain("Diagnostics: means over trainings", columns, rows),
      ),
    ];
  }

  function pictures(index) {
    const sheets = board.page.pictures.filter((p) => p.encoder === index && p.file);
    if (!sheets.length) return [];
    const { name } = board.page.encoders[index];
    return [
      h("h2", {}, "Pictures"),
      h("p", {}, "What it has learnt; the file lies in the results folder."),
      sheets.map((p) =>
        h("img", {
          src: p.file,
          loading: "lazy",
          class: "sheet",
          alt: `Reconstructions, samples or filters of ${name}`,
        }),
      ),
    ];
  }

  function absent(encoder) {
    const rows = board.page.absent.filter(([spec]) => spec === encoder.spec);
    if (!rows.length) return [];
    const columns = [
      { label: "Where", words: true, header: true, cell: (r) => r[1] },
      { label: "Reason", words: true, cell: (r) => r[2] },
    ];
    return [
      h("h2", {}, "Missing or declined"),
      Page.table.plain("What is not shown, and why", columns, rows),
    ];
  }

  return { label: "Encoders", render };
})();
