"""Diagnostics of features: cases whose answer is known, and the lecture's three codes."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from bench.diagnostics.clustering import agreement
from bench.diagnostics.effective_rank import participation, rankme
from bench.diagnostics.sparsity import measures

Array = npt.NDArray[Any]
LECTURE = {
    "sparse, not distributed": [[0, 0.2, 0, 0, 0], [0, 0, 0, 0, 0.1], [0, 0, 0, 0.4, 0]],
    "distributed, not sparse": [
        [0.1, 0.8, 0.7, 0.5, 0.7],
        [0.8, 0.9, 0.6, 0.2, 0.4],
        [0.3, 0.1, 0.6, 0.3, 0.3],
    ],
    "sparse and distributed": [[0, 0.8, 0, 0.5, 0], [0, 0, 0.6, 0, 0.4], [0.3, 0, 0, 0.3, 0]],
}


def rotation(d: int, seed: int) -> Array:
    return np.linalg.qr(np.random.default_rng(seed).standard_normal((d, d)))[0]


@pytest.mark.parametrize("n", [3, 50])
def test_rankme_of_known_singular_values(n: int) -> None:
    """Singular values 3, 1 of 4 dimensions: shares 3/4 and 1/4, whichever way they are turned."""
    values = np.zeros((n, 4))
    values[:2, :2] = np.diag([3.0, 1.0])
    turned = rotation(n, 0) @ values @ rotation(4, 1)
    entropy = -(0.75 * math.log(0.75) + 0.25 * math.log(0.25))
    assert rankme(turned) == pytest.approx(math.exp(entropy), rel=1e-5)
    assert rankme(5 * turned) == pytest.approx(rankme(turned))
    assert rankme(np.zeros((n, 4))) == 0


def test_rankme_is_not_of_centred_features() -> None:
    features = np.random.default_rng(0).standard_normal((500, 8))
    assert rankme(features) == pytest.approx(8, rel=0.02)
    assert rankme(features + 50) < 2 < rankme(features - features.mean(axis=0))


@pytest.mark.parametrize("n", [5, 60])
def test_participation_is_that_of_the_eigenvalues(n: int) -> None:
    features = np.random.default_rng(1).standard_normal((n, 9)) * np.arange(1, 10) + 3
    eigenvalues = np.linalg.eigvalsh(np.cov(features.T))
    wanted = eigenvalues.sum() ** 2 / np.square(eigenvalues).sum()
    assert participation(features) == pytest.approx(wanted)
    assert participation(np.ones((n, 9))) == 0


def test_the_three_codes_of_the_lecture_are_told_apart() -> None:
    local, dense, both = (measures(np.array(code)) for code in LECTURE.values())
    assert local["hoyer"] == pytest.approx(1) and local["active"] == pytest.approx(1 / 5)
    assert dense["active"] == 1 and dense["always"] == 1
    assert dense["hoyer"] < 0.35 < both["hoyer"] < local["hoyer"]  # type: ignore[operator]
    assert both["active"] == pytest.approx(2 / 5)  # more than one unit an image, and not all
    assert local["dead"] == pytest.approx(2 / 5) and both["dead"] == dense["dead"] == 0


def test_sparsity_by_hand() -> None:
    found = measures(np.array([[3.0, -4.0], [0.0, 2.0]]))
    first = (math.sqrt(2) - 7 / 5) / (math.sqrt(2) - 1)
    assert found["hoyer"] == pytest.approx((first + 1) / 2)
    assert found["lifetime"] == pytest.approx(((1 - 1.5**2 / 4.5) + (1 - 9 / 10)) / 2)
    assert found["population"] == pytest.approx(((1 - 3.5**2 / 12.5) + (1 - 1 / 2)) / 2)
    assert found["active"] == pytest.approx(3 / 4) and found["always"] == pytest.approx(1 / 2)


def test_a_code_of_nothing_has_no_sparsity() -> None:
    found = measures(np.zeros((4, 3)))
    assert found["hoyer"] is found["lifetime"] is found["population"] is None
    assert found["dead"] == 1 and found["active"] == 0
    assert measures(np.ones((4, 3)))["hoyer"] == pytest.approx(0)


def test_clusters_that_are_classes_agree_and_noise_does_not() -> None:
    rng = np.random.default_rng(2)
    labels = np.repeat([0, 1, 2], 50)
    apart = np.eye(3)[labels] * 9 + rng.normal(0, 0.1, (150, 3))
    assert agreement(apart, labels, 0) == pytest.approx(1)
    assert agreement(apart, np.where(np.arange(150) % 5, labels, -1), 0) == pytest.approx(1)
    assert agreement(rng.standard_normal((150, 3)), labels, 0) < 0.1  # type: ignore[operator]
    assert agreement(apart, np.zeros(150, dtype=np.int64), 0) is None
