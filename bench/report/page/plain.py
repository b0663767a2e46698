"""Tables in the HTML of the page: the overall ranking and each family, for readers without JavaScript."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from bench.report.board import Board
from bench.report.ranks import overall_ranks, range_text
from bench.report.sections.overall import complete_rows, letter, mean_score
from bench.report.text import interval_text
from bench.statistics.intervals import Interval


class PlainTable(NamedTuple):
    """Texts, not yet escaped; the first cell of a line names it."""

    title: str
    caption: str
    head: list[str]
    lines: list[list[str]]


def plain_tables(board: Board, contents: Mapping[str, Any]) -> list[PlainTable]:
    """Of a board and of what its page carries."""
    names = {
        (encoder["owner"], encoder["spec"]): encoder["name"]
        + (" (control)" if encoder["control"] else "")
        for encoder in contents["encoders"]
    }
    overall = _overall(board, names)
    families = [_family(contents, family, list(names.values())) for family in contents["families"]]
    return [*([overall] if overall else []), *families]


def _overall(board: Board, names: Mapping[tuple[str, str], str]) -> PlainTable | None:
    complete = complete_rows(board)
    if not complete:
        return None
    ranks, groups = overall_ranks(board, complete)
    lines = []
    for (row, records), rank, group in zip(complete, ranks, groups, strict=True):
        mean = mean_score(board, records)
        line = [names[row], range_text(*rank), letter(group), interval_text(mean), row[1]]
        lines.append((-mean.value, line))
    caption = f"Mean of {', '.join(board.overall)}, each with chance at 0 and the ceiling at 100"
    head = ["encoder", "rank", "ties", "score", "spec"]
    return PlainTable("Overall", caption, head, [line for _, line in sorted(lines)])


def _family(contents: Mapping[str, Any], family: Mapping[str, str], names: list[str]) -> PlainTable:
    tasks = [i for i, task in enumerate(contents["tasks"]) if task["family"] == family["name"]]
    column = {task: place for place, task in enumerate(tasks)}
    lines: dict[int, list[str]] = {}
    for encoder, task, value, low, high, first, last, *_ in contents["cells"]:
        if task in column:
            line = lines.setdefault(encoder, [""] * len(tasks))
            scale = contents["tasks"][task]["scale"]
            text = interval_text(Interval(value, low, high), scale=scale)
            line[column[task]] = f"{text} ({range_text(first, last)})" if first else text
    title = family["title"]
    return PlainTable(
        title,
        f"{title}: scores with 95 % intervals and ranks",
        ["encoder", *(contents["tasks"][task]["name"] for task in tasks)],
        [[names[encoder], *line] for encoder, line in sorted(lines.items())],
    )
