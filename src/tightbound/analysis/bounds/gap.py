"""How much of log p(x) the bound loses, and why: the encoder, or the family of its posterior."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from tightbound.analysis.bounds.estimator import BLOCK, at_once
from tightbound.analysis.bounds.local import fit_local
from tightbound.analysis.estimate import Analysis, Array, Estimate, estimate, mean
from tightbound.core.errors import CompositionError, InputError, whole
from tightbound.core.model import VAE
from tightbound.core.noise import ExampleNoise, Noise
from tightbound.core.schedules import Knobs
from tightbound.core.terms import DETERMINISTIC, Batch
from tightbound.data.feed import Source, batches, evaluating

FIT_SAMPLES = 8  # draws of q(z|x) for each gradient of the fit
DESCRIPTIONS = {
    "amortization_gap": "what a posterior fitted to each example gains over the encoder's",
    "approximation_gap": "what even the fitted posterior loses, since its family is not that of p(z|x)",
    "inference_gap": "both together: log p(x) - ELBO, which is KL(q(z|x) || p(z|x))",
    "elbo": "lower bound on log p(x), by the encoder's posterior",
    "elbo_fitted": "the same, by the posterior fitted to each example",
    "log_likelihood": "log p(x), of which the gaps are measured",
    "gain_of_doubling": "what doubling the steps of the fit brought: the amortization gap is short by about this",
}


@dataclass(frozen=True)
class InferenceGap(Analysis):
    """The gap between log p(x) and the ELBO, in two: amortization and approximation."""

    per_example: Mapping[str, Array]  # (N,) each, nats


def inference_gap(
    model: VAE,
    data: Source,
    *,
    samples: int = 1000,
    steps: int = 200,
    seed: int = 0,
    log_likelihood: Tensor | None = None,
) -> InferenceGap:
    """Splits log p(x) - ELBO(q) into ELBO(q*) - ELBO(q), the encoder's doing, and log p(x) - ELBO(q*), the family's.

    q* starts from the encoder's variational parameters and is fitted to each example with the model held, for `steps`
    and for half as many; the best of these and of the encoder's own, by draws that serve nothing else, is kept. All
    are then compared on the same fresh draws, so that no gap is one to noise that was fitted.

    Arguments:
        data: What is looked at, all of it: a few hundred data say enough.
        samples: Draws for the bounds, and k of the estimate of log p(x).
        steps: Of Adam, for each example.
        log_likelihood: (N,) log p(x) of the data from a better estimator, such as annealed importance sampling; None:
            IWAE-k with q*, which is below log p(x), so that the approximation gap comes out too small.

    Raises:
        InputError: no data, or log p(x) of another number of them.
        NotABound: the posterior is a point mass.
        CompositionError: codes are a function of x, so that there is no posterior to fit.

    References:
        Inference suboptimality in variational autoencoders (Cremer et al. 2018), Section 3,
        https://arxiv.org/abs/1801.03558
    """
    samples, steps = whole("samples", samples, least=1), whole("steps", steps, least=2)
    if model.latents.deterministic:
        raise CompositionError(f"{DETERMINISTIC}: there is no q(z|x) to be fitted; give a model with a posterior")
    rows = at_once(model, 1)
    found: list[dict[str, Tensor]] = []
    with evaluating(model):
        for batch in batches(model, data, max(1, rows // FIT_SAMPLES)):
            seen = model.observe(batch, Noise("gap", seed))
            encoder, kept, half = _fit(model, seen, steps, seed, rows)
            size = max(1, rows // min(BLOCK, samples))
            for start in range(0, len(seen), size):
                part = slice(start, start + size)
                locals_ = [local[part] for local in (encoder, kept, half)]
                found.append(_compare(model, seen[part], locals_, samples, seed))
    if not found:
        raise InputError("there are no data to measure gaps on; give at least one example")
    columns = {name: torch.cat([part[name] for part in found]).numpy() for name in found[0]}
    if log_likelihood is not None:
        if log_likelihood.shape != columns["elbo"].shape:
            raise InputError(
                f"log_likelihood has shape {tuple(log_likelihood.shape)} and there are {len(columns['elbo'])} data; "
                "give one value for each"
            )
        columns["log_likelihood"] = log_likelihood.cpu().double().numpy()
    columns["amortization_gap"] = columns["elbo_fitted"] - columns["elbo"]
    columns["approximation_gap"] = columns["log_likelihood"] - columns["elbo_fitted"]
    columns["inference_gap"] = columns["log_likelihood"] - columns["elbo"]
    return InferenceGap(_numbers(model, columns, samples, steps, log_likelihood is not None), columns)


def encoder_overfitting(test: InferenceGap, train: InferenceGap) -> Estimate:
    """The amortization gap on test data less that on training data, nats: what the encoder learned of these alone."""
    one, other = (np.asarray(gap.per_example["amortization_gap"]) for gap in (test, train))
    parts = [values.var(ddof=1) / len(values) if len(values) > 1 else math.nan for values in (one, other)]
    stderr = math.sqrt(sum(parts))
    number = test.numbers["amortization_gap"]
    return estimate(
        one.mean() - other.mean(),
        None if math.isnan(stderr) else stderr,
        n=len(one),
        unit="nats",
        target=number.target,
        samples=number.samples,
        estimator=f"amortization gap of {len(one)} test data less that of {len(other)} training data",
        description="what the encoder loses on data that it was not trained on",
    )


def _fit(model: VAE, seen: Batch, steps: int, seed: int, rows: int) -> tuple[Tensor, Tensor, Tensor]:
    """Variational parameters: the encoder's; the best of it and both fits; the best of it and the shorter fit."""
    index = seen.positions()
    size = max(1, rows // BLOCK)

    def better(first: Tensor, second: Tensor) -> Tensor:
        """For each example the one of greater ELBO, over `BLOCK` draws."""
        gains = []
        for start in range(0, len(seen), size):
            part = slice(start, start + size)
            one, two = (
                _log_weight(
                    model, seen[part], local[part], ExampleNoise("gap", "choose", seed, index=index[part]), BLOCK
                ).mean(0)
                for local in (first, second)
            )
            gains.append(two - one)
        second_is = (torch.cat(gains) > 0).to(first.device)  # not where it is NaN
        return torch.where(second_is.view(-1, *[1] * (first.dim() - 1)), second, first)

    encoder, short = fit_local(model, seen, steps=steps // 2, samples=FIT_SAMPLES, seed=seed)
    _, long = fit_local(model, seen, steps=steps, samples=FIT_SAMPLES, seed=seed)
    half = better(encoder, short)
    return encoder, better(half, long), half


def _compare(model: VAE, seen: Batch, locals_: list[Tensor], samples: int, seed: int) -> dict[str, Tensor]:
    """(B,) each, on the same draws: ELBOs of the encoder's, the kept and the shorter fit's posterior; IWAE of the
    kept."""
    index = seen.positions()
    bounds = torch.zeros(len(locals_), len(seen), dtype=torch.float64)
    weight = torch.full((len(seen),), -math.inf, dtype=torch.float64)
    for number, start in enumerate(range(0, samples, BLOCK)):
        count = min(BLOCK, samples - start)
        for i, local in enumerate(locals_):
            weights = _log_weight(model, seen, local, ExampleNoise("gap", seed, number, index=index), count)
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
    """(S, B), whose mean over draws is the ELBO: with log q - log p at the draws and not the closed KL, so that where q
    is p(z|x) every draw gives log p(x)."""
    state = model.latents.state(local, seen.context)
    return model.terms_from(seen, state, samples, noise, Knobs.final(model.schedules)).log_weight.cpu().double()


def _numbers(model: VAE, columns: Mapping[str, Array], samples: int, steps: int, given: bool) -> dict[str, Estimate]:
    fitted = f"q* fitted to each example in the parameters of {model.latents.fitted}, {steps} steps of Adam"
    paired = f"{fitted}; paired on {samples} draws"
    likelihood = "log p(x) as given" if given else f"IWAE-{samples} with q*, a lower bound"
    how = {
        "amortization_gap": f"{paired}; a lower bound, where the fit has not converged",
        "approximation_gap": f"{likelihood}, less the ELBO of q*; {fitted}",
        "inference_gap": f"{likelihood}, less the ELBO; {fitted}",
        "elbo": f"mean log-weight of {samples} draws of q(z|x)",
        "elbo_fitted": f"{fitted}; mean log-weight of {samples} draws",
        "log_likelihood": likelihood if given else f"{likelihood}; {fitted}",
        "gain_of_doubling": f"ELBO after {steps} steps less that after {steps // 2}; {paired}",
    }
    facts = {"unit": "nats", "target": model.target_name, "samples": samples}
    facts |= {"reason": model.observation.not_a_likelihood}
    return {
        name: mean(columns[name], estimator=how[name], description=description, **facts)
        for name, description in DESCRIPTIONS.items()
    }
