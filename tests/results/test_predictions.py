"""Predictions in a file: nothing is lost, and less is written."""

from __future__ import annotations

import zlib
from typing import Any

import numpy as np
import pytest

from bench.errors import BenchError
from bench.results.predictions import (
    decode,
    encode,
    encode_stacked,
    encode_truth,
    pack,
    parts_of,
    unpack,
)
from bench.solvers.stacking import seen_unseen_curve

Arrays = dict[str, Any]


def kept(seed: int, k: int, sharp: float, missing: float = 0.0) -> Arrays:
    """Two replicates of log-probabilities whose best class is mostly the true one."""
    rng = np.random.default_rng(seed)
    truth = np.where(rng.random(500) < missing, -1, rng.integers(k, size=500))
    arrays = {"truth/label": encode_truth("classes", truth)}
    for number in (0, 7):
        scores = rng.standard_normal((500, k))
        scores[np.arange(500), truth] += sharp
        log = scores - np.log(np.exp(scores).sum(axis=1, keepdims=True))
        encoded = encode("classes", log, truth, probabilistic=True)
        arrays |= {f"{number}/label/{part}": value for part, value in encoded.items()}
    return arrays


def same(a: Arrays, b: Arrays) -> bool:
    return set(a) == set(b) and all(
        a[n].dtype == b[n].dtype and np.array_equal(a[n], b[n]) for n in a
    )


@pytest.mark.parametrize("k", [2, 10, 128, 300])
@pytest.mark.parametrize("sharp", [0.0, 3.0, 30.0])
@pytest.mark.parametrize("missing", [0.0, 0.2])
def test_nothing_is_lost(k: int, sharp: float, missing: float) -> None:
    arrays = kept(k, k, sharp, missing)
    packed = pack(arrays)
    assert same(unpack(packed), arrays)
    assert set(packed) == {
        "truth/label",
        *(f"0,7/label/{part}" for part in ("class", "top", "true")),
    }
    assert all(a.shape == (500, 2) for name, a in packed.items() if name != "truth/label")


def test_arrays_of_any_value_come_back() -> None:
    rng = np.random.default_rng(1)
    truth = rng.integers(-1, 127, 256).astype(np.int8)
    arrays = {
        "truth/label": truth,
        "0/label/class": rng.integers(-128, 128, 256).astype(np.int8),
        "0/label/top": np.arange(256, dtype=np.uint8),
        "0/label/true": rng.integers(0, 256, 256).astype(np.uint8),
        "0/label/margin": rng.standard_normal(256).astype(np.float16),
        "0/label/counts": rng.integers(0, 99, (3, 10)).astype(np.int32),
        "1/label/class": rng.integers(0, 10, 255).astype(np.int16),  # of other rows
        "1/place/value": rng.standard_normal((256, 2)).astype(np.float16),
        "unheard of": rng.standard_normal(3),
    }
    assert same(unpack(pack(arrays)), arrays)


def test_right_predictions_leave_zeros_and_take_less_room() -> None:
    arrays = kept(3, 10, 6.0)
    packed = pack(arrays)
    truth, guess = arrays["truth/label"], arrays["7/label/class"]
    right = guess == truth
    assert right.mean() > 0.9
    assert not packed["0,7/label/class"][right, 1].any()
    codes = packed["0,7/label/true"][right, 1].view(np.int8)  # two roundings of one number
    assert np.abs(codes[arrays["7/label/top"][right] > 64]).max() <= 1

    def size(arrays: Arrays) -> int:
        return sum(len(zlib.compress(a.tobytes())) for a in arrays.values())

    assert size(packed) < 0.75 * size(arrays)


def test_replicates_of_one_shape_lie_side_by_side() -> None:
    arrays = {f"{number}/label/counts": np.array([number, 2]) for number in (12, 0, 1, 2, 5, 11)}
    arrays |= {"3/label/counts": np.array([3]), "4/label/counts": np.array([4, 2], np.int8)}
    arrays |= {"05/label/counts": np.array([5, 2]), "1-2": np.array([1]), "0": np.array([7])}
    packed = pack(arrays)
    assert packed["0-2,5,11-12/label/counts"].tolist() == [[0, 1, 2, 5, 11, 12], [2] * 6]
    assert len(packed) == 6
    assert same(unpack(packed), arrays)


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("0-2/label/class", (3, 4)),
        ("0-2/label/class", ()),
        ("0,1/label/class", (3,)),
        ("0-999999/label/class", (3,)),
        ("3-0,0-5/label/class", (4,)),
        ("0-4,4-5/label/class", (7,)),
        ("5,3/label/class", (2,)),
    ],
)
def test_stacks_that_are_not_what_their_names_say_are_refused(
    name: str, shape: tuple[int, ...]
) -> None:
    with pytest.raises(ValueError, match=r"replicates|do not rise"):
        unpack({name: np.zeros(shape)})


def test_a_part_that_is_missing_is_named() -> None:
    """Also one that is looked up later: arrays are a stranger's."""
    arrays = {"truth/label": np.zeros(3, np.int8), "2/label/top": np.zeros(3, np.uint8)}
    parts = parts_of(arrays, 2, "label")
    assert set(parts) == {"truth", "top"}
    for reader in (
        lambda: parts_of(arrays, 2, "label", "class"),
        lambda: parts["class"],
        lambda: decode("classes", parts, parts["truth"]),
    ):
        with pytest.raises(BenchError, match="replicate 2 has no class of 'label' stored"):
            reader()


def test_no_logarithm_is_so_close_to_a_half_that_machines_could_differ() -> None:
    value = 16 * np.log(np.arange(1, 256) / 255)
    assert np.abs(value - np.floor(value) - 0.5).min() > 1e-6


@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e6])
def test_margins_of_three_bits_give_the_area_again(scale: float) -> None:
    rng = np.random.default_rng(5)
    truth, unseen = rng.integers(10, size=4000), frozenset({2, 5, 9})
    scores = rng.standard_normal((4000, 10))
    scores[np.arange(4000), truth] += 1.5
    scores[:, [0, 1, 3, 4]] += 0.7
    encoded = encode_stacked(scale * scores, sorted(unseen))
    margin = encoded["margin"].astype(float)
    again = np.full((4000, 10), -1e7)
    again[np.arange(4000), encoded["best_seen"]] = margin
    again[np.arange(4000), encoded["best_unseen"]] = 0
    exact = scale * scores
    old = [c for c in range(10) if c not in unseen]
    true = exact[:, old].max(axis=1) - exact[:, sorted(unseen)].max(axis=1)
    near = np.abs(true) > 1e-4  # fp16 has all its bits
    assert np.abs(margin / true - 1)[near].max() < 1 / 16 + 1e-3
    assert np.array_equal(np.sign(margin)[near], np.sign(true)[near])
    first, second = (
        seen_unseen_curve(scores, truth, unseen).area,
        seen_unseen_curve(again, truth, unseen).area,
    )
    assert second == pytest.approx(first, abs=5e-4)
    assert second != first  # the bits that went would have told
