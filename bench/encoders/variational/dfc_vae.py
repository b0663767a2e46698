"""Deep-feature-consistent VAE: it gives back what another network sees of the image, not its pixels."""

from __future__ import annotations

import copy
from typing import Any, Literal

import numpy.typing as npt
import torch
from torch import Tensor, nn

from bench.data.images import Input
from bench.data.samples import SourceInfo
from bench.encoders.base import Encoder
from bench.encoders.parts.training import Loss
from bench.encoders.parts.trunk import check_sizes
from bench.encoders.parts.variational import (
    Objective,
    Variational,
    divergence,
    drawn,
    posterior_noise,
    reconstruction,
)
from bench.errors import BenchError

REVISION = 1

Array = npt.NDArray[Any]


class FeatureMaps:
    """What a copy of an encoder, frozen and in eval mode, sees of images at each of its stages.

    It is no module: whoever has it neither trains nor stores it.
    """

    def __init__(self, encoder: Encoder) -> None:
        twin = copy.deepcopy(encoder)
        self.form = twin.input
        self.stages = nn.Sequential(*(twin.stages() or [twin])).eval().requires_grad_(False)

    def __call__(self, images: Tensor) -> list[Tensor]:
        """Images (n, c, h, w) in [0, 1] to the output (n, ...) of every stage; of an encoder that does
        not come in stages, to its features."""
        found = [shown(images, self.form)]
        for stage in self.stages.to(images.device):
            found.append(stage(found[-1]))
        return found[1:]


def shown(images: Tensor, form: Input) -> Tensor:
    """Images (n, c, h, w) with the size and the channels of `form`, whole whatever its crop; gradients
    flow through."""
    if images.shape[1] > form.channels:
        weights = images.new_tensor([0.299, 0.587, 0.114])  # ITU-R 601, as images.py has it
        images = (images * weights.view(3, 1, 1)).sum(dim=1, keepdim=True)
    if tuple(images.shape[2:]) != form.size:
        images = nn.functional.interpolate(
            images, form.size, mode="bilinear", align_corners=False, antialias=True
        )
    return images.expand(-1, form.channels, -1, -1)


def feature_reconstruction(maps: list[Tensor], rebuilt: list[Tensor], values: int) -> Tensor:
    """-log p(maps|z) in nats an image: the mean over stages of the nats a value, times `values`, those
    of an image. So each stage counts alike, and all together as much as the pixels would."""
    each = [
        reconstruction(wanted, found) / wanted[0].numel()
        for wanted, found in zip(maps, rebuilt, strict=True)
    ]
    return values * torch.stack(each).mean()


def feature_bound(features: FeatureMaps, beta: float) -> Objective:
    """The VAE's negative evidence bound with maps of features in the place of pixels: an objective."""

    def objective(model: Variational, seed: int) -> Loss:
        noise = posterior_noise(model, seed)

        def loss(batch: Tensor, rows: Array) -> dict[str, Tensor]:
            mean, log_variance = model.posterior(batch)
            rebuilt = model.decode(drawn(mean, log_variance, noise))
            with torch.no_grad():
                wanted = features(batch)
            values = batch[0].numel()
            return {
                "features": feature_reconstruction(wanted, features(rebuilt), values),
                "divergence": beta * divergence(mean, log_variance).sum(dim=1).mean(),
            }

        return loss

    return objective


def build(
    *,
    source: SourceInfo,
    track: Literal["conv"] = "conv",
    features: Encoder = "autoencoder",  # type: ignore[assignment]  # the workspace gives what it names
    code: int = 64,
    width: int = 16,
    beta: float = 1.0,
    rate: float = 4e-3,
) -> Variational:
    """Squared error in the maps that the encoder `features` has after each of its stages, and the
    divergence, weighed by `beta`: Hou, Shen, Sun and Qiu 2017 (arXiv:1610.00291).

    They weigh both by hand, for VGG-19; here each stage has the variance that makes the batch most
    likely, as `vae` has for pixels, so that no scale of the features matters. `features` is fitted on
    the same images first, which count as seen; labels or data that it has seen count for this one too.
    Sizes and Adam's `rate` as for `vae`.

    Raises BenchError for features without gradients, a negative beta, a code below 1, a width that is
    no multiple of 8.
    """
    check_sizes("dfc_vae", code, width, rate)
    if beta < 0:
        raise BenchError(f"dfc_vae,beta={beta:g}: a weight of 0 or more is wanted")
    if not features.differentiable:
        raise BenchError("dfc_vae,features=...: an encoder whose features have gradients is wanted")
    objective = feature_bound(FeatureMaps(features), beta)
    return Variational(source, code=code, width=width, rate=rate, objective=objective)
