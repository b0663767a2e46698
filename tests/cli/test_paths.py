"""Paths as people type them, from the command line and from Python."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import bench
from bench.cli.main import main
from bench.errors import BenchError
from tests.kit import COMMAND, ROOT

ENCODER = '''"""Row means."""
from pathlib import Path
from bench.data.images import Input
from bench.encoders.base import Encoder
TRAINING = "none"

class Rows(Encoder):
    seeded = False
    def __init__(self, scale):
        super().__init__()
        self.input, self.dims, self.scale = Input(size=(8, 8), channels=1), {"code": 8}, scale
    def taps(self, images):
        return {"code": images.mean(dim=(1, 3)) * self.scale}

def build(*, source, weights: Path, power: int = 1):
    """Row means, scaled by the number in the file `weights`."""
    return Rows(float(Path(weights).read_text()) ** power)
'''


@pytest.fixture(autouse=True)
def workdir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    (folder / "rows.py").write_text(ENCODER)
    return folder


def pictures(folder: str) -> None:
    """Two classes of 24 images: light on the left, light on the right."""
    draw = np.random.default_rng(0)
    for number, name in enumerate(("cat", "dog")):
        (Path(folder) / name).mkdir(parents=True)
        for index in range(24):
            image = draw.integers(0, 80, (16, 16, 3)).astype(np.uint8)
            image[:, 8 * number : 8 * number + 8] += 100
            Image.fromarray(image).save(f"{folder}/{name}/{index}.png")


@pytest.mark.parametrize(
    "path", ["../ckpt/x.pth", "~/x.pth", "a b.pth", "é@v~2.pth", "odd\udce9.pth", "a,power.pth"], ids=ascii
)  # fmt: skip
def test_weights_are_read_from_where_they_lie(
    path: str, capsys: pytest.CaptureFixture[str]
) -> None:
    place = Path(os.path.expanduser(path))
    place.parent.mkdir(exist_ok=True)
    place.write_text("1.5")
    spec = f"rows.py,weights={path},power=2"
    words = ["run", "--task", "digits-knn", "--encoder", spec, "--results", "runs"]
    assert main(words) == 0
    assert main(words) == 0
    assert "nothing to do" in capsys.readouterr().err
    [record] = bench.evaluate(spec, "digits-knn").records
    assert record.status == "ok"
    place.write_text("0")
    main(["status", *words[1:]])
    out = capsys.readouterr().out
    assert "stale" in out


def test_all_specs_are_checked_before_the_first_cell_runs(
    workdir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["run", "--task", "digits-knn", "--encoder", "pixels", "--results", "runs"]
    assert main([*words, "--encoder", "rows.py,weights=./ab sent.pth"]) == 2
    err = capsys.readouterr().err
    assert "no file or folder './ab sent.pth'" in err
    assert len(err.splitlines()) == 1
    assert not (workdir / "runs").exists()
    with pytest.raises(BenchError, match="no file or folder"):
        bench.evaluate("rows.py,weights=absent.pth")


@pytest.mark.parametrize("when", ["never there", "removed after a run"])
def test_weights_that_are_missing_are_one_line_for_every_command(
    when: str, workdir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    spec, cells, runs = "rows.py,weights=w.txt", ["--task", "digits-knn"], ["--results", "runs"]
    (workdir / "w.txt").write_text("1.5")
    if when == "removed after a run":
        assert main(["run", *cells, "--encoder", spec, "--encoder", "pixels", *runs]) == 0
    (workdir / "w.txt").unlink()
    (workdir / "runs").mkdir(exist_ok=True)
    before = sorted(workdir.rglob("*"))
    for words in (
        ["run", *cells, "--encoder", spec, *runs],
        ["run", *cells, "--encoder", spec, "--name", "scaled", *runs],
        ["plan", *cells, "--encoder", spec, *runs],
        ["status", *cells, "--encoder", spec, *runs],
        ["compare", "pixels", spec, *runs],
        ["show", spec],
        ["show", spec, "--pictures", "out"],
        ["check", spec],
    ):
        capsys.readouterr()
        status = main(words)
        err = capsys.readouterr().err
        assert status == 2 and len(err.splitlines()) == 1, words
        if words[0] != "compare" or when != "never there":
            assert "no file or folder 'w.txt' (weights=...)" in err, words
    for call in (bench.evaluate, lambda spec: bench.compare(spec, spec, results="runs")):
        with pytest.raises(BenchError):
            call(spec)  # type: ignore[operator]
    assert sorted(workdir.rglob("*")) == before


def test_a_broken_weights_file_is_one_line_where_pictures_are_drawn(
    workdir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (workdir / "w.txt").write_text("no number")
    assert main(["show", "rows.py,weights=w.txt", "--pictures", "out"]) == 2
    assert "could not convert string to float" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["rows.py", "timm_backbone"])
def test_arguments_are_shown_also_where_one_is_required(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["show", name, "--json"]) == 0
    [report] = json.loads(capsys.readouterr().out)
    required = {"rows.py": "weights", "timm_backbone": "model"}[name]
    assert report["required"] == [required]
    assert required in report["schema"]
    assert main(["show", name]) == 0
    assert required in capsys.readouterr().out


def test_a_component_in_the_home_folder_is_shown(
    workdir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "home").mkdir()
    (workdir / "rows.py").rename(tmp_path / "home" / "rows.py")
    assert main(["show", "~/rows.py"]) == 0
    assert "weights" in capsys.readouterr().out


def test_no_shell_is_needed_for_the_home_folder(
    workdir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["run", "--task", "digits-knn", "--encoder", "pixels", "--results=~/runs"]
    assert main(words) == 0
    assert (tmp_path / "home" / "runs").is_dir()
    assert not (workdir / "~").exists()


def command(words: list[str], folder: Path, **variables: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [sys.executable, "-c", COMMAND, *map(os.fsencode, words)],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT), **variables},
        capture_output=True,
        check=False,
    )


C_LOCALE = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}


@pytest.mark.parametrize(
    ("folder", "variables"),
    [
        pytest.param("\udce9t\udce9", {}, marks=pytest.mark.slow),
        pytest.param("été", {}, marks=pytest.mark.slow),
        pytest.param("été", C_LOCALE, marks=pytest.mark.slow),
        ("\udce9t\udce9", C_LOCALE),
    ],
    ids=ascii,
)
def test_a_folder_of_images_has_any_name(
    folder: str, variables: dict[str, str], workdir: Path
) -> None:
    pictures(folder)
    done = command(
        ["run", "--images", folder, "--encoder", "pixels", "--results", "runs"],
        workdir,
        **variables,
    )
    assert b"Traceback" not in done.stderr
    assert done.returncode == 0, done.stderr
    assert list((workdir / "runs").glob("*/*/*.json"))


def test_a_class_has_any_name(workdir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pictures("images")
    os.rename("images/cat", "images/caf\udce9")
    assert main(["run", "--images", "images", "--encoder", "pixels", "--results", "runs"]) == 0
    assert list((workdir / "runs").glob("*/*/*.json"))


@pytest.mark.parametrize("folder", ["a b/photos", "é@v~2,w=3", "100%"])
def test_a_task_file_names_a_folder_as_it_is(
    folder: str, workdir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pictures(folder)
    text = ('family = "probe"', 'targets = ["label"]', 'protocol = "knn"', "chance = 0.5")
    for place in (folder, str(workdir / folder)):
        dataset = f"dataset = {json.dumps(f'image_folder,path={place}')}"
        (workdir / "mine.toml").write_text("\n".join((*text, dataset)) + "\n")
        words = ["--task", "mine.toml", "--encoder", "pixels,size=4", "--results", "runs"]
        assert main(["run", *words]) == 0
        assert main(["status", *words]) == 0
    assert "nothing to do" in capsys.readouterr().err
    assert main(["status", "--task", "mine", *words[2:]]) == 0
    for path in (workdir / "runs").rglob("*"):
        if path.is_file() and path.name != ".places.json":
            assert str(workdir).encode() not in path.read_bytes(), path
