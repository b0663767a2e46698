"use strict";
// All encoders on the tasks chosen, with ranks and ties of just these tasks.

Page.views.table = (() => {
  const { h, select, checkbox } = Page.dom;
  const { read, changed, go } = Page.address;
  const { score, interval, range, whole, duration, count, letter } = Page.text;
  const { bar, extent } = Page.charts;
  const { board, chooser } = Page;
  const MOST = 8; // columns of tasks, unless all are asked for
  const MOST_ROWS = 100; // likewise

  function rowsOf(tasks, params) {
    const ties = board.ties(tasks);
    const words = (params.get("q") || "").toLowerCase().split(/\s+/).filter(Boolean);
    const show = params.get("show") || "all";
    const rows = board.page.encoders.map((encoder, index) => {
      const place = ties.place.get(index);
      const cells = tasks.map((task) => board.cell(index, task));
      const row = {
        encoder,
        index,
        cells,
        mean: null,
        rank: null,
        css: encoder.control ? "control" : null,
      };
      if (place !== undefined) {
        row.mean = { value: 100 * ties.scores[place], ...meanEnds(tasks, cells) };
        row.rank = [ties.first[place], ties.last[place]];
        row.group = ties.group[place];
      }
      return row;
    });
    return rows.filter(
      ({ encoder, cells, mean }) =>
        cells.some(Boolean) &&
        words.every((word) =>
          `${encoder.name} ${encoder.key} ${encoder.group}`.toLowerCase().includes(word),
        ) &&
        !(params.has("nocontrols") && encoder.control) &&
        !(show === "ranked" && !mean) &&
        !(show === "levels" && !encoder.level),
    );
  }

  // Means of the lower and of the upper ends of the tasks' intervals, from 0 (chance) to 100.
  function meanEnds(tasks, cells) {
    let [low, high] = [0, 0];
    tasks.forEach((task, i) => {
      const ends = [cells[i].low, cells[i].high].map((end) => board.normalised(task, end));
      low += Math.min(...ends);
      high += Math.max(...ends);
    });
    return { low: (100 * low) / tasks.length, high: (100 * high) / tasks.length };
  }

  function columnsOf(tasks, rows, params) {
    const means = rows.filter((row) => row.mean).map((row) => row.mean);
    const ends = means.length ? extent(means) : [0, 1];
    const few = params.has("columns") ? tasks : tasks.slice(0, MOST);
    const columns = [
      ...exactColumn(tasks),
      {
        key: "rank",
        label: "Rank",
        note: "first and last rank that the data allow",
        value: (row) => (row.rank ? row.rank[0] + row.rank[1] / 1e4 : null),
        cell: (row) => (row.rank ? range(...row.rank) : "–"),
      },
      {
        key: "ties",
        label: "Ties",
        note: "equal letters: not significantly below the first with this letter",
        value: (row) => row.group ?? null,
        cell: (row) => (row.group ? letter(row.group) : "–"),
      },
      {
        key: "encoder",
        label: "Encoder",
        words: true,
        header: true,
        value: (row) => row.encoder.name,
        cell: (row) => board.encoderLink(row.index),
      },
      {
        key: "score",
        label: "Score",
        note: "mean over the tasks, chance at 0 and the ceiling at 100",
        descending: true,
        value: (row) => row.mean?.value ?? null,
        cell: ({ mean }) =>
          mean
            ? [
                number(mean.value.toFixed(2), `[${mean.low.toFixed(2)}, ${mean.high.toFixed(2)}]`),
                bar(mean.value, mean.low, mean.high, ends),
              ]
            : "–",
      },
      ...few.map((task) => taskColumn(task, tasks.indexOf(task), rows)),
    ];
    return params.has("costs") ? [...columns, ...costColumns()] : columns;
  }

  // Of the overall ranking the board has exact ranks.
  function exactColumn(tasks) {
    if (tasks.join() !== board.overall.join()) return [];
    const exact = new Map(board.page.exact.map(([encoder, ...ranks]) => [encoder, ranks]));
    const text = ([first, last, group]) => `${range(first, last)} ${letter(group)}`;
    return [
      {
        key: "exact",
        label: "Exact rank",
        note: "rank and letter of ties on leaderboard.md",
        value: ({ index }) =>
          exact.has(index) ? exact.get(index)[0] + exact.get(index)[1] / 1e4 : null,
        cell: ({ index }) => (exact.has(index) ? text(exact.get(index)) : "–"),
      },
    ];
  }

  const number = (value, ends) => h("span", { class: "score" }, value, h("small", {}, ` ${ends}`));

  function taskColumn(index, place, rows) {
    const task = board.page.tasks[index];
    const present = rows.map((row) => row.cells[place]).filter(Boolean);
    const ends = present.length ? extent(present) : [0, 1];
    return {
      key: task.name,
      label: task.name,
      note: `${task.title}: ${task.metric}`,
      descending: task.sign > 0,
      value: (row) => row.cells[place]?.value ?? null,
      cell(row) {
        const cell = row.cells[place];
        if (!cell) return "–";
        const rank = cell.first ? `rank ${range(cell.first, cell.last)}` : "no rank";
        return [
          number(score(cell.value, task.scale), interval(cell.low, cell.high, task.scale)),
          h(
            "span",
            { class: "score" },
            bar(cell.value, cell.low, cell.high, ends),
            h("small", { title: cell.reason || null }, rank),
          ),
        ];
      },
    };
  }

  const costColumns = () => [
    {
      key: "parameters",
      label: "Parameters",
      value: (row) => row.encoder.parameters,
      cell: (row) => whole(row.encoder.parameters),
    },
    {
      key: "features",
      label: "Features",
      note: "numbers that the encoder gives for an image",
      value: (row) => row.encoder.features,
      cell: (row) => whole(row.encoder.features),
    },
    {
      key: "time",
      label: "Time here",
      note: "run time of its records on the tasks chosen",
      value: seconds,
      cell: (row) => duration(seconds(row)),
    },
  ];

  const seconds = (row) => row.cells.reduce((sum, cell) => sum + (cell?.seconds || 0), 0);

  function search(params) {
    const type = (event) => event.isComposing || go(changed({ q: event.target.value }), true);
    return h(
      "label",
      {},
      "Search ",
      h("input", {
        type: "search",
        id: "q",
        value: params.get("q") || "",
        placeholder: "encoder",
        input: type,
      }),
    );
  }

  function render() {
    const params = read();
    const tasks = chooser.chosen(params);
    const show = [
      ["all", "All"],
      ["ranked", "With a rank"],
      ["levels", "Named levels"],
    ];
    const controls = h(
      "form",
      { class: "controls", submit: (event) => event.preventDefault() },
      chooser.controls(),
      search(params),
      select("show", "Encoders", show, params.get("show") || "all", (value) =>
        go(changed({ show: value })),
      ),
      checkbox("nocontrols", "Hide controls", params.has("nocontrols"), (on) =>
        go(changed({ nocontrols: on })),
      ),
      checkbox("costs", "Show costs", params.has("costs"), (on) => go(changed({ costs: on }))),
    );
    if (!tasks.length)
      return {
        title: "Table",
        nodes: [controls, h("p", {}, "No task is chosen.")],
        said: "no task",
      };
    const rows = rowsOf(tasks, params);
    const ranked = rows.filter((row) => row.rank).length;
    const below = params.has("rows") ? 0 : Math.max(0, rows.length - MOST_ROWS);
    const hidden = params.has("columns") ? 0 : Math.max(0, tasks.length - MOST);
    const table = Page.table.sorted({
      caption: `Encoders on ${count(tasks.length, "task")}`,
      columns: columnsOf(tasks, rows, params),
      rows,
      most: params.has("rows") ? rows.length : MOST_ROWS,
      first: (columns) =>
        columns.find((c) => c.key === (ranked ? "score" : board.page.tasks[tasks[0]].name)),
    });
    const said = `${count(rows.length, "encoder")}, ${ranked} of them ranked`;
    const none = ranked
      ? ""
      : " No encoder has a rank on all of these tasks: choose fewer to see ranks.";
    return {
      title: "Table",
      said,
      nodes: [
        controls,
        h("p", {}, `${said}, on ${chooser.sentence(tasks)}${none}`),
        hidden
          ? h(
              "p",
              {},
              h(
                "a",
                { href: changed({ columns: "all" }), id: "columns" },
                `Show ${count(hidden, "more column")} of tasks`,
              ),
            )
          : null,
        table,
        below
          ? h(
              "p",
              {},
              h(
                "a",
                { href: changed({ rows: "all" }), id: "rows" },
                `Show ${count(below, "more row")}`,
              ),
            )
          : null,
        notes(),
      ],
    };
  }

  const notes = () =>
    h(
      "div",
      { class: "notes" },
      h(
        "p",
        {},
        "Score: the mean over the tasks chosen, each with chance at 0 and the ceiling at 100; its interval is the mean of the tasks' intervals. Task columns: the task's metric with its 95 % interval, and the exact ranks on that task.",
      ),
      h(
        "p",
        {},
        "Rank 2–4: not significantly different from two others (all pairs tested, Holm's adjustment, 5 %). Equal letters: a tie. Only encoders with a rank on every task chosen have ranks here; the column “Exact rank” has those of leaderboard.md. Controls are what others have to beat: raw pixels, random weights, hand-made features.",
      ),
      h("p", {}, chooser.ROUNDED),
    );

  return { label: "Table", render };
})();
