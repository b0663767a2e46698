"""The tables of a board as values of JSON."""

from __future__ import annotations

from typing import Any

from bench.errors import printable
from bench.report.answers import answers
from bench.report.board import Board
from bench.report.exports.rows import as_dict, chosen_tasks, score_rows
from bench.report.names import short_name
from bench.report.ranks import overall_ranks
from bench.report.sections.overall import complete_rows, letter, mean_score
from bench.tasks.families import FAMILIES


def board_tables(board: Board) -> dict[str, Any]:
    """answers: question, text in Markdown, and the family whose board tells more. overall: the tasks that
    it is the mean of, and of each ranked encoder the mean normalised score (0: chance, 1: the ceiling)
    with its 95 % interval, ranks and letter of ties, the best first. families: name, title and scores as
    `rows.ScoreRow` has them. left_out: what does not count or has no rank."""
    return {
        "answers": [
            {"question": answer.question, "text": answer.text, "family": answer.page}
            for answer in answers(board)
        ],
        "overall": {"tasks": list(board.overall), "scores": _overall(board)},
        "families": [
            {
                "name": name,
                "title": family.title,
                "scores": [as_dict(row) for row in score_rows(board, tasks, sorted(board.rows))],
            }
            for name, family in FAMILIES.items()
            if (tasks := chosen_tasks(board, (), (name,)))
        ],
        "left_out": [
            {"encoder": printable(encoder), "where": printable(where), "reason": printable(reason)}
            for encoder, where, reason in sorted(set(board.left_out))
        ],
    }


def _overall(board: Board) -> list[dict[str, Any]]:
    complete = complete_rows(board)
    if not complete:
        return []
    ranks, groups = overall_ranks(board, complete)
    scores = []
    for ((owner, encoder), records), (first, last), group in zip(
        complete, ranks, groups, strict=True
    ):
        mean = mean_score(board, records)
        scores.append(
            {
                "owner": printable(owner),
                "encoder": printable(encoder),
                "short_name": short_name(encoder, owner),
                "first_rank": first,
                "last_rank": last,
                "ties": letter(group),
                "value": mean.value / 100,
                "low": mean.low / 100,
                "high": mean.high / 100,
            }
        )
    return sorted(scores, key=lambda line: (-line["value"], line["owner"], line["encoder"]))
