"""Evaluation of a model in one streaming pass over the data."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor

from tightbound.analysis.bounds.code_indices import counted
from tightbound.analysis.bounds.rate import Gathered
from tightbound.analysis.bounds.reconstruction import Variation
from tightbound.analysis.bounds.summary import Rows, summarized, total_rate
from tightbound.analysis.bounds.weights import BLOCK, Weights
from tightbound.analysis.estimate import Array
from tightbound.analysis.result import Evaluation
from tightbound.core.errors import InputError, whole
from tightbound.core.latents import State
from tightbound.core.model import VAE
from tightbound.core.noise import ExampleNoise, Noise
from tightbound.core.numerics import precise
from tightbound.core.schedules import Knobs
from tightbound.core.terms import Batch, LatentTerms, code_terms
from tightbound.data.feed import Source, each, evaluating, first

PRECISIONS = ("fp32", "bf16")
Precision = Literal["fp32", "bf16"]
COMPARED = 50  # examples whose bound in bfloat16 is also computed in float32
MAX_ROWS = 4000  # (sample, example) pairs that are decoded at once
_ROUNDING = 1e-6  # relative error of a sum of log-probabilities in float32: a smaller gain counts as none
_BYTES = {"cpu": 1 << 22}  # of the likelihood's parameters at once: on a CPU as much as stays in its cache,
_BYTES_OTHERWISE = 1 << 26  # so that memory is bounded whatever k and x are


def evaluate(
    model: VAE,
    data: Source,
    *,
    samples: int = 5000,
    seed: int = 0,
    precision: Precision = "fp32",
    progress: bool = False,
    max_rows: int = MAX_ROWS,
) -> Evaluation:
    """Estimate bounds on log p(x), rate, distortion and the use of the latent space over all of `data`.

    The encoder runs once per example. Importance samples are streamed in blocks, so that memory does not grow with
    `samples`, except for the largest weights. The noise depends on the seed, the example and the block: numbers do not
    change with the batch size. If the posterior is deterministic (vector quantization), one sample is all there is: the
    ELBO is exact, and there is no IWAE bound.

    Args:
        model: The model.
        data: Examples, in any form.
        samples: k of the IWAE bound, used exactly; the ELBO and the bounds for smaller k use the same samples.
        seed: Random seed.
        precision: "bf16": networks that run for every sample do so in bfloat16, and densities are summed in float32.
            It is faster if the processor has matrix units for it; `bf16_difference` is the effect on the bound of the
            first 50 examples.
        progress: Show a progress bar on standard error.
        max_rows: (sample, example) pairs to decode at once, at most.

    Raises:
        InputError: If there are no examples, fewer than one sample is asked for, or the precision is unknown.

    References:
        Importance weighted autoencoders (Burda et al. 2016), Eq. 8, https://arxiv.org/abs/1509.00519;
        Fixing a broken ELBO (Alemi et al. 2018), for rate and distortion, https://arxiv.org/abs/1711.00464
    """
    whole("samples", samples, least=1)
    if precision not in PRECISIONS:
        raise InputError(f"precision = {precision!r}; needed: one of {', '.join(PRECISIONS)}")
    samples = 1 if model.deterministic else samples
    size = at_once(model, min(BLOCK, samples), max_rows)
    gathered, variation = Gathered(model, None, seed), Variation(model.shape)

    def rows(batch: Batch, number: int) -> Rows:
        seen = model.observe(batch, Noise("evaluate", seed))
        variation.add(model.observation, batch.x, seen)
        return _rows(model, batch, seen, samples, seed, precision, gathered)

    found = each(model, data, size, rows, progress=progress)
    if not found:
        raise InputError("there are no data to evaluate on; give at least one example")
    variation.gather()
    changed = None
    if precision != "fp32" and found[0].rates:
        changed = _effect_of_precision(model, first(model, data, COMPARED), size, samples, seed, found)
    result = summarized(model, found, variation, changed, samples)
    gathered.take([part.encoded for part in found])
    with evaluating(model):
        return replace(result, estimates={**result.estimates, **gathered.rate().estimates})


def at_once(model: VAE, samples: int, max_rows: int = MAX_ROWS) -> int:
    """Return how many examples may be decoded together, with this many samples each, in bounded memory."""
    row = math.prod(model.shape) * model.likelihood.outputs
    size = _BYTES.get(model.device.type, _BYTES_OTHERWISE)
    return max(1, min(max_rows, size // (4 * row)) // samples)


@dataclass
class _Sampled:
    """Sums over the samples of a batch.

    Attributes:
        log_likelihood: Sum of log p(x|z), (B,).
        rates: Rate by group, (B, F) each.
        weights: Importance weights; None if there is no density or the ELBO is exact.
        closed: By group, whether the KL has a closed form.
        first: Discrete groups of the first block of samples.
        gain: See `Rows`.
    """

    log_likelihood: Tensor
    rates: list[Tensor]
    weights: Weights | None = None
    closed: tuple[bool, ...] = ()
    first: tuple[LatentTerms, ...] = ()
    gain: Tensor | None = None

    def bound(self, samples: int) -> Tensor:
        """Return the tightest bound (B,), of a model that has one."""
        if self.weights is not None:
            return self.weights.ladder()[:, -1].cpu()
        return (self.log_likelihood / samples - total_rate(self.rates)).cpu()


def _rows(
    model: VAE, batch: Batch, seen: Batch, samples: int, seed: int, precision: Precision, gathered: Gathered
) -> Rows:
    local, state = model.encode_local(seen)
    mu, variance = model.latents.moments(state)
    drawn = _sample(model, seen, state, samples, seed, precision)
    codes, weights = counted(drawn.first), drawn.weights
    restored = model.observation.restore(model.decode(mu, seen.context).mean)
    some = slice(0, 0) if codes else slice(None)  # means of code vectors are many and have no meaning
    return Rows(
        index=batch.positions().cpu(),
        log_likelihood=drawn.log_likelihood.cpu() / samples,
        rates=[rate.cpu() for rate in drawn.rates],
        closed=drawn.closed,
        ladder=None if weights is None else weights.ladder().cpu(),
        effective=None if weights is None else weights.effective().cpu(),
        pareto_k=None if weights is None else torch.from_numpy(weights.pareto_k()),
        gain=None if drawn.gain is None else drawn.gain.cpu(),
        codes=codes,
        mean=mu[some].cpu().double(),
        variance=variance[some].cpu().double(),
        error=model.observation.error(restored, batch.x, seen).cpu(),
        encoded=gathered.encoded(seen, local),
    )


def _effect_of_precision(model: VAE, data: Batch, size: int, samples: int, seed: int, found: Sequence[Rows]) -> Array:
    """Return the bounds that were found minus those in float32, (n,), of the first examples."""

    def bound(batch: Batch, number: int) -> Tensor:
        seen = model.observe(batch, Noise("evaluate", seed))
        return _sample(model, seen, model.encode_state(seen), samples, seed, "fp32").bound(samples)

    exact = torch.cat([*each(model, data, size, bound)]).numpy()
    return torch.cat([rows.bound for rows in found]).numpy()[: len(exact)] - exact


def _sample(model: VAE, seen: Batch, state: State, samples: int, seed: int, precision: Precision) -> _Sampled:
    index, knobs = seen.positions(), Knobs.final(model.schedules)
    out = _Sampled(torch.zeros((), dtype=torch.float64), [])
    with torch.autocast(model.device.type, torch.bfloat16, enabled=precision == "bf16"):
        for number, start in enumerate(range(0, samples, BLOCK)):
            count = min(BLOCK, samples - start)
            noise = ExampleNoise("evaluate", seed, number, index=index)
            terms = model.terms_from(seen, state, count, noise, knobs)
            out.log_likelihood = out.log_likelihood + precise(terms.log_likelihood).sum(0)
            codes = tuple(code_terms(terms.latents))
            out.first = out.first or codes
            if all(group.has_density for group in terms.latents):
                if not terms.deterministic:
                    out.weights = out.weights or Weights(samples)
                    out.weights.add(terms.log_weight)
                gains = [precise(g.log_prior) + g.capacity for g in codes if g.log_prior is not None]
                if gains:
                    gain = torch.stack(gains).sum(0).mean(0) * (count / samples)
                    least = sum(g.capacity for g in codes) * _ROUNDING
                    gain = gain.where(gain.abs() > least, 0.0)
                    out.gain = gain if out.gain is None else out.gain + gain
                block = [precise(group.rate().mean(0)) * (count / samples) for group in terms.latents]
                out.rates = [a + b for a, b in zip(out.rates, block, strict=True)] if out.rates else block
                out.closed = tuple(group.kl is not None for group in terms.latents)
    return out
