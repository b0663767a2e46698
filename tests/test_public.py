"""The public names: `from bench import ...` is all that a file of a user's own needs."""

from __future__ import annotations

import ast
import importlib
import inspect
import re
import subprocess
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

import bench
from bench.naming import registry
from tests.kit import ROOT, TOYS

FACE = ast.parse(Path(bench.__file__).read_text(encoding="utf-8"))


def typed() -> dict[str, str]:
    """Name -> module, of the imports for type checkers."""
    [block] = [node for node in FACE.body if isinstance(node, ast.If)]
    return {
        alias.name: (node.module or "").removeprefix("bench.")
        for node in block.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }


HOMES = typed()


def test_public_names_are_sorted_and_one_list_for_types_and_at_run_time() -> None:
    assert bench.__all__ == sorted(bench.__all__) == dir(bench)
    assert sorted(typed()) == bench.__all__
    with pytest.raises(AttributeError, match="no attribute 'evaluat'"):
        bench.evaluat  # noqa: B018


@pytest.mark.parametrize("name", bench.__all__)
def test_a_public_name_is_documented_and_defined_in_its_module(name: str) -> None:
    public = getattr(bench, name)
    assert public.__module__ == f"bench.{HOMES[name]}"
    assert getattr(importlib.import_module(public.__module__), name) is public
    assert inspect.isclass(public) or inspect.isfunction(public)
    # That of a dataclass without a docstring is its signature.
    assert public.__doc__ and not public.__doc__.startswith(f"{name}(")


def test_no_public_name_is_also_a_module_or_a_folder() -> None:
    for name in bench.__all__:
        assert importlib.util.find_spec(f"bench.{name}") is None


def test_importing_the_package_imports_neither_numpy_nor_pytorch() -> None:
    code = "import bench, sys; print({'numpy', 'torch'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


@pytest.mark.parametrize("path", sorted(TOYS.glob("*.py")), ids=lambda path: path.stem)
def test_a_file_of_a_users_own_imports_from_the_package_itself(path: Path) -> None:
    assert not re.search(r"\bbench\.", path.read_text())


@pytest.mark.parametrize("name", bench.__all__)
def test_a_public_name_brings_the_revisions_of_its_module(name: str, tmp_path: Path) -> None:
    imports = {
        "deep": f"from bench.{HOMES[name]} import {name}",
        "public": f"from bench import {name}",
        "attribute": f"import bench\n{name} = bench.{name}",
        "alias": f"import bench as package\n{name} = package.{name}",
    }
    revisions = []
    for folder, line in imports.items():
        path = tmp_path / folder / "own.py"
        path.parent.mkdir()
        path.write_text(f"{line}\nREVISION = 2\ndef build(*, source): ...\n")
        revisions.append(registry.find("encoders", str(path)).revisions)
    assert revisions[0]["own"] == 2
    assert all(revision == revisions[0] for revision in revisions)


def test_all_public_names_at_once_bring_the_revisions_of_all(tmp_path: Path) -> None:
    path = tmp_path / "own.py"
    path.write_text("from bench import *\ndef build(*, source): ...\n")
    revisions = registry.find("encoders", str(path)).revisions
    assert {"identity", "images"} <= set(revisions)


def test_types_are_declared_to_checkers() -> None:
    assert Path(bench.__file__).with_name("py.typed").is_file()


def test_what_the_package_imports_is_among_its_requirements() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    lines = [*project["dependencies"], *extras["demo"], *extras["fast"], *extras["page"]]
    declared = {canonical(re.split(r"[\[<>=]", line)[0]) for line in lines}
    imported = set[str]()
    for path in Path(bench.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                imported |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                imported.add((node.module or "").partition(".")[0])
    owners = packages_distributions()
    modules = sorted(imported - sys.stdlib_module_names - {"bench"})
    assert len(modules) > 10
    assert [m for m in modules if not declared & {canonical(d) for d in owners[m]}] == []


def canonical(name: str) -> str:
    """A distribution's name as the index compares it."""
    return re.sub(r"[-_.]+", "-", name).lower()
