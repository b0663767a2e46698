"""The maintainers' file: written whole, read within limits, broken files told in one line."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bench.errors import BenchError
from bench.results.store import VERIFIED, Store, is_reserved
from bench.results.trust import Mark, read_marks, write_marks

A, B = "a" * 32, "b" * 32
REPRODUCED = Mark(level="reproduced", date="2026-05-04", by="maintainers", difference=-0.001)
CONFIRMED = Mark(level="confirmed", date="2026-05-05", by="Ä. Author", difference=None)


def test_marks_are_added_and_read_as_they_were_written(tmp_path: Path) -> None:
    store = Store(tmp_path / "results")
    assert read_marks(store) == {}
    write_marks(store, {B: CONFIRMED})
    write_marks(store, {A: REPRODUCED})
    assert read_marks(store) == {A: REPRODUCED, B: CONFIRMED}
    first = (store.root / VERIFIED).read_bytes()
    write_marks(store, {A: REPRODUCED})
    assert (store.root / VERIFIED).read_bytes() == first
    assert list(json.loads(first)["records"]) == [A, B] and first.isascii()
    write_marks(store, {A: CONFIRMED})  # its author says less than who ran it again
    assert read_marks(store) == {A: REPRODUCED, B: CONFIRMED}
    write_marks(store, {B: REPRODUCED})
    assert read_marks(store) == {A: REPRODUCED, B: REPRODUCED}


def test_the_file_is_no_owner() -> None:
    assert is_reserved(VERIFIED) and is_reserved(VERIFIED.upper())


def mark(name: str, value: Any) -> Callable[[dict[str, Any]], None]:
    return lambda file: file["records"][A].update({name: value})


BROKEN: dict[str, tuple[Callable[[dict[str, Any]], Any], str]] = {
    "another schema": (lambda v: v.update(schema="other/1"), "unknown schema 'other/1'"),
    "another field": (lambda v: v.update(more=1), "other fields than schema and records"),
    "a list of records": (lambda v: v.update(records=[]), "other fields than"),
    "no digest": (lambda v: v["records"].update(pca={}), "'pca' is no digest of a record"),
    "a level that the board computes": (mark("level", "consistent"), "level is not one of"),
    "a number as name": (mark("by", 3), "by is not text"),
    "no name": (mark("by", " "), "is no name of 1 to 200 characters"),
    "a name that turns the line": (mark("by", "a\u202eb"), "is no name of"),
    "a long name": (mark("by", "a" * 201), "is no name of"),
    "no day": (mark("date", "2026-02-30"), "is no date; write YYYY-MM-DD"),
    "a day without hyphens": (mark("date", "20260504"), "is no date; write YYYY-MM-DD"),
    "a difference that is text": (mark("difference", "0"), "difference is not a number"),
    "an unknown field": (mark("score", 1.0), "missing or unknown fields: 'score'"),
}


@pytest.mark.parametrize(("change", "message"), BROKEN.values(), ids=BROKEN)
def test_a_file_of_another_form_is_an_error(
    tmp_path: Path, change: Callable[[dict[str, Any]], Any], message: str
) -> None:
    store = Store(tmp_path)
    write_marks(store, {A: REPRODUCED})
    path = tmp_path / VERIFIED
    value = json.loads(path.read_text())
    change(value)
    path.write_text(json.dumps(value))
    before = path.read_bytes()
    for act in (lambda: read_marks(store), lambda: write_marks(store, {B: CONFIRMED})):
        with pytest.raises(BenchError) as error:
            act()
        assert message in str(error.value) and "\n" not in str(error.value)
    assert path.read_bytes() == before


@pytest.mark.parametrize("kind", ["link", "dangling link", "folder", "pipe", "text"])
def test_only_a_file_is_read(tmp_path: Path, kind: str) -> None:
    path = tmp_path / VERIFIED
    if "link" in kind:
        target = tmp_path / "target.json"
        if kind == "link":
            target.write_text("{}")
        path.symlink_to(target)
    elif kind == "folder":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path)
    else:
        path.write_text("{")
    with pytest.raises(BenchError, match=VERIFIED):
        read_marks(Store(tmp_path))


@pytest.mark.parametrize("by", ["", "two\nlines"])
def test_a_mark_that_could_not_be_read_is_not_written(tmp_path: Path, by: str) -> None:
    with pytest.raises(BenchError, match="is no name"):
        write_marks(
            Store(tmp_path), {A: Mark(level="confirmed", date="2026-05-04", by=by, difference=None)}
        )
    assert not (tmp_path / VERIFIED).exists()
