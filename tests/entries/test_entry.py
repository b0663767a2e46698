"""entry.toml: read as it was written, and what is wrong in it is named by its key."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from bench.entries.entry import MOST_WEIGHTS, Entry, WeightsFile, problems, read_entry, write_entry
from bench.errors import BenchError

WEIGHTS = WeightsFile(name="net.onnx", bytes=1000, sha256="0" * 64)
GOOD = Entry(
    title="Rings of pixels",
    authors=("A. Author", "Zoë Ångström"),
    contact="a.author@example.org",
    licence="Apache-2.0",
    hardware="a laptop with 2 cores",
    trained_with_labels=(),
    trained_without_labels=("fashion_mnist",),
    code="https://example.org/rings",
    weights=(WEIGHTS,),
)


def test_an_entry_is_read_as_it_was_written(tmp_path: Path) -> None:
    odd = replace(
        GOOD, title='"quotes", \\ and\nlines', weights=(WEIGHTS, replace(WEIGHTS, name="b.onnx"))
    )
    for entry in (GOOD, odd, replace(GOOD, weights=())):
        write_entry(tmp_path / "entry.toml", entry)
        assert read_entry(tmp_path / "entry.toml") == entry


def test_nothing_is_wrong_with_a_good_one() -> None:
    assert list(problems(GOOD)) == []


@pytest.mark.parametrize(
    ("faulty", "field", "message"),
    [
        (replace(GOOD, title=" "), "title", "is empty"),
        (replace(GOOD, title="a" * 201), "title", "201 characters"),
        (replace(GOOD, title="a\u202eb"), "title", "not printed"),
        (replace(GOOD, licence="\x1b[2J"), "licence", "not printed"),
        (replace(GOOD, authors=()), "authors", "is empty"),
        (replace(GOOD, authors=("A.", "")), "authors[1]", "is empty"),
        (replace(GOOD, authors=("A.",) * 101), "authors", "101 values"),
        (replace(GOOD, contact="nobody"), "contact", "no e-mail address"),
        (replace(GOOD, paper="javascript:alert(1)"), "paper", "no https address"),
        (replace(GOOD, code="https://example.org/a b"), "code", "no https address"),
        (replace(GOOD, trained_with_labels=("\x00",)), "trained_with_labels[0]", "not printed"),
        (replace(GOOD, weights=(replace(WEIGHTS, name="../net.onnx"),)), "weights[0].name", "plain name"),
        (replace(GOOD, weights=(WEIGHTS, replace(WEIGHTS, name="NET.onnx"))), "weights[1].name", "twice"),
        (replace(GOOD, weights=(replace(WEIGHTS, sha256="0" * 63),)), "weights[0].sha256", "64"),
        (replace(GOOD, weights=(replace(WEIGHTS, bytes=-1),)), "weights[0].bytes", "below 1"),
        (replace(GOOD, weights=(replace(WEIGHTS, bytes=MOST_WEIGHTS + 1),)), "weights[0].url", "missing"),
        (replace(GOOD, weights=(replace(WEIGHTS, name="net.pth"),)), "weights[0].url", "missing"),
        (replace(GOOD, weights=(replace(WEIGHTS, url="http://x.org"),)), "weights[0].url", "no https"),
    ],
)  # fmt: skip
def test_a_fault_is_named_by_its_key(faulty: Entry, field: str, message: str) -> None:
    [(where, text)] = problems(faulty)
    assert where == field
    assert message in text


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "unknown schema None"),
        ('schema = "reptransfer.entry/2"', "unknown schema"),
        ('schema = "reptransfer.entry/1"\ntitle = 1', "missing or unknown fields"),
        ("title = " + "[" * 3000, "nested too deeply"),
        ("a = " + "9" * 5000, "too many digits"),
        ("#" * 70_000, "65536"),
    ],
)
def test_other_tables_are_refused(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "entry.toml").write_text(text)
    with pytest.raises(BenchError, match=message):
        read_entry(tmp_path / "entry.toml")


def test_a_link_is_refused(tmp_path: Path) -> None:
    write_entry(tmp_path / "real.toml", GOOD)
    (tmp_path / "entry.toml").symlink_to("real.toml")
    with pytest.raises(BenchError, match=r"entry\.toml"):
        read_entry(tmp_path / "entry.toml")
