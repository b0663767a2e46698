"""Is a file a plain SVG: a picture that runs nothing and asks for nothing from elsewhere?"""

from __future__ import annotations

from collections.abc import Mapping
from xml.parsers import expat

SVG = "http://www.w3.org/2000/svg"
ELEMENTS = frozenset(
    [
        "svg",
        "g",
        "title",
        "desc",
        "defs",
        "clipPath",
        "path",
        "rect",
        "line",
        "circle",
        "text",
        "tspan",
        "linearGradient",
        "stop",
    ]
)
_OUTSIDE = ("://", "javascript:", "data:", "@import", "\\")


class _NotPlainError(Exception):
    pass


def why_not_plain(content: bytes) -> str:
    """Why a file is no plain SVG; "" if it is one. Plain: well-formed, elements that draw and describe
    alone, no document type, no instruction to the reader's program, no attribute for events, styles or
    links, no address."""
    parser = expat.ParserCreate(namespace_separator=" ")
    depth = 0

    def start(name: str, attributes: Mapping[str, str]) -> None:
        nonlocal depth
        space, _, element = name.rpartition(" ")
        if space != SVG or element not in ELEMENTS or (depth == 0) != (element == "svg"):
            raise _NotPlainError(f"the element {element!r}")
        depth += 1
        for key, value in attributes.items():
            _require_plain(key, value.lower())

    def end(_: str) -> None:
        nonlocal depth
        depth -= 1

    def refuse(*_: object) -> None:
        raise _NotPlainError("a document type or an instruction")

    parser.StartElementHandler, parser.EndElementHandler = start, end
    parser.StartDoctypeDeclHandler = parser.EntityDeclHandler = refuse
    parser.ProcessingInstructionHandler = refuse
    try:
        parser.Parse(content, True)
    except _NotPlainError as reason:
        return f"it has {reason}"
    except (expat.ExpatError, ValueError, LookupError) as error:
        return f"it is no XML ({error})"
    return ""


def _require_plain(key: str, value: str) -> None:
    """Raise where an attribute does more than draw."""
    bare = key.rpartition(" ")[2].lower()
    if bare.startswith("on") or bare in ("href", "src", "style", "base"):
        raise _NotPlainError(f"the attribute {bare!r}")
    away = value.replace("url(#", "").replace("url('#", "").replace('url("#', "")
    if "url(" in away or any(word in value for word in _OUTSIDE):
        raise _NotPlainError(f"an address in the attribute {bare!r}")
