"""Text files of a user's: byte order marks and UTF-16 are read, everything else is refused in one line."""

from __future__ import annotations

import codecs
import os
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from bench.cli.main import main
from bench.data.semantics import read_semantics
from bench.data.word_vectors import from_vectors
from bench.errors import BenchError
from bench.files.reading import read_text
from bench.naming import registry
from bench.tasks.files import read

ENCODINGS: dict[str, Callable[[str], bytes]] = {
    "UTF-8": lambda text: text.encode(),
    "UTF-8 with a mark": lambda text: codecs.BOM_UTF8 + text.encode(),
    "UTF-16, little": lambda text: codecs.BOM_UTF16_LE + text.encode("utf-16-le"),
    "UTF-16, big": lambda text: codecs.BOM_UTF16_BE + text.encode("utf-16-be"),
    "UTF-16 without a mark": lambda text: text.encode("utf-16-le"),
    "UTF-32": lambda text: codecs.BOM_UTF32_LE + text.encode("utf-32-le"),
    "Windows' line ends": lambda text: (
        codecs.BOM_UTF16_LE + text.replace("\n", "\r\n").encode("utf-16-le")
    ),
}
TABLE = 'attributes = ["a", "b"]\n[classes]\nant = [1, 0]\n"café" = [0, 1]\n'
TASK = (
    'title = "Thé"\nversion = 1\nfamily = "probe"\ndataset = "digits"\ntargets = ["label"]\n'
    'protocol = "knn"\nchance = 0.1\n[primary]\nmetric = "accuracy"\n'
)
VECTORS = "ant 1 2\ncafé 3 4\n"
ENCODER = '"""Café."""\ndef build(*, source, k: int = 3): ...\n'
every_encoding = pytest.mark.parametrize("encode", ENCODINGS.values(), ids=ENCODINGS)


@every_encoding
def test_tables_and_tasks_are_read_in_every_encoding(
    encode: Callable[[str], bytes], tmp_path: Path
) -> None:
    table, task = tmp_path / "t.toml", tmp_path / "mine.toml"
    table.write_bytes(encode(TABLE))
    task.write_bytes(encode(TASK))
    assert read_semantics(str(table)).classes == ("ant", "café")
    assert read(task)[0].title == "Thé"


@every_encoding
def test_word_vectors_and_lists_of_names_are_read_in_every_encoding(
    encode: Callable[[str], bytes], tmp_path: Path
) -> None:
    vectors, names, out = tmp_path / "v.txt", tmp_path / "names.txt", tmp_path / "out.toml"
    vectors.write_bytes(encode(VECTORS))
    names.write_bytes(encode("ant\ncafé\n"))
    assert main(["semantics", str(vectors), "--classes", str(names), "--out", str(out)]) == 0
    table = read_semantics(str(out))
    assert table.classes == ("ant", "café")
    np.testing.assert_array_equal(table.table, [[1, 2], [3, 4]])


def test_words_are_found_in_either_unicode_form(tmp_path: Path) -> None:
    path = tmp_path / "v.txt"
    path.write_text(VECTORS.replace("é", "e\u0301"), encoding="utf-8")
    assert from_vectors(path, ["ant", "café"]).table.tolist() == [[1, 2], [3, 4]]
    path.write_text(VECTORS, encoding="utf-8")
    assert from_vectors(path, ["ant", "cafe\u0301"]).classes == ("ant", "café")


def test_a_class_in_two_unicode_forms_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "t.toml"
    path.write_text(TABLE + '"cafe\u0301" = [1, 1]\n', encoding="utf-8")
    with pytest.raises(BenchError, match="is there twice, in two Unicode forms"):
        read_semantics(str(path))


@pytest.mark.parametrize("encoding", ["utf-8-sig", "latin-1"])
def test_an_encoder_s_file_may_have_what_python_reads(encoding: str, tmp_path: Path) -> None:
    path = tmp_path / "rows.py"
    first = "# -*- coding: latin-1 -*-\n" if encoding == "latin-1" else ""
    path.write_bytes((first + ENCODER).encode(encoding))
    entry = registry.find("encoders", str(path))
    assert entry.summary == "Café."
    assert callable(registry.load(entry).build)


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-32"])
def test_an_encoder_s_file_that_python_does_not_read_is_reported(
    encoding: str, tmp_path: Path
) -> None:
    path = tmp_path / "rows.py"
    path.write_bytes(ENCODER.encode(encoding))
    with pytest.raises(BenchError, match=r"it is UTF-\d\d, which Python does not read; save it as"):
        registry.find("encoders", str(path))


def test_bytes_that_are_no_text_are_reported_with_their_place(tmp_path: Path) -> None:
    path = tmp_path / "t.toml"
    path.write_bytes(TABLE.encode("latin-1"))
    with pytest.raises(
        BenchError, match="cannot be read as TOML: byte 51 is not UTF-8; save it as"
    ):
        read_semantics(str(path))


@pytest.mark.skipif(sys.platform == "win32", reason="no pipes here")
def test_what_is_no_regular_file_is_reported_and_never_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.toml")
    (tmp_path / "folder.toml").mkdir()
    for name, kind in (("pipe.toml", "not a regular file"), ("folder.toml", "a folder")):
        with pytest.raises(BenchError, match=f"cannot be read as TOML: it is {kind}; name a file"):
            read_semantics(str(tmp_path / name))
    with pytest.raises(BenchError, match="no file"):
        read_text(tmp_path / "gone.txt")


def test_a_text_that_is_absurdly_large_is_reported(tmp_path: Path) -> None:
    path = tmp_path / "t.toml"
    with path.open("wb") as file:
        file.truncate(2**28 + 1)  # a hole, which takes no space
    with pytest.raises(BenchError, match="it has 268435457 bytes; at most 8388608 are read"):
        read_semantics(str(path))
