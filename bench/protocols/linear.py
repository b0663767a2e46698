"""The linear probe (`lp-v1`): softmax regression on frozen features, solved to a certificate."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self

import numpy as np
import numpy.typing as npt
from torch import nn

from bench.data.images import Delivery
from bench.data.samples import Meta, Samples
from bench.errors import BenchError
from bench.protocols.base import TransferProtocol, TrunkFactory
from bench.protocols.parts.probe import Probe, Scaler, fit_few, fit_probe, heads

REVISION = 1

Array = npt.NDArray[Any]


class Linear(TransferProtocol):
    """17 penalties, the best on validation refined by quarter decades, refitted on train and
    validation; the temperature comes from the head that was fitted on train alone.

    Validation accuracy decides, its likelihood breaks ties. Standardising takes the features' scale
    out of the comparison (Marks et al. 2024, arXiv:2407.12210). Without validation (few labels) the
    granted labels choose for themselves, and features are standardised by all training rows, since
    images cost no label.
    """

    output = "log_probability"
    accepts = frozenset({"classes"})
    seeded = False

    def __init__(self, meta: Meta) -> None:
        self._meta, self._probes = meta, dict[str, Probe]()

    def fit(self, train: Samples, val: Samples | None) -> Self:
        everywhere = Scaler.of(_features(train.x)) if val is None else None
        for name, target in self._meta.targets.items():
            x, y = _labelled(train, name)
            other, truth = (x, y) if val is None else _labelled(val, name)
            if not len(y) or not len(truth):
                raise BenchError(f"no training or no validation row has a label of {name!r}")
            self._probes[name] = (
                fit_probe(x, y, other, truth, target.size)
                if everywhere is None
                else fit_few(x, y, target.size, everywhere)
            )
        return self

    def predict(self, x: Array | Delivery) -> Mapping[str, Array]:
        features = _features(x)
        return {name: probe.log_probability(features) for name, probe in self._probes.items()}

    def report(self) -> Mapping[str, Any]:
        temperatures = {name: probe.temperature for name, probe in self._probes.items()}
        return {
            "temperature": {name: t for name, t in temperatures.items() if t is not None},
            "targets": {name: probe.report for name, probe in self._probes.items()},
        }

    def head(self) -> nn.Module:
        return heads(self._probes)


def _labelled(samples: Samples, name: str) -> tuple[Array, Array]:
    x, y = _features(samples.x), samples.y[name]
    known = y >= 0
    return (x, y) if known.all() else (x[known], y[known])


def _features(x: Any) -> Array:
    if not isinstance(x, np.ndarray):
        raise BenchError("linear reads features; set input = 'features' in the task")
    return x


def build(*, meta: Meta, trunk: TrunkFactory, seed: int) -> Linear:
    """The probe. Nothing is random in it, and nothing is to be tuned by hand."""
    return Linear(meta)
