"""The command `reptransfer`: its words and options, exit statuses, and the quick commands."""

from __future__ import annotations

import argparse
import math
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench.cli import commands
from bench.cli.commands import FINDINGS, OK
from bench.cli.terminal import print_json, print_table
from bench.errors import BenchError
from bench.report.catalogue import LISTS, details, inline, listing

__all__ = ["main"]

RUNS = "reptransfer-runs"
USAGE, INTERRUPTED = 2, 130


def main(argv: Sequence[str] | None = None) -> int:
    """Exit status: 0 ok, 1 findings (a failed cell, a stale board, a broken rule), 2 usage."""
    given = _parser().parse_args(argv)
    try:
        status: int = given.call(given)
        sys.stdout.flush()
    except BenchError as error:
        print(f"reptransfer: {error}", file=sys.stderr)
        return USAGE
    except KeyboardInterrupt:
        print(f"\nreptransfer: stopped; {commands.AGAIN}", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:  # the reader has left, as `head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return OK
    return status


def _parser() -> argparse.ArgumentParser:
    top = argparse.ArgumentParser(
        prog="reptransfer", description="How good is this representation, and for what?"
    )
    parsers = top.add_subparsers(required=True, metavar="COMMAND")

    def command(name: str, call: Any, text: str) -> argparse.ArgumentParser:
        made = parsers.add_parser(name, help=text, description=text)
        made.set_defaults(call=call)
        made.add_argument("--json", action="store_true", help="print JSON")
        return made

    made = command("list", _list, "list what there is")
    made.add_argument("what", choices=LISTS)
    made = command("show", _show, "show an encoder, task, protocol, data set or suite")
    made.add_argument("name", metavar="NAME", help="a name or a spec, such as pca,dim=16")
    made.add_argument("--pictures", metavar="DIR", help="draw what the encoder has learnt, as PNGs")
    made.add_argument("--results", metavar="DIR", help="keep a sheet of them beside its records")
    made.add_argument(
        "--on", metavar="DATASET", help="whose images (default: fashion_mnist, or digits)"
    )
    made.add_argument("--data", metavar="DIR", help="data root (default: $REPTRANSFER_DATA)")
    made.add_argument("--cache", metavar="DIR", help="weights and features ($REPTRANSFER_CACHE)")
    made.add_argument("--device", help="cpu, cuda, ... (default: a GPU where there is one)")
    made = command("run", commands.run, "run encoders on tasks; run again to go on")
    _selecting(made)
    made.add_argument("--device", help="cpu, cuda, ... (default: a GPU where there is one)")
    made.add_argument(
        "--max-minutes", type=_minutes, metavar="M", help="stop then; the same command goes on"
    )
    made = command("plan", commands.plan, "what `run` would do, and how long it would take")
    _selecting(made)
    made = command(
        "status", commands.status, "what is done, missing, stale, failed or declined, and why"
    )
    _selecting(made)
    made = command("study", commands.study, "answer a question with many cells; run again to go on")
    made.add_argument("study", metavar="NAME", help="see `list studies`")
    made.add_argument(
        "--semantics", metavar="TOML", help="attributes of their classes: zero-shot too"
    )
    made.add_argument("--data", metavar="DIR", help="data root (default: $REPTRANSFER_DATA)")
    made.add_argument("--cache", metavar="DIR", help=_CACHE)
    made.add_argument("--results", metavar="DIR", default=RUNS, help=f"default: ./{RUNS}")
    made.add_argument("--device", help="cpu, cuda, ... (default: a GPU where there is one)")
    made = command(
        "cache", commands.cache, "kept weights and features: list, verify, or clear away"
    )
    made.add_argument("what", choices=("ls", "verify", "gc"))
    made.add_argument("--cache", metavar="DIR", help=_CACHE)
    made.add_argument("--days", type=_minutes, metavar="D", help="gc: also what D days left unused")
    made.add_argument("--max-gb", type=_minutes, metavar="G", help="gc: keep G GB (default: 20)")
    made = command("compare", _compare, "compare two encoders, paired over test images")
    made.add_argument("a", metavar="A", help="an encoder's spec")
    made.add_argument("b", metavar="B", help="another's")
    made.add_argument("--task", metavar="GLOB", default="*", help="only these tasks")
    made.add_argument("--results", metavar="DIR", help=_where())
    made = command("leaderboard", _leaderboard, "make leaderboard.md from the records")
    made.add_argument("--check", action="store_true", help="only say whether it is up to date")
    made.add_argument("--results", metavar="DIR", help=_where())
    made = command(
        "check", commands.check, "check an encoder, protocol, data set or task by its rules"
    )
    made.add_argument(
        "name", metavar="SPEC-or-FILE", help="pca,dim=16, my_encoder.py, my_task.toml"
    )
    made.add_argument(
        "--kind", choices=commands.CHECKED, help="of a .py file, or of a name that two have"
    )
    made.add_argument("--data", metavar="DIR", help="data root (default: $REPTRANSFER_DATA)")
    made = command(
        "semantics", _semantics, "word vectors to a table of classes for zero-shot tasks"
    )
    made.add_argument("vectors", metavar="VECTORS", help="GloVe's or word2vec's text format")
    made.add_argument(
        "--classes", required=True, metavar="C", help="a table, or a .txt file with a name a line"
    )
    made.add_argument("--out", required=True, metavar="T.toml", help="the table to write")
    return top


_CACHE = "weights and features ($REPTRANSFER_CACHE)"


def _selecting(made: argparse.ArgumentParser) -> None:
    made.add_argument("--suite", metavar="S", help="encoders and tasks (default: demo)")
    made.add_argument("--encoder", action="append", metavar="SPEC", help="only this; repeatable")
    made.add_argument(
        "--task", action="append", metavar="GLOB", help="only these, or a TOML file; repeatable"
    )
    made.add_argument("--images", metavar="DIR", help="your own images, a sub-folder a class")
    made.add_argument(
        "--semantics", metavar="TOML", help="attributes of their classes: zero-shot too"
    )
    made.add_argument("--data", metavar="DIR", help="data root (default: $REPTRANSFER_DATA)")
    made.add_argument("--cache", metavar="DIR", help=_CACHE)
    made.add_argument("--results", metavar="DIR", default=RUNS, help=f"default: ./{RUNS}")
    made.add_argument("--seeds", type=_positive, metavar="N", help="runs of what draws numbers")


def _where() -> str:
    return f"default: ./results if it is there, else ./{RUNS}"


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no number from 1")
    return int(text)


def _minutes(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 <= value < 1e9:
        raise argparse.ArgumentTypeError(f"{text!r} is no number from 0")
    return value


def _list(given: argparse.Namespace) -> int:
    lines = listing(given.what)
    if given.json:
        print_json([{"name": name, "summary": summary} for name, summary in lines])
    else:
        print_table(["name", "what it is"], lines)
    return OK


def _show(given: argparse.Namespace) -> int:
    if given.pictures is not None or given.results is not None:
        return commands.pictures(given)
    found = details(given.name)
    if given.json:
        print_json(found)
    else:
        for item in found:
            print_table(["", item.pop("kind")], [(k, inline(v)) for k, v in item.items()])
    return OK


def _results(given: argparse.Namespace) -> Path:
    root = Path(given.results or ("results" if Path("results").is_dir() else RUNS))
    if not root.is_dir():
        raise BenchError(f"no folder {str(root)!r}; name a results folder, or run something first")
    return root


def _compare(given: argparse.Namespace) -> int:
    import dataclasses

    from bench.scoring.comparison import compare

    root = _results(given)
    found = compare(given.a, given.b, results=root, tasks=given.task)
    if given.json:
        print_json([{**dataclasses.asdict(c), "verdict": c.verdict} for c in found])
        return OK
    winner = {"A": given.a, "B": given.b, "tie": "tie"}
    lines = [
        (
            c.task,
            c.metric,
            f"{c.a:.4f}",
            f"{c.b:.4f}",
            f"{c.difference.value:+.4f} [{c.difference.low:+.4f}, {c.difference.high:+.4f}]",
            f"{c.p:.2g}",
            f"{c.adjusted:.2g}",
            winner[c.verdict],
        )
        for c in found
    ]
    print_table(["task", "metric", given.a, given.b, "A - B", "p", "p, Holm", "better"], lines)
    return OK


def _leaderboard(given: argparse.Namespace) -> int:
    from bench.report.leaderboard import board_path, board_text, update_board
    from bench.results.store import Store

    store = Store(_results(given))
    path = board_path(store)
    now = path.read_text(encoding="utf-8", errors="replace") if path.is_file() else None
    text = board_text(store) if given.check else update_board(store)
    if given.json:
        print_json({"file": str(path), "fresh": now == text})
    if given.check:
        if now != text:
            print(f"{path} is stale; make it anew with: reptransfer leaderboard", file=sys.stderr)
        return OK if now == text else FINDINGS
    if not given.json:
        print(text)
    return OK


def _semantics(given: argparse.Namespace) -> int:
    import dataclasses

    from bench.data.semantics import read, write
    from bench.data.word_vectors import from_vectors

    if not given.out.endswith(".toml"):
        raise BenchError(f"--out {given.out!r}: a name that ends with .toml is wanted")
    if given.classes.endswith(".txt"):
        try:
            lines = Path(given.classes).read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise BenchError(f"{given.classes} cannot be read: {error}") from error
        table = from_vectors(Path(given.vectors), [line.strip() for line in lines if line.strip()])
    else:
        own = read(given.classes)
        table = from_vectors(Path(given.vectors), own.classes)
        table = dataclasses.replace(table, splits=own.splits)
    write(table, Path(given.out))
    told = {"file": given.out, "classes": table.classes, "width": len(table.attributes)}
    if given.json:
        print_json(told)
    else:
        print(f"{given.out} has {len(table.classes)} classes, {told['width']} numbers each")
    return OK
