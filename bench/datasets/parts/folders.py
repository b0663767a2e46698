"""Folders of images with a folder for each class: their contents, without opening images, and a split."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from bench.data.images import suffixes
from bench.data.samples import SPLITS, SplitName
from bench.data.semantics import composed
from bench.errors import BenchError

LAYOUT = "train/CLASS/... and test/CLASS/..., or CLASS/..."
_WORDS: Mapping[
    str, str
] = {  # usual words for splits; "eval" stands for test, or for val beside test
    **dict.fromkeys(("train", "training", "trainval", "trn"), "train"),
    **dict.fromkeys(("val", "valid", "validate", "validation", "dev", "devel"), "val"),
    **dict.fromkeys(("test", "testing", "tst"), "test"),
    **dict.fromkeys(("eval", "evaluate", "evaluation"), "eval"),
}
_FILLERS = frozenset((  # words that say nothing about a split
    "data", "dataset", "dir", "examples", "files", "folder", "image", "images", "img", "imgs", "photo",
    "photos", "pics", "pictures", "samples", "set", "split",
))  # fmt: skip
_COMPOUND = re.compile(
    f"({'|'.join(sorted(_WORDS, key=len, reverse=True))})({'|'.join(sorted(_FILLERS, key=len))})?"
)
_SYSTEM = frozenset(  # folders that operating systems and archives add
    ("__macosx", "@eadir", "$recycle.bin", "system volume information", "lost+found")
)
_PICTURES = frozenset((  # endings of pictures that are perhaps not read
    ".arw", ".avif", ".cr2", ".cr3", ".dng", ".eps", ".heic", ".heif", ".jxl", ".nef", ".pdf", ".psd",
    ".raw", ".svg", ".tga",
))  # fmt: skip
_MOST_KINDS = 10  # endings that a message names


@dataclass(frozen=True, slots=True)
class FolderContents:
    """Image files of a folder with their classes, and splits if the folder has any."""

    path: Path
    files: tuple[str, ...]  # names relative to `path`, sorted within each split
    labels: tuple[str, ...]  # the class of each file
    classes: tuple[str, ...]  # sorted, in Unicode's composed form (NFC)
    splits: tuple[SplitName, ...] | None  # the split of each file; None: the folder has no splits
    folders: Mapping[SplitName, str]  # the folder of each split, relative to `path`
    ignored: Mapping[str, int]  # number of files that are not read, by ending; "hidden" among them
    notes: tuple[str, ...]  # what may not be what is meant, a line each


def find_images(path: Path) -> FolderContents:
    """The images of `path`, in folders of classes, or in folders of splits with folders of classes;
    below these folders they may be nested. Hidden files and folders, and files without an image's
    ending, are not read and are counted.

    Folders of splits are known by their names, in any case: words for train and test, and perhaps for
    validation (`training`, `valid`, `seg_test`, `train_images` and so on). Without a test folder the
    validation folder is the test split, which a note says. A folder with such a name that holds images
    itself, among folders of classes, is a class. Class names that are equal but for their Unicode form
    are one class.

    Raises BenchError for a folder that is missing or cannot be read, images outside the folders of
    classes, classes without images, fewer than two classes, classes that differ between splits, names
    that may be splits or classes, and links by which a folder is nowhere, or in two places.
    """
    if path.is_file():
        raise BenchError(
            f"{path} is a file and no folder of images ({LAYOUT}); unpack an archive, and put images of a "
            "list into a folder for each class"
        )
    if not path.is_dir():
        raise BenchError(f"no folder {str(path)!r}; path= needs a folder of images ({LAYOUT})")
    ignored: Counter[str] = Counter()
    _require_links_lead(path)
    folders = _subfolders(path)
    layout = _split_folders(path, folders)
    if layout is None:
        _require_apart(path, [path])
        classes = _classes(path, path, ignored)
        notes = _nested(path, folders) + _alike(classes)
        _require_two_classes(path, classes)
        rows = [(name, label) for label, files in classes.items() for name in files]
        rows.sort(key=_order)
        names, labels = (tuple(row[i] for row in rows) for i in (0, 1))
        return FolderContents(
            path, names, labels, tuple(classes), None, {}, dict(ignored), tuple(notes)
        )
    loose = _files(path, path, ignored, deep=False)
    _require_no_loose(path, loose)
    notes = []
    if "test" not in layout:
        layout = {"train": layout["train"], "test": layout["val"]}
        notes.append(
            f"there is no test folder: {layout['test']!r} is the test split, and a tenth of "
            f"{layout['train']!r} validates"
        )
    parts: dict[SplitName, Mapping[str, tuple[str, ...]]] = {}
    places: dict[SplitName, Path] = {}
    for split in SPLITS:
        if split in layout:
            places[split] = _unwrapped(path / layout[split])
            _require_links_lead(places[split])
    _require_apart(path, list(places.values()))
    for split, place in places.items():
        parts[split] = _classes(path, place, ignored)
    for split in parts:
        if differ := sorted(set(parts[split]) ^ set(parts["train"])):
            case = " (names differ in capital letters)" if _equal_but_for_case(differ) else ""
            raise BenchError(
                f"{path}: the classes of {layout['train']} and {layout[split]} differ "
                f"({first_names(differ)} only in one){case}; both must have the same class folders"
            )
    _require_two_classes(path, parts["train"])
    notes += _nested(places["train"], _subfolders(places["train"])) + _alike(parts["train"])
    with_splits = [
        (split, name, label)
        for split, of_split in parts.items()
        for name, label in sorted(
            ((name, label) for label in of_split for name in of_split[label]), key=_order
        )
    ]
    splits, names, labels = zip(*with_splits, strict=True)
    relative = {split: place.relative_to(path).as_posix() for split, place in places.items()}
    return FolderContents(
        path, names, labels, tuple(parts["train"]), splits, relative, dict(ignored), tuple(notes)
    )


def left_out(ignored: Mapping[str, int]) -> str:
    """One line for the files that are not read, by ending: "left out 3 files: 2 .heic, 1 hidden"."""
    ranked = sorted(ignored.items(), key=lambda item: (-item[1], item[0]))
    named = [f"{count} {kind}" for kind, count in ranked[:_MOST_KINDS]]
    if more := ranked[_MOST_KINDS:]:
        named.append(f"{sum(count for _, count in more)} with {len(more)} further endings")
    count = sum(ignored.values())
    text = f"left out {count} file{'s' * (count != 1)}: {', '.join(named)}"
    if unread := sorted(_PICTURES & ignored.keys()):
        text += f" ({', '.join(unread)}: not read here; convert such pictures to .jpg or .png)"
    return text


# --- Splits


def _split_word(name: str) -> tuple[str, tuple[str, ...]] | None:
    """The split that a folder's name has a word for, and the words beside it; None without such a word.

    >>> _split_word("seg_train"), _split_word("TestSet"), _split_word("trains")
    (('train', ('seg',)), ('test', ()), None)
    """
    spaced = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", composed(name)).casefold()
    words, beside = [], []
    for word in re.findall(r"[^\W\d_]+", spaced):
        if match := _COMPOUND.fullmatch(word):
            words.append(_WORDS[match[1]])
        elif word not in _FILLERS:
            beside.append(word)
    return (words[0], tuple(beside)) if len(words) == 1 else None


def _split_folders(path: Path, folders: Sequence[str]) -> dict[SplitName, str] | None:
    """The folder of each split; None where `folders` are classes.

    Raises BenchError where they may be either, and where a split is missing or there twice.
    """
    groups: dict[tuple[str, ...], dict[str, list[str]]] = {}
    for name in folders:
        if parsed := _split_word(name):
            groups.setdefault(parsed[1], {}).setdefault(parsed[0], []).append(name)
    layouts = [group for group in groups.values() if len(group) > 1]
    plain = groups.get((), {})
    if not layouts and not plain:
        return None
    group = layouts[0] if layouts else plain
    named = sorted(name for names in group.values() for name in names)
    beside = sorted(set(folders) - set(named))
    with_images = [name for name in named if _files(path, path / name, Counter(), deep=False)]
    if len(layouts) > 1:
        raise BenchError(
            f"{path}: the splits of several data sets ({first_names(sorted(folders), 6)}); it must hold "
            f"{LAYOUT}: name the folder of one of them"
        )
    if with_images == named and (beside or len(named) > 1) and not (layouts and "train" in group):
        return None
    if not layouts and beside:
        raise BenchError(
            f"{path}: {first_names(named)} may be a split or a class beside {first_names(beside)}; a "
            f"class holds images itself, and splits are train and test ({LAYOUT}): rename or move it"
        )
    split_of = _without_eval(group)
    for absent in ("train", "test"):
        if absent not in split_of and (absent == "train" or "val" not in split_of):
            raise BenchError(
                f"{path} has no folder {absent!r} beside {first_names(named)}; it must hold {LAYOUT}"
            )
    if beside:
        raise BenchError(
            f"{path} has {first_names(beside)} beside {' and '.join(map(repr, named))}, which are named "
            "like splits; only one folder each for train, val and test is allowed: rename or move the "
            "other folders"
        )
    for split, names in split_of.items():
        if len(names) > 1:
            raise BenchError(
                f"{path}: {' and '.join(map(repr, sorted(names)))} both name the {split} split; merge or "
                "rename them"
            )
    return {split: split_of[split][0] for split in SPLITS if split in split_of}


def _without_eval(group: Mapping[str, list[str]]) -> dict[str, list[str]]:
    """ "eval" is the test split where there is no test folder, else validation."""
    split_of = {split: list(names) for split, names in group.items() if split != "eval"}
    for name in group.get("eval", ()):
        split_of.setdefault("val" if "test" in group else "test", []).append(name)
    return split_of


def _unwrapped(folder: Path) -> Path:
    """The folder of classes of a split: `folder`, or the only folder in it where that is named like a
    split or like images in general, as in seg_train/seg_train/CLASS."""
    inner = _subfolders(folder)
    if len(inner) != 1 or _files(folder, folder, Counter(), deep=False):
        return folder
    same = _split_word(inner[0]) is not None or composed(inner[0]).casefold() in _FILLERS
    return folder / inner[0] if same and _subfolders(folder / inner[0]) else folder


def _nested(path: Path, folders: Sequence[str]) -> list[str]:
    """A note where folders alone lie in each class, which may be the classes themselves.

    Raises BenchError where they are splits.
    """
    inner = {name: _subfolders(path / name) for name in folders}
    if len(folders) < 2 or any(
        len(names) < 2 or _files(path, path / folder, Counter(), deep=False)
        for folder, names in inner.items()
    ):
        return []
    splits = [{_split_word(n) for n in names} for names in inner.values()]
    if all({"train"} < {s[0] for s in of if s} and None not in of for of in splits):
        first = sorted(folders)[0]
        raise BenchError(
            f"{path}: splits lie inside the folders of classes "
            f"({first}/{' and '.join(sorted(inner[first])[:2])}); it must hold {LAYOUT}"
        )
    same = set.intersection(*({composed(n) for n in names} for names in inner.values()))
    if len(same) < 2:
        first = sorted(folders)[0]
        return [
            f"folders lie in each of {first_names(sorted(folders))}, which are the classes here; if the "
            f"inner ones ({first_names([f'{first}/{name}' for name in inner[first]])}) are the classes, "
            "move them up"
        ]
    return [
        f"folders of the same names ({first_names(sorted(same))}) lie in each of "
        f"{first_names(sorted(folders))}, which are the classes here; if they are splits, name them "
        "train and test"
    ]


def _require_links_lead(folder: Path) -> None:
    """Raise BenchError for a link in a folder that leads nowhere, such as to a class that was moved."""
    try:
        names = sorted(os.listdir(folder))
    except OSError as error:
        _unreadable(error)
    for name in names:
        if not (_hidden(name) or _is_image(name) or (folder / name).exists()):
            raise BenchError(f"{folder / name} is a link that leads nowhere; mend or remove it")


def _require_apart(path: Path, places: Sequence[Path]) -> None:
    """Raise BenchError where links make two folders of classes in `places` one, or put one in another."""
    folders = {
        folder: folder.resolve() for p in places for folder in map(p.joinpath, _subfolders(p))
    }
    first: dict[Path, Path] = {}
    for folder, real in folders.items():
        second = first.setdefault(real, folder)
        if second is not folder:
            names = [str(f.relative_to(path)) for f in (second, folder)]
            raise BenchError(
                f"{path}: {names[0]!r} and {names[1]!r} are one folder; remove the link"
            )
    for folder, real in folders.items():
        outer = next((first[parent] for parent in real.parents if parent in first), None)
        if outer is None and path.resolve().is_relative_to(real):
            outer, folder = folder, path
        if outer is not None:
            raise BenchError(
                f"{path}: a link puts {str(folder)!r} into {str(outer)!r}; remove the link"
            )


# --- Folders of classes


def _alike(classes: Iterable[str]) -> list[str]:
    """A note where names of classes differ in capital letters and spaces alone."""
    groups: dict[str, list[str]] = {}
    for name in classes:
        groups.setdefault(" ".join(name.casefold().replace("_", " ").split()), []).append(name)
    pairs = [" and ".join(map(repr, names)) for names in groups.values() if len(names) > 1]
    return [f"{pair} are different classes here" for pair in pairs[:3]]


def _require_two_classes(path: Path, classes: Iterable[str]) -> None:
    names = list(classes)
    if len(names) >= 2:
        return
    count = f"only one class ({names[0]!r})" if names else "no classes"
    inside = ""
    if names and (path / names[0]).is_dir() and len(_subfolders(path / names[0])) > 1:
        inside = f"; is {str(path / names[0])!r} the folder that you mean?"
    raise BenchError(f"{path} has {count}; it must hold {LAYOUT}, with two classes or more{inside}")


def _classes(path: Path, folder: Path, ignored: Counter[str]) -> dict[str, tuple[str, ...]]:
    """Files by class, classes sorted; files that are not read are counted in `ignored`."""
    _require_no_loose(path, _files(path, folder, ignored, deep=False))
    classes: dict[str, list[str]] = {}
    skipped: dict[str, Counter[str]] = {}
    for name in _subfolders(folder):
        counts: Counter[str] = skipped.setdefault(composed(name), Counter())
        before = counts.copy()
        classes.setdefault(composed(name), []).extend(
            _files(path, folder / name, counts, deep=True)
        )
        ignored.update(counts - before)
    if empty := sorted(name for name, files in classes.items() if not files):
        there = sum((skipped[name] for name in empty), Counter[str]())
        only = f", which {left_out(there).replace('left out', 'hold')}" if there else ""
        raise BenchError(
            f"{folder}: no images in {first_names(empty)}{only}; names of images must end with one of "
            f"{' '.join(sorted(suffixes()))}"
        )
    return {name: tuple(classes[name]) for name in sorted(classes)}


def _require_no_loose(path: Path, files: list[str]) -> None:
    if files:
        raise BenchError(
            f"{path}: images outside the folders of classes: {first_names(sorted(files))}; it must hold "
            f"{LAYOUT}"
        )


def _subfolders(folder: Path) -> list[str]:
    """Names of the folders in a folder, sorted, that are not hidden and not made by the system."""
    try:
        with os.scandir(folder) as entries:
            return sorted(e.name for e in entries if not _hidden(e.name) and e.is_dir())
    except OSError as error:
        _unreadable(error)


def _hidden(name: str) -> bool:
    return name.startswith(".") or name.casefold() in _SYSTEM


def _unreadable(error: OSError) -> NoReturn:
    raise BenchError(
        f"{error.filename} cannot be read ({error.strerror}); change its permissions, or name another "
        "folder"
    ) from error


def _files(path: Path, folder: Path, ignored: Counter[str], *, deep: bool) -> list[str]:
    """Image files in `folder`, with `deep` also below it, by their names relative to `path`. What is not
    read is counted in `ignored` by its ending. A link to a folder inside a class is not followed, and is
    counted."""
    images: list[str] = []
    for parent, folders, files in os.walk(folder, onerror=_unreadable):
        kept = []
        for name in folders if deep else ():
            if _hidden(name):
                ignored["hidden"] += 1
            elif Path(parent, name).is_symlink():
                ignored["linked folder"] += 1
            else:
                kept.append(name)
        folders[:] = kept
        for name in files:
            ending = Path(name).suffix.lower()
            if name.startswith("."):
                ignored["hidden"] += 1
            elif _is_image(name):
                images.append(Path(parent, name).relative_to(path).as_posix())
            else:
                ignored[_shown(ending) or "without an ending"] += 1
    return images


def _is_image(name: str) -> bool:
    return Path(name).suffix.lower() in suffixes()


def _shown(ending: str) -> str:
    return ending if ending.isprintable() else ascii(ending)


def _order(row: tuple[str, ...]) -> tuple[str, tuple[str, ...]]:
    """Names in their composed form first, so that the order is the same on every system."""
    return composed(row[0]), row


def _equal_but_for_case(names: Iterable[str]) -> bool:
    folded = [name.casefold() for name in names]
    return len(set(folded)) < len(folded)


def first_names(names: Sequence[str], most: int = 3) -> str:
    return ", ".join(map(repr, names[:most])) + (
        f" and {len(names) - most} more" if len(names) > most else ""
    )
