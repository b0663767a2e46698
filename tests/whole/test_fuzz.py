"""Random changes of all files that others may send: readers refuse or survive them, and write nowhere.

`REPTRANSFER_FUZZ_SECONDS=600 pytest -n 0 -m slow tests/whole/test_fuzz.py` for longer than a minute,
`REPTRANSFER_FUZZ_SEED` to begin with another seed than 0.
"""

from __future__ import annotations

import itertools
import json
import os
import shutil
import sys
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, redirect_stderr, redirect_stdout, suppress
from dataclasses import dataclass, field
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from hypothesis.configuration import set_hypothesis_home_dir

from bench import load_results
from bench.cli.main import main
from bench.data.semantics import read_semantics
from bench.digests import arrays_digest
from bench.entries.entry import problems, read_entry
from bench.entries.verify import verify
from bench.errors import BenchError
from bench.results.archive import packed
from bench.results.ledger import Look, read_ledger, write_ledger
from bench.results.own_tasks import own_tasks
from bench.results.predictions import pack
from bench.results.record import Record
from bench.results.store import LEDGER, VERIFIED, Store
from bench.results.trust import Mark, read_marks, write_marks
from bench.results.wrong_images import wrong_images
from bench.running.cache import cache_root
from bench.tasks.cell import OURS
from bench.tasks.files import read
from tests.kit.boards import board_text
from tests.kit.mutations import archive, changed, changed_arrays, changed_toml, damaged, text_of
from tests.kit.photos import photographed

pytestmark = pytest.mark.slow
SECONDS = float(os.environ.get("REPTRANSFER_FUZZ_SECONDS", "60"))
FIRST_SEED = int(os.environ.get("REPTRANSFER_FUZZ_SEED", "0"))
MOST_SECONDS = 2.0  # of the processor, for all readers of one example
BATCH = 50  # examples a seed
ROOT = Path(__file__).parents[2]
# Committed records of all families, and which of them lie together in a folder.
COMMITTED = {
    "zero-shot": ("pixels", ["sprites-zeroshot", "sprites-eszsl", "sprites-dap"]),
    "shared": ("pixels", ["sprites-single_task", "sprites-hard_sharing", "sprites-cross_stitch"]),
    "probes": ("pixels", ["fashion_mnist-linear", "fashion_mnist-knn"]),
    "few": ("pixels", ["fashion_mnist-few_labels"]),
    "shifted": ("pixels", ["fashion_mnist-shift"]),
    "clusters": ("kmeans,code=10", ["fashion_mnist-matching"]),
    "diagnostics": ("pixels", ["sprites-diagnostics", "fashion_mnist-diagnostics"]),
    "trained": ("vae", ["fashion_mnist-linear", "fashion_mnist-finetune"]),
}
STRANGER = "example"
ENTRY = """schema = "reptransfer.entry/1"
title = "Small images"
authors = ["A. Author", "B. Author"]
contact = "a@example.org"
licence = "Apache-2.0"
hardware = "a laptop"
trained_with_labels = []
trained_without_labels = []
paper = "https://example.org/paper"

[[weights]]
name = "net.onnx"
bytes = 1000
sha256 = "%s"
url = "https://example.org/net.onnx"
""" % ("0" * 64)


@pytest.fixture(scope="module", autouse=True)
def _no_folder_here(tmp_path_factory: pytest.TempPathFactory) -> None:
    set_hypothesis_home_dir(tmp_path_factory.mktemp("hypothesis"))


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Honest results folders by what is in them: rows of this package and of a stranger."""
    if not (ROOT / "results" / OURS).is_dir():
        pytest.skip("a source distribution has no committed records")
    roots = dict[str, Path]()
    for name, (encoder, tasks) in COMMITTED.items():
        roots[name] = tmp_path_factory.mktemp("honest") / "results"
        folder = roots[name] / OURS / encoder
        folder.mkdir(parents=True)
        for task, suffix in itertools.product(tasks, (".json", ".npz")):
            shutil.copy(ROOT / "results" / OURS / encoder / f"{task}{suffix}", folder)
    roots["own tasks"] = photographed(tmp_path_factory.mktemp("p"), "abcde", semantics=True)
    roots["own tasks"] /= "results"
    for root in roots.values():
        store = Store(root)
        for record in list(store.readable()):
            value = record.to_json() | {"owner": STRANGER}
            value["predictions"] = {"kinds": value["predictions"]["kinds"]}
            copied = Record.from_json(json.loads(json.dumps(value)), "")
            store.write(copied, store.predictions(record))
            folder = store.path(STRANGER, record.encoder.id, "x").parent
            (folder / "entry.toml").write_text(ENTRY)
            if name != "own tasks":
                look = Look.now(record, len(record.replicates))
                for ledger in (root / LEDGER, folder / LEDGER):
                    write_ledger(ledger, [*read_ledger(ledger).looks, look])
        marks = {
            record.digest: Mark(level="reproduced", date="2026-11-30", by="a name", difference=0.0)
            for record in store.readable()
        }
        write_marks(store, marks)
        verdict = verify(root)
        assert not verdict.findings, [str(f) for f in verdict.findings]
    return roots


# --- One example: a folder, some changes of it, and all that reads it


def spoil(root: Path, draw: Callable[[st.SearchStrategy[Any]], Any]) -> list[str]:
    """Change files of the folder; what was done."""
    store, said = Store(root), list[str]()
    for _ in range(draw(st.integers(1, 6))):
        kinds = [
            "record",
            "record",
            "signed",
            "signed",
            "signed",
            "arrays",
            "arrays",
            "archive",
            "bytes",
        ]
        kinds += ["entry", "marks", "looks", "looks"] + ["task"] * 2 * (root / "tasks").is_dir()
        kind = draw(st.sampled_from(kinds))
        path = draw(st.sampled_from(store.paths() or [root / STRANGER / "x" / "x.json"]))
        # What an earlier change has broken cannot be changed in every way.
        with (
            suppress(BenchError, OSError, ValueError, TypeError, LookupError, AttributeError),
            plain(),
        ):
            words = CHANGES[kind](path, draw)
            said.append(f"{kind}: {path.parent.parent.name}/{path.name}: {words}")
    return said


@contextmanager
def plain() -> Iterator[None]:
    """Changes may overflow; only what readers warn of counts."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def change_record(path: Path, draw: Any) -> str:
    value, words = changed(json.loads(path.read_text()), draw)
    path.write_bytes(text_of(value, draw))
    return words


def change_signed(path: Path, draw: Any) -> str:
    """As a record's author would: with its digest, and where its names say that it lies."""
    value = json.loads(path.read_text())
    value.pop("digest", None)
    words = list[str]()
    for _ in range(draw(st.integers(1, 3))):
        value, done = changed(value, draw)
        words.append(done)
    record = Record.from_json(value, "")
    arrays = path.with_suffix(".npz").read_bytes()
    target = Store(path.parents[2]).path(record.owner, record.encoder.id, record.task.id)
    target.parent.mkdir(parents=True, exist_ok=True)
    target.with_suffix(".npz").write_bytes(arrays)
    target.write_bytes(text_of({**value, "digest": record.digest}, draw))
    return ", ".join(words)


def change_arrays(path: Path, draw: Any) -> str:
    """With the digest that the arrays then have."""
    store = Store(path.parents[2])
    record = store.read(path)
    arrays, words = changed_arrays(store.predictions(record), draw)
    value = record.to_json()
    value["predictions"]["digest"] = arrays_digest(arrays)
    value = json.loads(json.dumps(value))
    if draw(st.booleans()):
        inner, also = changed(value["predictions"], draw)
        value["predictions"], words = inner, f"{words}, {also}"
    with suppress(
        ValueError, KeyError, IndexError, TypeError
    ):  # what cannot be packed is left as it is
        arrays = pack(arrays)
    try:
        path.with_suffix(".npz").write_bytes(packed(arrays))
    except (ValueError, UnicodeError):
        return "no change"
    value["digest"] = Record.from_json(value, "").digest
    path.write_text(json.dumps(value))
    return words


def change_archive(path: Path, draw: Any) -> str:
    store = Store(path.parents[2])
    content, words = archive(pack(store.predictions(store.read(path))), draw)
    path.with_suffix(".npz").write_bytes(content)
    return words


def change_bytes(path: Path, draw: Any) -> str:
    path = path.with_suffix(draw(st.sampled_from([".json", ".npz"])))
    content, words = damaged(path.read_bytes(), draw)
    path.write_bytes(content)
    return f"{path.suffix} {words}"


def change_entry(path: Path, draw: Any) -> str:
    text, words = changed_toml(ENTRY, draw)
    path.with_name("entry.toml").write_bytes(text.encode("utf-8", "surrogateescape"))
    return words


def change_marks(path: Path, draw: Any) -> str:
    path = path.parents[2] / VERIFIED
    content = path.read_bytes()
    if draw(st.booleans()):
        value, words = changed(json.loads(content), draw)
        path.write_bytes(text_of(value, draw))
    else:
        content, words = damaged(content, draw)
        path.write_bytes(content)
    return words


def change_looks(path: Path, draw: Any) -> str:
    path = draw(st.sampled_from([path.parents[2] / LEDGER, path.with_name(LEDGER)]))
    lines = path.read_bytes().splitlines() if path.exists() else [b"{}"]
    number = draw(st.integers(0, len(lines) - 1))
    if draw(st.booleans()):
        value, words = changed(json.loads(lines[number]), draw)
        lines[number] = text_of(value, draw).replace(b"\n", b" ")
    else:
        lines[number], words = damaged(lines[number], draw)
    path.write_bytes(b"".join(line + b"\n" for line in lines))
    return words


def change_task(path: Path, draw: Any) -> str:
    folder = path.parents[2] / "tasks"
    path = draw(st.sampled_from(sorted(folder.iterdir())))
    content = path.read_bytes()
    kind = draw(st.sampled_from(["bytes", "value", "value", "value"]))
    if kind == "value" and path.suffix == ".toml":
        text, words = changed_toml(content.decode(errors="surrogateescape"), draw)
        content = text.encode("utf-8", "surrogateescape")
    elif kind == "value":
        try:
            value, words = changed(json.loads(content), draw)
        except ValueError:
            return "no change"
        content = text_of(value, draw)
    else:
        content, words = damaged(content, draw)
    path.write_bytes(content)
    return f"{path.name} {words}"


CHANGES: dict[str, Callable[[Path, Any], str]] = {
    "record": change_record,
    "signed": change_signed,
    "arrays": change_arrays,
    "archive": change_archive,
    "bytes": change_bytes,
    "entry": change_entry,
    "marks": change_marks,
    "looks": change_looks,
    "task": change_task,
}


def read_folder(root: Path) -> Iterator[tuple[str, Callable[[], object]]]:
    """All that reads a results folder, by name."""
    store = Store(root)

    def predictions() -> None:
        for record in store.readable():
            with suppress(BenchError):
                store.predictions(record)

    def frames() -> None:
        results = load_results(root)
        results.frame()
        results.frame(long=True)

    def wrong() -> None:
        for encoder, task in {(r.encoder.id, r.task.id) for r in store.readable()}:
            if task.startswith("photos"):
                with suppress(BenchError):
                    wrong_images(root, encoder, task)

    def entries() -> None:
        for path in sorted(root.glob("*/*/entry.toml")):
            with suppress(BenchError):
                list(problems(read_entry(path)))

    def board() -> None:
        text = board_text(store)
        assert all(line.isprintable() for line in text.split("\n")), (
            "the board has control characters"
        )

    yield "predictions", predictions
    yield "verify", lambda: command("verify", str(root))
    yield "board", board
    yield "status", lambda: command("status", "--results", str(root))
    yield (
        "compare",
        lambda: command("compare", "pixels", f"{STRANGER}/pixels", "--results", str(root)),
    )
    yield "frames", frames
    yield "wrong images", wrong
    yield "marks", lambda: read_marks(store)
    yield "own tasks", lambda: own_tasks(store)
    yield "entries", entries


def command(*words: str) -> None:
    """A command in this process; all that it prints are lines that a terminal does not obey."""
    out, errors = StringIO(), StringIO()
    with redirect_stdout(out), redirect_stderr(errors):
        assert main(words) in (0, 1, 2)
    text = (out.getvalue() + errors.getvalue()).encode("utf-8", "backslashreplace").decode()
    for line in text.split("\n"):
        assert line.isprintable(), f"{words[0]} prints {line!r:.200}"


# --- What must not happen


class Fault(Exception):
    """Its text names the kind: equal for equal kinds."""


@dataclass
class Watch:
    """What is found in a run, and what is written while `on`: an audit hook cannot be removed."""

    on: Path | None = None
    written: list[str] = field(default_factory=list)
    examples: int = 0
    slowest: float = 0.0
    seconds: Counter[str] = field(default_factory=Counter)
    faults: dict[str, str] = field(default_factory=dict)

    def begin(self) -> None:
        self.examples, self.slowest, self.faults = 0, 0.0, {}
        self.seconds.clear()

    def note_time(self, spent: float, said: list[str]) -> None:
        self.examples, self.slowest = self.examples + 1, max(self.slowest, spent)
        if spent > MOST_SECONDS:  # not raised: another time it may be faster
            self.faults.setdefault("too slow", f"{spent:.1f} s for {said}")

    def audit(self, event: str, arguments: tuple[Any, ...]) -> None:
        if self.on is None:
            return
        paths = list[Any]()
        if event == "open" and isinstance(arguments[2], int):
            if arguments[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC):
                paths = [arguments[0]]
        elif event in ("os.remove", "os.mkdir", "os.rmdir", "os.truncate", "os.chmod"):
            paths = [arguments[0]]
        elif event in ("os.rename", "os.link", "os.symlink"):
            paths = list(arguments[:2])
        elif event in (
            "subprocess.Popen",
            "os.system",
            "os.exec",
            "socket.connect",
            "pickle.find_class",
        ):
            self.written.append(event)
        for path in paths:
            if isinstance(path, int):
                continue
            name = os.path.abspath(os.fsdecode(path))
            # Boards keep what they compute in the cache folder.
            allowed = (f"{self.on}/", "/dev/null", f"{cache_root()}/boards")
            if not name.startswith(allowed) and "__pycache__" not in name:
                self.written.append(f"{event} {name}")


WATCH = Watch()
sys.addaudithook(WATCH.audit)


@contextmanager
def watched(root: Path, name: str) -> Iterator[None]:
    """Raise Fault for an exception that is no BenchError, and for what is written outside of `root`."""
    WATCH.on, WATCH.written = root, []
    begun = time.process_time()
    try:
        yield
    except BenchError:
        pass
    except Exception as error:
        frames = [f for f in traceback.extract_tb(error.__traceback__) if "/bench/" in f.filename]
        place = (
            f"{Path(frames[-1].filename).name}:{frames[-1].name}" if frames else f"what {name} says"
        )
        raise Fault(f"{type(error).__name__} in {place}, by {name}: {error!s:.200}") from error
    finally:
        WATCH.on = None
        WATCH.seconds[name] += time.process_time() - begun
    if WATCH.written:
        raise Fault(f"{name} writes or runs {WATCH.written[0]}")


def kind(fault: Fault) -> str:
    return str(fault).partition(", by ")[0]


@pytest.fixture
def scratch(tmp_path: Path) -> Path:
    return tmp_path.resolve()


def run_batches(example: Callable[[Any], None], seconds: float) -> None:
    """Batches of examples, a seed each, until the time is over; each kind of fault is named once."""
    end, number = time.monotonic() + seconds, FIRST_SEED
    WATCH.begin()
    while time.monotonic() < end:

        @seed(number)
        @settings(
            max_examples=BATCH,
            deadline=None,
            database=None,
            phases=(Phase.generate,),
            suppress_health_check=list(HealthCheck),
            report_multiple_bugs=False,
        )
        @given(data=st.data())
        def batch(data: Any) -> None:
            try:
                example(data.draw)
            except Fault as fault:
                if kind(fault) not in WATCH.faults:
                    raise

        try:
            with redirect_stdout(StringIO()):
                batch()
        except Fault as fault:
            WATCH.faults[kind(fault)] = f"seed {number}: {fault}"
        number += 1
    print(
        f"{WATCH.examples} examples, seeds {FIRST_SEED} to {number - 1}, slowest {WATCH.slowest:.2f} s"
    )
    print({name: round(spent, 1) for name, spent in WATCH.seconds.most_common()})


def test_no_file_in_a_results_folder_breaks_a_reader(
    corpus: Mapping[str, Path], scratch: Path
) -> None:
    folders = iter(scratch / str(n) for n in itertools.count())

    def example(draw: Any) -> None:
        root = next(folders) / "results"
        shutil.copytree(corpus[draw(st.sampled_from(sorted(corpus)))], root)
        said = spoil(root, draw)
        begun = time.process_time()
        try:
            readers = dict(read_folder(root))
            # The dearest find most; of the others two at a time give time for further examples.
            drawn = draw(st.lists(st.sampled_from(sorted(readers)), min_size=2, max_size=2))
            for name in dict.fromkeys(["verify", "board", *drawn]):
                with watched(root, name):
                    readers[name]()
        except Fault as fault:
            raise Fault(f"{fault}; {said}") from fault
        finally:
            shutil.rmtree(root.parent)
        WATCH.note_time(time.process_time() - begun, said)

    run_batches(example, SECONDS * 0.8)
    assert not WATCH.faults, "\n".join(WATCH.faults.values())


def test_no_task_file_breaks_a_reader(scratch: Path) -> None:
    """Of the user's own, with tables of signatures beside them."""
    tasks = [p.read_text() for p in sorted((ROOT / "tasks").glob("*.toml")) if p.stem[0] in "dfsm"]
    tables = [p.read_text() for p in sorted((ROOT / "tasks" / "semantics").glob("*.toml"))]
    tables = [table for table in tables if len(table) < 20_000]

    def example(draw: Any) -> None:
        of_table = draw(st.booleans())
        text = draw(st.sampled_from(tables if of_table else tasks))
        said = list[str]()
        for _ in range(draw(st.integers(1, 3))):
            text, words = changed_toml(text, draw)
            said.append(words)
        path = scratch / "own-task.toml"
        path.write_bytes(text.encode("utf-8", "surrogateescape"))
        begun = time.process_time()
        try:
            with watched(scratch, "semantics" if of_table else "tasks"):
                read_semantics(str(path)) if of_table else read(path)
            with watched(scratch, "plan"):
                words = (
                    "--task",
                    str(path),
                    "--encoder",
                    "pixels",
                    "--results",
                    str(scratch / "r"),
                )
                of_table or command("plan", *words)
        except Fault as fault:
            raise Fault(f"{fault}; {said}") from fault
        WATCH.note_time(time.process_time() - begun, said)

    run_batches(example, SECONDS * 0.2)
    assert not WATCH.faults, "\n".join(WATCH.faults.values())
