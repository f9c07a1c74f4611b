"""Whether a model's uncertainty about an example says where it errs."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from tightbound.analysis.detection.areas import auroc
from tightbound.analysis.estimate import Array, Estimate, estimate, resampled_error
from tightbound.core.model import VAE
from tightbound.core.noise import ExampleNoise, Noise, key_seed
from tightbound.core.numerics import precise
from tightbound.core.schedules import Knobs
from tightbound.core.terms import LatentTerms, Terms
from tightbound.data.feed import Source, batches, evaluating

COVERAGE = np.linspace(0.05, 1, 20)  # shares of the examples, the most certain first
POOR = 0.9  # quantile of the reconstruction error above which a reconstruction is poor
MEASURES = {
    "entropy": "entropy of q(z|x)",
    "variance": "variance of E[x|z] over draws of z",
    "probe": "variance of the linear probe's probabilities over draws of z",
    "confidence": "1 - the linear probe's largest probability at the posterior mean",
}
NO_SPREAD = "the posterior is deterministic: it has no entropy and no spread"


class Uncertainty(NamedTuple):
    """Measures of uncertainty for N examples; None if the posterior is deterministic, so that there is none."""

    entropy: Array | None  # (N,) of q(z|x), nats
    variance: Array | None  # (N,) of E[x|z] over draws of z, averaged over elements
    probe: Array | None  # (N,) of a probe's probabilities over draws of z, summed over classes


def uncertainty(
    model: VAE,
    source: Source,
    *,
    probabilities: Callable[[Array], Array] | None = None,
    samples: int = 16,
    seed: int = 0,
    rows: int = 4000,
) -> Uncertainty:
    """Return the model's uncertainty about each example, from draws of q(z|x).

    Args:
        model: The model.
        source: Examples.
        probabilities: Probe, a function from latent codes (N, latent) to probabilities (N, classes).
        samples: Latent samples per example.
        seed: Random seed.
        rows: Latent samples decoded at once.
    """
    parts: list[list[Tensor]] = []
    with evaluating(model):
        for batch in batches(model, source, max(1, rows // samples)):
            seen = model.observe(batch, Noise("encode", seed))
            noise = ExampleNoise("doubts", seed, index=batch.positions())
            terms = model.terms_from(seen, model.encode_state(seen), samples, noise, Knobs.final(model.schedules))
            if not all(group.has_density for group in terms.latents):
                return Uncertainty(None, None, None)
            found = [sum(map(entropy, terms.latents), torch.tensor(0.0)), _spread(model, terms)]
            if probabilities is not None:
                codes = torch.cat([group.z.flatten(2) for group in terms.latents], 2)
                p = probabilities(codes.flatten(0, 1).cpu().double().numpy())
                found.append(torch.from_numpy(p).unflatten(0, codes.shape[:2]).var(0).sum(-1))
            parts.append([each.cpu().double() for each in found])
    whole = [torch.cat(column).numpy() for column in zip(*parts, strict=True)]
    return Uncertainty(whole[0], whole[1], whole[2] if probabilities is not None else None)


def entropy(group: LatentTerms) -> Tensor:
    """Return the entropy (B,) of q(z|x), nats: in closed form if torch has one, else the mean of -log q over draws."""
    if group.posterior is not None:
        with contextlib.suppress(NotImplementedError):
            closed = group.posterior.entropy()
            return closed if closed.dim() == 1 else closed.mean(0)
    assert group.log_posterior is not None
    return -group.log_posterior.mean(0)


def about_reconstructions(found: Uncertainty, error: Array) -> dict[str, Estimate]:
    """Return the AUROC of "the reconstruction is among the worst tenth", for each measure that needs no labels.

    Args:
        found: Uncertainty of N examples.
        error: Reconstruction errors (N,); NaN is left out.
    """
    known = np.isfinite(error)
    poor = error[known] > np.quantile(error[known], POOR) if known.any() else known[known]
    return {
        f"{name}_poor": _area(
            poor, None if value is None else value[known], target="reconstruction error above its 90th percentile",
            description=f"{MEASURES[name]}: probability that it is larger for a poor reconstruction; 0.5 is chance",
        )
        for name, value in found._asdict().items() if name != "probe"
    }  # fmt: skip


def about_errors(
    found: Uncertainty, confidence: Array, wrong: Array, seed: int
) -> tuple[dict[str, Estimate], dict[str, list[float]]]:
    """Return how each measure of uncertainty ranks the errors of the linear probe.

    Args:
        found: Uncertainty of N examples.
        confidence: 1 - the probe's largest probability (N,).
        wrong: Whether the probe errs (N,).
        seed: Random seed of the bootstrap.

    Returns:
        The AUROC of "the linear probe errs" and the area under the risk-coverage curve, for each measure; and the
        curves by measure, with their "coverage".
    """
    estimates: dict[str, Estimate] = {}
    curves = {"coverage": COVERAGE.tolist()}
    target = "errors of the linear probe of posterior means"
    for name, value in {**found._asdict(), "confidence": confidence}.items():
        estimates[f"{name}_wrong"] = _area(
            wrong, value, target=target,
            description=f"{MEASURES[name]}: probability that it is larger where the probe errs; 0.5 is chance",
        )  # fmt: skip
        about = f"{MEASURES[name]}: mean share of errors among the most certain examples, over all coverages"
        facts: dict[str, Any] = {"unit": "share wrong", "target": target, "description": about}
        if value is None:
            estimates[f"{name}_risk"] = Estimate.missing(NO_SPREAD, n=len(wrong), **facts)
            continue
        how = "area under the risk-coverage curve; bootstrap"
        estimates[f"{name}_risk"] = area_under_risk(wrong, value, seed, **facts, estimator=how)
        curves[name] = risk_coverage(wrong, value).tolist()
    return estimates, curves


def risk_coverage(wrong: Array, uncertain: Array) -> Array:
    """Return the share of errors among the most certain examples, at each share `COVERAGE` of them.

    Args:
        wrong: Errors (N,), booleans.
        uncertain: Uncertainty (N,).

    References:
        Selective classification for deep neural networks (Geifman and El-Yaniv 2017), https://arxiv.org/abs/1705.08500
    """
    risk = _cumulative(wrong[np.argsort(uncertain, kind="stable")])
    return risk[np.maximum(np.ceil(COVERAGE * len(wrong)).astype(int), 1) - 1]


def area_under_risk(wrong: Array, uncertain: Array, seed: int = 0, *, resamples: int = 200, **facts: Any) -> Estimate:
    """Return the mean over all coverages of the share of errors, with a bootstrap standard error.

    Args:
        wrong: Errors (N,), booleans.
        uncertain: Uncertainty (N,); if it does not order the examples, the area is the share of errors.
        seed: Random seed.
        resamples: Number of bootstrap resamples.
        **facts: Other fields of the estimate.
    """
    ordered = wrong[np.argsort(uncertain, kind="stable")]
    generator = np.random.default_rng(key_seed("risk coverage", seed))
    n = len(ordered)
    again = [_cumulative(ordered[np.sort(generator.integers(n, size=n))]).mean() for _ in range(resamples)]
    value = float(_cumulative(ordered).mean())
    return estimate(value, resampled_error(value, np.array(again)), n=n, **facts)


def _spread(model: VAE, terms: Terms) -> Tensor:
    observation, x = model.observation, terms.likelihood.mean
    restored = observation.restore(x.flatten(0, 1)).unflatten(0, x.shape[:2])
    center = restored.mean(0)
    scale = observation.error_scale
    squared = precise((restored - center) / scale).square().sum(0) / max(1, len(x) - 1)
    if terms.batch.mask is not None:
        squared = squared.masked_fill(~terms.batch.mask.to(squared.device), torch.nan)
    return squared.flatten(1).nanmean(1).nan_to_num()


def _area(positive: Array, score: Array | None, **facts: Any) -> Estimate:
    """Return the AUROC with which a score finds the positive examples."""
    facts |= {"n": len(positive), "unit": "AUROC"}
    if score is None:
        return Estimate.missing(NO_SPREAD, **facts)
    if not 1 < positive.sum() < len(positive) - 1:
        why = f"{positive.sum()} of {len(positive)} examples are positive; needed: two, and two that are not"
        return Estimate.missing(why, **facts)
    area = auroc(score[~positive], score[positive])
    none = None if area.stderr is not None else "no standard error: the two sets do not overlap"
    return estimate(area.value, area.stderr, **facts, estimator=area.estimator, reason=none)


def _cumulative(ordered: Array) -> Array:
    return np.cumsum(ordered) / np.arange(1, len(ordered) + 1)
