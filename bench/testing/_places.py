"""Lines of a user's file: where an error was raised, and where a name is defined, returns or draws."""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from traceback import walk_tb
from typing import Any

# Calls that read or set a state that all components share, and calls that differ from run to run.
_SHARED = re.compile(
    r"(torch|np|numpy|random|nn|F)\b.*(rand|seed|normal|dropout|bernoulli|multinomial|shuffle|choice|"
    r"permutation|uniform|set_|deterministic)|.*drop\w*|os\.chdir"
)
_ENTROPY = re.compile(
    r"(.*\.)?(default_rng|RandomState|SystemRandom|urandom|time\w*|id|hash)|secrets\..*"
)


def causes(error: BaseException) -> list[BaseException]:
    """The error and those that it comes from, the first one first."""
    chain = [error]
    while (cause := chain[0].__cause__ or chain[0].__context__) and cause not in chain:
        chain.insert(0, cause)
    return chain


def raised_at(error: BaseException, path: Path) -> tuple[Path, int] | None:
    """The file and line where the error, or the one that caused it, was raised: the innermost call in
    `path` or a file of its folder; None where none of them was running."""
    for first in causes(error):
        if isinstance(first, SyntaxError) and first.filename and first.lineno:
            return Path(first.filename), first.lineno
        frames = [(Path(f.f_code.co_filename), line) for f, line in walk_tb(first.__traceback__)]
        if users := [place for place in frames if place[0].parent == path.parent]:
            return users[-1]
    return None


def running_line(path: Path) -> int | None:
    """The line of `path` that runs now, the innermost one; None where none does."""
    frame = sys._getframe(1)
    while frame and frame.f_code.co_filename != str(path):
        frame = frame.f_back  # type: ignore[assignment]
    return frame.f_lineno if frame else None


def line_of(path: Path, place: str) -> int | None:
    """The line of a place, as `bench.testing._scope.Scope` writes it; None where the file has none.

    "?" alone is the first statement outside functions that draws.
    """
    name = place.strip("?!=()")
    if path.suffix == ".toml":
        keys = re.compile(rf"\s*(\[+{name}\]+|{name}\s*=)")
        texts = path.read_text(encoding="utf-8-sig").splitlines()
        return next((n for n, line in enumerate(texts, 1) if keys.match(line)), None)
    tree = ast.parse(path.read_bytes())
    nodes: list[Any] = list(_definitions(tree, name))
    if place == "?":
        nodes = [n for n in tree.body if not isinstance(n, ast.FunctionDef | ast.ClassDef)]
    lines = [node.lineno for node in nodes]
    inner: list[Any] = [inside for node in nodes for inside in ast.walk(node)]
    if place[0] in "?!":
        lines = [n.lineno for n in inner if isinstance(n, ast.Call) and _draws(n, place[0])]
    elif place[0] == "=":
        lines = [n.lineno for n in inner if _changes(n)]
    elif place.endswith("()"):
        returns = [n.lineno for n in inner if isinstance(n, ast.Return) and n.value]
        lines = returns[-1:] or lines
    return min(lines, default=None)


def _definitions(tree: ast.Module, name: str) -> Iterator[ast.stmt | ast.expr | ast.keyword]:
    """Functions and classes `name`, assignments to it or to an attribute, and its keyword arguments."""
    for node in ast.walk(tree):
        match node:
            case (
                ast.FunctionDef(name=label)
                | ast.ClassDef(name=label)
                | ast.Name(id=label, ctx=ast.Store())
                | ast.Attribute(attr=label, ctx=ast.Store())
                | ast.keyword(arg=label)
            ) if label == name:
                yield node


def _changes(node: ast.AST) -> bool:
    """Whether it changes an object in place: `x -= 1`, `x[0] = 1`, `x.add_(1)`."""
    if isinstance(node, ast.Assign):
        return any(isinstance(target, ast.Subscript) for target in node.targets)
    is_call = isinstance(node, ast.Call) and ast.unparse(node.func).endswith("_")
    return is_call or isinstance(node, ast.AugAssign)


def _draws(call: ast.Call, mark: str) -> bool:
    """Whether a call uses a state that others share ("?"), or differs from run to run (also "!")."""
    name = ast.unparse(call.func)
    if not call.args and _ENTROPY.fullmatch(name):
        return True
    if mark == "!" or any(keyword.arg == "generator" for keyword in call.keywords):
        return False
    return bool(_SHARED.match(name)) and "default_rng" not in name
