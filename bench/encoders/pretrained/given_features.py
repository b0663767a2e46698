"""Features that a data set comes with, as they are: the one encoder of data sets without images."""

from __future__ import annotations

from torch import Tensor

from bench.data.images import Input
from bench.data.samples import SourceInfo
from bench.encoders.base import Encoder

REVISION = 1
TRAINING = "none"
TAKES = "features"


class GivenFeatures(Encoder):
    """Features (n, d) passed on; what is told of their maker's past is the data set's word."""

    seeded = False
    differentiable = False

    def __init__(self, source: SourceInfo) -> None:
        super().__init__()
        self.input = Input(size=(source.height, source.width), channels=source.channels)
        self.dims = {"given": source.channels * source.height * source.width}
        self.pretrained_on = source.pretrained_on

    def taps(self, images: Tensor) -> dict[str, Tensor]:
        return {"given": images.flatten(1)}


def build(*, source: SourceInfo) -> GivenFeatures:
    """The features of a data set such as `xlsa`; a run declines it on a data set of images."""
    return GivenFeatures(source)
