"""Code indices: codebooks of which little is used, and a code prior that is missing or overfitted."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np

from tightbound.analysis.bounds.estimator import at_once
from tightbound.analysis.diagnosis.checks import remedies
from tightbound.analysis.diagnosis.engine import Case, Check, require
from tightbound.analysis.diagnosis.findings import Evidence, Finding, Severity
from tightbound.analysis.estimate import Estimate, scalar, scalar_error
from tightbound.core.noise import ExampleNoise, Noise
from tightbound.core.schedules import Knobs
from tightbound.core.terms import LatentTerms, code_terms
from tightbound.data.feed import batches, evaluating
from tightbound.quantizers.usage import CodebookUsage

SEEN = 10  # code indices per code vector; with as many, a vector that is in use can be expected to occur
RARE = 0.25  # share of the code vectors
NOT_DISCRETE = "no latent is discrete"


class CodebookCollapse(Check):
    """How many of the code vectors are in use over the data, level by level.

    The perplexity of a codebook is exp of the entropy of its indices; log perplexity over log codebook size is the
    share of its bits that is in use. A finding is a level that uses less than half of its bits: moderate, severe below
    a tenth. It is a mild finding if less than a quarter of a level's code vectors occur in ten times as many indices.

    References:
        Neural discrete representation learning (van den Oord et al. 2017), https://arxiv.org/abs/1711.00937
    """

    name = "codebook-collapse"
    question = "How many of the code vectors are in use?"

    def measure(self, case: Case) -> Evidence:
        """Return perplexity, code vectors in use, and bits in use."""
        require(bool(code_terms(next(_inferred(case, 2)), relaxed=True)), NOT_DISCRETE)
        parts = list(_inferred(case, len(case.test_data)))
        levels = [u for i, _ in enumerate(parts[0]) if (u := _usage([part[i] for part in parts])) is not None]
        bits = [usage.relative_entropy for usage in levels]
        size, used = sum(u.counts.numel() for u in levels), sum(int(u.used.sum()) for u in levels)
        rare = [float(usage.used_share.mean()) for usage in levels if usage.counts.sum() >= SEEN * usage.counts.numel()]
        facts = {"stderr": None, "n": len(case.test_data), "target": "code indices of test data, one draw each"}
        share = "share of the bits of the codebooks that is in use"
        worst = f", of level {1 + bits.index(min(bits))} (the lowest is 1), which uses the least" * (len(bits) > 1)
        evidence = {
            "perplexity": Estimate(
                [p for usage in levels for p in usage.perplexity.tolist()], unit="code vectors",
                estimator="exp of entropy", description="code vectors in even use, by codebook", **facts,
            ),
            "used": Estimate(
                float(used), unit=f"of {size} code vectors", estimator="count of code vectors seen",
                description="code vectors in any use", **facts,
            ),
            "bits": Estimate(
                min(bits), unit="", estimator="entropy / log codebook size, summed over codebooks",
                description=share + worst, **facts,
            ),
        }  # fmt: skip
        if len(levels) > 1:
            evidence["bits_by_level"] = replace(
                evidence["bits"], value=bits, description=f"{share}, the lowest level first"
            )
        if rare:
            evidence["least_used"] = Estimate(
                min(rare), unit="share of code vectors", estimator="count of code vectors seen",
                description="code vectors in any use, in the level that uses the least", **facts,
            )  # fmt: skip
        return evidence

    def judge(self, evidence: Evidence, case: Case) -> Finding | None:
        """Judge by the share of the bits and of the code vectors."""
        bits, occur = scalar(evidence["bits"]), scalar(evidence["least_used"]) if "least_used" in evidence else 1.0
        if not (bits < 0.5 or occur < RARE):
            return None
        severity: Severity = "severe" if bits < 0.1 else "moderate" if bits < 0.5 else "mild"
        size = evidence["used"].unit.removeprefix("of ")
        by_level = evidence["bits_by_level"].value if "bits_by_level" in evidence else None
        level = f" of level {1 + int(np.argmin(by_level))} (the lowest is 1)" if by_level is not None else ""
        description = f"The code indices{level} use {bits:.0%} of their bits: " + (
            f"of all {size}, {scalar(evidence['used']):.0f} occur in the data."
            if level
            else f"{scalar(evidence['used']):.0f} of {size} occur in the data at all."
        )
        if case.model.deterministic:
            return Finding(self.name, severity, evidence, description, remedies.other_quantizer(case.config))
        options = remedies.full_rate(case.config) or remedies.free_bits(case)
        return Finding(self.name, severity, evidence, description, options)


def _usage(parts: Sequence[LatentTerms]) -> CodebookUsage | None:
    """Return the usage of one latent group over the batches; None if it is not discrete."""
    codes = code_terms(parts, relaxed=True)
    if not codes:
        return None
    first = codes[0]
    usage = CodebookUsage.empty(first.codebook_size, 1 if first.shared else first.indices.shape[-1])
    for part in codes:
        usage.add(part.indices[0])
    return usage


def _inferred(case: Case, n: int) -> Iterator[tuple[LatentTerms, ...]]:
    """Yield the latents of the first n test examples, batch by batch."""
    model = case.model
    with evaluating(model):
        for batch in batches(model, case.test_data[:n], at_once(model, 1)):
            seen = model.observe(batch, Noise("evaluate", case.seed))
            noise = ExampleNoise("diagnose", case.seed, index=batch.positions())
            groups, _ = model.infer(seen, model.encode_state(seen), 1, noise, Knobs.final(model.schedules))
            yield groups


class CodePrior(Check):
    """Whether the code prior knows which code indices go together.

    A finding is a prior under which all code indices are equally probable; one that, by two standard errors, is worse
    than that on test data: it was trained for too long or, if it is no better on training data, too briefly; or one of
    which less than half of what it saves on training data holds on test data. All findings are moderate, since bound
    and reconstructions are valid, and only samples do not look like the data.

    References:
        Neural discrete representation learning (van den Oord et al. 2017), Section 3.3,
        https://arxiv.org/abs/1711.00937
    """

    name = "code-prior"
    question = "Does a code prior know which code indices go together?"

    def measure(self, case: Case) -> Evidence:
        """Return what the prior in use saves, on test data and on training data."""
        require("prior_gain" in case.evaluation.per_example, NOT_DISCRETE)
        found = {name: case.evaluation[name] for name in ("prior_gain", "prior_gain_share", "uniform_rate")}
        return found | {"train_prior_gain": case.train_evaluation["prior_gain"]}

    def judge(self, evidence: Evidence, case: Case) -> Finding | None:
        """Judge by the gain over the uniform prior."""
        gain, trained = evidence["prior_gain"], evidence["train_prior_gain"]
        if case.evaluation.has_uniform_codes:
            description = (
                "All code indices are equally probable under the prior: samples decode random indices and do not look "
                "like data. See fit_prior(), which trains a code prior for this run as it is."
            )
            return Finding(self.name, "moderate", evidence, description, {"prior": "pixelcnn"})
        by_heart = scalar(trained) - 2 * scalar_error(trained) > 0
        if scalar(gain) + 2 * scalar_error(gain) < 0:
            why = "it has memorized those of the training data" if by_heart else "it has learned next to nothing"
            description = (
                f"The code prior is worse on code indices of test data than equal probabilities, by "
                f"{-scalar(gain):.2g} nats: {why}."
            )
        elif scalar(gain) + 2 * scalar_error(gain) < scalar(trained) / 2 - scalar_error(trained):
            description = (
                f"The code prior alone is overfitted: it saves {scalar(trained):.1f} nats on code indices of training "
                f"data, and {scalar(gain):.1f} on those of test data. The rest of the model need not be trained again."
            )
        else:
            return None
        remedy = remedies.other_prior_training(case.config, by_heart)
        return Finding(self.name, "moderate", evidence, description, remedy)
