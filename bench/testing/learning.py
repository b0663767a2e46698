"""What every encoder keeps to in learning: its state, its seed, its labels, its budget."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import torch
from torch import nn

from bench.encoders.base import FitReport
from bench.testing._encoder_case import EncoderCase, attempt, features, is_json, same
from bench.testing._finding import Check, require

__all__ = ["learning_checks"]


def check_encoder_state(case: EncoderCase) -> None:
    """All that it learns lies in parameters and buffers: loaded strictly into a fresh one, they make
    the same features."""
    images, wanted = case.batch(), features(case.encoder, case.batch())
    state = {k: v.detach().cpu().clone() for k, v in case.encoder.state_dict().items()}
    twin = case.build().eval()
    names = {k: tuple(v.shape) for k, v in twin.state_dict().items()}
    found = {k: tuple(v.shape) for k, v in state.items()}
    odd = sorted(set(found.items()) ^ set(names.items()))
    require(
        not odd,
        f"fit makes or reshapes state ({', '.join(name for name, _ in odd[:3])}); register every "
        "parameter and buffer at its full size in build",
    )
    twin.load_state_dict(state)
    require(
        same(features(twin, images), wanted),
        "its state, loaded into a fresh encoder, makes other features; keep what is learnt in "
        "parameters and buffers",
    )


def check_encoder_devices(case: EncoderCase) -> None:
    """No tensor hides outside parameters and buffers: it would stay behind when the others move to
    a GPU."""
    for name, module in case.encoder.named_modules():
        for key, value in vars(module).items():
            hidden = value if isinstance(value, list | tuple) else [value]
            if key.startswith("_") and key in vars(nn.Module()):
                continue
            require(
                not any(isinstance(each, torch.Tensor) for each in hidden),
                f"{'.'.join(filter(None, [name, key]))} is a tensor outside parameters and buffers; "
                "use register_buffer",
            )


def check_encoder_repeatable(case: EncoderCase) -> None:
    """Fitted again with the same seed it is the same, bit for bit, whatever global random state is."""
    wanted = features(case.encoder, case.batch())
    states = torch.get_rng_state(), np.random.get_state(), random.getstate()  # noqa: NPY002
    try:
        torch.manual_seed(90210)
        np.random.seed(90210)  # noqa: NPY002
        random.seed(90210)
        again, _ = attempt("fit", case.fit)
    finally:
        torch.set_rng_state(states[0])
        np.random.set_state(states[1])  # noqa: NPY002
        random.setstate(states[2])
    require(
        same(features(again, case.batch()), wanted),
        "two fits with one seed differ; draw every number from bench.seeding.generator(seed, what for)",
    )


def check_encoder_seeded(case: EncoderCase) -> None:
    """Another seed makes other features exactly where it says `seeded`."""
    moves = not same(
        features(case.encoder, case.batch()), features(case.fitted(1)[0], case.batch())
    )
    require(
        moves or not case.encoder.seeded,
        "another seed changes nothing; use the seed, or say seeded = False",
    )
    require(
        case.encoder.seeded or not moves,
        "another seed makes other features, though it says seeded = False",
    )


def check_encoder_labels(case: EncoderCase) -> None:
    """Labels reach it only where it says `uses_labels`; there others teach it otherwise, and missing
    ones are taken."""
    if not case.learns:
        return
    wanted = features(case.encoder, case.batch())

    def fitted(labels: Any, what: str) -> Any:
        return features(attempt(what, lambda: case.fit(labels=labels))[0], case.batch())

    usual = case.labels()
    if not case.encoder.uses_labels:
        told = fitted(usual, "fit, given labels that it does not use,")
        require(
            same(told, wanted), "labels change it, though it says uses_labels = False; declare it"
        )
        return
    other = {name: 1 - values for name, values in usual.items()}
    other["label"][:7] = 0
    require(
        not same(fitted(other, "fit with other labels"), wanted),
        "other labels change nothing, though it says uses_labels = True",
    )
    partial = {name: np.where(np.arange(len(v)) % 3 == 0, -1, v) for name, v in usual.items()}
    fitted(partial, "fit with labels missing (-1)")


def check_encoder_report(case: EncoderCase) -> None:
    """fit gives a FitReport that can be written, and draws as many images as its budget says."""
    encoder, report = case.fitted(0)
    require(
        isinstance(report, FitReport), f"fit gives {type(report).__name__}; a FitReport is wanted"
    )
    is_json(report)
    if not case.learns:
        return
    budget = case.budget(case.images())
    if case.spec.entry.training == "budget":
        require(
            report.images_seen == budget,
            f"it saw {report.images_seen} images of a budget of {budget}; count each image drawn",
        )
    else:
        require(
            report.images_seen <= budget,
            f"it saw {report.images_seen} images of {budget} that there are",
        )
    require(not encoder.training, "it is in training mode after fit and eval()")


def learning_checks() -> list[Check[EncoderCase]]:
    return [
        check_encoder_report,
        check_encoder_repeatable,
        check_encoder_seeded,
        check_encoder_devices,
        check_encoder_state,
        check_encoder_labels,
    ]
