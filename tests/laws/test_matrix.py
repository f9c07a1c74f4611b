"""The matrix law: every combination is constructed or refused with the reason, and what is accepted trains."""

from __future__ import annotations

import itertools
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from tightbound.components import TABLE, find, parse
from tightbound.core.noise import Noise
from tightbound.core.schedules import Knobs
from tightbound.core.terms import Terms
from tightbound.testing import matrix
from tightbound.testing.matrix import DRAWN, Combination, compose, covering, quantized, structures, terms, why_not
from tightbound.testing.objectives import step_downhill

PLAIN = Combination("normal", "normal", "flat", "bernoulli", "elbo")
# a straight-through gradient need not lead uphill: their docstrings say so
BIASED = {"relaxed-categorical", "quantized", DRAWN}
CONTINUOUS = [name for name in TABLE["prior"] if find("prior", name).support in ("real", "any")]
DENSITIES = [
    name
    for name in TABLE["posterior"]
    if find("posterior", name).support == "real" and find("posterior", name).has_density
]
EVERY = [*itertools.product(CONTINUOUS, DENSITIES)]


@pytest.mark.parametrize("objective", TABLE["objective"])
def test_every_combination_is_constructed_or_refused_with_what_would_work(objective: str) -> None:
    spaces = [replace(PLAIN, prior=p, posterior=q, latents=x, objective=objective) for p, q, x in structures()]
    ends = [
        replace(PLAIN, posterior=q, objective=objective, likelihood=x)
        for q in ("normal", "point")
        for x in TABLE["likelihood"]
    ]
    reasons = [why_not(c) for c in spaces + ends]
    assert None in reasons
    for reason in filter(None, reasons):
        assert "\n" not in reason
        assert any(word in reason for word in ("use ", "give ", "leave ", "make ")), reason


def some(likelihood: str) -> list[tuple[str, str]]:
    """Priors and posteriors to try with a likelihood: each of both, in other pairs with each likelihood."""
    turn = list(TABLE["likelihood"]).index(likelihood)
    n, m = len(CONTINUOUS), len(DENSITIES)
    return [(CONTINUOUS[i % n], DENSITIES[(i + turn) % m]) for i in range(max(n, m))]


@pytest.mark.parametrize("likelihood", TABLE["likelihood"])
@pytest.mark.parametrize("pairs", [some, pytest.param(lambda _: EVERY, marks=pytest.mark.slow)], ids=["some", "all"])
def test_continuous_priors_and_posteriors_go_with_every_likelihood(likelihood: str, pairs: Any) -> None:
    """Under iwae, which asks for every density; the test above tries all objectives."""
    for prior, posterior in pairs(likelihood):
        reason = why_not(Combination(prior, posterior, "flat", likelihood, "iwae"))
        if find("posterior", posterior).needs_standard_prior and prior != "normal":
            assert "needs the prior N(0, I)" in str(reason)
        elif find("prior", prior).needs_evaluable and not find("posterior", posterior).evaluable:
            assert "density at any z" in str(reason)
        else:
            assert reason is None, (prior, posterior, reason)


def test_the_array_covers_every_pair_that_fits() -> None:
    """Of names that must meet somewhere."""
    rows = covering()
    for kind in ("prior", "posterior", "latents", "likelihood", "objective"):
        assert {parse(getattr(c, kind)).name for c in rows if getattr(c, kind) != "-"} == set(TABLE[kind])
    together = {(c.likelihood, c.objective) for c in rows}
    assert {(x, o) for x in TABLE["likelihood"] for o in ("elbo", "iwae", "capacity", "vr-max")} <= together


@pytest.mark.parametrize("part", [pytest.param(i, marks=[pytest.mark.slow] * (i >= 4)) for i in range(8)])
def test_accepted_combinations_train(part: int) -> None:
    """Every parameter has a finite gradient, and a small step along it raises the objective, at fixed noise.

    The quick half of the array has each name many times, and half of the pairs.
    """
    for c in covering()[part::8]:
        model, objective = compose(c)
        knobs = Knobs.final({**model.schedules, **objective.schedules})

        def seen(c=c, model=model, objective=objective) -> Terms:
            with Noise("matrix").default():
                return terms(c, model, objective.samples)

        def evaluated(what, on: Terms, knobs=knobs) -> torch.Tensor:
            with Noise("matrix").default():
                return what(on, knobs)

        groups, now = objective.parameter_groups(model), seen()
        start = evaluated(objective, now).mean().item()
        own = {id(p) for p in model.parameters() if p.requires_grad}  # a second stage trains the others
        assert own <= {id(p) for group in groups for p in group.params}, f"{c}: a parameter is in no group"
        adversarial = not all(own & {id(p) for p in group.params} for group in groups)
        for i, group in enumerate(groups):
            before = evaluated(group.loss, now)
            trained = [p for p in group.params if p.requires_grad]
            gradients = torch.autograd.grad(before, trained, allow_unused=True)
            for gradient in gradients:
                assert gradient is not None, f"{c}: no gradient reaches a parameter"
                assert torch.isfinite(gradient).all(), f"{c}: a gradient is not finite"
            step_downhill(trained, list(gradients))
            now = seen()
            if (adversarial or i == 0) and not BIASED & {c.posterior, c.latents}:
                assert evaluated(group.loss, now) < before, f"{c}: the step raises a group's loss"
        if not adversarial and not BIASED & {c.posterior, c.latents}:
            assert evaluated(objective, now).mean() > start, f"{c}: the step lowers the objective"


CODES = Combination("-", "-", "quantized", "bernoulli", "elbo")
TRAIN_CODES = ["elbo", "ms-ssim"]


@pytest.mark.parametrize("turn", range(len(TABLE["likelihood"])), ids=list(TABLE["likelihood"]))
def test_code_indices_fit_every_likelihood(turn: int) -> None:
    """Drawn or not, and each quantizer in its turn."""
    likelihood, quantizers = list(TABLE["likelihood"])[turn], list(TABLE["quantizer"])
    for latents in ("quantized", DRAWN, quantized(quantizers[turn % len(quantizers)], "pixelcnn")):
        assert why_not(replace(CODES, latents=latents, likelihood=likelihood)) is None


def test_the_objectives_below_are_those_that_train_code_indices() -> None:
    assert [o for o in TABLE["objective"] if why_not(replace(CODES, objective=o)) is None] == TRAIN_CODES


@pytest.mark.parametrize("objective", TRAIN_CODES)
def test_objectives_on_code_indices_train_the_encoder_to_stay_near_the_codebook(objective: str) -> None:
    """The loss of all groups holds the commitment once, and it reaches the encoder."""
    c = replace(CODES, objective=objective)
    model, made = compose(c)
    knobs = Knobs.final({**model.schedules, **made.schedules})
    seen = terms(c, model, made.samples)
    assert seen.penalty is not None
    assert seen.penalty.min() > 0
    total = torch.stack([group.loss(seen, knobs) for group in made.parameter_groups(model)]).sum()
    assert torch.allclose(total, seen.penalty.mean() - made(seen, knobs).mean())
    gradients = torch.autograd.grad(seen.penalty.sum(), model.inference_parameters(), allow_unused=True)
    assert all(g is not None and g.abs().max() > 0 for g in gradients)


@pytest.mark.parametrize(
    "objective", ["iwae", "dreg", "beta-tc", "autoencoder", "free-bits", "capacity", "lagging", "aae"]
)
def test_objectives_without_meaning_for_a_deterministic_posterior_are_refused(objective: str) -> None:
    assert "use objective " in str(why_not(replace(CODES, objective=objective)))


def test_the_page_of_compositions_is_up_to_date() -> None:
    page = Path(__file__).parents[2] / "docs" / "composition.md"
    assert page.read_text(encoding="utf-8").strip() == matrix.table().strip(), (
        "out of date; make it anew: python -m tightbound.testing.matrix > docs/composition.md"
    )
