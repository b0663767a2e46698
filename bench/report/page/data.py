"""What the page carries: scores, standard errors of all differences, answers, curves, gains."""

from __future__ import annotations

import math
from base64 import b64decode, b64encode
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np

from bench.errors import BenchError
from bench.files.reading import read_text
from bench.naming import registry
from bench.naming.specs import share_images
from bench.report.answers import answers
from bench.report.board import Board, is_control
from bench.report.names import short_name
from bench.report.page.ties import freedom_codes, packed, se_codes, steps
from bench.report.ranks import Row, task_ranks
from bench.report.sections.diagnostics import mean_values
from bench.report.sections.families import gain_over_baseline
from bench.report.sections.few_labels import curve_points
from bench.report.sections.shifts import shift_points
from bench.results.record import Record
from bench.results.store import SHEET, STUDIES
from bench.statistics.intervals import Interval
from bench.statistics.metrics import METRICS
from bench.statistics.ranking import pair_variances
from bench.statistics.variance import Array, Scored
from bench.tasks.families import FAMILIES
from bench.tasks.task import Task

NORMAL = 1.959963984540054  # 97.5 % quantile
MOST_FIGURES = 2_000_000  # bytes of the figures of studies; further ones are named only
FROM_COUNTS = "its scores are from counts"


def page_data(board: Board) -> dict[str, Any]:
    """As JSON has it, of a board as `collect` gives it; numbers are in each task's metric."""
    rows = sorted(board.rows)
    names = [name for name in board.tasks if any(name in r for r in board.rows.values())]
    tasks = [board.tasks[name] for name in names]
    cells = [cell for i, row in enumerate(rows) for cell in _cells(board, i, row, names)]
    errors, freedoms = _pairs(board, rows, names, cells)
    families = [name for name in FAMILIES if any(task.family == name for task in tasks)]
    return {
        "families": [{"name": name, "title": FAMILIES[name].title} for name in families],
        "encoders": [_encoder(row, board.rows[row]) for row in rows],
        "tasks": [
            _task(board, task, images)
            for task, images in zip(tasks, _same_images([t.dataset for t in tasks]), strict=True)
        ],
        "cells": cells,
        "absent": [list(line) for line in sorted(set(board.left_out))],
        "pairs": packed(errors, freedoms),
        **steps(),
        "answers": [
            {"question": a.question, "text": a.text, "page": a.page} for a in answers(board)
        ],
        "curves": [curve for i, row in enumerate(rows) for curve in _curves(board, i, row, names)],
        "gains": [gain for i, row in enumerate(rows) for gain in _gains(board, i, row, names)],
        "diagnostics": [
            values for i, row in enumerate(rows) for values in _diagnostics(board, i, row, names)
        ],
        "pictures": [
            {"encoder": i, "path": "/".join([*row, SHEET])}
            for i, row in enumerate(rows)
            if board.store.root.joinpath(*row, SHEET).is_file()
        ],
        "studies": _studies(board),
    }


def _encoder(row: Row, records: Mapping[str, Record]) -> dict[str, Any]:
    owner, spec = row
    first = next(iter(records.values()))
    seconds = [record.seconds.get("total", 0.0) for record in records.values()]
    return {
        "name": short_name(spec, owner),
        "owner": owner,
        "spec": spec,
        "control": is_control(first),
        "group": first.encoder.group,
        "parameters": first.encoder.parameters,
        "features": first.encoder.dim,
        "pretrained": bool(first.encoder.pretrained_on),
        "trained": any(
            training.images_seen for record in records.values() for training in record.training
        ),
        "seconds": round(sum(seconds), 1),
    }


def _same_images(datasets: Sequence[str]) -> list[str]:
    """For each data set the first of those whose images it shows, or that share others with it."""
    groups: list[list[str]] = []
    for dataset in datasets:
        shared = [g for g in groups if any(share_images(dataset, other) for other in g)]
        merged = [*(other for group in shared for other in group), dataset]
        groups = [*(g for g in groups if g not in shared), merged]
    return [next(group[0] for group in groups if dataset in group) for dataset in datasets]


def _task(board: Board, task: Task, images: str) -> dict[str, Any]:
    """`images` is equal for tasks on the same images; a score less `chance`, divided by `unit`, is 0 at
    chance, 1 at the ceiling, and rises with quality."""
    metric = METRICS[task.primary.metric]
    records = [r[task.name] for r in board.rows.values() if task.name in r]
    unit = task.ceiling - task.chance
    return {
        "name": task.name,
        "title": task.title,
        "family": task.family,
        "dataset": task.dataset,
        "images": images,
        "metric": task.primary.metric,
        "scale": metric.scale,
        "sign": 1 if metric.higher_is_better else -1,
        "chance": task.chance,
        "ceiling": task.ceiling,
        "unit": unit if metric.higher_is_better else -abs(unit),
        "rows": (records[0].data.rows or {}).get("test"),
        "by": task.primary.interval,
        "overall": task.name in board.overall,
        "baseline": task.baseline,
    }


def _cells(board: Board, encoder: int, row: Row, names: Sequence[str]) -> Iterator[list[Any]]:
    for number, name in enumerate(names):
        if name not in board.rows[row]:
            continue
        record, task = board.rows[row][name], board.tasks[name]
        reason = board.reason_unranked(record)
        if not reason and board.is_from_counts(record) and not task.keeps_counts:
            reason = FROM_COUNTS
        ranks = task_ranks(board, name).get(row, (None, None))
        numbers = [_rounded(n) for n in (record.score.value, record.score.low, record.score.high)]
        seconds = round(record.seconds.get("total", 0.0), 1)
        yield [
            encoder,
            number,
            *numbers,
            *ranks,
            reason,
            seconds,
            str(record.supervision),
            board.level(record),
        ]


def _rounded(value: float) -> float:
    return float(f"{value:.7g}")


def _pairs(
    board: Board, rows: Sequence[Row], names: Sequence[str], cells: Sequence[Sequence[Any]]
) -> tuple[list[Array], list[Array]]:
    """Codes of standard errors and of degrees of freedom of all pairs of ranked encoders, task by task."""
    errors, freedoms = list[Array](), list[Array]()
    for number, name in enumerate(names):
        ranked = [rows[cell[0]] for cell in cells if cell[1] == number and not cell[7]]
        records, task = [board.rows[row][name] for row in ranked], board.tasks[name]
        texts = board.recall("pairs", records, partial(_codes, board, task, records))
        for codes, text in zip((errors, freedoms), texts, strict=True):
            codes.append(np.frombuffer(b64decode(text), np.uint8))
    return errors, freedoms


def _codes(board: Board, task: Task, records: Sequence[Record]) -> list[str]:
    """Codes of standard errors and of degrees of freedom of all pairs, in base64."""
    variance, freedom = _differences(board, task, records)
    upper = np.triu_indices(len(records), 1)
    unit = abs(task.ceiling - task.chance)
    codes = se_codes(np.sqrt(variance[upper]) / unit), freedom_codes(freedom[upper])
    return [b64encode(of_pairs.tobytes()).decode() for of_pairs in codes]


def _differences(board: Board, task: Task, records: Sequence[Record]) -> tuple[Array, Array]:
    """Variances (e, e) of the differences of primaries, and their degrees of freedom (e, e).

    By test rows they are paired. Otherwise, or where records have other rows, each score enters by its own
    interval, and the sum of two standard errors bounds that of the difference."""
    if task.primary.interval == "rows" and len(records) > 1:
        bounds = METRICS[task.primary.metric].bounds
        scored = []
        for record in records:
            scores = board.row_scores(record)
            scored.append(Scored.of(np.stack(list(scores.values())), list(scores), bounds))
        if len({len(s.rows) for s in scored}) == 1:
            return pair_variances([scored], [1.0])
    ends = np.array([[r.score.value, r.score.low, r.score.high] for r in records]).reshape(-1, 3)
    error = np.maximum(ends[:, 0] - ends[:, 1], ends[:, 2] - ends[:, 0]) / NORMAL
    total = error[:, None] + error[None]
    return np.square(total), np.full(total.shape, math.inf)


def _curves(board: Board, encoder: int, row: Row, names: Sequence[str]) -> Iterator[dict[str, Any]]:
    """Scores by labels a class, and by shift."""
    for number, name in enumerate(names):
        record, task = board.rows[row].get(name), board.tasks[name]
        if record is None or board.level(record) == "reported":
            continue
        points: list[tuple[str, float | None, Interval]] = []
        try:
            if task.replicates.per_class and task.primary.metric == "accuracy":
                kind, sizes = "few_labels", curve_points(board, task, record)
                points = [(str(n or "all"), n or None, score) for n, score in sizes.items()]
            elif task.replicates.shifts:
                kind, by_shift = "shift", shift_points(board, task, record)
                points = [
                    (f"{s} {by:g}" if s else "clean", by, i) for (s, by), i in by_shift.items()
                ]
        except BenchError as error:
            board.leave_out(row[1], f"details of {name}", str(error))
            continue
        if points:
            lines = [[x, number_, *_interval(score)] for x, number_, score in points]
            yield {"task": number, "encoder": encoder, "kind": kind, "points": lines}


def _interval(interval: Interval) -> list[float]:
    return [_rounded(n) for n in (interval.value, interval.low, interval.high)]


def _gains(board: Board, encoder: int, row: Row, names: Sequence[str]) -> Iterator[dict[str, Any]]:
    """Differences from the task's baseline."""
    records = board.computed().get(row, {})
    for number, name in enumerate(names):
        if name in records:
            gain = gain_over_baseline(board, records, records[name], board.tasks[name])
            if gain is not None:
                ends = dict(zip(("value", "low", "high"), _interval(gain), strict=True))
                yield {"task": number, "encoder": encoder, **ends}


def _diagnostics(
    board: Board, encoder: int, row: Row, names: Sequence[str]
) -> Iterator[dict[str, Any]]:
    """Means over trainings."""
    for number, name in enumerate(names):
        record = board.rows[row].get(name)
        for diagnostic in board.tasks[name].diagnostics if record else ():
            values = mean_values(record, diagnostic) if record else {}
            if values:
                numbers = {key: _rounded(value) for key, value in values.items()}
                yield {"encoder": encoder, "task": number, "of": diagnostic, "values": numbers}


def _studies(board: Board) -> list[dict[str, Any]]:
    """The package's studies: first words of each report, claims, and figures as SVG."""
    studies, left = list[dict[str, Any]](), MOST_FIGURES
    for name in registry.names("studies"):
        folder = board.store.root / STUDIES / name
        try:
            text = read_text(folder / "report.md", "a report", links=False)
        except BenchError:
            continue
        figures = []
        for path in sorted(folder.glob("*.svg")):
            try:
                figure = read_text(path, "a figure", links=False)
            except BenchError:
                continue
            if len(figure) <= left:
                left -= len(figure)
                figures.append({"file": path.name, "svg": figure})
        summary = registry.find("studies", name).summary
        paragraphs = [p for p in text.split("\n\n") if not p.startswith(("#", "|", "!", "`"))]
        studies.append(
            {"name": name, "summary": summary, "text": paragraphs[:2], "figures": figures}
        )
    return studies
