"""An adapter: a module, or any object with `forward(images) -> (n, dim)`, as an encoder."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from bench.data.images import Input
from bench.encoders.base import Encoder
from bench.encoders.parts.state import is_quantised
from bench.errors import BenchError
from bench.seeding import standard_settings


class Given(Encoder):
    """A user's object as an encoder, called by the object's class. It gets images (n, c, h, w) in [0, 1]
    as its attribute `input` says, else 32 x 32 RGB: float32, or where it refuses these in the floating
    type of its weights.

    Modules are called, so that hooks run; of other objects `forward` is. What comes back may be of any
    real type and on any device, the single tensor of a tuple, list or mapping, or rows (n, dim, 1, 1).
    Modules with dynamically quantised layers encode one image at a time: these layers take a scale from
    their batch.

    Raises BenchError for an object without `forward`, one that cannot encode two images as `input` says,
    and one whose features are not (n, dim). The names of the class and of the attribute `given` are part
    of the digest of such an encoder.
    """

    seeded = False

    def __init__(self, wrapped: Any) -> None:
        super().__init__()
        class_name = wrapped.__name__ if isinstance(wrapped, type) else type(wrapped).__name__
        name = getattr(wrapped, "name", None)
        self.name = name if isinstance(name, str) and name else class_name
        if isinstance(wrapped, type):
            raise BenchError(f"{self.name} is a class; give an object of it: {self.name}(...)")
        if not callable(getattr(wrapped, "forward", None)):
            raise BenchError(
                f"{self.name} cannot encode: give a spec, an Encoder, or an object with "
                "forward(images) -> (n, dim)"
            )
        self.given = wrapped
        self.input = getattr(wrapped, "input", Input(size=(32, 32), channels=3))
        if not isinstance(self.input, Input):
            raise BenchError(
                f"`input` of {self.name} is {type(self.input).__name__}; it says what images the object "
                "gets: input = bench.Input(size=(height, width), channels=1 or 3)"
            )
        is_module = isinstance(wrapped, nn.Module)
        self.differentiable = is_module and not is_quantised(wrapped)
        self.one_by_one = is_module and is_quantised(wrapped, dynamic=True)
        self.casts = False  # are images cast to the type of the weights?
        self.dims = {"code": self._trial().shape[1]}

    def _trial(self) -> Tensor:
        """Features (2, dim) of two black images; it settles whether images are cast."""
        shape = (2, self.input.channels, *self.input.size)
        weights = self._weights()
        may_cast = weights is not None and weights.dtype != torch.float32
        for self.casts in (False, True) if may_cast else (False,):
            try:
                # Not in inference mode: what `forward` keeps must serve training too.
                with standard_settings(), torch.no_grad():
                    return self._features(torch.zeros(shape))
            except BenchError:
                raise
            except (Exception, SystemExit) as error:  # of the user's code
                first = error
        dtype = weights.dtype if weights is not None and self.casts else torch.float32
        lines = (str(first).strip() or "no message").splitlines()
        # TorchScript's own words and a trace of its code come before what is wrong.
        reason = lines[-1 if "TorchScript interpreter" in lines[0] else 0][:200]
        raise BenchError(
            f"{self.name} cannot encode images of shape {shape} and type {str(dtype)[6:]}, with weights "
            f"of type {str(weights.dtype)[6:] if weights is not None else 'none'} "
            f"({type(first).__name__}: {reason}); say what images it takes by an attribute "
            "`input = bench.Input(size=(height, width), channels=1 or 3)`, or cast them in `forward`"
        ) from first

    def _weights(self) -> Tensor | None:
        """The first floating-point parameter or buffer."""
        if not isinstance(self.given, nn.Module):
            return None
        weights = [*self.given.parameters(), *self.given.buffers()]
        return next((w for w in weights if w.is_floating_point()), None)

    def _features(self, images: Tensor) -> Tensor:
        weights = self._weights()
        batch = images
        if weights is not None:
            batch = images.to(weights.device, weights.dtype if self.casts else images.dtype)
        parts = torch.split(batch, 1) if self.one_by_one else (batch,)
        call = self.given if isinstance(self.given, nn.Module) else self.given.forward
        rows = [feature_rows(call(part), len(part), self.name) for part in parts]
        return torch.cat(rows).to(images.device)

    def taps(self, images: Tensor) -> Mapping[str, Tensor]:
        return {"code": self._features(images)}


def feature_rows(output: object, count: int, source: str) -> Tensor:
    """What `source` gave for `count` images as features (count, dim), float32.

    Raises BenchError that says what came, where that is no such thing and has no single meaning as one.
    """
    rows = _single(output, count)
    if rows is not None and rows.ndim > 2 and set(rows.shape[2:]) == {1}:
        rows = rows.flatten(1)
    if rows is None or rows.is_complex() or rows.is_meta:
        fault = "no real numbers" if rows is not None else ""
    elif rows.ndim != 2 or len(rows) != count or not rows.shape[1]:
        fault = "tokens or maps: pool or flatten them" if rows.ndim in (3, 4) else ""
    else:
        return rows.float()
    raise BenchError(
        f"{source} gives {_words(output)} for {count} images{f' ({fault})' if fault else ''}; "
        f"expected real features of shape ({count}, dim)"
    )


def _single(output: object, count: int) -> Tensor | None:
    """The one tensor in an output, dense and not quantised; None: there is none, or several."""
    if isinstance(output, Tensor) and not output.is_nested:
        if output.is_quantized:
            return output.dequantize()
        return output if output.layout == torch.strided else output.to_dense()
    if isinstance(output, np.ndarray):
        return torch.as_tensor(output) if output.dtype.kind in "fiubc" else None
    if isinstance(output, list) and len(output) == count and output:  # a row an image?
        try:
            rows = [torch.as_tensor(row) for row in output]
            if all(row.ndim == 1 for row in rows):
                return torch.stack(rows)
        except (TypeError, ValueError, RuntimeError):
            return None
    if isinstance(output, (tuple, list, Mapping)):
        items = list(output.values() if isinstance(output, Mapping) else output)
        items = [item for item in items if item is not None]
        return _single(items[0], count) if len(items) == 1 else None
    return None


def _words(output: object) -> str:
    """An output in words: tuple of Tensor float32 (2, 64), Tensor float32 (2, 10)."""
    kind = type(output).__name__
    if isinstance(output, (Tensor, np.ndarray)):
        shape = "nested" if isinstance(output, Tensor) and output.is_nested else tuple(output.shape)
        device = " on meta" if isinstance(output, Tensor) and output.is_meta else ""
        return f"{kind} {str(output.dtype).removeprefix('torch.')} {shape}{device}"
    if isinstance(output, Mapping):
        entries = [f"{key}: {_words(value)}" for key, value in output.items()]
    elif isinstance(output, (tuple, list)):
        entries = [_words(value) for value in output]
    else:
        return kind
    return f"{kind} of {', '.join(entries[:4])}{', ...' if len(entries) > 4 else ''}"


def as_encoder(encoder: object) -> Encoder:
    """An `Encoder` as it is, any other object as `Given`.

    Raises BenchError as `Given`, and for hooks on an Encoder itself, of which `taps` is called and not the
    module.
    """
    if not isinstance(encoder, Encoder):
        return Given(encoder)
    if encoder._forward_hooks or encoder._forward_pre_hooks:
        raise BenchError(
            f"{type(encoder).__name__} has hooks of its own, which `taps` would pass by; register them "
            "on a module within it, or give an nn.Module that is no Encoder"
        )
    return encoder


@contextmanager
def eval_mode(module: object) -> Iterator[None]:
    """Eval mode within the context, if it is an nn.Module; then each part's former mode again.

    Raises BenchError for a module that has no such modes, as those of torch.export.
    """
    parts = list(module.modules()) if isinstance(module, nn.Module) else []
    modes = [part.training for part in parts]
    if isinstance(module, nn.Module):
        try:
            module.eval()
        except Exception as error:  # of the user's class
            raise BenchError(
                f"{type(module).__name__}.eval() fails ({type(error).__name__}: "
                f"{str(error).splitlines()[0] if str(error) else 'no message'}); give the module in eval "
                "mode within an object that has `forward`"
            ) from error
    try:
        yield
    finally:
        for part, mode in zip(parts, modes, strict=True):
            part.training = mode
