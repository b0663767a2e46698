"""What lies in an honest results folder is no finding, and is read once."""

from __future__ import annotations

import shutil
from collections import Counter
from pathlib import Path

import pytest

from bench.entries.folder import listing
from bench.entries.verify import verify
from bench.errors import BenchError
from bench.results.record import Record
from bench.results.store import LEDGER, Store
from tests.kit.attacks import ENCODER, OWNER, good_entry, renamed


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return good_entry(tmp_path_factory.mktemp("good") / "results")


@pytest.fixture
def root(good: Path, tmp_path: Path) -> Path:
    """A copy, which a test may change."""
    return Path(shutil.copytree(good, tmp_path / "results"))


def test_what_commands_write_may_lie_there(root: Path) -> None:
    for folder in (".locks", "studies", "tasks", "boards", "local"):
        (root / folder).mkdir()
    for file in (".places.json", "leaderboard.md", "bad-images.txt", LEDGER):
        (root / file).touch()
    assert not listing(root).findings


def test_pictures_and_files_being_written_lie_beside_own_records(root: Path) -> None:
    folder = root / OWNER / ENCODER
    (folder / "entry.toml").unlink()
    (folder / "onnx_example.onnx").unlink()
    (folder / LEDGER).unlink()
    renamed("local")(folder)
    for name in ("pictures.png", ".digits-knn.json.a1b2.tmp"):
        (root / "local" / ENCODER / name).touch()
    verdict = verify(root)
    assert not verdict.findings, [str(finding) for finding in verdict.findings]
    assert verdict.records == 2


def test_a_file_system_without_modes_makes_nothing_executable(root: Path) -> None:
    """Those of Windows show all bits of all files and folders."""
    folder = root / OWNER / ENCODER
    for path in (folder, *folder.iterdir()):
        path.chmod(0o777)
    assert not listing(root).findings


@pytest.mark.parametrize("part", ["", OWNER, f"{OWNER}/{ENCODER}"])
def test_each_record_is_read_once(root: Path, part: str, monkeypatch: pytest.MonkeyPatch) -> None:
    read, times = Store.read, Counter[str]()

    def counted(store: Store, path: Path) -> Record:
        times[path.name] += 1
        return read(store, path)

    monkeypatch.setattr(Store, "read", counted)
    verify(root / part)
    assert times == {"digits-knn.json": 1, "digits-zeroshot.json": 1}


def test_a_folder_is_known_by_what_lies_in_it(root: Path) -> None:
    depths = {"": 2, OWNER: 1, f"{OWNER}/{ENCODER}": 0}
    for part, depth in depths.items():
        found = listing(root / part)
        assert (found.root, found.depth, len(found.records)) == (root, depth, 2)
    (root / "studies").mkdir()
    with pytest.raises(BenchError, match="has no records"):
        listing(root / "studies")
