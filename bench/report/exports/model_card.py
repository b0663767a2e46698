"""A model card of one encoder, in Markdown: what it is, what it was trained on, scores and their limits.

The parts follow Mitchell et al., "Model Cards for Model Reporting" (2019, arXiv:1810.03993), as far as
records tell them: intended use and ethics are not theirs to say.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Iterator, Mapping, Sequence

from bench.errors import BenchError, printable
from bench.naming.specs import resolve
from bench.report.board import Board
from bench.report.exports.rows import ScoreRow, left_out_of, score_rows
from bench.report.names import short_name
from bench.report.notes import FEW
from bench.report.ranks import Row, range_text
from bench.report.text import code, escaped, interval_text, names_text, scaled, table
from bench.results.record import Record
from bench.statistics.intervals import Interval
from bench.statistics.metrics import METRICS
from bench.tasks.cell import LOCAL, OURS
from bench.tasks.families import FAMILIES


def card_text(
    board: Board, row: Row, tasks: Sequence[str], *, stated: Sequence[tuple[str, str]] = ()
) -> str:
    """The card of an encoder with a score on at least one of `tasks`. stated: what its owner says of it,
    pairs of a word and a text."""
    records = {name: board.rows[row][name] for name in tasks if name in board.rows[row]}
    rows = score_rows(board, tasks, [row])
    parts = [
        f"# {escaped(short_name(row[1], row[0]))}",
        "Made by `reptransfer export card` from records. Where the column *trust* does not say "
        "*reported*, scores were computed again from stored predictions.",
        *_identity(row, records, stated),
        *_source(row, records),
        *_training(records),
        *_scores(rows),
        *_costs(records),
        *_missing(board, row, tasks),
        *_limits(rows, records),
    ]
    return "\n\n".join(parts) + "\n"


def _identity(
    row: Row, records: Mapping[str, Record], stated: Sequence[tuple[str, str]]
) -> Iterator[str]:
    first = next(iter(records.values())).encoder
    lines = [("spec", row[1]), ("owner", row[0]), ("kind", first.group)]
    lines.append(("about", _summary(row)))
    lines += [
        ("digests of the encoder", names_text({r.encoder.digest for r in records.values()})),
        ("level that is read out", names_text({str(r.encoder.read_out) for r in records.values()})),
        *((f"its owner says: {word}", text) for word, text in stated),
    ]
    yield "## Identity"
    yield table(["", ""], [line for line in lines if line[1]])


def _summary(row: Row) -> str:
    """What the package says of its own component; "" of others."""
    try:
        return resolve("encoders", row[1]).entry.summary if row[0] == OURS else ""
    except BenchError:
        return ""


def _source(row: Row, records: Mapping[str, Record]) -> Iterator[str]:
    owner, spec = row
    yield "## How to get it"
    if owner == OURS:
        words = shlex.join(["reptransfer", "run", "--encoder", spec, "--task", next(iter(records))])
        yield f"{code(words)} builds it as for this card, and scores it."
    elif owner == LOCAL:
        yield "It needs files of its user, which are not among the records."
    else:
        yield (
            f"Its owner entered it; {code(f'{owner}/{spec}/entry.toml')} in the results folder names the "
            "files of weights, where they lie, and their SHA-256."
        )
    files = {
        name: content for r in records.values() for name, content in (r.encoder.files or {}).items()
    }
    if files:
        yield table(["file", "digest"], sorted(files.items()))


def _training(records: Mapping[str, Record]) -> Iterator[str]:
    yield "## What it was trained on"
    encoders = [record.encoder for record in records.values()]
    elsewhere = sorted({name for e in encoders for name in e.pretrained_on or ()})
    unlabelled = {name for e in encoders for name in e.unlabelled or ()}
    lines = [
        [name, "elsewhere, " + ("without labels" if name in unlabelled else "with labels")]
        for name in elsewhere
    ]
    seen = dict[str, set[int]]()  # images, by data set
    for record in records.values():
        source = record.encoder.source or record.data.id
        counts = {training.images_seen for training in record.training} - {0}
        seen.setdefault(source, set()).update(counts)
    lines += [
        [name, f"here, its training split, {_numbers(counts)} images seen, repetitions included"]
        for name, counts in sorted(seen.items())
        if counts
    ]
    yield table(["data set", "how"], lines) if lines else "On nothing: it has no trained weights."
    if any(record.task.family == "finetune" for record in records.values()):
        yield "Scores of fine-tuning are of copies that were trained further, on the task's own images."
    labels: dict[str, list[str]] = {}
    for name, record in records.items():
        labels.setdefault(str(record.supervision), []).append(name)
    seen_texts = [f"*{escaped(words)}* on {len(names)}" for words, names in sorted(labels.items())]
    yield (
        f"Labels that it has seen, by number of tasks: {', '.join(seen_texts)} (*labels*: of the task's "
        "own training images; *labels elsewhere*: others)."
    )


def _scores(rows: Sequence[ScoreRow]) -> Iterator[str]:
    yield "## Scores"
    yield (
        "With 95 % intervals over test rows (zero-shot: over classes) and seeds. Ranks are ranges among "
        "the encoders that were tested against each other on the task (all pairs, Holm's adjustment, 5 %)."
    )
    head = ["task", "data set", "metric", "score", "chance", "rank", "n", "seeds", "trust"]
    for name, family in FAMILIES.items():
        lines = [_score_line(row) for row in rows if row.family == name]
        if lines:
            yield f"### {escaped(family.title)}"
            yield table(head, lines)


def _score_line(row: ScoreRow) -> list[str]:
    scale = METRICS[row.metric].scale
    score = interval_text(scaled(Interval(row.value, row.low, row.high), scale))
    rank = (
        ""
        if row.first_rank is None or row.last_rank is None
        else range_text(row.first_rank, row.last_rank)
    )
    return [
        row.task,
        row.dataset,
        row.metric + (", %" if scale == 100 else ""),
        score,
        f"{scale * row.chance:.2f}",
        f"{rank} of {row.compared}" if rank else row.unranked or "no other is ranked",
        str(row.n_test),
        str(row.seeds),
        row.trust,
    ]


def _costs(records: Mapping[str, Record]) -> Iterator[str]:
    seconds = [r.seconds["total"] for r in records.values() if "total" in r.seconds]
    lines = [
        ["parameters, buffers included", _numbers(r.encoder.parameters for r in records.values())],
        ["features", _numbers(r.encoder.dim for r in records.values())],
        ["seconds on all tasks of this card", f"{sum(seconds):.1f}"],
        ["computed on", "; ".join(sorted({_machine(r) for r in records.values()})[:3])],
    ]
    yield "## Costs"
    yield table(["", ""], lines)
    yield "Work that tasks share, such as the training, counts in each of them."


def _numbers(counts: Iterable[int | None]) -> str:
    present = sorted({count for count in counts if count is not None})
    ends = present if len(present) < 2 else [present[0], present[-1]]
    return " to ".join(f"{count:,}" for count in ends)


def _machine(record: Record) -> str:
    machine, threads = record.measured.get("machine"), record.measured.get("threads")
    words = [str(text) for text in machine.values()] if isinstance(machine, dict) else []
    return printable(", ".join([*sorted(words), *([f"{threads} threads"] if threads else [])]))


def _missing(board: Board, row: Row, tasks: Sequence[str]) -> Iterator[str]:
    yield "## Declined, failed or missing"
    lines = [
        line for line in left_out_of(board, None, [row]) if not line[0].startswith("unreadable")
    ]
    if lines:
        yield table(["where", "reason"], [line[1:] for line in lines])
    absent = [name for name in tasks if name not in board.rows[row]]
    if absent:
        names = ", ".join(map(code, absent[:20])) + (
            f" and {len(absent) - 20} more" if absent[20:] else ""
        )
        yield f"No score, where others have one, on {len(absent)} tasks: {names}."
    if not lines and not absent:
        yield "Nothing."


def _limits(rows: Sequence[ScoreRow], records: Mapping[str, Record]) -> Iterator[str]:
    few = [row.task for row in rows if row.n_test < FEW]
    alone = [row.task for row in rows if row.seeds == 1 and records[row.task].encoder.seeded]
    unranked = [row.task for row in rows if row.first_rank is None]
    repeated = [name for name, record in records.items() if record.data.test_in_train]
    collapsed = [n for n, r in records.items() if any(t.notes.get("collapsed") for t in r.training)]
    facts = [
        (few, f"fewer than {FEW} test rows"),
        (alone, "one training only, so that the interval leaves out how trainings differ"),
        (unranked, "no rank"),
        (repeated, "test images that are also in the training split"),
        (collapsed, "a training that has collapsed"),
    ]
    lines = [f"- On {names_text(map(code, names))}: {text}." for names, text in facts if names]
    yield "## Limits"
    yield "\n".join(
        [
            *lines,
            "- The scores hold for these data sets, splits, image sizes and protocols; they say nothing "
            "of other images.",
            "- A rank is among the encoders of this results folder; others change it, not the score.",
        ]
    )
