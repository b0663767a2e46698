"""`reptransfer semantics`: a table of class signatures, made from word vectors."""

from __future__ import annotations

import argparse
from pathlib import Path

from bench.cli.options import Parsers, add_command
from bench.cli.terminal import OK, print_json
from bench.errors import BenchError


def add(parsers: Parsers) -> None:
    parser = add_command(
        parsers, "semantics", run, "make a table of classes for zero-shot tasks from word vectors"
    )
    parser.add_argument(
        "vectors", metavar="VECTORS", help="word vectors, in the text format of GloVe or word2vec"
    )
    parser.add_argument(
        "--classes",
        required=True,
        metavar="C",
        help="the classes: a table, or a .txt file with one name per line",
    )
    parser.add_argument("--out", required=True, metavar="T.toml", help="the table to write")


def run(arguments: argparse.Namespace) -> int:
    import dataclasses

    from bench.data.semantics import read_semantics, write_semantics
    from bench.data.word_vectors import from_vectors
    from bench.files.reading import read_text

    if not arguments.out.endswith(".toml"):
        raise BenchError(f"--out {arguments.out!r}: the name must end with .toml")
    if arguments.classes.endswith(".txt"):
        lines = read_text(Path(arguments.classes), "a list of names").splitlines()
        names = [line.strip() for line in lines if line.strip()]
        table = from_vectors(Path(arguments.vectors), names)
    else:
        template = read_semantics(arguments.classes)
        table = from_vectors(Path(arguments.vectors), template.classes)
        table = dataclasses.replace(table, splits=template.splits)
    write_semantics(table, Path(arguments.out))
    width = len(table.attributes)
    if arguments.json:
        print_json({"file": arguments.out, "classes": table.classes, "width": width})
    else:
        print(f"{arguments.out} has {len(table.classes)} classes, {width} numbers per class")
    return OK
