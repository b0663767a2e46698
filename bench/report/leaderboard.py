"""The boards: a pure function of the records and the tasks."""

from __future__ import annotations

import gc
import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path

from bench.errors import BenchError
from bench.files.reading import read_text
from bench.files.writing import write_atomically
from bench.report.board import Board, collect
from bench.report.cached_store import CachedStore
from bench.report.columns import explanations
from bench.report.front import front
from bench.report.links import MADE, images
from bench.report.plots.every import plots
from bench.report.plots.files import by_page, drawn, stale_plots, with_files
from bench.report.plots.plot import Plot
from bench.report.recall import KeptRecall
from bench.report.recomputed import Recomputed, board_cache
from bench.report.sections import data, left_out, looks, pictures, studies
from bench.report.sections import overall as overall_ranking
from bench.results.own_tasks import available_tasks
from bench.results.store import BOARDS, PLOTS, Store
from bench.tasks.families import FAMILIES
from bench.tasks.files import suite, suites
from bench.tasks.task import Task

FRONT = "leaderboard.md"
log = logging.getLogger(__name__)
NOTES = (
    "Scores are in per cent with 95 % intervals over test images, and training seeds where training draws "
    "random numbers; for zero-shot scores, from leaving out each class in turn. Only records that are "
    "complete and up to date count. Beside a score: *below pixels*, it is worse than raw pixels; *equal "
    "predictions*, another encoder's are the same; *all right*, no test row is wrong."
)


def board_path(store: Store) -> Path:
    """Beside a folder named results, else inside the folder."""
    return (store.root.parent if store.root.name == "results" else store.root) / FRONT


@dataclass(frozen=True, slots=True)
class Boards:
    """texts: of each file, FRONT first, the others by their path in the results folder.
    plots: those that they show. board: what they are of."""

    texts: dict[str, str]
    plots: list[Plot]
    board: Board = field(compare=False, repr=False)


def boards(store: Store, *, drawing: bool = True) -> Boards:
    """The boards of all records, on the package's tasks and on those that the folder holds; where not
    `drawing`, with the plots alone that are up to date."""
    board = collected(store)
    with _few_cycles():
        made = _rendered(store, board, drawing=drawing)
    made.board.recall.save()
    return made


def collected(store: Store) -> Board:
    """What the boards are of: all records, on the package's tasks and on those that the folder holds.
    What is computed of them is kept by `board.recall.save()`."""
    present = {path.stem for path in store.paths()}
    order = sorted(suites(), key=lambda name: (name != "core", name))
    rankings = (suite(name).overall for name in order)  # only as many are read as it takes
    overall = next((r for r in rankings if r and present & set(r)), ())
    recomputed = Recomputed(board_cache())
    cached, tasks = CachedStore(store.root, recomputed), available_tasks(store)
    recall = KeptRecall(recomputed, cached, tasks)
    with _few_cycles():
        return collect(cached, tasks, overall=overall, recall=recall)


@contextmanager
def _few_cycles() -> Iterator[None]:
    """Without the collector of cyclic garbage, of which records make next to none: it would walk through
    all of them again and again."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def update_boards(store: Store, *, wait: bool = True) -> Boards:
    """The boards and their plots, after writing those that have changed and removing those that are none
    any more. Of runs side by side the last one to write has the records of all. Where another process has
    them and `wait` is False, they are left as they are.

    Raises BenchError where a board has changed and cannot be locked or written."""
    free, fault = False, None
    with ExitStack() as stack:
        try:
            free = stack.enter_context(store.board_lock(wait=wait))
        except (
            BenchError
        ) as error:  # a folder that can only be read may have boards that are up to date
            fault = error
        made = boards(store)
        changed = stale_boards(store, made)
        if changed and fault is not None:
            raise fault
        if changed and free:
            for folder in (BOARDS, PLOTS):
                _require_folder(store.root / folder)
        if free:
            made, pictures = _with_pictures(store, made)
            expected = {path: text.encode() for path, text in files(store, made.texts).items()}
            expected |= pictures
            for path in stale_boards(store, made):
                if path in expected:
                    path.parent.mkdir(exist_ok=True)
                    write_atomically(path, expected[path])
                else:
                    path.unlink(missing_ok=True)
    return made


def _with_pictures(store: Store, made: Boards) -> tuple[Boards, dict[Path, bytes]]:
    """The boards, and the files of plots that are not up to date; without these where they cannot be
    drawn: boards are worth more."""
    due, _ = stale_plots(store, made.plots)
    try:
        return made, dict(zip(due, drawn(list(due.values())), strict=True))
    except BenchError as error:
        log.warning("%s; the boards show those that are up to date", error)
        return boards(store, drawing=False), {}


def files(store: Store, texts: Mapping[str, str]) -> dict[Path, str]:
    """Text by file, of boards by name."""
    return {
        board_path(store) if name == FRONT else store.root / name: text
        for name, text in texts.items()
    }


def stale_boards(store: Store, made: Boards) -> list[Path]:
    """Files of plots and boards that differ from these, and those made before that are none any more."""
    expected = files(store, made.texts)
    due, no_plots = stale_plots(store, made.plots)
    folder = store.root / BOARDS
    readable = folder.is_dir() and not folder.is_symlink()
    present = sorted(folder.glob("*.md")) if readable else []
    gone = [path for path in present if path not in expected and MADE in (current(path) or "")]
    # The first board last: it links to the others.
    changed = [path for path in reversed(expected) if current(path) != expected[path]]
    return [*due, *changed, *gone, *no_plots]


def _require_folder(path: Path) -> None:
    """Raise BenchError where a path is a link or a file: nothing is written through links."""
    if path.is_symlink() or (path.exists() and not path.is_dir()):
        raise BenchError(f"{path} is a link or a file; put a folder in its place")


def current(path: Path) -> str | None:
    """The text of a board's file; None where there is none, or another kind of file."""
    try:
        return read_text(path, "a board", links=False)
    except BenchError:
        return None


def render(store: Store, tasks: Mapping[str, Task], *, overall: Sequence[str]) -> Boards:
    """The boards in Markdown. `overall`: the tasks whose mean normalised score ranks encoders."""
    cached = CachedStore(store.root)
    recall = KeptRecall(Recomputed(), cached, tasks)
    return _rendered(store, collect(cached, tasks, overall=overall, recall=recall))


def _rendered(store: Store, board: Board, *, drawing: bool = True) -> Boards:
    shown = with_files(store, plots(board), drawing=drawing)
    pages = {"overall": ("Overall", overall_ranking.section(board))}
    for name, family in FAMILIES.items():
        tasks_of_family = {key: task for key, task in board.tasks.items() if task.family == name}
        modules = ("families", *family.sections, *family.end_sections)
        pages[name] = family.title, _sections(modules, board, tasks_of_family)
    pages["studies"] = "Pictures and studies", pictures.section(board) + studies.section(board)
    looks_and_data = looks.section(board) + data.section(board)
    pages = {name: page for name, page in pages.items() if page[1]}
    titles = {name: title for name, (title, _) in pages.items()} | {"records": "Records"}
    # Last, since every other part may leave something out.
    first = front(board, titles, shown)
    pages["records"] = "Records", looks_and_data + left_out.section(board)
    pictures_of = by_page(shown)
    texts = {
        f"{BOARDS}/{name}.md": _page(title, parts, images(pictures_of.get(name, [])))
        for name, (title, parts) in pages.items()
    }
    return Boards({FRONT: first, **texts}, shown, board)


def _page(title: str, parts: Sequence[str], figures: Sequence[str]) -> str:
    scores = (
        [NOTES, f"Columns after the scores. {explanations()}"]
        if any("| trust " in part for part in parts)
        else []
    )
    first = 1 if parts[0] == f"## {title}" else 0
    return "\n\n".join([f"# {title}", MADE, *figures, *scores, *parts[first:]]) + "\n"


def _sections(modules: Sequence[str], board: Board, tasks: Mapping[str, Task]) -> list[str]:
    """Paragraphs and tables in Markdown, of modules with `section(board, tasks) -> list[str]`."""
    parts: list[str] = []
    for name in modules:
        parts += import_module(f"bench.report.sections.{name}").section(board, tasks)
    return parts
