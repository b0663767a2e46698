"""leaderboard.md: a pure function of the records and the tasks."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from bench.report.board import Board, collect, name_of, seeds_of, unranked
from bench.report.links import picture_links, study_links
from bench.report.ranks import normalised, overall_ranks
from bench.report.sections.diagnostics import diagnostic_tables
from bench.report.sections.families import facts, family_tables
from bench.report.sections.few_labels import few_tables
from bench.report.sections.sharing import sharing_tables
from bench.report.sections.sharing_headline import headline
from bench.report.sections.shifts import shift_tables
from bench.report.sections.zero_shot import exposure_table, zero_shot_tables
from bench.report.text import interval_text, names_text, table
from bench.results.record import Record
from bench.results.store import Store
from bench.statistics.intervals import Interval, scored_interval
from bench.tasks.task import FAMILIES, Task

__all__ = ["render"]


def render(store: Store, tasks: Mapping[str, Task], *, overall: Sequence[str]) -> str:
    """The board in Markdown. `overall` are the tasks whose mean normalised score orders it."""
    board = collect(store, tasks, _attempt)
    parts = [
        "# Leaderboard",
        "Made by `reptransfer leaderboard` from the records; do not edit. Scores are in per cent with "
        "their 95 % interval: test images resampled, and training seeds too where training draws "
        "random numbers; of zero-shot scores, classes left out in turn. A score counts only if its "
        "record is complete and fresh.",
        *_overall(board, overall),
    ]
    for family in FAMILIES:
        parts += family_tables(board, family)
        parts += few_tables(board) if family == "few_labels" else []
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
                family_tables(board, board.tasks[name].family),
                few_tables(board),
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
        line += [name_of(owner, encoder, records), interval_text(mean), *facts(records, overall)]
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
