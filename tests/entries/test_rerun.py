"""Cells that are run again: honest records agree, made-up predictions do not, what cannot run is told."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from bench.cli.main import main
from bench.datasets.base import DataSets
from bench.entries.entry import FILE, Entry, WeightsFile, write_entry
from bench.entries.rerun import Machine, rerun, runnable
from bench.entries.verify import verify
from bench.errors import BenchError
from bench.naming.specs import resolve
from bench.results.record import Record, StoredPredictions
from bench.results.store import VERIFIED, Store
from bench.results.trust import read_marks
from bench.running.executor import run_cells
from bench.scoring.scorer import rescored
from bench.tasks.cell import Cell
from bench.tasks.files import load

TASK = "digits-knn"
NETWORK = Path(__file__).parents[2] / "bench/encoders/parts/onnx_example.onnx"


@pytest.fixture(scope="module")
def honest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two encoders on one task, one of them a network that has entered; never changed."""
    root = tmp_path_factory.mktemp("honest")
    store, network = Store(root / "results"), root / "net.onnx"
    shutil.copy(NETWORK, network)
    specs = ("pca,dim=4", f"onnx,path={network}")
    cells = [Cell(load(TASK), resolve("encoders", spec)) for spec in specs]
    assert run_cells(cells, DataSets(root), store=store).count("ok") == 2
    (store.root / "local").rename(store.root / "somebody")
    path = store.root / "somebody" / "onnx,path=net.onnx" / f"{TASK}.json"
    value = json.loads(path.read_text()) | {"owner": "somebody"}
    del value["digest"]
    record = Record.from_json(value, "")
    store.write(record, store.predictions(record))
    content = NETWORK.read_bytes()
    (path.parent / "net.onnx").write_bytes(content)
    sha256 = hashlib.sha256(content).hexdigest()
    write_entry(
        path.parent / FILE,
        Entry(
            title="A network",
            authors=("A. Author",),
            contact="a@example.org",
            licence="MIT",
            hardware="a CPU",
            trained_with_labels=(),
            trained_without_labels=(),
            weights=(WeightsFile(name="net.onnx", bytes=len(content), sha256=sha256),),
        ),
    )
    return store.root


@pytest.fixture
def store(honest: Path, tmp_path: Path) -> Store:
    shutil.copytree(honest, tmp_path / "results")
    return Store(tmp_path / "results")


def find(store: Store, owner: str = "reptransfer", encoder: str = "pca,dim=4") -> Record:
    record = store.find(owner, encoder, TASK)
    assert record is not None
    return record


def entry(store: Store) -> Path:
    return store.root / "somebody" / "onnx,path=net.onnx"


def forge(store: Store, share: float) -> None:
    """Predictions made up from the labels, with all scores that follow from them."""
    record, task = find(store), load(TASK)
    arrays = store.predictions(record)
    truth, guess = arrays["truth/label"], arrays["0/label/class"].copy()
    wrong = np.flatnonzero(guess != truth)
    guess[wrong[: round(share * len(wrong))]] = truth[wrong[: round(share * len(wrong))]]
    if not share:  # as many are right, of other rows
        guess = np.roll(guess == truth, 7)
        guess = np.where(guess, truth, (truth + 1) % 10).astype(truth.dtype)
    right = guess == truth
    by_class = float(np.mean([right[truth == c].mean() for c in range(10)]))
    scores = {"label": {"accuracy": float(right.mean()), "balanced_accuracy": by_class}}
    [replicate] = record.replicates
    arrays = {"truth/label": truth, "0/label/class": guess}
    made = replace(
        record,
        replicates=(replace(replicate, scores=scores),),
        predictions=StoredPredictions(kinds=dict(record.predictions.kinds)),  # type: ignore[union-attr]
    )
    store.write(replace(made, primary=rescored(made, task, arrays)), arrays)


def test_honest_records_agree_to_the_last_digit(store: Store) -> None:
    lines: list[str] = []
    result = rerun(store.root, 2, seed=1, tell=lines.append)
    assert not result.findings and not result.notes
    assert {cell.file.split("/")[0] for cell in result.cells} == {"reptransfer", "somebody"}
    for cell in result.cells:
        assert cell.agrees and cell.difference == 0 and cell.equal_rows == 1
        assert cell.tolerance == pytest.approx(0.002 * (1 - load(TASK).chance))
    assert "2 of 2 records are drawn by seed 1" in lines


def test_the_seed_draws_the_cells(store: Store) -> None:
    first = {seed: rerun(store.root, 1, seed=seed).cells[0].file for seed in (3, 4)}
    assert len(set(first.values())) == 2
    assert rerun(store.root, 1, seed=3).cells[0].file == first[3]


@pytest.mark.parametrize(
    ("share", "field", "message"),
    [
        (0.8, "primary.value", r"rerun gives 0\.\d+, the record says 0\.\d+ \(tolerance 0.00179"),
        (0.0, "predictions", r"rerun gives \d+\.\d+ % of the classes that are stored \(95 %"),
    ],
)
def test_forged_predictions_that_agree_with_their_record_are_found(
    share: float, field: str, message: str, store: Store
) -> None:
    forge(store, share)
    folder = store.root / "reptransfer"
    assert not verify(folder).findings
    result = rerun(folder, 1)
    [finding] = result.findings
    assert finding.field == field and finding.file == f"reptransfer/pca,dim=4/{TASK}.json"
    assert re.search(message, finding.message)
    assert not result.cells[0].agrees


def test_what_earlier_runs_have_kept_does_not_answer(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = tmp_path / "cache"
    monkeypatch.setenv("REPTRANSFER_CACHE", str(cache))
    assert rerun(store.root / "reptransfer", 1).cells[0].agrees
    assert not cache.exists()
    rerun(store.root / "reptransfer", 1, machine=Machine(cache=cache))
    assert any(cache.rglob("*.safetensors"))


def drop(store: Store, _: Path) -> None:
    (entry(store) / "net.onnx").unlink()


def other(store: Store, _: Path) -> None:
    (entry(store) / "net.onnx").write_bytes(NETWORK.read_bytes() + b"\0")


def link(store: Store, tmp_path: Path) -> None:
    drop(store, tmp_path)
    (entry(store) / "net.onnx").symlink_to(NETWORK)


def no_task(store: Store, _: Path) -> None:
    path = entry(store) / f"{TASK}.json"
    value = json.loads(path.read_text())
    value["encoder"]["digest"] = "0" * 32
    del value["digest"]
    path.write_text(json.dumps(value))


CANNOT: dict[str, tuple[Callable[[Store, Path], None], str]] = {
    "a file that is not there": (drop, "net.onnx does not lie in the entry; name a folder"),
    "another file": (other, "net.onnx is another file than that of the record"),
    "a link": (link, "net.onnx cannot be read as weights: it is a link"),
    "another encoder": (no_task, "its encoder has changed since"),
}


@pytest.mark.parametrize("name", CANNOT)
def test_what_cannot_be_run_is_a_note_with_its_reason(
    name: str, store: Store, tmp_path: Path
) -> None:
    change, reason = CANNOT[name]
    change(store, tmp_path)
    result = rerun(store.root / "somebody", 1)
    assert not result.cells and not result.findings
    told, count = result.notes
    assert reason in told.message and told.message.startswith("not run again: ")
    assert count.message == "0 of 1 cells could be run again"
    assert str(tmp_path) not in told.message.replace(str(store.root), "")


def test_weights_that_lie_elsewhere_come_from_a_folder_and_are_checked(
    store: Store, tmp_path: Path
) -> None:
    drop(store, tmp_path)
    weights = tmp_path / "weights"
    weights.mkdir()
    machine = Machine(weights=weights)
    assert "has no net.onnx" in rerun(store.root / "somebody", 1, machine=machine).notes[0].message
    shutil.copy(NETWORK, weights / "net.onnx")
    assert rerun(store.root / "somebody", 1, machine=machine).cells[0].agrees
    (weights / "net.onnx").write_bytes(b"another")
    result = rerun(store.root / "somebody", 1, machine=machine)
    assert "another sha256 than entry.toml says" in result.notes[0].message


@pytest.mark.parametrize("name", ["../net.onnx", "/etc/passwd", "..", ""])
def test_no_file_outside_of_its_folders_is_read(name: str, store: Store, tmp_path: Path) -> None:
    record = find(store, "somebody", "onnx,path=net.onnx")
    identity = replace(record.encoder, id=f"onnx,path={name.replace('/', '%2F')}")
    with pytest.raises(BenchError, match="is no name of a file"):
        runnable(replace(record, encoder=identity), entry(store), store.root, tmp_path)


def test_no_python_file_is_run(store: Store, tmp_path: Path) -> None:
    code = tmp_path / "code.py"
    code.write_text("raise SystemExit('it runs')")
    record = find(store)
    record = replace(record, encoder=replace(record.encoder, id=str(code)))
    with pytest.raises(BenchError, match="a Python file of its user"):
        runnable(record, tmp_path, None, tmp_path)


def test_absent_data_are_a_note(store: Store, tmp_path: Path) -> None:
    record = find(store)
    task = load("mnist-knn")
    old = replace(record, task=replace(record.task, id=task.name))
    store.write(old, store.predictions(record))
    shutil.rmtree(store.root / "somebody")
    store.path("reptransfer", "pca,dim=4", TASK).unlink()
    (tmp_path / "data").mkdir()
    result = rerun(store.root, 1, machine=Machine(data=str(tmp_path / "data")))
    assert not result.cells and "not run again: declined: " in result.notes[0].message


def test_the_command_marks_what_agrees(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    folder = str(store.root / "somebody")
    assert main(["verify", folder, "--rerun", "1", "--mark", "reproduced"]) == 0
    out = capsys.readouterr().out
    assert "run again: somebody/onnx,path=net.onnx/digits-knn.json: 0." in out
    assert "difference +0.000000 (tolerance 0.001796), 100.00 % equal classes" in out
    assert "1 records are marked reproduced" in out
    record = find(store, "somebody", "onnx,path=net.onnx")
    [(digest, mark)] = read_marks(store).items()
    assert digest == record.digest and (mark.level, mark.by) == ("reproduced", "maintainers")
    assert mark.difference == 0


def test_the_command_marks_nothing_that_differs(
    store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    forge(store, 0.8)
    folder = str(store.root / "reptransfer")
    assert main(["verify", folder, "--rerun", "1", "--mark", "reproduced", "--json"]) == 1
    value = json.loads(capsys.readouterr().out)
    assert value["marked"] == 0 and not value["rerun"][0]["agrees"]
    assert "rerun gives" in value["findings"][0]["message"]
    assert not (store.root / VERIFIED).exists()


def test_authors_confirm_what_is_consistent(
    store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["verify", str(store.root), "--mark", "confirmed", "--by", "A. Author"]) == 0
    assert "2 records are marked confirmed" in capsys.readouterr().out
    marks = read_marks(store)
    assert {mark.by for mark in marks.values()} == {"A. Author"} and len(marks) == 2


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--mark", "reproduced"], "--mark reproduced needs --rerun N"),
        (["--mark", "confirmed"], "--mark confirmed needs --by NAME"),
        (["--mark", "confirmed", "--by", "a\nb"], "--by: "),
        (["--mark", "confirmed", "--by", "A", "--rerun", "1"], "--mark confirmed goes without"),
        (["--by", "A"], "--by is of --mark"),
        (["--weights", "w"], "--weights is of --rerun N"),
        (["--rerun", "1", "--weights", "nowhere"], "no folder 'nowhere' (--weights)"),
        (["--rerun", "1", "--data", "nowhere"], "no folder 'nowhere' (--data)"),
        (["--rerun", "1", "--device", "nowhere"], "nowhere"),
    ],
)
def test_options_that_mean_nothing_together_are_one_line(
    options: list[str], message: str, store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["verify", str(store.root), *options]) == 2
    err = capsys.readouterr().err
    assert message in err and "Traceback" not in err
    assert not (store.root / VERIFIED).exists()
