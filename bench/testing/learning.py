"""The checks of an encoder's training: its state, seed, labels and budget."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import nn

from bench.encoders.base import FitReport
from bench.seeding import seeded
from bench.testing._encoder_case import EncoderCase, attempt, features, require_json, same
from bench.testing._finding import Check, require


def check_encoder_state(case: EncoderCase) -> None:
    """Everything that it learns is in parameters and buffers: loaded strictly into a newly built encoder,
    they give the same features."""
    images, expected = case.batch(), features(case.encoder, case.batch())
    state = {k: v.detach().cpu().clone() for k, v in case.encoder.state_dict().items()}
    loaded = case.build().eval()
    built_shapes = {(k, tuple(v.shape)) for k, v in loaded.state_dict().items()}
    changed = sorted({(k, tuple(v.shape)) for k, v in state.items()} ^ built_shapes)
    require(
        not changed,
        f"fit adds or reshapes state ({', '.join(name for name, _ in changed[:3])}); register every "
        "parameter and buffer at its full size in build",
    )
    loaded.load_state_dict(state)
    require(
        same(features(loaded, images), expected),
        "its state, loaded into a newly built encoder, gives other features; keep what is learnt in "
        "parameters and buffers",
    )


def check_encoder_devices(case: EncoderCase) -> None:
    """No module has a tensor as a plain attribute: only parameters and buffers move to a GPU."""
    for name, module in case.encoder.named_modules():
        for key, value in vars(module).items():
            values = value if isinstance(value, list | tuple) else [value]
            if key.startswith("_") and key in vars(nn.Module()):
                continue
            require(
                not any(isinstance(v, torch.Tensor) for v in values),
                f"{'.'.join(filter(None, [name, key]))} is a tensor, but no parameter or buffer; use "
                "register_buffer",
                at=key,
            )


def check_encoder_repeatable(case: EncoderCase) -> None:
    """Two fits with one seed give the same features, bit for bit, whatever the global random state."""
    if _is_refitted_the_same(case):
        return
    with seeded(90210):
        again, _ = attempt("fit", case.fit)
    require(
        same(features(again, case.batch()), features(case.encoder, case.batch())),
        "two fits with one seed differ; draw every number from bench.generator(seed, purpose)",
    )


def _is_refitted_the_same(case: EncoderCase) -> bool:
    """Whether neither the global random state nor labels change a fit: one fit for two checks. Where it
    says no, each check fits again, to tell which of the two does."""
    try:
        refitted = case.refitted
    except Exception:
        return False
    return same(features(refitted, case.batch()), features(case.encoder, case.batch()))


def check_encoder_seeded(case: EncoderCase) -> None:
    """Another seed changes the features if it says `seeded`, and changes nothing if it does not."""
    differs = not same(
        features(case.encoder, case.batch()), features(case.fitted(1)[0], case.batch())
    )
    require(
        differs or not case.encoder.seeded,
        "another seed changes nothing; use the seed, or say seeded = False",
    )
    require(
        case.encoder.seeded or not differs,
        "another seed changes the features, though it says seeded = False",
    )


def check_encoder_labels(case: EncoderCase) -> None:
    """If it says `uses_labels`, other labels change the features and missing labels are accepted; if it
    does not, labels change nothing."""
    if not case.learns:
        return
    before = features(case.encoder, case.batch())

    def fitted_with(labels: Any, action: str) -> Any:
        return features(attempt(action, lambda: case.fit(labels=labels))[0], case.batch())

    label = case.labels()["label"]
    if not case.encoder.uses_labels:
        require(
            _is_refitted_the_same(case)
            or same(fitted_with({"label": label}, "fit with labels that it does not use"), before),
            "labels change it, though it says uses_labels = False; declare it",
        )
        return
    changed = 1 - label
    changed[:7] = 0
    require(
        not same(fitted_with({"label": changed}, "fit with other labels"), before),
        "other labels change nothing, though it says uses_labels = True",
    )
    partial = np.where(np.arange(len(label)) % 3 == 0, -1, label)
    fitted_with({"label": partial}, "fit with missing labels (-1)")


def check_encoder_report(case: EncoderCase) -> None:
    """fit returns a FitReport that is JSON, and uses as many images as its budget says."""
    encoder, report = case.fitted(0)
    require(
        isinstance(report, FitReport), f"fit returns {type(report).__name__}; return a FitReport"
    )
    require_json(report)
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
            f"it saw {report.images_seen} images of {budget}; count each image once",
        )
    require(
        not encoder.training,
        "it is in training mode after fit and eval(); let train(mode) set the mode",
    )


def learning_checks() -> list[Check[EncoderCase]]:
    return [
        check_encoder_report,
        check_encoder_repeatable,
        check_encoder_seeded,
        check_encoder_devices,
        check_encoder_state,
        check_encoder_labels,
    ]
