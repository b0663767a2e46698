"""How well does what was learnt on one data set serve another? Every source by every target."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from bench.drawing.charts import load_altair
from bench.errors import BenchError
from bench.naming.specs import resolve
from bench.scoring.comparison import Comparison, compare_records
from bench.studies.base import Report, Setting, measured
from bench.studies.transfer._report import NONE, Found, Place, report
from bench.tasks.cell import Cell
from bench.tasks.files import load
from bench.tasks.task import Task

__all__ = ["run"]

REVISION = 1
KNOWN_AS = "studies/transfer"  # its key in the revisions of records
ENCODERS = ("autoencoder", "supervised")  # without labels, and with the source's
UNTRAINED = "autoencoder~0"  # the trunk that both have


def run(
    *,
    setting: Setting,
    datasets: str = "mnist fashion_mnist cifar10_jpeg",
    budget: str = "300k",
) -> Report:
    """Train `autoencoder` and `supervised` on each data set at `budget` images, or take what is kept,
    and probe them linearly on each, the untrained trunk too; differences are paired over test rows.

    Raises BenchError for fewer than two data sets, one that is not known or has no linear probe
    scored by accuracy, where a cell is not ok, and where charts cannot be drawn.
    """
    load_altair()
    tasks = _tasks(datasets.split())
    places = [Place(e, s, t) for e in ENCODERS for s in (*tasks, NONE) for t in tasks]
    encoders = {place: resolve("encoders", _spec(place, budget)) for place in places}
    # The untrained trunk's cells are those of both encoders, and run once.
    cells = {
        (encoders[place].text, place.target): Cell(tasks[place.target], encoders[place])
        for place in places
    }
    store, done = measured(list(cells.values()), setting)
    by_cell = dict(zip(cells, done, strict=True))
    records = {place: by_cell[encoders[place].text, place.target] for place in places}
    by_id = {task.name: task for task in tasks.values()}

    def minus(some: Sequence[Place], other: Callable[[Place], Place]) -> dict[Place, Comparison]:
        pairs = [(records[place], records[other(place)]) for place in some]
        return dict(zip(some, compare_records(store, pairs, by_id), strict=True))

    trained = [place for place in places if place.source != NONE]
    found = Found(
        tasks,
        records,
        store,
        minus_own=minus([place for place in trained if place != place.own], lambda p: p.own),
        minus_untrained=minus(trained, lambda p: p.untrained),
    )
    return report(found, budget=budget, untrained=UNTRAINED)


def _tasks(names: Sequence[str]) -> dict[str, Task]:
    """The linear probe of each data set."""
    if len(set(names)) < 2:
        raise BenchError(f"transfer: datasets={' '.join(names)!r}; two or more are wanted")
    found = {}
    for name in names:
        known = resolve("datasets", name).text
        found[known] = task = load(f"{known}-linear")
        if task.primary.metric != "accuracy":
            raise BenchError(f"transfer: {task.name} has {task.primary.metric}; accuracy is wanted")
    return found


def _spec(place: Place, budget: str) -> str:
    if place.source == NONE:
        return UNTRAINED
    source = "" if place == place.own else f"@{place.source}"
    return f"{place.encoder}{source}~{budget}"
