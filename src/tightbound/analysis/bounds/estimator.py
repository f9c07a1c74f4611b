"""Evaluation of a model in one streaming pass over the data."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from tightbound.analysis.bounds.code_indices import counted
from tightbound.analysis.bounds.precision import PRECISIONS, Precision, warn_if_slower
from tightbound.analysis.bounds.rate import Gathered
from tightbound.analysis.bounds.reconstruction import Variation
from tightbound.analysis.bounds.summary import Rows, Sampled, summarized
from tightbound.analysis.bounds.weights import BLOCK, Weights
from tightbound.analysis.estimate import Array
from tightbound.analysis.result import Evaluation
from tightbound.core import world
from tightbound.core.errors import InputError, whole
from tightbound.core.latents import State
from tightbound.core.limits import PASSES
from tightbound.core.model import VAE
from tightbound.core.noise import ExampleNoise, Noise
from tightbound.core.numerics import precise
from tightbound.core.schedules import Knobs
from tightbound.core.terms import Batch, CodeTerms, code_terms
from tightbound.data.feed import Source, as_split, each, evaluating, first

COMPARED = 50  # examples whose bound in bfloat16 is also computed in float32, at most
SHARE = 10  # examples, of which one is compared: float32 would else take longer than bfloat16 saves
LONG = 100_000  # passes through the decoder before which it is measured whether bfloat16 is faster
TIMED = 8  # examples that are timed
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
        samples, seed, precision, progress: See `Evaluate`.
        max_rows: (sample, example) pairs to decode at once, at most.

    Raises:
        InputError: If there are no examples, fewer than one sample is asked for, or the precision is unknown.
    """
    whole("samples", samples, least=1, most=PASSES)
    if precision not in PRECISIONS:
        raise InputError(f"precision = {precision!r}; needed: one of {', '.join(PRECISIONS)}")
    samples = 1 if model.deterministic else samples
    size = at_once(model, min(BLOCK, samples), max_rows)
    gathered, variation = Gathered(model, None, seed), Variation(model.shape)

    def rows(batch: Batch, number: int) -> Rows:
        seen = model.observe(batch, Noise("evaluate", seed))
        variation.add(model.observation, batch.x, seen)
        return _rows(model, batch, seen, samples, seed, precision, gathered)

    source = data if isinstance(data, Batch) else as_split(model, data)
    count = len(source) if isinstance(source, Batch) else source.size
    if precision != "fp32" and world.rank() == 0 and (count is None or count * samples >= LONG):
        few = first(model, source, TIMED).to(model.device)
        with evaluating(model):
            seen = model.observe(few, Noise("evaluate", seed))
            state, drawn = model.encode_state(seen), min(BLOCK, samples)
            warn_if_slower(lambda which: _sample(model, seen, state, drawn, seed, which))
    found = each(model, source, size, rows, progress=progress)
    if not found:
        raise InputError("there are no data to evaluate on; give at least one example")
    variation.gather()
    effects: dict[str, Array] = {}
    if precision != "fp32" and found[0].sampled.rates:
        total = sum(len(part.positions) for part in found)
        some = first(model, source, min(COMPARED, max(2, total // SHARE)))
        effects["bf16_difference"] = _effect_of_precision(model, some, size, samples, seed, found)
    if model.latents.solved:
        effects["ode_difference"] = _effect_of_steps(model, first(model, source, COMPARED), size, seed)
    with np.errstate(invalid="ignore", over="ignore"):  # differences of values that are not finite
        result = summarized(model, found, variation, effects, samples)
    with evaluating(model):
        parts = gathered.rate([part.encoded for part in found])
    return replace(result, estimates={**result.estimates, **parts.estimates})


def at_once(model: VAE, samples: int, max_rows: int = MAX_ROWS) -> int:
    """Return how many examples may be decoded together, with this many samples each, in bounded memory."""
    row = math.prod(model.shape) * model.likelihood.outputs
    size = _BYTES.get(model.device.type, _BYTES_OTHERWISE)
    return max(1, min(max_rows, size // (4 * row)) // samples)


def _rows(
    model: VAE, batch: Batch, seen: Batch, samples: int, seed: int, precision: Precision, gathered: Gathered
) -> Rows:
    local, state = model.encode_local(seen)
    mu, variance = model.latents.moments(state)
    sampled = _sample(model, seen, state, samples, seed, precision)
    restored = model.observation.restore(model.decode(mu, seen.context, seen.offset).mean)
    some = slice(0, 0) if sampled.codes else slice(None)  # means of code vectors are many and have no meaning
    return Rows(
        batch.positions().cpu(),
        sampled,
        mu[some].cpu().double(),
        variance[some].cpu().double(),
        model.observation.error(restored, batch.x, seen).cpu(),
        gathered.encoded(seen, local),
    )


def _effect_of_precision(model: VAE, data: Batch, size: int, samples: int, seed: int, found: Sequence[Rows]) -> Array:
    """Return the bounds that were found minus those in float32, (n,), of the first examples."""

    def bound(batch: Batch, number: int) -> Array:
        seen = model.observe(batch, Noise("evaluate", seed))
        return _sample(model, seen, model.encode_state(seen), samples, seed, "fp32").bound

    exact = np.concatenate(each(model, data, size, bound))
    return np.concatenate([rows.sampled.bound for rows in found])[: len(exact)] - exact


def _effect_of_steps(model: VAE, data: Batch, size: int, seed: int) -> Array:
    """Return the error (n,) of log p(z) that is solved numerically, at a draw of each example."""

    def error(batch: Batch, number: int) -> Array:
        seen = model.observe(batch, Noise("evaluate", seed))
        noise = ExampleNoise("evaluate", seed, index=batch.positions())
        terms = model.terms_from(seen, model.encode_state(seen), 1, noise, Knobs.final(model.schedules))
        z = torch.cat([group.z[0].flatten(1) for group in terms.latents], 1)
        return precise(model.latents.numerical_error(z, seen.context)).cpu().numpy()

    return np.concatenate(each(model, data, size, error))


def _sample(model: VAE, seen: Batch, state: State, samples: int, seed: int, precision: Precision) -> Sampled:
    index, knobs = seen.positions(), Knobs.final(model.schedules)
    log_likelihood = torch.zeros((), dtype=torch.float64)
    rates: list[Tensor] = []
    closed: tuple[bool, ...] = ()
    first: list[CodeTerms] = []
    weights, gain = None, None
    with torch.autocast(model.device.type, torch.bfloat16, enabled=precision == "bf16"):
        for number, start in enumerate(range(0, samples, BLOCK)):
            count = min(BLOCK, samples - start)
            noise = ExampleNoise("evaluate", seed, number, index=index)
            terms = model.terms_from(seen, state, count, noise, knobs)
            log_likelihood = log_likelihood + precise(terms.log_likelihood).sum(0)
            codes = code_terms(terms.latents)
            first = first or codes
            if not all(group.has_density for group in terms.latents):
                continue
            if not terms.deterministic and not model.latents.estimated:
                weights = weights or Weights(samples)
                weights.add(terms.log_weight)
            gains = [precise(g.log_prior) + g.capacity for g in codes if g.log_prior is not None]
            if gains:
                saved = torch.stack(gains).sum(0).mean(0) * (count / samples)
                saved = saved.where(saved.abs() > sum(g.capacity for g in codes) * _ROUNDING, 0.0)
                gain = saved if gain is None else gain + saved
            block = [precise(group.rate().mean(0)) * (count / samples) for group in terms.latents]
            rates = [a + b for a, b in zip(rates, block, strict=True)] if rates else block
            closed = tuple(group.kl is not None for group in terms.latents)
    return Sampled(
        log_likelihood.cpu() / samples,
        [rate.cpu() for rate in rates],
        closed,
        None if weights is None else weights.summary(),
        None if gain is None else gain.cpu(),
        counted(first),
    )
