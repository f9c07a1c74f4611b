"""One streaming pass over data: bounds, rate, distortion, use of the latent space."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from tightbound.core.errors import InputError, whole
from tightbound.core.interfaces import State
from tightbound.core.model import VAE
from tightbound.core.noise import DatumNoise, Noise
from tightbound.core.schedules import Knobs
from tightbound.core.terms import Batch
from tightbound.data.feed import Source, batches, evaluating
from tightbound.evaluation import ladder
from tightbound.evaluation.numbers import Estimate, Evaluation, active_units, estimate, mean, spread
from tightbound.evaluation.rate import Gathered
from tightbound.evaluation.weights import BLOCK, Weights

EXPLAINED = {
    "elbo": "lower bound on log p(x); -ELBO = rate + distortion",
    "iwae": "importance-weighted lower bound on log p(x): tighter than the ELBO, and tighter with more samples",
    "bits_per_dim": "bits to code one element of x: -bound / (D ln 2); lower is better",
    "rate": "KL(q(z|x) || p(z)): nats that z carries about x",
    "distortion": "-E_q[log p(x|z)]: nats left to code x once z is known",
    "reconstruction_mse": "squared error an element, decoding the posterior mean",
    "active_units": "latent dimensions in use: Var_x(E_q[z|x]) > 0.01",
    "kl_per_group": "the rate by group of latent variables, the lowest first",
    "kl_per_dimension": "the rate by latent dimension",
    "latent_mean": "mean of z over the data, by dimension; 0 under N(0, 1)",
    "latent_std": "sqrt(Var mu + E sigma^2) over the data, by dimension; 1 under N(0, 1)",
    **ladder.EXPLAINED,
}
PRECISIONS = ("fp32", "bf16")
COMPARED = 50  # data whose bound is computed in float32, too, where it is in bfloat16
Precision = Literal["fp32", "bf16"]
ROWS = 4000  # (sample, datum) pairs decoded at once
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

    The encoder runs once a datum; importance samples are streamed in blocks, so memory does not grow with
    `samples` but for the largest weights. The noise depends on the seed, the datum and the block: numbers do not
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
    from tqdm.auto import tqdm

    whole("samples", samples, least=1)
    if precision not in PRECISIONS:
        raise InputError(f"precision = {precision!r}; needed: one of {', '.join(PRECISIONS)}")
    size = at_once(model, min(BLOCK, samples))
    sums, gathered = _PerDatum(), Gathered(model, None, seed)
    try:
        total = len(data)
    except TypeError:  # a stream
        total = None
    with evaluating(model), tqdm(total=total, disable=not progress or None, unit="datum", leave=False) as bar:
        for batch in batches(model, data, size):
            _add_batch(model, batch, samples, seed, precision, sums, gathered)
            bar.update(len(batch))
    if not sums.index:
        raise InputError("there are no data to evaluate on; give at least one datum")
    found = _summarise(model, sums, samples)
    with evaluating(model):
        return replace(found, numbers={**found.numbers, **gathered.rate().numbers})


def at_once(model: VAE, samples: int) -> int:
    """How many data may be decoded together, with this many samples each, in bounded memory."""
    row = math.prod(model.shape) * model.likelihood.outputs
    most = BYTES.get(model.device.type, OTHERWISE)
    return max(1, min(ROWS, most // (4 * row)) // samples)


@dataclass
class _PerDatum:
    """Values of each datum, batch by batch."""

    index: list[Tensor] = field(default_factory=list)
    log_likelihood: list[Tensor] = field(default_factory=list)  # mean over samples
    rates: list[list[Tensor]] = field(default_factory=list)  # (B, F) by group; empty where there is no density
    ladder: list[Tensor] = field(default_factory=list)  # (B, rungs)
    effective: list[Tensor] = field(default_factory=list)
    pareto_k: list[Tensor] = field(default_factory=list)
    changed: list[Tensor] = field(default_factory=list)  # bound in bfloat16 less that in float32, of the first data
    mean: list[Tensor] = field(default_factory=list)
    variance: list[Tensor] = field(default_factory=list)
    error: list[Tensor] = field(default_factory=list)
    closed: tuple[bool, ...] = ()  # by group, whether the KL was closed


@dataclass
class _Sampled:
    """Of a batch, over all samples."""

    log_likelihood: Tensor  # (B,) sum
    rates: list[Tensor]  # (B, F) by group
    weights: Weights | None  # None: no density, no bound
    closed: tuple[bool, ...]


def _add_batch(
    model: VAE, batch: Batch, samples: int, seed: int, precision: Precision, out: _PerDatum, gathered: Gathered
) -> None:
    seen = model.observe(batch, Noise("evaluate", seed))
    local = model.encode_local(seen)
    gathered.add(seen, local)
    state = model.latents.state(local, seen.context)
    mu, variance = model.latents.moments(state)
    drawn = _sample(model, seen, state, samples, seed, precision)
    out.closed = drawn.closed
    out.index.append(batch.positions().cpu())
    out.log_likelihood.append(drawn.log_likelihood.cpu() / samples)
    if drawn.weights is not None:
        out.ladder.append(drawn.weights.ladder().cpu())
        out.effective.append(drawn.weights.effective().cpu())
        out.pareto_k.append(torch.from_numpy(drawn.weights.pareto_k()))
        out.rates.append([rate.cpu() for rate in drawn.rates])
        first = seen[: COMPARED - sum(map(len, out.changed))]
        if precision != "fp32" and len(first):
            exact = _sample(model, first, model.encode_state(first), samples, seed, "fp32").weights
            assert exact is not None
            out.changed.append(out.ladder[-1][: len(first), -1] - exact.ladder()[:, -1].cpu())
    out.mean.append(mu.double().cpu())
    out.variance.append(variance.double().cpu())
    restored = model.observation.restore(model.decode(mu, seen.context).mean)
    out.error.append(model.observation.error(restored, batch.x, seen).cpu())


def _sample(model: VAE, seen: Batch, state: State, samples: int, seed: int, precision: Precision) -> _Sampled:
    index, knobs = seen.positions(), Knobs.final(model.schedules)
    out = _Sampled(torch.zeros((), dtype=torch.float64), [], None, ())
    with torch.autocast(model.device.type, torch.bfloat16, enabled=precision == "bf16"):
        for number, start in enumerate(range(0, samples, BLOCK)):
            count = min(BLOCK, samples - start)
            noise = DatumNoise("evaluate", seed, number, index=index)
            terms = model.terms_from(seen, state, count, noise, knobs)
            out.log_likelihood = out.log_likelihood + terms.log_likelihood.double().sum(0)
            if all(group.has_density for group in terms.latents):
                out.weights = out.weights or Weights(samples)
                out.weights.add(terms.log_weight)
                block = [group.rate().mean(0).double() * (count / samples) for group in terms.latents]
                out.rates = [a + b for a, b in zip(out.rates, block, strict=True)] if out.rates else block
                out.closed = tuple(group.kl is not None for group in terms.latents)
    return out


def _summarise(model: VAE, sums: _PerDatum, samples: int) -> Evaluation:
    def array(parts: list[Tensor]) -> np.ndarray:
        return torch.cat(parts).numpy()

    target, n = model.target_name, len(array(sums.index))
    mu, variance, log_likelihood = array(sums.mean), array(sums.variance), array(sums.log_likelihood)
    per_datum = {"index": array(sums.index), "distortion": -log_likelihood, "mean": mu, "variance": variance}
    per_datum["reconstruction_mse"] = array(sums.error)
    drawn = f"expectation over {samples} samples of q(z|x) a datum"
    kl = _kl_estimator(sums.closed, samples)
    nats = {"n": n, "unit": "nats", "target": target, "samples": samples}
    numbers: dict[str, Estimate] = {}
    if sums.ladder:
        bounds = array(sums.ladder)
        iwae, rates = bounds[:, -1], [array(list(group)) for group in zip(*sums.rates, strict=True)]
        by_group = np.stack([group.sum(1) for group in rates], axis=1)
        rate = by_group.sum(1)
        elbo = log_likelihood - rate
        per_datum |= {"iwae": iwae, "elbo": elbo, "rate": rate}
        facts = {k: v for k, v in nats.items() if k != "n"} | {"reason": model.observation.not_a_likelihood}
        numbers["elbo"] = mean(elbo, **facts, estimator=f"{drawn}; {kl}")
        numbers["iwae"] = mean(iwae, **facts, estimator=f"log-mean-exp of {samples} importance weights from q(z|x)")
        weights = ladder.PerDatum(bounds, array(sums.effective), array(sums.pareto_k))
        per_datum |= {"iwae_ladder": bounds, "effective_samples": weights.effective, "pareto_k": weights.pareto_k}
        numbers |= ladder.numbers(weights, array(sums.changed) if sums.changed else None, facts)
        numbers["rate"] = mean(rate, **facts, estimator=kl)
        numbers["kl_per_group"] = mean(by_group, **facts, estimator=kl)
        numbers["kl_per_dimension"] = _by_dimension(model, np.concatenate(rates, axis=1), sums.closed, facts, kl)
    else:
        why = "the posterior is a point mass, which has no density: no bound on log p(x) exists"
        for name in ("elbo", "iwae", "rate", "kl_per_group", "kl_per_dimension", *ladder.ALWAYS):
            numbers[name] = Estimate(None, None, **nats, estimator="none", reason=why)
    numbers["distortion"] = mean(-log_likelihood, unit="nats", target=target, samples=samples, estimator=drawn)
    numbers["bits_per_dim"] = _bits(model, numbers["iwae"])
    coded = f"{model.latents.coded_by} over the data"
    numbers["active_units"] = active_units(
        mu, unit="dimensions", target=coded, estimator="count of Var_x(E_q[z|x]) > 0.01"
    )
    of_codes = {"unit": "z", "target": coded}
    numbers["latent_mean"] = mean(mu, **of_codes, estimator="mean of posterior means")
    numbers["latent_std"] = spread(mu, variance, **of_codes, estimator="sqrt(Var mu + E sigma^2); delta method")
    error = per_datum["reconstruction_mse"]
    numbers["reconstruction_mse"] = mean(
        error[~np.isnan(error)] if np.isfinite(error).any() else error,  # of data without any observed element
        unit=model.observation.error_unit,
        target="E[x|z] at the posterior mean, against x",
        estimator="mean over elements and data",
    )
    found = {name: numbers[name] for name in EXPLAINED if name in numbers}
    return Evaluation({k: replace(v, says=v.says or EXPLAINED[k]) for k, v in found.items()}, per_datum)


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


def _bits(model: VAE, iwae: Estimate) -> Estimate:
    facts = {"n": iwae.n, "unit": "bits/dim", "target": iwae.target, "samples": iwae.samples}
    if iwae.value is None or (iwae.stderr is None and iwae.n > 1):
        return Estimate(None, None, **facts, estimator="none", reason=iwae.reason)
    if not model.observation.counts_bits:
        why = model.observation.not_a_likelihood or model.observation.no_bits
        return Estimate(None, None, **facts, estimator="none", reason=why)
    a_bit = model.dimensions * math.log(2)
    value, stderr = np.asarray(iwae.value), iwae.stderr
    return estimate(
        -value / a_bit,
        None if stderr is None else np.asarray(stderr) / a_bit,
        **facts,
        estimator=f"-iwae / (D ln 2), D = {model.dimensions}",
    )
