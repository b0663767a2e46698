"""Broken and hostile files of others in a results folder: no command stops, hangs, or obeys them."""

from __future__ import annotations

import errno
import html
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bench import load_results
from bench.cli.main import main
from bench.data.semantics import read_semantics
from bench.data.word_vectors import from_vectors
from bench.errors import BenchError
from bench.files.locks import locked
from bench.report.leaderboard import FRONT, boards, files
from bench.report.text import table
from bench.results.own_tasks import own_tasks
from bench.results.places import Places
from bench.results.store import Store
from bench.results.wrong_images import wrong_images
from bench.tasks.cell import OURS
from tests.kit.boards import board_text
from tests.kit.hostile import (
    PREDICTIONS,
    RECORDS,
    SPECIAL,
    edited,
    instead,
    replaced,
    too_many_bytes,
)
from tests.kit.photos import ENCODERS, photographed

TASK = "photos-knn"
CLASSES = "abc"


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of images and the results of two encoders on it, never changed."""
    return photographed(tmp_path_factory.mktemp("honest"), CLASSES)


@pytest.fixture
def root(ran: Path, tmp_path: Path) -> Path:
    """A copy of the results, which a test may change."""
    shutil.copytree(ran / "results", tmp_path / "results")
    return tmp_path / "results"


def ours(root: Path) -> Path:
    return Store(root).path(OURS, ENCODERS[0], TASK)


def stranger(root: Path, owner: str = "stranger") -> Path:
    """A stranger's copy of a record, with its predictions."""
    path = Store(root).path(owner, ENCODERS[0], TASK)
    path.parent.mkdir(parents=True)
    for suffix in (".json", ".npz"):
        shutil.copy(ours(root).with_suffix(suffix), path.with_suffix(suffix))
    edited(lambda value: value.update(owner=owner))(path)
    return path


@pytest.mark.parametrize("kind", RECORDS)
def test_a_record_of_any_kind_is_an_error_of_one_line_that_names_it(root: Path, kind: str) -> None:
    spoil, words = RECORDS[kind]
    before = len(load_results(root))
    spoil(stranger(root))
    [error] = [r for r in Store(root).records() if isinstance(r, BenchError)]
    assert re.search(words, str(error)), error
    assert f"stranger/{ENCODERS[0]}/{TASK}.json" in str(error)
    assert len(str(error).splitlines()) == 1 and len(str(error)) < 1000
    assert len(load_results(root)) == before


@pytest.mark.parametrize("kind", PREDICTIONS)
def test_predictions_of_any_kind_are_an_error_of_one_line(root: Path, kind: str) -> None:
    make, words = PREDICTIONS[kind]
    path = stranger(root)
    instead(make)(path.with_suffix(".npz"))
    with pytest.raises(BenchError, match=words) as caught:
        Store(root).predictions(Store(root).read(path))
    assert len(str(caught.value).splitlines()) == 1 and len(str(caught.value)) < 1000


DEFINITIONS: dict[str, tuple[Callable[[Path], object], str]] = {
    **{kind: (instead(make), words) for kind, (make, words) in SPECIAL.items()},
    "a key that is there twice": (
        replaced('"schema":', '"schema": "x", "schema":'),
        "the key 'schema' is there twice",
    ),
    "another name": (edited(lambda v: v["task"].update(name="x")), "holds another task"),
    "seeds without end": (
        edited(lambda v: v["task"]["replicates"].update(seeds=10**12)),
        "1000000000000 replicates; at most 10000",
    ),
    "a folder of the machine": (
        edited(
            lambda v: (
                v["task"].update(dataset="image_folder,path=%2Fetc"),
                v["data"].update(id="image_folder,path=%2Fetc"),
            )
        ),
        "names a folder by more than its name",
    ),
    "a diagnostic with arguments": (
        edited(lambda v: v["task"].update(diagnostics=["spectrum,x=1"])),
        "no (argument|diagnostic)",
    ),
}


@pytest.mark.parametrize("kind", DEFINITIONS)
def test_a_definition_of_any_kind_is_left_out_with_its_reason(root: Path, kind: str) -> None:
    spoil, words = DEFINITIONS[kind]
    before = own_tasks(Store(root)).by_name.keys()
    assert before == {"photos-knn", "photos-linear"}
    spoil(root / "tasks" / "photos-linear.json")
    own = own_tasks(Store(root))
    assert own.by_name.keys() == {"photos-knn"}
    assert re.search(words, own.broken["photos-linear.json"])
    assert own.broken["photos-linear.json"].startswith("results/tasks/photos-linear.json")


@pytest.mark.parametrize("kind", SPECIAL)
def test_an_index_of_places_of_any_kind_is_not_read(
    root: Path, kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    instead(SPECIAL[kind][0])(root / ".places.json")
    assert Places.read(Store(root)) == Places()
    assert "places on this machine are not read" in caplog.text


# --- Every command, with all of them at once


def spoil_everything(root: Path) -> None:
    """One stranger for each kind of broken record and of broken predictions, and more."""
    for number, (spoil, _) in enumerate(RECORDS.values()):
        spoil(stranger(root, f"record{number}"))
    for number, (make, _) in enumerate(PREDICTIONS.values()):
        instead(make)(stranger(root, f"predictions{number}").with_suffix(".npz"))
    for number, (make, _) in enumerate(SPECIAL.values()):
        make(root / "tasks" / f"task{number}.json")
    (root / "linked").symlink_to("/")
    (root / "owner").mkdir()
    (root / "owner" / "linked\x1b[31m\u202e").symlink_to("/")


VERBS: dict[str, list[str]] = {
    "status": ["status"],
    "status of cells": ["status", "--task", "photos-*", "--encoder", ENCODERS[0]],
    "plan": ["plan", "--task", "photos-*", "--encoder", ENCODERS[0]],
    "run": ["run", "--task", "photos-*", "--encoder", ENCODERS[0]],
    "compare": ["compare", *ENCODERS],
    "leaderboard": ["leaderboard"],
    "leaderboard --check": ["leaderboard", "--check"],
    "forget": ["forget", ENCODERS[1], "--task", "photos-linear"],
}


ALIKE = ("status of cells", "plan", "leaderboard --check")  # read what one of the others reads


@pytest.fixture(scope="module")
def spoilt(ran: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("spoilt") / "results"
    shutil.copytree(ran / "results", folder)
    spoil_everything(folder)
    return folder


@pytest.mark.parametrize(
    "verb",
    [pytest.param(verb, marks=pytest.mark.slow if verb in ALIKE else ()) for verb in VERBS],
)
def test_no_command_is_stopped_by_others_files(
    spoilt: Path, verb: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """In a process of its own, within 300 MB."""
    words = [*VERBS[verb], "--results", str(spoilt)]
    words += ["--cache", str(tmp_path)] if verb in ("run", "plan", "status") else []
    done = subprocess.run(
        [sys.executable, "-c", MEASURE, *words],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode in (0, 1), done.stderr
    *lines, megabytes = done.stderr.splitlines()
    assert "Traceback" not in done.stderr
    assert len([line for line in lines if "left out" in line]) <= 2 * 11 + 1
    assert all(line.isprintable() for line in lines)
    assert all(line.isprintable() for line in done.stdout.splitlines())
    assert int(megabytes) < 300


MEASURE = """
import sys
from pathlib import Path
from bench.cli.main import main
status = main(sys.argv[1:])
facts = Path("/proc/self/status")  # getrusage counts the process that this one was forked from
lines = facts.read_text().splitlines() if facts.exists() else ["VmHWM: 0 kB"]
peak = next(line for line in lines if line.startswith("VmHWM"))
print(int(peak.split()[1]) // 1024, file=sys.stderr)
sys.exit(status)
"""


def test_python_names_others_files_and_reads_the_rest(
    spoilt: Path, ran: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bench.results.store._NAMED", set(), raising=False)
    found = load_results(spoilt)
    assert {r.owner for r in load_results(ran / "results").records} <= {
        r.owner for r in found.records
    }
    named = [r.getMessage() for r in caplog.records]
    assert 2 <= len(named) <= 12
    assert re.search(r"left out: \d+ more that cannot be read", named[-1])
    assert wrong_images(spoilt, ENCODERS[0], TASK).columns.tolist() == [
        "replicate",
        "file",
        "truth",
        "predicted",
    ]


def test_the_board_has_all_honest_rows_and_a_reason_for_each_other(spoilt: Path, ran: Path) -> None:
    honest = [row for row in board_text(Store(ran / "results")).splitlines() if "| pixels" in row]
    text = board_text(Store(spoilt))
    cells = [[c.strip() for c in row.split("|")] for row in text.splitlines()]
    for row in honest[:1]:
        name, score = (c.strip() for c in row.split("|")[1:3])
        assert any(c[1:2] == [name] and c[2].split(" (")[0] == score.split(" (")[0] for c in cells)
    for number in range(len(RECORDS)):
        assert f"record{number}/" in text
    for number in range(len(PREDICTIONS)):
        assert f"predictions{number}/" in text
    assert len(text) < 10**6


def test_very_many_broken_records_are_a_few_lines(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for number in range(3000):
        path = root / "stranger" / f"e{number}" / "x.json"
        path.parent.mkdir(parents=True)
        path.touch()
    assert main(["leaderboard", "--results", str(root)]) == 0
    captured = capsys.readouterr()
    assert "; 2995 more reasons are there." in captured.out
    assert len(captured.out.splitlines()) < 300


# --- Links where commands write

WRITERS = {verb: VERBS[verb] for verb in ("run", "forget", "leaderboard")}


@pytest.mark.parametrize("lock", [".locks", ".locks/board.lock", ".locks/names.lock.held"])
@pytest.mark.parametrize("kind", ["a link to a file", "a link to a folder", "a folder"])
@pytest.mark.parametrize("verb", WRITERS)
def test_locks_that_are_links_empty_and_make_nothing(
    root: Path, tmp_path: Path, lock: str, kind: str, verb: str, capsys: pytest.CaptureFixture[str]
) -> None:
    precious, place = tmp_path / "precious", root / lock
    (precious / "inner").mkdir(parents=True)
    (precious / "file").write_text("precious")
    shutil.rmtree(root / ".locks")
    place.parent.mkdir(exist_ok=True)
    if kind == "a folder":
        place.mkdir()
    else:
        place.symlink_to(precious / "file" if kind == "a link to a file" else precious)
    (root.parent / "leaderboard.md").unlink(missing_ok=True)
    capsys.readouterr()
    words = [*WRITERS[verb], "--results", str(root)]
    words += ["--cache", str(tmp_path / "cache")] if verb == "run" else []
    status = main(words)
    error = capsys.readouterr().err
    assert status in (0, 1) or (status == 2 and "is a link" in error.splitlines()[-1]), error
    assert (precious / "file").read_text() == "precious"
    assert sorted(p.name for p in precious.rglob("*")) == ["file", "inner"]
    for reader in ("status", "compare", "leaderboard --check"):
        assert main([*VERBS[reader], "--results", str(root)]) in (0, 1)


def test_a_lock_that_is_never_given_is_reported_at_once(
    root: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """By the system without end, for who waits too; a board that has changed is not written, and
    one that is up to date needs no lock."""
    import fcntl

    def refuse(*_: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(fcntl, "flock", refuse)
    for wait in (True, False):
        with (
            pytest.raises(BenchError, match=r"cannot lock .*: Permission denied"),
            locked(tmp_path / "lock", wait=wait),
        ):
            pass
    board, words = root.parent / "leaderboard.md", ["leaderboard", "--results", str(root)]
    capsys.readouterr()
    for before in (None, "of yesterday"):
        if before is not None:
            board.write_text(before)
        assert main(words) == 2
        captured = capsys.readouterr()
        [line] = captured.err.splitlines()
        assert re.search(r"cannot lock .*: Permission denied", line)
        assert captured.out == ""
        assert (board.read_text() if board.exists() else None) == before
    texts = files(Store(root), boards(Store(root)).texts)
    for path, text in texts.items():
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    assert main(words) == 0
    assert all(path.read_text() == text for path, text in texts.items())


def test_who_stops_a_run_does_not_wait_for_the_board(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("bench.running.executor.run_cells", stop)
    (root.parent / "leaderboard.md").unlink(missing_ok=True)
    with locked(root / ".locks" / "board.lock"):
        assert main([*VERBS["run"], "--results", str(root), "--cache", str(tmp_path)]) == 130
    assert not (root.parent / "leaderboard.md").exists()


@pytest.mark.parametrize("place", ["", "pixels,size=9"])
def test_nothing_is_written_through_a_link_to_a_folder(
    root: Path, tmp_path: Path, place: str, capsys: pytest.CaptureFixture[str]
) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    if not place:
        shutil.rmtree(root / OURS)
    (root / OURS / place if place else root / OURS).symlink_to(elsewhere)
    words = ["run", "--task", TASK, "--encoder", "pixels,size=9", "--results", str(root)]
    capsys.readouterr()
    assert main([*words, "--cache", str(tmp_path / "cache")]) == 2
    assert "is a link; put a folder in its place" in capsys.readouterr().err
    assert list(elsewhere.iterdir()) == []


@pytest.mark.parametrize("kind", ["a link to a device that never ends", "a pipe"])
def test_a_board_that_is_no_file_is_made_anew(root: Path, kind: str) -> None:
    board = root.parent / "leaderboard.md"
    board.unlink(missing_ok=True)
    SPECIAL[kind][0](board)
    assert main(["leaderboard", "--check", "--results", str(root)]) == 1
    assert main(["leaderboard", "--results", str(root)]) == 0
    assert not board.is_symlink() and board.read_text() == boards(Store(root)).texts[FRONT]


@pytest.mark.parametrize("kind", ["a link", "a file"])
def test_no_board_is_written_through_a_link_or_over_a_file(
    root: Path, tmp_path: Path, kind: str, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, elsewhere = root / "boards", tmp_path / "elsewhere"
    elsewhere.mkdir()
    shutil.rmtree(folder, ignore_errors=True)
    if kind == "a link":
        folder.symlink_to(elsewhere)
    else:
        folder.write_text("mine")
    (root.parent / "leaderboard.md").unlink(missing_ok=True)
    assert main(["leaderboard", "--results", str(root)]) == 2
    assert "is a link or a file; put a folder in its place" in capsys.readouterr().err
    assert list(elsewhere.iterdir()) == []
    assert not (root.parent / "leaderboard.md").exists()


# --- Task files and tables that a user was given

TASK_TEXT = """family = "probe"
dataset = "digits"
protocol = "knn"
chance = 0.1
"""
TOML: dict[str, tuple[Any, str]] = {
    "a pipe": (os.mkfifo, "it is not a regular file"),
    "a link to a device that never ends": (lambda p: p.symlink_to("/dev/zero"), "not a regular"),
    "too many bytes": (too_many_bytes, "it has 536870912 bytes"),
    "an integer of 5,000 digits": (f"x = {'9' * 5000}", "a number has too many digits"),
    "a hexadecimal integer of 50,000 digits": (f"x = 0x{'f' * 50_000}", "too many digits"),
    "3,000 brackets": (f"x = {'[' * 3000}{']' * 3000}", "nested too deeply"),
    "3,000 braces": ("x = " + "{a = " * 3000 + "1" + "}" * 3000, "nested too deeply"),
    "a key of 50,000 parts": (f"{'a.' * 50_000}a = 1", "a key of very many parts"),
    "a table of 50,000 parts": (f"[{'a.' * 50_000}a]", "a key of very many parts"),
    "a quoted key of 50,000 parts": ("'x' . " * 50_000 + "a = 1", "a key of very many parts"),
    "40,000 keys": ("".join(f"a{n} = 1\n" for n in range(40_000)), "more than 30000 keys"),
    "100,000 lists": (f"x = [{'[],' * 100_000}]", "more than 30000 keys or brackets"),
    "seeds without end": (f"{TASK_TEXT}replicates.seeds = {10**15}", "at most 10000 are run"),
    "subsets without end": (
        f"{TASK_TEXT}replicates = {{per_class = [1, 0], subsets = {10**15}}}",
        "at most 10000 are run",
    ),
    "very many shifts": (
        f"{TASK_TEXT}replicates = {{shifts = ['blur'], strengths = {[0.5] * 10_000}}}",
        "at most 10000 are run|shifts must be among",
    ),
    "an integer beyond 64 bits": (f"{TASK_TEXT}train_limit = {10**400}", "train_limit = 1000"),
    "a float beyond reason": (f"{TASK_TEXT}ceiling = {10**400}", "expected a finite number"),
}


def toml(folder: Path, kind: str) -> Path:
    path, (make, _) = folder / "given.toml", TOML[kind]
    path.write_text(make) if isinstance(make, str) else make(path)
    return path


@pytest.mark.parametrize("kind", TOML)
@pytest.mark.parametrize("verb", ["plan", "run", "status"])
def test_a_task_file_of_any_kind_is_reported_in_one_line(
    tmp_path: Path, kind: str, verb: str, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--task", str(toml(tmp_path, kind)), "--results", str(tmp_path / "results")]
    assert main([verb, *words]) == 2
    [line] = capsys.readouterr().err.splitlines()
    assert re.search(TOML[kind][1], line)
    assert len(line) < 1000
    assert not (tmp_path / "results").exists()


@pytest.mark.parametrize(
    "kind", [kind for kind in TOML if not str(TOML[kind][0]).startswith("fam")]
)
def test_a_table_of_signatures_of_any_kind_is_reported_in_one_line(
    tmp_path: Path, kind: str
) -> None:
    with pytest.raises(BenchError) as caught:
        read_semantics(str(toml(tmp_path, kind)))
    assert re.search(TOML[kind][1], str(caught.value))
    assert len(str(caught.value)) < 1000


def test_word_vectors_are_a_regular_file_with_lines(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.txt")
    with pytest.raises(BenchError, match="not a regular file"):
        from_vectors(tmp_path / "pipe.txt", ("a", "b"))
    with (tmp_path / "long.txt").open("wb") as file:
        file.truncate(2**24)
    with pytest.raises(BenchError, match="line 1 has 4194304 characters or more"):
        from_vectors(tmp_path / "long.txt", ("a", "b"))


# --- What a terminal and a board would obey

OBEYED = "\x1b]0;x\x07\x1b[31m\u202e\u2066\x9b2J\x7f\r\ntext"


def test_no_terminal_is_commanded_by_records(
    root: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    edited(lambda v: v.update(status="failed", reason=OBEYED))(ours(root))
    other = Store(root).path(OURS, ENCODERS[1], TASK)
    edited(lambda v: v["encoder"].update(digest="0", arguments={"size": OBEYED, OBEYED: 1}))(other)
    edited(lambda v: v.update({OBEYED: 1}))(stranger(root))
    (root / OURS / OBEYED.replace("\n", "")).mkdir()
    (root / OURS / OBEYED.replace("\n", "") / "x.json").write_text("{}")
    named = ["--task", "photos-*", *(w for spec in ENCODERS for w in ("--encoder", spec))]
    named += ["--results", str(root), "--cache", str(tmp_path)]
    commands = [["status", *named], ["plan", *named], ["status", "--results", str(root)]]
    commands += [["leaderboard", "--results", str(root)], ["forget", "x", "--results", str(root)]]
    commands += [["compare", *ENCODERS, "--results", str(root)]]
    for words in commands:
        main(words)
        captured = capsys.readouterr()
        for line in (captured.out + captured.err).splitlines():
            assert line.isprintable(), (words, line)
        assert "\r" not in captured.out + captured.err


ACTIVE = [
    "https://example.org/x_y_z",
    "(https://example.org)",
    "www.example.org",
    "somebody@example.org",
    "a\\@example.org",
    "mailto:somebody@example.org",
    "$x$ and $`y`$",
    "*x* and **y**",
    "_x_ and __y__ and a_b",
    "~x~ and ~~y~~",
    "`x` and ``y``",
    "[x](y) and ![z](w) and <b>v</b> and &lt;",
    "a|b\\|c",
]


def escaped(text: str) -> str:
    """The cell of a table that shows `text`."""
    cell = table(["text"], [[text]]).splitlines()[2]
    return cell.removeprefix("|").removesuffix("|").strip()


@pytest.mark.parametrize("text", ACTIVE)
def test_nothing_that_renderers_make_active_is_left(text: str) -> None:
    made = escaped(text)
    without_code = re.sub(r"(?<!\\)`[^`]*`", "", re.sub(r"\\\\", "", made))
    bare = re.sub(r"\\[!-/:-@\[-`{-~]", "", without_code)
    assert not re.search(r"://|www\.|@\w|\$|[*`~<]|(?<![a-z])_|_(?![a-z])|\[[^]]*\]\(", bare)
    shown = html.unescape(re.sub(r"\\([!-/:-@\[-`{-~])", r"\1", re.sub(r"(?<!\\)`", "", made)))
    assert shown.replace("`", "") == text.replace("`", "")


def test_what_is_inert_is_left_as_it_is() -> None:
    for text in (
        "timm_backbone,name=a.b-c",
        "vae~60k",
        "pca@fashion_mnist",
        "80.1 [79.0, 81.2] (1-2)",
    ):
        assert escaped(text) == text
    assert escaped("x" * 10_000) == "x" * 600 + "..."
