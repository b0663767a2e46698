"""A pull request that enters an encoder, checked on two commits: it adds one entry, and nothing else."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

from bench.entries.folder import MOST_BYTES
from bench.entries.objects import (
    EXECUTABLE,
    FILE,
    LINK,
    SUBMODULE,
    TREE,
    Change,
    Node,
    Objects,
    printed,
)
from bench.entries.owners import check_owner
from bench.entries.remark import Remark
from bench.entries.verify import Verdict, verify
from bench.errors import BenchError
from bench.results.ledger import MOST_ENTERED
from bench.results.store import LEDGER, Store, is_reserved
from bench.tasks.cell import OURS

RESULTS = b"results"  # in the uppermost folder of a repository
_NAME = re.compile(rb"[A-Za-z0-9_][A-Za-z0-9_,=@~%.+-]{0,199}")
_SPECIAL = {EXECUTABLE: "is executable", LINK: "is a symbolic link", SUBMODULE: "is a submodule"}


def check_change(base: str, head: str, *, author: str | None = None) -> Verdict:
    """Check what `head` adds to `base`, two commits of the repository around the current folder, and
    `verify` the entry that it has then. Only objects of git are read: `head` is never checked out.

    author: the login of who asks for it, who alone may change rows of that owner. What is said of records
    beside others is by the `results` that are checked out.

    Raises BenchError where there is no git, no repository, or no such commit.
    """
    with Objects() as objects:
        base, head = objects.commit(base), objects.commit(head)
        before, after = objects.root(objects.common(base, head)), objects.root(head)
        verdict = Verdict()
        try:
            changes = list(objects.changes(before, after))
            check = _Check(objects, objects.root(base), after, changes, author)
            verdict.findings += check.paths()
            if check.place is not None:
                verdict.findings += check.owner()
                check.verify(verdict)
        except BenchError as error:
            verdict.findings.append(Remark("", "", str(error)))
    return verdict


class _Check:
    """One change: `place` is the owner and encoder that it is of, None where it has none."""

    def __init__(
        self,
        objects: Objects,
        base: Node,
        head: Node,
        changes: Sequence[Change],
        author: str | None,
    ) -> None:
        self._objects, self._base, self._head, self._changes = objects, base, head, changes
        self._author = author and author.lower()
        places = Counter(place for change in changes if (place := _place(change)) is not None)
        self.place = max(
            sorted(places), key=lambda p: (p[0].decode() == self._author, places[p]), default=None
        )

    def paths(self) -> Iterator[Remark]:
        """What is wrong with the paths and modes that change."""
        if self.place is None:
            yield Remark("", "", "no file of an entry changes: results/OWNER/ENCODER/TASK.json")
        for change in self._changes:
            messages = [*_name_problems(change), *self._problems(change)]
            yield from (Remark(printed(change.path), "", message) for message in messages)

    def _problems(self, change: Change) -> Iterator[str]:
        after, place = change.after, _place(change)
        if after is not None and after.mode != FILE:
            yield _SPECIAL.get(after.mode, f"has the mode {after.mode:.20}")
        if place is None:
            yield "lies outside of an entry, results/OWNER/ENCODER/"
        elif place != self.place and self.place is not None:
            entry = printed((RESULTS, *self.place))
            yield f"lies outside of {entry}: a pull request has one owner and one encoder"
        if place is not None and change.before is not None:
            owner = place[0].decode()
            if owner == OURS or owner != self._author:
                yield f"{'removes' if after is None else 'overwrites'} a row of {owner}"

    def owner(self) -> Iterator[Remark]:
        """What is wrong with the names of owner and encoder, beside those that are there."""
        assert self.place is not None
        owner, encoder = (name.decode() for name in self.place)
        results = self._objects.entry(self._base, RESULTS)
        names = self._objects.folder(results)
        folders = [name.decode("utf-8", "replace") for name in names if names[name].mode == TREE]
        where = f"results/{owner}"
        try:
            check_owner(owner, [folder for folder in folders if not is_reserved(folder)])
        except BenchError as error:
            yield Remark(where, "", str(error))
        if self._author is not None and owner != self._author:
            yield Remark(
                where,
                "",
                f"is not of the author, {self._author!a:.60}: name it by your GitHub login",
            )
        for name in self._objects.folder(names.get(self.place[0])):
            present = name.decode("utf-8", "replace")
            if present != encoder and present.casefold() == encoder.casefold():
                yield Remark(
                    f"{where}/{encoder}", "", f"differs from {present!a:.80} by case alone"
                )

    def verify(self, verdict: Verdict) -> None:
        """Verify the whole entry as `head` has it, by way of a temporary folder."""
        assert self.place is not None
        owner, encoder = (name.decode() for name in self.place)
        where = f"results/{owner}/{encoder}"
        nodes = self._objects.folder(self._objects.entry(self._head, RESULTS, *self.place))
        if not nodes:
            verdict.notes.append(Remark(where, "", "the whole entry is removed"))
            return
        if self._author is None and self._objects.entry(self._base, RESULTS, self.place[0]):
            message = "has rows already: --author LOGIN says who may change them"
            verdict.notes.append(Remark(f"results/{owner}", "", message))
        with TemporaryDirectory(prefix="reptransfer-") as folder:
            root = Path(folder).resolve() / "results"
            try:
                entry = Store(root).path(owner, encoder, "x").parent
                entry.mkdir(parents=True)
                verdict.findings += self._written(nodes, entry, where)
                verdict.findings += self._lines_lost(nodes)
                result = verify(entry, beside=self._beside())
            except BenchError as error:
                text = str(error).replace(str(root), "results")
                verdict.findings.append(Remark(where, "", text))
                return
        verdict.records = result.records
        verdict.findings += [replace(r, file=f"results/{r.file}") for r in result.findings]
        verdict.notes += [replace(r, file=f"results/{r.file}") for r in result.notes]
        verdict.consistent = {f"results/{file}": level for file, level in result.consistent.items()}

    def _written(self, nodes: dict[bytes, Node], entry: Path, where: str) -> Iterator[Remark]:
        """Write the regular files of an entry that have safe names; what is wrong with the others."""
        total, names = 0, dict[str, str]()
        for raw, node in nodes.items():
            path = f"{where}/{printed((raw,))}"
            if node.mode == TREE:
                yield Remark(path, "", "is a folder: an entry has files alone")
            if node.mode != FILE or not _NAME.fullmatch(raw):
                continue  # said of its change
            name = raw.decode()
            if (first := names.setdefault(name.casefold(), name)) != name:
                yield Remark(path, "", f"differs from {first!r:.80} by case alone")
                continue
            try:
                content = self._objects.content(node, MOST_BYTES)
            except BenchError as error:
                yield Remark(path, "", str(error))
                continue
            if (total := total + len(content)) > MOST_BYTES:
                yield Remark(where, "", f"has over {MOST_BYTES} bytes")
                return
            (entry / name).write_bytes(content)

    def _lines_lost(self, nodes: dict[bytes, Node]) -> Iterator[Remark]:
        """Lines of the entry's ledger that the base has and `head` has not."""
        assert self.place is not None
        path = (RESULTS, *self.place, LEDGER.encode())
        before, after = self._objects.entry(self._base, *path), nodes.get(path[-1])
        if before is None or before == after:
            return
        lines = [
            set(self._objects.content(node, MOST_ENTERED).splitlines() if node else ())
            for node in (before, after)
        ]
        if lost := len(lines[0] - lines[1]):
            message = f"lacks {lost} of the lines that it has had: lines are only added to a ledger"
            yield Remark(printed(path), "", message)

    def _beside(self) -> Path | None:
        tree = self._objects.working_tree
        results = tree / RESULTS.decode() if tree else None
        return results if results is not None and results.is_dir() else None


def _place(change: Change) -> tuple[bytes, bytes] | None:
    """Owner and encoder of a file in an entry; None for another place."""
    if len(change.path) != 4 or change.path[0] != RESULTS:
        return None
    owner, encoder = change.path[1:3]
    safe = _NAME.fullmatch(owner) and _NAME.fullmatch(encoder)
    return (owner, encoder) if safe and not is_reserved(owner.decode()) else None


def _name_problems(change: Change) -> Iterator[str]:
    """Of the parts of a path: what no file system, reader or git itself should be given."""
    name = change.path[-1]
    if name.lower() in (b".gitattributes", b".gitmodules", b".gitignore"):
        yield "is a file for git: an entry has records, predictions, ledger and entry.toml"
        return
    unsafe = [part for part in change.path[1:] if not _NAME.fullmatch(part)]
    if change.path[0] == RESULTS and unsafe:
        yield f"{printed((unsafe[0],))!a:.100} is no safe name of a file or folder"
