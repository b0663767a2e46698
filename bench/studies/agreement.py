"""Do measures of one encoder agree? Diagnostics with transfer, linear probes with neighbours."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from bench.drawing.charts import forest, load_altair
from bench.errors import BenchError, unknown
from bench.report.board import Board, collect, sort_value
from bench.report.sections.diagnostics import mean_values
from bench.report.text import table
from bench.results.store import Store
from bench.solvers.correlation import Correlation, rank_correlation
from bench.statistics.significance import holm
from bench.studies.base import Claim, Report, Setting
from bench.tasks.files import load, names

REVISION = 1
NEIGHBOURS = "neighbours on the same data"
LEAST = 8  # encoders, below which the interval of a rank correlation has almost any value


@dataclass(frozen=True, slots=True)
class ViewPair:
    """Two views of the same encoders: what is correlated with which task's score."""

    of: str  # "diagnostic: value", or a task
    group: str
    with_task: str
    correlation: Correlation
    p: float  # adjusted

    def row(self) -> dict[str, Any]:
        names = {"of": self.of, "group": self.group, "with": self.with_task}
        return {**names, **asdict(self.correlation), "p": self.p}

    def text(self) -> str:
        c, star = self.correlation, ", p < 0.05" if self.p < 0.05 else ""
        return f"{c.rho:+.2f} [{c.low:+.2f}, {c.high:+.2f}], {c.count} encoders{star}"


def run(
    *,
    setting: Setting,
    tasks: str = "fashion_mnist-linear fashion_mnist-knn cifar10_jpeg-linear mnist-linear",
) -> Report:
    """Correlate, over the encoders on the board, the ranks that each diagnostic gives with those of the
    scores on `tasks`, and those of linear probes with those of neighbours on the same data. Nothing is
    run: the records of the results folder are read.

    Raises BenchError for unknown tasks, where fewer than 8 encoders have any two of them, and where
    charts cannot be drawn.
    """
    all_tasks = {name: load(name) for name in names()}
    compared = list(dict.fromkeys(tasks.split()))
    for name in compared:
        if name not in all_tasks:
            raise unknown("task", name, all_tasks)
    load_altair()
    if setting.results is None:
        raise BenchError("agreement: no results folder is given; run it by `reptransfer study`")
    board = collect(Store(setting.results), all_tasks)
    views = [*_diagnostics(board, compared), *_neighbours(board)]
    correlations = [
        (of, group, task, correlation)
        for of, group, task, a, b in views
        if (correlation := _correlated(a, b)) is not None
    ]
    if not correlations:
        raise BenchError(
            f"agreement: {setting.results} has no {LEAST} encoders with both a diagnostic and one of "
            f"{', '.join(compared)}, nor with linear probe and neighbours; run the suite diagnostics first"
        )
    adjusted = holm([correlation.p for *_, correlation in correlations])
    pairs = [ViewPair(*parts, p) for parts, p in zip(correlations, adjusted, strict=True)]
    return _report(pairs, compared)


View = Mapping[tuple[str, str], float]  # of encoders, by owner and name
Views = Iterator[tuple[str, str, str, View, View]]  # of what, in which group, with which task


def _diagnostics(board: Board, compared: Sequence[str]) -> Views:
    """Every value of every diagnostic with the score of each task."""
    for task in board.tasks.values():
        for diagnostic in task.diagnostics if task.family == "diagnostics" else ():
            notes = {
                encoder: mean_values(records[task.name], diagnostic)
                for encoder, records in board.computed().items()
                if task.name in records
            }
            for column in dict.fromkeys(name for note in notes.values() for name in note):
                by_encoder = {e: note[column] for e, note in notes.items() if column in note}
                for name in compared:
                    scores = _scores(board, name)
                    yield f"{diagnostic}: {column}", task.name, name, by_encoder, scores


def _neighbours(board: Board) -> Views:
    """Linear probes with neighbours, on every data set that has both."""
    group = "Linear probes with neighbours"
    for name in board.tasks:
        data, mark, _ = name.rpartition("-linear")
        if mark and (knn := f"{data}-knn") in board.tasks:
            yield name, group, NEIGHBOURS, _scores(board, name), _scores(board, knn)


def _scores(board: Board, task: str) -> View:
    return {
        e: sort_value(records[task]) for e, records in board.computed().items() if task in records
    }


def _correlated(a: View, b: View) -> Correlation | None:
    """None for too few encoders with both, and for values that are all equal."""
    both = sorted(set(a) & set(b))
    x, y = (np.array([view[encoder] for encoder in both]) for view in (a, b))
    if len(both) < LEAST or not np.ptp(x) or not np.ptp(y):
        return None
    return rank_correlation(x, y)


def _report(pairs: Sequence[ViewPair], compared: Sequence[str]) -> Report:
    parts = [
        "Spearman's rank correlation over the encoders that have both, with a 95 % interval (Bonett and "
        "Wright 2000), p adjusted by Holm over all correlations of this report. Encoders are of the "
        "families that this suite has, not a random sample; many share a trunk, so intervals are "
        "probably too short. Diagnostics are of validation images, scores of test images. A correlation "
        "describes these encoders and no others. `robustness: clean` is the accuracy of a ridge probe "
        "itself: an upper reference for these correlations.",
    ]
    figures = {}
    for number, group in enumerate(dict.fromkeys(pair.group for pair in pairs)):
        members = [pair for pair in pairs if pair.group == group]
        name = f"agreement_{number}.svg"
        figures[name] = _figure(members)
        parts += [f"## {group}", f"![{group}]({name})", _table(members)]
    return Report.of(
        "Agreement between measures of an encoder",
        parts,
        {"tasks": compared, "pairs": [pair.row() for pair in pairs]},
        claims=_claims(pairs),
        figures=figures,
    )


def _table(pairs: Sequence[ViewPair]) -> str:
    cells = {(pair.of, pair.with_task): pair.text() for pair in pairs}
    views, columns = (list(dict.fromkeys(keys)) for keys in zip(*cells, strict=True))
    lines = [[of, *(cells.get((of, column), "") for column in columns)] for of in views]
    return table(["", *columns], lines)


def _figure(pairs: Sequence[ViewPair]) -> bytes:
    value = "rank correlation"
    points = [{value: pair.correlation.rho, **pair.row()} for pair in pairs]
    return forest(points, value=value, ends=("low", "high"), row="of", side="with", at=0.0)


def _claims(pairs: Sequence[ViewPair]) -> list[Claim]:
    claims = []
    probes = [pair for pair in pairs if pair.with_task == NEIGHBOURS]
    if probes:
        claims.append(
            Claim(
                "linear probes and neighbours rank encoders similarly: the interval of each correlation "
                "is above 0.7",
                tuple(f"{pair.of} {pair.text()}" for pair in probes),
                all(pair.correlation.low > 0.7 for pair in probes),
            )
        )
    by_view: dict[str, list[ViewPair]] = {}
    for pair in pairs:
        if pair.with_task != NEIGHBOURS:
            by_view.setdefault(f"{pair.group}, {pair.of}", []).append(pair)
    if by_view:
        texts = []
        for view, members in by_view.items():
            rhos = [pair.correlation.rho for pair in members]
            if all(pair.p < 0.05 for pair in members) and len({rho > 0 for rho in rhos}) == 1:
                sign = "+" if rhos[0] > 0 else "-"
                texts.append(f"{view}: {min(map(abs, rhos)):.2f} or more ({sign})")
        claims.append(
            Claim(
                "some diagnostic correlates with every one of the scores (p < 0.05 for each, of one sign)",
                tuple(texts) or ("none",),
                bool(texts),
            )
        )
    return claims
