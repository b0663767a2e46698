"""The check kit over all data sets; those of real images need REPTRANSFER_DATA."""

from __future__ import annotations

import pytest

from bench import testing
from bench.datasets.base import known_facts
from bench.errors import Declined
from bench.naming import registry
from bench.running.workspace import Workspace

# Not at hand where known.json was written.
UNKNOWN = {"awa2", "celeba", "cifar10", "cifar100", "cub", "xlsa"}


@pytest.mark.usefixtures("no_network")
@pytest.mark.parametrize("name", registry.names("datasets"))
def test_dataset(name: str, workspace: Workspace) -> None:
    case = testing.DataSetCase(name, workspace.dataset)  # type: ignore[arg-type]
    try:
        dataset = case.dataset
    except Declined as error:
        pytest.skip(str(error))
    for check in testing.dataset_checks():
        check(dataset)
    for check in testing.semantics_checks():
        check(dataset.meta)
    for check in testing.build_checks():
        check(case)
    assert name in known_facts() or name in UNKNOWN
