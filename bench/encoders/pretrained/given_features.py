"""Features that come with a data set, unchanged: the only encoder of data sets without images."""

from __future__ import annotations

from torch import Tensor

from bench.data.images import Input
from bench.data.samples import SourceInfo
from bench.encoders.base import Encoder

REVISION = 1
TRAINING = "none"
TAKES = "features"


class GivenFeatures(Encoder):
    """Features (n, d), passed on. To the runner a row is an image of 1 x 1 x d. What the network that
    made them was trained on is taken from the data set."""

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
    """The features of a data set such as `xlsa`; declined on data sets of images."""
    return GivenFeatures(source)
