"""An audit of a cell: who reads test labels, how often test images are read, and what can be reached
from all that a protocol or an encoder is given."""

from __future__ import annotations

import gc
import sys
import types
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from bench.data.samples import Samples
from bench.datasets.base import DataSets
from bench.naming import registry
from bench.naming.specs import resolve
from bench.results.record import Record
from bench.running.runner import run_cell
from bench.running.workspace import Workspace
from bench.tasks.cell import Cell
from bench.tasks.task import Task
from tests.kit import TOYS

TEST_ROWS = 80


# --- A data set that reports who reads its test split


class Labels(Mapping[str, Any]):
    """Test labels that note by which module they are read."""

    def __init__(self, labels: Mapping[str, Any], readers: Counter[str]) -> None:
        self._labels, self._readers = labels, readers

    def __getitem__(self, name: str) -> Any:
        frame = sys._getframe(1)
        while frame.f_globals["__name__"] in ("collections.abc", "_collections_abc"):
            assert frame.f_back is not None
            frame = frame.f_back
        self._readers[frame.f_globals["__name__"]] += 1
        return self._labels[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._labels)

    def __len__(self) -> int:
        return len(self._labels)


class Counted:
    """Test images that count how often each is read."""

    def __init__(self, images: Any) -> None:
        self._images, self.native = images, images.native
        self.reads = np.zeros(len(images), dtype=int)

    def __len__(self) -> int:
        return len(self._images)

    def read(self, indices: Any, input: Any) -> Any:
        np.add.at(self.reads, indices, 1)
        return self._images.read(indices, input)


class Watched:
    """The quadrants, test rows in an order that no other labels have."""

    def __init__(self, root: Path) -> None:
        self._inner: Any = DataSets(root)(f"{TOYS / 'quadrants'}.py")
        self.meta, self.fingerprint = self._inner.meta, self._inner.fingerprint
        self.licence, self.flips, self.test_in_train = self._inner.licence, False, 0
        self.readers: Counter[str] = Counter()
        old = self._inner.split("test")
        order = np.random.default_rng(7).permutation(TEST_ROWS)
        self.truth = old.y["label"][order]
        self.images = Counted(type(old.x)(old.x.array[order]))
        labels = {name: y[order] for name, y in old.y.items()}
        self._test = Samples(self.images, Labels(labels, self.readers), old.rows)

    def split(self, name: Any) -> Samples:
        samples: Samples = self._test if name == "test" else self._inner.split(name)
        return samples


# --- What can be reached from an object


def reachable(roots: tuple[object, ...], *, beyond: tuple[type, ...]) -> Iterator[object]:
    """Every object that can be reached by attributes, items, closures and views; not by way of
    modules and classes, which lead to everything, nor of what is `beyond`."""
    closed = (type, types.ModuleType, types.CodeType, types.FrameType, types.BuiltinFunctionType)
    waiting, seen = list(roots), dict[int, object]()
    while waiting:
        item = waiting.pop()
        if id(item) in seen or isinstance(item, (*closed, *beyond)):
            continue
        seen[id(item)] = item  # kept, so that no number is given twice
        yield item
        if isinstance(item, types.FunctionType):
            waiting += [*(item.__closure__ or ()), *(item.__defaults__ or ())]
        elif isinstance(item, np.ndarray):
            waiting.append(item.base)  # which the collector does not tell
        elif not isinstance(item, str | bytes | int | float):
            waiting += gc.get_referents(item)


class Audit:
    """Runs a cell on `Watched`, and looks at everything that its protocol and encoder are given."""

    def __init__(self, root: Path, patch: pytest.MonkeyPatch) -> None:
        self.dataset = Watched(root)
        self.workspace = Workspace(lambda spec: self.dataset)  # type: ignore[arg-type, return-value]
        self.leaks: list[str] = []
        self.looked: Counter[str] = Counter()
        self.features: set[bytes] = set()  # rows of features of test images
        load, features = registry.load, Workspace.features

        def audited(entry: registry.Component) -> Any:
            module = load(entry)
            if entry.kind not in ("protocols", "encoders"):
                return module
            return types.SimpleNamespace(
                __name__=module.__name__,
                build=lambda **params: self._built(entry, module, params),
            )

        def noted(
            workspace: Workspace, fitted: Any, dataset: Any, split: str, **options: Any
        ) -> Any:
            values = features(workspace, fitted, dataset, split, **options)  # type: ignore[arg-type]
            if split == "test":
                for level in values.levels.values():
                    self.features |= {row.tobytes() for row in level}
            return values

        patch.setattr(registry, "load", audited)
        patch.setattr(Workspace, "features", noted)

    def run(self, question: Task, encoder: str = "pixels") -> Record:
        record, _ = run_cell(Cell(question, resolve("encoders", encoder)), self.workspace)
        return record

    @property
    def reads(self) -> set[int]:
        """How often test images were read, over all of them."""
        return set(self.dataset.images.reads.tolist())

    def _built(self, entry: registry.Component, module: Any, given: dict[str, Any]) -> Any:
        self._look(f"{entry.kind} build", *given.values())
        component = module.build(**given)
        methods = ("select", "fit", "predict", "sweep") if entry.kind == "protocols" else ("fit",)
        for name in methods:
            if hasattr(component, name):
                method = getattr(component, name)
                setattr(component, name, _Looking(self, f"{entry.kind} {name}", method))
        return component

    def _look(self, where: str, *objects: object) -> None:
        self.looked[where] += 1
        # Test images are for `predict`, and for the last argument of `sweep`.
        blind = objects[:-1] if where.endswith("sweep") else objects
        if not where.endswith("predict"):
            for item in reachable(blind, beyond=(Audit,)):
                if item is self.dataset.images or self._has_features(item):
                    self.leaks.append(f"{where}: test images")
        for item in reachable(objects, beyond=(Audit,)):
            if isinstance(item, Labels) or self._has_labels(item):
                self.leaks.append(f"{where}: test labels")

    def _has_labels(self, item: object) -> bool:
        if isinstance(item, torch.Tensor):
            item = item.detach().cpu().numpy()
        if not isinstance(item, np.ndarray) or item.dtype.kind not in "iu" or item.size < TEST_ROWS:
            return False
        windows = np.lib.stride_tricks.sliding_window_view(item.ravel(), TEST_ROWS)
        return bool((windows == self.dataset.truth).all(axis=1).any())

    def _has_features(self, item: object) -> bool:
        if not isinstance(item, np.ndarray) or item.ndim != 2 or item.dtype != np.float32:
            return False
        return any(row.tobytes() in self.features for row in item)


class _Looking:
    """A method that is looked at before it is called."""

    def __init__(self, audit: Audit, where: str, method: Callable[..., Any]) -> None:
        self._audit, self._where, self._method = audit, where, method

    def __call__(self, *args: Any, **arguments: Any) -> Any:
        self._audit._look(self._where, *args, *arguments.values())
        return self._method(*args, **arguments)

    def __reduce_ex__(self, _: Any) -> str:
        """The digest of an encoder, which reads what a pickle would keep, does not lead to the audit."""
        return self._where
