"""Features from files: the scores of the encoder that made them, and files that do not fit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file, save_file

import bench
from bench.cli.main import main
from bench.data.samples import SourceInfo
from bench.datasets.base import DataSets
from bench.encoders.pretrained.features import build
from bench.results.store import Store

SOURCE = SourceInfo(1, 8, 8, {})
INPUT = bench.Input(size=(8, 8), channels=1)
FINGERPRINT = DataSets(Path())("digits").fingerprint


def encode(images: torch.Tensor) -> torch.Tensor:
    return images.flatten(1)[:, ::2]


class Half(torch.nn.Module):
    input = INPUT

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return encode(images)


def test_scores_are_those_of_the_encoder_that_made_them(tmp_path: Path) -> None:
    bench.write_features(encode, "digits", tmp_path / "f", input=INPUT)
    tasks = ["digits-linear", "digits-knn"]
    stored = bench.evaluate(f"features,path={tmp_path / 'f'}", tasks, progress=None)
    direct = bench.evaluate(Half(), tasks, progress=None)
    assert [r.status for r in stored.records] == ["ok", "ok"], [r.reason for r in stored.records]
    for one, other in zip(stored.records, direct.records, strict=True):
        assert one.score == other.score
    assert stored.records[0].encoder.dim == 32
    assert stored.records[0].encoder.parameters == 0


def test_other_images_and_shifts_are_declined(tmp_path: Path) -> None:
    bench.write_features(encode, "digits", tmp_path, input=INPUT)
    runs = tmp_path / "runs"
    words = ["run", "--encoder", f"features,path={tmp_path}", "--results", str(runs)]
    assert main([*words, "--task", "digits-shift", "--task", "sprites-linear"]) == 0
    reasons = {r.task.id: (r.status, r.reason) for r in Store(runs).records()}  # type: ignore[union-attr]
    assert reasons["digits-shift"][0] == reasons["sprites-linear"][0] == "declined"
    assert "shifted" in str(reasons["digits-shift"][1])
    assert "there are those of digits" in str(reasons["sprites-linear"][1])


def test_what_may_be_encoded(tmp_path: Path) -> None:
    with pytest.raises(bench.BenchError, match=r"\(n, d\)"):
        bench.write_features(lambda x: x, "digits", tmp_path / "a", input=INPUT)
    with pytest.raises(bench.BenchError, match="NaN"):
        bench.write_features(lambda x: encode(x) * np.nan, "digits", tmp_path / "a", input=INPUT)
    assert not list(tmp_path.glob("a/*"))


def save(path: Path, *, fingerprint: str = FINGERPRINT, **changes: Any) -> Path:
    """A folder with a file of three splits of 4 rows and 2 features."""
    arrays = {split: np.ones((4, 2), "f4") for split in ("train", "val", "test")} | changes
    path.mkdir(parents=True, exist_ok=True)
    facts = {"schema": "reptransfer.features/1", "fingerprint": fingerprint}
    arrays = {name: array for name, array in arrays.items() if array is not None}
    save_file(arrays, path / "digits.safetensors", facts)
    return path


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"fingerprint": "mine"}, "fingerprint"),
        ({"test": None}, "tensors train, val, test"),
        ({"more": np.ones((4, 2), "f4")}, "tensors train, val, test"),
        ({"test": np.ones((4, 3), "f4")}, "one d"),
        ({"test": np.ones(4, "f4")}, "one d"),
        ({"test": np.ones((4, 2), "i8")}, "F16, BF16 or F32"),
    ],
)
def test_files_of_another_form(change: dict[str, Any], words: str, tmp_path: Path) -> None:
    with pytest.raises(bench.BenchError, match=words):
        build(source=SOURCE, path=save(tmp_path / "f", **change))


def test_folders_of_another_form(tmp_path: Path) -> None:
    with pytest.raises(bench.BenchError, match="no folder"):
        build(source=SOURCE, path=tmp_path / "nowhere")
    with pytest.raises(bench.BenchError, match=r"no NAME\.safetensors"):
        build(source=SOURCE, path=tmp_path)
    (tmp_path / "text.safetensors").write_text("no features")
    with pytest.raises(bench.BenchError, match="no safetensors file"):
        build(source=SOURCE, path=tmp_path)


def test_wrong_number_of_rows_fails_and_changed_files_are_stale(tmp_path: Path) -> None:
    folder, runs = save(tmp_path / "f"), tmp_path / "runs"
    words = ["--encoder", f"features,path={folder}", "--task", "digits-knn", "--results", str(runs)]
    assert main(["run", *words]) == 1
    (record,) = Store(runs).records()
    assert "train is (4, 2); features (1132, 2) are needed" in str(record.reason)  # type: ignore[union-attr]
    bench.write_features(encode, "digits", folder, input=INPUT)
    assert main(["run", *words]) == 0
    assert main(["status", *words]) == 0
    arrays = load_file(folder / "digits.safetensors")
    arrays["test"] = arrays["test"] + 1
    save(folder, **arrays)
    assert main(["status", *words]) == 1


def test_check_says_that_there_is_nothing_to_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = save(tmp_path / "f")
    assert main(["check", f"features,path={folder}"]) == 2
    assert "encodes no images" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"input": 3}, "input=3: give bench.Input"),
        ({"batch": 0}, "batch=0: give a whole number"),
        ({"datasets": []}, "datasets is empty"),
        ({"folder": "file"}, "cannot write file"),
    ],
)
def test_arguments_that_cannot_be_are_refused_in_one_line(
    changes: dict[str, Any], says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("file").touch()
    arguments = {"datasets": "digits", "folder": "f", "input": INPUT, **changes}
    answer = ""
    try:
        bench.write_features(encode, **arguments)
    except bench.BenchError as error:
        answer = str(error)
    assert says in answer and len(answer.splitlines()) == 1 and not Path("f").exists()
