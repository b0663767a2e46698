"""The check kit over all tasks; those of real images need REPTRANSFER_DATA."""

from __future__ import annotations

import pytest

from bench import testing
from bench.errors import Declined
from bench.running.workspace import Workspace
from bench.tasks import files as taskfiles


@pytest.mark.usefixtures("no_network")
@pytest.mark.parametrize("name", taskfiles.names())
def test_task(name: str, workspace: Workspace) -> None:
    task = taskfiles.load(name)
    try:
        workspace.dataset(task.dataset)
    except Declined as error:
        pytest.skip(str(error))
    for check in testing.task_checks():
        check((task, workspace))
