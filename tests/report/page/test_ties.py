"""Ties of any set of tasks: against brute force, against the exact tests, and in JavaScript."""

from __future__ import annotations

import json
import shutil
import subprocess
from itertools import combinations, product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.stats import t as student

import bench.report.page as package
from bench.errors import BenchError
from bench.report.page.ties import (
    FREEDOM_STEPS,
    NEVER,
    SE_STEPS,
    PairErrors,
    freedom_codes,
    packed,
    se_codes,
    steps,
    ties,
)
from bench.statistics.ranking import pairwise_p, rank_ranges
from bench.statistics.significance import holm
from bench.statistics.variance import Array, Scored

SCRIPT = Path(str(package.__file__)).parent / "assets" / "ties.js"


def page_of(
    values: Array, errors: Array, freedoms: Array, *, unranked: float = 0
) -> dict[str, Any]:
    """A page of scores (tasks, encoders) with standard errors and freedoms (tasks, encoders, encoders)."""
    random, cells, codes = np.random.default_rng(5), [], ([], [])
    for task, scores in enumerate(values):
        ranked = random.random(len(scores)) >= unranked
        for encoder, score in enumerate(scores):
            reason = "" if ranked[encoder] else "fewer seeds"
            cells.append([encoder, task, float(score), 0, 0, None, None, reason, 1.0, "none", "ok"])
        upper = np.triu_indices(int(ranked.sum()), 1)
        codes[0].append(se_codes(errors[task][np.ix_(ranked, ranked)][upper]))
        codes[1].append(freedom_codes(freedoms[task][np.ix_(ranked, ranked)][upper]))
    tasks = [
        {"chance": 0.1 * task, "unit": 1 - 0.2 * task, "images": "ab"[task % 2]}
        for task in range(len(values))
    ]
    random.shuffle(cells)
    return {"tasks": tasks, "cells": cells, "pairs": packed(*codes), **steps()}


def random_page(seed: int, *, tasks: int = 3, encoders: int = 9, unranked: float = 0.2) -> Any:
    random = np.random.default_rng(seed)
    values = random.normal(0.6, 0.05, (tasks, encoders)).round(3)  # some are equal
    errors = random.choice([1e-6, 0.004, 0.02, 0.1, 9.0], (tasks, encoders, encoders))
    freedoms = random.choice([1, 2.5, 7, 60, 9999, np.inf], (tasks, encoders, encoders))
    upper = np.triu(np.ones((encoders, encoders), bool))
    errors, freedoms = (
        np.where(upper, codes, codes.transpose(0, 2, 1)) for codes in (errors, freedoms)
    )
    return page_of(values, errors, freedoms, unranked=unranked)


def test_a_step_is_never_below_its_standard_error_nor_above_its_freedom() -> None:
    errors = np.random.default_rng(0).lognormal(-4, 3, 1000)
    codes, exact = se_codes(errors), np.array([*steps()["se_steps"], np.inf])
    assert (exact[codes] >= errors).all() and (codes == NEVER).any()
    inside = (errors > SE_STEPS[0]) & (codes < NEVER)
    assert (exact[codes][inside] < 1.05 * errors[inside]).all()
    freedoms = np.random.default_rng(1).lognormal(2, 2, 1000) + 1
    assert (FREEDOM_STEPS[freedom_codes(freedoms)] <= freedoms).all()
    assert freedom_codes(np.array([np.inf, 1.0])).tolist() == [len(FREEDOM_STEPS) - 1, 0]


def test_p_is_students_rounded_up() -> None:
    tables = steps()
    t = np.array(tables["p_steps"]["t"])
    assert (np.diff(t) > 0).all() and t[-1] > 6e5
    for freedom, line in zip(tables["freedom_steps"], tables["p_steps"]["p"], strict=True):
        exact = np.maximum(2 * student.sf(t, freedom), 1e-12)
        assert (np.array(line) >= exact * (1 - 1e-9)).all()
        np.testing.assert_allclose(line, exact, rtol=2e-3)


@pytest.mark.parametrize("seed", range(4))
def test_ranges_are_those_of_brute_force(seed: int) -> None:
    page = random_page(seed)
    tables, pairs = steps(), PairErrors(page)
    score = {(encoder, task): value for encoder, task, value, *_ in page["cells"]}
    for tasks in ([0], [2, 1], [0, 1, 2]):
        complete = sorted(set.intersection(*(set(pairs.ranked[task]) for task in tasks)))
        mean = [
            sum((score[e, t] - 0.1 * t) / (1 - 0.2 * t) for t in tasks) / len(tasks)
            for e in complete
        ]
        p = {}
        for a, b in combinations(range(len(complete)), 2):
            both = [pairs.of(task, [complete[a], complete[b]]) for task in tasks]
            steps_of = [*tables["se_steps"], np.inf]
            variances, shares = [], []
            for images in {task % 2 for task in tasks}:
                codes = [c for c, task in zip(both, tasks, strict=True) if task % 2 == images]
                se = [steps_of[error[0, 1]] for error, _ in codes]
                inverse = [1 / tables["freedom_steps"][code[0, 1]] for _, code in codes]
                of_sum = sum(e * i for e, i in zip(se, inverse, strict=True)) / sum(se)
                variances.append(sum(se) ** 2)
                shares.append(sum(se) ** 4 * of_sum)
            error = np.sqrt(sum(variances)) / len(tasks)
            exact_freedom = sum(variances) ** 2 / sum(shares) * 1.000000001
            freedom = sum(step <= exact_freedom for step in tables["freedom_steps"]) - 1
            t = max(
                [0.0, *(s for s in tables["p_steps"]["t"] if s <= abs(mean[a] - mean[b]) / error)]
            )
            line = tables["p_steps"]["p"][freedom]
            p[a, b] = line[tables["p_steps"]["t"].index(t)] if t else 1.0
        differs = {k for k, q in zip(p, holm(list(p.values())), strict=True) if q < 0.05}
        better = [
            sum(mean[o] > mean[e] and (min(o, e), max(o, e)) in differs for o in range(len(mean)))
            for e in range(len(mean))
        ]
        worse = [
            sum(mean[o] < mean[e] and (min(o, e), max(o, e)) in differs for o in range(len(mean)))
            for e in range(len(mean))
        ]
        actual = ties(page, tasks)
        assert actual.encoders == complete
        assert actual.scores == pytest.approx(mean)
        expected = [(1 + a, len(mean) - b) for a, b in zip(better, worse, strict=True)]
        assert actual.ranges == expected


@pytest.mark.parametrize("same_images", [True, False])
def test_no_pair_differs_that_the_exact_test_of_the_mean_does_not_tell_apart(
    same_images: bool,
) -> None:
    random = np.random.default_rng(int(same_images))
    chances = np.linspace(0.5, 0.8, 8)
    right = [random.random((8, 400)) < chances[:, None] for _ in range(2)]
    if same_images:  # and the same predictions: the bound is reached
        right[1] = right[0]
    scored = [[Scored.of(line[None].astype(float)) for line in task] for task in right]
    errors, freedoms = np.zeros((2, 8, 8)), np.full((2, 8, 8), 399.0)
    for task, a, b in product(range(2), range(8), range(8)):
        difference = right[task][a].astype(float) - right[task][b]
        errors[task, a, b] = np.sqrt(difference.var() / 400 + 2 / 400**2)
    means = np.array([[line.mean() for line in task] for task in right])
    page = page_of(means, errors, freedoms)
    page["tasks"] = [
        {"chance": 0.0, "unit": 1.0, "images": "ab"[task * (not same_images)]} for task in (0, 1)
    ]
    groups = [scored[0]] if same_images else scored
    exact = pairwise_p(groups, [1 / len(groups)] * len(groups))
    narrow = rank_ranges(means.mean(axis=0).tolist(), exact)
    wide = ties(page, [0, 1]).ranges
    assert all(w[0] <= n[0] and n[1] <= w[1] for w, n in zip(wide, narrow, strict=True))
    width = [sum(last - first for first, last in ranges) for ranges in (wide, narrow)]
    assert width[0] <= width[1] + 4  # and hardly wider


def test_a_page_with_too_few_codes_is_refused() -> None:
    page = random_page(0)
    page["pairs"] = packed([np.zeros(1, np.uint8)], [np.zeros(1, np.uint8)])
    with pytest.raises(BenchError, match="2 codes of pairs"):
        ties(page, [0])


def test_encoders_without_a_rank_on_one_of_the_tasks_have_none() -> None:
    page = random_page(1, unranked=1)
    assert ties(page, [0, 1]).encoders == []
    single = random_page(1, encoders=1, unranked=0)
    assert ties(single, [0]).ranges == [(1, 1)]


@pytest.mark.skipif(shutil.which("node") is None, reason="Node is not installed")
def test_javascript_gives_the_same_ties(tmp_path: Path) -> None:
    pages = [random_page(seed, tasks=5, encoders=12) for seed in range(6)]
    random = np.random.default_rng(3)
    chosen = [sorted(random.permutation(5)[: 1 + seed % 4].tolist()) for seed in range(6)]
    (tmp_path / "pages.json").write_text(json.dumps([pages, chosen]))
    script = f"""
        const ties = require({json.dumps(str(SCRIPT))});
        const [pages, chosen] = require({json.dumps(str(tmp_path / "pages.json"))});
        const answers = pages.map(async (page, i) => ties.compute(await ties.decode(page), chosen[i]));
        Promise.all(answers).then((all) => console.log(JSON.stringify(all)));
    """
    done = subprocess.run(["node", "-e", script], capture_output=True, text=True, check=True)
    for page, tasks, theirs in zip(pages, chosen, json.loads(done.stdout), strict=True):
        ours = ties(page, tasks)
        assert theirs["encoders"] == ours.encoders
        assert theirs["scores"] == pytest.approx(ours.scores, abs=1e-15)
        assert list(zip(theirs["first"], theirs["last"], strict=True)) == ours.ranges
        assert theirs["group"] == ours.groups
