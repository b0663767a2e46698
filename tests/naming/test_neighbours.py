"""An encoder file and what belongs to it: modules beside it, files that it opens while it is built."""

from __future__ import annotations

import json
import os
import pickle
import sys
from pathlib import Path

import pytest

from bench.cli.main import main
from bench.errors import BenchError
from bench.naming.registry import find, load
from bench.naming.specs import resolve

ENCODER = '''"""Row means of grey images, to a power."""
from pathlib import Path
from bench.data.images import Input
from bench.encoders.base import Encoder
{imports}
REVISION = 1
TRAINING = "none"

class Rows(Encoder):
    seeded = False
    def __init__(self, scale):
        super().__init__()
        self.input, self.dims, self.scale = Input(size=(8, 8), channels=1), {{"code": 8}}, scale
    def taps(self, images):
        {tap}
        return {{"code": images.mean(dim=(1, 3)) ** self.scale}}

def build(*, source, weights: Path | None = None):
    """Row means."""
    {build}
    return Rows({scale})
'''
HERE = "Path(__file__).parent"


@pytest.fixture(autouse=True)
def cwd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working folder; nothing else in it is searched for modules."""
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.setattr(sys, "path", [place for place in sys.path if place not in ("", ".")])
    return folder


def encoder(
    path: Path, *, imports: str = "", build: str = "pass", scale: str = "1", tap: str = "pass"
) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(ENCODER.format(imports=imports, build=build, scale=scale, tap=tap))
    return str(path)


def digest(path: str) -> str:
    return str(resolve("encoders", path).identity["digest"])


def scale(path: str) -> object:
    return load(find("encoders", path)).build(source=None).scale


def run(spec: str, capsys: pytest.CaptureFixture[str]) -> str:
    """What `run` says of the one cell; its status must be 0."""
    assert main(["run", "--task", "digits-knn", "--encoder", spec, "--results", "runs"]) == 0
    return capsys.readouterr().err


# --- Modules beside the file

IMPORTS = {
    "module": ("from parts import SCALE", "SCALE", ["parts.py"]),
    "module by its name": ("import parts", "parts.SCALE", ["parts.py"]),
    "package": ("from parts import SCALE", "SCALE", ["parts/__init__.py"]),
    "in a package": ("from parts.deep import SCALE", "SCALE", ["parts/deep.py"]),
    "renamed": ("import parts.deep as p", "p.SCALE", ["parts/__init__.py", "parts/deep.py"]),
    "dotted": ("import parts.deep", "parts.deep.SCALE", ["parts/__init__.py", "parts/deep.py"]),
    "star": ("from parts import *", "SCALE", ["parts.py"]),
    "relative": ("from .parts import SCALE", "SCALE", ["parts.py"]),
    "relative module": ("from . import parts", "parts.SCALE", ["parts.py"]),
    "an accent": ("from pièces import SCALE", "SCALE", ["pièces.py"]),
}


@pytest.mark.parametrize(("imports", "value", "files"), IMPORTS.values(), ids=IMPORTS)
def test_modules_beside_are_imported_and_belong_to_the_identity(
    imports: str, value: str, files: list[str], cwd: Path
) -> None:
    path = encoder(cwd / "enc" / "rows.py", imports=imports, scale=value)
    for name in files:
        (cwd / "enc" / name).parent.mkdir(exist_ok=True)
        (cwd / "enc" / name).write_text("SCALE = 2.0\n")
    names, before = set(sys.modules), list(sys.path)
    first = digest(path)
    assert scale(path) == 2.0
    assert not {"parts", "pièces"} & (set(sys.modules) - names)
    assert sys.path == before
    (cwd / "enc" / files[-1]).write_text("SCALE = 3.0\n")  # equal size, perhaps the same second
    assert digest(path) != first
    assert scale(path) == 3.0
    (cwd / "enc" / files[-1]).write_text("SCALE = 2.0\n")
    assert digest(path) == first
    assert scale(path) == 2.0


@pytest.mark.parametrize("where", ["build", "tap"])
def test_an_import_inside_a_function_finds_the_folder_too(where: str, cwd: Path) -> None:
    import torch

    (cwd / "enc").mkdir()
    (cwd / "enc" / "parts.py").write_text("SCALE = 2.0\n")
    place = {where: "from parts import SCALE"}
    path = encoder(cwd / "enc" / "rows.py", **place)
    first = digest(path)
    load(find("encoders", path)).build(source=None).taps(torch.zeros(1, 1, 8, 8))
    (cwd / "enc" / "parts.py").write_text("SCALE = 3.0\n")
    assert digest(path) != first


def test_what_neighbours_import_belongs_to_it_and_circles_end(cwd: Path) -> None:
    path = encoder(cwd / "rows.py", imports="from one import SCALE", scale="SCALE")
    (cwd / "one.py").write_text("import two\nSCALE = two.SCALE\n")
    (cwd / "two.py").write_text("import one, rows\nfrom three import SCALE\n")
    (cwd / "three.py").write_text("SCALE = 2.0\n")
    first = digest(path)
    assert scale(path) == 2.0
    (cwd / "three.py").write_text("SCALE = 4.0\n")
    assert digest(path) != first
    assert scale(path) == 4.0


def test_files_in_two_folders_have_neighbours_of_one_name(cwd: Path) -> None:
    first, second = (
        encoder(cwd / name / f"{name}_rows.py", imports="import parts", scale="parts.SCALE")
        for name in ("a", "b")
    )
    (cwd / "a" / "parts.py").write_text("SCALE = 1.5\n")
    (cwd / "b" / "parts.py").write_text("SCALE = 2.5\n")
    assert [scale(first), scale(second), scale(first)] == [1.5, 2.5, 1.5]


def test_a_file_that_nothing_imports_counts_for_nothing(cwd: Path) -> None:
    path = encoder(cwd / "rows.py")
    first = digest(path)
    for name in ("parts.py", "random.py", "queue.py", "torch.py", "bench.py", "notes.txt"):
        (cwd / name).write_text("raise SystemExit(3)\n")
    assert digest(path) == first
    assert scale(path) == 1


def test_a_file_named_like_an_installed_package_can_import_that_one(cwd: Path) -> None:
    path = encoder(cwd / "scipy.py", imports="import scipy", scale="len(scipy.__version__)")
    assert scale(path) > 3


def test_packages_in_the_folder_of_the_user_or_of_another_environment_are_not_followed(
    cwd: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = cwd.parent / "elsewhere" / "site-packages"
    package = folder / "big_package"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("".join(f"from .m{n} import x\n" for n in range(120)))
    for number in range(120):
        (package / f"m{number}.py").write_text("x = 7.0\n")
    monkeypatch.syspath_prepend(str(folder))
    path = encoder(cwd / "rows.py", imports="import big_package", scale="big_package.x")
    try:
        answer: object = scale(path)
    except BenchError as error:
        answer = str(error)
    assert answer == 7.0


def test_pickled_classes_of_a_neighbour_are_found_while_it_is_built(cwd: Path) -> None:
    (cwd / "parts.py").write_text("class Scale:\n    value = 5.0\n")
    sys.path.insert(0, str(cwd))
    import parts  # type: ignore[import-not-found]

    (cwd / "scale.pkl").write_bytes(pickle.dumps(parts.Scale()))
    del sys.modules["parts"]
    sys.path.remove(str(cwd))
    load_it = f"import pickle; x = pickle.loads(({HERE} / 'scale.pkl').read_bytes())"
    for imports in ("import parts", ""):
        path = encoder(cwd / "rows.py", imports=imports, build=load_it, scale="x.value")
        spec = resolve("encoders", path)
        from bench.data.samples import SourceInfo
        from bench.running.workspace import fresh

        assert fresh(spec, SourceInfo(1, 8, 8, {}), 0, {}).scale == 5.0
        assert "parts" not in sys.modules


def test_the_revisions_of_modules_that_a_neighbour_imports_count(cwd: Path) -> None:
    path = encoder(cwd / "rows.py", imports="import parts")
    (cwd / "parts.py").write_text("REVISION = 7\nimport bench.solvers.logistic\n")
    revisions = find("encoders", path).revisions
    assert "solvers/logistic" in revisions
    assert "parts" not in revisions


@pytest.mark.parametrize("text", ["def f(:\n", "raise SystemExit(3)\n", "import no_such_module\n"])
def test_a_neighbour_that_cannot_be_imported_is_one_line(
    text: str, cwd: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = encoder(cwd / "rows.py", imports="import parts")
    (cwd / "parts.py").write_text(text)
    with pytest.raises(BenchError, match=r"rows\.py") as caught:
        load(find("encoders", path))
    assert "\n" not in str(caught.value)


def test_a_byte_order_mark_before_an_encoder_file_or_a_neighbour_is_read(cwd: Path) -> None:
    path = Path(encoder(cwd / "rows.py", imports="import parts", scale="parts.SCALE"))
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    (cwd / "parts.py").write_bytes(b"\xef\xbb\xbfSCALE = 2.0\n")
    assert scale(str(path)) == 2.0


def test_an_edited_neighbour_makes_the_record_stale(
    cwd: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = encoder(cwd / "rows.py", imports="from parts import SCALE", scale="SCALE")
    (cwd / "parts.py").write_text("SCALE = 1.0\n")
    assert "accuracy" in run(path, capsys)
    assert "nothing to do" in run(path, capsys)
    (cwd / "parts.py").write_text("SCALE = 3.0\n")
    assert "run again: its encoder has changed" in run(path, capsys)


# --- Files that it opens

OPENS = {
    "beside": f"x = ({HERE} / 'scale.txt').read_text()",
    "by a computed name": f"x = next({HERE}.glob('*.txt')).read_text()",
    "from the working folder": "with open('scale.txt') as file: x = file.read()",
    "below": f"with ({HERE} / 'scale.txt').open() as file: x = file.read()",
    "absolute": "x = Path('ABSOLUTE').read_text()",
}


@pytest.mark.parametrize("opens", OPENS.values(), ids=OPENS)
@pytest.mark.parametrize("when", ["build", "imports"])
def test_a_file_that_is_opened_makes_the_record_stale_when_it_changes(
    opens: str, when: str, cwd: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = cwd / "scale.txt"
    if "ABSOLUTE" in opens:
        data = tmp_path / "elsewhere" / "alice" / "scale.txt"
        data.parent.mkdir(parents=True)
        opens = opens.replace("ABSOLUTE", str(data))
    data.write_text("1.0")
    path = encoder(cwd / "rows.py", scale="float(x)", **{when: opens})
    run(path, capsys)
    assert "nothing to do" in run(path, capsys)
    [record] = (cwd / "runs").glob("*/*/*.json")
    text = record.read_text()
    assert list(json.loads(text)["encoder"]["files"]) == ["scale.txt"]
    assert str(tmp_path) not in text
    assert "alice" not in text
    data.write_text("3.0")
    assert "scale.txt, which its encoder opened, has changed" in run(path, capsys)
    assert "nothing to do" in run(path, capsys)
    first = json.loads(record.read_text())["replicates"]
    data.write_text("1.0")
    assert "has changed" in run(path, capsys)
    assert json.loads(record.read_text())["replicates"] != first
    data.unlink()
    main(["status", "--task", "digits-knn", "--encoder", path, "--results", "runs"])
    assert "is gone" in capsys.readouterr().out


def test_files_that_are_written_and_those_of_python_do_not_count(
    cwd: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    build = f"import timm.data, json.tool; p = {HERE} / 'log.txt'; p.write_text('1'); p.read_text()"
    path = encoder(cwd / "rows.py", build=build)
    run(path, capsys)
    [record] = (cwd / "runs").glob("*/*/*.json")
    assert "files" not in json.loads(record.read_text())["encoder"]
    assert "nothing to do" in run(path, capsys)


def test_weights_that_compiled_code_reads_count_where_a_literal_names_them(cwd: Path) -> None:
    import torch
    from safetensors.torch import save_file

    code = f"from safetensors.torch import load_file; x = load_file({HERE} / 'w.safetensors')"
    path = encoder(cwd / "rows.py", build=code, scale="float(x['w'])")
    save_file({"w": torch.tensor(1.0)}, cwd / "w.safetensors")
    first = digest(path)
    save_file({"w": torch.tensor(2.0)}, cwd / "w.safetensors")
    assert digest(path) != first


def test_the_content_of_a_path_argument_belongs_to_the_identity(cwd: Path) -> None:
    path = encoder(cwd / "rows.py")
    (cwd / "w.pt").write_text("1")
    first = digest(f"{path},weights=w.pt")
    (cwd / "w.pt").write_text("2")
    assert digest(f"{path},weights=w.pt") != first


def test_weights_trained_from_a_checkpoint_are_not_those_of_another(
    cwd: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The cache's key holds what the encoder opened, also where it is trained afterwards."""
    text = ENCODER.replace('"none"', '"budget"').replace(
        "    def taps", "    def fit(self, images, *, labels, budget, seed):\n"
        "        from bench.encoders.base import FitReport\n"
        "        import torch\n"
        "        self.register_buffer('w', torch.tensor(self.scale))\n"
        "        return FitReport()\n    def taps",
    )  # fmt: skip
    body = f"x = ({HERE} / 'scale.txt').read_text()"
    text = text.format(imports="", build=body, scale="float(x)", tap="pass")
    (cwd / "rows.py").write_text(text)
    keys = []
    for value in ("1.0", "2.0"):
        (cwd / "scale.txt").write_text(value)
        run("rows.py", capsys)
        [record] = (cwd / "runs").glob("*/*/*.json")
        keys.append(json.loads(record.read_text())["training"][0]["key"])
    assert keys[0] != keys[1]


def test_more_files_than_can_be_followed_are_refused_in_one_line(
    cwd: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (cwd / "many").mkdir()
    for number in range(101):
        (cwd / "many" / f"{number}.txt").write_text("1")
    build = f"[p.read_text() for p in ({HERE} / 'many').iterdir()]"
    words = ["run", "--task", "digits-knn", "--encoder", encoder(cwd / "rows.py", build=build)]
    assert main([*words, "--results", "runs"]) == 1
    assert "opens 101 files" in capsys.readouterr().err
    assert os.listdir(cwd / "runs" / "local")


# --- What it builds

BUILDS = {
    "environment": "import os; x = os.environ['SCALE']",
    "names of files": f"x = next({HERE}.glob('data/*')).name",
    "a file that is there": f"x = 2 if next({HERE}.glob('data/3'), None) else 1",
    "database": "import sqlite3; "
    f"x = sqlite3.connect({HERE} / 'x.db').execute('select x from t').fetchone()[0]",
    "compiled code": "from safetensors import safe_open; "
    f"x = safe_open({HERE} / ('w.' + 'safetensors'), 'pt').get_tensor('x')",
}


def write_scale(folder: Path, scale: int, monkeypatch: pytest.MonkeyPatch) -> None:
    import sqlite3

    import torch
    from safetensors.torch import save_file

    monkeypatch.setenv("SCALE", str(scale))
    (folder / "data").mkdir(parents=True, exist_ok=True)
    for file in (folder / "data").iterdir():
        file.unlink()
    (folder / "data" / str(scale)).touch()
    (folder / "x.db").unlink(missing_ok=True)
    with sqlite3.connect(folder / "x.db") as database:
        database.execute("create table t (x)")
        database.execute("insert into t values (?)", (scale,))
    save_file({"x": torch.tensor(scale)}, folder / "w.safetensors")


@pytest.mark.parametrize("build", BUILDS.values(), ids=BUILDS)
def test_a_record_is_stale_when_its_file_builds_something_else(
    build: str, cwd: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Also where no file shows it that Python has opened."""
    path = encoder(cwd / "enc" / "rows.py", build=build, scale="float(x)")
    write_scale(cwd / "enc", 1, monkeypatch)
    run(path, capsys)
    assert "nothing to do" in run(path, capsys)
    (cwd / "enc").rename(cwd / "moved")
    path = str(cwd / "moved" / "rows.py")
    assert "nothing to do" in run(path, capsys)
    write_scale(cwd / "moved", 3, monkeypatch)
    assert "run again: what its encoder's file builds has changed" in run(path, capsys)
    assert "nothing to do" in run(path, capsys)


def test_an_encoder_that_is_another_object_each_time_is_known_by_its_files(
    cwd: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    build = "import secrets; Rows.token = secrets.token_hex()"
    path = encoder(cwd / "rows.py", build=build)
    run(path, capsys)
    [record] = (cwd / "runs").glob("*/*/*.json")
    assert "built" not in json.loads(record.read_text())["encoder"]
    assert "nothing to do" in run(path, capsys)


def test_a_build_that_breaks_now_is_run_again(
    cwd: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = encoder(cwd / "rows.py", build="import os; x = os.environ['SCALE']", scale="float(x)")
    monkeypatch.setenv("SCALE", "1")
    run(path, capsys)
    monkeypatch.delenv("SCALE")
    words = ["run", "--task", "digits-knn", "--encoder", path, "--results", "runs"]
    assert main(words) == 1
    assert "KeyError" in capsys.readouterr().err
