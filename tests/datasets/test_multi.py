"""Pairs of images on one canvas, with a target for each: sources, positions and overlap."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image
from sklearn.datasets import load_digits

from bench import testing
from bench.data.samples import SPLITS, Meta, SplitName, Target
from bench.datasets import cifar10_kinds, digits, multi_digits
from bench.datasets.base import DataSets, SplitDataSet, index_file, known_facts, take_split
from bench.datasets.parts import overlays as _multi
from bench.datasets.parts.overlays import CANVASES, Pairs, draw_pairs, overlay
from bench.errors import BenchError, Declined
from bench.naming import registry
from bench.naming.specs import resolve

Array = npt.NDArray[Any]
CONSTRUCTIONS: tuple[_multi.Construction, ...] = ("28", "36")
BASES = {
    "multi_digits": ("digits", "digits"),
    "multi_fashion": ("fashion_mnist", "fashion_mnist"),
    "multi_fashion_mnist": ("mnist", "fashion_mnist"),
    "multi_mnist": ("mnist", "mnist"),
}
LARGE = sorted(set(BASES) - {"multi_digits"})


def build(name: str, **params: Any) -> SplitDataSet:
    dataset: SplitDataSet = registry.load(registry.find("datasets", name)).build(**params)
    return dataset


def toy(name: str, *, side: int, channels: int = 1, names: tuple[str, ...] = ()) -> SplitDataSet:
    """60 + 30 + 40 images of ten classes, another one for each name, no two alike."""
    rng = np.random.default_rng(len(name))
    rows: dict[SplitName, int] = {"train": 60, "val": 30, "test": 40}
    shape = channels, side, side
    return SplitDataSet.of(
        f"toy {name}",
        meta=Meta(
            {"label": Target("classes", 10, names or tuple(f"{name} {c}" for c in range(10)))}
        ),
        licence=f"of {name}",
        flips=True,
        images={s: rng.integers(0, 256, (n, *shape), dtype=np.uint8) for s, n in rows.items()},
        labels={s: {"label": rng.permutation(n) % 10} for s, n in rows.items()},
    )


@pytest.fixture
def toys(monkeypatch: pytest.MonkeyPatch) -> dict[str, SplitDataSet]:
    """What `_multi` finds in place of MNIST and Fashion-MNIST."""
    built = {name: toy(name, side=28) for name in ("mnist", "fashion_mnist")}
    monkeypatch.setattr(_multi, "DataSets", lambda root: built.__getitem__)
    return built


def array(data: SplitDataSet, split: SplitName) -> Array:
    images: Array = data.split(split).x.array  # type: ignore[union-attr]
    return images


def traced(
    data: SplitDataSet, left: SplitDataSet, right: SplitDataSet, split: SplitName, *, how: Any
) -> Pairs:
    """The base rows of a data set of the default pairs and seed, drawn again."""
    a, b = left.split(split), right.split(split)
    return draw_pairs(
        (a.y["label"], b.y["label"]),
        len(data.split(split)),
        canvas=CANVASES[array(left, split).shape[-1]][how],
        differ=how == "36" and left is right,
        seed=0,
        stream=f"{data.name.partition(',')[0]}:{split}",
    )


def placed(image: Array, corner: tuple[int, int], side: int) -> Array:
    """One image alone on a black canvas, pixel by pixel."""
    canvas = np.zeros((side, side), dtype=np.uint8)
    for row in range(image.shape[0]):
        for column in range(image.shape[1]):
            canvas[corner[0] + row, corner[1] + column] = image[row, column]
    return canvas


# --- What is drawn


@pytest.mark.parametrize("how", CONSTRUCTIONS)
@pytest.mark.parametrize("name", LARGE)
def test_labels_and_images_are_those_of_base_rows_of_the_same_split(
    name: str, how: Any, toys: dict[str, SplitDataSet]
) -> None:
    data = build(name, root=Path("unused"), construction=how, pairs=150)
    left, right = (toys[base] for base in BASES[name])
    corners = []
    counts: dict[SplitName, int] = {"train": 150, "val": 30, "test": 30}
    for split, count in counts.items():
        pairs = traced(data, left, right, split, how=how)
        samples = data.split(split)
        assert len(samples) == count
        np.testing.assert_array_equal(samples.y["left"], left.split(split).y["label"][pairs.left])
        np.testing.assert_array_equal(
            samples.y["right"], right.split(split).y["label"][pairs.right]
        )
        first, second = array(left, split)[pairs.left], array(right, split)[pairs.right]
        for row in range(count):
            at, to = pairs.left_at[row].tolist(), pairs.right_at[row].tolist()
            corners.append((*at, *to))
            both = np.maximum(placed(first[row, 0], at, 36), placed(second[row, 0], to, 36))
            if how == "28":
                both = np.asarray(Image.fromarray(both).resize((28, 28), Image.Resampling.NEAREST))
            np.testing.assert_array_equal(array(data, split)[row, 0], both)
    low, high = np.min(corners, axis=0).tolist(), np.max(corners, axis=0).tolist()
    expected = ([0, 0, 6, 6], [0, 0, 6, 6]) if how == "28" else ([0, 0, 4, 4], [4, 4, 8, 8])
    assert (low, high) == expected


@pytest.mark.parametrize("name", LARGE)
def test_what_is_said_of_a_data_set_comes_from_its_bases(
    name: str, toys: dict[str, SplitDataSet]
) -> None:
    data = build(name, root=Path("unused"), pairs=100)
    left, right = (toys[base] for base in BASES[name])
    assert list(data.meta.targets) == ["left", "right"]
    assert data.meta.targets["left"].names == left.meta.targets["label"].names
    assert data.meta.targets["right"].names == right.meta.targets["label"].names
    assert data.licence == " and ".join(sorted({left.licence, right.licence}))
    assert not data.flips  # although the bases may be mirrored
    for check in (testing.datasets.check_dataset_meta, testing.datasets.check_dataset_splits):
        check(data)


@pytest.mark.parametrize("how", CONSTRUCTIONS)
def test_classes_differ_where_that_is_promised_and_are_equal_at_random_elsewhere(how: Any) -> None:
    data = multi_digits.build(root=Path("unused"), construction=how)
    for split in SPLITS:
        y = data.split(split).y
        equal = float((y["left"] == y["right"]).mean())
        assert equal == 0 if how == "36" else 0.05 < equal < 0.15
        for side in ("left", "right"):
            assert np.bincount(y[side], minlength=10).min() > 0.05 * len(y[side])


def test_a_digit_and_an_item_may_have_one_number(toys: dict[str, SplitDataSet]) -> None:
    """They are of two sets of classes, so that an equal number means nothing."""
    data = build("multi_fashion_mnist", root=Path("unused"), construction="36", pairs=1_000)
    y = data.split("train").y
    assert 0.05 < float((y["left"] == y["right"]).mean()) < 0.15


@pytest.mark.parametrize("differ", [False, True])
def test_left_images_come_equally_often_and_right_ones_from_all_with_the_same_chance(
    differ: bool,
) -> None:
    labels = np.repeat([0, 1, 2], [50, 30, 20])
    pairs = draw_pairs(
        (labels, labels), 20_050, canvas=CANVASES[28]["36"], differ=differ, seed=1, stream="x"
    )
    assert set(np.bincount(pairs.left, minlength=100)) == {200, 201}
    # A left image of a class with share s leaves 100 (1 - s) images to choose from.
    shares = np.array([0.5, 0.3, 0.2])
    ratio = (shares / (1 - shares)).sum() - shares / (1 - shares) if differ else np.ones(3)
    expected = 200.5 * ratio[labels]
    counts = np.bincount(pairs.right, minlength=100)
    chi2 = float(((counts - expected) ** 2 / expected).sum())
    assert 60 < chi2 < 150  # 99 degrees of freedom: 1 in 1,000 either way
    assert differ == bool((labels[pairs.left] != labels[pairs.right]).all())
    moves = np.stack([*pairs.left_at.T, *(pairs.right_at - 4).T])
    assert moves.min() == 0 and moves.max() == 4
    assert np.abs(np.corrcoef(moves) - np.eye(4)).max() < 0.04
    same = (pairs.left_at == pairs.right_at).all(axis=1).mean()
    assert same == pytest.approx(1 / 625, rel=0.5)


# --- How it lies


@pytest.mark.parametrize("how", CONSTRUCTIONS)
def test_the_left_digit_is_untouched_where_the_right_one_does_not_reach_and_so_is_the_right_one(
    how: Any,
) -> None:
    base = digits.build(root=Path("unused"))
    canvas = CANVASES[8][how]
    pairs = draw_pairs(
        (base.split("val").y["label"],) * 2, 60, canvas=canvas, differ=False, seed=3, stream="x"
    )
    images = array(base, "val")
    whole = type(canvas)(canvas.side, canvas.right, canvas.moves, canvas.side)  # not resized
    drawn_images = overlay(images[pairs.left], images[pairs.right], pairs, canvas=whole)[:, 0]
    sides = ((pairs.left, pairs.left_at), (pairs.right, pairs.right_at))
    covers = [np.array([placed(np.full((8, 8), 1), at, canvas.side) for at in corners.tolist()]) > 0
              for _, corners in sides]  # fmt: skip
    for (rows, corners), mask, other_mask in zip(sides, covers, covers[::-1], strict=True):
        alone = np.array([placed(images[row, 0], at, canvas.side)
                          for row, at in zip(rows, corners.tolist(), strict=True)])  # fmt: skip
        only = mask & ~other_mask
        assert only.any(axis=(1, 2)).all()  # no two in one place
        np.testing.assert_array_equal(drawn_images[only], alone[only])
        assert (drawn_images >= alone).all()
    assert not drawn_images[~covers[0] & ~covers[1]].any()


@pytest.mark.parametrize(("side", "size"), [(36, 28), (10, 8), (36, 36), (11, 11)])
def test_resizing_takes_the_pixel_under_each_centre(side: int, size: int) -> None:
    """Against a loop over the new pixels' centres, and against Pillow."""
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (1, 1, side, side), dtype=np.uint8)
    corner = np.zeros((1, 2), dtype=np.int64)
    pairs = Pairs(corner[:, 0], corner[:, 0], corner, corner)
    canvas = overlay(image, image, pairs, canvas=_multi.Canvas(side, 0, 0, size))[0, 0]
    for row in range(size):
        for column in range(size):
            y, x = int((row + 0.5) * side / size), int((column + 0.5) * side / size)
            assert canvas[row, column] == image[0, 0, y, x]
    pillow = Image.fromarray(image[0, 0]).resize((size, size), Image.Resampling.NEAREST)
    np.testing.assert_array_equal(canvas, np.asarray(pillow))


def test_both_constructions_fit_their_canvas_and_pair_the_same_left_images() -> None:
    for side, canvases in CANVASES.items():
        for canvas in canvases.values():
            assert canvas.right + canvas.moves + side <= canvas.side
    plain, moved = (multi_digits.build(root=Path("unused"), construction=h) for h in CONSTRUCTIONS)
    assert array(plain, "train").shape == (2_500, 1, 8, 8)
    assert array(moved, "train").shape == (2_500, 1, 11, 11)
    assert plain.fingerprint != moved.fingerprint
    np.testing.assert_array_equal(plain.split("test").y["left"], moved.split("test").y["left"])


# --- Splits and seeds


@pytest.mark.parametrize("how", CONSTRUCTIONS)
def test_no_digit_of_one_split_is_in_another(how: Any) -> None:
    """Traced to scikit-learn's own rows; the first row of a left digit's pixels is never covered."""
    base = digits.build(root=Path("unused"))
    data = multi_digits.build(root=Path("unused"), construction=how)
    rows, bunch = take_split(1797, index_file("digits")), load_digits()
    sources: dict[str, set[int]] = {}
    for split in SPLITS:
        pairs, y = traced(data, base, base, split, how=how), data.split(split).y
        for side, picked in (("left", pairs.left), ("right", pairs.right)):
            np.testing.assert_array_equal(bunch.target[rows[split][picked]], y[side])
        sources[split] = {*rows[split][pairs.left].tolist(), *rows[split][pairs.right].tolist()}
        if how == "36":
            for row in range(100):
                (top, left), image = pairs.left_at[row], array(data, split)[row, 0]
                digit = bunch.images[rows[split][pairs.left[row]]] * (255 / 16)
                np.testing.assert_array_equal(image[top, left : left + 8], np.round(digit[0]))
    assert sources["train"] == set(rows["train"].tolist())
    for a in SPLITS:
        for b in SPLITS:
            assert a == b or not sources[a] & sources[b]
    assert len(set(traced(data, base, base, "test", how=how).left.tolist())) == 500


@pytest.mark.parametrize("how", CONSTRUCTIONS)
def test_multi_digits_are_the_known_ones(how: Any) -> None:
    data = multi_digits.build(root=Path("unused"), construction=how)
    agrees_with_what_is_known(data)
    for check in testing.dataset_checks():
        check(data)


@pytest.mark.data
@pytest.mark.parametrize("how", CONSTRUCTIONS)
@pytest.mark.parametrize("name", LARGE)
def test_real_pairs_are_the_known_ones(name: str, how: Any, data: Path) -> None:
    try:
        agrees_with_what_is_known(build(name, root=data, construction=how))
    except Declined as error:
        pytest.skip(str(error))


def agrees_with_what_is_known(data: SplitDataSet) -> None:
    facts = known_facts()[data.name]
    assert data.fingerprint == facts["fingerprint"]
    assert {name: len(data.split(name)) for name in SPLITS} == facts["rows"]
    assert data.test_in_train == facts["test_in_train"] == 0


@pytest.mark.parametrize(
    "params", [{"seed": 1}, {"pairs": 500}, {"construction": "36", "pairs": 40, "seed": 2}]
)
def test_a_data_set_of_other_arguments_is_named_as_its_spec_and_is_another(
    params: dict[str, Any], tmp_path: Path
) -> None:
    text = "multi_digits," + ",".join(f"{k}={v}" for k, v in params.items())
    data, plain = DataSets(tmp_path)(text), DataSets(tmp_path)("multi_digits")
    assert isinstance(data, SplitDataSet) and isinstance(plain, SplitDataSet)
    assert data.name == resolve("datasets", text).text == text
    assert (data.name, data.fingerprint) != (plain.name, plain.fingerprint)
    assert plain.name == "multi_digits"
    assert len(data.split("test")) == params.get("pairs", 2_500) // 5


def test_the_same_seed_draws_the_same_whatever_the_global_state_each_split_by_itself() -> None:
    labels = np.arange(50) % 10

    def rows(seed: int, stream: str) -> list[int]:
        np.random.seed(seed + len(stream))  # noqa: NPY002
        drawn = draw_pairs(
            (labels, labels), 80, canvas=CANVASES[8]["36"], differ=True, seed=seed, stream=stream
        )
        return [*drawn.left.tolist(), *drawn.right.tolist()]

    assert rows(0, "a:train") == rows(0, "a:train")
    assert rows(0, "a:train") != rows(1, "a:train")
    assert rows(0, "a:train") != rows(0, "a:test")


@pytest.mark.parametrize("pairs", [-1, 0, 4])
def test_too_few_pairs_are_refused(pairs: int) -> None:
    with pytest.raises(BenchError, match=f"pairs={pairs}: must be 5 or more"):
        multi_digits.build(root=Path("unused"), pairs=pairs)


@pytest.mark.parametrize("name", LARGE)
def test_an_absent_base_is_declined_by_its_own_word(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def find(base: str) -> SplitDataSet:
        raise Declined(f"{base} is not there")

    monkeypatch.setattr(_multi, "DataSets", lambda root: find)
    with pytest.raises(Declined, match=f"{BASES[name][0]} is not there"):
        build(name, root=Path("unused"))


# --- Another target for the same images


def test_kinds_follow_from_the_classes_and_leave_images_and_splits_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    names = tuple("ship frog airplane automobile bird cat deer dog horse truck".split())  # noqa: SIM905
    made = toy("c", side=32, channels=3, names=names)
    downloads: list[str] = []

    def find(name: str) -> SplitDataSet:
        downloads.append(name)
        return made

    monkeypatch.setattr(cifar10_kinds, "DataSets", lambda root: find)
    data = cifar10_kinds.build(root=Path("unused"))
    cifar10_kinds.build(root=Path("unused"), source="cifar10")
    assert downloads == ["cifar10_jpeg", "cifar10"]
    base, targets = made, data.meta.targets
    assert targets["class"].names == names and targets["kind"].names == ("animal", "vehicle")
    for split in SPLITS:
        pairs, theirs = data.split(split), base.split(split)
        assert pairs.x is theirs.x
        np.testing.assert_array_equal(pairs.y["class"], theirs.y["label"])
        for c, kind in zip(pairs.y["class"], pairs.y["kind"], strict=True):
            wheels = names[c] in ("airplane", "automobile", "ship", "truck")
            assert kind == int(wheels)
    assert data.licence == base.licence and data.flips and data.fingerprint != base.fingerprint
    for check in testing.dataset_checks():
        check(data)


def test_classes_of_another_data_set_have_no_kinds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        cifar10_kinds, "DataSets", lambda root: lambda name: toy("thing", side=32, channels=3)
    )
    with pytest.raises(BenchError, match="classes of cifar10_jpeg are not those of CIFAR-10"):
        cifar10_kinds.build(root=Path("unused"))
