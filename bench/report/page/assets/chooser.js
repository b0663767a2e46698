"use strict";
// Which tasks a view is about: a set by name, a data set, or single tasks.

Page.chooser = (() => {
  const { h, select, checkbox } = Page.dom;
  const { read, changed, go } = Page.address;
  const { count } = Page.text;
  const ALL = "all";

  const names = () => Page.board.page.families.map((family) => family.name);
  const preset = () => (Page.board.overall.length ? "overall" : names()[0] || ALL);

  // Indices of the tasks of a named set.
  function members(set) {
    if (set === "overall") return Page.board.overall;
    return Page.board.page.tasks.flatMap((task, index) =>
      set === ALL || task.family === set ? [index] : [],
    );
  }

  // Indices of the tasks that the address names, ascending; without any, those of the overall ranking.
  function chosen(params = read()) {
    const { page, taskAt } = Page.board;
    const single = params.getAll("task").filter((name) => taskAt.has(name));
    const asked = params.get("tasks") || preset();
    const tasks = single.length ? single.map((name) => taskAt.get(name)) : members(asked);
    const dataset = params.get("dataset");
    const fits = tasks.filter((task) => !dataset || page.tasks[task].dataset === dataset);
    return [...new Set(fits)].sort((a, b) => a - b);
  }

  function controls() {
    const { page } = Page.board;
    const params = read();
    const tasks = chosen(params);
    const single = params.getAll("task").length > 0;
    const sets = [
      ...(Page.board.overall.length
        ? [["overall", `Overall ranking (${Page.board.overall.length})`]]
        : []),
      ...page.families.map((f) => [f.name, `${f.title} (${members(f.name).length})`]),
      [ALL, `All tasks (${page.tasks.length})`],
      ...(single ? [["", `Single tasks (${tasks.length})`]] : []),
    ];
    const datasets = [...new Set(page.tasks.map((task) => task.dataset))].sort();
    const pick = (name, on) => {
      const next = on
        ? [...tasks, Page.board.taskAt.get(name)]
        : tasks.filter((t) => page.tasks[t].name !== name);
      const task = [...new Set(next)].sort((a, b) => a - b).map((t) => page.tasks[t].name);
      go(changed({ task, tasks: null, dataset: null, sort: null, order: null }));
    };
    return [
      select("tasks", "Tasks", sets, single ? "" : params.get("tasks") || preset(), (set) =>
        go(changed({ tasks: set, task: null, sort: null, order: null })),
      ),
      select(
        "dataset",
        "Data set",
        [["", "All"], ...datasets.map((name) => [name, name])],
        params.get("dataset") || "",
        (dataset) => go(changed({ dataset, sort: null, order: null })),
      ),
      h(
        "details",
        { class: "single", open: params.has("choose"), toggle: keepOpen },
        h("summary", { id: "choose" }, "Choose single tasks"),
        page.families.map((family) =>
          h(
            "fieldset",
            {},
            h("legend", {}, family.title),
            members(family.name).map((task) => {
              const { name } = page.tasks[task];
              return checkbox(`task-${name}`, name, tasks.includes(task), (on) => pick(name, on));
            }),
          ),
        ),
      ),
    ];
  }

  // The list of tasks stays open while tasks are chosen; it is no step of the history.
  function keepOpen(event) {
    history.replaceState(null, "", changed({ choose: event.target.open || null }));
    document.documentElement.dataset.drawn = location.hash;
  }

  // A sentence: which tasks these are.
  function sentence(tasks) {
    const { page } = Page.board;
    const list = tasks.slice(0, 6).map((task) => page.tasks[task].name);
    const more = tasks.length > list.length ? ` and ${tasks.length - list.length} more` : "";
    return `${count(tasks.length, "task")}: ${list.join(", ")}${more}.`;
  }

  const ROUNDED =
    "Ranks and ties here are computed in the browser from rounded standard errors; those of tasks on the " +
    "same images are added up. So the exact ties of leaderboard.md may be finer.";

  return { chosen, controls, sentence, ROUNDED };
})();
