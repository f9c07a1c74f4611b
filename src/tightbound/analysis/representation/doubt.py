"""Doubt against error, in numbers."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any

import numpy as np

from tightbound.analysis.detection.detection import auroc
from tightbound.analysis.estimate import Array, Estimate, estimate
from tightbound.analysis.representation.uncertainty import COVERAGE, Doubts, area_under_risk, risk_coverage

POOR = 0.9  # quantile of the reconstruction error above which a reconstruction is poor
SAYS = {
    "entropy": "entropy of q(z|x)",
    "variance": "variance of E[x|z] over draws of z",
    "probe": "variance of the linear probe's probabilities over draws of z",
    "confidence": "1 - the linear probe's largest probability at the posterior mean",
}
NO_SPREAD = "the posterior is a point mass, which has no entropy and no spread"


def about_reconstructions(doubt: Doubts, error: Array) -> dict[str, Estimate]:
    """AUROC of "the reconstruction is among the worst tenth" by each doubt that needs no labels."""
    known = np.isfinite(error)
    poor = error > np.quantile(error[known], POOR) if known.any() else known
    numbers = {}
    for name in ("entropy", "variance"):
        value = getattr(doubt, name)
        facts: dict[str, Any] = {
            "n": int(known.sum()), "unit": "AUROC", "target": "reconstruction error above its 90th percentile",
            "description": f"{SAYS[name]}: chance that it is larger where the reconstruction is poor; 0.5 says nothing",
        }  # fmt: skip
        numbers[f"{name}_poor"] = (
            Estimate(None, None, **facts, estimator="none", reason=NO_SPREAD)
            if value is None
            else _area(poor[known], value[known], facts)
        )
    return numbers


def about_errors(
    doubt: Doubts, confidence: Array, wrong: Array, seed: int
) -> tuple[dict[str, Estimate], dict[str, Any] | None]:
    """AUROC of "the linear probe errs" and area under the risk-coverage curve, by each doubt; the curves."""
    values = {f.name: getattr(doubt, f.name) for f in fields(doubt)} | {"confidence": confidence}
    numbers: dict[str, Estimate] = {}
    curves: dict[str, Any] = {}
    n, target = len(wrong), "errors of the linear probe of posterior means"
    for name, value in values.items():
        wrongs = {"n": n, "unit": "AUROC", "target": target}
        area = {"unit": "share wrong", "target": target}
        description = (
            f"{SAYS[name]}: chance that it is larger where the probe errs; 0.5 says nothing",
            f"{SAYS[name]}: mean share of errors among the least doubtful data, over all coverages",
        )
        if value is None:
            null = Estimate(None, None, **wrongs, estimator="none", reason=NO_SPREAD)
            numbers[f"{name}_wrong"] = replace(null, description=description[0])
            numbers[f"{name}_risk"] = replace(null, unit="share wrong", description=description[1])
            continue
        numbers[f"{name}_wrong"] = _area(wrong, value, {**wrongs, "description": description[0]})
        numbers[f"{name}_risk"] = area_under_risk(
            wrong,
            value,
            seed,
            **area,
            estimator="area under the risk-coverage curve; bootstrap",
            description=description[1],
        )
        curves[name] = risk_coverage(wrong, value).tolist()
    return numbers, {"coverage": COVERAGE.tolist(), **curves}


def _area(positive: Array, score: Array, facts: dict[str, Any]) -> Estimate:
    """AUROC of what is positive by a score."""
    if not 1 < positive.sum() < len(positive) - 1:
        why = f"{positive.sum()} of {len(positive)} data are positive; needed: two, and two that are not"
        return Estimate(None, None, **facts, estimator="none", reason=why)
    area = auroc(score[~positive], score[positive])
    none = None if area.stderr is not None else "no standard error: the two sets do not overlap"
    return estimate(area.value, area.stderr, **facts, estimator=area.estimator, reason=none)
