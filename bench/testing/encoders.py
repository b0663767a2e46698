"""What every encoder keeps to."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import torch
from torch import nn

from bench.data.images import Input
from bench.encoders.base import Encoder
from bench.errors import BenchError
from bench.naming import registry
from bench.running.features import encode_images
from bench.testing._alone import require_alone
from bench.testing._encoder_case import EncoderCase, attempt, features, same
from bench.testing._finding import Check, Finding, require
from bench.testing.learning import learning_checks

__all__ = ["encoder_checks"]

SIZES = ((1, (8, 8)), (3, (28, 28)), (1, (33, 20)), (3, (64, 64)))


def check_encoder_alone(case: EncoderCase) -> None:
    """Import, build, fit and encoding write no file, need no network, leave global state alone."""
    require_alone(
        {
            "its file": lambda: registry.load(case.spec.entry),
            "build": case.build,
            "fit": lambda: case.encoder,
            "encoding": lambda: features(case.encoder, case.batch()),
        },
        instead="keep what is learnt in parameters and buffers, and take weights from a file",
    )


def check_encoder_contract(case: EncoderCase) -> None:
    """It is an Encoder that says what it wants and gives: `input`, `dims`, and plain yes or no."""
    encoder = case.encoder
    require(isinstance(getattr(encoder, "input", None), Input), "`input` is no bench.Input")
    dims = getattr(encoder, "dims", None)
    good = isinstance(dims, dict) and all(
        isinstance(k, str) and type(v) is int and v > 0 for k, v in dims.items()
    )
    require(bool(dims) and good, f"`dims` is {dims!r}; {{level: dimension}} is wanted")
    for name in ("uses_labels", "differentiable", "seeded"):
        value = getattr(encoder, name)
        require(type(value) is bool, f"`{name}` is {value!r}; True or False is wanted")
    seen = encoder.pretrained_on
    require(
        isinstance(seen, tuple) and all(isinstance(each, str) for each in seen),
        f"`pretrained_on` is {seen!r}; a tuple of names of data sets is wanted",
    )
    fits = type(encoder).fit is not Encoder.fit
    require(
        fits or case.spec.entry.training == "none",
        'it has no `fit`; write TRAINING = "none" into its file',
    )


def check_encoder_shape(case: EncoderCase) -> None:
    """Features are float32 (n, dims[level]), for every level, also for one image."""
    for count in (1, 23):
        taps = features(case.encoder, case.batch(count))
        require(
            set(taps) == set(case.encoder.dims),
            f"taps gives {sorted(taps)}, dims {sorted(case.encoder.dims)}",
        )
        for level, tap in taps.items():
            wanted = (count, case.encoder.dims[level])
            require(
                tuple(tap.shape) == wanted and tap.dtype == torch.float32,
                f"level {level!r} is {tap.dtype} {tuple(tap.shape)}; float32 {wanted} is wanted",
            )


def check_encoder_sizes(case: EncoderCase) -> None:
    """It takes grey and colour images of any size, or says in one line which ones it takes."""
    for channels, size in SIZES:
        what = f"for images of {channels} x {size[0]} x {size[1]}"
        images = case.images(channels, size)  # type: ignore[arg-type]
        try:
            encoder, _ = attempt(
                f"building or fitting it {what}", lambda x=images: case.fit(images=x)
            )
        except BenchError:  # it says which ones it takes
            continue
        form = encoder.input
        batch = torch.zeros(2, form.channels, *form.size)
        for level, tap in attempt(
            f"encoding {what}", lambda e=encoder, b=batch: features(e, b)
        ).items():
            require(
                tuple(tap.shape) == (2, encoder.dims[level]),
                f"{what} level {level!r} has shape {tuple(tap.shape)}; dims says {encoder.dims[level]}",
            )


def check_encoder_finite(case: EncoderCase) -> None:
    """Features are finite, also of black, of white and of grey images."""
    form = case.encoder.input
    shape = (1, form.channels, *form.size)
    images = torch.cat([torch.full(shape, value) for value in (0.0, 0.5, 1.0)])
    for level, tap in features(case.encoder, images).items():
        require(
            bool(tap.isfinite().all()),
            f"level {level!r} of a black, grey or white image is not finite; never divide by a spread "
            "that can be 0",
        )
    try:
        encode_images(case.encoder, case.delivery(), what="tiny images")
    except BenchError as error:
        raise Finding(str(error)) from error


def check_encoder_untouched(case: EncoderCase) -> None:
    """Encoding changes neither its input nor a parameter or buffer, even outside inference mode."""
    encoder, images = case.fit()[0], case.batch(23)
    kept = images.clone()
    before = {name: value.clone() for name, value in encoder.state_dict().items()}
    encoder.eval().taps(images)
    require(
        torch.equal(images, kept), "the images that were passed in are changed; copy them first"
    )
    for name, value in encoder.state_dict().items():
        require(torch.equal(value, before[name]), f"{name!r} changes while encoding")


def check_encoder_deterministic(case: EncoderCase) -> None:
    """The same images give the same features, bit for bit: no sampling, no dropout, no corruption."""
    images = case.batch(23)
    first, again = features(case.encoder, images), features(case.encoder, images)
    for level, tap in first.items():
        require(
            torch.equal(tap, again[level]),
            f"level {level!r} differs from call to call; encode in eval mode, with the mean",
        )


def check_encoder_rows_independent(case: EncoderCase) -> None:
    """A row's features do not depend on its batch: 23, 7 or 1 at a time differ by under 1e-4."""
    whole = encode_images(case.encoder, case.delivery(), what="tiny images").levels
    for batch in (7, 1):
        parts = encode_images(case.encoder, case.delivery(), what="tiny images", batch=batch).levels
        for level, found in whole.items():
            scale = float(np.sqrt((found.astype(np.float64) ** 2).mean())) or 1.0
            gap = float(np.abs(found - parts[level]).max()) / scale
            require(
                gap < 1e-4,
                f"level {level!r} moves by {gap:.2g} of its RMS in batches of {batch}; use GroupNorm, "
                "or batch norm in eval mode",
            )


def check_encoder_forward(case: EncoderCase) -> None:
    """`forward` gives the default level of `taps`."""
    images = case.batch()
    with torch.inference_mode():
        found = case.encoder.eval()(images)
    alike = torch.equal(found, features(case.encoder, images)[case.encoder.level])
    require(alike, "forward(images) differs from taps(images) at the default level")


def check_encoder_gradients(case: EncoderCase) -> None:
    """Where it says `differentiable`, gradients reach the images and the weights, and are finite."""
    encoder = copy.deepcopy(case.encoder).eval().requires_grad_(True)
    if not encoder.differentiable:
        return
    images = case.batch().requires_grad_()
    found = attempt("encoding with gradients", lambda: encoder(images))
    require(
        found.requires_grad,
        "the features carry no gradient; encode without detach and numpy, or set differentiable = False",
    )
    # An uneven sum: after a normalisation the plain one may be constant.
    weights = torch.linspace(0.5, 1.5, found.numel()).view_as(found)
    (found * weights).sum().backward()
    require(
        images.grad is not None and bool(images.grad.isfinite().all()) and bool(images.grad.any()),
        "no gradient, or none that is finite, reaches the images; set differentiable = False if so meant",
    )
    reached = [p.grad is not None and bool(p.grad.any()) for p in encoder.parameters()]
    require(
        not reached or any(reached),
        "no gradient reaches any weight; they could not be fine-tuned",
    )


def check_encoder_stages(case: EncoderCase) -> None:
    """`stages()`, where it is not None, composes to the default level and has its weights."""
    stages = case.encoder.stages()
    if stages is None:
        return
    require(isinstance(stages, nn.Sequential), "stages() gives no nn.Sequential")
    images = case.batch()
    with torch.inference_mode():
        found, wanted = stages.eval()(images), case.encoder.eval()(images)
    alike = found.shape == wanted.shape and torch.allclose(found, wanted, rtol=1e-4, atol=1e-5)
    require(alike, "stages() composed differ from forward(images)")
    own = {id(p) for p in case.encoder.parameters()}
    foreign = [p for p in stages.parameters() if id(p) not in own]
    require(not foreign, "stages() hold weights that are not the encoder's: tune its own modules")


def check_encoder_copies(case: EncoderCase) -> None:
    """A deep copy encodes alike, and what is done to it leaves the encoder as it was."""
    images = case.batch()
    before = features(case.encoder, images)
    twin = attempt("copy.deepcopy", lambda: copy.deepcopy(case.encoder))
    require(same(features(twin, images), before), "a deep copy encodes differently")
    with torch.no_grad():
        for value in twin.state_dict().values():
            if value.is_floating_point():
                value.mul_(0.5).add_(0.25)
    require(
        same(features(case.encoder, images), before),
        "changing a deep copy changes the encoder: they share state; keep it in parameters and buffers",
    )


def check_encoder_methods(case: EncoderCase) -> None:
    """reconstruct(images), decode(codes) and sample(n), where it has them, give finite images."""
    encoder: Any = case.encoder
    images, found = case.batch(), {}
    with torch.inference_mode():
        if hasattr(encoder, "reconstruct"):
            found["reconstruct"] = attempt("reconstruct", lambda: encoder.reconstruct(images))
        if hasattr(encoder, "decode") and "code" in encoder.dims:
            codes = features(encoder, images)["code"]
            found["decode"] = attempt("decode", lambda: encoder.decode(codes))
        if hasattr(encoder, "sample"):
            found["sample"] = attempt("sample", lambda: encoder.sample(5, seed=0))
    for name, made in found.items():
        good = made.shape == images.shape and bool(made.isfinite().all())
        require(
            good, f"{name} gives {tuple(made.shape)}, or what is not finite; {tuple(images.shape)}"
        )


def encoder_checks() -> list[Check[EncoderCase]]:
    """For an encoder's spec; what is basic comes first."""
    return [
        check_encoder_alone,
        check_encoder_contract,
        check_encoder_shape,
        check_encoder_finite,
        check_encoder_untouched,
        check_encoder_deterministic,
        check_encoder_rows_independent,
        check_encoder_forward,
        *learning_checks(),
        check_encoder_gradients,
        check_encoder_stages,
        check_encoder_copies,
        check_encoder_methods,
        check_encoder_sizes,
    ]
