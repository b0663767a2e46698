"""leaderboard.md: a pure function of the records and the tasks."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from bench.comparison import paired
from bench.errors import BenchError
from bench.record import Record
from bench.report._board import Board, collect, name_of, seeds_of, sort_value, unranked
from bench.report._diagnostics import diagnostic_tables
from bench.report._few import few_tables
from bench.report._links import picture_links, study_links
from bench.report._ranks import normalised, overall_ranks, task_ranks
from bench.report._sharing import sharing_tables
from bench.report._sharing_headline import headline
from bench.report._shifts import shift_tables
from bench.report._table import interval_text, names_text, scale_of, table
from bench.report._zeroshot import exposure_table, zero_shot_tables
from bench.statistics import Interval, scored_interval
from bench.store import Store
from bench.task import FAMILIES, Task

__all__ = ["render"]

TITLES = {
    "probe": "Frozen: probes and neighbours",
    "shift": "Frozen, shifted test images",
    "finetune": "Fine-tuned",
    "few_labels": "Few labels",
    "multitask": "Multi-task",
    "zeroshot": "Zero-shot",
    "diagnostics": "What features are like",
}


def render(store: Store, tasks: Mapping[str, Task], *, overall: Sequence[str]) -> str:
    """The board in Markdown. `overall` are the tasks whose mean normalised score orders it."""
    board = collect(store, tasks, _attempt)
    parts = [
        "# Leaderboard",
        "Made by `reptransfer leaderboard` from the records; do not edit. Scores are in per cent with "
        "their 95 % interval: test images resampled, and training seeds too where training draws "
        "random numbers. A score counts only if its record is complete and fresh.",
        *_overall(board, overall),
    ]
    for family in FAMILIES:
        parts += _family(board, family)
        parts += shift_tables(board) if family == "shift" else []
        parts += [*headline(board), *sharing_tables(board)] if family == "multitask" else []
        parts += [*zero_shot_tables(board), *exposure_table(board)] if family == "zeroshot" else []
        parts += (
            [*diagnostic_tables(board), *picture_links(board)] if family == "diagnostics" else []
        )
    parts += study_links(store)
    parts += _calibration(board)
    parts += _data(board)
    parts += _left_out(board)
    return "\n\n".join(parts) + "\n"


def _attempt(board: Board) -> None:
    """Make every table of a board, whatever they say."""
    for records in board.rows.values():
        for name, record in records.items():
            seeds_of(record)
            for part in (
                _family(board, board.tasks[name].family),
                shift_tables(board),
                diagnostic_tables(board),
                _calibration(board),
                _data(board),
            ):
                "".join(part)


def _overall(board: Board, overall: Sequence[str]) -> list[str]:
    """Encoders with all the tasks of the overall score, best first; the others are named."""
    complete: list[tuple[tuple[str, str], list[Record]]] = []
    if not overall:
        return []
    for (owner, encoder), records in board.rows.items():
        lacking = [name for name in overall if name not in records]
        if lacking:
            board.leave(encoder, "overall", f"no score on {', '.join(lacking)}")
            continue
        why = next(filter(None, (unranked(records[name]) for name in overall)), "")
        if why:
            board.leave(encoder, "overall", why)
            continue
        complete.append(((owner, encoder), [records[name] for name in overall]))
    if not complete:
        return []
    ranks, groups = overall_ranks(board, complete)
    lines: list[tuple[float, list[str]]] = []
    for ((owner, encoder), records_of), rank, group in zip(complete, ranks, groups, strict=True):
        mean, records = _mean_score(board, records_of), board.rows[owner, encoder]
        line = [rank, chr(96 + group) if group < 27 else str(group)]
        line += [name_of(owner, encoder, records), interval_text(mean), *_facts(records, overall)]
        lines.append((-mean.value, line))
    head = [
        "rank",
        "ties",
        "encoder",
        "overall",
        "labels seen",
        "features",
        "parameters",
        "seconds",
    ]
    return [
        "## Overall",
        f"Mean of {', '.join(f'`{name}`' for name in overall)}, each normalised: chance is 0, the "
        "ceiling 100. No other encoder's entry moves it. Ranks are as certain as the data make them: "
        "2-4 cannot be told from two others (all pairs tested on the same images, Holm's adjustment, "
        "5 %); equal letters cannot be told from the best of their group.",
        table(head, [line for _, line in sorted(lines)]),
    ]


def _mean_score(board: Board, records: Sequence[Record]) -> Interval:
    """Mean normalised primary. Tasks on the same images are resampled together, others in
    quadrature."""
    by_data: dict[str, list[Record]] = {}
    for record in records:
        by_data.setdefault(record.data["digest"], []).append(record)
    value = low = high = 0.0
    for group in by_data.values():
        interval = scored_interval(normalised(board, group))
        share = 100 * len(group) / len(records)
        value += share * interval.value
        low += (share * (interval.value - interval.low)) ** 2
        high += (share * (interval.high - interval.value)) ** 2
    return Interval(value, value - math.sqrt(low), value + math.sqrt(high))


def _family(board: Board, family: str) -> list[str]:
    names = [name for name, task in board.tasks.items() if task.family == family]
    names = [name for name in names if any(name in records for records in board.rows.values())]
    if not names:
        return []
    lines = []
    ranks = {name: task_ranks(board, name) for name in names}
    for (owner, encoder), records in board.rows.items():
        if any(name in records for name in names):
            scores = [
                _score(board, records, name, ranks[name].get((owner, encoder), ""))
                for name in names
            ]
            best = max(sort_value(records[name]) for name in names if name in records)
            facts = _facts(records, [name for name in names if name in records])
            lines.append((-best, [name_of(owner, encoder, records), *scores, *facts]))
    head = ["encoder", *names, "labels seen", "features", "parameters", "seconds"]
    metrics = sorted({board.tasks[name].primary.metric for name in names})
    return [
        f"## {TITLES[family]}",
        f"Metric: {', '.join(metrics)}. In round brackets the rank, as far as it is certain: all pairs "
        "of a column tested on the same images, Holm's adjustment, 5 %."
        + _gains_told(board, names),
        table(head, [line for _, line in sorted(lines)]),
        *(few_tables(board) if family == "few_labels" else []),
    ]


def _score(board: Board, records: Mapping[str, Record], name: str, rank: str) -> str:
    if name not in records:
        return ""
    record, task = records[name], board.tasks[name]
    primary = record.primary or {}
    scale = scale_of(primary["metric"])
    text = interval_text(Interval(*(scale * primary[key] for key in ("value", "low", "high"))))
    text += f" ({rank})" if rank else ""
    gain = _gain(board, records, record, task)
    return f"{text}; gain {gain}" if gain else text


def _gains_told(board: Board, names: Sequence[str]) -> str:
    """Over what the gains of these tasks are; "" where none has a baseline."""
    told = []
    for name in names:
        other, mark, _ = (board.tasks[name].baseline or "").partition("~0")
        if other or mark:
            what = f"the untrained encoder on `{other or name}`" if mark else f"`{other}`"
            told.append(f"of `{name}` over {what}")
    return f" Gains, paired over test images: {'; '.join(told)}." if told else ""


def _gain(board: Board, records: Mapping[str, Record], record: Record, task: Task) -> str:
    """The primary minus the baseline's, paired; "" where the task has none."""
    if task.baseline is None:
        return ""
    name, mark, _ = task.baseline.partition("~0")
    name = name or record.task["id"]
    other = _untrained(board, record, name) if mark else records.get(name)
    other_task = board.tasks.get(name, task)
    if other is None or other is record:
        return ""
    try:
        difference, _ = paired(board.store, record, other, task, other_task)
    except BenchError as error:  # not asked the same: no gain, and the reason
        board.leave(record.encoder["id"], f"gain on {task.name}", str(error))
        return ""
    return interval_text(
        Interval(*(100 * getattr(difference, k) for k in ("value", "low", "high"))), "+"
    )


def _untrained(board: Board, record: Record, task: str) -> Record | None:
    """The same encoder at ~0 on `task`; where it has no record, one whose untrained trunk is the same
    (`encoder.start`)."""
    same = record.encoder["id"].partition("~")[0] + "~0"
    starts = [
        (encoder != same, encoder, records[task])
        for (owner, encoder), records in board.rows.items()
        if owner == record.owner and encoder.endswith("~0") and task in records
    ]
    for apart, _, other in sorted(starts, key=lambda each: each[:2]):
        start = other.encoder.get("start")
        if not apart or (start is not None and start == record.encoder.get("start")):
            return other
    return None


def _calibration(board: Board) -> list[str]:
    """Likelihood and calibration of the probabilistic tasks, before and after the temperature."""
    keys = ("nll", "calibrated_nll", "ece", "calibrated_ece")
    lines = []
    for (owner, encoder), records in board.rows.items():
        for name, record in records.items():
            if board.tasks[name].family != "probe" or (record.primary or {}).get("target") is None:
                continue
            scores = [r["scores"][record.primary["target"]] for r in record.replicates]  # type: ignore[index]
            if all("nll" in s for s in scores):
                means = [np.mean([s[k] for s in scores]) if k in scores[0] else None for k in keys]
                line = ["" if m is None else f"{m:.3f}" for m in means]
                lines.append([name, name_of(owner, encoder, records), *line])
    if not lines:
        return []
    head = ["task", "encoder", "NLL", "NLL, calibrated", "ECE", "ECE, calibrated"]
    return [
        "## Calibration",
        "Mean negative log-likelihood in nats; expected calibration error over 15 bins. Calibrated: "
        "divided by a temperature that was fitted on validation.",
        table(head, sorted(lines)),
    ]


def _data(board: Board) -> list[str]:
    found = {
        record.data["id"]: [
            record.data["id"],
            *(str(record.data["rows"][split]) for split in ("train", "val", "test")),
            str(record.data["test_in_train"]),
            f"`{record.data['digest']}`",
        ]
        for records in board.rows.values()
        for record in records.values()
    }
    head = ["data set", "train", "validation", "test", "test images also in train", "fingerprint"]
    return ["## Data", table(head, [found[key] for key in sorted(found)])] if found else []


def _left_out(board: Board) -> list[str]:
    """Equal reasons together."""
    if not board.left_out:
        return ["## Left out", "Nothing."]
    groups: dict[str, list[tuple[str, str]]] = {}
    for encoder, where, why in sorted(board.left_out):
        groups.setdefault(why, []).append((encoder, where))
    lines = [
        [names_text(e for e, _ in some), names_text(w for _, w in some), why]
        for why, some in groups.items()
    ]
    return ["## Left out", table(["encoders", "where", "why"], sorted(lines))]


def _facts(records: Mapping[str, Record], names: Sequence[str]) -> list[str]:
    """Labels seen, dimension, parameters, and the seconds of the named tasks together."""
    first = records[names[0]]
    dims = sorted({records[name].encoder["dim"] for name in names})
    seconds = sum(records[name].measured["seconds"]["total"] for name in names)
    return [
        str(first.supervision),
        ", ".join(map(str, dims)),
        str(first.encoder["parameters"]),
        f"{seconds:.0f}",
    ]
