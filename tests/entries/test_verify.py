"""Records that lie: each is signed anew, as its author would, and told by what it contradicts."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench.cli.main import main
from bench.datasets.base import DataSets
from bench.entries.entry import Entry, write_entry
from bench.entries.remark import Remark
from bench.entries.verify import Verdict, summary, verify
from bench.errors import BenchError
from bench.naming.specs import resolve
from bench.results.record import Record
from bench.results.store import Store
from bench.running.executor import run_cells
from bench.tasks.cell import Cell
from bench.tasks.files import load

ENTRY = Entry(
    title="Raw pixels",
    authors=("A. Author",),
    contact="a.author@example.org",
    licence="CC0-1.0",
    hardware="a laptop",
    trained_with_labels=(),
    trained_without_labels=(),
)
Lie = Callable[[dict[str, Any], dict[str, Any]], None]
TASKS = ("digits-linear", "digits-zeroshot", "digits-few_labels", "digits-shift", "digits-knn")


@pytest.fixture(scope="module")
def honest(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """Records of raw pixels on small tasks of five families."""
    root = tmp_path_factory.mktemp("honest")
    store, spec = Store(root / "results"), resolve("encoders", "pixels")
    run_cells([Cell(load(task), spec) for task in TASKS], DataSets(root), store=store)
    return store


def told(store: Store, task: str, lie: Lie, root: Path) -> Verdict:
    """What is said of the record of `task`, changed by `lie`, in a folder of its own."""
    record = store.find("reptransfer", "pixels", task)
    assert record is not None
    value, arrays = (
        json.loads(json.dumps(record.to_json())),
        copy.deepcopy(store.predictions(record)),
    )
    lie(value, arrays)
    value["predictions"] = {"kinds": value["predictions"]["kinds"]}
    Store(root).write(Record.from_json(value, "lie"), arrays)
    return verify(root)


def scale_primary(value: dict[str, Any], _: Any) -> None:
    for name in ("value", "low", "high"):
        value["primary"][name] = min(1.0, value["primary"][name] + 0.004)


def narrow(value: dict[str, Any], _: Any) -> None:
    primary = value["primary"]
    for name in ("low", "high"):
        primary[name] = (primary[name] + primary["value"]) / 2


def raise_score(metric: str) -> Lie:
    def lie(value: dict[str, Any], _: Any) -> None:
        for scores in value["replicates"][0]["scores"].values():
            scores[metric] = scores[metric] + 0.02

    return lie


def replace_truth(value: dict[str, Any], arrays: dict[str, Any]) -> None:
    """Truth is what was predicted; all scores follow."""
    arrays["truth/label"] = arrays["0/label/class"].astype(arrays["truth/label"].dtype)


def hide_wrong(value: dict[str, Any], arrays: dict[str, Any]) -> None:
    wrong = arrays["0/label/class"] != arrays["truth/label"]
    arrays["truth/label"] = np.where(wrong, -1, arrays["truth/label"]).astype(np.int8)


def repeat_row(value: dict[str, Any], arrays: dict[str, Any]) -> None:
    for name, array in arrays.items():
        if array.ndim == 1:
            arrays[name] = np.repeat(array[:1], len(array))


def fewer_rows(value: dict[str, Any], arrays: dict[str, Any]) -> None:
    value["data"]["rows"]["test"] = 10
    for name, array in arrays.items():
        arrays[name] = array[:10]


def drop_replicate(value: dict[str, Any], arrays: dict[str, Any]) -> None:
    last = len(value["replicates"]) - 1
    del value["replicates"][last]
    for name in [name for name in arrays if name.startswith(f"{last}/")]:
        del arrays[name]


def double_replicate(value: dict[str, Any], arrays: dict[str, Any]) -> None:
    value["replicates"][-1]["coords"] = value["replicates"][-2]["coords"]


def setter(*path: Any, to: Any) -> Lie:
    def lie(value: dict[str, Any], _: Any) -> None:
        inner: Any = value
        for part in path[:-1]:
            inner = inner[part]
        inner[path[-1]] = to

    return lie


def raise_without(value: dict[str, Any], arrays: dict[str, Any]) -> None:
    """The interval of a zero-shot score is made of what it is without each class."""
    for name in [name for name in arrays if name.endswith("/without")]:
        mean = np.nanmean(arrays[name])
        arrays[name] = np.where(np.isnan(arrays[name]), np.nan, mean).astype(np.float32)


LIES: dict[str, tuple[str, Lie, str, str]] = {
    "primary typed in": ("digits-linear", scale_primary, "primary.value", "by its predictions"),
    "primary of few labels typed in": (
        "digits-few_labels",
        scale_primary,
        "primary.value",
        "by its",
    ),
    "primary of shifts typed in": ("digits-shift", scale_primary, "primary.value", "by its"),
    "primary of zero-shot typed in": ("digits-zeroshot", scale_primary, "primary.value", "by its"),
    "interval narrowed": ("digits-linear", narrow, "primary.low", "by its predictions"),
    "interval of zero-shot narrowed": ("digits-zeroshot", narrow, "primary.low", "by its"),
    "what the interval is made of": ("digits-zeroshot", raise_without, "without", "by its"),
    "accuracy raised": ("digits-linear", raise_score("accuracy"), "accuracy", "by its predictions"),
    "a replicate's accuracy raised": (
        "digits-few_labels",
        raise_score("accuracy"),
        "[0]",
        "by its",
    ),
    "accuracy by class raised": (
        "digits-knn",
        raise_score("balanced_accuracy"),
        "balanced",
        "by its",
    ),
    "area raised": ("digits-zeroshot", raise_score("ausuc"), "ausuc", "by its predictions"),
    "harmonic mean": ("digits-zeroshot", raise_score("harmonic_mean"), "harmonic", "by S and U"),
    "truth is what was predicted": ("digits-linear", replace_truth, "predictions", "not those of"),
    "wrong rows have no label": ("digits-linear", hide_wrong, "predictions", "not those of"),
    "one row, many times": ("digits-linear", repeat_row, "predictions", "not those of"),
    "ten test rows": ("digits-linear", fewer_rows, "data", "where this package has"),
    "a replicate left out": ("digits-few_labels", drop_replicate, "replicates", "missing"),
    "a replicate twice": ("digits-few_labels", double_replicate, "replicates", "missing"),
    "another metric": (
        "digits-linear",
        setter("primary", "metric", to="balanced_accuracy"),
        "primary.metric",
        "where the task has 'accuracy'",
    ),
    "another reduction": (
        "digits-few_labels",
        setter("primary", "reduction", to="mean"),
        "primary.reduction",
        "where the task has",
    ),
    "free text as supervision": (
        "digits-linear",
        setter("supervision", to="no labels at all, honestly"),
        "supervision",
        "is none of",
    ),
    "an unknown metric": (
        "digits-linear",
        setter("replicates", 0, "scores", "label", "awesome", to=1.0),
        "awesome",
        "no metric",
    ),
    "a metric of another kind of target": (
        "digits-linear",
        setter("replicates", 0, "scores", "label", "average_precision", to=0.5),
        "average_precision",
        "no metric of a classes target",
    ),
    "more than all": (
        "digits-knn",
        setter("replicates", 0, "scores", "label:k=1", "accuracy", to=1.5),
        "accuracy",
        "is not a value of this metric",
    ),
    "another task's digest": (
        "digits-linear",
        setter("task", "digest", to="0" * 32),
        "",
        "its task has changed",
    ),
    "other data": (
        "digits-linear",
        setter("data", "digest", to="0" * 32),
        "",
        "its data has changed",
    ),
    "another encoder's digest": (
        "digits-linear",
        setter("encoder", "digest", to="0" * 32),
        "",
        "its encoder has changed",
    ),
    "an unknown task": (
        "digits-linear",
        setter("task", "id", to="digits-easy"),
        "",
        "is not of this package",
    ),
}


@pytest.mark.parametrize("name", LIES)
def test_lie_is_reported(name: str, honest: Store, tmp_path: Path) -> None:
    task, lie, field, message = LIES[name]
    verdict = told(honest, task, lie, tmp_path)
    assert not verdict.consistent
    hits = [f for f in verdict.findings if field in f.field and message in f.message]
    assert hits, [str(f) for f in verdict.findings]


def test_honest_records_are_consistent(honest: Store) -> None:
    verdict = verify(honest.root)
    assert not verdict.findings, [str(f) for f in verdict.findings]
    assert verdict.records == len(TASKS) == len(verdict.consistent)
    assert set(verdict.consistent.values()) == {"rows"}


def test_folder_of_an_owner_and_of_an_encoder(honest: Store) -> None:
    for folder in ("reptransfer", "reptransfer/pixels"):
        assert verify(honest.root / folder).records == len(TASKS)
    with pytest.raises(BenchError, match="no folder"):
        verify(honest.root / "nobody")


def test_command_says_file_and_field(
    honest: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    told(honest, "digits-linear", scale_primary, tmp_path)
    assert main(["verify", str(tmp_path)]) == 1
    assert (
        "finding: reptransfer/pixels/digits-linear.json: primary.value: " in capsys.readouterr().out
    )
    assert main(["verify", str(tmp_path), "--json"]) == 1
    findings = json.loads(capsys.readouterr().out)["findings"]
    assert Remark(**findings[0]).field == "primary.value"
    assert main(["verify", str(honest.root)]) == 0


def test_copied_predictions_are_a_note(honest: Store, tmp_path: Path) -> None:
    """pca and pixels may honestly agree: what is the same is said, and is no finding."""
    record = honest.find("reptransfer", "pixels", "digits-knn")
    assert record is not None
    store = Store(tmp_path)
    store.write(record, honest.predictions(record))
    copied = record.to_json() | {"owner": "somebody"}
    copied["predictions"] = {"kinds": copied["predictions"]["kinds"]}
    copied_record = store.write(Record.from_json(copied, "copy"), honest.predictions(record))
    write_entry(tmp_path / "somebody" / "pixels" / "entry.toml", ENTRY)
    assert copied_record.predictions == record.predictions
    verdict = verify(tmp_path)
    assert not verdict.findings
    assert any(
        "its predictions are those of reptransfer/pixels" in n.message for n in verdict.notes
    )
    # Of a part of the folder too, without reading what is not alike.
    assert verify(tmp_path / "somebody").notes == [
        note for note in verdict.notes if note.file.startswith("somebody/")
    ]


def test_a_remark_is_one_line_without_what_a_terminal_obeys() -> None:
    remark = Remark("x.json", "a\x1b[2J", "b\n::error::c\u202ed\ufeff")
    finding, note, _ = summary(Verdict(findings=[remark], notes=[remark]))
    assert finding == "finding: x.json: a [2J: b ::error::c d "
    assert note == finding.replace("finding", "note")
