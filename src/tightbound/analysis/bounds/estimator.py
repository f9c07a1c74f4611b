"""One streaming pass over data: bounds, rate, distortion, use of the latent space."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from tightbound.analysis.bounds import code_indices, ladder, reconstruction
from tightbound.analysis.bounds.code_indices import CodeBooks, Counted, counted
from tightbound.analysis.bounds.rate import Encoded, Gathered
from tightbound.analysis.bounds.reconstruction import Variation
from tightbound.analysis.bounds.weights import BLOCK, Weights
from tightbound.analysis.estimate import Array, Estimate, active_units, estimate, mean, spread
from tightbound.analysis.result import Evaluation
from tightbound.core.errors import InputError, whole
from tightbound.core.interfaces import State
from tightbound.core.model import VAE
from tightbound.core.noise import ExampleNoise, Noise
from tightbound.core.numerics import precise
from tightbound.core.schedules import Knobs
from tightbound.core.terms import DETERMINISTIC, Batch, LatentTerms
from tightbound.data.feed import Source, each, evaluating, first

DESCRIPTIONS = {
    "elbo": "lower bound on log p(x); -ELBO = rate + distortion",
    "iwae": "importance-weighted lower bound on log p(x): tighter than the ELBO, and tighter with more samples",
    "bits_per_dim": "bits to code one element of x: -bound / (D ln 2); lower is better",
    "rate": "KL(q(z|x) || p(z)): nats that z carries about x",
    "distortion": "-E_q[log p(x|z)]: nats left to code x once z is known",
    **reconstruction.DESCRIPTIONS,
    **code_indices.DESCRIPTIONS,
    "active_units": "latent dimensions in use: Var_x(E_q[z|x]) > 0.01",
    "kl_per_group": "the rate by group of latent variables, the lowest first",
    "kl_per_dimension": "the rate by latent dimension",
    "latent_mean": "mean of z over the data, by dimension; 0 under N(0, 1)",
    "latent_std": "sqrt(Var mu + E sigma^2) over the data, by dimension; 1 under N(0, 1)",
    **ladder.DESCRIPTIONS,
}
PRECISIONS = ("fp32", "bf16")
ROUNDING = 1e-6  # of a sum of log-probabilities in float32: a gain of less is none
COMPARED = 50  # data whose bound is computed in float32, too, where it is in bfloat16
Precision = Literal["fp32", "bf16"]
ROWS = 4000  # (sample, example) pairs decoded at once
BYTES = {"cpu": 1 << 22}  # of the likelihood's parameters at once, which bounds memory whatever k and x are:
OTHERWISE = 1 << 26  # on a CPU what stays in its cache, and in memory that need not be asked for anew


def evaluate(
    model: VAE,
    data: Source,
    *,
    samples: int = 5000,
    seed: int = 0,
    precision: Precision = "fp32",
    progress: bool = False,
) -> Evaluation:
    """Bounds on log p(x) and the numbers around them, over all of `data`.

    Where codes are a function of x (vector quantization) one sample is all there is: the ELBO is exact, bits/dim are
    of it, and there is no IWAE bound.

    The encoder runs once an example; importance samples are streamed in blocks, so memory does not grow with
    `samples` but for the largest weights. The noise depends on the seed, the example and the block: numbers do not
    change with batching.

    Arguments:
        data: A split, or raw data (N, *shape).
        samples: k of the IWAE bound, used exactly; the ELBO's expectation, and the bounds for smaller k
            (`iwae_ladder`), are over the same samples.
        precision: "bf16": networks that run for every sample do so in bfloat16, which is faster where the processor
            has matrix units for it, and densities are summed in float32; `bf16_difference` is then what that does to
            the bound, on the first 50 data.
        progress: Show a progress bar on standard error.

    Raises:
        InputError: no data, fewer than one sample, or an unknown precision.

    References:
        Importance weighted autoencoders (Burda et al. 2016), Eq. 8, https://arxiv.org/abs/1509.00519;
        Fixing a broken ELBO (Alemi et al. 2018), for rate and distortion, https://arxiv.org/abs/1711.00464
    """
    whole("samples", samples, least=1)
    if precision not in PRECISIONS:
        raise InputError(f"precision = {precision!r}; needed: one of {', '.join(PRECISIONS)}")
    samples = 1 if model.latents.deterministic else samples
    size = at_once(model, min(BLOCK, samples))
    gathered, variation = Gathered(model, None, seed), Variation(model.shape)

    def rows(batch: Batch, number: int) -> _Rows:
        seen = model.observe(batch, Noise("evaluate", seed))
        variation.add(model.observation, batch.x, seen)
        return _of_batch(model, batch, seen, samples, seed, precision, gathered)

    found = each(model, data, size, rows, progress=progress)
    if not found:
        raise InputError("there are no data to evaluate on; give at least one example")
    variation.gather()
    changed = None
    if precision != "fp32" and found[0].rates:
        changed = _changed(model, first(model, data, COMPARED), size, samples, seed, found)
    numbers = _summarize(model, found, variation, changed, samples)
    gathered.take([part.encoded for part in found])
    with evaluating(model):
        return replace(numbers, estimates={**numbers.estimates, **gathered.rate().numbers})


def at_once(model: VAE, samples: int) -> int:
    """How many data may be decoded together, with this many samples each, in bounded memory."""
    row = math.prod(model.shape) * model.likelihood.outputs
    most = BYTES.get(model.device.type, OTHERWISE)
    return max(1, min(ROWS, most // (4 * row)) // samples)


@dataclass(frozen=True)
class _Rows:
    """Values of each example of a batch, (B, ...) each, on the CPU."""

    index: Tensor
    log_likelihood: Tensor  # mean over samples
    rates: list[Tensor]  # (B, F) by group; none where there is no density
    closed: tuple[bool, ...]  # by group, whether the KL was closed
    ladder: Tensor | None  # (B, rungs)
    effective: Tensor | None
    pareto_k: Tensor | None
    gain: Tensor | None  # (B,) log p(codes) less that of the uniform prior
    codes: list[Counted]  # of groups that are discrete
    mean: Tensor
    variance: Tensor
    error: Tensor
    encoded: Encoded

    @property
    def bound(self) -> Tensor:
        """(B,) the tightest that there is, of a model that has one."""
        return self.log_likelihood - _total(self.rates) if self.ladder is None else self.ladder[:, -1]


@dataclass
class _Sampled:
    """Of a batch, over all samples."""

    log_likelihood: Tensor  # (B,) sum
    rates: list[Tensor]  # (B, F) by group
    weights: Weights | None = None  # None: no density, no bound; or one that is exact
    closed: tuple[bool, ...] = ()
    first: tuple[LatentTerms, ...] = ()  # groups that are discrete, of the first block of samples
    gain: Tensor | None = None  # (B,) of discrete codes: log p(codes) less that of the uniform prior

    def bound(self, samples: int) -> Tensor:
        """(B,) the tightest that there is, of a model that has one."""
        if self.weights is not None:
            return self.weights.ladder()[:, -1].cpu()
        return (self.log_likelihood / samples - _total(self.rates)).cpu()


def _total(rates: Sequence[Tensor]) -> Tensor:
    """(B,) of rates (B, F) by group."""
    return torch.stack([rate.sum(1) for rate in rates]).sum(0)


def _of_batch(
    model: VAE, batch: Batch, seen: Batch, samples: int, seed: int, precision: Precision, gathered: Gathered
) -> _Rows:
    local = model.encode_local(seen)
    state = model.latents.state(local, seen.context)
    mu, variance = model.latents.moments(state)
    drawn = _sample(model, seen, state, samples, seed, precision)
    codes, weights = counted(drawn.first), drawn.weights
    restored = model.observation.restore(model.decode(mu, seen.context).mean)
    some = slice(0, 0) if codes else slice(None)  # else thousands of numbers an example, of which none means anything
    return _Rows(
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


def _changed(model: VAE, data: Batch, size: int, samples: int, seed: int, found: Sequence[_Rows]) -> Array:
    """(N,) the bounds that were found less those in float32, of the first data."""

    def bound(batch: Batch, number: int) -> Tensor:
        seen = model.observe(batch, Noise("evaluate", seed))
        return _sample(model, seen, model.encode_state(seen), samples, seed, "fp32").bound(samples)

    exact = _array(each(model, data, size, bound))
    return _array([rows.bound for rows in found])[: len(exact)] - exact


def _sample(model: VAE, seen: Batch, state: State, samples: int, seed: int, precision: Precision) -> _Sampled:
    index, knobs = seen.positions(), Knobs.final(model.schedules)
    out = _Sampled(torch.zeros((), dtype=torch.float64), [])
    with torch.autocast(model.device.type, torch.bfloat16, enabled=precision == "bf16"):
        for number, start in enumerate(range(0, samples, BLOCK)):
            count = min(BLOCK, samples - start)
            noise = ExampleNoise("evaluate", seed, number, index=index)
            terms = model.terms_from(seen, state, count, noise, knobs)
            out.log_likelihood = out.log_likelihood + precise(terms.log_likelihood).sum(0)
            out.first = out.first or tuple(group for group in terms.latents if group.discrete)
            if all(group.has_density for group in terms.latents):
                if not terms.deterministic:
                    out.weights = out.weights or Weights(samples)
                    out.weights.add(terms.log_weight)
                gains = [
                    precise(g.log_prior) + g.capacity for g in terms.latents if g.discrete and g.log_prior is not None
                ]
                if gains:
                    gain = torch.stack(gains).sum(0).mean(0) * (count / samples)
                    least = sum(g.capacity for g in terms.latents if g.discrete) * ROUNDING
                    gain = gain.where(gain.abs() > least, 0.0)
                    out.gain = gain if out.gain is None else out.gain + gain
                block = [precise(group.rate().mean(0)) * (count / samples) for group in terms.latents]
                out.rates = [a + b for a, b in zip(out.rates, block, strict=True)] if out.rates else block
                out.closed = tuple(group.kl is not None for group in terms.latents)
    return out


def _summarize(
    model: VAE, rows: Sequence[_Rows], variation: Variation, changed: Array | None, samples: int
) -> Evaluation:
    deterministic = model.latents.deterministic
    target, index = model.target_name, _column(rows, "index")
    distortion = -_column(rows, "log_likelihood")
    drawn = (
        "of the one value of z that q(z|x) has" if deterministic else f"expectation over {samples} samples of q(z|x)"
    )
    facts = {"unit": "nats", "target": target, "samples": None if deterministic else samples}
    per_example = {"index": index, "distortion": distortion, "reconstruction_mse": _column(rows, "error")}
    if rows[0].rates:
        bounded = {**facts, "reason": model.observation.not_a_likelihood}
        numbers = _bounds(model, rows, per_example, changed, samples, f"{drawn} an example", bounded)
    else:
        why = "the posterior is a point mass, which has no density: no bound on log p(x) exists"
        names = ("elbo", "iwae", "rate", "kl_per_group", "kl_per_dimension", *ladder.ALWAYS)
        numbers = {name: Estimate(None, None, len(index), estimator="none", reason=why, **facts) for name in names}
    numbers["distortion"] = mean(distortion, **facts, estimator=f"{drawn} an example")
    numbers["bits_per_dim"] = _bits(model, numbers, "elbo" if deterministic else "iwae")
    numbers |= _latent_space(model, rows, per_example)
    numbers |= reconstruction.numbers(model.observation, per_example["reconstruction_mse"], variation)
    found = {name: numbers[name] for name in DESCRIPTIONS if name in numbers}
    return Evaluation(
        {k: replace(v, description=v.description or DESCRIPTIONS[k]) for k, v in found.items()},
        per_example=per_example,
    )


def _array(parts: Sequence[Tensor]) -> Array:
    return torch.cat([*parts]).numpy()


def _column(rows: Sequence[_Rows], name: str) -> Array:
    return _array([getattr(part, name) for part in rows])


def _bounds(
    model: VAE,
    rows: Sequence[_Rows],
    per_example: dict[str, Array],
    changed: Array | None,
    samples: int,
    drawn: str,
    facts: dict[str, Any],
) -> dict[str, Estimate]:
    """The bounds and the rate, which go into `per_example` too."""
    rates = [_array(group) for group in zip(*(part.rates for part in rows), strict=True)]
    closed = rows[0].closed
    by_group = np.stack([group.sum(1) for group in rates], axis=1)
    rate = by_group.sum(1)
    elbo = -per_example["distortion"] - rate
    per_example |= {"elbo": elbo, "rate": rate}
    deterministic = model.latents.deterministic
    kl = "-log p(codes), for log q = 0" if deterministic else _kl_estimator(closed, samples)
    numbers = {"elbo": mean(elbo, **facts, estimator=f"{drawn}; {kl}")}
    if deterministic:
        none = {**facts, "n": len(rate), "estimator": "none", "reason": f"{DETERMINISTIC}: all of its importance weights are "
                "equal, and for every k this would be the ELBO"}  # fmt: skip
        numbers |= {name: Estimate(None, None, **none) for name in ("iwae", *ladder.ALWAYS)}
        numbers |= ladder.rounding(changed, facts)
    else:
        bounds = _column(rows, "ladder")
        by = f"log-mean-exp of {samples} importance weights from q(z|x)"
        numbers["iwae"] = mean(bounds[:, -1], **facts, estimator=by)
        weights = ladder.PerExample(bounds, _column(rows, "effective"), _column(rows, "pareto_k"))
        per_example |= {"iwae": bounds[:, -1], "iwae_ladder": bounds}
        per_example |= {"effective_samples": weights.effective, "pareto_k": weights.pareto_k}
        numbers |= ladder.numbers(weights, changed, facts)
    description = "-log p(codes): nats to code z, a function of x, under the prior in use" if deterministic else ""
    numbers["rate"] = mean(rate, **facts, estimator=kl, description=description)
    numbers["kl_per_group"] = mean(by_group, **facts, estimator=kl)
    numbers["kl_per_dimension"] = _by_dimension(model, np.concatenate(rates, axis=1), closed, facts, kl)
    if rows[0].gain is not None:
        per_example["prior_gain"] = _column(rows, "gain")
        numbers |= code_indices.prices(rate, per_example["prior_gain"], facts)
    return numbers


def _latent_space(model: VAE, rows: Sequence[_Rows], per_example: dict[str, Array]) -> dict[str, Estimate]:
    """How codes lie, or which they are."""
    coded = f"{model.latents.coded_by} over the data"
    units = {"active_units": "dimensions", "latent_mean": "z", "latent_std": "z"}
    if rows[0].codes:
        books = CodeBooks()
        for part in rows:
            books.add(part.codes)
        per_example["codes"] = books.codes
        why = "a code is the number of an entry of a codebook: see codes_used"
        n = len(per_example["index"])
        none = {k: Estimate(None, None, n, unit, "none", coded, reason=why) for k, unit in units.items()}
        return none | books.numbers()
    mu, variance = (per_example.setdefault(name, _column(rows, name)) for name in ("mean", "variance"))
    how = "sqrt(Var mu + E sigma^2); delta method"
    facts: dict[str, dict[str, Any]] = {name: {"unit": unit, "target": coded} for name, unit in units.items()}
    return {
        "active_units": active_units(mu, **facts["active_units"], estimator="count of Var_x(E_q[z|x]) > 0.01"),
        "latent_mean": mean(mu, **facts["latent_mean"], estimator="mean of posterior means"),
        "latent_std": spread(mu, variance, **facts["latent_std"], estimator=how),
    }


def _kl_estimator(closed: tuple[bool, ...], samples: int) -> str:
    """How the KL was estimated, whether it was closed by group."""
    if not any(closed):
        return f"KL as log q - log p over {samples} samples"
    if len(closed) == 1:
        return "KL in closed form"
    if all(closed):
        return f"KL of each group in closed form given those above, over {samples} samples"
    some = f"{closed.count(True)} of {len(closed)} groups"
    return f"KL in closed form of {some}, as log q - log p of the others, over {samples} samples"


def _by_dimension(model: VAE, rates: np.ndarray, closed: tuple[bool, ...], facts: dict, kl: str) -> Estimate:
    if not all(closed) or rates.shape[1] != model.latents.latent:
        reason = "the KL of this prior and posterior does not fall into one term a latent dimension"
        return Estimate(None, None, len(rates), estimator="none", **{**facts, "reason": reason})
    return mean(rates, **facts, estimator=kl)


def _bits(model: VAE, numbers: dict[str, Estimate], name: str) -> Estimate:
    """Of the bound of this name."""
    bound = numbers[name]
    facts = {"n": bound.n, "unit": "bits/dim", "target": bound.target, "samples": bound.samples}
    if bound.value is None or (bound.stderr is None and bound.n > 1):
        return Estimate(None, None, **facts, estimator="none", reason=bound.reason)
    if not model.observation.counts_bits:
        why = model.observation.not_a_likelihood or model.observation.no_bits
        return Estimate(None, None, **facts, estimator="none", reason=why)
    a_bit = model.dimensions * math.log(2)
    value, stderr = np.asarray(bound.value), bound.stderr
    return estimate(
        -value / a_bit,
        None if stderr is None else np.asarray(stderr) / a_bit,
        **facts,
        estimator=f"-{name} / (D ln 2), D = {model.dimensions}",
    )
