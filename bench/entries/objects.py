"""Commits of a git repository as data: their objects are read within limits, nothing is checked out.

No file of a commit is written, so that no hook, filter, submodule or attribute of it has any effect.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from bench.errors import BenchError

TREE, FILE, EXECUTABLE, LINK, SUBMODULE = "40000", "100644", "100755", "120000", "160000"  # modes
MOST_CHANGES = 2_000  # files and folders that may differ between two commits
_MOST_TREE = 2**20  # bytes of a folder's list of names
_MOST_SECONDS = 60
_OBJECT = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class Node:
    """What a folder of a commit has by one name."""

    mode: str
    object: str


@dataclass(frozen=True, slots=True)
class Change:
    """A file that differs between two commits: None where one has no such file. `path`: its parts, as
    they are in the commit: any bytes but NUL, even a slash."""

    path: tuple[bytes, ...]
    before: Node | None
    after: Node | None


class Objects:
    """The objects of the repository around the current folder, while it is entered with `with`.

    Raises BenchError where git is not installed, or the current folder is in no repository.
    """

    def __init__(self) -> None:
        if shutil.which("git") is None:
            raise BenchError("git is not installed; install it, or check the folder by its path")
        status, _, problem = _git("rev-parse", "--git-dir")
        if status:
            raise BenchError(f"no git repository here: {problem}")
        self._sizes, self._contents = _answering("--batch-check"), _answering("--batch")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        for process in (self._sizes, self._contents):
            process.kill()
            process.communicate()

    @property
    def working_tree(self) -> Path | None:
        """The folder of the files that are checked out; None where there is none."""
        status, folder, _ = _git("rev-parse", "--show-toplevel")
        return Path(folder) if not status and folder else None

    def commit(self, name: str) -> str:
        """The commit that a branch, tag or number names. Raises BenchError where there is none."""
        commit = "" if name.startswith("-") else _revision(f"{name}^{{commit}}")
        if not _OBJECT.fullmatch(commit):
            raise BenchError(
                f"no commit {name!r:.100} here; name one of `git log --all`, or fetch it"
            )
        return commit

    def common(self, base: str, head: str) -> str:
        """The commit at which `head` has left `base`. Raises BenchError where there is none."""
        status, commit, _ = _git("merge-base", base, head)
        if status or not _OBJECT.fullmatch(commit):
            raise BenchError(
                f"{base:.12} and {head:.12} have no commit in common; fetch their whole history "
                "(`git fetch --unshallow`)"
            )
        return commit

    def root(self, commit: str) -> Node:
        """The uppermost folder of a commit."""
        tree = _revision(f"{commit}^{{tree}}")
        if not _OBJECT.fullmatch(tree):
            raise BenchError(f"the files of commit {commit:.12} are not here; fetch it")
        return Node(TREE, tree)

    def content(self, node: Node, most: int) -> bytes:
        """The bytes of a file. Raises BenchError, before it is read, where it has more than `most`."""
        return self._read(node.object, "blob", most)

    def folder(self, node: Node | None) -> dict[bytes, Node]:
        """What a folder has by name; nothing where `node` is no folder.

        Raises BenchError for one that git cannot have made, and for one with too many names.
        """
        if node is None or node.mode != TREE:
            return {}
        content, size = self._read(node.object, "tree", _MOST_TREE), len(node.object) // 2
        nodes, place = dict[bytes, Node](), 0
        while place < len(content):
            space, end = content.find(b" ", place), content.find(b"\0", place)
            if not place < space < end or end + 1 + size > len(content):
                raise BenchError("is no folder that git can read")
            name, mode = content[space + 1 : end], content[place:space].decode("ascii", "replace")
            place = end + 1 + size
            if name in nodes:
                raise BenchError(f"has the name {name!r:.80} twice")
            nodes[name] = Node(mode, content[end + 1 : place].hex())
        return nodes

    def entry(self, node: Node, *path: bytes) -> Node | None:
        """What lies at `path` below a folder; None where there is nothing."""
        place: Node | None = node
        for name in path:
            place = self.folder(place).get(name)
        return place

    def changes(self, before: Node, after: Node) -> Iterator[Change]:
        """The files that differ between two folders. Folders that are the same are not read, and no more
        than is asked for: a few small objects can stand for 10**10 files.

        Raises BenchError where too much differs.
        """
        Pairs = list[tuple[tuple[bytes, ...], Node | None, Node | None]]
        count, pairs = 0, Pairs([((), before, after)])
        while pairs:
            path, *folders = pairs.pop()
            try:
                old, new = map(self.folder, folders)
            except BenchError as error:
                raise BenchError(f"{printed(path)} {error}") from error
            for name in sorted(old.keys() | new.keys()):
                nodes = old.get(name), new.get(name)
                if nodes[0] == nodes[1]:
                    continue
                if (count := count + 1) > MOST_CHANGES:
                    raise BenchError(
                        f"more than {MOST_CHANGES} files and folders differ, as {printed((*path, name))}"
                    )
                if any(node and node.mode == TREE for node in nodes):
                    pairs.append(((*path, name), *nodes))
                files = [node if node and node.mode != TREE else None for node in nodes]
                if any(files):
                    yield Change((*path, name), *files)

    def _read(self, name: str, kind: str, most: int) -> bytes:
        header = self._header(self._sizes, name)
        if len(header) != 3:
            raise BenchError(f"cannot be read: git has no object {name:.12}; fetch the commit anew")
        size = int(header[2])
        if header[1] != kind:
            raise BenchError(f"cannot be read: git has a {header[1]} where a {kind} should be")
        if size > most:
            raise BenchError(f"has {size} bytes; at most {most} are read")
        assert self._contents.stdout is not None
        self._header(self._contents, name)
        content = self._contents.stdout.read(size + 1)[:-1]  # a line's end follows it
        if len(content) != size:
            raise BenchError(f"cannot be read: git has stopped at object {name:.12}")
        return content

    @staticmethod
    def _header(process: subprocess.Popen[bytes], name: str) -> list[str]:
        """What git says first of an object: its name, kind and size."""
        assert process.stdin is not None and process.stdout is not None
        try:
            process.stdin.write(f"{name}\n".encode())
            process.stdin.flush()
        except BrokenPipeError:
            return []
        words = process.stdout.readline().decode("ascii", "replace").split()
        return words if len(words) == 3 and words[2].isdecimal() else []


def printed(path: tuple[bytes, ...]) -> str:
    """A path for messages: in one line, what is not printed as in Python's strings."""
    text = "/".join(part.decode("utf-8", "backslashreplace") for part in path)
    text = "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)
    return text if len(text) <= 300 else f"{text[:300]}..."


def _revision(name: str) -> str:
    """The object that a name stands for; no object's name where there is none."""
    return _git("rev-parse", "--verify", "--quiet", name)[1]


def _answering(option: str) -> subprocess.Popen[bytes]:
    """A process that answers, of each object that is named to it. Settings of the user and of the system
    stay in force, as they say which repositories are safe to read; none of them makes it run anything."""
    command = ["git", "--no-replace-objects", "cat-file", option]
    return subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=_environment(),
    )


def _git(*words: str) -> tuple[int, str, str]:
    """Exit status, standard output, and the first line of errors."""
    try:
        done = subprocess.run(
            ["git", "--no-replace-objects", *words],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            env=_environment(),
            timeout=_MOST_SECONDS,
        )
    except subprocess.TimeoutExpired:
        return 1, "", f"git {words[0]} has taken more than {_MOST_SECONDS} seconds"
    except ValueError as error:  # a NUL in a name
        return 1, "", str(error)
    output, errors = (os.fsdecode(text).strip() for text in (done.stdout, done.stderr))
    return done.returncode, output, errors.partition("\n")[0]


def _environment() -> dict[str, str]:
    """Git asks nobody for a password, fetches nothing, and speaks English."""
    settings = {"GIT_TERMINAL_PROMPT": "0", "GIT_NO_LAZY_FETCH": "1", "GIT_OPTIONAL_LOCKS": "0"}
    return {**os.environ, **settings, "LC_ALL": "C"}
