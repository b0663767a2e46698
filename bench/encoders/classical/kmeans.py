"""Clusters of images: one clustering is a local code, several side by side a distributed one."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from bench.data.images import Delivery, Input
from bench.data.samples import SourceInfo
from bench.encoders.base import Encoder, FitReport
from bench.encoders.parts.principal import principal, seen_along
from bench.errors import BenchError
from bench.seeding import generator, stream

REVISION = 1
TRAINING = "closed_form"
EXAMPLE = "groups=2,code=16"  # the check kit has fewer images than there are clusters

Array = npt.NDArray[Any]

_ITERATIONS = 300


class KMeans(Encoder):
    """Images (n, c, h, w) to the cluster that each is in, one-hot: (n, code), `groups` ones a row.

    Lloyd 1957, from k-means++ (Arthur and Vassilvitskii 2007), on `dim` principal components, at
    their own scale. With one group a unit stands for one region of images, and `code` units tell
    `code` regions apart: a local code. With g groups there are g clusterings of code / g clusters
    each, the multi-clustering of Bengio, Courville and Vincent 2013 ("Representation learning: a
    review and new perspectives", 3.3): as many units tell (code / g)^g regions apart, a distributed
    code.

    Each clustering sees components of its own, dealt out by the seed, one of every g in order of
    variance: clusterings of the same components would be nearly the same partition. It is then a
    product quantiser (Jegou, Douze and Schmid 2011).
    """

    differentiable = False
    mean: Tensor
    directions: Tensor
    centres: Tensor

    def __init__(self, input: Input, groups: int, code: int, dim: int) -> None:
        super().__init__()
        self.input, self.groups, self.dims = input, groups, {"code": code}
        pixels = input.channels * input.size[0] * input.size[1]
        real = torch.float64  # a row's nearest centre must not hang on the batch that it is in
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
        # A centre is 0 along the components of other groups, so that they add the same to all
        # distances of its own group; |z|^2 does too, and both are left out.
        squares = self.centres.square().sum(dim=1) - 2 * projected @ self.centres.T
        return squares.view(len(projected), self.groups, -1).argmin(dim=2)

    def fit(
        self, images: Delivery, *, labels: Mapping[str, Array] | None, budget: int, seed: int
    ) -> FitReport:
        """Principal components of all `images`; clusters of up to 60,000.

        `unexplained` is the share of these components' variance that is left within clusters, units
        in use are clusters that some image is in. Raises BenchError where there are not more images
        than clusters in a group, and than components.
        """
        n, (code, dim) = len(images), self.centres.shape
        size = code // self.groups
        if n <= max(size, dim):
            raise BenchError(
                f"kmeans needs more images than its {size} clusters and {dim} dimensions; there are "
                f"{n}: ask for fewer"
            )
        mean, _, _, directions = principal(images, len(self.mean), dim)
        projected = seen_along(images, mean, directions, seed=seed)
        centres = torch.zeros(code, dim, dtype=torch.float64)
        left, steps, converged = 0.0, 0, True
        for group, own in enumerate(dealt(dim, self.groups, seed)):
            found = _clusters(projected[:, own], size, stream(seed, f"clusters {group}"))
            rows = slice(group * size, (group + 1) * size)
            centres[rows, torch.from_numpy(own)] = torch.from_numpy(found.cluster_centers_)
            left += float(found.inertia_)
            steps = max(steps, int(found.n_iter_))
            converged &= found.n_iter_ < _ITERATIONS
        self.mean.copy_(mean)
        self.directions.copy_(directions)
        self.centres.copy_(centres)
        total = float(np.square(projected - projected.mean(axis=0)).sum())
        used = self._used(torch.from_numpy(projected))
        return FitReport(
            images_seen=n,
            steps=steps,
            terms={"unexplained": round(left / total, 6) if total > 0 else 0.0},
            notes={"converged": converged, "units_in_use": used},
        )

    def _used(self, projected: Tensor) -> int:
        """How many clusters have any of the rows (n, dim)."""
        rows = torch.split(projected.to(self.centres.device), 4_096)
        parts = [self.assigned(each) for each in rows]
        return sum(len(each.unique()) for each in torch.cat(parts).T)


def dealt(dim: int, groups: int, seed: int) -> list[Array]:
    """The components of each group: of every `groups` components in order, each gets one, drawn."""
    rng = generator(seed, "groups")
    owner = np.concatenate([rng.permutation(groups) for _ in range(-(-dim // groups))])[:dim]
    return [np.flatnonzero(owner == group) for group in range(groups)]


def _clusters(rows: Array, count: int, seed: int) -> Any:
    """scikit-learn's `count` clusters of rows (n, d)."""
    from sklearn.cluster import KMeans as Lloyd
    from sklearn.exceptions import ConvergenceWarning

    means = Lloyd(
        count, init="k-means++", n_init=1, max_iter=_ITERATIONS, random_state=seed % 2**32
    )
    with warnings.catch_warnings():  # of fewer different rows than clusters; the notes tell
        warnings.simplefilter("ignore", ConvergenceWarning)
        return means.fit(rows)


def build(*, source: SourceInfo, groups: int = 1, code: int = 256, dim: int = 64) -> KMeans:
    """`code` units in `groups` clusterings of `dim` principal components (at most the pixels) of
    images at their own size.

    Raises BenchError for a dimension below 1, for groups that are none or more than the components,
    and a code that does not give each of them 2 or more clusters, and all as many.
    """
    pixels = source.channels * source.height * source.width
    if dim < 1:
        raise BenchError(f"kmeans,dim={dim}: a dimension of 1 or more is wanted")
    if not 1 <= groups <= min(dim, pixels):
        raise BenchError(
            f"kmeans,groups={groups}: 1 to {min(dim, pixels)} are wanted, so that each has a "
            "principal component"
        )
    if code % groups or code < 2 * groups:
        raise BenchError(
            f"kmeans,groups={groups},code={code}: a code of {groups} times 2 or more clusters is "
            f"wanted, such as {groups * max(2, code // groups)}"
        )
    shape = Input(size=(source.height, source.width), channels=source.channels)
    return KMeans(shape, groups, code, min(dim, pixels))
