"""Partial results, so that nothing is computed twice: values in a file of the study's folder, and weights
of networks that a study trains itself in the cache."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import nn

from bench.digests import digest
from bench.errors import BenchError
from bench.files.reading import read_json
from bench.files.writing import write_atomically
from bench.running.cache import Cache
from bench.studies.base import Setting

_MOST = 2**26  # bytes of partial results


class PartialResults:
    """JSON values by recipe, in a file of the study's folder. Raises BenchError for any other file."""

    def __init__(self, setting: Setting, name: str) -> None:
        self._path = path = setting.folder / name
        self._progress = setting.progress
        try:
            values = read_json(path, most=_MOST, values=_MOST) if os.path.lexists(path) else {}
            self._values: dict[str, Any] = dict(values)
        except (BenchError, ValueError, TypeError) as error:
            message = f"{path} cannot be read ({error}); move it away to begin anew"
            raise BenchError(message) from error

    def __call__(self, title: str, recipe: object, compute: Callable[[], Any]) -> Any:
        """The value of `compute`, or of an earlier call with an equal `recipe`; `title` is reported where
        it is computed."""
        key = digest(recipe)
        if key not in self._values:
            self._progress(title)
            self._values[key] = compute()
            content = json.dumps(self._values, indent=1, sort_keys=True, allow_nan=False)
            write_atomically(self._path, content.encode())
        return self._values[key]


def trained(
    network: nn.Module, recipe: Mapping[str, Any], train: Callable[[], object], cache: Cache | None
) -> nn.Module:
    """`network` with the weights that `train` gives it, or has given for an equal `recipe` (JSON).

    The recipe names all that the weights depend on: sizes, data, seed, and a revision of the code.
    """
    if cache is None:
        train()
        return network.eval()
    key = digest({"study": dict(recipe)})
    with cache.making("weights", key):
        entry = cache.get("weights", key)
        if entry is None:
            train()
            state = {name: tensor.cpu().numpy() for name, tensor in network.state_dict().items()}
            cache.put("weights", key, state, {"spec": recipe["what"], "seed": recipe["seed"]})
        else:
            network.load_state_dict({n: torch.from_numpy(a) for n, a in entry.arrays.items()})
    return network.eval()
