"""Changes of files that somebody hostile or unlucky could make: of values, bytes, arrays and archives."""

from __future__ import annotations

import copy
import io
import json
import math
import struct
import zipfile
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
from hypothesis import strategies as st

Draw = Callable[[st.SearchStrategy[Any]], Any]
Array = npt.NDArray[Any]

# Texts that terminals, file systems, Markdown, HTML, JSON, TOML or Python take for more than they are.
TEXTS = [
    "", " ", ".", "..", "../x", "/etc/passwd", "%2F", "~", "-x", "--help", "con", "NUL.json", "\0",
    "a\0b", "a\nb", "a\rb", "\x1b[31mread me\x1b[0m", "\x9b1m", "\u202eabc", "\u200b", "\ufeff",
    "\ud800", "\udcff", "é", "\u0435", "ﬁ", "İ", "ß", "\U0001d7d9", "\u0661", "x" * 300,
    "x" * 30_000, "[x](javascript:y)", "<script>x</script>", "|", "`", "a|b", "$x$", "@somebody",
    "https://example.org", "&lt;", "{}", "{0}", "%s", "%(x)s", "${HOME}", "\\", "\\u0000", "'", '"',
    "None", "nan", "inf", "true", "1e999", "0x10", "1_000", "label", "label:k=1", "truth",
    "accuracy", "ausuc", "nll", "mean", "rows", "classes", "number", "binary", "pixels", "pca",
    "vae@mnist", "pixels,size=4", "pixels,size=x", "x.py", "../x.py", "onnx,path=x.onnx",
    "features,path=/etc", "timm_backbone,model=x", "pixels~0", "pixels@digits~1", "level=code",
    "digits", "digits-knn", "reptransfer", "local", "tasks", "studies", "semantics",
    "fashion_mnist", "shuffled_labels", "knn,k=5", "linear", "=", "knn,k=99999999999999999999",
    "knn,k=-1", "knn,k=1e5", "0-999999/label/class", "schema", "digest", ",",
]  # fmt: skip
NUMBERS = [
    0, 1, -1, 2, 3, 10, 255, 256, 540, 2**31, 2**53 + 1, 2**63 - 1, 2**63, -(2**63), 10**18, 10**30,
    10**400, 0.0, -0.0, 0.5, 1.0, -0.5, 1.0000001, 2.5, 1e-320, 1e16, 1e99, 1e100, 1e101, 1e308,
    -1e308, math.nan, math.inf, -math.inf,
]  # fmt: skip
OTHERS = [
    None,
    True,
    False,
    [],
    {},
    [[]],
    [None],
    {"": ""},
    {"x": {"y": []}},
    [1, "a", None],
    [0.5] * 40,
]


def anything() -> st.SearchStrategy[Any]:
    """A value of JSON, most of them at the border of what is allowed."""
    leaf = st.one_of(st.sampled_from(TEXTS), st.sampled_from(NUMBERS), st.sampled_from(OTHERS))
    return st.one_of(leaf, st.text(max_size=20), st.integers(), st.floats())


# --- Values of JSON


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The paths of all values in a value of JSON, not more than ten of a list."""
    below: list[tuple[Any, Any]] = []
    if isinstance(value, dict):
        below = list(value.items())
    elif isinstance(value, list):
        below = list(enumerate(value[:10]))
    return [path, *(place for key, inner in below for place in places(inner, (*path, key)))]


def at(value: Any, path: tuple[Any, ...]) -> Any:
    for key in path:
        value = value[key]
    return value


def changed(value: Any, draw: Draw) -> tuple[Any, str]:
    """A copy of `value` in which one part is replaced, removed, renamed, doubled or a little different;
    and what was done."""
    value = copy.deepcopy(value)
    # First how deep: else nearly all changes are of the many values in the replicates' lists.
    depth = draw(st.integers(1, 7))
    inner = [p for p in places(value) if p and len(p) <= depth]
    if not inner:
        return draw(anything()), "all replaced"
    path = draw(st.sampled_from(inner))
    parent, key = at(value, path[:-1]), path[-1]
    present = parent[key]
    kind = draw(st.sampled_from(["replace", "near", "near", "remove", "rename", "double", "move"]))
    if kind == "remove":
        del parent[key]
    elif kind == "rename" and isinstance(parent, dict):
        parent[draw(st.sampled_from(TEXTS))] = parent.pop(key)
    elif kind == "double" and isinstance(parent, list):
        parent.extend([copy.deepcopy(present)] * draw(st.sampled_from([1, 2, 50])))
    elif kind == "move":
        parent[key] = copy.deepcopy(at(value, draw(st.sampled_from(inner))))
    elif kind == "near":
        parent[key] = near(present, draw)
    else:
        parent[key] = draw(anything())
    return value, f"{kind} {path!r:.80}"


def near(present: Any, draw: Draw) -> Any:
    """A value that is nearly the present one, so that it passes what looks at types alone."""
    if isinstance(present, bool) or present is None:
        return draw(st.sampled_from([True, False, None, 0, 1, "true"]))
    if isinstance(present, int | float):
        steps = [present + 1, present - 1, -present, present * 10, present * 1e6, present / 3]
        return draw(st.sampled_from([*steps, float(present), str(present), present + 1e-9, 0]))
    if isinstance(present, str):
        place = draw(st.integers(0, len(present)))
        inserted = present[:place] + draw(st.sampled_from(TEXTS)) + present[place:]
        return draw(st.sampled_from([inserted, present[:place], present.upper(), present * 2]))
    if isinstance(present, list):
        return draw(st.sampled_from([present[:1], present[::-1], present * 2, [present]]))
    return {**present, draw(st.sampled_from(TEXTS)): draw(anything())}


def text_of(value: Any, draw: Draw) -> bytes:
    """`value` as JSON, in one of several ways to write it."""
    ascii_only, indent = draw(st.booleans()), draw(st.sampled_from([None, 1]))
    return json.dumps(value, ensure_ascii=ascii_only, indent=indent).encode(
        "utf-8", "surrogatepass"
    )


# --- Bytes


def damaged(content: bytes, draw: Draw) -> tuple[bytes, str]:
    """Some bytes are replaced, removed, doubled, inserted, or all after a place are gone."""
    start = draw(st.integers(0, len(content)))
    size = draw(st.sampled_from([1, 1, 2, 4, 16, 1000]))
    kind = draw(st.sampled_from(["replace", "remove", "double", "insert", "cut", "text"]))
    part = content[start : start + size]
    if kind == "replace":
        part = draw(st.binary(min_size=len(part), max_size=len(part)))
    elif kind == "remove":
        part = b""
    elif kind == "double":
        part *= draw(st.sampled_from([2, 100]))
    elif kind == "insert":
        part = draw(st.binary(max_size=8)) + part
    elif kind == "text":
        part = draw(st.sampled_from(TEXTS)).encode("utf-8", "surrogatepass") + part
    end = b"" if kind == "cut" else content[start + size :]
    return content[:start] + part + end, f"{kind} {size} bytes at {start}"


# --- Arrays and archives


DTYPES = [
    "i1",
    "i2",
    "i4",
    "i8",
    "u1",
    "u2",
    "u8",
    "f2",
    "f4",
    "f8",
    "?",
    "c8",
    "S3",
    "U2",
    ">i2",
    "M8[s]",
]


def changed_arrays(arrays: Mapping[str, Array], draw: Draw) -> tuple[dict[str, Array], str]:
    """One array has another type, shape, name or content, or is gone."""
    arrays = dict(arrays)
    if not arrays:
        return {draw(st.sampled_from(TEXTS)): np.zeros(3)}, "an array"
    name = draw(st.sampled_from(sorted(arrays)))
    array = arrays[name]
    kind = draw(
        st.sampled_from(
            ["type", "fill", "some", "rows", "shape", "order", "remove", "rename", "copy"]
        )
    )
    with np.errstate(all="ignore"):
        if kind == "type":
            target = np.dtype(draw(st.sampled_from(DTYPES)))
            arrays[name] = np.resize(array, array.shape).astype(np.float64).astype(target)
        elif kind in ("fill", "some"):
            rows = slice(None, None, 1 if kind == "fill" else draw(st.sampled_from([2, 7, 100])))
            arrays[name] = array.copy()
            if array.ndim:
                arrays[name][rows] = extreme(array.dtype, draw)
        elif kind == "rows":
            arrays[name] = np.resize(array, draw(st.sampled_from([0, 1, 2, 3, 10, 1000])))
        elif kind == "shape":
            shapes = [array[None], array[..., None], array.ravel(), np.stack([array, array], -1)]
            arrays[name] = shapes[draw(st.integers(0, 3))]
        elif kind == "order":
            arrays[name] = array[::-1].copy()
        elif kind == "remove":
            del arrays[name]
        elif kind == "rename":
            arrays[draw(st.sampled_from(TEXTS))] = arrays.pop(name)
        else:
            arrays[draw(st.sampled_from(sorted(arrays)))] = array
    return arrays, f"{kind} {name}"


def extreme(dtype: np.dtype[Any], draw: Draw) -> Any:
    if dtype.kind == "f":
        return draw(st.sampled_from([math.nan, math.inf, -math.inf, 0.0, 60000.0, -1.0, 1e-8]))
    if dtype.kind in "iu":
        limits = np.iinfo(dtype)
        return draw(st.sampled_from([limits.min, limits.max, 0, 1, 9]))
    return 0


def archive(arrays: Mapping[str, Array], draw: Draw) -> tuple[bytes, str]:
    """A zip file of packed arrays, with a lie in its directory, its headers or its members."""
    kind = draw(st.sampled_from(["directory", "name", "header", "method", "member", "end"]))
    members = dict[str, bytes]()
    for name, array in arrays.items():
        with io.BytesIO() as file:
            np.lib.format.write_array(file, np.asarray(array), allow_pickle=False)
            members[f"{name}.npy"] = file.getvalue()
    chosen = draw(st.sampled_from(sorted(members))) if members else ""
    if kind == "header" and members:
        start, _, values = members[chosen].partition(b"\n")
        spoilt, _ = damaged(start, draw)
        members[chosen] = spoilt + b"\n" + values
    elif kind == "member" and members:
        members[chosen], _ = damaged(members[chosen], draw)
    elif kind == "name" and members:
        name = draw(st.sampled_from(TEXTS)).replace("\0", "").encode("utf-8", "replace").decode()
        members[name[:60_000] + draw(st.sampled_from(["", ".npy"]))] = members.pop(chosen)
    method = draw(st.sampled_from([zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_LZMA]))
    method = method if kind == "method" else zipfile.ZIP_BZIP2
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as file:
        for name, content in members.items():
            file.writestr(name, content)
        if kind == "directory" and file.infolist():
            info = draw(st.sampled_from(file.infolist()))
            field = draw(st.sampled_from(["file_size", "compress_size", "CRC", "header_offset"]))
            present = getattr(info, field)
            lies = [0, 1, present + 1, max(present - 1, 0), 2**28, 2**31, 2**32 - 1]
            setattr(info, field, draw(st.sampled_from(lies)))
    content = bytearray(buffer.getvalue())
    if kind == "end":
        place = draw(st.sampled_from([-22, -18, -16, -14, -12, -10, -6, -2]))
        lie = struct.pack("<H", draw(st.sampled_from([0, 1, 2, 100, 65535])))
        content[place : len(content) + place + 2] = lie
    return bytes(content), f"archive: {kind} of {chosen!r:.40}"


# --- TOML


VALUES = [
    "1", "0", "-1", "1e400", "nan", "inf", "-inf", "9" * 30, "9" * 5000, "0x" + "f" * 5000, "true",
    '""', "''", "[]", "{}", "[[]]", "[1, 'a']", "1979-05-27", "07:32:00", "1979-05-27T07:32:00Z",
    "{x = 1}", '"""a\nb"""', "[" * 3000, "[" * 90, "1." * 90, '"\\u0000"', '"\\ud800"',
    "[[1, 2], [3]]", "[[0, 0]]", "[[99]]", "[-1]", "[0.5, 1e999]", "0.1", "1.0", "[true]",
]  # fmt: skip


def changed_toml(text: str, draw: Draw) -> tuple[str, str]:
    """A line's value, key or place is another; or a line is gone, doubled or damaged."""
    lines = text.split("\n")
    number = draw(st.integers(0, len(lines) - 1))
    key, equals, _ = lines[number].partition("=")
    kind = draw(
        st.sampled_from(["value", "value", "text", "key", "remove", "double", "move", "damage"])
    )
    if kind == "value":
        lines[number] = f"{key}{equals or '='} {draw(st.sampled_from(VALUES))}"
    elif kind == "text":
        lines[number] = f"{key}{equals or '='} {json.dumps(draw(st.sampled_from(TEXTS)))}"
    elif kind == "key":
        lines[number] = lines[number].replace(
            key, draw(st.sampled_from(["x", "'a.b'", "a.b", "", '""']))
        )
    elif kind == "remove":
        del lines[number]
    elif kind == "double":
        lines.insert(number, lines[number])
    elif kind == "move":
        lines.insert(draw(st.integers(0, len(lines) - 1)), lines.pop(number))
    else:
        spoilt, _ = damaged(lines[number].encode("utf-8", "surrogatepass"), draw)
        lines[number] = spoilt.decode("utf-8", "surrogateescape")
    return "\n".join(lines), f"{kind} of line {number}"
