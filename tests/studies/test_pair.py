"""Two tasks of known relatedness: their correlation is as requested."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from bench.errors import BenchError
from bench.studies.sharing._pair import directions, synthetic_pair


@pytest.mark.parametrize("p", [-1.0, -0.5, 0.0, 0.3, 0.9, 1.0])
@pytest.mark.parametrize("seed", range(3))
def test_the_linear_parts_correlate_as_requested_within_sampling_error(p: float, seed: int) -> None:
    w = directions(p, dim=100, seed=seed)
    np.testing.assert_allclose(w @ w.T, [[1, p], [p, 1]], atol=1e-12)
    x, _ = synthetic_pair(p, rows=20_000, seed=seed)
    linear = x @ w.T
    correlation = float(np.corrcoef(linear.T)[0, 1])
    # The standard deviation of a correlation of n rows is (1 - p^2) / sqrt(n).
    assert abs(correlation - p) <= 4 * (1 - p**2) / np.sqrt(20_000) + 1e-6
    np.testing.assert_allclose(linear.std(axis=0), 1, atol=4 / np.sqrt(2 * 20_000))


@pytest.mark.parametrize("waves", [0, 1, 4])
def test_targets_are_the_formula_row_by_row(waves: int) -> None:
    x, y = synthetic_pair(0.6, rows=50, dim=7, noise=0.0, waves=waves, seed=2)
    assert x.shape == (50, 7) and x.dtype == np.float32
    for name, w in zip(("first", "second"), directions(0.6, dim=7, seed=2), strict=True):
        assert y[name].shape == (50, 1) and y[name].dtype == np.float32
        for row in range(50):
            z = sum(float(x[row, i]) * float(w[i]) for i in range(7))
            expected = z + sum(np.sin(i * z + (i - 1) ** 2) for i in range(1, waves + 1))
            assert y[name][row, 0] == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("noise", [0.01, 0.5])
def test_tasks_at_one_are_equal_up_to_noise_of_their_own(noise: float) -> None:
    _, y = synthetic_pair(1.0, rows=20_000, noise=noise, seed=0)
    gap = (y["first"] - y["second"]).astype(float)
    assert gap.std() == pytest.approx(noise * np.sqrt(2), rel=0.03)
    assert abs(gap.mean()) < 4 * noise * np.sqrt(2 / 20_000)
    _, exact = synthetic_pair(1.0, rows=100, noise=0.0, seed=0)
    np.testing.assert_array_equal(exact["first"], exact["second"])


def test_tasks_at_zero_are_independent_and_labels_are_more_alike_the_higher_the_correlation() -> (
    None
):
    def alike(p: float) -> float:
        _, y = synthetic_pair(p, rows=20_000, seed=1)
        return float(np.corrcoef(y["first"][:, 0], y["second"][:, 0])[0, 1])

    similarities = [alike(p) for p in (0.0, 0.3, 0.6, 0.9, 1.0)]
    assert abs(similarities[0]) < 4 / np.sqrt(20_000)
    assert similarities == sorted(similarities) and similarities[-1] > 0.999


def test_another_correlation_moves_the_second_task_alone_and_more_rows_go_on() -> None:
    x, y = synthetic_pair(0.2, rows=30, seed=4)
    second, z = synthetic_pair(0.8, rows=60, seed=4)
    np.testing.assert_array_equal(second[:30], x)
    np.testing.assert_allclose(z["first"][:30], y["first"], atol=1e-5)
    assert np.abs(z["second"][:30] - y["second"]).max() > 0.1
    assert not np.array_equal(synthetic_pair(0.2, rows=30, seed=5)[0], x)


def test_global_state_is_neither_read_nor_moved() -> None:
    np.random.seed(1)  # noqa: NPY002
    before = np.random.get_state()[1].copy()  # type: ignore[index]  # noqa: NPY002
    first = synthetic_pair(0.5, rows=10, seed=0)[1]["second"]
    np.testing.assert_array_equal(np.random.get_state()[1], before)  # type: ignore[index]  # noqa: NPY002
    np.random.seed(2)  # noqa: NPY002
    np.testing.assert_array_equal(synthetic_pair(0.5, rows=10, seed=0)[1]["second"], first)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"correlation": 1.1}, "correlation=1.1; it must be"),
        ({"correlation": float("nan")}, "correlation=nan; it must be"),
        ({"dim": 1}, "dim=1; it must be 2"),
        ({"rows": 0}, "rows=0"),
        ({"noise": -0.1}, "noise=-0.1"),
        ({"waves": -1}, "waves=-1"),
    ],
    ids=str,
)
def test_wrong_arguments_are_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(BenchError, match=message):
        synthetic_pair(**{"correlation": 0.5, "rows": 10, "seed": 0, **arguments})
