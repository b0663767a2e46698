"""What boards keep: the same boards with any cache, each record scored once, each change found."""

from __future__ import annotations

import json
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench.cli.main import main
from bench.datasets.base import DataSets
from bench.errors import BenchError
from bench.naming.specs import resolve
from bench.report import board, freshness, ranks, recomputed
from bench.report.cached_store import CachedStore
from bench.report.freshness import check_boards
from bench.report.leaderboard import boards, update_boards
from bench.report.recomputed import Recomputed, board_cache, source_digest
from bench.results.record import Record
from bench.results.store import Store
from bench.running.executor import run_cells
from bench.tasks.cell import Cell
from bench.tasks.files import load

TASK, SPECS, ADDED = "digits-knn", ("pixels", "pca", "pca,dim=4"), "pca,dim=6"


@pytest.fixture(scope="module")
def scored(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four real records, never changed."""
    root = tmp_path_factory.mktemp("recomputed") / "results"
    cells = [Cell(load(TASK), resolve("encoders", spec)) for spec in (*SPECS, ADDED)]
    assert run_cells(cells, DataSets(root.parent), store=Store(root)).count("ok") == 4
    return root


@pytest.fixture
def store(scored: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    """A copy of three of them, and an empty cache."""
    monkeypatch.setenv("REPTRANSFER_CACHE", str(tmp_path / "cache"))
    shutil.copytree(scored, tmp_path / "results", ignore=shutil.ignore_patterns(ADDED))
    return Store(tmp_path / "results")


@pytest.fixture
def counts(monkeypatch: pytest.MonkeyPatch) -> dict[str, list[str]]:
    """The encoders that are scored, and the tasks whose pairs are compared."""
    found: dict[str, list[str]] = {"scored": [], "compared": []}
    score, pairs = board.prediction_findings, ranks._ranges_of

    def scoring(record: Record, *rest: Any) -> Any:
        found["scored"].append(record.encoder.id)
        return score(record, *rest)

    def comparing(of: Any, task: Any, *rest: Any) -> Any:
        found["compared"].append(task.name)
        return pairs(of, task, *rest)

    monkeypatch.setattr(board, "prediction_findings", scoring)
    monkeypatch.setattr(ranks, "_ranges_of", comparing)
    return found


def add(store: Store, scored: Path) -> None:
    shutil.copytree(scored / "reptransfer" / ADDED, store.root / "reptransfer" / ADDED)


def delete() -> None:
    shutil.rmtree(board_cache().parent)


def garbage() -> None:
    board_cache().write_bytes(b"no database" * 1000)


def half() -> None:
    content = board_cache().read_bytes()
    board_cache().write_bytes(content[: len(content) // 2])


def other_layout() -> None:
    board_cache().unlink()
    connection = sqlite3.connect(board_cache())
    connection.execute("CREATE TABLE kept (key TEXT)")
    connection.close()


def other_values() -> None:
    connection = sqlite3.connect(board_cache())
    connection.execute("UPDATE kept SET value = '[[9, 9], [9, 9], [9, 9]]'")
    connection.commit()
    connection.close()


def folder() -> None:
    board_cache().unlink()
    board_cache().mkdir()


def empty() -> None:
    board_cache().write_bytes(b"")


BREAKS = (delete, garbage, half, other_layout, other_values, folder, empty)


@pytest.mark.parametrize("damage", BREAKS, ids=lambda damage: damage.__name__)
def test_boards_are_the_same_with_any_cache(
    store: Store, counts: dict[str, list[str]], damage: Callable[[], None]
) -> None:
    cold = boards(store)
    assert sorted(counts["scored"]) == sorted(SPECS)
    assert boards(store) == cold
    assert len(counts["scored"]) == len(SPECS)
    damage()
    assert boards(store) == cold
    assert len(counts["scored"]) == 2 * len(SPECS), "a damaged cache was believed"
    assert boards(store) == cold
    if damage is not folder:
        assert len(counts["scored"]) == 2 * len(SPECS), "what was made anew was not kept"


def test_a_new_record_is_scored_alone(
    store: Store, scored: Path, counts: dict[str, list[str]]
) -> None:
    boards(store)
    counts["scored"].clear()
    counts["compared"].clear()
    add(store, scored)
    warm = boards(store)
    assert counts == {"scored": [ADDED], "compared": [TASK]}
    delete()
    assert boards(store) == warm


def test_changed_predictions_and_records_are_found(store: Store) -> None:
    whole = boards(store).texts
    folder = store.root / "reptransfer" / "pca"
    predictions = (folder / f"{TASK}.npz").read_bytes()
    (folder / f"{TASK}.npz").write_bytes(predictions[:-40])
    assert "cannot be read" in boards(store).texts["boards/records.md"]
    shutil.copy(store.root / "reptransfer" / "pca,dim=4" / f"{TASK}.npz", folder)
    assert "does not match its record" in boards(store).texts["boards/records.md"]
    (folder / f"{TASK}.npz").write_bytes(predictions)
    assert boards(store).texts == whole
    (folder / f"{TASK}.npz").unlink()
    assert "no predictions are stored" in boards(store).texts["boards/records.md"]


def test_a_task_or_source_that_changes_makes_values_anew(
    store: Store, counts: dict[str, list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    boards(store)
    monkeypatch.setattr("bench.report.recall.source_digest", lambda: "another")
    boards(store)
    assert len(counts["scored"]) == 2 * len(SPECS)


def test_the_digest_of_the_source_changes_with_what_computes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recomputed, "PACKAGE", tmp_path)
    for name in ("scoring", "statistics", "encoders"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "part.py").write_text("A = 1\n")

    def digests() -> tuple[str, str]:
        source_digest.cache_clear()
        return source_digest(), source_digest(components=True)

    try:
        first = digests()
        (tmp_path / "encoders" / "part.py").write_text("A = 2\n")
        second = digests()
        assert second[0] == first[0] and second[1] != first[1]
        for name in ("scoring", "statistics"):
            (tmp_path / name / "part.py").write_text("A = 2\n")
            before, second = second, digests()
            assert second[0] != before[0]
    finally:
        source_digest.cache_clear()


def test_no_board_imports_what_the_digest_leaves_out() -> None:
    code = (
        "import sys, pkgutil, importlib, bench.report.freshness, bench.report.sections as s\n"
        "from bench.report.recomputed import UNRELATED\n"
        "[importlib.import_module(f'{s.__name__}.{m.name}') for m in pkgutil.iter_modules(s.__path__)]\n"
        "print(*(m for m in sys.modules if m.startswith('bench.') and m.split('.')[1] in UNRELATED))"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    # Where the cache lies, and how plots are drawn, which are kept by their own digests.
    allowed = {"bench.running", "bench.running.cache"}
    drawing = {name for name in found.stdout.split() if name.startswith("bench.drawing")}
    assert set(found.stdout.split()) - drawing <= allowed


def test_verify_reads_nothing_that_was_kept(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    boards(store)

    def refuse(*_: object) -> None:
        raise AssertionError("a value of the cache was used")

    monkeypatch.setattr(Recomputed, "find", refuse)
    assert main(["verify", str(store.root)]) == 0


def test_processes_write_side_by_side(tmp_path: Path) -> None:
    file = tmp_path / "kept" / "values.sqlite"

    def write(number: int) -> None:
        kept = Recomputed(file)
        for value in range(20):
            kept.put(f"{number}/{value}", [number, value])
        kept.save()

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(write, range(8)))
    kept = Recomputed(file)
    assert all(kept.find(f"{n}/{v}") == [n, v] for n in range(8) for v in range(20))


def test_the_file_is_bounded_and_what_was_used_last_stays(tmp_path: Path) -> None:
    file, most = tmp_path / "values.sqlite", 200_000
    for number in range(30):
        kept = Recomputed(file, most=most)
        kept.put(str(number), "x" * 20_000)
        kept.save()
        assert file.stat().st_size < most + 30_000
    assert Recomputed(file).find("29") and Recomputed(file).find("0") is None


def test_a_cache_that_cannot_be_written_is_no_fault(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("a file")
    kept = Recomputed(tmp_path / "taken" / "values.sqlite")
    assert kept.get("a", lambda: (1, 2)) == [1, 2]
    kept.save()


@pytest.fixture
def computed(monkeypatch: pytest.MonkeyPatch) -> list[Store]:
    """The stores whose boards were computed by `check_boards`."""
    calls: list[Store] = []

    def count(store: Store) -> Any:
        calls.append(store)
        return boards(store)

    monkeypatch.setattr(freshness, "boards", count)
    return calls


def test_a_second_check_computes_nothing_and_each_change_is_found(
    store: Store, scored: Path, computed: list[Store]
) -> None:
    update_boards(store)
    assert check_boards(store) == check_boards(store) == []
    assert len(computed) == 1
    first, family = store.root.parent / "leaderboard.md", store.root / "boards" / "probe.md"
    for path in (first, family):
        text = path.read_text()
        path.write_text(f"{text}\nan edit")
        assert check_boards(store) == [path]
        path.write_text(text)
        assert check_boards(store) == []
    count = len(computed)
    for name in ("ledger.jsonl", "verified.json"):
        (store.root / name).write_text("broken")
        assert check_boards(store)
    assert len(computed) == count + 2
    add(store, scored)
    assert check_boards(store)


def test_what_cannot_be_read_is_said_at_each_check(store: Store, computed: list[Store]) -> None:
    (store.root / "reptransfer" / "pca" / "digits-linear.json").write_text("broken")
    update_boards(store)
    assert check_boards(store) == check_boards(store) == []
    assert len(computed) == 2


def test_a_record_that_was_taken_before_is_the_same_at_its_place_alone(store: Store) -> None:
    whole = boards(store)
    kept = Recomputed(board_cache())
    for path in store.paths():
        checked, warm = store.read(path), CachedStore(store.root, kept).read(path)
        assert warm == checked and warm.digest == checked.digest
        assert json.dumps(warm.to_json()) == json.dumps(checked.to_json())
    shutil.copytree(store.root / "reptransfer" / "pca", store.root / "reptransfer" / "pca,dim=9")
    assert "holds the record of another cell" in boards(store).texts["boards/records.md"]
    shutil.rmtree(store.root / "reptransfer" / "pca,dim=9")
    assert boards(store) == whole


def test_every_committed_record_is_the_same_without_checks() -> None:
    root = Path(__file__).parents[2] / "results"
    for path in Store(root).paths()[::7]:
        assert Record.of_accepted(json.loads(path.read_bytes())) == Store(root).read(path)


def test_predictions_in_memory_are_bounded(scored: Path) -> None:
    one = Store(scored).predictions(Store(scored).read(next(iter(Store(scored).paths()))))
    size = sum(array.nbytes for array in one.values())
    small = CachedStore(scored, most=2 * size)
    records = [small.read(path) for path in small.paths()]
    for _ in range(2):
        for record in records:
            plain = Store(scored).predictions(record)
            arrays = small.predictions(record)
            assert all(np.array_equal(arrays[name], plain[name]) for name in plain)
            assert small.held <= 2 * size


def test_a_file_that_changes_while_a_board_is_made_is_an_error(store: Store) -> None:
    cached = CachedStore(store.root)
    record = cached.read(store.paths()[0])
    cached.bytes_digest(record)
    cached.predictions(record)
    path = store.paths()[0]
    path.write_text(path.read_text() + " ")
    with pytest.raises(BenchError, match="changed while it was read"):
        cached.read(path)
