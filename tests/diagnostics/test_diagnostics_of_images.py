"""Diagnostics that look at images or labels: encoders and worlds whose answer is known."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch import nn

from bench.data.images import ArrayImages, Delivery, Input
from bench.data.samples import Meta, Samples, Target
from bench.diagnostics import (
    attributes,
    disentanglement,
    factors,
    jacobian,
    outliers,
    reconstruction,
)
from bench.diagnostics.base import Context
from bench.diagnostics.parts.factors import independent, levels
from bench.encoders.base import Encoder

Array = npt.NDArray[Any]
SIDE = 6
SIZE = SIDE * SIDE


class Linear(Encoder):
    """Pixels times a matrix (d, pixels), and half of them given back."""

    seeded = False

    def __init__(self, weight: Array) -> None:
        super().__init__()
        self.input = Input(size=(SIDE, SIDE), channels=1)
        self.dims = {"code": len(weight)}
        self.register_buffer("weight", torch.from_numpy(np.asarray(weight, np.float32)))

    def taps(self, images: torch.Tensor) -> dict[str, torch.Tensor]:
        return {"code": images.flatten(1) @ self.weight.T}  # type: ignore[operator]

    def reconstruct(self, images: torch.Tensor) -> torch.Tensor:
        return images / 2


def pictures(count: int, seed: int = 0) -> Array:
    return np.random.default_rng(seed).integers(0, 256, (count, 1, SIDE, SIDE), dtype=np.uint8)


def delivered(images: Array) -> Delivery:
    return Delivery(ArrayImages(images), Input(size=(SIDE, SIDE), channels=1))


def context(
    weight: Array,
    *,
    train: Array,
    val: Array,
    targets: Mapping[str, Target] | None = None,
    y: Mapping[str, Array] | None = None,
    truth: Mapping[str, Array] | None = None,
    others: Array | None = None,
) -> Context:
    encoder = Linear(weight)
    parts = {
        name: encoder.taps(delivered(images).read(np.arange(len(images))))["code"].numpy()
        for name, images in (("train", train), ("val", val))
    }
    return Context(
        encoder=encoder,
        level="code",
        meta=Meta(targets or {}),
        factors=targets or {},
        training=Samples(delivered(train), y or {}, np.arange(len(train))),
        training_features={"code": parts["train"]},
        validation=Samples(delivered(val), truth or {}, np.arange(len(val))),
        validation_features={"code": parts["val"]},
        outliers=None if others is None else delivered(others),
        head=None,
        seed=0,
    )


# --- Jacobian


def test_the_norm_of_a_linear_encoder_is_that_of_its_matrix_and_free_of_scale() -> None:
    """Many directions: the mean of |W v|^2 over the sphere is |W|_F^2 / d_x."""
    train, val = pictures(300), pictures(128, 1)
    weight = np.random.default_rng(2).standard_normal((5, SIZE))
    values = jacobian.diagnose(context(weight, train=train, val=val))
    x = val.reshape(128, SIZE) / 255
    spread = (x @ weight.T).var(axis=0).sum()
    scale = (train.reshape(300, SIZE) / 255).var(axis=0).sum()
    expected = np.square(weight).sum() / SIZE * scale / spread
    assert values["norm"] == pytest.approx(expected, rel=0.05)
    for images in (
        context(9 * weight, train=train, val=val),
        context(weight, train=train // 2, val=val // 2),
    ):
        assert jacobian.diagnose(images)["norm"] == pytest.approx(values["norm"], rel=0.02)


def test_pixels_have_norm_1_and_all_directions_alike() -> None:
    images = pictures(128)
    values = jacobian.diagnose(context(np.eye(SIZE), train=images, val=images))
    assert values["norm"] == pytest.approx(1, rel=1e-3)
    assert values["tangent_share"] == pytest.approx(5 / SIZE, rel=1e-3)


def test_an_encoder_that_sees_the_manifold_alone_spends_all_on_its_tangents() -> None:
    """Images on a plane of two dimensions; the encoder is the projection onto it."""
    rng = np.random.default_rng(3)
    plane = np.linalg.qr(rng.standard_normal((SIZE, 2)))[0].T
    flat = 0.5 + rng.uniform(-1, 1, (2_128, 2)) @ plane
    images = np.round(255 * flat.clip(0, 1)).astype(np.uint8).reshape(-1, 1, SIDE, SIDE)
    on = jacobian.diagnose(context(plane, train=images[128:], val=images[:128]))
    across = np.linalg.svd(plane)[2][2:7]  # five directions that no image has
    off = jacobian.diagnose(context(across, train=images[128:], val=images[:128]))
    assert on["tangent_share"] == pytest.approx(1, abs=0.15)
    assert off["tangent_share"] < 0.5 < on["tangent_share"]  # type: ignore[operator]
    assert off["norm"] > 100 * on["norm"]  # type: ignore[operator]


@pytest.mark.parametrize("count", [3, 40])
def test_tangents_are_orthonormal_and_span_the_way_to_neighbours(count: int) -> None:
    rng = np.random.default_rng(4)
    image, bank = rng.random((1, 8), np.float32), rng.random((count, 8), np.float32)
    axes = jacobian.tangents(image, bank)[:, 0]
    lengths = np.round(np.linalg.norm(axes, axis=1), 5)
    size = min(count, 5)
    assert lengths.tolist() == [1.0] * size + [0.0] * (len(axes) - size)
    near = bank[np.argsort(np.linalg.norm(bank - image, axis=1))[:10]] - image
    values = np.linalg.svd(near)[1]
    assert np.square(near @ axes.T).sum() == pytest.approx(np.square(values[:size]).sum(), rel=1e-4)


def test_slopes_are_those_of_the_derivative() -> None:
    """Of a curved encoder, against PyTorch's own Jacobian."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Flatten(), nn.Linear(SIZE, 7), nn.Tanh(), nn.Linear(7, 3)).double()
    images = torch.rand(4, 1, SIDE, SIDE, dtype=torch.float64)
    directions = nn.functional.normalize(torch.randn(4, SIZE, dtype=torch.float64), dim=1)
    slopes = jacobian.squared_slopes(lambda x: net(x).detach().numpy(), images, directions, 1e-4)
    for row in range(4):
        whole = torch.autograd.functional.jacobian(net, images[row : row + 1]).reshape(3, SIZE)
        assert slopes[row] == pytest.approx(
            float((whole @ directions[row]).square().sum()), rel=1e-5
        )


def test_without_a_gradient_or_with_constant_features_there_is_no_jacobian() -> None:
    none = {"norm": None, "tangent_share": None}
    features = context(np.zeros((2, SIZE)), train=pictures(20), val=pictures(20))
    assert jacobian.diagnose(features) == none
    features = context(np.eye(SIZE), train=pictures(20), val=pictures(20))
    features.encoder.differentiable = False
    assert jacobian.diagnose(features) == none


# --- Reconstruction


def test_what_is_lost_is_relative_to_the_mean_image() -> None:
    images = torch.rand(50, 1, 4, 4)
    assert reconstruction.lost(images, images) == 0
    mean = images.mean(dim=0, keepdim=True).expand_as(images)
    assert reconstruction.lost(images, mean) == pytest.approx(1, rel=1e-5)
    assert reconstruction.lost(torch.ones(5, 1, 4, 4), torch.zeros(5, 1, 4, 4)) is None


def test_train_held_out_and_noise_are_what_they_say() -> None:
    """Halves given back: the loss is E|x/2|^2 over the variance."""
    train, val = pictures(200) // 2, pictures(100, 1)
    values = reconstruction.diagnose(context(np.eye(2, SIZE), train=train, val=val))
    for name, images in (("train", train), ("held_out", val)):
        x = images.reshape(len(images), -1) / 255
        assert values[name] == pytest.approx(
            np.square(x / 2).sum() / (len(x) * x.var(axis=0).sum()), rel=1e-4
        )
    assert values["noise"] == pytest.approx((1 / 3 / 4) / (1 / 12), rel=0.05)


def test_an_encoder_that_reconstructs_nothing_has_no_loss(monkeypatch: pytest.MonkeyPatch) -> None:
    features = context(np.eye(2, SIZE), train=pictures(5), val=pictures(5))
    monkeypatch.delattr(Linear, "reconstruct")
    assert set(reconstruction.diagnose(features).values()) == {None}


# --- Outliers


def test_the_area_is_the_share_of_pairs_in_order() -> None:
    rng = np.random.default_rng(5)
    inside, others = rng.normal(0, 1, 60).round(1), rng.normal(1, 1, 70).round(1)
    pairs = (others[:, None] > inside).mean() + 0.5 * (others[:, None] == inside).mean()
    assert outliers.auroc(inside, others) == pytest.approx(pairs)


def test_images_from_elsewhere_are_reported_and_others_of_the_same_are_not() -> None:
    left = pictures(700) * (np.arange(SIDE) < 2).astype(np.uint8)
    right = pictures(100, 9) * (np.arange(SIDE) > 3).astype(np.uint8)
    parts = {"train": left[:500], "val": left[500:600]}
    auroc = outliers.diagnose(context(np.eye(SIZE), others=right, **parts))["auroc"]
    same = outliers.diagnose(context(np.eye(SIZE), others=left[600:], **parts))["auroc"]
    assert auroc == 1 and same == pytest.approx(0.5, abs=0.1)
    assert outliers.diagnose(context(np.eye(SIZE), **parts)) == {"auroc": None}


# --- Factors

KINDS = {
    "shape": Target("classes", 3, ("a", "b", "c")),
    "place": Target("number", 2, ("x", "y")),
    "both": Target("classes", 6, tuple("uvwxyz"), semantics=np.eye(6)),
}


def world(count: int, seed: int) -> tuple[Array, dict[str, Array]]:
    """Labels, and features of which one column a class and a number are the factors."""
    rng = np.random.default_rng(seed)
    shape, place = rng.integers(0, 3, count), rng.random((count, 2)).astype(np.float32)
    x = np.concatenate([np.eye(3)[shape], place, rng.random((count, 2))], axis=1)
    return x.astype(np.float32), {"shape": shape, "place": place, "both": shape}


def test_linear_probes_read_linear_factors_and_no_noise() -> None:
    (x, y), (z, truth) = world(400, 0), world(200, 1)
    scores = factors.probed(independent(KINDS), x, y, z, truth)
    assert scores == {"accuracy of shape": 1.0, "R2 of place": pytest.approx(1, abs=1e-4)}
    rng = np.random.default_rng(2)
    noise = factors.probed(independent(KINDS), rng.random((400, 5)), y, rng.random((200, 5)), truth)
    assert noise["accuracy of shape"] < 0.5 and noise["R2 of place"] < 0.1  # type: ignore[operator]


def test_rows_without_a_label_are_left_out() -> None:
    (x, y), (z, truth) = world(400, 0), world(200, 1)
    lost = {**y, "shape": np.where(np.arange(400) % 2, y["shape"], -1)}
    partial = {**truth, "shape": np.where(np.arange(200) % 2, truth["shape"], -1)}
    missing = {name: values[1::2] for name, values in y.items()}
    scores = factors.probed(independent(KINDS), x, lost, z, partial)
    expected = factors.probed(independent(KINDS), x[1::2], missing, z, truth)
    assert scores["R2 of place"] == pytest.approx(expected["R2 of place"])
    assert factors.r_squared(truth["place"] * 0, truth["place"] * 0) is None


def test_the_penalty_is_the_best_of_ridge_by_leaving_one_out() -> None:
    """Against scikit-learn, which leaves one out by the same shortcut, at the same penalties."""
    from sklearn.linear_model import RidgeCV

    rng = np.random.default_rng(7)
    x, z = rng.standard_normal((60, 30)), rng.standard_normal((50, 30))
    weight = rng.standard_normal((30, 2))
    y = {"place": (x @ weight + 4 * rng.standard_normal((60, 2))).astype(np.float32)}
    truth = {"place": (z @ weight).astype(np.float32)}
    targets = {"place": KINDS["place"]}
    score = factors.probed(targets, x, y, z, truth)["R2 of place"]
    grid = factors.GRID * x.var(axis=0).mean() * 60
    ridge = RidgeCV(grid, scoring="neg_mean_squared_error").fit(x, y["place"])
    assert score == pytest.approx(ridge.score(z, truth["place"]), abs=0.02)


def test_levels_are_classes_and_bins_of_equal_counts() -> None:
    _, labels = world(1_000, 3)
    names = levels(KINDS, labels)
    assert list(names) == ["shape", "x", "y"]
    assert np.bincount(names["x"]).tolist() == [100] * 10
    order = np.argsort(labels["place"][:, 0], kind="stable")
    assert (np.diff(names["x"][order]) >= 0).all()


# --- Disentanglement


def test_one_unit_a_factor_is_disentangled_and_a_rotation_is_not() -> None:
    rng = np.random.default_rng(8)
    values = rng.integers(0, 4, (3_000, 3))
    code = values + 0.01 * rng.random((3_000, 3))
    turn = np.linalg.qr(rng.standard_normal((3, 3)))[0]
    gap = disentanglement.information_gap(code, values.T)
    assert gap == pytest.approx(1, abs=0.02)
    assert disentanglement.information_gap(code @ turn, values.T) < 0.5 * gap
    assert disentanglement.information_gap(np.repeat(code[:, :1], 2, axis=1), values.T[:1]) == 0


def test_the_gap_is_that_of_counts() -> None:
    """Mutual information by its definition, of one factor and two units of two levels each."""
    y = np.array([0] * 50 + [1] * 50)
    first = np.where(np.arange(100) % 50 < 40, y, 1 - y)  # right in 4 of 5
    second = np.arange(100) % 2
    share = np.array([0.8, 0.2])
    entropy = -(share * np.log(share)).sum()
    expected = (np.log(2) - entropy) / np.log(2)
    gap = disentanglement.information_gap(np.stack([first, second], axis=1).astype(float), [y])
    assert gap == pytest.approx(expected)


def test_entropies_of_known_importances() -> None:
    assert disentanglement.entropies(np.eye(4)) == pytest.approx((1, 1))
    assert disentanglement.entropies(np.ones((4, 4))) == pytest.approx((0, 0))
    apart, complete = disentanglement.entropies(np.array([[1.0, 0], [1, 0], [0, 2]]))
    assert apart == pytest.approx(1)
    assert complete == pytest.approx((2 * (1 - np.log(2) / np.log(3)) + 2 * 1) / 4)
    assert disentanglement.entropies(np.zeros((3, 2))) == (0, 0)


def test_of_a_whole_encoder_and_of_one_that_is_too_large() -> None:
    """The first two pixels are the factors; the encoder reads them, or all of them."""
    rng = np.random.default_rng(9)
    values = rng.integers(0, 4, (800, 2))
    images = np.zeros((800, 1, SIDE, SIDE), np.uint8)
    images[:, 0, 0, :2] = 60 * values
    targets = {name: Target("classes", 4, tuple("abcd")) for name in ("first", "second")}
    labels = {"first": values[:, 0], "second": values[:, 1]}
    arguments: Any = {
        "train": images, "val": images, "targets": targets, "y": labels, "truth": labels,
    }  # fmt: skip
    result = disentanglement.diagnose(context(np.eye(2, SIZE), **arguments))
    for name in ("mig", "disentanglement", "completeness", "informativeness"):
        assert result[name] == pytest.approx(1, abs=0.02)
    assert result["mig of a rotation"] < 0.8  # type: ignore[operator]
    large = context(np.ones((disentanglement.LARGEST + 1, SIZE)), **arguments)
    assert set(disentanglement.diagnose(large).values()) == {None}
    single = {**arguments, "targets": {"first": targets["first"]}}
    assert set(disentanglement.diagnose(context(np.eye(2, SIZE), **single)).values()) == {None}


# --- Attributes


def attribute_world(encoded: Array) -> tuple[Array, Array, Array]:
    """Features (n, 6) linear in those attributes (8, 3) that are `encoded`, and labels."""
    rng = np.random.default_rng(10)
    table = rng.standard_normal((8, 3))
    y = np.repeat(np.arange(8), 60)
    table_part = np.where(encoded, table, rng.standard_normal((8, 3)))
    x = table_part[y] @ rng.standard_normal((3, 6)) + 0.05 * rng.standard_normal((480, 6))
    return x.astype(np.float32), y, table


def predicted(encoded: Array) -> Mapping[str, float | None]:
    x, y, table = attribute_world(encoded)
    targets = {"label": Target("classes", 8, tuple("abcdefgh"), semantics=table)}
    order = np.random.default_rng(11).permutation(480)
    train, val = order[:300], order[300:]
    context_of_images = context(
        np.eye(2, SIZE), train=pictures(2), val=pictures(2), targets=targets
    )
    parts = {
        "training": Samples(context_of_images.training.x, {"label": y[train]}, train),
        "validation": Samples(context_of_images.validation.x, {"label": y[val]}, val),
        "training_features": {"code": x[train]},
        "validation_features": {"code": x[val]},
    }
    from dataclasses import replace

    return attributes.diagnose(replace(context_of_images, **parts))


def test_attributes_that_features_hold_are_reported_of_new_classes_too() -> None:
    all_encoded = predicted(np.array([True, True, True]))
    assert all_encoded["images"] > 0.95 and all_encoded["classes"] > 0.9  # type: ignore[operator]
    assert all_encoded["attributes told"] == 1


def test_attributes_that_features_do_not_hold_are_reported_of_known_classes_alone() -> None:
    """Eight classes in three dimensions: a fit to images can still tell some of them apart."""
    none_encoded = predicted(np.array([False, False, False]))
    assert none_encoded["classes"] < 0.2 < none_encoded["images"]  # type: ignore[operator]
    one_encoded = predicted(np.array([True, False, False]))
    assert 0.2 < one_encoded["attributes told"] < 1  # type: ignore[operator]


def test_the_fit_without_a_class_never_sees_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its own rows and signature may be anything."""
    x, y, table = attribute_world(np.array([True, True, True]))
    x = x.astype(np.float64)
    changed, permuted = np.where((y == 3)[:, None], 1e3, x), table.copy()
    permuted[3] = -1e3
    grid = attributes._grid(x)  # of all rows' variance
    monkeypatch.setattr(attributes, "_grid", lambda _: grid)
    predictions = [
        attributes._fit_without(rows, y, attributes.RidgeClassSums.of(rows, y, 8), signatures, 3)(
            x[:5]
        )
        for rows, signatures in ((x, table), (changed, permuted))
    ]
    np.testing.assert_array_equal(*predictions)


def test_ridge_on_sums_of_classes_is_that_on_their_rows() -> None:
    from sklearn.linear_model import Ridge

    x, y, table = attribute_world(np.array([True, True, True]))
    x, chosen = x.astype(np.float64) + 3, np.array([0, 2, 5, 6])
    rows = np.isin(y, chosen)
    weights, biases = attributes.RidgeClassSums.of(x, y, 8).solve(
        chosen, table, np.array([0.3, 1e-3])
    )
    for number, penalty in enumerate((0.3, 1e-3)):
        ridge = Ridge(penalty * rows.sum()).fit(x[rows], table[y[rows]])
        np.testing.assert_allclose(weights[number], ridge.coef_.T, rtol=1e-6, atol=1e-9)
        np.testing.assert_allclose(biases[number], ridge.intercept_, rtol=1e-6, atol=1e-9)


def test_without_signatures_there_is_no_attribute() -> None:
    targets = {"label": Target("classes", 2, ("a", "b"))}
    features = context(np.eye(2, SIZE), train=pictures(4), val=pictures(4), targets=targets)
    assert attributes.diagnose(features) == {}
