"""Posterior collapse, of the whole code or of single latent dimensions and groups."""

from __future__ import annotations

import math

import numpy as np

from tightbound.analysis.diagnosis.checks import remedies
from tightbound.analysis.diagnosis.engine import Case, Check, require
from tightbound.analysis.diagnosis.findings import Evidence, Finding, Severity
from tightbound.analysis.diagnosis.worth import constant_code, costs, drawn, swapped
from tightbound.analysis.estimate import Array, Estimate, mean, ratio, scalar, scalar_error
from tightbound.core.errors import CompositionError
from tightbound.core.noise import ExampleNoise, Noise
from tightbound.core.schedules import Knobs
from tightbound.data.feed import evaluating
from tightbound.information import mutual_information

NOTHING = 0.1  # nats: with it one guesses right in 72% of cases, not 50%, which half of the data x belongs to
A_BIT = math.log(2)  # nats: what it takes to tell two halves of the data apart
NO_RATE = "the posterior is a point mass: there is no rate"


class PosteriorCollapse(Check):
    """z carries nothing, or the decoder does most of the work without it.

    - Severe if z carries less than 0.1 nats, or less than a bit while the bound is no better, within two standard
      errors, than if every example were decoded from one and the same code.
    - With an autoregressive decoder, which can model x alone: moderate if z brings less than half of what the model
      saves compared with independent elements, severe below a tenth. If elements are independent given z, all that is
      known of their dependence comes through z, so that the share is 1 and the question does not arise.

    References:
        Lagging inference networks and posterior collapse (He et al. 2019), Section 2, https://arxiv.org/abs/1901.05534;
        Variational lossy autoencoder (Chen et al. 2017), Section 2, https://arxiv.org/abs/1611.02731
    """

    name = "posterior-collapse"
    question = "Does z carry anything that the decoder uses?"

    def measure(self, case: Case) -> Evidence:
        """Return rate, mutual information, active units, and what x costs without its code."""
        require(case.has_bound, NO_RATE)
        model, test, seed = case.model, case.test_data, case.seed
        found = case.evaluation
        elbo = found.per_example["elbo"]
        same = constant_code(model, case.train_data, drawn(case.train_codes), seed)
        alone = costs(model, test, same.expand(len(elbo), -1), seed)
        evidence = {
            "rate": found["rate"],
            "mutual_information": information(case),
            "active_units": found["active_units"],
            "swapped_code": swapped(model, test, drawn(case.codes), seed),
            "gain": mean(
                alone + elbo, unit="nats", target="-log p(x|one code for all) - (-ELBO)",
                description="nats that an example saves by having a latent code of its own, after paying for it",
                estimator="paired difference; the common code is the best of 9 on training data",
            ),
        }  # fmt: skip
        if model.likelihood.autoregressive:
            alike = case.independent_elements(case.test_data)
            evidence["share_through_z"] = ratio(
                alone + elbo, alike + elbo, unit="", target="gain / (cost of independent elements - (-ELBO))",
                description="share of what the model knows about x, beyond its marginals, that comes through z",
                estimator="ratio of means, delta method",
            )  # fmt: skip
        return evidence

    def judge(self, evidence: Evidence, case: Case) -> Finding | None:
        """Judge by the nats carried, the nats gained and the share of z."""
        carried, gain = scalar(evidence["rate"]), evidence["gain"]
        if evidence["mutual_information"].value is not None:
            carried = min(carried, scalar(evidence["mutual_information"]))
        swap = scalar(evidence["swapped_code"])
        if carried < NOTHING or (carried < A_BIT and scalar(gain) <= 2 * scalar_error(gain)):
            description = (
                f"The decoder ignores z: a latent code carries {max(carried, 0.0):.2f} nats about its example, and "
                "decoding "
                f"another example's latent code costs {swap:.2f} nats."
            )
            return self._finding("severe", evidence, description, case)
        share = evidence.get("share_through_z")
        if share is None or share.value is None or scalar(share) + 2 * scalar_error(share) >= 0.5:
            return None
        description = (
            f"The decoder does most of the work without z: {max(scalar(share), 0.0):.0%} of what the model knows about "
            f"x, beyond its marginals, comes through z, which carries {scalar(evidence['rate']):.1f} nats."
        )
        return self._finding("severe" if scalar(share) < 0.1 else "moderate", evidence, description, case)

    def _finding(self, severity: Severity, evidence: Evidence, description: str, case: Case) -> Finding:
        return Finding(self.name, severity, evidence, description, remedies.use_of_z(case))


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
        """Judge the groups first, then the dimensions."""
        latent, off = case.model.latents.latent, int(scalar(evidence["inactive"]))
        by_group = evidence["rate_by_group"].value if "rate_by_group" in evidence else []
        rates = by_group if isinstance(by_group, list) else []
        idle = [i + 1 for i, rate in enumerate(rates) if rate < NOTHING]
        if idle:
            description = (
                f"{len(idle)} of {len(rates)} latent groups carry less than {NOTHING} nats (numbers "
                f"{', '.join(map(str, idle))}, the lowest is 1): the hierarchy has layers that do nothing."
            )
            return Finding(self.name, "moderate", evidence, description, remedies.use_of_z(case))
        if off <= 0.75 * latent:
            return None
        description = f"{off} of {latent} latent dimensions carry nothing: the model works with {latent - off}."
        # fewer dimensions would not cure a collapse, nor a weight of the rate that switches them off
        surplus = off < latent and not remedies.weighs_more(case.config)
        fewer = {"latent": latent - off} if surplus else remedies.use_of_z(case)
        return Finding(self.name, "mild", evidence, description, fewer)


def information(case: Case, max_examples: int = 300) -> Estimate:
    """Return I_q(x; z) under the aggregate posterior of a few test examples."""
    model = case.model
    few = case.test_data[: min(max_examples, max(2, int(math.sqrt(2e7 / model.latents.latent))))].to(model.device)
    about = "nats that a latent code tells about which example it belongs to"
    facts = {"unit": "nats", "target": f"I_q(x; z) for these {len(few)} examples", "description": about}
    if model.deterministic:
        return _entropy(case.evaluation.per_example["codes"], about)
    with evaluating(model):
        seen = model.observe(few, Noise("evaluate", case.seed))
        noise = ExampleNoise("diagnose", case.seed, index=few.positions())
        (group, *others), _ = model.infer(seen, model.encode_state(seen), 1, noise, Knobs.final(model.schedules))
        if others or group.posterior is None:
            reason = "the density of a code under another example's posterior is not known for a hierarchy"
            return Estimate.missing(reason, n=len(few), **facts)
        try:
            values = mutual_information(group.posterior, group.z)[0]
        except CompositionError as error:
            return Estimate.missing(str(error), n=len(few), **facts)
    how = f"log q(z|x) - log q(z), the mixture of {len(few)} posteriors; at most {math.log(len(few)):.2f}"
    return mean(values.cpu().double().numpy(), estimator=how, **facts)


def _entropy(codes: Array, description: str) -> Estimate:
    """Return I(x; z) of code indices (N, L) that are a function of x: their entropy over these examples."""
    _, which, counts = np.unique(codes, axis=0, return_inverse=True, return_counts=True)
    n = len(codes)
    how = f"entropy of the code indices over {n:,} examples; at most {math.log(n):.2f}"
    facts = {"unit": "nats", "target": f"I(x; z) for these {n:,} examples", "description": description}
    return mean(-np.log(counts[which.ravel()] / n), estimator=how, **facts)
