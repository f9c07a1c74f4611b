"""One streaming pass over data: bounds, rate, distortion, use of the latent space."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from tightbound.core.errors import InputError, whole
from tightbound.core.model import VAE
from tightbound.core.noise import DatumNoise, Noise
from tightbound.core.schedules import Knobs
from tightbound.core.terms import Batch, Terms
from tightbound.data.feed import Source, batches, evaluating
from tightbound.evaluation.numbers import Estimate, Evaluation, active_units, estimate, mean, spread

BLOCK = 100  # samples that share a noise key: part of the definition of the numbers, not a batch size
ROWS = 4000  # (sample, datum) pairs decoded at once
BYTES = 1 << 26  # of the likelihood's parameters at once, which bounds memory whatever k and x are


def evaluate(model: VAE, data: Source, *, samples: int = 5000, seed: int = 0, progress: bool = False) -> Evaluation:
    """Bounds on log p(x) and the numbers around them, over all of `data`.

    The encoder runs once a datum; importance samples are streamed in blocks, so memory does not grow with
    `samples`. The noise depends on the seed, the datum and the block: numbers do not change with batching.

    Arguments:
        data: A split, or raw data (N, *shape).
        samples: k of the IWAE bound, used exactly; the ELBO's expectation is over the same samples.
        progress: Show a progress bar on standard error.

    Raises:
        InputError: no data, or fewer than one sample.

    References:
        Importance weighted autoencoders (Burda et al. 2016), Eq. 8, https://arxiv.org/abs/1509.00519;
        Fixing a broken ELBO (Alemi et al. 2018), for rate and distortion, https://arxiv.org/abs/1711.00464
    """
    from tqdm.auto import tqdm

    whole("samples", samples, least=1)
    block = min(BLOCK, samples)
    size = max(1, min(ROWS, BYTES // (4 * _numbers_a_row(model))) // block)
    sums = _PerDatum()
    try:
        total = len(data)
    except TypeError:  # a stream
        total = None
    with evaluating(model), tqdm(total=total, disable=not progress or None, unit="datum", leave=False) as bar:
        for batch in batches(model, data, size):
            _add_batch(model, batch, samples, seed, sums)
            bar.update(len(batch))
    if not sums.index:
        raise InputError("there are no data to evaluate on; give at least one datum")
    return _summarise(model, sums, samples)


def _numbers_a_row(model: VAE) -> int:
    return math.prod(model.shape) * model.likelihood.outputs


@dataclass
class _PerDatum:
    """Values of each datum, batch by batch."""

    index: list[Tensor] = field(default_factory=list)
    log_likelihood: list[Tensor] = field(default_factory=list)  # mean over samples
    rate: list[Tensor] = field(default_factory=list)  # (B, F); empty where there is no density
    iwae: list[Tensor] = field(default_factory=list)
    mean: list[Tensor] = field(default_factory=list)
    variance: list[Tensor] = field(default_factory=list)
    error: list[Tensor] = field(default_factory=list)
    closed: bool = True  # whether the KL was closed


def _add_batch(model: VAE, batch: Batch, samples: int, seed: int, out: _PerDatum) -> None:
    index = batch.positions()
    seen = model.observe(batch, Noise("evaluate", seed))
    state = model.encode_state(seen)
    mu, variance = model.latents.moments(state)
    knobs = Knobs.final(model.schedules)
    log_likelihood, weight, rate, bounded, closed = 0.0, None, 0.0, True, True
    for number, start in enumerate(range(0, samples, BLOCK)):
        count = min(BLOCK, samples - start)
        noise = DatumNoise("evaluate", seed, number, index=index)
        terms = model.terms_from(seen, state, count, noise, knobs)
        log_likelihood = log_likelihood + terms.log_likelihood.double().sum(0)
        bounded = all(group.has_density for group in terms.latents)
        if bounded:
            one = terms.log_weight.double().logsumexp(0)
            weight = one if weight is None else torch.logaddexp(weight, one)
            rate = rate + _rate(terms).double() * (count / samples)
            closed = all(group.kl is not None for group in terms.latents)
    out.index.append(index.cpu())
    out.log_likelihood.append(torch.as_tensor(log_likelihood).cpu() / samples)
    if weight is not None:
        out.iwae.append(weight.cpu() - math.log(samples))
        out.rate.append(torch.as_tensor(rate).cpu())
    out.closed = closed
    out.mean.append(mu.double().cpu())
    out.variance.append(variance.double().cpu())
    restored = model.observation.restore(model.decode(mu, seen.context).mean)
    out.error.append(model.observation.error(restored, batch.x, seen).cpu())


def _rate(terms: Terms) -> Tensor:
    """(B, F) over all groups, averaged over this block's samples."""
    return torch.cat([group.rate().mean(0) for group in terms.latents], dim=-1)


def _summarise(model: VAE, sums: _PerDatum, samples: int) -> Evaluation:
    def array(parts: list[Tensor]) -> np.ndarray:
        return torch.cat(parts).numpy()

    target, n = model.observation.target_name, len(array(sums.index))
    mu, variance, log_likelihood = array(sums.mean), array(sums.variance), array(sums.log_likelihood)
    per_datum = {"index": array(sums.index), "distortion": -log_likelihood, "mean": mu, "variance": variance}
    per_datum["reconstruction_mse"] = array(sums.error)
    drawn = f"expectation over {samples} samples of q(z|x) a datum"
    kl = "KL in closed form" if sums.closed else f"KL as log q - log p over {samples} samples"
    nats = {"n": n, "unit": "nats", "target": target, "samples": samples}
    numbers: dict[str, Estimate] = {}
    if sums.iwae:
        iwae, rates = array(sums.iwae), array(sums.rate)
        rate = rates.sum(1)
        elbo = log_likelihood - rate
        per_datum |= {"iwae": iwae, "elbo": elbo, "rate": rate}
        facts = {k: v for k, v in nats.items() if k != "n"} | {"reason": model.observation.not_a_likelihood}
        numbers["elbo"] = mean(elbo, **facts, estimator=f"{drawn}; {kl}")
        numbers["iwae"] = mean(iwae, **facts, estimator=f"log-mean-exp of {samples} importance weights from q(z|x)")
        numbers["rate"] = mean(rate, **facts, estimator=kl)
        numbers["kl_per_dimension"] = _by_dimension(model, rates, sums.closed, facts, kl)
    else:
        why = "the posterior is a point mass, which has no density: no bound on log p(x) exists"
        for name in ("elbo", "iwae", "rate", "kl_per_dimension"):
            numbers[name] = Estimate(None, None, **nats, estimator="none", reason=why)
    numbers["distortion"] = mean(-log_likelihood, unit="nats", target=target, samples=samples, estimator=drawn)
    numbers["bits_per_dim"] = _bits(model, numbers["iwae"])
    of_codes = {"unit": "z", "target": "q(z|x) over the data"}
    numbers["active_units"] = active_units(
        mu, unit="dimensions", target="q(z|x) over the data", estimator="count of Var_x(E_q[z|x]) > 0.01"
    )
    numbers["latent_mean"] = mean(mu, **of_codes, estimator="mean of posterior means")
    numbers["latent_std"] = spread(mu, variance, **of_codes, estimator="sqrt(Var mu + E sigma^2); delta method")
    error = per_datum["reconstruction_mse"]
    numbers["reconstruction_mse"] = mean(
        error[~np.isnan(error)] if np.isfinite(error).any() else error,  # of data without any observed element
        unit=model.observation.error_unit,
        target="E[x|z] at the posterior mean, against x",
        estimator="mean over elements and data",
    )
    order = ("elbo", "iwae", "bits_per_dim", "rate", "distortion", "reconstruction_mse", "active_units")
    order += ("kl_per_dimension", "latent_mean", "latent_std")
    return Evaluation({name: numbers[name] for name in order}, per_datum)


def _by_dimension(model: VAE, rates: np.ndarray, closed: bool, facts: dict, kl: str) -> Estimate:
    if not closed or rates.shape[1] != model.latents.latent:
        reason = "the KL of this prior and posterior does not fall into one term a latent dimension"
        return Estimate(None, None, len(rates), estimator="none", **{**facts, "reason": reason})
    return mean(rates, **facts, estimator=kl)


def _bits(model: VAE, iwae: Estimate) -> Estimate:
    facts = {"n": iwae.n, "unit": "bits/dim", "target": iwae.target, "samples": iwae.samples}
    if iwae.value is None or (iwae.stderr is None and iwae.n > 1):
        return Estimate(None, None, **facts, estimator="none", reason=iwae.reason)
    if not model.observation.counts_bits:
        why = model.observation.not_a_likelihood or model.observation.no_bits
        return Estimate(None, None, **facts, estimator="none", reason=why)
    a_bit = math.prod(model.shape) * math.log(2)
    value, stderr = np.asarray(iwae.value), iwae.stderr
    return estimate(
        -value / a_bit,
        None if stderr is None else np.asarray(stderr) / a_bit,
        **facts,
        estimator=f"-iwae / (D ln 2), D = {math.prod(model.shape)}",
    )
