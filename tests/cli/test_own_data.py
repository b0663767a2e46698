"""A user's own images and tasks: every command knows them by the results folder alone."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import bench
from bench.cli.main import main
from bench.results.store import Store
from tests.kit.boards import written

ENCODERS = ["--encoder", "pixels,size=4", "--encoder", "pixels,size=6"]


def images(folder: Path, classes: str, count: int = 12, *, seed: int = 0) -> Path:
    """`count` images a class, noise around the grey of the class."""
    rng = np.random.default_rng(seed)
    for level, name in enumerate(classes):
        (folder / name).mkdir(parents=True)
        for number in range(count):
            pixels = rng.integers(0, 120, (8, 8)) + 60 * level
            Image.fromarray(pixels.astype(np.uint8)).save(folder / name / f"{number:03}.png")
    return folder


def run(*words: str, folder: Path) -> int:
    return main(
        ["run", *words, "--results", str(folder / "runs"), "--cache", str(folder / "cache")]
    )


def states(capsys: pytest.CaptureFixture[str], folder: Path, *words: str) -> dict[str, str]:
    """State by task, of the first encoder."""
    capsys.readouterr()
    main(["status", *words, "--results", str(folder / "runs"), "--json"])
    cells = json.loads(capsys.readouterr().out)
    return {c["task"]: c["state"] for c in reversed(cells)}


def board_rows(folder: Path) -> str:
    """What is above the results that are left out."""
    return written(folder / "runs").partition("## Left out")[0]


@pytest.fixture
def north(tmp_path: Path) -> Path:
    folder = images(tmp_path / "north" / "photos", "abc")
    assert run("--images", str(folder), *ENCODERS, folder=tmp_path) == 0
    return folder


def test_the_board_of_own_images_is_fresh_and_stays(north: Path, tmp_path: Path) -> None:
    runs = str(tmp_path / "runs")
    before = board_rows(tmp_path)
    assert "| pixels,size=4" in before and "photos-linear" in before
    assert main(["leaderboard", "--check", "--results", runs]) == 0
    assert main(["leaderboard", "--results", runs]) == 0
    assert board_rows(tmp_path) == before


def test_own_tasks_are_compared(
    north: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.rmtree(north)
    capsys.readouterr()
    words = ["compare", "pixels,size=4", "pixels,size=6", "--results", str(tmp_path / "runs")]
    assert main([*words, "--json"]) == 0
    assert {c["task"] for c in json.loads(capsys.readouterr().out)} == {
        "photos-linear",
        "photos-knn",
    }
    assert len(bench.compare(*words[1:3], results=tmp_path / "runs")) == 2


def test_another_folder_adds_rows(north: Path, tmp_path: Path) -> None:
    tools = images(tmp_path / "tools", "xy", seed=1)
    assert run("--images", str(tools), *ENCODERS[:2], folder=tmp_path) == 0
    assert {"photos-linear", "tools-linear"} <= set(board_rows(tmp_path).replace("|", " ").split())


def test_another_folder_of_the_same_name_is_another_data_set(
    north: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    south = images(tmp_path / "south" / "photos", "xy", seed=1)
    first = (tmp_path / "runs/reptransfer/pixels,size=4/photos-linear.json").read_bytes()
    assert run("--images", str(south), *ENCODERS, folder=tmp_path) == 0
    assert (tmp_path / "runs/reptransfer/pixels,size=4/photos-linear.json").read_bytes() == first
    assert states(capsys, tmp_path, "--images", str(north), *ENCODERS) == {
        "photos-linear": "done",
        "photos-knn": "done",
    }
    assert states(capsys, tmp_path, "--images", str(south), *ENCODERS) == {
        "photos-2-linear": "done",
        "photos-2-knn": "done",
    }
    assert "photos-2-linear" in board_rows(tmp_path)


def test_a_folder_that_moves_keeps_its_name_and_its_records(
    north: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    moved = tmp_path / "elsewhere" / "holiday"
    shutil.move(north, moved)
    assert states(capsys, tmp_path, "--images", str(moved), *ENCODERS)["photos-knn"] == "done"
    assert run("--images", str(moved), *ENCODERS, folder=tmp_path) == 0
    assert "nothing to do" in capsys.readouterr().err
    south = images(tmp_path / "north" / "photos", "xy", seed=1)  # where the first one was
    assert states(capsys, tmp_path, "--images", str(south), *ENCODERS)["photos-2-knn"] == "missing"


def test_images_that_change_make_records_stale_also_on_the_board(
    north: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copy(north / "a" / "001.png", north / "a" / "000.png")
    cells = states(capsys, tmp_path, "--images", str(north), *ENCODERS)
    assert cells == {"photos-linear": "stale", "photos-knn": "stale"}
    assert run("--images", str(north), *ENCODERS[:2], folder=tmp_path) == 0
    rows = board_rows(tmp_path)
    assert "| pixels,size=4" in rows and "| pixels,size=6" not in rows
    text = written(tmp_path / "runs")
    assert "its data has changed" in text


def test_plan_and_status_write_nothing(tmp_path: Path) -> None:
    folder = images(tmp_path / "photos", "ab")
    for command in ("plan", "status"):
        main([command, "--images", str(folder), *ENCODERS, "--results", str(tmp_path / "runs")])
    assert not (tmp_path / "runs").exists()


def test_no_path_of_the_machine_is_in_tasks_records_and_boards(north: Path, tmp_path: Path) -> None:
    for path in (tmp_path / "runs").rglob("*"):
        if path.is_file() and path.name != ".places.json":
            assert str(tmp_path).encode() not in path.read_bytes(), path


def test_own_tasks_are_run_by_name_and_declined_where_the_folder_is_unknown(
    north: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--task", "photos-knn", "--encoder"]
    assert run(*words, "pixels,size=5", folder=tmp_path) == 0
    assert states(capsys, tmp_path, *words, "pixels,size=5") == {"photos-knn": "done"}
    (tmp_path / "runs" / ".places.json").unlink()
    assert run(*words, "pixels,size=3", folder=tmp_path) == 0
    assert "name it with --images" in capsys.readouterr().err
    assert states(capsys, tmp_path, *words, "pixels,size=3") == {"photos-knn": "declined"}
    assert states(capsys, tmp_path, *words, "pixels,size=5") == {"photos-knn": "done"}
    everything = ["--images", str(north), "--encoder", "pixels,size=3"]
    assert states(capsys, tmp_path, *everything)["photos-knn"] == "stale"
    assert run(*everything, folder=tmp_path) == 0
    assert states(capsys, tmp_path, *everything)["photos-knn"] == "done"


def test_images_that_change_make_records_stale_by_the_names_of_tasks_too(
    north: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copy(north / "a" / "001.png", north / "a" / "000.png")
    for words in (["--task", "photos-*", *ENCODERS], []):
        assert states(capsys, tmp_path, *words) == {"photos-linear": "stale", "photos-knn": "stale"}
    (north / "a" / "000.png").write_text("no image")
    assert states(capsys, tmp_path)["photos-knn"] == "stale"
    shutil.rmtree(north)
    assert states(capsys, tmp_path)["photos-knn"] == "done"


def test_bad_images_that_were_left_out_are_left_out_by_the_names_of_tasks_too(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = images(tmp_path / "photos", "ab")
    (folder / "a" / "bad.png").write_text("no image")
    assert run("--images", str(folder), "--skip-bad", "1", *ENCODERS, folder=tmp_path) == 0
    for words in (["--task", "photos-*", *ENCODERS], []):
        assert set(states(capsys, tmp_path, *words).values()) == {"done"}
    trained = f"pca,dim=2,source=image_folder%2Cpath%3D{str(folder).replace('/', '%252F')}"
    for words in (
        ["--task", "photos-knn", *ENCODERS],
        ["--task", "digits-knn", "--encoder", trained],
    ):
        assert run(*words, folder=tmp_path) == 0
    assert run("--task", "photos-knn", "--encoder", "pixels,size=3", folder=tmp_path) == 0
    assert run("--images", str(folder), *ENCODERS, folder=tmp_path) == 2
    (folder / "a" / "worse.png").write_text("no image")
    assert states(capsys, tmp_path)["photos-knn"] == "stale"


def test_a_status_of_own_tasks_alone_is_about_them(
    north: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["status", "--results", str(tmp_path / "runs")]) == 0
    assert "4 cells: 4 done" in capsys.readouterr().out


def test_a_folder_named_like_a_data_set_or_a_task_of_the_package_has_a_name_of_its_own(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("digits", "Digits"):
        folder = images(tmp_path / name / name, "ab", seed=len(name) + ord(name[0]))
        assert run("--images", str(folder), *ENCODERS[:2], folder=tmp_path) == 0
    names = {path.stem for path in Store(tmp_path / "runs").paths()}
    assert names == {"digits-2-linear", "digits-2-knn", "Digits-3-linear", "Digits-3-knn"}


TASK = """
title = "Seven neighbours"
family = "probe"
dataset = "digits"
targets = ["label"]
protocol = "knn,k=7"
chance = 0.1
[primary]
metric = "accuracy"
target = "label"
"""


def test_a_task_file_is_known_by_name_afterwards(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "seven.toml"
    file.write_text(TASK)
    assert run("--task", str(file), *ENCODERS, folder=tmp_path) == 0
    file.unlink()
    assert "| pixels,size=4" in board_rows(tmp_path)
    assert main(["leaderboard", "--check", "--results", str(tmp_path / "runs")]) == 0
    assert states(capsys, tmp_path, "--task", "seven", *ENCODERS) == {"seven": "done"}
    assert run("--task", "sev*", *ENCODERS, folder=tmp_path) == 0
    assert "nothing to do" in capsys.readouterr().err
    assert main(["compare", "pixels,size=4", "pixels,size=6", "--results", f"{tmp_path}/runs"]) == 0


def test_another_task_file_of_the_same_name_is_refused_and_an_edit_makes_records_stale(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file, second = tmp_path / "seven.toml", tmp_path / "other" / "seven.toml"
    file.write_text(TASK)
    second.parent.mkdir()
    second.write_text(TASK.replace("k=7", "k=9"))
    assert run("--task", str(file), *ENCODERS[:2], folder=tmp_path) == 0
    assert run("--task", str(second), *ENCODERS[:2], folder=tmp_path) == 2
    assert "rename" in capsys.readouterr().err
    file.write_text(TASK.replace("k=7", "k=5"))
    assert states(capsys, tmp_path, "--task", str(file), *ENCODERS) == {"seven": "stale"}
    clash = tmp_path / "digits-knn.toml"
    clash.write_text(TASK)
    assert run("--task", str(clash), *ENCODERS[:2], folder=tmp_path) == 2
    assert "'digits-knn' has the name of a task of this package" in capsys.readouterr().err


TABLE = """
attributes = ["a", "b", "c"]
[classes]
a = [1, 0, 0]
b = [0, 1, 0]
c = [0, 0, 1]
d = [1, 1, 0]
e = [0, 1, 1]
"""


def test_a_table_of_attributes_is_kept_too(tmp_path: Path) -> None:
    folder, table = images(tmp_path / "five", "abcde", seed=3), tmp_path / "five.toml"
    table.write_text(TABLE)
    words = ["--images", str(folder), "--semantics", str(table)]
    assert run(*words, *ENCODERS[:2], folder=tmp_path) == 0
    table.unlink()
    shutil.rmtree(folder)
    assert "five-zeroshot" in board_rows(tmp_path)
    assert main(["leaderboard", "--check", "--results", str(tmp_path / "runs")]) == 0


BROKEN = {
    "no JSON": b"{",
    "NaN": b'{"schema": "reptransfer.task/1", "task": NaN}',
    "a list": b"[]",
    "deep": b"[" * 100_000,
    "no text": b"\xff\xfe\x00",
    "another schema": b'{"schema": "x"}',
}


@pytest.mark.parametrize("content", BROKEN.values(), ids=BROKEN)
def test_a_broken_task_is_left_out_and_named(
    content: bytes, north: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "runs" / "tasks" / "photos-knn.json").write_bytes(content)
    assert main(["leaderboard", "--results", str(tmp_path / "runs")]) == 0
    text = written(tmp_path / "runs")
    assert "unreadable task" in text and "photos-knn.json" in text and "photos-linear" in text
    for words in (["status"], ["plan", *ENCODERS], ["compare", "pixels,size=4", "pixels,size=6"]):
        assert main([*words, "--results", str(tmp_path / "runs")]) in (0, 1)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('"protocol": "knn"', '"protocol": "evil.py"'),
        ('"protocol": "knn"', '"protocol": "no_such_protocol"'),
        ('"dataset": "image_folder,path=photos"', '"dataset": "image_folder,path=%2Fetc"'),
        ('"name": "photos-knn"', '"name": "../photos-knn"'),
        ('"ceiling": 1.0', '"ceiling": 1e999'),
        ('"semantics": null', '"semantics": "../../secret.toml"'),
        ('"files": [', '"files": ["x", '),
    ],
)
def test_a_hostile_task_is_left_out(old: str, new: str, north: Path, tmp_path: Path) -> None:
    path = tmp_path / "runs" / "tasks" / "photos-knn.json"
    assert path.is_file()
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))
    assert main(["leaderboard", "--results", str(tmp_path / "runs")]) == 0
    assert "photos-knn" not in board_rows(tmp_path)


@pytest.mark.parametrize(
    "owner", ["tasks", "Tasks", "studies", "STUDIES", "boards", "leaderboard.md"]
)
def test_names_of_other_things_in_a_results_folder_are_no_owners(
    owner: str, tmp_path: Path
) -> None:
    with pytest.raises(bench.BenchError, match="no safe name"):
        Store(tmp_path).path(owner, "pixels", "digits-knn")
    (tmp_path / owner / "pixels").mkdir(parents=True)
    (tmp_path / owner / "pixels" / "digits-knn.json").write_text("{}")
    assert Store(tmp_path).paths() == []


def test_all_commands_have_the_same_results_folder(
    north: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "runs").rename(tmp_path / "reptransfer-runs")
    (tmp_path / "results").mkdir()
    monkeypatch.chdir(tmp_path)
    assert main(["compare", "pixels,size=4", "pixels,size=6"]) == 0
    assert main(["leaderboard", "--check"]) == 0
    assert main(["status"]) == 0
    assert len(bench.compare("pixels,size=4", "pixels,size=6")) == 2


def test_records_on_own_images_are_verified(
    north: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("--images", str(north), *ENCODERS, folder=tmp_path) == 0
    capsys.readouterr()
    status = main(["verify", str(tmp_path / "runs"), "--json"])
    verdict = json.loads(capsys.readouterr().out)
    assert (verdict["records"], verdict["findings"]) == (4, [])
    assert len(verdict["consistent"]) == 4 and status == 0


def test_a_folder_that_is_not_there_is_told_as_such(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("--images", str(tmp_path / "no such"), *ENCODERS, folder=tmp_path) == 2
    assert "no folder" in capsys.readouterr().err
