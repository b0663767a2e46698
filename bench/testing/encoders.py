"""The checks of encoders."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import torch
from torch import nn

from bench.encoders.base import Encoder
from bench.errors import BenchError
from bench.naming import registry
from bench.running.features import encode_images, is_collapsed
from bench.testing._alone import require_alone
from bench.testing._encoder_case import EncoderCase, attempt, features, same
from bench.testing._finding import Check, Finding, require
from bench.testing.learning import learning_checks

SIZES = ((1, (8, 8)), (3, (28, 28)), (1, (33, 20)), (3, (64, 64)))


def check_encoder_alone(case: EncoderCase) -> None:
    """Import, build, fit and encoding write no file, use no network, and leave global state unchanged."""
    require_alone(
        {
            "its file": lambda: registry.load(case.spec.entry),
            "build": case.build,
            "fit": lambda: case.encoder,
            "encoding": lambda: features(case.encoder, case.batch()),
        },
        path=case.spec.entry.path,
        instead="keep what is learnt in parameters and buffers, and read weights from a local file",
    )


def check_encoder_contract(case: EncoderCase) -> None:
    """`input`, `dims`, `uses_labels`, `differentiable`, `seeded` and `pretrained_on` have the right types;
    it has `fit` unless TRAINING = "none"."""
    encoder = case.encoder
    dims = getattr(encoder, "dims", None)
    is_valid = isinstance(dims, dict) and all(
        isinstance(level, str) and type(dim) is int and dim > 0 for level, dim in dims.items()
    )
    require(
        bool(dims) and is_valid, f"`dims` is {dims!r}; expected {{level: dimension}}", at="dims"
    )
    for name in ("uses_labels", "differentiable", "seeded"):
        value = getattr(encoder, name)
        require(type(value) is bool, f"`{name}` is {value!r}; expected True or False", at=name)
    datasets = encoder.pretrained_on
    require(
        isinstance(datasets, tuple) and all(isinstance(name, str) for name in datasets),
        f"`pretrained_on` is {datasets!r}; expected a tuple of names of data sets",
        at="pretrained_on",
    )
    unlabelled = encoder.unlabelled
    require(
        isinstance(unlabelled, tuple) and set(unlabelled) <= set(datasets),
        f"`unlabelled` is {unlabelled!r}; expected a tuple of names that `pretrained_on` has",
        at="unlabelled",
    )
    has_fit = type(encoder).fit is not Encoder.fit
    require(
        has_fit or case.spec.entry.training == "none",
        'it has no `fit`; write TRAINING = "none" into its file',
        at="TRAINING",
    )


def check_encoder_shape(case: EncoderCase) -> None:
    """Features are float32 (n, dims[level]) at every level, also for a single image."""
    for count in (1, 23):
        taps = features(case.encoder, case.batch(count))
        require(
            set(taps) == set(case.encoder.dims),
            f"taps has levels {sorted(taps)}, dims {sorted(case.encoder.dims)}",
        )
        for level, tap in taps.items():
            shape = (count, case.encoder.dims[level])
            require(
                tuple(tap.shape) == shape and tap.dtype == torch.float32,
                f"level {level!r} is {tap.dtype} {tuple(tap.shape)}; expected float32 {shape}",
            )


def check_encoder_sizes(case: EncoderCase) -> None:
    """It takes grey and colour images of any size, or raises BenchError saying which ones it takes."""
    for channels, size in SIZES:
        shape = f"for images of {channels} x {size[0]} x {size[1]}"
        images = case.images(channels, size)  # type: ignore[arg-type]
        try:
            encoder, _ = attempt(f"build or fit {shape}", lambda x=images: case.fit(images=x))
        except BenchError:  # it says which ones it takes
            continue
        form = encoder.input
        batch = torch.zeros(2, form.channels, *form.size)
        taps = attempt(f"encoding {shape}", lambda e=encoder, b=batch: features(e, b))
        for level, tap in taps.items():
            require(
                tuple(tap.shape) == (2, encoder.dims[level]),
                f"{shape} level {level!r} has shape {tuple(tap.shape)}; dims says {encoder.dims[level]}",
            )


def check_encoder_finite(case: EncoderCase) -> None:
    """Features are finite, also for plain black, white and grey images."""
    learnt = case.encoder.state_dict().items()
    broken = [name for name, value in learnt if not bool(value.isfinite().all())]
    require(
        not broken,
        f"{', '.join(map(repr, broken[:3]))} is not finite after fit; lower the rate, or raise BenchError "
        "where training diverges",
        at="fit" if case.learns else "build",
    )
    form = case.encoder.input
    shape = (1, form.channels, *form.size)
    images = torch.cat([torch.full(shape, value) for value in (0.0, 0.5, 1.0)])
    for level, tap in features(case.encoder, images).items():
        require(
            bool(tap.isfinite().all()),
            f"level {level!r} of a plain black, grey or white image is not finite; never divide by a "
            "standard deviation that can be 0",
        )
    try:
        encode_images(case.encoder, case.delivery(), name="tiny images")
    except BenchError as error:
        raise Finding(str(error)) from error


def check_encoder_varies(case: EncoderCase) -> None:
    """Features of the default level differ from image to image."""
    level = case.encoder.level
    values = features(case.encoder, case.batch(23))[level].float().numpy()
    require(
        not is_collapsed(values),
        f"level {level!r} is the same for all images: a run has nothing to learn from it",
    )


def check_encoder_untouched(case: EncoderCase) -> None:
    """Encoding changes neither the images nor a parameter or buffer, also outside inference mode."""
    encoder, images = case.encoder, case.batch(23)
    originals = images.clone()
    before = {name: value.clone() for name, value in encoder.state_dict().items()}
    encoder.eval().taps(images)
    changed = [n for n, value in encoder.state_dict().items() if not torch.equal(value, before[n])]
    if changed:
        case.forget()
    require(torch.equal(images, originals), "encoding changes the images in place; copy them first")
    require(not changed, f"{', '.join(map(repr, changed[:3]))} changes while encoding")


def check_encoder_deterministic(case: EncoderCase) -> None:
    """The same images give the same features, bit for bit: no sampling, dropout or noise."""
    images = case.batch(23)
    first, again = features(case.encoder, images), features(case.encoder, images)
    for level, tap in first.items():
        require(
            torch.equal(tap, again[level]),
            f"level {level!r} differs from call to call; encode in eval mode, with the mean of the code",
        )


def check_encoder_rows_independent(case: EncoderCase) -> None:
    """Features of an image do not depend on its batch: batches of 23, 7 and 1 differ by less than 1e-4 of
    the RMS."""
    whole = encode_images(case.encoder, case.delivery(), name="tiny images").levels
    for batch in (7, 1):
        parts = encode_images(case.encoder, case.delivery(), name="tiny images", batch=batch).levels
        for level, codes in whole.items():
            rms = float(np.sqrt((codes.astype(np.float64) ** 2).mean())) or 1.0
            gap = float(np.abs(codes - parts[level]).max()) / rms
            require(
                gap < 1e-4,
                f"level {level!r} changes by {gap:.2g} of its RMS in batches of {batch}; use GroupNorm, "
                "or batch norm in eval mode",
            )


def check_encoder_forward(case: EncoderCase) -> None:
    """forward(images) equals taps(images) at the default level."""
    images = case.batch()
    with torch.inference_mode():
        output = case.encoder.eval()(images)
    is_same = torch.equal(output, features(case.encoder, images)[case.encoder.level])
    require(is_same, "forward(images) differs from taps(images) at the default level")


def check_encoder_gradients(case: EncoderCase) -> None:
    """If it says `differentiable`, finite gradients reach the images and the weights."""
    encoder = copy.deepcopy(case.encoder).eval().requires_grad_(True)
    if not encoder.differentiable:
        return
    images = case.batch().requires_grad_()
    output = attempt("encoding with gradients", lambda: encoder(images))
    require(
        output.requires_grad,
        "the features carry no gradient; encode without detach and numpy, or set differentiable = False",
    )
    # A weighted sum: after a normalisation the plain sum may be constant.
    weights = torch.linspace(0.5, 1.5, output.numel()).view_as(output)
    (output * weights).sum().backward()
    require(
        images.grad is not None and bool(images.grad.isfinite().all()) and bool(images.grad.any()),
        "no finite gradient reaches the images; encode differentiably, or set differentiable = False",
    )
    has_gradient = [p.grad is not None and bool(p.grad.any()) for p in encoder.parameters()]
    require(
        not has_gradient or any(has_gradient),
        "no gradient reaches any weight, so none can be fine-tuned; set differentiable = False",
    )


def check_encoder_stages(case: EncoderCase) -> None:
    """stages() is None, or an nn.Sequential of the encoder's own modules that gives the default level."""
    stages = case.encoder.stages()
    if stages is None:
        return
    require(
        isinstance(stages, nn.Sequential),
        f"stages() is {type(stages).__name__}; expected an nn.Sequential",
    )
    images = case.batch()
    with torch.inference_mode():
        staged, output = stages.eval()(images), case.encoder.eval()(images)
    is_close = staged.shape == output.shape and torch.allclose(staged, output, rtol=1e-4, atol=1e-5)
    require(is_close, "stages()(images) differs from forward(images)")
    weights = {id(p) for p in case.encoder.parameters()}
    foreign = [p for p in stages.parameters() if id(p) not in weights]
    require(not foreign, "stages() has weights that are not the encoder's; use its own modules")


def check_encoder_copies(case: EncoderCase) -> None:
    """A deep copy gives the same features, and changing it leaves the encoder unchanged."""
    images = case.batch()
    before = features(case.encoder, images)
    copied = attempt("copy.deepcopy", lambda: copy.deepcopy(case.encoder))
    require(same(features(copied, images), before), "a deep copy gives other features")
    with torch.no_grad():
        for value in copied.state_dict().values():
            if value.is_floating_point():
                value.mul_(0.5).add_(0.25)
    require(
        same(features(case.encoder, images), before),
        "changing a deep copy changes the encoder: they share state; keep it in parameters and buffers",
    )


def check_encoder_methods(case: EncoderCase) -> None:
    """reconstruct(images), decode(codes) and sample(n), where it has them, give finite images of the shape
    of its input."""
    encoder: Any = case.encoder
    images, outputs = case.batch(), {}
    with torch.inference_mode():
        if hasattr(encoder, "reconstruct"):
            outputs["reconstruct"] = attempt("reconstruct", lambda: encoder.reconstruct(images))
        if hasattr(encoder, "decode") and "code" in encoder.dims:
            codes = features(encoder, images)["code"]
            outputs["decode"] = attempt("decode", lambda: encoder.decode(codes))
        if hasattr(encoder, "sample"):
            outputs["sample"] = attempt("sample", lambda: encoder.sample(5, seed=0))
    for name, output in outputs.items():
        require(
            output.shape == images.shape and bool(output.isfinite().all()),
            f"{name} gives shape {tuple(output.shape)}, or values that are not finite; expected finite "
            f"images {tuple(images.shape)}",
        )


def encoder_checks() -> list[Check[EncoderCase]]:
    """For the spec of an encoder, the most basic check first."""
    return [
        check_encoder_alone,
        check_encoder_contract,
        check_encoder_shape,
        check_encoder_finite,
        check_encoder_varies,
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
