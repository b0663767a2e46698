"""Shifted test images against closed forms and naive loops; one fit for all copies; their table."""

from __future__ import annotations

import shutil
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench.data.images import ArrayImages, Input
from bench.data.shifts import SHIFTS, ShiftedImages
from bench.datasets.base import DataSets
from bench.errors import BenchError
from bench.naming.specs import resolve
from bench.protocols.linear import LinearProbe
from bench.results.record import Record, Replicate
from bench.results.store import Store
from bench.running.executor import run_cells
from bench.running.features import images_of
from bench.running.runner import run_cell
from bench.running.workspace import Workspace
from bench.tasks.cell import Cell
from bench.tasks.task import Primary, Replicates, Task
from tests.kit import TOYS
from tests.kit.boards import rendered

DRAWN = ("missing", "noise", "occlusion", "rotation")  # shifts that draw random numbers
RANDOM = np.random.default_rng(0).integers(0, 256, (40, 3, 9, 7)).astype(np.uint8)


def shifted(images: Any, shift: str, strength: float, seed: int = 0) -> Any:
    """All images (n, c, h, w), shifted, in [0, 1]."""
    source = ArrayImages(np.asarray(images, dtype=np.uint8))
    copy = ShiftedImages(source, shift, strength, seed)
    return copy.read(np.arange(len(source)), source.native) / 255.0


def flat(level: int, *shape: int) -> Any:
    return np.full(shape, level, dtype=np.uint8)


# --- Each shift


@pytest.mark.parametrize("strength", [0.05, 0.1])
def test_noise_has_its_standard_deviation_and_no_mean(strength: float) -> None:
    noise = shifted(flat(128, 1, 1, 200, 200), "noise", strength) - 128 / 255
    assert noise.std() == pytest.approx(strength, rel=0.02)
    assert abs(noise.mean()) < 4 * strength / 200
    assert abs(np.corrcoef(noise[..., 1:].ravel(), noise[..., :-1].ravel())[0, 1]) < 0.02


def test_noise_is_cut_at_white_and_does_not_wrap_to_black() -> None:
    noisy = shifted(flat(255, 1, 1, 200, 200), "noise", 0.1)
    assert noisy.min() > 0.4
    assert (noisy == 1).mean() == pytest.approx(0.5, abs=0.03)


@pytest.mark.parametrize("strength", [0.1, 0.6])
def test_missing_takes_its_share_of_pixels_in_all_channels_and_leaves_the_others(
    strength: float,
) -> None:
    images = np.random.default_rng(1).integers(1, 256, (1, 3, 200, 200))
    masked = (255 * shifted(images, "missing", strength)).round()
    gone = (masked == 0).all(axis=1)
    assert gone.mean() == pytest.approx(strength, abs=4 * 0.5 / 200)
    assert np.array_equal(masked, images * ~gone[:, None])


@pytest.mark.parametrize("strength", [0.1, 0.6, 1.0])
def test_contrast_keeps_the_mean_and_shrinks_the_deviations(strength: float) -> None:
    faded, images = shifted(RANDOM, "contrast", strength), RANDOM / 255
    mean = images.mean(axis=(1, 2, 3), keepdims=True)
    assert faded - mean == pytest.approx((1 - strength) * (images - mean), abs=0.51 / 255)


def test_inversion_by_1_is_the_negative_and_by_a_half_is_grey() -> None:
    assert shifted(RANDOM, "inversion", 1.0) == pytest.approx(1 - RANDOM / 255)
    assert shifted(RANDOM, "inversion", 0.5) == pytest.approx(0.5, abs=0.51 / 255)
    quarter = 0.25 + 0.5 * RANDOM / 255
    assert shifted(RANDOM, "inversion", 0.25) == pytest.approx(quarter, abs=0.51 / 255)


SIZES = [(8, 8), (28, 28), (32, 32), (20, 60), (60, 20), (1, 9)]


@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize("strength", [0.1, 0.3, 0.6, 1.0])
def test_occlusion_is_one_grey_rectangle_of_its_share_of_the_area(
    strength: float, size: tuple[int, int]
) -> None:
    height, width = size
    for image in shifted(flat(0, 20, 3, *size), "occlusion", strength):
        assert set(np.unique(image)) <= {0.0, 128 / 255}
        covered = image[0] > 0
        assert np.array_equal(image > 0, np.stack([covered] * 3))
        rows, columns = covered.any(axis=1).sum(), covered.any(axis=0).sum()
        assert covered.sum() == rows * columns
        assert abs(covered.sum() - strength * height * width) <= max(rows, columns) / 2
        if strength * height * width <= min(size) ** 2:
            assert abs(rows - columns) <= 1
        else:  # of the image's own proportions
            assert abs(rows / height - columns / width) <= 1.01 / min(size)


def test_occlusion_comes_to_every_place_inside() -> None:
    occluded = shifted(flat(0, 400, 1, 8, 8), "occlusion", 9 / 64)[:, 0] > 0
    places = {(int(m.any(axis=1).argmax()), int(m.any(axis=0).argmax())) for m in occluded}
    assert places == set(product(range(6), range(6)))


def test_rotation_by_1_is_a_quarter_turn_to_either_side() -> None:
    images = RANDOM[..., :7, :]
    rotated = (255 * shifted(images, "rotation", 1.0)).round()
    turns = [np.rot90(images, k, axes=(2, 3)) for k in (1, -1)]
    equal = [(rotated == turned).all(axis=(1, 2, 3)) for turned in turns]
    assert (equal[0] ^ equal[1]).all()
    assert 8 < equal[0].sum() < 32


def turned(image: Any, degrees: float) -> Any:
    """(h, w) turned about its centre, pixel by pixel; outside is black."""
    (h, w), angle = image.shape, np.deg2rad(degrees)
    picture = np.zeros((h, w))
    for i, j in product(range(h), range(w)):
        y, x = i - (h - 1) / 2, j - (w - 1) / 2
        y, x = (
            np.cos(angle) * y - np.sin(angle) * x + (h - 1) / 2,
            np.sin(angle) * y + np.cos(angle) * x + (w - 1) / 2,
        )
        for a, b in product(range(h), range(w)):
            picture[i, j] += max(0, 1 - abs(y - a)) * max(0, 1 - abs(x - b)) * image[a, b]
    return picture


@pytest.mark.parametrize("strength", [0.1, 0.6])
def test_rotation_is_bilinear_about_the_centre_with_black_outside(strength: float) -> None:
    for image, rotated in zip(RANDOM[:6], shifted(RANDOM[:6], "rotation", strength), strict=True):
        both = [
            np.stack([turned(channel / 255, sign * 90 * strength) for channel in image])
            for sign in (1, -1)
        ]
        gaps = sorted(float(np.abs(rotated - expected).max()) for expected in both)
        assert gaps[0] <= 0.51 / 255 < 0.1 < gaps[1]


# --- What all of them keep to


@pytest.mark.parametrize("shift", SHIFTS)
def test_a_strength_of_0_changes_nothing(shift: str) -> None:
    assert np.array_equal(shifted(RANDOM, shift, 0.0) * 255, RANDOM)


@pytest.mark.parametrize("shift", SHIFTS)
def test_the_strongest_shift_stays_within_black_and_white(shift: str) -> None:
    rng = np.random.default_rng(0)
    shifted_image = SHIFTS[shift](RANDOM[0] / 255, 1.0, rng)
    assert shifted_image.shape == RANDOM[0].shape
    if shift != "noise":  # which is cut when it is read
        assert shifted_image.min() >= 0 and shifted_image.max() <= 1


@pytest.mark.parametrize("shift", SHIFTS)
def test_no_image_depends_on_its_batch_or_order(shift: str) -> None:
    source = ArrayImages(RANDOM)
    copy = ShiftedImages(source, shift, 0.3, 0)
    assert (len(copy), copy.native) == (40, source.native)
    for input in (source.native, Input(size=(5, 5), channels=1)):
        pixels = copy.read(np.arange(40), input)
        order = np.random.default_rng(2).permutation(40)
        assert np.array_equal(copy.read(order, input), pixels[order])
        for index in (0, 7, 39):
            assert np.array_equal(copy.read(np.array([index]), input)[0], pixels[index])


@pytest.mark.parametrize("shift", SHIFTS)
def test_a_seed_gives_its_images_each_its_own(shift: str) -> None:
    same = np.repeat(RANDOM[:1], 40, axis=0)
    shifted_images = shifted(same, shift, 0.3)
    assert np.array_equal(shifted_images, shifted(same, shift, 0.3))
    drawn = shift in DRAWN
    assert (len(np.unique(shifted_images, axis=0)) > 1) == drawn
    assert (not np.array_equal(shifted_images, shifted(same, shift, 0.3, seed=1))) == drawn
    assert np.array_equal(same[0], RANDOM[0])


PINNED: dict[str, list[list[int]]] = {
    "contrast": [[33, 47, 61, 75], [89, 103, 117, 131], [145, 159, 173, 187]],
    "inversion": [[76, 84, 92, 100], [108, 116, 124, 132], [140, 148, 156, 164]],
    "missing": [[0, 0, 40, 0], [0, 100, 120, 0], [160, 180, 200, 220]],
    "noise": [[18, 120, 50, 219], [0, 208, 67, 250], [157, 255, 255, 140]],
    "occlusion": [[128, 128, 40, 60], [128, 128, 120, 140], [160, 180, 200, 220]],
    "rotation": [[45, 39, 26, 20], [138, 119, 101, 82], [74, 168, 181, 111]],
}


@pytest.mark.parametrize("shift", SHIFTS)
def test_no_shift_moves_its_numbers(shift: str) -> None:
    """Records do not name a revision of shifts: what moves them needs new versions of its tasks."""
    ramp = np.arange(0, 240, 20).reshape(1, 1, 3, 4).repeat(3, axis=0)
    levels = 255 * shifted(ramp, shift, 0.3)[2, 0]
    assert np.abs(levels - PINNED[shift]).max() < 1.01


def test_an_unknown_shift_is_reported_with_the_nearest_one() -> None:
    with pytest.raises(BenchError, match="did you mean 'noise'"):
        ShiftedImages(ArrayImages(RANDOM), "nois", 0.1, 0)


# --- A task of shifts

PLAN = Replicates(seeds=2, shifts=("noise", "inversion"), strengths=(0.2, 1.0))
TASK = Task(
    name="toy-shift",
    family="shift",
    dataset=f"{TOYS / 'quadrants'}.py",
    targets=("label",),
    protocol="linear",
    chance=0.25,
    primary=Primary(target="label"),
    replicates=PLAN,
)


def test_one_probe_is_fitted_on_clean_images_and_judged_on_every_copy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fits: list[Any] = []
    usual = LinearProbe.fit

    def fit(self: LinearProbe, train: Any, val: Any) -> Any:
        fits.append(train.x)
        return usual(self, train, val)

    monkeypatch.setattr(LinearProbe, "fit", fit)
    workspace = Workspace(DataSets(tmp_path))
    record, _ = run_cell(Cell(TASK, resolve("encoders", "pixels")), workspace)
    assert record.status == "ok", record.reason
    assert len(record.replicates) == 5 and len(fits) == 1
    clean = images_of(workspace.dataset(TASK.dataset).split("train"))
    pixels = clean.read(np.arange(160), clean.native).reshape(160, -1)
    assert fits[0] == pytest.approx(pixels / 255.0, abs=1e-6)
    scores = {
        (r.coords.shift, r.coords.strength): r.scores["label"]["accuracy"]
        for r in record.replicates
    }
    assert scores[None, None] > 0.95
    assert scores["inversion", 1.0] < 0.3  # the dark quadrant is taken for the bright one


# --- Its table on the board

SPECS = ("pixels", "pca,dim=2", f"{TOYS / 'small_trunk'}.py~1k")
COPIES = [(None, None), *product(PLAN.shifts, PLAN.strengths)]
HEAD = ["encoder", "clean", "noise 0.2", "noise 1", "inversion 0.2", "inversion 1"]


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three real records, one of them of two trainings, never changed."""
    root = tmp_path_factory.mktemp("shifts")
    cells = [Cell(TASK, resolve("encoders", spec)) for spec in SPECS]
    assert run_cells(cells, DataSets(root), store=Store(root / "results")).count("ok") == 3
    return root / "results"


@pytest.fixture
def store(results: Path, tmp_path: Path) -> Store:
    shutil.copytree(results, tmp_path / "results")
    return Store(tmp_path / "results")


def board(store: Store) -> str:
    return rendered(store, {TASK.name: TASK}, overall=())


def table(text: str) -> list[list[str]]:
    """The lines of the table by shift and strength, the head first."""
    part = text.partition(f"### {TASK.name}: accuracy by shift and strength")[2]
    rows = [
        line.split("|")[1:-1] for line in part.partition("\n## ")[0].splitlines() if "|" in line
    ]
    return [[cell.strip() for cell in row] for row in rows[:1] + rows[2:]]


def ours(store: Store, encoder: str) -> Record:
    [record] = [r for r in store.records() if isinstance(r, Record) and r.encoder.id == encoder]
    return record


def stranger(store: Store, **changes: Any) -> None:
    """The record of pca as another's, with changes."""
    record = ours(store, "pca,dim=2")
    store.write(replace(record, owner="stranger", **changes), store.predictions(record))


def replicates(store: Store, number: int, **changes: Any) -> tuple[Replicate, ...]:
    """Those of pca, one of them with other coordinates or scores."""
    replicates = list(ours(store, "pca,dim=2").replicates)
    coords = replace(replicates[number].coords, **changes.get("coords", {}))
    scores = {**replicates[number].scores, **changes.get("scores", {})}
    replicates[number] = replace(replicates[number], coords=coords, scores=scores)
    return tuple(replicates)


def test_the_table_has_the_share_of_right_answers_on_every_copy(store: Store) -> None:
    head, *lines = table(board(store))
    assert head == HEAD
    primaries = []
    for line in lines:
        record = ours(store, line[0].removeprefix("local/").removesuffix(" (control)"))
        arrays, right = store.predictions(record), {copy: [] for copy in COPIES}
        for number, replicate in enumerate(record.replicates):
            at = replicate.coords.shift, replicate.coords.strength
            right[at].append((arrays[f"{number}/label/class"] == arrays["truth/label"]).mean())
        for cell, copy in zip(line[1:], COPIES, strict=True):
            assert cell.partition(" ")[0] == f"{100 * np.mean(right[copy]):.1f}"
            value, low, high = (float(end.strip("[],")) for end in cell.split())
            assert 0 <= low <= value <= high <= 100
        primaries.append(record.score.value)
        assert len(right[None, None]) == (2 if "small_trunk" in line[0] else 1)
    assert len(lines) == 3 and primaries == sorted(primaries, reverse=True)
    assert board(store) == board(store)


def test_the_table_is_below_the_scores_and_only_where_there_are_some(store: Store) -> None:
    titles = [line for line in board(store).splitlines() if line.startswith("#")]
    place = titles.index("# Frozen, shifted test images")
    assert titles[place + 1] == f"### {TASK.name}: accuracy by shift and strength"
    shutil.rmtree(store.root)
    assert "by shift and strength" not in board(store)


@pytest.mark.usefixtures("unchecked")
def test_a_copy_that_a_record_has_not_is_blank_and_one_of_its_own_has_no_column(
    store: Store,
) -> None:
    before = table(board(store))
    record = ours(store, "pca,dim=2")
    clean = record.replicates[0]
    assert clean.coords.shift is None
    odd = replace(clean, coords=replace(clean.coords, shift="<b>fog</b>", control="x"))
    stranger(store, replicates=(odd, *record.replicates[1:]))
    text = board(store)
    after = table(text)
    [line] = [line for line in after if line[0] == "stranger/pca,dim=2"]
    [row] = [line for line in before if line[0] == "pca,dim=2"]
    assert line[1:] == ["", *row[2:]]
    assert [line for line in after if "stranger" not in line[0]] == before
    assert "fog" not in text


@pytest.mark.usefixtures("unchecked")
def test_controls_stay_out_of_the_table(store: Store) -> None:
    record = ours(store, "pca,dim=2")
    clean = record.replicates[0]
    at = replace(clean.coords, control="shuffled_labels")
    wrong = replace(clean, coords=at, scores={"label": {"accuracy": 0.0}})
    stranger(store, replicates=(*record.replicates, wrong))
    lines = {line[0]: line[1:] for line in table(board(store))}
    assert lines["stranger/pca,dim=2"] == lines["pca,dim=2"]


ODD: dict[str, dict[str, Any]] = {
    "a shift that is a list": {"coords": {"shift": ["noise"]}},
    "a strength that is an object": {"coords": {"strength": {}}},
    "a score that is text": {"scores": {"label": {"accuracy": "<b>high</b>"}}},
    "a score that is missing": {"scores": {"label": {}}},
    "a target that is a number": {"scores": {"label": 3}},
}


@pytest.mark.parametrize("name", ODD)
def test_a_stranger_s_odd_record_is_left_out_and_moves_no_line(store: Store, name: str) -> None:
    before = table(board(store))
    stranger(store, replicates=replicates(store, 0, **ODD[name]))
    text = board(store)
    assert table(text) == before
    reason = "its record cannot be used" if "missing" in name else "unreadable record"
    assert reason in text
    assert "<b>" not in text
