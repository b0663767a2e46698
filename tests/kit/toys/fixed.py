"""Given features that cannot be fine-tuned: no gradients, no stages."""

from __future__ import annotations

from bench import Encoder, Input, SourceInfo

REVISION = 1
TRAINING = "none"


class Fixed(Encoder):
    differentiable = False
    seeded = False
    pretrained_on = ("elsewhere",)

    def __init__(self, source: SourceInfo, fault: str) -> None:
        super().__init__()
        self.input = Input(size=(source.height, source.width), channels=source.channels)
        self.dims, self.fault = {"code": 4}, fault

    def taps(self, images):
        n, _, h, w = images.shape
        code = images.mean(dim=1).reshape(n, 2, h // 2, 2, w // 2).mean(dim=(2, 4)).reshape(n, 4)
        if self.fault == "nan":
            code[:] = float("nan")
        if self.fault == "batch":
            code = code - code.mean(dim=0)
        return {"code": code}


def build(*, source: SourceInfo, fault: str = "") -> Fixed:
    return Fixed(source, fault)
