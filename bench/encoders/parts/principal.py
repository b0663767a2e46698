"""Principal directions of images, whitening along them, and images seen along them.

No REVISION here, since all who use it are few: an edit that moves numbers raises theirs.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from bench.data.images import Delivery
from bench.errors import BenchError
from bench.seeding import generator

Array = npt.NDArray[Any]

ROWS = 60_000  # images that an iterated fit is made of, where there are more
_DENSE = 4_096  # rows of a matrix whose every eigenvector may be computed
_LEAST = 1e-7  # of the largest variance: less would show the rounding of float32
_NOTHING = 1e-12  # a variance that 8-bit pixels cannot have, and rounding can


def principal(images: Delivery, pixels: int, dim: int) -> tuple[Tensor, float, Tensor, Tensor]:
    """Mean (p,), total variance, the `dim` largest variances and their directions (dim, p), float64.

    From the images' products with each other where these are fewer than the pixels' (n <= p). Each
    direction's largest weight is positive.
    """
    n = len(images)
    total = torch.zeros(pixels, dtype=torch.float64)
    if n <= pixels:
        flat = torch.cat([batch.flatten(1).double() for batch in images.batches(4096)])
        mean = flat.mean(dim=0)
        flat -= mean
        gram = flat @ flat.T / (n - 1)
        values, vectors = _largest(gram, dim)
        directions = (flat.T @ vectors).T
        lengths = directions.norm(dim=1, keepdim=True).clamp(min=1e-300)
        return mean, float(gram.trace()), values, upright(directions / lengths)
    gram = torch.zeros(pixels, pixels, dtype=torch.float64)
    for batch in images.batches(4096):
        flat = batch.flatten(1).double()
        total += flat.sum(dim=0)
        gram += flat.T @ flat
    mean = total / n
    covariance = (gram - n * torch.outer(mean, mean)) / (n - 1)
    values, vectors = _largest(covariance, dim)
    return mean, float(covariance.trace()), values, upright(vectors.T)


def _largest(matrix: Tensor, dim: int) -> tuple[Tensor, Tensor]:
    """The `dim` largest eigenvalues of a symmetric matrix, largest first, and their vectors (m, dim)."""
    if len(matrix) <= _DENSE:
        values, vectors = torch.linalg.eigh(matrix)
        return values.flip(0)[:dim], vectors.flip(1)[:, :dim]
    from scipy.sparse.linalg import eigsh

    found, columns = eigsh(matrix.numpy(), k=dim, which="LA", v0=matrix.sum(dim=0).numpy())
    return torch.from_numpy(found[::-1].copy()), torch.from_numpy(columns[:, ::-1].copy())


def upright(directions: Tensor) -> Tensor:
    """Directions (d, p) with their signs such that each one's largest weight is positive."""
    largest = directions.gather(1, directions.abs().argmax(dim=1, keepdim=True))
    return directions * largest.sign()


def spread(variances: Tensor, who: str) -> Tensor:
    """Standard deviations (r,) of the first r variances (d,), largest first, that are any to speak of.

    Raises BenchError where there is none.
    """
    found = variances[variances > max(_LEAST * float(variances[0]), _NOTHING)].sqrt()
    if not len(found):
        raise BenchError(f"{who}: all training images are the same; images that differ are wanted")
    return found


def seen_along(images: Delivery, mean: Tensor, directions: Tensor, *, seed: int) -> Array:
    """Images less `mean` (p,) along `directions` (d, p): float64 (n, d), of at most `ROWS` of them."""
    if len(images) > ROWS:
        chosen = np.sort(generator(seed, "rows").choice(len(images), ROWS, replace=False))
        images = Delivery(images.images, images.input, images.rows[chosen])
    flat = (batch.flatten(1).double() for batch in images.batches(4096))
    return torch.cat([(each - mean) @ directions.T for each in flat]).numpy()
