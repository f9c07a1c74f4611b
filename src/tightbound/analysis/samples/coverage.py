"""How the places of prior draws and of latent codes differ."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from tightbound.analysis.detection.areas import shares_below
from tightbound.analysis.estimate import Array, Estimate, estimate, mean, mean_error, resampled_error
from tightbound.analysis.result import Result
from tightbound.analysis.samples.neighbors import as_data, as_points, distance_unit, nearest, points
from tightbound.core.errors import CompositionError, InputError, number, whole
from tightbound.core.limits import check_held
from tightbound.core.model import VAE
from tightbound.core.noise import ExampleNoise, Noise, key_seed
from tightbound.core.schedules import Knobs
from tightbound.data.feed import Source, batches, evaluating
from tightbound.inference.infer import Codes, decode, encode

RESAMPLES = 500
CURVE = 51  # points of the curve
DECODED = 200  # latent codes of each kind that are decoded, at most
FEWEST = 10  # latent codes of a kind that an estimate needs
KINDS = {
    "holes": "prior draws in holes",
    "covered": "prior draws elsewhere",
    "codes": "latent codes of test examples",
}


def holes(
    model: VAE, train: Source, test: Source, *, n_samples: int = 2000, level: float = 0.01, seed: int = 0
) -> Result:
    """Estimate the share of prior draws that lie where hardly any latent code does, and how they decode.

    Places are ordered by log q(z) - log p(z), where q(z) is the mean of q(z|x) over the training data: a mixture of
    Gaussians with the mean and variance of each posterior. In many dimensions, a mixture of narrow densities is thin
    between its centers whether or not there is a hole. The limit is therefore set by latent codes of test examples,
    which are independent of the centers: a share `level` of them lies below it. The share of prior draws below it is
    then unbiased whatever the quality of the mixture, and minus `level` it is a lower bound on the total variation
    distance between the prior and the distribution of latent codes.

    Returns:
        The estimates, and as details the "curve": shares of "codes" and "prior" draws, (CURVE,) each, in the places
        where q(z) / p(z) is lowest.

    Raises:
        InputError: If fewer than two test examples are given.
        CompositionError: If the model is conditional: each context has its own prior.
    """
    n_samples, level = whole("n_samples", n_samples, least=100), number("level", level, above=0, below=0.5)
    if model.context is not None:
        raise CompositionError("undefined for conditional models: each context has its own prior and codes")
    check_held("n_samples", n_samples, model.latents.latent, of="draws")
    codes = encode(model, train, seed=seed)
    width = _width(codes.mean, codes.variance)
    with evaluating(model):
        drawn = model.latents.draw(n_samples, Noise("holes", seed)).cpu()
    held = _draws(model, test, n_samples, seed)  # (S, N, latent)
    centers = (codes.mean.double(), width)
    ratio = _log_ratio(model, drawn, *centers)
    own = _log_ratio(model, held.flatten(0, 1), *centers).reshape(held.shape[:2])
    generator = np.random.default_rng(key_seed("holes", seed))
    limit = float(np.quantile(own, level))
    estimates = _shares(ratio, own, level, generator, codes)
    inside = torch.from_numpy(ratio < limit)
    groups = {"holes": drawn[inside], "covered": drawn[~inside], "codes": held[0]}
    few = {name: part[:DECODED] for name, part in groups.items()}
    spread = codes.mean.std(0) if len(codes.mean) > 1 else torch.ones(codes.mean.shape[1])
    estimates |= _round_trip(model, few, spread, seed)
    estimates |= _distances(model, few, train, seed)
    grid = np.linspace(0, 1, CURVE)
    below = np.searchsorted(np.sort(ratio), np.quantile(own, grid), side="left") / len(ratio)
    curve = {"codes": grid.tolist(), "prior": np.append(below[:-1], 1.0).tolist()}
    return Result(estimates, details={"curve": curve})


def log_mixture(
    z: Tensor, mean: Tensor, variance: Tensor, *, components_at_once: int = 1000, codes_at_once: int = 1000
) -> Tensor:
    """Return log (1/N) sum_n N(z; m_n, diag v_n) at latent codes (Z, L), in float64, nats (Z,).

    The components have means and variances (N, L). Blocks of components and of codes bound the memory.
    """
    total = torch.full((len(z),), -math.inf, dtype=torch.float64)
    blocks = zip(mean.double().split(components_at_once), variance.double().split(components_at_once), strict=True)
    for m, v in blocks:
        # |z - m|^2 / v as products of matrices: exact to about 1e-9 in float64, and fast
        constant = (m.square() / v + v.log() + math.log(2 * math.pi)).sum(1)
        for part, sums in zip(z.double().split(codes_at_once), total.split(codes_at_once), strict=True):
            pairs = torch.addmm(constant, part.square(), (1 / v).T).addmm_(part, (m / v).T, alpha=-2)
            sums.copy_(torch.logaddexp(sums, pairs.mul_(-0.5).logsumexp(1)))
    return total - math.log(len(mean))


def _width(center: Tensor, variance: Tensor) -> Tensor:
    """Return the variances (N, L) of the mixture: of the posteriors, or for points of a kernel by Scott's rule."""
    variance = variance.double()
    if not variance.any():
        n, latent = center.shape
        variance = (n ** (-2 / (latent + 4)) * center.double().var(0)).expand(n, latent)
    return variance.clamp_min(1e-12)


def _draws(model: VAE, data: Source, least: int, seed: int) -> Tensor:
    """Return draws of q(z|x) (S, N, latent), with S so large that there are at least `least` in all."""
    parts: list[Tensor] = []
    held = [batch.to("cpu") for batch in batches(model, data, 500)]
    total = sum(map(len, held))
    if total < 2:
        raise InputError(f"{total} test examples were given; needed: at least two")
    samples = -(-least // total)
    with evaluating(model):
        for batch in held:
            seen = model.observe(batch.to(model.device), Noise("holes", seed))
            noise = ExampleNoise("holes", seed, index=batch.positions())
            groups, _ = model.infer(seen, model.encode_state(seen), samples, noise, Knobs.final(model.schedules))
            parts.append(torch.cat([group.z.flatten(2) for group in groups], -1).cpu())
    return torch.cat(parts, 1)


def _log_ratio(model: VAE, z: Tensor, center: Tensor, variance: Tensor) -> Array:
    """Return log q(z) - log p(z), (Z,)."""
    with evaluating(model):
        prior = torch.cat([model.latents.log_prior(part.to(model.device)).cpu() for part in z.split(500)])
    return (log_mixture(z, center, variance) - prior.double()).numpy()


def _shares(
    ratio: Array, own: Array, level: float, generator: np.random.Generator, codes: Codes
) -> dict[str, Estimate]:
    """Return shares of prior draws (Z,) and of test codes (S, N), with a bootstrap over draws and examples."""
    limits, shares, separations = [], [], []
    for _ in range(RESAMPLES):
        some = np.sort(ratio[generator.integers(0, len(ratio), len(ratio))])
        others = own[:, generator.integers(0, own.shape[1], own.shape[1])].ravel()
        limits.append(np.quantile(others, level))
        shares.append(np.searchsorted(some, limits[-1]) / len(some))
        separations.append(shares_below(some, others).mean())
    mixture = f"q(z) from the posterior moments of {len(codes.mean):,} training examples"
    if not codes.variance.any():
        mixture = f"q(z) a kernel density of {len(codes.mean):,} training codes (Scott's rule)"
    facts = {"n": own.shape[1], "target": "draws of p(z) against codes of test examples", "samples": own.shape[0]}
    by = f"places ordered by log q(z) - log p(z), {mixture}; {len(ratio):,} draws, {own.size:,} codes; bootstrap"
    share, separation = float((ratio < np.quantile(own, level)).mean()), float(shares_below(ratio, own.ravel()).mean())
    return {
        "uncovered": estimate(
            share, resampled_error(share, np.array(shares)), unit="share", estimator=by, **facts,
            description=f"prior draws in holes: the least covered places, which hold {level:.0%} of the latent codes "
            "of "
            "test examples",
        ),
        "separation": estimate(
            separation, resampled_error(separation, np.array(separations)), unit="probability", estimator=by,
            description="a latent code of a test example lies in a better covered place than a prior draw; 0.5: "
            "equally covered",
            **facts,
        ),
    }  # fmt: skip


def _round_trip(model: VAE, groups: Mapping[str, Tensor], spread: Tensor, seed: int) -> dict[str, Estimate]:
    """Return the error of z -> x -> E[z|x] for each kind of code."""
    drawn = not model.observation.not_a_likelihood
    how = "x drawn from p(x|z)" if drawn else "x = E[x|z]"
    estimates = {}
    for kind, z in groups.items():
        facts = {
            "target": KINDS[kind],
            "description": f"error of z -> x -> E[z|x] for {KINDS[kind]}; 1 for an exact q(z|x)",
        }
        if len(z) < FEWEST:
            estimates[f"round_trip_{kind}"] = _too_few(len(z), unit="standard deviations", **facts)
            continue
        x = decode(model, z, draw=drawn, seed=seed)
        back = encode(model, as_data(model, x), seed=seed)
        unit, scale = "standard deviations of q(z|x)", back.variance.sqrt()
        if not back.variance.any():
            unit, scale = "standard deviations of the codes", spread.expand_as(back.mean)
        squared = ((back.mean - z) / scale.clamp_min(1e-6)).double().square().mean(1).numpy()
        estimates[f"round_trip_{kind}"] = _root(squared, unit=unit, estimator=f"root mean square, {how}", **facts)
    return estimates


def _distances(model: VAE, groups: Mapping[str, Tensor], train: Source, seed: int) -> dict[str, Estimate]:
    """Return the distance from E[x|z] to the nearest training example for each kind of code."""
    decoded = {kind: as_points(model, decode(model, z)) for kind, z in groups.items() if len(z) >= FEWEST}
    distance, why = None, None
    try:
        distance, _ = nearest(torch.cat([*decoded.values()]), points(model, train, seed))
    except CompositionError as error:
        why = str(error)
    estimates, start = {}, 0
    for kind, z in groups.items():
        facts: dict[str, Any] = {
            "unit": distance_unit(model),
            "target": KINDS[kind],
            "description": f"distance of E[x|z] to the nearest training example, for {KINDS[kind]}",
        }
        if len(z) < FEWEST:
            estimates[f"distance_{kind}"] = _too_few(len(z), **facts)
        elif distance is None:
            estimates[f"distance_{kind}"] = Estimate.missing(str(why), n=len(z), **facts)
        else:
            own = distance[start : start + len(z)].double().numpy()
            estimates[f"distance_{kind}"] = mean(own, estimator="mean Euclidean distance", **facts)
            start += len(z)
    return estimates


def _root(squared: Array, **facts: Any) -> Estimate:
    """Return the square root of a mean, with its standard error by the delta method."""
    root = math.sqrt(squared.mean())
    return estimate(root, mean_error(squared) / (2 * max(root, 1e-12)), n=len(squared), **facts)


def _too_few(n: int, **facts: Any) -> Estimate:
    return Estimate.missing(f"only {n} latent codes are of this kind; needed: {FEWEST}", n=n, **facts)
