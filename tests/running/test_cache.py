"""Weights and features on disk: whole or not at all, and never in the way of a run."""

from __future__ import annotations

import errno
import json
import os
import re
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from safetensors.numpy import save_file

from bench.cli.main import main
from bench.errors import BenchError
from bench.files.writing import replacing
from bench.running.cache import Cache, StoredArrays, cache_root

Array = npt.NDArray[Any]
ARRAYS: dict[str, Array] = {
    "matrix": np.arange(12, dtype=np.float32).reshape(3, 4) / 7,
    "scalar": np.array(2.5, dtype=np.float64),
    "yes": np.array([True, False, True]),
    "count": np.array(2**40, dtype=np.int64),
    "rows": np.array([-1, 5, 2**62], dtype=np.int64),
    "levels": np.arange(5, dtype=np.uint8),
    "half": np.array([0.5, -2], dtype=np.float16),
    "none": np.empty((0, 3), dtype=np.float32),
    "odd": np.array([np.nan, np.inf, -np.inf, -0.0], dtype=np.float32),
}
NOTES = {"report": {"steps": 3, "terms": {"é": 0.1}, "list": [1, None, True]}, "seconds": 1.25}


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    return Cache(tmp_path / "cache")


def files(root: Path) -> list[str]:
    return sorted(p.relative_to(root).as_posix() for p in root.rglob("*") if p.is_file())


def same(stored: StoredArrays | None, arrays: Mapping[str, Array], notes: Any = NOTES) -> bool:
    """Names, types, shapes and bytes."""
    if stored is None or stored.notes != notes or stored.arrays.keys() != arrays.keys():
        return False
    return all(
        stored.arrays[name].dtype == array.dtype
        and stored.arrays[name].shape == array.shape
        and stored.arrays[name].tobytes() == array.tobytes()
        for name, array in arrays.items()
    )


# --- What is kept is found


def test_arrays_and_notes_come_back_as_they_were(cache: Cache) -> None:
    assert cache.get("weights", "a") is None
    cache.put("weights", "a", ARRAYS, NOTES)
    assert same(cache.get("weights", "a"), ARRAYS)
    assert cache.get("features", "a") is None and cache.get("weights", "b") is None
    assert files(cache.root) == ["weights/a.safetensors"]


@pytest.mark.parametrize("how", ["transposed", "strided", "fortran", "read-only", "big-endian"])
def test_arrays_in_any_layout_come_back_by_value(cache: Cache, how: str) -> None:
    array: Array = np.arange(24, dtype=np.float32).reshape(4, 6)
    if how == "transposed":
        array = array.T
    elif how == "strided":
        array = array[::2, ::-1]
    elif how == "fortran":
        array = np.asfortranarray(array)
    elif how == "big-endian":
        array = array.astype(">f4")
    else:
        array.setflags(write=False)
    cache.put("features", "a", {"x": array}, {})
    stored = cache.get("features", "a")
    assert stored is not None and stored.arrays["x"].tolist() == array.tolist()


def test_no_arrays_at_all_are_kept_too(cache: Cache) -> None:
    cache.put("weights", "a", {}, NOTES)
    assert same(cache.get("weights", "a"), {})


def test_a_file_is_valid_safetensors_for_anybody(cache: Cache) -> None:
    from safetensors.torch import load_file

    cache.put("weights", "a", ARRAYS, NOTES)
    stored = load_file(cache.path("weights", "a"))
    assert stored.keys() == ARRAYS.keys()
    assert torch.equal(stored["matrix"], torch.from_numpy(ARRAYS["matrix"]))


def test_the_last_of_two_under_one_key_stays(cache: Cache) -> None:
    cache.put("weights", "a", ARRAYS, NOTES)
    old = cache.get("weights", "a")
    cache.put("weights", "a", {"x": np.ones(3)}, {"new": 1})
    assert same(cache.get("weights", "a"), {"x": np.ones(3)}, {"new": 1})
    assert same(old, ARRAYS)  # whoever reads the old one goes on reading it
    assert files(cache.root) == ["weights/a.safetensors"]


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="only Linux lists what is mapped")
def test_large_arrays_are_mapped_and_writing_to_them_changes_no_file(cache: Cache) -> None:
    array = np.arange(2**20, dtype=np.float32)
    cache.put("features", "large", {"x": array}, {})
    assert "large.safetensors" not in Path("/proc/self/maps").read_text()
    stored = cache.get("features", "large")
    assert stored is not None and "large.safetensors" in Path("/proc/self/maps").read_text()
    stored.arrays["x"][:] = 0
    again = cache.get("features", "large")
    assert again is not None and np.array_equal(again.arrays["x"], array)


# --- Broken entries are reported, removed, and can be stored anew


def test_any_flipped_bit_is_noticed_or_harmless(cache: Cache) -> None:
    path = cache.path("weights", "a")
    cache.put("weights", "a", ARRAYS, NOTES)
    good, noticed, wrong = path.read_bytes(), 0, list[str]()
    for at in range(len(good)):
        broken = bytearray(good)
        broken[at] ^= 1 << (at % 7)
        path.write_bytes(bytes(broken))
        try:
            stored = cache.get("weights", "a")
        except Exception as error:
            wrong.append(f"byte {at}: {error!r}")
            continue
        if stored is None:
            noticed += 1
            assert not path.exists()
        elif not same(stored, ARRAYS):
            wrong.append(f"byte {at}: {dict(stored.notes)}")
    assert wrong == []
    assert noticed > len(good) / 2


FAULTS = ["flipped", "truncated", "empty", "text", "no notes", "other notes", "another's"]


@pytest.mark.parametrize("fault", FAULTS)
def test_a_broken_file_is_reported_removed_and_kept_anew(
    cache: Cache, fault: str, caplog: pytest.LogCaptureFixture
) -> None:
    path = cache.path("weights", "a")
    cache.put("weights", "a", ARRAYS, NOTES)
    content = bytearray(path.read_bytes())
    if fault == "flipped":
        content[-5] ^= 1
    elif fault == "truncated":
        del content[-5:]
    elif fault in ("empty", "text"):
        content = bytearray(b"" if fault == "empty" else b"no safetensors, but some text")
    path.write_bytes(content)
    if fault == "no notes":
        save_file(ARRAYS, path)
    elif fault == "other notes":
        save_file(ARRAYS, path, metadata={"notes": "[1]"})
    elif fault == "another's":
        save_file({"x": np.ones(2)}, path, metadata={"notes": '{"digest": "0", "notes": {}}'})
    assert cache.get("weights", "a") is None
    assert not path.exists()
    (line,) = caplog.messages
    assert str(path) in line and "is broken" in line
    cache.put("weights", "a", ARRAYS, NOTES)
    assert same(cache.get("weights", "a"), ARRAYS)
    assert len(caplog.messages) == 1


def test_one_broken_file_leaves_the_others(cache: Cache) -> None:
    for key in "ab":
        cache.put("weights", key, ARRAYS, NOTES)
    cache.path("weights", "a").write_bytes(b"")
    assert cache.get("weights", "a") is None and same(cache.get("weights", "b"), ARRAYS)


# --- Nothing stops a run


@pytest.mark.parametrize("where", [".", "weights"])
def test_a_folder_that_cannot_be_written_is_reported_and_no_more(
    cache: Cache, where: str, caplog: pytest.LogCaptureFixture
) -> None:
    cache.root.parent.mkdir(exist_ok=True)
    place = cache.root / where
    place.parent.mkdir(exist_ok=True, parents=True)
    place.write_text("mine")
    cache.put("weights", "a", ARRAYS, NOTES)
    (line,) = caplog.messages
    assert "weights of this run are not kept" in line
    assert cache.get("weights", "a") is None
    assert place.read_text() == "mine"


@pytest.mark.parametrize("fault", ["fsync", "replace"])
def test_a_full_disk_is_reported_and_leaves_the_old_file(
    cache: Cache, fault: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    cache.put("weights", "a", ARRAYS, NOTES)

    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, fault, full)
        cache.put("weights", "a", {"x": np.ones(3)}, {})
        cache.put("weights", "b", {"x": np.ones(3)}, {})
    assert len(caplog.messages) == 2 and "No space left" in caplog.messages[0]
    assert same(cache.get("weights", "a"), ARRAYS)
    assert files(cache.root) == ["weights/a.safetensors"]


def refuse(*_: Any, **__: Any) -> None:
    raise OSError(errno.EROFS, "Read-only file system")


def test_a_good_file_in_a_folder_that_can_only_be_read_is_used(
    cache: Cache, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache.put("weights", "a", ARRAYS, NOTES)
    monkeypatch.setattr(os, "utime", refuse)
    monkeypatch.setattr(Path, "unlink", refuse)
    assert same(cache.get("weights", "a"), ARRAYS)


def test_a_broken_file_in_a_folder_that_can_only_be_read_is_reported_and_no_more(
    cache: Cache, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    cache.put("weights", "a", ARRAYS, NOTES)
    cache.path("weights", "a").write_bytes(b"broken")
    monkeypatch.setattr(os, "utime", refuse)
    monkeypatch.setattr(Path, "unlink", refuse)
    assert cache.get("weights", "a") is None
    assert "is broken" in caplog.text


def test_a_kill_before_the_rename_leaves_nothing_under_the_name(
    cache: Cache, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(*_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", killed)
        with pytest.raises(KeyboardInterrupt):
            cache.put("weights", "a", ARRAYS, NOTES)
    assert files(cache.root) == [] and cache.get("weights", "a") is None


@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError, OSError(5, "I/O")])
def test_what_fails_while_it_is_written_takes_no_name(tmp_path: Path, error: Any) -> None:
    path = tmp_path / "deep" / "file"

    def half_way() -> None:
        with replacing(path) as temporary:
            temporary.write_bytes(b"half")
            assert temporary.parent == path.parent and temporary != path
            raise error

    for old in (None, b"old"):
        if old is not None:
            path.write_bytes(old)
        expected = BenchError if isinstance(error, OSError) else error
        with pytest.raises(expected):
            half_way()
        assert files(tmp_path) == ([] if old is None else ["deep/file"])
        assert old is None or path.read_bytes() == old


def test_what_a_killed_run_left_is_neither_found_nor_counted(tmp_path: Path) -> None:
    cache = Cache(tmp_path, most_bytes=3000)
    cache.put("weights", "a", {"x": np.ones(100)}, {})
    remnant = cache.path("weights", "a").with_name(".b.safetensors.x1.tmp")
    remnant.write_bytes(bytes(10_000))
    cache.put("weights", "c", {"x": np.ones(100)}, {})
    assert cache.get("weights", "b") is None
    assert cache.get("weights", "a") is not None and cache.get("weights", "c") is not None


# --- What was used longest ago leaves first


def keep(cache: Cache, key: str, at: int, *, kind: Any = "features") -> None:
    """About 1,000 bytes, used `at` that second."""
    cache.put(kind, key, {"x": np.full(100, at, dtype=np.float64)}, {})
    os.utime(cache.path(kind, key), (at, at))


def keys(cache: Cache) -> list[str]:
    return [re.sub(r".*/|\.safetensors", "", name) for name in files(cache.root)]


def test_what_was_used_longest_ago_leaves_first(tmp_path: Path) -> None:
    cache = Cache(tmp_path, most_bytes=3500)
    for at, key in enumerate("cab"):
        keep(cache, key, at)
    size = cache.path("features", "a").stat().st_size
    assert 3 * size < 3500 < 4 * size
    assert keys(cache) == ["a", "b", "c"]
    assert cache.get("features", "c") is not None  # the oldest, used just now
    keep(cache, "d", 10)
    assert keys(cache) == ["b", "c", "d"]
    keep(cache, "e", 20)
    assert keys(cache) == ["c", "d", "e"]


def test_weights_and_features_share_one_limit_and_just_enough_leaves(tmp_path: Path) -> None:
    cache = Cache(tmp_path, most_bytes=3500)
    keep(cache, "old", 0, kind="weights")
    keep(cache, "new", 1)
    cache.put("features", "large", {"x": np.zeros(250)}, {})
    assert keys(cache) == ["large", "new"]


def test_what_is_kept_just_now_stays_even_where_it_alone_is_too_large(tmp_path: Path) -> None:
    cache = Cache(tmp_path, most_bytes=100)
    keep(cache, "a", 5)
    assert keys(cache) == ["a"]
    keep(cache, "b", 1)  # an older clock makes it no older
    assert keys(cache) == ["b"]


def test_files_of_others_are_left_alone(tmp_path: Path) -> None:
    cache = Cache(tmp_path, most_bytes=100)
    (tmp_path / "weights").mkdir()
    others = [tmp_path / "weights" / "readme.txt", tmp_path / "mine.safetensors"]
    for key in others:
        key.write_bytes(bytes(1000))
        os.utime(key, (0, 0))
    keep(cache, "a", 5)
    keep(cache, "b", 6)
    assert all(key.exists() for key in others) and keys(cache).count("a") == 0


def test_an_array_that_has_left_the_disk_can_still_be_read(tmp_path: Path) -> None:
    cache = Cache(tmp_path, most_bytes=100)
    keep(cache, "a", 5)
    stored = cache.get("features", "a")
    keep(cache, "b", 6)
    assert cache.get("features", "a") is None
    assert stored is not None and stored.arrays["x"].tolist() == [5.0] * 100


# --- Where it lies


def test_the_folder_is_the_given_one_else_the_environments_else_the_users(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    monkeypatch.setenv("REPTRANSFER_CACHE", "~/mine")
    assert cache_root("~/given") == tmp_path / "home" / "given"
    assert cache_root(tmp_path / "given") == tmp_path / "given"
    assert cache_root() == tmp_path / "home" / "mine"
    monkeypatch.setenv("REPTRANSFER_CACHE", "")
    assert cache_root() == tmp_path / "xdg" / "reptransfer" / "computed"
    monkeypatch.delenv("REPTRANSFER_CACHE")
    assert cache_root() == tmp_path / "xdg" / "reptransfer" / "computed"
    monkeypatch.setenv("XDG_CACHE_HOME", "")
    assert cache_root() == tmp_path / "home" / ".cache" / "reptransfer" / "computed"
    assert not any(tmp_path.iterdir())


# --- The command: list, verify, clear away


def command(capsys: pytest.CaptureFixture[str], cache: Cache, *words: str, status: int = 0) -> Any:
    """What `reptransfer cache` says of this cache, as JSON, with this exit status."""
    assert main(["cache", *words, "--cache", str(cache.root), "--json"]) == status
    return json.loads(capsys.readouterr().out)


def text(capsys: pytest.CaptureFixture[str], cache: Cache, *words: str, status: int = 0) -> str:
    assert main(["cache", *words, "--cache", str(cache.root)]) == status
    return capsys.readouterr().out


def test_a_cache_that_is_not_there_is_empty_and_is_not_made(
    cache: Cache, capsys: pytest.CaptureFixture[str]
) -> None:
    for word in ("ls", "verify", "gc"):
        assert command(capsys, cache, word) == []
        assert str(cache.root) in text(capsys, cache, word)
    assert not cache.root.exists()


def test_files_are_listed_the_longest_unused_first_with_what_they_hold(
    cache: Cache, capsys: pytest.CaptureFixture[str]
) -> None:
    notes = {"spec": "pca,dim=4", "split": "train", "level": "code", "seed": 3}
    cache.put("features", "a", {"x": np.zeros(500_000, dtype=np.float32)}, notes)
    cache.put("weights", "b", ARRAYS, {"spec": "vae", "seed": None})
    cache.path("weights", "c").write_bytes(b"no safetensors")
    for days, (kind, key) in enumerate((("weights", "c"), ("weights", "b"), ("features", "a"))):
        time_used = time.time() - 86_400 * (10 - days)
        os.utime(cache.path(kind, key), (time_used, time_used))
    entries = command(capsys, cache, "ls")
    assert [Path(entry["file"]).stem for entry in entries] == ["c", "b", "a"]
    assert [entry["notes"] for entry in entries] == [{}, {"spec": "vae", "seed": None}, notes]
    assert [entry["bytes"] for entry in entries] == [
        Path(entry["file"]).stat().st_size for entry in entries
    ]
    head, _, *lines, last = text(capsys, cache, "ls").splitlines()
    assert head.split() == ["kind", "encoder", "what", "MB", "unused", "for"]
    assert lines[0].split() == ["weights", "?", "0.0", "10.0", "d"]
    assert lines[1].split()[:2] == ["weights", "vae"]
    assert " ".join(lines[2].split()) == "features pca,dim=4 train code seed 3 2.0 8.0 d"
    assert last == f"3 files, 0.00 GB, in {cache.root}"
    assert len(cache.entries()) == 3  # broken entries are reported by `verify`


def test_verify_reads_all_files_removes_the_broken_ones_and_finds_none_the_next_time(
    cache: Cache, capsys: pytest.CaptureFixture[str]
) -> None:
    for kind in ("weights", "features"):
        for key in "ab":
            cache.put(kind, key, ARRAYS, NOTES)
    flipped = bytearray(cache.path("weights", "a").read_bytes())
    flipped[-5] ^= 1
    cache.path("weights", "a").write_bytes(flipped)
    cache.path("features", "b").write_bytes(b"")
    faults = {
        entry["file"]: entry["broken"] for entry in command(capsys, cache, "verify", status=1)
    }
    assert len(faults) == 4
    broken = {str(cache.path("weights", "a")), str(cache.path("features", "b"))}
    assert {file for file, why in faults.items() if why} == broken
    assert faults[str(cache.path("weights", "a"))] == "its digest does not match"
    assert files(cache.root) == ["features/a.safetensors", "weights/b.safetensors"]
    assert text(capsys, cache, "verify") == f"2 of 2 files in {cache.root} are intact\n"
    cache.path("weights", "b").write_bytes(b"")
    lines = text(capsys, cache, "verify", status=1).splitlines()
    assert lines[0].startswith(f"removed {cache.path('weights', 'b')}, which was broken: ")
    assert lines[1:] == [f"1 of 2 files in {cache.root} are intact"]


def test_gc_removes_what_was_unused_for_so_many_days_and_nothing_else(
    cache: Cache, capsys: pytest.CaptureFixture[str]
) -> None:
    for days in (0, 5, 20):
        cache.put("weights", f"d{days}", ARRAYS, NOTES)
        time_used = time.time() - 86_400 * days
        os.utime(cache.path("weights", f"d{days}"), (time_used, time_used))
    assert command(capsys, cache, "gc") == []
    assert command(capsys, cache, "gc", "--days", "10") == [str(cache.path("weights", "d20"))]
    assert text(capsys, cache, "gc", "--days", "2.5") == f"1 files removed from {cache.root}\n"
    assert keys(cache) == ["d0"]


def test_gc_removes_the_longest_unused_until_so_many_gb_are_left(
    cache: Cache, capsys: pytest.CaptureFixture[str]
) -> None:
    for at, key in enumerate("cab"):
        keep(cache, key, at)
    size = cache.path("features", "a").stat().st_size
    limit = str(2.5 * size / 2**30)
    assert command(capsys, cache, "gc", "--max-gb", limit) == [str(cache.path("features", "c"))]
    assert keys(cache) == ["a", "b"]
    assert len(command(capsys, cache, "gc", "--max-gb", "0")) == 2
    assert keys(cache) == []


def test_gc_removes_what_killed_runs_left_and_not_what_is_being_written(
    cache: Cache, capsys: pytest.CaptureFixture[str]
) -> None:
    cache.put("weights", "a", ARRAYS, NOTES)
    old, new = (cache.root / "weights" / f".b.safetensors.{x}.tmp" for x in ("x1", "x2"))
    for path in (old, new):
        path.write_bytes(b"half")
    time_used = time.time() - 7_200
    os.utime(old, (time_used, time_used))
    assert command(capsys, cache, "gc") == [str(old)]
    assert new.exists() and keys(cache) == [".b.x2.tmp", "a"]


@pytest.mark.parametrize("words", [["--days", "-1"], ["--days", "nan"], ["--max-gb", "x"]])
def test_gc_of_no_number_is_refused_and_removes_nothing(
    cache: Cache, words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    cache.put("weights", "a", ARRAYS, NOTES)
    with pytest.raises(SystemExit) as caught:
        main(["cache", "gc", *words, "--cache", str(cache.root)])
    assert caught.value.code == 2 and "is not a number of 0 or more" in capsys.readouterr().err
    assert keys(cache) == ["a"]
