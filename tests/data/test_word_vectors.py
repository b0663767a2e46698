"""Word vectors as signatures: file formats, how words are looked up, and files that are refused."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from bench.cli.main import main
from bench.data import semantics
from bench.data.word_vectors import from_vectors
from bench.errors import BenchError

GLOVE = """the 9 9 9
shirt 1 0 0
t 0 1 0
top 0 0 4
Top 0 0 8
boot 0 2 2
ankle 2 0 0
"""
CLASSES = ("T-shirt/top", "Ankle boot", "shirt")
ROWS = [[1 / 3, 1 / 3, 4 / 3], [1, 1, 1], [1, 0, 0]]


def written(folder: Path, text: str) -> Path:
    path = folder / "words.txt"
    path.write_bytes(text.encode())
    return path


FILES = {
    "GloVe": GLOVE,
    "word2vec, with spaces at the ends": "7 3\n" + GLOVE.replace("\n", " \n"),
    "Windows": "\ufeff" + GLOVE.replace("\n", "\r\n"),
    "no newline at the end": GLOVE.rstrip(),
    "odd lines of other words": GLOVE.replace("t 0", ". . . 1 2\nodd\x85\u2028 x\nt 0", 1),
    "a word again": GLOVE + "shirt 7 7 7\n",
}


@pytest.mark.parametrize("text", FILES.values(), ids=FILES)
def test_a_class_is_the_mean_of_its_words(tmp_path: Path, text: str) -> None:
    table = from_vectors(written(tmp_path, text), CLASSES)
    np.testing.assert_allclose(table.table, ROWS, rtol=1e-6)
    assert table.table.dtype == np.float32 and table.classes == CLASSES
    assert table.attributes == ("v0", "v1", "v2") and table.name == "words" and table.splits == {}


def test_a_word_is_taken_as_it_is_written_before_its_lower_case(tmp_path: Path) -> None:
    path = written(tmp_path, GLOVE)
    assert from_vectors(path, ["Top", "top"]).table[:, 2].tolist() == [8, 4]
    assert from_vectors(path, ["TOP", "Shirt"]).table.tolist() == [[0, 0, 4], [1, 0, 0]]
    later = written(tmp_path, "a 1\ntop 2\nTop 3\nb 4\n")
    assert from_vectors(later, ["Top", "a"]).table.tolist() == [[3], [1]]


def test_names_are_split_at_spaces_and_joints(tmp_path: Path) -> None:
    path = written(tmp_path, "blue 1 0\nwhale 0 1\nsky 3 3\n")
    names = ["blue+whale", "blue_whale", "blue-whale", "Blue  Whale/", "sky"]
    np.testing.assert_allclose(from_vectors(path, names).table, [[0.5, 0.5]] * 4 + [[3, 3]])


def test_a_file_is_read_no_further_than_needed(tmp_path: Path) -> None:
    path = written(tmp_path, GLOVE)
    with path.open("ab") as file:
        file.write(b"\xff\xfe \n" + b"shirt x\n")  # would be refused
    assert len(from_vectors(path, ["shirt", "boot"]).table) == 2


WRONG = {
    "empty": ("", "is empty"),
    "a header alone": ("2 3\n", "no vector for 'T', 'shirt', 'top' of class 'T-shirt/top'"),
    "absent words": (
        GLOVE.replace("boot", "root"),
        "no vector for 'boot' of class 'Ankle boot': add",
    ),
    "too few numbers": (GLOVE.replace("boot 0", "boot"), "line 6: 'boot 2 2' .* 3 finite numbers"),
    "too many": (GLOVE.replace("boot 0", "boot 0 0"), "line 6: .* 3 finite numbers"),
    "no number": (GLOVE.replace("boot 0", "boot x"), "line 6: 'boot x 2 2'"),
    "not finite": (GLOVE.replace("boot 0", "boot nan"), "line 6: 'boot nan 2 2'"),
    "infinite": (GLOVE.replace("boot 0", "boot -inf"), "line 6"),
    "more than float32 holds": (GLOVE.replace("boot 0", "boot 1e39"), "line 6"),
    "another header": ("7 4\n" + GLOVE, "line 2: 'the 9 9 9' .* 4 finite numbers"),
    "prose": (
        "Once upon a time\n",
        "line 1: 'Once upon a time' is not valid; expected a word and finite",
    ),
    "a binary file": ("3 2\nthe \0\1\2", "line 2"),
    "words alone": ("shirt\nboot\n", "line 1: 'shirt'"),
}


@pytest.mark.parametrize(("text", "why"), WRONG.values(), ids=WRONG)
def test_a_file_that_is_wrong_is_reported_in_one_line_with_its_place(
    tmp_path: Path, text: str, why: str
) -> None:
    with pytest.raises(BenchError, match=why) as error:
        from_vectors(written(tmp_path, text), CLASSES)
    assert "words.txt" in str(error.value) and len(str(error.value).splitlines()) == 1


def test_classes_that_cannot_be_are_refused(tmp_path: Path) -> None:
    path = written(tmp_path, GLOVE)
    for classes in (["shirt"], ["shirt", "shirt"], []):
        with pytest.raises(BenchError, match="two or more different names"):
            from_vectors(path, classes)
    with pytest.raises(BenchError, match="any word of class '/'"):
        from_vectors(path, ["shirt", "/"])
    with pytest.raises(BenchError, match="no file"):
        from_vectors(tmp_path / "absent.txt", CLASSES)
    with pytest.raises(BenchError, match="cannot be read"):
        from_vectors(tmp_path, CLASSES)


def test_the_command_writes_a_table_that_a_task_takes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    written(tmp_path, "".join(f"{digit} {digit} 1\n" for digit in range(10)))
    words = ["semantics", "words.txt", "--out", "mine.toml", "--classes"]
    assert main([*words, "digits"]) == 0
    assert capsys.readouterr().out == "mine.toml has 10 classes, 2 numbers per class\n"
    vectors, table = semantics.read_semantics("mine.toml"), semantics.read_semantics("digits")
    assert (vectors.classes, vectors.splits) == (table.classes, table.splits)
    assert vectors.table[:, 0].tolist() == list(range(10))
    (tmp_path / "names.txt").write_text("7\n\n 3 \n")
    assert main([*words, "names.txt", "--json"]) == 0
    summary = json.loads(capsys.readouterr().out)
    assert summary == {"file": "mine.toml", "classes": ["7", "3"], "width": 2}
    assert semantics.read_semantics("mine.toml").table.tolist() == [[7, 1], [3, 1]]


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["words.txt", "--classes", "digit", "--out", "t.toml"], "did you mean 'digits'"),
        (["words.txt", "--classes", "digits", "--out", "t.txt"], "must end with .toml"),
        (["words.txt", "--classes", "no.txt", "--out", "t.toml"], "no file 'no.txt'"),
        (["words.txt", "--classes", "fashion_mnist", "--out", "t.toml"], "no vector for 'Trouser'"),
        (["no.vec", "--classes", "digits", "--out", "t.toml"], "no file 'no.vec'"),
        (["words.txt", "--classes", "few.txt", "--out", "words.txt/t.toml"], "cannot write"),
    ],
)
def test_a_mistake_gives_status_2_and_one_line_and_no_table(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    words: list[str],
    why: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    written(tmp_path, GLOVE)
    (tmp_path / "few.txt").write_text("shirt\nboot\n")
    assert main(["semantics", *words]) == 2
    out, err = capsys.readouterr()
    assert out == "" and why in err and len(err.splitlines()) == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["few.txt", "words.txt"]
