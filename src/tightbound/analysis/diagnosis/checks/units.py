"""Latent dimensions and groups that carry nothing, and those that are paid for in vain."""

from __future__ import annotations

import numpy as np

from tightbound.analysis.diagnosis.checks import remedies
from tightbound.analysis.diagnosis.checks.collapse import NOTHING
from tightbound.analysis.diagnosis.engine import Case, Check, require
from tightbound.analysis.diagnosis.findings import Evidence, Finding, Severity
from tightbound.analysis.diagnosis.worth import costs, drawn
from tightbound.analysis.estimate import Estimate, mean, scalar, scalar_error


class InactiveUnits(Check):
    """Latent dimensions, or whole groups of a hierarchy, that carry nothing.

    A dimension carries nothing below 0.01 nats of KL or, if the KL is not known by dimension, below 0.01 of
    Var_x(E_q[z|x]) (Burda et al. 2016). A VAE switches off dimensions that it does not need, at no cost to the bound:
    that is a finding, a mild one, only if three quarters of them are off, so that the model is at least four times as
    wide as what it uses. A group below 0.1 nats is a finding: a layer that does nothing is no hierarchy.

    References:
        Importance weighted autoencoders (Burda et al. 2016), Section 5.2, https://arxiv.org/abs/1509.00519;
        Ladder variational autoencoders (Sønderby et al. 2016), Section 3.3, https://arxiv.org/abs/1602.02282
    """

    name = "inactive-units"
    question = "How much of the latent space is in use?"

    def measure(self, case: Case) -> Evidence:
        """Return the inactive dimensions and the rate by group."""
        support, known = case.model.latents.support, case.evaluation["kl_per_dimension"].value is not None
        require(not case.evaluation.has_code_indices, "the latent is a grid of code indices: see codebook-collapse")
        # elsewhere a variance of 0.01 may not be small: a one-hot code has at most 0.09 for one class in ten
        unknown = f"codes lie on {support}, and how much each dimension carries is not known"
        require(support == "real" or known, unknown)
        found = case.evaluation
        kl, mu = found["kl_per_dimension"], found.per_example["mean"]
        off = mu.var(0, ddof=1) < 0.01
        how = "count of Var_x(E_q[z|x]) < 0.01"
        if kl.value is not None:
            off &= np.asarray(kl.value) < 0.01
            how += " and KL < 0.01 nats"
        facts = {"stderr": None, "n": len(mu), "estimator": how, "target": found["active_units"].target}
        which = [float(i) for i in np.flatnonzero(off)]
        evidence = {
            "inactive": Estimate(
                float(off.sum()), unit=f"of {len(off)} dimensions", description="dimensions that carry nothing", **facts
            ),
            "which": Estimate(which, unit="dimensions", description="which ones, counted from 0", **facts),
        }
        groups = found["kl_per_group"]
        several = isinstance(groups.value, list) and len(groups.value) > 1
        return evidence | ({"rate_by_group": groups} if several else {})

    def judge(self, evidence: Evidence, case: Case) -> Finding | None:
        """Judge the groups of a hierarchy; dimensions that carry nothing cost nothing."""
        by_group = evidence["rate_by_group"].value if "rate_by_group" in evidence else []
        rates = by_group if isinstance(by_group, list) else []
        idle = [i + 1 for i, rate in enumerate(rates) if rate < NOTHING]
        if idle and not case.nothing_to_encode:
            description = (
                f"{len(idle)} of {len(rates)} latent groups carry less than {NOTHING} nats (numbers "
                f"{', '.join(map(str, idle))}, the lowest is 1): the hierarchy has layers that do nothing."
            )
            return Finding(self.name, "moderate", evidence, description, remedies.use_of_z(case))
        return None


class UnusedLatents(Check):
    """Latent dimensions that cost rate, and that the decoder does not use.

    Dimensions whose exchange for another example's costs less than a quarter of their rate are found one by one on a
    few examples, and then exchanged together on all of them. A finding is that they cost half a nat and a twentieth of
    the rate, and that the exchange costs less than a quarter of that, by two standard errors. A decoder that uses a
    dimension loses more than its rate by the exchange. It is moderate from a quarter, severe from half of the rate.

    Args:
        max_examples: Number of examples on which dimensions are exchanged one by one, at most.
        max_dimensions: Number of dimensions to look at, those with the highest rate, at most.
    """

    name = "unused-latents"
    question = "Does the decoder use the latent dimensions that it pays for?"
    explains = ("posterior-too-narrow", "nothing-learned")

    def __init__(self, max_examples: int = 50, max_dimensions: int = 64) -> None:
        self.max_examples, self.max_dimensions = max_examples, max_dimensions

    def measure(self, case: Case) -> Evidence:
        """Return the rate of the dimensions that seem unused, and what their exchange costs."""
        kl = case.evaluation["kl_per_dimension"]
        require(isinstance(kl.value, list), "the rate by latent dimension is not known")
        rates = np.asarray(kl.value)
        z, model, data = drawn(case.codes), case.model, case.test_data
        few = data[: self.max_examples]
        own = costs(model, few, z[: len(few)], case.seed)
        paid = [d for d in np.argsort(-rates)[: self.max_dimensions] if rates[d] > NOTHING]
        unused = []
        for d in paid:
            other = z[: len(few)].clone()
            other[:, d] = other[:, d].roll(1)
            if (costs(model, few, other, case.seed) - own).mean() < rates[d] / 4:
                unused.append(int(d))
        exchanged = z.clone()
        exchanged[:, unused] = exchanged[:, unused].roll(1, 0)
        lost = costs(model, data, exchanged, case.seed) - costs(model, data, z, case.seed)
        facts = {"stderr": None, "n": len(few), "estimator": "one dimension at a time", "target": "test data"}
        return {
            "unused": Estimate(
                float(len(unused)), unit=f"of {len(rates)} dimensions", description="dimensions that cost rate, and "
                "whose exchange for another example's costs less than a quarter of it", **facts,
            ),
            "which": Estimate(
                sorted(map(float, unused)), unit="dimensions", description="which ones, counted from 0", **facts
            ),
            "unused_rate": Estimate(
                float(rates[unused].sum()), None, n=kl.n, unit="nats", estimator=kl.estimator, target=kl.target,
                description="rate of these dimensions",
            ),
            "exchange_cost": mean(
                lost, unit="nats", target="-log p(x|z)", estimator="paired difference, one draw each",
                description="what decoding these dimensions of another example costs",
            ),
            "rate": case.evaluation["rate"],
        }  # fmt: skip

    def judge(self, evidence: Evidence, case: Case) -> Finding | None:
        """Judge by the rate that is paid in vain."""
        paid, lost, rate = scalar(evidence["unused_rate"]), evidence["exchange_cost"], scalar(evidence["rate"])
        if not (paid > max(0.5, rate / 20) and scalar(lost) + 2 * scalar_error(lost) < paid / 4):
            return None
        share = paid / rate
        severity: Severity = "severe" if share >= 0.5 else "moderate" if share >= 0.25 else "mild"
        description = (
            f"The decoder does not use {scalar(evidence['unused']):.0f} {evidence['unused'].unit}, which cost "
            f"{paid:.1f} of the {rate:.1f} nats of the rate: exchanging them for another example's costs "
            f"{max(scalar(lost), 0.0):.2g} nats."
        )
        return Finding(self.name, severity, evidence, description, remedies.bound(case.config))
