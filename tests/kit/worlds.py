"""Synthetic classes described by signatures, and zero-shot heads fitted to them."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from bench.data.samples import Meta, Samples, Target
from bench.naming import registry
from bench.naming.specs import resolve
from bench.protocols.zeroshot._method import ZeroShot
from bench.seeding import generator


def build(spec: str, meta: Meta, *, seed: int = 0, **params: Any) -> ZeroShot:
    resolved = resolve("protocols", spec)
    protocol = registry.load(resolved.entry).build(
        meta=meta,
        trunk=lambda *_, **__: torch.nn.Identity(),
        seed=seed,
        **{**resolved.arguments, **params},
    )
    assert isinstance(protocol, ZeroShot)
    return protocol


def world(
    seen: int, unseen: int, attributes: int, *, noise: float = 0.01, seed: int = 0, rows: int = 20
) -> tuple[Target, Samples, Samples, Samples]:
    """Features that are an exact linear map of unit signatures, but for noise; the last classes unseen."""
    rng, classes = generator(seed, "world"), seen + unseen
    table = np.abs(rng.standard_normal((classes, attributes)))
    table /= np.linalg.norm(table, axis=1, keepdims=True)
    turn = rng.standard_normal((attributes, 2 * attributes))
    target = Target(
        "classes", classes, tuple(map(str, range(classes))), table.astype(np.float32),
        frozenset(range(seen, classes)),
    )  # fmt: skip

    def some(count: int, among: int) -> Samples:
        y = np.arange(count * among) % among
        x = table[y] @ turn + noise * rng.standard_normal((len(y), turn.shape[1]))
        return Samples(x.astype(np.float32), {"label": y}, np.arange(len(y)))

    return target, some(rows, seen), some(rows, seen), some(rows, classes)


def scored(spec: str, parts: tuple[Target, Samples, Samples, Samples], **params: Any) -> Any:
    target, train, val, test = parts
    fitted = build(spec, Meta({"label": target}), **params).fit(train, val)
    x: Any = test.x
    return fitted, fitted.predict(x)["label"], test.y["label"]
