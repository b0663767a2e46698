"""Wasserstein autoencoder: the codes of all images together are matched to a prior, without noise."""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor

from bench.data.images import Delivery
from bench.data.samples import Array, SourceInfo
from bench.encoders.parts.arguments import require_at_least
from bench.encoders.parts.autoencoder import Autoencoder, Objective, squared_error
from bench.encoders.parts.training import Loss, noted_batches
from bench.encoders.parts.trunk import Sizes
from bench.encoders.parts.variational import code_moments, from_prior
from bench.seeding import torch_generator

REVISION = 1

SCALES = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)  # of the kernel, as in the authors' code


class WAE(Autoencoder):
    """An autoencoder whose codes have the distribution N(0, I) over images."""

    def sample(self, count: int, *, seed: int) -> Tensor:
        """`count` images (n, c, 32, 32) of codes drawn from the prior."""
        return self.decode(from_prior(count, self, seed=seed))


def discrepancy(codes: Tensor, prior: Tensor) -> Tensor:
    """MMD^2 of codes (n, d) and draws (m, d) of the prior; 0 for a single row. Unbiased, so that it may
    be negative.

    The kernel is sum_C C / (C + |x - y|^2) with C = 2 d times each of `SCALES`: E |x - y|^2 of two draws
    from N(0, I) is 2 d.
    """
    n, m = len(codes), len(prior)
    if min(n, m) < 2:
        return 0 * codes.sum()
    of_codes, of_prior = _kernel(codes, codes), _kernel(prior, prior)
    among_codes = (of_codes.sum() - of_codes.diagonal().sum()) / (n * (n - 1))
    among_prior = (of_prior.sum() - of_prior.diagonal().sum()) / (m * (m - 1))
    return among_codes + among_prior - 2 * _kernel(codes, prior).mean()


def _kernel(x: Tensor, y: Tensor) -> Tensor:
    """Kernel matrix (n, m) of x (n, d) and y (m, d)."""
    squares = x.square().sum(dim=1)[:, None] + y.square().sum(dim=1) - 2 * x @ y.T
    sizes = [2 * x.shape[1] * scale for scale in SCALES]
    return torch.stack([size / (size + squares.clamp(min=0)) for size in sizes]).sum(dim=0)


def matched(weight: float) -> Objective:
    """The objective of squared error and `weight` x MMD^2 of a batch's codes and as many prior draws."""

    def objective(model: Autoencoder, seed: int) -> Loss:
        noise = torch_generator(seed, "prior", next(model.parameters()).device)

        def loss(batch: Tensor, rows: Array) -> dict[str, Tensor]:
            codes = model.encode(batch)
            prior = torch.randn(codes.shape, generator=noise, device=codes.device).to(codes.dtype)
            return {
                "reconstruction": squared_error(model.decode(codes), batch),
                "discrepancy": weight * discrepancy(codes, prior),
            }

        return loss

    return objective


@torch.inference_mode()
def _notes(model: Autoencoder, images: Delivery) -> dict[str, Any]:
    return code_moments(torch.cat([model.encode(batch) for batch in noted_batches(model, images)]))


def build(
    *,
    source: SourceInfo,
    track: Literal["conv"] = "conv",
    weight: float = 20.0,
    code: int = 64,
    width: int = 16,
    rate: float = 2e-3,
) -> WAE:
    """WAE-MMD: squared error + `weight` x MMD^2 between a batch's codes and as many draws of N(0, I),
    with an inverse multiquadratic kernel. Each image has one code, without noise.

    weight: of MMD^2, 0 or more; in the authors' code it corresponds to 200 (10 against a twentieth of
        the squared error); 20 is the best of four here on validation
    track, code, width, rate: as for `autoencoder`, with the same errors

    Tolstikhin, Bousquet, Gelly and Schoelkopf 2018 (arXiv:1711.01558). Raises BenchError for a negative
    weight.
    """
    sizes = Sizes(code, width, rate).checked("wae")
    require_at_least(0, "wae", weight=weight)
    return WAE(source, track, sizes, objective=matched(weight), notes=_notes)
