"""Variational autoencoder: a code with a Gaussian prior; its posterior mean is read out."""

from __future__ import annotations

from typing import Literal

from torch import Tensor

from bench.data.samples import Array, SourceInfo
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

REVISION = 1


def evidence_bound(beta: float) -> VariationalObjective:
    """The objective of the negative evidence bound, with `beta` x the divergence."""

    def objective(model: Variational, seed: int) -> Loss:
        noise = posterior_noise(model, seed)

        def loss(batch: Tensor, rows: Array) -> dict[str, Tensor]:
            mean, log_variance = model.posterior(batch)
            rebuilt = model.decode(drawn(mean, log_variance, noise))
            return {
                "reconstruction": reconstruction(batch, rebuilt),
                "divergence": beta * divergence(mean, log_variance).sum(dim=1).mean(),
            }

        return loss

    return objective


def build(
    *,
    source: SourceInfo,
    track: Literal["conv"] = "conv",
    code: int = 64,
    width: int = 16,
    beta: float = 1.0,
    rate: float = 4e-3,
) -> Variational:
    """p(x|z) = N(decoder(z), s^2 I), with s^2 the value that maximises the likelihood of each batch
    (Rybkin et al. 2021, arXiv:2006.13202).

    beta: weight of the divergence, 0 or more (Higgins et al. 2017)
    track, code, width, rate: as for `autoencoder`, with the same errors

    Raises BenchError for a negative beta.
    """
    sizes = Sizes(code, width, rate).checked("vae")
    require_at_least(0, "vae", beta=beta)
    return Variational(source, sizes, objective=evidence_bound(beta))
