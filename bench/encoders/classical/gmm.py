"""Gaussian mixture: how probable it is that an image came from each of its components."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping
from typing import Any

import numpy.typing as npt
import torch
from torch import Tensor

from bench.data.images import Delivery, Input
from bench.data.samples import SourceInfo
from bench.encoders.base import Encoder, FitReport
from bench.encoders.parts.principal import principal, seen_along, spread
from bench.errors import BenchError
from bench.seeding import stream

REVISION = 1
TRAINING = "closed_form"
EXAMPLE = "components=8,dim=8"  # the check kit has fewer images than there are components

Array = npt.NDArray[Any]

_ITERATIONS = 100
_TOLERANCE = 1e-2  # nats an image; a tenth of it takes four times as long, and gains 0.1
_FLOOR = 1e-3  # added to variances, of a code whose variance is 1
_CHUNK = 4_096


class GMM(Encoder):
    """Images (n, c, h, w) to posterior probabilities of k Gaussians, (n, k), that sum to 1.

    Dempster, Laird and Rubin 1977, "Maximum likelihood from incomplete data via the EM algorithm".
    The Gaussians have diagonal covariances, in the space of `dim` whitened principal components:
    whitening ranks such mixtures no differently, but moves where k-means starts (on Fashion-MNIST
    it then ends 0.1 to 0.3 nats higher). A code that is nearly local: one unit takes most of the
    probability.

    In float64 from the pixels to the posteriors: differences of densities are exponents.
    """

    mean: Tensor
    directions: Tensor
    means: Tensor
    precisions: Tensor
    offsets: Tensor

    def __init__(self, input: Input, components: int, dim: int) -> None:
        super().__init__()
        self.input, self.dims = input, {"code": components}
        pixels = input.channels * input.size[0] * input.size[1]
        real = torch.float64
        dim = min(dim, pixels)
        self.register_buffer("mean", torch.zeros(pixels, dtype=real))
        self.register_buffer("directions", torch.eye(pixels, dtype=real)[:dim])
        self.register_buffer("means", torch.zeros(components, dim, dtype=real))
        self.register_buffer("precisions", torch.ones(components, dim, dtype=real))
        self.register_buffer("offsets", torch.zeros(components, dtype=real))

    def taps(self, images: Tensor) -> dict[str, Tensor]:
        return {"code": self.joint(self.whitened(images)).softmax(dim=1).float()}

    def whitened(self, images: Tensor) -> Tensor:
        """Whitened principal components (n, dim), float64."""
        return (images.flatten(1).double() - self.mean) @ self.directions.T

    def joint(self, white: Tensor) -> Tensor:
        """Log density of whitened images (n, dim) and each component together: (n, k), in nats."""
        linear = white @ (self.precisions * self.means).T
        return self.offsets + linear - white.square() @ self.precisions.T / 2

    def fit(
        self, images: Delivery, *, labels: Mapping[str, Array] | None, budget: int, seed: int
    ) -> FitReport:
        """Whitening by all `images`; the mixture by up to 60,000, from the clusters of k-means.

        Its log-likelihood is the mean over these, in nats an image, of whitened components; units in
        use are those that are some image's most probable one. Raises BenchError where there are not
        more images than components of either kind, and where all are the same.
        """
        n, (k, dim) = len(images), self.means.shape
        if n <= max(k, dim):
            raise BenchError(
                f"gmm needs more images than its {k} components and {dim} dimensions; there are {n}: "
                "ask for fewer"
            )
        mean, _, variances, directions = principal(images, len(self.mean), dim)
        scales = spread(variances, "gmm")
        rank = len(scales)
        found = directions[:rank] / scales.unsqueeze(1)
        white = seen_along(images, mean, found, seed=seed)
        mixture = _mixture(white, k, seed)
        # Directions without variance have mean and precision 0, and so no part in any density.
        means, precisions = torch.zeros(2, k, dim, dtype=torch.float64)
        means[:, :rank] = torch.from_numpy(mixture.means_)
        precisions[:, :rank] = torch.from_numpy(1 / mixture.covariances_)
        logs = precisions[:, :rank].log().sum(dim=1) - rank * math.log(2 * math.pi)
        squares = (precisions * means.square()).sum(dim=1)
        self.mean.copy_(mean)
        self.directions.zero_()[:rank] = found
        self.means.copy_(means)
        self.precisions.copy_(precisions)
        self.offsets.copy_(torch.from_numpy(mixture.weights_).log() + (logs - squares) / 2)
        likelihood, used = self._summary(torch.from_numpy(white))
        return FitReport(
            images_seen=n,
            steps=int(mixture.n_iter_),
            terms={"log_likelihood": round(likelihood, 6)},
            notes={"converged": bool(mixture.converged_), "units_in_use": used, "dimensions": rank},
        )

    def _summary(self, white: Tensor) -> tuple[float, int]:
        """Mean log-likelihood of white rows (n, r), and how many components are the best of a row."""
        total, used = 0.0, set[int]()
        missing = self.means.shape[1] - white.shape[1]
        for rows in torch.split(white, _CHUNK):
            joint = self.joint(torch.nn.functional.pad(rows.to(self.means.device), (0, missing)))
            total += float(joint.logsumexp(dim=1).sum())
            used.update(joint.argmax(dim=1).tolist())
        return total / len(white), len(used)


def _mixture(white: Array, components: int, seed: int) -> Any:
    """scikit-learn's mixture of white rows (n, d)."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.mixture import GaussianMixture

    mixture = GaussianMixture(
        components,
        covariance_type="diag",
        init_params="kmeans",
        reg_covar=_FLOOR,
        max_iter=_ITERATIONS,
        tol=_TOLERANCE,
        random_state=stream(seed, "mixture") % 2**32,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return mixture.fit(white)


def build(*, source: SourceInfo, components: int = 256, dim: int = 64) -> GMM:
    """`components` Gaussians on `dim` whitened principal components (at most the pixels) of images
    at their own size.

    Raises BenchError for fewer than 2 components, and a dimension below 1.
    """
    if components < 2:
        raise BenchError(f"gmm,components={components}: 2 or more are wanted")
    if dim < 1:
        raise BenchError(f"gmm,dim={dim}: a dimension of 1 or more is wanted")
    shape = Input(size=(source.height, source.width), channels=source.channels)
    return GMM(shape, components, dim)
