"use strict";
// One task: all encoders, with exact ranks, intervals, gains and curves.

Page.views.task = (() => {
  const { h, select } = Page.dom;
  const { read, changed, go, link } = Page.address;
  const { score, interval, signed, range, whole, duration, count, letter } = Page.text;
  const { bar, extent } = Page.charts;
  const { board } = Page;
  const OVER = {
    rows: "test images and training seeds",
    classes: "classes, leaving out each in turn",
    replicates: "replicates",
  };

  function render() {
    const params = read();
    const index = board.taskAt.get(params.get("task")) ?? board.overall[0] ?? 0;
    const task = board.page.tasks[index];
    const ties = board.ties([index]);
    const rows = board.page.encoders.flatMap((encoder, at) => {
      const cell = board.cell(at, index);
      const place = ties.place.get(at);
      const gain = board.page.gains.find((g) => g.encoder === at && g.task === index) || null;
      const css = encoder.control ? "control" : null;
      return cell
        ? [{ encoder, at, cell, gain, css, group: place === undefined ? null : ties.group[place] }]
        : [];
    });
    const groups = board.page.families.map((family) =>
      h(
        "optgroup",
        { label: family.title },
        board.page.tasks
          .filter((t) => t.family === family.name)
          .map((t) => h("option", { value: t.name, selected: t === task }, t.name)),
      ),
    );
    const choose = select("task", "Task", [], "", (name) =>
      go(changed({ task: name, sort: null, order: null })),
    );
    choose.querySelector("select").append(...groups);
    return {
      title: task.name,
      said: `${task.name}: ${count(rows.length, "encoder")}`,
      nodes: [
        h("form", { class: "controls" }, choose),
        facts(task),
        scores(task, rows),
        curves(index),
        absent(task),
      ],
    };
  }

  function facts(task) {
    const percent = (value) => score(value, task.scale) + (task.scale === 100 ? " %" : "");
    const list = [
      ["Title", task.title],
      ["Data set", task.dataset],
      ["Metric", `${task.metric}, ${task.sign > 0 ? "higher" : "lower"} is better`],
      ["Chance", percent(task.chance)],
      ["Ceiling", percent(task.ceiling)],
      ["Test images", whole(task.rows) || "unknown"],
      ["Intervals over", OVER[task.by] || task.by],
      ...(task.baseline ? [["Baseline of the gains", task.baseline]] : []),
    ];
    const table = h(
      "a",
      { href: link("table", { tasks: task.family }) },
      "All tasks of this family",
    );
    return [
      h(
        "dl",
        { class: "facts" },
        list.map(([term, text]) => h("div", {}, h("dt", {}, term), h("dd", {}, text))),
      ),
      h("p", {}, table),
    ];
  }

  function scores(task, rows) {
    const ends = rows.length ? extent(rows.map((r) => r.cell)) : [0, 1];
    const gains = rows.flatMap((r) => (r.gain ? [r.gain] : []));
    const gainEnds = gains.length ? extent([...gains, { value: 0, low: 0, high: 0 }]) : null;
    const numbers = (cell, form) =>
      h(
        "span",
        { class: "score" },
        form(cell.value, task.scale),
        h("small", {}, ` ${interval(cell.low, cell.high, task.scale)}`),
      );
    const columns = [
      {
        key: "rank",
        label: "Rank",
        note: "exact",
        value: (r) => (r.cell.first ? r.cell.first + r.cell.last / 1e4 : null),
        cell: (r) => (r.cell.first ? range(r.cell.first, r.cell.last) : "–"),
      },
      {
        key: "ties",
        label: "Ties",
        value: (r) => r.group,
        cell: (r) => (r.group ? letter(r.group) : "–"),
      },
      {
        key: "encoder",
        label: "Encoder",
        words: true,
        header: true,
        value: (r) => r.encoder.name,
        cell: (r) => board.encoderLink(r.at),
      },
      {
        key: "score",
        label: task.metric,
        descending: task.sign > 0,
        value: (r) => r.cell.value,
        cell: (r) => [numbers(r.cell, score), bar(r.cell.value, r.cell.low, r.cell.high, ends)],
      },
      ...(gains.length
        ? [
            {
              key: "gain",
              label: "Gain",
              descending: true,
              note: `over ${task.baseline}`,
              value: (r) => r.gain?.value ?? null,
              cell: (r) =>
                r.gain
                  ? [
                      numbers(r.gain, signed),
                      bar(r.gain.value, r.gain.low, r.gain.high, gainEnds, 0),
                    ]
                  : "–",
            },
          ]
        : []),
      {
        key: "time",
        label: "Time",
        value: (r) => r.cell.seconds,
        cell: (r) => duration(r.cell.seconds),
      },
      {
        key: "why",
        label: "Why no rank",
        words: true,
        value: (r) => r.cell.reason,
        cell: (r) => r.cell.reason,
      },
    ];
    const caption = `${task.name}: encoders with 95 % intervals`;
    return [
      h("h2", {}, "Encoders"),
      Page.table.sorted({
        caption,
        columns,
        rows,
        first: (c) => c.find((column) => column.key === "score"),
      }),
      h(
        "p",
        { class: "notes" },
        "Ranks are those of the board; letters of ties are computed in the browser from rounded standard errors, and may be coarser.",
      ),
    ];
  }

  function curves(index) {
    const found = board.page.curves.filter(
      (curve) => curve.task === index && curve.points.length > 1,
    );
    return found.length ? [h("h2", {}, "Curves"), Page.curves.chart(index, found)] : [];
  }

  function absent(task) {
    const rows = board.page.absent.filter(([, where]) => where === task.name);
    if (!rows.length) return [];
    const columns = [
      { label: "Encoder", words: true, header: true, cell: (r) => r[0] },
      { label: "Reason", words: true, cell: (r) => r[2] },
    ];
    return [
      h("h2", {}, "Missing or declined"),
      Page.table.plain("What is not shown, and why", columns, rows),
    ];
  }

  return { label: "Tasks", render };
})();
