"""Autoencoders are one class, a trunk, a code and a decoder; they differ in the objective."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, Literal

from torch import Tensor, nn

from bench.data.images import Delivery
from bench.data.samples import Array, SourceInfo
from bench.encoders.base import Encoder, FitReport
from bench.encoders.parts.mlp import MLPTrunk, TiedDecoder, glorot, mlp_input
from bench.encoders.parts.training import Loss, train
from bench.encoders.parts.trunk import ConvDecoder, ConvTrunk, Sizes, conv_input

REVISION = 1
KNOWN_AS = "encoders/_autoencoder"  # its key in the revisions of records

Track = Literal["conv", "mlp"]


class Autoencoder(Encoder):
    """Trunk, code and decoder of one track; with equal seeds all objectives start from equal weights.

    track: "conv" (32 x 32 pixels) or "mlp" (decoder weights tied to the encoder's)
    activation: follows the code's linear layer; None: linear
    objective: `objective(model, seed)` gives the training loss; None: squared error
    notes: `notes(model, images)` gives what the report has beside the loss
    """

    def __init__(
        self,
        source: SourceInfo,
        track: Track,
        sizes: Sizes,
        *,
        activation: nn.Module | None = None,
        objective: Objective | None = None,
        notes: Notes | None = None,
    ) -> None:
        super().__init__()
        self.rate, self.objective, self.notes = sizes.rate, objective or reconstruction, notes
        # Created in this order, so that equal seeds give equal weights in every encoder with a trunk.
        self.trunk: ConvTrunk | MLPTrunk
        self.decoder: ConvDecoder | TiedDecoder
        if track == "conv":
            self.input = conv_input(source)
            self.trunk = ConvTrunk(source.channels, sizes.width)
            linear = nn.Linear(self.trunk.dim, sizes.code)
            self.decoder = ConvDecoder(sizes.code, source.channels, sizes.width)
        else:
            self.input = mlp_input(source)
            self.trunk = MLPTrunk(self.input.channels * self.input.size[0] * self.input.size[1])
            linear = glorot(nn.Linear(self.trunk.dim, sizes.code))
            self.decoder = TiedDecoder(self.input)
        self.to_code = nn.Sequential(linear, activation or nn.Identity())
        self.dims = self.trunk.dims(sizes.code)

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
        """Codes (n, d) to images (n, c, h, w), about in [0, 1], not clipped."""
        if isinstance(self.decoder, TiedDecoder):
            assert isinstance(self.trunk, MLPTrunk)
            layers = [self.to_code[0], *reversed(self.trunk.layers)]
            images: Tensor = self.decoder(codes, [layer.weight for layer in layers])
        else:
            images = self.decoder(codes)
        return images

    def reconstruct(self, images: Tensor) -> Tensor:
        """decode(encode(images)), of images (n, c, h, w)."""
        return self.decode(self.encode(images))

    def fit(
        self, images: Delivery, *, labels: Mapping[str, Array] | None, budget: int, seed: int
    ) -> FitReport:
        """Minimises the objective, by the common training loop."""
        loss = self.objective(self, seed)
        report = train(self, images, loss, budget=budget, seed=seed, rate=self.rate)
        return replace(report, notes=self.notes(self, images)) if self.notes else report


Objective = Callable[[Autoencoder, int], Loss]
Notes = Callable[[Autoencoder, Delivery], Mapping[str, Any]]


def reconstruction(model: Autoencoder, seed: int) -> Loss:
    """The objective of squared error alone."""

    def loss(batch: Tensor, rows: Array) -> dict[str, Tensor]:
        return {"reconstruction": squared_error(model.reconstruct(batch), batch)}

    return loss


def squared_error(rebuilt: Tensor, images: Tensor) -> Tensor:
    """Squared error of (n, ...), summed over pixels, averaged over images."""
    return (rebuilt - images).square().flatten(1).sum(dim=1).mean()
