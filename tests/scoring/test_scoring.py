"""The scorer: one place for test labels; what it stores gives its scores again."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
import scipy.stats

from bench.data.samples import Meta, Target
from bench.errors import BenchError
from bench.results.record import Record, Replicate, StoredPredictions
from bench.scoring.scorer import Scorer, primary_rows
from bench.statistics.metrics import score
from bench.tasks.files import load
from bench.tasks.task import Coords, Primary, Replicates, Task
from tests.kit import records
from tests.kit.records import unnoted

N = 120
KINDS = {
    "label": Target("classes", 4, tuple("abcd")),
    "digit": Target("classes", 10, tuple("0123456789")),
    "traits": Target("binary", 3, tuple("xyz")),
    "sizes": Target("number", 2, ("w", "h")),
}


def task(*, primary: dict[str, Any] | None = None, **changes: Any) -> Task:
    return dataclasses.replace(
        load("digits-knn"), primary=Primary(**{"target": "label", **(primary or {})}), **changes
    )


def labels(target: Target, rng: np.random.Generator, lost: float = 0.0) -> Any:
    """Labels of N rows, a share of them missing."""
    shape = (N,) if target.kind == "classes" else (N, target.size)
    missing = rng.uniform(size=shape) < lost
    if target.kind == "number":  # quarters are exact in fp16
        values = rng.integers(-8, 9, size=shape) / 4
        return np.where(missing, np.nan, values).astype(np.float32)
    size = target.size if target.kind == "classes" else 2
    return np.where(missing, -1, rng.integers(size, size=shape)).astype(np.int64)


def predicted(target: Target, truth: Any, rng: np.random.Generator) -> Any:
    """Log-probabilities, or numbers in quarters, that are better than chance."""
    if target.kind == "number":
        return (np.nan_to_num(truth) + rng.integers(-2, 3, size=truth.shape) / 4).astype(np.float32)
    if target.kind == "binary":
        p = rng.uniform(0.05, 0.95, size=truth.shape)
        return np.log(np.where(rng.uniform(size=p.shape) < 0.5, p, 0.2 + 0.6 * truth.clip(0)))
    scores = rng.normal(size=(N, target.size)) + 1.5 * np.eye(target.size)[truth.clip(0)]
    return scores - np.logaddexp.reduce(scores, axis=1, keepdims=True)


def run(
    question: Task,
    targets: dict[str, Target],
    truth: dict[str, Any],
    coords: list[Coords],
    seed: int = 0,
) -> tuple[Scorer, list[Replicate]]:
    """A scorer after it has scored a replicate of random predictions at each of `coords`."""
    rng = np.random.default_rng(seed)
    scorer, replicates = Scorer(question, targets, truth, before=unnoted), []
    for number, at in enumerate(coords):
        predictions = {name: predicted(t, truth[name], rng) for name, t in targets.items()}
        scores = scorer.score(number, Meta(targets), "log_probability", predictions, {})
        n_train = 1000 if at.per_class is None else 10 * at.per_class
        replicates.append(
            Replicate(coords=at, status="ok", n_train=n_train, scores=scores, report={})
        )
    return scorer, replicates


def seeds(count: int = 3, **at: Any) -> list[Coords]:
    return [Coords(encoder_seed=i, head_seed=i, **at) for i in range(count)]


def record(question: Task, targets: dict[str, Target], replicates: list[Replicate]) -> Record:
    return Record(
        owner="o",
        encoder=records.encoder(),
        task=records.task(id=question.name),
        data=records.data(),
        protocol=records.protocol(),
        status="ok",
        replicates=tuple(replicates),
        predictions=StoredPredictions(
            kinds={name: (t.kind, t.size) for name, t in targets.items()}
        ),
    )


CASES = [
    ("accuracy", "label", ["label"]),
    ("accuracy", None, ["label", "digit"]),
    ("accuracy", "digit", ["label", "digit", "sizes"]),
    ("accuracy", None, ["label", "traits"]),
    ("balanced_accuracy", "label", ["label"]),
    ("balanced_accuracy", None, ["label", "digit"]),
    ("accuracy", "traits", ["traits"]),
    ("mse", "sizes", ["sizes"]),
    ("r2", "sizes", ["sizes", "label"]),
]


@pytest.mark.parametrize("lost", [0.0, 0.4])
@pytest.mark.parametrize(("metric", "target", "names"), CASES)
def test_the_primary_value_is_the_mean_of_its_metric_over_replicates_and_targets(
    metric: str, target: str | None, names: list[str], lost: float
) -> None:
    rng = np.random.default_rng(3)
    targets = {name: KINDS[name] for name in names}
    truth = {name: labels(t, rng, lost) for name, t in targets.items()}
    question = task(primary={"metric": metric, "target": target})
    scorer, replicates = run(question, targets, truth, seeds())
    chosen = [target] if target else names
    expected = np.mean([r.scores[name][metric] for r in replicates for name in chosen])
    primary = scorer.primary(replicates)
    assert primary.value == pytest.approx(expected)
    assert primary.low < primary.value < primary.high
    assert (primary.metric, primary.target, primary.reduction) == (metric, target, "mean")
    rows = primary_rows(record(question, targets, replicates), question, scorer.arrays)
    assert list(rows) == [(i, i, None, None) for i in range(3)]
    for key, replicate in zip(rows, replicates, strict=True):
        means = np.mean([replicate.scores[name][metric] for name in chosen])
        assert rows[key].shape == (N,)
        assert rows[key].mean() == pytest.approx(means)


@pytest.mark.parametrize(
    ("metric", "name", "column"),
    [
        ("accuracy", "traits", -1),
        ("mse", "sizes", np.nan),
        ("r2", "sizes", np.nan),
        ("r2", "sizes", 2.0),
    ],
)
def test_a_column_that_has_no_score_does_not_move_the_primary(
    metric: str, name: str, column: float
) -> None:
    """A column of labels that are all missing, or (r2) all the same."""
    target = KINDS[name]
    truth = labels(target, np.random.default_rng(5))
    truth[:, 1] = column
    question = task(primary={"metric": metric, "target": name})
    scorer, replicates = run(question, {name: target}, {name: truth}, seeds())
    expected = np.mean([r.scores[name][metric] for r in replicates])
    assert scorer.primary(replicates).value == pytest.approx(expected)


@pytest.mark.parametrize(
    ("metric", "name"),
    [("nll", "traits"), ("balanced_accuracy", "traits"), ("accuracy", "sizes"), ("mse", "label")],
)
def test_a_metric_that_the_target_lacks_is_refused_rather_than_another_given(
    metric: str, name: str
) -> None:
    targets = {name: KINDS[name]}
    truth = {name: labels(targets[name], np.random.default_rng(5))}
    question = task(primary={"metric": metric, "target": name})
    scorer, replicates = run(question, targets, truth, seeds())
    with pytest.raises(BenchError, match="not a mean over test rows"):
        scorer.primary(replicates)


def test_the_primary_likelihood_is_kept_to_a_32nd_of_a_nat() -> None:
    truth = {"label": labels(KINDS["label"], np.random.default_rng(0), 0.3)}
    question = task(primary={"metric": "nll"})
    scorer, replicates = run(question, {"label": KINDS["label"]}, truth, seeds())
    expected = np.mean([r.scores["label"]["nll"] for r in replicates])
    assert scorer.primary(replicates).value == pytest.approx(expected, abs=1 / 32)


def test_a_metric_that_is_no_mean_over_rows_needs_replicates() -> None:
    question = task(primary={"metric": "ece"})
    truth = {"label": labels(KINDS["label"], np.random.default_rng(0))}
    scorer, replicates = run(question, {"label": KINDS["label"]}, truth, seeds())
    with pytest.raises(BenchError, match="not a mean over test rows"):
        scorer.primary(replicates)


@pytest.mark.parametrize("metric", ["accuracy", "ece", "nll"])
def test_an_interval_over_replicates_is_students(metric: str) -> None:
    targets = {name: KINDS[name] for name in ("label", "digit")}
    truth = {name: labels(t, np.random.default_rng(1)) for name, t in targets.items()}
    question = task(primary={"metric": metric, "target": None, "interval": "replicates"})
    at = [*seeds(4), *seeds(4, control="shuffled_labels"), *seeds(4, shift="blur", strength=1.0)]
    scorer, replicates = run(question, targets, truth, at)
    values = [np.mean([r.scores[n][metric] for n in targets]) for r in replicates[:4]]
    expected = scipy.stats.t.interval(0.95, 3, np.mean(values), scipy.stats.sem(values))
    primary = scorer.primary(replicates)
    assert (primary.low, primary.high) == pytest.approx(expected)
    assert primary.value == pytest.approx(np.mean(values))


@pytest.mark.parametrize("family", ["probe", "shift"])
def test_controls_never_count_and_shifts_count_in_their_family_alone(family: Any) -> None:
    truth = {"label": labels(KINDS["label"], np.random.default_rng(2))}
    at = [
        *seeds(),
        *seeds(control="shuffled_labels"),
        *seeds(shift="blur", strength=1.0),
        *seeds(shift="blur", strength=2.0),
    ]
    question = task(family=family)
    scorer, replicates = run(question, {"label": KINDS["label"]}, truth, at)
    counted = replicates[6:] if family == "shift" else replicates[:3]
    expected = np.mean([r.scores["label"]["accuracy"] for r in counted])
    assert scorer.primary(replicates).value == pytest.approx(expected)
    rows = primary_rows(
        record(question, {"label": KINDS["label"]}, replicates), question, scorer.arrays
    )
    assert len(rows) == 3


@pytest.mark.parametrize("interval", ["rows", "replicates"])
@pytest.mark.parametrize("full", [False, True])
def test_a_log_area_is_the_trapezoid_over_log2_of_the_labels(full: bool, interval: str) -> None:
    """The fit on all labels, where there is one, ends the curve of every subset."""
    truth = {"label": labels(KINDS["label"], np.random.default_rng(4))}
    sizes = (1, 4, 20)
    primary = {"reduction": "log_area", "interval": interval}
    question = task(
        family="few_labels",
        primary=primary,
        replicates=Replicates(per_class=(*sizes, 0) if full else sizes, subsets=3),
    )
    at = [Coords(per_class=size, subset=s) for size in sizes for s in range(3)]
    at += [Coords()] if full else []
    scorer, replicates = run(question, {"label": KINDS["label"]}, truth, at)
    areas = []
    for subset in range(3):
        subset_replicates = [r for r in replicates if r.coords.subset in (subset, None)]
        x = np.log2([r.n_train for r in subset_replicates])
        y = [r.scores["label"]["accuracy"] for r in subset_replicates]
        areas.append(np.trapezoid(y, x) / (x[-1] - x[0]))
    result = scorer.primary(replicates)
    assert result.value == pytest.approx(np.mean(areas))
    if interval == "replicates":
        expected = scipy.stats.t.interval(0.95, 2, np.mean(areas), scipy.stats.sem(areas))
        assert (result.low, result.high) == pytest.approx(expected)
    else:
        rows = primary_rows(
            record(question, {"label": KINDS["label"]}, replicates), question, scorer.arrays
        )
        assert [key[3] for key in rows] == [0, 1, 2]
        assert [r.mean() for r in rows.values()] == pytest.approx(areas)


@pytest.mark.parametrize("interval", ["rows", "replicates"])
def test_a_task_without_a_wrong_row_is_no_certainty(interval: str) -> None:
    """Of N rows, all right in three replicates, Clopper and Pearson's interval."""
    targets = {"label": KINDS["label"]}
    truth = labels(KINDS["label"], np.random.default_rng(4))
    certain = np.log(np.eye(4)[truth].clip(1e-9))
    scorer = Scorer(task(primary={"interval": interval}), targets, {"label": truth}, before=unnoted)
    replicates = []
    for number, at in enumerate(seeds()):
        scores = scorer.score(number, Meta(targets), "log_probability", {"label": certain}, {})
        replicates.append(Replicate(coords=at, status="ok", n_train=100, scores=scores, report={}))
    primary = scorer.primary(replicates)
    exact = scipy.stats.binomtest(N, N).proportion_ci(0.95, method="exact")
    assert (primary.value, primary.low, primary.high) == pytest.approx((1.0, exact.low, 1.0))


def test_failed_replicates_do_not_count_and_none_left_is_refused() -> None:
    truth = {"label": labels(KINDS["label"], np.random.default_rng(2))}
    scorer, replicates = run(task(), {"label": KINDS["label"]}, truth, seeds())
    broken = [
        dataclasses.replace(replicates[0], status="failed", scores={}),
        *replicates[1:],
    ]
    expected = np.mean([r.scores["label"]["accuracy"] for r in replicates[1:]])
    assert scorer.primary(broken).value == pytest.approx(expected)
    with pytest.raises(BenchError, match="no replicate is ok"):
        scorer.primary([dataclasses.replace(r, status="failed") for r in replicates])


def test_a_variant_is_scored_like_a_target_and_never_kept() -> None:
    rng = np.random.default_rng(6)
    truth = {"label": labels(KINDS["label"], rng)}
    scorer = Scorer(task(), {"label": KINDS["label"]}, truth, before=unnoted)
    columns = {
        name: predicted(KINDS["label"], truth["label"], rng) for name in ("label", "label:k")
    }
    report = {"temperature": {"label": 1.0, "label:k": 2.0}}
    scores = scorer.score(0, Meta({"label": KINDS["label"]}), "log_probability", columns, report)
    for name, temperature in report["temperature"].items():
        expected = score(
            "classes", truth["label"], columns[name], probabilistic=True, temperature=temperature
        )
        assert scores[name] == expected
    assert set(scorer.arrays) == {"truth/label", "0/label/class", "0/label/top", "0/label/true"}


def test_what_row_scores_need_and_is_not_stored_is_named() -> None:
    truth = {"label": labels(KINDS["label"], np.random.default_rng(2))}
    question = task(family="multitask", primary={"metric": "nll"})
    scorer, replicates = run(question, {"label": KINDS["label"]}, truth, seeds(1))
    with pytest.raises(BenchError, match=r"nll needs \['top', 'true'\]"):
        scorer.primary(replicates)
    del scorer.arrays["0/label/class"]
    with pytest.raises(BenchError, match="not stored"):
        scorer.primary(replicates)


@pytest.mark.parametrize("family", ["few_labels", "multitask"])
def test_many_replicates_keep_the_class_alone(family: Any) -> None:
    truth = {"label": labels(KINDS["label"], np.random.default_rng(2))}
    scorer, _ = run(task(family=family), {"label": KINDS["label"]}, truth, seeds(1))
    assert set(scorer.arrays) == {"truth/label", "0/label/class"}


def test_an_output_of_scores_has_no_likelihood() -> None:
    rng = np.random.default_rng(6)
    truth = {"label": labels(KINDS["label"], rng)}
    scorer = Scorer(task(), {"label": KINDS["label"]}, truth, before=unnoted)
    columns = {"label": 3 * predicted(KINDS["label"], truth["label"], rng)}
    scores = scorer.score(0, Meta({"label": KINDS["label"]}), "score", columns, {})
    assert set(scores["label"]) == {"accuracy", "balanced_accuracy"}
    assert set(scorer.arrays) == {"truth/label", "0/label/class"}


@pytest.mark.parametrize(
    "shapes",
    [
        {},
        {"other": (N, 4)},
        {"label": (N, 4), "other": (N, 4)},
        {"label:k": (N, 4)},
        {"label": (N, 3)},
        {"label": (N - 1, 4)},
        {"label": (N,)},
        {"label": (N, 4), "label:k": (N, 5)},
        {"label": (N, 4), "other:k": (N, 4)},
    ],
)
def test_other_targets_and_shapes_are_refused(shapes: dict[str, tuple[int, ...]]) -> None:
    truth = {"label": labels(KINDS["label"], np.random.default_rng(2))}
    scorer = Scorer(task(), {"label": KINDS["label"]}, truth, before=unnoted)
    predictions = {name: np.full(shape, -1.0) for name, shape in shapes.items()}
    with pytest.raises(BenchError, match="expected"):
        scorer.score(0, Meta({"label": KINDS["label"]}), "score", predictions, {})


def test_a_replicate_is_scored_once() -> None:
    """Who could score again could choose by it."""
    truth = {"label": labels(KINDS["label"], np.random.default_rng(2))}
    scorer, meta = (
        Scorer(task(), {"label": KINDS["label"]}, truth, before=unnoted),
        Meta({"label": KINDS["label"]}),
    )
    predictions = {"label": np.full((N, 4), -1.0)}
    scorer.score(0, meta, "score", predictions, {})
    scorer.score(1, meta, "score", predictions, {})
    with pytest.raises(BenchError, match="read once"):
        scorer.score(0, meta, "score", predictions, {})
