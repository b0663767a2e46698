"""Measures of generated images: sharpness, classes, and the share in the manifold of real images."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from bench.encoders.controls.supervised import Supervised

_CHUNK = 500


def in_chunks(function: Callable[[Tensor], Tensor], rows: Tensor) -> Tensor:
    """A function's outputs for rows (n, ...), which it gets some hundreds at a time."""
    return torch.cat([function(chunk) for chunk in torch.split(rows, _CHUNK)])


def sharpness(images: Tensor) -> Tensor:
    """Variance over inner pixels of the discrete Laplacian of images (n, c, h, w): (n,), mean over
    channels. Blur lowers it, noise raises it; Tolstikhin et al. 2018 (arXiv:1711.01558) use it so."""
    inner = images[..., 1:-1, 1:-1]
    around = images[..., :-2, 1:-1] + images[..., 2:, 1:-1]
    around = around + images[..., 1:-1, :-2] + images[..., 1:-1, 2:]
    return (around - 4 * inner).flatten(2).var(dim=2, correction=0).mean(dim=1)


def effective(classes: Tensor, size: int) -> float:
    """How many of `size` classes the labels (n,) are spread over: exp of their entropy, 1 to `size`."""
    shares = classes.bincount(minlength=size).double() / len(classes)
    return float(torch.special.entr(shares).sum().exp())


def inside(points: Tensor, queries: Tensor, neighbours: int = 3) -> Tensor:
    """Which queries (m, d) lie in the manifold of points (n, d), bool (m,): no farther from some
    point than that point's `neighbours`-th neighbour among the points.

    Kynkäänniemi et al. 2019 (arXiv:1904.06991): of samples in the manifold of images it is their
    precision, of images in that of samples their recall.
    """
    distances = torch.cdist(points, points, compute_mode="donot_use_mm_for_euclid_dist")
    radii = distances.fill_diagonal_(torch.inf).kthvalue(neighbours, dim=1).values
    return in_chunks(lambda chunk: (torch.cdist(chunk, points) <= radii).any(dim=1), queries)


def within(points: Tensor, queries: Tensor, neighbours: int = 3) -> float:
    """Share of queries (m, d) that lie in the manifold of points (n, d)."""
    return float(inside(points, queries, neighbours).double().mean())


@dataclass(frozen=True, slots=True, eq=False)
class Judge:
    """A reference classifier: `supervised`, trained on the same rows, with their labels."""

    encoder: Supervised

    @torch.inference_mode()
    def features(self, images: Tensor) -> Tensor:
        """Its trunk's features (n, d) of images (n, c, 32, 32).

        Not its code, which tells classes alone: half of uniform noise lies among the codes of images.
        """
        return in_chunks(lambda chunk: self.encoder.taps(chunk)["trunk"], images)

    @torch.inference_mode()
    def classes(self, features: Tensor) -> Tensor:
        """The class (n,) of each image, from its features, by the first head."""
        return self.probabilities(features).argmax(dim=1)

    @torch.inference_mode()
    def probabilities(self, features: Tensor) -> Tensor:
        """Of the classes (n, k) of the first head's target, from features (n, d)."""
        logits: Tensor = self.encoder.heads.heads[0](self.encoder.to_code(features))
        return logits.softmax(dim=1)
