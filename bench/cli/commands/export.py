"""`reptransfer export`: scores as tables for other programs; of one encoder a card, and files for hubs."""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from bench.cli.options import Parsers, add_command, add_options, results_to_read
from bench.cli.terminal import OK, print_json, print_progress
from bench.errors import BenchError

if TYPE_CHECKING:
    from bench.report.board import Board
    from bench.report.exports.rows import ScoreRow
    from bench.report.ranks import Row

FORMATS = ("csv", "parquet", "json", "latex", "card", "eval-results")
OF_ONE = ("card", "eval-results")  # encoder
_MOST_REASONS = 10  # lines about what is left out


def add(parsers: Parsers) -> None:
    parser = add_command(parsers, "export", run, "export scores, ranks and intervals")
    parser.add_argument(
        "format",
        metavar="FORMAT",
        choices=FORMATS,
        help="csv, parquet, json or latex: tables; card: a model card of one encoder in Markdown; "
        "eval-results: of one encoder, for hubs",
    )
    parser.add_argument("--out", metavar="FILE", help="write this file (default: standard output)")
    parser.add_argument(
        "--wide",
        action="store_true",
        help="a line an encoder, a column a task, instead of a line a score",
    )
    parser.add_argument(
        "--encoder",
        metavar="SPEC",
        action="append",
        default=[],
        help="only these encoders; repeatable",
    )
    parser.add_argument(
        "--task", metavar="GLOB", action="append", default=[], help="only these tasks; repeatable"
    )
    parser.add_argument(
        "--family",
        metavar="NAME",
        action="append",
        default=[],
        help="only these families; repeatable",
    )
    parser.add_argument(
        "--form",
        choices=("every-eval-ever", "hub"),
        help="of eval-results: JSON of Every Eval Ever (default), or YAML of the Hugging Face hub",
    )
    parser.add_argument(
        "--benchmark",
        metavar="OWNER/NAME",
        help="the hub's data set whose eval.yaml defines the tasks",
    )
    add_options(parser, "--results")


def run(arguments: argparse.Namespace) -> int:
    _check(arguments)
    from bench.files.writing import write_atomically
    from bench.report.exports.rows import chosen_encoders, chosen_tasks, left_out_of, score_rows
    from bench.report.leaderboard import collected
    from bench.results.store import Store

    board = collected(Store(results_to_read(arguments)))
    if not board.rows:
        raise BenchError(f"{arguments.results} has no scores that count; run something first")
    tasks = chosen_tasks(board, arguments.task, arguments.family)
    encoders = chosen_encoders(board, arguments.encoder)
    encoders = [row for row in encoders if any(task in board.rows[row] for task in tasks)]
    if not encoders:
        raise BenchError("no encoder of these has a score on these tasks; leave out a filter")
    if arguments.format in OF_ONE and len(encoders) > 1:
        names = ", ".join(f"{owner}/{encoder}" for owner, encoder in encoders[:3])
        raise BenchError(
            f"{arguments.format} is of one encoder, and --encoder means {len(encoders)} ({names}, ...); "
            "name one as OWNER/SPEC"
        )
    rows = score_rows(board, tasks, encoders)
    board.recall.save()
    content = _content(arguments, board, tasks, encoders[0], rows)
    left_out = left_out_of(
        board,
        tasks if arguments.task or arguments.family else None,
        encoders if arguments.encoder else None,
    )
    for line in left_out[:_MOST_REASONS]:
        print_progress(f"not counted or not ranked: {': '.join(filter(None, line)):.300}")
    if left_out[_MOST_REASONS:]:
        print_progress(f"and {len(left_out) - _MOST_REASONS} more reasons: see boards/records.md")
    if arguments.out is not None:
        write_atomically(Path(arguments.out), content)
    if arguments.json:
        where = {"text": content.decode()} if arguments.out is None else {"file": arguments.out}
        print_json({"format": arguments.format, "scores": len(rows), "left_out": left_out, **where})
    elif arguments.out is None:
        print(content.decode(), end="")
    else:
        print(f"{len(rows)} scores of {len(encoders)} encoders in {arguments.out}")
    return OK


def _check(arguments: argparse.Namespace) -> None:
    """Raise BenchError for options that do not go together, before anything is computed."""
    if arguments.format == "parquet" and arguments.out is None:
        raise BenchError("parquet is no text; name a file with --out FILE")
    if arguments.out is not None and Path(arguments.out).is_dir():
        raise BenchError(f"{arguments.out!r} is a folder; name a file with --out FILE")
    if arguments.wide and arguments.format in OF_ONE:
        raise BenchError(
            f"--wide is of tables (csv, parquet, json, latex), not of {arguments.format}"
        )
    if arguments.format in OF_ONE and not arguments.encoder:
        raise BenchError(f"{arguments.format} is of one encoder; name it with --encoder SPEC")
    if arguments.format != "eval-results" and (arguments.form or arguments.benchmark):
        raise BenchError("--form and --benchmark are of eval-results alone; leave them out")
    if arguments.form == "hub" and arguments.benchmark is None:
        raise BenchError(
            "the hub shows scores on data sets that its users have made a benchmark; name the one whose "
            "eval.yaml has these tasks with --benchmark OWNER/NAME"
        )
    if arguments.form != "hub" and arguments.benchmark is not None:
        raise BenchError("--benchmark is of --form hub; give both")


def _content(
    arguments: argparse.Namespace,
    board: Board,
    tasks: Sequence[str],
    first: Row,
    rows: Sequence[ScoreRow],
) -> bytes:
    """What is written of these rows in the format of the command line; `first` is the first encoder."""
    wide = arguments.wide
    if arguments.format == "parquet":
        from bench.report.exports.parquet_table import parquet_bytes

        return parquet_bytes(rows, wide=wide)
    if arguments.format == "csv":
        from bench.report.exports.csv_table import csv_text

        text = csv_text(rows, wide=wide)
    elif arguments.format == "json":
        from bench.report.exports.json_table import json_text

        text = json_text(rows, wide=wide)
    elif arguments.format == "latex":
        from bench.report.exports.latex_table import latex_text

        text = latex_text(rows, wide=wide)
    elif arguments.format == "card":
        from bench.report.exports.model_card import card_text

        text = card_text(board, first, tasks, stated=_stated(board, *first))
    elif arguments.form == "hub":
        from bench.report.exports.hub_results import hub_text

        text = hub_text(rows, benchmark=arguments.benchmark)
    else:
        text = _every_eval_ever(board, first, rows)
    return text.encode()


def _every_eval_ever(board: Board, row: Row, rows: Sequence[ScoreRow]) -> str:
    import time

    from bench.report.exports.every_eval_ever import every_eval_ever_text

    records = board.rows[row].values()
    versions = [record.measured.get("versions") for record in records]
    library = sorted(
        {str(v.get("reptransfer", "unknown")) for v in versions if isinstance(v, dict)}
    )
    return every_eval_ever_text(
        rows,
        pretrained=any(record.encoder.pretrained_on for record in records),
        library=", ".join(library) or "unknown",
        now=time.time(),
    )


def _stated(board: Board, owner: str, encoder: str) -> list[tuple[str, str]]:
    """What the entry's owner says of it; nothing where there is no entry.toml, or a broken one."""
    from bench.entries.entry import FILE, read_entry

    path = board.store.root / owner / encoder / FILE
    if not os.path.isfile(path):
        return []
    try:
        entry = read_entry(path)
    except BenchError as error:
        print_progress(f"left out: {error}")
        return []
    words = ("title", "contact", "licence", "hardware", "paper", "code")
    stated = [(word, getattr(entry, word)) for word in words if getattr(entry, word)]
    stated.insert(1, ("authors", ", ".join(entry.authors)))
    for part in entry.weights:
        where = part.url or "in the entry"
        stated.append(
            ("weights", f"{part.name}, {part.bytes} bytes, SHA-256 {part.sha256}, {where}")
        )
    return stated
