"""Principal directions of images, and the projection of images on directions."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from bench.data.images import Delivery
from bench.data.samples import Array
from bench.errors import BenchError
from bench.seeding import generator

ROWS = 60_000  # an iterative fit uses at most so many images
_DENSE = 4_096  # rows up to which all eigenvectors of a matrix are computed
_LEAST = 1e-7  # relative to the largest variance: below it lies the rounding of float32
_NOTHING = 1e-12  # smaller than any variance of 8-bit pixels: rounding


def principal(images: Delivery, pixels: int, dim: int) -> tuple[Tensor, float, Tensor, Tensor]:
    """Mean (p,), total variance, the `dim` largest variances (dim,) and their directions (dim, p).

    All float64. From the Gram matrix (n, n) where n <= p, else from the covariance (p, p). The entry
    of largest magnitude of each direction is positive.
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


def most_directions(images: Delivery, encoder: str) -> int:
    """The number of directions in which images can differ: one less than there are.

    Raises BenchError, naming `encoder`, for fewer than two images.
    """
    if len(images) < 2:
        raise BenchError(f"{encoder} needs two training images or more; there are {len(images)}")
    return len(images) - 1


def _largest(matrix: Tensor, dim: int) -> tuple[Tensor, Tensor]:
    """The `dim` largest eigenvalues of a symmetric matrix, largest first, and their vectors (m, dim)."""
    if len(matrix) <= _DENSE:
        values, vectors = torch.linalg.eigh(matrix)
        return values.flip(0)[:dim], vectors.flip(1)[:, :dim]
    from scipy.sparse.linalg import eigsh

    ascending, columns = eigsh(matrix.numpy(), k=dim, which="LA", v0=matrix.sum(dim=0).numpy())
    return torch.from_numpy(ascending[::-1].copy()), torch.from_numpy(columns[:, ::-1].copy())


def upright(directions: Tensor) -> Tensor:
    """Directions (d, p), signs chosen so that the entry of largest magnitude of each is positive."""
    largest = directions.gather(1, directions.abs().argmax(dim=1, keepdim=True))
    return directions * largest.sign()


def deviations(variances: Tensor, encoder: str) -> Tensor:
    """Square roots (r,) of the r variances, of (d,) largest first, that are above rounding error.

    Raises BenchError, naming `encoder`, where there is none.
    """
    significant = variances[variances > max(_LEAST * float(variances[0]), _NOTHING)]
    if not len(significant):
        raise BenchError(f"{encoder}: all training images are equal; it needs images that differ")
    return significant.sqrt()


def projections(images: Delivery, mean: Tensor, directions: Tensor, *, seed: int) -> Array:
    """(images - mean) @ directions.T, with `mean` (p,) and `directions` (d, p): float64 (n, d). Of more
    than `ROWS` images a random sample, by `seed`, in their order."""
    if len(images) > ROWS:
        chosen = np.sort(generator(seed, "rows").choice(len(images), ROWS, replace=False))
        images = Delivery(images.images, images.input, images.rows[chosen])
    flat = (batch.flatten(1).double() for batch in images.batches(4096))
    return torch.cat([(batch - mean) @ directions.T for batch in flat]).numpy()
