"""Interpolation and traversal of latent space, measured in data space."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from tightbound.analysis.estimate import Analysis, Array, Estimate, mean
from tightbound.analysis.samples.neighbors import as_points, distance_unit, nearest, points
from tightbound.core.errors import InputError, number, whole
from tightbound.core.model import VAE
from tightbound.data.feed import Source, evaluating
from tightbound.inference.infer import PATHS, Codes, decode, encode, linear

BYTES = 1 << 26  # of decoded data at once
QUARTERS = 5  # places on a path that are compared with data: 0, 1/4, 1/2, 3/4, 1
DESCRIPTIONS = {
    "length": ("ratio", "length of the path in data space over its chord; 1: a cross-fade, however long"),
    "largest_step": ("ratio", "largest of the steps in data space over their mean; 1: even, without a jump"),
    "roughness": ("ratio", "mean second difference over mean step in data space; 0: straight and even"),
    "midpoint_distance": ("ratio", "distance of the middle to the nearest training example, over that of the ends; above "
                                   "1: the path leaves the data"),
    "midpoint_density": ("nats", "log p(z) in the middle less that of the ends; below 0: through where the prior is "
                                 "thin"),
}  # fmt: skip


@dataclass(frozen=True)
class Paths(Analysis):
    """What lies between the codes of data."""

    per_pair: Mapping[str, Array]  # (P,) each; NaN where a pair has none; "index": (P, 2) the data
    profile: Mapping[str, Array]  # "step_linear": (steps,), "distance_linear": (QUARTERS,), ...: means over pairs

    def to_json(self) -> dict[str, Any]:
        """Plain numbers, lists and strings; None in a profile where no pair has the number."""
        profile = {
            name: [v if math.isfinite(v) else None for v in each.tolist()] for name, each in self.profile.items()
        }
        return {**super().to_json(), "profile": profile}


def paths(model: VAE, data: Source, train: Source, *, steps: int = 16, seed: int = 0) -> Paths:
    """Measures linear and spherical interpolation between the posterior means of pairs of data.

    The first half of `data` is paired with the second, so that pairs are independent: give data in random order.
    Distances are Euclidean, between means of p(x | z), each element in the unit of reconstruction errors. Smooth,
    blurred pictures are near to all data and make short paths; the cross-fade of both ends in data space is there to
    compare with: its length and steps are 1 by definition.

    Arguments:
        data: Of which pairs are made, 2 P of them.
        train: Among which the nearest example is sought.
        steps: Of a path, a multiple of 4.

    Raises:
        InputError: fewer than two pairs, or steps that quarters do not divide.
        CompositionError: data whose distances mean nothing, or which lack elements.
    """
    if whole("steps", steps, least=4) % (QUARTERS - 1):
        raise InputError(f"steps = {steps}; needed: a multiple of {QUARTERS - 1}")
    codes = encode(model, data, seed=seed)
    count = len(codes.mean) // 2
    if count < 2:
        raise InputError(f"{len(codes.mean)} data make {count} pairs; needed: at least 4 data")
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
    return Paths(_numbers(per_pair, steps), per_pair, profile)


def traversal(model: VAE, data: Source, *, reach: float = 2.0, seed: int = 0) -> Estimate:
    """How far E[x | z] moves, (latent,), as one z_d goes from -reach to reach and the others stay at an example's code.

    Where the decoder ignores a dimension it is zero. Averaged over data: give about a hundred.

    Raises:
        InputError: no data, or a reach that is not positive.
    """
    number("reach", reach, above=0)
    codes = encode(model, data, seed=seed)
    facts: dict[str, Any] = {
        "unit": distance_unit(model),
        "target": f"|E[x|z_d = {reach:g}] - E[x|z_d = {-reach:g}]|, the other dimensions at the codes of data",
        "description": "how far x moves with each latent dimension; 0: the decoder ignores it",
    }
    if model.latents.support != "real":
        why = "codes do not lie in R^L, so that no dimension moves alone"
        return Estimate(None, None, len(codes.mean), estimator="none", reason=why, **facts)
    moved = torch.empty(codes.mean.shape, dtype=torch.float64)
    for d in range(codes.mean.shape[1]):
        ends = []
        for value in (reach, -reach):
            z = codes.mean.clone()
            z[:, d] = value
            ends.append(as_points(model, decode(model, z, context=codes.context)))
        moved[:, d] = (ends[0] - ends[1]).double().norm(dim=1)
    return mean(moved.numpy(), estimator="mean Euclidean distance over data", **facts)


def compare_paths(one: Paths, other: Paths) -> dict[str, Estimate]:
    """Each number of `one` less that of `other`, paired: the same data on paths of two models.

    Raises:
        InputError: other data, as far as their positions tell.
    """
    if not np.array_equal(one.per_pair["index"], other.per_pair["index"]):
        raise InputError("the paths are between different data; measure both on the same")
    numbers = {}
    for name, own in one.numbers.items():
        difference = one.per_pair[name] - other.per_pair[name]
        facts = {"unit": own.unit, "target": own.target, "description": own.description}
        numbers[name] = _mean(difference, estimator="mean of paired differences", **facts)
    return numbers


def _walk(model: VAE, codes: Codes, count: int, path: str, t: Tensor) -> dict[str, Tensor]:
    """Of each pair (P, ...): shape of the path, steps over chord, density, and points at the quarters."""
    size = max(1, BYTES // (4 * len(t) * math.prod(model.shape)))
    parts: list[dict[str, Tensor]] = []
    for start in range(0, count, size):
        rows = range(start, min(start + size, count))
        z = torch.stack([PATHS[path](codes.mean[i], codes.mean[count + i], t) for i in rows])
        context = None if codes.context is None else _contexts(codes.context, rows, count, t)
        flat = None if context is None else context.flatten(0, 1)
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


def _contexts(context: Tensor, rows: range, count: int, t: Tensor) -> Tensor:
    """(P, T, *context) on the straight line."""
    flat, shape = context.flatten(1), context.shape[1:]
    return torch.stack([linear(flat[i], flat[count + i], t) for i in rows]).unflatten(2, shape)


def _density(model: VAE, z: Tensor, context: Tensor | None) -> Tensor:
    """(P,) log p(z) in the middle of paths (P, T, latent), less the mean of both ends."""
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
    """NaN for zero: ratios to it do not exist."""
    return x.masked_fill(x < 1e-12, torch.nan)


def _numbers(per_pair: Mapping[str, Array], steps: int) -> dict[str, Estimate]:
    numbers = {}
    for path in PATHS:
        target = f"{path} path between the posterior means of two data"
        for name, (unit, description) in DESCRIPTIONS.items():
            estimator = f"mean over pairs of data, paths of {steps} steps"
            numbers[f"{name}_{path}"] = _mean(
                per_pair[f"{name}_{path}"], unit=unit, target=target, estimator=estimator, description=description
            )
    numbers["crossfade_distance"] = _mean(
        per_pair["crossfade_distance"],
        unit="ratio",
        target="the mean of two reconstructions, in data space",
        estimator="mean over pairs of data",
        description="midpoint_distance of a cross-fade: what a path must stay below to be more than that",
    )
    return numbers


def _mean(values: Array, **facts: Any) -> Estimate:
    known = values[np.isfinite(values)]
    if len(known) < 2:
        why = "the ends of all pairs are decoded to the same, or to training data themselves: there is no unit"
        return Estimate(None, None, len(known), **{**facts, "estimator": "none"}, reason=why)
    return mean(known, **facts)
