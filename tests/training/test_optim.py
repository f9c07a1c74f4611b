"""The optimizer of one parameter group."""

from __future__ import annotations

import pytest
import torch

import tightbound as tb
from tightbound.core.noise import Noise
from tightbound.core.schedules import Constant, Progress
from tightbound.objectives import FactorVAE
from tightbound.testing.models import small_model
from tightbound.training.optim import GroupOptimizer


def test_a_groups_own_rate_is_neither_the_encoders_nor_the_decoders() -> None:
    """Adam's first step has the length of the rate, whatever the gradient."""
    model, objective = small_model(), FactorVAE(lr=1e-3)
    with Noise("test").default():
        objective.prepare(model, None)
    settings = tb.Settings(lr=0.1, encoder_lr=0.2, decoder_lr=0.3)
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
def test_the_updates_are_those_of_torch(kind: str) -> None:
    """Bit for bit, also of parameters that get no gradient at some steps, and after the state was saved and loaded."""
    mine, theirs = small_model(), small_model()
    theirs.load_state_dict(mine.state_dict())
    settings = tb.Settings(lr=0.1, weight_decay=0.01, optimizer=kind)
    (group,) = tb.objectives.ELBO().parameter_groups(mine)
    optimizer = GroupOptimizer(group, mine, settings, Constant())
    oracle = (torch.optim.Adam if kind == "adam" else torch.optim.AdamW)(
        theirs.parameters(), lr=0.1, weight_decay=0.01, eps=settings.eps, fused=True
    )
    for step in range(5):
        if step == 3:
            state = {name: t.clone() for name, t in optimizer.state().items()}
            optimizer = GroupOptimizer(group, mine, settings, Constant())
            optimizer.load_state(state)
        for i, (p, q) in enumerate(zip(mine.parameters(), theirs.parameters(), strict=True)):
            p.grad = None if i == step % 2 else torch.cos(p.detach() * (step + 1))
            q.grad = None if p.grad is None else p.grad.clone()
        optimizer.step(Progress(step, 0, 10))
        oracle.step()
    for p, q in zip(mine.parameters(), theirs.parameters(), strict=True):
        assert torch.equal(p, q)


def test_moments_that_move_nothing_do_not_stay_subnormal() -> None:
    """A unit without gradient: its moments would end at the smallest numbers there are, which a CPU computes slowly."""
    model = small_model().float()
    (group,) = tb.objectives.ELBO().parameter_groups(model)
    optimizer = GroupOptimizer(group, model, tb.Settings(), Constant())
    for step in range(1201):
        for p in model.parameters():
            p.grad = torch.full_like(p, 1.0 if step == 0 else 0.0)
        optimizer.step(Progress(step, 0, 2000))
    smallest = torch.finfo(torch.float32).tiny
    for name, moment in optimizer.state().items():
        assert not ((moment != 0) & (moment.abs() < smallest)).any(), name
        if name.endswith("exp_avg_sq"):
            assert (moment > 0).all()  # these are far from it
        if name.endswith("exp_avg"):
            assert (moment == 0).all()
