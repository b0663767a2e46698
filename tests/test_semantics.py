"""Tables of classes by attributes: ours, a user's own, and what is wrong with others."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench import semantics
from bench.data import Meta, Target
from bench.errors import BenchError
from bench.grants import task_targets
from bench.task import Task
from bench.taskfiles import load
from bench.testing import semantics_checks

OWN = """title = "Mine"
attributes = ["round", "red"]

[classes]
ball = [1, 1.0]
brick = [0.0, 1.0]
"blue box" = [0, 0]

[splits]
A = ["brick"]
"""


def written(folder: Path, text: str) -> str:
    (folder / "mine.toml").write_text(text)
    return str(folder / "mine.toml")


@pytest.mark.parametrize("name", semantics.names())
def test_ours_name_every_class_and_tell_all_apart(name: str) -> None:
    table = semantics.read(name)
    target = Target("classes", len(table.classes), table.classes, semantics=table.table)
    for check in semantics_checks():
        check(Meta({"label": target}))
    assert len(table.classes) == 10 and table.title and table.source
    assert np.linalg.matrix_rank(table.table) == 10
    assert table.table.min() >= 0 and table.table.max() == 1
    unseen = [name for split in table.splits.values() for name in split]
    assert len(table.splits) == 3 and len(unseen) == len(set(unseen)) == 9


def test_the_segments_of_digits_are_those_of_a_display() -> None:
    """Lit segments of a seven-segment display: 8 has all of them, 1 the two on the right."""
    table = semantics.read("digits")
    assert table.attributes[:7] == tuple(f"segment_{s}" for s in "abcdefg")
    lit = table.table[:, :7].sum(axis=1).tolist()
    assert lit == [6, 2, 5, 5, 4, 5, 6, 3, 7, 6]


def test_signatures_come_by_name_in_the_order_that_is_asked_for(tmp_path: Path) -> None:
    table = semantics.read(written(tmp_path, OWN))
    assert table.splits == {"A": ("brick",)} and table.name == "mine"
    np.testing.assert_array_equal(table.of(["blue box", "ball"]), [[0, 0], [1, 1]])
    with pytest.raises(BenchError, match="did you mean 'ball'"):
        table.of(["bal"])


WRONG = {
    "no file": (None, "no file"),
    "no TOML": ("attributes = [", "cannot be read as TOML"),
    "an unknown key": (OWN.replace("title", "titel"), "did you mean 'title'"),
    "no attributes": (OWN.replace('["round", "red"]', "[]"), "attributes = "),
    "attributes twice": (OWN.replace('"red"', '"round"'), "different names"),
    "a row too short": (OWN.replace("[0, 0]", "[0]"), "2 finite numbers"),
    "a word for a number": (OWN.replace("[0, 0]", '[0, "no"]'), "2 finite numbers"),
    "infinity": (OWN.replace("[0, 0]", "[0, inf]"), "2 finite numbers"),
    "more than float32 holds": (OWN.replace("[0, 0]", f"[0, 1{'0' * 400}]"), "2 finite numbers"),
    "a class without a number": (OWN.replace("[0, 0]", "[nan, nan]"), "class 'blue box' has no"),
    "an attribute without one": (
        OWN.replace("[1, 1.0]", "[1, nan]")
        .replace("0.0, 1.0", "0.0, nan")
        .replace("0, 0", "0, nan"),
        "attribute 'red' has no number",
    ),
    "one class": ("attributes = ['a']\n[classes]\nx = [1]\n", "two or more"),
    "an unknown unseen class": (OWN.replace('["brick"]', '["brik"]'), "did you mean 'brick'"),
    "splits that are no lists": (OWN.replace('A = ["brick"]', "A = 3"), "splits.A"),
}


@pytest.mark.parametrize(("text", "why"), WRONG.values(), ids=WRONG)
def test_a_table_that_is_wrong_is_told_with_its_place(
    tmp_path: Path, text: str | None, why: str
) -> None:
    path = str(tmp_path / "mine.toml") if text is None else written(tmp_path, text)
    with pytest.raises(BenchError, match=why) as told:
        semantics.read(path)
    assert "mine.toml" in str(told.value)


def test_what_is_missing_is_nan(tmp_path: Path) -> None:
    table = semantics.read(written(tmp_path, OWN.replace("[0, 0]", "[nan, 0]"))).table
    np.testing.assert_array_equal(table, np.float32([[1, 1], [0, 1], [np.nan, 0]]))


@pytest.mark.parametrize("name", semantics.names())
def test_ours_are_the_same_when_written_and_read(name: str, tmp_path: Path) -> None:
    table = semantics.read(name)
    semantics.write(table, tmp_path / f"{name}.toml")
    again = semantics.read(str(tmp_path / f"{name}.toml"))
    for field in ("name", "title", "source", "classes", "attributes", "splits"):
        assert getattr(again, field) == getattr(table, field)
    np.testing.assert_array_equal(again.table, table.table)


def test_any_name_and_any_number_is_the_same_when_written_and_read(tmp_path: Path) -> None:
    names = ("blue+whale", "001.Gull", 'a "b" \\c', "tab\tline\nend\x7f\x00", "Größe 𝄞", "a.b", "")
    numbers = np.random.default_rng(0).normal(size=(len(names), 40)) * 10.0 ** np.arange(-20, 20)
    numbers = numbers.astype(np.float32)
    numbers[3, 5], numbers[0, 0] = np.nan, np.finfo(np.float32).max
    attributes = tuple(f"has_{n}::[x]='#" for n in range(40))
    table = semantics.Semantics(
        "x", "a\\b", "“c”", names, attributes, numbers, {"no. 1": names[:2], "": names[2:4]}
    )
    semantics.write(table, tmp_path / "x.toml")
    again = semantics.read(str(tmp_path / "x.toml"))
    for field in ("name", "title", "source", "classes", "attributes", "splits"):
        assert getattr(again, field) == getattr(table, field)
    assert again.table.dtype == np.float32
    np.testing.assert_array_equal(again.table, numbers)
    with pytest.raises(BenchError, match=r"ends with .toml"):
        semantics.write(table, tmp_path / "x.txt")


def test_an_unknown_table_is_told_with_the_nearest() -> None:
    with pytest.raises(BenchError, match="did you mean 'digits'"):
        semantics.read("digit")


def asked(**changes: Any) -> Task:
    return Task(name="t", family="probe", dataset="digits", protocol="knn", chance=0.1, **changes)


def test_a_task_gives_its_first_target_the_signatures_of_its_table(tmp_path: Path) -> None:
    names = ("brick", "ball")
    meta = Meta({"label": Target("classes", 2, names), "other": Target("classes", 2, names)})
    task = asked(semantics=written(tmp_path, OWN), targets=("label", "other"))
    found = task_targets(task, meta)
    np.testing.assert_array_equal(found["label"].semantics, [[0, 1], [1, 1]])
    assert found["other"].semantics is None and meta.targets["label"].semantics is None
    numbers = Meta({"label": Target("number", 1, ("n",))})
    with pytest.raises(BenchError, match="has none"):
        task_targets(asked(semantics=task.semantics), numbers)


def test_a_table_counts_by_its_content_and_one_that_is_not_named_moves_no_digest(
    tmp_path: Path,
) -> None:
    first = asked(semantics=written(tmp_path, OWN)).digest
    assert asked(semantics=written(tmp_path, OWN.replace("Mine", "Ours"))).digest == first
    assert asked(semantics=written(tmp_path, OWN.replace("[0, 0]", "[0, 1]"))).digest != first
    assert asked().digest != first
    locked = (Path(__file__).parents[1] / "tasks" / "LOCK").read_text()
    assert f"digits-knn 1 {load('digits-knn').digest}" in locked
