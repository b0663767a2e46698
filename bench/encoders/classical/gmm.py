"""Gaussian mixture on principal components: posterior probabilities of its components."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from bench.data.images import Delivery, Input
from bench.data.samples import Array, SourceInfo
from bench.encoders.base import Encoder, FitReport
from bench.encoders.parts.arguments import require_at_least
from bench.encoders.parts.principal import deviations, most_directions, principal, projections
from bench.seeding import stream

REVISION = 1
TRAINING = "closed_form"
EXAMPLE = "components=8,dim=8"  # the check kit has fewer images than there are components


_ITERATIONS = 100
_TOLERANCE = 1e-2  # nats an image; a tenth of it takes four times as long and gains 0.1 nats
_FLOOR = 1e-3  # added to variances; the variance of the whitened images is 1
_CHUNK = 4_096


class GMM(Encoder):
    """Images (n, c, h, w) to posterior probabilities of k Gaussians, (n, k), rows summing to 1.

    Dempster, Laird and Rubin 1977, "Maximum likelihood from incomplete data via the EM algorithm".
    The Gaussians have diagonal covariances, in the space of `dim` whitened principal components.
    Whitening does not change the set of such mixtures, but the start by k-means (on Fashion-MNIST the
    likelihood is then 0.1 to 0.3 nats higher). The code is nearly local: one unit takes most of the
    probability.

    Computed in float64 from pixels to posteriors, since these are exponentials of differences.
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
        """log p(z, component), (n, k), in nats, of whitened images z (n, dim)."""
        linear = white @ (self.precisions * self.means).T
        return self.offsets + linear - white.square() @ self.precisions.T / 2

    def fit(
        self, images: Delivery, *, labels: Mapping[str, Array] | None, budget: int, seed: int
    ) -> FitReport:
        """Whitening from all `images`; the mixture from up to 60,000, by EM that starts from k-means.

        The report has the mean log-likelihood of these, in nats an image, in whitened space; units in
        use are components that are the most probable one of some image. Of n images there are at most
        n - 1 components, which the notes then say, and dimensions; other components have probability 0.
        Raises BenchError for fewer than two images, and where all images are equal.
        """
        n, (code, dim) = len(images), self.means.shape
        most = most_directions(images, "gmm")
        k = min(code, most)
        mean, _, variances, directions = principal(images, len(self.mean), min(dim, most))
        scales = deviations(variances, "gmm")
        rank = len(scales)
        whitening = directions[:rank] / scales.unsqueeze(1)
        white = projections(images, mean, whitening, seed=seed)
        mixture = _mixture(white, k, seed)
        # Directions without variance get mean and precision 0, and do not affect the densities.
        means, precisions = torch.zeros(2, code, dim, dtype=torch.float64)
        means[:k, :rank] = torch.from_numpy(mixture.means_)
        precisions[:k, :rank] = torch.from_numpy(1 / mixture.covariances_)
        logs = precisions[:k, :rank].log().sum(dim=1) - rank * math.log(2 * math.pi)
        squares = (precisions * means.square()).sum(dim=1)[:k]
        self.mean.copy_(mean)
        self.directions.zero_()[:rank] = whitening
        self.means.copy_(means)
        self.precisions.copy_(precisions)
        offsets = torch.from_numpy(mixture.weights_).log() + (logs - squares) / 2
        self.offsets.fill_(-math.inf)[:k] = offsets
        likelihood, in_use = self._summary(torch.from_numpy(white))
        return FitReport(
            images_seen=n,
            steps=int(mixture.n_iter_),
            terms={"log_likelihood": round(likelihood, 6)},
            notes={
                "converged": bool(mixture.converged_),
                "units_in_use": in_use,
                "dimensions": rank,
                **({"components": k} if k < code else {}),
            },
        )

    def _summary(self, white: Tensor) -> tuple[float, int]:
        """Mean log-likelihood of whitened rows (n, r), and the number of components in use."""
        total, in_use = 0.0, set[int]()
        padding = self.means.shape[1] - white.shape[1]
        for rows in torch.split(white, _CHUNK):
            joint = self.joint(torch.nn.functional.pad(rows.to(self.means.device), (0, padding)))
            total += float(joint.logsumexp(dim=1).sum())
            in_use.update(joint.argmax(dim=1).tolist())
        return total / len(white), len(in_use)


def _mixture(white: Array, components: int, seed: int) -> Any:
    """scikit-learn's GaussianMixture, fitted on whitened rows (n, d)."""
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
    require_at_least(2, "gmm", components=components)
    require_at_least(1, "gmm", dim=dim)
    shape = Input(size=(source.height, source.width), channels=source.channels)
    return GMM(shape, components, dim)
