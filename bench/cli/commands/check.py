"""`reptransfer check`: the check kit of `bench.testing` on one component, task or file."""

from __future__ import annotations

import argparse
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bench.cli.options import Parsers, add_command, add_options
from bench.cli.terminal import FINDINGS, OK, print_json, print_table
from bench.errors import BenchError, unknown

KINDS: tuple[Any, ...] = ("encoders", "protocols", "datasets", "tasks")
_UNCHECKED: Mapping[Any, str] = {
    "diagnostics": "put it into bench/diagnostics, name it in a task's `diagnostics`, and run the task",
    "studies": "put it into bench/studies, and run `reptransfer study NAME`",
}


def add(parsers: Parsers) -> None:
    parser = add_command(
        parsers, "check", run, "check an encoder, protocol, data set or task by its rules"
    )
    parser.add_argument(
        "name", metavar="SPEC-or-FILE", help="pca,dim=16, my_encoder.py, my_task.toml, ..."
    )
    parser.add_argument(
        "--kind",
        choices=KINDS,
        help="which of two with the same name, or what a .py file holds (default: as its build says)",
    )
    add_options(parser, "--data")


def run(arguments: argparse.Namespace) -> int:
    kind = arguments.kind or _kind(arguments.name)
    if kind in _UNCHECKED:
        raise BenchError(f"{arguments.name}: {kind} have no checks; {_UNCHECKED[kind]}")
    checks = _run_checks(kind, arguments.name, arguments.data)
    if arguments.json:
        print_json(checks)
    else:
        print_table(["check", "", "rule or finding"], [_row(check) for check in checks])
    return FINDINGS if any(c["finding"] for c in checks) else OK


def _row(check: Mapping[str, str]) -> tuple[str, str, str]:
    if check["finding"]:
        return check["check"], "FAILED", check["finding"]
    if check["after"]:
        return check["check"], "not run", f"mend {check['after']} first"
    return check["check"], "ok", check["rule"]


def _kind(text: str) -> Any:
    """The first kind that has this name; a .py file says by its functions what it is, a .toml file is a
    task."""
    from bench.naming import registry
    from bench.tasks import files as taskfiles

    if text.endswith(".toml"):
        return "tasks"
    if file := re.match(r".*?\.py(?=[,@~]|$)", text, re.DOTALL):
        return registry.kind_of(file[0])
    name, all_names = re.split("[,@~]", text)[0], set[str]()
    for kind in KINDS:
        names = taskfiles.names() if kind == "tasks" else registry.names(kind)
        if name in names:
            return kind
        all_names |= {*names}
    for kind in _UNCHECKED:
        if name in registry.names(kind):
            return kind
    raise unknown("encoder, protocol, data set or task", name, all_names)


def _run_checks(kind: Any, text: str, data: str | None) -> list[Mapping[str, str]]:
    """Rule and finding of each check. An unknown name is reported before anything heavy is imported."""
    from bench.datasets.base import DataSets, data_root
    from bench.naming import registry
    from bench.naming.specs import resolve
    from bench.tasks.files import load

    task = load(text) if kind == "tasks" else None
    spec = None if task else resolve(kind, text)
    if spec is not None:
        _ = spec.identity  # raises for a file that is missing
        if spec.entry.takes == "files":
            raise BenchError(f"{text} encodes no images: its files are checked when they are read")
    from bench import testing as kit

    if kind in ("encoders", "protocols") and text in registry.names(kind):
        spec = kit.example(kind, text)
    from bench.running.workspace import Workspace

    if task is not None:
        workspace = Workspace(DataSets(data_root(data)))
        workspace.dataset(task.dataset)  # missing data are reported once, not by every check
        file = Path(text) if text.endswith(".toml") else None
        return list(kit.run_checks(kit.task_checks(), (task, workspace), path=file))
    assert spec is not None
    path = spec.entry.path
    if kind == "encoders":
        return list(kit.run_checks(kit.encoder_checks(), kit.EncoderCase(spec), path=path))
    if kind == "protocols":
        return list(kit.run_checks(kit.protocol_checks(), kit.ProtocolCase(spec), path=path))
    return list(kit.inspect_dataset(kit.DataSetCase(text, DataSets(data_root(data)))))
