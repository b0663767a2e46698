"""The check kit: rules that every encoder, protocol, data set and task must keep, as functions."""

from __future__ import annotations

from bench.testing._encoder_case import EncoderCase, tiny_encoder, tiny_images
from bench.testing._finding import Check, Finding, example, require, run_checks
from bench.testing._protocol_case import ProtocolCase
from bench.testing.datasets import DataSetCase, build_checks, dataset_checks, inspect_dataset
from bench.testing.encoders import encoder_checks
from bench.testing.protocols import protocol_checks
from bench.testing.semantics import semantics_checks
from bench.testing.tasks import task_checks

__all__ = [
    "Check",
    "DataSetCase",
    "EncoderCase",
    "Finding",
    "ProtocolCase",
    "build_checks",
    "dataset_checks",
    "encoder_checks",
    "example",
    "inspect_dataset",
    "protocol_checks",
    "require",
    "run_checks",
    "semantics_checks",
    "task_checks",
    "tiny_encoder",
    "tiny_images",
]
