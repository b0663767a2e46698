"""Bilinear compatibility of features and signatures, learnt by ranking: DeViSE, ALE, SJE."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from bench.seeding import minibatches
from bench.solvers._checks import Array
from bench.solvers._descent import BATCH, checked_tensors, descend

REVISION = 1
Rule = Literal["devise", "ale", "sje"]


def ranking(scores: Tensor, y: Tensor, rule: Rule, *, margin: float = 1.0) -> Tensor:
    """Loss (n,) of scores (n, C) with truth y (n,): the sum over wrong classes c of
    weight_c * [margin + score_c - score_y]_+, whose r positive terms are the violators.

    devise: every weight is 1 (Frome et al. 2013, "DeViSE"). sje: 1 for the worst violator alone; equals
    share it (Akata et al. 2015, arXiv:1409.8403). ale: (1 + 1/2 + ... + 1/r) / r (Akata et al. 2016,
    arXiv:1503.08677, after Usunier et al. 2009). No gradient passes a weight.
    """
    over = margin + scores - scores.gather(1, y[:, None])
    over = over.scatter(1, y[:, None], 0.0).clamp(min=0)
    if rule == "devise":
        return over.sum(dim=1)
    if rule == "sje":
        return over.amax(dim=1)  # whose gradient equals share
    count = (over.detach() > 0).sum(dim=1)
    harmonic = (1 / torch.arange(1, scores.shape[1] + 1, dtype=scores.dtype)).cumsum(dim=0)
    weight = harmonic[(count - 1).clamp(min=0)] / count.clamp(min=1)
    return weight * over.sum(dim=1)


def train(
    x: Array,
    y: Array,
    signatures: Array,
    rule: Rule,
    *,
    rate: float,
    decay: float,
    samples: int,
    seed: int,
) -> Array:
    """W (d, a), float32, whose scores x W s tell the classes of features x (n, d) with places y (n,) in
    signatures (C, a); mean `ranking` loss, in order by `seed`.

    W starts at 0, so that attributes in which no classes differ keep weight 0. The margin is fixed at 1:
    without decay, a margin k times as large at a rate k times as high gives k times W.
    Raises BenchError for what does not fit (see `_descent`).
    """
    features, labels, table = checked_tensors(x, y, signatures)
    W = torch.zeros(features.shape[1], table.shape[1], requires_grad=True)

    def loss(rows: Tensor) -> Tensor:
        return ranking(features[rows] @ (W @ table.T), labels[rows], rule).mean()

    batches = minibatches(len(x), samples, BATCH, seed)
    descend([W], loss, batches, samples=samples, rate=rate, decay=decay)
    weights: Array = W.numpy()
    return weights
