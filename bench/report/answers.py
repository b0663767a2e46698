"""The main questions, and what the records answer: a line for each, with its figure and interval."""

from __future__ import annotations

import html
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from bench.report.board import Board, score_text, sort_value
from bench.report.names import short_name
from bench.report.ranks import Row, overall_ranks, range_text, task_ranks
from bench.report.sections.families import gains_over_baseline
from bench.report.sections.few_labels import curve_points
from bench.report.sections.overall import complete_rows
from bench.report.sections.sharing_headline import gains
from bench.report.text import code, escaped, interval_text, percent_text, scaled
from bench.statistics.intervals import Interval
from bench.tasks.task import Task

SHOWN = 6  # answers to one question, at most


@dataclass(frozen=True, slots=True)
class Answer:
    """question: as a reader asks it. text: in Markdown, escaped. page: the name of the family's board."""

    question: str
    text: str
    page: str


def answers(board: Board) -> list[Answer]:
    """Of every question to which there is an answer, in their order."""
    found = list[Answer]()
    for question, page, read in QUESTIONS:
        found += [Answer(question, text, page) for text in list(read(board))[:SHOWN]]
    return found


def first_answers(board: Board) -> list[str]:
    """The first answer to each question, as plain text: not yet safe for a terminal."""
    first = dict[str, str]()
    for answer in answers(board):
        first.setdefault(answer.question, _plain(answer.text))
    return [f"{question} {text[0].upper()}{text[1:]}." for question, text in first.items()]


def _plain(text: str) -> str:
    r"""What a text in Markdown shows.

    >>> _plain(r"on `a_b`: **c\_d &lt;e** 5")
    'on a_b: c_d <e 5'
    """
    parts = _CODE.split(text)
    return "".join(
        part[1:-1] if index % 2 else html.unescape(re.sub(r"\\(.)|\*\*", r"\1", part))
        for index, part in enumerate(parts)
    )


_CODE = re.compile(r"((?<!\\)`[^`]*`)")


def _best_frozen(board: Board) -> Iterator[str]:
    """The highest linear probe on each data set, and how many others are not significantly below."""
    tasks = [t for t in _tasks(board, "probe") if t.resolved_protocol.entry.name == "linear"]
    for task in sorted(tasks, key=lambda t: (-len(_ranked(board, t)), t.name)):
        ranked = _ranked(board, task)
        if len(ranked) < 2:
            continue
        level = [row for row, (first, _) in task_ranks(board, task.name).items() if first == 1]
        others = f"{len(level) - 1} more" if len(level) > 1 else "no other"
        count = sum(task.name in records for records in board.rows.values()) - len(ranked)
        without = f"; {count} more have no rank" if count else ""
        best = _scored(board, task, ranked[0])
        yield (
            f"on {code(task.name)}: {best} of {len(ranked)} ranked encoders; {others} of them may be "
            f"first{without}"
        )


def _few_labels(board: Board) -> Iterator[str]:
    """Whose mean is highest with the fewest labels and with all."""
    for task in _tasks(board, "few_labels"):
        curves = {
            row: curve_points(board, task, board.rows[row][task.name])
            for row in _ranked(board, task)
        }
        sizes = [n for n in next(iter(curves.values()), {}) if all(n in c for c in curves.values())]
        if len(sizes) < 2:
            continue
        parts = []
        for size in (sizes[0], *(n for n in (10,) if n in sizes[1:-1]), sizes[-1]):
            best = max(curves, key=lambda row: curves[row][size].value)
            labels = f"{size} a class" if size else "all"
            parts.append(f"{labels} {_name(best)} {percent_text(curves[best][size])}")
        yield f"on {code(task.name)}, the highest mean by labels: " + "; ".join(parts)


def _fine_tuning(board: Board) -> Iterator[str]:
    """Gains of fine-tuning over training from scratch."""
    for task in _tasks(board, "finetune"):
        if (task.baseline or "").endswith("~0"):
            yield from _gains_text(board, task, gains_over_baseline(board, task))


def _sharing(board: Board) -> Iterator[str]:
    """Gains of hard and of the best soft sharing over separate towers."""
    for task in _tasks(board, "multitask"):
        hard, soft = gains(board, task)
        for words, found in (("one tower for all tasks", hard), ("the best soft sharing", soft)):
            if found:
                yield f"{words} on {code(task.name)}, points: " + _spread_text(found, scale=1)


def _unseen(board: Board) -> Iterator[str]:
    """The best encoder and method by data set."""
    by_data: dict[str, list[tuple[float, Task, Row]]] = {}
    for task in _tasks(board, "zeroshot"):
        if task.primary.metric == "ausuc":
            for row in _ranked(board, task)[:1]:
                value = sort_value(board.rows[row][task.name])
                by_data.setdefault(task.dataset, []).append((value, task, row))
    for dataset, found in by_data.items():
        _, task, row = max(found, key=lambda item: (item[0], item[1].name))
        yield (
            f"on {code(dataset)}: {_scored(board, task, row)} by {code(task.name)}, the highest of "
            f"{len(found)} task{'s' * (len(found) > 1)}; chance {100 * task.chance:.1f}"
        )


def _significance(board: Board) -> Iterator[str]:
    """How many pairs differ overall."""
    complete = complete_rows(board)
    if len(complete) > 1:
        ranges, groups = overall_ranks(board, complete)
        count = len(ranges)
        apart = sum(low - 1 + count - high for low, high in ranges) // 2
        yield (
            f"overall, {apart} of {count * (count - 1) // 2} pairs of {count} ranked encoders differ "
            f"(5 %, Holm); there are {max(groups)} groups of ties"
        )


QUESTIONS: Sequence[tuple[str, str, Callable[[Board], Iterable[str]]]] = (
    ("Which frozen encoder is best?", "probe", _best_frozen),
    ("What do few labels change?", "few_labels", _few_labels),
    ("Does fine-tuning pay, against training from scratch?", "finetune", _fine_tuning),
    ("Does sharing help, against separate towers?", "multitask", _sharing),
    ("Who tells classes never seen in training?", "zeroshot", _unseen),
    ("Which differences are significant?", "overall", _significance),
)


def _tasks(board: Board, family: str) -> list[Task]:
    return [task for task in board.tasks.values() if task.family == family]


def _ranked(board: Board, task: Task) -> list[Row]:
    """Encoders with a rank on the task, the best first."""
    present = list(task_ranks(board, task.name))
    return sorted(present, key=lambda row: (-sort_value(board.rows[row][task.name]), row))


def _name(row: Row) -> str:
    owner, encoder = row
    return f"**{escaped(short_name(encoder, owner))}**"


def _scored(board: Board, task: Task, row: Row) -> str:
    """Name, score, interval and ranks."""
    ranks = range_text(*task_ranks(board, task.name)[row])
    return f"{_name(row)} {score_text(board.rows[row][task.name])} (rank {ranks})"


def _gains_text(board: Board, task: Task, found: Mapping[Row, Interval]) -> Iterator[str]:
    if found:
        baseline = str(task.baseline).removesuffix("~0")
        scratch = f"training from scratch ({code(baseline)})"
        yield f"{code(task.name)} minus {scratch}, points: " + _spread_text(found)


def _spread_text(found: Mapping[Row, Interval], *, scale: float = 100) -> str:
    """The least and the greatest, and how many are above and below 0."""
    order = sorted(found, key=lambda row: (found[row].value, row))
    above = sum(gain.low > 0 for gain in found.values())
    below = sum(gain.high < 0 for gain in found.values())
    ends = [order[-1], *([order[0]] if len(order) > 1 else [])]
    texts = [f"{_name(row)} {interval_text(scaled(found[row], scale), '+')}" for row in ends]
    count = len(found)
    return f"{' down to '.join(texts)}; above 0 for {above} of {count} encoders, below for {below}"
