"""The vector-quantised autoencoder: entries, averages and perplexity by hand, slopes straight through."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from bench.data.images import ArrayImages, Delivery, Input
from bench.encoders.parts import autoencoder as _autoencoder
from bench.encoders.variational.vq_vae import Quantiser, quantised, usage
from bench.errors import BenchError
from tests.kit import trained
from tests.kit.precision import double
from tests.kit.trained import apart, learnt, made, quadrants

SIZES = "width=8,code=8,groups=2,codes=12"


def noise(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=noise(seed))


def quantiser(entries: int = 12, groups: int = 2, code: int = 8) -> Quantiser:
    """With drawn entries, each of them alive."""
    layer = Quantiser(entries, groups, code)
    layer.codebook.copy_(drawn(entries, code // groups, seed=7))
    layer.counts.fill_(3)
    layer.sums.copy_(3 * layer.codebook)
    return layer


# --- Quantising


@pytest.mark.parametrize(("groups", "code"), [(1, 8), (2, 8), (8, 8)])
def test_each_part_becomes_the_nearest_of_all_entries(groups: int, code: int) -> None:
    layer, codes = quantiser(12, groups, code), drawn(20, code)
    book = layer.codebook.numpy()
    parts = codes.numpy().reshape(20, groups, -1)
    for row, chunk in enumerate(parts):
        for group, part in enumerate(chunk):
            best = min(range(12), key=lambda k, part=part: ((part - book[k]) ** 2).sum())  # type: ignore[misc]
            assert int(layer.nearest(codes)[row, group]) == best
            width = code // groups
            codes_part = layer(codes)[row, group * width : (group + 1) * width]
            assert torch.equal(codes_part, layer.codebook[best])


def test_what_is_quantised_is_kept_as_it_is() -> None:
    layer = quantiser()
    code = layer(drawn(5, 8))
    assert torch.equal(layer(code), code)


def test_the_gradient_passes_straight_through_and_none_reaches_the_codebook() -> None:
    layer, codes, weights = quantiser(), drawn(6, 8).requires_grad_(), drawn(6, 8, seed=1)
    [slopes] = torch.autograd.grad((layer(codes).sin() * weights).sum(), codes)
    torch.testing.assert_close(slopes, weights * layer(codes).detach().cos())
    assert not list(layer.parameters())
    assert set(layer.state_dict()) == {"codebook", "counts", "sums"}


def test_quantising_moves_nothing_in_training_mode_either() -> None:
    layer = quantiser().train()
    before = {name: value.clone() for name, value in layer.state_dict().items()}
    layer(drawn(5, 8))
    assert apart(before, layer.state_dict()) == []


# --- The codebook


def test_entries_are_moving_averages_with_a_memory_of_ninety_nine_hundredths() -> None:
    layer, chance = quantiser(), noise()
    counts, sums = np.full(12, 3.0), 3 * layer.codebook.double().numpy()
    for step in range(5):
        book, codes = layer.codebook.double().numpy().copy(), drawn(9, 8, seed=20 + step)
        parts = codes.double().numpy().reshape(18, 4)
        nearest = ((parts[:, None] - book) ** 2).sum(axis=2).argmin(axis=1)
        layer.learn(codes, chance)
        for k in range(12):
            assigned = parts[nearest == k]
            counts[k] = 0.99 * counts[k] + 0.01 * len(assigned)
            sums[k] = 0.99 * sums[k] + 0.01 * assigned.sum(axis=0)
        np.testing.assert_allclose(layer.codebook, sums / counts[:, None], rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(layer.counts, counts, rtol=1e-5)


def test_entries_settle_at_the_mean_of_what_they_are_nearest_to() -> None:
    # Where the loss of the paper, |sg(z) - e|^2, has its minimum.
    layer, codes = quantiser(2, 1, 1), torch.tensor([[-3.0], [-1], [4], [6], [8]])
    layer.codebook.copy_(torch.tensor([[-1.0], [1]]))
    layer.sums.copy_(layer.counts[:, None] * layer.codebook)
    for _ in range(2000):
        layer.learn(codes, noise())
    torch.testing.assert_close(layer.codebook, torch.tensor([[-2.0], [6]]), rtol=1e-4, atol=1e-4)


def test_at_first_every_entry_begins_at_a_part_of_the_first_batch() -> None:
    layer, codes = Quantiser(12, 2, 8), drawn(40, 8)
    layer.learn(codes, noise())
    assert not layer.codebook.eq(0).all(dim=1).any()
    started = codes.view(80, 4)[torch.randint(80, (12,), generator=noise())]
    # Each has moved by a hundredth of what was nearest to it, and no further.
    assert (layer.codebook - started).abs().max() < 0.2
    assert len(layer.codebook.unique(dim=0)) > 6


def test_entries_that_nothing_is_near_begin_anew_at_drawn_parts_and_no_others_do() -> None:
    layer, chance, codes = quantiser(), noise(), drawn(30, 8)
    layer.codebook[:3] = 1e3
    layer.sums.copy_(layer.counts[:, None] * layer.codebook)
    restarted = []
    for _ in range(400):
        before = layer.codebook.clone()
        layer.learn(codes, chance)
        jumps = (layer.codebook - before).abs().amax(dim=1) > 100
        restarted += jumps.nonzero().flatten().tolist()
    assert sorted(restarted) == [0, 1, 2]
    assert layer.codebook.abs().max() <= codes.abs().max()


def test_an_entry_is_dead_below_a_tenth_of_an_equal_share() -> None:
    # 30 rows, 2 parts each, 12 entries: an equal share is 5.
    values = []
    for count in (0.49, 0.51):
        layer = quantiser()
        layer.codebook[4] = 1e3
        layer.counts[4] = count
        layer.sums.copy_(layer.counts[:, None] * layer.codebook)
        layer.learn(drawn(30, 8), noise())
        values.append(float(layer.codebook[4].abs().max()))
    assert values[0] < 10 and values[1] == pytest.approx(1e3)


def test_the_draws_of_restarts_repeat_by_their_seed() -> None:
    values = []
    for seed in (0, 0, 1):
        layer = Quantiser(12, 2, 8)
        layer.learn(drawn(40, 8), noise(seed))
        values.append(layer.codebook)
    assert torch.equal(values[0], values[1]) and not torch.equal(values[0], values[2])


# --- The loss


def loss_of(encoder: Any, *, seed: int = 0) -> Any:
    return trained.loss_of(_autoencoder, encoder, quadrants(2), seed=seed)


def test_the_loss_is_squared_error_and_a_quarter_of_the_share_of_variance_off_the_entries() -> None:
    encoder, rows = made(f"vq_vae,{SIZES}"), np.arange(6)
    batch = quadrants(6).read(rows)
    terms = loss_of(encoder)(batch, rows)  # the codebook has learnt first
    with torch.no_grad():
        dense = encoder.to_code[0](encoder.trunk(batch))
        code = encoder.to_code[1](dense)
        squared = ((encoder.decode(code) - batch) ** 2).sum() / 6
    x, z, e = batch.numpy().reshape(6, -1), dense.numpy(), code.numpy()
    lost = ((z - e) ** 2).sum(axis=1).mean() / z.var(axis=0).sum()
    assert list(terms) == ["reconstruction", "commitment"]
    torch.testing.assert_close(terms["reconstruction"], squared)
    expected = 0.25 * x.var(axis=0).sum() * lost
    assert terms["commitment"].item() == pytest.approx(float(expected), rel=1e-4)


@pytest.mark.parametrize("scale", [0.01, 100])
def test_no_rescaling_of_code_and_codebook_changes_the_commitment(scale: float) -> None:
    losses, rows = [], np.arange(6)
    batch = quadrants(6).read(rows)
    for factor in (1.0, scale):
        encoder = made(f"vq_vae,{SIZES}")
        with torch.no_grad():
            for p in encoder.to_code[0].parameters():
                p.mul_(factor)
        losses.append(loss_of(encoder)(batch, rows)["commitment"].item())
    assert losses[1] == pytest.approx(losses[0], rel=1e-3) and losses[0] > 0


def test_the_encoder_feels_the_commitment_and_the_reconstruction_and_the_decoder_the_latter() -> (
    None
):
    encoder, rows = made(f"vq_vae,{SIZES}"), np.arange(6)
    terms = loss_of(encoder)(quadrants(6).read(rows), rows)
    linear, first = encoder.to_code[0].weight, encoder.decoder.first.weight
    for term in terms.values():
        [slope] = torch.autograd.grad(term, linear, retain_graph=True)
        assert slope.any()
    [slope] = torch.autograd.grad(terms["commitment"], first, allow_unused=True)
    assert slope is None


def test_without_commitment_and_with_an_entry_for_every_part_it_is_the_autoencoder() -> None:
    # Nothing is lost by quantising, so value and slopes are those without it.
    plain, rows = made("autoencoder,width=8,code=8"), np.arange(6)
    batch = quadrants(6).read(rows)
    encoder = made("vq_vae,width=8,code=8,groups=2,codes=12")
    assert apart(dict(plain.trunk.state_dict()), dict(encoder.trunk.state_dict())) == []
    loss = quantised(encoder, 0)
    with torch.no_grad():
        dense = plain.encode(batch)
        encoder.to_code[1].codebook.copy_(dense.view(12, 4))
        encoder.to_code[1].counts.fill_(1)
        encoder.to_code[1].sums.copy_(encoder.to_code[1].codebook)
    terms, plain_terms = loss(batch, rows), loss_of(plain)(batch, rows)
    torch.testing.assert_close(terms["reconstruction"], plain_terms["reconstruction"])
    slopes = torch.autograd.grad(terms["reconstruction"], list(encoder.parameters()))
    expected = torch.autograd.grad(plain_terms["reconstruction"], list(plain.parameters()))
    for ours, theirs in zip(slopes, expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-4)
    assert float(terms["commitment"].detach()) < 1e-6


def test_a_last_batch_of_one_image_is_trained_on() -> None:
    encoder = learnt(made(f"vq_vae,{SIZES}"), budget=129)
    assert all(value.isfinite().all() for value in encoder.values())


# --- The code, the start, the notes


def test_the_code_is_made_of_entries_and_decodes_to_the_reconstruction() -> None:
    encoder, batch = made(f"vq_vae,{SIZES}"), quadrants(5).read(np.arange(5))
    with torch.no_grad():
        code = encoder.train().taps(batch)["code"]
        assert torch.equal(encoder.decode(code), encoder.reconstruct(batch))
    assert code.shape == (5, 8)
    entries = {tuple(entry) for entry in encoder.to_code[1].codebook.tolist()}
    assert {tuple(part) for part in code.view(10, 4).tolist()} <= entries


def test_trunk_code_and_decoder_start_as_the_autoencoders_and_keep_their_shapes() -> None:
    ours, plain = (made(f"{name}width=8").state_dict() for name in ("vq_vae,", "autoencoder,"))
    extra = {"to_code.1.codebook", "to_code.1.counts", "to_code.1.sums"}
    assert set(ours) - set(plain) == extra
    assert all(torch.equal(ours[name], value) for name, value in plain.items())
    assert ours["to_code.1.codebook"].shape == (512, 4)


class Shown(nn.Module):
    """Its dense code is the first values of the image's first row."""

    def __init__(self, quantiser: Quantiser) -> None:
        super().__init__()
        self.trunk, self.to_code = nn.Identity(), nn.Sequential(_First(), quantiser)
        self.unused = nn.Parameter(torch.zeros(1))


class _First(nn.Module):
    def forward(self, images: Tensor) -> Tensor:
        return images[:, 0, 0, :2]


def test_the_notes_have_the_perplexity_of_the_entries_and_how_many_are_in_use() -> None:
    # Parts are 0, 85, 170 and 255 of 255, in the ratio 4 : 2 : 1 : 1.
    values = np.array([[0, 0], [0, 85], [0, 85], [170, 255]], np.uint8)
    images = Delivery(ArrayImages(values[:, None, None]), Input(size=(1, 2), channels=1))
    layer = Quantiser(6, 2, 2)
    layer.codebook.copy_(torch.tensor([0, 85, 170, 255, 900, 1000])[:, None] / 255)
    notes = usage(Shown(layer), images)  # type: ignore[arg-type]
    expected = np.exp(-(0.5 * np.log(0.5) + 0.25 * np.log(0.25) + 2 * 0.125 * np.log(0.125)))
    assert notes["perplexity"] == pytest.approx(expected, rel=1e-3)
    assert notes["entries_in_use"] == 4
    layer.codebook.fill_(3)
    assert usage(Shown(layer), images) == {"perplexity": 1, "entries_in_use": 1}  # type: ignore[arg-type]


def test_training_rebuilds_images_from_many_entries() -> None:
    with double():  # in float32 rounding moves which entry is nearest
        images, encoder = quadrants(256), made("vq_vae,width=8,rate=0.005")
        batch = images.read(np.arange(256))

        def error() -> float:
            with torch.no_grad():
                return float((encoder.reconstruct(batch) - batch).square().sum() / 256)

        before = error()
        report = encoder.fit(images, labels=None, budget=20 * 128, seed=0)
        assert json.loads(json.dumps(report.notes, allow_nan=False)) == report.notes
        assert error() < 0.5 * before
        assert report.notes["perplexity"] > 20


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("codes=0", "codes=0: must be 1 or more"),
        ("groups=0", "groups=0: must be a divisor of code=64"),
        ("groups=7", "groups=7: must be a divisor of code=64"),
    ],
)
def test_wrong_arguments_are_refused_in_one_line_with_what_is_allowed(
    arguments: str, message: str
) -> None:
    with pytest.raises(BenchError) as caught:
        made(f"vq_vae,{arguments}")
    assert str(caught.value) == f"vq_vae,{message}"
