"""Who may import whom: a folder only folders of lower rows; inside a folder anything but a circle."""

from __future__ import annotations

import ast
from collections.abc import Mapping
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1] / "bench"
# Folders, and the files beside them, lowest row first. CONTRIBUTING.md gives the idea of each.
ROWS = [
    ["errors", "digests", "seeding", "threads", "progress"],
    ["files", "solvers", "statistics", "drawing"],
    ["data"],
    ["naming", "encoders", "protocols"],
    ["datasets", "diagnostics"],
    ["tasks"],
    ["results"],
    ["scoring"],
    ["running"],
    ["report", "pictures", "testing", "api"],
    ["studies", "entries"],
    ["cli", "__init__"],
    ["__main__"],
]
KINDS = ("encoders", "protocols", "datasets", "diagnostics", "studies")
MODULES = sorted(p for p in ROOT.rglob("*.py") if p.name != "__init__.py" or p.parent == ROOT)


def name(path: Path) -> str:
    return path.relative_to(ROOT).with_suffix("").as_posix()


def folder(module: str) -> str:
    return module.partition("/")[0]


def row(module: str) -> int:
    for number, folders in enumerate(ROWS):
        if folder(module) in folders:
            return number
    raise AssertionError(f"{folder(module)} is in no row: give it one here and in CONTRIBUTING.md")


def component(module: str) -> bool:
    parts = module.split("/")
    private = any(part.startswith("_") or part == "parts" for part in parts)
    return parts[0] in KINDS and not private and parts[-1] != "base"


def imports(text: str) -> set[str]:
    """The `bench` modules that a source imports, also inside functions; not for types alone."""
    tree = ast.parse(text)
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            node.body = []
    dotted: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] == "bench":
            dotted |= {f"{node.module}.{alias.name}" for alias in node.names} | {node.module or ""}
        elif isinstance(node, ast.Import):
            dotted |= {alias.name for alias in node.names}
    paths = [ROOT.parent / Path(*module.split(".")).with_suffix(".py") for module in dotted]
    return {name(path) for path in paths if path.is_file() and path.is_relative_to(ROOT)}


def faults(module: str, imported: set[str]) -> list[str]:
    """Why `module` must not import some of these, a line each."""
    lines = []
    for imported_module in sorted(imported - {module}):
        if folder(imported_module) != folder(module):
            if row(imported_module) >= row(module):
                lines.append(f"{module} must not import {imported_module}: its row is not lower")
            if any(part.startswith("_") for part in imported_module.split("/")):
                lines.append(
                    f"{module} must not import {imported_module}: it is private to its folder"
                )
        elif component(module) and component(imported_module):
            lines.append(
                f"{module} must not import {imported_module}: what both need belongs into parts/"
            )
    return lines


def circle(below: Mapping[str, set[str]]) -> set[str]:
    """Modules that import each other in a circle, or import one that does."""
    remaining = {module: set(others) - {module} for module, others in below.items()}
    while free := [module for module, others in remaining.items() if not others & remaining.keys()]:
        for module in free:
            del remaining[module]
    return set(remaining)


@pytest.mark.parametrize("path", MODULES, ids=name)
def test_a_module_imports_only_what_it_may(path: Path) -> None:
    assert faults(name(path), imports(path.read_text())) == []


def test_no_modules_import_each_other_in_a_circle() -> None:
    assert circle({name(path): imports(path.read_text()) for path in MODULES}) == set()


def test_there_are_twelve_rows_of_whole_folders_and_few_modules_beside_them() -> None:
    assert len(ROWS) == 13 and ROWS[-1] == ["__main__"]
    flat = [module for modules in ROWS for module in modules]
    assert sorted(flat) == sorted({folder(name(path)) for path in MODULES})
    assert len([path for path in ROOT.glob("*.py") if path.name != "__init__.py"]) <= 8


def test_what_is_forbidden_is_found() -> None:
    assert imports("from bench.solvers import ridge\nimport bench.seeding") == {
        "solvers/ridge",
        "seeding",
    }
    assert "row is not lower" in faults("tasks/task", {"results/store"})[0]
    assert "row is not lower" in faults("naming/specs", {"encoders/base"})[0]
    assert "private" in faults("studies/tuning", {"solvers/_descent"})[0]
    assert "private" in faults("running/runner", {"protocols/zeroshot/_method"})[0]
    assert "parts/" in faults("encoders/classical/pca", {"encoders/controls/pixels"})[0]
    assert (
        faults("protocols/zeroshot/eszsl", {"protocols/zeroshot/_method", "protocols/base"}) == []
    )
    assert faults("studies/depth/depth", {"encoders/parts/trunk", "studies/depth/_report"}) == []
    assert circle({"a": {"b"}, "b": {"c"}, "c": {"a"}, "d": set()}) == {"a", "b", "c"}
