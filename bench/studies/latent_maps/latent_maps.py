"""What do the two terms of a VAE's loss make of a plane of codes? Each alone, and both."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from bench.data.images import Delivery
from bench.drawing.charts import load_altair
from bench.encoders.base import Encoder
from bench.encoders.controls.supervised import Supervised
from bench.encoders.parts.trunk import conv_input
from bench.encoders.parts.variational import Variational, divergence, drawn, from_prior
from bench.errors import BenchError
from bench.naming.specs import resolve
from bench.running.features import images_of
from bench.running.machine import chosen_device
from bench.running.workspace import TrainingData, Workspace
from bench.seeding import generator, seeded, stream, torch_generator
from bench.studies.base import Report, Setting
from bench.studies.latent_maps._maps import divergence_alone, neighbours, prior_grid, sliced
from bench.studies.latent_maps._report import BOTH, DIVERGENCE, RECONSTRUCTION, Bench, Found, report
from bench.studies.parts.samples import Judge, effective, inside
from bench.studies.parts.weights import trained

__all__ = ["run"]

REVISION = 1
KNOWN_AS = "studies/latent_maps"  # its key in the revisions of records
SPECS = {RECONSTRUCTION: "vae,code=2,beta=0", BOTH: "vae,code=2"}
SURE = 0.9  # the judge's largest probability from which on it is sure
GRID = 10


def run(
    *,
    setting: Setting,
    dataset: str = "fashion_mnist",
    budget: str = "60k",
    seeds: int = 5,
    images: int = 2000,
) -> Report:
    """Train a `vae` of two numbers a code on a data set's training rows at `budget` images, `seeds` times
    with each term alone and with both, or take the weights that the cache has; look at the codes of
    `images` validation images and at as many draws of the prior. Test images are not read.

    Raises BenchError for fewer than 2 seeds or 10 images, a data set whose first target is no class, and
    where charts cannot be drawn.
    """
    for name, value, least in (("seeds", seeds, 2), ("images", images, 10)):
        if value < least:
            raise BenchError(f"latent_maps: {name}={value}; {least} or more is wanted")
    load_altair()
    device = chosen_device(setting.device)
    workspace = Workspace(setting.datasets, cache=setting.cache, levels={None}, device=device)
    source = workspace.dataset(resolve("datasets", dataset).text)
    target, kind = next(iter(source.meta.targets.items()))
    if kind.kind != "classes":
        raise BenchError(f"latent_maps: {target} of {dataset} is no class; a class is wanted")
    train, val = source.split("train"), source.split("val")
    data = TrainingData.of(source, train.rows, {target: train.y[target]})

    def fitted(spec: str, seed: int) -> Encoder:
        setting.tell(f"{spec}, seed {seed}: training, or from the cache")
        return workspace.fitted(resolve("encoders", f"{spec}~{budget}"), data, seed=seed).encoder

    judge = fitted(f"supervised,target={target}", 0)
    assert isinstance(judge, Supervised)

    def some(split: str) -> tuple[Tensor, Tensor]:
        samples = {"train": train, "val": val}[split]
        rows = generator(0, f"maps:{split}").permutation(len(samples))[:images]
        read = Delivery(images_of(samples), conv_input(data.info)).read(np.sort(rows))
        return read.to(device), torch.from_numpy(samples.y[target][np.sort(rows)]).to(device)

    bench = Bench.of(some("train"), some("val"), Judge(judge), kind.names, SURE)
    makers: dict[str, Callable[[int], Encoder]] = {
        RECONSTRUCTION: lambda seed: fitted(SPECS[RECONSTRUCTION], seed),
        DIVERGENCE: lambda seed: _divergence_alone(setting, data, budget, seed).to(device),
        BOTH: lambda seed: fitted(SPECS[BOTH], seed),
    }
    found = []
    for name, make in makers.items():
        for seed in range(seeds):
            model = make(seed)
            assert isinstance(model, Variational)
            found.append(_measured(bench, name, model, seed))
    asked = {"dataset": dataset, "budget": budget, "seeds": seeds, "sure": SURE}
    return report(found, bench, asked=asked)


def _divergence_alone(setting: Setting, data: TrainingData, budget: str, seed: int) -> Variational:
    """As `vae` with the same start, without the reconstruction."""
    spec = resolve("encoders", f"{SPECS[BOTH]}~{budget}")
    sizes = {name: spec.arguments[name] for name in ("code", "width", "rate")}
    with seeded(stream(seed, "trunk")):
        model = Variational(data.info, objective=divergence_alone, **sizes)
    what = f"{spec.text}, the divergence alone"
    setting.tell(f"{what}, seed {seed}: training, or from the cache")
    assert spec.budget is not None and not isinstance(data.images, np.ndarray)
    images = Delivery(data.images, model.input, data.rows)
    recipe = {
        "what": what,
        "seed": seed,
        "revision": REVISION,
        "vae": spec.training_digest,
        "data": data.fingerprint,
    }
    trained(
        model,
        recipe,
        lambda: model.fit(images, labels=None, budget=spec.budget or 0, seed=seed),
        setting.cache,
    )
    return model


@torch.inference_mode()
def _measured(bench: Bench, name: str, model: Variational, seed: int) -> Found:
    """What one training makes of validation images and of the prior."""
    train, val, device = bench.train, bench.val, bench.val.device

    def codes(images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Means, variances' logarithms, and a draw of each posterior: three of (n, 2)."""
        parts = [model.posterior(each) for each in torch.split(images, 500)]
        mean, log_variance = (torch.cat(each) for each in zip(*parts, strict=True))
        noise = torch_generator(seed, f"maps:draws:{len(images)}", device)
        return mean, log_variance, drawn(mean, log_variance, noise)

    def decoded(places: Tensor) -> Tensor:
        parts = torch.split(places.to(device), 500)
        return torch.cat([model.decode(each) for each in parts]).clamp(0, 1)

    known, _, known_drawn = codes(train)
    mean, log_variance, one = codes(val)
    nats = divergence(mean, log_variance)
    made = bench.judge.features(decoded(from_prior(len(val), model, seed=seed)))

    def right(queries: Tensor, bank: Tensor) -> Tensor:
        return neighbours(queries, bank, bench.train_classes) == bench.val_classes

    return Found(
        name=name,
        seed=seed,
        means=mean.cpu().numpy(),
        draws=one.cpu().numpy(),
        rows={
            "accuracy of means": right(mean, known).double().cpu().numpy(),
            "accuracy of draws": right(one, known_drawn).double().cpu().numpy(),
            "divergence": nats.double().sum(dim=1).cpu().numpy(),
            "squared error": (decoded(mean) - val)
            .square()
            .flatten(1)
            .mean(dim=1)
            .double()
            .cpu()
            .numpy(),
            "sure": bench.sure(made).double().cpu().numpy(),
            "accepted": inside(bench.manifold, made).double().cpu().numpy(),
        },
        by_unit=nats.double().mean(dim=0).tolist(),
        variance=mean.double().var(dim=0, correction=0).tolist(),
        away=sliced(one),
        classes=effective(bench.judge.classes(made), len(bench.names)),
        grid=decoded(prior_grid(GRID)).cpu().numpy(),
    )
