"""The linear probe where there are fewer rows than features: the same optimum in a smaller space."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from scipy.special import log_softmax
from sklearn.linear_model import LogisticRegression

from bench.data.samples import Meta, Samples, Target
from bench.protocols import linear
from bench.protocols.parts import probe as probe_parts

META = Meta({"label": Target("classes", 3, ("a", "b", "c"))})


def rows(count: int, dim: int, *, seed: int) -> Samples:
    rng = np.random.default_rng(seed)
    y = np.arange(count, dtype=np.int64) % 3
    centres = np.random.default_rng(9).standard_normal((3, dim))
    x = (0.3 * centres[y] + rng.standard_normal((count, dim))).astype(np.float32)
    return Samples(x, {"label": y}, np.arange(count))


def probe() -> linear.LinearProbe:
    return linear.build(meta=META, trunk=lambda *_, **__: torch.nn.Identity(), seed=0)


def objective(weights: Any, bias: Any, x: Any, y: Any, penalty: float) -> float:
    """Mean cross-entropy + penalty / 2 |W|^2 of weights (d, k), biases (k,), in float64."""
    log_p = log_softmax(x @ weights.astype(float) + bias, axis=1)
    loss = -log_p[np.arange(len(y)), y].mean()
    return float(loss + penalty / 2 * np.square(weights.astype(float)).sum())


@pytest.mark.parametrize("dim", [61, 400])
def test_wide_features_reach_the_optimum_that_scikit_learn_finds(dim: int) -> None:
    train, val, test = rows(45, dim, seed=0), rows(15, dim, seed=1), rows(60, dim, seed=2)
    fitted = probe().fit(train, val)
    inner = fitted._probes["label"]
    penalty = inner.report["penalty"]
    assert isinstance(train.x, np.ndarray) and isinstance(val.x, np.ndarray)
    assert isinstance(test.x, np.ndarray)
    mean, scale = train.x.mean(0, dtype=float), train.x.std(0, dtype=float)
    both = (np.concatenate([train.x, val.x]) - mean) / scale
    labels = np.concatenate([train.y["label"], val.y["label"]])
    theirs = LogisticRegression(C=1 / (penalty * len(both)), tol=1e-8, max_iter=20_000)
    theirs.fit(both, labels)
    expected = objective(theirs.coef_.T, theirs.intercept_, both, labels, penalty)
    outer = inner.scaler.unprojected(inner.final.weights[0])
    actual = objective(outer, inner.final.biases[0], both, labels, penalty)
    assert expected - 1e-6 < actual < expected + probe_parts.FINAL_GAP
    agree = theirs.predict((test.x - mean) / scale) == fitted.predict(test.x)["label"].argmax(1)
    assert agree.mean() > 0.95


def test_wide_features_are_solved_in_as_many_numbers_as_there_are_rows(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen: list[int] = []
    solver = probe_parts.SoftmaxPath

    def spy(x: Any, y: Any, classes: int) -> Any:
        seen.append(x.shape[1])
        return solver(x, y, classes)

    monkeypatch.setattr(probe_parts, "SoftmaxPath", spy)
    probe().fit(rows(45, 400, seed=0), rows(15, 400, seed=1))
    probe().fit(rows(45, 50, seed=0), rows(15, 50, seed=1))
    assert seen == [60, 60, 50, 50]


def test_the_head_of_wide_features_is_the_probe_that_was_fitted_on_train_alone() -> None:
    train, val = rows(45, 400, seed=0), rows(15, 400, seed=1)
    fitted = probe().fit(train, val)
    inner = fitted._probes["label"]
    assert isinstance(val.x, np.ndarray) and inner.scaler.basis is not None
    logits = inner.scaler(val.x) @ inner.train_only.weights[0] + inner.train_only.biases[0]
    with torch.no_grad():
        actual = fitted.head()(torch.from_numpy(val.x))["label"].numpy()
    np.testing.assert_allclose(log_softmax(actual, axis=1), log_softmax(logits, axis=1), atol=1e-4)
