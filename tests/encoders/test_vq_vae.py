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
    made = Quantiser(entries, groups, code)
    made.codebook.copy_(drawn(entries, code // groups, seed=7))
    made.counts.fill_(3)
    made.sums.copy_(3 * made.codebook)
    return made


# --- Quantising


@pytest.mark.parametrize(("groups", "code"), [(1, 8), (2, 8), (8, 8)])
def test_each_part_becomes_the_nearest_of_all_entries(groups: int, code: int) -> None:
    made, codes = quantiser(12, groups, code), drawn(20, code)
    book = made.codebook.numpy()
    parts = codes.numpy().reshape(20, groups, -1)
    for row, each in enumerate(parts):
        for group, part in enumerate(each):
            best = min(range(12), key=lambda k, part=part: ((part - book[k]) ** 2).sum())  # type: ignore[misc]
            assert int(made.nearest(codes)[row, group]) == best
            width = code // groups
            found = made(codes)[row, group * width : (group + 1) * width]
            assert torch.equal(found, made.codebook[best])


def test_what_is_quantised_is_kept_as_it_is() -> None:
    made = quantiser()
    code = made(drawn(5, 8))
    assert torch.equal(made(code), code)


def test_the_gradient_passes_straight_through_and_none_reaches_the_codebook() -> None:
    made, codes, weights = quantiser(), drawn(6, 8).requires_grad_(), drawn(6, 8, seed=1)
    [slopes] = torch.autograd.grad((made(codes).sin() * weights).sum(), codes)
    torch.testing.assert_close(slopes, weights * made(codes).detach().cos())
    assert not list(made.parameters())
    assert set(made.state_dict()) == {"codebook", "counts", "sums"}


def test_quantising_moves_nothing_in_training_mode_either() -> None:
    made = quantiser().train()
    before = {name: value.clone() for name, value in made.state_dict().items()}
    made(drawn(5, 8))
    assert apart(before, made.state_dict()) == []


# --- The codebook


def test_entries_are_moving_averages_with_a_memory_of_ninety_nine_hundredths() -> None:
    made, chance = quantiser(), noise()
    counts, sums = np.full(12, 3.0), 3 * made.codebook.double().numpy()
    for step in range(5):
        book, codes = made.codebook.double().numpy().copy(), drawn(9, 8, seed=20 + step)
        parts = codes.double().numpy().reshape(18, 4)
        nearest = ((parts[:, None] - book) ** 2).sum(axis=2).argmin(axis=1)
        made.learn(codes, chance)
        for k in range(12):
            mine = parts[nearest == k]
            counts[k] = 0.99 * counts[k] + 0.01 * len(mine)
            sums[k] = 0.99 * sums[k] + 0.01 * mine.sum(axis=0)
        np.testing.assert_allclose(made.codebook, sums / counts[:, None], rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(made.counts, counts, rtol=1e-5)


def test_entries_settle_at_the_mean_of_what_they_are_nearest_to() -> None:
    # Where the loss of the paper, |sg(z) - e|^2, has its minimum.
    made, codes = quantiser(2, 1, 1), torch.tensor([[-3.0], [-1], [4], [6], [8]])
    made.codebook.copy_(torch.tensor([[-1.0], [1]]))
    made.sums.copy_(made.counts[:, None] * made.codebook)
    for _ in range(2000):
        made.learn(codes, noise())
    torch.testing.assert_close(made.codebook, torch.tensor([[-2.0], [6]]), rtol=1e-4, atol=1e-4)


def test_at_first_every_entry_begins_at_a_part_of_the_first_batch() -> None:
    made, codes = Quantiser(12, 2, 8), drawn(40, 8)
    made.learn(codes, noise())
    assert not made.codebook.eq(0).all(dim=1).any()
    started = codes.view(80, 4)[torch.randint(80, (12,), generator=noise())]
    # Each has moved by a hundredth of what was nearest to it, and no further.
    assert (made.codebook - started).abs().max() < 0.2
    assert len(made.codebook.unique(dim=0)) > 6


def test_entries_that_nothing_is_near_begin_anew_at_drawn_parts_and_no_others_do() -> None:
    made, chance, codes = quantiser(), noise(), drawn(30, 8)
    made.codebook[:3] = 1e3
    made.sums.copy_(made.counts[:, None] * made.codebook)
    restarted = []
    for _ in range(400):
        before = made.codebook.clone()
        made.learn(codes, chance)
        jumps = (made.codebook - before).abs().amax(dim=1) > 100
        restarted += jumps.nonzero().flatten().tolist()
    assert sorted(restarted) == [0, 1, 2]
    assert made.codebook.abs().max() <= codes.abs().max()


def test_an_entry_is_dead_below_a_tenth_of_an_equal_share() -> None:
    # 30 rows, 2 parts each, 12 entries: an equal share is 5.
    found = []
    for count in (0.49, 0.51):
        made = quantiser()
        made.codebook[4] = 1e3
        made.counts[4] = count
        made.sums.copy_(made.counts[:, None] * made.codebook)
        made.learn(drawn(30, 8), noise())
        found.append(float(made.codebook[4].abs().max()))
    assert found[0] < 10 and found[1] == pytest.approx(1e3)


def test_the_draws_of_restarts_repeat_by_their_seed() -> None:
    found = []
    for seed in (0, 0, 1):
        made = Quantiser(12, 2, 8)
        made.learn(drawn(40, 8), noise(seed))
        found.append(made.codebook)
    assert torch.equal(found[0], found[1]) and not torch.equal(found[0], found[2])


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
    wanted = 0.25 * x.var(axis=0).sum() * lost
    assert terms["commitment"].item() == pytest.approx(float(wanted), rel=1e-4)


@pytest.mark.parametrize("scale", [0.01, 100])
def test_no_rescaling_of_code_and_codebook_changes_the_commitment(scale: float) -> None:
    found, rows = [], np.arange(6)
    batch = quadrants(6).read(rows)
    for factor in (1.0, scale):
        encoder = made(f"vq_vae,{SIZES}")
        with torch.no_grad():
            for p in encoder.to_code[0].parameters():
                p.mul_(factor)
        found.append(loss_of(encoder)(batch, rows)["commitment"].item())
    assert found[1] == pytest.approx(found[0], rel=1e-3) and found[0] > 0


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
    terms, own = loss(batch, rows), loss_of(plain)(batch, rows)
    torch.testing.assert_close(terms["reconstruction"], own["reconstruction"])
    slopes = torch.autograd.grad(terms["reconstruction"], list(encoder.parameters()))
    wanted = torch.autograd.grad(own["reconstruction"], list(plain.parameters()))
    for one, other in zip(slopes, wanted, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-4)
    assert float(terms["commitment"].detach()) < 1e-6


def test_a_last_batch_of_one_image_is_trained_on() -> None:
    found = learnt(made(f"vq_vae,{SIZES}"), budget=129)
    assert all(value.isfinite().all() for value in found.values())


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
    own, plain = (made(f"{name}width=8").state_dict() for name in ("vq_vae,", "autoencoder,"))
    extra = {"to_code.1.codebook", "to_code.1.counts", "to_code.1.sums"}
    assert set(own) - set(plain) == extra
    assert all(torch.equal(own[name], value) for name, value in plain.items())
    assert own["to_code.1.codebook"].shape == (512, 4)


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
    made = Quantiser(6, 2, 2)
    made.codebook.copy_(torch.tensor([0, 85, 170, 255, 900, 1000])[:, None] / 255)
    notes = usage(Shown(made), images)  # type: ignore[arg-type]
    wanted = np.exp(-(0.5 * np.log(0.5) + 0.25 * np.log(0.25) + 2 * 0.125 * np.log(0.125)))
    assert notes["perplexity"] == pytest.approx(wanted, rel=1e-3)
    assert notes["entries_in_use"] == 4
    made.codebook.fill_(3)
    assert usage(Shown(made), images) == {"perplexity": 1, "entries_in_use": 1}  # type: ignore[arg-type]


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
    ("arguments", "told"),
    [
        ("codes=0", "codes=0: must be 1 or more"),
        ("groups=0", "groups=0: must be a divisor of code=64"),
        ("groups=7", "groups=7: must be a divisor of code=64"),
    ],
)
def test_what_cannot_be_is_told_in_one_line_with_what_is_allowed(arguments: str, told: str) -> None:
    with pytest.raises(BenchError) as caught:
        made(f"vq_vae,{arguments}")
    assert str(caught.value) == f"vq_vae,{told}"
