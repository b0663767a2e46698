"""Plots of the boards: of what was measured, drawn where it has changed, linked where they are there."""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path

import numpy as np
import pytest

from bench.cli.main import main
from bench.datasets.base import DataSets
from bench.drawing import converter
from bench.drawing.forests import Forest
from bench.drawing.plain import why_not_plain
from bench.errors import BenchError
from bench.naming.specs import resolve
from bench.report.board import Board
from bench.report.leaderboard import FRONT, Boards, boards, stale_boards, update_boards
from bench.report.links import MADE, images
from bench.report.page.build import PAGE
from bench.report.plots import files
from bench.report.plots.files import drawn, is_current, plot_file
from bench.report.plots.plot import Plot, estimate, file_name, first_rows, rounded
from bench.results.store import BOARDS, PLOTS, Store, is_reserved
from bench.running.executor import run_cells
from bench.statistics.intervals import Interval
from bench.tasks.cell import Cell
from bench.tasks.files import load
from tests.kit import ROOT, records

pytestmark = pytest.mark.usefixtures("drawn_plots")

TASKS, SPECS = ("digits-linear", "digits-knn"), ("pixels", "pca", "pca,dim=4")
WITH_RECORDS = pytest.mark.skipif(
    not (ROOT / "results" / "reptransfer").is_dir(), reason="a source distribution has no records"
)


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six real records, never changed."""
    root = tmp_path_factory.mktemp("records") / "results"
    cells = [Cell(load(t), resolve("encoders", spec)) for t in TASKS for spec in SPECS]
    assert run_cells(cells, DataSets(root.parent), store=Store(root)).count("ok") == 6
    return root


@pytest.fixture(scope="module")
def plotted(results: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Boards]:
    """The same with boards and plots, never changed."""
    root = tmp_path_factory.mktemp("plots") / "results"
    shutil.copytree(results, root)
    made = update_boards(Store(root))
    return root, made


@pytest.fixture
def store(plotted: tuple[Path, Boards], tmp_path: Path) -> Store:
    shutil.copytree(plotted[0].parent, tmp_path / "folder")
    return Store(tmp_path / "folder" / "results")


def links(store: Store) -> set[Path]:
    """The plots that the boards link to."""
    texts = {store.root.parent / FRONT: "", **dict.fromkeys((store.root / BOARDS).glob("*.md"), "")}
    return {
        (path.parent / target).resolve()
        for path in texts
        for target in re.findall(r"\]\(([^)]+\.svg)\)", path.read_text())
    }


def no_tools() -> None:
    raise BenchError("plots need vl-convert")


def test_plots_are_written_linked_and_not_drawn_again(
    store: Store, plotted: tuple[Path, Boards], monkeypatch: pytest.MonkeyPatch
) -> None:
    present = set((store.root / PLOTS).glob("*.svg"))
    assert {path.stem for path in present} == {"probe", "probe-cost"}
    assert links(store) == {path.resolve() for path in present}
    monkeypatch.setattr(files, "require_drawing", no_tools)
    monkeypatch.setattr(Forest, "spec", None)
    made = boards(store)
    assert made == plotted[1]
    assert stale_boards(store, made) == []
    assert update_boards(store) == made
    front = made.texts[FRONT]
    assert (
        "Plots: [Accuracy on digits-linear](results/plots/probe.svg), "
        "[Accuracy on digits-linear against cost](results/plots/probe-cost.svg)." in front
    )
    assert "![Accuracy on digits-linear](../plots/probe.svg)" in made.texts[f"{BOARDS}/probe.md"]


def test_what_boards_write_is_no_owners(store: Store) -> None:
    names = {path.name for path in store.root.iterdir()}
    assert {BOARDS, PLOTS} < names
    assert {name for name in names if not is_reserved(name)} == {"reptransfer"}
    assert is_reserved(FRONT) and is_reserved(PAGE)  # in a folder that is not named results


def test_the_values_of_a_plot_are_those_of_the_records(store: Store) -> None:
    [chart] = [plot.chart for plot in boards(store).plots if plot.name == "probe"]
    assert isinstance(chart, Forest)
    [(_, rows)] = chart.panels
    shown = {row[0].name: row[0] for row in rows}
    assert [row[0].value for row in rows] == sorted((row[0].value for row in rows), reverse=True)
    for spec, name in (("pca", "pca"), ("pca,dim=4", "pca, dim 4"), ("pixels", "pixels")):
        score = store.read(store.path("reptransfer", spec, TASKS[0])).score
        values = (shown[name].value, shown[name].low, shown[name].high)
        assert values == pytest.approx(
            [100 * x for x in (score.value, score.low, score.high)], abs=0.005
        )
        assert shown[name].group.name == ("control" if spec == "pixels" else "encoder")
        assert shown[name].text.startswith(f"{100 * score.value:.2f} [")


def test_without_the_tools_boards_show_the_plots_that_are_up_to_date(
    store: Store, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(files, "require_drawing", no_tools)
    check = ["leaderboard", "--check", "--results", str(store.root)]
    assert main(check) == 0
    (store.root / PLOTS / "probe.svg").unlink()
    assert main(check) == 1  # a board links to it
    update_boards(store)
    assert {path.stem for path in links(store)} == {"probe-cost"}
    assert main(check) == 0
    shutil.rmtree(
        store.root / "reptransfer" / "pca,dim=4"
    )  # other values: the old plots are none of them
    update_boards(store)
    assert links(store) == set() == set((store.root / PLOTS).glob("*"))
    assert main(check) == 0
    monkeypatch.undo()
    assert main(check) == 1
    assert "plots/probe.svg is stale" in capsys.readouterr().err
    update_boards(store)
    assert len(links(store)) == 2
    assert main(check) == 0


def test_a_folder_without_plots_and_tools_has_boards(
    results: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "require_drawing", no_tools)
    shutil.copytree(results, tmp_path / "results")
    store = Store(tmp_path / "results")
    update_boards(store)
    assert not (store.root / PLOTS).exists() and links(store) == set()
    assert "plot" not in boards(store).texts[FRONT].lower()
    assert stale_boards(store, boards(store)) == []


def test_where_plots_cannot_be_drawn_boards_are_written_without_them(
    results: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(converter, "_CODE", "import os; os.abort()")
    shutil.copytree(results, tmp_path / "results")
    store = Store(tmp_path / "results")
    update_boards(store)
    assert "the plots could not be drawn (status -6" in caplog.text
    assert not (store.root / PLOTS).exists() and links(store) == set()
    assert (store.root.parent / FRONT).is_file()


def test_a_process_that_has_drawn_can_be_forked(store: Store) -> None:
    """The engine's threads are not in this process: a fork of it would wait for them for ever."""
    plot = boards(store).plots[0]
    before = len(os.listdir("/proc/self/task"))
    drawn([plot])
    assert len(os.listdir("/proc/self/task")) == before


def stamped(picture: bytes, plot: Plot) -> bytes:
    """As another version of the tools would have drawn the plot."""
    stamp = f"<!-- {MADE} values {plot.digest}, picture {files._picture_digest(picture)} -->\n"
    return picture + stamp.encode()


def test_a_file_is_current_by_what_it_draws_and_not_by_who_drew_it(store: Store) -> None:
    plot = next(plot for plot in boards(store).plots if plot.name == "probe")
    path = plot_file(store, plot)
    good = path.read_bytes()
    assert is_current(path, plot) and [good] == drawn([plot])
    other = stamped(good[: good.index(b"<!-- ")].replace(b"sans-serif", b"serif"), plot)
    path.write_bytes(other)
    assert is_current(path, plot) and stale_boards(store, boards(store)) == []
    path.write_bytes(good.replace(b"\n", b"\r\n"))
    assert is_current(path, plot)
    for spoilt in (
        good.replace(b"sans-serif", b"serif"),
        good.replace(plot.digest.encode(), b"0" * 32),
        good + b"<!-- more -->",
        stamped(b'<svg xmlns="http://www.w3.org/2000/svg"><script>1</script></svg>', plot),
        b"",
    ):
        path.write_bytes(spoilt)
        assert not is_current(path, plot)
        assert stale_boards(store, boards(store)) == [path]
    update_boards(store)
    assert path.read_bytes() == good
    path.unlink()
    path.symlink_to(store.root / PLOTS / "probe-cost.svg")
    assert not is_current(path, plot)
    update_boards(store)
    assert not path.is_symlink() and path.read_bytes() == good


def test_a_users_own_picture_stays_and_a_plot_that_is_none_any_more_goes(store: Store) -> None:
    folder = store.root / PLOTS
    mine, old = folder / "mine.svg", folder / "old.svg"
    mine.write_bytes(b'<svg xmlns="http://www.w3.org/2000/svg"/>')
    old.write_bytes((folder / "probe.svg").read_bytes())
    assert stale_boards(store, boards(store)) == [old]
    update_boards(store)
    assert mine.is_file() and not old.exists()


def test_nothing_is_written_through_a_link(store: Store, tmp_path: Path) -> None:
    folder, elsewhere = store.root / PLOTS, tmp_path / "elsewhere"
    shutil.move(folder, elsewhere)
    folder.symlink_to(elsewhere)
    (elsewhere / "probe.svg").unlink()
    with pytest.raises(BenchError, match="is a link or a file"):
        update_boards(store)
    assert not (elsewhere / "probe.svg").exists()


def made_up(count: int, controls: int) -> Board:
    """A board of encoders `e0`, `e1`...; the last ones are controls."""
    board = Board(Store(Path("nowhere")), {})
    for number in range(count):
        group = "controls" if number >= count - controls else "classical"
        identity = records.encoder(id=f"e{number}", group=group)
        board.rows["somebody", f"e{number}"] = {"digits-knn": records.record(encoder=identity)}
    return board


def test_of_three_hundred_encoders_the_best_and_the_controls_are_shown() -> None:
    board = made_up(300, 14)
    order = list(board.rows)
    shown, text = first_rows(board, order)
    assert shown == [*order[:28], *order[286:298]]
    assert text == (
        "Shown: the best 28 of 286 encoders and the best 12 of 14 controls; 260 are not shown."
    )
    ranked = set(order[100:120])
    shown, text = first_rows(board, order, ranked)
    assert shown == [*order[:8], *order[100:120], *order[286:298]]
    assert "those with a rank first" in text
    assert first_rows(board, order[:40]) == (order[:40], "")
    assert len(first_rows(made_up(60, 60), list(made_up(60, 60).rows))[0]) == 40


def test_numbers_are_in_the_steps_of_the_boards() -> None:
    assert rounded(Interval(0.123456, -0.000001, 1 / 3), 100) == Interval(12.35, 0.0, 33.33)
    assert "-" not in repr(rounded(Interval(-0.001, -0.001, -0.001), 1))
    board = made_up(2, 1)
    rng = np.random.default_rng(0)
    value = float(rng.uniform())
    digests = {
        Plot("p", "p", _forest(estimate("e", Interval(v, v, v), _group(board), ""))).digest
        for v in (value, value + 1e-9, value + 1)
    }
    assert len(digests) == 2


def _group(board: Board):  # type: ignore[no-untyped-def]
    from bench.report.plots.plot import group_of

    return group_of(board, next(iter(board.rows)))


def _forest(*row):  # type: ignore[no-untyped-def]
    return Forest(title="t", notes=(), axis="x", panels=(("", (row,)),))


def test_names_of_tasks_are_safe_in_files_and_links() -> None:
    name = "../a](x)\n<b>" + "x" * 300
    assert re.fullmatch(r"[A-Za-z0-9_.+-]{1,100}", file_name(name))
    chart = Forest(title=f"on {name}", notes=(), axis="x", panels=())
    [text] = images([Plot(file_name(name), "few_labels", chart)])
    assert re.fullmatch(r"!\[[^\[\]\n<]*\]\(\.\./plots/[A-Za-z0-9_.+-]+\.svg\)", text)


@WITH_RECORDS
def test_the_committed_plots_are_small_plain_and_tell_what_the_answers_tell() -> None:
    folder = ROOT / "results" / PLOTS
    contents = {path.stem: path.read_bytes() for path in folder.glob("*.svg")}
    assert {"overall", "overall-cost", "finetune-gains", "multitask-gains"} <= set(contents)
    assert {"probe", "shift", "finetune", "few_labels", "multitask", "zeroshot"} <= set(contents)
    assert sum(map(len, contents.values())) < 1_000_000
    assert max(map(len, contents.values())) < 100_000
    assert {why_not_plain(content) for content in contents.values()} == {""}
    assert all(b"95 % interval" in content for content in contents.values())
    answers = (ROOT / "leaderboard.md").read_text().split("## Answers\n")[1].split("\n## ")[0]
    for plot, page in (("finetune-gains", "finetune"), ("multitask-gains", "multitask")):
        part = answers.split(f"(results/boards/{page}.md)")[1].split("\n- [")[0]
        figures = re.findall(r"[+-]\d+\.\d\d \[[+-]\d+\.\d\d, [+-]\d+\.\d\d\]", part)
        assert len(figures) > 3
        assert all(figure.encode() in contents[plot] for figure in figures)
