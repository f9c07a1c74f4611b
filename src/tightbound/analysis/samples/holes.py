"""Where the prior puts draws and the data put no codes, and what is decoded there."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from tightbound.analysis.estimate import Analysis, Array, Estimate, estimate, mean
from tightbound.analysis.samples.neighbors import as_data, as_points, distance_unit, nearest, points
from tightbound.core.errors import CompositionError, InputError, number, whole
from tightbound.core.model import VAE
from tightbound.core.noise import ExampleNoise, Noise, key_seed
from tightbound.core.schedules import Knobs
from tightbound.data.feed import Source, batches, evaluating
from tightbound.inference.infer import Codes, decode, encode

RESAMPLES = 500
CURVE = 51  # points of the curve
DECODED = 200  # codes of each kind that are decoded, at most
PARTS, PLACES = 1000, 1000  # of the mixture, and where its density is taken, at once
FEWEST = 10  # of which anything is said
KINDS = {
    "holes": "draws of the prior in holes",
    "covered": "draws of the prior elsewhere",
    "codes": "codes of test data",
}


@dataclass(frozen=True)
class Holes(Analysis):
    """How far the prior and the codes of data lie in different places."""

    curve: Mapping[str, Array]  # "codes", "prior": (CURVE,) shares that lie where q(z) / p(z) is lowest

    def to_json(self) -> dict[str, Any]:
        """Plain numbers, lists and strings."""
        return {**super().to_json(), "curve": {name: values.tolist() for name, values in self.curve.items()}}


def holes(
    model: VAE,
    train: Source,
    test: Source,
    *,
    draws: int = 2000,
    level: float = 0.01,
    seed: int = 0,
) -> Holes:
    """The share of prior draws that lie where hardly any code does, and whether what they decode to is worse.

    Places are ordered by log q(z) - log p(z), with q(z) the mean of q(z | x) over the training data, as a mixture of
    Gaussians with each posterior's mean and variance. A mixture of narrow densities is itself thin between its centers
    in many dimensions, whether or not there is a hole. So the limit is set by codes of test data, which know of no
    center: below it lies a share `level` of them. What share of prior draws lies there is then exact in expectation,
    however good or bad the mixture is, and less `level` it is a lower bound on the total variation distance between
    the prior and the distribution of codes.

    Arguments:
        train: What q(z) is made of.
        test: Data that the model was not trained on.
        draws: From the prior, and at least as many codes of test data.
        level: The share of codes that lie in holes, by definition of these.

    Raises:
        InputError: no data.
        CompositionError: a conditional model, which has a prior for each context.
    """
    draws, level = whole("draws", draws, least=100), number("level", level, above=0, below=0.5)
    if model.context is not None:
        raise CompositionError("a conditional model has one prior and one set of codes for each context; none is all")
    codes = encode(model, train, seed=seed)
    width = _width(codes.mean, codes.variance)
    with evaluating(model):
        drawn = model.latents.draw(draws, Noise("holes", seed)).cpu()
    held = _draws(model, test, draws, seed)  # (S, N, latent)
    centers = (codes.mean.double(), width)
    ratio = _log_ratio(model, drawn, *centers)
    own = _log_ratio(model, held.flatten(0, 1), *centers).reshape(held.shape[:2])
    generator = np.random.default_rng(key_seed("holes", seed))
    limit = float(np.quantile(own, level))
    numbers = _shares(model, ratio, own, level, generator, codes)
    inside = torch.from_numpy(ratio < limit)
    groups = {"holes": drawn[inside], "covered": drawn[~inside], "codes": held[0]}
    few = {name: part[:DECODED] for name, part in groups.items()}
    spread = codes.mean.std(0) if len(codes.mean) > 1 else torch.ones(codes.mean.shape[1])
    numbers |= _round_trip(model, few, spread, seed)
    numbers |= _distances(model, few, train, seed)
    grid = np.linspace(0, 1, CURVE)
    below = np.searchsorted(np.sort(ratio), np.quantile(own, grid), side="left") / len(ratio)
    return Holes(numbers, {"codes": grid, "prior": np.append(below[:-1], 1.0)})


def log_mixture(z: Tensor, mean: Tensor, variance: Tensor) -> Tensor:
    """(Z,) log (1/N) sum_n N(z; m_n, diag v_n) of z (Z, L), from means and variances (N, L); in float64, nats."""
    total = torch.full((len(z),), -math.inf, dtype=torch.float64)
    for m, v in zip(mean.double().split(PARTS), variance.double().split(PARTS), strict=True):
        # |z - m|^2 / v as products of matrices: exact to about 1e-9 in float64, and fast
        constant = (m.square() / v + v.log() + math.log(2 * math.pi)).sum(1)
        for part, sums in zip(z.double().split(PLACES), total.split(PLACES), strict=True):
            pairs = torch.addmm(constant, part.square(), (1 / v).T).addmm_(part, (m / v).T, alpha=-2)
            sums.copy_(torch.logaddexp(sums, pairs.mul_(-0.5).logsumexp(1)))
    return total - math.log(len(mean))


def _width(center: Tensor, variance: Tensor) -> Tensor:
    """(N, L) variances of the mixture's parts: the posteriors', or for points those of a kernel by Scott's rule."""
    variance = variance.double()
    if not variance.any():
        n, latent = center.shape
        variance = (n ** (-2 / (latent + 4)) * center.double().var(0)).expand(n, latent)
    return variance.clamp_min(1e-12)


def _draws(model: VAE, data: Source, least: int, seed: int) -> Tensor:
    """(S, N, latent) codes, as many of each example as make `least` together."""
    parts: list[Tensor] = []
    held = [batch.to("cpu") for batch in batches(model, data, 500)]
    total = sum(map(len, held))
    if total < 2:
        raise InputError(f"{total} test data were given; the places of codes need at least two")
    samples = -(-least // total)
    with evaluating(model):
        for batch in held:
            seen = model.observe(batch.to(model.device), Noise("holes", seed))
            noise = ExampleNoise("holes", seed, index=batch.positions())
            groups, _ = model.infer(seen, model.encode_state(seen), samples, noise, Knobs.final(model.schedules))
            parts.append(torch.cat([group.z.flatten(2) for group in groups], -1).cpu())
    return torch.cat(parts, 1)


def _log_ratio(model: VAE, z: Tensor, center: Tensor, variance: Tensor) -> Array:
    """(Z,) log q(z) - log p(z)."""
    with evaluating(model):
        prior = torch.cat([model.latents.log_prior(part.to(model.device)).cpu() for part in z.split(500)])
    return (log_mixture(z, center, variance) - prior.double()).numpy()


def _shares(
    model: VAE, ratio: Array, own: Array, level: float, generator: np.random.Generator, codes: Codes
) -> dict[str, Estimate]:
    """Shares of prior draws (Z,) and of codes (S, N), with the bootstrap over draws and over data."""
    limits, shares, separations = [], [], []
    for _ in range(RESAMPLES):
        some = np.sort(ratio[generator.integers(0, len(ratio), len(ratio))])
        others = own[:, generator.integers(0, own.shape[1], own.shape[1])].ravel()
        limits.append(np.quantile(others, level))
        shares.append(np.searchsorted(some, limits[-1]) / len(some))
        separations.append(_auc(some, others))
    mixture = f"q(z) of the moments of {len(codes.mean):,} training data's posteriors"
    if not codes.variance.any():
        mixture = f"a kernel density of {len(codes.mean):,} training data's codes (Scott's rule)"
    facts = {"n": own.shape[1], "target": "draws of p(z) against codes of test data", "samples": own.shape[0]}
    by = f"places ordered by log q(z) - log p(z), {mixture}; {len(ratio):,} draws, {own.size:,} codes; bootstrap"
    share = float((ratio < np.quantile(own, level)).mean())
    return {
        "uncovered": estimate(
            share, np.std(shares, ddof=1), unit="share", estimator=by, **facts,
            description=f"share of prior draws that lie where fewer than {level:.0%} of the test data's codes do",
        ),
        "separation": estimate(
            _auc(np.sort(ratio), own.ravel()), np.std(separations, ddof=1), unit="probability", estimator=by, **facts,
            description="that a code of a test example lies in a better covered place than a prior draw; 0.5: the same places",
        ),
    }  # fmt: skip


def _auc(below: Array, above: Array) -> float:
    """The probability that one of `above` is greater than one of `below`, which is sorted; ties count half."""
    left, right = (np.searchsorted(below, above, side=side) for side in ("left", "right"))
    return float((left + right).mean() / (2 * len(below)))


def _round_trip(model: VAE, groups: Mapping[str, Tensor], spread: Tensor, seed: int) -> dict[str, Estimate]:
    """z -> x -> E[z | x], for each kind of code."""
    drawn = not model.observation.not_a_likelihood
    how = "x drawn from p(x|z)" if drawn else "x = E[x|z]"
    numbers = {}
    for kind, z in groups.items():
        facts = {
            "target": KINDS[kind],
            "description": f"error of coming back from x to the z that it was made of: {KINDS[kind]}; 1 for an exact q(z|x)",
        }
        if len(z) < FEWEST:
            numbers[f"round_trip_{kind}"] = _too_few(len(z), unit="standard deviations", **facts)
            continue
        x = decode(model, z, sample=drawn, seed=seed)
        back = encode(model, as_data(model, x), seed=seed)
        unit, scale = "standard deviations of q(z|x)", back.variance.sqrt()
        if not back.variance.any():
            unit, scale = "standard deviations of the codes", spread.expand_as(back.mean)
        squared = ((back.mean - z) / scale.clamp_min(1e-6)).double().square().mean(1).numpy()
        numbers[f"round_trip_{kind}"] = _root(squared, unit=unit, estimator=f"root mean square, {how}", **facts)
    return numbers


def _distances(model: VAE, groups: Mapping[str, Tensor], train: Source, seed: int) -> dict[str, Estimate]:
    """Of what is decoded to the nearest training example, for each kind of code."""
    decoded = {kind: as_points(model, decode(model, z)) for kind, z in groups.items() if len(z) >= FEWEST}
    distance, why = None, None
    try:
        distance, _ = nearest(torch.cat([*decoded.values()]), points(model, train, seed))
    except CompositionError as error:
        why = str(error)
    numbers, start = {}, 0
    for kind, z in groups.items():
        facts: dict[str, Any] = {
            "unit": distance_unit(model),
            "target": KINDS[kind],
            "description": f"how far E[x|z] is from the nearest training example: {KINDS[kind]}",
        }
        if len(z) < FEWEST:
            numbers[f"distance_{kind}"] = _too_few(len(z), **facts)
        elif distance is None:
            numbers[f"distance_{kind}"] = Estimate(None, None, len(z), estimator="none", reason=why, **facts)
        else:
            own = distance[start : start + len(z)].double().numpy()
            numbers[f"distance_{kind}"] = mean(own, estimator="mean Euclidean distance", **facts)
            start += len(z)
    return numbers


def _root(squared: Array, **facts: Any) -> Estimate:
    """sqrt of a mean, by the delta method."""
    root = math.sqrt(squared.mean())
    return estimate(
        root, squared.std(ddof=1) / math.sqrt(len(squared)) / (2 * max(root, 1e-12)), n=len(squared), **facts
    )


def _too_few(n: int, **facts: Any) -> Estimate:
    return Estimate(None, None, n, estimator="none", reason=f"{n} of the draws are such", **facts)
