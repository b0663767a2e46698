"""The page: one HTML file that opens from disk, with no request to anywhere.

The Content-Security-Policy lets only the page's own scripts and styles run, by their hashes. Strings of
records reach HTML through Jinja2's escaping, JSON through `island`, and elements as text.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import re
from collections.abc import Mapping, Sequence
from importlib import resources
from itertools import groupby
from pathlib import Path
from typing import Any
from urllib.parse import quote

from bench.errors import BenchError, printable
from bench.files.writing import write_atomically
from bench.report.board import Board
from bench.report.leaderboard import board_path, current
from bench.report.page.data import page_data
from bench.report.page.plain import PlainTable, plain_tables
from bench.report.ranks import overall_ranks
from bench.report.sections.overall import complete_rows
from bench.results.store import Store

PAGE = "page.html"
# In the order of their loading: each uses those before it.
SCRIPTS = (
    *("ties.js", "dom.js", "address.js", "board.js", "table.js", "charts.js", "curves.js"),
    *("chooser.js", "view_table.js", "view_encoder.js", "view_task.js", "view_pair.js"),
    *("view_pairs.js", "view_cost.js", "app.js"),
)
STYLE, TEMPLATE = "page.css", "page.html"
_DIGEST = re.compile(r'<meta name="digest" content="([0-9a-f]{64})">')
_IN_HTML = ("answers", "studies")  # keys of the page's data that the HTML shows, not the scripts


def page_path(store: Store) -> Path:
    """Beside the first board."""
    return board_path(store).with_name(PAGE)


def require_libraries() -> None:
    """Raise BenchError where what the page is made with is not installed."""
    try:
        import jinja2  # noqa: F401
        import markdown_it  # noqa: F401
    except ImportError as error:
        raise BenchError(
            f'the page needs Jinja2 and markdown-it-py ({error}): pip install "reptransfer[demo]"'
        ) from error


def page(board: Board, *, out: Path) -> str:
    """The HTML, for a file `out`: pictures are shown where they lie in its folder or below it.

    Raises BenchError where Jinja2 or markdown-it-py is not installed."""
    require_libraries()
    return html(*_contents(board, out))


def _contents(board: Board, out: Path) -> tuple[dict[str, Any], list[PlainTable]]:
    contents = {**page_data(board), "exact": _exact(board)}
    contents["pictures"] = _pictures(contents["pictures"], board.store, out)
    return contents, plain_tables(board, contents)


def is_fresh(board: Board, out: Path) -> bool:
    """Is the file the page of this board? By what the page is made from, whichever versions of Jinja2 and
    markdown-it-py have written it."""
    written = _DIGEST.search((current(out) or "")[:20_000])
    return written is not None and written[1] == page_digest(*_contents(board, out))


def page_digest(contents: Mapping[str, Any], tables: Sequence[PlainTable]) -> str:
    """Of what the page shows, of its scripts, style and template: SHA-256, 64 digits."""
    template = resources.files("bench.report.page").joinpath("templates", TEMPLATE)
    parts = [island(contents), json.dumps(tables)]
    parts += [*map(asset, SCRIPTS), asset(STYLE), template.read_text("utf-8")]
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()


def html(contents: Mapping[str, Any], tables: Sequence[PlainTable]) -> str:
    """The page of what `page_data` gives, with exact overall ranks and addresses of pictures."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    scripts, style = [asset(name) for name in SCRIPTS], asset(STYLE)
    environment = Environment(
        loader=PackageLoader("bench.report.page"),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_one_line,
        trim_blocks=True,
    )
    text = environment.get_template(TEMPLATE).render(
        digest=page_digest(contents, tables),
        policy=policy(scripts, style),
        style=style,
        scripts=scripts,
        board=island({k: v for k, v in contents.items() if k not in _IN_HTML}),
        encoders=len(contents["encoders"]),
        tasks=len(contents["tasks"]),
        cells=f"{len(contents['cells']):,}",
        answers=_answers(contents["answers"]),
        tables=tables,
        studies=[_study(study) for study in contents["studies"]],
    )
    return text + "\n"


def write_page(board: Board, out: Path) -> int:
    """Write the page in one step, unless the file is equal, and return its size in bytes.

    Raises BenchError where it cannot be written, or a library is missing."""
    if out.is_dir():
        raise BenchError(f"{out} is a folder; name a file for the page, such as {out / PAGE}")
    text = page(board, out=out)
    if current(out) != text:
        write_atomically(out, text.encode())
    board.recall.save()
    return len(text.encode())


def asset(name: str) -> str:
    """The text of a script or style of the page."""
    return resources.files("bench.report.page").joinpath("assets", name).read_text("utf-8")


def policy(scripts: Sequence[str], style: str) -> str:
    """The Content-Security-Policy under which these scripts and this style run and nothing else does."""
    sources = " ".join(_hash(script) for script in scripts)
    return (
        f"default-src 'none'; script-src {sources}; style-src {_hash(style)}; "
        "img-src data: file: 'self'; base-uri 'none'; form-action 'none'"
    )


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def island(contents: Mapping[str, Any]) -> str:
    """JSON in ASCII without the characters that mean something in HTML: it can neither end the element
    that it stands in nor begin a comment."""
    text = json.dumps(contents, separators=(",", ":"), sort_keys=True, allow_nan=False)
    for character in "<>&":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text


def _one_line(value: Any) -> Any:
    """What a template prints: strings of records without control characters and turned writing."""
    return printable(value) if type(value) is str else value


def _exact(board: Board) -> list[list[int]]:
    """Index of the encoder, first and last rank and group of ties, of the overall ranking."""
    complete, places = complete_rows(board), {row: i for i, row in enumerate(sorted(board.rows))}
    if not complete:
        return []
    ranks, groups = overall_ranks(board, complete)
    return [
        [places[row], *rank, group]
        for (row, _), rank, group in zip(complete, ranks, groups, strict=True)
    ]


def _answers(answers: Sequence[Mapping[str, str]]) -> list[tuple[str, str, list[str]]]:
    """Question, name of the set of tasks, and texts."""
    return [
        (question, page, [_inline(answer["text"]) for answer in group])
        for (question, page), group in groupby(answers, lambda a: (a["question"], a["page"]))
    ]


def _study(study: Mapping[str, Any]) -> dict[str, Any]:
    figures = [
        {"file": figure["file"], "address": _address(figure["svg"])} for figure in study["figures"]
    ]
    return {**study, "text": _blocks("\n\n".join(study["text"])), "figures": figures}


def _address(svg: str) -> str:
    """As an image, in which no script runs."""
    data = base64.b64encode(svg.encode("utf-8", "replace")).decode()
    return f"data:image/svg+xml;base64,{data}"


def _markdown() -> Any:
    """Without HTML, links and images: a text of a record leads nowhere."""
    from markdown_it import MarkdownIt

    rules = ["link", "image", "autolink", "html_inline", "html_block", "reference"]
    return MarkdownIt("commonmark", {"html": False}).disable(rules)


def _inline(text: str) -> str:
    return str(_markdown().renderInline(printable(text)))


def _blocks(text: str) -> str:
    lines = [printable(line) for line in text.split("\n")]
    return str(_markdown().render("\n".join(lines)))


def _pictures(
    pictures: Sequence[Mapping[str, Any]], store: Store, out: Path
) -> list[dict[str, Any]]:
    """With their addresses as seen from the page; none where they do not lie below its folder, as a page
    holds no path of a machine."""
    folder, root = out.absolute().parent, store.root.absolute()
    if not root.is_relative_to(folder):
        return []
    start = Path(os.path.relpath(root, folder)).as_posix()
    return [
        {**picture, "file": quote(f"{start}/{picture['path']}", safe="/,=@~+")}
        for picture in pictures
    ]
