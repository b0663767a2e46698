"""The command: one line for a mistake, findings as exit status 1, JSON on request."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import bench
from bench.cli import commands
from bench.cli.main import main
from bench.data.images import Input
from bench.errors import BenchError
from tests.kit import ROOT
from tests.kit.boards import written

TASK = "digits-knn"
RUN = ["run", "--task", TASK]


@pytest.fixture(autouse=True)
def cwd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Every test runs in an empty folder."""
    monkeypatch.delenv("REPTRANSFER_DATA", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A results folder with two encoders on one task."""
    folder = tmp_path_factory.mktemp("done") / "runs"
    assert main([*RUN, *encoders("pixels", "pca,dim=4"), "--results", str(folder)]) == 0
    return folder


def encoders(*specs: str) -> list[str]:
    return [word for spec in specs for word in ("--encoder", spec)]


def python(code: str, *words: str, **options: Any) -> subprocess.Popen[str]:
    """A fresh interpreter that finds `bench` from wherever it stands."""
    variables = {k: v for k, v in os.environ.items() if not k.startswith("PYTHON")}
    return subprocess.Popen(
        [sys.executable, "-c", code, *words],
        env={**variables, "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **options,
    )


TOML = """
family = "probe"
dataset = "digits"
targets = ["label"]
protocol = "knn"
chance = 0.1
"""
FILES = {
    "odd_key.toml": TOML + "chanse = 0.1\n",
    "odd_type.toml": TOML.replace("0.1", "'0.1'"),
    "infinite.toml": TOML + "ceiling = inf\n",
    "not_a_number.toml": TOML.replace("0.1", "nan"),
    "no_protocol.toml": TOML.replace('protocol = "knn"', "protocols = []"),
    "number_protocol.toml": TOML.replace('protocol = "knn"', "protocols = 3"),
    "python.toml": TOML.replace('"knn"', '"evil.py"'),
    "python_data.toml": TOML.replace('"digits"', '"evil.py"'),
    "odd_data.toml": TOML.replace('"digits"', '"digitz"'),
    "odd_metric.toml": TOML + "[primary]\nmetric = 'acuracy'\n",
    "a name.toml": TOML,
    "broken.toml": "family = ",
    "binary.toml": "\0\1",
    "empty.toml": "",
    "no_build.py": "x = 1\n",
    "broken.py": "def build(:\n",
    "pca.py": "def build(*, source): ...\n",
    "file": "mine",
}

# words -> what the line must say
MISTAKES: list[tuple[list[str], str]] = [
    (["show", "pcaa"], "did you mean 'pca'"),
    (["show", "pca,dim"], "is not a valid spec"),
    (["show", "pca,dimm=3"], "did you mean 'dim'"),
    (["show", "../pca"], "no"),
    (["show", "digits_knn"], "did you mean 'digits-knn'"),
    (["show", "fashion_mnits"], "did you mean 'fashion_mnist'"),
    ([*RUN, *encoders("pixls")], "did you mean 'pixels'"),
    ([*RUN, *encoders("pca,dim=four")], "expected int"),
    ([*RUN, *encoders("pca,dim=4,dim=5")], "is not a valid spec"),
    ([*RUN, *encoders("../pca")], "is not a valid spec"),
    ([*RUN, *encoders("../pca.py")], "no file '../pca.py'"),
    ([*RUN, *encoders("pca@../mnist")], "is not a valid spec"),
    ([*RUN, *encoders("pca@mnits")], "did you mean 'mnist'"),
    ([*RUN, *encoders("pixels~60k")], "is not trained"),
    ([*RUN, *encoders("pca~10k")], "leave out ~"),
    ([*RUN, *encoders("pca,level=top")], "no level 'top'"),
    ([*RUN, *encoders("")], "is not a valid spec"),
    ([*RUN, *encoders("no_build.py")], "no function build"),
    ([*RUN, *encoders("broken.py")], "cannot be read as Python"),
    ([*RUN, *encoders("pca.py")], "name of a built-in"),
    ([*RUN, *encoders("pixels"), "--data", "missing"], "no folder 'missing'"),
    ([*RUN, *encoders("pixels"), "--results", "file"], "cannot write"),
    ([*RUN, *encoders("pixels"), "--results", "file/deep"], "cannot write"),
    (["run", "--suite", "dmo"], "did you mean 'demo'"),
    (["run", "--suite", "../suites/demo"], "no suite"),
    (["run", "--task", "digits-kn"], "did you mean 'digits-knn'"),
    (["run", "--suite", "demo", "--task", "mnist-*"], "no task 'mnist-*'"),
    (["run", "--task", "missing.toml"], "no file 'missing.toml'"),
    (["run", "--task", "odd_key.toml"], "did you mean 'chance'"),
    (["run", "--task", "odd_type.toml"], "expected float"),
    (["run", "--task", "infinite.toml"], "expected a finite number"),
    (["run", "--task", "not_a_number.toml"], "expected a finite number"),
    (["run", "--task", "no_protocol.toml"], "no_protocol.toml"),
    (["run", "--task", "number_protocol.toml"], "number_protocol.toml"),
    (["run", "--task", "python.toml"], "names a Python file"),
    (["run", "--task", "python_data.toml"], "names a Python file"),
    (["run", "--task", "odd_data.toml"], "did you mean 'digits'"),
    (["run", "--task", "odd_metric.toml"], "did you mean 'accuracy'"),
    (["run", "--task", "a name.toml", *encoders("pixels")], "no safe name"),
    (["run", "--task", "broken.toml"], "cannot be read as TOML"),
    (["run", "--task", "binary.toml"], "cannot be read as TOML"),
    (["run", "--task", "empty.toml"], "protocol"),
    (["run", "--task", ".toml"], "no file"),
    (["compare", "pca", "pixels"], "no folder"),
    (["compare", "pca", "pixels", "--results", "file"], "no folder 'file'"),
    (["leaderboard", "--results", "missing"], "no folder 'missing'"),
    (["leaderboard", "--check"], "no folder"),
    (["check", "pcaa"], "did you mean 'pca'"),
    (["check", "missing.py"], "no file 'missing.py'"),
    (["check", "no_build.py"], "no function build"),
]


@pytest.mark.parametrize(("words", "says"), MISTAKES, ids=[" ".join(w) for w, _ in MISTAKES])
def test_a_mistake_gives_status_2_and_one_line_and_makes_no_file(
    words: list[str], says: str, cwd: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    for name, text in FILES.items():
        (cwd / name).write_text(text)
    assert main(words) == 2
    out, err = capfd.readouterr()
    assert out == ""
    assert says in err
    assert err.startswith("reptransfer: ")
    assert len(err.splitlines()) == 1, err
    assert sorted(p.name for p in cwd.iterdir()) == sorted(FILES)
    assert (cwd / "file").read_text() == "mine"


@pytest.mark.parametrize(
    "words",
    [
        [],
        ["list"],
        ["list", "encoder"],
        ["lst"],
        ["run", "--seeds", "0"],
        ["run", "--seeds", "-1"],
        ["run", "--seeds", "x"],
        ["run", "--sedes", "1"],
        ["compare", "pca"],
        ["check"],
        ["study", "depth", "--semantics", "table.toml"],
    ],
    ids=lambda v: " ".join(v),
)
def test_words_that_no_command_takes_give_status_2_and_its_usage(
    words: list[str], cwd: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        main(words)
    assert caught.value.code == 2
    out, err = capfd.readouterr()
    assert out == ""
    assert err.startswith("usage: reptransfer")
    assert "Traceback" not in err
    assert list(cwd.iterdir()) == []


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["pca,dim=5", "pixels"], "did you mean 'pca,dim=4'"),
        (["nothing", "pixels"], "no encoder in the results 'nothing'"),
        (["../x", "pixels"], "no encoder in the results"),
        (["pixels", "pca,dim=4", "--task", "mnist-*"], "no scored task 'mnist-*' in common"),
    ],
)
def test_encoders_without_a_common_task_cannot_be_compared(
    words: list[str], says: str, done: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert main(["compare", *words, "--results", str(done)]) == 2
    out, err = capfd.readouterr()
    assert out == ""
    assert says in err
    assert len(err.splitlines()) == 1


READING: dict[str, list[str]] = {
    "list encoders": ["list", "encoders"],
    "list tasks": ["list", "tasks"],
    "list protocols": ["list", "protocols"],
    "list datasets": ["list", "datasets"],
    "list suites": ["list", "suites"],
    "show encoder": ["show", "pca,dim=3"],
    "show task": ["show", TASK],
    "show protocol": ["show", "knn"],
    "show data": ["show", "mnist"],
    "show suite": ["show", "demo"],
}


@pytest.mark.parametrize("words", READING.values(), ids=READING)
def test_what_is_listed_and_shown_is_also_json(
    words: list[str], cwd: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*words, "--json"]) == 0
    out, err = capsys.readouterr()
    records = json.loads(out)
    assert err == ""
    assert main(words) == 0
    text = capsys.readouterr().out
    for item in records:
        assert item.get("name", item.get("id", "")) in text
    assert len(records) >= 1
    assert list(cwd.iterdir()) == []


def test_results_are_also_json(done: Path, capsys: pytest.CaptureFixture[str]) -> None:
    where = ["--results", str(done), "--json"]
    assert main([*RUN, *encoders("pixels", "pca,dim=4"), *where]) == 0
    out, err = capsys.readouterr()
    assert [record["encoder"]["id"] for record in json.loads(out)] == ["pixels", "pca,dim=4"]
    last = err.splitlines()[-1]
    assert last == f"nothing to do: all 2 cells have a fresh record in {done}"
    assert main(["compare", "pixels", "pca,dim=4", *where]) == 0
    [cell] = json.loads(capsys.readouterr().out)
    assert (cell["task"], cell["verdict"]) == (TASK, "A")
    assert cell["difference"]["value"] == pytest.approx(cell["a"] - cell["b"])
    assert cell["difference"]["low"] > 0
    assert main(["leaderboard", *where]) == 0
    tables = json.loads(capsys.readouterr().out)
    assert tables.keys() == {"file", "fresh", "answers", "overall", "families", "left_out"}
    [family] = tables["families"]
    assert (family["name"], family["title"]) == ("probe", "Frozen: probes and neighbours")
    assert [(row["encoder"], row["task"]) for row in family["scores"]] == [
        ("pca,dim=4", TASK),
        ("pixels", TASK),
    ]
    assert [row["value"] for row in family["scores"]] == [cell["b"], cell["a"]]
    assert main(["export", "json", *where[:2]]) == 0
    assert json.loads(capsys.readouterr().out) == family["scores"]
    status = main(["check", "pixels", "--json"])
    cell = json.loads(capsys.readouterr().out)
    assert status == (1 if any(check["finding"] for check in cell) else 0) == 0


def test_an_encoder_against_itself_is_a_tie(done: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["compare", "pixels", "pixels", "--results", str(done), "--json"]) == 0
    [row] = json.loads(capsys.readouterr().out)
    assert (row["p"], row["verdict"], row["difference"]["value"]) == (1.0, "tie", 0.0)


def files(folder: Path) -> dict[Path, tuple[int, bytes]]:
    """Times and contents; of locks, which filelock 3 empties each time, the content."""
    return {
        path: (0 if path.suffix == ".lock" else path.stat().st_mtime_ns, path.read_bytes())
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_a_second_run_does_nothing_and_brings_no_pytorch(done: Path) -> None:
    before = files(done)
    code = (
        "import sys; from bench.cli.main import main; status = main(sys.argv[1:]);"
        "print('torch' in sys.modules, status)"
    )
    words = [*RUN, *encoders("pixels", "pca,dim=4"), "--results", str(done)]
    out, err = python(code, *words).communicate()
    assert out.splitlines()[-1] == "False 0", err
    assert "nothing to do" in err
    assert files(done) == before


def test_a_run_ends_with_its_new_rows_the_best_first_and_the_place_of_the_board(
    cwd: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (cwd / "broken.py").write_text(BROKEN.replace("WHAT", FAULTS["raises"][0]))
    assert main([*RUN, *encoders("random_fourier,dim=2"), "--results", "runs"]) == 0
    capsys.readouterr()
    words = [*RUN, *encoders("broken.py", "pca,dim=1", "pixels", "random_fourier,dim=2")]
    assert main([*words, "--results", "runs"]) == 1
    out, err = capsys.readouterr()
    *rows, page, last = out.splitlines()
    assert page == f"the page is in {Path('runs') / 'page.html'}"
    assert last == f"the board is in {Path('runs') / 'leaderboard.md'}"
    assert [row.split()[:3] for row in rows[2:]] == [
        [TASK, "pixels", "accuracy"],
        [TASK, "pca,dim=1", "accuracy"],
        [TASK, "broken", "failed"],
    ]
    assert "ValueError: two" in rows[-1] and "# Leaderboard" not in out
    numbered = [line for line in err.splitlines() if line.startswith("[")]
    assert [line.partition(":")[0] for line in numbered] == [
        f"[{number}/3] {name} on {TASK}"
        for number, name in enumerate(("broken", "pca,dim=1", "pixels"), 1)
    ]
    assert main([*RUN, *encoders("pixels"), "--results", "runs"]) == 0
    assert capsys.readouterr().out == f"{page}\n{last}\n"


BROKEN = '''
"""An encoder whose features are no numbers."""
import torch
from bench.encoders.base import Encoder
from bench.data.images import Input

TRAINING = "none"

class Broken(Encoder):
    seeded = False

    def __init__(self):
        super().__init__()
        self.input, self.dims = Input(size=(8, 8), channels=1), {"code": 2}

    def taps(self, images):
        WHAT

def build(*, source):
    return Broken()
'''
FAULTS = {
    "nan": ('return {"code": torch.full((len(images), 2), torch.nan)}', "NaN"),
    "shape": ('return {"code": images.flatten(1)}', "shape"),
    "raises": ('raise ValueError("two\\nlines")', "ValueError: two"),
}


@pytest.mark.parametrize(("kind", "why"), FAULTS.values(), ids=FAULTS)
def test_a_cell_that_fails_says_why_and_stops_no_other(
    kind: str, why: str, cwd: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (cwd / "broken.py").write_text(BROKEN.replace("WHAT", kind))
    words = [*RUN, *encoders("broken.py", "pca,dim=3"), "--results", "runs", "--json"]
    assert main(words) == 1
    out, err = capsys.readouterr()
    failed, fine = json.loads(out)
    assert (failed["status"], fine["status"]) == ("failed", "ok")
    assert why in failed["reason"]
    assert len(failed["reason"].splitlines()) == 1
    assert failed["owner"] == "local"
    assert "Traceback" not in err
    record = json.loads((cwd / "runs" / "local" / "broken" / f"{TASK}.json").read_text())
    assert record["reason"] == failed["reason"]
    assert (cwd / "runs" / "reptransfer" / "pca,dim=3" / f"{TASK}.npz").is_file()
    assert failed["reason"].split()[0] in written(cwd / "runs")


def test_data_that_are_absent_decline_the_cell_and_find_nothing(
    cwd: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (cwd / "data").mkdir()
    (cwd / "data" / "MNIST").touch()  # a file in the way: nothing is fetched from the network
    words = ["run", "--task", "mnist-knn", *encoders("pixels"), "--data", "data", "--json"]
    assert main(words) == 0
    [record] = json.loads(capsys.readouterr().out)
    assert record["status"] == "declined"
    assert "--data" in record["reason"]


@pytest.mark.parametrize("words", [["list", "encoders"], ["show", "pca", "--json"]])
def test_a_reader_that_leaves_early_sees_no_traceback(words: list[str]) -> None:
    code = "import sys; from bench.cli.main import main; raise SystemExit(main(sys.argv[1:]))"
    process = python(code, *words)
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.close()  # as `| head -1` does, but surely before anything is written
    err = process.stderr.read()
    assert process.wait() == 0
    assert err == ""
    process.stderr.close()


@pytest.mark.parametrize(
    ("package", "fault", "says"),
    [
        (
            "torch",
            "ModuleNotFoundError(\"No module named 'torch'\", name='torch')",
            "named 'torch'",
        ),
        (
            "torch",
            "OSError('libcudart.so.12: cannot open')",
            "OSError: libcudart.so.12: cannot open",
        ),
        ("torchvision", "RuntimeError('operator nms does not exist\\n.')", "operator nms does not"),
        ("PIL", "ImportError('libtiff.so.5: cannot open')", "--force-reinstall pillow"),
    ],
)
def test_a_package_that_cannot_be_imported_is_told_in_one_line(
    package: str, fault: str, says: str, cwd: Path
) -> None:
    (cwd / f"{package}.py").write_text(f"raise {fault}")
    code = "import sys; from bench.cli.main import main; sys.exit(main(sys.argv[1:]))"
    process = python(code, "show", "vae", "--pictures", "drawn")
    _, err = process.communicate()
    assert process.returncode == 2 and len(err.splitlines()) == 1, err
    assert (
        err.startswith(f"reptransfer: the package {package} cannot be imported (") and says in err
    )


def test_a_module_of_the_package_that_is_missing_is_a_fault_and_no_mistake(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "bench.naming.specs", None)
    with pytest.raises(ImportError, match="bench"):
        main(["show", "pca"])


def test_importing_bench_and_listing_bring_no_pytorch(cwd: Path) -> None:
    code = (
        "import sys, bench; from bench.cli.main import main; main(['list', 'encoders']);"
        "main(['list', 'tasks']); main(['show', 'pca']);"
        "print([m for m in ('torch', 'pandas', 'sklearn') if m in sys.modules])"
    )
    out, err = python(code).communicate()
    assert out.splitlines()[-1] == "[]", err


GREET = """
from bench.cli.options import add_command

def add(parsers):
    add_command(parsers, "greet", run, "greet").add_argument("name")

def run(arguments):
    print("hello", arguments.name)
    return 0
"""


def test_a_new_command_is_one_new_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "greet.py").write_text(GREET)
    monkeypatch.setattr(commands, "__path__", [*commands.__path__, str(tmp_path)])
    assert main(["greet", "you"]) == 0
    assert capsys.readouterr().out == "hello you\n"


class Thing(nn.Module):
    """No Encoder: a module with forward alone, in train mode, with a part in eval mode."""

    input = Input(size=(8, 8), channels=1)

    def __init__(self) -> None:
        super().__init__()
        self.drop, self.norm = nn.Dropout(0.9), nn.BatchNorm1d(64)
        self.norm.eval()

    def forward(self, images: Tensor) -> Tensor:
        return self.norm(self.drop(images.flatten(1)))


class Plain:
    """Not even a module; gives NumPy arrays."""

    input = Input(size=(4, 4), channels=1)

    def forward(self, images: Tensor) -> Any:
        return images.flatten(1).numpy()


def test_a_module_is_scored_in_eval_mode_and_left_as_it_was(cwd: Path) -> None:
    encoder = Thing()
    before = {name: value.clone() for name, value in encoder.state_dict().items()}
    random = torch.get_rng_state(), np.random.get_state()[1].tolist()  # noqa: NPY002
    results = bench.evaluate(encoder, TASK)
    assert [part.training for part in encoder.modules()] == [True, True, False]
    after = encoder.state_dict()
    assert all(torch.equal(after[name], value) for name, value in before.items())
    assert torch.equal(torch.get_rng_state(), random[0])
    assert np.random.get_state()[1].tolist() == random[1]  # noqa: NPY002
    [record] = results.records
    assert (record.status, record.owner, record.encoder.id) == ("ok", "local", "Thing")
    assert results.frame()["score"][0] > 0.9
    assert list(cwd.iterdir()) == []


def test_an_object_with_forward_alone_is_scored(cwd: Path) -> None:
    [record] = bench.evaluate(Plain(), [TASK]).records
    assert (record.status, record.encoder.dim) == ("ok", 16)
    assert list(cwd.iterdir()) == []


@pytest.mark.parametrize("candidate", [3, object(), "pcaa", [1]])
def test_what_cannot_encode_is_refused(candidate: object, cwd: Path) -> None:
    with pytest.raises(BenchError):
        bench.evaluate(candidate, TASK)
    assert list(cwd.iterdir()) == []
