"""How many dimensions are enough? Codes of 2 to 512 numbers: what they rebuild, tell, and really use."""

from __future__ import annotations

from bench.drawing.charts import load_altair
from bench.errors import BenchError
from bench.naming.specs import resolve
from bench.scoring.scorer import primary_rows
from bench.studies.base import Report, Setting, measured
from bench.studies.dimension._report import Found, report
from bench.tasks.cell import Cell
from bench.tasks.files import load
from bench.tasks.task import Replicates

__all__ = ["run"]

REVISION = 1
KNOWN_AS = "studies/dimension"  # its key in the revisions of records
METHODS = {
    "pca": "pca,dim={d}",
    "autoencoder": "autoencoder,code={d},level=code~{budget}",
    "vae": "vae,code={d},level=code~{budget}",
}


def run(
    *,
    setting: Setting,
    dataset: str = "fashion_mnist",
    dims: str = "2 8 32 128 512",
    budget: str = "60k",
    seeds: int = 1,
) -> Report:
    """Fit PCA, an autoencoder and a VAE with codes of each of `dims` numbers on training rows,
    the last two at `budget` images with `seeds` seeds, and measure what the codes tell a linear probe
    (test images), how well they rebuild validation images, and how many dimensions they use.

    Raises BenchError for fewer than two dims, those that are no whole numbers above 0, no seed, and where
    charts cannot be drawn.
    """
    sizes = _sizes(dims)
    if seeds < 1:
        raise BenchError(f"dimension: seeds={seeds}; 1 or more is wanted")
    load_altair()
    task = load(f"{resolve('datasets', dataset).text}-linear").derive(
        name=f"{resolve('datasets', dataset).text}-dimension",
        family="diagnostics",
        protocol="ridge",
        diagnostics=("effective_rank", "reconstruction"),
        replicates=Replicates(seeds=seeds),
    )
    cells = {
        (method, d): Cell(task, resolve("encoders", text.format(d=d, budget=budget)))
        for method, text in METHODS.items()
        for d in sizes
    }
    store, records = measured(list(cells.values()), setting)
    by_cell = {(record.encoder["id"], record.task["id"]): record for record in records}
    found = []
    for (method, d), cell in cells.items():
        record = by_cell[cell.encoder.text, task.name]
        rows = primary_rows(record, task, store.predictions(record))
        found.append(Found.of(method, d, list(rows.values()), record.diagnostics))
    asked = {"dataset": task.dataset, "dims": sizes, "budget": budget, "seeds": seeds}
    return report(found, asked=asked)


def _sizes(text: str) -> list[int]:
    words = text.split()
    if len(set(words)) < 2 or not all(word.isdecimal() and int(word) > 0 for word in words):
        raise BenchError(
            f"dimension: dims={text!r}; two or more whole numbers above 0, a space between"
        )
    return sorted({int(word) for word in words})
