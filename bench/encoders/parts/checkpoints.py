"""The weights in a checkpoint file of any training program, read without running code."""

from __future__ import annotations

import argparse
import logging
import re
from collections.abc import Iterable, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from bench.errors import BenchError
from bench.files.reading import left_by_download

log = logging.getLogger(__name__)
State = Mapping[str, Tensor]
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
        contents = f"beside tensors it has {first_names(foreign)}"
    elif entries:
        several = f"{len(states)} of them ({first_names(states)})" if states else "none of them"
        contents = (
            f"its entries are {first_names(entries)}, {several} a mapping of names to tensors"
        )
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


def first_names(names: Iterable[object]) -> str:
    """The first five names, in one line."""
    texts = [str(name) for name in names]
    return ", ".join(texts[:5]) + (", ..." if len(texts) > 5 else "")
