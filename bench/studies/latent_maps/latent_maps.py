"""How does each term of a VAE's loss shape a two-dimensional code? Each alone, and both."""

from __future__ import annotations

import math
from functools import partial

import numpy as np
import torch
from torch import Tensor

from bench.data.images import Delivery
from bench.data.samples import Array, SplitName
from bench.drawing.charts import load_altair
from bench.encoders.base import Encoder
from bench.encoders.controls.supervised import Supervised
from bench.encoders.parts.training import Loss
from bench.encoders.parts.trunk import Sizes, conv_input
from bench.encoders.parts.variational import Variational, divergence, drawn, from_prior
from bench.errors import BenchError
from bench.naming.specs import resolve
from bench.running.workspace import TrainingData
from bench.seeding import seeded, stream, torch_generator
from bench.studies.base import Report, Setting, require
from bench.studies.latent_maps._report import (
    BOTH,
    DIVERGENCE,
    DRAWS,
    MEANS,
    RECONSTRUCTION,
    LatentMap,
    MapImages,
    report,
)
from bench.studies.parts.fits import SourceFits, sampled_rows
from bench.studies.parts.partial import trained
from bench.studies.parts.samples import Judge, effective, in_chunks, inside

REVISION = 1
KNOWN_AS = "studies/latent_maps"  # its key in the revisions of records
SPECS = {RECONSTRUCTION: "vae,code=2,beta=0", BOTH: "vae,code=2"}
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

    Raises BenchError for fewer than 2 seeds or 10 images, a data set whose first target is not a class,
    and where charts cannot be drawn.
    """
    require("latent_maps", 2, seeds=seeds)
    require("latent_maps", 10, images=images)
    load_altair()
    workspace = setting.workspace()
    source = workspace.dataset(dataset)
    target, kind = next(iter(source.meta.targets.items()))
    if kind.kind != "classes":
        raise BenchError(f"latent_maps: {target} of {dataset} is not a class; it must be one")
    fits = SourceFits.of(setting, dataset, labels=[target], workspace=workspace)
    judge = fits.encoder(f"supervised,target={target}~{budget}")
    assert isinstance(judge, Supervised)
    device = next(judge.parameters()).device

    def sample(split: SplitName) -> tuple[Tensor, Tensor]:
        samples = source.split(split)
        rows = sampled_rows(len(samples), images, seed=0, purpose=f"maps:{split}")
        pixels = fits.images(split, conv_input(fits.data.info), rows, device)
        return pixels, torch.from_numpy(samples.y[target][rows]).to(device)

    (train, train_classes), (val, val_classes) = sample("train"), sample("val")
    features = Judge(judge).features(train)
    data = MapImages(train, train_classes, val, val_classes, kind.names, Judge(judge), features)

    def model(name: str, seed: int) -> Encoder:
        if name == DIVERGENCE:
            return _divergence_alone(setting, fits.data, budget, seed).to(device)
        return fits.encoder(f"{SPECS[name]}~{budget}", seed)

    maps = [
        _measured(data, name, model(name, seed), seed)
        for name in (RECONSTRUCTION, DIVERGENCE, BOTH)
        for seed in range(seeds)
    ]
    return report(maps, data, parameters={"dataset": dataset, "budget": budget, "seeds": seeds})


def _divergence_alone(setting: Setting, data: TrainingData, budget: str, seed: int) -> Variational:
    """As `vae` with the same start, without the reconstruction."""
    spec = resolve("encoders", f"{SPECS[BOTH]}~{budget}")
    sizes = Sizes(*(spec.arguments[name] for name in ("code", "width", "rate")))
    with seeded(stream(seed, "trunk")):
        model = Variational(data.info, sizes, objective=divergence_alone)
    title = f"{spec.text}, the divergence alone"
    setting.progress(f"{title}, seed {seed}: training, or from the cache")
    assert spec.budget is not None and not isinstance(data.images, np.ndarray)
    images = Delivery(data.images, model.input, data.rows)
    recipe = {
        "what": title,
        "seed": seed,
        "revision": REVISION,
        "vae": spec.training_digest,
        "data": data.fingerprint,
    }
    fit = partial(model.fit, images, labels=None, budget=spec.budget, seed=seed)
    trained(model, recipe, fit, setting.cache)
    return model


@torch.inference_mode()
def _measured(images: MapImages, name: str, model: Encoder, seed: int) -> LatentMap:
    """The codes of validation images, and the decoded prior, of one training."""
    assert isinstance(model, Variational)
    val, device = images.val, images.val.device

    def codes(pixels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Means, variances' logarithms, and a draw of each posterior: three of (n, 2)."""
        parts = [model.posterior(chunk) for chunk in torch.split(pixels, 500)]
        mean, log_variance = (torch.cat(moments) for moments in zip(*parts, strict=True))
        noise = torch_generator(seed, f"maps:draws:{len(pixels)}", device)
        return mean, log_variance, drawn(mean, log_variance, noise)

    def decoded(points: Tensor) -> Tensor:
        return in_chunks(model.decode, points.to(device)).clamp(0, 1)

    def right(queries: Tensor, bank: Tensor) -> Tensor:
        return neighbours(queries, bank, images.train_classes) == images.val_classes

    bank_mean, _, bank_draw = codes(images.train)
    mean, log_variance, draw = codes(val)
    nats = divergence(mean, log_variance).double()
    features = images.judge.features(decoded(from_prior(len(val), model, seed=seed)))
    rows = {
        MEANS: right(mean, bank_mean),
        DRAWS: right(draw, bank_draw),
        "divergence": nats.sum(dim=1),
        "squared error": (decoded(mean) - val).square().flatten(1).mean(dim=1),
        "sure": images.sure(features),
        "accepted": inside(images.manifold, features),
    }
    return LatentMap(
        name=name,
        seed=seed,
        means=mean.cpu().numpy(),
        draws=draw.cpu().numpy(),
        rows={measure: values.double().cpu().numpy() for measure, values in rows.items()},
        by_unit=nats.mean(dim=0).tolist(),
        variance=mean.double().var(dim=0, correction=0).tolist(),
        distance=sliced(draw),
        classes=effective(images.judge.classes(features), len(images.names)),
        grid=decoded(prior_grid(GRID)).cpu().numpy(),
    )


def divergence_alone(model: Variational, seed: int) -> Loss:
    """KL(q(z|x) || N(0, I)) without reconstruction: an objective. The decoder learns nothing."""

    def loss(batch: Tensor, rows: Array) -> dict[str, Tensor]:
        return {"divergence": divergence(*model.posterior(batch)).sum(dim=1).mean()}

    return loss


def sliced(codes: Tensor, directions: int = 64) -> float:
    """How far codes (n, 2) lie from N(0, I): the 2-Wasserstein distance of their projection on a line
    from N(0, 1), root mean square over `directions` at equal angles.

    Of codes from N(m, s^2 I) it is sqrt(|m|^2 / 2 + (s - 1)^2), but for the draws. Bonneel, Rabin,
    Peyré and Pfister 2015, doi:10.1007/s10851-014-0506-3.
    """
    angles = math.pi * torch.arange(directions, dtype=torch.float64) / directions
    lines = torch.stack([angles.cos(), angles.sin()])
    middle = (torch.arange(len(codes), dtype=torch.float64) + 0.5) / len(codes)
    ordered = (codes.double().cpu() @ lines).sort(dim=0).values
    return float((ordered - torch.special.ndtri(middle)[:, None]).square().mean().sqrt())


def neighbours(queries: Tensor, bank: Tensor, classes: Tensor, k: int = 15) -> Tensor:
    """The most frequent class (m,) of the `k` nearest rows of bank (n, d), of `classes` (n,), for each
    of queries (m, d); of equally frequent ones the lowest."""
    distances = torch.cdist(queries.double(), bank.double())
    nearest = distances.topk(min(k, len(bank)), largest=False).indices
    votes = torch.nn.functional.one_hot(classes[nearest], int(classes.max()) + 1).sum(dim=1)
    return votes.argmax(dim=1)


def prior_grid(across: int) -> Tensor:
    """Codes (across^2, 2) that cut N(0, I) into cells of equal mass: rows from the top, the first number
    to the right and the second up."""
    places = torch.special.ndtri((torch.arange(across, dtype=torch.float64) + 0.5) / across)
    up, right = torch.meshgrid(places.flip(0), places, indexing="ij")
    return torch.stack([right.flatten(), up.flatten()], dim=1).float()
