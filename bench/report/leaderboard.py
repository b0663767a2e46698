"""leaderboard.md: a pure function of the records and the tasks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from importlib import import_module
from pathlib import Path

from bench.errors import BenchError
from bench.files.reading import read_text
from bench.files.writing import write_atomically
from bench.report.board import Board, collect
from bench.report.cached_store import CachedStore
from bench.report.columns import explanations
from bench.report.sections import data, left_out, looks, pictures, studies
from bench.report.sections import overall as overall_ranking
from bench.results.own_tasks import available_tasks
from bench.results.store import Store
from bench.tasks.families import FAMILIES
from bench.tasks.files import suite, suites
from bench.tasks.task import Task


def board_path(store: Store) -> Path:
    """Beside a folder named results, else inside the folder."""
    return (store.root.parent if store.root.name == "results" else store.root) / "leaderboard.md"


def board_text(store: Store) -> str:
    """The board of all records, on the package's tasks and on those that the folder holds."""
    present = {path.stem for path in store.paths()}
    order = sorted(suites(), key=lambda name: (name != "core", name))
    rankings = (suite(name).overall for name in order)  # only as many are read as it takes
    overall = next((r for r in rankings if r and present & set(r)), ())
    return render(store, available_tasks(store), overall=overall)


def update_board(store: Store, *, wait: bool = True) -> str:
    """The board's text, after writing it if it has changed. Of runs side by side the last one to write has
    the records of all. Where another process has it and `wait` is False, it is left as it is.

    Raises BenchError where the board has changed and cannot be locked or written."""
    path, free, fault = board_path(store), False, None
    with ExitStack() as stack:
        try:
            free = stack.enter_context(store.board_lock(wait=wait))
        except (
            BenchError
        ) as error:  # a folder that can only be read may have a board that is up to date
            fault = error
        text = board_text(store)
        if current_board(path) != text:
            if fault is not None:
                raise fault
            if free:
                write_atomically(path, text.encode())
    return text


def current_board(path: Path) -> str | None:
    """The text of a board's file; None where there is none, or another kind of file."""
    try:
        return read_text(path, "a board", links=False)
    except BenchError:
        return None


def render(store: Store, tasks: Mapping[str, Task], *, overall: Sequence[str]) -> str:
    """The board in Markdown. `overall`: the tasks whose mean normalised score ranks the encoders."""
    board = collect(CachedStore(store.root), tasks, overall=overall)
    parts = [
        "# Leaderboard",
        "Made by `reptransfer leaderboard` from the records; do not edit. Scores are in per cent with "
        "95 % intervals over test images, and training seeds where training draws random "
        "numbers; for zero-shot scores, from leaving out each class in turn. Only records that are "
        "complete and up to date count. Beside a score: *below pixels*, it is worse than raw pixels; "
        "*equal predictions*, another encoder's are the same; *all right*, no test row is wrong.",
        f"Columns after the scores. {explanations()}",
        *overall_ranking.section(board),
    ]
    end_parts = list[str]()
    for name, family in FAMILIES.items():
        tasks_of_family = {key: task for key, task in board.tasks.items() if task.family == name}
        parts += _sections(("families", *family.sections), board, tasks_of_family)
        end_parts += _sections(family.end_sections, board, tasks_of_family)
    parts += pictures.section(board) + studies.section(board) + end_parts
    parts += looks.section(board) + data.section(board) + left_out.section(board)
    return "\n\n".join(parts) + "\n"


def _sections(modules: Sequence[str], board: Board, tasks: Mapping[str, Task]) -> list[str]:
    """Paragraphs and tables in Markdown, of modules with `section(board, tasks) -> list[str]`."""
    parts: list[str] = []
    for name in modules:
        parts += import_module(f"bench.report.sections.{name}").section(board, tasks)
    return parts
