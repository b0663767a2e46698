"""Scaling and penalty of few labels: the folds, the evidence for a choice, and its search."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import log_softmax, softmax
from sklearn.linear_model import LogisticRegression

from bench.data.samples import Array
from bench.protocols.parts.few_labels import (
    FOLDS,
    GRID,
    SINGLE_LABEL,
    Scaling,
    Trial,
    choose,
    cross_validated,
    folds,
)

COUNTS = [[5] * 3, [2] * 10, [2] * 3, [100] * 4, [3, 3, 7], [1, 2, 2], [1, 1, 2, 30], [2, 4], [7]]


def labels(counts: list[int]) -> Array:
    """Labels of classes of these sizes, in mixed order."""
    y = np.repeat(np.arange(len(counts)), counts)
    return np.random.default_rng(0).permutation(y)


class Newton:
    """Exact, in float64, by dense Newton steps for all penalties at once; notes the rows of each call."""

    def __init__(self, classes: int) -> None:
        self.classes, self.rows = classes, list[int]()

    def __call__(self, x: Array, y: Array, penalties: Array, factors: Array) -> tuple[Array, Array]:
        self.rows.append(len(y))
        k, (n, d), l = self.classes, x.shape, len(penalties)  # noqa: E741
        ones = np.ones((l, n, 1))
        z = np.concatenate([x / np.sqrt(factors)[:, None], ones], axis=2)  # (l, n, d + 1)
        ridge = np.concatenate([np.tile(penalties[:, None], d), np.full((l, 1), 1e-10)], axis=1)
        at, truth = np.zeros((l, k, d + 1)), np.eye(k)[y]

        def value(at: Array) -> Array:
            log_p = log_softmax(z @ at.transpose(0, 2, 1), axis=2)
            loss: Array = (
                -(truth * log_p).sum((1, 2)) / n + (ridge[:, None] * at**2).sum((1, 2)) / 2
            )
            return loss

        for _ in range(50):
            p = softmax(z @ at.transpose(0, 2, 1), axis=2)
            slope = (p - truth).transpose(0, 2, 1) @ z / n + ridge[:, None] * at
            hessian = np.zeros((l, k, d + 1, k, d + 1))
            for c, e in np.ndindex(k, k):
                curve = p[:, :, c] * ((c == e) - p[:, :, e]) / n
                hessian[:, c, :, e] = z.transpose(0, 2, 1) @ (curve[..., None] * z)
                if c == e:
                    hessian[:, c, range(d + 1), c, range(d + 1)] += ridge
            flat = hessian.reshape(l, k * (d + 1), -1)
            step = np.linalg.solve(flat, slope.reshape(l, -1, 1)).reshape(at.shape)
            size, before = np.ones(l), value(at)
            while (rises := value(at - size[:, None, None] * step) > before + 1e-12).any():
                size[rises] /= 2
            at = at - size[:, None, None] * step
            if (slope * step).sum((1, 2)).max() < 1e-11:
                break
        return at[:, :, :-1].transpose(0, 2, 1) / np.sqrt(factors)[..., None], at[:, :, -1]


def both(x: Array) -> list[Scaling]:
    variances = x.var(axis=0)
    return [
        Scaling.of("one", np.full(x.shape[1], variances.mean()), variances),
        Scaling.of("each", variances, variances),
    ]


def spread(
    per_class: int, scales: Array, *, classes: int = 3, seed: int = 0
) -> tuple[Array, Array]:
    """Classes that overlap, of features whose first two tell them apart, then noise; times `scales`."""
    rng = np.random.default_rng(seed)
    y = np.repeat(np.arange(classes), per_class)
    centres = np.zeros((classes, len(scales)))
    centres[:, :2] = 2 * np.array(
        [[np.cos(a), np.sin(a)] for a in 2 * np.pi / classes * np.arange(classes)]
    )
    return (centres[y] + rng.standard_normal((len(y), len(scales)))) * scales, y


@pytest.mark.parametrize("counts", COUNTS, ids=str)
def test_rows_are_held_out_evenly_and_no_class_is_held_out_as_a_whole(counts: list[int]) -> None:
    y = labels(counts)
    fold = folds(y)
    single = np.array(counts)[y] == 1
    np.testing.assert_array_equal(fold == -1, single)
    held_out = int((~single).sum())
    assert fold.max() + 1 == min(FOLDS, held_out)
    assert np.ptp(np.bincount(fold[~single])) <= 1
    for number in range(fold.max() + 1):
        remaining = np.bincount(y[fold != number], minlength=len(counts))
        assert (remaining > 0).all()
        assert (np.array(counts) - remaining <= -(-np.array(counts) // FOLDS)).all()


@pytest.mark.parametrize("counts", [[2501, 2500], [5100, 9, 2, 1]], ids=str)
def test_of_more_than_5_000_rows_a_tenth_is_held_out_once(counts: list[int]) -> None:
    y = labels(counts)
    fold = folds(y)
    assert set(fold) == {-1, 0}
    assert (fold == 0).sum() == pytest.approx(len(y) / 10, abs=1)
    assert (np.bincount(y[fold == -1], minlength=len(counts)) > 0).all()


def trial(scaling: int, penalty: float, nll: list[float], correct: list[int]) -> Trial:
    return Trial(scaling, penalty, np.tile(nll, 10), np.tile(np.array(correct, bool), 10))


BASE = trial(0, 1e-3, [1.0, 1.2], [1, 0])


@pytest.mark.parametrize(
    ("rival", "wins"),
    [
        (trial(0, 1e-4, [0.99, 1.2], [1, 0]), True),  # less NLL in the same scaling
        (trial(0, 1e-2, [1.0, 1.2], [1, 0]), True),  # all equal: the larger penalty
        (trial(0, 1e-4, [1.0, 1.2], [1, 0]), False),
        (trial(1, 1e-2, [1.0, 1.2], [1, 0]), False),  # all equal: the first scaling
        (trial(1, 1e-3, [0.9, 1.1], [1, 0]), True),  # every row gains: the second scaling
        (trial(1, 1e-3, [0.4, 1.7], [1, 0]), False),  # gains that could be chance
        (trial(0, 1e-4, [1.3, 1.4], [1, 1]), True),  # clearly more rows right
        (trial(1, 1e-4, [1.3, 1.4], [1, 1]), True),  # in the second scaling, too
        (trial(0, 1e-4, [0.9, 1.1], [0, 0]), False),  # less NLL, but clearly fewer rows right
    ],
)
def test_nll_chooses_among_those_that_are_not_clearly_less_accurate(
    rival: Trial, wins: bool
) -> None:
    for trials in ([BASE, rival], [rival, BASE]):
        assert choose(trials) is (rival if wins else BASE)


def test_a_row_more_that_is_right_is_no_evidence() -> None:
    nll, correct = np.full(20, 1.0), np.arange(20) < 10
    low = Trial(0, 1e-3, nll, correct)
    assert choose([low, Trial(0, 1e-4, nll + 0.1, np.arange(20) < 12)]) is low
    lucky = Trial(0, 1e-4, nll + 0.1, np.arange(20) < 16)
    assert choose([low, lucky]) is lucky


@pytest.mark.parametrize("seed", range(2))
def test_the_choice_is_that_of_scikit_learn_on_the_same_folds(seed: int) -> None:
    x, y = spread(4, np.array([1.0, 3.0, 0.3]), seed=seed)
    x -= x.mean(axis=0)
    scalings = both(x)
    actual = cross_validated(x, y, scalings, Newton(3))
    trials = []
    for i, scaling in enumerate(scalings):
        z = x / np.sqrt(scaling.factors)
        for rho in GRID[1:12:2]:  # to 3e-5: scikit-learn does not converge far below
            parts = []
            for number in range(FOLDS):
                out = folds(y) == number
                c = 1 / (rho * scaling.trace * (~out).sum())
                model = LogisticRegression(C=c, solver="newton-cg", max_iter=1000, tol=1e-10).fit(
                    z[~out], y[~out]
                )
                log_p = log_softmax(model.decision_function(z[out]), axis=1)
                parts.append((log_p[np.arange(out.sum()), y[out]], log_p.argmax(axis=1) == y[out]))
            nll, correct = (np.concatenate(part) for part in zip(*parts, strict=True))
            trials.append(Trial(i, rho * scaling.trace, -nll, correct))
    matches = []
    for expected in trials:
        [match] = [
            t
            for t in actual.trials
            if t.scaling == expected.scaling and t.penalty == pytest.approx(expected.penalty)
        ]
        matches.append(match)
        np.testing.assert_allclose(match.nll, expected.nll, atol=1e-4)
        np.testing.assert_array_equal(match.correct, expected.correct)
    best, chosen = choose(trials), choose(matches)
    assert (chosen.scaling, chosen.penalty) == (best.scaling, pytest.approx(best.penalty))
    overall = choose(actual.trials)
    assert (actual.scaling, actual.penalty) == (overall.scaling, overall.penalty)


def test_directions_of_little_variance_are_not_enlarged_where_the_large_ones_tell() -> None:
    scales = np.concatenate([[3.0, 3.0], np.full(12, 0.1)])
    x, y = spread(10, scales)
    assert cross_validated(x - x.mean(0), y, both(x), Newton(3)).scaling == 0


@pytest.mark.parametrize("seed", range(2))
def test_each_feature_is_scaled_where_the_large_ones_are_noise(seed: int) -> None:
    x, y = spread(5, np.append([0.03, 0.03], np.ones(12)), seed=seed)
    assert cross_validated(x - x.mean(0), y, both(x), Newton(3)).scaling == 1


@pytest.mark.parametrize("factor", [1e-2, 1e3])
def test_the_scale_of_the_features_does_not_matter(factor: float) -> None:
    x, y = spread(4, np.array([1.0, 2.0, 0.5]))
    x -= x.mean(0)
    choice, scaled = (cross_validated(z, y, both(z), Newton(3)) for z in (x, factor * x))
    assert scaled.scaling == choice.scaling
    # The factors take the scale out: penalties are those on scaled features.
    assert scaled.penalty == pytest.approx(choice.penalty)


@pytest.mark.parametrize("counts", [[1, 1, 1], [1, 1, 1, 2]], ids=str)
def test_where_too_few_rows_can_be_held_out_the_penalty_is_a_share_of_the_trace_a_row(
    counts: list[int],
) -> None:
    y = np.repeat(np.arange(len(counts)), counts)
    x = np.random.default_rng(0).standard_normal((len(y), 8))
    solve = Newton(len(counts))
    choice = cross_validated(x, y, both(x), solve)
    assert (choice.scaling, choice.trials, solve.rows) == (0, (), [])
    assert choice.penalty == pytest.approx(SINGLE_LABEL * both(x)[0].trace / len(y))


@pytest.mark.parametrize("classes", [2, 4, 8])
def test_the_fixed_penalty_bounds_how_sure_a_row_is_of_its_class(classes: int) -> None:
    """For orthogonal rows whose squared length is the trace; without it the logits would be unbounded."""
    x, y, scaling = (
        np.sqrt(8) * np.eye(8)[:classes],
        np.arange(classes),
        Scaling("one", np.ones(8), 8),
    )
    solve = Newton(classes)
    choice = cross_validated(x, y, [scaling], solve)
    weights, biases = solve(x, y, np.array([choice.penalty]), scaling.factors[None])
    logits = x @ weights[0] + biases[0]
    surplus = logits.diagonal() - logits.mean(axis=1)
    assert (surplus < 1 / SINGLE_LABEL).all() and (surplus > 0.2 / SINGLE_LABEL).all()


def test_a_class_with_a_single_row_does_not_decide() -> None:
    x, y = spread(6, np.array([1.0, 1.0, 0.5]))
    x, y = x[5:] - x[5:].mean(0), y[5:]  # one row of the first class
    solve = Newton(3)
    choice = cross_validated(x, y, both(x), solve)
    assert choice.trials and choice.penalty < 0.1 * both(x)[0].trace
    assert all(len(t.nll) == 12 for t in choice.trials)


@pytest.mark.parametrize(
    ("direction", "reaches"),
    [(-1, (10.0, 10**-8.0)), (1, (10**4.0, 10**-7.0)), (0, (10.0, 10**-7.0))],
)
def test_the_search_goes_outward_while_half_a_decade_gains(
    direction: int, reaches: tuple[float, float]
) -> None:
    """The true class is ahead of the two others by as many nats as the share of the trace has decades:
    7 nats at the lower edge, where half a decade gains .0012; at 8 it gains .0004, which is not enough.
    At the upper edge the search ends at the outermost share."""

    def solve(x: Array, y: Array, penalties: Array, factors: Array) -> tuple[Array, Array]:
        lead = direction * np.log10(penalties / 4)
        return lead[:, None, None] * np.eye(3), np.zeros((len(penalties), 3))

    y = np.repeat(np.arange(3), 4)
    choice = cross_validated(np.eye(3)[y], y, [Scaling("one", np.ones(3), 4.0)], solve)
    shares = [t.penalty / 4 for t in choice.trials]
    assert (max(shares), min(shares)) == pytest.approx(reaches)
    assert len(shares) == len({round(2 * np.log10(share)) for share in shares})
    if direction:
        assert choice.penalty / 4 == pytest.approx(reaches[direction < 0])


def test_labels_without_a_pattern_get_the_shares_of_the_classes() -> None:
    rng = np.random.default_rng(3)
    x, y = rng.standard_normal((40, 20)), np.arange(40) % 2
    choice = cross_validated(x - x.mean(0), y, both(x), Newton(2))
    best = min(choice.trials, key=lambda t: t.nll.mean())
    assert best.nll.mean() < np.log(2) + 0.01
