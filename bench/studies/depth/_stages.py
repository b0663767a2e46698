"""A stage of a trunk as an encoder of its own, for probes of every one."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from bench.digests import digest
from bench.encoders.base import Encoder
from bench.running.workspace import Fitted

STAGES = 3  # of the CONV trunk
SIDE = 4  # pixels: as in the level `multi`


class Stage(Encoder):
    """The output of the first `stage` stages of a fitted encoder: images (n, c, h, w) to (n, d).

    Maps are max-pooled to 4 x 4, as the level `multi` has them. Stage 0 is the images as the trunk gets
    them, every pixel, under one name for all encoders of that input. `recipe`, a buffer, makes an
    object's digest depend on its encoder's key, revisions included, and not on weights alone.
    `labelled` are data sets whose labels it was trained with.
    """

    seeded = False  # it is fitted already

    def __init__(
        self, fitted: Fitted, stage: int, name: str, *, labelled: tuple[str, ...] = ()
    ) -> None:
        super().__init__()
        stages = fitted.encoder.stages()
        assert stages is not None and len(stages) == STAGES
        self.input, self.below = fitted.encoder.input, stages[:stage]
        height, width = self.input.size
        images = f"images-{self.input.channels}x{height}x{width}"
        self.name = f"{name}-stage{stage}" if stage else images
        self.pretrained_on = labelled if stage else ()
        recipe = bytes.fromhex(digest([fitted.key if stage else images, stage, SIDE]))
        self.register_buffer("recipe", torch.tensor(list(recipe), dtype=torch.uint8))
        device = next(fitted.encoder.parameters()).device
        with torch.inference_mode():
            blank = torch.zeros(1, self.input.channels, height, width, device=device)
            self.dims = {"stage": self.eval().taps(blank)["stage"].shape[1]}

    def taps(self, images: Tensor) -> Mapping[str, Tensor]:
        maps: Tensor = self.below(images)
        if len(self.below) and maps.ndim == 4:
            maps = nn.functional.adaptive_max_pool2d(maps, SIDE)
        return {"stage": maps.flatten(1)}
