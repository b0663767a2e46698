"""Which classes the training data of pretrained weights has: class names searched in its label lists."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

from bench.data.semantics import read_semantics
from bench.report.board import Board, display_name
from bench.report.text import names_text, table
from bench.tasks.task import Task

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
    """Whether a class is in a label list, and the label that shows it ("": none)."""

    met: Met
    label: str


@cache
def exposure(name: str, source: str) -> Exposure | None:
    """Compare a class name with the labels of a data set of `LISTS`; None for any other data set.

    named: one of the name's alternatives ("T-shirt/top" has two) is a label. possible: a label ends with
    the same word ("cowboy boot" for "Ankle boot"), or its definition has the word. Words are compared
    without case and plural s. Synonyms are not matched ("automobile" and "car"), and words have several
    senses ("crane"): people must read it, and it does not prove that a class is new.
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
            (label for label, _, definition in _labels(source) if heads & set(definition)), ""
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
    """Label, words of each synonym, and words of the definition of every class of a list."""
    spec = find_spec("timm")
    places = spec.submodule_search_locations if spec is not None else None
    if not places:
        return ()
    folder = Path(next(iter(places))) / "data" / "_info"
    lemmas, definitions = (
        _table(str(folder / f"imagenet_synset_to_{w}.txt")) for w in ("lemma", "definition")
    )
    labels = []
    for synset in (folder / LISTS[source]).read_text(encoding="utf-8").split():
        label = lemmas.get(synset, "")
        synonyms = [_words(synonym) for synonym in label.split(",")]
        labels.append((label, synonyms, _words(definitions.get(synset, ""))))
    return labels


@cache
def _table(path: str) -> dict[str, str]:
    lines = Path(path).read_text(encoding="utf-8").splitlines()
    return dict(line.split("\t", 1) for line in lines if "\t" in line)


_NOTE = (
    "Class names, searched in the label lists of the data that the weights were trained on. Named: a "
    "label is the class. Possible: a label ends with the same word, or its definition has it. Synonyms "
    "are not matched, and words have several senses: a class that is not found may be in the data all "
    "the same. Scores of these encoders on classes that are found are not zero-shot scores."
)


def section(board: Board, tasks: Mapping[str, Task]) -> list[str]:
    """For each encoder with pretrained weights and each data set: which of its classes they have met."""
    lines: dict[tuple[str, ...], None] = {}
    for (owner, encoder), records in board.rows.items():
        for name, record in records.items():
            semantics = tasks[name].semantics if name in tasks else None
            if semantics is None:
                continue
            for source in record.encoder.pretrained_on or ():
                counts = _counts(read_semantics(semantics).classes, source)
                label = display_name(owner, encoder, records)
                lines[label, source, tasks[name].dataset, *counts] = None
    if not lines:
        return []
    head = ["encoder", "weights trained on", "classes of", "named", "possible", "not found"]
    return [
        "### Classes in the training data of pretrained weights",
        _NOTE,
        table(head, sorted(lines)),
    ]


def _counts(classes: Sequence[str], source: str) -> list[str]:
    """Number and first names of the classes that are named, possible and not found."""
    if source not in LISTS:
        return ["no label list", "", ""]
    groups: dict[str, list[str]] = {"named": [], "possible": [], "not found": []}
    for name in classes:
        match = exposure(name, source)
        groups[match.met if match else "not found"].append(name)
    return [
        f"{len(names)}: {names_text(names, limit=10)}" if names else "0"
        for names in groups.values()
    ]
