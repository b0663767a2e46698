"""Networks that a study trains itself, kept in the cache like those of the workspace."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import nn

from bench.digests import digest
from bench.running.cache import Cache

__all__ = ["trained"]


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
