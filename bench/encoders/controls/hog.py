"""Histograms of oriented gradients (HOG): hand-made features, without learning."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from bench.data.images import Input
from bench.data.samples import SourceInfo
from bench.encoders.base import Encoder
from bench.errors import BenchError

REVISION = 1
TRAINING = "none"

_ORIENTATIONS = 9  # unsigned, 20 degrees each
_CLIP = 0.2  # of L2-Hys: limits the share of one strong gradient in a block
_EPSILON = 1e-5


class HOG(Encoder):
    """Grey images (n, 1, h, w) to histograms of gradient directions in cells, (n, blocks x 4 x 9).

    Dalal and Triggs 2005, "Histograms of oriented gradients for human detection", as in scikit-image:
    central differences, zero at the border; a pixel adds its gradient's length to one of 9 directions
    (no interpolation); blocks of 2 x 2 cells overlap by a cell, each normalised with L2-Hys. Pixels at
    the right and bottom that do not fill a cell are ignored.

    Differentiable through the gradient lengths, but for the jumps where a direction changes its bin.
    """

    seeded = False

    def __init__(self, input: Input, cell: int) -> None:
        super().__init__()
        self.input, self.cell = input, cell
        blocks = (input.size[0] // cell - 1) * (input.size[1] // cell - 1)
        self.dims = {"code": blocks * 4 * _ORIENTATIONS}

    def taps(self, images: Tensor) -> dict[str, Tensor]:
        down = nn.functional.pad(images[:, :, 2:] - images[:, :, :-2], (0, 0, 1, 1))
        right = nn.functional.pad(images[..., 2:] - images[..., :-2], (1, 1))
        degrees = torch.rad2deg(torch.atan2(down.detach(), right.detach())).remainder(180)
        # A direction just below 0 may be rounded to 180.
        bins = (degrees * (_ORIENTATIONS / 180)).long().clamp(max=_ORIENTATIONS - 1)
        votes = images.new_zeros(len(images), _ORIENTATIONS, *images.shape[2:])
        votes = votes.scatter(1, bins, _length(down, right))
        cells = nn.functional.avg_pool2d(votes, self.cell)  # (n, 9, rows, columns)
        blocks = nn.functional.unfold(cells, kernel_size=2).view(len(images), _ORIENTATIONS, 4, -1)
        flat = blocks.permute(0, 3, 2, 1).flatten(2)  # (n, blocks, cells x directions)
        return {"code": _unit(_unit(flat).clamp(max=_CLIP)).flatten(1)}


def _length(down: Tensor, right: Tensor) -> Tensor:
    """sqrt(down^2 + right^2), with derivative 0 (not NaN) at 0."""
    squares = down.square() + right.square()
    flat = squares == 0
    return squares.masked_fill(flat, 1).sqrt().masked_fill(flat, 0)


def _unit(x: Tensor) -> Tensor:
    """x / sqrt(|x|^2 + epsilon^2), of rows (..., d)."""
    return x / (x.square().sum(dim=-1, keepdim=True) + _EPSILON**2).sqrt()


def build(*, source: SourceInfo, size: int = 32, cell: int = 4) -> HOG:
    """Cells of `cell` x `cell` pixels, on grey images resized to `size` x `size`.

    Raises BenchError where a side has fewer than two cells, which make a block.
    """
    if cell < 1 or size < 2 * cell:
        raise BenchError(
            f"hog,size={size},cell={cell}: a block is 2 x 2 cells; "
            "give a cell of 1 or more and a size of two cells or more"
        )
    return HOG(Input(size=(size, size), channels=1), cell)
