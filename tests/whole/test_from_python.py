"""From Python: records are kept and reused, objects compared, every mistake is a BenchError."""

from __future__ import annotations

import copy
import shutil
from collections import deque
from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import bench
from bench.cli.main import main
from bench.errors import BenchError
from bench.results.store import Store
from tests.cli.test_own_data import images
from tests.cli.test_own_files import encoder as encoder_file

TASK = "digits-knn"


class Linear(nn.Module):
    """Random projections of pixels."""

    input = bench.Input(size=(8, 8), channels=1)

    def __init__(self, seed: int = 0, dim: int = 16) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(64, dim, generator=torch.manual_seed(seed)))

    def forward(self, images: Tensor) -> Tensor:
        return images.flatten(1) @ self.weight


@pytest.fixture(autouse=True)
def cwd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("REPTRANSFER_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("REPTRANSFER_DATA", raising=False)
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


def computed(run: Callable[..., Any], *arguments: Any, **options: Any) -> tuple[Any, list[str]]:
    """What a call gives, and the lines of the cells that it has computed."""
    lines: list[str] = []
    result = run(*arguments, progress=lines.append, **options)
    return result, [line for line in lines if line.startswith("[")]


@pytest.mark.parametrize("encoder", ["pixels", Linear()], ids=["spec", "object"])
def test_records_are_kept_in_a_folder_and_reused(encoder: Any, cwd: Path) -> None:
    first, lines = computed(bench.evaluate, encoder, TASK, results="runs")
    assert len(lines) == 1 and lines[0].startswith("[1/1] ")
    again, lines = computed(bench.evaluate, encoder, TASK, results=cwd / "runs")
    assert lines == []
    assert [r.digest for r in again.records] == [r.digest for r in first.records]
    [record] = Store(cwd / "runs").records()
    assert isinstance(record, bench.Record)
    assert (record.status, record.digest) == ("ok", first.records[0].digest)
    assert record.owner == ("reptransfer" if isinstance(encoder, str) else "local")
    assert bench.load_results("runs").predictions(record).keys() == again.predictions(record).keys()


def test_an_object_changed_in_place_is_scored_again_and_compared_only_then(cwd: Path) -> None:
    model = Linear()
    [before] = bench.evaluate(model, TASK, results="runs").records
    bench.evaluate("pixels", TASK, results="runs", progress=None)
    [old] = bench.compare(model, "pixels", results="runs")
    assert old.a == before.score.value
    with torch.no_grad():
        model.weight[:, 1:] = 0
    with pytest.raises(BenchError, match="has changed since it was scored"):
        bench.compare(model, "pixels", results="runs")
    evaluation, lines = computed(bench.evaluate, model, TASK, results="runs")
    [after] = evaluation.records
    assert after.score.value < before.score.value and len(lines) == 1
    [new] = bench.compare(model, "pixels", results="runs")
    assert (new.a, new.verdict) == (after.score.value, "B")
    assert new.b == old.b


class Slots:
    __slots__ = ("gain",)

    def __init__(self) -> None:
        self.gain = 1.0


class Everything(Linear):
    """An object that can change in many ways; `path` is a file that it would read."""

    def __init__(self) -> None:
        super().__init__()
        self.norm, self.activation = nn.BatchNorm1d(16), torch.relu
        self.register_buffer("shift", torch.ones(16))
        self.register_buffer("factor", torch.ones(16), persistent=False)
        self.gain, self.settings, self.queue = 1.0, {"offsets": [1.0, 2.0]}, deque([1.0])
        self.slots, self.share, self.path = Slots(), Decimal(1), Path("factor.txt")
        self.rng = np.random.default_rng(0)

    def forward(self, images: Tensor) -> Tensor:
        x = self.norm(super().forward(images) * self.gain) + self.shift * self.factor
        return torch.as_tensor(self.activation(x) + self.settings["offsets"][0])


def _changed(name: str, value: Any) -> Callable[[Any], object]:
    return lambda model: setattr(model, name, value)


CHANGES: dict[str, Callable[[Any], object]] = {
    "weight": lambda model: model.weight.data.add_(1),
    "buffer": lambda model: model.shift.mul_(2),
    "buffer outside the state": lambda model: model.factor.mul_(2),
    "running mean": lambda model: model.norm.running_mean.add_(1),
    "number": _changed("gain", 2.0),
    "list in a dict": lambda model: model.settings["offsets"].reverse(),
    "deque": lambda model: model.queue.append(2.0),
    "slot": lambda model: setattr(model.slots, "gain", 2.0),
    "decimal": _changed("share", Decimal(2)),
    "random state": lambda model: model.rng.random(),
    "function": _changed("activation", torch.tanh),
    "hook": lambda model: model.norm.register_forward_hook(lambda module, x, y: 2 * y),
    "forward": _changed("forward", lambda images: images.flatten(1)),
    "size of images": _changed("input", bench.Input(size=(8, 8), channels=3)),
    "file": lambda model: model.path.write_text("2"),
    "double": lambda model: model.double(),
}
SAME: dict[str, Callable[[Any], object]] = {
    "nothing": lambda model: None,
    "training mode": lambda model: model.train(),
    "mode of a part": lambda model: model.norm.eval(),
    "gradients": lambda model: model.requires_grad_(False),
    "hook that is gone": lambda model: model.register_forward_hook(lambda *_: None).remove(),
    "place of a file": lambda model: setattr(model, "path", model.path.rename("moved.txt")),
}


@pytest.mark.parametrize("name", [*CHANGES, *SAME])
def test_only_what_features_can_depend_on_makes_an_object_another(name: str) -> None:
    from bench.encoders.parts.state import object_digest

    Path("factor.txt").write_text("1")
    model = Everything()
    before = object_digest(model)
    copy.deepcopy(model)  # leaves marks at classes
    assert object_digest(model) == before
    (CHANGES | SAME)[name](model)
    assert (object_digest(model) != before) == (name in CHANGES)


def test_results_in_memory_are_compared_as_those_of_a_folder(cwd: Path) -> None:
    a, b = (bench.evaluate(e, TASK, progress=None) for e in (Linear(dim=2), "pixels"))
    assert list(cwd.iterdir()) == []
    [in_memory] = bench.compare(a, b)
    for encoder in (Linear(dim=2), "pixels"):
        bench.evaluate(encoder, TASK, results="runs", progress=None)
    assert [in_memory] == bench.compare(Linear(dim=2), "pixels", results="runs")
    assert [in_memory] == bench.compare(a, "pixels", results="runs")
    assert in_memory.verdict == "B"


def test_two_objects_of_one_class_have_the_names_that_they_bring(cwd: Path) -> None:
    wide, narrow = Linear(), Linear(dim=2)
    wide.name, narrow.name = "wide", "narrow"  # type: ignore[assignment]
    for model in (wide, narrow, wide):
        bench.evaluate(model, TASK, results="runs", progress=None)
    [comparison] = bench.compare(wide, narrow, results="runs")
    assert comparison.verdict == "A"
    assert {p.parent.name for p in Store(cwd / "runs").paths()} == {"wide", "narrow"}


def test_progress_is_on_standard_error_unless_it_is_taken(
    capsys: pytest.CaptureFixture[str],
) -> None:
    bench.evaluate("pixels", TASK)
    out, err = capsys.readouterr()
    assert out == "" and err.startswith(f"[1/1] pixels on {TASK}: accuracy ")
    lines: list[str] = []
    bench.evaluate("pixels", TASK, progress=lines.append)
    bench.evaluate("pixels", TASK, progress=None)
    assert len(lines) == 1 and capsys.readouterr() == ("", "")


def evaluated(encoder: object, tasks: Any, **options: Any) -> dict[str, str]:
    """Status by task, of what `evaluate` has computed anew."""
    found, lines = computed(bench.evaluate, encoder, tasks, **options)
    return {r.task.id: r.status for r in found.records if any(r.name in line for line in lines)}


def test_own_images_are_scored_by_the_names_of_their_tasks(cwd: Path, tmp_path: Path) -> None:
    folder, model = images(tmp_path / "north" / "photos", "abc"), Linear()
    words = ["--encoder", "pixels,size=4", "--results", "runs"]
    assert main(["run", "--images", str(folder), *words]) == 0
    all_ok = {"photos-linear": "ok", "photos-knn": "ok"}
    assert evaluated(model, "photos-*", results="runs") == all_ok
    assert evaluated(model, "photos-*", results="runs") == {}
    assert len(bench.compare(model, "pixels,size=4", results="runs")) == 2
    assert list(bench.wrong_images("runs", "Linear", "photos-knn").columns)[1] == "file"

    moved = folder.rename(tmp_path / "holiday")
    other = Linear(seed=1)
    assert evaluated(other, "photos-knn", results="runs") == {"photos-knn": "declined"}
    assert main(["run", "--images", str(moved), *words]) == 0
    assert evaluated(other, "photos-knn", results="runs") == {"photos-knn": "ok"}
    assert evaluated(other, "photos-knn", results="runs") == {}

    (moved / "a" / "001.png").write_bytes((moved / "a" / "000.png").read_bytes())
    assert evaluated(other, "photos-knn", results="runs") == {"photos-knn": "ok"}
    shutil.rmtree(moved)
    assert evaluated(other, "photos-knn", results="runs") == {}


def test_a_task_object_on_a_folder_is_kept_by_the_folder_s_name(cwd: Path, tmp_path: Path) -> None:
    folder = images(tmp_path / "north" / "photos", "ab")
    task = bench.Task(
        name="mine", family="probe", dataset=f"image_folder,path={folder}", targets=("label",),
        protocol="knn", chance=0.5,
    )  # fmt: skip
    for chosen in (task, "mine", [task]):
        first = evaluated("pixels,size=4", chosen, results="runs")
        assert first == ({"mine": "ok"} if chosen is task else {})
    text = (cwd / "runs" / "tasks" / "mine.json").read_text()
    assert '"image_folder,path=photos"' in text and str(tmp_path) not in text
    assert (
        main(["status", "--task", "mine", "--encoder", "pixels,size=4", "--results", "runs"]) == 0
    )
    assert evaluated("pixels,size=4", task) == {"mine": "ok"}
    south = images(tmp_path / "south" / "photos", "ab", seed=1)
    with pytest.raises(BenchError, match="'mine' in this results folder is on"):
        bench.evaluate(
            "pixels", replace(task, dataset=f"image_folder,path={south}"), results="runs"
        )
    (cwd / "near.py").write_text("def build(*, meta, trunk, seed):\n    pass\n")
    with pytest.raises(BenchError, match="names a Python file"):
        bench.evaluate("pixels", replace(task, name="near", protocol="near.py"), results="runs")


def test_two_encoder_files_of_one_name_need_a_name(cwd: Path) -> None:
    for place, axis in (("a", 2), ("b", 3)):
        encoder_file(cwd / place, axis)
    assert evaluated("a/rows.py", TASK, results="runs") == {TASK: "ok"}
    with pytest.raises(BenchError, match="name="):
        bench.evaluate("b/rows.py", TASK, results="runs")
    assert evaluated("b/rows.py", TASK, results="runs", name="columns") == {TASK: "ok"}
    assert evaluated("b/rows.py", TASK, results="runs", name="columns") == {}
    assert evaluated("a/rows.py", TASK, results="runs") == {}


MISTAKES: dict[str, Callable[[], Any]] = {
    "number": lambda: bench.evaluate(3),
    "class": lambda: bench.evaluate(Linear),
    "unknown spec": lambda: bench.evaluate("pcaa"),
    "missing file": lambda: bench.evaluate(Path("missing.py")),
    "tasks: number": lambda: bench.evaluate("pixels", 3),  # type: ignore[arg-type]
    "tasks: numbers": lambda: bench.evaluate("pixels", [3]),  # type: ignore[list-item]
    "tasks: None": lambda: bench.evaluate("pixels", None),  # type: ignore[arg-type]
    "unknown task": lambda: bench.evaluate("pixels", "digitz"),
    "seeds: 0": lambda: bench.evaluate("pixels", TASK, seeds=0),
    "seeds: text": lambda: bench.evaluate("pixels", TASK, seeds="2"),  # type: ignore[arg-type]
    "seeds: True": lambda: bench.evaluate("pixels", TASK, seeds=True),
    "data: number": lambda: bench.evaluate("pixels", TASK, data=3),  # type: ignore[arg-type]
    "data: missing": lambda: bench.evaluate("pixels", TASK, data="missing"),
    "results: number": lambda: bench.evaluate("pixels", TASK, results=3),  # type: ignore[arg-type]
    "results: empty": lambda: bench.evaluate("pixels", TASK, results=""),
    "results: file": lambda: bench.evaluate("pixels", TASK, results=__file__),
    "name: number": lambda: bench.evaluate("pixels", TASK, name=3),  # type: ignore[arg-type]
    "name: of an object": lambda: bench.evaluate(Linear(), TASK, name="x"),
    "name: of the package": lambda: bench.evaluate("pixels", TASK, name="pca"),
    "progress": lambda: bench.evaluate("pixels", TASK, progress=True),  # type: ignore[arg-type]
    "compare: number": lambda: bench.compare(3, "pixels", results="."),
    "compare: tasks": lambda: bench.compare("pca", "pixels", results=".", tasks=3),  # type: ignore[arg-type]
    "compare: results": lambda: bench.compare("pca", "pixels", results=None),  # type: ignore[arg-type]
    "compare: folder": lambda: bench.compare("pca", "pixels", results="missing"),
    "compare: nothing there": lambda: bench.compare("pca", "pixels", results="."),
    "compare: never scored": lambda: bench.compare(Linear(), "pixels", results="."),
    "compare: no records": lambda: bench.compare(bench.Results([]), bench.Results([])),
    "load: number": lambda: bench.load_results(3),  # type: ignore[arg-type]
    "load: missing": lambda: bench.load_results("missing"),
}


@pytest.mark.parametrize("mistake", MISTAKES.values(), ids=MISTAKES)
def test_a_mistake_is_a_bench_error_of_one_line_and_writes_nothing(
    mistake: Callable[[], Any], cwd: Path
) -> None:
    with pytest.raises(BenchError) as caught:
        mistake()
    assert len(str(caught.value).splitlines()) == 1
    assert list(cwd.iterdir()) == []


def test_a_name_that_is_no_folder_is_refused_before_anything_is_written(cwd: Path) -> None:
    model = Linear()
    model.name = "../outside"  # type: ignore[assignment]
    with pytest.raises(BenchError, match="safe name"):
        bench.evaluate(model, TASK, results="runs")
    assert list(cwd.iterdir()) == []
