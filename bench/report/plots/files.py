"""The files of plots: drawn where the tools are there, and current by the digest of what they draw."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from bench.drawing.converter import draw, require_drawing
from bench.drawing.plain import why_not_plain
from bench.errors import BenchError
from bench.files.reading import read_bytes
from bench.report.links import MADE
from bench.report.plots.plot import Plot
from bench.results.store import PLOTS, Store

LARGEST = 2**20  # bytes of a plot that is read; those that are drawn have a tenth of that
_STAMP = re.compile(rb"<!-- (.*) values ([0-9a-f]{32}), picture ([0-9a-f]{32}) -->\n\Z")


def plot_file(store: Store, plot: Plot) -> Path:
    return store.root / PLOTS / f"{plot.name}.svg"


def with_files(store: Store, plots: Sequence[Plot], *, drawing: bool = True) -> list[Plot]:
    """The plots that a board may show: all where those that are not up to date can be drawn and `drawing`
    is True, else those whose files are up to date."""
    current = [plot for plot in plots if is_current(plot_file(store, plot), plot)]
    if len(current) < len(plots):
        try:
            require_drawing()
        except BenchError:
            drawing = False
        if not drawing:
            return current
    return list(plots)


def is_current(path: Path, plot: Plot) -> bool:
    """Is it the file that was drawn from these values, unchanged and plain?"""
    content = _content(path)
    stamp = _STAMP.search(content or b"")
    if content is None or stamp is None:
        return False
    picture = _picture_digest(content[: stamp.start()])
    same = (stamp[2].decode(), stamp[3].decode()) == (plot.digest, picture)
    return same and not why_not_plain(content)


def stale_plots(store: Store, plots: Sequence[Plot]) -> tuple[dict[Path, Plot], list[Path]]:
    """Files to draw, and files that were drawn before and are no plots any more."""
    files = {plot_file(store, plot): plot for plot in plots}
    folder = store.root / PLOTS
    readable = folder.is_dir() and not folder.is_symlink()
    present = sorted(folder.glob("*.svg")) if readable else []
    due = {path: plot for path, plot in files.items() if not is_current(path, plot)}
    return due, [path for path in present if path not in files and _is_made(path)]


def drawn(plots: Sequence[Plot]) -> list[bytes]:
    """The files of plots: the SVG, and the digests of its values and of itself. Raises BenchError where
    they cannot be drawn."""
    if not plots:
        return []
    contents = []
    for plot, picture in zip(plots, draw([plot.chart for plot in plots]), strict=True):
        stamp = f"<!-- {MADE} values {plot.digest}, picture {_picture_digest(picture)} -->\n"
        contents.append(picture + stamp.encode())
    return contents


def by_page(plots: Sequence[Plot]) -> Mapping[str, list[Plot]]:
    """The plots of each board."""
    pages: dict[str, list[Plot]] = {}
    for plot in plots:
        pages.setdefault(plot.page, []).append(plot)
    return pages


def _is_made(path: Path) -> bool:
    stamp = _STAMP.search(_content(path) or b"")
    return stamp is not None and stamp[1] == MADE.encode()


def _content(path: Path) -> bytes | None:
    """Of a regular file that is not too large, with the ends of lines as they are written; else None."""
    try:
        content = read_bytes(path, "an SVG", most=LARGEST, links=False)
    except BenchError:
        return None
    return content.replace(b"\r\n", b"\n")  # a checkout may have others


def _picture_digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:32]
