"""Laws of objectives."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from tightbound.core.model import VAE
from tightbound.core.noise import ExampleNoise, Noise, seeded
from tightbound.core.schedules import Knobs
from tightbound.core.terms import Batch, Terms
from tightbound.latents import Flat
from tightbound.likelihoods import Bernoulli, Identity
from tightbound.nn import MLP
from tightbound.objectives.base import Objective
from tightbound.posteriors import DiagonalNormal, Point
from tightbound.priors import StandardNormal
from tightbound.testing.common import gradients_of


def check_objective(objective: Objective, *, seed: int = 0, model: VAE | None = None) -> None:
    """Run every law of objectives on a small model.

    1. The objective gives one finite value per example. 2. The values of a pointwise objective do not depend on the
    size or order of the batch; any other objective declares pointwise = False. 3. Gradients reach every parameter that
    a group trains, and no parameter is in two groups. 4. Each group's loss falls along its negative gradient; the first
    group's loss is minus the objective. 5. The loss of the objective's own networks (an adversary) gives no gradient to
    the model's parameters.

    Args:
        objective: Objective to check; its `prepare` and `check` are called.
        seed: Seed of the data and noise.
        model: Model of binary data, in float64 and eval mode; None: `small_model`.

    Raises:
        AssertionError: A law is broken; the message names it.
    """
    model = small_model(seed) if model is None else model
    generator = torch.Generator().manual_seed(seed)
    x = (torch.rand(6, *model.shape, generator=generator) < 0.4).double()
    knobs = Knobs.final({**model.schedules, **objective.schedules})
    everything = list(range(6))

    def terms(rows: list[int]) -> Terms:
        batch = Batch(x[rows], index=torch.tensor(rows))
        return model(batch, objective.samples, ExampleNoise("law", index=torch.tensor(rows)), knobs)

    def evaluated(loss: Callable[[Terms, Knobs], Tensor], rows: list[int]) -> Tensor:
        with Noise("law", seed).default():
            return loss(terms(rows), knobs)

    with Noise("prepare", seed).default():
        objective.prepare(model, 6)
    objective.check(terms(everything))
    whole = evaluated(objective, everything)
    assert whole.shape == (6,), f"6 examples gave a value of shape {tuple(whole.shape)}, not (6,)"
    assert torch.isfinite(whole).all(), "the value is not finite"
    rows = [4, 1]
    some = evaluated(objective, rows)
    same = torch.allclose(some, whole[rows], atol=1e-9)
    assert same or not objective.pointwise, "an example's value changes with its batch: declare pointwise = False"
    groups = objective.parameter_groups(model)
    trained = [id(p) for group in groups for p in group.params]
    assert len(trained) == len(set(trained)), "two groups train the same parameter"
    mine = {id(p) for p in model.parameters()}
    adversarial = not all(mine & {id(p) for p in group.params} for group in groups)
    for i, group in enumerate(groups):
        before = evaluated(group.loss, everything)
        if i == 0:
            assert torch.allclose(before, -whole.mean()), "the first group's loss is not minus the objective's mean"
        adversary = not mine & {id(p) for p in group.params}
        if adversary and before.requires_grad:
            leaked = torch.autograd.grad(before, list(model.parameters()), allow_unused=True, retain_graph=True)
            assert all(g is None for g in leaked), "the loss of an adversary reaches parameters of the model"
        step_downhill(group.params, gradients_of(before, {f"parameter {k}": p for k, p in enumerate(group.params)}))
        if adversarial or i == 0:  # of other losses, only the gradient may be meaningful
            assert evaluated(group.loss, everything) < before, "a small step along a group's gradient raises its loss"
    if not adversarial:
        after = evaluated(objective, everything)
        assert after.mean() > whole.mean(), "a small step along its gradient does not raise the objective"


def small_model(seed: int = 0, point: bool = False) -> VAE:
    """Return a VAE with 3 latent dimensions for binary data (1, 2, 3), in float64 and eval mode."""
    with seeded(seed):
        network = MLP((8,), activation="tanh")
        posterior = (Point if point else DiagonalNormal)((1, 2, 3), 3, network)
        latents = Flat(StandardNormal(3), posterior)
        return VAE(latents, Bernoulli((1, 2, 3), 3, network), Identity("binary")).double().eval()


@torch.no_grad()
def step_downhill(params: Sequence[torch.nn.Parameter], gradients: Sequence[Tensor]) -> None:
    """Take a small step against the gradient."""
    norm = torch.stack([g.square().sum() for g in gradients]).sum().sqrt()
    for p, g in zip(params, gradients, strict=True):
        p.sub_(1e-4 * g / norm)
