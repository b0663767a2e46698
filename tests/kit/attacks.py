"""Attacks on `reptransfer verify`: how each is made of a good entry, and what must be said of it.

Records and predictions that lie are in `tests/entries/test_verify.py`.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import zipfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

import bench.encoders.parts
from bench.data.samples import Array
from bench.datasets.base import DataSets
from bench.entries.entry import Entry, WeightsFile, read_entry, write_entry
from bench.naming.specs import resolve
from bench.results.ledger import read_ledger, write_ledger
from bench.results.record import Record
from bench.results.store import LEDGER, Store
from bench.running.executor import run_cells
from bench.tasks.cell import Cell
from bench.tasks.files import load
from tests.kit.hostile import PREDICTIONS, RECORDS, bind, edited, header, instead

OWNER, NETWORK = "example", "onnx_example.onnx"
ENCODER = f"onnx,path={NETWORK}"
KNN, ZEROSHOT = "digits-knn", "digits-zeroshot"
Make = Callable[[Path], object]


class Attack(NamedTuple):
    """make: changes the folder of the entry, or what is around it. file, field, message: parts of what is
    said; `file` may be a pattern of `Path.match`. status: 2 where the folder as a whole cannot be read.
    at: which folder is verified, from the results folder."""

    make: Make
    file: str
    field: str
    message: str
    status: int = 1
    at: str = ""


def good_entry(root: Path) -> Path:
    """A results folder with one entry: a small network on two tasks of digits. Nothing here can tell that
    its features are raw pixels."""
    network = Path(bench.encoders.parts.__path__[0]) / NETWORK
    spec, ran, store = resolve("encoders", f"onnx,path={network}"), Store(root / "ran"), Store(root)
    cells = [Cell(load(task), resolve("encoders", "pixels")) for task in (KNN, ZEROSHOT)]
    for record in run_cells(cells, DataSets(root), store=ran).records:
        encoder = replace(record.encoder, **spec.identity, group=spec.entry.group)
        entered = replace(record, owner=OWNER, encoder=replace(encoder, read_out="output"))
        store.write(entered, ran.predictions(record))
    looks = read_ledger(ran.root / LEDGER).looks
    shutil.rmtree(ran.root)
    folder = store.root / OWNER / ENCODER
    of_entry = {"encoder": ENCODER, "encoder_digest": encoder.digest, "group": encoder.group}
    write_ledger(folder / LEDGER, [x._replace(**of_entry, owner="local") for x in looks])
    shutil.copy(network, folder / NETWORK)
    (folder / NETWORK).chmod(0o644)
    content = network.read_bytes()
    digest = hashlib.sha256(content).hexdigest()
    entry = Entry(
        title="A small network",
        authors=("A. Author",),
        contact="a.author@example.org",
        licence="CC0-1.0",
        hardware="a laptop with 2 cores",
        trained_with_labels=(),
        trained_without_labels=(),
        weights=(WeightsFile(name=NETWORK, bytes=len(content), sha256=digest),),
    )
    write_entry(folder / "entry.toml", entry)
    return store.root


# --- How attacks are made


def on(name: str, make: Make) -> Make:
    """The same on a file of the entry."""
    return lambda folder: make(folder / name)


def signed(change: Callable[[dict[str, Any]], Any], task: str = KNN) -> Make:
    """Changes a record, which is signed anew."""
    return on(f"{task}.json", edited(change))


def both(change: Callable[[dict[str, Any]], Any]) -> Make:
    """Changes both records."""

    def make(folder: Path) -> None:
        for task in (KNN, ZEROSHOT):
            signed(change, task)(folder)

    return make


def predictions(change: Callable[[dict[str, Any], dict[str, Array]], Any], task: str = KNN) -> Make:
    """Changes a record with its predictions, both signed anew."""

    def make(folder: Path) -> None:
        store = Store(folder.parent.parent)
        before = store.read(folder / f"{task}.json")
        value, arrays = json.loads(json.dumps(before.to_json())), store.predictions(before)
        change(value, arrays)
        value["predictions"] = {"kinds": value["predictions"]["kinds"]}
        store.write(Record.from_json(value, "attack"), arrays)

    return make


def declared(**changes: Any) -> Make:
    """Changes entry.toml."""

    def make(folder: Path) -> None:
        path = folder / "entry.toml"
        write_entry(path, replace(read_entry(path), **changes))

    return make


def listed(**changes: Any) -> Make:
    """Changes what entry.toml says of the network."""

    def make(folder: Path) -> None:
        weights = read_entry(folder / "entry.toml").weights
        declared(weights=(replace(weights[0], **changes),))(folder)

    return make


def line(**changes: Any) -> Make:
    """A further line of the ledger: the first one, changed."""

    def make(folder: Path) -> None:
        path = folder / LEDGER
        first = json.loads(path.read_text().splitlines()[0])
        with path.open("a") as file:
            file.write(json.dumps({**first, **changes}) + "\n")

    return make


def ledger(content: bytes) -> Make:
    """Other content of the ledger."""
    return on(LEDGER, lambda path: path.write_bytes(content))


def toml(text: str) -> Make:
    """Puts a line before all others of entry.toml."""

    def make(folder: Path) -> None:
        path = folder / "entry.toml"
        path.write_text(f"{text}\n{path.read_text()}")

    return make


def text(name: str, content: str | bytes = "") -> Make:
    """A further file."""
    return lambda folder: (folder / name).write_bytes(
        content if isinstance(content, bytes) else content.encode()
    )


def renamed(name: str) -> Make:
    """The owner's folder gets another name, and the records another owner."""

    def make(folder: Path) -> None:
        both(lambda value: value.update(owner=name))(folder)
        folder.parent.rename(folder.parent.with_name(name))

    return make


def many_files(count: int) -> Make:
    def make(folder: Path) -> None:
        for number in range(count):
            os.close(os.open(folder / f"{number}.json", os.O_CREAT, 0o644))

    return make


def many_encoders(folder: Path) -> None:
    for number in range(5000):
        (folder.parent / f"e{number}").mkdir()


def moved_and_linked(up: int) -> Make:
    """The folder of the encoder (0) or the owner (1) is moved, and a link is put in its place."""

    def make(folder: Path) -> None:
        place = (folder, folder.parent)[up]
        away = folder.parent.parent.parent / "away"
        place.rename(away)
        place.symlink_to(away)

    return make


def hard_link(name: str) -> Make:
    return lambda folder: os.link(folder / name, folder.parent.parent.parent / "second name")


def filled_network(folder: Path) -> None:
    """A network of 6 MB, of which entry.toml tells the truth."""
    content = bytes(6 * 2**20)
    (folder / NETWORK).write_bytes(content)
    listed(bytes=len(content), sha256=hashlib.sha256(content).hexdigest())(folder)


def huge(folder: Path) -> None:
    """25 MB of predictions of which nobody has a record."""
    for number in range(5):
        (folder / f"{number}.npz").write_bytes(bytes(5 * 2**20))


def pretrained(value: dict[str, Any]) -> None:
    value["encoder"]["pretrained_on"] = ["digits"]
    value["supervision"] = "labels elsewhere"


def trained_on_test_classes(folder: Path) -> None:
    both(pretrained)(folder)
    declared(trained_with_labels=("digits",))(folder)


def labels_called_unused(folder: Path) -> None:
    def change(value: dict[str, Any]) -> None:
        value["encoder"] |= {"pretrained_on": ["digits"], "unlabelled": ["digits"]}

    both(change)(folder)
    declared(trained_with_labels=("digits",))(folder)


def three_seeds(value: dict[str, Any], arrays: dict[str, Array]) -> None:
    """One run, three times."""
    value["encoder"]["seeded"], value["measured"]["seeds"] = True, 3
    first = value["replicates"][0]
    value["replicates"] = [
        {**first, "coords": {**first["coords"], "encoder_seed": n, "head_seed": n}}
        for n in range(3)
    ]
    value["training"] = value["training"][:1] * 3
    for name in [name for name in arrays if name.startswith("0/")]:
        for number in (1, 2):
            arrays[f"{number}/{name[2:]}"] = arrays[name]


def folder_of_a_task(folder: Path) -> None:
    """A task that names a folder of this machine."""
    definition = {
        "schema": "reptransfer.task/1",
        "classes": {},
        "files": None,
        "data": {
            "id": "image_folder,path=%2Fetc",
            "version": 1,
            "digest": None,
            "rows": {},
            "test_in_train": None,
        },
        "task": {"name": "x", "dataset": "image_folder,path=%2Fetc"},
    }
    tasks = folder.parent.parent / "tasks"
    tasks.mkdir()
    (tasks / "x.json").write_text(json.dumps(definition))


def bomb(value: dict[str, Any], arrays: dict[str, Array]) -> None:
    """Predictions of a million rows that are all one."""
    value["data"]["rows"]["test"] = 10**6
    for name, array in arrays.items():
        if array.ndim == 1:
            arrays[name] = np.zeros(10**6, array.dtype)


# --- The attacks

LINKED, PIPE = "is a link, where", "is a pipe, where"
OF_ENTRY = f"{OWNER}/{ENCODER}"
TOML = f"{OF_ENTRY}/entry.toml"
LOOKS = f"{OF_ENTRY}/{LEDGER}"

FOLDERS: dict[str, Attack] = {
    "an owner's folder that is a link": Attack(moved_and_linked(1), "", "", "is a link", status=2),
    "that folder, named": Attack(moved_and_linked(1), OWNER, "", LINKED, at=OWNER),
    "an encoder's folder that is a link": Attack(
        moved_and_linked(0), "", "", "is a link", status=2
    ),
    "a link to folders of locks": Attack(
        lambda folder: (folder.parent.parent / ".locks").symlink_to("/tmp"),
        ".locks",
        "",
        "is a link",
    ),
    "a link beside records": Attack(
        lambda folder: (folder / "digits-linear.npz").symlink_to("/dev/zero"),
        f"{OF_ENTRY}/digits-linear.npz",
        "",
        LINKED,
    ),
    "a folder in the entry": Attack(
        lambda folder: (folder / "more").mkdir(), "*/more", "", "is a folder, where"
    ),
    "a file among encoders": Attack(
        lambda folder: (folder.parent / "run.json").write_text("{}"),
        f"{OWNER}/run.json",
        "",
        "is a file, where",
    ),
    "a file among owners": Attack(
        lambda folder: (folder.parent.parent / "setup.py").write_text(""),
        "setup.py",
        "",
        "is a file, where",
    ),
    "a second name of a record": Attack(
        hard_link(f"{KNN}.json"), f"*/{KNN}.json", "", "is a hard link"
    ),
    "a second name of predictions": Attack(
        hard_link(f"{KNN}.npz"), f"*/{KNN}.npz", "", "is a hard link"
    ),
    "predictions that can be run": Attack(
        on(f"{KNN}.npz", lambda path: path.chmod(0o755)), f"*/{KNN}.npz", "", "is executable"
    ),
    "a program": Attack(text("setup.py", "import os"), "*/setup.py", "", "is not expected"),
    "weights of another form": Attack(text("net.pth"), "*/net.pth", "", "is not expected"),
    "a picture": Attack(text("pictures.png"), "*/pictures.png", "", "is not expected"),
    "a hidden file": Attack(text(".gitattributes"), "*/.gitattributes", "", "its name is none"),
    "predictions alone": Attack(
        text("mnist-knn.npz"), "*/mnist-knn.npz", "", "predictions without their record"
    ),
    "control characters in a name": Attack(
        text("\x1b[2J.json"), r"*/\x1b[[]2J.json", "", "its name is none"
    ),
    "a name from right to left": Attack(
        text("a\u202enosj.npz"), r"*/a\u202enosj.npz", "", "its name is none"
    ),
    "letters of another alphabet": Attack(
        text("d\u0456gits-knn.json"), r"*/d\u0456gits-knn.json", "", "its name is none"
    ),
    "bytes that are no text": Attack(
        text("a\udcff.json"), r"*/a\udcff.json", "", "its name is none"
    ),
    "a device of Windows": Attack(text("con.json"), "*/con.json", "", "its name is none"),
    "a dot at the end": Attack(text("mnist-knn."), "*/mnist-knn.", "", "its name is none"),
    "a record that differs by case": Attack(
        lambda folder: shutil.copy(folder / f"{KNN}.json", folder / "Digits-knn.json"),
        "*/Digits-knn.json",
        "",
        "differs from 'digits-knn.json' by case",
    ),
    "an encoder that differs by case": Attack(
        lambda folder: shutil.copytree(folder, folder.with_name("ONNX,path=onnx_example.onnx")),
        f"{OWNER}/ONNX,path=onnx_example.onnx",
        "",
        "differs from 'onnx,path=onnx_example.onnx' by case",
    ),
    "an owner in capital letters": Attack(renamed("Example"), "Example", "", "is no GitHub login"),
    "an owner in another alphabet": Attack(
        lambda folder: folder.parent.rename(folder.parent.with_name("ex\u0430mple")),
        r"ex\u0430mple",
        "",
        "is no GitHub login",
    ),
    "an owner who looks like another": Attack(
        lambda folder: shutil.copytree(folder.parent, folder.parent.with_name("examp1e")),
        "examp1e",
        "",
        "looks like 'example'",
    ),
    "an owner who looks like this package": Attack(
        renamed("rep-transfer"), "rep-transfer", "", "looks like"
    ),
    "a name that is reserved": Attack(renamed("nul"), "nul", "", "is a reserved name"),
    "the owner of this package": Attack(renamed("reptransfer"), f"reptransfer/{ENCODER}/*", "", ""),
    "a folder of no encoder": Attack(
        lambda folder: folder.rename(folder.with_name("a b")),
        f"{OWNER}/a b",
        "",
        "its name is no encoder's",
    ),
    "another encoder's folder": Attack(
        lambda folder: folder.rename(folder.with_name("pixels")),
        f"{OWNER}/pixels/{KNN}.json",
        "",
        "another cell",
    ),
    "5,000 files": Attack(many_files(5000), OF_ENTRY, "", "has more than 4096 names"),
    "5,000 files, without the others": Attack(
        many_files(5000), OF_ENTRY, "", "has more than 4096 names", at=OF_ENTRY
    ),
    "5,000 encoders": Attack(many_encoders, OWNER, "", "has more than 4096 names"),
    "more bytes than an entry has": Attack(
        huge, OF_ENTRY, "", "bytes, where an entry has at most 20971520"
    ),
    "records of unknown tasks": Attack(
        text("digits-easy.json", "{}"), "*/digits-easy.json", "", "is not of this package"
    ),
    "a task in a folder of this machine": Attack(folder_of_a_task, "tasks/x.json", "", ""),
    "a ledger of all that is a link": Attack(
        lambda folder: (folder.parents[1] / LEDGER).symlink_to("/dev/zero"), LEDGER, "", "is a link"
    ),
    "a ledger of all that is a folder": Attack(
        lambda folder: (folder.parents[1] / LEDGER).mkdir(), LEDGER, "", "it is a folder"
    ),
    "a ledger of all that is a text": Attack(
        lambda folder: (folder.parents[1] / LEDGER).write_text("one look\n"),
        LEDGER,
        "line 1",
        "is no JSON",
    ),
    "no record": Attack(
        lambda folder: [path.unlink() for path in folder.glob("digits*")],
        OF_ENTRY,
        "",
        "has no record",
    ),
    "nothing": Attack(lambda folder: shutil.rmtree(folder), "", "", "has no records", status=2),
}

ENTRIES: dict[str, Attack] = {
    "no entry.toml": Attack(on("entry.toml", Path.unlink), TOML, "", "is missing"),
    "an entry.toml that is a link": Attack(
        on("entry.toml", instead(lambda path: path.symlink_to("/etc/passwd"))), TOML, "", LINKED
    ),
    "an entry.toml that is a pipe": Attack(on("entry.toml", instead(os.mkfifo)), TOML, "", PIPE),
    "an entry.toml that is a socket": Attack(
        on("entry.toml", instead(bind)), TOML, "", "is a socket, where"
    ),
    "an entry.toml of another schema": Attack(
        on("entry.toml", lambda path: path.write_text("")), TOML, "", "unknown schema"
    ),
    "integers of 5,000 digits": Attack(toml("a = " + "9" * 5000), TOML, "", "too many digits"),
    "3,000 brackets": Attack(toml("a = " + "[" * 3000), TOML, "", "nested too deeply"),
    "60,000 brackets": Attack(toml("a = " + "[" * 60_000), TOML, "", "keys or brackets"),
    "a key of 30,000 dots": Attack(
        toml("a." * 30_000 + "a = 1"), TOML, "", "a key of very many parts"
    ),
    "a key twice": Attack(toml('title = "read me"'), TOML, "", "cannot be read as TOML"),
    "megabytes of entry.toml": Attack(toml("#" * 10**6), TOML, "", "at most 65536 are read"),
    "control characters in a title": Attack(
        declared(title="\x1b[31m"), TOML, "title", "are not printed"
    ),
    "marks of direction in a licence": Attack(
        declared(licence="a\u202eb"), TOML, "licence", "are not printed"
    ),
    "a script as address": Attack(
        declared(paper="javascript:alert(1)"), TOML, "paper", "is no https address"
    ),
    "3,000 authors": Attack(
        declared(authors=("A.",) * 3000), TOML, "authors", "at most 100 are read"
    ),
    "another network": Attack(
        on(NETWORK, lambda path: path.write_bytes(bytes(1000))), TOML, "weights[0].sha256", "has"
    ),
    "another size": Attack(listed(bytes=5), TOML, "weights[0].bytes", "5, where"),
    "no network": Attack(
        on(NETWORK, Path.unlink), TOML, "weights[0].name", "does not lie in the entry"
    ),
    "a network of 6 MB": Attack(filled_network, f"*/{NETWORK}", "", "at most 5242880 are read"),
    "a network of a path": Attack(
        listed(name="../../x.onnx"), TOML, "weights[0].name", "is no plain name"
    ),
    "a network that nobody lists": Attack(
        text("b.onnx", b"x"), "*/b.onnx", "", r"is not listed in \[\[weights\]\]"
    ),
    "a network that is elsewhere": Attack(
        listed(url="https://example.org/x.onnx"), f"*/{NETWORK}", "", "as lying in the entry"
    ),
    "a network that is a link": Attack(
        on(NETWORK, instead(lambda path: path.symlink_to("/dev/zero"))), f"*/{NETWORK}", "", LINKED
    ),
    "records of another network": Attack(
        both(lambda value: value["encoder"].update(digest="0" * 32)),
        f"*/{KNN}.json",
        "encoder.digest",
        "is not that of",
    ),
    "training that is not declared": Attack(
        both(pretrained),
        f"*/{KNN}.json",
        "encoder.pretrained_on",
        "neither in trained_with_labels nor in",
    ),
    "training that is in no record": Attack(
        declared(trained_without_labels=("mnist",)),
        f"*/{KNN}.json",
        "encoder.pretrained_on",
        "lacks 'mnist'",
    ),
    "labels that are not declared": Attack(
        both(lambda value: value.update(supervision="labels")),
        f"*/{KNN}.json",
        "supervision",
        "no trained_with_labels",
    ),
    "weights without training": Attack(
        both(lambda value: value.update(supervision="labels elsewhere")),
        f"*/{KNN}.json",
        "supervision",
        "'labels elsewhere'",
    ),
    "labels of the task that are called others": Attack(
        trained_on_test_classes,
        f"*/{KNN}.json",
        "supervision",
        "with labels of the task's images",
    ),
    "labels that are called unused": Attack(
        labels_called_unused,
        f"*/{KNN}.json",
        "encoder.unlabelled",
        "trained_with_labels",
    ),
    "labels that nobody has left out": Attack(
        both(lambda value: value["encoder"].update(unlabelled=["digits"])),
        f"*/{KNN}.json",
        "",
        "which pretrained_on lacks",
    ),
    "unseen classes that were met": Attack(
        trained_on_test_classes,
        f"*/{ZEROSHOT}.json",
        "encoder.pretrained_on",
        "classes that the task keeps unseen",
    ),
    "records of two encoders": Attack(
        signed(lambda value: value["encoder"].update(dim=value["encoder"]["dim"] + 1), ZEROSHOT),
        f"*/{ZEROSHOT}.json",
        "encoder.dim",
        "where digits-knn.json has",
    ),
    "a control's group": Attack(
        both(lambda value: value["encoder"].update(group="controls")),
        f"*/{KNN}.json",
        "encoder.group",
        "'controls'",
    ),
    "one run as three seeds": Attack(
        predictions(three_seeds), f"*/{KNN}.json", "replicates[1]", "those of replicate 0"
    ),
    "a ledger that is a link": Attack(
        on(LEDGER, instead(lambda path: path.symlink_to("/dev/zero"))), LOOKS, "", LINKED
    ),
    "a ledger that is a pipe": Attack(on(LEDGER, instead(os.mkfifo)), LOOKS, "", PIPE),
    "a ledger of another name": Attack(text("looks.jsonl"), "*/looks.jsonl", "", "is not expected"),
    "a ledger that differs by case": Attack(
        text("Ledger.jsonl"), "*/Ledger.jsonl", "", "is not expected"
    ),
    "a ledger of an owner": Attack(
        lambda folder: shutil.copy(folder / LEDGER, folder.parent / LEDGER),
        f"{OWNER}/{LEDGER}",
        "",
        "is a file, where",
    ),
    "megabytes of looks": Attack(ledger(b"#" * 5 * 2**20), LOOKS, "", "at most 4194304 are read"),
    "millions of looks": Attack(ledger(b"\n" * 4 * 10**6), LOOKS, "", "more than 1000000 lines"),
    "50,000 empty looks": Attack(ledger(b"\n" * 50_000), LOOKS, "", "49980 further lines"),
    "a look cut short": Attack(ledger(b'{"data":"di'), LOOKS, "line 1", "no JSON, and has no end"),
    "a look of binary zeros": Attack(ledger(bytes(1000)), LOOKS, "line 1", "is no JSON"),
    "a look in another encoding": Attack(
        ledger("\ufeff{}\n".encode("utf-16")), LOOKS, "line 1", "is not ASCII"
    ),
    "looks in 60,000 brackets": Attack(ledger(b"[" * 60_000), LOOKS, "line 1", "is no JSON"),
    "a look without values": Attack(ledger(b"{}\n"), LOOKS, "line 1", "is no object of data"),
    "a look with a further value": Attack(line(more="x"), LOOKS, "line 3", "is no object of data"),
    "a look that a terminal obeys": Attack(line(task="\x1b[2J"), LOOKS, "line 3", "are printed"),
    "a look from right to left": Attack(line(data="a\u202eb"), LOOKS, "line 3", "are printed"),
    "a look of very many replicates": Attack(
        line(replicates=10**9), LOOKS, "line 3", "replicates: not a whole number of 1 to"
    ),
    "a look on no day": Attack(
        line(time="2026-02-30T12:00:00.000000Z"), LOOKS, "line 3", "is no time"
    ),
    "a look of another encoder": Attack(
        line(encoder="pixels"), LOOKS, "line 3", "encoder: 'pixels', where"
    ),
    "a look of another owner": Attack(
        line(owner="somebody"), LOOKS, "line 3", "owner: 'somebody', where"
    ),
    "a look of a control": Attack(line(group="controls"), LOOKS, "line 3", "group: 'controls'"),
    "a look at a task of nobody": Attack(
        line(task="digits-easy"), LOOKS, "line 3", "task: 'digits-easy' is not of this package"
    ),
    "a look at other images": Attack(
        line(data="imagenet"), LOOKS, "line 3", "data: 'imagenet', where"
    ),
    "an array that is not read": Attack(
        predictions(lambda value, arrays: arrays.update({"0/label/more": np.zeros(3)})),
        f"*/{KNN}.json",
        "predictions",
        "is not read",
    ),
    "predictions of a million rows": Attack(
        predictions(bomb), f"*/{KNN}.json", "data", "where this package has"
    ),
}

_BY_KIND = {
    "a link to a device that never ends": LINKED,
    "a link to a file": LINKED,
    "a link to nothing": LINKED,
    "a pipe": PIPE,
    "a socket": "is a socket, where",
    "a folder": "is a folder, where",
    "20,000 long replicates": "bytes, where an entry has at most",
    "too many bytes": "bytes, where an entry has at most",
}


def _files(
    kinds: dict[str, tuple[Make, str]], ending: str, what: str
) -> Iterator[tuple[str, Attack]]:
    """What may be put in place of a record or of its predictions."""
    for kind, (make, words) in kinds.items():
        file = (
            OF_ENTRY
            if kind in ("too many bytes", "20,000 long replicates")
            else f"{OF_ENTRY}/{KNN}.[jn]*"
        )
        yield (
            f"{what}: {kind}",
            Attack(on(f"{KNN}{ending}", make), file, "", _BY_KIND.get(kind, words)),
        )


ATTACKS: dict[str, Attack] = {
    **FOLDERS,
    **ENTRIES,
    **dict(_files(RECORDS, ".json", "as a record")),
    **dict(
        _files(
            {kind: (instead(make), words) for kind, (make, words) in PREDICTIONS.items()},
            ".npz",
            "as predictions",
        )
    ),
}


def unread(folder: Path) -> None:
    """15 arrays of 16 MB that nobody reads, in 200 bytes each."""
    content = header(str(2**24)) + bytes(2**24)
    path = folder / f"{KNN}.npz"
    with zipfile.ZipFile(path, "a", zipfile.ZIP_BZIP2) as file:
        for number in range(15):
            file.writestr(f"0/label/more{number}.npy", content)


# Too large for tests: they are made and measured by tests/speed/attacks.py.
LARGE: dict[str, Attack] = {
    "a million files": Attack(many_files(10**6), OF_ENTRY, "", "names"),
    "a million files, of an owner": Attack(many_files(10**6), OF_ENTRY, "", "names", at=OWNER),
    "250 MB that nobody reads": Attack(unread, f"*/{KNN}.json", "", "cannot be read"),
}


def made(good: Path, attack: Attack, root: Path) -> Path:
    """A copy of the good entry under attack, in `root`; the folder to verify."""
    results = root / "results"
    shutil.copytree(good, results)
    with suppress(FileNotFoundError):
        attack.make(results / OWNER / ENCODER)
    return results / attack.at
