"""The supervised trunk against scikit-learn's losses, on separable toy data."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from scipy.special import expit, log_softmax
from sklearn.metrics import log_loss, mean_squared_error

from bench.data.images import ArrayImages, Delivery, Input
from bench.data.samples import SourceInfo, Target
from bench.encoders.base import FitReport
from bench.encoders.controls import supervised
from bench.errors import BenchError
from bench.naming.specs import resolve
from bench.running.workspace import fresh

Array = npt.NDArray[Any]
FORM = Input(size=(32, 32), channels=1)
TARGETS = {
    "label": Target("classes", 4, ("nw", "ne", "sw", "se")),
    "tag": Target("binary", 2, ("south", "east")),
    "size": Target("number", 1, ("brightness",)),
}


def made(arguments: str = "", *, seed: int = 0, targets: Any = TARGETS) -> Any:
    spec = resolve("encoders", f"supervised,width=8,code=4{arguments}")
    return fresh(spec, SourceInfo(1, 32, 32, targets), seed, {})


def quadrants(count: int, *, seed: int = 0) -> tuple[Delivery, dict[str, Array]]:
    """One bright quadrant each; the class is which, the number how bright."""
    rng = np.random.default_rng(seed)
    images, label = rng.integers(0, 40, (count, 1, 32, 32)), rng.integers(0, 4, count)
    size = rng.random((count, 1), dtype=np.float32)
    for i, c in enumerate(label):
        row, column = 16 * (c // 2), 16 * (c % 2)
        images[i, 0, row : row + 16, column : column + 16] += int(60 + 150 * size[i, 0])
    tag = np.stack([label // 2, label % 2], axis=1)
    labels = {"label": label, "tag": tag, "size": size}
    return Delivery(ArrayImages(images.astype(np.uint8)), FORM), labels


def nothing(labels: dict[str, Array]) -> dict[str, Array]:
    """The same targets, no label granted."""
    return {n: np.full_like(y, np.nan if n == "size" else -1) for n, y in labels.items()}


def given_to_train(
    encoder: Any, images: Delivery, labels: Any, monkeypatch: pytest.MonkeyPatch
) -> tuple[Delivery, Any]:
    """The images and the loss that a fit would have trained with."""
    calls: list[Any] = []

    def kept(model: Any, images: Any, loss: Any, **_: Any) -> FitReport:
        calls.extend([images, loss])
        return FitReport()

    monkeypatch.setattr(supervised, "train", kept)
    encoder.fit(images, labels=labels, budget=1, seed=0)
    return calls[0], calls[1]


def outputs(encoder: Any, batch: torch.Tensor) -> list[Array]:
    with torch.no_grad():
        code = encoder.taps(batch)["code"].double().numpy()
    heads = [[p.detach().double().numpy() for p in h.parameters()] for h in encoder.heads.heads]
    return [code @ weight.T + bias for weight, bias in heads]


def partial() -> tuple[Delivery, dict[str, Array]]:
    """Ten images; 0 and 7 have no label at all, others lack some."""
    images, labels = quadrants(10)
    labels["label"][[0, 3, 7]] = -1
    labels["tag"][[0, 4, 7]] = -1
    labels["tag"][5, 1] = -1
    labels["size"][[0, 1, 7]] = np.nan
    return images, labels


def test_the_loss_is_that_of_scikit_learn_over_what_is_labelled(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    images, labels = partial()
    encoder = made()
    images_given, loss = given_to_train(encoder, images, labels, monkeypatch)
    rows = np.array([7, 1, 2, 3, 0, 5])  # of the eight that have a label
    loss_value = loss(images_given.read(rows), rows)
    there = images_given.rows[rows]
    label, tag, size = (labels[name][there] for name in ("label", "tag", "size"))
    classes, tags, sizes = outputs(encoder, images.read(there))
    labelled, marked, measured = label >= 0, tag >= 0, ~np.isnan(size)
    assert not labelled.all() and not marked.all() and not measured.all()
    expected = {
        "label": log_loss(
            label[labelled], np.exp(log_softmax(classes, 1))[labelled], labels=range(4)
        ),
        "tag": log_loss(tag[marked], expit(tags)[marked], labels=[0, 1]),
        "size": mean_squared_error(size[measured], sizes[measured]),
    }
    assert {n: v.item() for n, v in loss_value.items()} == pytest.approx(expected, rel=1e-4)


def test_images_without_any_label_are_not_trained_on(monkeypatch: pytest.MonkeyPatch) -> None:
    images, labels = partial()
    images_given, _ = given_to_train(made(), images, labels, monkeypatch)
    assert images_given.rows.tolist() == [1, 2, 3, 4, 5, 6, 8, 9]
    shifted = Delivery(images.images, FORM, np.arange(10)[::-1])
    images_given, _ = given_to_train(made(), shifted, labels, monkeypatch)
    assert images_given.rows.tolist() == [8, 7, 6, 5, 4, 3, 1, 0]
    images_given, _ = given_to_train(made(",target=label"), images, labels, monkeypatch)
    assert images_given.rows.tolist() == [1, 2, 4, 5, 6, 8, 9]


def test_pixels_of_unlabelled_images_and_missing_labels_leave_no_trace() -> None:
    states = []
    for fill in (0, 200):
        images, labels = partial()
        pixels = images.images.array.copy()  # type: ignore[attr-defined]
        pixels[[0, 7]] = fill
        encoder = made()
        encoder.fit(Delivery(ArrayImages(pixels), FORM), labels=labels, budget=30, seed=0)
        states.append(encoder.state_dict())
    assert all(torch.equal(states[0][name], value) for name, value in states[1].items())


@pytest.mark.parametrize("name", list(TARGETS))
def test_one_target_is_trained_on_alone(name: str) -> None:
    images, labels = quadrants(12)
    encoder, second = made(f",target={name}"), made(f",target={name}")
    assert list(encoder.heads.targets) == [name]
    report = encoder.fit(images, labels=labels, budget=24, seed=0)
    assert list(report.terms) == [name]
    hidden = {n: y if n == name else nothing(labels)[n] for n, y in labels.items()}
    second.fit(images, labels=hidden, budget=24, seed=0)
    for key, value in encoder.state_dict().items():
        assert torch.equal(second.state_dict()[key], value)


def test_all_targets_are_trained_on_by_default_and_only_those_that_are_granted() -> None:
    images, labels = quadrants(12)
    encoder = made()
    assert list(encoder.heads.targets) == list(TARGETS)
    start = {name: value.clone() for name, value in encoder.state_dict().items()}
    subset = {name: labels[name] for name in ("tag", "label")}
    report = encoder.fit(images, labels=subset, budget=24, seed=0)
    assert set(report.terms) == {"label", "tag"}
    moved = {n for n, v in encoder.state_dict().items() if not torch.equal(start[n], v)}
    assert set(start) - moved == {"heads.heads.2.weight", "heads.heads.2.bias"}  # the number's


@pytest.mark.parametrize("arguments", ["", ",target=label"])
@pytest.mark.parametrize("kind", ["none", "no target", "other target", "all missing"])
def test_without_a_granted_label_it_is_reported_in_one_line(arguments: str, kind: str) -> None:
    images, labels = quadrants(6)
    options: dict[str, Any] = {
        "none": None,
        "no target": {},
        "other target": {"colour": labels["label"]},
        "all missing": nothing(labels),
    }
    with pytest.raises(BenchError, match="supervised needs labels") as caught:
        made(arguments).fit(images, labels=options[kind], budget=6, seed=0)
    assert str(caught.value).isprintable()


def test_labels_of_other_targets_do_not_replace_the_requested_one() -> None:
    images, labels = quadrants(6)
    labels["label"][:] = -1
    with pytest.raises(BenchError, match="supervised needs labels"):
        made(",target=label").fit(images, labels=labels, budget=6, seed=0)


def test_an_unknown_target_is_reported_with_those_that_there_are() -> None:
    with pytest.raises(BenchError, match=r"supervised,target=kind: .*label, tag, size") as caught:
        made(",target=kind")
    assert str(caught.value).isprintable()


def test_a_target_may_have_any_name() -> None:
    images, labels = quadrants(6)
    encoder = made(targets={"a.b c": TARGETS["label"]})
    report = encoder.fit(images, labels={"a.b c": labels["label"]}, budget=6, seed=0)
    assert list(report.terms) == ["a.b c"]


def test_labels_are_read_and_never_written() -> None:
    images, labels = partial()
    for values in labels.values():
        values.setflags(write=False)
    before = {name: values.copy() for name, values in labels.items()}
    made().fit(images, labels=labels, budget=16, seed=0)
    for name, values in before.items():
        np.testing.assert_array_equal(labels[name], values)


@pytest.mark.parametrize("name", list(TARGETS))
def test_a_toy_that_can_be_distinguished_is_learnt(name: str) -> None:
    images, labels = quadrants(256)
    unseen, truth = quadrants(200, seed=1)
    encoder = made(f",target={name},rate=0.005")
    report = encoder.fit(images, labels=labels, budget=25 * 128, seed=0)
    (output,) = outputs(encoder, unseen.read(np.arange(200)))
    if name == "label":
        assert (output.argmax(axis=1) == truth["label"]).mean() > 0.95
        assert report.terms["label"] < 0.5 * np.log(4)
    elif name == "tag":
        assert ((output > 0) == truth["tag"]).mean() > 0.95
        assert report.terms["tag"] < 0.5 * np.log(2)
    else:
        assert ((output - truth["size"]) ** 2).mean() < 0.7 * truth["size"].var()
    assert (report.images_seen, report.steps) == (3200, 25)


def test_shuffled_labels_are_not_learnt() -> None:
    images, labels = quadrants(256)
    unseen, truth = quadrants(200, seed=1)
    shuffled = np.random.default_rng(0).permutation(labels["label"])
    encoder = made(",target=label,rate=0.005")
    encoder.fit(images, labels={"label": shuffled}, budget=15 * 128, seed=0)
    (classes,) = outputs(encoder, unseen.read(np.arange(200)))
    assert (classes.argmax(axis=1) == truth["label"]).mean() < 0.6
