"""Tables of class attributes: those of the package, a user's, and files that are refused."""

from __future__ import annotations

import dataclasses
import itertools
import math
import re
import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench.data import semantics
from bench.data.samples import Meta, Target
from bench.datasets.sprites import COLOURS, SHAPES, build
from bench.errors import BenchError
from bench.solvers.signatures import prepare_signatures, signature_coverage
from bench.tasks.files import load
from bench.tasks.grants import task_targets
from bench.tasks.task import Task
from bench.testing import semantics_checks
from tests.kit import ROOT

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


HAND = ("cifar10", "digits", "fashion_mnist")  # tables made by hand
TEXTS = ("names", "descriptions")


@pytest.mark.parametrize("name", semantics.names())
def test_ours_tell_all_classes_apart(name: str) -> None:
    table = semantics.read_semantics(name)
    target = Target("classes", len(table.classes), table.classes, semantics=table.table)
    for check in semantics_checks():
        check(Meta({"label": target}))
    assert table.title and table.source


@pytest.mark.parametrize("name", HAND)
def test_ours_by_hand_are_shares_and_name_every_class_of_their_data_set(name: str) -> None:
    table = semantics.read_semantics(name)
    assert len(table.classes) == 10
    assert np.linalg.matrix_rank(table.table) == 10
    assert table.table.min() >= 0 and table.table.max() == 1
    unseen = [name for split in table.splits.values() for name in split]
    assert len(table.splits) == 3 and len(unseen) == len(set(unseen)) == 9


@pytest.mark.parametrize("kind", TEXTS)
@pytest.mark.parametrize("name", HAND)
def test_embeddings_are_unit_vectors_of_the_same_classes_and_splits(name: str, kind: str) -> None:
    hand, table = semantics.read_semantics(name), semantics.read_semantics(f"{name}_{kind}")
    assert (table.classes, table.splits) == (hand.classes, hand.splits)
    assert table.table.shape == (10, 381) and set(table.attributes) < {f"e{n}" for n in range(384)}
    assert np.linalg.matrix_rank(table.table) == 10
    np.testing.assert_allclose(np.linalg.norm(table.table, axis=1), 1, atol=1e-3)  # 4 decimals
    assert "Apache-2.0" in table.source and "all-MiniLM-L6-v2" in table.source


@pytest.mark.parametrize("kind", TEXTS)
def test_embeddings_find_the_look_alikes_of_cifar10(kind: str) -> None:
    """The nearest class by text, beside what all texts have in common, is the one that looks alike."""
    table = semantics.read_semantics(f"cifar10_{kind}")
    rows = table.table - table.table.mean(axis=0)
    rows = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    nearest = dict(zip(table.classes, (rows @ rows.T - 2 * np.eye(10)).argmax(axis=1), strict=True))
    for a, b in (("cat", "dog"), ("automobile", "truck"), ("deer", "horse")):
        assert table.classes[nearest[a]] == b
        assert table.classes[nearest[b]] == a


@pytest.mark.parametrize("name", HAND)
def test_a_description_names_no_class(name: str) -> None:
    path = ROOT / "tests" / "scripts" / "class_descriptions.toml"
    names = tomllib.loads(path.read_text("utf-8"))[name]
    assert tuple(names) == semantics.read_semantics(name).classes
    named = [part for whole in names for part in (whole, *whole.split("/"))]
    for text in names.values():
        assert not [part for part in named if re.search(rf"\b{part}s?\b", text, re.IGNORECASE)]


def test_the_table_of_sprites_is_what_the_data_set_draws_from(tmp_path: Path) -> None:
    target = build(root=tmp_path).meta.targets["combination"]
    table = semantics.read_semantics("sprites")
    assert table.classes == target.names and table.attributes == (*SHAPES, *COLOURS)
    np.testing.assert_array_equal(table.table, target.semantics)


def test_splits_of_sprites_leave_two_of_every_shape_and_colour_and_all_that_is_needed() -> None:
    table = semantics.read_semantics("sprites")
    drawn = semantics.balanced_splits(30, 6, 12, seed=0)
    held = [tuple(table.classes.index(name) for name in unseen) for unseen in table.splits.values()]
    assert list(table.splits) == [str(number) for number in range(1, 13)] and held == drawn
    assert set(np.bincount(np.ravel(held), minlength=30)) == {2, 3}
    for unseen in held:
        seen = np.delete(table.table, unseen, axis=0)
        assert len(seen) == 24 and seen.sum(axis=0).min() >= 2
        assert np.linalg.matrix_rank(seen) == np.linalg.matrix_rank(table.table) == 10


def test_the_segments_of_digits_are_those_of_a_display() -> None:
    """Lit segments of a seven-segment display: 8 has all of them, 1 the two on the right."""
    table = semantics.read_semantics("digits")
    assert table.attributes[:7] == tuple(f"segment_{s}" for s in "abcdefg")
    lit = table.table[:, :7].sum(axis=1).tolist()
    assert lit == [6, 2, 5, 5, 4, 5, 6, 3, 7, 6]


def test_signatures_come_by_name_in_the_order_that_is_requested(tmp_path: Path) -> None:
    table = semantics.read_semantics(written(tmp_path, OWN))
    assert table.splits == {"A": ("brick",)} and table.name == "mine"
    np.testing.assert_array_equal(table.of(["blue box", "ball"]), [[0, 0], [1, 1]])
    with pytest.raises(BenchError, match="did you mean 'ball'"):
        table.of(["bal"])


def test_what_is_written_is_read_again(tmp_path: Path) -> None:
    table = dataclasses.replace(
        semantics.read_semantics(written(tmp_path, OWN)),
        title='A "title"\nwith \\ and \x7f',
        classes=("T-shirt/top", 'a "b"', "caf\u00e9 \N{BLACK STAR}"),
        table=np.array([[1 / 3, -1e-9], [1e20, 0], [123456.7, 1]], dtype=np.float32),
        splits={"the first": ("T-shirt/top",), "2": ('a "b"', "T-shirt/top")},
    )
    path = tmp_path / "new" / "again.toml"
    semantics.write_semantics(table, path)
    first, second = path.read_text(encoding="utf-8"), semantics.read_semantics(str(path))
    for name in ("title", "source", "classes", "attributes", "splits"):
        assert getattr(second, name) == getattr(table, name)
    np.testing.assert_allclose(second.table, table.table, rtol=1e-5)
    semantics.write_semantics(second, path)
    assert path.read_text(encoding="utf-8") == first


def test_a_number_that_is_missing_is_written_as_nan(tmp_path: Path) -> None:
    table = semantics.read_semantics(written(tmp_path, OWN))
    path = tmp_path / "gaps.toml"
    semantics.write_semantics(
        dataclasses.replace(table, table=table.table * [[1, np.nan]], splits={}), path
    )
    parsed = tomllib.loads(path.read_text())
    assert parsed["classes"]["ball"][0] == 1 and math.isnan(parsed["classes"]["ball"][1])
    assert "splits" not in parsed


@pytest.mark.parametrize(
    ("classes", "size", "count"),
    [(10, 3, 12), (10, 3, 1), (10, 3, 120), (10, 3, 119), (5, 4, 5), (5, 1, 4), (30, 6, 12)],
)
def test_balanced_splits_leave_every_class_out_as_often(
    classes: int, size: int, count: int
) -> None:
    for seed in range(5):
        splits = semantics.balanced_splits(classes, size, count, seed)
        assert splits == semantics.balanced_splits(classes, size, count, seed)
        assert len(splits) == len({frozenset(unseen) for unseen in splits}) == count
        assert all(len(set(unseen)) == size and list(unseen) == sorted(unseen) for unseen in splits)
        times = [sum(member in unseen for unseen in splits) for member in range(classes)]
        assert sum(times) == count * size and max(times) - min(times) <= 1
    if count < math.comb(classes, size) and count > 1:
        assert splits != semantics.balanced_splits(classes, size, count, seed=0)


def test_balanced_splits_draw_no_class_more_often_than_another_over_seeds() -> None:
    first = [semantics.balanced_splits(6, 2, 1, seed)[0] for seed in range(900)]
    counts = [first.count(pair) for pair in itertools.combinations(range(6), 2)]
    assert len(counts) == 15 and min(counts) > 30 and max(counts) < 95  # 60 in the mean, 4.5 SD


@pytest.mark.parametrize(("classes", "size", "count"), [(3, 3, 1), (3, 0, 1), (3, 1, 4), (3, 1, 0)])
def test_splits_that_cannot_be_are_refused(classes: int, size: int, count: int) -> None:
    with pytest.raises(BenchError, match=f"no {count} different sets of {size} of {classes}"):
        semantics.balanced_splits(classes, size, count, seed=0)


WRONG = {
    "no file": (None, "no file"),
    "no TOML": ("attributes = [", "cannot be read as TOML"),
    "an unknown key": (OWN.replace("title", "titel"), "did you mean 'title'"),
    "no attributes": (OWN.replace('["round", "red"]', "[]"), "attributes = "),
    "attributes twice": (OWN.replace('"red"', '"round"'), "different names"),
    "a row too short": (OWN.replace("[0, 0]", "[0]"), "2 finite numbers"),
    "a word for a number": (OWN.replace("[0, 0]", '[0, "no"]'), "2 finite numbers"),
    "a row too long": (
        OWN.replace("[0, 0]", str([0] * 400)),
        "has 400 numbers; expected 2 finite numbers",
    ),
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
def test_a_table_that_is_wrong_is_reported_with_its_place(
    tmp_path: Path, text: str | None, why: str
) -> None:
    path = str(tmp_path / "mine.toml") if text is None else written(tmp_path, text)
    with pytest.raises(BenchError, match=why) as error:
        semantics.read_semantics(path)
    assert "mine.toml" in str(error.value) and len(str(error.value)) < 300 + len(str(tmp_path))


def test_what_is_missing_is_nan(tmp_path: Path) -> None:
    table = semantics.read_semantics(written(tmp_path, OWN.replace("[0, 0]", "[nan, 0]"))).table
    np.testing.assert_array_equal(table, np.float32([[1, 1], [0, 1], [np.nan, 0]]))


@pytest.mark.parametrize("name", semantics.names())
def test_ours_are_the_same_when_written_and_read(name: str, tmp_path: Path) -> None:
    table = semantics.read_semantics(name)
    semantics.write_semantics(table, tmp_path / f"{name}.toml")
    again = semantics.read_semantics(str(tmp_path / f"{name}.toml"))
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
    semantics.write_semantics(table, tmp_path / "x.toml")
    again = semantics.read_semantics(str(tmp_path / "x.toml"))
    for field in ("name", "title", "source", "classes", "attributes", "splits"):
        assert getattr(again, field) == getattr(table, field)
    assert again.table.dtype == np.float32
    np.testing.assert_array_equal(again.table, numbers)
    with pytest.raises(BenchError, match=r"must end with .toml"):
        semantics.write_semantics(table, tmp_path / "x.txt")


def test_an_unknown_table_is_reported_with_the_nearest() -> None:
    with pytest.raises(BenchError, match="did you mean 'digits'"):
        semantics.read_semantics("digit")


def asked(**changes: Any) -> Task:
    return Task(name="t", family="probe", dataset="digits", protocol="knn", chance=0.1, **changes)


def test_a_task_gives_its_first_target_the_signatures_of_its_table(tmp_path: Path) -> None:
    names = ("brick", "ball")
    meta = Meta({"label": Target("classes", 2, names), "other": Target("classes", 2, names)})
    task = asked(semantics=written(tmp_path, OWN), targets=("label", "other"))
    targets = task_targets(task, meta)
    np.testing.assert_array_equal(targets["label"].semantics, [[0, 1], [1, 1]])
    assert targets["other"].semantics is None and meta.targets["label"].semantics is None
    numbers = Meta({"label": Target("number", 1, ("n",))})
    with pytest.raises(BenchError, match="is not one"):
        task_targets(asked(semantics=task.semantics), numbers)


def test_a_table_counts_by_its_content_and_one_that_is_not_named_moves_no_digest(
    tmp_path: Path,
) -> None:
    first = asked(semantics=written(tmp_path, OWN)).digest
    assert asked(semantics=written(tmp_path, OWN.replace("Mine", "Ours"))).digest == first
    assert asked(semantics=written(tmp_path, OWN.replace("[0, 0]", "[0, 1]"))).digest != first
    assert asked().digest != first
    locked = (ROOT / "tasks" / "LOCK").read_text()
    assert f"digits-knn 1 {load('digits-knn').digest}" in locked


@pytest.mark.parametrize(
    ("name", "coverages"),
    [
        ("fashion_mnist", (0.70, 0.48, 0.66)),
        ("digits", (0.62, 0.68, 0.65)),
        ("cifar10", (0.74, 0.82, 0.64)),
    ],
)
def test_coverage_of_the_named_splits(name: str, coverages: tuple[float, ...]) -> None:
    """Computed once, outside, with rows of length 1; and by least squares on the seen signatures."""
    table = semantics.read_semantics(name)
    for unseen, expected in zip(table.splits.values(), coverages, strict=True):
        new = [table.classes.index(c) for c in unseen]
        seen = [c for c in range(len(table.classes)) if c not in new]
        S, _ = prepare_signatures(table.table, seen)
        coverage = signature_coverage(S, seen, new)
        shares = []
        for a, b in itertools.combinations(new, 2):
            away = S[a] - S[b]
            weights, *_ = np.linalg.lstsq(S[seen].T, away, rcond=None)
            shares.append(np.square(weights @ S[seen]).sum() / np.square(away).sum())
        assert coverage == pytest.approx(np.mean(shares), abs=1e-9)
        assert coverage == pytest.approx(expected, abs=0.006)
    assert signature_coverage(S, seen, new[:1]) is None
    assert signature_coverage(S, [*seen, *new], new) == pytest.approx(1)
