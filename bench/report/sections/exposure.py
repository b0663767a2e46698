"""Have given weights met a class? Its name, looked for in the label lists of their training data."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

from bench.data.semantics import read
from bench.report.board import Board, name_of
from bench.report.text import names_text, table

__all__ = ["LISTS", "Exposure", "exposure", "section"]

Met = Literal["named", "possible", "not found"]
# Label lists that come with timm (Apache-2.0), read as text: nothing of it is imported.
LISTS: Mapping[str, str] = {
    "imagenet-1k": "imagenet_synsets.txt",
    "imagenet-12k": "imagenet12k_synsets.txt",
    "imagenet-21k": "imagenet21k_goog_synsets.txt",
    "imagenet-22k": "imagenet22k_synsets.txt",
}


@dataclass(frozen=True, slots=True)
class Exposure:
    """How a class stands in a label list, and the label that says so ("": none does)."""

    met: Met
    label: str


def exposure(name: str, source: str) -> Exposure | None:
    """A class by its name against the labels of a data set of `LISTS`; None for any other.

    named: one of the name's alternatives ("T-shirt/top" has two) is a label. possible: a label is a kind
    of it by its last word ("cowboy boot" of "Ankle boot"), or the label's definition has the word. Words
    are compared without case and plural s. Synonyms are not known ("automobile" is no "car"), and a word
    has several senses ("crane"): an audit to be read, no proof that a class is new.
    """
    if source not in LISTS:
        return None
    alternatives = [_words(part) for part in re.split(r"[/,]", name) if _words(part)]
    heads = {words[-1] for words in alternatives if words[-1].isalpha()}
    possible = ""
    for label, lemmas, _ in _labels(source):
        if any(lemma in alternatives for lemma in lemmas):
            return Exposure("named", label)
        if not possible and any(lemma[-1] in heads for lemma in lemmas if lemma):
            possible = label
    if not possible:
        possible = next(
            (workspace for workspace, _, told in _labels(source) if heads & set(told)), ""
        )
    return Exposure("possible", possible) if possible else Exposure("not found", "")


def _words(text: str) -> tuple[str, ...]:
    """
    >>> _words("Ankle boots"), _words("T-shirt"), _words("bus"), _words("dress")
    (('ankle', 'boot'), ('t', 'shirt'), ('bus',), ('dress',))
    """
    words = re.findall(r"[a-z0-9]+", text.lower())
    return tuple(w[:-1] if re.search(r"[^su]s$", w) and len(w) > 3 else w for w in words)


@cache
def _labels(source: str) -> Sequence[tuple[str, list[tuple[str, ...]], tuple[str, ...]]]:
    """Of every class of a list: its label, its synonyms and the definition's words."""
    spec = find_spec("timm")
    places = spec.submodule_search_locations if spec is not None else None
    if not places:
        return ()
    folder = Path(next(iter(places))) / "data" / "_info"
    lemmas, told = (
        _table(str(folder / f"imagenet_synset_to_{w}.txt")) for w in ("lemma", "definition")
    )
    found = []
    for synset in (folder / LISTS[source]).read_text(encoding="utf-8").split():
        label = lemmas.get(synset, "")
        found.append(
            (label, [_words(one) for one in label.split(",")], _words(told.get(synset, "")))
        )
    return found


@cache
def _table(path: str) -> dict[str, str]:
    lines = Path(path).read_text(encoding="utf-8").splitlines()
    return dict(line.split("\t", 1) for line in lines if "\t" in line)


_MET = (
    "Have given weights met the classes already? Class names, looked for in the label lists of what the "
    "weights were trained on. Named: a label is the class. Possible: a label is a kind of it by its last "
    "word, or its definition has the word. Synonyms are not known, and a word has several senses: what "
    "was not found is not proven new, and scores of such encoders are no zero-shot scores of those found."
)


def section(board: Board) -> list[str]:
    """By encoder with given weights, their data sets, and table of signatures: the classes met."""
    lines: dict[tuple[str, ...], None] = {}
    for (owner, encoder), records in board.rows.items():
        for name, record in records.items():
            semantics = board.tasks[name].semantics
            if board.tasks[name].family != "zeroshot" or semantics is None:
                continue
            for source in map(str, record.encoder.get("pretrained_on") or ()):
                who = name_of(owner, encoder, records)
                lines[
                    who, source, board.tasks[name].dataset, *_met(read(semantics).classes, source)
                ] = None
    if not lines:
        return []
    head = ["encoder", "weights have seen", "classes of", "named", "possible", "not found"]
    return ["### Classes that weights may have met", _MET, table(head, sorted(lines))]


def _met(classes: Sequence[str], source: str) -> list[str]:
    """How many classes, and the first of them, by what is found of them."""
    if source not in LISTS:
        return ["its labels are not known here", "", ""]
    groups: dict[str, list[str]] = {"named": [], "possible": [], "not found": []}
    for name in classes:
        told = exposure(name, source)
        groups[told.met if told else "not found"].append(name)
    return [
        f"{len(some)}: {names_text(some, most=10)}" if some else "0" for some in groups.values()
    ]
