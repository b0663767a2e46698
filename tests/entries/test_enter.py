"""`reptransfer enter`: what is written, what is refused before any work, and what a killed run leaves."""

from __future__ import annotations

import json
import os
import re
import shutil
import tomllib
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from bench.cli.main import main
from bench.entries import assembly, declaration
from bench.entries import entry as entry_file
from bench.entries.assembly import Place, without_places
from bench.entries.enter import Facts
from bench.entries.entry import read_entry
from bench.entries.export import plain_name
from bench.entries.verify import verify
from bench.errors import BenchError
from bench.results.ledger import read_ledger, write_ledger
from bench.results.record import Record
from bench.results.store import Store

EXAMPLE = Path(__file__).parents[2] / "bench/encoders/parts/onnx_example.onnx"
TASKS = ["--suite", "demo", "--task", "digits-*"]
FACTS = [
    *("--title", "Columns", "--author", "A. Author", "--contact", "https://example.org"),
    *("--licence", "CC0-1.0"),
]
COLUMNS = """
import torch
from bench import Encoder, FitReport, Input, SourceInfo

REVISION = 1
TRAINING = "closed_form"


class Columns(Encoder):
    def __init__(self):
        super().__init__()
        self.input, self.dims = Input(size=(8, 8), channels=1), {"code": 16}
        self.register_buffer("mean", torch.zeros(1, 1, 8, 8))

    def taps(self, images):
        centred = images - self.mean
        return {"code": torch.cat([centred.mean(dim=(1, 2)), centred.mean(dim=(1, 3))], dim=1)}

    def fit(self, images, *, labels, budget, seed):
        self.mean += images.read(range(100)).mean(dim=0)
        return FitReport(images_seen=100)


def build(*, source: SourceInfo) -> Columns:
    return Columns()
"""


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("REPTRANSFER_DATA", raising=False)
    (tmp_path / "columns.py").write_text(COLUMNS)
    return tmp_path


def files(folder: Path) -> dict[str, bytes]:
    """Every file below a folder but locks; of records their digest, since they have times."""
    paths = [p for p in sorted(folder.rglob("*")) if p.is_file() and ".locks" not in p.parts]
    return {
        p.relative_to(folder).as_posix(): json.loads(p.read_text())["digest"].encode()
        if p.suffix == ".json" and not p.name.startswith(".")
        else p.read_bytes()
        for p in paths
    }


def test_an_encoder_of_this_package_enters_under_its_owners_name(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["enter", "pca,dim=7", "--owner", "somebody", *TASKS, *FACTS, "--json"]
    assert main(words) == 0
    told = json.loads(capsys.readouterr().out)
    folder = here / "results/somebody/pca,dim=7"
    assert told["findings"] == [] and told["folder"] == "results/somebody/pca,dim=7"
    assert sorted(p.name for p in folder.iterdir()) == [
        *("digits-knn.json", "digits-knn.npz", "digits-linear.json", "digits-linear.npz"),
        *("entry.toml", "ledger.jsonl"),
    ]
    looks = read_ledger(folder / "ledger.jsonl", entered=True).looks
    assert looks == read_ledger(here / "reptransfer-runs/ledger.jsonl").looks
    assert sorted(look.task for look in looks) == ["digits-knn", "digits-linear"]
    record = Store(here / "results").read(folder / "digits-knn.json")
    ran = Store(here / "reptransfer-runs").find("reptransfer", "pca,dim=7", "digits-knn")
    assert ran is not None and record == replace(ran, owner="somebody")
    assert "overall" not in [row["task"] for row in told["tasks"]] and told["overall"] is None
    assert "no row on sprites-linear" in json.dumps(told)
    assert "git add results/somebody" in told["steps"]
    assert "digits-knn" in told["pull_request"] and "A. Author" in told["pull_request"]
    entry = read_entry(folder / "entry.toml")
    assert entry.trained_without_labels == ("digits",) and entry.weights == ()
    assert "thread" in entry.hardware


def test_entering_again_computes_nothing_and_changes_nothing(here: Path) -> None:
    words = ["enter", "pixels", "--owner", "somebody", *TASKS]
    main(words)
    before, path = files(here), here / "results/somebody/pixels/entry.toml"
    main([*words, "--title", "Other"])
    assert files(here) == before
    path.write_text(path.read_text().replace('title = ""', '# mine\ntitle = "Pixels"'))
    filled = path.read_text()
    main(words)
    assert path.read_text() == filled


def test_an_entry_has_all_looks_of_its_encoder_at_tasks_of_this_package_and_no_others(
    here: Path,
) -> None:
    words = ["enter", "pixels", "--owner", "somebody", "--task", "digits-knn"]
    main(words)
    entered, ran = (
        here / "results/somebody/pixels/ledger.jsonl",
        here / "reptransfer-runs/ledger.jsonl",
    )
    [first] = read_ledger(entered, entered=True).looks
    earlier = first._replace(encoder_digest="0" * 32, time="2020-01-31T12:00:00.000000Z")
    own_task, other = first._replace(task="holidays-knn"), first._replace(encoder="pca")
    write_ledger(ran, [own_task, other, earlier])
    main(words)
    assert read_ledger(entered, entered=True).looks == [earlier, first]  # `first` was there
    entered.write_text("no look\n")
    assert main(words) == 2 and entered.read_text() == "no look\n"


@pytest.mark.slow
def test_a_network_in_onnx_lies_in_the_entry_and_changes_with_its_file(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import onnx

    network = here / "net.onnx"
    shutil.copy(EXAMPLE, network)
    words = ["enter", "net.onnx", "--owner", "somebody", *TASKS, *FACTS]
    assert main(words) == 0
    folder = here / "results/somebody/onnx,path=net.onnx"
    assert (folder / "net.onnx").read_bytes() == network.read_bytes()
    toml = folder / "entry.toml"
    toml.write_text(f"# of mine\n{toml.read_text()}")

    model = onnx.load(str(network))
    model.doc_string = "another"
    onnx.save(model, str(network))
    old = files(folder)
    assert main([*words[:-8], "--task", "digits-knn"]) == 0  # further patterns: the others follow
    new = files(folder)
    assert new.keys() == old.keys() and toml.read_text().startswith("# of mine\n")
    assert all(new[name] != old[name] for name in new if name.endswith((".json", "x", "toml")))
    assert read_entry(toml).weights[0].bytes == network.stat().st_size
    assert not verify(here / "results").findings
    capsys.readouterr()

    assert (
        main(
            ["enter", "net.onnx", "--owner", "somebody", "--suite", "demo", "--task", "digits-knn"]
        )
        == 0
    )
    assert files(folder) == new
    model.doc_string = "a third"
    onnx.save(model, str(network))
    main(["enter", "net.onnx", "--owner", "somebody", "--suite", "demo", "--task", "digits-knn"])
    assert "digits-linear is run again, since it is in the entry" in capsys.readouterr().err
    assert not verify(here / "results").findings


def test_weights_that_are_too_large_stay_outside_until_their_address_is_there(
    here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (assembly, declaration, entry_file):
        monkeypatch.setattr(module, "MOST_WEIGHTS", 10)
    shutil.copy(EXAMPLE, here / "net.onnx")
    words = ["enter", "net.onnx", "--owner", "somebody", "--suite", "demo", "--task", "digits-knn"]
    assert main([*words, *FACTS]) == 1
    assert "weights[0].url: is empty: give the https address" in capsys.readouterr().out
    folder = here / "results/somebody/onnx,path=net.onnx"
    assert not (folder / "net.onnx").exists()
    [weights] = read_entry(folder / "entry.toml").weights
    assert weights.url == "" and weights.bytes == EXAMPLE.stat().st_size
    toml = folder / "entry.toml"
    toml.write_text(toml.read_text().replace('url = ""', 'url = "https://example.org/net.onnx"'))
    filled = toml.read_text()
    capsys.readouterr()
    assert main(words) == 0
    assert toml.read_text() == filled


def test_a_python_file_enters_as_features(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = [
        "enter",
        "columns.py@digits",
        "--as",
        "features",
        "--owner",
        "somebody",
        *TASKS,
        *FACTS,
    ]
    main(words)
    assert "enters as one network" in capsys.readouterr().err
    folder = here / "results/somebody/features,path=columns-digits,unlabelled=digits"
    assert sorted(p.suffix for p in folder.iterdir()) == [
        *(".json", ".json", ".jsonl", ".npz", ".npz", ".toml")
    ]
    entry = read_entry(folder / "entry.toml")
    assert [part.name for part in entry.weights] == ["digits.safetensors"]
    assert entry.trained_without_labels == ("digits",) and entry.trained_with_labels == ()
    assert str(here) not in "".join(p.read_text() for p in folder.glob("*.json"))
    before = files(here)
    main(words)
    assert files(here) == before


@pytest.mark.slow  # PyTorch's exporter takes ten seconds
def test_a_python_file_enters_as_a_network_that_gives_its_scores(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["enter", "columns.py@digits", "--as", "onnx", "--owner", "somebody", *TASKS, *FACTS]
    assert main(words) == 0
    folder = here / "results/somebody/onnx,path=columns-digits.onnx,unlabelled=digits"
    network = (folder / "columns-digits.onnx").read_bytes()
    assert os.fsencode(here) not in network and b"site-packages" not in network
    assert main(["run", "--encoder", "columns.py@digits", "--task", "digits-knn"]) == 0
    direct = Store(here / "reptransfer-runs").find("local", "columns@digits", "digits-knn")
    entered = Store(here / "results").read(folder / "digits-knn.json")
    assert direct is not None and direct.score.value == entered.score.value
    before = files(here / "results")
    assert main(words) == 0
    assert files(here / "results") == before


@pytest.mark.slow
def test_what_no_network_can_be_made_of_says_why(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    line = "        centred = images - self.mean\n"
    decision = f"        if images.max() > 2:\n            images = images / 2\n{line}"
    Path("odd.py").write_text(COLUMNS.replace(line, decision))
    assert main(["enter", "odd.py@digits", "--as", "onnx", "--owner", "somebody", *TASKS]) == 2
    [line] = [ln for ln in capsys.readouterr().err.splitlines() if ln.startswith("reptransfer:")]
    assert "no network in ONNX" in line and "--as features" in line
    assert not (here / "results/somebody").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["columns.py"], "an entry is data: give --as onnx"),
        (
            ["columns.py", "--as", "onnx"],
            "name what it is trained on, as in columns.py@fashion_mnist",
        ),
        (["pca,dim=x"], "dim='x' is not valid"),
        (["nothing.onnx"], "nothing.onnx"),
        (["onnx,path=missing.onnx"], "no file or folder 'missing.onnx'"),
        (["pixels", "--owner", "reptransfer"], "reserved"),
        (["pixels", "--owner", "Some_Body"], "no GitHub login"),
        (["pixels", "--suite", "nothing"], "no suite"),
        (["pixels", "--task", "mnist-linear"], "no task"),
        (["pixels", "--task", "mine.toml"], "a task of yours"),
        (["pixels", "--into", "file"], "file"),
        (["pixels", "--results", "file"], "file"),
        (["pixels", "--data", "missing"], "no folder 'missing'"),
        (["onnx,path=my%20net.onnx"], "rename the file"),
        (["onnx,path=net.onnx", "--as", "onnx"], "is data already"),
    ],
)
def test_mistakes_are_one_line_before_any_work(
    here: Path, capsys: pytest.CaptureFixture[str], words: list[str], message: str
) -> None:
    (here / "file").write_text("")
    for name in ("net.onnx", "my net.onnx"):
        shutil.copy(EXAMPLE, here / name)
    defaults = ["--owner", "somebody", "--suite", "demo"]
    assert main(["enter", *defaults, *words]) == 2
    [line] = capsys.readouterr().err.splitlines()
    assert message in line and line.startswith("reptransfer:")
    assert not list(here.rglob("*.json")) and not list(here.rglob("*.npz"))


def test_names_and_links_in_the_way_are_refused(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (here / "elsewhere").mkdir()
    (here / "results/somebody/PIXELS").mkdir(parents=True)
    words = ["enter", "pixels", "--owner", "somebody", *TASKS]
    assert main(words) == 2
    assert "same letters" in capsys.readouterr().err
    (here / "results/somebody/PIXELS").rmdir()
    (here / "results/somebody/pixels").symlink_to(here / "elsewhere")
    assert main(words) == 2
    assert "is a link" in capsys.readouterr().err
    assert main(["enter", "pixels", "--owner", "some-body", *TASKS]) == 2
    assert "looks like" in capsys.readouterr().err
    assert not list((here / "elsewhere").iterdir())


def test_a_record_of_somebody_else_is_not_replaced(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main(["enter", "pixels", "--owner", "somebody", *TASKS])
    folder = here / "results/somebody/pixels"
    other = here / "results/another/pixels"
    shutil.copytree(folder, other)
    before = files(other)
    assert main(["enter", "pixels", "--owner", "another", *TASKS]) == 2
    assert "record of another cell" in capsys.readouterr().err
    assert files(other) == before


class Killed(BaseException):
    pass


@pytest.mark.parametrize("fresh", [True, False])
def test_what_is_killed_anywhere_is_whole_after_the_same_command(
    here: Path, monkeypatch: pytest.MonkeyPatch, fresh: bool
) -> None:
    network, runs = here / "net.onnx", Store(here / "reptransfer-runs")
    main(["run", "--encoder", "pixels", "--task", "digits-knn"])
    records = [record for record in runs.records() if isinstance(record, Record)]
    place = Place(Store(here / "results"), "somebody", "pixels")
    blank = Facts(title="Pixels").entry((), (), "a laptop")
    assert len(records) == 1

    def assembled(content: bytes) -> dict[str, bytes]:
        network.write_bytes(content)
        assembly.assemble(place, records, runs, [network], blank)
        return files(here / "results")

    first, complete = assembled(b"first"), assembled(b"second")
    real: dict[str, Callable[..., None]] = {"replace": os.replace, "rename": os.rename}
    for number in range(100):
        if fresh:
            shutil.rmtree(here / "results")
        else:
            assert assembled(b"first") == first
        calls = iter(range(100))

        def dying(
            name: str, number: int = number, calls: Iterator[int] = calls
        ) -> Callable[..., None]:
            def call(source: Path, target: Path) -> None:
                if next(calls) == number:
                    raise Killed
                real[name](source, target)

            return call

        with monkeypatch.context() as patch:
            patch.setattr(os, "replace", dying("replace"))
            patch.setattr(os, "rename", dying("rename"))
            patch.setattr(assembly, "_remove", lambda folder: None)  # it cleans nothing up
            try:
                assembled(b"second")
                break
            except Killed:
                visible = {name for name in files(here / "results") if name.startswith("somebody/")}
                assert visible in (set(), set(complete))
        assert assembled(b"second") == complete
        assert not (here / "results/.entering").exists()
    assert number == (6 if fresh else 10)


def test_records_lose_the_folders_of_this_machine(here: Path) -> None:
    main(["enter", "pixels", "--owner", "somebody", *TASKS])
    store = Store(here / "results")
    record = next(r for r in store.records() if not isinstance(r, BenchError))
    noted = replace(
        record, measured={**record.measured, "engine": {"refused": {"a": f"no {here}/x"}}}
    )
    plain = without_places(noted, [str(here)])
    assert plain.measured["engine"] == {"refused": {"a": "no /x"}} and plain.digest == record.digest
    with pytest.raises(BenchError, match="holds a folder of this machine"):
        without_places(replace(record, tuning={"file": f"{here}/x"}), [str(here)])


def test_the_rank_is_the_boards(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["enter", "pixels", "--owner", "somebody", *TASKS])
    capsys.readouterr()
    main(["enter", "pca,dim=2", "--owner", "zoe", *TASKS, "--json"])
    rows = json.loads(capsys.readouterr().out)["tasks"]
    assert [(row["task"], row["rank"], row["ranked"]) for row in rows] == [
        ("digits-knn", "2", 2),
        ("digits-linear", "2", 2),
    ]


def test_names_of_exports_are_plain() -> None:
    for spec in ("net,width=8@fashion_mnist~60k", "a,b=%2Fx%20y", "." * 300, "net"):
        assert re.fullmatch(r"[A-Za-z0-9_.+-]{0,80}", plain_name(spec))
    assert plain_name("net") == "net"


def test_a_broken_template_is_told_before_the_run(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = here / "results/somebody/pixels"
    folder.mkdir(parents=True)
    (folder / "entry.toml").write_text("title = ")
    assert main(["enter", "pixels", "--owner", "somebody", *TASKS]) == 2
    assert "entry.toml" in capsys.readouterr().err
    assert not (here / "reptransfer-runs/reptransfer").exists()


def test_weights_replace_their_tables_alone(tmp_path: Path) -> None:
    place = Place(Store(tmp_path), "somebody", "net")
    place.folder.mkdir(parents=True)
    network = tmp_path / "net.onnx"
    network.write_bytes(b"1")
    blank = Facts(title="[[weights]]").entry((), (), "a laptop")
    assembly.assemble(place, [], Store(tmp_path / "runs"), [network], blank)
    toml = place.folder / "entry.toml"
    toml.write_text(toml.read_text().replace("[[weights]]\nname", "# net\n [[ weights ]]\nname"))
    network.write_bytes(b"22")
    assembly.assemble(place, [], Store(tmp_path / "runs"), [network], blank)
    table = tomllib.loads(toml.read_text())
    assert [part["bytes"] for part in table["weights"]] == [2] and "# net" in toml.read_text()
    inline = re.sub(r"\[\[weights\]\][^[]*\Z", "", toml.read_text())
    toml.write_text(inline + 'weights = [{name = "net.onnx", bytes = 9, sha256 = "0"}]\n')
    with pytest.raises(BenchError, match="tables"):
        assembly.assemble(place, [], Store(tmp_path / "runs"), [network], blank)


def test_what_the_author_says_of_the_training_is_in_the_records_too(here: Path) -> None:
    shutil.copy(EXAMPLE, here / "net.onnx")
    task = ["--suite", "demo", "--task", "digits-knn"]
    words = ["enter", "net.onnx", "--trained-with", "imagenet-1k", "--owner", "somebody", *task]
    assert main([*words, *FACTS]) == 0
    [record] = [r for r in Store(here / "results").records() if isinstance(r, Record)]
    assert record.encoder.id == "onnx,path=net.onnx,pretrained_on=imagenet-1k"
    assert record.encoder.pretrained_on == ("imagenet-1k",) and record.encoder.unlabelled is None
    assert record.supervision == "labels elsewhere"


@pytest.mark.parametrize(
    ("words", "arguments", "labels_seen"),
    [
        (["--trained-without", "digits"], "unlabelled=digits", "none"),
        (["--trained-with", "digits"], "pretrained_on=digits", "labels"),
        (
            ["--trained-with", "imagenet-1k", "--trained-without", "digits"],
            "pretrained_on=imagenet-1k,unlabelled=digits",
            "labels elsewhere",
        ),
    ],
)
def test_which_labels_an_entered_network_has_seen(
    here: Path, words: list[str], arguments: str, labels_seen: str
) -> None:
    shutil.copy(EXAMPLE, here / "net.onnx")
    cell = ["--owner", "somebody", "--suite", "demo", "--task", "digits-knn"]
    assert main(["enter", "net.onnx", *cell, *FACTS, *words]) == 0
    [record] = [r for r in Store(here / "results").records() if isinstance(r, Record)]
    assert record.encoder.id == f"onnx,path=net.onnx,{arguments}"
    assert record.supervision == labels_seen
    assert "digits" in (record.encoder.pretrained_on or ())
    assert record.encoder.unlabelled == (("digits",) if "unlabelled" in arguments else None)


def test_an_encoder_that_has_seen_a_tasks_unseen_classes_is_left_out(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copy(EXAMPLE, here / "net.onnx")
    words = ["enter", "net.onnx", "--trained-with", "digits", "--owner", "somebody", *FACTS]
    assert main([*words, "--task", "digits-zeroshot"]) == 2
    assert "digits-zeroshot: declined: its unseen classes were seen" in capsys.readouterr().err


def test_a_template_is_a_finding_until_it_is_filled_in(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["enter", "pixels", "--owner", "somebody", *TASKS, "--json"]) == 1
    found = json.loads(capsys.readouterr().out)["findings"]
    assert {remark["field"] for remark in found} == {"title", "authors", "contact", "licence"}


@pytest.mark.parametrize(
    ("line", "mistake", "message"),
    [
        ("self.mean += ", "self.mean += 1 / 0 + ", "ZeroDivisionError"),
        ('return {"code": ', 'return {"core": ', "`dims` promises level 'code'"),
        ("return Columns()", "raise SystemExit(3)", "SystemExit"),
        ("centred.mean(dim=(1, 2))", "centred.mean(dim=(0, 2))", "fails"),
    ],
)
def test_mistakes_in_a_file_are_one_line(
    here: Path, capsys: pytest.CaptureFixture[str], line: str, mistake: str, message: str
) -> None:
    Path("wrong.py").write_text(COLUMNS.replace(line, mistake))
    words = ["enter", "wrong.py@digits", "--as", "features", "--owner", "somebody", *TASKS]
    assert main(words) == 2
    [told] = [x for x in capsys.readouterr().err.splitlines() if x.startswith("reptransfer: ")]
    assert message in told
    assert not (here / "results/somebody").exists()
