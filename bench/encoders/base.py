"""The contract of an encoder: images in, feature vectors out; it sees nothing else of the task.

A file with a REVISION, a `build` and a sub-class of `Encoder` is an encoder. The shortest one::

    from bench import Encoder, Input, SourceInfo

    REVISION = 1

    class RowMeans(Encoder):
        seeded = False  # neither build nor fit draws random numbers

        def __init__(self, input: Input) -> None:
            super().__init__()
            self.input = input
            self.dims = {"code": input.size[0]}

        def taps(self, images: Tensor) -> dict[str, Tensor]:
            return {"code": images.mean(dim=(1, 3))}

    def build(*, source: SourceInfo, size: int = 16) -> RowMeans:
        return RowMeans(Input(size=(size, size), channels=1))
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor, nn

from bench.data.images import Delivery, Input
from bench.data.samples import Array


@dataclass(frozen=True, slots=True, kw_only=True)
class FitReport:
    """What `fit` did. All of it goes into the record, so values are numbers, strings, lists or None."""

    images_seen: int = 0  # images drawn for training in all, repetitions counted
    steps: int = 0  # steps of the optimiser, or iterations
    terms: Mapping[str, float] = field(default_factory=dict)  # final value of each loss term
    notes: Mapping[str, Any] = field(default_factory=dict)  # diagnostics, such as units in use


class Encoder(nn.Module, ABC):
    """Images, float32 (n, c, h, w) in [0, 1], to features (n, d), float32.

    In eval mode it is deterministic, and each row depends on its own image alone. A sub-class sets
    `input` and `dims` in `__init__`, and the other attributes where they differ from the defaults
    below. Parameters and buffers hold all state that `fit` changes: nothing else is cached.

    Optional methods, which pictures and studies use where they exist: `decode(codes)` and
    `reconstruct(images)` give images (n, c, h, w), about in [0, 1]; `sample(count, seed=...)` too.
    """

    input: Input  # size and channels of the images that it is given
    dims: Mapping[str, int]  # level -> dimension d of its features, the default level first
    uses_labels: bool = False  # are labels passed to `fit`?
    pretrained_on: tuple[str, ...] = ()  # data sets that its weights were trained on before `fit`
    unlabelled: tuple[str, ...] = ()  # those of them whose labels were not used
    differentiable: bool = True  # do gradients of the features reach images and weights?
    seeded: bool = True  # does `build` or `fit` draw random numbers? If not, it is run once
    parameter_count: int | None = None  # of weights that are not PyTorch's; None: there are none
    backends: tuple[str, ...] = ()  # faster ways to run it, best first (running/backends.py)

    @property
    def level(self) -> str:
        """The level that is read out by default, and ranked."""
        return next(iter(self.dims))

    @abstractmethod
    def taps(self, images: Tensor) -> Mapping[str, Tensor]:
        """Features (n, d) of every level in `dims`, in one pass."""

    def forward(self, images: Tensor) -> Tensor:
        """Features (n, d) of the default level."""
        return self.taps(images)[self.level]

    def stages(self) -> nn.Sequential | None:
        """Modules that compose to the default level, first to last, so that a protocol can fine-tune
        the last ones alone. None: the encoder cannot be cut into stages."""
        return None

    def fit(
        self, images: Delivery, *, labels: Mapping[str, Array] | None, budget: int, seed: int
    ) -> FitReport:
        """Train in place. The default does nothing, for encoders without training.

        images: the training images, delivered as `input` says
        labels: by target, as in `Samples.y`: int64 with -1, or float32 with NaN, where a label is
            missing or not granted; None unless `uses_labels`
        budget: number of images to train on, repetitions counted
        seed: source of all random numbers, by `bench.generator(seed, "purpose")`

        Raises BenchError where the images or labels do not suffice, or training diverges.
        """
        return FitReport()
