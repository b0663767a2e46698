"""A user's folder of images: what is in it, before any image is opened."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from bench.data.samples import SPLITS, SplitName
from bench.errors import BenchError

SUFFIXES = frozenset(
    ".jpg .jpeg .png .webp .tif .tiff .bmp .gif .ppm .pgm .pbm .pnm .jp2".split()  # noqa: SIM905
)
LAYOUT = "train/CLASS/... and test/CLASS/..., or CLASS/..."


@dataclass(frozen=True, slots=True)
class Found:
    """Image files by names relative to `path`, sorted split by split, each with its class; `splits`
    has the split of each, or is None where the folder leaves splitting to us."""

    path: Path
    files: tuple[str, ...]
    labels: tuple[str, ...]
    classes: tuple[str, ...]
    splits: tuple[SplitName, ...] | None
    ignored: int


def find_images(path: Path) -> Found:
    """The images of `path`: `train`, `test` and maybe `val` with a folder a class, or the classes
    alone; images may lie in folders inside their class. Hidden files and folders, and files without
    an image's ending, are ignored and counted.

    Raises BenchError for a folder that is not there or cannot be read, for images outside a class,
    for classes without images, fewer than two classes, and classes that differ between splits.
    """
    if not path.is_dir():
        raise BenchError(f"no folder {str(path)!r}; path= takes a folder of images ({LAYOUT})")
    inside = {name for name, is_folder in _entries(path) if is_folder}
    if not inside & {"train", "test"}:
        files, ignored = _classes(path, path)
        _two(path, files)
        rows = [(name, label) for label in files for name in files[label]]
        rows.sort()
        names, labels = (tuple(row[i] for row in rows) for i in (0, 1))
        return Found(path, names, labels, tuple(files), None, ignored)
    if absent := {"train", "test"} - inside:
        raise BenchError(f"{path} has no folder {absent.pop()!r}; {LAYOUT} is wanted")
    if others := sorted(inside - {*SPLITS}):
        raise BenchError(
            f"{path} has {_some(others)} beside train and test; only val may be there, too: rename "
            "or move away what is not"
        )
    loose, ignored = _files(path, path, deep=False)
    _no_loose(path, loose)
    parts: dict[SplitName, Mapping[str, tuple[str, ...]]] = {}
    for split in SPLITS:
        if split in inside:
            parts[split], more = _classes(path, path / split)
            ignored += more
    for split in parts:
        if differ := sorted(set(parts[split]) ^ set(parts["train"])):
            raise BenchError(
                f"{path}: the classes of train and {split} differ ({_some(differ)} in one alone); "
                "the same class folders are wanted in both"
            )
    _two(path, parts["train"])
    found = [
        (split, name, label)
        for split, classes in parts.items()
        for name, label in sorted((name, label) for label in classes for name in classes[label])
    ]
    splits, names, labels = zip(*found, strict=True)
    return Found(path, names, labels, tuple(parts["train"]), splits, ignored)


def _two(path: Path, classes: Iterable[str]) -> None:
    found = list(classes)
    if len(found) < 2:
        only = f"one class alone ({found[0]!r})" if found else "no classes"
        raise BenchError(f"{path} has {only}; {LAYOUT}, with two classes or more, is wanted")


def _classes(path: Path, folder: Path) -> tuple[dict[str, tuple[str, ...]], int]:
    """Files by class, classes sorted, and how many files were ignored."""
    loose, ignored = _files(path, folder, deep=False)
    _no_loose(path, loose)
    classes: dict[str, tuple[str, ...]] = {}
    for name in sorted(name for name, is_folder in _entries(folder) if is_folder):
        files, more = _files(path, folder / name, deep=True)
        classes[name], ignored = tuple(sorted(files)), ignored + more
    if empty := [name for name, files in classes.items() if not files]:
        raise BenchError(
            f"{folder}: no images in {_some(empty)}; names must end with one of "
            f"{' '.join(sorted(SUFFIXES))}"
        )
    return classes, ignored


def _no_loose(path: Path, files: list[str]) -> None:
    if files:
        raise BenchError(
            f"{path}: images outside the folders of classes: {_some(sorted(files))}; {LAYOUT} is wanted"
        )


def _entries(folder: Path) -> list[tuple[str, bool]]:
    """(name, is it a folder) of what is not hidden."""
    try:
        with os.scandir(folder) as entries:
            return [(e.name, e.is_dir()) for e in entries if not e.name.startswith(".")]
    except OSError as error:
        _unreadable(error)


def _unreadable(error: OSError) -> NoReturn:
    raise BenchError(
        f"{error.filename} cannot be read ({error.strerror}); allow reading it, or name another folder"
    ) from error


def _files(path: Path, folder: Path, *, deep: bool) -> tuple[list[str], int]:
    """Image files in `folder`, or anywhere below it, by their names relative to `path`, and how many
    others there are. A link to a folder inside a class is not followed, and counts as one."""
    images: list[str] = []
    ignored = 0
    for here, folders, files in os.walk(folder, onerror=_unreadable):
        links = [f for f in folders if f.startswith(".") or Path(here, f).is_symlink()]
        if deep:
            ignored += len(links)
        folders[:] = [f for f in folders if f not in links] if deep else []
        for name in files:
            if name.startswith(".") or Path(name).suffix.lower() not in SUFFIXES:
                ignored += 1
            else:
                images.append(Path(here, name).relative_to(path).as_posix())
    return images, ignored


def _some(names: list[str]) -> str:
    return ", ".join(map(repr, names[:3])) + (
        f" and {len(names) - 3} more" if len(names) > 3 else ""
    )
