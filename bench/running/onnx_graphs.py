"""A module as a graph of ONNX, by PyTorch's two exporters, which are silenced."""

from __future__ import annotations

import contextlib
import io
import logging
import os
import sys
import warnings
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from bench.encoders.base import Encoder


class LevelTuple(nn.Module):
    """The levels as a tuple in the order of `dims`, which exporters need."""

    def __init__(self, encoder: Encoder) -> None:
        super().__init__()
        self.encoder = encoder
        self.training = False  # else the exporter would leave the encoder in training mode

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        features = self.encoder.taps(images)
        return tuple(features[level] for level in self.encoder.dims)


def exported(module: nn.Module, example: Tensor) -> bytes:
    """An ONNX model of the batch size of `example`.

    The TorchScript exporter takes seconds, torch.export five times as long: it is asked where the
    first one fails, as for pooling to more pixels than there are, or would freeze a decision that
    Python took for these images alone, which torch.export refuses.
    """
    try:
        return _by_trace(module, example)
    except Exception:
        return _by_export(module, example)


def exported_for_others(module: nn.Module, example: Tensor) -> bytes:
    """An ONNX model for batches of any size, of two images or more in `example`, without what exporters
    write of this machine: lines of source files with their folders.

    torch.export is asked first: it tells where a batch of another size would be another graph.
    """
    try:
        model = _by_export(module, example, any_batch=True)
    except Exception as error:
        try:
            model = _by_trace(module, example, any_batch=True)
        except Exception:
            raise error from None
    return _without_places(model)


def _by_trace(module: nn.Module, example: Tensor, *, any_batch: bool = False) -> bytes:
    from torch.jit import TracerWarning  # type: ignore[attr-defined]

    file: Any = io.BytesIO()  # this exporter's own stub wants a path
    axes: dict[str, Any] = {"input_names": ["images"], "dynamic_axes": {"images": {0: "batch"}}}
    with _quiet() as warned:
        torch.onnx.export(
            module, (example,), file, dynamo=False, opset_version=17, **(axes if any_batch else {})
        )
    frozen = [str(w.message) for w in warned if issubclass(w.category, TracerWarning)]
    if frozen:
        raise RuntimeError(frozen[0])
    model: bytes = file.getvalue()
    return model


def _by_export(module: nn.Module, example: Tensor, *, any_batch: bool = False) -> bytes:
    shapes = ({0: torch.export.Dim("batch", min=1)},) if any_batch else None
    with _quiet():
        program = torch.onnx.export(
            module, (example,), dynamo=True, verbose=False, dynamic_shapes=shapes
        )
        if program is None:
            raise RuntimeError("no program")
        model: bytes = program.model_proto.SerializeToString()
    return model


def _without_places(content: bytes) -> bytes:
    """A model without notes on its parts, in which exporters quote the source files."""
    import onnx

    model = onnx.load_model_from_string(content)
    del model.metadata_props[:]
    parts: list[Any] = [model.graph, *model.functions]
    while parts:
        part = parts.pop()
        values = [
            getattr(part, name, ()) for name in ("input", "output", "value_info", "initializer")
        ]
        if isinstance(part, onnx.FunctionProto):  # its inputs and outputs are names
            values = [part.value_info]
        for noted in (part, *part.node, *(value for group in values for value in group)):
            noted.ClearField("doc_string")
            noted.ClearField("metadata_props")
        for attribute in (a for node in part.node for a in getattr(node, "attribute", ())):
            attribute.ClearField("doc_string")
            parts += [attribute.g] if attribute.HasField("g") else []
            parts += attribute.graphs
    stripped: bytes = model.SerializeToString(deterministic=True)
    return stripped


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
