"""Networks in ONNX files: the numbers of NumPy, and what a stranger's file may not do."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from bench.cli.main import main
from bench.data.samples import SourceInfo
from bench.encoders.parts.onnx_process import OnnxProcess
from bench.encoders.pretrained.onnx import build
from bench.errors import BenchError
from bench.results.store import Store

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")
SOURCE = SourceInfo(1, 8, 8, {})
FLOAT = 1  # onnx.TensorProto.FLOAT
WEIGHTS = np.random.default_rng(1).standard_normal((3 * 4 * 4, 5)).astype("f4")


def node(kind: str, inputs: Sequence[str], outputs: Sequence[str], **attributes: Any) -> Any:
    return onnx.helper.make_node(kind, inputs, outputs, **attributes)


def value(name: str, shape: Sequence[Any]) -> Any:
    return onnx.helper.make_tensor_value_info(name, FLOAT, shape)


def save(
    path: Path,
    *,
    nodes: Sequence[Any] | None = None,
    shape: Sequence[Any] = ("n", 3, 4, 4),
    metadata: dict[str, str] | None = None,
    domains: Sequence[str] = (),
) -> Path:
    """A network: flatten, times WEIGHTS (48, 5) as "product", then ReLU as "features"."""
    chain = [
        node("Flatten", ["images"], ["flat"]),
        node("MatMul", ["flat", "w"], ["product"]),
        node("Relu", ["product"], ["features"]),
    ]
    weights = onnx.numpy_helper.from_array(WEIGHTS, "w")
    graph = onnx.helper.make_graph(
        nodes or chain, "net", [value("images", shape)], [value("features", ["n", 5])], [weights]
    )
    opsets = [onnx.helper.make_opsetid(domain, 1 if domain else 17) for domain in ("", *domains)]
    model = onnx.helper.make_model(graph, opset_imports=opsets, ir_version=8)
    onnx.helper.set_model_props(model, metadata or {})
    path.write_bytes(model.SerializeToString())
    return path


def images(count: int = 6, channels: int = 3) -> torch.Tensor:
    return torch.rand(count, channels, 4, 4, generator=torch.Generator().manual_seed(0))


def expected(x: torch.Tensor, mean: Any = 0.0, std: Any = 1.0) -> Any:
    normalised = (x.numpy() - np.reshape(mean, (-1, 1, 1))) / np.reshape(std, (-1, 1, 1))
    return normalised.reshape(len(x), -1) @ WEIGHTS


def test_features_are_those_of_numpy(tmp_path: Path) -> None:
    path, x = save(tmp_path / "net.onnx"), images()
    features = build(source=SOURCE, path=path)(x)
    np.testing.assert_allclose(features, np.maximum(expected(x), 0), rtol=1e-5, atol=1e-5)
    encoder = build(source=SOURCE, path=path, output="product")
    np.testing.assert_allclose(encoder(x), expected(x), rtol=1e-5, atol=1e-5)
    assert encoder.parameter_count == WEIGHTS.size
    assert encoder.dims == {"output": 5}


@pytest.mark.parametrize("from_metadata", [False, True])
def test_mean_and_deviation(from_metadata: bool, tmp_path: Path) -> None:
    mean, std, x = (0.4, 0.5, 0.6), (0.2, 0.25, 0.3), images()
    texts = {"mean": "0.4+0.5+0.6", "std": "0.2+0.25+0.3"}
    metadata = {f"reptransfer.{k}": v for k, v in texts.items()} if from_metadata else {}
    path = save(tmp_path / "net.onnx", metadata=metadata)
    encoder = build(source=SOURCE, path=path, output="product", **({} if from_metadata else texts))
    np.testing.assert_allclose(encoder(x), expected(x, mean, std), rtol=1e-4, atol=1e-4)


def test_blue_first_and_channels_last(tmp_path: Path) -> None:
    x = images()
    first = build(source=SOURCE, path=save(tmp_path / "a.onnx"), output="product", bgr=True)
    np.testing.assert_allclose(first(x), expected(x.flip(1)), rtol=1e-5, atol=1e-5)
    path = save(tmp_path / "b.onnx", shape=("n", 4, 4, 3))
    last = build(source=SOURCE, path=path, output="product")
    rows = x.permute(0, 2, 3, 1).reshape(len(x), -1).numpy()
    np.testing.assert_allclose(last(x), rows @ WEIGHTS, rtol=1e-5, atol=1e-5)


def test_network_of_a_fixed_batch(tmp_path: Path) -> None:
    x = images(7)
    encoder = build(
        source=SOURCE, path=save(tmp_path / "net.onnx", shape=(4, 3, 4, 4)), output="product"
    )
    np.testing.assert_allclose(encoder(x), expected(x), rtol=1e-5, atol=1e-5)


def external(path: Path) -> Path:
    """Weights in a file beside it, which might be any file of the user's."""
    save(path)
    model = onnx.load(path)
    (path.parent / "secret").write_bytes(WEIGHTS.tobytes())
    tensor = model.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = onnx.TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="secret")
    path.write_bytes(model.SerializeToString())
    return path


def hidden(path: Path) -> Path:
    """The same, in a branch of a node."""
    external(path)
    model = onnx.load_model_from_string(path.read_bytes())
    tensor = onnx.TensorProto()
    tensor.CopyFrom(model.graph.initializer[0])
    branch = onnx.helper.make_graph(
        [node("Identity", ["inner"], ["out"])], "branch", [], [value("out", ["n", 5])], [tensor]
    )
    del model.graph.initializer[:]
    model.graph.initializer.append(onnx.numpy_helper.from_array(WEIGHTS, "w"))
    yes = node("Constant", [], ["yes"], value=onnx.numpy_helper.from_array(np.array(True)))
    model.graph.node.extend(
        [yes, node("If", ["yes"], ["o"], then_branch=branch, else_branch=branch)]
    )
    path.write_bytes(model.SerializeToString())
    return path


BAD = {
    "text": lambda p: p.write_text("no network") and p,
    "empty": lambda p: p.write_bytes(b"") or p,
    "external": external,
    "external in a branch": hidden,
    "custom operator": lambda p: save(
        p, nodes=[node("Shell", ["images"], ["features"], domain="evil")], domains=["evil"]
    ),
    "two dimensions": lambda p: save(p, shape=("n", 48)),
    "four channels": lambda p: save(
        p, nodes=[node("Flatten", ["images"], ["features"])], shape=("n", 4, 4, 4)
    ),
    "any size": lambda p: save(p, shape=("n", 3, "h", "w")),
    "fails on zeros": lambda p: save(p, nodes=[node("MatMul", ["images", "w"], ["features"])]),
    "rows become one": lambda p: save(
        p, nodes=[node("ReduceMax", ["images"], ["features"], keepdims=0)]
    ),
}
WORDS = {
    "text": "is no ONNX model",
    "empty": "is no ONNX model",
    "external": "lie in another file",
    "external in a branch": "lie in another file",
    "custom operator": "operator Shell is of evil",
    "two dimensions": "of float32",
    "four channels": "4 channels",
    "any size": "give size=",
    "fails on zeros": "cannot be run",
    "rows become one": "are needed",
}


@pytest.mark.parametrize("name", BAD)
def test_what_is_refused(name: str, tmp_path: Path) -> None:
    path = BAD[name](tmp_path / "net.onnx")
    with pytest.raises(BenchError, match=WORDS[name]):
        build(source=SOURCE, path=path)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"mean": "a+b"}, "onnx,mean=a"),
        ({"mean": "1+2"}, "3 of them"),
        ({"std": "0"}, "above 0"),
        ({"size": 5}, "4 x 4"),
        ({"output": "nothing"}, "no output 'nothing'; the last ones are flat, product, features"),
        ({"crop": 0.0}, "crop"),
    ],
)
def test_wrong_arguments(arguments: dict[str, Any], words: str, tmp_path: Path) -> None:
    with pytest.raises(BenchError, match=words.replace("+", r"\+")):
        build(source=SOURCE, path=save(tmp_path / "net.onnx"), **arguments)


def loop(path: Path, trips: int) -> Path:
    """A small file that works for ever: a loop of `trips`."""
    body = onnx.helper.make_graph(
        [
            node("Identity", ["go"], ["goes_on"]),
            node("Relu", ["state"], ["next"]),
        ],
        "body",
        [
            onnx.helper.make_tensor_value_info("i", onnx.TensorProto.INT64, []),
            onnx.helper.make_tensor_value_info("go", onnx.TensorProto.BOOL, []),
            value("state", None),
        ],
        [
            onnx.helper.make_tensor_value_info("goes_on", onnx.TensorProto.BOOL, []),
            value("next", None),
        ],
    )
    count = onnx.numpy_helper.from_array(np.array(trips, dtype=np.int64))
    nodes = [
        node("Constant", [], ["trips"], value=count),
        node("Constant", [], ["yes"], value=onnx.numpy_helper.from_array(np.array(True))),
        node("Loop", ["trips", "yes", "images"], ["looped"], body=body),
        node("Flatten", ["looped"], ["features"]),
    ]
    return save(path, nodes=nodes)


def test_time_is_limited(tmp_path: Path) -> None:
    network = OnnxProcess(loop(tmp_path / "net.onnx", 2**40), seconds=2.0)
    with pytest.raises(BenchError, match="took more than 2 s"):
        network(images().numpy())


@pytest.mark.skipif(os.name == "nt", reason="Windows has no limit on addresses")
def test_memory_is_limited(tmp_path: Path) -> None:
    shape = onnx.numpy_helper.from_array(np.array([2**33], dtype=np.int64))
    nodes = [
        node("Constant", [], ["shape"], value=shape),
        node("ConstantOfShape", ["shape"], ["large"]),
        node("ReduceSum", ["large"], ["sum"]),
        node("Flatten", ["images"], ["flat"]),
        node("Add", ["flat", "sum"], ["features"]),
    ]
    with pytest.raises(BenchError, match="cannot be run"):
        OnnxProcess(save(tmp_path / "net.onnx", nodes=nodes), megabytes=4096)(images().numpy())


def test_process_ends_with_its_owner(tmp_path: Path) -> None:
    network = OnnxProcess(save(tmp_path / "net.onnx"))
    process = network._process
    assert process.poll() is None
    del network
    assert process.poll() is not None


def test_no_variable_of_the_user_reaches_the_network(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", "secret")
    network = OnnxProcess(save(tmp_path / "net.onnx"))
    environment = Path(f"/proc/{network._process.pid}/environ")
    if not environment.exists():
        pytest.skip("no /proc")
    assert b"HF_TOKEN" not in environment.read_bytes()


def test_run_scores_a_network_and_sees_that_its_file_changes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, runs = save(tmp_path / "net.onnx", shape=("n", 3, 4, 4)), tmp_path / "runs"
    words = [
        "run",
        "--encoder",
        f"onnx,path={path}",
        "--task",
        "digits-knn",
        "--results",
        str(runs),
    ]
    assert main(words) == 0
    (record,) = Store(runs).records()
    assert record.status == "ok", record.reason  # type: ignore[union-attr]
    assert record.owner == "local"  # type: ignore[union-attr]
    assert record.encoder.parameters == WEIGHTS.size  # type: ignore[union-attr]
    assert str(tmp_path) not in json.dumps(record.to_json())  # type: ignore[union-attr]
    capsys.readouterr()
    assert main(words) == 0
    assert "nothing to do" in capsys.readouterr().err
    save(path, shape=(2, 3, 4, 4))
    assert main(["status", *words[1:]]) == 1


def test_listing_imports_no_runtime() -> None:
    code = (
        "import sys; from bench.cli.main import main; main(['list', 'encoders']); "
        "assert not {'onnx', 'onnxruntime', 'torch'} & set(sys.modules), sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
