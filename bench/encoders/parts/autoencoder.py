"""What all autoencoders share: a trunk, a code, a decoder, and an objective that tells them apart."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from torch import Tensor, nn

from bench.data.images import Delivery
from bench.data.samples import SourceInfo
from bench.encoders.base import Encoder, FitReport
from bench.encoders.parts.mlp import MLPTrunk, TiedDecoder, glorot, mlp_input
from bench.encoders.parts.training import Loss, train
from bench.encoders.parts.trunk import ConvDecoder, ConvTrunk, conv_input

REVISION = 1
KNOWN_AS = "encoders/_autoencoder"  # its key in the revisions of records

Array = npt.NDArray[Any]
Track = Literal["conv", "mlp"]
_LOOKED_AT = 5_000  # training images for a report's notes


class Autoencoder(Encoder):
    """Trunk, code, decoder of one track; the same start for all objectives of one seed.

    `activation` follows the code's linear layer. `objective(model, seed)` gives the loss to train
    with, `notes(model, images)` what the report says beside the loss; without them: squared error.
    """

    def __init__(
        self,
        source: SourceInfo,
        *,
        track: Track,
        code: int,
        width: int,
        rate: float,
        activation: nn.Module | None = None,
        objective: Objective | None = None,
        notes: Notes | None = None,
    ) -> None:
        super().__init__()
        self.rate, self.objective, self.notes = rate, objective or reconstruction, notes
        # Trunk, code and decoder in this order: the same start for every encoder that has them.
        self.trunk: ConvTrunk | MLPTrunk
        self.decoder: ConvDecoder | TiedDecoder
        if track == "conv":
            self.input = conv_input(source)
            self.trunk = ConvTrunk(source.channels, width)
            linear = nn.Linear(self.trunk.dim, code)
            self.decoder = ConvDecoder(code, source.channels, width)
        else:
            self.input = mlp_input(source)
            self.trunk = MLPTrunk(self.input.channels * self.input.size[0] * self.input.size[1])
            linear = glorot(nn.Linear(self.trunk.dim, code))
            self.decoder = TiedDecoder(self.input)
        self.to_code = nn.Sequential(linear, activation or nn.Identity())
        self.dims = self.trunk.dims(code)

    def taps(self, images: Tensor) -> Mapping[str, Tensor]:
        return self.trunk.taps(images, self.to_code)

    def stages(self) -> nn.Sequential:
        if isinstance(self.trunk, MLPTrunk):
            return self.trunk.stages(self.to_code)
        return self.trunk.stages()

    def encode(self, images: Tensor) -> Tensor:
        """Images (n, c, h, w) to codes (n, d)."""
        codes: Tensor = self.to_code(self.trunk(images))
        return codes

    def decode(self, codes: Tensor) -> Tensor:
        """Codes (n, d) to images (n, c, h, w), about in [0, 1] and not cut."""
        if isinstance(self.decoder, TiedDecoder):
            assert isinstance(self.trunk, MLPTrunk)
            layers = [self.to_code[0], *reversed(self.trunk.layers)]
            images: Tensor = self.decoder(codes, [layer.weight for layer in layers])
        else:
            images = self.decoder(codes)
        return images

    def reconstruct(self, images: Tensor) -> Tensor:
        """The images (n, c, h, w) as the code keeps them."""
        return self.decode(self.encode(images))

    def fit(
        self, images: Delivery, *, labels: Mapping[str, Array] | None, budget: int, seed: int
    ) -> FitReport:
        """Least loss of the objective, by the training loop that all share."""
        loss = self.objective(self, seed)
        report = train(self, images, loss, budget=budget, seed=seed, rate=self.rate)
        return replace(report, notes=self.notes(self, images)) if self.notes else report


Objective = Callable[[Autoencoder, int], Loss]
Notes = Callable[[Autoencoder, Delivery], Mapping[str, Any]]


def reconstruction(model: Autoencoder, seed: int) -> Loss:
    """Squared error alone: an objective."""

    def loss(batch: Tensor, rows: Array) -> dict[str, Tensor]:
        return {"reconstruction": squared_error(model.reconstruct(batch), batch)}

    return loss


def squared_error(rebuilt: Tensor, images: Tensor) -> Tensor:
    """Squared error summed over pixels, averaged over images (n, ...)."""
    return (rebuilt - images).square().flatten(1).sum(dim=1).mean()


def some_batches(model: nn.Module, images: Delivery, *, most: int = _LOOKED_AT) -> Iterator[Tensor]:
    """Up to `most` training images, 500 at a time, where the model is: for a report's notes."""
    device = next(model.parameters()).device
    some = np.arange(min(len(images), most))
    for chunk in np.array_split(some, max(1, len(some) // 500)):
        yield images.read(chunk).to(device)
