"""Who may import whom: only modules of lower rows; siblings never import each other."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent / "bench"
# Patterns of modules, lowest row first; the first match counts. CONTRIBUTING.md gives the reasons.
PARTS = ("contraction", "given", "labels", "mlp", "training", "trunk", "weights")
ROWS = [
    ["errors", "digests", "seeding", "significance", "threads"],
    ["metrics", "packing", "statistics", "images", "registry", "files", "exposure"],
    ["solvers/_*", "ranking"],
    ["data", "record", "semantics", "shifts", "specs", "solvers/*"],
    ["task", "vectors"],
    ["class_splits", "taskfiles", "datasets/base", "encoders/base", "protocols/base"],
    ["diagnostics/base", "protocols/_classrows", "protocols/_exams", "protocols/_lessons"],
    [
        "datasets/_*",
        "diagnostics/_*",
        *(f"protocols/_{n}" for n in ("probe", "reading", "tuning", "zeroshot")),
        *(f"encoders/_{n}" for n in PARTS),
    ],
    ["encoders/_*", "protocols/_*"],
    ["datasets/*", "encoders/*", "protocols/*", "diagnostics/*"],
    ["identity", "grants", "scoring", "engine", "store", "cache", "folders"],
    ["features", "comparison", "standing", "selection"],
    ["lab", "forecast"],
    ["material", "machine"],
    ["report/_terminal", "report/_table", "report/_board", "report/_chart"],
    ["report/_ranks", "report/_sharing"],
    ["report/_*"],
    ["runner", "report/*", "pictures"],
    ["executor", "boards", "album"],
    ["testing/_finding", "testing/_watch", "studies/base"],
    ["testing/_*", "studies/_*"],
    ["testing/learning", "testing/edges", "testing/symmetries"],
    ["testing/*", "api", "commands", "studies/*"],
    ["cli"],
    ["__init__", "__main__"],
]
MODULES = sorted(p for p in ROOT.rglob("*.py") if p.name != "__init__.py" or p.parent == ROOT)


def row(module: str) -> int:
    for number, patterns in enumerate(ROWS):
        for pattern in patterns:
            if module == pattern or (pattern.endswith("*") and module.startswith(pattern[:-1])):
                return number
    raise AssertionError(f"bench/{module}.py is in no row: give it one here and in CONTRIBUTING.md")


def imports(path: Path) -> set[str]:
    """The `bench` modules that a file imports, also inside functions; not for types alone."""
    tree = ast.parse(path.read_text())
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            node.body = []
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] == "bench":
            base = Path(*node.module.split("."))
            found |= {base / alias.name for alias in node.names} | {base}
        elif isinstance(node, ast.Import):
            found |= {Path(*alias.name.split(".")) for alias in node.names}
    files = {
        p.relative_to("bench") for p in found if (ROOT.parent / p).with_suffix(".py").is_file()
    }
    return {p.as_posix() for p in files}


@pytest.mark.parametrize("path", MODULES, ids=lambda p: p.relative_to(ROOT).as_posix())
def test_a_module_imports_only_from_rows_below(path: Path) -> None:
    module = path.relative_to(ROOT).with_suffix("").as_posix()
    for other in imports(path):
        assert row(other) < row(module), f"{module} must not import {other}"


def test_the_rows_can_be_broken() -> None:
    assert row("runner") > row("store") > row("task") > row("data")
    assert "seeding" in imports(ROOT / "statistics.py")
