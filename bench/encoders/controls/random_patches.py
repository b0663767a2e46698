"""Random (or k-means) patches as filters, whitened and pooled over quadrants: one layer, not trained."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn

from bench.data.images import Delivery, Input
from bench.data.samples import Array, SourceInfo
from bench.encoders.base import Encoder, FitReport
from bench.encoders.parts.arguments import require_at_least, require_positive
from bench.errors import BenchError, Declined
from bench.seeding import generator, stream

REVISION = 1
TRAINING = "closed_form"


_DRAWN = 100_000  # patches from which whitening and atoms are computed
_BATCH = 512
_CHUNK = 2**20  # activations at a time: 4 MB, which fit into a processor's cache
_BRIGHTNESS = 10 / 255**2  # the paper adds 10 to variances of pixels in 0..255; ours are in [0, 1]


class RandomPatches(Encoder):
    """Images (n, c, h, w) to triangle activations of k atoms, summed over quadrants: (n, 4 k).

    Coates, Ng and Lee 2011, "An analysis of single-layer networks in unsupervised feature
    learning": every patch (stride 1) is normalised to mean 0 and about unit variance and whitened
    (ZCA); with z_j its distance to atom j, the activation is max(0, mean(z) - z_j). `epsilon` is
    added to the eigenvalues of the covariance of normalised patches, whose pixels have a variance
    of about 1. Atoms are whitened training patches at unit length, or centres of k-means.

    With an odd number of positions the middle one belongs to the upper (left) half.
    """

    mean: Tensor
    whitening: Tensor
    atoms: Tensor

    def __init__(
        self, input: Input, patches: int, field: int, kmeans: bool, epsilon: float
    ) -> None:
        super().__init__()
        self.input, self.dims = input, {"code": 4 * patches}
        self.field, self.kmeans, self.epsilon = field, kmeans, epsilon
        self.grid = (input.size[0] - field + 1, input.size[1] - field + 1)
        length = input.channels * field**2
        self.register_buffer("mean", torch.zeros(length))
        self.register_buffer("whitening", torch.eye(length))
        self.register_buffer("atoms", torch.zeros(patches, length))

    def taps(self, images: Tensor) -> dict[str, Tensor]:
        rows = max(1, _CHUNK // (len(self.atoms) * self.grid[0] * self.grid[1]))
        return {"code": torch.cat([self._pooled(chunk) for chunk in torch.split(images, rows)])}

    def _pooled(self, images: Tensor) -> Tensor:
        columns = nn.functional.unfold(images, self.field)  # (n, c * field^2, positions)
        active = self.triangle(self.whitened(columns.transpose(1, 2).flatten(0, 1)))
        halves = active.view(len(images), *self.grid, -1).tensor_split(2, dim=1)
        quadrants = [quadrant for half in halves for quadrant in half.tensor_split(2, dim=2)]
        return torch.cat([quadrant.sum(dim=(1, 2)) for quadrant in quadrants], dim=1)

    def whitened(self, patches: Tensor) -> Tensor:
        """Raw patches (m, d) without brightness, contrast and correlations."""
        return (_normalised(patches) - self.mean) @ self.whitening

    def triangle(self, patches: Tensor) -> Tensor:
        """max(0, mean_j |p - a_j| - |p - a_j|), (m, k), of whitened patches p (m, d) and atoms a_j."""
        squares = torch.addmm(self.atoms.square().sum(dim=1), patches, self.atoms.T, alpha=-2)
        # In place where gradients allow it: these passes, not the products, take the time.
        squares.add_(patches.square().sum(dim=1, keepdim=True))
        # Rounding may give negative values; above 0 the square root has a finite derivative.
        distances = squares.clamp(min=1e-12).sqrt_()
        return (distances.mean(dim=1, keepdim=True) - distances).relu_()

    def fit(
        self, images: Delivery, *, labels: Mapping[str, Array] | None, budget: int, seed: int
    ) -> FitReport:
        """Whitening and atoms from 100,000 random training patches, or all if there are fewer.

        Raises Declined where fewer patches than atoms have any contrast.
        """
        raw, images_seen = self.draw_patches(images, seed)
        # Uniform patches, of which digits have many, would all give the same atom.
        textured = np.flatnonzero((raw.amax(dim=1) > raw.amin(dim=1)).numpy())
        if len(textured) < len(self.atoms):
            raise Declined(
                f"random_patches,patches={len(self.atoms)}: only {len(textured)} of {len(raw)} "
                "training patches have any contrast; give a smaller number"
            )
        normal = _normalised(raw).double()
        mean = normal.mean(dim=0)
        values, vectors = torch.linalg.eigh((normal - mean).T @ (normal - mean) / (len(raw) - 1))
        scales = (values.clamp(min=0) + self.epsilon).rsqrt()
        self.mean.copy_(mean)
        self.whitening.copy_((vectors * scales) @ vectors.T)
        if self.kmeans:
            self.atoms.copy_(_means(self.whitened(raw), len(self.atoms), seed))
        else:
            chosen = generator(seed, "atoms").choice(textured, len(self.atoms), replace=False)
            self.atoms.copy_(nn.functional.normalize(self.whitened(raw[chosen])))
        return FitReport(images_seen=images_seen, steps=1, notes={"patches_drawn": len(raw)})

    def draw_patches(self, images: Delivery, seed: int) -> tuple[Tensor, int]:
        """Raw patches (m, d), no place twice, and the number of images that they come from."""
        places = self.grid[0] * self.grid[1]
        total = len(images) * places
        chosen = generator(seed, "patches").choice(total, min(_DRAWN, total), replace=False)
        image_of, place_of = np.divmod(np.sort(chosen), places)
        image_rows, which = np.unique(image_of, return_inverse=True)
        parts = []
        for start in range(0, len(image_rows), _BATCH):
            batch = images.read(image_rows[start : start + _BATCH])
            windows = batch.unfold(2, self.field, 1).unfold(3, self.field, 1)  # a view
            in_batch = slice(*np.searchsorted(which, [start, start + _BATCH]))
            rows, columns = np.divmod(place_of[in_batch], self.grid[1])
            parts.append(windows[which[in_batch] - start, :, rows, columns].flatten(1))
        return torch.cat(parts), len(image_rows)


def _normalised(patches: Tensor) -> Tensor:
    """(patches - mean) / sqrt(variance + 10 / 255^2), of patches (m, d), row by row."""
    variance, mean = torch.var_mean(patches, dim=1, correction=0, keepdim=True)
    return (patches - mean) / (variance + _BRIGHTNESS).sqrt()


def _means(patches: Tensor, count: int, seed: int) -> Tensor:
    """`count` k-means centres (k, d) of whitened patches (m, d), by mini-batches, 20 epochs."""
    from sklearn.cluster import MiniBatchKMeans

    # No early stopping: it compares sums whose last bit depends on the order of threads.
    state = stream(seed, "kmeans") % 2**32
    means = MiniBatchKMeans(
        count, batch_size=4096, max_iter=20, max_no_improvement=None, n_init=1, random_state=state
    )
    return torch.from_numpy(means.fit(patches.numpy()).cluster_centers_)


def build(
    *,
    source: SourceInfo,
    patches: int = 400,
    field: int = 6,
    dictionary: Literal["random", "kmeans"] = "random",
    epsilon: float = 0.1,
) -> RandomPatches:
    """`patches` atoms of `field` x `field` pixels, on images at their own size and channels.

    Raises BenchError for fewer than 2 patches, a field with fewer than 2 positions a side, and an
    `epsilon` that is not above 0.
    """
    largest = min(source.height, source.width) - 1
    require_at_least(2, "random_patches", patches=patches)
    if not 2 <= field <= largest:
        raise BenchError(
            f"random_patches,field={field}: must be 2 to {largest} pixels, so that images of "
            f"{source.height} x {source.width} have quadrants"
        )
    require_positive("random_patches", epsilon=epsilon)
    shape = Input(size=(source.height, source.width), channels=source.channels)
    return RandomPatches(shape, patches, field, dictionary == "kmeans", epsilon)
