"""Stacked autoencoder: trained layer by layer, each as a shallow autoencoder of the layer below."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from bench.data.images import Delivery
from bench.data.samples import Array, SourceInfo
from bench.encoders.base import Encoder, FitReport
from bench.encoders.parts.autoencoder import squared_error
from bench.encoders.parts.contraction import layer_contraction, probed_contraction, scale_free
from bench.encoders.parts.mlp import MLPTrunk, glorot, mlp_input
from bench.encoders.parts.training import Loss, train
from bench.encoders.parts.trunk import ConvTrunk, Sizes, conv_input, stage_decoder
from bench.seeding import seeded, stream, torch_generator

REVISION = 1

Layers = Literal["plain", "denoising", "contractive"]
MASKED = 0.25  # share of a layer's inputs set to 0 by layers=denoising
WEIGHT = {"sigmoid": 0.1, "conv": 1.0}  # of the penalty of layers=contractive


class Shallow(nn.Module):
    """One layer of the stack with its decoder, which is discarded after the layer's training."""

    def __init__(self, layer: nn.Module, decode: Callable[[Tensor], Tensor] | nn.Module) -> None:
        super().__init__()
        self.layer, self.decode = layer, decode

    def forward(self, inputs: Tensor) -> Tensor:
        return self.decode(self.layer(inputs))


class TiedLayer(nn.Module):
    """units @ W + b, with W (out, in) that of the encoding linear layer: from its outputs to inputs."""

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        self.linear, self.bias = linear, nn.Parameter(torch.zeros(linear.in_features))

    def forward(self, units: Tensor) -> Tensor:
        return units @ self.linear.weight + self.bias


class Stacked(Encoder):
    """Trunk and code of one track: three blocks and the code, or three layers, trained in turn.

    Arguments as for `build`.
    """

    def __init__(self, source: SourceInfo, track: str, sizes: Sizes, *, layers: Layers) -> None:
        super().__init__()
        self.kind, self.rate = layers, sizes.rate
        # Created in this order, so that equal seeds give equal weights in every encoder with a trunk.
        self.trunk: ConvTrunk | MLPTrunk
        if track == "conv":
            self.input = conv_input(source)
            self.trunk = ConvTrunk(source.channels, sizes.width)
            self.to_code = nn.Sequential(nn.Linear(self.trunk.dim, sizes.code))
        else:
            self.input = mlp_input(source)
            self.trunk = MLPTrunk(self.input.channels * self.input.size[0] * self.input.size[1])
            self.to_code = nn.Sequential(
                glorot(nn.Linear(self.trunk.dim, sizes.code)), nn.Sigmoid()
            )
        self.dims = self.trunk.dims(sizes.code)

    def taps(self, images: Tensor) -> Mapping[str, Tensor]:
        return self.trunk.taps(images, self.to_code)

    def stages(self) -> nn.Sequential:
        if isinstance(self.trunk, MLPTrunk):
            return self.trunk.stages(self.to_code)
        return self.trunk.stages()

    def chain(self) -> Sequence[nn.Module]:
        """The layers in the order of training: each takes the output of the one before."""
        if isinstance(self.trunk, MLPTrunk):
            return list(self.trunk.stages(self.to_code))
        return [*self.trunk.stages(), self.to_code]

    def fit(
        self, images: Delivery, *, labels: Mapping[str, Array] | None, budget: int, seed: int
    ) -> FitReport:
        """Trains each layer to reconstruct its input, with the layers below frozen.

        The budget is divided equally, the last layer gets the remainder; every layer has its own order
        of minibatches and its own decoder, both drawn from `seed`.
        """
        chain = self.chain()
        share, steps, terms = budget // len(chain), 0, dict[str, float]()
        device = next(self.parameters()).device
        for number, layer in enumerate(chain):
            layer_seed = seed if number == 0 else stream(seed, f"layer {number}")
            with seeded(stream(layer_seed, "decoder")):
                shallow = Shallow(layer, self._decoder(layer)).to(device)
            part = share if number < len(chain) - 1 else budget - share * number
            loss = self._loss(shallow, nn.Sequential(*chain[:number]), layer_seed)
            report = train(shallow, images, loss, budget=part, seed=layer_seed, rate=self.rate)
            steps += report.steps
            terms |= {f"{number + 1}: {name}": value for name, value in report.terms.items()}
        return FitReport(images_seen=budget, steps=steps, terms=terms)

    def _decoder(self, layer: nn.Module) -> nn.Module:
        if isinstance(self.trunk, ConvTrunk) and layer is not self.to_code:
            return stage_decoder(layer)
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
                unmasked = torch.rand(inputs.shape, generator=noise, device=device) >= MASKED
                return {"reconstruction": squared_error(shallow(inputs * unmasked), inputs)}
            inputs.requires_grad_()
            units = shallow.layer(inputs)
            error = squared_error(shallow.decode(units), inputs.detach())
            if flat:
                linear = next(m for m in shallow.layer.modules() if isinstance(m, nn.Linear))
                penalty = WEIGHT["sigmoid"] * layer_contraction(units, linear.weight).mean()
            else:
                estimate = probed_contraction(units, inputs, noise)
                penalty = WEIGHT["conv"] * scale_free(estimate, units.flatten(1))
            return {"reconstruction": error, "contraction": penalty}

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
    """Greedy layer-wise training: on track mlp layer by layer with tied weights, on conv block by block
    and then the code, each with a decoder that is discarded.

    layers: how each is trained: `plain`; `denoising`, with a quarter of its inputs masked; `contractive`,
        with a penalty of its Jacobian (on mlp in closed form, on conv estimated, and divided by the
        variance of the output)
    track, code, width, rate: as for `autoencoder`, with the same errors; on conv a rate of 0.002 is
        better for contractive layers

    Bengio et al. 2007 (NIPS); Vincent et al. 2010, JMLR 11:3371; Rifai et al. 2011 (ICML).
    """
    sizes = Sizes(code, width, rate).checked("stacked")
    return Stacked(source, track, sizes, layers=layers)
