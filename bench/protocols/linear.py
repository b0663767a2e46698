"""The linear probe (`lp-v1`): softmax regression on frozen features, solved to a certificate."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self

from torch import nn

from bench.data.images import Delivery
from bench.data.samples import Array, Meta, Samples
from bench.errors import BenchError
from bench.protocols.base import TransferProtocol, TrunkFactory, features_of
from bench.protocols.parts.probe import Probe, Scaler, fit_few, fit_probe, linear_heads

REVISION = 1


class LinearProbe(TransferProtocol):
    """17 penalties, the best on validation refined by quarter decades, then refitted on training and
    validation rows; the temperature is that of the head fitted on training rows alone.

    Validation accuracy decides, likelihood breaks ties. Features are standardised, so that their scale
    does not matter (Marks et al. 2024, arXiv:2407.12210). Without validation rows (few labels) the
    penalty is cross-validated, and all training rows standardise, also those without a label.
    """

    output = "log_probability"
    accepts = frozenset({"classes"})
    seeded = False

    def __init__(self, meta: Meta) -> None:
        self._meta, self._probes = meta, dict[str, Probe]()

    def fit(self, train: Samples, val: Samples | None) -> Self:
        all_rows = Scaler.of(features_of(train.x, "linear")) if val is None else None
        for name, target in self._meta.targets.items():
            x, y = _labelled(train, name)
            val_x, val_y = (x, y) if val is None else _labelled(val, name)
            if not len(y) or not len(val_y):
                raise BenchError(f"no training or no validation row has a label of {name!r}")
            self._probes[name] = (
                fit_probe(x, y, val_x, val_y, target.size)
                if all_rows is None
                else fit_few(x, y, target.size, all_rows)
            )
        return self

    def predict(self, x: Array | Delivery) -> Mapping[str, Array]:
        features = features_of(x, "linear")
        return {name: probe.log_probability(features) for name, probe in self._probes.items()}

    def report(self) -> Mapping[str, Any]:
        temperatures = {name: probe.temperature for name, probe in self._probes.items()}
        return {
            "temperature": {name: t for name, t in temperatures.items() if t is not None},
            "targets": {name: probe.report for name, probe in self._probes.items()},
        }

    def head(self) -> nn.Module:
        return linear_heads(self._probes)


def _labelled(samples: Samples, name: str) -> tuple[Array, Array]:
    """Features (n, d) and labels (n,) of the rows with a label."""
    x, y = features_of(samples.x, "linear"), samples.y[name]
    labelled = y >= 0
    return (x, y) if labelled.all() else (x[labelled], y[labelled])


def build(*, meta: Meta, trunk: TrunkFactory, seed: int) -> LinearProbe:
    """The probe. It draws no random numbers and has no arguments."""
    return LinearProbe(meta)
