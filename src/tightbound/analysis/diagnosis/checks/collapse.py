"""Posterior collapse: whole, and by latent dimension or group."""

from __future__ import annotations

import math

import numpy as np

from tightbound.analysis.diagnosis.checks import remedies
from tightbound.analysis.diagnosis.checks.shared import drawn, independent_elements
from tightbound.analysis.diagnosis.engine import Case, Check
from tightbound.analysis.diagnosis.findings import Evidence, Finding, Severity
from tightbound.analysis.diagnosis.worth import constant_code, costs, swapped
from tightbound.analysis.estimate import Array, Estimate, mean, ratio, scalar, scalar_error
from tightbound.core.errors import CompositionError
from tightbound.core.noise import ExampleNoise, Noise
from tightbound.core.schedules import Knobs
from tightbound.data.feed import evaluating
from tightbound.information import mutual_information

NOTHING = 0.1  # nats: who guesses the half of the data that x is in is right in 72 % of cases instead of 50
A_BIT = math.log(2)  # nats: less than it takes to tell two halves of the data apart
NO_POINT = "the posterior is a point mass: there is no rate"
PAIRS = 300  # data whose codes are compared with each other's posteriors


class PosteriorCollapse(Check):
    """z carries nothing, or a decoder that needs no z does most of the work.

    - Severe where z carries less than 0.1 nats; or less than a bit while the bound is no better, within two standard
      errors, than if every example were decoded from one and the same code.
    - With an autoregressive decoder, which can model x alone: moderate where z brings less than half of what the model
      saves against independent elements, severe below a tenth. Where elements are independent given z, all that
      is known of their dependence comes through z, so that the share is 1 and there is nothing to ask.

    References:
        Lagging inference networks and posterior collapse (He et al. 2019), Section 2, https://arxiv.org/abs/1901.05534;
        Variational lossy autoencoder (Chen et al. 2017), Section 2, https://arxiv.org/abs/1611.02731
    """

    name = "posterior-collapse"
    question = "does z carry anything that the decoder uses?"

    def skips(self, case: Case) -> str | None:
        """There must be a rate."""
        return None if case.has_bound else NO_POINT

    def measure(self, case: Case) -> Evidence:
        """Rate, mutual information, active units, and what x costs without its code."""
        model, test, seed = case.model, case.test_data, case.seed
        found = case.evaluation
        elbo = found.per_example["elbo"]
        same = constant_code(model, case.train_data, drawn(case, train=True), seed)
        alone = costs(model, test, same.expand(len(elbo), -1), seed)
        evidence = {
            "rate": found["rate"],
            "mutual_information": information(case),
            "active_units": found["active_units"],
            "swapped_code": swapped(model, test, drawn(case), seed),
            "gain": mean(
                alone + elbo, unit="nats", target="-log p(x|one code for all) - (-ELBO)",
                description="nats that a code of its own saves an example, after its price",
                estimator="paired difference; the one code is the best of 9 on training data",
            ),
        }  # fmt: skip
        if model.likelihood.autoregressive:
            alike = independent_elements(case, case.test_data)
            evidence["share_through_z"] = ratio(
                alone + elbo, alike + elbo, unit="", target="gain / (cost of independent elements - (-ELBO))",
                description="part of what the model knows of x beyond its marginals that comes through z",
                estimator="ratio of means, delta method",
            )  # fmt: skip
        return evidence

    def judge(self, evidence: Evidence, case: Case) -> Finding | None:
        """By nats carried, nats gained, and the share of z."""
        carried, gain = scalar(evidence["rate"]), evidence["gain"]
        if evidence["mutual_information"].value is not None:
            carried = min(carried, scalar(evidence["mutual_information"]))
        swap = scalar(evidence["swapped_code"])
        if carried < NOTHING or (carried < A_BIT and scalar(gain) <= 2 * scalar_error(gain)):
            description = (
                f"The decoder ignores z: a code carries {max(carried, 0.0):.2f} nats about its example, and decoding "
                f"another example's code costs {swap:.2f} nats."
            )
            return self._finding("severe", evidence, description, case)
        share = evidence.get("share_through_z")
        if share is None or share.value is None or scalar(share) + 2 * scalar_error(share) >= 0.5:
            return None
        description = (
            f"The decoder does most of the work without z: {max(scalar(share), 0.0):.0%} of what the model knows of x "
            f"beyond its marginals comes through z, which carries {scalar(evidence['rate']):.1f} nats."
        )
        return self._finding("severe" if scalar(share) < 0.1 else "moderate", evidence, description, case)

    def _finding(self, severity: Severity, evidence: Evidence, description: str, case: Case) -> Finding:
        return Finding(self.name, severity, evidence, description, remedies.use_of_z(case))


class InactiveUnits(Check):
    """Latent dimensions, or whole groups of a hierarchy, that carry nothing.

    A dimension carries nothing below 0.01 nats of KL, or where the KL is not known by dimension below 0.01 of
    Var_x(E_q[z|x]) (Burda et al. 2016). A VAE switches off dimensions that it does not need, at no cost to the bound:
    it is a finding only, and a mild one, where three quarters of them are off: the model is at least four times as wide
    as what it uses. A group below 0.1 nats is one: a layer that does nothing is no hierarchy.

    References:
        Importance weighted autoencoders (Burda et al. 2016), Section 5.2, https://arxiv.org/abs/1509.00519;
        Ladder variational autoencoders (Sønderby et al. 2016), Section 3.3, https://arxiv.org/abs/1602.02282
    """

    name = "inactive-units"
    question = "how much of the latent space is in use?"

    def skips(self, case: Case) -> str | None:
        """A variance of 0.01 is small in R^L alone: a code of one in ten is at most 0.09."""
        support = case.model.latents.support
        if case.evaluation.has_code_indices:
            return "codes are numbers of a codebook's entries: see codebook-collapse"
        known = support == "real" or case.evaluation["kl_per_dimension"].value is not None
        return None if known else f"codes lie on {support}, and how much each dimension carries is not known"

    def measure(self, case: Case) -> Evidence:
        """Inactive dimensions and their numbers; the rate by group."""
        found = case.evaluation
        kl, mu = found["kl_per_dimension"], found.per_example["mean"]
        spread = mu.var(0, ddof=1)
        off = spread < 0.01
        how = "count of Var_x(E_q[z|x]) < 0.01"
        if kl.value is not None:
            off &= np.asarray(kl.value) < 0.01
            how += " and KL < 0.01 nats"
        facts = {"n": len(mu), "estimator": how, "target": found["active_units"].target}
        total = Estimate(
            float(off.sum()),
            None,
            unit=f"of {len(off)} dimensions",
            description="dimensions that carry nothing",
            **facts,
        )
        which = [float(i) for i in np.flatnonzero(off)]
        evidence = {
            "inactive": total,
            "which": Estimate(which, None, unit="dimensions", description="their numbers, from 0", **facts),
        }
        groups = found["kl_per_group"]
        return evidence | (
            {"rate_by_group": groups} if isinstance(groups.value, list) and len(groups.value) > 1 else {}
        )

    def judge(self, evidence: Evidence, case: Case) -> Finding | None:
        """Groups first."""
        latent, off = case.model.latents.latent, int(scalar(evidence["inactive"]))
        by_group = evidence["rate_by_group"].value if "rate_by_group" in evidence else []
        rates = by_group if isinstance(by_group, list) else []
        idle = [i + 1 for i, rate in enumerate(rates) if rate < NOTHING]
        if idle:
            description = (
                f"{len(idle)} of {len(rates)} groups of latents carry less than {NOTHING} nats (numbers "
                f"{', '.join(map(str, idle))}, the lowest is 1): the hierarchy has layers that do nothing."
            )
            return Finding(self.name, "moderate", evidence, description, remedies.use_of_z(case))
        if off <= 0.75 * latent:
            return None
        description = f"{off} of {latent} latent dimensions carry nothing: the model works with {latent - off}."
        # fewer dimensions would not cure collapse, or a weight that switches them off
        surplus = off < latent and not remedies.weighs_more(case.config)
        fewer = {"latent": latent - off} if surplus else remedies.use_of_z(case)
        return Finding(self.name, "mild", evidence, description, fewer)


def information(case: Case) -> Estimate:
    """I_q(x; z) under the aggregate posterior of a few test data."""
    model = case.model
    few = case.test_data[: min(PAIRS, max(2, int(math.sqrt(2e7 / model.latents.latent))))].to(model.device)
    facts = {
        "unit": "nats", "target": f"I_q(x; z) for these {len(few)} data", "n": len(few),
        "estimator": f"log q(z|x) - log q(z), the mixture of {len(few)} posteriors; at most {math.log(len(few)):.2f}",
        "description": "nats that a code tells about which example it is of",
    }  # fmt: skip
    if model.latents.deterministic:
        return _told_apart(case.evaluation.per_example["codes"], facts["description"])
    with evaluating(model):
        seen = model.observe(few, Noise("evaluate", case.seed))
        noise = ExampleNoise("diagnose", case.seed, index=few.positions())
        (group, *others), _ = model.infer(seen, model.encode_state(seen), 1, noise, Knobs.final(model.schedules))
        if others or group.posterior is None:
            reason = "the density of codes under other data's posteriors is not known for a hierarchy"
            return Estimate(None, None, **{**facts, "reason": reason})
        try:
            values = mutual_information(group.posterior, group.z)[0]
        except CompositionError as error:
            return Estimate(None, None, **{**facts, "reason": str(error)})
    return mean(values.cpu().double().numpy(), **{k: v for k, v in facts.items() if k != "n"})


def _told_apart(codes: Array, description: str) -> Estimate:
    """I(x; z) of codes (N, L) that are a function of x: their entropy over these data."""
    _, which, counts = np.unique(codes, axis=0, return_inverse=True, return_counts=True)
    n = len(codes)
    return mean(
        -np.log(counts[which.ravel()] / n), unit="nats", target=f"I(x; z) for these {n:,} data", description=description,
        estimator=f"entropy of the codes over {n:,} data; at most {math.log(n):.2f}",
    )  # fmt: skip
