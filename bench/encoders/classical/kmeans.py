"""k-means clusters of images, one-hot: one clustering is a local code, several a distributed one."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from bench.data.images import Delivery, Input
from bench.data.samples import Array, SourceInfo
from bench.encoders.base import Encoder, FitReport
from bench.encoders.parts.arguments import require_at_least
from bench.encoders.parts.principal import most_directions, principal, projections
from bench.errors import BenchError
from bench.seeding import generator, stream

REVISION = 1
TRAINING = "closed_form"
EXAMPLE = "groups=2,code=16"  # the check kit has fewer images than there are clusters


_ITERATIONS = 300
_FAR = 1e9  # a coordinate of centres that no image is near: those of pixels are below 1e5


class KMeans(Encoder):
    """Images (n, c, h, w) to the cluster that each is in, one-hot: (n, code), `groups` ones a row.

    Lloyd 1957, starting from k-means++ (Arthur and Vassilvitskii 2007), on `dim` principal components,
    not whitened. With one group each unit stands for a region of images, and `code` units distinguish
    `code` regions: a local code. With g groups there are g clusterings of code / g clusters each, the
    multi-clustering of Bengio, Courville and Vincent 2013 ("Representation learning: a review and new
    perspectives", 3.3): as many units distinguish (code / g)^g regions, a distributed code.

    Each clustering uses components of its own: of each g components in order of variance every group
    gets one, at random. Clusterings of the same components would be nearly the same partition. This is
    a product quantiser (Jegou, Douze and Schmid 2011).
    """

    differentiable = False
    mean: Tensor
    directions: Tensor
    centres: Tensor

    def __init__(self, input: Input, groups: int, code: int, dim: int) -> None:
        super().__init__()
        self.input, self.groups, self.dims = input, groups, {"code": code}
        pixels = input.channels * input.size[0] * input.size[1]
        real = torch.float64  # a row's nearest centre must not depend on the rest of its batch
        self.register_buffer("mean", torch.zeros(pixels, dtype=real))
        self.register_buffer("directions", torch.eye(pixels, dtype=real)[:dim])
        self.register_buffer("centres", torch.zeros(code, dim, dtype=real))

    def taps(self, images: Tensor) -> dict[str, Tensor]:
        clusters = self.assigned(self.projected(images))
        hot = torch.nn.functional.one_hot(clusters, len(self.centres) // self.groups)
        return {"code": hot.flatten(1).float()}

    def projected(self, images: Tensor) -> Tensor:
        """Principal components (n, dim), float64."""
        return (images.flatten(1).double() - self.mean) @ self.directions.T

    def assigned(self, projected: Tensor) -> Tensor:
        """The nearest centre in each group, int64 (n, groups), of principal components (n, dim)."""
        # |z - c|^2 = |c|^2 - 2 z.c + |z|^2; the last is the same for all centres c of a group, whose
        # entries for components of other groups are 0.
        squares = self.centres.square().sum(dim=1) - 2 * projected @ self.centres.T
        return squares.view(len(projected), self.groups, -1).argmin(dim=2)

    def fit(
        self, images: Delivery, *, labels: Mapping[str, Array] | None, budget: int, seed: int
    ) -> FitReport:
        """Principal components of all `images`; clusters of up to 60,000.

        `unexplained` is the share of the components' variance that is within clusters; units in use are
        clusters with any image. Of n images there are at most n - 1 components, and clusters in a group,
        which the notes then say; no image is in the other clusters. A group without a component has one
        cluster. Raises BenchError for fewer than two images.
        """
        n, (code, dim) = len(images), self.centres.shape
        size, most = code // self.groups, most_directions(images, "kmeans")
        count, used = min(size, most), min(dim, most)
        mean, _, _, directions = principal(images, len(self.mean), used)
        projected = projections(images, mean, directions, seed=seed)
        centres = torch.zeros(code, dim, dtype=torch.float64)
        within, steps, converged = 0.0, 0, True
        for group, columns in enumerate(components_by_group(used, self.groups, seed)):
            start, end = group * size, (group + 1) * size
            if not len(columns):
                centres[start + 1 : end, 0] = _FAR
                continue
            fitted = _clusters(projected[:, columns], count, stream(seed, f"clusters {group}"))
            rows = slice(start, start + count)
            centres[rows, torch.from_numpy(columns)] = torch.from_numpy(fitted.cluster_centers_)
            centres[start + count : end, int(columns[0])] = _FAR
            within += float(fitted.inertia_)
            steps = max(steps, int(fitted.n_iter_))
            converged &= fitted.n_iter_ < _ITERATIONS
        self.mean.copy_(mean)
        self.directions.zero_()[:used] = directions
        self.centres.copy_(centres)
        total = float(np.square(projected - projected.mean(axis=0)).sum())
        padded = np.pad(projected, ((0, 0), (0, dim - used)))
        in_use = self._units_in_use(torch.from_numpy(padded))
        return FitReport(
            images_seen=n,
            steps=steps,
            terms={"unexplained": round(within / total, 6) if total > 0 else 0.0},
            notes={
                "converged": converged,
                "units_in_use": in_use,
                **({"clusters": count} if count < size else {}),
                **({"dimensions": used} if used < dim else {}),
            },
        )

    def _units_in_use(self, projected: Tensor) -> int:
        """Number of clusters that have any of the rows (n, dim)."""
        chunks = torch.split(projected.to(self.centres.device), 4_096)
        clusters = torch.cat([self.assigned(rows) for rows in chunks])
        return sum(len(of_group.unique()) for of_group in clusters.T)


def components_by_group(dim: int, groups: int, seed: int) -> list[Array]:
    """The components of each group: of every `groups` in order each group gets one, at random."""
    rng = generator(seed, "groups")
    owner = np.concatenate([rng.permutation(groups) for _ in range(-(-dim // groups))])[:dim]
    return [np.flatnonzero(owner == group) for group in range(groups)]


def _clusters(rows: Array, count: int, seed: int) -> Any:
    """scikit-learn's KMeans with `count` clusters, fitted on rows (n, d)."""
    from sklearn.cluster import KMeans as Lloyd
    from sklearn.exceptions import ConvergenceWarning

    means = Lloyd(
        count, init="k-means++", n_init=1, max_iter=_ITERATIONS, random_state=seed % 2**32
    )
    with warnings.catch_warnings():  # fewer distinct rows than clusters: reported in the notes
        warnings.simplefilter("ignore", ConvergenceWarning)
        return means.fit(rows)


def build(*, source: SourceInfo, groups: int = 1, code: int = 256, dim: int = 64) -> KMeans:
    """`code` clusters in all, in `groups` clusterings of equal size, of `dim` principal components (at
    most the pixels) of images at their own size.

    Raises BenchError for a dimension below 1, groups below 1 or above the number of components, and a
    code that is not `groups` times 2 or more clusters.
    """
    pixels = source.channels * source.height * source.width
    require_at_least(1, "kmeans", dim=dim)
    if not 1 <= groups <= min(dim, pixels):
        raise BenchError(
            f"kmeans,groups={groups}: must be 1 to {min(dim, pixels)}, so that each group has a "
            "principal component"
        )
    if code % groups or code < 2 * groups:
        raise BenchError(
            f"kmeans,groups={groups},code={code}: code must be {groups} times 2 or more clusters, "
            f"such as {groups * max(2, code // groups)}"
        )
    shape = Input(size=(source.height, source.width), channels=source.channels)
    return KMeans(shape, groups, code, min(dim, pixels))
