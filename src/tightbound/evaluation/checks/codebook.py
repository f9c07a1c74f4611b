"""Codebook collapse: discrete codes of which few are used."""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch

from tightbound.core.noise import DatumNoise, Noise
from tightbound.core.schedules import Knobs
from tightbound.core.terms import LatentTerms
from tightbound.data.feed import batches, evaluating
from tightbound.evaluation.checks import remedies
from tightbound.evaluation.diagnosis import Check, Evidence, Finding, Severity, Subject
from tightbound.evaluation.evaluate import at_once
from tightbound.evaluation.numbers import Estimate, scalar
from tightbound.quantizers.usage import CodeUsage


class CodebookCollapse(Check):
    """How many of the values that discrete codes can take are in use over the data.

    The perplexity of a code is exp of the entropy of its values; log perplexity over log of their number is the part of
    its bits that is in use. A finding is less than half of the bits, moderate; severe below a tenth.

    References:
        Neural discrete representation learning (van den Oord et al. 2017), https://arxiv.org/abs/1711.00937
    """

    name = "codebook-collapse"
    asks = "how many of the codes are in use?"

    def skips(self, subject: Subject) -> str | None:
        """Needs discrete codes."""
        first = next(_inferred(subject, 2))
        return None if any(group.entries for group in first) else "no latent is discrete"

    def measure(self, subject: Subject) -> Evidence:
        """Perplexity by code, entries in use, and bits in use."""
        parts = list(_inferred(subject, len(subject.test_data)))
        entropies, capacities, used, entries = [], [], 0, 0
        for group in range(len(parts[0])):
            first = parts[0][group]
            if not first.entries or first.codes is None:
                continue
            usage = CodeUsage.empty(first.entries, 1 if first.shared else first.codes.shape[-1])
            for part in parts:
                usage.add(torch.as_tensor(part[group].codes)[0])
            entropies += usage.entropy.tolist()
            capacities += [math.log(first.entries)] * len(usage.counts)
            used, entries = used + int(usage.used.sum()), entries + usage.counts.numel()
        facts = {"stderr": None, "n": len(subject.test_data), "target": "codes of test data, one draw each"}
        return {
            "perplexity": Estimate([math.exp(h) for h in entropies], unit="entries", estimator="exp of entropy",
                                   says="entries in even use, by codebook", **facts),
            "used": Estimate(float(used), unit=f"of {entries} entries", estimator="count of entries seen",
                             says="entries in any use", **facts),
            "bits": Estimate(sum(entropies) / sum(capacities), unit="", estimator="entropy / log of the entries, "
                             "summed over codebooks", says="part of the codes' bits in use", **facts),
        }  # fmt: skip

    def judge(self, evidence: Evidence, subject: Subject) -> Finding | None:
        """Less than half of the bits."""
        bits = scalar(evidence["bits"])
        if not bits < 0.5:
            return None
        severity: Severity = "severe" if bits < 0.1 else "moderate"
        entries = evidence["used"].unit.removeprefix("of ")
        says = (
            f"Codes use {bits:.0%} of their bits: {scalar(evidence['used']):.0f} of {entries} occur in the data at all."
        )
        return Finding(
            self.name, severity, evidence, says, remedies.full_rate(subject.config) or remedies.free_bits(subject)
        )


def _inferred(subject: Subject, n: int) -> Iterator[tuple[LatentTerms, ...]]:
    """The latents of the first few test data, batch by batch."""
    model = subject.model
    with evaluating(model):
        for batch in batches(model, subject.test_data[:n], at_once(model, 1)):
            seen = model.observe(batch, Noise("evaluate", subject.seed))
            noise = DatumNoise("diagnose", subject.seed, index=batch.positions())
            groups, _ = model.infer(seen, model.encode_state(seen), 1, noise, Knobs.final(model.schedules))
            yield groups
