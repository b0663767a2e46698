"use strict";
// Scores by labels a class, or by shift of the test images, with their numbers in a table.

Page.curves = (() => {
  const { h } = Page.dom;
  const { score, interval } = Page.text;
  const { board } = Page;
  const AXES = { few_labels: "training images of a class", shift: "shift of the test images" };

  function chart(index, curves) {
    const task = board.page.tasks[index];
    const series = curves.map((curve) => ({
      name: board.page.encoders[curve.encoder].name,
      points: curve.points.map(([label, , ...numbers]) => [label, ...numbers]),
    }));
    const labels = [...new Set(series.flatMap((s) => s.points.map((p) => p[0])))];
    const columns = [
      { label: "Encoder", words: true, header: true, cell: (s) => s.name },
      ...labels.map((label) => ({
        label,
        cell: (s) =>
          text(
            s.points.find((p) => p[0] === label),
            task,
          ),
      })),
    ];
    const name = `${task.name}: ${task.metric} by ${AXES[curves[0].kind]}`;
    return h(
      "section",
      {},
      h("h3", {}, board.taskLink(index), ": ", AXES[curves[0].kind]),
      Page.charts.lines({
        series,
        scale: task.scale,
        xTitle: AXES[curves[0].kind],
        yTitle: task.metric + (task.scale === 100 ? ", %" : ""),
        name: `${name}; the numbers are in the table below`,
      }),
      h("details", {}, h("summary", {}, "Numbers"), Page.table.plain(name, columns, series)),
    );
  }

  const text = (point, { scale }) =>
    point ? `${score(point[1], scale)} ${interval(point[2], point[3], scale)}` : "–";

  return { chart };
})();
