"""Stacked autoencoder: trained greedily, each layer a shallow autoencoder on the one below."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import numpy.typing as npt
import torch
from torch import Tensor, nn

from bench.data.images import Delivery
from bench.data.samples import SourceInfo
from bench.encoders.base import Encoder, FitReport
from bench.encoders.parts.autoencoder import squared_error
from bench.encoders.parts.contraction import layer_contraction, probed_contraction, scale_free
from bench.encoders.parts.mlp import MLPTrunk, glorot, mlp_input
from bench.encoders.parts.training import Loss, train
from bench.encoders.parts.trunk import ConvTrunk, check_sizes, conv_input, undo
from bench.seeding import seeded, stream, torch_generator

REVISION = 1

Array = npt.NDArray[Any]
Layers = Literal["plain", "denoising", "contractive"]
MASKED = 0.25  # share of a layer's inputs set to 0 by layers=denoising
WEIGHT = {"sigmoid": 0.1, "conv": 1.0}  # of the contraction by layers=contractive


class Shallow(nn.Module):
    """One layer of the stack with a decoder of its own, which is thrown away afterwards."""

    def __init__(self, layer: nn.Module, decode: Callable[[Tensor], Tensor] | nn.Module) -> None:
        super().__init__()
        self.layer, self.decode = layer, decode

    def forward(self, inputs: Tensor) -> Tensor:
        return self.decode(self.layer(inputs))


class TiedLayer(nn.Module):
    """Gives back what a linear layer (and sigmoid units) got, by its weights transposed and a bias."""

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        self.linear, self.bias = linear, nn.Parameter(torch.zeros(linear.in_features))

    def forward(self, units: Tensor) -> Tensor:
        return units @ self.linear.weight + self.bias


class Stacked(Encoder):
    """Trunk and code of one track; three blocks and the code, or three layers, trained in turn."""

    def __init__(
        self, source: SourceInfo, *, track: str, layers: Layers, code: int, width: int, rate: float
    ) -> None:
        super().__init__()
        self.kind, self.rate = layers, rate
        # Trunk and code in this order: the same start for every encoder that has them.
        self.trunk: ConvTrunk | MLPTrunk
        if track == "conv":
            self.input = conv_input(source)
            self.trunk = ConvTrunk(source.channels, width)
            self.to_code = nn.Sequential(nn.Linear(self.trunk.dim, code))
        else:
            self.input = mlp_input(source)
            self.trunk = MLPTrunk(self.input.channels * self.input.size[0] * self.input.size[1])
            self.to_code = nn.Sequential(glorot(nn.Linear(self.trunk.dim, code)), nn.Sigmoid())
        self.dims = self.trunk.dims(code)

    def taps(self, images: Tensor) -> Mapping[str, Tensor]:
        return self.trunk.taps(images, self.to_code)

    def stages(self) -> nn.Sequential:
        if isinstance(self.trunk, MLPTrunk):
            return self.trunk.stages(self.to_code)
        return self.trunk.stages()

    def chain(self) -> Sequence[nn.Module]:
        """The layers that are trained in turn: each maps what the one before gives."""
        if isinstance(self.trunk, MLPTrunk):
            return list(self.trunk.stages(self.to_code))
        return [*self.trunk.stages(), self.to_code]

    def fit(
        self, images: Delivery, *, labels: Mapping[str, Array] | None, budget: int, seed: int
    ) -> FitReport:
        """Each layer's least squared error in giving back its input, the layers below frozen.

        The budget is shared equally, the last layer takes the rest; every layer has an order of
        minibatches and a decoder of its own, drawn from `seed`.
        """
        chain = self.chain()
        share, steps, terms = budget // len(chain), 0, dict[str, float]()
        device = next(self.parameters()).device
        for number, layer in enumerate(chain):
            own = seed if number == 0 else stream(seed, f"layer {number}")
            with seeded(stream(own, "decoder")):
                shallow = Shallow(layer, self._decoder(layer)).to(device)
            part = share if number < len(chain) - 1 else budget - share * number
            loss = self._loss(shallow, nn.Sequential(*chain[:number]), own)
            report = train(shallow, images, loss, budget=part, seed=own, rate=self.rate)
            steps += report.steps
            terms |= {f"{number + 1}: {name}": value for name, value in report.terms.items()}
        return FitReport(images_seen=budget, steps=steps, terms=terms)

    def _decoder(self, layer: nn.Module) -> nn.Module:
        if isinstance(self.trunk, ConvTrunk) and layer is not self.to_code:
            return undo(layer)
        linear = next(m for m in layer.modules() if isinstance(m, nn.Linear))
        if isinstance(self.trunk, MLPTrunk):
            return TiedLayer(linear)
        return nn.Linear(linear.out_features, linear.in_features)

    def _loss(self, shallow: Shallow, below: nn.Sequential, seed: int) -> Loss:
        device = next(self.parameters()).device
        noise = torch_generator(
            seed, "corruption" if self.kind == "denoising" else "contraction", device
        )
        flat = isinstance(self.trunk, MLPTrunk)

        def loss(batch: Tensor, rows: Array) -> dict[str, Tensor]:
            with torch.no_grad():
                inputs = below(batch)
                inputs = inputs.flatten(1) if flat else inputs
            if self.kind == "plain":
                return {"reconstruction": squared_error(shallow(inputs), inputs)}
            if self.kind == "denoising":
                kept = torch.rand(inputs.shape, generator=noise, device=device) >= MASKED
                return {"reconstruction": squared_error(shallow(inputs * kept), inputs)}
            inputs.requires_grad_()
            units = shallow.layer(inputs)
            rebuilt = squared_error(shallow.decode(units), inputs.detach())
            if flat:
                linear = next(m for m in shallow.layer.modules() if isinstance(m, nn.Linear))
                moved = WEIGHT["sigmoid"] * layer_contraction(units, linear.weight).mean()
            else:
                probed = probed_contraction(units, inputs, noise)
                moved = WEIGHT["conv"] * scale_free(probed, units.flatten(1))
            return {"reconstruction": rebuilt, "contraction": moved}

        return loss


def build(
    *,
    source: SourceInfo,
    track: Literal["conv", "mlp"] = "conv",
    layers: Literal["plain", "denoising", "contractive"] = "denoising",
    code: int = 64,
    width: int = 16,
    rate: float = 4e-3,
) -> Stacked:
    """Greedy layer-wise training: on MLP layer by layer with tied weights, on CONV block by block and
    then the code, each with a decoder that is thrown away. `layers` says what each one is: `plain`;
    `denoising` masks a quarter of its inputs; `contractive` penalises its Jacobian (on MLP in closed
    form, on CONV estimated and in units of the output's variance).

    Bengio et al. 2007 (NIPS); Vincent et al. 2010, JMLR 11:3371; Rifai et al. 2011 (ICML). Sizes and
    Adam's `rate` as for `autoencoder`; on CONV 0.002 suits contractive layers better. Raises BenchError
    for a code below 1 and for a width that is no multiple of 8.
    """
    check_sizes("stacked", code, width, rate)
    return Stacked(source, track=track, layers=layers, code=code, width=width, rate=rate)
