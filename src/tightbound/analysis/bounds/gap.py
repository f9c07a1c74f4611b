"""Inference gap: how much of log p(x) the bound loses to the encoder and to the family of its posterior."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import numpy as np
import torch
from torch import Tensor

from tightbound.analysis.bounds.estimator import MAX_ROWS, at_once
from tightbound.analysis.bounds.weights import BLOCK
from tightbound.analysis.estimate import Array, Estimate, estimate, mean, mean_error
from tightbound.analysis.result import Result
from tightbound.core.errors import CompositionError, InputError, number, whole
from tightbound.core.model import VAE
from tightbound.core.noise import ExampleNoise, Noise
from tightbound.core.schedules import Knobs
from tightbound.core.terms import DETERMINISTIC, Batch
from tightbound.data.feed import Source, batches, evaluating
from tightbound.objectives.elbo import mean_rate


def fit_local(
    model: VAE, seen: Batch, *, steps: int = 100, lr: float = 0.1, samples: int = 4, seed: int = 0
) -> tuple[Tensor, Tensor]:
    """Fit the variational parameters of each example by maximizing its ELBO.

    Adam with a cosine decay of the step size runs on each example's own parameters, with fresh draws in each step.
    The draws depend on seed, example and step, so that no example depends on another. A parameter that lies beyond a
    limit of the posterior, where it has no effect, starts within it. In a hierarchy with bottom-up inference, the
    parameters are those of the lowest group. Call it inside of `evaluating`.

    Args:
        model: The model.
        seen: Observed batch, from `model.observe`.
        steps: Steps of Adam.
        lr: Initial step size.
        samples: Samples of q(z | x) per gradient.
        seed: Random seed.

    Returns:
        The encoder's parameters and the fitted ones, (B, ...) each, for `model.latents.state`.

    Raises:
        NotABound: If the posterior is deterministic, so that there is no ELBO.
    """
    whole("steps", steps, least=1)
    whole("samples", samples, least=1)
    number("lr", lr, above=0)
    index = seen.positions()
    with torch.no_grad():
        start = model.latents.local(model.encoder_input(seen))
    with torch.enable_grad():
        local = _alive(model, seen, start, ExampleNoise("local", seed, 0, index=index), samples).requires_grad_()
        adam = torch.optim.Adam([local], lr=lr)
        for step in range(steps):
            adam.param_groups[0]["lr"] = lr * (1 + math.cos(math.pi * step / steps)) / 2
            noise = ExampleNoise("local", seed, step, index=index)
            (gradient,) = torch.autograd.grad(-elbo_at(model, seen, local, noise, samples).sum(), local)
            local.grad = torch.nan_to_num(gradient)
            adam.step()
    return start, local.detach()


def _alive(model: VAE, seen: Batch, start: Tensor, noise: Noise, samples: int) -> Tensor:
    """Return parameters of which none is beyond a limit of the posterior, where its gradient vanishes."""
    local = start.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(-elbo_at(model, seen, local, noise, samples).sum(), local)
    dead = (start.abs() > WITHIN) & (torch.nan_to_num(gradient) == 0)
    return torch.where(dead, start.clamp(-WITHIN, WITHIN), start)


def elbo_at(model: VAE, seen: Batch, local: Tensor, noise: Noise, samples: int) -> Tensor:
    """Return the ELBO of an observed batch, nats (B,), for given variational parameters (B, ...) of q(z | x).

    Raises:
        NotABound: If the posterior is deterministic.
    """
    knobs = Knobs.final(model.schedules)
    terms = model.terms_from(seen, model.latents.state(local, seen.context), samples, noise, knobs)
    return terms.log_likelihood.mean(0) - mean_rate(terms)


WITHIN = 24.0  # within all limits of `numerics.bounded`
FIT_SAMPLES = 8  # samples of q(z|x) per gradient of the fit
DESCRIPTIONS = {
    "amortization_gap": "what a posterior that is fitted to each example gains over the encoder's",
    "approximation_gap": "what the fitted posterior still loses, since its family does not contain p(z|x)",
    "inference_gap": "both together: log p(x) - ELBO, which is KL(q(z|x) || p(z|x))",
    "elbo": "lower bound on log p(x) with the encoder's posterior",
    "elbo_fitted": "lower bound on log p(x) with the posterior fitted to each example",
    "log_likelihood": "log p(x), from which the gaps are measured",
    "gain_of_doubling": "what doubling the steps of the fit brought; amortization_gap is too small by about this",
}
Fit = Callable[..., tuple[Tensor, Tensor]]


def inference_gap(
    model: VAE,
    data: Source,
    *,
    samples: int = 1000,
    steps: int = 200,
    seed: int = 0,
    log_likelihood: Tensor | None = None,
    max_rows: int = MAX_ROWS,
    fit: Fit = fit_local,
) -> Result:
    """Split log p(x) - ELBO(q) into ELBO(q*) - ELBO(q), due to the encoder, and log p(x) - ELBO(q*), due to the family.

    q* starts from the encoder's variational parameters and is fitted to each example while the model is held fixed, for
    `steps` and for half as many. The best of both fits and the encoder's posterior is kept, judged by draws that are
    used for nothing else. All are then compared on the same fresh draws, so that no gap comes from noise that was
    fitted.

    Args:
        model: The model.
        data: Examples, in any form; all of them are used, and a few hundred are enough.
        samples, steps, seed: See `InferenceGap`.
        log_likelihood: log p(x) of each example (N,) from a better estimator, such as annealed importance sampling;
            None: IWAE-k with q*, which is below log p(x), so that the approximation gap comes out too small.
        max_rows: (sample, example) pairs to decode at once, at most.
        fit: Function that fits the variational parameters, see `fit_local`.

    Returns:
        The estimates of `DESCRIPTIONS`, with the values of each example.

    Raises:
        InputError: If there are no examples, or `log_likelihood` has another number of them.
        NotABound: If the posterior has no density.
        CompositionError: If the latent code is a function of x, so that there is no posterior to fit.
    """
    samples, steps = whole("samples", samples, least=1), whole("steps", steps, least=2)
    if model.deterministic:
        raise CompositionError(f"{DETERMINISTIC}: there is no q(z|x) to fit; use a model with a posterior")
    rows = at_once(model, 1, max_rows)
    found: list[dict[str, Tensor]] = []
    with evaluating(model):
        for batch in batches(model, data, max(1, rows // FIT_SAMPLES)):
            seen = model.observe(batch, Noise("gap", seed))
            encoder, kept, half = _fit(model, seen, steps, seed, rows, fit)
            size = max(1, rows // min(BLOCK, samples))
            for start in range(0, len(seen), size):
                part = slice(start, start + size)
                candidates = [local[part] for local in (encoder, kept, half)]
                found.append(_compare(model, seen[part], candidates, samples, seed))
    if not found:
        raise InputError("there are no data to measure gaps on; give at least one example")
    columns = {name: torch.cat([part[name] for part in found]).numpy() for name in found[0]}
    if log_likelihood is not None:
        if log_likelihood.shape != columns["elbo"].shape:
            raise InputError(
                f"log_likelihood= has shape {tuple(log_likelihood.shape)} and there are {len(columns['elbo'])} "
                "examples; give one value for each"
            )
        columns["log_likelihood"] = log_likelihood.cpu().double().numpy()
    columns["amortization_gap"] = columns["elbo_fitted"] - columns["elbo"]
    columns["approximation_gap"] = columns["log_likelihood"] - columns["elbo_fitted"]
    columns["inference_gap"] = columns["log_likelihood"] - columns["elbo"]
    return Result(_estimates(model, columns, samples, steps, log_likelihood is not None), per_example=columns)


def encoder_overfitting(test: Result, train: Result) -> Estimate:
    """Return the amortization gap on test data minus that on training data, nats."""
    one, other = (np.asarray(gap.per_example["amortization_gap"]) for gap in (test, train))
    gap, several = test["amortization_gap"], min(len(one), len(other)) > 1
    return estimate(
        one.mean() - other.mean(), math.hypot(mean_error(one), mean_error(other)) if several else None, n=len(one),
        unit="nats", target=gap.target, samples=gap.samples,
        estimator=f"amortization gap of {len(one)} test examples minus that of {len(other)} training examples",
        description="what the encoder loses on examples that it was not trained on",
    )  # fmt: skip


def _fit(model: VAE, seen: Batch, steps: int, seed: int, rows: int, fit: Fit) -> tuple[Tensor, Tensor, Tensor]:
    """Return the encoder's variational parameters, the best of them and both fits, and the best of them and the shorter
    fit."""
    index = seen.positions()
    size = max(1, rows // BLOCK)

    def elbo(local: Tensor) -> Tensor:
        """Return the ELBO (B,) over `BLOCK` draws."""
        parts = (slice(start, start + size) for start in range(0, len(seen), size))
        noises = ((part, ExampleNoise("gap", "choose", seed, index=index[part])) for part in parts)
        return torch.cat([_log_weight(model, seen[p], local[p], noise, BLOCK).mean(0) for p, noise in noises])

    def better(first: Tensor, second: Tensor) -> Tensor:
        """Return for each example the one with the greater ELBO; the first if one is NaN."""
        gained = (elbo(second) - elbo(first) > 0).to(first.device)
        return torch.where(gained.view(-1, *[1] * (first.dim() - 1)), second, first)

    encoder, short = fit(model, seen, steps=steps // 2, samples=FIT_SAMPLES, seed=seed)
    _, long = fit(model, seen, steps=steps, samples=FIT_SAMPLES, seed=seed)
    half = better(encoder, short)
    return encoder, better(half, long), half


def _compare(model: VAE, seen: Batch, candidates: list[Tensor], samples: int, seed: int) -> dict[str, Tensor]:
    """Return ELBOs of the encoder's, the kept and the shorter fit's posterior, and IWAE of the kept one, (B,) each, on
    the same draws."""
    index = seen.positions()
    bounds = torch.zeros(len(candidates), len(seen), dtype=torch.float64)
    weight = torch.full((len(seen),), -math.inf, dtype=torch.float64)
    for block, start in enumerate(range(0, samples, BLOCK)):
        count = min(BLOCK, samples - start)
        for i, local in enumerate(candidates):
            weights = _log_weight(model, seen, local, ExampleNoise("gap", seed, block, index=index), count)
            bounds[i] += weights.sum(0) / samples
            if i == 1:
                weight = torch.logaddexp(weight, weights.logsumexp(0))
    return {
        "index": index.cpu(),
        "elbo": bounds[0],
        "elbo_fitted": bounds[1],
        "gain_of_doubling": bounds[1] - bounds[2],
        "log_likelihood": weight - math.log(samples),
    }


def _log_weight(model: VAE, seen: Batch, local: Tensor, noise: Noise, samples: int) -> Tensor:
    """Return log-weights (S, B), whose mean over samples is the ELBO.

    They use log q - log p at the samples and not the closed KL: if q is p(z|x), every sample gives exactly log p(x).
    """
    state = model.latents.state(local, seen.context)
    return model.terms_from(seen, state, samples, noise, Knobs.final(model.schedules)).log_weight.cpu().double()


def _estimates(model: VAE, columns: Mapping[str, Array], samples: int, steps: int, given: bool) -> dict[str, Estimate]:
    fitted = f"q* fitted to each example in the parameters of {model.latents.local_of}, {steps} steps of Adam"
    paired = f"{fitted}; paired on {samples} samples"
    likelihood = "log p(x) as given" if given else f"IWAE-{samples} with q*, a lower bound"
    how = {
        "amortization_gap": f"{paired}; a lower bound if the fit has not converged",
        "approximation_gap": f"{likelihood}, minus the ELBO of q*; {fitted}",
        "inference_gap": f"{likelihood}, minus the ELBO; {fitted}",
        "elbo": f"mean log-weight of {samples} samples of q(z|x)",
        "elbo_fitted": f"{fitted}; mean log-weight of {samples} samples",
        "log_likelihood": likelihood if given else f"{likelihood}; {fitted}",
        "gain_of_doubling": f"ELBO after {steps} steps minus that after {steps // 2}; {paired}",
    }
    facts = {"unit": "nats", "target": model.target_name, "samples": samples}
    facts |= {"reason": model.observation.not_a_likelihood}
    return {
        name: mean(columns[name], estimator=how[name], description=description, **facts)
        for name, description in DESCRIPTIONS.items()
    }
