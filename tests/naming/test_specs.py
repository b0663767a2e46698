"""Specs: the grammar, the canonical form, and what an identity depends on."""

from __future__ import annotations

import itertools
import json
import os
import random
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bench.errors import BenchError
from bench.naming import registry, specs
from bench.naming.grammar import Spec, escape, format_budget, parse_budget
from bench.naming.specs import Resolved, resolve

SAFE = re.compile(r"[A-Za-z0-9_,=@~%.+-]+")
ODD = "aZ09._+-~@,=%/\\ \t\n'\"()[]{}$&;|<>*?#!:^`éß中\U0001f600\x7f\x01"

GADGET = '''"""A gadget with a parameter of every type."""
from typing import Literal
from bench._tools import turn
REVISION = 1
def build(
    *, source: object, alpha: float = 1.0, count: int = 3, flag: bool = False, word: str = "a",
    mode: Literal["fast", "slow"] = "fast", sides: Literal[3, 4] = 3, limit: int | None = None,
    whole: float = 2, zero: float = 0.0, inner: Encoder | None = None, file: Path | None = None,
) -> object: ...
'''
LOCAL = "def build(*, source, alpha: float = 1.0, word: str = 'a'): ...\n"
FILES = {
    "encoders/family/gadget.py": GADGET,
    "encoders/plain.py": 'TRAINING = "none"\ndef build(*, source, size: int | None = None): ...\n',
    "encoders/given.py": (
        'TRAINING = "none"\ndef build(*, source, file: Path, size: int = 3): ...\n'
    ),
    "encoders/exact.py": 'TRAINING = "closed_form"\ndef build(*, source, dim: int = 64): ...\n',
    "encoders/needy.py": "def build(*, source, k: int, mode: Literal['a'] = 'a'): ...\n",
    "encoders/named.py": (
        "def build(*, source, inner: Encoder = 'exact,dim=64', "
        "other: Encoder | None = 'exact', w: str | None = 'x'): ...\n"
    ),
    "datasets/shapes.py": "def build(*, root, sides: int = 3, note: str = ''): ...\n",
    "datasets/waves.py": "def build(*, root): ...\n",
    "protocols/probe.py": "def build(*, meta, trunk, seed, k: int = 20): ...\n",
    "_tools.py": "import bench._deeper\nfrom bench import _beside\nREVISION = 1\n",
    "_deeper.py": "REVISION = 1\n",
    "_beside.py": "REVISION = 1\n",
    "_stranger.py": "REVISION = 1\n",
}


def forget() -> None:
    """What a new process does not know: files that were read before."""
    for cached in vars(registry).values():
        getattr(cached, "cache_clear", lambda: None)()


@pytest.fixture(autouse=True)
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A package of a few components, made here, in the place of `bench`."""
    root = tmp_path / "bench"
    for name, text in FILES.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    (tmp_path / "weights.bin").write_bytes(b"weights")
    monkeypatch.setattr(registry, "ROOT", root)
    monkeypatch.chdir(tmp_path)
    forget()
    yield root
    forget()


def encoder(text: str) -> Resolved:
    return resolve("encoders", text)


def key(text: str) -> str:
    """The digest of an encoder's identity."""
    return str(encoder(text).identity["digest"])


def refusal(kind: Any, text: str) -> str:
    """The message about a bad spec: one line."""
    with pytest.raises(BenchError) as caught:
        _ = resolve(kind, text).identity
    line = str(caught.value)
    assert line
    assert line.isprintable(), f"{line!r} is not one line of printable text"
    return line


# --- Grammar


def test_a_spec_has_a_name_arguments_a_source_and_a_budget() -> None:
    spec = Spec.parse("gadget,alpha=4,word=b%2Cc@waves~60k")
    assert spec == Spec("gadget", {"alpha": "4", "word": "b,c"}, "waves", 60_000)
    assert Spec.parse("gadget") == Spec("gadget")


@pytest.mark.parametrize("seed", range(40))
def test_the_canonical_text_resolves_to_the_same_thing_and_is_its_own_canonical_text(
    seed: int,
) -> None:
    draw = random.Random(seed)
    values = {
        "alpha": repr(draw.choice([0.1, 1e-30, -2.5, 3.0, draw.random(), draw.gauss(0, 1e9)])),
        "count": str(draw.randrange(-(10**12), 10**12)),
        "flag": draw.choice(["true", "false"]),
        "word": "".join(draw.choices(ODD, k=draw.randrange(12))),
        "mode": draw.choice(["fast", "slow"]),
        "sides": draw.choice(["3", "4"]),
        "limit": draw.choice(["none", "0", "7"]),
        "inner": draw.choice(["exact", "exact,dim=3", "plain,size=2", "exact,dim=5"]),
        "level": draw.choice(["code", "trunk", "multi"]),
    }
    keys = draw.sample(sorted(values), draw.randrange(len(values) + 1))
    source = draw.choice(["", "@waves", "@shapes%2Csides%3D4"])
    budget = draw.choice(["", "~0", "~300k", "~1.2m", f"~{draw.randrange(10**7)}"])
    text = "gadget" + "".join(f",{k}={escape(values[k])}" for k in keys) + source + budget
    first = encoder(text)
    again = encoder(first.text)
    assert again.identity == first.identity
    assert again.text == first.text
    assert again.arguments == first.arguments
    assert again.training_digest == first.training_digest
    assert SAFE.fullmatch(first.text)
    json.dumps(first.identity, allow_nan=False)


@pytest.mark.parametrize("seed", range(20))
def test_any_string_becomes_a_safe_folder_name_and_comes_back(seed: int) -> None:
    draw = random.Random(seed)
    word = "".join(draw.choices(ODD, k=30))
    assert re.fullmatch(r"[A-Za-z0-9._+%-]*", escape(word))
    spec = encoder(f"gadget,word={escape(word)}")
    assert spec.arguments["word"] == word
    assert SAFE.fullmatch(spec.text)


def test_an_escape_may_stand_for_any_character_also_a_plain_one() -> None:
    assert key("gadget,word=%62%2d") == key("gadget,word=b-") == key("gadget,word=b%2D")
    assert encoder("gadget,word=%E4%B8%AD").arguments["word"] == "中"


def test_a_source_with_arguments_and_escaped_characters_comes_back() -> None:
    spec = encoder("gadget@shapes%2Csides%3D4%2Cnote%3Da%2520b")
    assert spec.source == "shapes,sides=4,note=a%20b"
    assert encoder(spec.text).identity == spec.identity
    assert SAFE.fullmatch(spec.text)


@pytest.mark.parametrize(
    ("text", "images"),
    [
        ("0", 0),
        ("10", 10),
        ("60k", 60_000),
        ("1.2m", 1_200_000),
        ("0.3m", 300_000),
        ("1.001k", 1_001),
        ("2.003k", 2_003),
        ("4.35m", 4_350_000),
        ("1.000001m", 1_000_001),
    ],
)
def test_a_budget_is_a_count_of_images(text: str, images: int) -> None:
    assert parse_budget(text, "") == images


def test_every_budget_in_thousandths_is_read_exactly() -> None:
    wrong = [n for n in range(1000, 10_000) if parse_budget(f"{n // 1000}.{n % 1000:03}k", "") != n]
    assert not wrong


def test_a_formatted_budget_is_read_back() -> None:
    draw = random.Random(0)
    edges = [0, 1, 999, 1000, 999_999, 10**6, 10**9, 10**12 - 1, 10**12]
    drawn = [draw.randrange(10 ** draw.randrange(1, 13)) for _ in range(2000)]
    rounded = [
        d // 10**z * 10**z for d, z in zip(drawn, itertools.cycle([1, 2, 3, 4, 5, 6]), strict=False)
    ]
    for images in [*edges, *drawn, *rounded]:
        assert parse_budget(format_budget(images), "") == images
        assert re.fullmatch(r"[0-9.]+[km]?", format_budget(images))


# --- The canonical form


@pytest.mark.parametrize(
    "text",
    [
        "gadget,alpha=1",
        "gadget,alpha=1.0",
        "gadget,alpha=1e0",
        "gadget,count=3",
        "gadget,count=%2B3",
        "gadget,flag=false",
        "gadget,word=a",
        "gadget,word=%61",
        "gadget,mode=fast",
        "gadget,sides=3",
        "gadget,limit=none",
        "gadget,whole=2",
        "gadget,whole=2.0",
        "gadget,zero=-0.0",
        "gadget~300k",
        "gadget~0.3m",
        "gadget~300000",
        "gadget,alpha=1.0,count=3~300k",
    ],
)
def test_what_equals_a_default_is_left_out_and_changes_nothing(text: str) -> None:
    assert encoder(text).text == "gadget"
    assert key(text) == key("gadget")


def test_the_order_of_arguments_does_not_matter() -> None:
    parts = ["alpha=2", "count=5", "flag=true", "level=code"]
    specs = {
        (encoder(text).text, key(text))
        for text in (",".join(["gadget", *order]) for order in itertools.permutations(parts))
    }
    assert len(specs) == 1
    assert next(iter(specs))[0] == "gadget,alpha=2,count=5,flag=true,level=code"


def test_the_canonical_text_of_an_encoder_inside_an_encoder_is_canonical_too() -> None:
    spec = encoder("gadget,inner=exact%2Cdim%3D64")
    assert spec.text == "gadget,inner=exact"
    assert key("gadget,inner=exact%2Cdim%3D64") == key("gadget,inner=exact")


def test_defaults_are_filled_in() -> None:
    spec = encoder("gadget")
    assert spec.arguments == {
        "alpha": 1.0,
        "count": 3,
        "flag": False,
        "word": "a",
        "mode": "fast",
        "sides": 3,
        "limit": None,
        "whole": 2,
        "zero": 0.0,
        "inner": None,
        "file": None,
    }
    assert (spec.level, spec.source, spec.budget) == (None, None, 300_000)


@pytest.mark.parametrize(
    ("argument", "value"),
    [
        ("alpha=.5", 0.5),
        ("alpha=2", 2.0),
        ("alpha=-1E-3", -0.001),
        ("count=-4", -4),
        ("flag=true", True),
        ("word=true", "true"),
        ("word=3", "3"),
        ("word=", ""),
        ("sides=4", 4),
        ("limit=9", 9),
    ],
)
def test_a_value_has_the_type_of_its_annotation(argument: str, value: object) -> None:
    result = encoder(f"gadget,{argument}").arguments[argument.partition("=")[0]]
    assert result == value
    assert type(result) is type(value)


@pytest.mark.parametrize("name", ["other", "w"])
def test_none_is_none_wherever_none_is_allowed(name: str) -> None:
    spec = encoder(f"named,{name}=none")
    assert spec.arguments[name] is None
    assert name not in spec.depends
    assert encoder(spec.text).identity == spec.identity
    assert key(f"named,{name}=none") != key("named")


def test_a_default_that_is_a_spec_is_resolved_and_its_spelling_does_not_matter() -> None:
    spec = encoder("named")
    assert spec.depends["inner"].arguments == {"dim": 64}
    assert encoder(spec.text).identity == spec.identity
    assert key("named,inner=exact") == key("named")


@pytest.mark.parametrize(
    ("text", "budget"), [("plain", None), ("exact", None), ("gadget", 300_000), ("gadget~0", 0)]
)
def test_only_what_is_trained_by_images_seen_has_a_budget(text: str, budget: int | None) -> None:
    assert encoder(text).budget == budget


# --- Identities


CHANGES = [
    "gadget",
    "gadget,alpha=1.0000000000000002",
    "gadget,count=4",
    "gadget,flag=true",
    "gadget,word=b",
    "gadget,word=A",
    "gadget,word=",
    "gadget,mode=slow",
    "gadget,sides=4",
    "gadget,limit=0",
    "gadget,limit=1",
    "gadget,whole=3",
    "gadget,inner=exact",
    "gadget,inner=exact%2Cdim%3D63",
    "gadget,inner=gadget",
    "gadget,inner=plain%2Csize%3D2",
    "gadget,inner=gadget%2Cinner%3Dexact",
    "gadget,inner=gadget%2Cinner%3Dplain",
    "gadget,file=weights.bin",
    "gadget,level=code",
    "gadget,level=trunk",
    "gadget@waves",
    "gadget@shapes",
    "gadget@shapes%2Csides%3D4",
    "gadget~0",
    "gadget~299999",
    "exact",
    "plain",
]


def test_every_single_change_of_argument_level_source_or_budget_changes_the_digest() -> None:
    keys = {text: key(text) for text in CHANGES}
    assert len(set(keys.values())) == len(keys)
    assert len({encoder(text).text for text in CHANGES}) == len(keys)
    assert all(re.fullmatch(r"[0-9a-f]{32}", value) for value in keys.values())


@pytest.mark.parametrize(
    "file", ["encoders/family/gadget.py", "_tools.py", "_deeper.py", "_beside.py"]
)
def test_a_raised_revision_of_the_module_or_of_what_it_imports_changes_the_digest(
    tree: Path, file: str
) -> None:
    before = key("gadget"), key("exact"), key("named,inner=gadget"), key("named")
    (tree / file).write_text((tree / file).read_text().replace("REVISION = 1", "REVISION = 2"))
    forget()
    after = key("gadget"), key("exact"), key("named,inner=gadget"), key("named")
    assert [a == b for a, b in zip(before, after, strict=True)] == [False, True, False, True]


def test_a_raised_revision_elsewhere_and_an_edit_without_one_change_nothing(tree: Path) -> None:
    before = encoder("gadget").identity
    (tree / "_stranger.py").write_text("REVISION = 2\n")
    with (tree / "encoders/family/gadget.py").open("a") as file:
        file.write("# an edit that moves no number\n")
    forget()
    assert encoder("gadget").identity == before


def test_the_revision_of_images_enters_every_encoder_and_nothing_else(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    before = key("plain"), resolve("protocols", "probe").identity["digest"]
    monkeypatch.setattr(specs, "IMAGES_REVISION", specs.IMAGES_REVISION + 1)
    after = key("plain"), resolve("protocols", "probe").identity["digest"]
    assert before[0] != after[0]
    assert before[1] == after[1]


def test_a_default_that_changes_makes_a_new_identity(tree: Path) -> None:
    before = key("exact"), key("exact,dim=32")
    file = tree / "encoders/exact.py"
    file.write_text(file.read_text().replace("64", "32"))
    forget()
    assert key("exact") != before[0]
    assert key("exact") == before[1]


def test_the_level_alone_is_outside_the_training_digest() -> None:
    trained = {text: encoder(text).training_digest for text in CHANGES}
    plain = trained["gadget"]
    assert {t for t, value in trained.items() if value == plain} == {
        "gadget",
        "gadget,level=code",
        "gadget,level=trunk",
    }


# --- Files


def test_the_content_behind_a_path_is_its_identity_not_the_name(tmp_path: Path) -> None:
    (tmp_path / "b.bin").write_bytes(b"weights")
    (tmp_path / "odd name~,@=é.bin").write_bytes(b"weights")
    odd = f"gadget,file={escape(str(tmp_path / 'odd name~,@=é.bin'))}"
    first = key("gadget,file=weights.bin")
    assert first == key("gadget,file=b.bin") == key(odd)
    assert first == key(f"gadget,file={escape(str(tmp_path / 'weights.bin'))}")
    trained = encoder("gadget,file=weights.bin").training_digest
    assert trained == encoder("gadget,file=b.bin").training_digest
    assert SAFE.fullmatch(encoder(odd).text)
    (tmp_path / "weights.bin").write_bytes(b"Weights")
    assert key("gadget,file=weights.bin") != first
    assert encoder("gadget,file=weights.bin").training_digest != trained


def test_the_content_behind_the_path_of_a_folder_is_all_its_files(tmp_path: Path) -> None:
    for folder in ("one", "two"):
        (tmp_path / folder / "deep").mkdir(parents=True)
        (tmp_path / folder / "deep" / "a").write_text("a")
        (tmp_path / folder / "b").write_text("b")
    assert key("gadget,file=one") == key("gadget,file=two")
    before = key("gadget,file=two")
    (tmp_path / "two" / "b").rename(tmp_path / "two" / "c")
    renamed = key("gadget,file=two")
    (tmp_path / "two" / "deep" / "a").write_text("aa")
    assert len({before, renamed, key("gadget,file=two")}) == 3


@pytest.mark.parametrize("value", ["absent.bin", "absent%2Fweights.bin"])
def test_a_path_to_nothing_is_reported_in_one_line(value: str) -> None:
    assert "absent" in refusal("encoders", f"gadget,file={value}")


@pytest.mark.parametrize(
    "folder", [".", "sub", ".pyenv", "a.python", "a b", "é@~=", ".py.py", "x.py"]
)
def test_a_file_outside_the_package_works_by_its_path(tmp_path: Path, folder: str) -> None:
    (tmp_path / folder).mkdir(exist_ok=True)
    path = tmp_path / folder / "mine.py"
    path.write_text(LOCAL)
    for written in (str(path), f"{folder}/mine.py"):
        spec = encoder(f"{written},alpha=2.5,word=%2Epy,level=code@waves~10k")
        assert (spec.entry.path, spec.entry.group) == (path.resolve(), "local")
        assert spec.arguments == {"alpha": 2.5, "word": ".py"}
        assert (spec.level, spec.source, spec.budget) == ("code", "waves", 10_000)
        assert SAFE.fullmatch(spec.text)
        assert encoder(written).arguments["alpha"] == 1.0


def test_a_file_with_a_built_in_s_name_or_an_unsafe_one_is_refused(tmp_path: Path) -> None:
    for stem in ("plain", "my encoder", "é", "a.b", "tab\tbed", "two\nlines"):
        (tmp_path / f"{stem}.py").write_text(LOCAL)
        refusal("encoders", f"{tmp_path}/{stem}.py")


def test_the_content_of_a_file_outside_the_package_is_its_identity_not_its_place(
    tmp_path: Path,
) -> None:
    (tmp_path / "elsewhere").mkdir()
    paths = [tmp_path / "mine.py", tmp_path / "elsewhere" / "mine.py"]
    for path in paths:
        path.write_text(LOCAL)
    first = key("mine.py")
    assert first == key("elsewhere/mine.py")
    paths[1].write_text(LOCAL + "# one more line\n")
    forget()
    assert key("elsewhere/mine.py") != first


def test_an_edit_of_a_file_outside_the_package_is_seen_in_the_same_session(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(LOCAL)
    first = key("mine.py")
    (tmp_path / "mine.py").write_text(LOCAL.replace("alpha", "gamma"))
    assert key("mine.py") != first
    assert encoder("mine.py,gamma=2").arguments["gamma"] == 2.0


def test_a_built_in_takes_a_file_outside_the_package_as_its_inner_encoder(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(LOCAL)
    spec = encoder("gadget,inner=mine.py")
    assert spec.entry.name == "gadget"
    assert spec.depends["inner"].entry.group == "local"
    first = spec.identity["digest"]
    (tmp_path / "mine.py").write_text(LOCAL + "# one more line\n")
    forget()
    assert key("gadget,inner=mine.py") != first
    assert encoder("gadget,inner=.%2Fmine.py%2Calpha%3D2~10k").depends["inner"].arguments == {
        "alpha": 2.0,
        "word": "a",
    }


def test_an_inner_encoder_is_resolved_and_its_identity_enters(tree: Path) -> None:
    spec = encoder("gadget,inner=exact%2Cdim%3D5")
    assert spec.depends["inner"].arguments == {"dim": 5}
    assert spec.identity["depends"] == {"inner": key("exact,dim=5")}
    assert spec.arguments["inner"] == "exact,dim=5"
    before = key("gadget,inner=exact"), key("gadget")
    (tree / "encoders/exact.py").write_text("REVISION = 9\n" + FILES["encoders/exact.py"])
    forget()
    assert key("gadget,inner=exact") != before[0]
    assert key("gadget") == before[1]


# --- Bad specs


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "not a valid spec"),
        (" ", "not a valid spec"),
        ("../x", "not a valid spec"),
        ("../../etc/passwd", "not a valid spec"),
        ("/", "not a valid spec"),
        ("a/b", "not a valid spec"),
        ("gad get", "not a valid spec"),
        ("gadget\n", "not a valid spec"),
        ("gadgét", "not a valid spec"),
        ("gadget;ls", "not a valid spec"),
        ("%67adget", "not a valid spec"),
        ("gadgt", "did you mean 'gadget'"),
        ("zzzzzz", "known: exact, gadget, given"),
        ("Gadget", "did you mean 'gadget'"),
        ("_tools", "no encoder"),
        ("base", "no encoder"),
        ("absent.py", "no file"),
        ("~nobody-of-this-name/absent.py", "no file"),
        ("absent\0.py", "no file"),
        ("x" * 5000 + ".py", "no file"),
        ("gadget,file=" + "x" * 5000, "file"),
        ("absent.pyc", "not a valid spec"),
        ("mine.py alpha=2", "not a valid spec"),
        ("gadget,alpa=2", "did you mean 'alpha'"),
        ("gadget,source=wavs", "did you mean 'waves'"),
        ("gadget,source=waves@waves", "two sources"),
        ("gadget,budget=60k~60k", "two budgets"),
        ("gadget,budget=many", "not a count"),
        ("plain,budget=0", "not trained"),
        ("exact,budget=0", "leave out ~"),
        ("gadget,file=absent file.bin", "no file"),
        ("given,file=weights.bin,size=2@waves", "not trained"),
        ("given,file=weights.bin@waves", "no file"),
        ("gadget,file=./absent file.bin,alpa=2", "did you mean 'alpha'"),
        ("gadget,file=a b,file=c d", "key=value"),
        ("gadget,file=a\0b", "key=value"),
        ("gadget,file=a%00b", "key=value"),
        ("gadget,file=a\ud800b", "half a character"),
        ("gadget,levl=code", "no argument of gadget 'levl'"),
        ("gadget,level=cod", "did you mean 'code'"),
        ("gadget,level=", "no level"),
        ("gadget,alpha", "key=value"),
        ("gadget,", "key=value"),
        ("gadget,,alpha=2", "key=value"),
        ("gadget,=2", "key=value"),
        ("gadget,a b=2", "key=value"),
        ("gadget,alpha=2,alpha=2", "key=value"),
        ("gadget,level=code,level=code", "key=value"),
        ("gadget,word=a=b", "key=value"),
        ("gadget,word=a b", "key=value"),
        ("gadget,word=../x", "key=value"),
        ("gadget,word=é", "key=value"),
        ("gadget,word=%", "key=value"),
        ("gadget,word=%4", "key=value"),
        ("gadget,word=%GG", "key=value"),
        ("gadget,word=%00", "key=value"),
        ("gadget,word=a%00b", "key=value"),
        ("gadget,word=\0", "key=value"),
        ("gadget,word=%FF", "key=value"),
        ("gadget,word=%C3", "key=value"),
        ("gadget,word=%C0%80", "key=value"),
        ("gadget,word=%ED%A0%80", "key=value"),
        ("gadget,alpha=x", "expected float"),
        ("gadget,alpha=", "expected float"),
        ("gadget,alpha=nan", "expected float"),
        ("gadget,alpha=inf", "expected float"),
        ("gadget,alpha=1e999", "alpha"),
        ("gadget,alpha=-1e999", "alpha"),
        ("gadget,alpha=1_0", "key=value|expected float"),
        ("gadget,count=1.5", "expected int"),
        ("gadget,count=true", "expected int"),
        ("gadget,count=" + "9" * 5000, "count"),
        ("gadget,flag=1", "expected true or false"),
        ("gadget,flag=True", "expected true or false"),
        ("gadget,mode=slo", "fast"),
        ("gadget,sides=5", "4"),
        ("gadget,limit=None", "expected int . none"),
        ("gadget,count=none", "expected int"),
        ("gadget,inner=gadgt", "did you mean 'gadget'"),
        ("gadget,inner=exact%2Cdum%3D3", "did you mean 'dim'"),
        ("gadget,inner=exact%7E60k", "leave out ~"),
        ("gadget@wavs", "did you mean 'waves'"),
        ("gadget@", "not the name of a data set"),
        ("gadget@../waves", "not the name of a data set"),
        ("gadget@waves,sides=4", "not the name of a data set"),
        ("gadget@waves@waves", "not the name of a data set"),
        ("gadget@shapes%2Csids%3D4", "did you mean 'sides'"),
        ("gadget@shapes%2Csides%3D%FF", "no data set|not a valid spec"),
        ("gadget@waves%2Cx%3D%zz", "no data set|not a valid spec"),
        ("gadget~", "not a count"),
        ("gadget~many", "not a count"),
        ("gadget~-1", "not a count"),
        ("gadget~1.5", "not a count"),
        ("gadget~0.0001k", "not a count"),
        ("gadget~1e3", "not a count"),
        ("gadget~10K", "not a count"),
        ("gadget~10k@waves", "not a count"),
        ("gadget~1~2", "not a count"),
        ("gadget~1000000000001", "not a count"),
        ("gadget~999999999m", "not a count"),
        ("gadget~" + "9" * 400, "not a count"),
        ("gadget~" + "9" * 5000 + "m", "not a count"),
        ("plain~0", "not trained"),
        ("plain@waves", "not trained"),
        ("exact~10k", "leave out ~"),
        (
            "gadget,inner=exact%40waves",
            "the encoder in inner is trained on the same rows as gadget; leave out @",
        ),
        ("needy", "needs k="),
        ("needy,k=x", "expected int"),
    ],
    ids=lambda value: ascii(value)[:40],
)
def test_a_bad_spec_is_refused_in_one_line(text: str, message: str) -> None:
    assert re.search(message, refusal("encoders", text))


# --- Paths as people type them

PATHS = [
    "../up/w.bin", "/ABSOLUTE/w.bin", "a b.bin", " a", "é.bin", "a@b.bin", "a~1.bin", "~a", "a,b=c.bin",
    "a,b.bin", "w@waves", "w~60k", "100%.bin", "100%25.bin", "a=b.bin", "a,alpha.bin", "a#$&;'\"|*?.bin",
    "\udce9t\udce9", "中.bin", "e\u0301.bin", "folder/", "folder@waves/~x",
]  # fmt: skip


@pytest.mark.parametrize("path", PATHS, ids=ascii)
@pytest.mark.parametrize(
    "form", ["FILE", "FILE,alpha=2", "alpha=2,budget=10k,source=waves,file=PATH"]
)
def test_a_path_is_written_as_it_is(path: str, form: str, tmp_path: Path) -> None:
    path = path.replace("/ABSOLUTE", str(tmp_path))
    place = tmp_path / path
    if path.endswith("/"):
        (place / "inner").mkdir(parents=True)
    else:
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(b"weights")
    spec = encoder("gadget," + form.replace("FILE", f"file={path}").replace("PATH", path))
    assert spec.arguments["file"] == path
    assert spec.arguments["alpha"] == (2.0 if "alpha=2" in form else 1.0)
    if "budget" in form:
        assert (spec.source, spec.budget) == ("waves", 10_000)
    else:
        assert (spec.source, spec.budget) == (None, 300_000)
    assert SAFE.fullmatch(spec.text)
    quoted = encoder(f"gadget,file={escape(path)}")
    assert quoted.arguments["file"] == path
    json.dumps(spec.identity)


def test_a_path_without_odd_characters_is_followed_by_a_source_and_a_budget(tmp_path: Path) -> None:
    spec = encoder("gadget,file=weights.bin@waves~60k")
    assert (spec.arguments["file"], spec.source, spec.budget) == ("weights.bin", "waves", 60_000)
    (tmp_path / "a b.bin").write_text("x")
    spec = encoder("gadget,file=a b.bin,alpha=2@waves~60k")
    assert (spec.arguments["file"], spec.source, spec.budget) == ("a b.bin", "waves", 60_000)


def test_the_home_folder_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "w.bin").write_bytes(b"weights")
    (tmp_path / "home" / "mine.py").write_text(LOCAL)
    for text in ("gadget,file=~/w.bin", "gadget,file=%7E/w.bin", "gadget,file=~/w.bin,alpha=1"):
        assert encoder(text).arguments["file"] == str(tmp_path / "home" / "w.bin")
        assert key(text) == key("gadget,file=weights.bin")
    assert encoder("~/mine.py,alpha=2").arguments["alpha"] == 2.0


@pytest.mark.parametrize(
    "folder", ["a,b", "a,alpha=2", "x.py@2", "~x", "a%20b", "\udce9", "a b.py", ".py,z"]
)
def test_the_folder_of_an_encoder_file_has_any_name(folder: str, tmp_path: Path) -> None:
    (tmp_path / folder).mkdir()
    (tmp_path / folder / "mine.py").write_text(LOCAL)
    for written in (
        f"{folder}/mine.py",
        f"{tmp_path}/{folder}/mine.py",
        f"{escape(folder)}/mine.py",
    ):
        spec = encoder(f"{written},alpha=2.5@waves~10k")
        assert spec.entry.path == (tmp_path / folder / "mine.py").resolve()
        assert (spec.arguments["alpha"], spec.source, spec.budget) == (2.5, "waves", 10_000)


def test_a_source_and_a_budget_are_the_same_in_both_forms() -> None:
    for a, two in [
        ("gadget,source=waves,budget=60k", "gadget@waves~60k"),
        ("gadget,source=shapes%2Csides%3D4", "gadget@shapes%2Csides%3D4"),
        ("gadget,budget=0,alpha=2", "gadget,alpha=2~0"),
    ]:
        assert encoder(a).identity == encoder(two).identity


@pytest.mark.parametrize("name", ["level", "budget"])
def test_the_arguments_of_every_spec_are_no_parameters_of_an_encoder(
    name: str, tmp_path: Path
) -> None:
    (tmp_path / "mine.py").write_text(f"def build(*, source, {name}: int = 3): ...\n")
    assert f"parameter '{name}'" in refusal("encoders", "mine.py")


def test_a_path_that_is_no_regular_file_is_not_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    assert "no file" in refusal("encoders", "gadget,file=pipe")


@pytest.mark.parametrize("text", ["probe@waves", "probe~10k", "probe~0", "probe,level=code"])
def test_only_encoders_have_a_source_a_budget_or_a_level(text: str) -> None:
    refusal("protocols", text)


@pytest.mark.parametrize("key", ["meta", "trunk", "seed"])
def test_what_comes_from_the_runner_cannot_be_given(key: str) -> None:
    assert "no argument of probe" in refusal("protocols", f"probe,{key}=1")


def test_no_text_makes_anything_but_a_spec_or_a_bench_error() -> None:
    draw = random.Random(0)
    pieces = [*"aé0.%,=@~/\\ \n\0", "gadget", "exact", "alpha", "word", "=", ",", "%2C", "~60k"]
    pieces += ["%00", "%FF", ".py", "level=code", "inner=", "@waves", "10k", "none", "1e9", "true"]
    count, lines = 0, list[str]()
    for _ in range(3000):
        text = "".join(draw.choices(pieces, k=draw.randrange(7)))
        if draw.random() < 0.5:
            text = f"gadget,{text}"
        try:
            spec = encoder(text)
        except BenchError as error:
            lines.append(str(error))
            continue
        assert encoder(spec.text).identity["digest"] == spec.identity["digest"], text
        assert SAFE.fullmatch(spec.text)
        count += 1
    assert not [line for line in lines if "\n" in line]
    assert count > 10
