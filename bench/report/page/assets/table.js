"use strict";
// Tables: sorted by the buttons in their heads, which a screen reader names.

Page.table = (() => {
  const { h } = Page.dom;
  const { read, changed, go } = Page.address;

  // In a region that scrolls by itself and by the keyboard: pages never scroll sideways.
  const scrolling = (label, table) =>
    h("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": label }, table);

  // columns: {label, key, value(row) -> number, string or null, cell(row) -> children, descending, note,
  // words: text, not numbers, header: names the row}. `sort` in the address names a column by its key;
  // nothing (null) is last in both directions. `most`: rows that are shown, the first.
  function sorted({ caption, columns, rows, first, id = "table", most = rows.length }) {
    const params = read();
    const column = columns.find((c) => c.key === params.get("sort")) || first(columns);
    const asked = params.get("order");
    const descending = asked ? asked === "desc" : Boolean(column.descending);
    const order = rows
      .slice()
      .sort((a, b) => compare(column.value(a), column.value(b), descending));
    const head = columns.map((c) => {
      const present = c === column;
      const next = present ? !descending : Boolean(c.descending);
      const arrow = present ? (descending ? "▼" : "▲") : "↕";
      const button = h(
        "button",
        {
          type: "button",
          id: `${id}-sort-${c.key}`,
          title: c.note,
          click: () => go(changed({ sort: c.key, order: next ? "desc" : "asc" })),
        },
        c.label,
        h("span", { "aria-hidden": "true", class: "arrow" }, arrow),
      );
      const direction = present ? (descending ? "descending" : "ascending") : null;
      return h(
        "th",
        { scope: "col", class: c.words ? null : "number", "aria-sort": direction },
        button,
      );
    });
    return plain(caption, columns, order.slice(0, most), head);
  }

  function compare(a, b, descending) {
    if (a === null || b === null || Number.isNaN(a) || Number.isNaN(b)) {
      const missing = (value) => value === null || Number.isNaN(value);
      return missing(a) - missing(b);
    }
    const sign = typeof a === "string" ? a.localeCompare(b) : a - b;
    return descending ? -sign : sign;
  }

  // A table in the order of its rows.
  function plain(caption, columns, rows, head = null) {
    const cells = (row) =>
      columns.map((c) =>
        c.header
          ? h("th", { scope: "row" }, c.cell(row))
          : h("td", { class: c.words ? null : "number" }, c.cell(row)),
      );
    const heads = columns.map((c) =>
      h("th", { scope: "col", class: c.words ? null : "number", title: c.note }, c.label),
    );
    return scrolling(
      caption,
      h(
        "table",
        {},
        h("caption", {}, caption),
        h("thead", {}, h("tr", {}, head || heads)),
        h("tbody", {}, ...rows.map((row) => h("tr", { class: row.css }, cells(row)))),
      ),
    );
  }

  return { sorted, plain, scrolling };
})();
