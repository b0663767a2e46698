"""The file tree is the registry: what is found, what is refused, and what importing does."""

from __future__ import annotations

import ast
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bench.errors import BenchError
from bench.naming import registry
from bench.naming.registry import KINDS, REQUIRED, Kind, find, load, names
from bench.naming.specs import resolve
from tests.kit import ROOT

HERE = ROOT
BUILT_IN = [(kind, name) for kind in KINDS for name in names(kind)]
GOOD = '"""One line.\n\nAnd more."""\ndef build(*, source, k: int = 3): ...\n'


def run(code: str, folder: Path) -> Any:
    """What a new process prints as JSON, with `folder` as its home and working directory."""
    home = {"HOME": str(folder), "TMPDIR": str(folder), "XDG_CACHE_HOME": str(folder)}
    environment = {**os.environ, **home, "PYTHONPATH": str(HERE), "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def forget() -> None:
    """Clear what the registry has cached."""
    for cached in vars(registry).values():
        getattr(cached, "cache_clear", lambda: None)()


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty package, made here, in the place of `bench`."""
    monkeypatch.setattr(registry, "ROOT", tmp_path / "bench")
    (tmp_path / "bench" / "encoders").mkdir(parents=True)
    forget()
    yield tmp_path / "bench"
    forget()


def plant(path: Path, text: str = GOOD) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    forget()
    return path


def refusal(path: Path | str, kind: Kind = "encoders") -> str:
    with pytest.raises(BenchError) as caught:
        find(kind, str(path))
    line = str(caught.value)
    assert line
    assert line.isprintable(), f"{line!r} is not one line of printable text"
    return line


# --- What importing does, each in one new process


LISTING = """
import json, sys
import bench
from bench.naming import registry
from bench.naming import specs
from bench.tasks import files as taskfiles
found = {kind: registry.names(kind) for kind in registry.KINDS}
for kind, names in found.items():
    for name in names:
        entry = registry.find(kind, name)
        if not [p for p in entry.parameters.values() if p.default is registry.REQUIRED
                and p.name not in ("meta", "trunk", "seed", "root", "source", "context")]:
            specs.resolve(kind, name).identity
for name in taskfiles.names():
    taskfiles.load(name).digest
for name in taskfiles.suites():
    taskfiles.suite(name)
taskfiles.lock()
heavy = {"torch", "torchvision", "pandas", "sklearn", "scipy", "timm"} & set(sys.modules)
kinds = {f"bench.{kind}" for kind in registry.KINDS}
parts = [m for m in sys.modules if ".".join(m.split(".")[:2]) in kinds - {m}]
print(json.dumps([found, sorted(heavy), parts]))
"""


def test_naming_listing_and_resolving_import_no_component_and_nothing_heavy(tmp_path: Path) -> None:
    loaded, heavy, parts = run(LISTING, tmp_path)
    assert loaded == {kind: names(kind) for kind in KINDS}
    assert heavy == []
    assert parts == []
    assert list(tmp_path.iterdir()) == []


IMPORTING = """
import json, os, random
from pathlib import Path
import numpy as np, torch, torchvision, sklearn.datasets
def state():
    numpy = [p.tolist() if isinstance(p, np.ndarray) else p for p in np.random.get_state()]
    flags = [torch.get_num_threads(), str(torch.get_default_dtype()), torch.is_grad_enabled()]
    flags += [torch.are_deterministic_algorithms_enabled(), np.geterr(), sorted(os.environ.items())]
    return repr([random.getstate(), numpy, torch.get_rng_state().tolist(), flags, os.getcwd()])
from bench.naming import registry
changed, before = [], state()
kept = set(Path().rglob("*"))  # torchvision's import leaves a folder for compiled code
for kind in registry.KINDS:
    for name in registry.names(kind):
        registry.load(registry.find(kind, name))
        if state() != before:
            changed.append(name)
            before = state()
written = [str(path) for path in set(Path().rglob("*")) - kept]
print(json.dumps([changed, written]))
"""


def test_importing_a_component_changes_no_global_state_and_writes_nothing(tmp_path: Path) -> None:
    """Random state, threads, default type, gradients, environment; output would be no JSON."""
    assert run(IMPORTING, tmp_path) == [[], []]


# --- What is shipped


@pytest.mark.parametrize(("kind", "name"), BUILT_IN)
def test_parameters_are_keyword_only_with_literal_defaults_and_annotations(
    kind: Kind, name: str
) -> None:
    entry = find(kind, name)
    expected = registry._FUNCTIONS.get(kind, "build")
    (function,) = [
        node
        for node in ast.parse(entry.path.read_text()).body
        if isinstance(node, ast.FunctionDef) and node.name == expected
    ]
    arguments = function.args
    if kind != "diagnostics":
        assert not arguments.args
        assert not arguments.posonlyargs
    assert arguments.vararg is None
    assert arguments.kwarg is None
    assert list(entry.parameters) == [a.arg for a in arguments.kwonlyargs]
    by_runner = {"meta", "trunk", "seed", "root", "setting", "source"}  # by the runner
    for argument in arguments.kwonlyargs:
        assert argument.annotation is not None, f"{name}: {argument.arg} has no annotation"
        if argument.arg not in by_runner:
            default = entry.parameters[argument.arg].default
            if entry.takes == "files":  # which the kit cannot try
                continue
            if default is REQUIRED:  # then the kit must know an example to try
                assert f"{argument.arg}=" in entry.constants.get("EXAMPLE", ""), (
                    name,
                    argument.arg,
                )
            else:
                assert isinstance(default, int | float | str | None)
        assert argument.arg != "level", "level is the reserved argument of every encoder"


@pytest.mark.parametrize(("kind", "name"), BUILT_IN)
def test_a_component_has_a_summary_a_revision_and_a_documented_build(kind: Kind, name: str) -> None:
    entry = find(kind, name)
    assert re.fullmatch(r"\S.*\S[.?]", entry.summary), f"{name}: {entry.summary!r} is no sentence"
    assert isinstance(entry.constants.get("REVISION"), int)
    relative = entry.path.relative_to(registry.ROOT).with_suffix("").as_posix()
    key = entry.constants.get("KNOWN_AS", relative)
    assert entry.revisions[key] == entry.constants["REVISION"]
    assert entry.training in ("budget", "closed_form", "none")
    assert entry.takes in ("images", "features", "files")
    assert entry.content is None
    assert re.fullmatch(r"[a-z][a-z0-9_]*", name)
    function = getattr(load(entry), registry._FUNCTIONS.get(kind, "build"))
    assert function.__doc__


def test_no_two_components_of_a_kind_have_names_that_are_equal_but_for_case() -> None:
    for kind in KINDS:
        stems = [
            path.stem.lower()
            for path in (registry.ROOT / kind).rglob("*.py")
            if not path.stem.startswith("_") and path.stem != "base" and "parts" not in path.parts
        ]
        assert sorted(stems) == sorted(set(stems)) == [name.lower() for name in names(kind)]


# --- Finding


def test_a_file_is_a_component_and_private_ones_parts_and_base_are_none(tree: Path) -> None:
    for name in (
        "one",
        "family/two",
        "family/deep/three",
        "_four",
        "family/_five",
        "base",
        "parts/six",
    ):
        plant(tree / "encoders" / f"{name}.py")
    assert names("encoders") == ["one", "three", "two"]
    assert [find("encoders", n).group for n in names("encoders")] == ["", "family/deep", "family"]
    assert names("protocols") == []
    entry = find("encoders", "two")
    assert entry.summary == "One line."
    assert entry.parameters["k"] == registry.Parameter("k", "int", 3)
    assert entry.parameters["source"].default is REQUIRED


@pytest.mark.parametrize(("module", "two"), [("pca", "PCA"), ("Vae", "vAE"), ("same", "same")])
def test_a_pair_that_is_equal_but_for_case_is_refused_with_both_places(
    tree: Path, module: str, two: str
) -> None:
    plant(tree / "encoders" / "a" / f"{module}.py")
    plant(tree / "encoders" / "b" / f"{two}.py")
    with pytest.raises(BenchError) as caught:
        names("encoders")
    assert "\n" not in str(caught.value)
    for place in (f"a/{module}.py", f"b/{two}.py"):
        assert place in str(caught.value)


@pytest.mark.parametrize("name", ["pixles", "", "base", "_given", "PCA", "../pixels", "pixels.p"])
def test_an_unknown_name_is_refused_in_one_line(name: str) -> None:
    assert "pixels" in refusal(name)


def test_a_revision_counts_for_every_module_that_is_stood_on(tree: Path) -> None:
    plant(tree / "a.py", "from bench.b import x\nREVISION = 2\n")
    plant(
        tree / "b.py", "import bench.a\ndef f():\n    from bench.solvers import c\nREVISION = 3\n"
    )
    plant(tree / "solvers" / "c.py", "REVISION: int = 4\n")
    plant(tree / "d.py", "REVISION = 5\n")
    plant(tree / "encoders" / "one.py", f"from bench.a import y\nREVISION = 1\n{GOOD}")
    revisions = find("encoders", "one").revisions
    assert revisions == {"a": 2, "b": 3, "encoders/one": 1, "solvers/c": 4}
    assert list(revisions) == sorted(revisions)


def test_a_module_that_has_moved_keeps_the_key_and_so_the_digest_of_its_revision(
    tree: Path,
) -> None:
    source = f"from bench.solvers.logistic import x\nREVISION = 1\n{GOOD}"
    plant(tree / "encoders" / "one.py", source)
    old = plant(tree / "solvers" / "logistic.py", "REVISION = 3\n")
    before = resolve("encoders", "one").identity
    old.unlink()
    plant(tree / "deep" / "exact.py", 'REVISION = 3\nKNOWN_AS = "solvers/logistic"\n')
    moved = source.replace("solvers.logistic", "deep.exact")
    (tree / "encoders" / "one.py").unlink()
    plant(tree / "encoders" / "new" / "one.py", f'{moved}KNOWN_AS = "encoders/one"\n')
    after = resolve("encoders", "one").identity
    assert after["revisions"]["solvers/logistic"] == 3
    assert after == before
    plant(tree / "deep" / "exact.py", "REVISION = 3\n")
    assert resolve("encoders", "one").identity["digest"] != before["digest"]


def test_two_modules_with_one_key_are_refused(tree: Path) -> None:
    plant(tree / "a.py", 'REVISION = 1\nKNOWN_AS = "encoders/one"\n')
    plant(tree / "encoders" / "one.py", f"from bench.a import y\nREVISION = 1\n{GOOD}")
    with pytest.raises(BenchError, match="two modules have the revision key 'encoders/one'"):
        _ = find("encoders", "one").revisions


def test_a_component_outside_the_package_cannot_take_the_key_of_one_inside(tree: Path) -> None:
    plant(tree / "a.py", "REVISION = 1\n")
    file = plant(tree.parent / "mine.py", f'REVISION = 7\nKNOWN_AS = "a"\n{GOOD}')
    assert find("encoders", str(file)).revisions == {"mine": 7}


def test_every_key_is_of_one_module_and_no_path_of_another() -> None:
    keys = {}
    for path in registry.ROOT.rglob("*.py"):
        constants = registry._constants(ast.parse(path.read_text()))
        place = path.relative_to(registry.ROOT).with_suffix("").as_posix()
        if "REVISION" in constants:
            assert keys.setdefault(constants.get("KNOWN_AS", place), place) == place
        else:
            assert "KNOWN_AS" not in constants, f"{place} has no REVISION to keep a key of"


# --- Files that are none


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("def build(*, source", "cannot be read as Python"),
        ("build(*, source):", "cannot be read as Python"),
        ("def build(*, source):\npass", "cannot be read as Python"),
        ("\0", "cannot be read as Python"),
        ("# coding: nonsense\ndef build(): ...\n\0", "cannot be read as Python"),
        ("", "no function build"),
        ("x = 3\n", "no function build"),
        ("build = 3\n", "no function build"),
        ("def diagnose(context): ...\n", "no function build"),
        ("class A:\n    def build(self): ...\n", "no function build"),
        ("if True:\n    def build(): ...\n", "no function build"),
        ("def build(*, a: int = len('x')): ...\n", "default of 'a'"),
        ("X = 3\ndef build(*, a: int = X): ...\n", "default of 'a'"),
        ("def build(*, a: int = 2 ** 3): ...\n", "default of 'a'"),
        ("def build(*, a: float = float('inf')): ...\n", "default of 'a'"),
        ("def build(*, a: float = 1e999): ...\n", "default of 'a'"),
        ("def build(*, a: str = f'{1}'): ...\n", "default of 'a'"),
        ("def build(*, a: object = {}): ...\n", "default of 'a'"),
        ("def build(*, a: object = [1]): ...\n", "default of 'a'"),
        ("def build(*, a: object = (1, 2)): ...\n", "default of 'a'"),
        ("def build(*, a: object = {1}): ...\n", "default of 'a'"),
        ("def build(*, a: object = {[]: 1}): ...\n", "default of 'a'"),
        ("def build(*, a: bytes = b'x'): ...\n", "default of 'a'"),
        ("def build(*, a: complex = 1j): ...\n", "default of 'a'"),
        ("def build(*, a: object = ...): ...\n", "default of 'a'"),
        ("def build(*, a: object = lambda: 1): ...\n", "default of 'a'"),
    ],
)
def test_a_file_that_is_no_component_is_refused_in_one_line(
    tmp_path: Path, text: str, message: str
) -> None:
    assert message in refusal(plant(tmp_path / "mine.py", text))


def test_bytes_that_are_no_text_and_a_folder_and_nothing_are_refused_in_one_line(
    tmp_path: Path,
) -> None:
    (tmp_path / "bytes.py").write_bytes(b"\xff\xfe\x00build")
    (tmp_path / "folder.py").mkdir()
    assert "cannot be read as Python" in refusal(tmp_path / "bytes.py")
    assert "no file" in refusal(tmp_path / "folder.py")
    assert "no file" in refusal(tmp_path / "absent.py")


@pytest.mark.parametrize(
    ("default", "value"),
    [("3", 3), ("-0.5", -0.5), ("'x'", "x"), ("True", True), ("None", None), ("1_000", 1000)],
)
def test_a_literal_default_is_read_with_its_type(
    tmp_path: Path, default: str, value: object
) -> None:
    path = plant(tmp_path / "mine.py", f"def build(*, source, a: object = {default}): ...\n")
    found = find("encoders", str(path)).parameters["a"].default
    assert found == value
    assert type(found) is type(value)


def test_finding_a_file_does_not_run_it_and_loading_it_runs_it_once(tmp_path: Path) -> None:
    count = "from pathlib import Path\nwith Path(__file__).with_suffix('.log').open('a') as f:\n"
    path = plant(tmp_path / "mine.py", f"{count}    f.write('run ')\n{GOOD}")
    entry = find("encoders", str(path))
    assert (entry.name, entry.group, entry.path) == ("mine", "local", path.resolve())
    assert not path.with_suffix(".log").exists()
    assert load(entry) is load(entry)
    assert path.with_suffix(".log").read_text() == "run "


def test_a_file_that_fails_when_imported_is_reported_with_its_place_and_tried_again(
    tmp_path: Path,
) -> None:
    path = plant(tmp_path / "mine.py", f"{GOOD}raise OSError('two\\nlines')\n")
    entry = find("encoders", str(path))
    for _ in range(2):
        with pytest.raises(BenchError, match="OSError") as caught:
            load(entry)
        assert str(path) in str(caught.value)
        assert "\n" not in str(caught.value)
    assert not [name for name in sys.modules if name.endswith(str(entry.content))]


def test_two_files_of_one_name_are_two_modules(tmp_path: Path) -> None:
    first = plant(tmp_path / "a" / "mine.py", f"{GOOD}WHICH = 1\n")
    second = plant(tmp_path / "b" / "mine.py", f"{GOOD}WHICH = 2\n")
    values = [load(find("encoders", str(path))).WHICH for path in (first, second)]
    assert values == [1, 2]


def test_no_two_public_classes_of_the_package_have_one_name() -> None:
    places: dict[str, list[str]] = {}
    for path in registry.ROOT.rglob("*.py"):
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                places.setdefault(node.name, []).append(path.relative_to(registry.ROOT).as_posix())
    assert {name: paths for name, paths in places.items() if len(paths) > 1} == {}
