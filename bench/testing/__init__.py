"""The check kit: what every encoder, protocol, data set and task keeps to, as functions."""

from __future__ import annotations

from bench.testing._encoder_case import EncoderCase, tiny_encoder, tiny_images
from bench.testing._finding import Check, Finding, require, run_checks
from bench.testing.datasets import dataset_checks
from bench.testing.encoders import encoder_checks
from bench.testing.protocols import ProtocolCase, protocol_checks, tiny_protocol
from bench.testing.tasks import task_checks

__all__ = [
    "Check",
    "EncoderCase",
    "Finding",
    "ProtocolCase",
    "dataset_checks",
    "encoder_checks",
    "protocol_checks",
    "require",
    "run_checks",
    "task_checks",
    "tiny_encoder",
    "tiny_images",
    "tiny_protocol",
]
