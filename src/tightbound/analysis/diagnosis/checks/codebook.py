"""Codebook collapse: discrete codes of which few are used."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
import torch

from tightbound.analysis.bounds.estimator import at_once
from tightbound.analysis.diagnosis.checks import remedies
from tightbound.analysis.diagnosis.engine import Case, Check
from tightbound.analysis.diagnosis.findings import Evidence, Finding, Severity
from tightbound.analysis.estimate import Estimate, scalar
from tightbound.core.noise import ExampleNoise, Noise
from tightbound.core.schedules import Knobs
from tightbound.core.terms import LatentTerms
from tightbound.data.feed import batches, evaluating
from tightbound.quantizers.usage import CodebookUsage

SEEN = 10  # codes an entry, from which on one that is in use can be expected to occur
RARE = 0.25  # share of entries


class CodebookCollapse(Check):
    """How many of the values that discrete codes can take are in use over the data, level by level.

    The perplexity of a code is exp of the entropy of its values; log perplexity over log of their number is the part of
    its bits that is in use. A finding is a level with less than half of the bits, moderate; severe below a tenth. It is
    one, mild, that less than a quarter of a level's entries occur at all in ten times as many codes.

    References:
        Neural discrete representation learning (van den Oord et al. 2017), https://arxiv.org/abs/1711.00937
    """

    name = "codebook-collapse"
    question = "how many of the codes are in use?"

    def skips(self, case: Case) -> str | None:
        """Needs discrete codes."""
        first = next(_inferred(case, 2))
        return None if any(group.entries for group in first) else "no latent is discrete"

    def measure(self, case: Case) -> Evidence:
        """Perplexity by code, entries in use, and bits in use."""
        parts = list(_inferred(case, len(case.test_data)))
        levels = [u for i, _ in enumerate(parts[0]) if (u := _usage([part[i] for part in parts])) is not None]
        bits = [usage.relative_entropy for usage in levels]
        entries, used = (sum(int(n) for n in each) for each in zip(*map(_entries, levels), strict=True))
        rare = [float(usage.used_share.mean()) for usage in levels if usage.counts.sum() >= SEEN * usage.counts.numel()]
        facts = {"stderr": None, "n": len(case.test_data), "target": "codes of test data, one draw each"}
        part = "part of the codes' bits in use"
        worst = f", of level {1 + bits.index(min(bits))} (the lowest is 1), which uses the least" * (len(bits) > 1)
        evidence = {
            "perplexity": Estimate([p for usage in levels for p in usage.perplexity.tolist()], unit="entries",
                                   estimator="exp of entropy", description="entries in even use, by codebook", **facts),
            "used": Estimate(float(used), unit=f"of {entries} entries", estimator="count of entries seen",
                             description="entries in any use", **facts),
            "bits": Estimate(min(bits), unit="", estimator="entropy / log of the entries, summed over codebooks",
                             description=part + worst, **facts),
        }  # fmt: skip
        if len(levels) > 1:
            evidence["bits_by_level"] = replace(
                evidence["bits"], value=bits, description=f"{part}, the lowest level first"
            )
        if rare:
            evidence["least_used"] = Estimate(
                min(rare), unit="share of entries", estimator="count of entries seen",
                description="entries in any use, of the level that uses the least", **facts,
            )  # fmt: skip
        return evidence

    def judge(self, evidence: Evidence, case: Case) -> Finding | None:
        """Less than half of the bits, or a quarter of the entries."""
        bits, occur = scalar(evidence["bits"]), scalar(evidence["least_used"]) if "least_used" in evidence else 1.0
        if not (bits < 0.5 or occur < RARE):
            return None
        severity: Severity = "severe" if bits < 0.1 else "moderate" if bits < 0.5 else "mild"
        entries = evidence["used"].unit.removeprefix("of ")
        by_level = evidence["bits_by_level"].value if "bits_by_level" in evidence else None
        level = f" of level {1 + int(np.argmin(by_level))} (the lowest is 1)" if by_level is not None else ""
        description = f"Codes{level} use {bits:.0%} of their bits: "
        description += (
            f"of all {entries} {scalar(evidence['used']):.0f} occur in the data."
            if level
            else (f"{scalar(evidence['used']):.0f} of {entries} occur in the data at all.")
        )
        if case.model.latents.deterministic:
            return Finding(self.name, severity, evidence, description, remedies.other_codes(case.config))
        flags = remedies.full_rate(case.config) or remedies.free_bits(case)
        return Finding(self.name, severity, evidence, description, flags)


def _usage(parts: Sequence[LatentTerms]) -> CodebookUsage | None:
    """Of one group of latents over the batches; None where it is not discrete."""
    first = parts[0]
    if not first.entries or first.codes is None:
        return None
    usage = CodebookUsage.empty(first.entries, 1 if first.shared else first.codes.shape[-1])
    for part in parts:
        usage.add(torch.as_tensor(part.codes)[0])
    return usage


def _entries(usage: CodebookUsage) -> tuple[int, int]:
    """How many there are, and how many occur."""
    return usage.counts.numel(), int(usage.used.sum())


def _inferred(case: Case, n: int) -> Iterator[tuple[LatentTerms, ...]]:
    """The latents of the first few test data, batch by batch."""
    model = case.model
    with evaluating(model):
        for batch in batches(model, case.test_data[:n], at_once(model, 1)):
            seen = model.observe(batch, Noise("evaluate", case.seed))
            noise = ExampleNoise("diagnose", case.seed, index=batch.positions())
            groups, _ = model.infer(seen, model.encode_state(seen), 1, noise, Knobs.final(model.schedules))
            yield groups
