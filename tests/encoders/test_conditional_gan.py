"""The conditional game: which labels the players get, and their losses, by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch import Tensor, nn

from bench.data.samples import Target
from bench.encoders.adversarial.conditional_gan import label_codes
from bench.encoders.parts.adversarial import discriminator_loss, non_saturating
from bench.encoders.parts.labels import as_tensors
from bench.errors import BenchError
from tests.kit.trained import apart, learnt, made, players_of, quadrants

Array = npt.NDArray[Any]
LABEL = {"label": Target("classes", 4, ("nw", "ne", "sw", "se"))}
TARGETS = {
    **LABEL,
    "tag": Target("binary", 2, ("south", "east")),
    "size": Target("number", 1, ("brightness",)),
}


def encoder_of(arguments: str = "", *, targets: Any = None, seed: int = 0) -> Any:
    text = f"conditional_gan,width=8,latent=6{arguments}"
    return made(text, targets=targets or LABEL, seed=seed)


def labels_of(count: int) -> dict[str, Array]:
    """The quadrant; every third row has none."""
    return {"label": np.where(np.arange(count) % 3 == 0, -1, np.arange(count) % 4)}


def state(module: nn.Module) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in module.state_dict().items()}


def features_of(encoder: Any, images: Tensor) -> Tensor:
    features: Tensor = encoder.discriminator.trunk(images)
    return features


# --- Labels as one vector


def test_classes_are_one_of_many_yes_and_no_are_signs_and_what_is_missing_is_0() -> None:
    targets = {name: TARGETS[name] for name in ("label", "tag")}
    labels = {"label": np.array([2, -1, 0]), "tag": np.array([[1, 0], [-1, 1], [-1, -1]])}
    codes = label_codes(targets, as_tensors(labels, torch.device("cpu")))
    assert codes.dtype == torch.float32
    assert codes.tolist() == [[0, 0, 1, 0, 1, -1], [0, 0, 0, 0, 0, 1], [1, 0, 0, 0, 0, 0]]
    alone = label_codes(targets, as_tensors({"tag": labels["tag"]}, torch.device("cpu")))
    assert torch.equal(alone, torch.cat([torch.zeros(3, 4), codes[:, 4:]], dim=1))


# --- What the players make of them


def test_the_logit_is_that_of_the_features_and_their_product_with_the_row_of_the_class() -> None:
    encoder, images = encoder_of().double(), quadrants(6).read(np.arange(6)).double()
    classes = np.array([0, 3, 1, 2, 2, -1])
    with torch.no_grad():
        logits = encoder.logits(
            images, label_codes(LABEL, {"label": torch.from_numpy(classes)}).double()
        )
        h = features_of(encoder, images).numpy()
        w, v = encoder.discriminator.head.weight[0].numpy(), encoder.projection.weight.T.numpy()
        bias = encoder.discriminator.head.bias.item()
    for row, label in enumerate(classes):
        expected = h[row] @ w + bias + (h[row] @ v[label] if label >= 0 else 0)
        assert float(logits[row]) == pytest.approx(expected)


def test_a_row_without_label_is_judged_without_conditions_and_teaches_no_row_of_a_class() -> None:
    encoder, images = encoder_of(), quadrants(6).read(np.arange(6))
    codes = label_codes(LABEL, {"label": torch.tensor([1, -1, 1, -1, -1, 1])})
    logits, plain = encoder.logits(images, codes), encoder.discriminator(images)
    unknown = codes.sum(dim=1) == 0
    assert torch.equal(logits[unknown], plain[unknown])
    assert (logits[~unknown] - plain[~unknown]).abs().min() > 1e-3
    original = encoder.projection.parametrizations.weight.original
    [slope] = torch.autograd.grad(logits[unknown].sum(), original, retain_graph=True)
    assert not slope.any()
    assert torch.autograd.grad(logits[~unknown].sum(), original)[0].any()


def test_the_generator_gets_the_embedding_of_the_class_beside_its_latent_numbers() -> None:
    encoder = encoder_of()
    codes = label_codes(LABEL, {"label": torch.tensor([1, 3, -1])})
    with torch.no_grad():
        images = encoder.generate(codes, encoder._noise(0, "prior"))
        latent = torch.randn(3, 6, generator=encoder._noise(0, "prior"))
        rows = encoder.embedding.weight.T
        expected_rows = torch.stack([rows[1], rows[3], torch.zeros(6)])
        assert torch.equal(images, encoder.generator(torch.cat([latent, expected_rows], dim=1)))


def test_the_losses_are_those_of_fakes_with_the_labels_of_the_batchs_images() -> None:
    encoder, rows, labels = encoder_of(), np.arange(5, 14), labels_of(40)
    batch = quadrants(40).read(rows)
    judge, maker = players_of(encoder, quadrants(40), labels=labels, seed=3)
    noise = encoder._noise(3, "latent")
    codes = label_codes(LABEL, {"label": torch.from_numpy(labels["label"][rows])})
    assert 2 < (codes.sum(dim=1) == 0).sum() < 5
    with torch.no_grad():
        loss = judge.loss(batch, rows)["discriminator"]
        fakes = encoder.generate(codes, noise)
        expected = discriminator_loss(encoder.logits(batch, codes), encoder.logits(fakes, codes))
        # In training mode each use is a step of power iteration, and these were two more.
        torch.testing.assert_close(loss, expected, rtol=0.02, atol=0)
        loss = maker.loss(batch, rows)["generator"]
        assert torch.equal(
            loss, non_saturating(encoder.logits(encoder.generate(codes, noise), codes))
        )


def test_each_player_moves_its_own_parameters_and_not_a_bit_of_the_other() -> None:
    encoder, rows = encoder_of().train(), np.arange(12)
    batch = quadrants(12).read(rows)
    players = players_of(encoder, quadrants(12), labels=labels_of(12))
    judges = nn.ModuleList([encoder.discriminator, encoder.projection])
    makers = nn.ModuleList([encoder.generator, encoder.embedding])
    for player, trained, frozen in zip(players, (judges, makers), (makers, judges), strict=True):
        before, theirs = state(trained), state(frozen)
        sum(player.loss(batch, rows).values()).backward(inputs=player.parameters)
        torch.optim.Adam(player.parameters, lr=0.01).step()
        assert set(apart(before, state(trained))) >= {
            name for name, _ in trained.named_parameters()
        }
        assert apart(theirs, state(frozen)) == []


def test_the_largest_singular_value_of_the_projection_is_1_after_training() -> None:
    encoder = encoder_of(",rate=0.002")
    encoder.fit(quadrants(40), labels=labels_of(40), budget=20 * 32, seed=0)
    with torch.no_grad():
        values = torch.linalg.svdvals(encoder.projection.weight)
    assert float(values[0]) == pytest.approx(1, abs=0.03)


def test_the_generator_learns_what_the_labels_say() -> None:
    """Images bright on the left or on the right: the only thing there is to know."""
    encoder, images = encoder_of(",rate=0.001,generator_rate=0.005"), quadrants(64)
    side = np.arange(64) % 2
    pixels = images.images.array  # type: ignore[attr-defined]
    pixels[:] = 50 + pixels % 20
    pixels[side == 0, :, :, :16] += 150
    pixels[side == 1, :, :, 16:] += 150
    encoder.fit(images, labels={"label": side}, budget=120 * 32, seed=0)
    with torch.no_grad():
        for label, sign in ((0, 1), (1, -1)):
            samples = encoder.sample(40, seed=0, labels={"label": np.full(40, label)})
            lean = samples[..., :16].mean(dim=(1, 2, 3)) - samples[..., 16:].mean(dim=(1, 2, 3))
            assert (sign * lean > 0.1).float().mean() > 0.9


# --- Samples


def test_samples_have_the_labels_requested_or_those_of_training_images() -> None:
    encoder, labels = encoder_of(), labels_of(40)
    assert not encoder.shown.any()
    learnt(encoder, labels=labels)
    every = label_codes(LABEL, {"label": torch.from_numpy(labels["label"])})
    shares = encoder.shown.mean(dim=0)
    torch.testing.assert_close(shares, every.mean(dim=0), atol=0.02, rtol=0)
    with torch.no_grad():
        first, again, third = (encoder.sample(5, seed=s) for s in (0, 0, 1))
        samples = encoder.sample(4, seed=0, labels={"label": np.arange(4)})
        codes = label_codes(LABEL, {"label": torch.arange(4)})
        expected = encoder.generate(codes, encoder._noise(0, "prior"))
    assert torch.equal(first, again) and not torch.equal(first, third)
    assert torch.equal(samples, expected) and first.shape == (5, 1, 32, 32)


# --- Fits


def test_the_trunk_starts_as_that_of_gan_and_autoencoder() -> None:
    encoder, gan = encoder_of(seed=5), made("gan,width=8,latent=6", seed=5)
    autoencoder = made("autoencoder,width=8,code=4", seed=5)
    ours, theirs = state(encoder.discriminator.trunk), state(gan.discriminator.trunk)
    same = [name for name in ours if not name.endswith(("._u", "._v"))]
    assert len(same) == 12 and all(torch.equal(ours[name], theirs[name]) for name in same)
    for block, plain in zip(
        encoder.discriminator.trunk.blocks, autoencoder.trunk.blocks, strict=True
    ):
        assert torch.equal(block[0].parametrizations.weight.original, plain[0].weight)


def test_labels_count_and_those_that_are_not_granted_do_not() -> None:
    labels = labels_of(40)
    first = learnt(encoder_of(), labels=labels)
    assert apart(first, learnt(encoder_of(), labels=labels)) == []
    assert apart(first, learnt(encoder_of(), labels={**labels, "other": np.zeros(40)})) == []
    moved = {"label": np.where(labels["label"] >= 0, 3 - labels["label"], -1)}
    assert "discriminator.trunk.blocks.0.0.bias" in apart(first, learnt(encoder_of(), labels=moved))


def test_numbers_are_no_conditions_and_one_target_may_be_requested() -> None:
    assert list(encoder_of(targets=TARGETS).targets) == ["label", "tag"]
    assert list(encoder_of(",target=tag", targets=TARGETS).targets) == ["tag"]
    assert encoder_of(targets=TARGETS).projection.in_features == 6


def test_budget_steps_and_terms_are_reported() -> None:
    report = encoder_of().fit(quadrants(40), labels=labels_of(40), budget=300, seed=0)
    assert (report.images_seen, report.steps) == (300, 10)
    assert list(report.terms) == ["discriminator", "generator"]
    assert {"real_accuracy", "spread", "collapsed"} < set(report.notes)


# --- What cannot be


@pytest.mark.parametrize(
    "labels", [None, {}, {"other": np.zeros(40, np.int64)}, {"label": np.full(40, -1)}]
)
def test_without_labels_of_its_targets_it_is_not_trained(labels: Any) -> None:
    with pytest.raises(BenchError, match="conditional_gan needs labels") as caught:
        encoder_of().fit(quadrants(40), labels=labels, budget=40, seed=0)
    assert str(caught.value).isprintable()


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        (",target=size", "or yes/no labels; there is none among: size"),
        (",target=lab", "target=lab: the data set has no such target"),
        (",batch=0", "conditional_gan,batch=0: must be 1 or more"),
    ],
)
def test_wrong_arguments_are_refused_in_one_line(argument: str, message: str) -> None:
    with pytest.raises(BenchError) as caught:
        encoder_of(argument, targets=TARGETS)
    assert message in str(caught.value) and str(caught.value).isprintable()


def test_data_without_targets_are_reported_in_one_line() -> None:
    with pytest.raises(BenchError, match="there is none among: no targets"):
        made("conditional_gan,width=8")
