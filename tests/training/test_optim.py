"""The optimizer of one parameter group."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import tightbound as tb
from conftest import gray
from tightbound.config import Settings
from tightbound.core.errors import InputError
from tightbound.core.noise import Noise
from tightbound.core.schedules import Constant, Linear, Progress
from tightbound.objectives import FactorVAE
from tightbound.testing.objectives import small_model
from tightbound.training.checkpoint import load
from tightbound.training.optim import GroupOptimizer
from tightbound.training.suited import Suited


def test_a_groups_own_rate_is_neither_the_encoders_nor_the_decoders() -> None:
    """Adam's first step has the length of the rate, whatever the gradient."""
    model, objective = small_model(), FactorVAE(lr=1e-3)
    with Noise("test").default():
        objective.prepare(model, None)
    settings = Suited(lr=0.1, encoder_lr=0.2, decoder_lr=0.3)
    rates = {}
    for group in objective.parameter_groups(model):
        before = [p.detach().clone() for p in group.params]
        optimizer = GroupOptimizer(group, model, settings, Constant())
        optimizer.backward(torch.stack([p.sum() for p in group.params]).sum())
        optimizer.step(Progress(0, 0, 10))
        rates |= {id(p): (b - p).max().item() for b, p in zip(before, group.params, strict=True)}
    encoder = {id(p) for p in model.inference_parameters()}
    mine = {id(p) for p in model.parameters()}
    for parameter, rate in rates.items():
        expected = 0.2 if parameter in encoder else 0.3 if parameter in mine else 1e-3
        assert rate == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("kind", ["adam", "adamw"])
def test_the_updates_are_those_of_torch(kind: Any) -> None:
    """Bit for bit, also for parameters that get no gradient at some steps, and after saving and loading the state."""
    mine, theirs = small_model(), small_model()
    theirs.load_state_dict(mine.state_dict())
    settings = Suited(lr=0.1, weight_decay=0.01, optimizer=kind)
    (group,) = tb.objectives.ELBO().parameter_groups(mine)
    optimizer = GroupOptimizer(group, mine, settings, Constant())
    oracle = (torch.optim.Adam if kind == "adam" else torch.optim.AdamW)(
        theirs.parameters(), lr=0.1, weight_decay=0.01, eps=settings.eps, fused=True
    )
    for step in range(5):
        if step == 3:
            tensors, rest = optimizer.state()
            optimizer = GroupOptimizer(group, mine, settings, Constant())
            optimizer.load_state({name: t.clone() for name, t in tensors.items()}, json.loads(json.dumps(rest)))
        for i, (p, q) in enumerate(zip(mine.parameters(), theirs.parameters(), strict=True)):
            p.grad = None if i == step % 2 else torch.cos(p.detach() * (step + 1))
            q.grad = None if p.grad is None else p.grad.clone()
        optimizer.step(Progress(step, 0, 10))
        oracle.step()
    for p, q in zip(mine.parameters(), theirs.parameters(), strict=True):
        assert torch.equal(p, q)


def test_moments_that_move_nothing_do_not_stay_subnormal() -> None:
    """The moments of a unit without gradient would end at the smallest numbers, with which a CPU computes slowly."""
    model = small_model().float()
    (group,) = tb.objectives.ELBO().parameter_groups(model)
    optimizer = GroupOptimizer(group, model, Suited(), Constant())
    for step in range(1201):
        for p in model.parameters():
            p.grad = torch.full_like(p, 1.0 if step == 0 else 0.0)
        optimizer.step(Progress(step, 0, 2000))
    smallest = torch.finfo(torch.float32).tiny
    for name, moment in optimizer.state()[0].items():
        assert not ((moment != 0) & (moment.abs() < smallest)).any(), name
        if name.endswith("exp_avg_sq"):
            assert (moment > 0).all()  # these are far from it
        if name.endswith("exp_avg"):
            assert (moment == 0).all()


def radam(params: Any) -> torch.optim.Optimizer:
    return torch.optim.RAdam(params, lr=1e-2, betas=(0.8, 0.99))


FACTORIES: dict[str, Any] = {
    "radam": radam,
    "momentum": lambda p: torch.optim.SGD(p, lr=1e-3, momentum=0.9),
    "nadam": lambda p: torch.optim.NAdam(p, lr=1e-3, decoupled_weight_decay=True),
    "groups": lambda p: torch.optim.Adam([{"params": p[:1], "lr": 1e-3}, {"params": p[1:]}], lr=1e-2),
    "adafactor": lambda p: torch.optim.Adafactor(p, lr=1e-2),
}


def train(run: Path, optimizer: Any, objective: str = "elbo", **more: Any) -> tb.Trained:
    data = tb.data.open(gray(), levels=17, test=0.1)
    model = tb.VAE.for_data(data, latent=2, network="mlp(hidden=(8,))", seed=0)
    settings: dict[str, Any] = {"batch_size": 8, "validation_size": 6, "steps": 12, "quiet": True, "clip": 10.0}
    return tb.fit(model, data, objective, run=run, optimizer=optimizer, **{**settings, **more})


@pytest.mark.filterwarnings("ignore")  # of torch's compiler, which building an optimizer imports
@pytest.mark.parametrize("name", FACTORIES)
def test_an_optimizer_given_as_a_function_resumes_to_the_same_bits(name: str, tmp_path: Path) -> None:
    factory = FACTORIES[name]
    train(tmp_path / "whole", factory)
    train(tmp_path / "parts", factory, steps=5)
    train(tmp_path / "parts", factory, resume=True)
    whole, parts = (load(tmp_path / run / "checkpoints/last.safetensors") for run in ("whole", "parts"))
    assert whole[0].keys() == parts[0].keys()
    assert whole[1]["optimizers"] == parts[1]["optimizers"]
    for key, tensor in whole[0].items():
        assert torch.equal(tensor, parts[0][key]), key


def test_an_optimizer_given_as_a_function_takes_the_steps_that_torch_takes(tmp_path: Path) -> None:
    """With a constant rate, in which its own parameter groups, too, are those of the function."""
    one = train(tmp_path / "named", "adam", lr=3e-3).model.state_dict()
    two = train(tmp_path / "made", lambda p: torch.optim.Adam(p, lr=3e-3, fused=True)).model.state_dict()
    assert all(torch.equal(tensor, two[name]) for name, tensor in one.items())


def test_the_schedule_and_options_of_a_group_hold_for_an_optimizer_given_as_a_function() -> None:
    model, objective = small_model(), FactorVAE(lr=1e-4)
    with Noise("test").default():
        objective.prepare(model, None)
    settings = Suited(optimizer=lambda p: torch.optim.SGD(p, lr=0.5))
    groups = objective.parameter_groups(model)
    moved = []
    for group in groups:
        before = [p.detach().clone() for p in group.params]
        optimizer = GroupOptimizer(group, model, settings, Linear(1.0, 0.0, steps=10))
        optimizer.backward(torch.stack([p.sum() for p in group.params]).sum())
        optimizer.step(Progress(5, 0, 10))
        moved.append(max((b - p).max().item() for b, p in zip(before, group.params, strict=True)))
    assert moved == pytest.approx([0.5 * 0.5, 1e-4 * 0.5], rel=1e-4)


class Hoarder(torch.optim.SGD):
    """Keeps what no checkpoint holds."""

    def step(self, closure: Any = None) -> Any:
        for group in self.param_groups:
            for p in group["params"]:
                self.state[p]["history"] = [p]
        return super().step(closure)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("factory", "reason"),
    [
        (lambda p: None, "returned NoneType; needed: a function"),
        (lambda p: torch.optim.SGD(p[:1], lr=1.0), "returned an optimizer of other parameters"),
        (lambda p: torch.optim.LBFGS(p), "LBFGS evaluates the loss several times per step"),
        (lambda p: Hoarder(p, lr=1e-3), "optimizer Hoarder keeps a list"),
        ("custom", "pass it again as optimizer="),
    ],
)
def test_optimizers_that_cannot_be_used_are_refused(factory: Any, reason: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=reason):
        train(tmp_path / "run", factory)


def test_a_run_is_resumed_with_its_own_optimizer_alone(tmp_path: Path) -> None:
    train(tmp_path / "run", radam, steps=5)
    with pytest.raises(InputError, match="trained with optimizer RAdam, and optimizer= gives SGD"):
        train(tmp_path / "run", FACTORIES["momentum"], resume=True)
    with pytest.raises(InputError, match="optimizer was 'custom' and is 'adam'"):
        train(tmp_path / "run", "adam", resume=True)


def test_networks_with_group_normalization_take_larger_and_noisier_steps() -> None:
    def suited(network: str, **settings: Any) -> tuple[float, int]:
        x = np.random.default_rng(0).integers(0, 256, (4, 32, 32, 3)).astype("uint8")
        found = Suited.to(tb.VAE.for_data(x, network=network), Settings(**settings))
        return found.lr, found.batch_size

    assert suited("resnet(hidden=8)") == (2e-3, 64)
    assert suited("conv(channels=(4, 4))") == (1e-3, 128)
    assert suited("resnet(hidden=8)", lr=1e-4, batch_size=128) == (1e-4, 128)
    with pytest.raises(InputError, match="batch_size = 0; needed: a whole number"):
        Settings(batch_size=0)
