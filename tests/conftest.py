"""Tests run on one thread: tiny arrays gain nothing from more, and suites side by side then do not
fight for the processor."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from bench.running.workspace import Workspace

for _pool in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_pool, "1")  # before NumPy and PyTorch are loaded; commands inherit it


@pytest.fixture(scope="session", autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Weights and features of tests lie in a folder of their own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("REPTRANSFER_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="session", autouse=True)
def _quick_calibration() -> Iterator[None]:
    """The speed of this machine, from which costs are forecast, is measured for less than a second: it
    enters no record, and each run into an empty folder measures it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("bench.running.calibration.LIMIT", 0.01)
        yield


@pytest.fixture(scope="session", autouse=True)
def _blank_plots() -> Iterator[None]:
    """Boards have plots without a picture, but for tests that take `drawn_plots`: half a second a run."""
    blank = b'<svg xmlns="http://www.w3.org/2000/svg" width="1" height="1"></svg>\n'
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("bench.report.plots.files.draw", lambda figures: [blank] * len(figures))
        yield


@pytest.fixture(scope="module")
def drawn_plots() -> Iterator[None]:
    """Plots are drawn as for users."""
    from bench.drawing.converter import draw

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("bench.report.plots.files.draw", draw)
        yield


@pytest.fixture(scope="session")
def data() -> Path:
    """The root of real images. Tests that need it are skipped without REPTRANSFER_DATA."""
    root = os.environ.get("REPTRANSFER_DATA")
    if not root:
        pytest.skip("REPTRANSFER_DATA names no data root")
    return Path(root)


@pytest.fixture(scope="session")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """Data sets and features, computed once: of the real images, where REPTRANSFER_DATA names them."""
    from bench.datasets.base import DataSets
    from bench.running.workspace import Workspace

    root = os.environ.get("REPTRANSFER_DATA") or tmp_path_factory.mktemp("data")
    return Workspace(DataSets(Path(root)))


@pytest.fixture
def unchecked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Boards take records that a test made up: nothing in them is computed again."""
    monkeypatch.setattr("bench.report.board.prediction_findings", lambda *_: [])
    monkeypatch.setattr("bench.report.board.identity_findings", lambda *_: [])


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError("no network in tests")

    monkeypatch.setattr("urllib.request.urlopen", refuse)
    monkeypatch.setattr("urllib.request.urlretrieve", refuse)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--golden",
        action="store_true",
        help="write the golden files of components that are new or whose REVISION was raised",
    )


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Drills of minutes run only where `-m` speaks of them."""
    if "slow" not in config.option.markexpr:
        slow = [item for item in items if item.get_closest_marker("slow")]
        items[:] = [item for item in items if item not in slow]
        config.hook.pytest_deselected(items=slow)
