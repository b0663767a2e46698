"""Task files: what is shipped, what is refused, what a task's digest depends on, and its replicates."""

from __future__ import annotations

import dataclasses
import itertools
import json
import re
from pathlib import Path
from typing import Any

import pytest

from bench.errors import BenchError
from bench.naming import registry
from bench.tasks import files as taskfiles
from bench.tasks.files import read
from bench.tasks.task import Coords, Primary, Replicates, Task
from tests.kit import ROOT

LOCK = ROOT / "tasks" / "LOCK"
WRITE = "python -c \"from bench.tasks.files import lock; print(lock(), end='')\" > tasks/LOCK"
GOOD = """
title = "A task"
version = 2
family = "probe"
dataset = "digits"
targets = ["label"]
protocol = "knn"
chance = 0.1

[primary]
metric = "accuracy"

[replicates]
seeds = 4
"""


def write(tmp_path: Path, text: str, name: str = "mine") -> Path:
    path = tmp_path / f"{name}.toml"
    path.write_text(text, encoding="utf-8")
    return path


def refusal(path: Path) -> str:
    """The message about a bad file: one line."""
    with pytest.raises(BenchError) as caught:
        read(path)
    line = str(caught.value)
    assert line
    assert line.isprintable(), f"{line!r} is not one line of printable text"
    return line


def task(**changes: Any) -> Task:
    plain: dict[str, Any] = {
        "name": "mine",
        "family": "probe",
        "dataset": "digits",
        "protocol": "knn",
        "chance": 0.1,
    }
    return Task(**{**plain, **changes})


# --- What is shipped


@pytest.mark.parametrize("path", sorted(taskfiles.tasks_dir().glob("*.toml")), ids=lambda p: p.stem)
def test_every_shipped_file_parses_and_names_what_exists(path: Path) -> None:
    for question in read(path):
        assert taskfiles.load(question.name) == question
        assert question.title, f"{path.name} has no title"
        assert re.fullmatch(r"[a-z0-9_,=.-]+", question.name)
        assert question.resolved_protocol.entry.name in registry.names("protocols")
        baseline = (question.baseline or "").removesuffix("~0")
        assert baseline in ("", *taskfiles.names()), f"no task {baseline!r}"
        if question.primary.target is not None and question.targets:
            assert question.primary.target in question.targets


def test_no_shipped_task_was_changed_without_raising_its_version() -> None:
    """tasks/LOCK has a line `name version digest` for each task."""
    locked = {line.split()[0]: line.split()[1:] for line in LOCK.read_text().splitlines()}
    now = {line.split()[0]: line.split()[1:] for line in taskfiles.lock().splitlines()}
    for name in sorted(locked.keys() | now.keys()):
        if name not in now:
            pytest.fail(f"task {name!r} is in tasks/LOCK but not in tasks/; if meant, run: {WRITE}")
        if name not in locked:
            pytest.fail(f"task {name!r} is new: run: {WRITE}")
        (old_version, old), (version, new) = locked[name], now[name]
        if old != new and int(version) <= int(old_version):
            pytest.fail(f"task {name!r} asks something else now: raise version, then run: {WRITE}")
        if (old_version, old) != (version, new):
            pytest.fail(f"task {name!r} has version {version}, locked {old_version}: run: {WRITE}")
    assert LOCK.read_text() == taskfiles.lock(), f"tasks/LOCK is not as written; run: {WRITE}"


def test_the_lock_has_a_sorted_line_for_every_task() -> None:
    lines = taskfiles.lock().splitlines()
    assert [line.split()[0] for line in lines] == taskfiles.names() == sorted(taskfiles.names())
    for line in lines:
        assert re.fullmatch(r"[^ ]+ [1-9][0-9]* [0-9a-f]{32}", line)


@pytest.mark.parametrize("name", taskfiles.suites())
def test_a_suite_names_only_what_exists(name: str) -> None:
    suite = taskfiles.suite(name)
    assert suite.name == name
    assert suite.title
    assert suite.encoders
    assert set(suite.tasks) <= set(taskfiles.names())
    assert set(suite.overall) <= set(suite.tasks)
    assert len(set(suite.tasks)) == len(suite.tasks)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('encoders = ["pixls"]\ntasks = ["digits-knn"]', "did you mean 'pixels'"),
        ('encoders = ["pixels"]\ntasks = ["digits-kn"]', "did you mean 'digits-knn'"),
        ('encoders = ["pixels"]\ntasks = []\noverall = ["digits-kn"]', "did you mean 'digits-knn'"),
        ('encoders = ["pixels"]\ntask = ["digits-knn"]', "did you mean 'tasks'"),
        ('encoders = ["pixels"]', "tasks = ... is missing"),
        ('encoders = "pixels"\ntasks = []', "is not valid"),
        ('encoders = ["pixels"]\ntasks = [1]', "is not valid"),
        ('name = "other"\nencoders = ["pixels"]\ntasks = []', "name"),
        ('encoders = ["{tmp}/evil.py"]\ntasks = []', "names a Python file, which a task or suite"),
        ("encoders =", "TOML"),
    ],
)
def test_a_bad_suite_is_refused_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, message: str
) -> None:
    (tmp_path / "suites").mkdir()
    (tmp_path / "evil.py").write_text("def build(*, source): ...\n")
    write(tmp_path / "suites", text.replace("{tmp}", str(tmp_path)), "bad")
    names = taskfiles.names()
    assert "digits-knn" in names  # read before the folder is another one
    monkeypatch.setattr(taskfiles, "tasks_dir", lambda: tmp_path)
    with pytest.raises(BenchError, match=message) as caught:
        taskfiles.suite("bad")
    assert "\n" not in str(caught.value)


def test_an_unknown_suite_or_task_is_reported_with_the_nearest_one() -> None:
    with pytest.raises(BenchError, match="did you mean 'demo'"):
        taskfiles.suite("demoo")
    with pytest.raises(BenchError, match="did you mean 'digits-knn'"):
        taskfiles.load("digits-knnn")
    with pytest.raises(BenchError, match="no task 'nothing-\\*'"):
        taskfiles.select(["digits-knn", "nothing-*"])


def test_tasks_are_selected_by_name_pattern_file_and_object_each_once(tmp_path: Path) -> None:
    path = write(tmp_path, GOOD)
    user_task = task(name="own")
    selected = taskfiles.select(
        ["digits-knn", "digits-*", "*-knn", str(path), user_task, user_task]
    )
    named = [t.name for t in selected]
    assert len(set(named)) == len(named)
    assert named[:3] == ["digits-knn", "digits-few_labels", "digits-linear"]
    assert {"mnist-knn", "fashion_mnist-knn", "mine", "own"} <= set(named)
    assert "mnist-linear" not in named
    assert [t.name for t in taskfiles.select(["digits-*"], among=["digits-linear"])] == [
        "digits-linear"
    ]


# --- Reading


def test_a_file_becomes_a_task_named_as_the_file(tmp_path: Path) -> None:
    assert read(write(tmp_path, GOOD)) == [
        task(
            title="A task",
            version=2,
            targets=("label",),
            primary=Primary(metric="accuracy"),
            replicates=Replicates(seeds=4),
        )
    ]


def test_every_field_can_be_written_in_a_file(tmp_path: Path) -> None:
    text = """
version = 3
family = "few_labels"
dataset = "digits"
protocol = "knn,k=5"
targets = ["label"]
input = "features"
train_limit = 100
validation = false
removed_classes = [1, 2]
semantics = "digits"
transductive = true
baseline = "~0"
diagnostics = []
outliers = "digits"
chance = 0
ceiling = 2
title = "T"
[replicates]
seeds = 2
encoder_seeds = 1
per_class = [1, 10, 0]
subsets = 3
splits = [[0, 1], [2]]
shifts = ["noise"]
strengths = [0, 0.5]
controls = ["shuffled_labels"]
control_seeds = 2
[primary]
metric = "accuracy"
target = "label"
reduction = "log_area"
interval = "replicates"
"""
    (question,) = read(write(tmp_path, text))
    assert question.replicates == Replicates(
        seeds=2,
        encoder_seeds=1,
        per_class=(1, 10, 0),
        subsets=3,
        splits=((0, 1), (2,)),
        shifts=("noise",),
        strengths=(0.0, 0.5),
        controls=("shuffled_labels",),
        control_seeds=2,
    )
    assert question.removed_classes == (1, 2)
    assert (question.chance, question.ceiling) == (0.0, 2.0)
    assert type(question.chance) is float
    assert type(question.replicates.strengths[0]) is float
    written = {*re.findall(r"^(\w+) = ", text, re.MULTILINE), "replicates", "primary"}
    fields = {f.name for kind in (Task, Replicates, Primary) for f in dataclasses.fields(kind)}
    assert fields - written == {"name", "parent"}


def test_several_protocols_make_one_task_each_the_first_named_as_the_file(tmp_path: Path) -> None:
    text = GOOD.replace('protocol = "knn"', 'protocols = ["linear", "knn,k=5"]')
    questions = read(write(tmp_path, text))
    assert [(t.name, t.protocol) for t in questions] == [
        ("mine", "linear"),
        ("mine-knn", "knn,k=5"),
    ]
    alone = read(write(tmp_path, text.replace('["linear", "knn,k=5"]', '["knn,k=5"]')))
    assert dataclasses.replace(questions[1], name="mine") == alone[0]
    assert taskfiles.load(str(tmp_path / "mine.toml")).protocol == "knn,k=5"


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("version = 2", "verson = 2", "did you mean 'version'"),
        ("version = 2", 'name = "other"', "name"),
        ("version = 2", 'parent = "abc"', "no key 'parent'"),
        ("version = 2", "version = 0", "version must be 1 or more"),
        ("version = 2", "version = 2.0", "version = 2.0 is not valid; expected int"),
        ("version = 2", "version = true", "version = True is not valid; expected int"),
        ("version = 2", 'version = "2"', "version = '2' is not valid; expected int"),
        ("version = 2", "train_limit = 0", "train_limit must be 1 or more"),
        ("version = 2", "train_limit = 1.5", "is not valid"),
        ("version = 2", "validation = 1", "is not valid; expected bool"),
        ("version = 2", 'input = "pixels"', "'features' or 'activations' or 'images'"),
        ("version = 2", 'input = "activations"', "blocks=k"),
        ("version = 2", 'removed_classes = ["a"]', "is not valid; expected int"),
        ("version = 2", "removed_classes = [true]", "is not valid; expected int"),
        ("version = 2", "ceiling = 0.1", "chance must be below the ceiling"),
        ("version = 2", "ceiling = nan", "ceiling"),
        ("version = 2", "ceiling = inf", "ceiling"),
        ("version = 2", 'diagnostics = ["{tmp}/evil.py"]', "names a Python file"),
        ("version = 2", 'diagnostics = ["nothing_such"]', "no diagnostic 'nothing_such'"),
        ('[primary]\nmetric = "accuracy"', "primary = 3", "is not valid"),
        ('family = "probe"', "", "family = ... is missing"),
        ('family = "probe"', 'family = "prob"', "'probe' or 'shift'"),
        ('family = "probe"', "family = 1", "is not valid"),
        ('dataset = "digits"', "", "dataset = ... is missing"),
        ('dataset = "digits"', 'dataset = "digit"', "did you mean 'digits'"),
        ('dataset = "digits"', 'dataset = "digits,size=3"', "no argument of digits 'size'"),
        ('dataset = "digits"', 'dataset = "digits~10k"', "only an encoder"),
        ('dataset = "digits"', 'dataset = "{tmp}/evil.py"', "names a Python file"),
        (
            'dataset = "digits"',
            'dataset = "evil.py"',
            "a Python file, which a task may not; put it into",
        ),
        ('dataset = "digits"', "dataset = 3", "is not valid"),
        ('targets = ["label"]', 'targets = "label"', "is not valid"),
        ('targets = ["label"]', "targets = [1]", "is not valid"),
        ('protocol = "knn"', "", "give either protocol"),
        ('protocol = "knn"', 'protocol = "knn"\nprotocols = ["knn"]', "give either protocol"),
        ('protocol = "knn"', 'protocol = "kn"', "did you mean 'knn'"),
        ('protocol = "knn"', 'protocol = "knn,kk=3"', "no argument of knn 'kk'"),
        ('protocol = "knn"', 'protocol = "knn,k=many"', "expected int"),
        ('protocol = "knn"', 'protocol = "{tmp}/evil.py"', "names a Python file"),
        ('protocol = "knn"', 'protocol = "evil.py,k=3"', "names a Python file"),
        ('protocol = "knn"', "protocol = 3", "is not a string"),
        ('protocol = "knn"', 'protocol = ["knn"]', "is not a string"),
        ('protocol = "knn"', "protocols = []", "protocols"),
        ('protocol = "knn"', "protocols = 3", "protocols"),
        ('protocol = "knn"', 'protocols = "knn"', "protocols"),
        ('protocol = "knn"', 'protocols = ["knn", 3]', "is not a string"),
        ('protocol = "knn"', 'protocols = ["knn", "evil.py"]', "names a Python file"),
        ("chance = 0.1", "", "chance = ... is missing"),
        ("chance = 0.1", "chance = 1.0", "chance must be below the ceiling"),
        ("chance = 0.1", "chance = 1.5", "chance must be below the ceiling"),
        ("chance = 0.1", "chance = nan", "chance"),
        ("chance = 0.1", "chance = -inf", "chance"),
        ("chance = 0.1", 'chance = "0.1"', "is not valid; expected float"),
        ("chance = 0.1", "chance = true", "is not valid; expected float"),
        ("chance = 0.1", "chance = 0.1\nchance = 0.2", "cannot be read as TOML"),
        ('metric = "accuracy"', 'metric = "acuracy"', "did you mean 'accuracy'"),
        ('metric = "accuracy"', 'mtric = "accuracy"', "did you mean 'metric'"),
        ('metric = "accuracy"', 'reduction = "median"', "'mean' or 'log_area'"),
        ('metric = "accuracy"', 'reduction = "log_area"', "two or more sizes"),
        ('metric = "accuracy"', "target = 1", "is not valid"),
        ("seeds = 4", "seeds = 0", "seeds must be 1 or more"),
        ("seeds = 4", "seed = 4", "did you mean 'seeds'"),
        ("seeds = 4", "encoder_seeds = 0", "seeds must be 1 or more"),
        ("seeds = 4", "encoder_seeds = -1", "seeds must be 1 or more"),
        ("seeds = 4", "subsets = 0", "subsets must be 1 or more"),
        ("seeds = 4", "per_class = [-1]", "per_class"),
        ("seeds = 4", 'shifts = ["nois"]\nstrengths = [0.1]', "noise"),
        ("seeds = 4", 'shifts = ["noise"]', "shifts needs replicates.strengths"),
        ("seeds = 4", 'shifts = ["noise"]\nstrengths = [nan]', "strengths"),
        ("seeds = 4", 'controls = ["shuffled"]', "shuffled_labels"),
        ("seeds = 4", "splits = [1, 2]", "is not valid"),
        ("seeds = 4", "splits = 3", "is not valid"),
        ("seeds = 4", "seeds =", "cannot be read as TOML"),
    ],
    ids=lambda value: value[:50],
)
def test_a_bad_file_is_refused_in_one_line(
    tmp_path: Path, old: str, new: str, message: str
) -> None:
    (tmp_path / "evil.py").write_text("def build(*, meta): ...\ndef diagnose(context): ...\n")
    assert old in GOOD
    text = GOOD.replace(old, new.replace("{tmp}", str(tmp_path)), 1)
    assert re.search(message, refusal(write(tmp_path, text)))


def test_an_absent_file_and_one_that_is_no_text_are_refused_in_one_line(tmp_path: Path) -> None:
    assert "no file" in refusal(tmp_path / "absent.toml")
    (tmp_path / "binary.toml").write_bytes(b"\xff\xfe\x00")
    assert "cannot be read" in refusal(tmp_path / "binary.toml")
    assert "cannot be read" in refusal(tmp_path)
    with pytest.raises(BenchError, match="no file"):
        taskfiles.load(str(tmp_path / "absent.toml"))


# --- Digests


ALTERED: dict[str, Any] = {
    "family": "finetune",
    "dataset": "mnist",
    "protocol": "linear",
    "targets": ("label",),
    "input": "images",
    "train_limit": 10,
    "validation": False,
    "replicates.seeds": 4,
    "replicates.encoder_seeds": 3,
    "replicates.per_class": (1, 2),
    "replicates.subsets": 2,
    "replicates.splits": ((1,),),
    "replicates.shifts": ("noise",),
    "replicates.strengths": (0.2,),
    "replicates.controls": ("shuffled_labels",),
    "replicates.control_seeds": 5,
    "removed_classes": (1,),
    "semantics": "digits",
    "transductive": True,
    "baseline": "~0",
    "diagnostics": ("nothing",),
    "outliers": "digits",
    "primary.metric": "nll",
    "primary.target": "label",
    "primary.reduction": "log_area",
    "primary.interval": "replicates",
    "chance": 0.2,
    "ceiling": 0.9,
    "parent": "0" * 32,
}
START = task(
    replicates=Replicates(strengths=(0.1,), per_class=(1, 3), controls=("shuffled_signatures",))
)


def altered(name: str, value: Any) -> Task:
    field, _, inner = name.partition(".")
    if inner:
        value = dataclasses.replace(getattr(START, field), **{inner: value})
    return dataclasses.replace(START, **{field: value})


def test_everything_that_counts_is_in_the_digest() -> None:
    digests = {name: altered(name, value).digest for name, value in ALTERED.items()}
    assert len({START.digest, *digests.values()}) == len(digests) + 1
    fields = {
        f"{outer.name}.{inner.name}" if inner else outer.name
        for outer in dataclasses.fields(Task)
        for inner in (
            dataclasses.fields({"replicates": Replicates, "primary": Primary}[outer.name])
            if outer.name in ("replicates", "primary")
            else [None]
        )
    }
    assert fields - set(ALTERED) == {"name", "version", "title"}, "alter the new field here too"


@pytest.mark.parametrize(("field", "value"), [("title", "Another"), ("name", "x"), ("version", 9)])
def test_title_name_and_version_are_outside_the_digest(field: str, value: Any) -> None:
    assert altered(field, value).digest == START.digest


@pytest.mark.parametrize(
    ("written", "same"),
    [
        ("knn", "knn,k=20"),
        ("knn,k=5", "knn,k=%35"),
        ("knn,k=5,temperature=1", "knn,temperature=1.0,k=5"),
    ],
)
def test_the_spelling_of_the_protocol_is_outside_the_digest(written: str, same: str) -> None:
    assert task(protocol=written).digest == task(protocol=same).digest
    assert task(protocol=written).digest != task(protocol="knn,k=6").digest


def test_a_digest_is_made_of_json_and_the_same_in_every_order_of_a_file(tmp_path: Path) -> None:
    (question,) = read(write(tmp_path, GOOD))
    head, *tables = GOOD.strip().split("\n\n")
    lines = "\n".join(reversed(head.splitlines()))
    (two,) = read(write(tmp_path, "\n\n".join([lines, *reversed(tables)])))
    assert question == two
    assert question.digest == two.digest
    json.dumps(dataclasses.asdict(question), allow_nan=False)


# --- Derived tasks


def test_a_derived_task_names_its_parent_and_gets_a_name_of_its_own() -> None:
    child = START.derive(train_limit=10)
    assert child.parent == START.digest
    assert child.train_limit == 10
    assert child.name != START.name
    assert child.name.startswith(START.name + "+")
    assert child.digest != START.digest
    assert START.parent is None
    undone = dataclasses.replace(child, train_limit=None, parent=None, name=START.name)
    assert undone == START


def test_derived_tasks_have_equal_names_if_and_only_if_they_ask_the_same() -> None:
    changes = [{"train_limit": 10}, {"train_limit": 11}, {"chance": 0.2}, {"dataset": "mnist"}, {}]
    children = [START.derive(**c) for c in changes]
    assert len({c.name for c in children}) == len(changes)
    assert START.derive(train_limit=10) == children[0]
    assert START.derive(train_limit=10, title="Other").name == children[0].name
    grandchild = children[0].derive(chance=0.2)
    assert grandchild.parent == children[0].digest
    assert grandchild.name != START.derive(train_limit=10, chance=0.2).name


def test_a_name_may_be_given_to_a_derived_task_and_an_unknown_field_is_refused() -> None:
    assert START.derive(name="study", chance=0.2).name == "study"
    with pytest.raises(BenchError, match="did you mean 'train_limit'"):
        START.derive(train_limits=3)
    with pytest.raises(BenchError, match="chance must be below"):
        START.derive(chance=1.0)


# --- Replicates


def coords(
    seeds: int | None = None,
    seeded: tuple[bool, bool] = (True, True),
    per_split: bool = False,
    **plan: Any,
) -> list[Coords]:
    question = task(replicates=Replicates(**plan))
    return list(question.coords(seeds=seeds, seeded=seeded, per_split=per_split))


FULL: dict[str, Any] = {
    "seeds": 3,
    "per_class": (1, 5, 0),
    "subsets": 2,
    "splits": ((0, 1), (2,)),
    "shifts": ("noise", "missing"),
    "strengths": (0.1, 0.2),
    "controls": ("shuffled_labels",),
}
PLANS = [
    {},
    {"seeds": 1},
    {"seeds": 5, "encoder_seeds": 2},
    {"seeds": 2, "encoder_seeds": 5},
    {"per_class": (1, 5), "subsets": 3},
    {"splits": ((0,), (1,), (2,))},
    FULL,
    {**FULL, "encoder_seeds": 2},
]


@pytest.mark.parametrize("plan", PLANS)
@pytest.mark.parametrize("seeded", list(itertools.product([False, True], repeat=2)))
@pytest.mark.parametrize("per_split", [False, True])
def test_no_replicate_comes_twice_and_each_shifted_one_follows_its_clean_copy(
    plan: dict[str, Any], seeded: tuple[bool, bool], per_split: bool
) -> None:
    places = coords(seeded=seeded, per_split=per_split, **plan)
    assert places
    assert len(set(places)) == len(places)
    for number, at in enumerate(places):
        assert (at.shift is None) == (at.strength is None)
        if at.shift is not None:
            assert dataclasses.replace(at, shift=None, strength=None) in places[:number]


def test_seeds_run_from_0_with_the_encoder_s_the_remainder() -> None:
    def pairs(places: list[Coords]) -> list[tuple[int, int]]:
        return [(at.encoder_seed, at.head_seed) for at in places]

    assert pairs(coords()) == [(0, 0), (1, 1), (2, 2)]
    assert pairs(coords(seeds=5)) == [(i, i) for i in range(5)]
    assert pairs(coords(seeds=1)) == [(0, 0)]
    assert pairs(coords(encoder_seeds=2)) == [(0, 0), (1, 1), (0, 2)]
    assert pairs(coords(seeds=7, encoder_seeds=3)) == [(i % 3, i) for i in range(7)]
    assert pairs(coords(seeds=2, encoder_seeds=3)) == [(0, 0), (1, 1)]


def test_what_draws_no_numbers_runs_once() -> None:
    assert coords(seeded=(False, False)) == [Coords()]
    encoder = coords(seeded=(True, False), seeds=6, encoder_seeds=2)
    assert encoder == [Coords(encoder_seed=0), Coords(encoder_seed=1)]
    head = coords(seeded=(False, True), encoder_seeds=2)
    assert head == [Coords(head_seed=i) for i in range(3)]


def test_replicates_are_the_product_of_their_axes() -> None:
    places = coords(**FULL)
    sizes = [(1, 0), (1, 1), (5, 0), (5, 1), (None, None)]
    shifts = [(None, None), *itertools.product(["noise", "missing"], [0.1, 0.2])]
    expected = {
        Coords(
            encoder_seed=i,
            head_seed=i,
            split=split,
            per_class=n,
            subset=s,
            control=control,
            shift=shift,
            strength=strength,
        )
        for i in range(3)
        for split in (0, 1)
        for n, s in sizes
        for control in (None, "shuffled_labels")
        for shift, strength in shifts
    }
    assert set(places) == expected


def test_shifts_share_the_fits_of_the_unshifted_replicates() -> None:
    def fits(places: list[Coords]) -> set[Coords]:
        return {dataclasses.replace(at, shift=None, strength=None) for at in places}

    plain = {**FULL, "shifts": (), "strengths": ()}
    assert fits(coords(**FULL)) == set(coords(**plain))
    assert len(coords(**FULL)) == 5 * len(coords(**plain))


def test_with_an_encoder_for_each_split_the_split_is_its_seed() -> None:
    plan: dict[str, Any] = {"splits": ((0,), (1,), (2,), (3,))}
    places = coords(per_split=True, **plan)
    assert all(at.encoder_seed == at.split for at in places)
    assert [(at.split, at.head_seed) for at in places] == list(
        itertools.product(range(4), range(3))
    )
    shared = coords(per_split=False, **plan)
    assert {(at.split, at.encoder_seed) for at in shared} == set(
        itertools.product(range(4), range(3))
    )
    once = coords(per_split=True, seeded=(True, False), **plan)
    assert once == [Coords(split=i, encoder_seed=i) for i in range(4)]


def test_without_class_splits_it_does_not_matter_whether_encoders_are_retrained() -> None:
    assert coords(per_split=True) == coords(per_split=False)


def test_a_table_that_is_a_file_is_looked_for_beside_the_task_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = "attributes = ['a']\n[classes]\n" + "".join(f"{n} = [{n}]\n" for n in range(10))
    folder, elsewhere = tmp_path / "mine", tmp_path / "elsewhere"
    folder.mkdir()
    elsewhere.mkdir()
    (folder / "table.toml").write_text(text)
    (elsewhere / "table.toml").write_text(text.replace("[9]", "[8]"))
    monkeypatch.chdir(elsewhere)
    (beside,) = read(write(folder, f'semantics = "table.toml"\n{GOOD}'))
    (whole,) = read(write(folder, f'semantics = "{folder}/table.toml"\n{GOOD}'))
    (above,) = read(write(folder, f'semantics = "../elsewhere/table.toml"\n{GOOD}'))
    assert beside.semantics == whole.semantics == str(folder / "table.toml")
    assert beside.digest == whole.digest != above.digest
    monkeypatch.chdir(folder)
    assert taskfiles.load("mine.toml").digest == above.digest
    (named,) = read(write(folder, f'semantics = "digits"\n{GOOD}'))
    assert named.semantics == "digits"


@pytest.mark.parametrize(
    ("written", "why"),
    [
        ('"absent.toml"', "no file '.*mine/absent.toml'"),
        ('"odd.toml"', "odd.toml: attributes = None"),
        ('"digit"', "did you mean 'digits'"),
        ("3", "semantics = 3 is not valid; expected str"),
    ],
)
def test_a_table_that_cannot_be_is_reported_with_its_place(
    tmp_path: Path, written: str, why: str
) -> None:
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / "odd.toml").write_text("x = [1]".replace("x", "splits"))
    with pytest.raises(BenchError, match=why):
        _ = read(write(folder, f"semantics = {written}\n{GOOD}"))[0].digest
