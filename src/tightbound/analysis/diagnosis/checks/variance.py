"""Variance collapse: a density whose scale has shrunk to nothing."""

from __future__ import annotations

import math

import numpy as np
import torch

from tightbound.analysis.bounds.estimator import at_once
from tightbound.analysis.diagnosis.checks import remedies
from tightbound.analysis.diagnosis.engine import Case, Check, require
from tightbound.analysis.diagnosis.findings import Evidence, Finding, Severity
from tightbound.analysis.diagnosis.independence import elements
from tightbound.analysis.estimate import Array, Estimate, mean, scalar, scalar_error
from tightbound.components.registry import plain_name
from tightbound.core.domain import Domain
from tightbound.core.model import VAE
from tightbound.data.feed import evaluating
from tightbound.inference.infer import Codes

ROOM = math.sqrt(2 * math.pi)  # distance between values, in scales, at which the peak of the density has probability 1
REPEATS = 0.5  # an element with fewer distinct values than this share of the examples takes values on a grid


class VarianceCollapse(Check):
    """The scale of p(x | z) is finer than the resolution of the data, or than its own errors.

    If an element takes few distinct values, such as a pixel's 256 levels or a constant column, a density can grow
    without limit by narrowing around them: the bound then measures nothing. A finding is, in any such element, a scale
    s below d / sqrt(2 pi), where d is the distance between neighboring values: the highest density of a Gaussian,
    1 / (s sqrt(2 pi)), then gives the interval d around a value a probability above 1. It is severe in a tenth of the
    elements. The other sign is errors on test data that are twice what the model claims (mean square of (x - mean) /
    scale above 4, by two standard errors).

    References:
        Leveraging the exact likelihood of deep latent variable models (Mattei and Frellsen 2018), Section 2,
        https://arxiv.org/abs/1802.04826; Simple and effective VAE training with calibrated decoders (Rybkin et al.
        2021), https://arxiv.org/abs/2006.13202
    """

    name = "variance-collapse"
    question = "Is the scale of p(x|z) finer than the data?"

    def measure(self, case: Case) -> Evidence:
        """Return the scales, compared with the resolution of the data and with the errors on test data."""
        own = "the likelihood does not give each element a variance of its own"
        require(case.model.likelihood.elementwise, own)
        which = _continuous(case)
        require(bool(which.any()), "x is discrete: p(x|z) is a probability, which is at most 1")
        train, test = case.observed(case.train_data), case.observed(case.test_data)
        center, scale = (part[:, which] for part in moments(case.model, case.codes))
        x = elements(test)[:, which]
        grid = _resolution(elements(train)[:, which])
        typical = np.median(scale, axis=0)
        fine = typical < grid / ROOM
        facts = {"stderr": None, "n": len(x), "target": "p(x|z) at posterior means of test data, by element"}
        some = np.isfinite(x).any(axis=1)
        squared = np.nanmean(((x - center) / scale)[some] ** 2, axis=1)
        found = {
            "least_scale": Estimate(
                float(typical.min()), unit="units of the target", description="the finest scale of p(x|z)",
                estimator="minimum over elements of the median over examples", **facts,
            ),
            "too_fine": Estimate(
                float(fine.mean()), unit="share of elements",
                description="elements whose scale is finer than the resolution of the data",
                estimator="scale < least distance of neighboring values / sqrt(2 pi), if values repeat", **facts,
            ),
            "squared_errors": mean(
                squared, unit="times the claimed", target="test data",
                estimator="mean over elements and examples of ((x - mean) / scale)^2",
                description="1 if errors are as large as the model claims",
            ),
        }  # fmt: skip
        return found | (_worst(x - center, typical, grid, fine, which, facts) if fine.any() else {})

    def judge(self, evidence: Evidence, case: Case) -> Finding | None:
        """Judge whether the scale is too fine, or the errors on test data too large."""
        share, squared = scalar(evidence["too_fine"]), evidence["squared_errors"]
        surprised = scalar(squared) - 2 * scalar_error(squared) > 4
        if not (share > 0 or surprised):
            return None
        severity: Severity = "severe" if share >= 0.1 else "moderate"
        if share > 0:
            fine, step = (scalar(evidence[name]) for name in ("fine_scale", "resolution"))
            description = (
                f"The scale of p(x|z) is finer than the resolution of the data in {share:.1%} of the elements (in the "
                f"worst {fine:.2g}, where neighboring values are {step:.2g} apart): the density grows without limit, "
                f"and the bound means nothing.{_advice(evidence, case)}"
            )
        else:
            description = (
                f"Errors on test data are {scalar(squared) ** 0.5:.1f} times what the model claims: its scale has "
                "narrowed on the training data."
            )
        return Finding(self.name, severity, evidence, description, _remedy(evidence, case))


def _worst(
    error: Array, typical: Array, grid: Array, fine: Array, which: Array, facts: dict[str, object]
) -> dict[str, Estimate]:
    """Return which elements have too fine a scale, and the worst one's."""
    worst = int(np.argmax(np.where(fine, grid, 0.0) / typical))
    about: dict = {**facts, "unit": "units of the target"}
    shares: dict = {**facts, "unit": "share of these"}
    elements: dict = {**facts, "unit": "elements"}
    return {
        "which": Estimate(
            np.flatnonzero(which)[fine].astype(float).tolist(), estimator="as too_fine",
            description="which elements, counted from 0", **elements,
        ),
        "fine_scale": Estimate(
            float(typical[worst]), estimator="median over examples", description="scale of the worst element", **about
        ),
        "resolution": Estimate(
            float(grid[worst]), estimator="least distance of neighboring values",
            description="resolution of the data in the worst element", **about,
        ),
        "widened": Estimate(
            float((np.sqrt(np.nanmean(error**2)) * ROOM >= grid[fine]).mean()),
            estimator="as too_fine, with the root mean square error on test data as the one scale of all elements",
            description="elements for which a scale shared by all elements would not be too fine", **shares,
        ),
    }  # fmt: skip


def _advice(evidence: Evidence, case: Case) -> str:
    """Return what to do if no option helps."""
    numbers = evidence["which"].value
    if _remedy(evidence, case) or not isinstance(numbers, list):
        return ""
    if case.model.observation.source.kind == "unit":
        return (
            " If the values are levels, such as multiples of 1/16, give them as whole numbers (0..16): each then has a "
            "probability, which is at most 1."
        )
    few = ", ".join(f"{number:.0f}" for number in numbers[:8]) + ", ..." * (len(numbers) > 8)
    return f" Leave out columns that hardly vary, or name the kinds of those that hold few values (from 0: {few})."


def _remedy(evidence: Evidence, case: Case) -> remedies.Options:
    """Return a distribution on the values that exist; for real numbers one scale for all elements, if it is coarse
    enough."""
    source = case.model.observation.source
    if source.kind == "levels":
        return {"observation": "levels", "likelihood": "discretized-logistic"}
    if source.kind == "unit":
        inside = bool(((case.train_data.x > 0) & (case.train_data.x < 1)).all())
        proposed = "beta" if inside else "continuous-bernoulli"
        return {} if plain_name(case.model.likelihood) == proposed else {"likelihood": proposed}
    coarse = "widened" not in evidence or scalar(evidence["widened"]) == 1
    if source.kind == "real" and coarse:
        return {"likelihood": "gaussian(scale='shared')"}
    return {}  # a table: only its owner knows which columns are whole numbers


def _continuous(case: Case) -> Array:
    """Return the elements on which p(x | z) is a density, (D,)."""
    target: Domain = case.model.observation.target
    columns = target.columns or (target,) * int(np.prod(case.model.shape))
    return np.array([column.continuous for column in columns])


def moments(model: VAE, codes: Codes, z: torch.Tensor | None = None) -> tuple[Array, Array]:
    """Return mean and standard deviation of p(x | z), (N, D) each, for the examples of latent codes.

    Args:
        model: The model.
        codes: Latent codes of the examples.
        z: Other latent codes (N, latent); None: the posterior means.
    """
    centers, scales, size = [], [], at_once(model, 1)
    z = codes.mean if z is None else z
    with evaluating(model):
        for start in range(0, len(z), size):
            part = slice(start, start + size)
            beside = (None if each is None else each[part].to(model.device) for each in (codes.context, codes.offset))
            p = model.decode(z[part].to(model.device), *beside)
            centers.append(p.mean.flatten(1).cpu().double())
            scales.append(p.variance.flatten(1).cpu().double().sqrt())
    return torch.cat(centers).numpy(), torch.cat(scales).numpy()


def _resolution(x: Array) -> Array:
    """Return the least distance of neighboring values by element, (D,).

    It is 0 if values do not repeat. A constant element gets the least distance of the others or, if no values repeat,
    the least standard deviation of the others.
    """
    out = np.zeros(x.shape[1])
    for i, column in enumerate(x.T):
        values = np.unique(column[np.isfinite(column)])
        if len(values) > REPEATS * np.isfinite(column).sum():
            continue
        out[i] = np.diff(values).min() if len(values) > 1 else np.inf
    known = out[(out > 0) & np.isfinite(out)]
    if not len(known):
        known = np.nanstd(x[:, np.isfinite(out)], axis=0)
    out[~np.isfinite(out)] = known.min(initial=np.inf) if len(known) else 0.0
    return out
