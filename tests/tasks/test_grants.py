"""Who sees what: rows, classes and labels of a replicate."""

from __future__ import annotations

import dataclasses
import itertools
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from bench.data.images import ArrayImages
from bench.data.samples import Meta, Samples, Target, missing
from bench.errors import BenchError
from bench.tasks.grants import Grant, grant, task_targets
from bench.tasks.task import Coords, Replicates, Task

Array = npt.NDArray[Any]
SIZES = (60, 30, 15, 9)  # rows of each class in train
SIGNATURES = np.arange(12, dtype=np.float32).reshape(4, 3)
TARGETS = {
    "label": Target("classes", 4, ("a", "b", "c", "d"), semantics=SIGNATURES),
    "signs": Target("binary", 2, ("x", "y")),
    "size": Target("number", 1, ("cm",)),
}


def split(sizes: tuple[int, ...] = SIZES, seed: int = 0) -> Samples:
    """Rows of four classes in a drawn order; every row's other labels tell which row it is."""
    rng = np.random.default_rng(seed)
    label = rng.permutation(np.repeat(np.arange(len(sizes)), sizes))
    n = len(label)
    return Samples(
        ArrayImages(np.zeros((n, 1, 1, 1), dtype=np.uint8)),
        {
            "label": label,
            "signs": rng.integers(0, 2, (n, 2)),
            "size": np.arange(n, dtype=np.float32)[:, None],
        },
        np.arange(n),
    )


TRAIN, VAL = split(), split((8, 6, 4, 3), seed=1)
CONTROLS = ("shuffled_labels", "shuffled_auxiliary", "shuffled_signatures")


def task(**changes: Any) -> Task:
    plain: dict[str, Any] = {
        "name": "mine",
        "family": "probe",
        "dataset": "digits",
        "protocol": "knn",
        "chance": 0.1,
    }
    return Task(**{**plain, **changes})


def granted(
    train: Samples = TRAIN, val: Samples = VAL, at: Coords | None = None, **changes: Any
) -> Grant:
    return grant(task(**changes), TARGETS, train, val, at or Coords())


def flat(access: Grant) -> list[Any]:
    """Everything in a grant, comparable."""
    arrays = [access.train, access.encoder_rows, *([] if access.val is None else [access.val])]
    for labels in (access.train_labels, access.val_labels, access.encoder_labels):
        arrays += [labels[name] for name in sorted(labels)]
    return [array.tobytes() for array in arrays]


def labelled_rows(access: Grant) -> set[int]:
    return set(access.train[access.train_labels["label"] >= 0].tolist())


# --- All labels


def test_without_limits_everything_is_granted() -> None:
    access = granted()
    for rows in (access.train, access.encoder_rows):
        np.testing.assert_array_equal(rows, np.arange(len(TRAIN)))
    assert access.val is not None
    np.testing.assert_array_equal(access.val, np.arange(len(VAL)))
    for name in TARGETS:
        np.testing.assert_array_equal(access.train_labels[name], TRAIN.y[name])
        np.testing.assert_array_equal(access.encoder_labels[name], TRAIN.y[name])
        np.testing.assert_array_equal(access.val_labels[name], VAL.y[name])
    assert access.n_train == len(TRAIN)
    assert list(access.meta.targets) == list(TARGETS)
    assert access.meta.targets["label"].unseen == frozenset()


def test_validation_rows_are_places_in_the_split_whatever_its_rows_are_called() -> None:
    named = dataclasses.replace(VAL, rows=VAL.rows[::-1] + 1000)
    access = granted(val=named)
    assert access.val is not None
    np.testing.assert_array_equal(access.val, np.arange(len(VAL)))
    np.testing.assert_array_equal(access.val_labels["label"], VAL.y["label"])


def test_without_validation_there_is_no_val() -> None:
    access = granted(validation=False)
    assert access.val is None
    assert flat(granted(validation=False))[:2] == flat(granted())[:2]


CASES: list[tuple[dict[str, Any], Coords]] = [
    ({}, Coords()),
    ({"train_limit": 20}, Coords()),
    ({}, Coords(per_class=3, subset=1)),
    ({"removed_classes": (1,)}, Coords(per_class=3, subset=0)),
    ({"removed_classes": (1,), "transductive": True}, Coords()),
    ({"replicates": Replicates(splits=((0,), (2, 3)))}, Coords(split=1, encoder_seed=1)),
    *[({}, Coords(control=control, head_seed=1)) for control in CONTROLS],
]


@pytest.mark.parametrize(("changes", "at"), CASES, ids=str)
def test_a_grant_is_the_same_again_whatever_was_granted_between(
    changes: dict[str, Any], at: Coords
) -> None:
    first = flat(granted(at=at, **changes))
    np.random.seed(1)  # noqa: NPY002
    for other_at, where in CASES:
        granted(at=where, **other_at)
    assert flat(granted(at=at, **changes)) == first


@pytest.mark.parametrize(("changes", "at"), CASES, ids=str)
def test_a_grant_is_consistent_and_leaves_the_data_set_as_it_is(
    changes: dict[str, Any], at: Coords
) -> None:
    before = {name: y.copy() for name, y in TRAIN.y.items()}
    access = granted(at=at, **changes)
    for name, y in before.items():
        np.testing.assert_array_equal(TRAIN.y[name], y)
        assert len(access.train_labels[name]) == len(access.train)
        assert len(access.encoder_labels[name]) == len(access.encoder_rows)
        assert access.train_labels[name].dtype == y.dtype
        if access.val is not None:
            assert len(access.val_labels[name]) == len(access.val)
    for rows in (access.train, access.encoder_rows):
        assert (np.diff(rows) > 0).all()
    any_label = [
        any(
            bool((~missing(TARGETS[name], y[[i]])).any()) for name, y in access.train_labels.items()
        )
        for i in range(len(access.train))
    ]
    np.testing.assert_array_equal(access.labelled, any_label)
    assert access.n_train == sum(any_label)


@pytest.mark.parametrize("axis", ["encoder_seed", "head_seed"])
def test_seeds_move_no_rows_and_no_labels_but_those_of_a_control(axis: str) -> None:
    for changes, at in CASES:
        if at.control is None:
            varied = dataclasses.replace(at, **{axis: 9})
            assert flat(granted(at=varied, **changes)) == flat(granted(at=at, **changes))


# --- Few labels


@pytest.mark.parametrize("n", [1, 2, 5, 9])
@pytest.mark.parametrize("subset", [0, 1])
def test_few_labels_are_exactly_n_of_each_class_and_true(n: int, subset: int) -> None:
    access = granted(at=Coords(per_class=n, subset=subset))
    labels = access.train_labels["label"]
    assert np.bincount(labels[labels >= 0]).tolist() == [n] * 4
    assert access.n_train == 4 * n
    chosen = labels >= 0
    for name in TARGETS:
        np.testing.assert_array_equal(
            access.train_labels[name][chosen], TRAIN.y[name][access.train[chosen]]
        )
        assert missing(TARGETS[name], access.train_labels[name][~chosen]).all()
        np.testing.assert_array_equal(access.encoder_labels[name], access.train_labels[name])


@pytest.mark.parametrize("subset", [0, 1, 2])
def test_fewer_labels_lie_within_more(subset: int) -> None:
    chosen = [labelled_rows(granted(at=Coords(per_class=n, subset=subset))) for n in range(1, 10)]
    for small, large in itertools.pairwise(chosen):
        assert small < large


def test_few_labels_keep_all_images_and_the_validation_labels() -> None:
    access = granted(at=Coords(per_class=1, subset=0))
    np.testing.assert_array_equal(access.train, np.arange(len(TRAIN)))
    np.testing.assert_array_equal(access.encoder_rows, np.arange(len(TRAIN)))
    np.testing.assert_array_equal(access.val_labels["label"], VAL.y["label"])


def test_subsets_are_drawn_apart() -> None:
    chosen = [labelled_rows(granted(at=Coords(per_class=4, subset=s))) for s in range(6)]
    assert len({frozenset(c) for c in chosen}) == 6


def test_the_rows_of_a_class_do_not_depend_on_the_other_classes() -> None:
    full = labelled_rows(granted(at=Coords(per_class=4, subset=0)))
    less = labelled_rows(granted(at=Coords(per_class=4, subset=0), removed_classes=(0, 2)))
    label = TRAIN.y["label"]
    assert less == {row for row in full if label[row] in (1, 3)}


def test_few_labels_are_drawn_among_the_limited_rows_and_never_of_removed_classes() -> None:
    limited = set(granted(train_limit=40).train.tolist())
    access = granted(at=Coords(per_class=2, subset=0), train_limit=40, removed_classes=(3,))
    assert labelled_rows(access) < limited
    assert np.bincount(TRAIN.y["label"][sorted(labelled_rows(access))]).tolist() == [2, 2, 2]


def test_more_labels_than_a_class_has_are_refused_in_one_line() -> None:
    with pytest.raises(BenchError, match="class 3 has 9 training rows; per_class = 10 needs more"):
        granted(at=Coords(per_class=10, subset=0))


@pytest.mark.parametrize("first", ["signs", "size"])
def test_few_labels_of_a_target_without_classes_are_refused_in_one_line(first: str) -> None:
    targets = {first: TARGETS[first], "label": TARGETS["label"]}
    with pytest.raises(BenchError) as caught:
        grant(task(), targets, TRAIN, VAL, Coords(per_class=1, subset=0))
    assert first in str(caught.value)


def test_few_labels_where_no_row_has_one_are_refused_in_one_line() -> None:
    bare = dataclasses.replace(TRAIN, y={**TRAIN.y, "label": np.full(len(TRAIN), -1)})
    with pytest.raises(BenchError):
        granted(train=bare, at=Coords(per_class=1, subset=0))


# --- Limits


@pytest.mark.parametrize("limit", [4, 10, 37, 80, 113])
def test_a_limit_takes_each_class_by_its_share(limit: int) -> None:
    """A class of share s is at most 1 + 4s / 2 rows off: four classes round by half a row each."""
    access = granted(train_limit=limit)
    assert len(access.train) == len(access.encoder_rows) == limit == access.n_train
    counts = np.bincount(TRAIN.y["label"][access.train], minlength=4)
    share = np.array(SIZES) / sum(SIZES)
    assert (np.abs(counts - limit * share) <= 1 + 2 * share).all()


@pytest.mark.parametrize("limit", [1, 4, 6, 21, 39])
def test_a_limit_of_balanced_classes_is_balanced_to_one_row(limit: int) -> None:
    access = granted(train=split((10, 10, 10, 10)), train_limit=limit)
    counts = np.bincount(split((10, 10, 10, 10)).y["label"][access.train], minlength=4)
    assert counts.max() - counts.min() <= 1


def test_a_smaller_limit_lies_within_a_larger_one_and_enough_is_everything() -> None:
    rows = [set(granted(train_limit=n).train.tolist()) for n in range(1, len(TRAIN) + 1)]
    for small, large in itertools.pairwise(rows):
        assert small < large
    assert rows[-1] == set(range(len(TRAIN)))
    assert flat(granted(train_limit=10**6)) == flat(granted())


def test_a_limit_takes_rows_from_everywhere() -> None:
    rows = granted(train=split((100, 100)), train_limit=40).train
    assert rows.tolist() != list(range(40))
    assert 60 < rows.mean() < 140


@pytest.mark.parametrize("first", ["signs", "size"])
def test_a_limit_works_for_targets_without_classes(first: str) -> None:
    targets = {first: TARGETS[first]}
    small = grant(task(train_limit=10), targets, TRAIN, VAL, Coords()).train
    large = grant(task(train_limit=20), targets, TRAIN, VAL, Coords()).train
    assert len(small) == 10
    assert set(small.tolist()) < set(large.tolist())


# --- Removed classes and splits


REMOVALS: list[tuple[dict[str, Any], Coords, set[int]]] = [
    ({"removed_classes": (1,)}, Coords(), {1}),
    ({"removed_classes": (0, 3)}, Coords(), {0, 3}),
    ({"replicates": Replicates(splits=((0,), (2, 3)))}, Coords(split=1), {2, 3}),
    ({"removed_classes": (1,), "replicates": Replicates(splits=((0,),))}, Coords(split=0), {0, 1}),
    ({"removed_classes": (1,), "train_limit": 50}, Coords(), {1}),
]


@pytest.mark.parametrize(("changes", "at", "gone"), REMOVALS, ids=str)
def test_removed_classes_leave_train_val_and_the_encoder_s_rows(
    changes: dict[str, Any], at: Coords, gone: set[int]
) -> None:
    access = granted(at=at, **changes)
    assert access.val is not None
    present = {0, 1, 2, 3} - gone
    label = TRAIN.y["label"]
    assert set(label[access.train]) == set(label[access.encoder_rows]) == present
    assert set(VAL.y["label"][access.val]) == present
    for labels in (access.train_labels, access.val_labels, access.encoder_labels):
        assert set(labels["label"]) == present
    np.testing.assert_array_equal(access.val_labels["size"], VAL.y["size"][access.val])
    np.testing.assert_array_equal(access.train_labels["size"], TRAIN.y["size"][access.train])
    assert access.meta.targets["label"].unseen == gone
    whole = granted(**{k: v for k, v in changes.items() if k == "train_limit"})
    assert set(access.train) == {row for row in whole.train if label[row] in present}


@pytest.mark.parametrize(("changes", "at", "gone"), REMOVALS, ids=str)
def test_a_transductive_encoder_sees_images_of_removed_classes_but_no_label_of_them(
    changes: dict[str, Any], at: Coords, gone: set[int]
) -> None:
    strict = granted(at=at, **changes)
    access = granted(at=at, transductive=True, **changes)
    hidden = np.isin(TRAIN.y["label"][access.encoder_rows], sorted(gone))
    assert hidden.any()
    for name, target in TARGETS.items():
        assert missing(target, access.encoder_labels[name][hidden]).all()
        np.testing.assert_array_equal(
            access.encoder_labels[name][~hidden], strict.encoder_labels[name]
        )
        np.testing.assert_array_equal(access.train_labels[name], strict.train_labels[name])
    np.testing.assert_array_equal(access.encoder_rows[~hidden], strict.encoder_rows)
    np.testing.assert_array_equal(access.train, strict.train)


def test_classes_are_removed_only_where_the_first_target_has_classes() -> None:
    targets = {"signs": TARGETS["signs"], "label": TARGETS["label"]}
    with pytest.raises(BenchError, match="'signs' is not one"):
        grant(task(removed_classes=(1,)), targets, TRAIN, VAL, Coords())


# --- Controls


def aligned(access: Grant, name: str) -> bool:
    return bool((access.train_labels[name] == TRAIN.y[name][access.train]).all())


def test_shuffled_labels_are_one_permutation_of_the_rows_for_all_targets() -> None:
    access = granted(at=Coords(control="shuffled_labels"))
    order = access.train_labels["size"][:, 0].astype(int)  # which row each label came from
    assert sorted(order) == list(range(len(TRAIN)))
    assert (order == np.arange(len(TRAIN))).sum() < 10
    for name in TARGETS:
        np.testing.assert_array_equal(access.train_labels[name], TRAIN.y[name][order])
        assert not aligned(access, name)
        for shuffled, theirs in ((access.val_labels[name], VAL.y[name]),):
            assert (shuffled != theirs).any()
            np.testing.assert_array_equal(np.sort(shuffled, axis=0), np.sort(theirs, axis=0))


def test_shuffled_auxiliary_spares_the_first_target_alone() -> None:
    access = granted(at=Coords(control="shuffled_auxiliary"))
    assert aligned(access, "label")
    np.testing.assert_array_equal(access.val_labels["label"], VAL.y["label"])
    order = access.train_labels["size"][:, 0].astype(int)
    assert sorted(order) == list(range(len(TRAIN)))
    np.testing.assert_array_equal(access.train_labels["signs"], TRAIN.y["signs"][order])
    assert not aligned(access, "size")
    assert (access.val_labels["size"] != VAL.y["size"]).any()


def test_shuffled_signatures_permute_the_semantics_and_nothing_else() -> None:
    accesses = [granted(at=Coords(control="shuffled_signatures", head_seed=s)) for s in range(8)]
    orders = set()
    for access in accesses:
        assert flat(access) == flat(granted())
        semantics = access.meta.targets["label"].semantics
        assert semantics is not None
        order = (semantics[:, 0] / 3).astype(int)
        np.testing.assert_array_equal(semantics, SIGNATURES[order])
        assert sorted(order) == [0, 1, 2, 3]
        assert access.meta.targets["label"].names == TARGETS["label"].names
        assert access.meta.targets["signs"] is TARGETS["signs"]
        orders.add(tuple(order))
    assert len(orders) > 3
    np.testing.assert_array_equal(SIGNATURES.ravel(), np.arange(12))


def test_shuffled_signatures_keep_the_removed_classes() -> None:
    access = granted(at=Coords(control="shuffled_signatures"), removed_classes=(2,))
    assert access.meta.targets["label"].unseen == {2}


@pytest.mark.parametrize("control", ["shuffled_labels", "shuffled_auxiliary"])
def test_a_control_shuffles_anew_for_each_head_seed_and_moves_no_rows(control: str) -> None:
    accesses = [granted(at=Coords(control=control, head_seed=s)) for s in range(4)]
    assert len({f.train_labels["size"].tobytes() for f in accesses}) == 4
    assert len({f.train.tobytes() for f in accesses}) == 1
    assert {f.n_train for f in accesses} == {len(TRAIN)}


def test_shuffled_few_labels_are_as_many_of_each_class() -> None:
    plain = granted(at=Coords(per_class=3, subset=0))
    access = granted(at=Coords(per_class=3, subset=0, control="shuffled_labels"))
    labels = access.train_labels["label"]
    assert np.bincount(labels[labels >= 0]).tolist() == [3] * 4
    assert access.n_train == plain.n_train == 12


# --- Missing labels and counts


def test_missing_labels_stay_missing_and_are_not_counted() -> None:
    label, signs, size = (TRAIN.y[name].copy() for name in TARGETS)
    label[::2], signs[::3], size[::5] = -1, -1, np.nan
    gaps = dataclasses.replace(TRAIN, y={"label": label, "signs": signs, "size": size})
    access = granted(train=gaps)
    for name, labels in gaps.y.items():
        np.testing.assert_array_equal(access.train_labels[name], labels)
    n = len(TRAIN)
    assert access.n_train == n - sum(i % 2 == i % 3 == i % 5 == 0 for i in range(n))
    alone = grant(task(), {"label": TARGETS["label"]}, gaps, VAL, Coords())
    assert alone.n_train == n // 2
    small = granted(train=gaps, at=Coords(per_class=3, subset=0))
    chosen = small.train_labels["label"] >= 0
    assert (small.train[chosen] % 2 == 1).all()
    assert np.bincount(small.train_labels["label"][chosen]).tolist() == [3] * 4
    np.testing.assert_array_equal(small.train_labels["size"][chosen], size[small.train[chosen]])


def test_a_row_with_one_of_several_yes_no_labels_is_labelled() -> None:
    signs = np.full((len(TRAIN), 2), -1)
    signs[:7, 1] = 1
    gaps = dataclasses.replace(TRAIN, y={**TRAIN.y, "signs": signs})
    access = grant(task(), {"signs": TARGETS["signs"]}, gaps, VAL, Coords())
    assert access.n_train == 7
    np.testing.assert_array_equal(np.flatnonzero(access.labelled), np.arange(7))


# --- Targets


def test_a_task_s_targets_come_in_its_order_all_of_the_data_set_s_if_it_names_none() -> None:
    meta = Meta(TARGETS)
    assert list(task_targets(task(), meta)) == ["label", "signs", "size"]
    assert list(task_targets(task(targets=("size", "label")), meta)) == ["size", "label"]
    with pytest.raises(BenchError, match=r"no target 'colour' \(targets: label, signs, size\)"):
        task_targets(task(targets=("colour",)), meta)


def test_targets_that_the_task_does_not_name_are_not_granted() -> None:
    targets = task_targets(task(targets=("signs",)), Meta(TARGETS))
    access = grant(task(), targets, TRAIN, VAL, Coords())
    for labels in (access.train_labels, access.val_labels, access.encoder_labels):
        assert set(labels) == {"signs"}
    assert set(access.meta.targets) == {"signs"}
