"""Principal component analysis: the linear code of a given length with the least squared error."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from bench.data.images import Delivery, Input
from bench.data.samples import Array, SourceInfo
from bench.encoders.base import Encoder, FitReport
from bench.encoders.parts.arguments import require_at_least
from bench.encoders.parts.principal import most_directions, principal

REVISION = 1
TRAINING = "closed_form"


class PCA(Encoder):
    """Projection on the eigenvectors of the training images' covariance, largest variance first.

    Pearson 1901; Hotelling 1933. Exact, from one pass over the images in float64. Signs are chosen so
    that the largest loading of each component is positive.
    """

    seeded = False
    mean: Tensor
    components: Tensor
    variance: Tensor

    def __init__(self, input: Input, dim: int, whiten: bool) -> None:
        super().__init__()
        self.input, self.whiten = input, whiten
        pixels = input.channels * input.size[0] * input.size[1]
        self.dims = {"code": min(dim, pixels)}
        self.register_buffer("mean", torch.zeros(pixels))
        self.register_buffer("components", torch.eye(pixels)[: min(dim, pixels)])
        self.register_buffer("variance", torch.ones(min(dim, pixels)))

    def taps(self, images: Tensor) -> dict[str, Tensor]:
        code = (images.flatten(1) - self.mean) @ self.components.T
        return {"code": code / self.variance.sqrt() if self.whiten else code}

    def reconstruct(self, images: Tensor) -> Tensor:
        """decode(code) of images (n, c, h, w)."""
        return self.decode(self.taps(images)["code"])

    def decode(self, codes: Tensor) -> Tensor:
        """Codes (n, d) to images (n, c, h, w), not clipped to [0, 1]."""
        codes = codes * self.variance.sqrt() if self.whiten else codes
        flat = codes @ self.components + self.mean
        return flat.view(len(codes), self.input.channels, *self.input.size)

    def fit(
        self, images: Delivery, *, labels: Mapping[str, Array] | None, budget: int, seed: int
    ) -> FitReport:
        """Exact components of all `images`. Of n <= dim images there are n - 1: the last ones of the code
        are then 0, and the notes say how many `components` there are.

        Raises BenchError for fewer than two images.
        """
        n, dim = len(images), self.dims["code"]
        count = min(dim, most_directions(images, "pca"))
        mean, total, values, components = principal(images, len(self.mean), count)
        self.mean.copy_(mean)
        self.components.zero_()[:count] = components
        # No division by 0 where a direction has no variance, such as a pixel that is always black.
        self.variance.fill_(1)[:count] = values.clamp(min=1e-12 * float(values[0]))
        explained = float(values.sum() / total)
        return FitReport(
            images_seen=n,
            steps=1,
            terms={"variance_kept": round(explained, 6)},
            notes={"components": count} if count < dim else {},
        )


def build(*, source: SourceInfo, dim: int = 64, whiten: bool = False) -> PCA:
    """`dim` components (at most the pixels) of images at their own size; `whiten`: to unit variance.

    Raises BenchError for a dimension below 1.
    """
    require_at_least(1, "pca", dim=dim)
    shape = Input(size=(source.height, source.width), channels=source.channels)
    return PCA(shape, dim, whiten)
