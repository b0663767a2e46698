"""ICA, Gaussian mixtures and k-means against scikit-learn, known truth and plain loops."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from sklearn.decomposition import FastICA
from sklearn.metrics import adjusted_rand_score
from torch import Tensor

from bench import testing
from bench.data.images import ArrayImages, Delivery, Input
from bench.data.samples import SourceInfo
from bench.encoders.base import Encoder, FitReport
from bench.encoders.classical import gmm, ica, kmeans, pca
from bench.encoders.classical.kmeans import components_by_group
from bench.encoders.parts import principal as _principal
from bench.errors import BenchError

Array = npt.NDArray[Any]
GREY = SourceInfo(1, 12, 11, {})
FORM = Input(size=(12, 11), channels=1)


def tiny(count: int = 400) -> Delivery:
    return Delivery(testing.tiny_images(count, FORM), FORM)


def every(images: Delivery) -> Tensor:
    return images.read(np.arange(len(images)))


def fitted(module: Any, images: Delivery | None = None, seed: int = 0, **arguments: Any) -> Any:
    """An encoder after fit; its report is `.told`."""
    encoder: Any = module.build(source=GREY, **arguments)
    encoder.told = fit(encoder, images or tiny(), seed)
    return encoder


def fit(encoder: Encoder, images: Delivery, seed: int = 0) -> FitReport:
    return encoder.fit(images, labels=None, budget=len(images), seed=seed)


def blobs(count: int = 120) -> tuple[Delivery, Array]:
    """Three pictures with a little noise, and which one each image is of."""
    rng = np.random.default_rng(0)
    which = np.arange(count) % 3
    pictures = rng.integers(40, 216, (3, 1, 12, 11))
    noisy = pictures[which] + rng.integers(-15, 16, (count, 1, 12, 11))
    return Delivery(ArrayImages(noisy.astype(np.uint8)), FORM), which


def mixed(count: int = 4000) -> tuple[Delivery, Array]:
    """Images that are sums of four patterns, times sources (n, 4) that are independent of each other."""
    rng = np.random.default_rng(1)
    flat = rng.uniform(-1.7, 1.7, (count, 2)), rng.laplace(0, 0.7, (count, 2)).clip(-4, 4)
    sources = np.concatenate(flat, axis=1)
    patterns = rng.standard_normal((4, 1, 12, 11))
    images = np.einsum("ns,schw->nchw", sources, patterns)
    scaled = 127.5 + 127 * images / np.abs(images).max()
    return Delivery(ArrayImages(scaled.round().astype(np.uint8)), FORM), sources


def matched(a: Array, b: Array) -> Array:
    """How well each column of `a` is a column of `b`: |correlation|, each used once."""
    correlations = np.abs(np.corrcoef(a.T, b.T)[: a.shape[1], a.shape[1] :])
    assert len(set(correlations.argmax(axis=1))) == a.shape[1]
    best: Array = correlations.max(axis=1)
    return best


# --- Independent components


def test_ica_finds_the_sources_that_images_were_mixed_of_where_pca_does_not() -> None:
    images, sources = mixed()
    encoder = fitted(ica, images, dim=4)
    assert matched(encoder(every(images)).numpy(), sources).min() > 0.99
    whitened = fitted(pca, images, dim=4, whiten=True)(every(images)).numpy()
    correlations = np.abs(np.corrcoef(whitened.T, sources.T)[:4, 4:])
    assert correlations.max(axis=1).min() < 0.95
    assert encoder.told.notes == {"converged": True, "sources": 4}


@pytest.mark.parametrize("seed", [0, 1])
def test_ica_finds_what_scikit_learn_finds(seed: int) -> None:
    images, _ = mixed()
    flat = every(images).flatten(1).double().numpy()
    theirs = FastICA(4, whiten="unit-variance", fun="logcosh", random_state=seed).fit(flat)
    code = fitted(ica, images, dim=4, seed=seed)(every(images)).numpy()
    assert matched(code, theirs.transform(flat)).min() > 0.9999


def test_sources_are_centred_and_white_on_training_images() -> None:
    images = tiny()
    code = fitted(ica, images, dim=16)(every(images)).double()
    torch.testing.assert_close(torch.cov(code.T), torch.eye(16).double(), atol=1e-4, rtol=0)
    assert code.mean(dim=0).abs().max() < 1e-4


def test_sources_have_one_order_and_one_sign_whatever_the_seed() -> None:
    images, _ = mixed()
    a, b = (fitted(ica, images, dim=4, seed=seed) for seed in (0, 1))
    torch.testing.assert_close(a.weights, b.weights, atol=0.05, rtol=0.05)
    largest = a.weights.gather(1, a.weights.abs().argmax(dim=1, keepdim=True))
    assert (largest > 0).all()
    code = a(every(images)).numpy().astype(np.float64)
    normal = np.random.default_rng(0).standard_normal(1_000_000)
    distances = np.abs(np.log(np.cosh(code)).mean(axis=0) - np.log(np.cosh(normal)).mean())
    assert (np.diff(distances) < 1e-3).all()


def test_ica_keeps_of_an_image_what_pca_keeps() -> None:
    images = tiny()
    independent, principal = fitted(ica, images, dim=16), fitted(pca, images, dim=16)
    few_images = every(images)[:9]
    torch.testing.assert_close(
        independent.reconstruct(few_images), principal.reconstruct(few_images), atol=1e-4, rtol=0
    )


def test_directions_without_variance_make_sources_and_posteriors_that_know_nothing() -> None:
    array = np.full((90, 1, 12, 11), 7, np.uint8)
    array[:, 0, 4, 3:8] = np.random.default_rng(0).integers(0, 256, (90, 5))
    images = Delivery(ArrayImages(array), FORM)
    encoder = fitted(ica, images, dim=8)
    assert encoder.told.notes["sources"] == 5
    code = encoder(every(images))
    assert (code[:, 5:] == 0).all() and code[:, :5].std(dim=0).min() > 0.9
    mixture, smaller = (fitted(gmm, images, components=3, dim=dim) for dim in (8, 5))
    assert mixture.told == smaller.told and mixture.told.notes["dimensions"] == 5
    torch.testing.assert_close(mixture(every(images)), smaller(every(images)))


def test_a_search_that_was_cut_short_is_reported_in_the_notes_and_not_on_the_screen(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for module in (ica, gmm, kmeans):
        monkeypatch.setattr(module, "_ITERATIONS", 1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        encoders = (
            fitted(ica, dim=8),
            fitted(gmm, components=9, dim=8),
            fitted(kmeans, code=9, dim=8),
        )
    assert [encoder.told.notes["converged"] for encoder in encoders] == [False] * 3


# --- Gaussian mixtures


def caught(module: Any, name: str, monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What `module.name` gives from now on."""
    calls, call = [], getattr(module, name)

    def keep(*arguments: Any) -> Any:
        calls.append(call(*arguments))
        return calls[-1]

    monkeypatch.setattr(module, name, keep)
    return calls


def test_posteriors_and_likelihood_equal_those_of_scikit_learn(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    mixtures, images = caught(gmm, "_mixture", monkeypatch), tiny()
    encoder = fitted(gmm, images, components=7, dim=10)
    unseen = every(Delivery(testing.tiny_images(50, FORM, seed=1), FORM))
    for pixels in (every(images), unseen, torch.ones(2, 1, 12, 11)):
        white, code = encoder.whitened(pixels).numpy(), encoder(pixels)
        expected = mixtures[0].predict_proba(white)
        np.testing.assert_allclose(code.numpy(), expected, atol=1e-5)
        np.testing.assert_allclose(code.sum(dim=1).numpy(), 1, atol=1e-5)
        density = encoder.joint(torch.from_numpy(white)).logsumexp(dim=1).numpy()
        np.testing.assert_allclose(density, mixtures[0].score_samples(white), rtol=1e-9)
    white = encoder.whitened(every(images))
    torch.testing.assert_close(torch.cov(white.T), torch.eye(10).double(), atol=1e-8, rtol=0)
    likelihood = encoder.told.terms["log_likelihood"]
    assert likelihood == pytest.approx(mixtures[0].score(white.numpy()), abs=1e-5)
    assert encoder.told.notes["units_in_use"] == len(set(mixtures[0].predict(white.numpy())))


def test_the_likelihood_rises_from_where_it_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    last = fitted(gmm, components=7, dim=10).told
    monkeypatch.setattr(gmm, "_ITERATIONS", 1)
    first = fitted(gmm, components=7, dim=10).told
    assert last.terms["log_likelihood"] > first.terms["log_likelihood"] + 0.05
    assert last.notes["converged"] and last.steps > first.steps


# --- Clusters


def nearest(point: Array, centres: Array) -> int:
    return min(range(len(centres)), key=lambda j: float(np.sum((point - centres[j]) ** 2)))


@pytest.mark.parametrize("groups", [1, 2, 5])
def test_clusters_are_those_of_scikit_learn_and_the_nearest_centres(
    groups: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls, images = caught(kmeans, "_clusters", monkeypatch), tiny()
    encoder = fitted(kmeans, images, groups=groups, code=20, dim=10)
    unseen = every(Delivery(testing.tiny_images(50, FORM, seed=1), FORM))
    size = 20 // groups
    for pixels in (every(images), unseen):
        along = encoder.projected(pixels).numpy()
        code = encoder(pixels).view(len(pixels), groups, size).numpy()
        for group, components in enumerate(components_by_group(10, groups, 0)):
            np.testing.assert_array_equal(
                code[:, group].argmax(axis=1), calls[group].predict(along[:, components].copy())
            )
            loop = [nearest(z, calls[group].cluster_centers_) for z in along[:, components]]
            np.testing.assert_array_equal(code[:, group].argmax(axis=1), loop)


@pytest.mark.parametrize("groups", [1, 2, 4, 8])
def test_as_many_units_are_on_as_there_are_groups_and_all_codes_have_one_length(
    groups: int,
) -> None:
    images = tiny()
    encoder = fitted(kmeans, images, groups=groups, code=32, dim=10)
    code = encoder(every(images))
    assert encoder.dims == {"code": 32} and code.shape == (400, 32)
    assert set(code.unique().tolist()) == {0.0, 1.0}
    assert (code.view(400, groups, -1).sum(dim=2) == 1).all()
    assert encoder.told.notes["units_in_use"] == int((code.sum(dim=0) > 0).sum())


def test_a_distributed_code_tells_more_images_apart_than_it_has_units_a_local_one_does_not() -> (
    None
):
    regions = []
    for groups in (1, 8):
        code = fitted(kmeans, groups=groups, code=32, dim=10)(every(tiny()))
        regions.append(len(code.unique(dim=0)))
    assert regions[0] <= 32 and regions[1] > 300


@pytest.mark.parametrize(("dim", "groups"), [(64, 1), (64, 8), (64, 64), (10, 4)])
def test_each_component_is_dealt_to_one_group_and_each_group_has_some_of_every_rank(
    dim: int, groups: int
) -> None:
    hands = components_by_group(dim, groups, 0)
    assert sorted(np.concatenate(hands)) == list(range(dim))
    for hand in hands:
        full = hand[: dim // groups]
        np.testing.assert_array_equal(full // groups, np.arange(dim // groups))
        assert len(hand) in (dim // groups, dim // groups + 1)
    if 1 < groups < dim:
        assert any(
            list(a) != list(b)
            for a, b in zip(hands, components_by_group(dim, groups, 1), strict=True)
        )


@pytest.mark.parametrize(
    ("module", "arguments"),
    # Whitened noise would hide them from the mixture's start: two components hold the three.
    [(kmeans, {"code": 3, "dim": 10}), (gmm, {"components": 3, "dim": 2})],
    ids=["kmeans", "gmm"],
)
def test_images_of_three_pictures_fall_into_three(module: Any, arguments: dict[str, Any]) -> None:
    images, which = blobs()
    code = fitted(module, images, **arguments)(every(images))
    assert adjusted_rand_score(which, code.argmax(dim=1).numpy()) == 1


def test_what_clusters_leave_is_the_variance_within_them() -> None:
    images, _ = blobs()
    encoder = fitted(kmeans, images, code=3, dim=10)
    along, clusters = encoder.projected(every(images)), encoder(every(images)).argmax(dim=1)
    within = sum(
        float((along[clusters == j] - along[clusters == j].mean(dim=0)).square().sum())
        for j in range(3)
    )
    assert encoder.told.terms["unexplained"] == pytest.approx(
        within / float(along.square().sum()), abs=1e-6
    )
    assert 0 < encoder.told.terms["unexplained"] < 0.2


# --- All


def test_of_many_images_some_are_drawn_each_once(monkeypatch: pytest.MonkeyPatch) -> None:
    images, pixels = tiny(), torch.eye(132, dtype=torch.float64)
    zero = torch.zeros(132, dtype=torch.float64)
    whole = _principal.projections(images, zero, pixels, seed=0)
    np.testing.assert_allclose(whole, every(images).flatten(1).numpy())
    monkeypatch.setattr(_principal, "ROWS", 50)
    parts = [_principal.projections(images, zero, pixels, seed=seed) for seed in (0, 0, 1)]
    rows = {row.tobytes() for row in whole}
    drawn = {row.tobytes() for row in parts[0]}
    assert len(drawn) == len(parts[0]) == 50 and drawn < rows
    assert np.array_equal(parts[0], parts[1]) and not np.array_equal(parts[0], parts[2])


@pytest.mark.parametrize(
    ("module", "arguments"),
    [
        (ica, {"dim": 0}),
        (gmm, {"components": 1}),
        (gmm, {"dim": 0}),
        (kmeans, {"dim": 0}),
        (kmeans, {"groups": 0}),
        (kmeans, {"groups": 11, "code": 22, "dim": 10}),
        (kmeans, {"groups": 3, "code": 256}),
        (kmeans, {"groups": 4, "code": 4}),
        (kmeans, {"code": 0}),
        (kmeans, {"code": -2}),
    ],
)
def test_wrong_arguments_are_refused_in_one_line(module: Any, arguments: dict[str, Any]) -> None:
    with pytest.raises(BenchError, match="must be") as caught:
        module.build(source=GREY, **arguments)
    assert next(iter(arguments)) in str(caught.value)
    assert str(caught.value).isprintable()


@pytest.mark.parametrize(
    ("module", "arguments", "count"),
    [
        (ica, {"dim": 20}, 20),
        (gmm, {"components": 20, "dim": 5}, 20),
        (gmm, {"components": 5, "dim": 20}, 20),
        (kmeans, {"code": 20, "dim": 5}, 20),
        (kmeans, {"code": 4, "dim": 20}, 20),
    ],
)
def test_one_image_is_too_few_and_is_reported_in_one_line(
    module: Any, arguments: dict[str, Any], count: int
) -> None:
    with pytest.raises(
        BenchError, match=r"needs two training images or more; there are 1"
    ) as caught:
        fitted(module, tiny(1), **arguments)
    assert str(caught.value).isprintable()
    fitted(module, tiny(count + 1), **arguments)


@pytest.mark.parametrize("count", [2, 8, 20])
@pytest.mark.parametrize(
    ("module", "arguments", "note"),
    [
        (pca, {}, "components"),
        (pca, {"whiten": True}, "components"),
        (ica, {}, "sources"),
        (gmm, {}, "components"),
        (kmeans, {}, "clusters"),
        (kmeans, {"groups": 32, "code": 256}, "dimensions"),
    ],
    ids=["pca", "whitened", "ica", "gmm", "kmeans", "groups"],
)
def test_few_images_give_fewer_units_the_others_are_0_and_the_notes_say_so(
    module: Any, arguments: dict[str, Any], note: str, count: int
) -> None:
    encoder = fitted(module, tiny(count), **arguments)
    assert encoder.told.notes[note] <= count - 1
    code = encoder(every(tiny(60)))
    assert code.shape == (60, encoder.dims["code"]) and code.isfinite().all()
    active = int((code != 0).any(dim=0).sum())
    limit = count - 1 if note != "dimensions" else 32 * (count - 1)
    assert 1 <= active <= limit
    assert (encoder(every(tiny(60))) == code).all()
    if module in (pca, ica):
        assert (code[:, count - 1 :] == 0).all()
        rebuilt = encoder.reconstruct(every(tiny(count)))
        assert torch.allclose(rebuilt, every(tiny(count)), atol=1e-3)  # n - 1 directions are all
    again = fitted(module, tiny(400), **arguments) if module is pca else None
    if again is not None:
        assert not again.told.notes  # nothing is said where nothing is missing
        fit(again, tiny(count))  # the same encoder on fewer images
        assert torch.equal(again(every(tiny(60))), code)


@pytest.mark.parametrize("module", [ica, gmm, kmeans])
@pytest.mark.parametrize("value", [0, 200])
def test_images_that_are_all_the_same_are_reported_or_taken(module: Any, value: int) -> None:
    images = Delivery(ArrayImages(np.full((300, 1, 12, 11), value, np.uint8)), FORM)
    if module is kmeans:
        assert len(fitted(kmeans, images, code=16)(every(images)).unique(dim=0)) == 1
        return
    with pytest.raises(BenchError, match="all training images are equal") as caught:
        fitted(module, images)
    assert str(caught.value).isprintable()
