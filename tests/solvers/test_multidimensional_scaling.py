"""Points from their distances, against scikit-learn and points that are known."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.distance import cdist

from bench.errors import BenchError
from bench.solvers.multidimensional_scaling import classical_scaling


def test_points_of_the_plane_come_back_but_for_a_turn() -> None:
    points = np.random.default_rng(0).standard_normal((9, 2)) * [3, 1]
    coordinates, share = classical_scaling(cdist(points, points, "sqeuclidean"))
    assert share == pytest.approx(1)
    np.testing.assert_allclose(cdist(coordinates, coordinates), cdist(points, points), atol=1e-9)
    np.testing.assert_allclose(coordinates.mean(axis=0), 0, atol=1e-9)
    assert coordinates[:, 0].var() > coordinates[:, 1].var()
    for axis in coordinates.T:
        assert axis[np.abs(axis).argmax()] > 0


def test_of_more_dimensions_it_shows_what_principal_components_show() -> None:
    from sklearn.decomposition import PCA

    points = np.random.default_rng(1).standard_normal((12, 5)) * [4, 3, 2, 1, 1]
    coordinates, share = classical_scaling(cdist(points, points, "sqeuclidean"))
    pca = PCA(2).fit(points)
    assert share == pytest.approx(pca.explained_variance_ratio_.sum())
    np.testing.assert_allclose(np.abs(coordinates), np.abs(pca.transform(points)), atol=1e-9)


def test_what_are_no_distances_is_refused() -> None:
    for wrong in (np.ones((3, 3)), np.array([[0, 1], [2, 0.0]]), np.zeros((2, 3))):
        with pytest.raises(BenchError, match="symmetric"):
            classical_scaling(wrong)
    with pytest.raises(BenchError, match="span"):
        classical_scaling(np.zeros((1, 1)))
