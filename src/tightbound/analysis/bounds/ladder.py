"""IWAE bounds by number of samples: how much they still rise, and how far their weights can be trusted.

References:
    Debiasing evidence approximations (Nowozin 2018), Sections 2 and 3: the bias falls as 1/k, and the jackknife,
    https://openreview.net/forum?id=HyZoi-WRb
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from tightbound.analysis.bounds.weights import MIN_TAIL, RELIABLE, PerExample, rungs, tail_size
from tightbound.analysis.estimate import Array, Estimate, mean, scalar, scalar_error, share

DESCRIPTIONS = {
    "iwae_ladder": "the IWAE bound by number of samples k, all from the same samples",
    "iwae_gain": "what each k adds to the bound of the k before it",
    "convergence": "how much the bound would still rise with ever more samples, if its bias falls as 1/k",
    "effective_samples": "number of equally weighted samples with the same information: (sum w)^2 / sum w^2",
    "pareto_k": "heaviness of the tail of the importance weights: good below 0.5, unreliable above 0.7",
    "pareto_k_high": "examples with pareto_k > 0.7, whose bound may lie far below log p(x)",
    "bf16_difference": "effect of bfloat16 on the bound: bfloat16 minus float32, same examples and noise",
    "ode_difference": "error of the differential equation in log p(z): with the prior's steps, minus twice as many",
}
ALWAYS = ("iwae_ladder", "iwae_gain", "convergence", "effective_samples", "pareto_k", "pareto_k_high")
ENOUGH = 0.1  # nats: with less than this left the bound counts as converged; published figures show no more digits
FEW = 0.1  # share of the examples that may have unreliable weights


def estimates(weights: PerExample, facts: Mapping[str, Any]) -> dict[str, Estimate]:
    """Return the estimates of `DESCRIPTIONS` that depend on the weights."""
    samples = facts["samples"]
    ks = rungs(samples)
    disjoint = "log-mean-exp of k importance weights from q(z|x), mean over all disjoint sets of k samples"
    gains = np.diff(weights.bounds, axis=1)
    plain = {**facts, "reason": None}
    found = {"iwae_ladder": mean(weights.bounds, **facts, estimator=disjoint, at=[float(k) for k in ks])}
    if len(ks) == 1:
        why = {**facts, "reason": "one sample per example: there is no smaller number to compare with"}
        found |= {name: Estimate.missing(n=len(gains), **why) for name in ("iwae_gain", "convergence")}
    else:
        paired = f"paired differences over examples; {disjoint}"
        found["iwae_gain"] = mean(gains, **plain, estimator=paired, at=[float(k) for k in ks[1:]])
        step = _last_step(weights.bounds, ks)
        how = (
            f"gain from k = {step.start:,} to {step.end:,}, extrapolated as if the bias fell as 1/k (generalized "
            "jackknife, Nowozin 2018), which holds for large k if the weights have a variance"
        )
        found["convergence"] = mean(step.left, **plain, estimator=how)
    of_weights = {**plain, "target": "importance weights"}
    found["effective_samples"] = mean(
        weights.effective, **{**of_weights, "unit": "samples"}, estimator="mean over examples of (sum w)^2 / sum w^2"
    )
    return found | _tail(weights.pareto_k, of_weights)


def numerical(effects: Mapping[str, Array], facts: Mapping[str, Any]) -> dict[str, Estimate]:
    """Return the mean of each numerical effect on the bound, by name, from those on some examples (n,)."""
    plain = {**facts, "reason": None}
    how = "paired, on the first {} examples"
    return {name: mean(each, **plain, estimator=how.format(len(each))) for name, each in effects.items()}


def verdict(weights: PerExample, samples: int) -> str | None:
    """Return in a sentence whether the bound has converged; None for one sample or a bound that is not finite."""
    ks = rungs(samples)
    if len(ks) == 1:
        return None
    step = _last_step(weights.bounds, ks)
    facts = {"unit": "nats", "target": "", "estimator": ""}
    left, gain = mean(step.left, **facts), mean(step.gain, **facts)
    if left.value is None:
        return None
    known = weights.pareto_k[~np.isnan(weights.pareto_k)]
    high = float((known > RELIABLE).mean()) if len(known) else 0.0
    moved = f"from {step.start:,} to {step.end:,} samples it rose by {_nats(gain)}"
    upper = gain if step.slow else left
    # no step is negative in expectation: one that is by chance says no more than its error
    most = max(scalar(upper), 0.0) + 2 * (0.0 if upper.stderr is None else scalar_error(upper))
    if high > FEW:
        return (
            f"The importance weights of {high:.0%} of the examples have too heavy a tail (Pareto k-hat above "
            f"{RELIABLE}): the IWAE bound holds, but they cannot tell how far below log p(x) it lies. See ais()."
        )
    if most < ENOUGH:
        return (
            f"The IWAE bound has converged: {moved}, and less than {ENOUGH} nats are left if q(z|x) covers all of "
            "p(z|x). Samples of q cannot show a mode that q misses; ais() can."
        )
    rest = f"about {left.value:.2f} nats are left" if scalar(gain) > 0 else f"up to {most:.2f} nats may be left"
    if step.slow:
        rest = f"more than {left.value:.2f} nats are left, since the steps shrink more slowly than 1/k"
    return f"The IWAE bound still rises with the number of samples: {moved}, and {rest}. Use more samples."


def _tail(k: Array, facts: Mapping[str, Any]) -> dict[str, Estimate]:
    known, size = k[~np.isnan(k)], tail_size(facts["samples"])
    shape, shares = {**facts, "unit": "shape"}, {**facts, "unit": "share of examples"}
    if not len(known):
        reason = f"the tail has {size} weights per example; needed: {MIN_TAIL} different ones"
        missing = (Estimate.missing(n=len(k), **{**each, "reason": reason}) for each in (shape, shares))
        return dict(zip(("pareto_k", "pareto_k_high"), missing, strict=True))
    how = f"generalized Pareto density of the {size} largest weights (PSIS, Vehtari et al. 2024)"
    return {
        "pareto_k": mean(known, **shape, estimator=f"mean over examples; {how}"),
        "pareto_k_high": share(known > RELIABLE, **shares, estimator=how),
    }


class _Step(NamedTuple):
    """Gain (N,) from `start` samples, the largest k of at most half of them, to all `end` samples.

    It is `slow` if the gain is larger than 1/k predicts from the step before, by two standard errors.
    """

    start: int
    end: int
    gain: Array
    slow: bool

    @property
    def left(self) -> Array:
        """(N,) what is left to the limit if the bias falls as 1/k: a Richardson step."""
        return self.gain * (self.start / (self.end - self.start))


def _last_step(bounds: Array, ks: list[int]) -> _Step:
    half = max(i for i, k in enumerate(ks) if 2 * k <= ks[-1])
    gain, slow = bounds[:, -1] - bounds[:, half], False
    if half > 0 and len(gain) > 1:
        before, middle, last = ks[half - 1], ks[half], ks[-1]
        predicted = (1 / middle - 1 / last) / (1 / before - 1 / middle)
        excess = gain - predicted * (bounds[:, half] - bounds[:, half - 1])
        excess = excess[np.isfinite(excess)]
        slow = len(excess) > 1 and bool(excess.mean() > 2 * excess.std(ddof=1) / math.sqrt(len(excess)))
    return _Step(ks[half], ks[-1], gain, slow)


def _nats(number: Estimate) -> str:
    return f"{number.value:.3f} nats" if number.stderr is None else f"{number.value:.3f} ± {number.stderr:.3f} nats"
