"""The guided autoencoder: which labels it gets, and what they add to the loss."""

from __future__ import annotations

import itertools
import math
from fractions import Fraction
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch import nn

from bench.data.samples import Target
from bench.encoders.autoencoders import guided
from bench.encoders.autoencoders.guided import share_of_labels
from bench.errors import BenchError
from tests.kit.trained import apart, learnt, loss_of, made, quadrants

Array = npt.NDArray[Any]
LABEL = Target("classes", 4, ("nw", "ne", "sw", "se"))
TARGETS = {
    "label": LABEL,
    "tag": Target("binary", 2, ("south", "east")),
    "size": Target("number", 1, ("brightness",)),
}


def encoder_of(arguments: str = "", *, targets: Any = None, seed: int = 0) -> Any:
    return made(f"guided,width=8,code=4{arguments}", targets=targets or {"label": LABEL}, seed=seed)


def labels_of(count: int, *, missing: float = 0.0) -> dict[str, Array]:
    rng = np.random.default_rng(0)
    shares: dict[str, Array] = {
        "label": np.arange(count) % 4,
        "tag": np.stack([np.arange(count) % 4 // 2, np.arange(count) % 2], axis=1),
        "size": rng.random((count, 1), dtype=np.float32),
    }
    gone = rng.random(count) < missing
    shares["label"][gone] = shares["tag"][gone] = -1
    shares["size"][gone] = np.nan
    return shares


# --- The share


def some_labels(sizes: dict[int, int]) -> Array:
    """So many labels of each class (-1: missing), in any order."""
    every = np.repeat(list(sizes), list(sizes.values()))
    return np.random.default_rng(0).permutation(every)


@pytest.mark.parametrize("share", [0.001, 0.01, 0.07, 0.1, 0.28, 0.5, 0.55, 1.0])
def test_each_class_keeps_its_share_of_labels_rounded_up(share: float) -> None:
    sizes = {-1: 50, 0: 100, 1: 30, 2: 7, 3: 1}
    labels = some_labels(sizes)
    targets = share_of_labels(LABEL, labels, share, 0)
    for c in range(4):
        expected = math.ceil(Fraction(str(share)) * sizes[c])
        assert ((targets == c).sum(), (targets[labels == c] == c).sum()) == (expected, expected)
    assert (targets[labels == -1] == -1).all()
    assert targets.shape == labels.shape and targets.dtype == labels.dtype


def test_a_smaller_share_lies_within_a_larger_one() -> None:
    labels = some_labels({-1: 20, 0: 90, 1: 31, 2: 7, 3: 1})
    subsets = [
        set(np.flatnonzero(share_of_labels(LABEL, labels, s, 0) >= 0))
        for s in (0.02, 0.1, 0.33, 0.9, 1)
    ]
    assert all(small < large for small, large in itertools.pairwise(subsets))
    assert subsets[-1] == set(np.flatnonzero(labels >= 0))


def test_the_share_is_drawn_by_the_seed_and_leaves_the_labels_as_they_are() -> None:
    labels = some_labels({0: 90, 1: 31})
    before = labels.copy()
    first, again, third = (share_of_labels(LABEL, labels, 0.2, seed) for seed in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert (first != third).any()
    np.testing.assert_array_equal(labels, before)


def test_every_label_is_as_likely_to_be_kept() -> None:
    labels = some_labels({0: 40, 1: 20})
    shares = np.mean(
        [share_of_labels(LABEL, labels, 0.25, seed) >= 0 for seed in range(400)], axis=0
    )
    assert np.abs(shares - 0.25).max() < 4.5 * (0.25 * 0.75 / 400) ** 0.5


@pytest.mark.parametrize("name", ["tag", "size"])
def test_of_yes_no_labels_and_numbers_a_share_of_the_rows_is_kept_whole(name: str) -> None:
    labels = labels_of(101, missing=0.3)[name]
    there = ~np.isnan(labels).all(axis=1) if name == "size" else (labels >= 0).any(axis=1)
    assert 20 < there.sum() < 101
    subsets = list[Array]()
    for share in (0.2, 0.6):
        masked = share_of_labels(TARGETS[name], labels, share, 0)
        subsets.append(~np.isnan(masked[:, 0]) if name == "size" else masked[:, 0] >= 0)
        assert subsets[-1].sum() == math.ceil(Fraction(str(share)) * int(there.sum()))
        np.testing.assert_array_equal(masked[subsets[-1]], labels[subsets[-1]])
        assert masked.dtype == labels.dtype and there[subsets[-1]].all()
    assert (subsets[1] >= subsets[0]).all()


def test_without_any_label_nothing_is_kept() -> None:
    nothing = np.full(9, -1)
    np.testing.assert_array_equal(share_of_labels(LABEL, nothing, 0.5, 0), nothing)


# --- The loss


@pytest.mark.parametrize("weight", [0.5, 10])
def test_the_loss_is_squared_error_and_the_weighted_mean_over_labelled_rows(weight: float) -> None:
    encoder, labels, rows = (
        encoder_of(f",weight={weight},share=0.4"),
        labels_of(40),
        np.arange(3, 30),
    )
    loss = loss_of(guided, encoder, quadrants(40), labels={"label": labels["label"]})
    batch = quadrants(40).read(rows)
    granted = torch.from_numpy(share_of_labels(LABEL, labels["label"], 0.4, 0)[rows])
    labelled = granted >= 0
    assert 3 < labelled.sum() < 20
    with torch.no_grad():
        terms = loss(batch, rows)
        code = encoder.encode(batch)
        outputs = encoder.heads.heads[0](code)
        lost = ((encoder.decode(code) - batch) ** 2).sum() / 27
        expected = weight * nn.functional.cross_entropy(outputs[labelled], granted[labelled])
    assert list(terms) == ["reconstruction", "label"]
    torch.testing.assert_close(terms["reconstruction"], lost)
    torch.testing.assert_close(terms["label"], expected)


def test_rows_without_a_label_give_the_head_no_gradient() -> None:
    encoder, labels, rows = encoder_of(",share=0.4"), labels_of(40), np.arange(40)
    loss = loss_of(guided, encoder, quadrants(40), labels={"label": labels["label"]})
    batch = quadrants(40).read(rows).requires_grad_()
    [slopes] = torch.autograd.grad(loss(batch, rows)["label"], batch)
    labelled = torch.from_numpy(share_of_labels(LABEL, labels["label"], 0.4, 0)) >= 0
    assert labelled.sum() == 16
    assert torch.equal(slopes.flatten(1).abs().amax(dim=1) > 0, labelled)


def test_a_batch_without_labels_has_the_gradient_of_the_squared_error_alone() -> None:
    encoder, labels = encoder_of(",share=0.1"), labels_of(40)
    granted = share_of_labels(LABEL, labels["label"], 0.1, 0)
    rows = np.flatnonzero(granted < 0)[:9]
    loss = loss_of(guided, encoder, quadrants(40), labels={"label": labels["label"]})
    terms = loss(quadrants(40).read(rows), rows)
    assert terms["label"].item() == 0
    head = list(encoder.heads.parameters())
    assert all(not g.any() for g in torch.autograd.grad(sum(terms.values()), head))


def test_all_targets_are_asked_or_the_one_that_is_named() -> None:
    labels, rows = labels_of(40), np.arange(40)
    batch = quadrants(40).read(rows)
    for arguments, expected in (("", list(TARGETS)), (",target=tag", ["tag"])):
        encoder = encoder_of(arguments, targets=TARGETS)
        terms = loss_of(guided, encoder, quadrants(40), labels=labels)(batch, rows)
        assert list(terms) == ["reconstruction", *expected]


def test_the_report_says_how_many_labels_of_each_target_were_granted() -> None:
    encoder, labels = encoder_of(",share=0.3", targets=TARGETS), labels_of(40, missing=0.2)
    report = encoder.fit(quadrants(40), labels=labels, budget=40, seed=0)
    classes = np.bincount(labels["label"][labels["label"] >= 0])
    rows = int((labels["label"] >= 0).sum())
    expected = sum(math.ceil(0.3 * int(n)) for n in classes)
    count = math.ceil(0.3 * rows)
    assert report.notes == {"labels": {"label": expected, "tag": count, "size": count}}
    assert set(report.terms) == {"reconstruction", *TARGETS}


# --- Weights


@pytest.mark.parametrize("track", ["conv", "mlp"])
@pytest.mark.parametrize("share", [0.1, 1])
def test_weight_0_is_the_autoencoder_bit_for_bit(share: float, track: str) -> None:
    labels = {"label": labels_of(40)["label"]}
    sizes = f",track={track},share={share}"
    encoder = learnt(encoder_of(f"{sizes},weight=0"), labels=labels)
    weighed = learnt(encoder_of(sizes), labels=labels)
    assert apart(encoder, weighed) != []
    start = encoder_of(sizes).state_dict()
    heads = [name for name in encoder if name.startswith("heads")]
    assert heads and all(torch.equal(encoder.pop(name), start[name]) for name in heads)
    assert apart(encoder, learnt(made(f"autoencoder,width=8,code=4,track={track}"))) == []


def test_labels_that_are_not_granted_change_nothing() -> None:
    labels = labels_of(40)["label"]
    granted = share_of_labels(LABEL, labels, 0.2, 0)
    first = learnt(encoder_of(",share=0.2"), labels={"label": labels})
    # Exactly the granted labels: the same share of the same rows, drawn in one piece.
    assert apart(first, learnt(encoder_of(",share=1"), labels={"label": granted})) == []


def test_labels_of_targets_that_it_does_not_use_change_nothing() -> None:
    labels = labels_of(40)
    single = learnt(encoder_of(",target=label", targets=TARGETS), labels=labels)
    second = learnt(encoder_of(",target=label", targets=TARGETS), labels={"label": labels["label"]})
    assert apart(single, second) == []


def test_granted_labels_can_be_read_off_the_code() -> None:
    images, unseen = quadrants(256), quadrants(64, seed=1).read(np.arange(64))
    encoder = encoder_of(",share=0.5,rate=0.01,weight=30")
    encoder.fit(images, labels={"label": np.arange(256) % 4}, budget=12 * 128, seed=0)
    with torch.no_grad():
        said = encoder.heads.heads[0](encoder.encode(unseen)).argmax(dim=1).numpy()
    assert (said == np.arange(64) % 4).mean() > 0.9


# --- What cannot be


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("share=0", "share=0: must be above 0 and at most 1"),
        ("share=1.5", "share=1.5: must be above 0 and at most 1"),
        ("share=-0.1", "share=-0.1: must be above 0 and at most 1"),
        ("weight=-1", "weight=-1: must be 0 or more"),
        ("target=lab", "target=lab: the data set has no such target (targets: label)"),
    ],
)
def test_wrong_arguments_are_refused_in_one_line_with_what_is_allowed(
    arguments: str, message: str
) -> None:
    with pytest.raises(BenchError) as caught:
        encoder_of(f",{arguments}")
    assert str(caught.value) == f"guided,{message}"


@pytest.mark.parametrize("labels", [None, {}, {"other": np.zeros(40, np.int64)}])
def test_without_labels_of_its_targets_it_is_not_trained(labels: Any) -> None:
    with pytest.raises(BenchError, match="guided needs labels") as caught:
        encoder_of().fit(quadrants(40), labels=labels, budget=40, seed=0)
    assert str(caught.value).isprintable()
