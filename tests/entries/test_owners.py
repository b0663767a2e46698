"""Names of owners: GitHub logins that nobody takes for another's."""

from __future__ import annotations

import pytest

from bench.entries.owners import check_owner
from bench.errors import BenchError

PRESENT = ("maria-keller", "vision-lab", "zoo42")


@pytest.mark.parametrize(
    "name", ["a", "7", "example", "a-b-c", "maria-keller2", "vision-lab", "a" * 39]
)
def test_logins_are_names_of_owners(name: str) -> None:
    check_owner(name, PRESENT)


@pytest.mark.parametrize(
    "name",
    ["", "-a", "a-", "a--b", "A", "a_b", "a.b", "a b", "a/b", "..", "\u0430bc", "ab\u202e", "a" * 40,
     ".locks", "leaderboard.md"],
)  # fmt: skip
def test_other_names_are_none(name: str) -> None:
    with pytest.raises(BenchError, match="is no GitHub login"):
        check_owner(name)


@pytest.mark.parametrize(
    "name", ["reptransfer", "local", "studies", "tasks", "boards", "con", "com1"]
)
def test_reserved_names(name: str) -> None:
    with pytest.raises(BenchError, match="is a reserved name"):
        check_owner(name)


@pytest.mark.parametrize(
    ("name", "like"),
    [
        ("rep-transfer", "reptransfer"),
        ("reptran5fer", "reptransfer"),
        ("reptransf3r", "reptransfer"),
        ("r3p7r4nsf3r", "reptransfer"),
        ("8oards", "boards"),
        ("1ocal", "local"),
        ("iocal", "local"),
        ("tas-ks", "tasks"),
        ("rnaria-keller", "maria-keller"),
        ("mariakeller", "maria-keller"),
        ("maria-ke11er", "maria-keller"),
        ("vvision-lab", "wision-lab"),
        ("visi0n-lab", "vision-lab"),
        ("zo0-42", "zoo42"),
    ],
)
def test_names_that_look_alike(name: str, like: str) -> None:
    with pytest.raises(BenchError, match=f"looks like '{like}'"):
        check_owner(name, (*PRESENT, "wision-lab"))
