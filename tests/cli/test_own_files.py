"""Encoders that need the user's own files: their names in records, and what is forgotten."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

import bench
from bench.cli.main import main
from bench.results.store import Store
from tests.cli.test_own_data import images, run, states

ROWS = """
from bench import Encoder, Input, SourceInfo
TRAINING = "none"
class Rows(Encoder):
    seeded = False
    def __init__(self):
        super().__init__()
        self.input, self.dims = Input(size=(8, 8), channels=1), {"code": 8}
    def taps(self, images):
        return {"code": images.mean(dim=%d).flatten(1)}
def build(*, source: SourceInfo) -> Rows:
    return Rows()
"""
TASK = ["--task", "digits-knn"]


def encoder(folder: Path, axis: int, text: str = ROWS) -> str:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "rows.py").write_text(text % axis)
    return str(folder / "rows.py")


def test_two_encoder_files_of_one_name_need_a_name(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first, second = encoder(tmp_path / "a", 2), encoder(tmp_path / "b", 3)
    assert run(*TASK, "--encoder", first, folder=tmp_path) == 0
    record = tmp_path / "runs/local/rows/digits-knn.json"
    before = record.read_bytes()
    assert run(*TASK, "--encoder", second, folder=tmp_path) == 2
    error = capsys.readouterr().err
    assert "--name NAME" in error and "'rows.py'" in error
    for command in ("plan", "status"):
        words = [command, *TASK, "--encoder", second, "--results", str(tmp_path / "runs")]
        assert main(words) == 2
    assert run(*TASK, "--encoder", second, "--name", "columns", folder=tmp_path) == 0
    assert record.read_bytes() == before
    words = [*TASK, "--encoder", second, "--name", "columns"]
    assert states(capsys, tmp_path, *words) == {"digits-knn": "done"}
    assert "local/columns" in (tmp_path / "runs/leaderboard.md").read_text()
    assert main(["compare", "columns", "rows", "--results", str(tmp_path / "runs")]) == 0
    assert run(*TASK, "--encoder", first, "--name", "columns", folder=tmp_path) == 2
    assert "--name columns" in capsys.readouterr().err


# --- Files that change settings of the whole process

SETTINGS = """
import os, numpy, torch
torch.set_grad_enabled(False)
torch.set_num_threads(1 + torch.get_num_threads())
torch.use_deterministic_algorithms(True)
torch.set_float32_matmul_precision("medium")
numpy.seterr(all="raise")
os.chdir("/")
"""


@pytest.mark.parametrize("place", ["import", "taps"])
def test_settings_that_a_file_changes_reach_no_other_encoder(
    place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    lines = SETTINGS.strip().splitlines()
    text = ROWS.replace(
        "    def taps(self, images):", "    def taps(self, images):\n        change()"
    )
    change = "\ndef change():\n" + "".join(f"    {line}\n" for line in lines)
    encoder(tmp_path, 2, text + change + ("change()\n" if place == "import" else ""))
    before = [torch.get_num_threads(), np.geterr(), torch.get_float32_matmul_precision()]
    command = ["run", *TASK, "--encoder", "rows.py", "--encoder", "autoencoder~256"]
    assert main([*command, "--results", "runs", "--cache", "cache"]) == 0
    assert Path.cwd() == tmp_path and torch.is_grad_enabled()
    assert not torch.are_deterministic_algorithms_enabled()
    after = [torch.get_num_threads(), np.geterr(), torch.get_float32_matmul_precision()]
    assert after == before
    assert main([*command[:3], *command[5:], "--results", "alone", "--cache", "other"]) == 0
    [alone] = bench.load_results("alone").records
    [beside] = [r for r in bench.load_results("runs").records if r.encoder == alone.encoder]
    assert beside.digest == alone.digest


@pytest.mark.parametrize("place", ["import", "taps"])
@pytest.mark.parametrize("default", ["dtype(torch.float64)", "device('meta')"])
def test_a_file_that_sets_the_default_type_or_device_fails_alone(
    default: str, place: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    change = f"import torch; torch.set_default_{default}"
    head = "def taps(self, images):"
    text = ROWS.replace(head, f"{head}\n        {change}")
    path = encoder(tmp_path, 2, text if place == "taps" else f"{change}\n{ROWS}")
    status = run(*TASK, "--encoder", path, "--encoder", "pixels", folder=tmp_path)
    states = {r.encoder.id: r.status for r in bench.load_results(tmp_path / "runs").records}
    settings = torch.get_default_dtype(), torch.get_default_device()
    torch.set_default_device(None)
    torch.set_default_dtype(torch.float32)
    assert settings == (torch.float32, torch.device("cpu"))
    assert (status, states) == (1, {"rows": "failed", "pixels": "ok"})
    assert "for the whole process" in capsys.readouterr().err


@pytest.mark.parametrize("place", ["build", "taps"])
def test_a_file_that_exits_fails_alone(
    place: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    line = {"build": "return Rows()", "taps": 'return {"code": images.mean(dim=%d).flatten(1)}'}
    text = ROWS.replace(line[place], "raise SystemExit(0)")
    path = encoder(tmp_path, 2, text if place == "build" else f"{text}# %d\n")
    try:
        status = run(*TASK, "--encoder", path, "--encoder", "pixels", folder=tmp_path)
    except SystemExit:
        pytest.fail("the command ends with the encoder")
    assert status == 1
    err = capsys.readouterr().err
    assert "rows on digits-knn: failed: SystemExit: 0" in err and "pixels on digits-knn: acc" in err


def test_two_files_of_one_name_in_one_command_are_reported(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first, second = encoder(tmp_path / "a", 2), encoder(tmp_path / "b", 3)
    assert run(*TASK, "--encoder", first, "--encoder", second, folder=tmp_path) == 2
    assert "--name NAME" in capsys.readouterr().err
    assert not (tmp_path / "runs").exists()


def test_a_file_that_is_edited_is_stale_and_one_that_moves_is_not(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first = encoder(tmp_path / "a", 2)
    assert run(*TASK, "--encoder", first, folder=tmp_path) == 0
    moved = tmp_path / "elsewhere"
    (tmp_path / "a").rename(moved)
    words = [*TASK, "--encoder", str(moved / "rows.py")]
    assert states(capsys, tmp_path, *words) == {"digits-knn": "done"}
    assert run(*words, folder=tmp_path) == 0
    encoder(moved, 3)
    assert states(capsys, tmp_path, *words) == {"digits-knn": "stale"}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--encoder", "pixels", "--encoder", "hog", "--name", "x"], "one --encoder"),
        (["--name", "x"], "one --encoder"),
        (["--encoder", "pixels", "--name", "Hog"], "an encoder of this package"),
        (["--encoder", "pixels", "--name", "../x"], "letters, digits"),
        (["--encoder", "pixels", "--name", "x.py"], "letters, digits"),
    ],
)
def test_a_name_that_cannot_be_is_reported(
    words: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(*TASK, *words, folder=tmp_path) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "runs").exists()


WEIGHTS = """
from pathlib import Path
import bench
from bench import Encoder, Input, SourceInfo
TRAINING = "none"
class Scaled(Encoder):
    seeded = False
    def __init__(self, factor):
        super().__init__()
        self.factor = factor
        self.input, self.dims = Input(size=(8, 8), channels=1), {"code": 64}
    def taps(self, images):
        return {"code": self.factor * images.flatten(1)}
def build(*, source: SourceInfo, weights: Path) -> Scaled:
    text = Path(weights).read_text()
    if text == "bad":
        raise bench.BenchError(f"{weights} is not a factor")
    return Scaled(float(text))
"""


def test_ids_show_the_names_of_files_alone(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code = tmp_path / "scaled.py"
    code.write_text(WEIGHTS)
    for folder, text in (("ann", "2"), ("bob", "3")):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "w.txt").write_text(text)
    spec = f"{code},weights={str(tmp_path / 'ann' / 'w.txt').replace('/', '%2F')}"
    assert run(*TASK, "--encoder", spec, folder=tmp_path) == 0
    assert [p.parent.name for p in Store(tmp_path / "runs").paths()] == ["scaled,weights=w.txt"]
    second = spec.replace("ann", "bob")
    assert run(*TASK, "--encoder", second, folder=tmp_path) == 2
    assert "'w.txt'" in capsys.readouterr().err
    assert run(*TASK, "--encoder", second, "--name", "scaled3", folder=tmp_path) == 0
    (tmp_path / "ann" / "w.txt").write_text("bad")
    assert states(capsys, tmp_path, *TASK, "--encoder", spec) == {"digits-knn": "stale"}
    assert run(*TASK, "--encoder", spec, folder=tmp_path) == 1
    for path in (tmp_path / "runs").rglob("*"):
        if path.is_file() and path.name != ".places.json" and path.parent.name != ".locks":
            assert str(tmp_path).encode() not in path.read_bytes(), path


def test_weights_of_the_user_s_own_make_a_local_record() -> None:
    from bench.naming.specs import resolve
    from bench.tasks.cell import Cell
    from bench.tasks.files import load

    spec = resolve("encoders", "timm_backbone,model=resnet18,weights=%2Fhome%2Fann%2Fx.pth")
    assert spec.text == "timm_backbone,model=resnet18,weights=x.pth"
    assert Cell(load("digits-knn"), spec).owner == "local"
    trained = resolve("encoders", "vae@image_folder%2Cpath%3Dphotos")
    assert Cell(load("digits-knn"), trained).owner == "local"


def test_an_encoder_trained_on_own_images_calls_them_by_name(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = images(tmp_path / "north" / "photos", "ab")
    source = f"image_folder,path={folder}".replace(",", "%2C").replace("=", "%3D")
    spec = f"pca,dim=2@{source.replace('/', '%252F')}"
    assert run(*TASK, "--encoder", spec, folder=tmp_path) == 0
    code = tmp_path / "scaled.py"
    code.write_text(WEIGHTS.replace('TRAINING = "none"\n', ""))
    (tmp_path / "w.txt").write_text("2")
    source = f"image_folder%2Cpath%3D{str(folder).replace('/', '%252F')}"
    spec = f"{code},source={source},weights={tmp_path}/w.txt"
    assert states(capsys, tmp_path, *TASK, "--encoder", spec) == {"digits-knn": "missing"}
    [path] = Store(tmp_path / "runs").paths()
    assert path.parent.name == "pca,dim=2@image_folder%2Cpath%3Dphotos"
    assert str(tmp_path).encode() not in path.read_bytes()


def trained_on(folder: Path) -> str:
    return f"pca,dim=2@image_folder%2Cpath%3D{str(folder).replace('/', '%252F')}"


def test_an_encoder_trained_on_images_that_change_is_stale_and_on_those_that_move_is_not(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = images(tmp_path / "north" / "photos", "ab")
    assert run(*TASK, "--encoder", trained_on(folder), folder=tmp_path) == 0
    moved = tmp_path / "south" / "pictures"
    moved.parent.mkdir()
    folder.rename(moved)
    for words in ([trained_on(moved)], ["pca,dim=2@image_folder%2Cpath%3Dphotos"]):
        assert run(*TASK, "--encoder", *words, folder=tmp_path) == 0
        assert "nothing to do" in capsys.readouterr().err
    (moved / "a" / "001.png").write_bytes((moved / "a" / "000.png").read_bytes())
    words = [*TASK, "--encoder", trained_on(moved)]
    assert states(capsys, tmp_path, *words) == {"digits-knn": "stale"}
    with pytest.raises(bench.BenchError, match="has changed since it was scored"):
        bench.compare(trained_on(moved), trained_on(moved), results=tmp_path / "runs")
    assert run(*words, folder=tmp_path) == 0
    assert "its encoder has changed" in capsys.readouterr().err
    assert states(capsys, tmp_path, *words) == {"digits-knn": "done"}
    assert len(Store(tmp_path / "runs").paths()) == 1


def test_a_folder_to_train_on_is_the_one_that_lies_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Although another one has its name in the results folder."""
    for place, seed in (("north", 0), ("south", 1)):
        images(tmp_path / place / "photos", "ab", seed=seed)
        monkeypatch.chdir(tmp_path / place)
        spec = "pca,dim=2,source=image_folder%2Cpath%3Dphotos"
        assert run(*TASK, "--encoder", spec, folder=tmp_path) == 0
    assert {p.parent.name.rpartition("%3D")[2] for p in Store(tmp_path / "runs").paths()} == {
        "photos",
        "photos-2",
    }


def test_an_encoder_trained_on_own_images_is_scored_and_drawn_without_a_results_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = images(tmp_path / "photos", "ab")
    monkeypatch.setenv("REPTRANSFER_CACHE", str(tmp_path / "cache"))
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    [record] = bench.evaluate(trained_on(folder), "digits-knn", progress=None).records
    assert (record.status, record.encoder.source) == ("ok", "image_folder,path=photos")
    for words in (
        [trained_on(folder), "--on", "digits"],
        ["pca,dim=2", "--on", f"image_folder,path={folder}"],
    ):
        assert main(["show", *words, "--pictures", str(tmp_path / "out")]) == 0
        assert (tmp_path / "out" / "pictures.png").is_file()


def test_records_are_forgotten(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bad, good = "pca,dim=9999", "pixels,size=4"
    assert run(*TASK, "--encoder", bad, "--encoder", good, folder=tmp_path) in (0, 1)
    runs = str(tmp_path / "runs")
    before = len(list(Path(runs).rglob("*.*")))
    capsys.readouterr()
    assert main(["forget", bad, "--results", runs, "--dry-run"]) == 0
    assert capsys.readouterr().out.splitlines() == [f"would remove {bad} on digits-knn"]
    assert len(list(Path(runs).rglob("*.*"))) == before
    assert main(["forget", bad, "--task", "mnist-*", "--results", runs]) == 2
    assert main(["forget", bad, "--results", runs]) == 0
    assert capsys.readouterr().out.splitlines() == [f"removed {bad} on digits-knn"]
    assert not (tmp_path / "runs/reptransfer" / bad).exists()
    assert main(["leaderboard", "--check", "--results", runs]) == 0
    assert main(["forget", good.replace("4", "04"), "--results", runs, "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == [f"{good} on digits-knn"]
    assert Store(tmp_path / "runs").paths() == []
    assert main(["forget", good, "--results", runs]) == 2
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_what_is_of_others_is_not_forgotten(tmp_path: Path) -> None:
    assert run(*TASK, "--encoder", "pixels,size=4", folder=tmp_path) == 0
    (tmp_path / "runs" / "reptransfer").rename(tmp_path / "runs" / "ann")
    assert main(["forget", "pixels,size=4", "--results", str(tmp_path / "runs")]) == 2
    assert (tmp_path / "runs/ann/pixels,size=4/digits-knn.json").is_file()


def test_another_file_of_the_same_name_is_not_forgotten(tmp_path: Path) -> None:
    first, second = encoder(tmp_path / "a", 2), encoder(tmp_path / "b", 3)
    assert run(*TASK, "--encoder", first, folder=tmp_path) == 0
    runs = ["--results", str(tmp_path / "runs")]
    assert main(["forget", second, *runs]) == 2
    assert Store(tmp_path / "runs").paths()
    assert main(["compare", second, "rows", *runs]) == 2
    assert main(["forget", first, *runs]) == 0
    assert Store(tmp_path / "runs").paths() == []


def test_a_forgotten_file_s_name_is_free_again(tmp_path: Path) -> None:
    first, second = encoder(tmp_path / "a", 2), encoder(tmp_path / "b", 3)
    assert run(*TASK, "--encoder", first, folder=tmp_path) == 0
    assert main(["forget", "rows", "--results", str(tmp_path / "runs")]) == 0
    assert "rows.py" not in (tmp_path / "runs" / ".places.json").read_text()
    assert run(*TASK, "--encoder", second, folder=tmp_path) == 0


@pytest.mark.parametrize("content", [b"{", b"[]", b"\xff", b"[" * 100_000, b'{"schema": "x"}'])
def test_a_broken_index_of_places_stops_nothing(content: bytes, tmp_path: Path) -> None:
    folder = images(tmp_path / "photos", "ab")
    assert run("--images", str(folder), "--encoder", "pixels,size=4", folder=tmp_path) == 0
    (tmp_path / "runs" / ".places.json").write_bytes(content)
    words = ["--images", str(folder), "--encoder", "pixels,size=4"]
    assert main(["status", *words, "--results", str(tmp_path / "runs")]) == 0
    assert run(*words, folder=tmp_path) == 0


def test_wrong_images_are_listed_by_file(tmp_path: Path) -> None:
    folder = images(tmp_path / "photos", "ab", 20)
    for number in range(20):  # two classes that look alike
        (folder / "b" / f"{number:03}.png").write_bytes(
            (folder / "a" / f"{number:03}.png").read_bytes() + b"."
        )
    assert run("--images", str(folder), "--encoder", "pixels,size=4", folder=tmp_path) == 0
    wrong = bench.wrong_images(tmp_path / "runs", "pixels,size=4", "photos-knn")
    record = bench.load_results(tmp_path / "runs").frame().set_index("task")
    share = 1 - record["score"]["photos-knn"]
    assert share > 0 and len(wrong) == pytest.approx(share * 8)
    for row in wrong.itertuples():
        assert (folder / row.file).is_file() and row.file.startswith(f"{row.truth}/")
        assert {row.truth, row.predicted} == {"a", "b"}
    with pytest.raises(bench.BenchError, match="no task of a user's own"):
        bench.wrong_images(tmp_path / "runs", "pixels,size=4", "digits-knn")
    with pytest.raises(bench.BenchError, match="nowhere'; name a results folder"):
        bench.wrong_images(tmp_path / "nowhere", "pixels,size=4", "photos-knn")


def test_own_tasks_are_shown(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = images(tmp_path / "photos", "ab")
    assert run("--images", str(folder), "--encoder", "pixels,size=4", folder=tmp_path) == 0
    capsys.readouterr()
    assert main(["show", "photos-knn", "--results", str(tmp_path / "runs"), "--json"]) == 0
    [report] = json.loads(capsys.readouterr().out)
    assert (report["kind"], report["dataset"]) == ("task", "image_folder,path=photos")
