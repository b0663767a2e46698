"""A diagnostic that needs the head, and says null where there is none."""

from __future__ import annotations

REVISION = 1


def diagnose(context):
    n, d = context.validation_features[context.encoder.level].shape
    bias = None if context.head is None else float(context.head.bias.mean().detach())
    return {"head_bias": bias, "rows": n, "dim": d, "seed": context.seed}
