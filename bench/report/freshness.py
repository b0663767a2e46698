"""Are boards what their records give? Asked again of files that have not changed, nothing is computed."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from bench.data.semantics import tasks_dir
from bench.digests import digest
from bench.errors import BenchError
from bench.files.reading import read_bytes
from bench.report.leaderboard import FRONT, Boards, board_path, boards, stale_boards
from bench.report.plots.every import plots
from bench.report.recomputed import Recomputed, board_cache, source_digest
from bench.results.store import BOARDS, PLOTS, STUDIES, Store
from bench.tasks.cell import LOCAL

MADE_HERE = frozenset({BOARDS, PLOTS, FRONT, ".locks"})  # no board follows from them
EXISTENCE_ALONE = (".png",)  # of these endings files are linked, and not read


def check_boards(store: Store) -> list[Path]:
    """`stale_boards` of the boards of all records."""
    kept = Recomputed(board_cache())
    before = _inputs(store)
    if kept.find(before) is not None and kept.find(before) == _outputs(store):
        kept.save()
        return []
    made = boards(store)
    stale = stale_boards(store, made)
    # What cannot be read is said each time; encoders of the user lie outside the folder.
    alone = _settled(made) and not os.path.lexists(store.root / LOCAL)
    if not stale and alone and _inputs(store) == before:
        kept.put(before, _outputs(store))
        kept.save()
    return stale


def _settled(made: Boards) -> bool:
    """Is everything readable, and every plot shown, with or without the tools that draw?"""
    unreadable = any(name.startswith("unreadable") for name, _, _ in made.board.left_out)
    return not unreadable and len(made.plots) == len(plots(made.board))


def _inputs(store: Store) -> str:
    """Digest of all that boards follow from, and of where they lie."""
    files = {path: _digests(path) for path in (store.root, tasks_dir())}
    tree = [[str(path.resolve()), digests] for path, digests in files.items()]
    return digest(["fresh", source_digest(components=True), tree])


def _outputs(store: Store) -> dict[str, str]:
    """Digests of the files of boards by path."""
    folders = store.root / BOARDS, store.root / PLOTS
    files = [path for folder in folders for path in sorted(folder.glob("*"))]
    return {str(path): _file_digest(path) for path in [board_path(store), *files]}


def _digests(root: Path) -> dict[str, str]:
    """Of all files below `root`, links among them not followed, by path; of studies only what there is."""
    digests, folders = dict[str, str](), [root]
    while folders:
        folder = folders.pop()
        try:
            with os.scandir(folder) as entries:
                found = list(entries)
        except OSError as error:
            digests[str(folder)] = str(error.errno)
            continue
        for entry in found:
            path = Path(entry.path)
            if folder == root and entry.name in MADE_HERE:
                continue
            if entry.is_dir(follow_symlinks=False):
                folders.append(path)
                digests[entry.path] = "folder"
            elif path.suffix in EXISTENCE_ALONE or path.is_relative_to(root / STUDIES):
                digests[entry.path] = f"{entry.is_symlink()} {entry.is_file()}"
            else:
                digests[entry.path] = _file_digest(path)
    return digests


def _file_digest(path: Path) -> str:
    try:
        return hashlib.sha256(read_bytes(path, links=False)).hexdigest()
    except BenchError as error:
        return str(error)
