"""Files that no run writes, as records and predictions: how each is made, and what is said of it."""

from __future__ import annotations

import io
import json
import os
import socket
import warnings
import zipfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from bench.errors import BenchError
from bench.results.record import Record


def edited(
    change: Callable[[dict[str, Any]], Any], *, signed: bool = True
) -> Callable[[Path], None]:
    """Changes a record's JSON, and gives it the digest that it then has, if it is one; not where
    it is not `signed`, as the digest of a very large one takes seconds."""

    def spoil(path: Path) -> None:
        value = json.loads(path.read_text())
        value.pop("digest", None)
        change(value)
        if signed:
            with suppress(BenchError):
                value["digest"] = Record.from_json(dict(value), "").digest
        path.write_text(json.dumps(value))

    return spoil


def replaced(old: str, new: str) -> Callable[[Path], None]:
    """Changes a record's text."""

    def spoil(path: Path) -> None:
        text = path.read_text()
        assert old in text
        path.write_text(text.replace(old, new, 1))

    return spoil


def instead(make: Callable[[Path], object]) -> Callable[[Path], None]:
    def spoil(path: Path) -> None:
        path.unlink()
        make(path)

    return spoil


def bind(path: Path) -> None:
    """A socket; its address may have a hundred characters, so it is bound from its folder."""
    before = Path.cwd()
    os.chdir(path.parent)
    try:
        with socket.socket(socket.AF_UNIX) as made:
            made.bind(path.name)
    finally:
        os.chdir(before)


def too_many_bytes(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(2**29)


SPECIAL: dict[str, tuple[Callable[[Path], object], str]] = {
    "a link to a device that never ends": (lambda p: p.symlink_to("/dev/zero"), "it is a link"),
    "a link to a file": (lambda p: p.symlink_to("/etc/passwd"), "it is a link"),
    "a link to nothing": (lambda p: p.symlink_to("nowhere"), "it is a link"),
    "a pipe": (os.mkfifo, "it is not a regular file"),
    "a socket": (bind, "it is not a regular file"),
    "a folder": (Path.mkdir, "it is a folder"),
    "nothing but a name": (Path.touch, "cannot be read|is no JSON"),
    "too many bytes": (too_many_bytes, "it has 536870912 bytes"),
}

RECORDS: dict[str, tuple[Callable[[Path], object], str]] = {
    **{kind: (instead(make), words) for kind, (make, words) in SPECIAL.items()},
    "brackets in brackets": (instead(lambda p: p.write_text("[" * 10**5)), "nested too deeply"),
    "objects in objects": (
        edited(lambda v: v["measured"].update(x=nested(200))),
        "nested more than",
    ),
    "a key that is there twice": (
        replaced('"owner":', '"reason": "\\u001b[31mread me", "reason": null, "owner":'),
        "the key 'reason' is there twice",
    ),
    "NaN": (replaced('"total": ', '"more": NaN, "total": '), "it holds NaN"),
    "infinity": (replaced('"total": ', '"more": -Infinity, "total": '), "it holds -Infinity"),
    "a number beyond floats": (replaced('"total": ', '"more": 1e999, "total": '), "is not finite"),
    "a number of 5,000 digits": (
        replaced('"total": ', f'"more": {"9" * 5000}, "total": '),
        "too many digits",
    ),
    "a whole number beyond 64 bits": (
        edited(lambda v: v["measured"].update(more=10**400)),
        "too large",
    ),
    "seconds of a universe": (
        edited(lambda v: v["measured"]["seconds"].update(total=1e99)),
        "its seconds are not 0 to",
    ),
    "seconds that overflow": (
        edited(lambda v: v["measured"]["seconds"].update(total=1e308)),
        "not finite, or too large",
    ),
    "seconds before zero": (
        edited(lambda v: v["measured"]["seconds"].update(fit=-1.0)),
        "its seconds are not 0 to",
    ),
    "a dimension in words": (edited(lambda v: v["encoder"].update(dim="64")), "dim is not a whole"),
    "a source that is a number": (
        edited(lambda v: v["encoder"].update(pretrained_on=5)),
        "pretrained_on is not a list",
    ),
    "3,000 sources": (
        edited(lambda v: v["encoder"].update(pretrained_on=[f"d{n}" for n in range(3000)])),
        "pretrained_on has 3000 names",
    ),
    "a reason of megabytes": (
        edited(lambda v: v.update(status="failed", reason="x" * 3 * 10**6)),
        "reason has 3000000 characters",
    ),
    "a name of megabytes": (
        edited(lambda v: v["measured"].update({"x" * 10**6: 1})),
        "a key of 1000000 characters",
    ),
    "20,000 long replicates": (
        edited(lambda v: v.update(replicates=v["replicates"][:1] * 20_000), signed=False),
        "at most 16777216 are read",
    ),
    "20,000 replicates": (
        edited(lambda v: v.update(replicates=[short(v["replicates"][0])] * 20_000), signed=False),
        "it has 20000 replicates",
    ),
    "a million values": (
        edited(lambda v: v["measured"].update(x=[[]] * 10**6)),
        "at most 1000000 values are",
    ),
    "very many classes": (
        edited(lambda v: v["predictions"].update(kinds={"label": ["classes", 2**62]})),
        "has no size of 1 to",
    ),
    "no test rows": (edited(lambda v: v["data"]["rows"].update(test=0)), "needs test rows"),
    "no JSON": (instead(lambda p: p.write_bytes(b"\xff\xfe{}")), "is no JSON"),
    "another's name": (edited(lambda v: v.update(owner="reptransfer")), "another cell"),
}


def short(replicate: dict[str, Any]) -> dict[str, Any]:
    return {**replicate, "report": {}, "scores": {"label": {"accuracy": 1.0}}}


def nested(depth: int) -> Any:
    value: Any = 1
    for _ in range(depth):
        value = {"x": value}
    return value


def array(values: Any, **options: Any) -> bytes:
    file = io.BytesIO()
    np.lib.format.write_array(file, np.asarray(values), **options)
    return file.getvalue()


def zipped(
    *members: tuple[str, bytes],
    kind: int = zipfile.ZIP_BZIP2,
    lie: Callable[[zipfile.ZipInfo], object] = lambda info: None,
) -> Callable[[Path], object]:
    """Writes a zip file; `lie` changes what its directory says of each member."""

    def make(path: Path) -> None:
        with warnings.catch_warnings(), zipfile.ZipFile(path, "w", kind) as file:
            warnings.filterwarnings("ignore", "Duplicate name", UserWarning)
            for name, content in members:
                file.writestr(name, content)
            for info in file.infolist():
                lie(info)

    return make


def lie_about_the_end(path: Path, count: int) -> None:
    zipped(("0/label/class.npy", array([1])), ("truth/label.npy", array([1])))(path)
    content = bytearray(path.read_bytes())
    content[-12:-10] = count.to_bytes(2, "little")
    path.write_bytes(content)


HEADER = "{'descr': '|i1', 'fortran_order': False, 'shape': (%s,), }"


def header(shape: str) -> bytes:
    """An array's header without its values."""
    text = HEADER % shape
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text.encode()


def said(size: int) -> Callable[[zipfile.ZipInfo], object]:
    return lambda info: setattr(info, "file_size", size)


ONE = array(np.zeros(6, np.int8))
CUT = "cannot be read: .*; run the cell again"
PREDICTIONS: dict[str, tuple[Callable[[Path], object], str]] = {
    **{kind: (make, "cannot be read: ") for kind, (make, _) in SPECIAL.items()},
    "a member of megabytes": (
        zipped(("0/label/class.npy", header(str(2**24)) + bytes(2**24))),
        r"has type int8 and shape \(16777216,\)",
    ),
    "a member of megabytes that says it is small": (
        zipped(("0/label/class.npy", ONE + bytes(2**24)), lie=said(len(ONE))),
        "is not what the directory says|has another size|has type",
    ),
    "megabytes that nobody reads": (
        zipped(("0/label/more.npy", header(str(3 * 2**23)) + bytes(3 * 2**23))),
        "which is not read",
    ),
    "a member that says it is large": (
        zipped(("0/label/class.npy", ONE), lie=said(2**31)),
        "bytes, and 33554432 are the most allowed",
    ),
    "a member that says it is a little larger": (
        zipped(("0/label/class.npy", ONE), lie=said(len(ONE) + 1)),
        "has another size than its header says|has type",
    ),
    "5,000 members": (
        zipped(*((f"0/label/x{n}.npy", b"") for n in range(5000)), kind=zipfile.ZIP_STORED),
        "5000 members; at most 4096",
    ),
    "fewer members than its directory has": (lambda p: lie_about_the_end(p, 1), CUT),
    "more members than its directory has": (lambda p: lie_about_the_end(p, 3), CUT),
    "a name that stands for a million arrays": (
        zipped(("0-999999/label/class.npy", header("0, 1000000"))),
        "of replicates that the record has not",
    ),
    "members of one name": (
        zipped(("truth/label.npy", ONE), ("truth/label.npy", ONE)),
        "its directory is not what it says",
    ),
    "a name with places": (zipped(("../../x.npy", ONE)), "not of a target of the record"),
    "an absolute name": (zipped(("/etc/x.npy", ONE)), "not of a target of the record"),
    "objects": (
        zipped(("0/label/more.npy", array([{}], allow_pickle=True))),
        "has type object",
    ),
    "texts": (zipped(("0/label/more.npy", array(["text"]))), "has type <U4"),
    "a header that is no header": (
        zipped(("0/label/class.npy", header("(" * 500))),
        CUT,
    ),
    "a negative shape": (zipped(("0/label/more.npy", header("-5"))), CUT),
    "no array": (zipped(("0/label/class.npy", b"text")), CUT),
    "no array's name": (zipped(("readme.txt", b"text")), CUT),
    "deflated members": (
        zipped(("0/label/class.npy", ONE), kind=zipfile.ZIP_DEFLATED),
        "is not packed by bzip2",
    ),
    "a text": (lambda p: p.write_text("text"), CUT),
}
