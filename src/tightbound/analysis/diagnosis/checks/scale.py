"""The scale of p(x | z), and its family: whether they fit the spread of the data around the decoder's mean."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from torch import Tensor

from tightbound.analysis.diagnosis.checks import remedies
from tightbound.analysis.diagnosis.checks.collapse import NOTHING
from tightbound.analysis.diagnosis.checks.variance import moments
from tightbound.analysis.diagnosis.engine import Case, Check, require
from tightbound.analysis.diagnosis.findings import Evidence, Finding, Severity
from tightbound.analysis.diagnosis.independence import elements, marginal_costs
from tightbound.analysis.diagnosis.worth import drawn
from tightbound.analysis.estimate import Array, Estimate, mean, scalar, scalar_error
from tightbound.components import make, parse
from tightbound.core.errors import CompositionError

FAMILIES: Mapping[str, tuple[str, ...]] = {
    "counts": ("poisson", "negative-binomial", "zero-inflated-negative-binomial"),
    "levels": ("binomial", "categorical", "discretized-logistic"),
}  # to choose from, by the kind of the target


class WrongScale(Check):
    """The scale of p(x | z) is not that of the errors.

    The mean square of (x - mean) / scale is 1 if errors are as large as the model claims. A finding is, on training
    data, a factor of four or more, by two standard errors, as a fixed scale gives for data of another unit: the weight
    of the distortion is then off by it. Draws of z have at least the errors of an optimal model, and posterior means at
    most: the scale is too wide if the former are smaller than it, and too narrow if the latter are larger. It is severe
    from sixteen: z carries nothing if the scale is far too wide.

    References:
        Simple and effective VAE training with calibrated decoders (Rybkin et al. 2021),
        https://arxiv.org/abs/2006.13202
    """

    name = "wrong-scale"
    question = "Are errors as large as the scale of p(x|z) claims?"
    explains = ("posterior-collapse", "inactive-units", "unused-latents", "posterior-too-wide", "posterior-too-narrow",
                "nothing-learned", "prior-mismatch", "holes")  # fmt: skip

    def measure(self, case: Case) -> Evidence:
        """Return the errors on training data, compared with the scale."""
        require(case.model.likelihood.elementwise, "the likelihood does not give each element a variance of its own")
        target = case.model.observation.target
        columns = target.columns or (target,) * int(np.prod(case.model.shape))
        real = np.array([column.kind == "real" for column in columns])
        require(bool(real.any()), "no element is a real number: p(x|z) has no scale of its own")
        codes = case.train_codes
        return {
            "squared_errors": _squared(case, real, drawn(codes), "one draw of z each"),
            "squared_errors_at_means": _squared(case, real, codes.mean, "posterior means"),
        }

    def judge(self, evidence: Evidence, case: Case) -> Finding | None:
        """Judge whether the factor is four or more."""
        wide, narrow = evidence["squared_errors"], evidence["squared_errors_at_means"]
        if scalar(wide) + 2 * scalar_error(wide) < 0.25:
            value = scalar(wide)
        elif scalar(narrow) - 2 * scalar_error(narrow) > 4:
            value = scalar(narrow)
        else:
            return None
        severity: Severity = "severe" if not 1 / 16 < value < 16 else "moderate"
        times = value**0.5
        size = f"{times:.2g} of" if times < 1 else f"{times:.2g} times"
        direction = "wide" if times < 1 else "narrow"
        description = (
            f"The scale of p(x|z) is too {direction}: errors on training data are {size} what it claims, so that "
            f"the rate weighs {'more' if times < 1 else 'less'} than in the bound at the right scale."
        )
        return Finding(self.name, severity, evidence, description, remedies.learned_scale(case.config))


class WrongFamily(Check):
    """The family of p(x | z) cannot have the spread of the data.

    - The mean square of (x - mean) / standard deviation on training data is above 2, by two standard errors: counts or
      levels that vary more than the family allows around any mean.
    - The model costs more than the frequencies of the elements, and so does a single distribution of its family for all
      examples, by at least half as much: no network can be blamed. This is skipped if the objective weights the rate
      more than the bound does, since that alone can keep the model from using z.

    The remedy is the family whose single distribution fits best.
    """

    name = "wrong-family"
    question = "Can p(x|z) vary as the data do?"
    explains = ("nothing-learned", "posterior-collapse", "posterior-too-wide", "posterior-too-narrow", "overfitting")

    def measure(self, case: Case) -> Evidence:
        """Return the dispersion and what the family costs compared with frequencies."""
        target = case.model.observation.target
        require(target.kind in FAMILIES, "the target is neither counts nor levels, which have several families")
        require(not case.model.likelihood.autoregressive, "p(x|z) models the dependence of elements: it has no family")
        require(case.has_bound, "the posterior is a point mass: no bound on log p(x) exists")
        learned = case.evaluation.per_example["elbo"] + case.independent_elements(case.test_data)
        facts = {"unit": "nats", "estimator": "paired difference"}
        evidence: dict[str, Estimate] = {
            "learned": mean(
                learned, target="ELBO - log p of independent elements, on test data",
                description="what the model knows about x beyond the frequencies of its elements", **facts,
            ),
        }  # fmt: skip
        if case.model.likelihood.elementwise:
            every = np.ones(int(np.prod(case.model.shape)), dtype=bool)
            evidence = {"squared_errors": _squared(case, every, case.train_codes.mean, "posterior means"), **evidence}
        if _below(evidence["learned"]):
            family = case.family_costs(case.test_data)
            if family is not None:
                evidence["family_loss"] = mean(
                    family - case.independent_elements(case.test_data), target="test data",
                    description="what one distribution of the family for all examples costs more than frequencies",
                    **facts,
                )  # fmt: skip
        return evidence

    def judge(self, evidence: Evidence, case: Case) -> Finding | None:
        """Judge by the dispersion, then by the marginals."""
        spread, loss = evidence.get("squared_errors"), evidence.get("family_loss")
        if spread is not None and scalar(spread) - 2 * scalar_error(spread) > 2:
            why = f"the data vary {scalar(spread):.1f} times as much around the decoder's mean as it allows"
        elif (
            loss is not None
            and not remedies.weighs_more(case.config)
            and scalar(loss) - 2 * scalar_error(loss) > -0.5 * scalar(evidence["learned"])
        ):
            why = f"a single distribution of it costs {scalar(loss):.1f} nats more than the frequencies of the elements"
        else:
            return None
        better = _best(case)
        name = str(case.config.get("likelihood") or "auto")
        options = {} if better in (None, parse(name).name) else {"likelihood": better}
        description = f"The family of p(x|z) does not fit the data: {why}."
        return Finding(self.name, "severe", evidence, description, options)


def _below(number: Estimate) -> bool:
    return scalar(number) + 2 * scalar_error(number) < -NOTHING


def _best(case: Case) -> str | None:
    """Return the family whose single distribution explains test data best; None: there is nothing to compare."""
    target, found = case.model.observation.target, {}
    train, test = (case.observed(data) for data in (case.train_data, case.test_data))
    for name in FAMILIES[target.kind]:
        try:
            family = make("likelihood", name, shape=case.model.shape, levels=target.levels or 2)
            costs = marginal_costs(family, train, test)
        except CompositionError:
            continue
        if costs is not None:
            found[name] = costs.mean()
    return min(found, key=lambda name: found[name], default=None)


def _squared(case: Case, which: Array, z: Tensor, where: str) -> Estimate:
    """Return the mean square of (x - mean) / standard deviation on training data at z, of some elements (D,)."""
    seen = case.observed(case.train_data)
    center, scale = (part[:, which] for part in moments(case.model, case.train_codes, z))
    squared = ((elements(seen)[:, which] - center) / np.where(scale > 0, scale, np.nan)) ** 2
    some: Any = np.isfinite(squared).any(axis=1)
    return mean(
        np.nanmean(squared[some], axis=1), unit="times the claimed", target="training data",
        estimator=f"mean over elements and examples of ((x - mean) / scale)^2, at {where}",
        description="1 if errors are as large as the model claims",
    )  # fmt: skip
