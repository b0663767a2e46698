"use strict";
// Opens the page: reads what it carries, and draws the view that the address names.

(async () => {
  const { h } = Page.dom;
  const { read, link } = Page.address;
  const ORDER = ["answers", "table", "encoder", "task", "pair", "pairs", "cost", "studies"];
  const find = (id) => document.getElementById(id);
  const title = document.title;
  const sections = { answers: find("ready-answers"), studies: find("ready-studies") };
  let present = null;

  // Views that are in the HTML already, for readers without JavaScript.
  const ready = (name, label) => ({
    label,
    render: () => ({ title: label, said: label, nodes: [sections[name]] }),
  });

  function draw() {
    const asked = read().get("view");
    const name = ORDER.includes(asked) ? asked : ORDER[0];
    const active = document.activeElement?.id;
    const caret = document.activeElement?.selectionStart;
    const stage = find("view");
    const view = Page.views[name].render();
    stage.replaceChildren(
      h("h1", { tabindex: "-1", id: "title" }, view.title),
      ...view.nodes.flat(4).filter(Boolean),
    );
    find("said").textContent = view.said || "";
    document.title = `${view.title} – ${title}`;
    for (const a of find("views").querySelectorAll("a")) {
      a.toggleAttribute("aria-current", false);
      if (a.dataset.view === name) a.setAttribute("aria-current", "page");
    }
    if (present !== null && present !== name) {
      scrollTo(0, 0);
      find("title").focus({ preventScroll: true });
    } else if (active && find(active)) {
      find(active).focus({ preventScroll: true });
      if (typeof caret === "number") find(active).setSelectionRange?.(caret, caret);
    }
    present = name;
    document.documentElement.dataset.drawn = location.hash;
  }

  // Names in bold and tasks in code lead to their views.
  function linkAnswers() {
    const names = new Map(Page.board.page.encoders.map((encoder) => [encoder.name, encoder.key]));
    for (const node of sections.answers.querySelectorAll("strong, code")) {
      const text = node.textContent;
      const encoder = names.get(text);
      const href = encoder
        ? link("encoder", { encoder })
        : Page.board.taskAt.has(text) && link("task", { task: text });
      if (!href) continue;
      const a = h("a", { href });
      node.replaceWith(a);
      a.append(node);
    }
  }

  await Page.board.open(JSON.parse(find("board").textContent));
  Page.views.answers = ready("answers", "Answers");
  Page.views.studies = ready("studies", "Studies");
  const shown = ORDER.filter((name) => !(name in sections) || sections[name]);
  find("views").replaceChildren(
    h(
      "ul",
      {},
      shown.map((name) =>
        h("li", {}, h("a", { href: link(name), "data-view": name }, Page.views[name].label)),
      ),
    ),
  );
  linkAnswers();
  find("skip").addEventListener("click", (event) => {
    event.preventDefault(); // the address stays that of the view
    find("view").focus();
  });
  addEventListener("hashchange", draw);
  draw();
  document.documentElement.dataset.ready = "yes";
})();
