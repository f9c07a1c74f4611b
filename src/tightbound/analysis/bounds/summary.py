"""Estimates of an evaluation, from the values of each example."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from tightbound.analysis.bounds import code_indices, ladder, reconstruction
from tightbound.analysis.bounds.code_indices import CodeBooks, Counted
from tightbound.analysis.bounds.rate import Encoded
from tightbound.analysis.bounds.reconstruction import Variation
from tightbound.analysis.bounds.weights import PerExample
from tightbound.analysis.estimate import Array, Estimate, active_units, estimate, mean, scalar, scalar_error, spread
from tightbound.analysis.result import Evaluation
from tightbound.core.model import VAE
from tightbound.core.terms import DETERMINISTIC

DESCRIPTIONS = {
    "elbo": "evidence lower bound: at most log p(x) in expectation; -ELBO = rate + distortion",
    "iwae": "importance-weighted lower bound on log p(x): tighter than the ELBO, and tighter with more samples",
    "bits_per_dim": "bits needed to encode one element of x (such as a pixel), at most this many; lower is better",
    "rate": "KL(q(z|x) || p(z)): information about x that the latent code carries",
    "distortion": "-E_q[log p(x|z)]: what is still needed to encode x when z is known",
    **reconstruction.DESCRIPTIONS,
    **code_indices.DESCRIPTIONS,
    "active_units": "latent dimensions in use: those with Var_x(E_q[z|x]) > 0.01",
    "kl_per_group": "the rate by group of latent variables, the lowest group first",
    "kl_per_dimension": "the rate by latent dimension",
    "latent_mean": "mean of z over all examples, by dimension; 0 if z is distributed as N(0, 1)",
    "latent_std": "standard deviation of z over all examples, by dimension; 1 if z is distributed as N(0, 1)",
    **ladder.DESCRIPTIONS,
}
ESTIMATED = "log p(z) of so many dimensions is an unbiased estimate, and its exponential is not: no weights exist"
NO_DENSITY = "the posterior is a point mass, which has no density: no bound on log p(x) exists"


class Sampled(NamedTuple):
    """Means over the samples of a batch of B examples, on the CPU.

    Attributes:
        log_likelihood: log p(x|z), (B,).
        rates: Rate by group, (B, F) each; empty if there is no density.
        closed: By group, whether the KL has a closed form.
        weights: Importance weights; None if there are no densities, or the ELBO is exact.
        gain: Log-probability of the code indices minus that under the uniform prior, (B,); None without code indices.
        codes: Code indices of the discrete groups, at the first sample.
    """

    log_likelihood: Tensor
    rates: list[Tensor]
    closed: tuple[bool, ...]
    weights: PerExample | None
    gain: Tensor | None
    codes: list[Counted]

    @property
    def bound(self) -> Array:
        """Tightest bound (B,), of a model that has one."""
        if self.weights is not None:
            return self.weights.bounds[:, -1]
        return (self.log_likelihood - total_rate(self.rates)).numpy()


class Rows(NamedTuple):
    """Values of each example of a batch of B examples, on the CPU.

    Attributes:
        positions: Positions of the examples, (B,).
        sampled: Means over latent samples.
        mean: Posterior mean (B, latent); empty for code indices.
        variance: Posterior variance, likewise.
        error: Squared reconstruction error (B,).
        encoded: Variational parameters, for the decomposition of the rate.
    """

    positions: Tensor
    sampled: Sampled
    mean: Tensor
    variance: Tensor
    error: Tensor
    encoded: Encoded


def total_rate(rates: Sequence[Tensor]) -> Tensor:
    """Sum rates (B, F) over groups and factors."""
    return torch.stack([rate.sum(1) for rate in rates]).sum(0)


def summarized(
    model: VAE, rows: Sequence[Rows], variation: Variation, effects: Mapping[str, Array], samples: int
) -> Evaluation:
    """Return the evaluation without the parts of the rate, from batches of rows.

    `variation` is the variance of the data; for `effects` see `ladder.numerical`.
    """
    deterministic = model.deterministic
    target, index = model.target_name, _column(rows, "positions")
    distortion = -_array([part.sampled.log_likelihood for part in rows])
    drawn = "at the one value of z" if deterministic else f"expectation over {samples} samples of q(z|x) per example"
    facts = {"unit": "nats", "target": target, "samples": None if deterministic else samples}
    per_example = {"index": index, "distortion": distortion, "reconstruction_mse": _column(rows, "error")}
    sentences: list[str] = []
    if rows[0].sampled.rates:
        bounded = {**facts, "reason": model.observation.not_a_likelihood}
        found = _bounds(model, rows, per_example, effects, samples, drawn, bounded)
        if _without_weights(model) is None:
            sentence = ladder.verdict(_weights(rows), samples)
            sentences += [] if sentence is None else [sentence]
    else:
        names = ("elbo", "iwae", "rate", "kl_per_group", "kl_per_dimension", *ladder.ALWAYS)
        found = {name: Estimate.missing(NO_DENSITY, n=len(index), **facts) for name in names}
    found["distortion"] = mean(distortion, **facts, estimator=drawn)
    found["bits_per_dim"] = _bits(model, found, "iwae" if _without_weights(model) is None else "elbo")
    found |= _latent_space(model, rows, per_example)
    found |= reconstruction.errors(model.observation, per_example["reconstruction_mse"], variation)
    ordered = {name: found[name] for name in DESCRIPTIONS if name in found}
    return Evaluation(
        {name: replace(each, description=each.description or DESCRIPTIONS[name]) for name, each in ordered.items()},
        per_example=per_example,
        sentences=sentences,
    )


def _without_weights(model: VAE) -> str | None:
    """Return why there are no importance weights; None: there are."""
    if model.deterministic:
        return f"{DETERMINISTIC}: all of its importance weights are equal, and the bound for every k is the ELBO"
    return ESTIMATED if model.latents.estimated else None


def _array(parts: Sequence[Tensor]) -> Array:
    return torch.cat([*parts]).numpy()


def _column(rows: Sequence[Rows], name: str) -> Array:
    return _array([getattr(part, name) for part in rows])


def _weights(rows: Sequence[Rows]) -> PerExample:
    parts = [part.sampled.weights for part in rows if part.sampled.weights is not None]
    return PerExample(*(np.concatenate(each) for each in zip(*parts, strict=True)))


def _bounds(
    model: VAE,
    rows: Sequence[Rows],
    per_example: dict[str, Array],
    effects: Mapping[str, Array],
    samples: int,
    drawn: str,
    facts: dict[str, Any],
) -> dict[str, Estimate]:
    """Return bounds and rate, whose values are added to `per_example`."""
    rates = [_array(group) for group in zip(*(part.sampled.rates for part in rows), strict=True)]
    closed = rows[0].sampled.closed
    by_group = np.stack([group.sum(1) for group in rates], axis=1)
    rate = by_group.sum(1)
    elbo = -per_example["distortion"] - rate
    per_example |= {"elbo": elbo, "rate": rate}
    deterministic = model.deterministic
    kl = "-log p(code indices), since log q = 0" if deterministic else _kl_estimator(closed, samples)
    found = {"elbo": mean(elbo, **facts, estimator=f"{drawn}; {kl}")}
    reason = _without_weights(model)
    if reason is not None:
        missing = Estimate.missing(n=len(rate), **{**facts, "reason": reason})
        found |= dict.fromkeys(("iwae", *ladder.ALWAYS), missing)
    else:
        weights = _weights(rows)
        how = f"log-mean-exp of {samples} importance weights from q(z|x)"
        found["iwae"] = mean(weights.bounds[:, -1], **facts, estimator=how)
        per_example |= {"iwae": weights.bounds[:, -1], "iwae_ladder": weights.bounds}
        per_example |= {"effective_samples": weights.effective, "pareto_k": weights.pareto_k}
        found |= ladder.estimates(weights, facts)
    description = "nats needed to encode z, which is a function of x, under the prior" if deterministic else ""
    found["rate"] = mean(rate, **facts, estimator=kl, description=description)
    found["kl_per_group"] = mean(by_group, **facts, estimator=kl)
    by_dimension = np.concatenate(rates, axis=1)
    if all(closed) and by_dimension.shape[1] == model.latents.latent:
        found["kl_per_dimension"] = mean(by_dimension, **facts, estimator=kl)
    else:
        reason = "the KL of this prior and posterior is not a sum over latent dimensions"
        found["kl_per_dimension"] = Estimate.missing(n=len(rate), **{**facts, "reason": reason})
    found |= ladder.numerical(effects, facts)
    if "ode_difference" in found:
        found |= {name: _widened(found[name], found["ode_difference"]) for name in ("elbo", "iwae", "rate")}
    gains = [part.sampled.gain for part in rows if part.sampled.gain is not None]
    if gains:
        per_example["prior_gain"] = _array(gains)
        found |= code_indices.prices(rate, per_example["prior_gain"], facts)
    return found


def _latent_space(model: VAE, rows: Sequence[Rows], per_example: dict[str, Array]) -> dict[str, Estimate]:
    """Return where the latent codes lie, or which code indices are in use."""
    target = f"{model.latents.moments_of} over the data"
    z: dict[str, Any] = {"unit": "z", "target": target}
    dimensions = {**z, "unit": "dimensions"}
    if rows[0].sampled.codes:
        books = CodeBooks()
        for part in rows:
            books.add(part.sampled.codes)
        per_example["codes"] = books.indices
        facts = {"active_units": dimensions, "latent_mean": z, "latent_std": z}
        why, n = "the latent is a grid of code indices: see codes_used", len(per_example["index"])
        return {name: Estimate.missing(why, n=n, **each) for name, each in facts.items()} | books.estimates()
    mu, variance = (per_example.setdefault(name, _column(rows, name)) for name in ("mean", "variance"))
    return {
        "active_units": active_units(mu, **dimensions, estimator="count of Var_x(E_q[z|x]) > 0.01"),
        "latent_mean": mean(mu, **z, estimator="mean of posterior means"),
        "latent_std": spread(mu, variance, **z, estimator="sqrt(Var mu + E sigma^2); delta method"),
    }


def _widened(estimate: Estimate, difference: Estimate) -> Estimate:
    """Return an estimate whose standard error contains a numerical difference."""
    if not isinstance(estimate.stderr, float):
        return estimate
    how = f"{estimate.estimator}; the standard error contains the error of the ordinary differential equation"
    return replace(estimate, stderr=math.hypot(estimate.stderr, scalar(difference)), estimator=how)


def _kl_estimator(closed: tuple[bool, ...], samples: int) -> str:
    """Describe how the KL was estimated, from whether each group has a closed form."""
    if not any(closed):
        return f"KL as log q - log p over {samples} samples"
    if len(closed) == 1:
        return "KL in closed form"
    if all(closed):
        return f"KL of each group in closed form given the groups above, over {samples} samples"
    some = f"{closed.count(True)} of {len(closed)} groups"
    return f"KL in closed form of {some}, as log q - log p of the others, over {samples} samples"


def _bits(model: VAE, found: Mapping[str, Estimate], name: str) -> Estimate:
    """Return bits per dimension from the bound of this name."""
    bound = found[name]
    facts: dict[str, Any] = {"n": bound.n, "unit": "bits/dim", "target": bound.target, "samples": bound.samples}
    if bound.value is None or (bound.stderr is None and bound.n > 1):
        return Estimate.missing(str(bound.reason), **facts)
    if not model.observation.counts_bits:
        return Estimate.missing(str(model.observation.not_a_likelihood or model.observation.no_bits), **facts)
    a_bit, how = model.dimensions * math.log(2), f"-{name} / (D ln 2), D = {model.dimensions}"
    stderr = None if bound.stderr is None else scalar_error(bound) / a_bit
    return estimate(-scalar(bound) / a_bit, stderr, **facts, estimator=how)
