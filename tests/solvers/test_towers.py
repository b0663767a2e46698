"""Towers of several tasks: exact identities between arms, penalties, gates, runs side by side."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest
import torch

from bench.errors import BenchError
from bench.seeding import torch_generator
from bench.solvers.towers import Layout, Run, Towers, hidden_units, parameter_count, train

SIZES = {"colour": 3, "tag": 2, "width": 1}
KINDS: dict[str, Any] = {"colour": "classes", "tag": "binary", "width": "number"}
OWN = Layout(towers=3, width=7, mix="separate")
ONE = Layout(towers=1, width=7, mix="shared")
STITCH = Layout(towers=3, width=7, mix="stitch")


def data(count: int = 90, *, missing: bool = False) -> tuple[Any, dict[str, Any]]:
    rng = np.random.default_rng(0)
    x = rng.standard_normal((count, 5)).astype(np.float32)
    labels = {
        "colour": x[:, :3].argmax(axis=1).astype(np.int64),
        "tag": (x[:, 2:4] > 0).astype(np.int64),
        "width": x[:, 4:5] ** 2,
    }
    if missing:
        gone = rng.random((count, 3)) < 0.4
        labels["colour"][gone[:, 0]] = -1
        labels["tag"][gone[:, 1]] = -1
        labels["width"][gone[:, 2]] = np.nan
    return x, labels


def run(
    layout: Layout, *runs: Run, sizes: Any = SIZES, labels: Any = None, x: Any = None, **how: Any
) -> Towers:
    inputs, texts = data()
    towers = Towers(5, sizes, layout, [run.seed for run in runs])
    how = {"epochs": 6, "batch": 32, **how}
    kinds = {name: KINDS[name] for name in sizes}
    train(
        towers, inputs if x is None else x, texts if labels is None else labels, kinds, runs, **how
    )
    return towers


def outputs(towers: Towers, x: Any = None) -> dict[str, Any]:
    inputs = data()[0] if x is None else x
    with torch.no_grad():
        runs = len(next(iter(towers.parameters.values())))
        outputs = towers(torch.from_numpy(inputs).expand(runs, -1, -1))
    return {name: values.numpy() for name, values in outputs.items()}


def alike(a: dict[str, Any], b: dict[str, Any], atol: float = 0.0) -> None:
    for name in a.keys() | b.keys():
        np.testing.assert_allclose(a[name], b[name], atol=atol, rtol=0)


PLAIN = Run(seed=0, rate=0.01, decay=0.01)


def test_towers_of_their_own_are_separate_trainings() -> None:
    together = outputs(run(OWN, PLAIN))
    for name, size in SIZES.items():
        alone = run(Layout(towers=1, width=7, mix="separate"), PLAIN, sizes={name: size})
        np.testing.assert_allclose(outputs(alone)[name], together[name], atol=1e-6)


@pytest.mark.parametrize("optimiser", ["adamw", "sgd"])
def test_soft_at_0_is_single_task_bit_for_bit(optimiser: str) -> None:
    single = outputs(run(OWN, PLAIN, optimiser=optimiser))
    soft = Run(seed=0, rate=0.01, decay=0.01, coupling=0.0)
    alike(outputs(run(OWN, soft, optimiser=optimiser)), single)
    # Beside a run that is coupled it stays what it is.
    both = outputs(run(OWN, PLAIN, Run(seed=0, rate=0.01, coupling=1.0), optimiser=optimiser))
    alike({name: values[:1] for name, values in both.items()}, single, 1e-6)
    assert not np.allclose(both["colour"][1], single["colour"][0], atol=1e-3)


def test_soft_at_infinity_is_hard_with_the_towers_rate_over_the_tasks() -> None:
    """By plain gradient descent, without heads' bias in the way: one step, then many."""
    for epochs in (1, 6):
        soft = run(OWN, Run(seed=0, rate=0.03, coupling=math.inf), optimiser="sgd", epochs=epochs)
        hard = Towers(5, SIZES, ONE, [0])
        x, labels = data()
        _descend(hard, x, labels, rate=0.03, tower_rate=0.01, epochs=epochs)
        alike(outputs(soft), outputs(hard), 2e-5)
        p = soft.parameters["tower"]
        assert torch.equal(p[:, 0], p[:, 1]) and torch.equal(p[:, 0], p[:, 2])


def _descend(
    towers: Towers, x: Any, labels: Any, *, rate: float, tower_rate: float, epochs: int
) -> None:
    """Gradient descent written out, with the loop's order of rows and its cosine."""
    from bench.solvers.towers import _batches

    tagged = {n: torch.from_numpy(v) for n, v in labels.items()}
    steps = epochs * math.ceil(len(x) / 32)
    for step, rows in enumerate(_batches(len(x), 32, epochs, 0)):
        outputs = towers(torch.from_numpy(x[rows])[None])
        f = torch.nn.functional
        loss = (
            f.cross_entropy(outputs["colour"][0], tagged["colour"][rows])
            + f.binary_cross_entropy_with_logits(outputs["tag"][0], tagged["tag"][rows].float())
            + f.mse_loss(outputs["width"][0], tagged["width"][rows])
        )
        names = list(towers.parameters)
        slopes = torch.autograd.grad(loss, [towers.parameters[n] for n in names])
        share = 0.5 * (1 + math.cos(math.pi * step / steps))
        with torch.no_grad():
            for name, slope in zip(names, slopes, strict=True):
                expected_rate = tower_rate if name.startswith(("tower", "norm")) else rate
                towers.parameters[name] -= share * expected_rate * slope


def test_soft_between_lies_between() -> None:
    apart = [
        float(run(OWN, Run(seed=0, rate=0.01, coupling=c)).tower_distance()[0].detach())
        for c in (0.0, 0.01, 0.1, 1.0, math.inf)
    ]
    assert all(a > b for a, b in itertools.pairwise(apart)) and apart[-1] < 1e-10


def test_the_penalty_is_half_the_squared_distance_of_all_pairs_and_so_are_its_slopes() -> None:
    towers = Towers(5, SIZES, OWN, [0, 1])
    with torch.no_grad():
        for number, value in enumerate(towers.parameters.values()):
            value += torch.randn(value.shape, generator=torch.Generator().manual_seed(number))
    towers.parameters = {n: v.detach().double() for n, v in towers.parameters.items()}
    names = ("tower", "tower:bias", "norm", "norm:bias")
    expected = sum(
        0.5 * (towers.parameters[n][:, s] - towers.parameters[n][:, t]).square().flatten(1).sum(1)
        for n in names
        for s in range(3)
        for t in range(s + 1, 3)
    )
    assert isinstance(expected, torch.Tensor)
    assert torch.allclose(towers.tower_distance(), expected)

    def of(*values: torch.Tensor) -> torch.Tensor:
        towers.parameters.update(zip(names, values, strict=True))
        return towers.tower_distance()

    start = [towers.parameters[n].requires_grad_(True) for n in names]
    assert torch.autograd.gradcheck(of, start)  # type: ignore[no-untyped-call]


@pytest.mark.parametrize("dropped", [False, True])
def test_the_hidden_layer_and_its_slopes_are_those_of_plain_pytorch(dropped: bool) -> None:
    draw = torch_generator(0, "")
    x = torch.randn(2, 7, 4, generator=draw, dtype=torch.float64)
    shapes = [(2, 3, 4, 5), (2, 3, 1, 5), (2, 3, 1, 5), (2, 3, 1, 5)]
    start = [torch.randn(s, generator=draw, dtype=torch.float64).requires_grad_() for s in shapes]
    keep = torch.rand(2, 1, 7, 5, generator=draw).gt(0.3).double() / 0.7 if dropped else None
    weight, bias, scale, shift = start
    plain = torch.nn.functional.layer_norm(x[:, None] @ weight + bias, (5,))
    expected = (plain * scale + shift).relu() * (1 if keep is None else keep)
    units = hidden_units(x, *start, keep)
    torch.testing.assert_close(units, expected)
    upstream = torch.randn(expected.shape, generator=draw, dtype=torch.float64)
    for ours, reference in zip(
        torch.autograd.grad(units, start, upstream),
        torch.autograd.grad(expected, start, upstream),
        strict=True,
    ):
        torch.testing.assert_close(ours, reference)
    assert torch.autograd.gradcheck(lambda *p: hidden_units(x, *p, keep), start)  # type: ignore[no-untyped-call]


def test_cross_stitch_at_the_identity_is_single_task() -> None:
    single, stitched = Towers(5, SIZES, OWN, [0]), Towers(5, SIZES, STITCH, [0])
    with torch.no_grad():
        start = stitched.parameters["stitch"]
        assert torch.allclose(start.sum(dim=2), torch.ones(1, 3))
        assert torch.allclose(start[0].diagonal(), torch.tensor(0.9))
        start.copy_(torch.eye(3))
        alike(outputs(stitched), outputs(single))
        start.fill_(1 / 3)
    heads = {n: v for n, v in stitched.parameters.items() if n.startswith("head")}
    assert set(heads) == {f"head:{name}" for name in SIZES}


def test_units_of_a_stitch_learn_faster_and_do_not_decay() -> None:
    slow = Run(seed=0, rate=1e-3, decay=1.0)
    towers = run(STITCH, slow, epochs=1, batch=90)  # one step: the sign of the slope times the rate
    start = torch.full((3, 3), 0.05).fill_diagonal_(0.9)
    moved = (towers.parameters["stitch"][0] - start).abs().detach()
    assert torch.allclose(moved, torch.full((3, 3), 1e-2), rtol=1e-3)


def test_one_expert_is_hard_sharing_and_gates_sum_to_1() -> None:
    expert, hard = run(Layout(towers=1, width=7, mix="gates"), PLAIN), run(ONE, PLAIN)
    alike(outputs(expert), outputs(hard), 1e-6)
    towers = run(Layout(towers=4, width=7, mix="gates"), PLAIN)
    x = torch.from_numpy(data()[0])[None]
    hidden = torch.nn.functional.layer_norm(
        x[:, None] @ towers.parameters["tower"] + towers.parameters["tower:bias"], (7,)
    )
    hidden = (hidden * towers.parameters["norm"] + towers.parameters["norm:bias"]).relu()[0]
    share = (x @ towers.parameters["gate:tag"]).softmax(dim=2)[0]
    assert torch.allclose(share.sum(dim=1), torch.ones(90)) and float(share.std().detach()) > 0.01
    mixed = sum(share[:, k, None] * hidden[k] for k in range(4))
    expected = mixed @ towers.parameters["head:tag"][0] + towers.parameters["bias:tag"][0]
    np.testing.assert_allclose(outputs(towers)["tag"][0], expected.detach().numpy(), atol=1e-5)


def test_adamw_is_that_of_pytorch() -> None:
    ours = run(ONE, Run(seed=0, rate=0.01, decay=0.1), epochs=1, batch=90)
    theirs = Towers(5, SIZES, ONE, [0])
    x, labels = data()
    decayed = [v for n, v in theirs.parameters.items() if n == "tower" or n.startswith("head:")]
    remaining = [
        v for n, v in theirs.parameters.items() if n != "tower" and not n.startswith("head:")
    ]
    optimiser = torch.optim.AdamW(
        [{"params": decayed, "weight_decay": 0.1}, {"params": remaining, "weight_decay": 0.0}],
        lr=0.01,
    )
    order = np.random.default_rng(0).permutation(90)  # one batch: the order does not matter
    f, values = torch.nn.functional, theirs(torch.from_numpy(x[order])[None])
    (
        f.cross_entropy(values["colour"][0], torch.from_numpy(labels["colour"][order]))
        + f.binary_cross_entropy_with_logits(
            values["tag"][0], torch.from_numpy(labels["tag"][order]).float()
        )
        + f.mse_loss(values["width"][0], torch.from_numpy(labels["width"][order]))
    ).backward()  # type: ignore[no-untyped-call]
    optimiser.step()
    alike(outputs(ours), outputs(theirs), 1e-5)


def test_the_order_of_the_tasks_changes_nothing() -> None:
    swapped = dict(reversed(SIZES.items()))
    for layout in (OWN, ONE, STITCH, Layout(towers=2, width=7, mix="gates")):
        alike(outputs(run(layout, PLAIN)), outputs(run(layout, PLAIN, sizes=swapped)))


def test_a_run_is_the_same_alone_and_in_company() -> None:
    runs = [
        Run(seed=0, rate=0.01, dropout=0.3),
        Run(seed=1, rate=0.003, decay=0.1),
        Run(seed=2, rate=0.01, random_weights=True),
        Run(seed=0, rate=0.01, weights=(1.0, 2.0, 3.0), coupling=0.1),
    ]
    together = outputs(run(OWN, *runs))
    for number, member in enumerate(runs):
        alone = outputs(run(OWN, member))
        alike({n: v[number : number + 1] for n, v in together.items()}, alone, 1e-5)


def test_missing_labels_are_the_subset_run() -> None:
    """One batch an epoch: rows without a label of a task leave its loss and slopes as if not there."""
    x, labels = data(missing=True)
    masked = run(OWN, PLAIN, x=x, labels=labels, batch=90)
    for name, size in SIZES.items():
        values = labels[name]
        flat = values.reshape(90, -1)
        labelled = ~np.isnan(flat[:, 0]) if name == "width" else flat[:, 0] >= 0
        subset = {name: values[labelled]}
        alone = run(
            Layout(towers=1, width=7, mix="separate"), PLAIN, sizes={name: size}, x=x[labelled],
            labels=subset, batch=90,
        )  # fmt: skip
        np.testing.assert_allclose(outputs(masked)[name], outputs(alone)[name], atol=1e-5)


def test_a_task_without_any_label_moves_nothing() -> None:
    x, labels = data()
    labels["colour"] = np.full(90, -1, dtype=np.int64)
    model = run(ONE, PLAIN, x=x, labels=labels)
    assert all(bool(value.isfinite().all()) for value in model.parameters.values())
    assert torch.equal(model.parameters["bias:colour"], torch.zeros(1, 1, 3))


def test_parameters_are_counted() -> None:
    for layout in (OWN, ONE, STITCH, Layout(towers=4, width=7, mix="gates")):
        towers = Towers(5, SIZES, layout, [0])
        counted = sum(value.numel() for value in towers.parameters.values())
        assert counted == parameter_count(5, list(SIZES.values()), layout)


def test_towers_that_do_not_fit_the_tasks_are_refused() -> None:
    with pytest.raises(BenchError, match="2 towers of 3 tasks"):
        Towers(5, SIZES, Layout(towers=2, width=7, mix="separate"), [0])
