"""The first board: answers, the overall ranking, a short table of each family, links to other boards."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from bench.errors import printable
from bench.report.answers import answers
from bench.report.board import Board, is_control, score_text, sort_value
from bench.report.links import MADE, front_image, front_link, front_plots
from bench.report.names import short_name
from bench.report.plots.files import by_page
from bench.report.plots.plot import Plot
from bench.report.plots.scores import most_scored
from bench.report.ranks import Row, overall_ranks, range_text, task_ranks
from bench.report.sections.left_out import left_out_lines
from bench.report.sections.overall import complete_rows, letter, mean_score
from bench.report.text import cut, escaped, interval_text, table
from bench.results.record import Record
from bench.tasks.families import FAMILIES

MOST = 40  # encoders above which a table shows FIRST and links the rest
FIRST = 20
TOP = 5  # encoders in the short table of a family
WIDEST = 160  # characters of a table
SPEC = 64  # characters of a spec in a table; the boards of families have it in full


def front(board: Board, pages: Mapping[str, str], plots: Sequence[Plot]) -> str:
    """In Markdown; `pages`: titles of the other boards by name. `plots`: those that have files."""
    by_board = by_page(plots)
    parts = [
        "# Leaderboard",
        f"{MADE} Per cent, with 95 % intervals "
        "over test images and training seeds (zero-shot: over classes). Ranks are ranges: an encoder "
        "ranked 2-4 does not differ significantly from two others (all pairs of a table tested, Holm's "
        "adjustment, 5 %).",
        *_answers(board),
        *_overall(board, by_board.get("overall", [])),
    ]
    for name, family in FAMILIES.items():
        if name in pages:
            parts += _family(board, name, family.title)
            parts += front_plots(board.store, by_board.get(name, []))
    lines = [f"- {front_link(board.store, escaped(title), page)}" for page, title in pages.items()]
    return "\n\n".join([*parts, "## All boards", "\n".join(lines), *_left_out(board)]) + "\n"


def _left_out(board: Board) -> list[str]:
    """The first reasons why something is not shown or not ranked, cut to fit."""
    lines = left_out_lines(board)
    if not lines:
        return []
    more = f"; {len(lines) - TOP} more reasons are there" if len(lines) > TOP else ""
    page = front_link(board.store, "records", "records")
    text = f"Not shown or not ranked, in full on the board of {page}"
    shown = [
        [cut(printable(cell), most) for cell, most in zip(line, (40, 40, 66), strict=True)]
        for line in lines[:TOP]
    ]
    return ["## Left out", f"{text}{more}.", table(["encoders", "where", "reason"], shown)]


def _answers(board: Board) -> list[str]:
    lines, asked = list[str](), ""
    for answer in answers(board):
        if answer.question != asked:
            lines.append(f"- {front_link(board.store, answer.question, answer.page)}")
            asked = answer.question
        lines.append(f"  - {answer.text}.")
    return ["## Answers", "\n".join(lines)] if lines else []


def _overall(board: Board, plots: Sequence[Plot]) -> list[str]:
    """The table, the last of the plots, and links to the others."""
    complete = complete_rows(board)
    if not complete:
        return []
    ranks, groups = overall_ranks(board, complete)
    lines = []
    for (row, records), rank, group in zip(complete, ranks, groups, strict=True):
        mean = mean_score(board, records)
        line = [range_text(*rank), letter(group), shown_name(row, board.rows[row]), _spec(row)]
        lines.append((-mean.value, [*line, interval_text(mean)]))
    shown, more = _shown(board, sorted(lines), "overall")
    means = ", ".join(f"`{name}`" for name in board.overall)
    text = f"Mean of {means}, each with chance at 0 and the ceiling at 100. Equal letters: a tie."
    ranking = table(["rank", "ties", "encoder", "spec", "score"], shown)
    pictures = [front_image(board.store, plot) for plot in plots[-1:]]
    links = front_plots(board.store, plots[:-1])
    return ["## Overall", text, ranking, *more, *links, *pictures]


def _shown(
    board: Board, lines: Sequence[tuple[float, list[str]]], page: str
) -> tuple[list[list[str]], list[str]]:
    """The first lines of a table, and a link to the others."""
    cells = [line for _, line in lines]
    if len(cells) <= MOST:
        return cells, []
    further = front_link(board.store, f"{len(cells) - FIRST} more encoders", page)
    return cells[:FIRST], [f"{further}."]


def _family(board: Board, name: str, title: str) -> list[str]:
    """The best encoders on the tasks of a family that most encoders have, as many tasks as fit."""
    scored = most_scored(board, name)
    names = scored[:4]
    if not names:
        return []
    while True:
        text = table(["encoder", *names], _lines(board, names))
        if len(names) == 1 or max(map(len, text.splitlines())) <= WIDEST:
            break
        names.pop()
    metrics = sorted({board.tasks[n].primary.metric for n in names})
    number, count = len(scored), sum(names[0] in of_row for of_row in board.rows.values())
    words = (
        f"{', '.join(metrics).capitalize()}: the first {min(TOP, count)} of "
        f"{count} encoders by the first column; {number} task{'s' if number > 1 else ''}."
    )
    return [f"## {front_link(board.store, title, name)}", words, text]


def _lines(board: Board, names: Sequence[str]) -> list[list[str]]:
    ranks = {name: task_ranks(board, name) for name in names}
    present = [row for row, records in board.rows.items() if names[0] in records]
    ranked = ranks[names[0]]
    # Those that have a rank first, if anybody has one.
    first = sorted(
        present,
        key=lambda row: (row not in ranked, -sort_value(board.rows[row][names[0]]), row),
    )
    return [
        [
            shown_name(row, board.rows[row]),
            *(_score(board.rows[row].get(name), ranks[name].get(row)) for name in names),
        ]
        for row in first[:TOP]
    ]


def _score(record: Record | None, ranks: tuple[int, int] | None) -> str:
    if record is None:
        return ""
    text = score_text(record)
    return f"{text} ({range_text(*ranks)})" if ranks else text


def shown_name(row: Row, records: Mapping[str, Record]) -> str:
    """Short, and marked if it is a control."""
    owner, encoder = row
    control = " (control)" if is_control(next(iter(records.values()))) else ""
    return short_name(encoder, owner) + control


def _spec(row: Row) -> str:
    return cut(row[1], SPEC)
