"""One cell: an encoder on a task gives a record. Protocols predict, the runner scores.

`select` chooses once a cell, on its first replicate. It must not choose what depends on a class split,
since classes unseen in one split have labels in another.
"""

from __future__ import annotations

import dataclasses
import logging
import os
import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
from torch import nn

from bench.data.samples import Meta, Samples, SplitName
from bench.encoders.base import Encoder
from bench.encoders.parts.state import state_tensors
from bench.errors import BenchError, Declined
from bench.naming import registry
from bench.progress import Steps, progress
from bench.protocols.base import Job, Selects, Sweeps, TransferProtocol
from bench.results.ledger import LedgerError, add_look
from bench.results.record import Record, Replicate, StoredPredictions, TrainingReport
from bench.results.status import data_identity, identities
from bench.results.store import Store
from bench.running.features import source_info
from bench.running.inputs import Inputs, fitted_encoder
from bench.running.machine import measured, peak_memory, reset_peak_memory
from bench.running.rules import check_allowed, supervision, trained_per_split
from bench.running.trunks import built_digest, no_trunk, untrained_digest
from bench.running.workspace import Workspace
from bench.scoring.scorer import Scorer
from bench.seeding import standard_settings
from bench.tasks.cell import Cell
from bench.tasks.grants import Grant, grant, task_targets
from bench.tasks.task import Coords

Array = npt.NDArray[Any]
log = logging.getLogger(__name__)


def run_cell(
    cell: Cell, workspace: Workspace, *, seeds: int | None = None, store: Store | None = None
) -> tuple[Record, dict[str, Array]]:
    """The cell's record, and the predictions to be stored with it.

    store: the results folder that the record is for; its ledger gets a line before anything is scored.
    A cell that the rules exclude is declined, one that breaks has failed: both are records with a reason.
    Raises LedgerError where that line cannot be written: nothing is scored then.
    """
    identity = identities(cell)
    record = Record(
        owner=cell.owner,
        encoder=identity.encoder,
        task=identity.task,
        data=identity.data,
        protocol=identity.protocol,
        status="failed",
    )
    arrays: dict[str, Array] = {}
    start = time.perf_counter()
    reset_peak_memory()
    seconds: dict[str, float] = {}
    try:
        dataset = workspace.dataset(cell.task.dataset)
        record = replace(record, data=data_identity(cell.task.dataset, dataset))
        with standard_settings():
            run = _Run(cell, workspace, seeds, partial(_note_look, store, record))
            run.measure()
            record, arrays = run.record(record), run.scorer.arrays
        seconds = run.seconds()
    except LedgerError:
        raise
    except Declined as error:
        record = replace(record, status="declined", reason=_without_folders(str(error), cell))
    except BenchError as error:
        record = replace(record, reason=_without_folders(str(error), cell))
    except (Exception, SystemExit) as error:  # a fault of one component must not stop other cells
        log.debug("%s on %s", cell.name, cell.task.name, exc_info=True)
        first = _without_folders(f"{type(error).__name__}: {error}".splitlines()[0], cell)
        record = replace(record, reason=first[:300])
        if _out_of_memory(error):
            workspace.forget()
            record = replace(record, reason=f"out of memory ({record.reason}); {_SMALLER}")
    seconds["total"] = time.perf_counter() - start
    costs = {
        "seconds": {name: round(value, 3) for name, value in seconds.items()},
        "peak_memory_mb": peak_memory(),
        **measured(),
    }
    return replace(record, measured={**record.measured, **costs}), arrays


def _note_look(store: Store | None, record: Record, replicates: int) -> None:
    if store is not None:
        add_look(store, record, replicates)


_FOLDERS = re.compile(r"(?<![\w.%])/(?:[^/\s'\":;,()<>]+/)+(?=[^/\s])")


def _without_folders(reason: str, cell: Cell) -> str:
    """A reason without the folders of the user's files: records are read elsewhere, too."""
    places, specs = [os.path.expanduser("~/x")], [cell.spec] if cell.spec else []
    while specs:
        spec = specs.pop()
        places += [
            str(spec.entry.path),
            *spec.paths.values(),
            *map(os.path.abspath, spec.paths.values()),
        ]
        specs += spec.depends.values()
    folders = {os.path.dirname(place) for place in places} - {"", "/"}
    for folder in sorted(folders, key=len, reverse=True):
        reason = reason.replace(f"{folder}{os.sep}", "")
    return _FOLDERS.sub("", reason)[:2000]


_SMALLER = "close other programs, or use a smaller image size, dimension or data set"


def _parameters(encoder: Encoder) -> int:
    """The number of its weights, buffers counted."""
    tensors = sum(tensor.numel() for tensor in state_tensors(encoder).values())
    return tensors + (encoder.parameter_count or 0)


def _out_of_memory(error: BaseException) -> bool:
    """PyTorch on a CPU, ONNX Runtime and others have no class of their own for it."""
    words = ("out of memory", "not enough memory", "can't allocate memory", "bad_alloc")
    return isinstance(error, MemoryError) or any(word in str(error).lower() for word in words)


class _Run:
    """The state of one cell's work."""

    def __init__(
        self,
        cell: Cell,
        workspace: Workspace,
        seeds: int | None,
        note_look: Callable[[int], None],
    ) -> None:
        self.cell, self.task, self.workspace = cell, cell.task, workspace
        self.dataset = workspace.dataset(cell.task.dataset)
        self.train, self.val = self.dataset.split("train"), self.dataset.split("val")
        self.targets = task_targets(cell.task, self.dataset.meta)
        # The only place that test labels reach.
        self.scorer = Scorer(
            cell.task,
            self.targets,
            self.dataset.split("test").y,
            before=lambda: note_look(len(self.coords)),
        )
        self.inputs: dict[str, Inputs] = {}  # key of a fitted encoder -> what is made with it
        self.replicates: dict[Coords, Replicate] = {}
        self.heads: dict[str, tuple[nn.Module | None, int]] = {}
        self.protocol_seconds = 0.0
        self.tuning: dict[str, Any] = {}
        example = check_allowed(cell, source_info(self.dataset))
        sample = self._build(Meta(self.targets), None, 0)
        for name, target in self.targets.items():
            if target.kind not in sample.accepts:
                raise Declined(f"{cell.task.protocol} predicts no {target.kind} target ({name!r})")
        self.output = sample.output
        seeded = (example.seeded, sample.seeded)
        per_split = trained_per_split(cell)
        self.coords = list(cell.task.coords(seeds=seeds, seeded=seeded, per_split=per_split))
        self.runs = seeds or cell.task.replicates.seeds if any(seeded) else None

    def _fitted(self, granted: Grant, seed: int) -> Inputs:
        """What the encoder makes, fitted on what is granted; only its activations are kept."""
        fitted = fitted_encoder(self.cell, self.workspace, granted, seed=seed)
        if fitted.key not in self.inputs:
            self.inputs[fitted.key] = Inputs(self.cell, self.workspace, fitted)
        for key, inputs in self.inputs.items():
            if key != fitted.key:
                inputs.forget_activations()
        return self.inputs[fitted.key]

    def _build(self, meta: Meta, inputs: Inputs | None, seed: int) -> TransferProtocol:
        spec = self.task.resolved_protocol
        trunk = no_trunk if inputs is None else inputs.trunk()
        arguments = {**spec.arguments, **self.tuning.get("chosen", {})}
        meta = replace(meta, flips=self.dataset.flips)
        protocol = registry.load(spec.entry).build(meta=meta, trunk=trunk, seed=seed, **arguments)
        if not isinstance(protocol, TransferProtocol):
            raise BenchError(f"{spec.entry.path}: build(...) must return a TransferProtocol")
        return protocol

    def measure(self) -> None:
        """Fit, predict and score every replicate, then diagnose each fitted encoder."""
        groups: dict[Coords, list[Coords]] = {}  # one fit serves a replicate and its shifted copies
        for at in self.coords:
            groups.setdefault(replace(at, shift=None, strength=None), []).append(at)
        with progress("replicates", len(groups), "done") as counted:
            sweeps = self._each(groups, counted)
        for key, jobs in sweeps.items():
            with progress(f"fitting {self.task.protocol} to all replicates together"):
                self._sweep(self.inputs[key], jobs)
        with progress("diagnosing"):
            self.diagnostics = [self._diagnose(key, *head) for key, head in self.heads.items()]

    def _each(
        self, groups: Mapping[Coords, list[Coords]], counted: Steps
    ) -> dict[str, list[tuple[Coords, Grant]]]:
        """Fit the replicates, by the fits that serve them; those to be swept together are given back, by
        the key of their encoder."""
        sweeps: dict[str, list[tuple[Coords, Grant]]] = {}
        for number, (base, members) in enumerate(groups.items()):
            granted = grant(self.task, self.targets, self.train, self.val, base)
            inputs = self._fitted(granted, base.encoder_seed)
            protocol = self._build(granted.meta, inputs, base.head_seed)
            if number == 0:
                protocol = self._choose(protocol, inputs, granted, base)
            as_labelled = base.control in (None, "shuffled_signatures")
            plain = as_labelled and members == [base] and self.task.input == "features"
            if isinstance(protocol, Sweeps) and plain:
                sweeps.setdefault(inputs.fitted.key, []).append((base, granted))
            else:
                self._fit(protocol, inputs, granted, base, members)
            counted.update()
        return sweeps

    def _choose(
        self, protocol: TransferProtocol, inputs: Inputs, granted: Grant, base: Coords
    ) -> TransferProtocol:
        """The protocol with what it chooses, which its record tells; itself where it chooses nothing."""
        if not isinstance(protocol, Selects):
            return protocol
        start = time.perf_counter()
        chosen = dict(protocol.select(*inputs.samples(granted)))
        if chosen:
            self.tuning = {"chosen": chosen, **protocol.trials()}
        self.protocol_seconds += time.perf_counter() - start
        return self._build(granted.meta, inputs, base.head_seed)

    def _fit(
        self,
        protocol: TransferProtocol,
        inputs: Inputs,
        granted: Grant,
        base: Coords,
        members: Sequence[Coords],
    ) -> None:
        """One fit, and its predictions of the test split and of its shifted copies."""
        train, val = inputs.samples(granted)
        copies = {
            at: None if at.shift is None else (at.shift, at.strength or 0.0) for at in members
        }
        tests = {at: inputs.x("test", None, shift) for at, shift in copies.items()}
        start = time.perf_counter()
        try:
            protocol.fit(train, val)
            for at, x in tests.items():
                self._keep(at, granted, protocol.predict(x), protocol.report())
            self.heads.setdefault(inputs.fitted.key, (protocol.head(), base.encoder_seed))
        except (Declined, LedgerError):
            raise
        except BenchError as error:
            for at in members:
                self._fail(at, granted, error)
        self.protocol_seconds += time.perf_counter() - start

    def _sweep(self, inputs: Inputs, jobs: Sequence[tuple[Coords, Grant]]) -> None:
        """Many fits on the same features at once."""
        splits: tuple[SplitName, ...] = ("train", "val", "test")
        train, val, test = (inputs.features(split)[inputs.level] for split in splits)
        labels = {n: np.concatenate([self.train.y[n], self.val.y[n]]) for n in self.targets}
        samples = Samples(np.concatenate([train, val]), labels, np.arange(len(train) + len(val)))
        todo = [
            Job(
                granted.meta,
                granted.train[granted.labelled],
                None if granted.val is None else granted.val + len(train),
                base.head_seed,
            )
            for base, granted in jobs
        ]
        start = time.perf_counter()
        protocol = self._build(Meta(self.targets), inputs, jobs[0][0].head_seed)
        assert isinstance(protocol, Sweeps)
        outcomes = protocol.sweep(samples, todo, test)
        for (base, granted), (predictions, report) in zip(jobs, outcomes, strict=True):
            self._keep(base, granted, predictions, report)
        self.protocol_seconds += time.perf_counter() - start
        self.heads.setdefault(inputs.fitted.key, (None, jobs[0][0].encoder_seed))

    def _keep(
        self,
        at: Coords,
        granted: Grant,
        predictions: Mapping[str, Array],
        report: Mapping[str, Any],
    ) -> None:
        number, control = self.coords.index(at), at.control is not None
        scores = self.scorer.score(
            number, granted.meta, self.output, predictions, report, control=control
        )
        self.replicates[at] = Replicate(
            coords=at, status="ok", n_train=granted.n_train, scores=scores, report=dict(report)
        )

    def _fail(self, at: Coords, granted: Grant, error: BenchError) -> None:
        self.replicates[at] = Replicate(
            coords=at,
            status="failed",
            n_train=granted.n_train,
            scores={},
            report={},
            reason=_without_folders(str(error), self.cell),
        )

    def _diagnose(self, key: str, head: nn.Module | None, seed: int) -> dict[str, Any]:
        """What the task's diagnostics say of one fitted encoder."""
        diagnosis: dict[str, Any] = {"encoder_seed": seed}
        if self.task.diagnostics:
            context = self.inputs[key].context(Meta(self.targets), head, seed)
            for name in self.task.diagnostics:
                module = registry.load(registry.find("diagnostics", name))
                values = module.diagnose(context)
                diagnosis |= {
                    f"{name}/{k}": None if v is None else float(v) for k, v in values.items()
                }
        return diagnosis

    def record(self, blank: Record) -> Record:
        """The finished record. A cell with a failed replicate has failed, the others are kept."""
        replicates = [self.replicates[at] for at in self.coords]
        failed = [r for r in replicates if r.status == "failed"]
        counted = f"{len(failed)} of {len(replicates)} replicates"
        reason = f"{counted}: {failed[0].reason}" if failed else None
        training = [
            TrainingReport(
                key=key, images=x.fitted.images_seen, **dataclasses.asdict(x.fitted.report)
            )
            for key, x in self.inputs.items()
        ]
        inputs = list(self.inputs.values())
        first, level, spec = inputs[0].fitted, inputs[0].level, self.cell.spec
        start = None  # of an encoder that is tuned
        if spec is not None and self.task.input != "features":
            start = untrained_digest(spec, source_info(self.dataset))
        built = None if spec is None else built_digest(spec, source_info(self.dataset))
        opened = {} if spec is None else spec.opened
        kinds = {name: (target.kind, target.size) for name, target in self.targets.items()}
        return replace(
            blank,
            status="failed" if failed else "ok",
            reason=reason,
            supervision=supervision(self.cell, first),
            encoder=replace(
                blank.encoder,
                files={name: content for name, (_, content) in opened.items()} or None,
                read_out=level,
                dim=first.encoder.dims[level],
                parameters=_parameters(first.encoder),
                pretrained_on=tuple(first.pretrained_on),
                unlabelled=first.unlabelled or None,
                seeded=first.encoder.seeded,
                start=start,
                built=built,
            ),
            replicates=tuple(replicates),
            primary=None if failed else self.scorer.primary(replicates),
            training=tuple(training),
            tuning=self.tuning or None,
            diagnostics=tuple(self.diagnostics) if self.task.diagnostics else (),
            measured={"seeds": self.runs, "engine": dict(inputs[-1].backend)},
            predictions=None if failed else StoredPredictions(kinds=kinds),
        )

    def seconds(self) -> dict[str, float]:
        """Where the time went; work shared with other cells counts in each of them."""
        fits = sum(inputs.fitted.seconds for inputs in self.inputs.values())
        extract = sum(sum(inputs.extract_seconds.values()) for inputs in self.inputs.values())
        return {"fit": fits, "extract": extract, "protocol": self.protocol_seconds}
