"""Every attack of the table is refused, by a line that names file and field, at once and in little memory
(`tests/speed/attacks.py` measures both)."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path, PurePosixPath

import pytest

from bench.cli.main import main
from bench.entries.remark import Remark
from bench.entries.verify import verify
from tests.kit.attacks import ATTACKS, Attack, good_entry, made


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return good_entry(tmp_path_factory.mktemp("good") / "results")


def matches(attack: Attack, remark: Remark) -> bool:
    return (
        PurePosixPath(remark.file).match(attack.file)
        and attack.field in remark.field
        and re.search(attack.message, remark.message) is not None
    )


def test_the_good_entry_has_no_finding(good: Path) -> None:
    verdict = verify(good)
    assert not verdict.findings, [str(finding) for finding in verdict.findings]
    assert set(verdict.consistent.values()) == {"rows"} and len(verdict.consistent) == 2


def test_there_are_many() -> None:
    assert len(ATTACKS) >= 100


@pytest.mark.parametrize("name", ATTACKS)
def test_attack_is_refused(
    name: str, good: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    attack = ATTACKS[name]
    status = main(["verify", str(made(good, attack, tmp_path)), "--json"])
    out, err = capsys.readouterr()
    assert status == attack.status, (out, err)
    if status == 2:
        assert attack.message in err and len(err.splitlines()) == 1
        return
    findings = [Remark(**finding) for finding in json.loads(out)["findings"]]
    assert any(matches(attack, finding) for finding in findings), [str(f) for f in findings]
    assert len(findings) < 100
    for finding in findings:
        assert str(finding).isprintable() and len(str(finding)) < 1000


@pytest.mark.slow
@pytest.mark.parametrize("name", ATTACKS)
def test_command_refuses_attack(name: str, good: Path, tmp_path: Path) -> None:
    """In a process of its own, whose output obeys no attack."""
    attack = ATTACKS[name]
    command = [sys.executable, "-m", "bench", "verify", str(made(good, attack, tmp_path))]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == attack.status, done
    lines = (done.stderr if attack.status == 2 else done.stdout).splitlines()
    assert any(re.search(attack.message, line) for line in lines), lines
    assert all(line.isprintable() for line in lines)
