"""The ledger of looks: each scoring of a cell has one line, whatever becomes of it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bench.cli.main import main
from bench.datasets.base import DataSets
from bench.errors import BenchError
from bench.naming.specs import resolve
from bench.results.ledger import Look, add_look, read_ledger, united, without_look, write_ledger
from bench.results.status import STATISTICS, _task_digest
from bench.results.store import LEDGER, Store, is_reserved
from bench.running.executor import Outcome, run_cells
from bench.tasks.cell import Cell
from bench.tasks.task import Primary, Replicates, Task
from tests.kit import TOYS, records
from tests.kit.boards import written

RECORD = records.record(protocol=records.protocol(digest="a" * 32), replicates=())
LOOK = Look.now(RECORD, 3)


def looks(root: Path) -> list[Look]:
    """The looks of a results folder, in whose ledger nothing is wrong."""
    ledger = read_ledger(root / LEDGER)
    assert ledger.problems == [] and ledger.faulty == 0
    return ledger.looks


# --- The file


def test_a_line_says_who_looked_at_what_and_when(tmp_path: Path) -> None:
    add_look(Store(tmp_path), RECORD, 3)
    [line] = (tmp_path / LEDGER).read_text().splitlines()
    value = json.loads(line)
    stamp = value.pop("time")
    assert value == {
        "data": "d",
        "data_digest": "d" * 32,
        "encoder": "pca,dim=4",
        "encoder_digest": "e" * 32,
        "group": "classical",
        "owner": "somebody",
        "protocol": "knn",
        "protocol_digest": "a" * 32,
        "replicates": 3,
        "task": "digits-knn",
    }
    assert time.strptime(stamp, f"%Y-%m-%dT%H:%M:%S.{stamp[-7:-1]}Z")
    assert looks(tmp_path) == [Look(**value, time=stamp)]
    assert looks(tmp_path / "elsewhere") == [] and is_reserved(LEDGER)


ADDING = """
import sys
from dataclasses import replace
from pathlib import Path
from bench.results.ledger import add_look
from bench.results.store import Store
from tests.results.test_ledger import RECORD
from tests.kit.boards import written

for number in range(20):
    encoder = replace(RECORD.encoder, id=f"pca,dim={sys.argv[2]}{number:02}")
    add_look(Store(Path(sys.argv[1])), replace(RECORD, encoder=encoder), 1)
"""


def test_eight_processes_at_once_lose_and_double_nothing(tmp_path: Path) -> None:
    adding = [
        subprocess.Popen([sys.executable, "-c", ADDING, str(tmp_path), str(number)])
        for number in range(1, 9)
    ]
    assert [process.wait(120) for process in adding] == [0] * 8
    expected = [f"pca,dim={process}{number:02}" for process in range(1, 9) for number in range(20)]
    assert sorted(look.encoder for look in looks(tmp_path)) == sorted(expected)


def test_a_line_cut_anywhere_is_no_look_and_costs_no_other(tmp_path: Path) -> None:
    path, first = tmp_path / LEDGER, LOOK._replace(task="first")
    whole = first.line + b"\n"
    for cut in range(len(LOOK.line)):
        path.write_bytes(whole + LOOK.line[:cut])
        assert looks(tmp_path) == [first]
        if cut % 50 == 0:
            add_look(Store(tmp_path), RECORD, 3)
            assert [look._replace(time=LOOK.time) for look in looks(tmp_path)] == [first, LOOK]
    path.write_bytes(LOOK.line[:100])
    add_look(Store(tmp_path), RECORD, 3)
    assert len(looks(tmp_path)) == len(path.read_bytes().splitlines()) == 1


def test_a_last_line_that_lacks_its_end_alone_counts_and_gets_it(tmp_path: Path) -> None:
    path = tmp_path / LEDGER
    path.write_bytes(LOOK.line)
    assert looks(tmp_path) == [LOOK]
    add_look(Store(tmp_path), RECORD, 3)
    assert len(looks(tmp_path)) == 2 and path.read_bytes().startswith(LOOK.line + b"\n")


def test_a_full_disk_leaves_the_lines_as_they_were(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, write = tmp_path / LEDGER, os.write
    add_look(Store(tmp_path), RECORD, 3)
    before = path.read_bytes()
    add: Callable[[], None] = lambda: add_look(Store(tmp_path), RECORD, 3)  # noqa: E731
    with monkeypatch.context() as patch:
        patch.setattr(os, "write", lambda file, text: write(file, text[: min(len(text), 100)]))
        with pytest.raises(BenchError, match=r"cannot write .*ledger\.jsonl: No space left"):
            add()
    assert path.read_bytes() == before
    add()
    assert len(looks(tmp_path)) == 2


@pytest.mark.parametrize(
    "make",
    [lambda path: path.symlink_to("elsewhere"), Path.mkdir, os.mkfifo],
    ids=["link", "folder", "pipe"],
)
def test_what_is_no_file_is_left_alone(make: Callable[[Path], Any], tmp_path: Path) -> None:
    make(tmp_path / LEDGER)
    with pytest.raises(BenchError, match=r"cannot write .*ledger\.jsonl"):
        add_look(Store(tmp_path), RECORD, 3)
    with pytest.raises(BenchError, match="cannot be read as a ledger"):
        read_ledger(tmp_path / LEDGER)
    assert not (tmp_path / "elsewhere").exists()
    with pytest.raises(BenchError, match=r"cannot write .*ledger\.jsonl"):  # before any work
        run_cells([cell()], DataSets(tmp_path), store=Store(tmp_path))
    assert Store(tmp_path).paths() == []


def test_what_is_no_line_of_ours_is_told_by_its_number(tmp_path: Path) -> None:
    def edited(**changes: object) -> bytes:
        return json.dumps({**LOOK._asdict(), **changes}).encode()

    plain = edited()
    bad = {
        b"": "is no JSON",
        b"{}": "is no object of data, ",
        b"[" * 5000: "is no JSON",
        b"[[1, 2]]": "is no object of",
        plain + plain: "is no JSON",
        plain[:-1] + b', "more": 1}': "is no object of",
        plain[:-1] + b', "time": "2026-01-31T12:00:00.000000Z"}': "is no object of",
        plain.replace(b"pca", b"pc\xe4"): "is not ASCII",
        plain.replace(b"pca", b"pc\x1b"): "is no JSON",
        edited(encoder="\x1b[2J"): "encoder: not 1 to 2000 characters that are printed",
        edited(task=""): "task: not 1 to 2000",
        edited(data="d" * 2001): "data: not 1 to 2000",
        edited(owner=None): "owner: not a text",
        edited(group=["x"]): "group: not a text",
        edited(encoder_digest="E" * 32): f"encoder_digest: '{'E' * 32}' is no digest",
        edited(replicates=0): "replicates: not a whole number of 1 to",
        edited(replicates=True): "replicates: not a whole number",
        edited(replicates=1.0): "replicates: not a whole number",
        plain.replace(b'"replicates": 3', b'"replicates": ' + b"9" * 5000): "is no JSON",
        edited(time="2026-02-30T12:00:00.000000Z"): "is no time as",
        edited(time="2026-01-31 12:00:00.000000Z"): "is no time as",
        edited(data="d" * 70_000): "has 7",
    }
    (tmp_path / LEDGER).write_bytes(b"".join(line + b"\n" for line in [*bad, plain, LOOK.line]))
    ledger = read_ledger(tmp_path / LEDGER)
    assert ledger.looks == [LOOK, LOOK] and ledger.faulty == len(bad)
    assert len(ledger.problems) == 20  # of many the first are told
    for (number, problem), (line, expected) in zip(ledger.problems, bad.items(), strict=False):
        assert [*bad][number - 1] == line and expected in problem and problem.isprintable()


def test_united_ledgers_have_equal_lines_once_in_the_order_of_time(tmp_path: Path) -> None:
    early, late = (LOOK._replace(time=f"20{y}-01-31T12:00:00.000000Z") for y in (25, 27))
    other = early._replace(task="other")
    assert united([[late, early], [early, other], []]) == [early, other, late]
    write_ledger(tmp_path / LEDGER, united([[late, early], [early]]))
    assert looks(tmp_path) == [early, late]


def test_records_without_a_line_of_their_encoder_data_and_protocol_are_known() -> None:
    replicates = (records.replicate({"label": {"accuracy": 0.5}}),) * 3
    scored = replace(RECORD, replicates=replicates)
    moved = LOOK._replace(group="controls", time="2020-01-31T12:00:00.000000Z")
    assert without_look([scored], [moved]) == []
    assert without_look([RECORD], []) == []  # has no score
    for changes in ({"replicates": 2}, {"encoder_digest": "f" * 32}, {"owner": "local"}):
        assert without_look([scored], [LOOK._replace(**changes)]) == [scored]


@pytest.mark.slow
def test_a_hundred_thousand_lines_are_read_in_about_a_second(tmp_path: Path) -> None:
    path = tmp_path / LEDGER
    write_ledger(
        path,
        (
            LOOK._replace(encoder=f"pca,dim={n % 500}", time=f"2026-01-31T12:00:00.{n:06}Z")
            for n in range(100_000)
        ),
    )
    start = time.process_time()
    assert len(looks(tmp_path)) == 100_000
    assert time.process_time() - start < 2.5


# --- Runs


def task(protocol: str = "", **changes: Any) -> Task:
    values: dict[str, Any] = {
        "name": "toy",
        "family": "probe",
        "dataset": f"{TOYS / 'quadrants'}.py",
        "targets": ("label",),
        "protocol": f"{TOYS / 'means'}.py{protocol}",
        "chance": 0.25,
        "primary": Primary(target="label"),
        "replicates": Replicates(seeds=2),
    }
    return Task(**{**values, **changes})


def cell(protocol: str = "", encoder: str = "pixels", **changes: Any) -> Cell:
    return Cell(task(protocol, **changes), resolve("encoders", encoder))


def run(root: Path, *cells: Cell, **options: Any) -> Outcome:
    return run_cells(cells, DataSets(root), store=Store(root), **options)


def test_a_cell_has_one_line_and_a_run_with_nothing_to_do_adds_none(tmp_path: Path) -> None:
    [record] = run(tmp_path, cell()).records
    [look] = looks(tmp_path)
    assert (look.task, look.encoder, look.owner, look.group) == (
        "toy",
        "pixels",
        "reptransfer",
        "controls",
    )
    assert look.data_digest == record.data.digest and look.replicates == 2
    assert without_look([record], [look]) == []
    assert run(tmp_path, cell()).done_before == 1 and looks(tmp_path) == [look]
    run_cells([cell()], DataSets(tmp_path))  # in memory alone
    assert looks(tmp_path) == [look]


def test_what_fails_after_its_first_score_has_looked_and_what_fails_before_has_not(
    tmp_path: Path,
) -> None:
    failing = cell(",fail_seed=1")
    [record] = run(tmp_path, failing).records
    assert record.status == "failed" and len(looks(tmp_path)) == 1
    run(tmp_path, failing)  # tried again
    assert len(looks(tmp_path)) == 2
    [record] = run(tmp_path, cell(",fail_seed=0", replicates=Replicates(seeds=1))).records
    assert record.status == "failed" and len(looks(tmp_path)) == 2
    labels = f"{TOYS / 'small_trunk'}.py,uses_labels=true~1k"
    few = {"family": "few_labels", "replicates": Replicates(seeds=1, per_class=(2,), subsets=1)}
    [record] = run(tmp_path, cell("", labels, name="few", validation=False, **few)).records
    assert record.status == "declined" and len(looks(tmp_path)) == 2


def test_a_run_that_is_stopped_while_it_scores_has_looked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("bench.scoring.scorer.score", stop)
        with pytest.raises(KeyboardInterrupt):
            run(tmp_path, cell())
    assert Store(tmp_path).paths() == [] and len(looks(tmp_path)) == 1
    run(tmp_path, cell())
    assert len(looks(tmp_path)) == 2


def test_a_run_ends_before_it_scores_where_no_line_can_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unexpected(*_: Any, **__: Any) -> None:
        raise AssertionError

    with monkeypatch.context() as patch:
        patch.setattr("bench.results.ledger.append_line", _full)
        patch.setattr("bench.scoring.scorer.score", unexpected)
        patch.setattr("bench.scoring.scorer.encode_truth", unexpected)
        with pytest.raises(BenchError, match="No space left"):
            run(tmp_path, cell())
    assert Store(tmp_path).paths() == [] and looks(tmp_path) == []
    assert run(tmp_path, cell()).count("ok") == 1


def _full(path: Path, *_: Any) -> None:
    raise BenchError(f"cannot write {path}: No space left on device; free or name another folder")


def test_an_interval_made_anew_is_no_look_and_a_replaced_record_is_one(tmp_path: Path) -> None:
    store, one = Store(tmp_path), cell()
    [record] = run(tmp_path, one).records
    older = replace(record.task, digest=_task_digest(one.task, STATISTICS - 1))
    store.write(replace(record, task=older), store.predictions(record))
    assert run(tmp_path, one).new and len(looks(tmp_path)) == 1
    [replaced] = run(tmp_path, one, seeds=3).records
    assert len(replaced.replicates) == 3
    assert [look.replicates for look in looks(tmp_path)] == [2, 3]


def test_forget_keeps_the_ledger(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    words = ["run", "--encoder", "pixels", "--task", "digits-knn"]
    assert main(words) == 0
    before = (tmp_path / "reptransfer-runs" / LEDGER).read_bytes()
    assert main(["forget", "pixels"]) == 0
    assert Store(tmp_path / "reptransfer-runs").paths() == []
    assert (tmp_path / "reptransfer-runs" / LEDGER).read_bytes() == before
    assert main(words) == 0
    assert len(looks(tmp_path / "reptransfer-runs")) == 2
    board = written(tmp_path / "reptransfer-runs")
    assert "| pixels    | digits-knn | 2       |" in board


def test_verify_rerun_writes_no_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["run", "--encoder", "pixels", "--task", "digits-knn", "--results", "r"]) == 0
    assert main(["verify", "r", "--rerun", "1"]) == 0
    assert len(looks(tmp_path / "r")) == 1
