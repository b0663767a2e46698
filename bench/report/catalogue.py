"""Components, tasks and suites by name, read without importing a component."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from bench.errors import BenchError, unknown
from bench.naming import registry

if TYPE_CHECKING:
    from bench.tasks.task import Task

LISTS = ("encoders", "tasks", "protocols", "datasets", "diagnostics", "suites", "studies")


def listing(kind: str) -> list[tuple[str, str]]:
    """Names and one-line summaries of one of `LISTS`."""
    if kind not in ("suites", "tasks"):
        component: Any = kind
        return [
            (name, registry.find(component, name).summary) for name in registry.names(component)
        ]
    from bench.tasks import files as taskfiles

    if kind == "suites":
        return [(name, taskfiles.suite(name).title) for name in taskfiles.suites()]
    return [(name, taskfiles.load(name).title) for name in taskfiles.names()]


def details(text: str, own_tasks: Mapping[str, Task] | None = None) -> list[dict[str, Any]]:
    """Whatever has this name, or for components this spec: arguments, defaults, identity. `own_tasks`:
    tasks that are not of this package.

    Raises BenchError for an unknown name.
    """
    from bench.naming.grammar import split_name
    from bench.tasks import files as taskfiles

    matches: list[dict[str, Any]] = []
    try:
        head = split_name(text)[0]
    except BenchError:  # tasks and suites have other names
        head = re.split("[,@~]", text)[0]
    if text in taskfiles.names() or text in (own_tasks or {}):
        task = (own_tasks or {}).get(text) or taskfiles.load(text)
        kept = "counts by class" if task.keeps_counts else "of each test row"
        fields = dataclasses.asdict(task)
        matches.append({"kind": "task", **fields, "predictions": kept, "digest": task.digest})
    if text in taskfiles.suites():
        matches.append({"kind": "suite", **dataclasses.asdict(taskfiles.suite(text))})
    for kind in registry.KINDS:
        if head in registry.names(kind) or (kind == "encoders" and head.endswith(".py")):
            matches.append(_component(kind, head, text))
    if not matches:
        every_name = {name for group in LISTS for name, _ in listing(group)}
        raise unknown(
            "encoder, task, protocol, data set, diagnostic, suite or study", head, every_name
        )
    return matches


def _component(kind: registry.Kind, head: str, text: str) -> dict[str, Any]:
    from bench.naming.readings import settable
    from bench.naming.specs import resolve

    entry = registry.find(kind, head)
    parameters = settable(entry)
    shown = {
        "kind": "study" if kind == "studies" else kind.rstrip("s"),
        "summary": entry.summary,
        "about": entry.about,
        "schema": {
            p.name: p.annotation + ("" if p.default is registry.REQUIRED else f" = {p.default!r}")
            for p in parameters.values()
        },
    }
    required = [p.name for p in parameters.values() if p.default is registry.REQUIRED]
    if required and text == head:  # without them it has no identity yet
        return {**shown, "name": entry.name, "required": required, "file": str(entry.path)}
    return {**shown, **resolve(kind, text).identity, "file": str(entry.path)}


def inline(value: Any) -> str:
    """A value of `details` as text for a cell of a table."""
    if isinstance(value, dict):
        lines = [f"{k}: {inline(v)}" for k, v in value.items() if v not in (None, (), {})]
        return "\n".join(lines) or "-"
    if isinstance(value, list | tuple):
        return ", ".join(map(str, value)) or "-"
    return "-" if value is None or value == "" else str(value)
