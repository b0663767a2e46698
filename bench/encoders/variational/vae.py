"""Variational autoencoder: a code with a prior; its posterior mean is read out."""

from __future__ import annotations

from typing import Any, Literal

import numpy.typing as npt
from torch import Tensor

from bench.data.samples import SourceInfo
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


def evidence_bound(beta: float) -> Objective:
    """The negative evidence bound, its divergence weighed by `beta`: an objective."""

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
    """p(x|z) = N(decoder(z), s^2 I), s^2 the one that makes each batch most likely (Rybkin et al.
    2021, arXiv:2006.13202); `beta` weighs the divergence (Higgins et al. 2017).

    A code of `code` numbers on a trunk of `width`, 2 `width`, 4 `width` maps; Adam's `rate`.
    Raises BenchError for a code below 1, a width that is no multiple of 8, a negative beta.
    """
    check_sizes("vae", code, width, rate)
    if beta < 0:
        raise BenchError(f"vae,beta={beta}: a weight of 0 or more is wanted")
    return Variational(source, code=code, width=width, rate=rate, objective=evidence_bound(beta))
