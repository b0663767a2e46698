"""Strings of strangers do nothing in any export, nor on the terminal."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pandas as pd
import pytest
import yaml
from markdown_it import MarkdownIt

from bench.cli.main import main
from bench.errors import printable
from bench.report.board import Board
from bench.report.exports.every_eval_ever import every_eval_ever_text
from bench.report.exports.hub_results import hub_text
from bench.report.exports.model_card import card_text
from bench.report.exports.rows import COLUMNS, score_rows
from bench.results.record import Record
from bench.tasks.task import Task
from tests.kit import records
from tests.kit.export_boards import board_of, hub_entries, scored, task
from tests.kit.hostile_strings import STRINGS

FORMULAS = ("=1", "+2", "-3+cmd|' /C calc'!A0", "@SUM(4)", "\t=5", "\r=6", " =7", "\uff1d8", "\n-9")
TEXTS = {**STRINGS, **{f"formula {text!a}": text for text in FORMULAS}}
# All that a table for LaTeX may obey.
COMMANDS = {
    "textbf", "charxxxiv", "textbackslash", "textasciicircum", "textasciitilde", "textless", "textgreater",
    "textbar", "toprule", "midrule", "bottomrule", "endhead", "begin", "end",
}  # fmt: skip


@cache
def hostile_board() -> Board:
    """For each text two encoders on a task; each text of the first one and of the task is this one."""
    tasks = [task(text, title=text, dataset=text) for text in TEXTS.values()]
    made = board_of(*(scored("somebody", "net", one) for one in tasks), tasks=tasks)
    for one, text in zip(tasks, TEXTS.values(), strict=True):
        made.add(_hostile(text, one), "consistent")
        made.ranks[text] = {(text, text): (1, 1), ("somebody", "net"): (2, 2)}
        made.leave_out(text, text, text)
        made.leave_out("unreadable record", "", text)
    return made


def _hostile(text: str, one: Task) -> Record:
    encoder = records.encoder(
        id=text, group=text, read_out=text, pretrained_on=(text,), files={text: text}
    )
    measured = {
        "seconds": {"total": 1.0},
        "machine": {"system": text},
        "versions": {"reptransfer": text},
    }
    return scored(
        text,
        text,
        one,
        encoder=encoder,
        protocol=records.protocol(id=text),
        supervision=text,
        measured=measured,
    )


@pytest.fixture
def board(monkeypatch: pytest.MonkeyPatch) -> Board:
    monkeypatch.setattr("bench.report.leaderboard.collected", lambda _: hostile_board())
    return hostile_board()


def exported(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    """What is written; a terminal would show each line as it is."""
    assert main(["export", *words, "--results", "."]) == 0
    out, err = capsys.readouterr()
    for line in (*out.split("\n"), *err.split("\n")):
        assert line.isprintable()
    return out


@pytest.mark.parametrize("wide", [[], ["--wide"]])
def test_comma_separated_values(
    board: Board, wide: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    out = exported(capsys, "csv", *wide)
    lines = list(csv.reader(io.StringIO(out), strict=True))
    count = len(TEXTS)
    assert len(lines) == 1 + (count + 1 if wide else 2 * count)
    assert {len(line) for line in lines} == {3 + count if wide else len(COLUMNS)}
    assert len(pd.read_csv(io.StringIO(out))) == len(lines) - 1
    cells = {cell for line in lines for cell in line}
    assert not [c for c in cells if re.match(r"\s*[=+@\uff1d\uff0b\uff0d\uff20-]", c)]
    assert {c.removeprefix("'") for c in cells} >= {
        printable(t).removeprefix("'") for t in TEXTS.values()
    }


def test_json(board: Board, capsys: pytest.CaptureFixture[str]) -> None:
    out = exported(capsys, "json")
    assert out.isascii()
    lines = json.loads(out)
    assert {tuple(line) for line in lines} == {COLUMNS}
    assert {line["title"] for line in lines} == set(map(printable, TEXTS.values()))
    value = json.loads(exported(capsys, "csv", "--json"))
    assert all(cell.isprintable() for line in value["left_out"] for cell in line)


@pytest.mark.parametrize("wide", [[], ["--wide"]])
def test_parquet(
    board: Board, wide: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "x.parquet"
    exported(capsys, "parquet", *wide, "--out", str(path))
    texts = {text for text in pd.read_parquet(path).to_numpy().ravel() if isinstance(text, str)}
    assert all(text.isprintable() for text in texts)
    assert texts >= set(map(printable, TEXTS.values()))


def obeyed(line: str) -> Iterator[str]:
    """Commands and characters of a line that LaTeX does not set as they are, by TeX's own reading: a
    command is a backslash with letters, or with one other character."""
    for command, other, special in re.findall(r"\\([A-Za-z]+)|\\(.)|([$#^_~%{}&\"<>|])", line):
        if command:
            yield command
        elif special:
            yield special
        else:
            assert other in "{}$&#%_\\", line


@pytest.mark.parametrize("wide", [[], ["--wide"]])
def test_latex(board: Board, wide: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    out = exported(capsys, "latex", *wide)
    columns = 1 + len(TEXTS) if wide else 7
    lines = [line for line in out.splitlines() if not line.startswith("%")]
    cells = [line for line in lines if line.endswith(r" \\")]
    assert len(cells) == 1 + (len(TEXTS) + 1 if wide else 2 * len(TEXTS))
    for line in lines:
        marks = list(obeyed(line.replace("char34", "charxxxiv").replace("$n$", "n")))
        commands = {mark for mark in marks if len(mark) > 1}
        assert commands <= COMMANDS
        assert set(marks) - commands <= {"{", "}", "&"}
        depth = 0
        for mark in marks:
            depth += {"{": 1, "}": -1}.get(mark, 0)
            assert depth >= 0
        assert depth == 0
        if line in cells:
            assert marks.count("&") == columns - 1
            assert not line.startswith(("[", "*"))


def test_cards(board: Board) -> None:
    for text in TEXTS.values():
        out = card_text(board, (text, text), [text], stated=[(text, text)])
        assert all(line.isprintable() for line in out.split("\n"))
        headings = [line for line in out.splitlines() if line.startswith("#")]
        assert [h for h in headings if h.startswith("## ")] == [
            "## Identity",
            "## How to get it",
            "## What it was trained on",
            "## Scores",
            "## Costs",
            "## Declined, failed or missing",
            "## Limits",
        ]
        assert len(headings) == 7 + 2  # the title, and one family
        for table in re.findall(r"(?:^\|.*\n)+", out, flags=re.M):
            widths = {len(re.findall(r"(?<!\\)(?:\\\\)*\|", line)) for line in table.splitlines()}
            assert len(widths) == 1
        tokens = MarkdownIt("commonmark").enable("table").parse(out)
        kinds = {token.type for token in tokens}
        kinds |= {inner.type for token in tokens for inner in token.children or ()}
        assert kinds.isdisjoint({"link_open", "image", "html_block", "html_inline", "fence", "hr"})
        assert "://" not in re.sub(r"`[^`\n]*`", "", out)  # GitHub links addresses


def test_yaml_of_the_hub(board: Board) -> None:
    for text in TEXTS.values():
        out = hub_text(score_rows(board, [text], [(text, text)]), benchmark="org/data")
        assert all(line.isprintable() for line in out.split("\n"))
        [entry] = hub_entries(yaml.safe_load(out))
        assert (entry.dataset_id, entry.value) == ("org/data", 0.5)
        assert entry.task_id == printable(text)


def test_every_eval_ever(board: Board) -> None:
    for text in TEXTS.values():
        rows = score_rows(board, [text], [(text, text)])
        out = every_eval_ever_text(rows, pretrained=True, library=text, now=0.0)
        assert out.isascii()
        value = json.loads(out)
        assert len(value["evaluation_results"]) == 1
        assert value["eval_library"]["version"] == printable(text)


def test_the_command_on_a_single_encoder(board: Board, capsys: pytest.CaptureFixture[str]) -> None:
    for words in (["card"], ["eval-results"]):
        out = exported(capsys, *words, "--encoder", STRINGS["a script"])
        assert "alert" in out


def test_there_are_thirty() -> None:
    assert len(STRINGS) >= 30
