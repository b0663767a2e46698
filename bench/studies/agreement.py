"""How far do the views of one encoder agree? Diagnostics with transfer, linear probes with neighbours."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

import numpy as np

from bench.drawing.charts import forest, load_altair
from bench.errors import BenchError, unknown
from bench.report.board import Board, collect, sort_value
from bench.report.sections.diagnostics import mean_values
from bench.report.text import table
from bench.results.store import Store
from bench.solvers.correlation import Correlation, rank_correlation
from bench.statistics.significance import holm
from bench.studies.base import Claim, Report, Setting, judged
from bench.tasks.files import load, names

__all__ = ["run"]

REVISION = 1
NEIGHBOURS = "neighbours on the same data"
LEAST = 8  # encoders, below which a rank correlation says next to nothing


@dataclass(frozen=True, slots=True)
class Pair:
    """Two views of the same encoders: what is compared with which task's score."""

    of: str  # "task: diagnostic, value" or another task
    group: str
    with_task: str
    found: Correlation
    p: float  # adjusted


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
    known = {name: load(name) for name in names()}
    asked = list(dict.fromkeys(tasks.split()))
    for name in asked:
        if name not in known:
            raise unknown("task", name, known)
    load_altair()
    if setting.results is None:
        raise BenchError("agreement: no results folder is given; run it by `reptransfer study`")
    board = collect(Store(setting.results), known, lambda board: None)
    raw = [*_diagnostics(board, asked), *_neighbours(board)]
    if not raw:
        raise BenchError(
            f"agreement: {setting.results} has no {LEAST} encoders with both a diagnostic and one of "
            f"{', '.join(asked)}, nor with linear probe and neighbours; run the suite diagnostics first"
        )
    adjusted = holm([found.p for *_, found in raw])
    pairs = [Pair(*parts, p) for parts, p in zip(raw, adjusted, strict=True)]
    return _report(pairs, asked)


Raw = tuple[str, str, str, Correlation]


def _diagnostics(board: Board, asked: Sequence[str]) -> list[Raw]:
    """Every value of every diagnostic with the score of each task."""
    raw: list[Raw] = []
    for task in board.tasks.values():
        if task.family != "diagnostics":
            continue
        for diagnostic in task.diagnostics:
            own = {
                who: mean_values(records[task.name], diagnostic)
                for who, records in board.rows.items()
                if task.name in records
            }
            columns = list(dict.fromkeys(name for found in own.values() for name in found))
            for column in columns:
                told = {who: found[column] for who, found in own.items() if column in found}
                for other in asked:
                    found = _correlated(told, _scores(board, other))
                    if found is not None:
                        raw.append((f"{diagnostic}: {column}", task.name, other, found))
    return raw


def _neighbours(board: Board) -> list[Raw]:
    """Linear probes with neighbours, on every data set that has both."""
    raw: list[Raw] = []
    for name in board.tasks:
        data, mark, _ = name.rpartition("-linear")
        if mark and f"{data}-knn" in board.tasks:
            found = _correlated(_scores(board, name), _scores(board, f"{data}-knn"))
            if found is not None:
                raw.append((name, "Linear probes with neighbours", NEIGHBOURS, found))
    return raw


Who = tuple[str, str]


def _scores(board: Board, task: str) -> dict[Who, float]:
    return {
        who: sort_value(records[task]) for who, records in board.rows.items() if task in records
    }


def _correlated(one: Mapping[Who, float], other: Mapping[Who, float]) -> Correlation | None:
    """None for too few encoders with both, and for values that are all the same."""
    both = sorted(set(one) & set(other))
    a, b = (np.array([some[who] for who in both]) for some in (one, other))
    if len(both) < LEAST or not np.ptp(a) or not np.ptp(b):
        return None
    return rank_correlation(a, b)


def _report(pairs: Sequence[Pair], asked: Sequence[str]) -> Report:
    groups = list(dict.fromkeys(pair.group for pair in pairs))
    claims, told = judged(_claims(pairs))
    parts = [
        "# How far the views of an encoder agree",
        "Spearman's rank correlation over the encoders that have both, with a 95 % interval (Bonett and "
        "Wright 2000), p adjusted by Holm over everything on this page. Encoders are of the families "
        "that this suite has, and no random sample of anything; many share a trunk, so intervals are "
        "rather too short. Diagnostics are of validation images, scores of test images. A correlation "
        "says which way a diagnostic leans here, and no more. `robustness: clean` is the accuracy "
        "of a ridge probe itself: as high as such correlations get.",
        "## What is said of them",
        claims,
    ]
    figures = {}
    for number, group in enumerate(groups):
        own = [pair for pair in pairs if pair.group == group]
        name = f"agreement_{number}.svg"
        figures[name] = _figure(own)
        head = ["", *dict.fromkeys(pair.with_task for pair in own)]
        parts += [f"## {group}", f"![{group}]({name})", table(head, _lines(own, head[1:]))]
    data = {
        "tasks": list(asked),
        "pairs": [
            {
                "of": pair.of,
                "group": pair.group,
                "with": pair.with_task,
                **asdict(pair.found),
                "p": pair.p,
            }
            for pair in pairs
        ],
        "claims": told,
    }
    return Report("\n\n".join(parts), data, figures)


def _lines(pairs: Sequence[Pair], columns: Sequence[str]) -> list[list[str]]:
    cells = {(pair.of, pair.with_task): _text(pair) for pair in pairs}
    order = list(dict.fromkeys(pair.of for pair in pairs))
    return [[of, *(cells.get((of, column), "") for column in columns)] for of in order]


def _text(pair: Pair) -> str:
    c = pair.found
    star = ", p < 0.05" if pair.p < 0.05 else ""
    return f"{c.rho:+.2f} [{c.low:+.2f}, {c.high:+.2f}], {c.count} encoders{star}"


def _figure(pairs: Sequence[Pair]) -> bytes:
    points = [
        {
            "rank correlation": pair.found.rho,
            "low": pair.found.low,
            "high": pair.found.high,
            "of": pair.of,
            "with": pair.with_task,
        }
        for pair in pairs
    ]
    return forest(
        points, value="rank correlation", ends=("low", "high"), row="of", side="with", at=0.0
    )


def _claims(pairs: Sequence[Pair]) -> list[Claim]:
    probes = [pair for pair in pairs if pair.with_task == NEIGHBOURS]
    claims = []
    if probes:
        claims.append(
            Claim(
                "linear probes and neighbours rank encoders alike: correlation above 0.7 beyond doubt",
                tuple(f"{pair.of} {_text(pair)}" for pair in probes),
                all(pair.found.low > 0.7 for pair in probes),
            )
        )
    others = [pair for pair in pairs if pair not in probes]
    by: dict[tuple[str, str], list[Pair]] = {}
    for pair in others:
        by.setdefault((pair.group, pair.of), []).append(pair)
    sure = {
        key: some
        for key, some in by.items()
        if all(pair.p < 0.05 for pair in some)
        and len({math.copysign(1, pair.found.rho) for pair in some}) == 1
    }
    if others:
        claims.append(
            Claim(
                "some diagnostic goes with every one of the scores (p < 0.05 for each, in one direction)",
                tuple(
                    f"{group}, {of}: {min(abs(p.found.rho) for p in some):.2f} or more "
                    f"({'+' if some[0].found.rho > 0 else '-'})"
                    for (group, of), some in sure.items()
                )
                or ("none",),
                bool(sure),
            )
        )
    return claims
