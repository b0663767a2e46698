"""Deep-feature-consistent VAE: reconstructs another network's features of the image, not its pixels."""

from __future__ import annotations

import copy
from typing import Literal

import torch
from torch import Tensor, nn

from bench.data.images import Input
from bench.data.samples import Array, SourceInfo
from bench.encoders.base import Encoder
from bench.encoders.parts.arguments import require_at_least
from bench.encoders.parts.training import Loss
from bench.encoders.parts.trunk import Sizes
from bench.encoders.parts.variational import (
    Variational,
    VariationalObjective,
    divergence,
    drawn,
    posterior_noise,
    reconstruction,
)
from bench.errors import BenchError

REVISION = 1


class FeatureMaps:
    """Feature maps of a copy of an encoder, frozen and in eval mode, after each of its stages.

    Not an nn.Module, so that a model that holds it does not train, store or switch the copy.
    """

    def __init__(self, encoder: Encoder) -> None:
        frozen = copy.deepcopy(encoder)
        self.form = frozen.input
        self.stages = nn.Sequential(*(frozen.stages() or [frozen])).eval().requires_grad_(False)

    def __call__(self, images: Tensor) -> list[Tensor]:
        """Images (n, c, h, w) in [0, 1] to the output (n, ...) of every stage, or to the features of an
        encoder without stages."""
        maps = [convert_to(images, self.form)]
        for stage in self.stages.to(images.device):
            maps.append(stage(maps[-1]))
        return maps[1:]


def convert_to(images: Tensor, form: Input) -> Tensor:
    """Images (n, c, h, w) with the size and the channels of `form`, without its crop. Differentiable."""
    if images.shape[1] > form.channels:
        weights = images.new_tensor([0.299, 0.587, 0.114])  # ITU-R 601, as in images.py
        images = (images * weights.view(3, 1, 1)).sum(dim=1, keepdim=True)
    if tuple(images.shape[2:]) != form.size:
        images = nn.functional.interpolate(
            images, form.size, mode="bilinear", align_corners=False, antialias=True
        )
    return images.expand(-1, form.channels, -1, -1)


def feature_reconstruction(maps: list[Tensor], rebuilt: list[Tensor], values: int) -> Tensor:
    """-log p(maps|z) in nats an image: `values` x mean over stages of the nats per value of the stage.

    values: number of values of an image. Thus all stages have equal weight, together that of the pixels.
    """
    nats_per_value = [
        reconstruction(of_images, of_rebuilt) / of_images[0].numel()
        for of_images, of_rebuilt in zip(maps, rebuilt, strict=True)
    ]
    return values * torch.stack(nats_per_value).mean()


def feature_bound(features: FeatureMaps, beta: float) -> VariationalObjective:
    """The objective of the VAE's negative evidence bound with feature maps instead of pixels."""

    def objective(model: Variational, seed: int) -> Loss:
        noise = posterior_noise(model, seed)

        def loss(batch: Tensor, rows: Array) -> dict[str, Tensor]:
            mean, log_variance = model.posterior(batch)
            rebuilt = model.decode(drawn(mean, log_variance, noise))
            with torch.no_grad():
                maps = features(batch)
            values = batch[0].numel()
            return {
                "features": feature_reconstruction(maps, features(rebuilt), values),
                "divergence": beta * divergence(mean, log_variance).sum(dim=1).mean(),
            }

        return loss

    return objective


def build(
    *,
    source: SourceInfo,
    track: Literal["conv"] = "conv",
    features: Encoder = "autoencoder",  # type: ignore[assignment]  # the workspace passes the encoder
    code: int = 64,
    width: int = 16,
    beta: float = 1.0,
    rate: float = 4e-3,
) -> Variational:
    """-log likelihood of the maps of another encoder after each of its stages, and `beta` x the
    divergence: Hou, Shen, Sun and Qiu 2017 (arXiv:1610.00291).

    They set both weights by hand, for VGG-19; here each stage has the variance that maximises the
    likelihood of the batch, as `vae` has for pixels, so that the scale of the features has no effect.

    features: spec of the encoder. It is fitted on the same images first, which count as seen; so do
        labels and data that it has used
    beta: weight of the divergence, 0 or more
    track, code, width, rate: as for `vae`, with the same errors

    Raises BenchError for features without gradients, and a negative beta.
    """
    sizes = Sizes(code, width, rate).checked("dfc_vae")
    require_at_least(0, "dfc_vae", beta=beta)
    if not features.differentiable:
        raise BenchError(
            "dfc_vae,features=...: this encoder's features have no gradients; give one that has"
        )
    objective = feature_bound(FeatureMaps(features), beta)
    return Variational(source, sizes, objective=objective)
