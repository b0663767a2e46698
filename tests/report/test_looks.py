"""The board says how often test splits were looked at, and by whom more than once."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from bench.report.board import Board
from bench.report.sections.looks import section
from bench.results.ledger import Look, write_ledger
from bench.results.record import Record
from bench.results.store import LEDGER, Store
from bench.tasks.files import load
from tests.kit import records

TASKS = {name: load(name) for name in ("digits-knn", "digits-linear")}


def record(owner: str, encoder: str, task: str = "digits-knn", group: str = "classical") -> Record:
    return records.record(
        owner=owner,
        encoder=records.encoder(id=encoder, group=group),
        task=records.task(id=task),
        data=records.data(id="digits"),
        protocol=records.protocol(digest="a" * 32),
    )


def look(of: Record, second: int, **changes: str) -> Look:
    time = f"2026-01-31T12:00:{second:02}.000000Z"
    return Look.now(of, 1)._replace(time=time, **changes)


def test_looks_are_counted_by_data_set_and_family(tmp_path: Path) -> None:
    pca, pixels = record("reptransfer", "pca"), record("reptransfer", "pixels", group="controls")
    gone = replace(pca, encoder=replace(pca.encoder, id="pca,dim=3"))
    looks = [look(pca, 1), look(pca, 2, encoder_digest="f" * 32), look(gone, 3)]
    looks += [look(pca, 4, data="mnist", task="mnist-knn")]
    write_ledger(tmp_path / LEDGER, looks)
    parts = section(Board(Store(tmp_path), TASKS, scored=[pca, pixels]))
    assert parts[0] == "## Looks at the test splits"
    assert "1 of 2 records have no line in the ledger" in parts[3]
    lines = [[cell.strip() for cell in line.split("|")[1:-1]] for line in parts[2].splitlines()]
    assert lines[0] == ["data set", "classical", "controls"]
    assert lines[2:] == [["digits", "3 (3)", "1 (1)"], ["mnist", "1 (1)", ""]]
    assert "| pca       | digits-knn | 2       |" in parts[5] and len(parts) == 6


def test_without_looks_there_is_no_section_and_without_a_second_that_is_said(
    tmp_path: Path,
) -> None:
    assert section(Board(Store(tmp_path), TASKS)) == []
    pca = record("reptransfer", "pca")
    write_ledger(tmp_path / LEDGER, [look(pca, 1)])
    parts = section(Board(Store(tmp_path), TASKS, scored=[pca]))
    assert parts[3:] == [
        "Each record has its line in the ledger.",
        "No second look of an encoder at one task is known.",
    ]


def test_of_many_second_looks_ten_are_named_the_most_first(tmp_path: Path) -> None:
    looks = [
        look(record("local", f"net{n:02}.py"), second) for n in range(12) for second in range(n + 1)
    ]
    write_ledger(tmp_path / LEDGER, looks)
    parts = section(Board(Store(tmp_path), TASKS))
    names = [line.split("|")[1].strip() for line in parts[4].splitlines()[2:]]
    assert names == [f"local/net{n:02}.py" for n in range(11, 1, -1)]
    assert parts[5] == "And 1 more."


def test_a_look_of_an_entry_and_of_the_runs_it_was_made_from_is_one(tmp_path: Path) -> None:
    ran, entered = record("local", "net"), record("somebody", "net")
    folder = tmp_path / "somebody" / "net"
    write_ledger(tmp_path / LEDGER, [look(ran, 1), look(ran, 2)])
    write_ledger(folder / LEDGER, [look(ran, 1), look(ran, 2), look(ran, 3)])
    parts = section(Board(Store(tmp_path), TASKS, scored=[ran, entered]))
    assert parts[3].startswith("Each record") and "| digits     | 3 (1)       |" in parts[2]
    assert "| local/net    | digits-knn | 2       |" in parts[5]
    assert "| somebody/net | digits-knn | 3       |" in parts[5]


@pytest.mark.parametrize("encoder", ["pixels", "<b>\x1b[2J|"])
def test_lines_that_are_not_of_the_entry_count_nowhere_and_are_named(
    encoder: str, tmp_path: Path
) -> None:
    entered = record("somebody", "net")
    folder = tmp_path / "somebody" / "net"
    lines = [look(entered, 1), look(entered, 2, encoder=encoder), look(entered, 3, group="<b>|")]
    write_ledger(folder / LEDGER, lines)
    (tmp_path / LEDGER).write_bytes(b"<script>\n")
    board = Board(Store(tmp_path), TASKS, scored=[entered])
    text = "\n".join(section(board))
    assert "| digits     | 1 (1)       |" in text and "<b>" not in text and "\x1b" not in text
    (_, where, reason), (name, of, why) = board.left_out
    assert (where, reason) == (LEDGER, "1 lines are no looks, the first is line 1: is no JSON")
    assert (name, of) == ("somebody/net", LEDGER)
    assert why.startswith("line 2: encoder: ") and why.isprintable()
