"""Features of which each has a penalty: coordinates in which the penalty is one number."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

REVISION = 1

# Directions with less than this share of the largest variance hold the rounding of float32 features.
_NEGLIGIBLE = 1e-13


@dataclass(frozen=True, eq=False)
class Coordinates:
    """Weights W (k, d) as coordinates A (k, r): W = A `basis`, and sum_j q_j |W_j|^2 = |A|^2.

    There the covariance of the features x `basis`^T is diagonal.
    """

    rotation: Tensor  # (r, d), orthonormal rows or zero ones: A for features divided by sqrt(q)
    root: Tensor  # (d,): 1 / sqrt(q)
    variances: Tensor  # (r,)

    @cached_property
    def basis(self) -> Tensor:
        """(r, d)."""
        return self.rotation * self.root

    @classmethod
    def of(cls, covariance: Tensor, factors: Tensor) -> Coordinates:
        """From covariance (d, d) and factors q (d,), of which inf drops a feature."""
        root = factors.rsqrt()
        scaled = covariance * root[:, None].to(covariance) * root.to(covariance)
        variances, basis = torch.linalg.eigh(scaled)
        # The optimal weight of a constant column is 0; rounding error / lambda would not be.
        basis[scaled.diagonal() == 0] = 0
        return cls(basis.T.contiguous(), root.to(covariance), variances.clamp_min(0))

    @classmethod
    def spanned(cls, rows: Tensor, factors: Tensor) -> tuple[Coordinates, Tensor]:
        """From n < d centred rows (n, d), whose span holds every optimum; with their coordinates (n, r).

        Directions in which no row differs are left out: rounding would grow into weights there.
        """
        root = factors.rsqrt()
        rows, n = rows.double() * root, len(rows)
        squares, vectors = torch.linalg.eigh(rows @ rows.T)
        kept = squares > _NEGLIGIBLE * squares[-1]
        if not bool(kept.any()):  # rows that are all alike: biases alone are learnt
            return cls(rows.new_zeros(1, len(root)), root, rows.new_zeros(1)), rows.new_zeros(n, 1)
        lengths, vectors = squares[kept].sqrt(), vectors[:, kept]
        rotation = (vectors.T @ rows) / lengths[:, None]
        return cls(rotation, root, squares[kept] / n), vectors * lengths

    def to(self, dtype: torch.dtype) -> Coordinates:
        return Coordinates(self.rotation.to(dtype), self.root.to(dtype), self.variances.to(dtype))


def covariance(x: Tensor) -> Tensor:
    """The covariance (d, d) of centred features (n, d), in blocks of rows."""
    total = x.new_zeros(x.shape[1], x.shape[1])
    for rows in torch.split(x, 4096):
        total.addmm_(rows.T, rows)
    return total / len(x)
