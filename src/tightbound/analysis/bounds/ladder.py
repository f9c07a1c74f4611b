"""How far an IWAE bound still moves with the number of samples, and how far its weights can be trusted.

References:
    Debiasing evidence approximations (Nowozin 2018), Sections 2 and 3: the bias falls as 1/k, and the jackknife,
    https://openreview.net/forum?id=HyZoi-WRb
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from tightbound.analysis.bounds.pareto import LEAST, RELIABLE, tail_size
from tightbound.analysis.bounds.weights import rungs
from tightbound.analysis.estimate import Array, Estimate, mean, scalar, scalar_error

DESCRIPTIONS = {
    "iwae_ladder": "the IWAE bound by number of samples k, all from the same samples",
    "iwae_gain": "what each k adds to the bound of the k before it",
    "convergence": "nats that the bound would still rise by with ever more samples",
    "effective_samples": "equal weights that would be worth as much: (sum w)^2 / sum w^2",
    "pareto_k": "shape of the tail of the weights: below 0.5 good, above 0.7 unreliable",
    "pareto_k_high": "share of the data with k-hat > 0.7, whose bound may be far below log p(x)",
    "bf16_difference": "what bfloat16 does to the bound: in bfloat16 less in float32, same data and noise",
}
ALWAYS = ("iwae_ladder", "iwae_gain", "convergence", "effective_samples", "pareto_k", "pareto_k_high")
ENOUGH = 0.1  # nats: a bound with less than this left has converged, for all that published figures show
FEW = 0.1  # share of data whose weights may be unreliable


@dataclass(frozen=True)
class PerExample:
    """What is known of each example's weights."""

    bounds: Array  # (N, rungs)
    effective: Array  # (N,)
    pareto_k: Array  # (N,) NaN where no tail could be fitted


def numbers(weights: PerExample, changed: Array | None, facts: Mapping[str, Any]) -> dict[str, Estimate]:
    """The numbers of `DESCRIPTIONS`, whose values are means over data.

    Arguments:
        changed: (n,) bound in bfloat16 less that in float32, of some data; None: all is in float32.
        facts: Unit, target, samples, and a reason why the bound is none on a likelihood.
    """
    samples = facts["samples"]
    ks = rungs(samples)
    disjoint = "log-mean-exp of k importance weights from q(z|x), mean over all disjoint sets of k samples"
    gains = np.diff(weights.bounds, axis=1)
    plain = {**facts, "reason": None}
    found = {"iwae_ladder": mean(weights.bounds, **facts, estimator=disjoint, at=[float(k) for k in ks])}
    if len(ks) == 1:
        why = {
            **facts,
            "estimator": "none",
            "reason": "one sample an example: there is no smaller number to compare with",
        }
        found |= {name: Estimate(None, None, len(gains), **why) for name in ("iwae_gain", "convergence")}
    else:
        paired = f"paired differences over data; {disjoint}"
        found["iwae_gain"] = mean(gains, **plain, estimator=paired, at=[float(k) for k in ks[1:]])
        found["convergence"] = _convergence(_Step.last(weights.bounds, ks), weights.pareto_k, plain)
    of_weights = {**plain, "target": "importance weights"}
    found["effective_samples"] = mean(
        weights.effective, **{**of_weights, "unit": "samples"}, estimator="mean over data of (sum w)^2 / sum w^2"
    )
    found |= _tail(weights.pareto_k, of_weights)
    return found | rounding(changed, facts)


def rounding(changed: Array | None, facts: Mapping[str, Any]) -> dict[str, Estimate]:
    """What bfloat16 did to the bound, where it was used: arguments as above."""
    if changed is None:
        return {}
    how = f"paired, on the first {len(changed)} data"
    return {"bf16_difference": mean(changed, **{**facts, "reason": None}, estimator=how)}


def _tail(k: Array, facts: Mapping[str, Any]) -> dict[str, Estimate]:
    known = k[~np.isnan(k)]
    shape, share = {**facts, "unit": "shape"}, {**facts, "unit": "share of data"}
    if not len(known):
        reason = f"a tail of {tail_size(facts['samples'])} weights an example; {LEAST} that differ are needed"
        none = {"estimator": "none", "n": len(k), "value": None, "stderr": None}
        return {
            "pareto_k": Estimate(**{**shape, "reason": reason}, **none),
            "pareto_k_high": Estimate(**{**share, "reason": reason}, **none),
        }
    how = f"generalized Pareto density of the {tail_size(facts['samples'])} largest weights (PSIS, Vehtari et al. 2024)"
    return {
        "pareto_k": mean(known, **shape, estimator=f"mean over data; {how}"),
        "pareto_k_high": mean((known > RELIABLE).astype(float), **share, estimator=how),
    }


@dataclass(frozen=True)
class _Step:
    """From the largest k of at most half the samples to all of them."""

    start: int  # k
    end: int  # k
    gain: Array  # (N,) nats
    slow: bool  # whether it is larger than 1/k predicts from the step before, by two standard errors

    @classmethod
    def last(cls, bounds: Array, ks: list[int]) -> _Step:
        half = max(i for i, k in enumerate(ks) if 2 * k <= ks[-1])
        gain = bounds[:, -1] - bounds[:, half]
        slow = False
        if half > 0 and len(gain) > 1:
            before, middle, last = ks[half - 1], ks[half], ks[-1]
            predicted = (1 / middle - 1 / last) / (1 / before - 1 / middle)
            excess = gain - predicted * (bounds[:, half] - bounds[:, half - 1])
            slow = bool(excess.mean() > 2 * excess.std(ddof=1) / math.sqrt(len(excess)))
        return cls(ks[half], ks[-1], gain, slow)


def _convergence(step: _Step, pareto_k: Array, facts: Mapping[str, Any]) -> Estimate:
    """What is left to the limit, by a Richardson step, and what to think of it."""
    how = (
        f"gain from k = {step.start:,} to {step.end:,}, extrapolated as if the bias fell as 1/k (generalized "
        "jackknife: Nowozin 2018), which it does for large k where weights have a variance"
    )
    left = mean(step.gain * (step.start / (step.end - step.start)), **facts, estimator=how)
    gain = mean(step.gain, **facts, estimator=how)
    if left.value is None:
        return left
    known = pareto_k[~np.isnan(pareto_k)]
    high = float((known > RELIABLE).mean()) if len(known) else 0.0
    moved = f"from {step.start:,} to {step.end:,} samples the bound rose by {_nats(gain)}"
    upper = gain if step.slow else left
    # in expectation no step is below zero: one that is by chance tells no more than its error
    most = max(scalar(upper), 0.0) + 2 * (0.0 if upper.stderr is None else scalar_error(upper))
    rest = f"about {left.value:.2f} are left" if scalar(gain) > 0 else f"up to {most:.2f} may be left"
    if step.slow:
        rest = f"more than {left.value:.2f} are left, for the steps shrink slower than 1/k"
    if high > FEW:
        description = (
            f"unreliable for {high:.0%} of the data, whose weights have too heavy a tail (k-hat > {RELIABLE}): the "
            f"bound holds, but how far below log p(x) the weights cannot tell; {moved}; ask --ais 500, or raise "
            "--samples"
        )
    elif most < ENOUGH:
        description = f"converged: {moved}, and less than {ENOUGH} are left"
    else:
        description = f"still moving: {moved}, and {rest}; raise --samples"
    return replace(left, description=description)


def _nats(number: Estimate) -> str:
    return f"{number.value:.3f} nats" if number.stderr is None else f"{number.value:.3f} ± {number.stderr:.3f} nats"
