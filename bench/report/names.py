"""Short names of encoders for people; the spec stays their identity."""

from __future__ import annotations

from pathlib import PurePosixPath

from bench.errors import BenchError
from bench.naming.grammar import Spec, format_budget
from bench.report.text import cut
from bench.tasks.cell import OURS

LONGEST = 40  # characters
_FILES = ("path", "model")  # arguments that say more than the encoder's own name
_SUFFIXES = frozenset({".py", ".onnx", ".safetensors", ".pt", ".pth"})
_ORIGINS = frozenset({"pretrained_on", "unlabelled"})  # arguments that change no feature


def short_name(spec: str, owner: str = "") -> str:
    """At most LONGEST characters; the spec itself where it cannot be read.

    >>> short_name("timm_backbone,model=tf_efficientnet_lite0,size=96")
    'tf_efficientnet_lite0 @ 96 px'
    >>> short_name("autoencoder~0"), short_name("vae,beta=4@mnist~60k")
    ('autoencoder, untrained', 'vae, beta 4, on mnist, 60k images')
    >>> short_name("onnx,path=way_up-20k.onnx,unlabelled=fashion_mnist", "example")
    'example/way_up-20k'
    """
    try:
        parts = Spec.parse(spec)
    except BenchError:
        return cut(spec, LONGEST)
    arguments = dict(parts.arguments)
    files = [arguments.pop(key) for key in _FILES if key in arguments]
    name = PurePosixPath(files[0] if files else parts.name)
    text = name.name.removesuffix(name.suffix) if name.suffix in _SUFFIXES else name.name
    if size := arguments.pop("size", ""):
        text += f" @ {size} px"
    texts = [text or parts.name]
    for key, value in arguments.items():
        if key in _ORIGINS:
            continue
        texts.append(value if key in ("level", "track") else f"{key} {value}")
    if parts.source:
        texts.append(f"on {parts.source}")
    if parts.budget is not None:
        texts.append(f"{format_budget(parts.budget)} images" if parts.budget else "untrained")
    prefix = "" if owner in ("", OURS) else f"{owner}/"
    return cut(prefix + ", ".join(texts), LONGEST)
