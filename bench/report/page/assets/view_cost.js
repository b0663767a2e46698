"use strict";
// Quality against cost: who is not beaten by a cheaper one.

Page.views.cost = (() => {
  const { h, select } = Page.dom;
  const { read, changed, go } = Page.address;
  const { whole, duration, range, count } = Page.text;
  const { board, chooser } = Page;
  const KINDS = ["not trained here", "trained here", "pretrained on other data"];
  const COSTS = [
    ["time", "run time of the records on these tasks, seconds", "Run time"],
    ["parameters", "parameters", "Parameters"],
    ["features", "features of an image", "Features"],
  ];

  function render() {
    const params = read();
    const tasks = chooser.chosen(params);
    const [cost, axis, label] = COSTS.find(([name]) => name === params.get("cost")) || COSTS[0];
    const controls = h(
      "form",
      { class: "controls" },
      chooser.controls(),
      select(
        "cost",
        "Cost",
        COSTS.map(([name, , text]) => [name, text]),
        cost,
        (name) => go(changed({ cost: name })),
      ),
    );
    const rows = tasks.length ? rowsOf(tasks, cost) : [];
    if (!rows.length) {
      const none = "No encoder has a rank on all of these tasks: choose fewer tasks.";
      return { title: "Quality against cost", said: none, nodes: [controls, h("p", {}, none)] };
    }
    const drawn = rows.filter((row) => row.x > 0);
    const names = rows.filter((row) => row.front).map((row) => row.name);
    const said = `${count(names.length, "encoder is", "encoders are")} on the front: no cheaper encoder has a higher score.`;
    const left = rows.length - drawn.length;
    return {
      title: "Quality against cost",
      said,
      nodes: [
        controls,
        h("p", { class: "lead" }, said),
        h(
          "p",
          {},
          `On ${chooser.sentence(tasks)} The dashed line is the Pareto front of the scores as measured; encoders near it may not differ significantly from it, as their intervals tell.`,
          left
            ? ` ${count(left, "encoder")} without ${label.toLowerCase()} above 0 cannot be drawn on a logarithmic axis.`
            : "",
        ),
        drawn.length
          ? Page.charts.scatter({
              points: drawn,
              kinds: KINDS,
              xTitle: axis,
              yTitle: "score: chance 0, ceiling 100",
              name: `Score against ${axis}; the numbers are in the table below`,
            })
          : null,
        table(rows, label, cost),
      ],
    };
  }

  function rowsOf(tasks, cost) {
    const ties = board.ties(tasks);
    const rows = ties.encoders.map((index, place) => {
      const encoder = board.page.encoders[index];
      const cells = tasks.map((task) => board.cell(index, task));
      const ends = (pick) =>
        (100 *
          tasks.reduce(
            (sum, task, i) =>
              sum +
              pick(...[cells[i].low, cells[i].high].map((end) => board.normalised(task, end))),
            0,
          )) /
        tasks.length;
      const time = cells.reduce((sum, cell) => sum + cell.seconds, 0);
      return {
        index,
        name: encoder.name,
        kind: encoder.pretrained ? 2 : encoder.trained ? 1 : 0,
        x: cost === "time" ? time : encoder[cost],
        value: 100 * ties.scores[place],
        low: ends(Math.min),
        high: ends(Math.max),
        rank: [ties.first[place], ties.last[place]],
      };
    });
    for (const row of rows) {
      row.front =
        row.x !== null &&
        !rows.some(
          (o) =>
            o.x !== null &&
            o.x <= row.x &&
            o.value >= row.value &&
            (o.x < row.x || o.value > row.value),
        );
    }
    return rows;
  }

  function table(rows, label, cost) {
    const columns = [
      {
        key: "encoder",
        label: "Encoder",
        words: true,
        header: true,
        value: (r) => r.name,
        cell: (r) => board.encoderLink(r.index),
      },
      {
        key: "cost",
        label,
        value: (r) => r.x,
        cell: (r) => (r.x === null ? "unknown" : cost === "time" ? duration(r.x) : whole(r.x)),
      },
      {
        key: "score",
        label: "Score",
        descending: true,
        value: (r) => r.value,
        cell: (r) => `${r.value.toFixed(2)} [${r.low.toFixed(2)}, ${r.high.toFixed(2)}]`,
      },
      {
        key: "rank",
        label: "Rank",
        value: (r) => r.rank[0] + r.rank[1] / 1e4,
        cell: (r) => range(...r.rank),
      },
      {
        key: "kind",
        label: "Training",
        words: true,
        value: (r) => r.kind,
        cell: (r) => KINDS[r.kind],
      },
      {
        key: "front",
        label: "On the front",
        words: true,
        descending: true,
        value: (r) => Number(r.front),
        cell: (r) => (r.front ? "yes" : "no"),
      },
    ];
    return Page.table.sorted({
      caption: `Score and ${label.toLowerCase()}`,
      columns,
      rows,
      first: (c) => c[2],
    });
  }

  return { label: "Cost", render };
})();
