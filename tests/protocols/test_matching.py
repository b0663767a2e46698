"""Matching of clusters to classes against all permutations, and clusters beyond the number of classes."""

from __future__ import annotations

import itertools
import json
from typing import Any

import numpy as np
import pytest
import torch

from bench.data.samples import Meta, Samples, Target
from bench.errors import BenchError
from bench.protocols import matching
from bench.protocols.matching import Matching, matched


def meta(classes: int, *names: str) -> Meta:
    target = Target("classes", classes, tuple(map(str, range(classes))))
    return Meta(dict.fromkeys(names or ("label",), target))


def built(clusters: int, of: Meta) -> Matching:
    return matching.build(
        meta=of, trunk=lambda *_, **__: torch.nn.Identity(), seed=0, clusters=clusters
    )


def rows(table: Any, *, width: int = 0) -> Samples:
    """Rows with these counts (g, k), and `width` loud features after those of the clusters."""
    table = np.asarray(table)
    clusters, labels = (np.repeat(i.ravel(), table.ravel()) for i in np.indices(table.shape))
    order = np.random.default_rng(5).permutation(len(labels))
    x = np.eye(len(table), dtype=np.float32)[clusters]
    x = np.concatenate([np.log(x + 0.01), np.full((len(x), width), 9, np.float32)], axis=1)
    return Samples(x[order], {"label": labels[order]}, np.arange(len(labels)))


def right(protocol: Matching, samples: Samples, column: str = "label") -> int:
    assert isinstance(samples.x, np.ndarray)
    guess = protocol.predict(samples.x)[column].argmax(axis=1)
    return int((guess == samples.y["label"]).sum())


def best(table: Any) -> int:
    """The most agreement of a one-to-one matching of counts (g, k), by trying all."""
    wide = min(np.asarray(table), np.asarray(table).T, key=len)
    tried = itertools.permutations(range(wide.shape[1]), len(wide))
    return max(int(wide[np.arange(len(wide)), list(order)].sum()) for order in tried)


def report_of(protocol: Matching, name: str = "label") -> dict[str, Any]:
    report: dict[str, Any] = json.loads(json.dumps(protocol.report()))["clusters"][name]
    return report


SHAPES = [(2, 2), (5, 5), (6, 6), (3, 6), (6, 3), (7, 4)]


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("largest", [3, 40])  # few counts have ties, and classes without rows
def test_no_permutation_agrees_more(shape: tuple[int, int], seed: int, largest: int) -> None:
    table = np.random.default_rng(seed).integers(largest, size=shape)
    table[0, 0] += 1
    samples = rows(table)
    protocol = built(shape[0], meta(shape[1])).fit(samples, None)
    actual = report_of(protocol)
    first = [i for i, number in enumerate(actual["round"]) if number == 1]
    classes = [actual["class"][i] for i in first]
    assert len(set(classes)) == len(classes) == min(shape[0], (table.sum(axis=0) > 0).sum())
    assert sum(actual["agree"][i] for i in first) == best(table)
    assert right(protocol, samples) == sum(actual["agree"]) >= best(table)
    assert actual["rows"] == table.sum(axis=1).tolist()


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("shape", SHAPES)
def test_the_majority_is_counted_and_never_agrees_less(shape: tuple[int, int], seed: int) -> None:
    table = np.random.default_rng(seed).integers(9, size=shape)
    samples = rows(table)
    protocol = built(shape[0], meta(shape[1])).fit(samples, None)
    agreed = right(protocol, samples, "label:majority")
    assert agreed == table.max(axis=1).sum() >= right(protocol, samples)


def test_a_greedy_matching_would_agree_less() -> None:
    samples = rows([[10, 9], [9, 0]])
    protocol = built(2, meta(2)).fit(samples, None)
    assert report_of(protocol)["class"] == [1, 0]
    assert report_of(protocol)["majority"] == [0, 0]
    assert (right(protocol, samples), right(protocol, samples, "label:majority")) == (18, 19)


@pytest.mark.parametrize("shape", [(5, 5), (4, 6), (8, 3)])
def test_the_order_of_clusters_does_not_matter(shape: tuple[int, int]) -> None:
    draw = np.random.default_rng(1)
    table = (2 ** draw.permutation(np.prod(shape)) % 1009).reshape(shape)  # without ties
    samples, order = rows(table, width=3), draw.permutation(shape[0])
    assert isinstance(samples.x, np.ndarray)
    moved = samples.x.copy()
    moved[:, : shape[0]] = samples.x[:, order]
    moved_samples = Samples(moved, samples.y, samples.rows)
    first = built(shape[0], meta(shape[1])).fit(samples, None).predict(samples.x)
    second = built(shape[0], meta(shape[1])).fit(moved_samples, None).predict(moved)
    assert first.keys() == second.keys() == {"label", "label:majority"}
    for name in first:
        np.testing.assert_array_equal(first[name], second[name])


def test_a_permuted_code_of_the_classes_is_always_right() -> None:
    names = np.random.default_rng(2).permutation(10)
    samples = rows(np.diag(np.arange(3, 13))[names], width=2)
    protocol = built(10, meta(10)).fit(samples, None)
    assert report_of(protocol)["class"] == names.tolist()
    for column in ("label", "label:majority"):
        assert right(protocol, samples, column) == len(samples)


def test_scores_are_ones_at_the_matched_classes() -> None:
    samples = rows([[5, 1], [0, 4]])
    assert isinstance(samples.x, np.ndarray)
    for actual in built(2, meta(2)).fit(samples, None).predict(samples.x).values():
        assert actual.dtype == np.float32
        np.testing.assert_array_equal(actual, np.eye(2)[samples.x.argmax(axis=1)])


def test_clusters_left_over_are_matched_among_themselves() -> None:
    actual = report_of(built(5, meta(2)).fit(rows([[9, 0], [8, 7], [0, 8], [1, 0], [3, 6]]), None))
    assert actual["class"] == [0, 0, 1, 0, 1]
    assert actual["round"] == [1, 2, 1, 3, 2]


def test_fewer_clusters_than_classes_leave_the_rarer_classes_out() -> None:
    actual = report_of(built(2, meta(4)).fit(rows([[3, 0, 9, 0], [4, 0, 8, 5]]), None))
    assert actual["class"] == [2, 3]
    assert actual["round"] == [1, 1]


def test_ties_go_to_the_more_frequent_class() -> None:
    samples = rows([[0, 2, 2], [0, 0, 1], [0, 0, 0]])
    protocol = built(3, meta(3)).fit(samples, None)
    assert report_of(protocol)["majority"] == [2, 2, 2]  # an empty cluster is one great tie
    assert report_of(protocol)["class"] == [1, 2, 2]
    assert report_of(protocol)["round"] == [1, 1, 2]
    assert report_of(protocol) == report_of(built(3, meta(3)).fit(samples, None))


def test_a_class_without_a_train_label_gets_no_cluster() -> None:
    actual = report_of(built(3, meta(3)).fit(rows([[0, 5, 0], [0, 0, 5], [0, 2, 1]]), None))
    assert actual["class"] == [1, 2, 1]


def test_labels_that_are_missing_and_validation_count_nothing() -> None:
    samples, others = rows([[6, 1], [2, 5]]), rows([[0, 50], [50, 0]])
    assert isinstance(samples.x, np.ndarray) and isinstance(others.x, np.ndarray)
    x = np.concatenate([samples.x, others.x])
    gone = np.full(len(others), -1)
    labels = {
        "label": np.concatenate([samples.y["label"], gone]),
        "other": np.concatenate([np.full(len(samples), -1), others.y["label"]]),
    }
    train = Samples(x, labels, np.arange(len(x)))
    protocol = built(2, meta(2, "label", "other")).fit(train, others)
    assert report_of(protocol) == report_of(built(2, meta(2)).fit(samples, None))
    assert report_of(protocol, "other")["class"] == [1, 0]
    bare = Samples(x, {**labels, "other": np.full(len(x), -1)}, train.rows)
    with pytest.raises(BenchError, match="no training row has a label of 'other'"):
        built(2, meta(2, "label", "other")).fit(bare, None)


def test_rounds_end_and_use_every_row_once() -> None:
    columns, rounds = matched(np.zeros((7, 3), dtype=np.int64))
    assert np.bincount(rounds).tolist() == [0, 3, 3, 1]
    assert all(len(set(columns[rounds == r])) == (rounds == r).sum() for r in (1, 2, 3))


def test_what_cannot_be_matched_is_refused_in_one_line() -> None:
    samples = rows(np.eye(4, dtype=int))
    with pytest.raises(BenchError, match=r"clusters=5: there are 4 features, .*fewer") as caught:
        built(5, meta(4)).fit(samples, None)
    assert "\n" not in str(caught.value)
    with pytest.raises(BenchError, match="clusters=1: 2 or more"):
        built(1, meta(4))
    images: Any = object()
    with pytest.raises(BenchError, match="reads features"):
        built(4, meta(4)).fit(Samples(images, samples.y, samples.rows), None)
