"""Figures as SVG, by vl-convert in a process of its own.

Its engine of JavaScript starts threads: a process that is forked later would wait for them for ever, and
where memory is short the engine ends the process that it is in.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from typing import Protocol
from xml.sax.saxutils import escape

from bench.drawing.figures import Spec, drawn_text
from bench.errors import BenchError, printable

SECONDS = 120  # to start, and 10 more a figure
_CODE = """
import json, sys, vl_convert
print(json.dumps([vl_convert.vegalite_to_svg(spec) for spec in json.load(sys.stdin)]))
"""


class Figure(Protocol):
    """What is drawn: its title, all that it says in words, and the chart in Vega-Lite."""

    @property
    def title(self) -> str: ...

    @property
    def text(self) -> str: ...

    def spec(self) -> Spec: ...


def require_drawing() -> None:
    """Raise BenchError where vl-convert is not installed."""
    try:
        import vl_convert  # noqa: F401
    except ImportError as error:
        raise BenchError(
            f'plots need vl-convert ({error}): pip install "reptransfer[page]"'
        ) from error


def draw(figures: Sequence[Figure]) -> list[bytes]:
    """An SVG of each figure, described for screen readers. Raises BenchError where none could be drawn."""
    specs = json.dumps([figure.spec() for figure in figures])
    try:
        done = subprocess.run(
            [sys.executable, "-P", "-c", _CODE],  # -P: nothing is imported from the current folder
            input=specs,
            capture_output=True,
            encoding="utf-8",
            timeout=SECONDS + 10 * len(figures),
        )
        contents = json.loads(done.stdout) if done.returncode == 0 else None
    except (OSError, ValueError, subprocess.SubprocessError) as error:
        raise BenchError(f"the plots could not be drawn ({error})") from error
    if contents is None:
        last = printable((done.stderr.strip().splitlines() or [""])[-1])[:200]
        raise BenchError(f"the plots could not be drawn (status {done.returncode}: {last})")
    return [_described(*pair) for pair in zip(contents, figures, strict=True)]


def _described(content: str, figure: Figure) -> bytes:
    head, _, rest = content.partition(">")
    title, text = escape(drawn_text(figure.title)), escape(drawn_text(figure.text, 8000))
    about = f"<title>{title}</title><desc>{text}</desc>"
    return f'{head} role="img">{about}{rest}\n'.encode()
