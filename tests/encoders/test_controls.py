"""Controls against scikit-image, scikit-learn and plain loops."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from skimage.feature import hog as skimage_hog
from sklearn.metrics.pairwise import rbf_kernel

from bench import testing
from bench.data.images import ArrayImages, Delivery, Input
from bench.data.samples import SourceInfo
from bench.encoders.base import Encoder
from bench.encoders.controls import hog, random_fourier, random_patches
from bench.encoders.controls.random_patches import RandomPatches
from bench.errors import BenchError
from bench.naming.specs import resolve
from bench.running.workspace import fresh

Array = npt.NDArray[Any]
GREY = SourceInfo(1, 12, 11, {})
RGB = SourceInfo(3, 12, 11, {})
LEARNT = [
    "random_fourier",
    "random_patches,patches=20",
    "random_patches,patches=20,dictionary=kmeans",
]


def delivery(input: Input, count: int = 40, seed: int = 0) -> Delivery:
    return Delivery(testing.tiny_images(count, input, seed=seed), input)


def fitted_patches(source: SourceInfo = RGB, **arguments: Any) -> tuple[RandomPatches, Delivery]:
    encoder = random_patches.build(source=source, **{"patches": 9, "field": 4, **arguments})
    images = delivery(encoder.input)
    encoder.fit(images, labels=None, budget=40, seed=0)
    return encoder, images


def pictures(size: int) -> dict[str, Array]:
    """uint8 (n, size, size): noise, blurred noise, a disk, bars at a slant, steps, one colour."""
    y, x = np.mgrid[:size, :size]
    noise = np.random.default_rng(0).integers(0, 256, (8, size, size))
    disk = 255 * ((y - size / 2) ** 2 + (x - size / 2) ** 2 < size**2 / 9)
    bars = 127 + 120 * np.sin(0.7 * x + 0.3 * y)
    options = {
        "noise": noise,
        "blurred": testing.tiny_images(8, Input(size=(size, size), channels=1)).array[:, 0],
        "shapes": np.stack([disk, bars, 8 * (x // 3), 5 * y, np.full_like(x, 77)]),
    }
    return {name: images.astype(np.uint8) for name, images in options.items()}


# --- Histograms of oriented gradients


@pytest.mark.parametrize("kind", ["noise", "blurred", "shapes"])
@pytest.mark.parametrize(("size", "cell"), [(32, 8), (16, 8), (37, 8), (20, 5)])
def test_hog_equals_scikit_image(kind: str, size: int, cell: int) -> None:
    images = torch.from_numpy(pictures(size)[kind]).float().div(255).unsqueeze(1)
    features = hog.build(source=GREY, size=size, cell=cell)(images).numpy()
    for image, code in zip(images[:, 0].numpy(), features, strict=True):
        expected = skimage_hog(
            image,
            orientations=9,
            pixels_per_cell=(cell, cell),
            cells_per_block=(2, 2),
            block_norm="L2-Hys",
            feature_vector=True,
        )
        np.testing.assert_allclose(code, expected, atol=1e-4)


def test_gradients_of_hog_are_those_of_small_steps_and_finite_where_nothing_is() -> None:
    encoder, generator = hog.build(source=GREY, size=16, cell=8), torch.Generator().manual_seed(0)
    image = torch.rand(1, 1, 16, 16, generator=generator, dtype=torch.float64, requires_grad=True)
    weights, step = torch.randn(36, generator=generator, dtype=torch.float64), 1e-7
    along = torch.randn(image.shape, generator=generator, dtype=torch.float64)
    (slope,) = torch.autograd.grad((encoder(image) @ weights).sum(), image)
    with torch.no_grad():
        ahead, behind = (encoder(image + s * along) @ weights for s in (step, -step))
    assert float((slope * along).sum()) == pytest.approx(float(ahead - behind) / 2 / step, rel=1e-4)
    blank = torch.full((1, 1, 16, 16), 0.5, requires_grad=True)
    encoder(blank).sum().backward()
    assert blank.grad is not None and blank.grad.isfinite().all()


# --- Random Fourier features


def test_fourier_features_approximate_the_gaussian_kernel_as_one_over_the_root_of_their_number() -> (
    None
):
    images = delivery(Input(size=(12, 11), channels=1)).read(np.arange(40))
    kernel = rbf_kernel(images.flatten(1).numpy(), gamma=1 / (2 * 4.0**2))
    assert 0.05 < np.median(kernel) < 0.95  # neither all alike nor all apart

    def error(dim: int) -> float:
        squares = []
        for seed in range(8):
            spec = resolve("encoders", f"random_fourier,dim={dim},bandwidth=4")
            code = fresh(spec, GREY, seed, {})(images).numpy()
            squares.append(np.mean((code @ code.T - kernel) ** 2))
        return float(np.sqrt(np.mean(squares)))

    errors = [error(dim) for dim in (64, 1024, 16384)]
    # An estimate of D terms, each of variance at most 1/2 + (1 - k^2)^2 / 2 <= 1.
    assert errors[0] < 1 / np.sqrt(64)
    assert errors[0] / errors[1] == pytest.approx(4, rel=0.3)
    assert errors[1] / errors[2] == pytest.approx(4, rel=0.3)


def test_the_bandwidth_is_near_the_median_of_all_distances_and_a_given_one_stays() -> None:
    encoder = random_fourier.build(source=GREY, dim=8)
    images = delivery(encoder.input, 400)
    report = encoder.fit(images, labels=None, budget=400, seed=0)
    flat = images.read(np.arange(400)).flatten(1)
    assert float(encoder.bandwidth) == pytest.approx(float(torch.pdist(flat).median()), rel=0.03)
    assert report.images_seen == 400
    explicit = random_fourier.build(source=GREY, dim=8, bandwidth=2.5)
    explicit.fit(images, labels=None, budget=400, seed=0)
    assert float(explicit.bandwidth) == 2.5


# --- Patches


@pytest.mark.parametrize("source", [GREY, RGB])
def test_whitening_makes_the_covariance_of_the_drawn_patches_the_identity(
    source: SourceInfo,
) -> None:
    encoder, images = fitted_patches(source, epsilon=1e-6)
    white = encoder.whitened(encoder.draw_patches(images, 0)[0]).double()
    # The mean of a patch is taken out before: one direction has no variance left.
    expected = torch.eye(white.shape[1]) - 1 / white.shape[1]
    torch.testing.assert_close(torch.cov(white.T), expected.double(), atol=5e-3, rtol=0)
    assert white.mean(dim=0).abs().max() < 1e-3


def test_epsilon_shrinks_each_direction_by_its_own_variance() -> None:
    encoder, images = fitted_patches(epsilon=0.1)
    raw = encoder.draw_patches(images, 0)[0].double().numpy()
    normal = raw - raw.mean(axis=1, keepdims=True)
    normal /= np.sqrt(raw.var(axis=1, keepdims=True) + 10 / 255**2)
    whitening = encoder.whitening.double().numpy()
    shrunk = whitening @ (np.cov(normal.T) + 0.1 * np.eye(len(whitening))) @ whitening
    np.testing.assert_allclose(shrunk, np.eye(len(whitening)), atol=1e-4)
    np.testing.assert_allclose(whitening, whitening.T, atol=1e-6)  # ZCA, not PCA


def test_every_patch_is_drawn_once_where_there_are_few() -> None:
    encoder, images = fitted_patches()
    drawn, seen = encoder.draw_patches(images, 0)
    pixels = images.read(np.arange(40)).numpy()
    expected = [
        i[:, y : y + 4, x : x + 4].ravel() for i in pixels for y in range(9) for x in range(8)
    ]
    np.testing.assert_array_equal(drawn.numpy(), expected)
    assert seen == 40


def test_part_of_the_patches_are_different_places(monkeypatch: pytest.MonkeyPatch) -> None:
    encoder = random_patches.build(source=RGB, field=4)
    images = delivery(encoder.input)
    every = {patch.tobytes() for patch in encoder.draw_patches(images, 0)[0].numpy()}
    monkeypatch.setattr(random_patches, "_DRAWN", 50)
    monkeypatch.setattr(random_patches, "_BATCH", 7)
    patches = [patch.tobytes() for patch in encoder.draw_patches(images, 0)[0].numpy()]
    assert len(set(patches)) == len(patches) == 50 and set(patches) < every


@pytest.mark.parametrize("dictionary", ["random", "kmeans"])
@pytest.mark.parametrize("chunk", [1, 2**20])
def test_activations_and_pooling_equal_a_loop(
    dictionary: str, chunk: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(random_patches, "_CHUNK", chunk)
    encoder, images = fitted_patches(dictionary=dictionary)
    images_read = images.read(np.arange(3))
    mean, whitening, atoms = (
        b.double().numpy() for b in (encoder.mean, encoder.whitening, encoder.atoms)
    )
    expected = np.zeros((3, 2, 2, 9))
    for i, image in enumerate(images_read.double().numpy()):
        for y in range(9):  # 5 positions above, 4 below
            for x in range(8):
                patch = image[:, y : y + 4, x : x + 4].ravel()
                normal = (patch - patch.mean()) / np.sqrt(patch.var() + 10 / 255**2)
                white = (normal - mean) @ whitening
                z = np.array([np.linalg.norm(white - atom) for atom in atoms])
                expected[i, int(y >= 5), int(x >= 4)] += np.maximum(0, z.mean() - z)
    np.testing.assert_allclose(
        encoder(images_read).numpy(), expected.reshape(3, 36), rtol=1e-3, atol=1e-3
    )


def test_random_atoms_are_different_drawn_patches_at_unit_length() -> None:
    encoder, images = fitted_patches(patches=30)
    white = encoder.whitened(encoder.draw_patches(images, 0)[0])
    cosines = encoder.atoms @ torch.nn.functional.normalize(white).T
    torch.testing.assert_close(encoder.atoms.norm(dim=1), torch.ones(30))
    assert cosines.amax(dim=1).min() > 1 - 1e-5
    assert len(set(cosines.argmax(dim=1).tolist())) == 30


def test_means_lie_nearer_to_patches_than_patches_do() -> None:
    spread = []
    for dictionary in ("random", "kmeans"):
        encoder, images = fitted_patches(dictionary=dictionary)
        white = encoder.whitened(encoder.draw_patches(images, 0)[0])
        # Unit length is for activations; as a code book, atoms have the patches' own length.
        atoms = (
            encoder.atoms if dictionary == "kmeans" else encoder.atoms * white.norm(dim=1).mean()
        )
        spread.append(float(torch.cdist(white, atoms).amin(dim=1).square().mean()))
    assert spread[1] < spread[0]


# --- All


@pytest.mark.parametrize("text", LEARNT)
def test_seeds_differ_and_repeat(text: str) -> None:
    spec = resolve("encoders", text)
    images = delivery(Input(size=(16, 16), channels=1), 5, seed=1).read(np.arange(5))
    first, again, third = (testing.tiny_encoder(spec, seed=s)(images) for s in (0, 0, 1))
    assert torch.equal(first, again)
    assert (first - third).abs().max() > 1e-2


@pytest.mark.parametrize("text", [*LEARNT, "hog"])
def test_state_loaded_into_a_fresh_build_gives_the_same_features(text: str) -> None:
    spec = resolve("encoders", text)
    encoder = testing.tiny_encoder(spec)
    larger: Encoder = fresh(spec, SourceInfo(1, 16, 16, {}), 5, {})
    larger.load_state_dict(encoder.state_dict())
    images = delivery(encoder.input, 5, seed=1).read(np.arange(5))
    assert torch.equal(larger(images), encoder(images))


@pytest.mark.parametrize(
    ("module", "arguments"),
    [
        (hog, {"size": 7}),
        (hog, {"cell": 0}),
        (random_fourier, {"dim": 0}),
        (random_fourier, {"bandwidth": 0.0}),
        (random_fourier, {"bandwidth": -1.0}),
        (random_patches, {"patches": 1}),
        (random_patches, {"field": 11}),
        (random_patches, {"field": 1}),
        (random_patches, {"epsilon": 0.0}),
    ],
)
def test_wrong_arguments_are_refused_in_one_line(module: Any, arguments: dict[str, Any]) -> None:
    with pytest.raises(BenchError) as caught:
        module.build(source=GREY, **arguments)
    assert next(iter(arguments)) in str(caught.value)
    assert str(caught.value).isprintable()


@pytest.mark.parametrize(("module", "count"), [(random_fourier, 1), (random_fourier, 9)])
def test_a_bandwidth_that_images_do_not_give_is_reported_in_one_line(
    module: Any, count: int
) -> None:
    encoder = module.build(source=GREY)
    images = Delivery(ArrayImages(np.zeros((count, 1, 12, 11), np.uint8)), encoder.input)
    with pytest.raises(BenchError, match="give bandwidth=") as caught:
        encoder.fit(images, labels=None, budget=count, seed=0)
    assert str(caught.value).isprintable()


def test_patches_without_contrast_are_no_atoms_and_too_few_are_reported_in_one_line() -> None:
    encoder = random_patches.build(source=GREY, patches=9)
    array = np.full((5, 1, 12, 11), 200, np.uint8)
    array[0, 0, 0, 0] = 0  # seen by one patch alone
    with pytest.raises(BenchError, match=r"only 1 of 210") as caught:
        encoder.fit(Delivery(ArrayImages(array), encoder.input), labels=None, budget=5, seed=0)
    assert str(caught.value).isprintable()
