"use strict";
// What the page carries, by encoder and task.

Page.board = (() => {
  const { link } = Page.address;
  const { h } = Page.dom;
  const FIELDS = ["value", "low", "high", "first", "last", "reason", "seconds", "labels", "trust"];
  const board = { cells: new Map(), encoderAt: new Map(), taskAt: new Map(), known: new Map() };

  async function open(page) {
    board.page = page;
    board.decoded = await ReptransferTies.decode(page);
    for (const [encoder, task, ...values] of page.cells) {
      const cell = Object.fromEntries(FIELDS.map((field, index) => [field, values[index]]));
      board.cells.set(encoder * page.tasks.length + task, cell);
    }
    page.encoders.forEach((encoder, index) => {
      encoder.key = `${encoder.owner}/${encoder.spec}`;
      encoder.level = /[,]level=/.test(encoder.spec);
      board.encoderAt.set(encoder.key, index);
    });
    page.tasks.forEach((task, index) => {
      board.taskAt.set(task.name, index);
    });
    board.overall = page.tasks.flatMap((task, index) => (task.overall ? [index] : []));
  }

  const cell = (encoder, task) => board.cells.get(encoder * board.page.tasks.length + task);

  // Ties of a set of tasks, computed once.
  function ties(tasks) {
    const key = tasks.join();
    if (!board.known.has(key)) {
      const computed = ReptransferTies.compute(board.decoded, tasks);
      computed.place = new Map(computed.encoders.map((encoder, place) => [encoder, place]));
      board.known.set(key, computed);
    }
    return board.known.get(key);
  }

  // The same score from 0 (chance) to 1 (ceiling), higher is better.
  const normalised = (task, value) =>
    (value - board.page.tasks[task].chance) / board.page.tasks[task].unit;

  function encoderLink(index) {
    const encoder = board.page.encoders[index];
    return [
      h(
        "a",
        { href: link("encoder", { encoder: encoder.key }), title: encoder.spec },
        encoder.name,
      ),
      encoder.control ? h("span", { class: "tag" }, "control") : null,
    ];
  }

  const taskLink = (index) => {
    const task = board.page.tasks[index];
    return h("a", { href: link("task", { task: task.name }), title: task.title }, task.name);
  };

  // Its encoders, the best first.
  const ordered = ({ encoders, scores }) =>
    encoders
      .map((_, place) => place)
      .sort((i, j) => scores[j] - scores[i] || i - j)
      .map((place) => encoders[place]);

  // All encoders, by name.
  const byName = () =>
    board.page.encoders
      .map((encoder, index) => ({ ...encoder, index }))
      .sort((a, b) => a.name.localeCompare(b.name) || a.key.localeCompare(b.key));

  return Object.assign(board, {
    open,
    cell,
    ties,
    normalised,
    encoderLink,
    taskLink,
    ordered,
    byName,
  });
})();
