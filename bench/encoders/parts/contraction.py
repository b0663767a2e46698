"""Sensitivity of a code to its input: the squared Frobenius norm of the Jacobian."""

from __future__ import annotations

import torch
from torch import Tensor

REVISION = 1
KNOWN_AS = "encoders/_contraction"  # its key in the revisions of records


def layer_contraction(units: Tensor, weight: Tensor) -> Tensor:
    """||J||_F^2 (n,) of one layer of sigmoid `units` (n, d_h) with respect to its own input.

    In closed form: sum_j (h_j (1 - h_j))^2 sum_i W_ji^2, with `weight` (d_h, d_x). Rifai et al. 2011.
    """
    slopes: Tensor = (units * (1 - units)).square()
    return slopes @ weight.square().sum(dim=1)


def probed_contraction(codes: Tensor, inputs: Tensor, noise: torch.Generator) -> Tensor:
    """||J||_F^2 (n,) of `codes` (n, d) with respect to `inputs` (n, ...), estimated by ||J^T u||^2 with
    u a random sign for each code unit. No row of `codes` may depend on another row of `inputs`.

    Unbiased; variance 2 (||J J^T||_F^2 - sum_i (J J^T)_ii^2). Hutchinson 1990,
    doi:10.1080/03610919008812866. Differentiable.
    """
    bits = torch.randint(0, 2, codes.shape, generator=noise, device=codes.device)
    signs = (2 * bits - 1).to(codes.dtype)
    [products] = torch.autograd.grad((codes * signs).sum(), inputs, create_graph=True)
    return products.square().flatten(1).sum(dim=1)


def scale_free(contraction: Tensor, codes: Tensor) -> Tensor:
    """mean(||J||_F^2) / total variance, of contractions (n,) and codes (n, d): unchanged when the code is
    rescaled. 0 where the codes do not vary, such as with one row."""
    variance = total_variance(codes)
    varies = variance > 0
    return torch.where(varies, contraction.mean() / torch.where(varies, variance, 1.0), 0.0)


def total_variance(codes: Tensor) -> Tensor:
    """Variance over the rows of codes (n, d), summed over units; 0 for one row."""
    return codes.var(dim=0, correction=0).sum()
