"""Two regression tasks of known relatedness, as arrays (Ma et al. 2018)."""

from __future__ import annotations

import numpy as np

from bench.data.samples import Array
from bench.errors import BenchError
from bench.seeding import generator


def synthetic_pair(
    correlation: float, *, rows: int, dim: int = 100, noise: float = 0.01, waves: int = 4, seed: int
) -> tuple[Array, dict[str, Array]]:
    """Inputs (rows, dim) and the targets `first` and `second`, (rows, 1) each, all float32.

    y_k = w_k . x + sum_i sin(alpha_i w_k . x + beta_i) + noise_k, with x from N(0, I), unit vectors w_k at
    a cosine of `correlation` in [-1, 1], and noise of its own for each task. At 1 the tasks are equal up
    to noise, at 0 their linear parts are independent. -1 does not make them each other's negative: the
    sines are the same for both.

    Of the paper: the form, dim = 100 and N(0, 0.01). Ours: its scale c = 1; `waves` with alpha_i = i and
    beta_i = (i - 1)^2, for which the paper gives no values; and 0.01 as the noise's standard deviation,
    where the paper may mean its variance (noise=0.1).

    Directions, inputs and noise have separate random streams: with equal seeds another `correlation`
    moves `second` alone, and more rows continue the same tasks; so train and test are rows of one call.

    Source: Ma, Zhao, Yi, Chen, Hong and Chi 2018, Modeling task relationships in multi-task learning with
    multi-gate mixture-of-experts, KDD, doi:10.1145/3219819.3220007.
    """
    if rows < 1 or waves < 0 or not noise >= 0:
        raise BenchError(
            f"rows={rows}, waves={waves}, noise={noise}; give rows from 1, waves and noise from 0"
        )
    x = generator(seed, "pair:inputs").standard_normal((rows, dim))
    linear = x @ directions(correlation, dim=dim, seed=seed).T
    y = linear + noise * generator(seed, "pair:noise").standard_normal((rows, 2))
    for i in range(waves):
        y += np.sin((i + 1) * linear + i**2)
    first, second = y[:, :1].astype(np.float32), y[:, 1:].astype(np.float32)
    return x.astype(np.float32), {"first": first, "second": second}


def directions(correlation: float, *, dim: int, seed: int) -> Array:
    """w_1 = u_1 and w_2 = p u_1 + sqrt(1 - p^2) u_2, p the correlation, of orthogonal unit vectors of
    random directions: float64 (2, dim). Raises BenchError for a correlation beyond [-1, 1] and dim < 2."""
    if not -1 <= correlation <= 1:
        raise BenchError(f"correlation={correlation}; it must be -1 to 1")
    if dim < 2:
        raise BenchError(f"dim={dim}; it must be 2 or more")
    u, v = generator(seed, "pair:directions").standard_normal((2, dim))
    u /= np.linalg.norm(u)
    v -= (u @ v) * u
    v /= np.linalg.norm(v)
    return np.stack([u, correlation * u + np.sqrt(1 - correlation**2) * v])
