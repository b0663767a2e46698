"""Sharing with a tuned trunk: its two extremes are fine-tuning with one trunk, and with one a task."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from bench.data.samples import Meta, Samples, Target
from bench.errors import BenchError
from bench.protocols import finetune
from bench.protocols.multitask import tuned_sharing
from bench.protocols.parts.tuning import outputs
from tests.protocols.test_finetune import Trunk, images, trunk

BOTH = Meta(
    {"label": Target("classes", 3, ("a", "b", "c")), "dark": Target("classes", 2, ("no", "yes"))}
)


def two(count: int, *, seed: int) -> Samples:
    """Labelled twice: which bar, and whether its row is an odd one."""
    labelled_once = images(count, seed=seed)
    dark = (labelled_once.y["label"] == 1).astype(np.int64)
    return Samples(
        labelled_once.x, {"label": labelled_once.y["label"], "dark": dark}, labelled_once.rows
    )


TRAIN, VAL, TEST = two(60, seed=0), two(30, seed=1), two(40, seed=2)


def shared(coupling: str, meta: Meta = BOTH, **arguments: Any) -> Any:
    arguments = {"images": 1280, "rate": 0.01, **arguments}
    protocol = tuned_sharing.build(meta=meta, trunk=trunk, seed=0, coupling=coupling, **arguments)  # type: ignore[arg-type]
    return protocol.fit(TRAIN, VAL)


def tuned(meta: Meta) -> Any:
    protocol = finetune.build(meta=meta, trunk=trunk, seed=0, images=1280, rate=0.01)  # type: ignore[arg-type]
    return protocol.fit(TRAIN, VAL)


def only(name: str) -> Meta:
    return Meta({name: BOTH.targets[name]})


def test_at_coupling_0_each_task_is_tuned_as_it_would_be_alone() -> None:
    actual = shared("0").predict(TEST.x)
    for name in BOTH.targets:
        expected = tuned(only(name)).predict(TEST.x)[name]
        np.testing.assert_allclose(actual[name], expected, atol=1e-5)


def test_at_infinity_it_is_fine_tuning_on_all_tasks() -> None:
    actual, expected = shared("inf"), tuned(BOTH)
    for name in BOTH.targets:
        np.testing.assert_array_equal(actual.predict(TEST.x)[name], expected.predict(TEST.x)[name])
    assert actual.report() == expected.report()


def test_between_copies_come_closer_the_more_they_are_coupled() -> None:
    apart = [distance(shared(c)._model) for c in ("0", "0.1", "10", "1000")]
    assert apart[0] > apart[1] > apart[2] > apart[3]
    assert apart[3] < 0.05 * apart[0]


def distance(model: Any) -> float:
    pairs = zip(model.trunks[0].parameters(), model.trunks[1].parameters(), strict=True)
    return float(sum((a - b).square().sum() for a, b in pairs).detach())


def test_the_penalty_starts_at_0_and_is_half_the_coupling_times_the_squared_distance() -> None:
    from bench.protocols.parts.probe import LinearHeads

    heads = LinearHeads({n: torch.nn.Linear(64, t.size) for n, t in BOTH.targets.items()})
    model = tuned_sharing.TrunkCopies(Trunk(), heads, 3.0)
    assert float(model.penalty().detach()) == 0.0  # type: ignore[arg-type]
    with torch.no_grad():
        model.trunks[0].conv.bias += 2.0  # type: ignore[operator, union-attr]
    assert float(model.penalty().detach()) == pytest.approx(1.5 * 4 * 4)  # type: ignore[arg-type]
    (first, second) = model.clipped()
    assert len(first) == len(second) == 6 and not set(map(id, first)) & set(map(id, second))
    assert sum(map(len, model.clipped())) == len(list(model.parameters()))


def test_it_starts_as_the_probe_and_counts_all_copies() -> None:
    still = shared("0.1", rate=1e-12, images=64)
    start = tuned_sharing.build(meta=BOTH, trunk=trunk, seed=0).start_as_probe(TRAIN, VAL).model  # type: ignore[arg-type]
    logits = outputs(start, TEST.x)  # type: ignore[arg-type]
    for name, values in still.predict(TEST.x).items():
        expected = torch.from_numpy(logits[name]).log_softmax(dim=1).numpy()
        np.testing.assert_allclose(values, expected, atol=1e-4)
    trunk_size = sum(p.numel() for p in Trunk().parameters())
    assert shared("0").report()["parameters"] - shared("inf").report()["parameters"] == trunk_size


def test_wrong_arguments_are_refused() -> None:
    for wrong in ({"coupling": "x"}, {"coupling": "-1"}, {"images": 0}, {"least": 0.0}):
        with pytest.raises(BenchError, match="tuned_sharing"):
            tuned_sharing.build(meta=BOTH, trunk=trunk, seed=0, **wrong)  # type: ignore[arg-type]
