"""Folders of images with a folder for each class: their contents, without opening images, and a split."""

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
class FolderContents:
    """Image files of a folder with their classes, and splits if the folder has any."""

    path: Path
    files: tuple[str, ...]  # names relative to `path`, sorted within each split
    labels: tuple[str, ...]  # the class of each file
    classes: tuple[str, ...]  # sorted
    splits: tuple[SplitName, ...] | None  # the split of each file; None: the folder has no splits
    ignored: int  # number of files that are hidden or not images by their names


def find_images(path: Path) -> FolderContents:
    """The images of `path`, in folders of classes, or in `train`, `test` and perhaps `val` with folders
    of classes; below these folders they may be nested. Hidden files and folders, and files without an
    image's suffix, are ignored and counted.

    Raises BenchError for a folder that is missing or cannot be read, images outside the folders of
    classes, classes without images, fewer than two classes, and classes that differ between splits.
    """
    if not path.is_dir():
        raise BenchError(f"no folder {str(path)!r}; path= needs a folder of images ({LAYOUT})")
    folders = {name for name, is_folder in _entries(path) if is_folder}
    if not folders & {"train", "test"}:
        files, ignored = _classes(path, path)
        _require_two_classes(path, files)
        rows = [(name, label) for label in files for name in files[label]]
        rows.sort()
        names, labels = (tuple(row[i] for row in rows) for i in (0, 1))
        return FolderContents(path, names, labels, tuple(files), None, ignored)
    if absent := {"train", "test"} - folders:
        raise BenchError(f"{path} has no folder {absent.pop()!r}; it must hold {LAYOUT}")
    if extra := sorted(folders - {*SPLITS}):
        raise BenchError(
            f"{path} has {_first_names(extra)} beside train and test; only val is allowed: rename or "
            "move the other folders"
        )
    loose, ignored = _files(path, path, deep=False)
    _require_no_loose(path, loose)
    parts: dict[SplitName, Mapping[str, tuple[str, ...]]] = {}
    for split in SPLITS:
        if split in folders:
            parts[split], skipped = _classes(path, path / split)
            ignored += skipped
    for split in parts:
        if differ := sorted(set(parts[split]) ^ set(parts["train"])):
            raise BenchError(
                f"{path}: the classes of train and {split} differ ({_first_names(differ)} only in one); "
                "both must have the same class folders"
            )
    _require_two_classes(path, parts["train"])
    with_splits = [
        (split, name, label)
        for split, classes in parts.items()
        for name, label in sorted((name, label) for label in classes for name in classes[label])
    ]
    splits, names, labels = zip(*with_splits, strict=True)
    return FolderContents(path, names, labels, tuple(parts["train"]), splits, ignored)


def _require_two_classes(path: Path, classes: Iterable[str]) -> None:
    names = list(classes)
    if len(names) < 2:
        count = f"only one class ({names[0]!r})" if names else "no classes"
        raise BenchError(f"{path} has {count}; it must hold {LAYOUT}, with two classes or more")


def _classes(path: Path, folder: Path) -> tuple[dict[str, tuple[str, ...]], int]:
    """Files by class, classes sorted, and the number of ignored files."""
    loose, ignored = _files(path, folder, deep=False)
    _require_no_loose(path, loose)
    classes: dict[str, tuple[str, ...]] = {}
    for name in sorted(name for name, is_folder in _entries(folder) if is_folder):
        files, skipped = _files(path, folder / name, deep=True)
        classes[name], ignored = tuple(sorted(files)), ignored + skipped
    if empty := [name for name, files in classes.items() if not files]:
        raise BenchError(
            f"{folder}: no images in {_first_names(empty)}; names of images must end with one of "
            f"{' '.join(sorted(SUFFIXES))}"
        )
    return classes, ignored


def _require_no_loose(path: Path, files: list[str]) -> None:
    if files:
        raise BenchError(
            f"{path}: images outside the folders of classes: {_first_names(sorted(files))}; it must hold "
            f"{LAYOUT}"
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
        f"{error.filename} cannot be read ({error.strerror}); change its permissions, or name another "
        "folder"
    ) from error


def _files(path: Path, folder: Path, *, deep: bool) -> tuple[list[str], int]:
    """Image files in `folder`, with `deep` also below it, by their names relative to `path`, and the
    number of ignored files. A link to a folder inside a class is not followed, and counts as ignored."""
    images: list[str] = []
    ignored = 0
    for parent, folders, files in os.walk(folder, onerror=_unreadable):
        skipped = [f for f in folders if f.startswith(".") or Path(parent, f).is_symlink()]
        if deep:
            ignored += len(skipped)
        folders[:] = [f for f in folders if f not in skipped] if deep else []
        for name in files:
            if name.startswith(".") or Path(name).suffix.lower() not in SUFFIXES:
                ignored += 1
            else:
                images.append(Path(parent, name).relative_to(path).as_posix())
    return images, ignored


def _first_names(names: list[str]) -> str:
    return ", ".join(map(repr, names[:3])) + (
        f" and {len(names) - 3} more" if len(names) > 3 else ""
    )
