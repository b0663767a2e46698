"""Tables for LaTeX with booktabs; the long one is a longtable. In per cent where the metric is a share.

Intervals are written as [low, high]: they are not symmetric about the value. A score is bold where its
rank is 1 alone, so that all other ranked scores of the task are significantly below it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from bench.errors import printable
from bench.report.exports.rows import ScoreRow
from bench.report.ranks import range_text
from bench.statistics.metrics import METRICS

# "[" and "*" after the end of a line are an argument of it; ligatures of ` ' " change what is read.
_ESCAPES = {
    "\\": r"\textbackslash{}",
    "{": r"\{",
    "}": r"\}",
    "$": r"\$",
    "&": r"\&",
    "#": r"\#",
    "%": r"\%",
    "_": r"\_",
    "^": r"\textasciicircum{}",
    "~": r"\textasciitilde{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    "[": "{[}",
    "]": "{]}",
    "*": "{*}",
    "`": "{}`{}",
    "'": "'{}",
    '"': r"\char34{}",
}
_NOTE = """\
% Needs \\usepackage{booktabs} and, for the long table, \\usepackage{longtable}.
% Per cent with 95 % intervals over test rows and seeds (ausuc: over classes). In parentheses the range of
% the rank on the task (all pairs tested, Holm's adjustment, 5 %). Bold: first alone.
"""


def latex_text(rows: Sequence[ScoreRow], *, wide: bool) -> str:
    """A table that \\input takes; texts are escaped and set as they are."""
    return _NOTE + (_wide(rows) if wide else _long(rows))


def escaped_latex(text: str) -> str:
    """`text` on one line, so that LaTeX sets it and obeys nothing in it.

    >>> print(escaped_latex("50 % of a_b"), escaped_latex("\\\\input{x}"))
    50 \\% of a\\_b \\textbackslash{}input\\{x\\}
    """
    text = "".join(_ESCAPES.get(c, c) for c in printable(text))
    return re.sub("-(?=-)", "-{}", text)  # no dashes of hyphens


def _long(rows: Sequence[ScoreRow]) -> str:
    head = ["encoder", "task", "metric", "score", "rank", "$n$", "seeds"]
    lines = [
        [
            escaped_latex(row.short_name),
            escaped_latex(row.task),
            escaped_latex(row.metric),
            _score(row),
            _rank(row),
            str(row.n_test),
            str(row.seeds),
        ]
        for row in rows
    ]
    body = [r"\begin{longtable}{lllrrrr}", r"\toprule", _line(head), r"\midrule", r"\endhead"]
    return "\n".join([*body, *map(_line, lines), r"\bottomrule", r"\end{longtable}"]) + "\n"


def _wide(rows: Sequence[ScoreRow]) -> str:
    tasks = list(dict.fromkeys(row.task for row in rows))
    by_cell = {(row.owner, row.encoder, row.task): row for row in rows}
    lines = []
    for owner, encoder, name in sorted({(r.owner, r.encoder, r.short_name) for r in rows}):
        cells = [by_cell.get((owner, encoder, task)) for task in tasks]
        lines.append([escaped_latex(name), *("--" if c is None else _ranked(c) for c in cells)])
    head = ["encoder", *map(escaped_latex, tasks)]
    body = [rf"\begin{{tabular}}{{l{'r' * len(tasks)}}}", r"\toprule", _line(head), r"\midrule"]
    return "\n".join([*body, *map(_line, lines), r"\bottomrule", r"\end{tabular}"]) + "\n"


def _line(cells: Sequence[str]) -> str:
    return " & ".join(cells) + r" \\"


def _score(row: ScoreRow) -> str:
    scale = METRICS[row.metric].scale
    value, low, high = (
        f"{scale * end:.2f}".replace("-", "$-$") for end in (row.value, row.low, row.high)
    )
    first = (row.first_rank, row.last_rank) == (1, 1) and row.compared > 1
    return rf"\textbf{{{value}}} [{low}, {high}]" if first else f"{value} [{low}, {high}]"


def _ranked(row: ScoreRow) -> str:
    return f"{_score(row)} ({_rank(row)})" if row.first_rank else _score(row)


def _rank(row: ScoreRow) -> str:
    if row.first_rank is None or row.last_rank is None:
        return "--"
    return range_text(row.first_rank, row.last_rank).replace("-", "--")
