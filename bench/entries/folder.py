"""What lies in a results folder, beside what may: names, kinds and sizes. No file is opened, and no link
is followed."""

from __future__ import annotations

import itertools
import os
import stat
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from bench.entries.entry import FILE, WEIGHTS_ENDING
from bench.entries.owners import check_owner
from bench.entries.remark import Remark, printed
from bench.errors import BenchError
from bench.results.store import LEDGER, SHEET, TASKS, Store, is_reserved
from bench.tasks.cell import LOCAL, OURS

MOST_NAMES = 4096  # in the folder of an encoder, or of an owner of entries
MOST_FOLDERS = 2**16  # in a results folder, or in that of an owner of this machine's own runs
MOST_BYTES = 20 * 2**20  # of an entry
_MOST_SAID = 20  # findings of the files of one folder


@dataclass(slots=True)
class Listing:
    """What a results folder has, as far as it may be read.

    depth: how many folders lie between the folder that was named and its records (2: it is `root`).
    encoders: folder of an encoder -> its regular files, by name.
    """

    root: Path
    depth: int
    findings: list[Remark] = field(default_factory=list)
    encoders: dict[Path, list[str]] = field(default_factory=dict)

    @property
    def records(self) -> list[Path]:
        """The files of records, sorted."""
        named = (folder / name for folder, names in self.encoders.items() for name in names)
        return sorted(path for path in named if path.suffix == ".json")


def listing(path: Path) -> Listing:
    """What lies in a results folder, in the folder of an owner in it, or in that of an encoder.

    Raises BenchError for a folder without records, and for one that has too many names to tell.
    """
    path = Path(os.path.abspath(path))
    if not path.is_dir():
        raise BenchError(
            f"no folder {str(path)!r}; name a results folder, or an owner's or encoder's in it"
        )
    depth = _depth(path)
    root = path if depth == 2 else path.parent if depth == 1 else path.parent.parent
    walk = _Walk(root, depth)
    walk.check_tasks()
    if depth == 2:
        walk.whole()
    elif walk.is_folder(root / path.relative_to(root).parts[0]):
        walk.owner(path if depth == 1 else path.parent, path.name if depth == 0 else None)
    return walk.listing


def folder_findings(path: Path) -> list[Remark]:
    """What is wrong with the names, kinds and sizes of what lies in a folder; as `listing` reads it."""
    return listing(path).findings


def is_entry(folder: Path) -> bool:
    """Is the folder of an encoder in one that an owner has entered?"""
    return _enters(folder.parent.name)


def encoder_folders(root: Path) -> list[Path]:
    """The folders of encoders in a results folder that can be read, without links. None is opened."""
    folders = [root]
    for level in range(2):
        entries = list[os.DirEntry[str]]()
        for folder in folders:
            with suppress(OSError):
                entries += _names(folder)
        entries = [entry for entry in entries if level or not is_reserved(entry.name)]
        folders = [Path(e.path) for e in entries if e.is_dir(follow_symlinks=False)]
    return folders


def _enters(owner: str) -> bool:
    return owner not in (OURS, LOCAL)


def _names(folder: Path, most: int = MOST_FOLDERS) -> list[os.DirEntry[str]]:
    """What a folder holds, sorted; of one with more than `most` names as many and one more."""
    with os.scandir(folder) as entries:
        return sorted(itertools.islice(entries, most + 1), key=lambda entry: entry.name)


def _depth(path: Path) -> int:
    """How many folders lie between `path` and its records."""
    depth, folders, names, link = -1, [(path, 0)], 0, ""
    while folders and depth < 2 and names < 4 * MOST_FOLDERS:
        folder, level = folders.pop()
        try:
            entries = _names(folder, MOST_NAMES)
        except OSError:
            continue
        names += len(entries)
        for entry in entries:
            if level == 0 and is_reserved(entry.name):
                continue
            if entry.name.endswith(".json") or entry.name == FILE:
                depth = max(depth, level)
            elif level < 2 and entry.is_dir(follow_symlinks=False):
                folders.append((Path(entry.path), level + 1))
            elif entry.is_symlink():
                link = link or os.path.relpath(entry.path, path)
    if depth < 0:
        but = f" among its first {MOST_NAMES} names" if names > MOST_NAMES else ""
        but += f", and {link!a:.200} is a link: nothing is read through it" if link else ""
        raise BenchError(f"{str(path)!a} has no records{but}; they lie in OWNER/ENCODER/TASK.json")
    return depth


class _Walk:
    """Fills a listing."""

    def __init__(self, root: Path, depth: int) -> None:
        self.listing = Listing(root, depth)
        self._store = Store(root)

    def check_tasks(self) -> None:
        """Raise BenchError where the folder has more tasks than are read."""
        tasks = self.listing.root / TASKS
        if tasks.is_dir() and not tasks.is_symlink() and len(_names(tasks)) > MOST_FOLDERS:
            raise BenchError(f"{TASKS} has more than {MOST_FOLDERS} names; remove what is no task")

    def say(self, place: Path, message: str) -> None:
        where = place.relative_to(self.listing.root).as_posix()
        self.listing.findings.append(Remark(printed(where), "", message))

    def folder(self, folder: Path, most: int = MOST_FOLDERS) -> list[os.DirEntry[str]]:
        """What a folder holds; nothing where that cannot be said, or is too much."""
        try:
            entries = _names(folder, most)
        except OSError as error:
            self.say(folder, f"cannot be read: {error.strerror}")
            return []
        if len(entries) > most:
            self.say(folder, f"has more than {most} names: nothing in it is read")
            return []
        return entries

    def is_folder(self, place: Path) -> bool:
        """Is it a folder? Where it is none, that is said."""
        mode = os.lstat(place).st_mode
        if not stat.S_ISDIR(mode):
            self.say(place, f"{_kind(mode)}, where folders of records lie")
        return stat.S_ISDIR(mode)

    def whole(self) -> None:
        for entry in self.folder(self.listing.root):
            place = Path(entry.path)
            if not is_reserved(entry.name):
                if self.is_folder(place):
                    self.owner(place)
            elif stat.S_ISLNK(os.lstat(place).st_mode):
                self.say(place, "is a link: nothing is read or written through it")

    def owner(self, folder: Path, encoder: str | None = None) -> None:
        """The folder of an owner, or of it that of one encoder alone."""
        owners = [e.name for e in self.folder(self.listing.root) if not is_reserved(e.name)]
        if _enters(folder.name):
            try:
                check_owner(folder.name, owners)
            except BenchError as error:
                self.say(folder, str(error))
        entries = self.folder(folder, MOST_NAMES if _enters(folder.name) else MOST_FOLDERS)
        alike = _alike([entry.name for entry in entries])
        for entry in entries:
            place = Path(entry.path)
            if encoder not in (None, entry.name) or not self.is_folder(place):
                continue
            try:
                self._store.path(OURS, entry.name, "task")
            except BenchError:
                self.say(place, "its name is no encoder's that every file system can have")
                continue
            if entry.name in alike:
                self.say(place, f"differs from {alike[entry.name]!a:.80} by case alone")
            self.encoder(place)

    def encoder(self, folder: Path) -> None:
        """The folder of an encoder: what is wrong with its files, and which may be read."""
        entries = self.folder(folder, MOST_NAMES)
        names, alike = [e.name for e in entries], _alike([e.name for e in entries])
        files, size, said = list[str](), 0, list[tuple[Path, str]]()
        for entry in entries:
            place, facts = Path(entry.path), entry.stat(follow_symlinks=False)
            if not is_entry(folder) and entry.name.startswith(".") and entry.name.endswith(".tmp"):
                continue  # is being written
            size += facts.st_size
            messages = [*self._kind_problems(facts, folder), *self._name_problems(place, names)]
            if entry.name in alike:
                messages.append(f"differs from {alike[entry.name]!a:.80} by case alone")
            said += [(place, message) for message in messages]
            if not messages:
                files.append(entry.name)
        for place, message in said[:_MOST_SAID]:
            self.say(place, message)
        if len(said) > _MOST_SAID:
            self.say(folder, f"{len(said) - _MOST_SAID} further findings of its files")
        if not any(name.endswith(".json") for name in names):
            self.say(folder, "has no record")
        if is_entry(folder) and size > MOST_BYTES:
            message = f"has {size} bytes, where an entry has at most {MOST_BYTES}: nothing is read"
            self.say(folder, message)
        else:
            self.listing.encoders[folder] = files

    def _name_problems(self, place: Path, names: Sequence[str]) -> Iterator[str]:
        """What is wrong with the name of a file, beside those of its folder."""
        stem, ending = place.stem, place.suffix
        allowed = {".json", ".npz"}
        if is_entry(place.parent):
            allowed |= {WEIGHTS_ENDING}
        if place.name in ((FILE, LEDGER) if is_entry(place.parent) else (SHEET,)):
            return
        try:
            self._store.path(OURS, "encoder", place.name)
            self._store.path(OURS, "encoder", stem)
        except BenchError:
            yield "its name is none that every file system can have"
            return
        if ending not in allowed:
            of_entry = f"{', '.join(sorted(allowed))}, {FILE} and {LEDGER}"
            yield f"is not expected: {of_entry} are what an entry has"
        elif ending == ".npz" and f"{stem}.json" not in names:
            yield f"predictions without their record, {stem}.json"

    def _kind_problems(self, facts: os.stat_result, folder: Path) -> Iterator[str]:
        """Only regular files of one name that nobody can run may lie there."""
        if not stat.S_ISREG(facts.st_mode):
            yield f"{_kind(facts.st_mode)}, where regular files lie"
            return
        if facts.st_nlink > 1:
            yield f"is a hard link: its content has {facts.st_nlink} names; copy it"
        # Of folders too all bits are set on file systems that have none, as those of Windows.
        if facts.st_mode & 0o111 and stat.S_IMODE(os.lstat(folder).st_mode) != 0o777:
            yield "is executable; take that away with chmod a-x"


def _alike(names: Sequence[str]) -> dict[str, str]:
    """Of names that are equal but for case, each with one that it is equal to."""
    folded = Counter(name.casefold() for name in names)
    same = [name for name in names if folded[name.casefold()] > 1]
    return {
        name: next(n for n in same if n != name and n.casefold() == name.casefold())
        for name in same
    }


def _kind(mode: int) -> str:
    kinds = {
        stat.S_IFLNK: "is a link",
        stat.S_IFDIR: "is a folder",
        stat.S_IFREG: "is a file",
        stat.S_IFIFO: "is a pipe",
        stat.S_IFSOCK: "is a socket",
    }
    return kinds.get(stat.S_IFMT(mode), "is a device")
