"""Whether a model's doubt about an example says where it errs."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from tightbound.analysis.estimate import Array, Estimate, estimate
from tightbound.core.model import VAE
from tightbound.core.noise import ExampleNoise, Noise, key_seed
from tightbound.core.numerics import precise
from tightbound.core.schedules import Knobs
from tightbound.core.terms import LatentTerms, Terms
from tightbound.data.feed import Source, batches, evaluating

ROWS = 4000  # (draw, example) pairs decoded at once
BOOTSTRAP = 200
COVERAGE = np.linspace(0.05, 1, 20)


@dataclass(frozen=True)
class Doubts:
    """Of N data; None: of a point mass, which leaves no doubt."""

    entropy: Array | None  # (N,) of q(z | x), nats
    variance: Array | None  # (N,) mean over elements of the variance of E[x | z] over draws of z
    probe: Array | None  # (N,) sum over classes of the variance of a probe's probabilities over draws of z


def doubts(
    model: VAE,
    source: Source,
    *,
    probabilities: Callable[[Array], Array] | None = None,
    draws: int = 16,
    seed: int = 0,
) -> Doubts:
    """The model's doubt about each example, by draws of q(z | x).

    Arguments:
        probabilities: Codes (N, latent) -> (N, classes): a probe.
    """
    parts: list[list[Tensor]] = []
    with evaluating(model):
        for batch in batches(model, source, max(1, ROWS // draws)):
            seen = model.observe(batch, Noise("encode", seed))
            noise = ExampleNoise("doubts", seed, index=batch.positions())
            terms = model.terms_from(seen, model.encode_state(seen), draws, noise, Knobs.final(model.schedules))
            if not all(group.has_density for group in terms.latents):
                return Doubts(None, None, None)
            found = [sum(map(entropy, terms.latents), torch.tensor(0.0)), _spread(model, terms)]
            if probabilities is not None:
                codes = torch.cat([group.z.flatten(2) for group in terms.latents], 2)
                p = probabilities(codes.flatten(0, 1).cpu().double().numpy())
                found.append(torch.from_numpy(p).unflatten(0, codes.shape[:2]).var(0).sum(-1))
            parts.append([each.cpu().double() for each in found])
    whole = [torch.cat(column).numpy() for column in zip(*parts, strict=True)]
    return Doubts(whole[0], whole[1], whole[2] if probabilities is not None else None)


def entropy(group: LatentTerms) -> Tensor:
    """(B,) nats, of q(z | x): in closed form where torch has it, else the mean of -log q over the draws."""
    if group.posterior is not None:
        with contextlib.suppress(NotImplementedError):
            closed = group.posterior.entropy()
            return closed if closed.dim() == 1 else closed.mean(0)
    assert group.log_posterior is not None
    return -group.log_posterior.mean(0)


def _spread(model: VAE, terms: Terms) -> Tensor:
    observation, x = model.observation, terms.likelihood.mean
    restored = observation.restore(x.flatten(0, 1)).unflatten(0, x.shape[:2])
    center = restored.mean(0)
    scale = observation.error_scale
    squared = precise((restored - center) / scale).square().sum(0) / max(1, len(x) - 1)
    if terms.batch.mask is not None:
        squared = squared.masked_fill(~terms.batch.mask.to(squared.device), torch.nan)
    return squared.flatten(1).nanmean(1).nan_to_num()


def risk_coverage(wrong: Array, doubt: Array) -> Array:
    """The share of errors among the least doubtful data, at each share `COVERAGE` of them.

    References:
        Selective classification for deep neural networks (Geifman and El-Yaniv 2017), https://arxiv.org/abs/1705.08500
    """
    risk = _cumulative(wrong[np.argsort(doubt, kind="stable")])
    return risk[np.maximum(np.ceil(COVERAGE * len(wrong)).astype(int), 1) - 1]


def area_under_risk(wrong: Array, doubt: Array, seed: int = 0, **facts: Any) -> Estimate:
    """The mean over all coverages of the share of errors, with a bootstrap standard error; without any order among
    the data it is the share of errors."""
    ordered = wrong[np.argsort(doubt, kind="stable")]
    generator = np.random.default_rng(key_seed("risk coverage", seed))
    n = len(ordered)
    again = [_cumulative(ordered[np.sort(generator.integers(n, size=n))]).mean() for _ in range(BOOTSTRAP)]
    return estimate(_cumulative(ordered).mean(), np.std(again, ddof=1), n=n, **facts)


def _cumulative(ordered: Array) -> Array:
    return np.cumsum(ordered) / np.arange(1, len(ordered) + 1)
