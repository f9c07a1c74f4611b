"""Failures of the fit: numbers that are not finite, nothing learned, the wrong family."""

from __future__ import annotations

import math

import numpy as np
import torch

from tightbound.analysis.diagnosis.checks import remedies
from tightbound.analysis.diagnosis.checks.collapse import NOTHING
from tightbound.analysis.diagnosis.engine import Case, Check, require
from tightbound.analysis.diagnosis.findings import Evidence, Finding
from tightbound.analysis.estimate import Estimate, mean, scalar, scalar_error
from tightbound.config import Settings
from tightbound.training.suited import Suited

NO_BOUND = "the posterior is a point mass: no bound on log p(x) exists"


class NotFinite(Check):
    """Weights or log-densities that are NaN or infinite: nothing else can be measured then."""

    name = "not-finite"
    question = "Are all weights and all log-densities finite?"
    fatal = True

    def measure(self, case: Case) -> Evidence:
        """Count what is not finite."""
        tensors = [t for t in case.model.state_dict().values() if t.is_floating_point()]
        weights = sum(int((~torch.isfinite(t)).sum()) for t in tensors)
        size = sum(t.numel() for t in tensors)
        per_example = case.evaluation.per_example
        bad = ~np.isfinite(per_example.get("elbo", per_example["distortion"]))
        facts = {"stderr": None, "estimator": "count"}
        return {
            "bad_weights": Estimate(
                float(weights), n=size, unit=f"of {size:,}", target="weights of the model",
                description="weights that are not finite", **facts,
            ),
            "bad_examples": Estimate(
                float(bad.sum()), n=len(bad), unit=f"of {len(bad):,}", target="test data",
                description="test examples whose log-density is not finite", **facts,
            ),
            "which": Estimate(
                case.test_data.positions().numpy()[bad].astype(float).tolist(), n=len(bad), unit="rows",
                target="test data", description="which ones, counted from 0", **facts,
            ),
        }  # fmt: skip

    def judge(self, evidence: Evidence, case: Case) -> Finding | None:
        """One is enough."""
        weights, examples = (int(scalar(evidence[name])) for name in ("bad_weights", "bad_examples"))
        if not weights + examples:
            return None
        if not weights:  # the model is sound, and the examples are not
            rows = evidence["which"].value
            few = ", ".join(f"{row:.0f}" for row in (rows if isinstance(rows, list) else [])[:5])
            description = (
                f"The log-densities of {examples} of {evidence['bad_examples'].n} test examples are not finite: rows "
                f"{few}{', ...' * (examples > 5)} of the test data, counted from 0. Look there for values that are far "
                "from all others."
            )
            return Finding(self.name, "severe", evidence, description, {})
        description = f"{weights} weights are not finite: the training diverged."
        given = Settings(lr=case.config.get("lr") or "auto")
        lower = float(f"{Suited.to(case.model, given).lr / 10:g}")
        return Finding(self.name, "severe", evidence, description, {"lr": lower, "clip": 10.0})


class NothingLearned(Check):
    """The model knows less about its own training data than a model without a latent code.

    A finding is an ELBO that is worse, by a tenth of a nat and two standard errors, than one distribution of the
    model's family for all examples, or than the frequencies of the elements if the family models their dependence. If
    the rate has another weight than in the bound, that weight is the cause.
    """

    name = "nothing-learned"
    question = "Does the model know more about x than the frequencies of its elements?"
    explains = ("inactive-units",)

    def measure(self, case: Case) -> Evidence:
        """Return what is known beyond the marginals."""
        require(case.has_bound, NO_BOUND)
        weight = float(remedies.knobs(case.config).get("beta", math.nan))
        require(weight == 1, "the model was not trained to maximize the ELBO")
        uniform = "no code prior has been trained, so that code indices cost more than they need to: see code-prior"
        require(not case.evaluation.has_uniform_codes, uniform)
        family = case.family_costs(case.train_data)
        discrete = case.model.observation.target.discrete
        require(discrete or family is not None, "p(x|z) is a density that models dependence by itself")
        alone = case.independent_elements(case.train_data) if family is None else family
        what = "independent elements" if family is None else "one distribution of the family for all examples"
        return {
            "learned": mean(
                case.train_evaluation.per_example["elbo"] + alone, unit="nats",
                target=f"ELBO - log p of {what}, on training data", estimator="paired difference",
                description="what the model knows about x beyond its marginals",
            ),
        }  # fmt: skip

    def judge(self, evidence: Evidence, case: Case) -> Finding | None:
        """Judge whether it is less than nothing."""
        learned = evidence["learned"]
        if not scalar(learned) + 2 * scalar_error(learned) < -NOTHING:
            return None
        description = (
            f"The model has learned nothing: its training data cost {-scalar(learned):.2g} nats more than under a "
            "model with independent elements."
        )
        return Finding(self.name, "severe", evidence, description, remedies.learning(case.config))
