"""A component's file outside the package: the modules beside it that it imports, the files that it opens.

The folder of the file is searched first for what it and its neighbours import, as `python file.py` does,
but for it alone: files in two folders may each have a neighbour `model.py`. All of this enters the digest
of the component. What `build` opens is seen by an audit hook, for which a file that is read by a
library's compiled code does not exist; such formats count where a literal of the source names the file.
"""

from __future__ import annotations

import ast
import builtins
import importlib
import importlib.machinery
import importlib.util
import os
import sys
import sysconfig
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any, NamedTuple

from bench.digests import digest, file_digest
from bench.errors import BenchError
from bench.seeding import standard_settings

_PREFIX = "_reptransfer_"
_MOST_OPENED = 100  # files; more of them belong into a folder that a Path argument names
# Read by compiled code of libraries, so that no audit event is raised.
_COMPILED_READERS = (".safetensors", ".onnx", ".h5", ".hdf5", ".gguf")


# --- Modules beside a file


def modules_beside(path: Path) -> list[Path]:
    """The files of modules in the folder of `path` that it imports, at any depth, sorted."""
    return sorted(set(_closure(path)) - {path})


def local_content(path: Path) -> str:
    """Digest of a file and of the modules and data beside it that it names; of the file alone, the
    digest of its bytes."""
    files = {*_closure(path), *_named_data(path)}
    if files == {path}:
        return file_digest(path)
    names = {os.path.relpath(file, path.parent): file for file in files}
    return digest({Path(n).as_posix(): file_digest(file) for n, file in sorted(names.items())})


def _closure(path: Path) -> list[Path]:
    folder, queued, unread = path.parent, {path}, [path]
    while unread:
        file = unread.pop()
        for dotted in _imported(_source(file, file_digest(file)).imports, file, path):
            for module in _module_files(folder, dotted):
                if module not in queued:
                    queued.add(module)
                    unread.append(module)
    return sorted(queued)


class _Source(NamedTuple):
    """What a Python file says of other files."""

    imports: tuple[ast.Import | ast.ImportFrom, ...]
    data: tuple[str, ...]  # literals that end like a file that compiled code reads


@cache
def _source(path: Path, content: str) -> _Source:
    """Empty for what is not Python, which fails when it is imported. content: the file's digest."""
    try:
        nodes = list(ast.walk(ast.parse(path.read_bytes() if path.suffix == ".py" else b"")))
    except (SyntaxError, ValueError, OSError):
        return _Source((), ())
    texts = [n.value for n in nodes if isinstance(n, ast.Constant) and isinstance(n.value, str)]
    return _Source(
        tuple(n for n in nodes if isinstance(n, ast.Import | ast.ImportFrom)),
        tuple(text for text in texts if text.lower().endswith(_COMPILED_READERS)),
    )


def _imported(
    statements: Sequence[ast.Import | ast.ImportFrom], file: Path, path: Path
) -> Iterator[tuple[str, ...]]:
    """Modules that a file may import from the folder of `path`, by their names from there."""
    inner = file.parent.relative_to(path.parent).parts
    for node in statements:
        if isinstance(node, ast.Import):
            absolute = [tuple(alias.name.split(".")) for alias in node.names]
        else:
            base = tuple(node.module.split(".")) if node.module else ()
            names = [(*base, alias.name) for alias in node.names]
            if node.level:
                if node.level <= len(inner) + 1:
                    within = inner[: len(inner) + 1 - node.level]
                    yield from ((*within, *name) for name in names)
                continue
            absolute = names
        for dotted in absolute:
            # A file such as clip.py means an installed package when it imports its own name.
            if _may_be_beside(dotted[0]) and not (file == path and dotted[0] == path.stem):
                yield dotted


def _may_be_beside(name: str) -> bool:
    return name != "bench" and name not in sys.stdlib_module_names


def _module_files(folder: Path, dotted: Sequence[str]) -> list[Path]:
    """The files that are run when `dotted` is imported: packages on the way, and the module; for a
    `*` all modules of the package. The last part may be no module but a name in one."""
    files: list[Path] = []
    for depth in range(1, len(dotted) + 1):
        place = folder.joinpath(*dotted[:depth])
        if dotted[depth - 1] == "*":
            return files + [
                p
                for p in sorted(place.parent.glob("*.py"))
                if place.parent != folder and p.is_file()
            ]
        suffixes = importlib.machinery.all_suffixes()
        choices = [place / f"__init__{s}" for s in suffixes]
        choices += [place.with_name(place.name + s) for s in suffixes]
        files += [choice for choice in choices if choice.is_file()][:1]
    return files


def _named_data(path: Path) -> Iterator[Path]:
    for file in _closure(path):
        for text in _source(file, file_digest(file)).data:
            for place in (path.parent / os.path.expanduser(text), Path(os.path.abspath(text))):
                if "\0" not in text and place.is_file():
                    yield place
                    break


# --- Importing them


def file_module(path: Path, content: str, kind: str) -> ModuleType:
    """The module of a file outside the package, run once for each content of it, of its neighbours
    and of what it opens. Raises BenchError, which names the file, for what it raises."""
    name = _module_name(path, content, kind)
    package = name.partition(".")[0]
    if name in sys.modules and sys.modules[name].__file__ == str(path) and _unchanged(name):
        return sys.modules[name]
    _forget(package)
    if not any(isinstance(finder, _Finder) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Finder())
    folder = ModuleType(package)
    folder.__path__ = [str(path.parent)]
    tops = {file.relative_to(path.parent).parts[0].split(".")[0] for file in modules_beside(path)}
    _BESIDE[package] = frozenset({*filter(_may_be_beside, tops), path.stem})
    sys.modules[package] = folder
    importlib.invalidate_caches()  # files may be younger than a listing of their folder
    spec = importlib.util.spec_from_file_location(name, path, loader=_Loader(name, str(path)))
    if spec is None or spec.loader is None:
        raise BenchError(f"{path} cannot be imported")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        with watched(module), standard_settings():
            spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        _forget(package)
        raise BenchError(f"{path} fails when imported: {error!r}") from error
    _AT_IMPORT[name] = dict(_OPENED.get(name, {}))
    return module


def _module_name(path: Path, content: str, kind: str) -> str:
    """The same wherever the file lies, so that objects of its classes have the same digest."""
    return f"{_PREFIX}{kind}_{content}.{path.stem}"


# Package -> names that its modules import from their folder.
_BESIDE: dict[str, frozenset[str]] = {}


def _forget(package: str) -> None:
    for name in [n for n in sys.modules if n == package or n.startswith(f"{package}.")]:
        del sys.modules[name]
        _OPENED.pop(name, None)
        _AT_IMPORT.pop(name, None)


class _Finder(importlib.machinery.PathFinder):
    """Finds modules of these packages."""

    @classmethod
    def find_spec(
        cls, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if not fullname.startswith(_PREFIX):
            return None
        spec = super().find_spec(fullname, path, target)
        if spec is not None and isinstance(spec.loader, importlib.machinery.SourceFileLoader):
            spec.loader = _Loader(spec.loader.name, spec.loader.path)
        return spec


class _Loader(importlib.machinery.SourceFileLoader):
    """Runs the source itself: stored bytecode is that of an edited file if time and size agree."""

    def get_code(self, fullname: str) -> CodeType:
        path = self.get_filename(fullname)
        code: CodeType = self.source_to_code(self.get_data(path), path)
        return code

    def exec_module(self, module: ModuleType) -> None:
        importing = _importing(module.__name__.partition(".")[0])
        vars(module)["__builtins__"] = {**vars(builtins), "__import__": importing}
        super().exec_module(module)


def _importing(package: str) -> Any:
    """`__import__` for the modules of a package: names in `_BESIDE` mean its own."""

    def importing(
        name: str,
        globals: Mapping[str, Any] | None = None,  # noqa: A002 the built-in's own names
        locals: Mapping[str, Any] | None = None,  # noqa: A002
        fromlist: Sequence[str] = (),
        level: int = 0,
    ) -> ModuleType:
        top = name.partition(".")[0]
        if level or top not in _BESIDE[package]:
            return builtins.__import__(name, globals, locals, fromlist, level)
        if (globals or {}).get("__name__") == f"{package}.{top}":  # clip.py means the installed one
            return builtins.__import__(name, globals, locals, fromlist, level)
        module = builtins.__import__(f"{package}.{name}", globals, locals, fromlist, 0)
        return module if fromlist else sys.modules[f"{package}.{top}"]

    return importing


# --- Files that they open

_OPENED: dict[str, dict[str, str]] = {}  # module -> absolute path -> digest when it was opened
_AT_IMPORT: dict[str, dict[str, str]] = {}  # of these, what the import opened
_reading: list[tuple[int, set[str], set[str]]] = []  # thread, paths read, paths written


def opened_by(path: Path, content: str, kind: str) -> Mapping[str, tuple[Path, str]]:
    """The files that a component's file opened in this process while it was imported or built: path and
    digest, by their names from its folder, or outside it by the last part of their path."""
    name = _module_name(path, content, kind)
    is_loaded = name in sys.modules and sys.modules[name].__file__ == str(path)
    opened = _OPENED.get(name, {}) if is_loaded else {}
    files: dict[str, tuple[Path, str]] = {}
    for place, content_digest in sorted(opened.items()):
        file = Path(place)
        inside = file.is_relative_to(path.parent)
        label = file.relative_to(path.parent).as_posix() if inside else file.name
        while label in files:
            label += "'"
        files[label] = (file, content_digest)
    return files


def _unchanged(name: str) -> bool:
    opened = _AT_IMPORT.get(name, {})
    return all(os.path.isfile(p) and file_digest(Path(p)) == d for p, d in opened.items())


@contextmanager
def watched(module: ModuleType) -> Iterator[None]:
    """Record the files that are read meanwhile, for `opened_by`; what is imported by a name that is
    computed, or by a pickle, is looked for in the module's folder too. Does nothing for modules of the
    package. Raises BenchError for more files than a record can hold."""
    package, _, stem = module.__name__.partition(".")
    if not package.startswith(_PREFIX):
        yield
        return
    folder = sys.modules[package].__path__[0]
    _install_hook()
    before = dict(sys.modules)
    aliases = {  # pickles name classes by modules; those of installed packages stay as they are
        name: loaded
        for name in _BESIDE[package] - {stem}
        if (loaded := sys.modules.get(f"{package}.{name}"))
        and not _is_installed(getattr(before.get(name), "__file__", None) or "")
    }
    sys.modules.update(aliases)
    sys.path.append(folder)
    frame = (threading.get_ident(), set[str](), set[str]())
    _reading.append(frame)
    try:
        yield
    finally:
        _reading.remove(frame)
        sys.path.remove(folder)
        for name, loaded in list(sys.modules.items()):
            place = getattr(loaded, "__file__", None) or ""
            local = place.startswith(folder + os.sep) and not _is_installed(place)
            if name.startswith(_PREFIX) or not (local or name in aliases):
                continue
            if name in before:
                sys.modules[name] = before[name]
            else:
                del sys.modules[name]
    sources = {str(path) for path in _closure(Path(folder) / f"{stem}.py")}
    paths = {_source_of(path) for path in frame[1] - frame[2]} - sources
    paths = {path for path in paths if os.path.isfile(path) and _counts(path, folder)}
    opened = _OPENED.setdefault(module.__name__, {})
    opened |= {path: file_digest(Path(path)) for path in paths}
    if len(opened) > _MOST_OPENED:
        raise BenchError(
            f"{folder}{os.sep}{stem}.py opens {len(opened)} files while it is built, at most "
            f"{_MOST_OPENED} are followed; let build take their folder as an argument: files: Path"
        )


@cache
def _install_hook() -> None:
    """Once: an audit hook stays as long as the process."""
    writing = os.O_WRONLY | os.O_RDWR | os.O_CREAT

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if event != "open" or not _reading:
            return
        thread = threading.get_ident()
        for reader, read, written in _reading:
            if reader == thread and isinstance(arguments[0], str | bytes):
                path = os.path.abspath(os.fsdecode(arguments[0]))
                (written if (arguments[2] or 0) & writing else read).add(path)

    sys.addaudithook(hook)


def _source_of(path: str) -> str:
    try:
        return importlib.util.source_from_cache(path)
    except ValueError:
        return path


def _installed_places() -> tuple[str, ...]:
    """Folders of the interpreter, its packages, the system, and caches of downloads."""
    places = {sys.prefix, sys.base_prefix, *sysconfig.get_paths().values()}
    places |= {f"{os.sep}{top}" for top in ("proc", "sys", "dev", "etc", "usr", "lib")}
    caches = ("HF_HOME", "HF_HUB_CACHE", "TORCH_HOME", "XDG_CACHE_HOME", "REPTRANSFER_CACHE")
    places |= {os.environ[name] for name in caches if os.environ.get(name)}
    return tuple(os.path.abspath(place) + os.sep for place in places)


def _is_installed(path: str) -> bool:
    package = str(Path(__file__).parents[1]) + os.sep
    libraries = [sysconfig.get_paths()[n] + os.sep for n in ("stdlib", "purelib", "platlib")]
    # Those of the user and of other environments, which `.pth` files and PYTHONPATH name.
    libraries += [p + os.sep for p in sys.path if p.endswith(("site-packages", "dist-packages"))]
    return path.startswith((package, *libraries))


def _counts(path: str, folder: str) -> bool:
    """Is a file that was opened part of the component: not of Python, the system or a cache?"""
    inside = path.startswith(folder + os.sep)
    shown = path.removeprefix(folder + os.sep)
    if _is_installed(path) or any(part.startswith(".") for part in Path(shown).parts):
        return False
    return inside or not path.startswith(_installed_places())
