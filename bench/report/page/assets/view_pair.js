"use strict";
// Two encoders, task by task.

Page.views.pair = (() => {
  const { h, select } = Page.dom;
  const { read, changed, go } = Page.address;
  const { score, interval, signed, count } = Page.text;
  const { bar, extent } = Page.charts;
  const { board } = Page;

  // The least |t| with p of 5 % at most, by degrees of freedom (code); both were rounded up.
  const critical = (code) => {
    const { t, p } = board.page.p_steps;
    return t[p[code].findIndex((value) => value <= board.page.level)];
  };

  function render() {
    const params = read();
    const first = board.overall.length ? board.ordered(board.ties(board.overall)) : [];
    const all = board.byName();
    const a = board.encoderAt.get(params.get("a")) ?? first[0] ?? all[0].index;
    const others = [...first, ...all.map((e) => e.index)].filter((e) => e !== a);
    const b = board.encoderAt.get(params.get("b")) ?? others[0] ?? a;
    const options = all.map((e) => [e.key, e.name + (e.control ? " (control)" : "")]);
    const key = (index) => board.page.encoders[index].key;
    const controls = h(
      "form",
      { class: "controls" },
      select("a", "A", options, key(a), (value) => go(changed({ a: value }))),
      select("b", "B", options, key(b), (value) => go(changed({ b: value }))),
      h("a", { href: changed({ a: key(b), b: key(a) }), id: "swap" }, "Swap A and B"),
    );
    const rows = differences(a, b);
    const tested = rows.filter((row) => row.p !== null);
    const differs = ReptransferTies.holm(
      tested.map((row) => row.p),
      board.page.level,
    );
    tested.forEach((row, i) => {
      row.differs = Boolean(differs[i]);
    });
    const better = tested.filter((row) => row.differs && row.gain > 0).length;
    const worse = tested.filter((row) => row.differs && row.gain < 0).length;
    const names = [a, b].map((e) => board.page.encoders[e].name);
    const said = `Of ${count(tested.length, "task")} with both ranked, A is significantly better on ${better}, B on ${worse}; on ${tested.length - better - worse} they do not differ.`;
    return {
      title: `${names[0]} against ${names[1]}`,
      said,
      nodes: [
        controls,
        h("p", { class: "lead" }, said),
        table(rows, names),
        h(
          "p",
          { class: "notes" },
          "Difference: A minus B in the task's metric, paired by test image where both have predictions of the same images; its 95 % interval is that of this difference alone, from a standard error that was rounded up. “Better” is after Holm's adjustment over all tasks of this table. No interval: one of them has no rank on the task.",
        ),
      ],
    };
  }

  function differences(a, b) {
    return board.page.tasks.flatMap((task, at) => {
      const cells = [board.cell(a, at), board.cell(b, at)];
      if (!cells[0] || !cells[1]) return [];
      const value = cells[0].value - cells[1].value;
      const row = {
        task,
        at,
        cells,
        value,
        gain: value * task.sign,
        low: null,
        high: null,
        p: null,
      };
      if (cells.every((cell) => !cell.reason) && a !== b) {
        const { errors, freedoms } = ReptransferTies.pairErrors(board.decoded, [at], [a, b]);
        const half = critical(freedoms[0]) * errors[0] * Math.abs(task.unit);
        row.p = ReptransferTies.pValue(board.page, value / task.unit, errors[0], freedoms[0]);
        if (Number.isFinite(half)) Object.assign(row, { low: value - half, high: value + half });
      }
      return [row];
    });
  }

  function verdict(row) {
    if (row.p === null) return "no rank";
    if (!row.differs) return "no difference";
    return row.gain > 0 ? "A better" : "B better";
  }

  function table(rows, names) {
    const scaled = (row) => ({
      value: 100 * (row.value / Math.abs(row.task.unit)),
      low: row.low === null ? null : 100 * (row.low / Math.abs(row.task.unit)),
      high: row.high === null ? null : 100 * (row.high / Math.abs(row.task.unit)),
    });
    const ends = rows.length ? extent([...rows.map(scaled), { value: 0, low: 0, high: 0 }]) : null;
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
        key: "metric",
        label: "Metric",
        words: true,
        value: (r) => r.task.metric,
        cell: (r) => r.task.metric,
      },
      {
        key: "a",
        label: `A: ${names[0]}`,
        descending: true,
        value: (r) => board.normalised(r.at, r.cells[0].value),
        cell: (r) => score(r.cells[0].value, r.task.scale),
      },
      {
        key: "b",
        label: `B: ${names[1]}`,
        descending: true,
        value: (r) => board.normalised(r.at, r.cells[1].value),
        cell: (r) => score(r.cells[1].value, r.task.scale),
      },
      {
        key: "difference",
        label: "A − B",
        descending: true,
        note: "the bar is in shares of the way from chance to the ceiling",
        value: (r) => r.value / Math.abs(r.task.unit),
        cell(r) {
          const { value, low, high } = scaled(r);
          const text = r.low === null ? "" : ` ${interval(r.low, r.high, r.task.scale)}`;
          return [
            h("span", { class: "score" }, signed(r.value, r.task.scale), h("small", {}, text)),
            bar(value, low, high, ends, 0),
          ];
        },
      },
      {
        key: "verdict",
        label: "Verdict",
        words: true,
        value: verdict,
        cell: (r) => h("span", { class: `verdict ${verdict(r).replace(" ", "-")}` }, verdict(r)),
      },
    ];
    if (!rows.length) return h("p", {}, "No task has a score of both.");
    return Page.table.sorted({
      caption: `${names[0]} against ${names[1]}, task by task`,
      columns,
      rows,
      first: (c) => c[4],
    });
  }

  return { label: "A against B", render };
})();
