"""Every registered component computes the same on a simulated device as on the CPU, and never mixes the two."""

from __future__ import annotations

import copy
import itertools
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.data import TensorDataset

import tightbound as tb
from devices.stand_in import WrongDevice, on_cpu, stand_in
from tightbound.analysis.bounds.annealed import ais
from tightbound.analysis.bounds.estimator import evaluate
from tightbound.analysis.bounds.gap import inference_gap
from tightbound.analysis.bounds.rate import rate_decomposition
from tightbound.analysis.detection.engine import score
from tightbound.analysis.diagnosis.checks.overfitting import EncoderOverfitting
from tightbound.analysis.diagnosis.engine import CHECKS, Case, diagnose
from tightbound.analysis.figures import Bars, Heatmap
from tightbound.analysis.geometry.measures import paths
from tightbound.analysis.representation.engine import probe
from tightbound.analysis.samples.copies import memorization
from tightbound.components import TABLE, make
from tightbound.core.noise import Noise
from tightbound.core.schedules import Knobs
from tightbound.data import Data
from tightbound.inference.infer import encode, reconstruct, sample
from tightbound.model import VAE
from tightbound.objectives.base import Objective
from tightbound.testing import matrix
from tightbound.testing.matrix import DRAWN, Combination, why_not

PLAIN = Combination("normal", "normal", "flat", "bernoulli", "elbo")


PARTNERS = {"prior": "posterior", "posterior": "prior"}
PARTS = [(kind, name) for kind in ("prior", "posterior", "latents", "likelihood", "objective") for name in TABLE[kind]]


def accepted(kind: str, name: str) -> Combination:
    """The first combination with this component that is not refused."""
    if kind == "latents" and name != "flat":
        return replace(PLAIN, prior="-", posterior="-", latents=name)
    if kind == "objective":
        choices = [
            replace(PLAIN, posterior=q, likelihood=x, objective=name)
            for q in ("normal", "point")
            for x in ("bernoulli", *TABLE["likelihood"])
        ]
    else:
        other = PARTNERS.get(kind, "prior")
        choices = [
            replace(PLAIN, **{kind: name, other: partner}, objective=o)
            for o in ("elbo", "autoencoder")
            for partner in ("normal", *TABLE[other])
        ]
    return next(c for c in choices if why_not(c) is None)


def step(c: Combination, made: tuple[VAE, Objective], device: torch.device) -> dict[str, Any]:
    """The loss and gradients of each parameter group in a training step."""
    model, objective = copy.deepcopy(made[0]).float().to(device), copy.deepcopy(made[1])
    with Noise("prepare").default():
        objective.prepare(model, 12)
    if objective.networks is not None:
        objective.networks.to(device)
    batch = next(matrix.data_for(c.likelihood).train.epoch(6)).to(device)
    knobs = Knobs.final({**model.schedules, **objective.schedules})
    found: dict[str, Any] = {}
    with Noise("device").default():
        for i, group in enumerate(objective.parameter_groups(model)):
            terms = model(batch, objective.samples, Noise("device", i), knobs)
            loss = group.loss(terms, knobs)
            wanted = [p for p in group.params if p.requires_grad]
            gradients = torch.autograd.grad(loss, wanted, allow_unused=True)
            found[f"group {i}"] = [loss.detach(), *(g for g in gradients if g is not None)]
        objective.end_epoch([terms])
    return found


def same(one: Any, other: Any) -> None:
    """Fail if tensors differ."""
    assert list(one) == list(other)
    for name, values in one.items():
        for a, b in zip(values, other[name], strict=True):
            torch.testing.assert_close(b, a, rtol=1e-4, atol=1e-6, equal_nan=True, msg=lambda m, n=name: f"{n}: {m}")


@pytest.mark.parametrize(("kind", "name"), [*PARTS, ("latents", DRAWN)])
def test_a_training_step(kind: str, name: str) -> None:
    c = accepted(kind, name)
    made = matrix.compose(c)
    expected = step(c, made, torch.device("cpu"))
    with stand_in() as device:
        found = step(c, made, device)
    same(expected, on_cpu(found))


def used(made: VAE, data: Data, device: torch.device) -> dict[str, Any]:
    """Numbers, codes, reconstructions and draws."""
    model = copy.deepcopy(made).float().to(device)
    x = data.whole
    result = evaluate(model, x, samples=5)
    codes = encode(model, x, draw=True)
    rate = rate_decomposition(model, x)
    found = {name: [torch.from_numpy(each)] for name, each in {**result.per_example, **rate.per_example}.items()}
    found["codes"] = [codes.mean, codes.variance, torch.as_tensor(codes.sample)]
    if model.context is not None and model.context.completes:
        found["completed"] = [tb.Trained(model).complete(x, 2, draw=True)]
    else:
        found["reconstructed"], found["drawn"] = [reconstruct(model, x)], [sample(model, 3, draw=True)]
    return found


@pytest.mark.parametrize(("kind", "name"), [p for p in [*PARTS, ("latents", DRAWN)] if p[0] != "objective"])
def test_estimates_codes_and_draws(kind: str, name: str) -> None:
    c = accepted(kind, name)
    made, data = matrix.compose(c)[0], matrix.data_for(c.likelihood)
    expected = used(made, data, torch.device("cpu"))
    with stand_in() as device:
        found = used(made, data, device)
    same(expected, on_cpu(found))


EXTRA = {
    "labels": {"context": "labels(classes=3)"},
    "visible": {"context": "visible(columns=(0, 0.5))"},
    "conv": {"network": "conv(channels=(4,))"},
    "resnet": {"network": "resnet(hidden=4)"},
    **{
        f"{q} under {p}": {"latents": matrix.quantized(q, p)}
        for q, p in zip(TABLE["quantizer"], itertools.cycle(TABLE["code-prior"]), strict=False)
    },
}


@pytest.mark.parametrize("what", EXTRA)
def test_contexts_networks_and_codes(what: str) -> None:
    x = torch.rand(12, 1, 4, 4, generator=torch.Generator().manual_seed(0)).round()
    data = tb.data.open(TensorDataset(x, torch.arange(12) % 3))
    made = tb.VAE.for_data(data, latent=4, **{"network": "mlp(hidden=(6,))", **EXTRA[what]}).eval()
    if made.latents.second_stage is not None:
        made.latents.second_stage.enable()
    expected = used(made, data, torch.device("cpu"))
    with stand_in() as device:
        found = used(made, data, device)
    same(expected, on_cpu(found))


def judged(made: VAE, data: Data, device: torch.device) -> dict[str, Any]:
    """By every score, annealing and the inference gap."""
    model = copy.deepcopy(made).float().to(device)
    x = data.whole
    chosen = [*(name for name in TABLE["score"] if name != "regret"), "regret(steps=2)"]
    parts = {
        "score": score(model, x, x, scores=chosen),
        "ais": ais(model, x, temperatures=3, chains=2, leapfrog=2),
        "gap": inference_gap(model, x, samples=4, steps=2),
    }
    return {
        f"{name}: {k}": [torch.from_numpy(np.asarray(v))]
        for name, part in parts.items()
        for k, v in part.per_example.items()
    }


def test_analyses() -> None:
    data = matrix.data_for("bernoulli")
    made = matrix.compose(PLAIN)[0]
    expected = judged(made, data, torch.device("cpu"))
    with stand_in() as device:
        found = judged(made, data, device)
        model, x = copy.deepcopy(made).float().to(device), data.whole
        quick = [EncoderOverfitting(4, steps=2) if "EncoderOverfitting" in check else check for check in CHECKS]
        diagnose(Case(model, x, x, {}, (), 0, 10, 4), quick)
        memorization(model, x, x, n_samples=4)
        paths(model, x, x, steps=4)
    same(expected, on_cpu(found))


@pytest.mark.parametrize("how", [{"precision": "bf16"}, {"clip": 1.0, "optimizer": "adamw"}])
def test_other_settings_of_training(how: dict[str, Any]) -> None:
    with stand_in() as device:
        model = copy.deepcopy(matrix.compose(PLAIN)[0]).float()
        data = matrix.data_for("bernoulli")
        trained = tb.fit(model, data, epochs=1, batch_size=4, device=str(device), quiet=True, **how)
    (row,) = trained.metrics
    assert math.isfinite(row["train_loss"])


@pytest.mark.parametrize("sampler", TABLE["sampler"])
def test_samplers(sampler: str) -> None:
    x = torch.rand(40, 1, 4, 4, generator=torch.Generator().manual_seed(0)).round()
    data = tb.data.open(TensorDataset(x, torch.arange(40) % 2))
    few = {"gaussian-mixture": "(components=2)", "class-regions": "(components=1)"}.get(sampler, "")
    trains = make("sampler", sampler, latent=2, labels=[0, 1], active=[0]).trains is not None
    with stand_in() as device:
        model = tb.VAE.for_data(data, latent=2, network="mlp(hidden=(6,))", seed=0)
        trained = tb.fit(model, data, steps=1, device=str(device), validation_size=0, quiet=True)
        trained.fit_sampler(sampler + few, data.train, epochs=2 if trains else None)
        assert on_cpu(trained.sample(3, sampler=sampler)).isfinite().all()


def test_probe() -> None:
    data = tb.data.open("digits")
    some, others = data.train.subset(range(20)), data.test.subset(range(15))
    model = tb.VAE.for_data(data, latent=2, network="mlp(hidden=(6,))", seed=0)
    expected = probe(model, some, others)
    with stand_in() as device:
        found = probe(model.to(device), some, others)
    assert expected.estimates.keys() == found.estimates.keys()


LOOKS = {
    "code_usage": {"latents": matrix.quantized("vq", "pixelcnn")},
    "gallery": {},
    "latent_space": {"latent": 2},
}


@pytest.mark.parametrize("look", LOOKS)
def test_pictures_of_a_model(look: str) -> None:
    data = tb.data.open("digits")
    model = tb.VAE.for_data(data, network="mlp(hidden=(6,))", seed=0, **{"latent": 4, **LOOKS[look]}).eval()
    if (second := model.latents.second_stage) is not None:
        second.enable()
    some = data.test.subset(range(60))
    expected = getattr(tb.Trained(model, data), look)(some)
    with stand_in() as device:
        found = getattr(tb.Trained(model.to(device), data), look)(some)
    assert [table.rows for table in found.tables] == [table.rows for table in expected.tables]
    assert [figure.name for figure in found.figures] == [figure.name for figure in expected.figures]
    for own, other in zip(found.figures, expected.figures, strict=True):
        for mine, theirs in zip(own.panels, other.panels, strict=True):
            if isinstance(mine, Bars):
                assert mine == theirs
            elif isinstance(mine, Heatmap):
                np.testing.assert_allclose(mine.values, theirs.values, rtol=1e-4)


def test_a_run_is_trained_resumed_and_loaded(tmp_path: Path) -> None:
    data, how = matrix.data_for("bernoulli"), {"batch_size": 4, "ema": 0.9, "validation_size": 2, "quiet": True}
    with stand_in() as device:
        model = copy.deepcopy(matrix.compose(PLAIN)[0]).float()
        tb.fit(model, data, run=tmp_path / "there", epochs=1, device=str(device), **how)
        trained = tb.fit(model, data, run=tmp_path / "there", epochs=2, resume=True, device=str(device), **how)
        assert trained.model.device == device
        there = {k: on_cpu(v).clone() for k, v in trained.model.state_dict().items()}
    here = tb.load(tmp_path / "there", device="cpu").model.state_dict()
    again = copy.deepcopy(matrix.compose(PLAIN)[0]).float()
    on = tb.fit(again, data, run=tmp_path / "here", epochs=2, device="cpu", **how)
    for name, value in on.model.state_dict().items():
        torch.testing.assert_close(there[name], value, msg=lambda m, n=name: f"{n}: {m}")
        torch.testing.assert_close(here[name], value, msg=lambda m, n=name: f"{n}: {m}")


def test_the_simulated_device_refuses_what_an_accelerator_refuses() -> None:
    with stand_in() as device:
        there = torch.zeros(3, device=device)
        for wrong in (
            lambda: there + torch.zeros(3),
            lambda: there.double(),
            lambda: there.normal_(generator=torch.Generator().manual_seed(1)),
        ):
            with pytest.raises(WrongDevice):
                wrong()
        with pytest.raises(RuntimeError):
            there.numpy()
        torch.zeros(3).normal_(generator=torch.Generator().manual_seed(2))  # also of a seed that was used there
        there.normal_(generator=torch.Generator(device).manual_seed(2))
        torch.zeros(3).normal_(generator=torch.Generator().manual_seed(2))
        with pytest.raises(WrongDevice):
            there.normal_(generator=torch.Generator().manual_seed(2))
        there.zero_()
        assert (there + 1).sum().item() == 3
