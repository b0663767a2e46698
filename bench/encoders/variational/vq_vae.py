"""Vector-quantised autoencoder: its code is made of entries of a codebook."""

from __future__ import annotations

from typing import Any, Literal

import numpy.typing as npt
import torch
from torch import Tensor, nn

from bench.data.images import Delivery
from bench.data.samples import SourceInfo
from bench.encoders.parts.autoencoder import Autoencoder, some_batches, squared_error
from bench.encoders.parts.contraction import scale_free, total_variance
from bench.encoders.parts.training import Loss
from bench.encoders.parts.trunk import check_sizes
from bench.errors import BenchError
from bench.seeding import torch_generator

REVISION = 1
EXAMPLE = (
    "codes=16"  # the check kit then draws no part twice: of equal entries rounding would choose
)

Array = npt.NDArray[Any]
COMMITMENT = 0.25
_MEMORY = 0.99  # of the codebook's moving averages, a batch
_DEAD = 0.1  # of an equal share of a batch's parts: an entry that is nearest to fewer begins anew


class Quantiser(nn.Module):
    """Codes (n, d) to the nearest entries of a codebook, each of `groups` parts of a code on its own.

    All parts share the codebook (entries, d / groups), as the places of a map do in the paper. It
    moves by `learn` alone: entries are moving averages of the parts that they are nearest to.
    """

    codebook: Tensor
    counts: Tensor
    sums: Tensor

    def __init__(self, entries: int, groups: int, code: int) -> None:
        super().__init__()
        self.groups = groups
        self.register_buffer("codebook", torch.zeros(entries, code // groups))
        self.register_buffer("counts", torch.zeros(entries))
        self.register_buffer("sums", torch.zeros(entries, code // groups))

    def nearest(self, codes: Tensor) -> Tensor:
        """Numbers (n, groups) of the nearest entries."""
        parts = codes.view(len(codes), self.groups, -1)
        distances = self.codebook.square().sum(dim=1) - 2 * parts @ self.codebook.T  # + |part|^2
        return distances.argmin(dim=2)

    def forward(self, codes: Tensor) -> Tensor:
        """The entries laid side by side (n, d), with the gradient passed straight through."""
        entries = self.codebook[self.nearest(codes.detach())].flatten(1)
        return entries + (codes - codes.detach())

    @torch.no_grad()
    def learn(self, codes: Tensor, chance: torch.Generator) -> None:
        """Entries move to the parts of codes (n, d) that they are nearest to; those that are hardly
        nearest to any, as all are at first, begin anew at parts drawn at random.

        Moving averages as in appendix A.1 of the paper.
        """
        parts, entries = codes.reshape(-1, self.codebook.shape[1]), len(self.codebook)
        share = len(parts) / entries
        dead = self.counts < _DEAD * share
        drawn = torch.randint(len(parts), (entries,), generator=chance, device=parts.device)
        self.codebook[dead] = parts[drawn[dead]]
        self.counts[dead], self.sums[dead] = share, share * self.codebook[dead]
        chosen = nn.functional.one_hot(self.nearest(codes).flatten(), entries).to(parts.dtype)
        self.counts.lerp_(chosen.sum(dim=0), 1 - _MEMORY)
        self.sums.lerp_(chosen.T @ parts, 1 - _MEMORY)
        self.codebook.copy_(self.sums / self.counts[:, None])


def quantised(model: Autoencoder, seed: int) -> Loss:
    """Squared error, and how far codes are from their entries: an objective. The codebook learns first.

    Both count by the share of their variance that is lost, as in the authors' code: the decoder does
    not feel the code's scale, so that a smaller code would cost nothing and commit for free.
    """
    chance = torch_generator(seed, "restarts", next(model.parameters()).device)
    linear, quantiser = model.to_code

    def loss(batch: Tensor, rows: Array) -> dict[str, Tensor]:
        assert isinstance(quantiser, Quantiser)
        dense = linear(model.trunk(batch))
        quantiser.learn(dense, chance)
        code = quantiser(dense)
        off = (dense - code.detach()).square().sum(dim=1)
        return {
            "reconstruction": squared_error(model.decode(code), batch),
            "commitment": COMMITMENT * total_variance(batch.flatten(1)) * scale_free(off, dense),
        }

    return loss


@torch.inference_mode()
def usage(model: Autoencoder, images: Delivery) -> dict[str, Any]:
    """Over training images: the perplexity of the entries that parts of codes are nearest to (as many
    equally frequent ones would have it), and how many entries are ever the nearest."""
    linear, quantiser = model.to_code
    assert isinstance(quantiser, Quantiser)
    found = [quantiser.nearest(linear(model.trunk(x))) for x in some_batches(model, images)]
    counts = torch.cat(found).flatten().bincount(minlength=len(quantiser.codebook)).double()
    shares = counts / counts.sum()
    return {
        "perplexity": float(f"{torch.special.entr(shares).sum().exp():.4g}"),
        "entries_in_use": int((counts > 0).sum()),
    }


def build(
    *,
    source: SourceInfo,
    track: Literal["conv"] = "conv",
    codes: int = 512,
    groups: int = 16,
    code: int = 64,
    width: int = 16,
    rate: float = 2e-3,
) -> Autoencoder:
    """The code is cut into `groups` parts, each replaced by the nearest of `codes` entries of one
    codebook; gradients pass straight through, commitment 0.25. Squared error as reconstruction.

    Van den Oord, Vinyals and Kavukcuoglu 2017 (arXiv:1711.00937), with moving averages; parts of one
    code are Jegou, Douze and Schmid's 2011 (doi:10.1109/TPAMI.2010.57). No prior over entries is
    learnt, so there is no `sample`. Sizes and Adam's `rate` as for `autoencoder`.

    Raises BenchError for fewer codes or groups than 1, groups that do not divide the code, a code
    below 1, a width that is no multiple of 8.
    """
    check_sizes("vq_vae", code, width, rate)
    if codes < 1:
        raise BenchError(f"vq_vae,codes={codes}: 1 or more are wanted")
    if groups < 1 or code % groups:
        raise BenchError(f"vq_vae,groups={groups}: a divisor of code={code} is wanted")
    quantiser = Quantiser(codes, groups, code)
    model = Autoencoder(
        source,
        track=track,
        code=code,
        width=width,
        rate=rate,
        activation=quantiser,
        objective=quantised,
        notes=usage,
    )
    # After trunk, code and decoder: they start as every other encoder's. The first batch begins anew.
    quantiser.codebook.normal_()
    return model
