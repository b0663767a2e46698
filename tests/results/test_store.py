"""Records on disk: whole or not at all, checked when read, never code."""

from __future__ import annotations

import dataclasses
import errno
import io
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench.errors import BenchError
from bench.files.writing import write_atomically
from bench.results.frames import load_results
from bench.results.store import Store
from bench.tasks.task import Coords
from tests.kit import records
from tests.kit.records import record

ARRAYS = {
    "truth/label": np.arange(40, dtype=np.int8) % 3,
    "0/label/class": np.arange(40, dtype=np.int8) % 5,
    "0/label/top": np.linspace(0, 255, 40).astype(np.uint8),
}


def path_of(root: Path) -> Path:
    return root / "somebody" / "pca,dim=4" / "digits-knn.json"


def files(root: Path) -> list[str]:
    return sorted(p.relative_to(root).as_posix() for p in root.rglob("*") if p.is_file())


def test_what_is_written_is_read(tmp_path: Path) -> None:
    store = Store(tmp_path)
    written = store.write(record(), ARRAYS)
    read = store.find("somebody", "pca,dim=4", "digits-knn")
    assert read == written
    assert list(store.records()) == [written]
    arrays = store.predictions(written)
    assert arrays.keys() == ARRAYS.keys()
    for name, array in ARRAYS.items():
        assert arrays[name].dtype == array.dtype
        assert arrays[name].tolist() == array.tolist()
    assert store.find("somebody", "pca", "digits-knn") is None
    assert files(tmp_path) == [
        "somebody/pca,dim=4/digits-knn.json",
        "somebody/pca,dim=4/digits-knn.npz",
    ]


@pytest.mark.parametrize("encoding", ["npz/1", "npz/2", "npz/4", None])
def test_another_encoding_is_refused_in_one_line(tmp_path: Path, encoding: str | None) -> None:
    store = Store(tmp_path)
    written = store.write(record(), ARRAYS)
    assert written.predictions is not None
    stored = dataclasses.replace(written.predictions, encoding=encoding)
    with pytest.raises(BenchError, match=f"encoding is {encoding!r}, not npz/3; run") as caught:
        store.predictions(dataclasses.replace(written, predictions=stored))
    assert len(str(caught.value).splitlines()) == 1


ODD_ARRAYS: dict[str, dict[str, Any]] = {
    "a truth of another length": {"truth/label": np.zeros(39, np.int8)},
    "a truth of floats": {"truth/label": np.zeros(40, np.float32)},
    "a truth that is no class": {"truth/label": np.full(40, 5, np.int8)},
    "a prediction that is no class": {"0/label/class": np.full(40, -1, np.int8)},
    "a class with two axes": {"0/label/class": np.zeros((40, 1), np.int8)},
    "a target that the record has not": {"0/digit/class": np.zeros(40, np.int8)},
    "no target": {"class": np.zeros(40, np.int8)},
    "counts of other classes": {"0/label/counts": np.zeros((3, 4), np.int32)},
}


@pytest.mark.parametrize("change", ODD_ARRAYS.values(), ids=ODD_ARRAYS)
def test_arrays_that_are_not_those_of_the_targets_are_refused(
    tmp_path: Path, change: dict[str, Any]
) -> None:
    store = Store(tmp_path)
    written = store.write(record(), ARRAYS | change)
    with pytest.raises(BenchError, match=f"{next(iter(change))} (is|has).*; run the cell again"):
        store.predictions(written)


def test_a_small_file_of_very_many_zeros_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store(tmp_path)
    written = store.write(record(), ARRAYS | {"0/label/more": np.zeros(10**6)})
    assert path_of(tmp_path).with_suffix(".npz").stat().st_size < 3000
    assert store.predictions(written)
    monkeypatch.setattr("bench.results.archive.MOST", 10**6)
    with pytest.raises(BenchError, match="bytes, and 1000000 are the most"):
        store.predictions(written)


@pytest.mark.parametrize(
    ("limit", "most"),
    [("MOST", 400), ("MOST_PACKED", 300), ("_MOST_MEMBERS", 2)],
)
def test_what_would_not_be_read_is_not_written(
    limit: str, most: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(f"bench.results.archive.{limit}", most)
    answer = ""
    try:
        Store(tmp_path).write(record(), ARRAYS)
    except BenchError as error:
        answer = str(error)
    assert f"{most} are the most that are read" in answer and len(answer.splitlines()) == 1
    assert files(tmp_path) == []


@pytest.mark.parametrize("count", [0, 1, 3])
def test_a_replicate_is_a_line_whatever_a_record_says(count: int, tmp_path: Path) -> None:
    odd = '\n "replicates": []\n "replicates": ['
    replicate = records.replicate({}, status="failed", reason=odd)
    measured = {"a": {"replicates": []}, odd: odd}
    store = Store(tmp_path)
    stored = record(replicates=(replicate,) * count, measured=measured, status="failed")
    written = store.write(stored, ARRAYS)
    assert list(store.records()) == [written]
    lines = path_of(tmp_path).read_text().splitlines()
    assert sum(line.startswith('  {"coords": ') for line in lines) == count
    assert ' "replicates": [' + "]," * (not count) in lines


def test_the_same_record_gives_the_same_bytes(tmp_path: Path) -> None:
    for name, arrays in (("a", ARRAYS), ("b", dict(reversed(ARRAYS.items())))):
        Store(tmp_path / name).write(record(), arrays)
    for suffix in (".json", ".npz"):
        a, b = (path_of(tmp_path / name).with_suffix(suffix).read_bytes() for name in "ab")
        assert a == b
    text = path_of(tmp_path / "a").read_text()
    assert text.endswith("}\n")
    assert list(json.loads(text)) == sorted(json.loads(text))


def test_a_record_without_predictions_has_no_npz(tmp_path: Path) -> None:
    store = Store(tmp_path)
    failed = store.write(
        record(status="failed", reason="why", primary=None, predictions=None), ARRAYS
    )
    assert files(tmp_path) == ["somebody/pca,dim=4/digits-knn.json"]
    with pytest.raises(BenchError, match="has no predictions"):
        store.predictions(failed)


def test_a_kill_between_predictions_and_record_shows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store(tmp_path)
    old = store.write(record(), ARRAYS)
    replace = os.replace

    def killed(source: str, target: Path) -> None:
        if str(target).endswith(".json"):
            raise KeyboardInterrupt
        replace(source, target)

    monkeypatch.setattr(os, "replace", killed)
    changed = {**ARRAYS, "0/label/class": ARRAYS["0/label/class"][::-1]}
    with pytest.raises(KeyboardInterrupt):
        store.write(record(supervision="labels"), changed)
    assert list(store.records()) == [old]
    assert len(files(tmp_path)) == 2
    with pytest.raises(BenchError, match="does not match its record"):
        store.predictions(old)


def test_a_kill_just_after_the_record_leaves_no_sign_of_a_killed_run(tmp_path: Path) -> None:
    store, stored = Store(tmp_path), record()
    names = stored.owner, stored.encoder.id, stored.task.id
    with store.claimed(*names):
        assert store.was_killed(*names)
        store.write(stored, ARRAYS)
        assert not store.was_killed(*names)  # were it killed here, nobody would claim it again


def test_what_an_interrupted_write_left_is_no_record(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.write(record(), {})
    remnant = path_of(tmp_path).with_name(".digits-linear.json.x1.tmp")
    remnant.write_bytes(path_of(tmp_path).read_bytes()[:100])
    assert len(list(store.records())) == 1
    assert len(load_results(tmp_path)) == 1


FAULTS = ["fsync", "replace", "write"]


@pytest.mark.parametrize("fault", FAULTS)
def test_a_full_disk_is_reported_and_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    path = tmp_path / "board.md"
    write_atomically(path, b"old")

    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        if fault == "write":
            patch.setattr(Path, "write_bytes", full)
        else:
            patch.setattr(os, fault, full)
        with pytest.raises(BenchError, match=r"board\.md: No space left on device; free or name"):
            write_atomically(path, b"new")
    assert path.read_bytes() == b"old"
    assert files(tmp_path) == ["board.md"]
    write_atomically(path, b"new")
    assert path.read_bytes() == b"new"


@pytest.mark.parametrize("where", ["file/board.md", "file/deep/board.md", "folder"])
def test_a_file_where_a_folder_should_be_is_reported_in_one_line(
    tmp_path: Path, where: str
) -> None:
    (tmp_path / "file").write_text("mine")
    (tmp_path / "folder").mkdir()
    with pytest.raises(BenchError, match="cannot write") as caught:
        write_atomically(tmp_path / where, b"new")
    assert len(str(caught.value).splitlines()) == 1
    assert files(tmp_path) == ["file"]
    assert (tmp_path / "file").read_text() == "mine"


def test_a_folder_that_can_be_written_is_left_as_it_was(tmp_path: Path) -> None:
    Store(tmp_path).check_writable()
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "file").touch()
    with pytest.raises(BenchError, match="cannot write"):
        Store(tmp_path / "file").check_writable()


UNSAFE = [
    "",
    ".",
    "..",
    "a/b",
    "/a",
    "../a",
    ".hidden",
    "a\n",
    "\na",
    "a\0b",
    "-a",
    "a b",
    "é",
    "|",
]


@pytest.mark.parametrize("name", [*UNSAFE, "x" * 300], ids=lambda name: repr(name)[:20])
@pytest.mark.parametrize("position", range(3))
def test_an_unsafe_name_is_refused(tmp_path: Path, name: str, position: int) -> None:
    store, names = Store(tmp_path), ["o", "e", "t"]
    names[position] = name
    with pytest.raises(BenchError):
        store.path(*names)
    with pytest.raises(BenchError):
        store.find(*names)
    cell = record(
        owner=names[0], encoder=records.encoder(id=names[1]), task=records.task(id=names[2])
    )
    with pytest.raises(BenchError):
        store.write(cell, ARRAYS)
    assert list(tmp_path.iterdir()) == []


def test_predictions_with_any_bit_flipped_are_refused_or_the_same(tmp_path: Path) -> None:
    store = Store(tmp_path)
    written = store.write(record(), ARRAYS)
    path = path_of(tmp_path).with_suffix(".npz")
    good, refused = path.read_bytes(), 0
    for at in range(len(good)):
        broken = bytearray(good)
        broken[at] ^= 1 << (at % 8)
        path.write_bytes(bytes(broken))
        try:
            arrays = store.predictions(written)
        except BenchError:
            refused += 1
        else:
            assert {k: v.tolist() for k, v in arrays.items()} == {
                k: v.tolist() for k, v in ARRAYS.items()
            }
    assert refused > len(good) / 2


def test_predictions_cut_short_are_refused(tmp_path: Path) -> None:
    store = Store(tmp_path)
    written = store.write(record(), ARRAYS)
    path = path_of(tmp_path).with_suffix(".npz")
    good = path.read_bytes()
    for end in range(0, len(good), 7):
        path.write_bytes(good[:end])
        with pytest.raises(BenchError, match="run the cell again"):
            store.predictions(written)
    path.unlink()
    with pytest.raises(BenchError, match="run the cell again"):
        store.predictions(written)


class Bomb:
    def __reduce__(self) -> Any:
        return (os.mkdir, ("exploded",))


def pickled(kind: str) -> bytes:
    file = io.BytesIO()
    bomb = np.array([Bomb()], dtype=object)
    if kind == "npz":
        np.savez(file, **{"0/label/class": bomb})
    elif kind == "npy":
        np.save(file, bomb, allow_pickle=True)
    elif kind == "plain npy":
        np.save(file, np.arange(3))
    else:
        import pickle

        pickle.dump(Bomb(), file)
    return file.getvalue()


@pytest.mark.parametrize("kind", ["npz", "npy", "plain npy", "pickle"])
def test_pickles_and_other_files_are_refused_and_never_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    monkeypatch.chdir(tmp_path)
    store = Store(tmp_path / "results")
    written = store.write(record(), ARRAYS)
    path_of(store.root).with_suffix(".npz").write_bytes(pickled(kind))
    with pytest.raises(BenchError):
        store.predictions(written)
    assert not (tmp_path / "exploded").exists()


@pytest.mark.parametrize("part", ["owner", "encoder", "task"])
def test_a_record_in_another_cells_place_is_refused(tmp_path: Path, part: str) -> None:
    store = Store(tmp_path)
    store.write(record(), ARRAYS)
    names = {"owner": "somebody", "encoder": "pca,dim=4", "task": "digits-knn", part: "moved"}
    target = store.path(**names)
    target.parent.mkdir(parents=True, exist_ok=True)
    path_of(tmp_path).rename(target)
    with pytest.raises(BenchError, match="another cell"):
        store.find(**names)
    assert [type(broken) for broken in store.records()] == [BenchError]


BROKEN = {
    "empty": b"",
    "cut": b'{"schema": "reptra',
    "no UTF-8": b"\xff\xfe{}",
    "a list": b"[]",
    "deep": b"[" * 100_000,
    "a large number": b"9" * 10_000,
}


@pytest.mark.parametrize("content", BROKEN.values(), ids=BROKEN)
def test_a_broken_record_stops_no_other(tmp_path: Path, content: bytes) -> None:
    store = Store(tmp_path)
    good = store.write(record(), ARRAYS)
    store.path("a", "b", "c").parent.mkdir(parents=True)
    store.path("a", "b", "c").write_bytes(content)
    store.path("a", "b", "folder").mkdir()
    broken, folder, unreadable = store.records()
    assert isinstance(broken, BenchError)
    assert isinstance(folder, BenchError)
    assert len(str(broken).splitlines()) == 1
    assert "a/b/c.json" in str(broken)
    assert unreadable == good
    assert load_results(tmp_path).records == [good]


def test_a_record_without_its_own_digest_is_read(tmp_path: Path) -> None:
    store = Store(tmp_path)
    written = store.write(record(), ARRAYS)
    value = json.loads(path_of(tmp_path).read_text())
    assert value.pop("digest") == written.digest
    path_of(tmp_path).write_text(json.dumps(value))
    assert store.read(path_of(tmp_path)) == written


@pytest.mark.parametrize("name", ["missing", "file"])
def test_results_of_no_folder_are_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(BenchError, match="no folder"):
        load_results(tmp_path / name)


HEAD = ["owner", "encoder", "task"]
WIDE = [*HEAD, "protocol", "family", "status", "supervision", "metric", "score", "low", "high"]
WIDE += ["n_test", "replicates", "seconds"]
LONG = [*HEAD, *(f.name for f in dataclasses.fields(Coords)), "target", "metric", "score"]


def test_frames_have_the_columns_that_are_documented(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.write(record(), ARRAYS)
    store.write(dataclasses.replace(record(status="failed", primary=None), owner="b"), {})
    results = load_results(tmp_path)
    assert repr(results) == "Results(2 records)"
    wide = results.frame()
    assert list(wide.columns) == WIDE
    assert wide["owner"].tolist() == ["b", "somebody"]
    assert wide["status"].tolist() == ["failed", "ok"]
    assert wide.loc[1, ["score", "n_test", "replicates", "seconds"]].tolist() == [0.5, 40, 1, 1.5]
    long = results.frame(long=True)
    assert sorted(long.columns) == sorted(LONG)
    assert long[["metric", "score"]].to_numpy().tolist() == [["accuracy", 0.5], ["nll", 1.0]] * 2


@pytest.mark.parametrize("long", [False, True])
def test_the_frame_of_no_records_has_its_columns_too(tmp_path: Path, long: bool) -> None:
    frame = load_results(tmp_path).frame(long=long)
    assert len(frame) == 0
    assert {"owner", "encoder", "task", "metric", "score"} <= set(frame.columns)
