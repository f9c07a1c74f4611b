"""Interpolation and traversal of latent space, measured in data space."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from tightbound.analysis.estimate import Array, Estimate, mean
from tightbound.analysis.samples.neighbors import as_points, distance_unit, nearest, points
from tightbound.core.errors import InputError, number, whole
from tightbound.core.model import VAE
from tightbound.data.feed import Source, evaluating
from tightbound.inference.infer import PATHS, Codes, decode, encode, linear

BYTES = 1 << 26  # size of the data that are decoded at once
QUARTERS = 5  # places on a path that are compared with the data: 0, 1/4, 1/2, 3/4, 1
DESCRIPTIONS = {
    "length": ("ratio", "length of the path in data space over its chord; 1: a straight line, such as a cross-fade"),
    "largest_step": ("ratio", "largest step in data space over the mean step; 1: even, without a jump"),
    "roughness": ("ratio", "mean second difference over mean step in data space; 0: straight and even"),
    "midpoint_distance": ("ratio", "distance of the middle to the nearest training example over that of the ends; over "
                                   "1: the path leaves the data"),
    "midpoint_density": ("nats", "log p(z) in the middle minus that of the ends; below 0: the path leads through "
                                 "places that are improbable under the prior"),
}  # fmt: skip


class Measured(NamedTuple):
    """Paths between latent codes, measured.

    Attributes:
        estimates: Estimates by name.
        per_pair: Values of each pair (P,), NaN if undefined; "index": the two examples (P, 2).
        profile: Means over pairs along the path: "step_linear" (steps,), "distance_linear" (QUARTERS,), ...
    """

    estimates: Mapping[str, Estimate]
    per_pair: Mapping[str, Array]
    profile: Mapping[str, Array]

    def plain_profile(self) -> dict[str, list[float | None]]:
        """Return the profile as lists; None where no pair has a value."""
        return {name: [v if math.isfinite(v) else None for v in each.tolist()] for name, each in self.profile.items()}


def paths(model: VAE, data: Source, train: Source, *, steps: int = 16, seed: int = 0) -> Measured:
    """Measure linear and spherical interpolation between the posterior means of pairs of examples.

    The first half of `data` is paired with the second, so that pairs are independent: give examples in random order.
    Distances are Euclidean, between means of p(x|z), in the unit of reconstruction errors. Smooth, blurred images are
    near to all data and make short paths. The cross-fade of both ends in data space serves as a reference: its length
    and steps are 1 by definition.

    Args:
        model: The model.
        data: Examples (2 P) that pairs are made of.
        train: Training data, in which the nearest example is searched for.
        steps, seed: See `Paths`.

    Raises:
        InputError: If there are fewer than two pairs, or steps is not a multiple of 4.
        CompositionError: If distances between the data mean nothing, or values are missing.
    """
    if whole("steps", steps, least=4) % (QUARTERS - 1):
        raise InputError(f"steps = {steps}; needed: a multiple of {QUARTERS - 1}")
    codes = encode(model, data, seed=seed)
    count = len(codes.mean) // 2
    if count < 2:
        raise InputError(f"{len(codes.mean)} examples make {count} pairs; needed: at least 4 examples")
    t = torch.linspace(0, 1, steps + 1)
    found = {path: _walk(model, codes, count, path, t) for path in PATHS}
    stops = {path: walk.pop("stops") for path, walk in found.items()}  # (P, QUARTERS, D)
    middle = (stops["linear"][:, 0] + stops["linear"][:, -1]) / 2
    queries = torch.cat([*(stop.flatten(0, 1) for stop in stops.values()), middle])
    distance = nearest(queries, points(model, train, seed))[0].double()
    per_pair: dict[str, Array] = {}
    profile: dict[str, Array] = {}
    for i, (path, walk) in enumerate(found.items()):
        here = distance[i * count * QUARTERS :][: count * QUARTERS].unflatten(0, (count, QUARTERS))
        ends = _nonzero((here[:, 0] + here[:, -1]) / 2)
        walk["midpoint_distance"] = here[:, QUARTERS // 2] / ends
        profile[f"distance_{path}"] = (here / ends.unsqueeze(1)).nanmean(0).numpy()
        profile[f"step_{path}"] = walk.pop("steps").nanmean(0).numpy()
        if path == "linear":
            per_pair["crossfade_distance"] = (distance[-count:] / ends).numpy()
        per_pair |= {f"{name}_{path}": values.double().numpy() for name, values in walk.items()}
    per_pair["index"] = torch.arange(2 * count).view(2, count).T.numpy()
    return Measured(_estimates(per_pair, steps), per_pair, profile)


def traversal(model: VAE, data: Source, *, reach: float = 2.0, seed: int = 0) -> Estimate:
    """Measure how far E[x|z] moves (latent,) when one z_d goes from -reach to reach and the others stay as encoded.

    The distance is zero for a dimension that the decoder ignores. It is averaged over the examples; a hundred suffice.

    Raises:
        InputError: If there are no examples, or reach is not positive.
    """
    number("reach", reach, above=0)
    codes = encode(model, data, seed=seed)
    facts: dict[str, Any] = {
        "unit": distance_unit(model),
        "target": f"|E[x|z_d = {reach:g}] - E[x|z_d = {-reach:g}]|, the other dimensions as encoded",
        "description": "distance that x moves with each latent dimension; 0: the decoder ignores it",
    }
    if model.latents.support != "real":
        why = "latent codes do not lie in R^L, so that no dimension can move alone"
        return Estimate.missing(why, n=len(codes.mean), **facts)
    moved = torch.empty(codes.mean.shape, dtype=torch.float64)
    for d in range(codes.mean.shape[1]):
        ends = []
        for value in (reach, -reach):
            z = codes.mean.clone()
            z[:, d] = value
            ends.append(as_points(model, decode(model, z, context=codes.context)))
        moved[:, d] = (ends[0] - ends[1]).double().norm(dim=1)
    return mean(moved.numpy(), estimator="mean Euclidean distance over examples", **facts)


def compare_paths(one: Measured, other: Measured) -> dict[str, Estimate]:
    """Return the estimates of `one` minus those of `other`, paired: two models, measured on the same examples.

    Raises:
        InputError: If the examples differ.
    """
    if not np.array_equal(one.per_pair["index"], other.per_pair["index"]):
        raise InputError("the paths connect different examples; measure both on the same ones")
    estimates = {}
    for name, own in one.estimates.items():
        difference = one.per_pair[name] - other.per_pair[name]
        facts = {"unit": own.unit, "target": own.target, "description": own.description}
        estimates[name] = _mean(difference, estimator="mean of paired differences", **facts)
    return estimates


def _walk(model: VAE, codes: Codes, count: int, path: str, t: Tensor) -> dict[str, Tensor]:
    """Return for each pair (P, ...): shape of the path, steps over chord, density, and points at the quarters."""
    size = max(1, BYTES // (4 * len(t) * math.prod(model.shape)))
    parts: list[dict[str, Tensor]] = []
    for start in range(0, count, size):
        rows = range(start, min(start + size, count))
        z = torch.stack([PATHS[path](codes.mean[i], codes.mean[count + i], t) for i in rows])
        context = flat = None
        if codes.context is not None:  # on the straight line
            given = codes.context.flatten(1)
            context = torch.stack([linear(given[i], given[count + i], t) for i in rows])
            context = context.unflatten(2, codes.context.shape[1:])
            flat = context.flatten(0, 1)
        x = as_points(model, decode(model, z.flatten(0, 1), context=flat)).unflatten(0, z.shape[:2])
        steps = x.diff(dim=1).norm(dim=2).double()
        mean_step = _nonzero(steps.mean(1))
        chord = _nonzero((x[:, -1] - x[:, 0]).norm(dim=1).double())
        parts.append(
            {
                "length": steps.sum(1) / chord,
                "largest_step": steps.amax(1) / mean_step,
                "roughness": x.diff(n=2, dim=1).norm(dim=2).double().mean(1) / mean_step,
                "midpoint_density": _density(model, z, context),
                "steps": steps * steps.shape[1] / chord.unsqueeze(1),
                "stops": x[:, :: (len(t) - 1) // (QUARTERS - 1)].clone(),
            }
        )
    return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}


def _density(model: VAE, z: Tensor, context: Tensor | None) -> Tensor:
    """Return log p(z) in the middle of paths (P, T, latent) minus the mean over both ends, (P,)."""
    at = [0, z.shape[1] // 2, z.shape[1] - 1]
    with evaluating(model):
        first, middle, last = (
            model.latents.log_prior(
                z[:, i].to(model.device), None if context is None else context[:, i].to(model.device)
            ).cpu()
            for i in at
        )
    return middle - (first + last) / 2


def _nonzero(x: Tensor) -> Tensor:
    """Replace zero by NaN, since ratios to it do not exist."""
    return x.masked_fill(x < 1e-12, torch.nan)


def _estimates(per_pair: Mapping[str, Array], steps: int) -> dict[str, Estimate]:
    estimates = {
        f"{name}_{path}": _mean(
            per_pair[f"{name}_{path}"],
            unit=unit,
            target=f"{path} path between the posterior means of two examples",
            estimator=f"mean over pairs of examples, paths of {steps} steps",
            description=description,
        )
        for path in PATHS
        for name, (unit, description) in DESCRIPTIONS.items()
    }
    fade = _mean(
        per_pair["crossfade_distance"],
        unit="ratio",
        target="the mean of two reconstructions, in data space",
        estimator="mean over pairs of examples",
        description="midpoint distance of a cross-fade; a path that is better than a cross-fade has a smaller one",
    )
    return estimates | {"crossfade_distance": fade}  # fmt: skip


def _mean(values: Array, **facts: Any) -> Estimate:
    known = values[np.isfinite(values)]
    if len(known) < 2:
        why = "the ends of all pairs decode to the same x, or exactly to training examples: there is no unit"
        return Estimate(None, None, len(known), **{**facts, "estimator": "none"}, reason=why)
    return mean(known, **facts)
