"""Measures of codes of variational autoencoders, compared with their prior."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from bench.encoders.parts.training import Loss
from bench.encoders.parts.variational import Variational, divergence
from bench.studies.base import Array


def divergence_alone(model: Variational, seed: int) -> Loss:
    """KL(q(z|x) || N(0, I)) without reconstruction: an objective. The decoder learns nothing."""

    def loss(batch: Tensor, rows: Array) -> dict[str, Tensor]:
        return {"divergence": divergence(*model.posterior(batch)).sum(dim=1).mean()}

    return loss


def sliced(codes: Tensor, directions: int = 64) -> float:
    """How far codes (n, 2) lie from N(0, I): the 2-Wasserstein distance of their projection on a line
    from N(0, 1), root mean square over `directions` at equal angles.

    Of codes from N(m, s^2 I) it is sqrt(|m|^2 / 2 + (s - 1)^2), but for the draws. Bonneel, Rabin,
    Peyré and Pfister 2015, doi:10.1007/s10851-014-0506-3.
    """
    angles = math.pi * torch.arange(directions, dtype=torch.float64) / directions
    lines = torch.stack([angles.cos(), angles.sin()])
    middle = (torch.arange(len(codes), dtype=torch.float64) + 0.5) / len(codes)
    ordered = (codes.double().cpu() @ lines).sort(dim=0).values
    return float((ordered - torch.special.ndtri(middle)[:, None]).square().mean().sqrt())


def neighbours(queries: Tensor, bank: Tensor, classes: Tensor, k: int = 15) -> Tensor:
    """The most frequent class (m,) of the `k` nearest rows of bank (n, d), of `classes` (n,), for each
    of queries (m, d); of equally frequent ones the lowest."""
    distances = torch.cdist(queries.double(), bank.double())
    nearest = distances.topk(min(k, len(bank)), largest=False).indices
    votes = torch.nn.functional.one_hot(classes[nearest], int(classes.max()) + 1).sum(dim=1)
    return votes.argmax(dim=1)


def prior_grid(across: int) -> Tensor:
    """Codes (across^2, 2) that cut N(0, I) into cells of equal mass: rows from the top, the first number
    to the right and the second up."""
    places = torch.special.ndtri((torch.arange(across, dtype=torch.float64) + 0.5) / across)
    up, right = torch.meshgrid(places.flip(0), places, indexing="ij")
    return torch.stack([right.flatten(), up.flatten()], dim=1).float()
