"""Vector-quantised autoencoder: its code consists of entries of a learnt codebook."""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor, nn

from bench.data.images import Delivery
from bench.data.samples import Array, SourceInfo
from bench.encoders.parts.arguments import require_at_least
from bench.encoders.parts.autoencoder import Autoencoder, squared_error
from bench.encoders.parts.contraction import scale_free, total_variance
from bench.encoders.parts.training import Loss, noted_batches
from bench.encoders.parts.trunk import Sizes
from bench.errors import BenchError
from bench.seeding import torch_generator

REVISION = 1
EXAMPLE = "codes=16"  # fewer entries than the check kit has parts: no two entries are equal

COMMITMENT = 0.25
_MEMORY = 0.99  # decay of the codebook's moving averages, per batch
_DEAD = 0.1  # an entry is reset if it is nearest to less than this x (parts of the batch / entries)


class Quantiser(nn.Module):
    """Codes (n, d) to the nearest entries of a codebook, for each of `groups` parts of a code separately.

    All parts share the codebook (entries, d / groups), as the positions of a map do in the paper. Only
    `learn` changes it: entries are moving averages of the parts that they are nearest to.
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
        """Indices (n, groups) of the nearest entries to the parts of codes (n, d)."""
        parts = codes.view(len(codes), self.groups, -1)
        distances = self.codebook.square().sum(dim=1) - 2 * parts @ self.codebook.T  # + |part|^2
        return distances.argmin(dim=2)

    def forward(self, codes: Tensor) -> Tensor:
        """The nearest entries side by side (n, d), with the straight-through gradient."""
        entries = self.codebook[self.nearest(codes.detach())].flatten(1)
        return entries + (codes - codes.detach())

    @torch.no_grad()
    def learn(self, codes: Tensor, chance: torch.Generator) -> None:
        """Update the moving averages by the parts of codes (n, d) (appendix A.1 of the paper). Entries
        that are nearest to hardly any, as all are at first, are reset to parts drawn at random."""
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
    """The objective of squared error and distance of codes from their entries, after a codebook update.

    The distance is divided by the variance of the codes and multiplied by that of the images, as in the
    authors' code: the decoder is invariant to the code's scale, so that otherwise a smaller code would
    reduce the distance at no cost.
    """
    chance = torch_generator(seed, "restarts", next(model.parameters()).device)
    linear, quantiser = model.to_code

    def loss(batch: Tensor, rows: Array) -> dict[str, Tensor]:
        assert isinstance(quantiser, Quantiser)
        dense = linear(model.trunk(batch))
        quantiser.learn(dense, chance)
        code = quantiser(dense)
        distance = (dense - code.detach()).square().sum(dim=1)
        scaled = COMMITMENT * total_variance(batch.flatten(1)) * scale_free(distance, dense)
        error = squared_error(model.decode(code), batch)
        return {"reconstruction": error, "commitment": scaled}

    return loss


@torch.inference_mode()
def usage(model: Autoencoder, images: Delivery) -> dict[str, Any]:
    """Over training images: exp(entropy) of the frequencies of the nearest entries, their perplexity,
    and the number of entries that are the nearest of any part."""
    linear, quantiser = model.to_code
    assert isinstance(quantiser, Quantiser)
    nearest = [quantiser.nearest(linear(model.trunk(x))) for x in noted_batches(model, images)]
    counts = torch.cat(nearest).flatten().bincount(minlength=len(quantiser.codebook)).double()
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
    """Each part of the code is replaced by the nearest entry of a codebook; straight-through gradient,
    squared error, commitment 0.25. No prior over entries is learnt, so there is no `sample`.

    codes: number of entries of the codebook
    groups: number of parts of a code, a divisor of `code`
    track, code, width, rate: as for `autoencoder`, with the same errors

    Van den Oord, Vinyals and Kavukcuoglu 2017 (arXiv:1711.00937), with moving averages; parts of a code
    as by Jegou, Douze and Schmid 2011 (doi:10.1109/TPAMI.2010.57). Raises BenchError for fewer codes or
    groups than 1, and groups that do not divide the code.
    """
    sizes = Sizes(code, width, rate).checked("vq_vae")
    require_at_least(1, "vq_vae", codes=codes)
    if groups < 1 or code % groups:
        raise BenchError(f"vq_vae,groups={groups}: must be a divisor of code={code}")
    quantiser = Quantiser(codes, groups, code)
    model = Autoencoder(
        source, track, sizes, activation=quantiser, objective=quantised, notes=usage
    )
    # Last, so that trunk, code and decoder start like those of every other encoder.
    quantiser.codebook.normal_()
    return model
