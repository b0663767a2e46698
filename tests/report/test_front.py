"""The first board: short, with answers; the committed one answers the main questions."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from bench.report import front
from bench.report.answers import QUESTIONS, _spread_text, answers
from bench.report.board import collect
from bench.report.leaderboard import (
    BOARDS,
    FRONT,
    boards,
    files,
    render,
    stale_boards,
    update_boards,
)
from bench.report.names import LONGEST, short_name
from bench.report.text import escaped
from bench.results.store import Store
from bench.statistics.intervals import Interval
from bench.tasks.files import load
from tests.kit import ROOT

TASK = "digits-knn"
WITH_RECORDS = pytest.mark.skipif(
    not (ROOT / "results" / "reptransfer").is_dir(), reason="a source distribution has no records"
)


@pytest.fixture(scope="module")
def committed() -> str:
    return (ROOT / "leaderboard.md").read_text()


def test_the_committed_board_is_short_and_narrow(committed: str) -> None:
    lines = committed.splitlines()
    assert len(lines) <= 200
    assert len(committed.encode()) <= 30_000
    assert max(len(line) for line in lines if line.startswith("|")) <= front.WIDEST


def test_the_committed_board_answers_every_question_with_figures(committed: str) -> None:
    section = committed.split("## Answers\n")[1].split("\n## ")[0]
    for question, page, _ in QUESTIONS:
        after = section.split(f"- [{question}](results/boards/{page}.md)\n")[1]
        first = after.splitlines()[0]
        assert first.startswith("  - ") and re.search(r"\d", first)
        if page != "overall":
            assert re.search(r"\[[+-]?\d+\.\d\d, [+-]?\d+\.\d\d\]", first)


@WITH_RECORDS
def test_every_link_of_the_committed_boards_leads_to_a_file(committed: str) -> None:
    texts = {ROOT / "leaderboard.md": committed}
    texts |= {path: path.read_text() for path in (ROOT / "results" / BOARDS).glob("*.md")}
    assert len(texts) > 5
    for path, text in texts.items():
        for target in re.findall(r"\]\(([^)]+)\)", text):
            assert (path.parent / target).is_file(), f"{path.name}: {target}"


@WITH_RECORDS
def test_the_best_frozen_encoder_is_that_of_the_records(committed: str) -> None:
    best: dict[str, tuple[float, str]] = {}
    for path in (ROOT / "results").glob("reptransfer/*/*-linear.json"):
        record = json.loads(path.read_text())
        if record["status"] == "ok" and record["encoder"]["level"] is None:
            name = short_name(record["encoder"]["id"])
            score = (record["primary"]["value"], name)
            best[path.stem] = max(best.get(path.stem, (0.0, "")), score)
    for task in ("fashion_mnist-linear", "cifar10_jpeg-linear", "mnist-linear"):
        value, name = best[task]
        line = next(x for x in committed.splitlines() if f"on `{task}`" in x)
        assert f"**{escaped(name)}** {100 * value:.2f} [" in line


def test_gains_are_told_by_their_ends_and_signs() -> None:
    found = {
        ("reptransfer", "pca"): Interval(0.02, 0.01, 0.03),
        ("someone", "x"): Interval(-0.01, -0.02, 0.005),
        ("reptransfer", "vae~0"): Interval(-0.05, -0.06, -0.04),
    }
    assert _spread_text(found) == (
        "**pca** +2.00 [+1.00, +3.00] down to **vae, untrained** -5.00 [-6.00, -4.00]; above 0 for 1 of "
        "3 encoders, below for 1"
    )
    assert _spread_text(dict(list(found.items())[:1])).startswith(
        "**pca** +2.00 [+1.00, +3.00]; above"
    )


def test_above_forty_encoders_a_table_shows_the_first_and_links_the_rest(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(front, "MOST", 3)
    monkeypatch.setattr(front, "FIRST", 2)
    lines = [(float(i), [f"encoder {i}"]) for i in range(4)]
    board = collect(Store(Path("nowhere")), {})
    shown, more = front._shown(board, lines, "overall")
    assert shown == [["encoder 0"], ["encoder 1"]]
    assert more == [f"[2 more encoders]({BOARDS}/overall.md)."]
    assert front._shown(board, lines[:3], "overall") == ([[f"encoder {i}"] for i in range(3)], [])


@pytest.mark.parametrize(
    ("spec", "owner", "name"),
    [
        ("pca,dim=2048", "", "pca, dim 2048"),
        ("autoencoder,track=mlp,rate=0.001", "", "autoencoder, mlp, rate 0.001"),
        ("supervised@mnist", "", "supervised, on mnist"),
        ("columns.py,width=3", "local", "local/columns, width 3"),
        ("not a spec, at all", "", "not a spec, at all"),
        ("x" * 60, "", "x" * (LONGEST - 1) + "…"),
    ],
)
def test_names_are_short(spec: str, owner: str, name: str) -> None:
    assert short_name(spec, owner) == name


def test_boards_without_records_have_no_answers(tmp_path: Path) -> None:
    store = Store(tmp_path / "results")
    assert answers(collect(store, {TASK: load(TASK)})) == []
    texts = render(store, {TASK: load(TASK)}, overall=()).texts
    assert list(texts) == [FRONT, f"{BOARDS}/records.md"]


def test_a_board_that_is_none_any_more_is_removed_and_a_file_of_mine_is_kept(
    tmp_path: Path,
) -> None:
    store = Store(tmp_path / "results")
    texts = update_boards(store).texts
    folder = store.root / BOARDS
    old, mine = folder / "old.md", folder / "mine.md"
    old.write_text(texts[f"{BOARDS}/records.md"])
    mine.write_text("# Mine")
    assert stale_boards(store, boards(store)) == [old]
    update_boards(store)
    assert not old.exists() and mine.read_text() == "# Mine"
    assert stale_boards(store, boards(store)) == []
    assert all(path.read_text() == text for path, text in files(store, texts).items())
