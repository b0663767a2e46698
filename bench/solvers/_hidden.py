"""The hidden layer of many towers in few passes over memory, whose bandwidth limits its speed."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

_EPSILON = 1e-5  # of PyTorch's layer_norm


def hidden_units(
    x: Tensor, weight: Tensor, bias: Tensor, scale: Tensor, shift: Tensor, keep: Tensor | None
) -> Tensor:
    """(r, k, b, h): rectified, normalised (Ba et al. 2016, arXiv:1607.06450) x @ weight + bias.

    x: (r, b, d), without a gradient; weight: (r, k, d, h); bias, scale and shift: (r, k, 1, h); keep
    (r, 1, b, h) multiplies the units, or None.
    """
    units: Tensor = _Hidden.apply(x, weight, bias, scale, shift, keep)
    return units


class _Hidden(torch.autograd.Function):
    """The gradient of autograd, computed in place where a buffer is no longer needed."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight: Tensor,
        bias: Tensor,
        scale: Tensor,
        shift: Tensor,
        keep: Tensor | None,
    ) -> Tensor:
        sums = (x[:, None] @ weight).add_(bias)
        normal, _, rate = torch.native_layer_norm(sums, sums.shape[-1:], None, None, _EPSILON)
        units = torch.addcmul(shift, normal, scale, out=sums).relu_()
        if keep is not None:
            units.mul_(keep)
        ctx.save_for_backward(x, scale, normal, rate, units, keep)
        return units

    @staticmethod
    def backward(ctx: Any, *slopes: Tensor) -> tuple[Tensor | None, ...]:
        x, scale, normal, rate, units, keep = ctx.saved_tensors
        slope = torch.ops.aten.threshold_backward(slopes[0], units, 0)
        if keep is not None:
            slope.mul_(keep)
        of_shift = slope.sum(dim=2, keepdim=True)
        along = slope * normal
        of_scale = along.sum(dim=2, keepdim=True)
        # through the layer norm: remove the mean of the row and its projection on the normalised row
        width = slope.shape[-1]
        share = (along @ scale.transpose(2, 3)).div_(-width)  # (r, k, b, 1)
        slope.mul_(scale)
        mean = slope.mean(dim=3, keepdim=True)
        slope.addcmul_(normal, share).sub_(mean).mul_(rate)
        of_weight = x[:, None].transpose(2, 3) @ slope
        return None, of_weight, slope.sum(dim=2, keepdim=True), of_scale, of_shift, None
