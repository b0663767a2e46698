"""Encoders fitted once, features computed once: in memory, and from run to run on disk."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch

from bench.data.images import Delivery, Input
from bench.data.samples import SourceInfo
from bench.datasets.base import DataSets
from bench.encoders.base import Encoder
from bench.encoders.controls.supervised import Supervised
from bench.encoders.parts.autoencoder import Autoencoder
from bench.errors import BenchError
from bench.naming import registry
from bench.naming.specs import Resolved, resolve
from bench.results.record import Record
from bench.running import workspace as workspace_module
from bench.running.cache import Cache
from bench.running.features import encode_images, images_of, source_info
from bench.running.machine import chosen_device
from bench.running.runner import run_cell
from bench.running.workspace import Fitted, TrainingData, Workspace, fresh
from bench.tasks.cell import Cell
from bench.tasks.task import Primary, Replicates, Task
from tests.kit import TOYS

Array = npt.NDArray[Any]
QUADRANTS = f"{TOYS / 'quadrants'}.py"
AE, SUPERVISED = "autoencoder,width=8,code=4~32", "supervised,width=8,code=4~32"
SMALL = {  # what fits few images of 6 x 6 pixels, or is built on what does
    "dfc_vae": "dfc_vae,features=autoencoder%7E32",
    "gmm": "gmm,components=3,dim=2",
    "kmeans": "kmeans,code=4,dim=2",
    "random_patches": "random_patches,field=3,patches=9",
}
LEARN = [
    name
    for name in registry.names("encoders")
    if registry.find("encoders", name).training != "none"
]
FITTED = [
    SMALL.get(name, name) + ("~32" if registry.find("encoders", name).training == "budget" else "")
    for name in LEARN
]


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    return Cache(tmp_path / "cache")


def new_workspace(cache: Cache | None = None, **options: Any) -> Workspace:
    return Workspace(DataSets(Path("nowhere")), cache=cache, **options)


def fitted(
    workspace: Workspace, resolved: str | Resolved, *, seed: int = 0, **changes: Any
) -> Fitted:
    """The encoder fitted on all training images, or as `changes` say."""
    dataset = workspace.dataset(QUADRANTS)
    train = dataset.split("train")
    data = dataclasses.replace(TrainingData.of(dataset, train.rows, train.y), **changes)
    spec = resolve("encoders", resolved) if isinstance(resolved, str) else resolved
    return workspace.fitted(spec, data, seed=seed)


def features(
    workspace: Workspace, encoder: Fitted, split: Any = "test", **options: Any
) -> Mapping[str, Array]:
    dataset: Any = workspace.dataset(QUADRANTS)
    changes = {"fingerprint": options.pop("fingerprint", dataset.fingerprint)}
    if "images" in options:
        samples = dataclasses.replace(dataset.split(split), x=options.pop("images"))
        changes["splits"] = {**dataset.splits, split: samples}
    dataset = dataclasses.replace(dataset, **changes)
    return workspace.features(encoder, dataset, split, **options).levels


def state(encoder: Fitted) -> dict[str, torch.Tensor]:
    return dict(encoder.encoder.state_dict())


def equal(first: Fitted, second: Fitted) -> bool:
    a, b = state(first), state(second)
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def kept_files(cache: Cache, kind: str) -> list[Path]:
    return sorted((cache.root / kind).glob("*"))


@pytest.fixture
def fits(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A name for each fit from now on."""
    calls: list[str] = []
    for kind in (Autoencoder, Supervised):

        def counted(self: Any, *a: Any, _fit: Any = kind.fit, **options: Any) -> Any:
            calls.append(type(self).__name__)
            return _fit(self, *a, **options)

        monkeypatch.setattr(kind, "fit", counted)
    return calls


@pytest.fixture
def everything_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workspace_module, "_WORTH", 0)


class Unread:
    """Images that nobody may look at."""

    native = Input(size=(6, 6), channels=1)

    def __init__(self, count: int) -> None:
        self.count = count

    def __len__(self) -> int:
        return self.count

    def read(self, indices: Array, input: Input) -> Array:
        raise AssertionError("images are read")


# --- Weights


@pytest.mark.parametrize("text", FITTED)
def test_weights_come_from_the_disk_in_a_second_run(
    text: str, cache: Cache, monkeypatch: pytest.MonkeyPatch
) -> None:
    first_workspace, second_workspace = new_workspace(cache), new_workspace(cache)
    first = fitted(first_workspace, text, seed=2)
    expected = features(first_workspace, first)

    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("fitted again")

    monkeypatch.setattr(type(first.encoder), "fit", refuse)
    second = fitted(second_workspace, text, seed=2, images=Unread(160))
    assert second.key == first.key and second.encoder is not first.encoder
    assert equal(first, second) and not second.encoder.training
    assert second.seconds == first.seconds > 0
    assert second.report.images_seen == first.report.images_seen > 0
    assert second.report.steps == first.report.steps
    assert dict(second.report.terms) == dict(first.report.terms)
    for level, values in features(second_workspace, second).items():
        np.testing.assert_array_equal(values, expected[level])


def test_one_run_fits_once(cache: Cache, fits: list[str]) -> None:
    workspace = new_workspace(cache)
    assert fitted(workspace, AE) is fitted(workspace, AE)
    assert fits == ["Autoencoder"]
    fitted(new_workspace(cache), AE)
    assert fits == ["Autoencoder"] and len(kept_files(cache, "weights")) == 1
    fitted(new_workspace(), AE)  # without a cache
    assert len(fits) == 2


def test_without_a_cache_nothing_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, everything_kept: None
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("REPTRANSFER_CACHE", str(tmp_path / "cache"))
    workspace = new_workspace()
    features(workspace, fitted(workspace, AE))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("fault", ["flipped", "truncated", "removed"])
def test_broken_weights_are_trained_anew_and_kept_again(
    cache: Cache, fits: list[str], fault: str
) -> None:
    first = fitted(new_workspace(cache), AE)
    (path,) = kept_files(cache, "weights")
    content = bytearray(path.read_bytes())
    content[-9] ^= 4
    if fault == "removed":
        path.unlink()
    else:
        path.write_bytes(content[:-50] if fault == "truncated" else content)
    assert equal(fitted(new_workspace(cache), AE), first) and len(fits) == 2
    assert equal(fitted(new_workspace(cache), AE), first) and len(fits) == 2


@pytest.mark.parametrize("fault", ["missing", "unexpected", "shape"])
def test_weights_that_do_not_fit_are_trained_anew_from_the_start_of_the_seed(
    cache: Cache, fits: list[str], fault: str, caplog: pytest.LogCaptureFixture
) -> None:
    first = fitted(new_workspace(cache), AE)
    stored = cache.get("weights", first.key)
    assert stored is not None
    arrays = {name: array + 1 for name, array in stored.arrays.items()}
    if fault == "missing":
        del arrays["to_code.0.bias"]
    elif fault == "unexpected":
        arrays["other"] = np.ones(3, dtype=np.float32)
    else:
        arrays["to_code.0.bias"] = np.ones(5, dtype=np.float32)
    cache.put("weights", first.key, arrays, stored.notes)
    second = fitted(new_workspace(cache), AE)
    assert len(fits) == 2 and len(caplog.messages) == 1
    assert equal(first, second)


@pytest.mark.parametrize("notes", [{}, {"report": {"unheard_of": 1}, "seconds": 1.0}, []])
def test_weights_with_notes_of_another_version_are_trained_anew(
    cache: Cache, fits: list[str], notes: Any
) -> None:
    first = fitted(new_workspace(cache), AE)
    stored = cache.get("weights", first.key)
    assert stored is not None
    cache.put("weights", first.key, stored.arrays, notes)
    assert equal(first, fitted(new_workspace(cache), AE)) and len(fits) == 2


def test_an_encoder_and_what_it_depends_on_come_from_the_disk_both(
    cache: Cache, fits: list[str]
) -> None:
    text = f"{TOYS / 'squared'}.py,inner=autoencoder%2Cwidth%3D8%2Ccode%3D4~32".replace("~", "%7E")
    first = fitted(new_workspace(cache), text)
    second = fitted(new_workspace(cache), text)
    assert fits == ["Autoencoder"] and equal(first, second)
    assert first.images_seen == second.images_seen == 32


# --- Keys


def test_the_key_of_weights_changes_with_all_that_they_depend_on_and_with_nothing_else() -> None:
    workspace = new_workspace()
    train = workspace.dataset(QUADRANTS).split("train")
    shuffled = {name: np.roll(values, 1, axis=0) for name, values in train.y.items()}
    base, supervised = fitted(workspace, AE).key, fitted(workspace, SUPERVISED).key
    assert base == fitted(workspace, AE).key and base != supervised
    spec = resolve("encoders", AE)
    raised = {**spec.entry.revisions, "encoders/_training": 2}

    class Raised(registry.Component):
        revisions = raised  # type: ignore[assignment]

    fields = {f.name: getattr(spec.entry, f.name) for f in dataclasses.fields(spec.entry)}
    others = {
        "seed": fitted(workspace, AE, seed=1).key,
        "rows": fitted(workspace, AE, rows=train.rows[1:]).key,
        "order of rows": fitted(workspace, AE, rows=train.rows[::-1].copy()).key,
        "data": fitted(workspace, AE, fingerprint="other").key,
        "budget": fitted(workspace, AE.replace("~32", "~33")).key,
        "argument": fitted(workspace, AE.replace("code=4", "code=5")).key,
        "revision": fitted(workspace, dataclasses.replace(spec, entry=Raised(**fields))).key,
        "source": fitted(workspace, AE.replace("~", "@digits~")).key,
        "shape": fitted(workspace, AE, info=SourceInfo(1, 7, 6, {})).key,
        "labels": fitted(workspace, SUPERVISED, labels=shuffled).key,
        "nothing learnt": fitted(workspace, AE.replace("~32", "~0")).key,
    }
    assert len({base, supervised, *others.values()}) == 2 + len(others)
    assert fitted(workspace, AE, labels=shuffled).key == base  # it does not see them
    for level in ("code", "trunk", "multi"):
        assert fitted(workspace, AE.replace("~", f",level={level}~")).key == base


def test_an_encoder_without_random_numbers_has_one_key_for_all_seeds() -> None:
    workspace = new_workspace()
    assert fitted(workspace, "pca,dim=4", seed=0) is fitted(workspace, "pca,dim=4", seed=1)


def test_labels_reach_the_encoders_that_use_them_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: dict[str, Any] = {}
    for kind in (Autoencoder, Supervised):

        def watched(self: Any, images: Any, *, _fit: Any = kind.fit, **options: Any) -> Any:
            seen[type(self).__name__] = options["labels"]
            return _fit(self, images, **options)

        monkeypatch.setattr(kind, "fit", watched)
    workspace = new_workspace()
    for text in (AE, SUPERVISED):
        fitted(workspace, text)
    assert seen["Autoencoder"] is None
    assert seen["Supervised"] is workspace.dataset(QUADRANTS).split("train").y


def test_without_a_budget_it_is_the_fresh_encoder_and_nothing_is_kept(
    cache: Cache, fits: list[str]
) -> None:
    workspace = new_workspace(cache)
    fit = fitted(workspace, AE.replace("~32", "~0"), seed=4, images=Unread(160))
    start = fresh(resolve("encoders", AE), source_info(workspace.dataset(QUADRANTS)), 4, {})
    assert all(torch.equal(start.state_dict()[name], value) for name, value in state(fit).items())
    assert fits == [] and fit.images_seen == 0 and kept_files(cache, "weights") == []


# --- Features


@pytest.mark.parametrize("shift", [None, ("noise", 0.2)])
def test_features_come_from_the_disk_in_a_second_run_without_an_image(
    cache: Cache, everything_kept: None, shift: Any
) -> None:
    first_workspace, second_workspace = new_workspace(cache), new_workspace(cache)
    first = fitted(first_workspace, AE)
    expected = features(first_workspace, first, shift=shift)
    assert set(expected) == {"trunk", "code", "multi"}
    assert len(kept_files(cache, "features")) == 3
    second = fitted(second_workspace, AE)
    for level, array in expected.items():
        values = features(second_workspace, second, shift=shift, images=Unread(80), level=level)
        np.testing.assert_array_equal(values[level], array)


def test_features_on_disk_are_those_of_one_encoder_split_and_shift(
    cache: Cache, everything_kept: None
) -> None:
    workspace = new_workspace(cache, levels={None})
    a, second = fitted(workspace, AE), fitted(workspace, AE, seed=1)
    keys = [
        features(workspace, a),
        features(workspace, second),
        features(workspace, a, "train"),
        features(workspace, a, shift=("noise", 0.2)),
        features(workspace, a, shift=("noise", 0.3)),
        features(workspace, a, fingerprint="other data"),
    ]
    assert len(kept_files(cache, "features")) == len(keys)
    again = new_workspace(cache, levels={None})
    first = fitted(again, AE)
    for options, expected in (({}, keys[0]), ({"shift": ("noise", 0.3)}, keys[4])):
        now = features(again, first, images=Unread(80), **options)
        np.testing.assert_array_equal(now["trunk"], expected["trunk"])


def test_features_of_another_count_of_images_are_computed_anew(
    cache: Cache, everything_kept: None
) -> None:
    workspace = new_workspace(cache)
    codes = features(workspace, fitted(workspace, AE))["code"]
    again = new_workspace(cache)
    val = images_of(again.dataset(QUADRANTS).split("val"))
    fewer = features(again, fitted(again, AE), images=val, level="code")
    assert fewer["code"].shape == (60, 4) and len(codes) == 80


def test_broken_features_are_computed_anew(cache: Cache, everything_kept: None) -> None:
    workspace = new_workspace(cache)
    expected = features(workspace, fitted(workspace, AE))
    for path in kept_files(cache, "features"):
        content = bytearray(path.read_bytes())
        content[-1] ^= 1
        path.write_bytes(content)
    again = new_workspace(cache)
    codes = features(again, fitted(again, AE))
    np.testing.assert_array_equal(codes["trunk"], expected["trunk"])


def test_features_that_were_fast_to_compute_stay_in_memory(cache: Cache) -> None:
    workspace = new_workspace(cache)
    fit = fitted(workspace, AE)
    first = features(workspace, fit)
    assert kept_files(cache, "features") == []
    again = features(workspace, fit, images=Unread(80))
    assert all(first[level] is again[level] for level in first)


@pytest.mark.parametrize(
    ("levels", "level", "expected"),
    [
        (None, None, {"trunk", "code", "multi"}),
        ({None}, None, {"trunk"}),
        ({"code"}, "code", {"code"}),
        ({"code", None}, None, {"trunk", "code"}),
        ({"code"}, "multi", {"code", "multi"}),
        ({"levels of others"}, None, {"trunk"}),
    ],
)
def test_the_levels_that_a_run_reads_out_are_kept_and_no_others(
    levels: Any, level: Any, expected: set[str], cache: Cache, everything_kept: None
) -> None:
    workspace = new_workspace(cache, levels=levels)
    values = features(workspace, fitted(workspace, AE), level=level)
    assert set(values) == expected and len(kept_files(cache, "features")) == len(expected)


def test_features_are_those_of_a_plain_pass(cache: Cache, everything_kept: None) -> None:
    for workspace in (new_workspace(cache), new_workspace(cache), new_workspace()):
        fit = fitted(workspace, AE)
        images = images_of(workspace.dataset(QUADRANTS).split("test"))
        expected = encode_images(
            fit.encoder, Delivery(images, fit.encoder.input), name="images"
        ).levels
        np.testing.assert_array_equal(features(workspace, fit)["trunk"], expected["trunk"])


def test_the_oldest_features_leave_memory_first() -> None:
    workspace = new_workspace(most_bytes=0)
    fit = fitted(workspace, AE)
    for number in range(4):
        features(workspace, fit, fingerprint=str(number))
    with pytest.raises(AssertionError, match="images are read"):
        features(workspace, fit, fingerprint="0", images=Unread(80))
    features(workspace, fit, fingerprint="1", images=Unread(80))


def test_features_that_get_another_level_are_the_newest(
    cache: Cache, everything_kept: None
) -> None:
    """From the disk comes one level at a time; the second must not push itself out."""
    first = new_workspace(cache)
    for number in range(4):
        features(first, fitted(first, AE), fingerprint=str(number))
    workspace = new_workspace(cache, most_bytes=4 * 80 * 4 * 4)  # four times 80 codes of 4 numbers
    fit = fitted(workspace, AE)
    for number in range(4):
        assert set(features(workspace, fit, fingerprint=str(number), level="code")) == {"code"}
    assert set(features(workspace, fit, fingerprint="0", level="trunk")) == {"trunk"}
    assert [key[1] for key in workspace._features] == ["2", "3", "0"]


# --- Cells


def question(**changes: Any) -> Task:
    options = {
        "name": "toy",
        "family": "probe",
        "dataset": QUADRANTS,
        "targets": ("label",),
        "protocol": "knn",
        "chance": 0.25,
        "primary": Primary(target="label"),
        "replicates": Replicates(seeds=2),
        **changes,
    }
    return Task(**options)


def run(encoder: str | Encoder, cache: Cache | None) -> tuple[Record, dict[str, Array]]:
    spec = resolve("encoders", encoder) if isinstance(encoder, str) else encoder
    record, arrays = run_cell(Cell(question(), spec), new_workspace(cache))
    assert record.status == "ok", record.reason
    return record, arrays


@pytest.mark.parametrize("text", [AE, SUPERVISED, "vae,width=8,code=4~32", "pca,dim=4"])
def test_a_record_is_the_same_with_and_without_what_was_kept(
    text: str, cache: Cache, everything_kept: None, fits: list[str]
) -> None:
    (plain, arrays), *others = [run(text, store) for store in (None, cache, cache)]
    assert len(fits) == {AE: 4, SUPERVISED: 4}.get(text, 0)  # the last run fits nothing
    assert kept_files(cache, "features") != []
    for record, predictions in others:
        assert record.digest == plain.digest
        assert record.training == plain.training
        assert predictions.keys() == arrays.keys()
        assert all(np.array_equal(predictions[name], array) for name, array in arrays.items())


def test_an_object_that_was_handed_in_never_reaches_the_disk(
    cache: Cache, everything_kept: None
) -> None:
    encoder = fresh(resolve("encoders", AE), SourceInfo(1, 6, 6, {}), 0, {})
    first, _ = run(encoder, cache)
    assert not cache.root.exists()
    with torch.no_grad():
        for parameter in encoder.parameters():
            parameter.normal_(generator=torch.Generator().manual_seed(0))
    second, _ = run(encoder, cache)
    assert second.digest != first.digest and not cache.root.exists()


# --- Devices


def test_the_device_is_the_given_one_and_one_that_is_not_there_is_reported() -> None:
    assert chosen_device("cpu") == "cpu"
    assert chosen_device(None) == ("cuda" if torch.cuda.is_available() else "cpu")
    for name in ("cuda:99", "nonsense", "", "cpu:x", "meta"):
        with pytest.raises(BenchError, match="no device") as caught:
            chosen_device(name)
        assert str(caught.value).isprintable()
