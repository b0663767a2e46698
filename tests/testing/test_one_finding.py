"""`reptransfer check FILE` reports one fault once, with the file and the line that has it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from bench.cli.main import main

HEAD = '''"""Six numbers of an image."""
import numpy as np
import torch

from bench import Encoder, FitReport, Input, SourceInfo, torch_generator

REVISION = 1


class Six(Encoder):
'''
INIT = """    def __init__(self):
        super().__init__()
        self.input, self.dims = Input(size=(8, 8), channels=1), {"code": 6}
        self.register_buffer("matrix", torch.randn(64, 6))

"""
TAPS = """    def taps(self, images):
        return {"code": images.flatten(1) @ self.matrix}

"""
FIT = """    def fit(self, images, *, labels, budget, seed):
        noise = torch.rand(64, 6, generator=torch_generator(seed, "noise"))
        self.matrix.add_(noise)
        return FitReport(images_seen=budget)

"""
BUILD = """
def build(*, source: SourceInfo) -> Six:
    return Six()
"""

# Fault -> the text of an encoder file; "# here" marks the line that the finding must name.
ENCODERS = {
    "a dimension that is not that of its features": HEAD + INIT.replace("6}", "7}")
    + TAPS.replace("@ self.matrix}", "@ self.matrix}  # here") + FIT + BUILD,
    "an exception in taps": HEAD + INIT + '''    def taps(self, images):
        flat = images.flatten(1)
        return {"code": flat @ self.matrix.T}  # here

''' + FIT + BUILD,
    "an exception for one image": HEAD + INIT + '''    def taps(self, images):
        flat = images.squeeze().flatten(1)
        return {"code": flat @ self.matrix}  # here

''' + FIT + BUILD,
    "an exception in fit": HEAD + INIT + TAPS + FIT.replace(
        "        self.matrix.add_(noise)\n", '        self.matrix.add_(labels["label"])  # here\n')
    + BUILD,
    "an exception in build": HEAD + INIT + TAPS + FIT + '''
def build(*, source: SourceInfo) -> Six:
    size = source.shape[0]  # here
    return Six()
''',
    "an exception at import": HEAD.replace("import torch\n", "import torch\nimport torchh  # here\n")
    + INIT + TAPS + FIT + BUILD,
    "build without the shape of the images": HEAD + INIT + TAPS + FIT
    + "\ndef build(*, size: int = 3) -> Six:  # here\n    return Six()\n",
    "build that returns nothing": HEAD + INIT + TAPS + FIT
    + "\ndef build(*, source: SourceInfo) -> Six:  # here\n    Six()\n",
    "taps that wants more": HEAD + INIT + TAPS.replace("images):", "images, masks):  # here") + FIT
    + BUILD,
    "taps that gives a tensor": HEAD + INIT + '''    def taps(self, images):
        return images.flatten(1) @ self.matrix  # here

''' + FIT + BUILD,
    "taps that gives arrays": HEAD + INIT + '''    def taps(self, images):
        return {"code": (images.flatten(1) @ self.matrix).numpy()}  # here

''' + FIT + BUILD,
    "no input": HEAD + INIT.replace("__init__(self):", "__init__(self):  # here").replace(
        "self.input, self.dims = Input(size=(8, 8), channels=1), {", "self.dims = {") + TAPS + FIT + BUILD,
    "an input of another type": HEAD + INIT.replace(
        "self.input, self.dims = Input(size=(8, 8), channels=1), {",
        'self.input = (8, 8)  # here\n        self.dims = {') + TAPS + FIT + BUILD,
    "noise in taps": HEAD + INIT + '''    def taps(self, images):
        noise = torch.rand(6)  # here
        return {"code": images.flatten(1) @ self.matrix + noise}

''' + FIT + BUILD,
    "dropout that stays on": HEAD + INIT + '''    def taps(self, images):
        flat = torch.nn.functional.dropout(images.flatten(1))  # here
        return {"code": flat @ self.matrix}

''' + FIT + BUILD,
    "noise in fit that no seed decides": HEAD + INIT + TAPS + FIT.replace(
        'torch.rand(64, 6, generator=torch_generator(seed, "noise"))',
        "torch.from_numpy(np.random.default_rng().random((64, 6))).float()  # here") + BUILD,
    "a global seed": HEAD + INIT + TAPS + FIT.replace(
        "        noise", "        np.random.seed(0)  # here\n        noise", 1) + BUILD,
    "features that are NaN": HEAD + INIT + TAPS.replace(
        "images.flatten(1) @ self.matrix}", "(images.flatten(1) @ self.matrix - 1e6).log()}  # here")
    + FIT + BUILD,
    "training that diverges": HEAD + INIT + TAPS + FIT.replace("seed):", "seed):  # here").replace(
        "add_(noise)", "mul_(float('inf')).sub_(self.matrix)") + BUILD,
    "features that are the same for all images": HEAD + INIT + '''    def taps(self, images):
        return {"code": images.flatten(1)[:, :6] * 0 + self.matrix[0]}  # here

''' + FIT + BUILD,
    "images changed in place": HEAD + INIT + '''    def taps(self, images):
        images -= images.mean()  # here
        return {"code": images.flatten(1) @ self.matrix}

''' + FIT + BUILD,
    "what is learnt lies in a plain attribute": HEAD + INIT.replace(
        'self.register_buffer("matrix", torch.randn(64, 6))', "self.matrix = torch.randn(64, 6)  # here")
    + TAPS + FIT + BUILD,
    "fit without a report": HEAD + INIT + TAPS + FIT.replace("seed):", "seed):  # here").replace(
        "        return FitReport(images_seen=budget)\n", "") + BUILD,
    "images that are not counted": HEAD + INIT + TAPS + FIT.replace(
        "FitReport(images_seen=budget)", "FitReport()  # here") + BUILD,
    "an unused seed": HEAD + INIT.replace("torch.randn(64, 6)", "torch.eye(64, 6)") + TAPS
    + FIT.replace("seed):", "seed):  # here").replace("torch_generator(seed", "torch_generator(0") + BUILD,
    "a file that is written": HEAD + INIT + TAPS + FIT.replace(
        "        self", '        open("log.txt", "w").close()  # here\n        self', 1) + BUILD,
}  # fmt: skip


def told(name: str, text: str, words: list[str], capsys: pytest.CaptureFixture[str]) -> list[str]:
    """Findings of the command on a file of this name and text."""
    Path(name).write_text(text)
    assert main(["check", name, *words, "--json"]) == 1
    outcomes: list[dict[str, Any]] = json.loads(capsys.readouterr().out)
    return [outcome["finding"] for outcome in outcomes if outcome["finding"]]


def marked(text: str) -> int:
    [line] = [n for n, line in enumerate(text.splitlines(), 1) if line.endswith("# here")]
    return line


@pytest.mark.parametrize("fault", ENCODERS)
def test_a_fault_of_an_encoder_file_is_reported_once_with_its_line(
    fault: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    text = ENCODERS[fault]
    findings = told("six.py", text, [], capsys)
    assert len(findings) == 1, findings
    assert findings[0].startswith(f"six.py:{marked(text)}: "), findings
    assert "\n" not in findings[0]


def test_two_faults_are_reported_each_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    text = HEAD + INIT + TAPS + FIT.replace("FitReport(images_seen=budget)", "FitReport()") + BUILD
    text += "\n\nSix.decode = lambda self, codes: codes\n"
    first, second = told("six.py", text, [], capsys)
    assert "images of a budget" in first and "decode gives shape" in second


def test_a_fault_in_a_file_beside_names_that_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("layers.py").write_text("def project(x, matrix):\n    return x @ matrix.T\n")
    text = HEAD.replace("import torch\n", "import torch\n\nfrom layers import project\n") + INIT
    text += TAPS.replace(
        "images.flatten(1) @ self.matrix", "project(images.flatten(1), self.matrix)"
    )
    [finding] = told("six.py", text.replace("flatten(1) @", "") + FIT + BUILD, [], capsys)
    assert finding.startswith("layers.py:2: "), finding


def test_the_table_says_what_was_not_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("six.py").write_text(HEAD + INIT.replace("6}", "7}") + TAPS + FIT + BUILD)
    assert main(["check", "six.py"]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert sum("FAILED" in line for line in lines) == 1
    [sizes] = [line for line in lines if line.startswith("encoder_sizes")]
    assert "not run" in sizes and "mend encoder_shape first" in sizes


PROTOCOL = '''"""Nearest class mean."""
import numpy as np

import bench

REVISION = 1


class Means(bench.TransferProtocol):
    output = "score"
    accepts = frozenset({"classes"})
    seeded = False

    def __init__(self, meta):
        self.meta = meta
        if len(meta.targets) > 1:
            raise bench.Declined("one target")

    def fit(self, train, val):
        [(name, target)] = self.meta.targets.items()
        y = train.y[name]
        self.means = np.stack([train.x[y == c].mean(axis=0) if (y == c).any() else
                               np.full(train.x.shape[1], 1e6) for c in range(target.size)])
        return self

    def predict(self, x):
        gaps = ((x[:, None] - self.means[None]) ** 2).sum(axis=2)
        return {name: -gaps.astype(np.float32) for name in self.meta.targets}

    def report(self):
        return {}


def build(*, meta, trunk, seed):
    return Means(meta)
'''

# Fault -> what is replaced by what; "# here" marks the line that the finding must name.
PROTOCOLS = {
    "an exception in fit": ("y = train.y[name]", "y = train.labels[name]  # here"),
    "an exception in predict": ("x[:, None] - self", "x - self"),
    "predictions of another type": ("-gaps.astype(np.float32)", "-gaps"),
    "an output of its own": ('output = "score"', 'output = "distance"  # here'),
    "fit returns nothing": ("        return self\n", "        # no return\n"),
    "features changed in place": (
        "        y = train",
        "        train.x[:] -= 1  # here\n        y = train",
    ),
    "a report that is no mapping": ("return {}", "return []  # here"),
}


@pytest.mark.parametrize("fault", PROTOCOLS)
def test_a_fault_of_a_protocol_file_is_reported_once_with_its_line(
    fault: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    old, new = PROTOCOLS[fault]
    assert old in PROTOCOL
    text = PROTOCOL.replace(old, new)
    findings = told("means.py", text, ["--kind", "protocols"], capsys)
    assert len(findings) == 1, findings
    lines = text.splitlines()
    at = int(findings[0].split(":")[1])
    assert findings[0].startswith(f"means.py:{at}: ")
    if "# here" in text:
        assert at == marked(text), findings
    else:
        places = {"fit": "def fit", "another": "return {name", "predict": "gaps = "}
        place = next(line for word, line in places.items() if word in fault)
        assert place in lines[at - 1], findings


DATASET = '''"""Noise of two classes."""
import numpy as np

import bench

REVISION = 1


def build(*, root):
    rng = bench.generator(0, "noise")
    sizes = {"train": 20, "val": 4, "test": 6}
    images = {s: rng.integers(0, 256, (n, 1, 6, 6)).astype(np.uint8) for s, n in sizes.items()}
    labels = {s: {"label": np.arange(n) % 2} for s, n in sizes.items()}
    return bench.SplitDataSet.of(
        "noise",
        meta=bench.Meta({"label": bench.Target("classes", 2, ("a", "b"))}),
        licence="CC0-1.0",
        flips=False,
        images=images,
        labels=labels,
    )
'''
DATASETS = {
    "an exception": ("    sizes =", "    np.load(root / 'no.npy')  # here\n    sizes ="),
    "a name that is not there": ("import bench\n", "import bench\nimport benchh  # here\n"),
    "nothing returned": ("    return bench", "    data = bench"),
    "unseeded numbers": ('bench.generator(0, "noise")', "np.random.default_rng()  # here"),
    "a global state": ("    sizes =", "    np.random.shuffle([1, 2])  # here\n    sizes ="),
    "no licence": ('licence="CC0-1.0",', 'licence="",  # here'),
    "a file that is written": (
        "    sizes =",
        "    (root / 'log').write_text('')  # here\n    sizes =",
    ),
}


@pytest.mark.parametrize("fault", DATASETS)
def test_a_fault_of_a_data_set_file_is_reported_once_with_its_line(
    fault: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    old, new = DATASETS[fault]
    assert old in DATASET
    text = DATASET.replace(old, new)
    findings = told("noise.py", text, ["--kind", "datasets", "--data", "."], capsys)
    assert len(findings) == 1, findings
    line = marked(text) if "# here" in text else 9
    assert findings[0].startswith(f"noise.py:{line}: "), findings


TASK = """title = "Digits"
family = "probe"
dataset = "digits"
protocol = "knn"
targets = ["label"]
chance = 0.10185185185185185

[primary]
metric = "accuracy"
target = "label"
"""
TASKS = {
    "chance of another data set": (6, "0.10185185185185185", "0.1", 1),
    "a metric of numbers": (9, '"accuracy"', '"r2"', 1),
    "a target that is not there": (5, '["label"]', '["lable"]', 1),
    "a key that is not there": (2, "family =", "famly =", 2),
    "a protocol that is not there": (4, '"knn"', '"knnn"', 2),
    "a data set that is not there": (3, '"digits"', '"digit"', 2),
    "a family that is not there": (2, '"probe"', '"prob"', 2),
    "an unclosed string": (1, '"Digits"', '"Digits', 2),
}


@pytest.mark.parametrize("fault", TASKS)
def test_a_fault_of_a_task_file_is_reported_once_with_its_line(
    fault: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    line, old, new, status = TASKS[fault]
    assert old in TASK
    Path("mine.toml").write_text(TASK.replace(old, new, 1))
    assert main(["check", "mine.toml", "--data", "."]) == status
    outputs = capsys.readouterr()
    findings = [x for x in (outputs.out + outputs.err).splitlines() if "mine.toml:" in x]
    assert len(findings) == 1, outputs
    assert f"mine.toml:{line}: " in findings[0], findings
