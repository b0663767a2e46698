"""Pictures of encoders: what is drawn, and files that are whole or not there."""

from __future__ import annotations

import io
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from PIL import Image

from bench.cli import main as cli
from bench.data.images import ArrayImages, Delivery, Input
from bench.data.samples import Meta, Samples, Target
from bench.datasets.base import DataSets
from bench.diagnostics.base import Context
from bench.drawing.sheet import Row
from bench.encoders.base import Encoder
from bench.errors import BenchError
from bench.pictures import views as pictures
from bench.pictures.album import draw_album, save, save_sheet
from bench.pictures.views import slerp
from bench.results.store import SHEET
from bench.running.cache import Cache

Array = npt.NDArray[Any]
SIDE = 8
SIZE = SIDE * SIDE


def pixels(content: bytes) -> Array:
    return np.asarray(Image.open(io.BytesIO(content)).convert("RGB"))


# --- Ways between codes


def test_slerp_is_the_arc_by_hand() -> None:
    x, y = np.array([2.0, 0, 0]), np.array([0, 4.0, 0])
    np.testing.assert_allclose(slerp(x, y, 0), x)
    np.testing.assert_allclose(slerp(x, y, 1), y, atol=1e-12)
    np.testing.assert_allclose(slerp(x, y, 0.5), 3 * np.array([1, 1, 0]) / np.sqrt(2))
    np.testing.assert_allclose(slerp(x, y, 1 / 3), 8 / 3 * np.array([np.sqrt(3), 1, 0]) / 2)
    np.testing.assert_allclose(slerp(x, 2 * x, 0.25), 1.25 * x)
    np.testing.assert_allclose(slerp(x, -x, 0.25), 0.5 * x)
    np.testing.assert_allclose(slerp(x, 0 * x, 0.25), 0.75 * x)


# --- Pictures of an encoder whose output follows from its definition


class Half(Encoder):
    """The code is the first `code` pixels; decoded, they are there again and the others grey."""

    def __init__(self, code: int) -> None:
        super().__init__()
        self.input, self.dims = Input(size=(SIDE, SIDE), channels=1), {"code": code}
        self.code = code

    def taps(self, images: torch.Tensor) -> Mapping[str, torch.Tensor]:
        return {"code": images.flatten(1)[:, : self.code]}

    def decode(self, codes: torch.Tensor) -> torch.Tensor:
        grey = torch.full((len(codes), SIZE - self.code), 0.5)
        return torch.cat([codes, grey], dim=1).view(-1, 1, SIDE, SIDE)

    def reconstruct(self, images: torch.Tensor) -> torch.Tensor:
        return self.decode(self.taps(images)["code"])


class Head(torch.nn.Module):
    def forward(self, x: torch.Tensor) -> Mapping[str, torch.Tensor]:
        return {"label": torch.stack([x.mean(dim=1), 1 - x.mean(dim=1)], dim=1)}


def context(code: int = 3, **changes: Any) -> Context:
    rng = np.random.default_rng(1)
    encoder = Half(code)
    targets = {"label": Target("classes", 2, ("light", "dark"))}
    parts = {}
    for name, count in (("train", 60), ("val", 30)):
        images = rng.integers(0, 256, (count, 1, SIDE, SIDE), dtype=np.uint8)
        labels = {"label": rng.integers(0, 2, count)}
        delivered = Delivery(ArrayImages(images), encoder.input)
        parts[name] = Samples(delivered, labels, np.arange(count))
    features = {
        name: encoder.taps(part.x.read(np.arange(len(part))))["code"].numpy()  # type: ignore[union-attr]
        for name, part in parts.items()
    }
    arguments: dict[str, Any] = {
        "encoder": encoder,
        "level": "code",
        "meta": Meta(targets),
        "factors": targets,
        "training": parts["train"],
        "training_features": {"code": features["train"]},
        "validation": parts["val"],
        "validation_features": {"code": features["val"]},
        "outliers": None,
        "head": Head(),
        "seed": 0,
    }
    return Context(**{**arguments, **changes})


def flat(row: Row) -> Array:
    images: Array = row.images.reshape(len(row.images), -1)
    return images


def test_a_traversal_moves_one_pixel_about_one_image() -> None:
    encoder_context = context()
    section = pictures.traversals(encoder_context)
    assert section is not None and len(section.rows) == 3
    codes = encoder_context.validation_features["code"]
    deviation = codes.std(axis=0)
    order = np.argsort(-deviation)
    assert [row.name for row in section.rows] == [f"unit {unit}" for unit in order]
    for row, unit in zip(section.rows, order, strict=True):
        expected = np.tile(codes[0], (10, 1))
        expected[:, unit] += np.linspace(-2, 2, 10) * deviation[unit]
        np.testing.assert_allclose(flat(row)[:, :3], expected, atol=1e-6)


def test_interpolation_begins_and_ends_with_the_reconstructions() -> None:
    encoder_context = context()
    section, whole = (
        pictures.interpolation(encoder_context),
        pictures.reconstructions(encoder_context),
    )
    assert section is not None and whole is not None
    rebuilt = flat(whole.rows[1])
    for number, row in enumerate(section.rows):
        pair = number // 2
        np.testing.assert_allclose(flat(row)[[0, -1]], rebuilt[[2 * pair, 2 * pair + 1]], atol=1e-6)
    line = flat(section.rows[0])
    np.testing.assert_allclose(
        np.diff(line, axis=0), np.diff(line, axis=0)[:1].repeat(9, 0), atol=1e-6
    )


def test_the_plane_of_codes_is_in_order_and_for_two_units_alone() -> None:
    encoder_context = context(2)
    section = pictures.grid(encoder_context)
    assert section is not None and pictures.grid(context(3)) is None
    codes = np.stack([flat(row)[:, :2] for row in section.rows])  # (rows, columns, 2)
    expected = np.quantile(
        encoder_context.validation_features["code"], np.linspace(0.05, 0.95, 10), axis=0
    )
    np.testing.assert_allclose(codes[3, :, 0], expected[:, 0], atol=1e-6)
    np.testing.assert_allclose(codes[:, 3, 1], expected[::-1, 1], atol=1e-6)


def test_neighbours_are_the_nearest_by_cosine_and_other_classes_are_framed() -> None:
    encoder_context = context()
    section = pictures.neighbours(encoder_context)
    assert section is not None
    bank, queries = (
        encoder_context.training_features["code"],
        encoder_context.validation_features["code"],
    )
    cosines = (queries @ bank.T) / np.outer(*(np.linalg.norm(v, axis=1) for v in (queries, bank)))
    images = encoder_context.training.x.read(np.arange(60)).numpy()  # type: ignore[union-attr]
    for number, row in enumerate(section.rows):
        nearest_rows = np.argsort(-cosines[number])[:7]
        np.testing.assert_array_equal(row.images[1:], images[nearest_rows])
        truth = encoder_context.validation.y["label"][number]
        assert (
            list(row.framed[1:])
            == (encoder_context.training.y["label"][nearest_rows] != truth).tolist()
        )
        assert row.name == ("light", "dark")[truth]


def test_filters_are_the_weights_or_the_gradients() -> None:
    encoder_context = context()
    assert pictures.filters(encoder_context) is None  # every feature is one pixel
    weight = torch.randn(5, 1, 3, 3)
    encoder_context.encoder.conv = torch.nn.Conv2d(1, 5, 3)
    encoder_context.encoder.conv.weight.data = weight
    section = pictures.filters(encoder_context)
    assert section is not None
    tiles = section.rows[0].images
    scaled = 0.5 + 0.5 * weight.numpy() / np.abs(weight.numpy()).max(axis=(1, 2, 3), keepdims=True)
    np.testing.assert_allclose(tiles, scaled, atol=1e-6)


def test_the_attack_moves_all_that_counts_and_says_what_the_head_sees() -> None:
    section = pictures.attack(context())
    assert section is not None
    before, noise, after = section.rows
    moved = flat(after) - flat(before)
    assert np.abs(moved).max() == pytest.approx(0.1, abs=1e-6)
    assert (moved[:, 3:] == 0).all() and set(np.unique(flat(noise)[:, 3:])) == {0.5}
    mean = flat(before)[0, :3].mean()
    seen = "light" if mean > 0.5 else "dark"
    sure = 1 / (1 + np.exp(-abs(2 * mean - 1)))
    assert before.captions[0] == f"{seen}\n{100 * sure:.0f} %"
    assert pictures.attack(context(head=None)) is None


def test_without_means_there_is_no_picture(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(Half, "reconstruct")
    monkeypatch.delattr(Half, "decode")
    encoder_context = context(2)
    encoder_context.encoder.differentiable = False
    assert list(pictures.pictures(encoder_context)) == ["neighbours"]


# --- Files


@pytest.mark.slow
def test_an_album_of_digits_is_drawn_whole_and_within_its_size(tmp_path: Path) -> None:
    sets, cache = DataSets(tmp_path), Cache(tmp_path / "cache")
    album = draw_album("vae,code=2,width=8~1k", on="digits", datasets=sets, cache=cache)
    assert list(album.sections) == [
        "reconstructions", "samples", "interpolation", "traversals", "grid", "filters", "neighbours",
        "attack",
    ]  # fmt: skip
    paths = save(album, tmp_path / "drawn")
    assert {path.stem for path in paths} == {*album.sections, "pictures"}
    assert all(pixels(path.read_bytes()).shape[1] > 100 for path in paths)
    assert (tmp_path / "drawn" / SHEET).stat().st_size < 300_000
    path = save_sheet(album, tmp_path / "results")
    assert path == tmp_path / "results" / "reptransfer" / album.spec / "pictures.png"
    assert path.read_bytes() == (tmp_path / "drawn" / SHEET).read_bytes()
    # drawn again from the cache, it is the same
    again = draw_album(
        "vae,code=2,width=8~1k", on="digits", datasets=DataSets(tmp_path), cache=cache
    )
    assert again.sheet() == album.sheet()


def test_data_without_images_has_no_pictures(tmp_path: Path) -> None:
    with pytest.raises(BenchError, match="no pictures of pixels on xlsa"):
        draw_album("pixels", on="xlsa", datasets=DataSets(tmp_path), cache=None)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["show", "pixels", "--on", "digits", "--pictures", "FILE"], "is a file"),
        (["show", "knn", "--pictures", "DIR"], "no encoder 'knn'"),
        (["show", "digits-knn", "--pictures", "DIR"], "'digits-knn' is not a valid spec"),
        (["show", "pixels", "--on", "digitz", "--pictures", "DIR"], "digits"),
    ],
)
def test_bad_input_is_one_line_and_nothing_written(
    arguments: list[str], words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "FILE").write_text("mine")
    paths = [str(tmp_path / a) if a in ("FILE", "DIR") else a for a in arguments]
    assert cli.main([*paths, "--data", str(tmp_path), "--cache", str(tmp_path / "c")]) == 2
    message = capsys.readouterr().err.strip()
    assert words in message and "\n" not in message
    assert (tmp_path / "FILE").read_text() == "mine" and not (tmp_path / "DIR").exists()


def test_show_alone_imports_no_torch() -> None:
    start = "import sys; from bench.cli.main import main; main(['show', 'vae'])"
    code = f"{start}; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip().endswith("False")
