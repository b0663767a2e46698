"""Runs one ONNX network for another process: a script of its own, which gets images and gives features.

The network is a stranger's file. What could read other files or run other code is refused: external data,
operators that ONNX does not define. The process has a limit on memory; its parent one on time.

Standard input: a line of JSON (path, output, threads, megabytes), then batches: four int64 (n, c, h, w)
and float32 values. Standard output: a line of JSON (channels, height, width, weights, metadata; or error),
then of each batch two int64 (n, d) and float32 values; n = -1 is an error, d bytes of text.
"""

from __future__ import annotations

import json
import struct
import sys
from typing import Any

LARGEST = 2**31 - 1  # bytes of a protobuf message
DOMAINS = frozenset({"", "ai.onnx", "ai.onnx.ml"})


def main() -> None:
    """Serve until standard input ends."""
    source, sink = sys.stdin.buffer, sys.stdout.buffer
    request = json.loads(source.readline())
    try:
        _limit_memory(int(request["megabytes"]))
        network = _Network(request["path"], request["output"], int(request["threads"]))
        answer = network.about
    except MemoryError:
        answer = {"error": f"it needs more than {request['megabytes']} MB of memory"}
    except Exception as error:
        answer = {"error": _line(error)}
    sink.write(json.dumps(answer).encode() + b"\n")
    sink.flush()
    while "error" not in answer and len(head := source.read(32)) == 32:
        shape = struct.unpack("<4q", head)
        count = 4 * shape[0] * shape[1] * shape[2] * shape[3]
        images = source.read(count)
        try:
            features = network.run(images, shape)
        except Exception as error:
            text = _line(error).encode()
            sink.write(struct.pack("<2q", -1, len(text)) + text)
        else:
            sink.write(struct.pack("<2q", *features.shape))
            sink.write(features.tobytes())
        sink.flush()


def _line(error: BaseException) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())[:300]


def _limit_memory(megabytes: int) -> None:
    try:
        import resource
    except ImportError:  # Windows
        return
    size = megabytes * 2**20
    resource.setrlimit(resource.RLIMIT_AS, (size, size))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


class _Network:
    """One output of a network, as features of images."""

    def __init__(self, path: str, output: str, threads: int) -> None:
        import onnxruntime

        content, self.output, weights = _checked(path, output)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
        options.log_severity_level = 4
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        providers = ["CPUExecutionProvider"]
        self.session = onnxruntime.InferenceSession(content, options, providers=providers)
        inputs = self.session.get_inputs()
        if len(inputs) != 1 or inputs[0].type != "tensor(float)" or len(inputs[0].shape) != 4:
            told = ", ".join(f"{i.name} {i.type} {i.shape}" for i in inputs[:3])
            raise ValueError(f"its inputs are {told}; one of float32 (n, c, h, w) is needed")
        self.input = inputs[0].name
        shape = [size if isinstance(size, int) and size > 0 else None for size in inputs[0].shape]
        self.batch, *sizes = shape
        # Channels are the axis of size 1 or 3: the second, or in TensorFlow's networks the last one.
        self.last = sizes[0] not in (1, 3) and sizes[2] in (1, 3)
        channels, height, width = sizes[-1:] + sizes[:-1] if self.last else sizes
        self.about: dict[str, Any] = {
            "channels": channels,
            "height": height,
            "width": width,
            "weights": weights,
            "metadata": dict(self.session.get_modelmeta().custom_metadata_map),
        }

    def run(self, images: bytes, shape: tuple[int, ...]) -> Any:
        """Features (n, d), float32, of images (n, c, h, w), float32."""
        import numpy as np

        x = np.frombuffer(images, "<f4").reshape(shape)
        if self.last:
            x = np.ascontiguousarray(x.transpose(0, 2, 3, 1))
        step = self.batch or len(x)
        parts = []
        for start in range(0, len(x), step):
            rows = x[start : start + step]
            missing = step - len(rows)
            padded = (
                np.concatenate([rows, np.zeros((missing, *x.shape[1:]), "f4")]) if missing else rows
            )
            (y,) = self.session.run([self.output], {self.input: padded})
            if not isinstance(y, np.ndarray) or y.dtype.kind != "f" or not y.ndim or len(y) != step:
                kind = f"{y.dtype} {y.shape}" if isinstance(y, np.ndarray) else type(y).__name__
                raise ValueError(
                    f"output {self.output!r} is {kind}; floats ({step}, ...) are needed"
                )
            parts.append(y.reshape(len(y), -1)[: len(rows)])
        return np.ascontiguousarray(np.concatenate(parts), "<f4")


def _checked(path: str, output: str) -> tuple[bytes, str, int]:
    """The model with `output` (default: its first) among its outputs, that output's name, and the number
    of weights. Raises ValueError for what it may not have."""
    import onnx

    with open(path, "rb") as file:
        content = file.read(LARGEST + 1)
    if len(content) > LARGEST:
        raise ValueError("it is larger than 2 GB")
    try:
        model = onnx.load_model_from_string(content)
    except Exception as error:
        raise ValueError(f"it is no ONNX model ({_line(error)[:80]})") from error
    if not model.graph.node or not model.graph.output:
        raise ValueError("it is no ONNX model with nodes and outputs")
    local = {function.domain for function in model.functions}
    weights = 0
    for part in _parts(model):
        for node in getattr(part, "node", ()):
            if node.domain not in DOMAINS | local:
                raise ValueError(
                    f"operator {node.op_type:.60} is of {node.domain:.60}, not of ONNX"
                )
        for tensor in _tensors(part):
            if tensor.external_data or tensor.data_location == onnx.TensorProto.EXTERNAL:
                raise ValueError(f"weights {tensor.name:.60} lie in another file; save it as one")
        weights += sum(_size(t.dims) for t in getattr(part, "initializer", ()))
    outputs = [value.name for value in model.graph.output]
    if output and output not in outputs:
        names = [name for node in model.graph.node for name in node.output if name]
        if output not in names:
            last = ", ".join(names[-5:])
            raise ValueError(f"no output {output!r:.80}; the last ones are {last}")
        model.graph.output.append(onnx.ValueInfoProto(name=output))
        content = model.SerializeToString()
    return content, output or outputs[0], weights


def _size(dims: Any) -> int:
    size = 1
    for dim in dims:
        size *= dim
    return size


def _parts(model: Any) -> Any:
    """The graph, those within its nodes, and the functions."""
    todo = [model.graph, *model.functions]
    while todo:
        part = todo.pop()
        yield part
        for node in part.node:
            for attribute in node.attribute:
                todo += [attribute.g] if attribute.HasField("g") else []
                todo += attribute.graphs


def _tensors(part: Any) -> Any:
    yield from getattr(part, "initializer", ())
    for sparse in getattr(part, "sparse_initializer", ()):
        yield from (sparse.values, sparse.indices)
    for node in part.node:
        for attribute in node.attribute:
            yield from [attribute.t] if attribute.HasField("t") else []
            yield from attribute.tensors


if __name__ == "__main__":
    main()
