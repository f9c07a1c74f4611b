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
    - Severe, too, if z carries less than a bit and saves less than a quarter of what latent classes save, which know
      the dependence between elements of x only roughly; moderate below a half, both by two standard errors.
    - No finding if the elements of x are independent, as far as latent classes can tell: there is nothing to encode.
    - With an autoregressive decoder, which can model x alone: moderate if z brings less than half of what the model
      saves compared with independent elements, severe below a tenth. If elements are independent given z, all that is
      known of their dependence comes through z, so that the share is 1 and the question does not arise.

    References:
        Lagging inference networks and posterior collapse (He et al. 2019), Section 2, https://arxiv.org/abs/1901.05534;
        Variational lossy autoencoder (Chen et al. 2017), Section 2, https://arxiv.org/abs/1611.02731
    """

    name = "posterior-collapse"
    question = "Does z carry anything that the decoder uses?"
    explains = ("inactive-units",)

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
        if scalar(found["rate"]) < A_BIT:
            evidence["dependence"] = case.dependence
        return evidence

    def judge(self, evidence: Evidence, case: Case) -> Finding | None:
        """Judge by the nats carried, the nats gained and the share of z."""
        carried, gain = scalar(evidence["rate"]), evidence["gain"]
        if evidence["mutual_information"].value is not None:
            carried = min(carried, scalar(evidence["mutual_information"]))
        swap = scalar(evidence["swapped_code"])
        if carried < NOTHING or (carried < A_BIT and scalar(gain) <= 2 * scalar_error(gain)):
            if case.nothing_to_encode:
                return None
            description = (
                f"The decoder ignores z: a latent code carries {max(carried, 0.0):.2f} nats about its example, and "
                "decoding "
                f"another example's latent code costs {swap:.2f} nats."
            )
            return self._finding("severe", evidence, description, case)
        if carried < A_BIT and "share_through_z" not in evidence:
            worth, missed = scalar(case.dependence), 2 * math.hypot(scalar_error(case.dependence), scalar_error(gain))
            if case.dependence.value is not None and scalar(gain) + missed < worth / 2:
                description = (
                    f"z carries less than it could: it saves {max(scalar(gain), 0.0):.2f} nats of an example, where "
                    f"latent classes alone save {worth:.2f}."
                )
                severity = "severe" if scalar(gain) + missed < worth / 4 else "moderate"
                return self._finding(severity, evidence, description, case)
        share = evidence.get("share_through_z")
        if share is None or share.value is None or scalar(share) + 2 * scalar_error(share) >= 0.5:
            return None
        description = (
            f"The decoder does most of the work without z: {max(scalar(share), 0.0):.0%} of what the model knows about "
            f"x, beyond its marginals, comes through z, which carries {scalar(evidence['rate']):.1f} nats."
        )
        return self._finding("severe" if scalar(share) < 0.1 else "moderate", evidence, description, case)

    def note(self, evidence: Evidence, case: Case) -> str | None:
        """Say why a latent code that carries nothing is right, if it is."""
        if "dependence" not in evidence or not case.nothing_to_encode:
            return None
        return (
            f"There is nothing to encode: latent classes find {max(scalar(evidence['dependence']), 0.0):.2f} nats of "
            "dependence between the elements of x, so that a latent code that carries nothing is right."
        )

    def _finding(self, severity: Severity, evidence: Evidence, description: str, case: Case) -> Finding:
        options = remedies.use_of_z(case)
        buys = "a latent code that carries more may cost nats of the bound" if "beta" not in options else ""
        return Finding(self.name, severity, evidence, description, options, buys)


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
