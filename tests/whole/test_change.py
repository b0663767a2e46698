"""Pull requests on a scratch repository: one honest entry passes, everything beside it is told."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest

from bench.cli.main import main
from bench.entries import change, objects
from bench.entries.change import check_change
from bench.entries.verify import Verdict
from bench.errors import BenchError
from bench.results.record import Record
from bench.results.store import Store
from bench.tasks.cell import OURS

TASK, SPEC, OWNER = "mnist-knn", "pixels", "example"
ENTRY = f"results/{OWNER}/{SPEC}"
FILE, EXECUTABLE, LINK, SUBMODULE = "100644", "100755", "120000", "160000"
Edit = tuple[str, bytes | None]  # mode and content; None: removed


class Repository:
    """A git repository without a head: commits are made of what an index says."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.git("init", "-q", "-b", "main")

    def git(self, *words: str, given: bytes = b"") -> str:
        person = {
            f"GIT_{who}_{what}": "a@example.org"
            for who in ("AUTHOR", "COMMITTER")
            for what in ("NAME", "EMAIL")
        }
        away = {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1"}
        done = subprocess.run(
            ["git", *words],
            cwd=self.folder,
            env={**os.environ, **person, **away},
            input=given,
            capture_output=True,
            check=True,
        )
        return done.stdout.decode().strip()

    def blob(self, content: bytes) -> str:
        return self.git("hash-object", "-w", "--stdin", given=content)

    def commit(self, edits: Mapping[str, Edit], parent: str | None = None) -> str:
        """A commit on `parent` with files added, changed or removed."""
        self.git("read-tree", *([parent] if parent else ["--empty"]))
        lines = list[bytes]()
        for path, (mode, content) in edits.items():
            if content is None:
                line = f"0 {'0' * 40}\t{path}"
            else:
                name = parent if mode == SUBMODULE else self.blob(content)
                line = f"{mode} {name}\t{path}"
            lines.append(os.fsencode(line))
        self.git("update-index", "-z", "--index-info", given=b"\0".join(lines) + b"\0")
        return self.commit_of(self.git("write-tree"), parent)

    def commit_of(self, tree: str, parent: str | None) -> str:
        return self.git("commit-tree", "-m", "a change", tree, *(["-p", parent] if parent else []))


@pytest.fixture(scope="module")
def records(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The files of an honest record by their path, as of this package and of two owners."""
    committed = Store(Path(__file__).parents[2] / "results")
    record = committed.find(OURS, SPEC, TASK)
    if record is None:
        pytest.skip("a source distribution has no committed records")
    root = tmp_path_factory.mktemp("honest")
    store, files = Store(root / "results"), dict[str, bytes]()
    arrays = committed.predictions(record)
    for owner in (OURS, OWNER, "somebody"):
        value = json.loads(json.dumps(record.to_json())) | {"owner": owner}
        value["predictions"] = {"kinds": value["predictions"]["kinds"]}
        store.write(Record.from_json(value, owner), arrays)
        for suffix in ("json", "npz"):
            path = f"results/{owner}/{SPEC}/{TASK}.{suffix}"
            files[path] = (root / path).read_bytes()
    for owner in (OWNER, "somebody"):
        files[f"results/{owner}/{SPEC}/entry.toml"] = ENTRY_TOML
    return files


ENTRY_TOML = b"""schema = "reptransfer.entry/1"
title = "Small images"
authors = ["A. Author"]
contact = "a@example.org"
licence = "Apache-2.0"
hardware = "a laptop"
trained_with_labels = []
trained_without_labels = []
"""


def of(records: Mapping[str, bytes], *owners: str) -> dict[str, Edit]:
    """The files of records of these owners, as edits."""
    return {
        path: (FILE, content) for path, content in records.items() if path.split("/")[1] in owners
    }


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Repository:
    return Repository(tmp_path_factory.mktemp("repository"))


@pytest.fixture(scope="module")
def base(repository: Repository, records: dict[str, bytes]) -> str:
    """A commit with a row of this package and one of another owner, which is checked out."""
    edits = of(records, OURS, "somebody") | {"README.md": (FILE, b"read me\n")}
    commit = repository.commit(edits)
    repository.git("reset", "-q", "--hard", commit)
    return commit


@pytest.fixture(autouse=True)
def _here(repository: Repository, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(repository.folder)


def texts(verdict: Verdict) -> list[str]:
    return [str(finding) for finding in verdict.findings]


def test_a_good_entry_passes(
    repository: Repository, base: str, records: dict[str, bytes], capsys: pytest.CaptureFixture[str]
) -> None:
    head = repository.commit(of(records, OWNER), base)
    assert main(["verify", "--change", base, head, "--author", "Example"]) == 0
    assert "1 records: 1 consistent with their predictions" in capsys.readouterr().out
    assert main(["verify", "--change", base, head, "--author", "example", "--json"]) == 0
    verdict = json.loads(capsys.readouterr().out)
    assert verdict["consistent"] == {f"{ENTRY}/{TASK}.json": "rows"} and not verdict["findings"]
    notes = [note["message"] for note in verdict["notes"]]
    assert f"its predictions are those of reptransfer/{SPEC}" in notes, "rows of the base are seen"
    assert not (repository.folder / ENTRY).exists()


def test_what_is_done_on_the_base_meanwhile_is_not_the_entry_s(
    repository: Repository, base: str, records: dict[str, bytes]
) -> None:
    later = repository.commit({"README.md": (FILE, b"read this\n")}, base)
    head = repository.commit(of(records, OWNER), base)
    assert not texts(check_change(later, head, author=OWNER))


ROW = f"results/somebody/{SPEC}/{TASK}"
MINE = f"{ENTRY}/{TASK}"
OTHER = b"{}"
ATTACKS: dict[str, tuple[dict[str, Edit], str]] = {
    "a file outside": ({"bench/api.py": (FILE, OTHER)}, "bench/api.py: lies outside of an entry"),
    "a changed file outside": ({"README.md": (FILE, OTHER)}, "README.md: lies outside of an entry"),
    "the board": ({"leaderboard.md": (FILE, OTHER)}, "leaderboard.md: lies outside of an entry"),
    "a removed file outside": ({"README.md": (FILE, None)}, "README.md: lies outside of an entry"),
    "a study": ({"results/studies/depth/report.json": (FILE, OTHER)}, "report.json: lies outside"),
    "a task": ({"results/tasks/mnist-knn.json": (FILE, OTHER)}, "mnist-knn.json: lies outside"),
    "the file of trust": ({"results/verified.json": (FILE, OTHER)}, "verified.json: lies outside"),
    "a symbolic link": (
        {f"{ENTRY}/digits-linear.json": (LINK, b"/etc/passwd")},
        f"{ENTRY}/digits-linear.json: is a symbolic link",
    ),
    "a link in the owner's place": (
        {"results/stranger": (LINK, b"/etc")},
        "results/stranger: is a symbolic link",
    ),
    "an executable": ({f"{MINE}.npz": (EXECUTABLE, OTHER)}, f"{MINE}.npz: is executable"),
    "a submodule": ({f"{ENTRY}/code": (SUBMODULE, b"")}, f"{ENTRY}/code: is a submodule"),
    "attributes": ({f"{ENTRY}/.gitattributes": (FILE, b"* a")}, ".gitattributes: is a file for git"),
    "modules": ({".gitmodules": (FILE, b"")}, ".gitmodules: is a file for git"),
    "somebody's row": ({f"{ROW}.json": (FILE, OTHER)}, f"{ROW}.json: overwrites a row of somebody"),
    "somebody's row removed": ({f"{ROW}.npz": (FILE, None)}, f"{ROW}.npz: removes a row of somebody"),
    "a row of this package": (
        {f"results/{OURS}/{SPEC}/{TASK}.json": (FILE, OTHER)},
        f"{TASK}.json: overwrites a row of {OURS}",
    ),
    "a row more of somebody": (
        {f"results/somebody/{SPEC}/digits-linear.json": (FILE, OTHER)},
        f"lies outside of {ENTRY}: a pull request has one owner and one encoder",
    ),
    "two encoders": (
        {f"results/{OWNER}/pca/{TASK}.json": (FILE, OTHER)},
        f"results/{OWNER}/pca/{TASK}.json: lies outside of {ENTRY}: a pull request has one",
    ),
    "a line break in a name": (
        {f"{ENTRY}/a\nb.json": (FILE, OTHER)},
        "a\\nb.json: 'a\\\\nb.json' is no safe name",
    ),
    "a name that turns the line": ({f"{ENTRY}/\u202ea.json": (FILE, OTHER)}, "\\u202ea.json: "),
    "a name that is no UTF-8": ({f"{ENTRY}/\udcff.json": (FILE, OTHER)}, "\\xff.json: "),
    "a name of an option": ({f"{ENTRY}/--force": (FILE, OTHER)}, "'--force' is no safe name"),
    "a name of two cases": (
        {f"{ENTRY}/{TASK.upper()}.json": (FILE, OTHER)},
        f"{MINE}.json: differs from '{TASK.upper()}.json' by case alone",
    ),
    "a folder in an entry": ({f"{ENTRY}/more/x.json": (FILE, OTHER)}, f"{ENTRY}/more: is a folder"),
    "a broken record": ({f"{MINE}.json": (FILE, OTHER)}, f"{MINE}.json: unknown schema"),
    "other predictions": ({f"{MINE}.npz": (FILE, OTHER)}, f"{TASK}.npz cannot be read"),
}  # fmt: skip


@pytest.mark.parametrize("name", ATTACKS)
def test_attack_is_told(
    name: str,
    repository: Repository,
    base: str,
    records: dict[str, bytes],
    capsys: pytest.CaptureFixture[str],
) -> None:
    edits, message = ATTACKS[name]
    head = repository.commit(of(records, OWNER) | edits, base)
    assert main(["verify", "--change", base, head, "--author", OWNER]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert any(line.startswith("finding: ") and message in line for line in lines), lines
    assert all(line.isprintable() for line in lines)


def moved(records: Mapping[str, bytes], owner: str) -> dict[str, Edit]:
    """The files of an entry in the folder of an owner by another name."""
    return {path.replace(OWNER, owner): edit for path, edit in of(records, OWNER).items()}


OWNERS = {
    OURS: "is a reserved name",
    "local": "is a reserved name",
    "s0mebody": "looks like 'somebody'",
    "some-body": "looks like 'somebody'",
    "reptransfer-": "is no GitHub login",
    "Example": "is no GitHub login",
}


@pytest.mark.parametrize("owner", OWNERS)
def test_owner_of_no_entry(
    owner: str, repository: Repository, base: str, records: dict[str, bytes]
) -> None:
    head = repository.commit(moved(records, owner), base)
    assert any(OWNERS[owner] in text for text in texts(check_change(base, head)))


def test_author(repository: Repository, base: str, records: dict[str, bytes]) -> None:
    """Rows are changed by their owner alone, and nobody enters another's name."""
    head = repository.commit({f"{ROW}.json": (FILE, records[f"{ROW}.json"] + b"\n")}, base)
    assert not texts(check_change(base, head, author="Somebody"))
    assert texts(check_change(base, head)) == [f"{ROW}.json: overwrites a row of somebody"]
    foreign = texts(check_change(base, head, author="stranger"))
    assert any("results/somebody: is not of the author, 'stranger'" in text for text in foreign)
    gone = repository.commit(dict.fromkeys(of(records, "somebody"), (FILE, None)), base)
    verdict = check_change(base, gone, author="somebody")
    assert not verdict.findings
    assert [note.message for note in verdict.notes] == ["the whole entry is removed"]
    ours = repository.commit({f"results/{OURS}/{SPEC}/{TASK}.json": (FILE, None)}, base)
    assert f"removes a row of {OURS}" in texts(check_change(base, ours, author=OURS))[0]


LINE = {
    "data": "mnist",
    "data_digest": "d" * 32,
    "encoder": SPEC,
    "encoder_digest": "e" * 32,
    "group": "controls",
    "owner": "local",
    "protocol": "knn",
    "protocol_digest": "a" * 32,
    "replicates": 1,
    "task": TASK,
    "time": "2026-01-31T12:00:00.000000Z",
}


def test_lines_are_only_added_to_a_ledger(
    repository: Repository, base: str, records: dict[str, bytes]
) -> None:
    path = f"{ENTRY}/ledger.jsonl"
    first, second = (
        json.dumps(LINE | {"replicates": count}, separators=(",", ":")).encode() + b"\n"
        for count in (1, 3)
    )
    entered = repository.commit(of(records, OWNER) | {path: (FILE, first)}, base)
    assert not texts(check_change(base, entered, author=OWNER))
    more = repository.commit({path: (FILE, second + first)}, entered)
    assert not texts(check_change(entered, more, author=OWNER))
    lost = f"{path}: lacks 1 of the lines that it has had: lines are only added to a ledger"
    for content in (second, None):
        fewer = repository.commit({path: (FILE, content)}, entered)
        assert texts(check_change(entered, fewer, author=OWNER)) == [lost]
    gone = repository.commit(dict.fromkeys(of(records, OWNER) | {path: 0}, (FILE, None)), entered)
    assert not texts(check_change(entered, gone, author=OWNER))


def test_two_owners_at_once(repository: Repository, base: str, records: dict[str, bytes]) -> None:
    head = repository.commit(of(records, OWNER) | moved(records, "stranger"), base)
    for author in (OWNER, "stranger"):
        messages = texts(check_change(base, head, author=author))
        entry = f"results/{author}/{SPEC}"
        assert sum(f"lies outside of {entry}: " in message for message in messages) == 3


def test_nothing_is_entered(repository: Repository, base: str) -> None:
    assert "no file of an entry changes" in texts(check_change(base, base))[0]


@pytest.mark.parametrize(
    ("module", "limit", "value", "message"),
    [
        (change, "MOST_BYTES", 100, "bytes; at most 100 are read"),
        (change, "MOST_BYTES", None, f"{ENTRY}: has over "),
        (objects, "MOST_CHANGES", 2, "more than 2 files and folders differ"),
        (objects, "_MOST_TREE", 100, "bytes; at most 100 are read"),
    ],
)
def test_too_much(
    module: object,
    limit: str,
    value: int | None,
    message: str,
    repository: Repository,
    base: str,
    records: dict[str, bytes],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    largest = max(map(len, records.values()))
    monkeypatch.setattr(module, limit, largest if value is None else value)
    head = repository.commit(of(records, OWNER), base)
    assert any(message in text for text in texts(check_change(base, head, author=OWNER)))


def test_few_objects_that_stand_for_ten_thousand_million_files(
    repository: Repository, base: str
) -> None:
    name = repository.blob(b"{}")
    lines = "".join(f"100644 blob {name}\tf{n}\n" for n in range(10))
    for _ in range(10):
        tree = repository.git("mktree", given=lines.encode())
        lines = "".join(f"040000 tree {tree}\tf{n}\n" for n in range(10))
    root = repository.git("mktree", given=f"040000 tree {tree}\tresults\n".encode())
    head = repository.commit_of(root, base)
    assert "more than 2000 files and folders differ" in texts(check_change(base, head))[0]


def crafted(*nodes: tuple[bytes, bytes]) -> bytes:
    """A folder's object: mode and name, then the object's number."""
    return b"".join(mode + b" " + name + b"\0" + bytes(20) for mode, name in nodes)


@pytest.mark.parametrize(
    ("content", "message"),
    [(crafted((b"100644", b"..")), "'..' is no safe name"),
     (crafted((b"100644", b"../x.json")), "'../x.json' is no safe name"),
     (crafted((b"100644", b"x")) * 2, "has the name b'x' twice"),
     (crafted((b"100644", b"x"))[:-1], "is no folder that git can read"),
     (b"x" * 50, "is no folder that git can read"),
     (crafted((b"100664", b"x.json")), "has the mode 100664"),
     (crafted((b"100644", b"x.json")), "git has no object 000000000000")],
)  # fmt: skip
def test_folders_that_git_has_not_made(
    content: bytes, message: str, repository: Repository, base: str
) -> None:
    words = ("hash-object", "-w", "--stdin", "--literally", "-t", "tree")
    tree = repository.git(*words, given=content)
    for name in (SPEC, OWNER, "results"):
        folder = crafted((b"40000", name.encode()))[:-20] + bytes.fromhex(tree)
        tree = repository.git(*words, given=folder)
    head = repository.commit_of(tree, base)
    assert any(message in text for text in texts(check_change(base, head, author=OWNER)))


def test_errors_of_git(
    repository: Repository, base: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    def refused(*words: str) -> str:
        assert main(["verify", *words]) == 2
        (line,) = capsys.readouterr().err.splitlines()
        return line

    for name in ("nowhere", "a\nb", "", "0" * 40, "main:README.md"):
        assert "no commit" in refused("--change", base, name)
    with pytest.raises(BenchError, match="no commit '--output=x'"):  # of no option of git
        check_change(base, "--output=x")
    alone = repository.commit({"README.md": (FILE, b"x")})
    assert "no commit in common" in refused("--change", base, alone)
    assert "name a folder, or two commits" in refused()
    assert "name a folder, or two commits" in refused("results", "--change", base, base)
    assert "--author" in refused("results", "--author", "x")
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    monkeypatch.chdir(tmp_path)
    assert "no git repository here: " in refused("--change", base, base)
    monkeypatch.setenv("PATH", "")
    assert "git is not installed" in refused("--change", base, base)
    with pytest.raises(BenchError, match="git is not installed"):
        check_change(base, base)
