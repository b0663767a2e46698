"""Back ends: faster ways to compute an encoder's features on a CPU, each checked against eager PyTorch.

An encoder names them, the best first. The first that is installed and agrees is taken; no timing decides,
so that a run can be repeated.
"""

from __future__ import annotations

import contextlib
import copy
import io
import logging
import os
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from bench.encoders.base import Encoder
from bench.errors import BenchError, unknown

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
            _check(taps, sample, truth)
        except _Refused as error:
            refused[name] = str(error)
        else:
            return Backend(name, refused, taps)
    return Backend("eager", refused, eager)


@torch.no_grad()
def _check(taps: Taps, sample: Tensor, truth: Mapping[str, Tensor]) -> None:
    """Raise _Refused unless `taps` gives the features `truth` of `sample`, at three batch sizes."""
    for count in sorted({1, min(7, len(sample)), len(sample)}):
        try:
            features = taps(sample[:count])
        except Exception as error:
            raise _Refused(f"fails on {count} images: {_line(error)}") from error
        for level, all_rows in truth.items():
            if level not in features or features[level].shape != all_rows[:count].shape:
                raise _Refused(f"gives another shape than eager for level {level!r}")
            if not bool(torch.isfinite(features[level]).all()):
                raise _Refused(f"gives NaN or infinity for level {level!r}")
            scale = float(all_rows.double().square().mean().sqrt()) or 1.0
            gap = float((features[level] - all_rows[:count]).abs().max()) / scale
            if not gap <= TOLERANCE:
                raise _Refused(f"differs from eager by {gap:.2g} of RMS at level {level!r}")


def _line(error: BaseException) -> str:
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
        raise _Refused(f"cannot be copied: {_line(error)}") from error
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
        model = _exported(_Tuple(encoder), example)
    except Exception as error:
        raise _Refused(f"export failed: {_line(error)}") from error
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
        raise _Refused(f"cannot be loaded: {_line(error)}") from error
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


class _Tuple(nn.Module):
    """The levels as a tuple in the order of `dims`, which exporters need."""

    def __init__(self, encoder: Encoder) -> None:
        super().__init__()
        self.encoder = encoder
        self.training = False  # else the exporter would leave the encoder in training mode

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        features = self.encoder.taps(images)
        return tuple(features[level] for level in self.encoder.dims)


def _exported(module: nn.Module, example: Tensor) -> bytes:
    """An ONNX model of the batch size of `example`.

    The TorchScript exporter takes seconds, torch.export five times as long: it is asked where the
    first one fails, as for pooling to more pixels than there are, or would freeze a decision that
    Python took for these images alone, which torch.export refuses.
    """
    try:
        return _by_trace(module, example)
    except Exception:
        return _by_export(module, example)


def _by_trace(module: nn.Module, example: Tensor) -> bytes:
    from torch.jit import TracerWarning  # type: ignore[attr-defined]

    file: Any = io.BytesIO()  # this exporter's own stub wants a path
    with _quiet() as warned:
        torch.onnx.export(module, (example,), file, dynamo=False, opset_version=17)
    frozen = [str(w.message) for w in warned if issubclass(w.category, TracerWarning)]
    if frozen:
        raise RuntimeError(frozen[0])
    model: bytes = file.getvalue()
    return model


def _by_export(module: nn.Module, example: Tensor) -> bytes:
    with _quiet():
        program = torch.onnx.export(module, (example,), dynamo=True, verbose=False)
        if program is None:
            raise RuntimeError("no program")
        model: bytes = program.model_proto.SerializeToString()
    return model


@contextlib.contextmanager
def _quiet() -> Iterator[list[warnings.WarningMessage]]:
    """No gradients, and no word on stdout, stderr or in logs; gives the list of warnings.

    The TorchScript exporter writes the graph that it failed on past Python, hence the descriptor.
    """
    level = logging.root.manager.disable
    with contextlib.ExitStack() as stack:
        stack.enter_context(torch.no_grad())
        warned = stack.enter_context(warnings.catch_warnings(record=True))
        warnings.simplefilter("always")
        logging.disable(logging.CRITICAL)
        stack.callback(logging.disable, level)
        with contextlib.suppress(OSError):  # no descriptor 1: nothing to silence
            sys.stdout.flush()
            stdout = os.dup(1)
            stack.callback(os.close, stdout)
            stack.callback(os.dup2, stdout, 1)
            nowhere = stack.enter_context(open(os.devnull, "wb"))
            os.dup2(nowhere.fileno(), 1)
        stack.enter_context(contextlib.redirect_stdout(io.StringIO()))
        stack.enter_context(contextlib.redirect_stderr(io.StringIO()))
        yield warned
