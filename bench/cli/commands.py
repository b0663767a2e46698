"""The commands that are about many cells: run, plan, status, study; the cache, and the check kit."""

from __future__ import annotations

import argparse
import json
import re
import signal
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.cli.terminal import print_json, print_table
from bench.errors import BenchError, unknown

if TYPE_CHECKING:
    from bench.cli.selection import Selection

__all__ = [
    "AGAIN", "CHECKED", "FINDINGS", "OK", "cache", "check", "pictures", "plan", "run", "status", "study",
]  # fmt: skip

OK, FINDINGS = 0, 1
CHECKED: tuple[Any, ...] = ("encoders", "protocols", "datasets", "tasks")
AGAIN = "finished cells are kept, the same command goes on from there"


def _selected(given: argparse.Namespace, suite_name: str | None = None) -> Selection:
    from bench.cli.selection import Selection

    return Selection.of(
        suite_name=given.suite or suite_name,
        encoders=given.encoder,
        tasks=given.task,
        images=given.images,
        semantics=given.semantics,
        data=given.data,
        seeds=given.seeds,
    )


def run(given: argparse.Namespace) -> int:
    from bench.report.leaderboard import board_path, update_board
    from bench.results.store import Store
    from bench.running.cache import Cache, cache_root
    from bench.running.executor import run_cells

    chosen, store = _selected(given), Store(Path(given.results))
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # as Ctrl-C: a scheduler's word

    def tell(line: str) -> None:
        print(line, file=sys.stderr, flush=True)

    try:
        outcome = run_cells(
            chosen.cells,
            root=chosen.datasets.root,
            datasets=chosen.datasets,
            store=store,
            cache=Cache(cache_root(given.cache)),
            seeds=chosen.seeds,
            device=given.device,
            minutes=given.max_minutes,
            tell=tell,
        )
    except KeyboardInterrupt:
        update_board(store, chosen.tasks)
        raise
    if outcome.done_before == len(chosen.cells):
        tell(f"nothing to do: all {len(chosen.cells)} cells have a fresh record in {given.results}")
    text = update_board(store, chosen.tasks)
    if given.json:
        print_json([record.to_json() for record in outcome.records])
    else:
        print(text)
        tell(f"the board is in {board_path(store)}")
    if outcome.left:
        tell(f"time is up: {outcome.left} of {len(chosen.cells)} cells are left; {AGAIN}")
    return FINDINGS if outcome.count("failed") else OK


def study(given: argparse.Namespace) -> int:
    from bench.datasets.base import DataSets, data_root
    from bench.naming import registry
    from bench.naming.specs import resolve
    from bench.running.cache import Cache, cache_root

    spec = resolve("studies", given.study)
    from bench.results.store import STUDIES
    from bench.studies.base import Setting, keep

    def tell(line: str) -> None:
        print(line, file=sys.stderr, flush=True)

    signal.signal(signal.SIGTERM, signal.default_int_handler)
    setting = Setting(
        datasets=DataSets(data_root(given.data)),
        folder=Path(given.results) / STUDIES / spec.text,
        cache=Cache(cache_root(given.cache)),
        device=given.device,
        tell=tell,
        results=Path(given.results),
    )
    report = registry.load(spec.entry).run(setting=setting, **spec.arguments)
    path = keep(report, setting.folder)
    if given.json:
        print_json(dict(report.data))
    else:
        print(report.text)
        tell(f"the report is in {path}")
    return OK


def pictures(given: argparse.Namespace) -> int:
    """Draw an encoder's pictures into a folder, or keep their sheet beside its records."""
    from bench.datasets.base import DataSets, data_root
    from bench.naming.specs import resolve
    from bench.running.cache import Cache, cache_root

    resolve("encoders", given.name)
    for named in filter(None, (given.pictures, given.results)):
        if Path(named).exists() and not Path(named).is_dir():
            raise BenchError(f"{named!r} is a file; name a folder for the pictures")
    from bench.pictures.album import album, keep, save
    from bench.running.machine import chosen_device

    signal.signal(signal.SIGTERM, signal.default_int_handler)
    found = album(
        given.name,
        on=given.on,
        datasets=DataSets(data_root(given.data)),
        cache=Cache(cache_root(given.cache)),
        device=chosen_device(given.device),
    )
    paths = [] if given.pictures is None else save(found, Path(given.pictures))
    paths += [] if given.results is None else [keep(found, Path(given.results))]
    if given.json:
        print_json([str(path) for path in paths])
    else:
        print(*paths, sep="\n")
    return OK


def _standings(given: argparse.Namespace, suite_name: str | None = None) -> Any:
    from bench.results.status import standing
    from bench.results.store import Store

    chosen, store = _selected(given, suite_name), Store(Path(given.results))
    return chosen, store, [standing(c, store, seeds=chosen.seeds) for c in chosen.cells]


def plan(given: argparse.Namespace) -> int:
    from bench.report.overview import plan_lines, plan_summary
    from bench.results.status import in_order
    from bench.running.cache import Cache, cache_root
    from bench.running.forecast import Cost, Forecast

    chosen, store, standings = _standings(given)
    due = in_order([each for each in standings if each.due], store)
    records = [found for found in store.records() if not isinstance(found, BenchError)]
    forecast = Forecast(records, Cache(cache_root(given.cache)).entries())
    costs = [
        Cost(0.0, 0.0, 0.0, (0, 0), False)
        if each.rescored
        else forecast.cost(each.cell, seeds=chosen.seeds)
        for each in due
    ]
    lines = plan_lines(due, costs)
    if given.json:
        head = ("encoder", "task", "why", "kept")
        parts = [
            dict(zip(("fit", "extract", "protocol"), cost.parts, strict=True)) for cost in costs
        ]
        told = [dict(zip(head, line, strict=False)) for line in lines]
        print_json([{**line, "seconds": part} for line, part in zip(told, parts, strict=True)])
        return OK
    if lines:
        print_table(["encoder", "task", "why", "in the cache", "time"], lines)
    print(plan_summary(standings, costs))
    return OK


def status(given: argparse.Namespace) -> int:
    from bench.cli.selection import suite_of
    from bench.report.overview import status_lines, status_summary
    from bench.results.store import Store

    named = given.task or given.encoder or given.images
    whole = None if named else suite_of(Store(Path(given.results)))
    _, _, standings = _standings(given, whole)
    lines = status_lines(standings)
    if given.json:
        names = ("encoder", "task", "state", "reason")
        cells = [(s.cell.name, s.cell.task.name, s.state, s.reason) for s in standings]
        print_json([dict(zip(names, cell, strict=True)) for cell in cells])
    else:
        if lines:
            print_table(["state", "encoders", "tasks", "why"], lines)
        print(f"{status_summary(standings)}, in {given.results}")
    return OK if all(each.state in ("done", "declined") for each in standings) else FINDINGS


def cache(given: argparse.Namespace) -> int:
    from bench.report.overview import cache_lines
    from bench.running.cache import Cache, cache_root

    root = cache_root(given.cache)
    most = {} if given.max_gb is None else {"most_bytes": int(given.max_gb * 2**30)}
    cache = Cache(root, **most)
    if given.what == "gc":
        removed = cache.collect(days=given.days)
        found = [str(path) for path in removed]
        print(json.dumps(found)) if given.json else print(f"{len(found)} files removed from {root}")
        return OK
    if given.what == "verify":
        told = [(str(entry.path), why) for entry, why in cache.verify()]
        broken = [(path, why) for path, why in told if why]
        if given.json:
            print_json([{"file": path, "broken": why} for path, why in told])
        else:
            for path, why in broken:
                print(f"{path} was broken and is removed: {why}")
            print(f"{len(told) - len(broken)} of {len(told)} files in {root} are whole")
        return FINDINGS if broken else OK
    entries = cache.entries()
    if given.json:
        print_json(
            [{"file": str(e.path), "bytes": e.size, "notes": dict(e.notes)} for e in entries]
        )
    else:
        if entries:
            print_table(["kind", "encoder", "what", "MB", "unused for"], cache_lines(entries))
        size = sum(entry.size for entry in entries) / 1e9
        print(f"{len(entries)} files, {size:.2f} GB, in {root}")
    return OK


def check(given: argparse.Namespace) -> int:
    found = _findings(given.kind or _kind(given.name), given.name, given.data)
    if given.json:
        print_json(found)
    else:
        lines = [
            (c["check"], "FAILED" if c["finding"] else "ok", c["finding"] or c["rule"])
            for c in found
        ]
        print_table(["check", "", "rule or finding"], lines)
    return FINDINGS if any(c["finding"] for c in found) else OK


def _kind(text: str) -> Any:
    """The first of `CHECKED` that has this name; a .py file is an encoder, a .toml file a task."""
    from bench.naming import registry
    from bench.tasks import files as taskfiles

    if text.endswith(".toml"):
        return "tasks"
    head, every = re.split("[,@~]", text)[0], set[str]()
    for kind in CHECKED:
        known = taskfiles.names() if kind == "tasks" else registry.names(kind)
        if head in known or re.search(r"\.py(?=[,@~]|$)", text):
            return kind
        every |= {*known}
    raise unknown("encoder, protocol, data set or task", head, every)


def _findings(kind: Any, text: str, data: str | None) -> list[Mapping[str, str]]:
    """What the check kit says; a name that nothing has is told before anything is imported."""
    from bench.datasets.base import DataSets, data_root
    from bench.naming import registry
    from bench.naming.specs import resolve
    from bench.tasks.files import load

    task = load(text) if kind == "tasks" else None
    spec = None if task else resolve(kind, text)
    from bench import testing as kit

    if kind in ("encoders", "protocols") and text in registry.names(kind):
        spec = kit.example(kind, text)
    from bench.running.workspace import Workspace

    if task is not None:
        workspace = Workspace(DataSets(data_root(data)))
        workspace.dataset(task.dataset)  # absent data are told once, not check by check
        return list(kit.run_checks(kit.task_checks(), (task, workspace)))
    assert spec is not None
    if kind == "encoders":
        return list(kit.run_checks(kit.encoder_checks(), kit.EncoderCase(spec)))
    if kind == "protocols":
        return list(kit.run_checks(kit.protocol_checks(), kit.ProtocolCase(spec)))
    case = kit.DataSetCase(text, DataSets(data_root(data)))
    return [
        *kit.run_checks(kit.dataset_checks(), case.dataset),
        *kit.run_checks(kit.semantics_checks(), case.dataset.meta),
        *kit.run_checks(kit.build_checks(), case),
    ]
