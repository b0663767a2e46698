"""The file tree is the registry, a signature is the schema: both are read without importing.

A component says by literals in its file what must be known before anything is built. `TRAINING` of an
encoder says whether @ and ~ make sense: without it `pixels~10k` and `pixels~60k` would be two encoders
with the same numbers. `TAKES` says whether it reads images or features. `IMAGES` of a data set names
others whose images it shows, whole or in part: an encoder trained on those has seen the task's classes.
"""

from __future__ import annotations

import ast
import importlib
import math
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any, Literal, get_args

from bench.errors import BenchError, unknown
from bench.files.reading import read_bytes, text_encoding
from bench.naming.neighbours import file_module, local_content, modules_beside

Kind = Literal["encoders", "datasets", "protocols", "diagnostics", "studies"]
KINDS: tuple[Kind, ...] = get_args(Kind)
_FUNCTIONS: Mapping[Kind, str] = {"diagnostics": "diagnose", "studies": "run"}
REQUIRED = object()
ROOT = Path(__file__).parents[1]


@dataclass(frozen=True, slots=True)
class Parameter:
    """One keyword of a component's `build`: its annotation as written, its literal default."""

    name: str
    annotation: str
    default: Any = REQUIRED


@dataclass(frozen=True, slots=True)
class Component:
    """A component: one file with `build(...)`, or the function of `_FUNCTIONS` for its kind."""

    kind: Kind
    name: str
    path: Path
    group: str  # its sub-folder, such as "controls"; "" at the top of its kind; "local" outside
    summary: str  # the module's first line
    about: str  # the docstring of `build`
    parameters: Mapping[str, Parameter]
    constants: Mapping[str, Any]  # literal module constants, such as REVISION and TRAINING
    content: str | None = (
        None  # outside the package: digest of the file and what it needs beside it
    )

    @property
    def revisions(self) -> Mapping[str, int]:
        """REVISION of its module and of the `bench` modules that it imports, at any depth."""
        return _revisions(self.path, self.content)

    @property
    def training(self) -> Literal["budget", "closed_form", "none"]:
        """How an encoder is fitted: by images seen, by one exact pass over them, or not at all."""
        value: Literal["budget", "closed_form", "none"] = self.constants.get("TRAINING", "budget")
        return value

    @property
    def takes(self) -> Literal["images", "features", "files"]:
        """What a data set must hold for an encoder; "files": its features lie in files, and it encodes
        nothing."""
        value: Literal["images", "features", "files"] = self.constants.get("TAKES", "images")
        return value


@cache
def _files(kind: str) -> Mapping[str, Path]:
    """Component name -> file, for all files of a kind but `base.py`, `_private.py` and those in
    folders named `parts`, which hold what components share."""
    paths: dict[str, Path] = {}
    for path in sorted((ROOT / kind).rglob("*.py")):
        inner = path.relative_to(ROOT / kind).parts[:-1]
        if not path.stem.startswith("_") and path.stem != "base" and "parts" not in inner:
            for name, other_path in paths.items():
                if name.lower() == path.stem.lower():
                    raise BenchError(
                        f"two {kind} are named {path.stem!r}: {other_path}, {path}; rename one"
                    )
            paths[path.stem] = path
    return paths


def names(kind: Kind) -> list[str]:
    """The names of all components of a kind, sorted."""
    return sorted(_files(kind))


def find(kind: Kind, name: str) -> Component:
    """The component `name`, or the one in the file `name` if that ends with .py.

    Raises BenchError for an unknown name, a missing file, and a file without `build`.
    """
    if name.endswith(".py"):
        path = Path(os.path.expanduser(name))  # like isfile, and unlike pathlib, it never raises
        if not os.path.isfile(path):
            raise BenchError(f"no file {name!r}; give the path of a Python file with build(...)")
        if not re.fullmatch(r"[A-Za-z0-9_]+", path.stem):
            raise BenchError(f"{name!r} is not a valid file name; use letters, digits and _")
        path = path.resolve()
        return _entry(kind, path, local_content(path))
    if name not in _files(kind):
        raise unknown({"studies": "study"}.get(kind, kind.rstrip("s")), name, _files(kind))
    return _entry(kind, _files(kind)[name])


def kind_of(name: str) -> Kind:
    """What the Python file `name` holds, by its function and the function's arguments: `build` with `meta`
    is a protocol, with `root` a data set, else an encoder. Raises BenchError as `find` does."""
    path = Path(os.path.expanduser(name)).resolve()
    if not os.path.isfile(path):
        return "encoders"
    functions = {
        node.name: {argument.arg for argument in [*node.args.args, *node.args.kwonlyargs]}
        for node in _tree(path, local_content(path)).body
        if isinstance(node, ast.FunctionDef)
    }
    if "build" not in functions and "diagnose" in functions:
        return "diagnostics"
    if "build" not in functions and "setting" in functions.get("run", ()):
        return "studies"
    arguments = functions.get("build", set())
    return "protocols" if "meta" in arguments else "datasets" if "root" in arguments else "encoders"


@cache
def _tree(path: Path, content: str | None = None) -> ast.Module:
    """A file's syntax tree; one outside the package may be edited meanwhile, hence its digest."""
    try:
        source = read_bytes(
            path, "Python"
        )  # Python's own rules for byte order marks and `coding` lines
        if not (encoding := text_encoding(source[:4])).startswith("utf-8"):
            raise BenchError(
                f"{path} cannot be read as Python: it is {encoding[:6].upper()}, which Python does not "
                "read; save it as UTF-8"
            )
        return ast.parse(source, filename=str(path))
    except SyntaxError as error:
        raise BenchError(
            f"{path}:{error.lineno or 1}: cannot be read as Python: {error.msg}"
        ) from error
    except (ValueError, OSError) as error:
        raise BenchError(f"{path} cannot be read as Python: {error}") from error


@cache
def _entry(kind: Kind, path: Path, content: str | None = None) -> Component:
    tree = _tree(path, content)
    inside = path.is_relative_to(ROOT / kind)
    function_name = _FUNCTIONS.get(kind, "build")
    functions = {node.name: node for node in tree.body if isinstance(node, ast.FunctionDef)}
    if function_name not in functions:
        raise BenchError(f"{path} has no function {function_name}(...) at its top level; define it")
    if not inside and path.stem in _files(kind):
        raise BenchError(f"{path} has the name of a built-in component; rename the file")
    return Component(
        kind=kind,
        name=path.stem,
        path=path,
        group=path.parent.relative_to(ROOT / kind).as_posix().replace(".", "")
        if inside
        else "local",
        summary=(ast.get_docstring(tree) or "").split("\n")[0],
        about=ast.get_docstring(functions[function_name]) or "",
        parameters=_parameters(functions[function_name], path),
        constants=_constants(tree),
        content=None if inside else content,
    )


def _parameters(function: ast.FunctionDef, path: Path) -> Mapping[str, Parameter]:
    arguments = function.args
    parameters: dict[str, Parameter] = {}
    for argument, default in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True):
        value: Any = REQUIRED
        if default is not None:
            value = _literal(default)
            if not isinstance(value, int | float | str | None):
                raise BenchError(
                    f"{path}: the default of {argument.arg!r} is not a literal; "
                    "write a number, a string, a boolean or None"
                )
        note = ast.unparse(argument.annotation) if argument.annotation else "str"
        parameters[argument.arg] = Parameter(argument.arg, note, value)
    return parameters


def _literal(node: ast.expr) -> Any:
    """A literal's value; REQUIRED for anything else, and for infinity."""
    try:
        value = ast.literal_eval(node)
    except (ValueError, TypeError):
        return REQUIRED
    return REQUIRED if isinstance(value, float) and not math.isfinite(value) else value


def _constants(tree: ast.Module) -> Mapping[str, Any]:
    """Module-level NAME = literal, in capital letters."""
    constants: dict[str, Any] = {}
    for node in tree.body:
        if isinstance(node, ast.Assign) and len(node.targets) == 1:
            target: ast.expr = node.targets[0]
            value: ast.expr | None = node.value
        elif isinstance(node, ast.AnnAssign):
            target, value = node.target, node.value
        else:
            continue
        if isinstance(target, ast.Name) and target.id.isupper() and value is not None:
            try:
                constants[target.id] = ast.literal_eval(value)
            except ValueError:
                continue
    return constants


@cache
def _revisions(path: Path, content: str | None) -> Mapping[str, int]:
    """REVISION of a file and of the `bench` modules that it imports, at any depth, by module.

    The keys enter digests of records. A module that has moved keeps its first key by naming it:
    `KNOWN_AS = "solvers/logistic"`.
    """
    revisions: dict[str, int] = {}
    beside = modules_beside(path) if content else []  # their own REVISION does not count
    unread = [(path, _tree(path, content))]
    unread += [(file, _tree(file, content)) for file in beside if file.suffix == ".py"]
    queued = {file for file, _ in unread}
    while unread:
        file, parsed = unread.pop()
        constants = _constants(parsed)
        revision = None if file in beside else constants.get("REVISION")
        if isinstance(revision, int):
            inside = file.is_relative_to(ROOT)
            place = file.relative_to(ROOT).with_suffix("").as_posix() if inside else file.stem
            key = constants.get("KNOWN_AS", place) if inside else place
            if key in revisions:
                raise BenchError(
                    f"two modules have the revision key {key!r}; one of them is {file}"
                )
            revisions[key] = revision
        for module in _imports(parsed):
            imported = ROOT.parent / Path(*module.split(".")).with_suffix(".py")
            if imported.is_file() and imported not in queued:
                queued.add(imported)
                unread.append((imported, _tree(imported)))
    return dict(sorted(revisions.items()))


@cache
def _imports(tree: ast.Module) -> list[str]:
    """The `bench` modules that a module imports: `from bench.a import b` may name bench.a.b, and
    `from bench import Encoder` or `bench.Encoder` names the module that defines Encoder."""
    names: list[str] = []
    packages = set[str]()  # names under which `bench` itself is imported
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
            packages |= {alias.asname or "bench" for alias in node.names if alias.name == "bench"}
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            names += [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
    for node in ast.walk(tree) if packages else ():
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            names += [f"bench.{node.attr}"] if node.value.id in packages else []
    if "bench.*" in names:
        names += public_modules().values()
    return [public_modules().get(name, name) for name in names if name.startswith("bench.")]


@cache
def public_modules() -> Mapping[str, str]:
    """bench.NAME -> the module that defines it, by its imports for type checkers."""
    face = ROOT / "__init__.py"
    return {
        f"bench.{alias.name}": str(node.module)
        for block in (_tree(face).body if face.is_file() else ())
        for node in (block.body if isinstance(block, ast.If) else ())
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }


def load(entry: Component) -> ModuleType:
    """The component's module, imported now.

    A file outside the package is run as a module of its own, which finds the modules beside it. Raises
    BenchError, which names the file, for what it raises while it is imported.
    """
    if entry.group != "local":
        return importlib.import_module(
            "bench." + ".".join(entry.path.relative_to(ROOT).with_suffix("").parts)
        )
    return file_module(entry.path, entry.content or "", entry.kind)
