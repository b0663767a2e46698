"use strict";
// All pairs of encoders on the tasks chosen: which of them differ.

Page.views.pairs = (() => {
  const { h } = Page.dom;
  const { read, changed, link, go } = Page.address;
  const { count, range } = Page.text;
  const { board, chooser } = Page;
  const MOST = 60; // rows and columns, unless all are asked for
  const SIGNS = { better: "+", worse: "−", tie: "=" };

  function render() {
    const params = read();
    const tasks = chooser.chosen(params);
    const controls = h("form", { class: "controls" }, chooser.controls());
    const ties = tasks.length ? board.ties(tasks) : { encoders: [] };
    if (ties.encoders.length < 2) {
      const none = "Fewer than two encoders have a rank on all of these tasks: choose fewer tasks.";
      return { title: "All pairs", said: none, nodes: [controls, h("p", {}, none)] };
    }
    const places = ties.encoders
      .map((_, i) => i)
      .sort((i, j) => ties.scores[j] - ties.scores[i] || i - j);
    const shown = params.has("all") ? places : places.slice(0, MOST);
    const apart =
      ties.first.reduce((sum, first, i) => sum + first - 1 + places.length - ties.last[i], 0) / 2;
    const pairs = (places.length * (places.length - 1)) / 2;
    const said = `${apart} of ${pairs} pairs of ${places.length} encoders differ significantly (5 %, Holm's adjustment over all pairs).`;
    return {
      title: "All pairs",
      said,
      nodes: [
        controls,
        h("p", { class: "lead" }, said),
        h(
          "p",
          {},
          `On ${chooser.sentence(tasks)} The best come first. A cell tells how the encoder of its row compares with that of its column: `,
          h("b", {}, "+"),
          " significantly better, ",
          h("b", {}, "−"),
          " significantly worse, ",
          h("b", {}, "="),
          " no significant difference.",
        ),
        shown.length < places.length
          ? h(
              "p",
              {},
              h(
                "a",
                { href: changed({ all: "1" }), id: "all" },
                `Show all ${places.length} encoders`,
              ),
            )
          : null,
        matrix(ties, shown),
        h(
          "p",
          { class: "notes" },
          chooser.ROUNDED,
          " A click on a cell compares the two, task by task.",
        ),
      ],
    };
  }

  function matrix(ties, shown) {
    const head = shown.map((place, i) =>
      h("th", { scope: "col", title: board.page.encoders[ties.encoders[place]].name }, `${i + 1}`),
    );
    const rows = shown.map((row, i) =>
      h(
        "tr",
        {},
        h(
          "th",
          { scope: "row" },
          `${i + 1} `,
          board.encoderLink(ties.encoders[row]),
          h("small", {}, ` rank ${range(ties.first[row], ties.last[row])}`),
        ),
        shown.map((column) => {
          if (row === column) return h("td", { class: "self" });
          const kind = !ties.differ(row, column)
            ? "tie"
            : ties.scores[row] > ties.scores[column]
              ? "better"
              : "worse";
          return h("td", { class: kind }, SIGNS[kind]);
        }),
      ),
    );
    const open = (event) => {
      const cell = event.target.closest("td");
      if (!cell) return;
      const [a, b] = [cell.parentNode.rowIndex - 1, cell.cellIndex - 1].map(
        (i) => board.page.encoders[ties.encoders[shown[i]]].key,
      );
      if (a !== b) go(link("pair", { a, b }));
    };
    const caption = `Pairs of ${count(shown.length, "encoder")}: + better, − worse, = no significant difference`;
    const table = h(
      "table",
      { class: "matrix", click: open },
      h("caption", {}, caption),
      h("thead", {}, h("tr", {}, h("th", { scope: "col" }, "Encoder"), head)),
      h("tbody", {}, rows),
    );
    return Page.table.scrolling(caption, table);
  }

  return { label: "All pairs", render };
})();
