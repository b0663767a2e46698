"""Jobs that see what strangers send have no rights, and run nothing of it."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

yaml = pytest.importorskip("yaml")  # comes with huggingface_hub
FOLDER = Path(__file__).parents[2] / ".github"
if not FOLDER.is_dir():
    pytest.skip("a source distribution has no workflows", allow_module_level=True)
WORKFLOWS = sorted(FOLDER.glob("workflows/*.yml"))


def read(path: Path) -> dict[Any, Any]:
    value = yaml.safe_load(path.read_text())
    assert isinstance(value, dict)
    return value


def steps(workflow: dict[Any, Any]) -> list[dict[str, Any]]:
    return [step for job in workflow["jobs"].values() for step in job["steps"]]


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_no_workflow_has_rights_or_runs_words_of_others(path: Path) -> None:
    workflow = read(path)
    on = workflow[True]  # YAML 1.1 reads the key `on` as true
    assert "pull_request" in on and "pull_request_target" not in on and "workflow_run" not in on
    assert workflow["permissions"] == {"contents": "read"}
    assert "secrets" not in path.read_text()
    for step in steps(workflow):
        script = step.get("run", "").replace("${{ matrix.tests }}", "")
        assert "${{" not in script, "values come by the environment: a script would run them"
        assert not step.get("uses") or step["uses"].startswith("actions/")
    assert all("permissions" not in job for job in workflow["jobs"].values())


def test_an_entry_is_checked_by_the_base_and_never_checked_out() -> None:
    workflow = read(FOLDER / "workflows" / "entry.yml")
    assert workflow[True] == {"pull_request": {"paths": ["results/**"]}}
    checkouts = [step["with"] for step in steps(workflow) if "checkout" in step.get("uses", "")]
    assert checkouts == [
        {
            "ref": "${{ github.event.pull_request.base.sha }}",
            "fetch-depth": 0,
            "persist-credentials": False,
        }
    ]
    scripts = "\n".join(step.get("run", "") for step in steps(workflow))
    assert "git fetch " in scripts
    assert not any(
        f"git {word}" in scripts for word in ("checkout", "switch", "merge", "pull ", "reset")
    )
    assert '--change "$BASE" "$HEAD" --author "$AUTHOR"' in scripts
    install = next(
        i for i, step in enumerate(steps(workflow)) if step.get("run") == "pip install ."
    )
    fetch = next(i for i, step in enumerate(steps(workflow)) if "git fetch" in step.get("run", ""))
    assert install < fetch, "what is installed is the base"


def test_what_an_entry_says_is_escaped() -> None:
    """The script's own line, run on a hostile verdict: nothing but its frame is left of markup."""
    text = (FOLDER / "workflows" / "entry.yml").read_text()
    line = re.search(r"python -c '(.*)'", text)
    assert line is not None
    done = subprocess.run(
        [sys.executable, "-c", line.group(1)],
        input="finding: </pre><img src=x> ::error::x & `y`",
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == (
        "<pre>finding: &lt;/pre&gt;&lt;img src=x&gt; ::error::x &amp; `y`</pre>\n"
    )


@pytest.mark.parametrize("name", ["entry", "challenge"])
def test_forms_of_issues(name: str) -> None:
    form = read(FOLDER / "ISSUE_TEMPLATE" / f"{name}.yml")
    assert {"name", "description", "body"} <= form.keys()
    names = [part["id"] for part in form["body"]]
    assert len(set(names)) == len(names)
    assert all(part["attributes"]["label"] for part in form["body"])
    required = {part["id"] for part in form["body"] if part.get("validations", {}).get("required")}
    assert required >= ({"record", "claim", "evidence"} if name == "challenge" else {"encoder"})
