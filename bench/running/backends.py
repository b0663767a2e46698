"""Back ends: faster ways to compute an encoder's features on a CPU, each checked against eager PyTorch.

An encoder names them, the best first. The first that is installed and agrees is taken; no timing decides,
so that a run can be repeated.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from bench.encoders.base import Encoder
from bench.errors import BenchError, unknown
from bench.running.onnx_graphs import LevelTuple, exported

Taps = Callable[[Tensor], Mapping[str, Tensor]]
TOLERANCE = 1e-3  # largest difference from eager, in units of the RMS of a level's features
# Images in one run of an exported graph. All shapes are then known when it is optimised (otherwise
# the "same" padding of TensorFlow's models is computed in each layer, for a third of the time), and
# activations of few images stay in the cache: EfficientNet-Lite0 at 96 px is as fast with 8 as with
# 16, and a fifth slower with 64.
CHUNK = 16


@dataclass(frozen=True, slots=True)
class Backend:
    """How an encoder's features are computed on this machine.

    name: "eager", "channels_last" or "onnxruntime". refused: the back ends that the encoder names
    before this one, and why each was not taken. taps: images (n, c, h, w) float32 in [0, 1], any n,
    to features (n, d) float32 of each level. It holds the weights of the moment it was made at.
    """

    name: str
    refused: Mapping[str, str]
    taps: Taps


class _Refused(Exception):
    """A back end cannot be used; its message is the reason, in one line."""


def backend_for(encoder: Encoder, sample: Tensor) -> Backend:
    """The first back end of `encoder.backends` that is installed, works and agrees with eager on
    `sample`, images (n, c, h, w) in [0, 1]; else eager. No timing decides.

    Agreement: all features finite, and the largest difference at most 1e-3 of the RMS of each
    level's features, for all images at once, for the first one and for the first seven. The encoder
    stays as it is. Raises BenchError for an unknown back end, for an encoder that is not in eval
    mode throughout and for an empty sample.
    """
    for name in encoder.backends:
        if name not in _BACKENDS:
            raise unknown("back end", name, sorted(_BACKENDS))
    if any(part.training for part in encoder.modules()):
        raise BenchError("a part of the encoder is in training mode; call encoder.eval() first")
    if not len(sample):
        raise BenchError("back ends are compared on a sample of images; it is empty")
    eager = _eager(encoder)
    device = next((p.device for p in encoder.parameters()), torch.device("cpu"))
    if device.type != "cpu":
        reason = f"for the CPU; the encoder is on {device}"
        return Backend("eager", dict.fromkeys(encoder.backends, reason), eager)
    truth = eager(sample) if encoder.backends else {}
    refused: dict[str, str] = {}
    for name in encoder.backends:
        try:
            taps = _BACKENDS[name](encoder, sample)
            reason = disagreement(taps, sample, truth)
        except _Refused as error:
            reason = str(error)
        if not reason:
            return Backend(name, refused, taps)
        refused[name] = reason
    return Backend("eager", refused, eager)


@torch.no_grad()
def disagreement(taps: Taps, sample: Tensor, truth: Mapping[str, Tensor]) -> str:
    """Where `taps` does not give the features `truth` of `sample`, in batches of three sizes."""
    for count in sorted({1, min(7, len(sample)), len(sample)}):
        try:
            features = taps(sample[:count])
        except Exception as error:
            return f"fails on {count} images: {one_line(error)}"
        for level, all_rows in truth.items():
            if level not in features or features[level].shape != all_rows[:count].shape:
                return f"gives another shape than eager for level {level!r}"
            if not bool(torch.isfinite(features[level]).all()):
                return f"gives NaN or infinity for level {level!r}"
            scale = float(all_rows.double().square().mean().sqrt()) or 1.0
            gap = float((features[level] - all_rows[:count]).abs().max()) / scale
            if not gap <= TOLERANCE:
                return f"differs from eager by {gap:.2g} of RMS at level {level!r}"
    return ""


def one_line(error: BaseException) -> str:
    """An error in one line."""
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text[:160]}" if text else type(error).__name__


def level_tensor(taps: object, level: str) -> Tensor:
    """One level of what `taps` gave. Raises BenchError where it is no tensor of real numbers."""
    if not isinstance(taps, Mapping) or level not in taps:
        levels = f"levels {sorted(map(str, taps))}" if isinstance(taps, Mapping) else ""
        raise BenchError(
            f"taps gives {levels or type(taps).__name__}; `dims` promises level {level!r}"
        )
    tap = taps[level]
    if not isinstance(tap, Tensor) or tap.is_complex():
        kind = tap.dtype if isinstance(tap, Tensor) else type(tap).__name__
        raise BenchError(f"level {level!r} of taps is {kind}; expected a tensor of real numbers")
    return tap


def _eager(encoder: Encoder) -> Taps:
    def taps(images: Tensor) -> dict[str, Tensor]:
        with torch.no_grad():
            features = encoder.taps(images)
        return {level: level_tensor(features, level).float() for level in encoder.dims}

    return taps


def _channels_last(encoder: Encoder, sample: Tensor) -> Taps:
    """A copy whose convolutions run over pixels first: (n, h, w, c) in memory."""
    try:
        eager = _eager(copy.deepcopy(encoder).to(memory_format=torch.channels_last))
    except Exception as error:
        raise _Refused(f"cannot be copied: {one_line(error)}") from error
    return lambda images: eager(images.contiguous(memory_format=torch.channels_last))


def _onnxruntime(encoder: Encoder, sample: Tensor) -> Taps:
    """The encoder as a graph for ONNX Runtime, which runs CHUNK images at a time."""
    try:
        import onnx  # noqa: F401
        import onnxruntime
    except ImportError:
        raise _Refused("not installed: pip install 'reptransfer[fast]'") from None
    example = _filled(sample[:CHUNK].contiguous())
    try:
        model = exported(LevelTuple(encoder), example)
    except Exception as error:
        raise _Refused(f"export failed: {one_line(error)}") from error
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.inter_op_num_threads = 1
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
    options.log_severity_level = 4
    # Threads that wait by spinning take the processor from those that decode the next images.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    try:
        session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    except Exception as error:
        raise _Refused(f"cannot be loaded: {one_line(error)}") from error
    (graph_input,), levels = session.get_inputs(), tuple(encoder.dims)

    def run(images: Tensor) -> list[Any]:
        outputs: list[Any] = session.run(None, {graph_input.name: _filled(images).numpy()})
        return [array[: len(images)] for array in outputs]

    def taps(images: Tensor) -> dict[str, Tensor]:
        parts = [run(chunk) for chunk in torch.split(images.float().contiguous(), CHUNK)]
        arrays = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
        return {level: torch.from_numpy(a).float() for level, a in zip(levels, arrays, strict=True)}

    return taps


_BACKENDS: Mapping[str, Callable[[Encoder, Tensor], Taps]] = {
    "channels_last": _channels_last,
    "onnxruntime": _onnxruntime,
}


def _filled(images: Tensor) -> Tensor:
    """Up to CHUNK images as exactly CHUNK: black ones follow."""
    missing = CHUNK - len(images)
    return torch.cat([images, images.new_zeros(missing, *images.shape[1:])]) if missing else images
