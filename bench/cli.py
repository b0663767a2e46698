"""The command `reptransfer`: list, show, run, compare, leaderboard, check."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench.errors import BenchError
from bench.report.catalogue import LISTS, details, inline, listing
from bench.specs import resolve

__all__ = ["main"]

RUNS = "reptransfer-runs"
OK, FINDINGS, USAGE, INTERRUPTED = 0, 1, 2, 130


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
        again = "finished cells are kept; the same command goes on from there"
        print(f"\nreptransfer: stopped; {again}", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:  # the reader has left, as `head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return OK
    return status


def _parser() -> argparse.ArgumentParser:
    top = argparse.ArgumentParser(
        prog="reptransfer", description="How good is this representation, and for what?"
    )
    commands = top.add_subparsers(required=True, metavar="COMMAND")

    def command(name: str, call: Any, text: str) -> argparse.ArgumentParser:
        made = commands.add_parser(name, help=text, description=text)
        made.set_defaults(call=call)
        made.add_argument("--json", action="store_true", help="print JSON")
        return made

    made = command("list", _list, "list what there is")
    made.add_argument("what", choices=LISTS)
    made = command("show", _show, "show an encoder, task, protocol, data set or suite")
    made.add_argument("name", metavar="NAME", help="a name or a spec, such as pca,dim=16")
    made = command("run", _run, "run encoders on tasks; run again to go on")
    made.add_argument("--suite", metavar="S", help="encoders and tasks to run (default: demo)")
    made.add_argument("--encoder", action="append", metavar="SPEC", help="only this; repeatable")
    made.add_argument(
        "--task", action="append", metavar="GLOB", help="only these, or a TOML file; repeatable"
    )
    made.add_argument("--images", metavar="DIR", help="your own images, a sub-folder a class")
    made.add_argument("--data", metavar="DIR", help="data root (default: $REPTRANSFER_DATA)")
    made.add_argument("--cache", metavar="DIR", help="weights and features ($REPTRANSFER_CACHE)")
    made.add_argument("--device", help="cpu, cuda, ... (default: a GPU where there is one)")
    made.add_argument("--results", metavar="DIR", default=RUNS, help=f"default: ./{RUNS}")
    made.add_argument("--seeds", type=_positive, metavar="N", help="runs of what draws numbers")
    made = command("compare", _compare, "compare two encoders, paired over test images")
    made.add_argument("a", metavar="A", help="an encoder's spec")
    made.add_argument("b", metavar="B", help="another's")
    made.add_argument("--task", metavar="GLOB", default="*", help="only these tasks")
    made.add_argument("--results", metavar="DIR", help=_where())
    made = command("leaderboard", _leaderboard, "make leaderboard.md from the records")
    made.add_argument("--check", action="store_true", help="only say whether it is up to date")
    made.add_argument("--results", metavar="DIR", help=_where())
    made = command("check", _check, "check an encoder against the rules that all keep to")
    made.add_argument("encoder", metavar="SPEC-or-FILE", help="pca,dim=16 or my_encoder.py")
    return top


def _where() -> str:
    return f"default: ./results if it is there, else ./{RUNS}"


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no number from 1")
    return int(text)


def _print_json(value: Any) -> None:
    print(json.dumps(value, indent=2, sort_keys=True))


def _table(head: Sequence[str], lines: Sequence[Sequence[Any]]) -> str:
    from tabulate import tabulate

    return tabulate(lines, headers=head, tablefmt="simple", disable_numparse=True)


def _list(given: argparse.Namespace) -> int:
    lines = listing(given.what)
    if given.json:
        _print_json([{"name": name, "summary": summary} for name, summary in lines])
    else:
        print(_table(["name", "what it is"], lines))
    return OK


def _show(given: argparse.Namespace) -> int:
    found = details(given.name)
    if given.json:
        _print_json(found)
    else:
        for item in found:
            print(_table(["", item.pop("kind")], [(k, inline(v)) for k, v in item.items()]))
    return OK


def _run(given: argparse.Namespace) -> int:
    from bench.cache import Cache, cache_root
    from bench.datasets.base import DataSets, data_root
    from bench.executor import run_cells
    from bench.folders import folder_tasks
    from bench.identity import Cell
    from bench.store import Store
    from bench.taskfiles import select, suite

    chosen = suite(given.suite or "demo")
    among = chosen.tasks if given.suite else None
    root = data_root(given.data)
    datasets = DataSets(root)
    if given.images is None:
        tasks = select(given.task or chosen.tasks, among if given.task else None)
    elif given.task:
        raise BenchError("give either --images DIR, which makes its own tasks, or --task")
    else:
        tasks = folder_tasks(Path(given.images), datasets)
    encoders = [resolve("encoders", spec) for spec in given.encoder or chosen.encoders]
    cells = [Cell(task, encoder) for task in tasks for encoder in encoders]
    store = Store(Path(given.results))

    def tell(line: str) -> None:
        print(line, file=sys.stderr, flush=True)

    outcome = run_cells(
        cells,
        root=root,
        datasets=datasets,
        store=store,
        cache=Cache(cache_root(given.cache)),
        seeds=given.seeds or (None if given.task or given.encoder else chosen.seeds),
        device=given.device,
        tell=tell,
    )
    if outcome.done_before == len(cells):
        tell(f"nothing to do: all {len(cells)} cells have a fresh record in {given.results}")
    text, board = _board(store, tasks={task.name: task for task in tasks})
    if not board.is_file() or board.read_text(encoding="utf-8") != text:
        _write_board(board, text)
    if given.json:
        _print_json([record.to_json() for record in outcome.records])
    else:
        print(text)
        tell(f"the board is in {board}")
    return FINDINGS if outcome.count("failed") else OK


def _board(store: Any, tasks: dict[str, Any] | None = None) -> tuple[str, Path]:
    """The board's text, and its file: beside a folder named results, else inside the folder."""
    from bench.report.markdown import render
    from bench.taskfiles import load, names, suite, suites

    known = {name: load(name) for name in names()} | (tasks or {})
    present = {path.stem for path in store.root.glob("*/*/*.json")}
    order = sorted(suites(), key=lambda name: (name != "core", name))
    rankings = [suite(name).overall for name in order]
    overall = next((r for r in rankings if r and present & set(r)), ())
    root = store.root.parent if store.root.name == "results" else store.root
    return render(store, known, overall=overall), root / "leaderboard.md"


def _write_board(path: Path, text: str) -> None:
    from bench.files import write_atomically

    write_atomically(path, text.encode())


def _results(given: argparse.Namespace) -> Path:
    root = Path(given.results or ("results" if Path("results").is_dir() else RUNS))
    if not root.is_dir():
        raise BenchError(f"no folder {str(root)!r}; name a results folder, or run something first")
    return root


def _compare(given: argparse.Namespace) -> int:
    import dataclasses

    from bench.comparison import compare

    root = _results(given)
    found = compare(given.a, given.b, results=root, tasks=given.task)
    if given.json:
        _print_json([{**dataclasses.asdict(c), "verdict": c.verdict} for c in found])
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
    print(_table(["task", "metric", given.a, given.b, "A - B", "p", "p, Holm", "better"], lines))
    return OK


def _leaderboard(given: argparse.Namespace) -> int:
    from bench.store import Store

    text, path = _board(Store(_results(given)))
    now = path.read_text(encoding="utf-8", errors="replace") if path.is_file() else None
    if given.json:
        _print_json({"file": str(path), "fresh": now == text})
    if given.check:
        if now != text:
            print(f"{path} is stale; make it anew with: reptransfer leaderboard", file=sys.stderr)
        return OK if now == text else FINDINGS
    if now != text:
        _write_board(path, text)
    if not given.json:
        print(text)
    return OK


def _check(given: argparse.Namespace) -> int:
    spec = resolve("encoders", given.encoder)
    from bench.testing import encoder_checks, run_checks, tiny_encoder

    found = list(run_checks(encoder_checks(), tiny_encoder(spec)))
    if given.json:
        _print_json(found)
    else:
        lines = [
            (c["check"], "FAILED" if c["finding"] else "ok", c["finding"] or c["rule"])
            for c in found
        ]
        print(_table(["check", "", "rule or finding"], lines))
    return FINDINGS if any(c["finding"] for c in found) else OK
