"""Checks of samples: prior draws where the data have no latent codes, missing variety, copies of training data."""

from __future__ import annotations

import math

from tightbound.analysis.diagnosis.checks import remedies
from tightbound.analysis.diagnosis.engine import Case, Check, require
from tightbound.analysis.diagnosis.findings import Evidence, Finding, Severity
from tightbound.analysis.estimate import estimate, scalar, scalar_error
from tightbound.analysis.samples.copies import memorization
from tightbound.analysis.samples.coverage import holes
from tightbound.analysis.samples.two_sample import neighbors
from tightbound.inference.infer import reconstruct, sample

AFFORDABLE = 3e10  # products of numbers, in about a second


class PriorHoles(Check):
    """Share of prior draws that lie where fewer than 1% of the latent codes of test data do.

    A prior that matches the codes has 1% of its draws there. A finding is, by two standard errors, more than half: most
    samples are then made of codes that the decoder has hardly ever seen. It is moderate, severe from 90%.

    Args:
        draws: Number of prior draws.
        level: Share of the latent codes of test data that lie outside of the covered region.
    """

    name = "holes"
    question = "Does the prior draw latent codes where those of the data are?"

    def __init__(self, draws: int = 1000, level: float = 0.01) -> None:
        self.draws, self.level = draws, level

    def measure(self, case: Case) -> Evidence:
        """Return the shares, and what is decoded in holes and elsewhere."""
        known = "the decoder knows every code index, wherever the prior draws it: see code-prior"
        require(not case.evaluation.has_code_indices, known)
        require(case.sampler is None, "samples come from a latent sampler instead of the prior")
        return holes(
            case.model, case.many, case.test_data, n_samples=self.draws, level=self.level, seed=case.seed
        ).estimates

    def judge(self, evidence: Evidence, case: Case) -> Finding | None:
        """Judge by the share of prior draws in holes."""
        share = evidence["uncovered"]
        if not scalar(share) - 2 * scalar_error(share) > 0.5:
            return None
        severity: Severity = "severe" if scalar(share) > 0.9 else "moderate"
        far, near = scalar(evidence["distance_holes"]), scalar(evidence["distance_codes"])
        distance = (
            f", and what they decode to is {far / near:.2f} times as far from training data as reconstructions are"
            if far > 0 and near > 0
            else ""
        )
        description = (
            f"{scalar(share):.0%} of the prior's draws lie where fewer than {self.level:.0%} of the latent codes of "
            f"test data do{distance}."
        )
        return Finding(self.name, severity, evidence, description, remedies.fitted_prior(case))


class LowRecall(Check):
    """Share of reconstructed training images that are near a sample, compared with the share near another of them.

    An image is recalled if it is nearer to some sample than this sample is to its third nearest sample, in the first
    principal components of the pixels. The check reports a finding if, by two standard errors, samples recall less than
    30% of what as many reconstructions recall; it is moderate, or severe below 15%. Samples are means of p(x|z), as
    users see them, and lack the details that the model takes for noise. Reconstructions lack them, too, so that they
    show the variety that samples can have.

    Args:
        n: Maximum number of samples, and of reconstructions that they are compared with.
        least: Minimum of this number; with fewer images the check does not apply.
        components: Number of principal components.

    References:
        Improved precision and recall metric for assessing generative models (Kynkaanniemi et al. 2019), Eq. 1 and 2,
        https://arxiv.org/abs/1904.06991
    """

    name = "low-recall"
    question = "Do samples show the variety of the data?"

    def __init__(self, n: int = 500, least: int = 100, components: int = 48) -> None:
        self.n, self.least, self.components = n, least, components

    def measure(self, case: Case) -> Evidence:
        """Return the recall of samples and the recall of other reconstructions."""
        from sklearn.decomposition import PCA

        model = case.model
        require(len(model.shape) == 3, "the data are not images")
        require(model.context is None or not model.context.completes, "samples contain parts of the data")
        given = case.some(case.train, 2 * self.n)
        n = len(given) // 2
        require(n >= self.least, f"{2 * n} training images are too few to tell; needed: {2 * self.least}")
        images = reconstruct(model, given, seed=case.seed)
        drawn = sample(model, n, seed=case.seed, codes=case.draw)
        x, real, samples = (part.flatten(1).double().numpy() for part in (images[:n], images[n : 2 * n], drawn))
        pca = PCA(min(self.components, n, x.shape[1]), random_state=case.seed % 2**32).fit(real)
        found = {}
        for name, part, what in (("recall", samples, "samples"), ("recall_data", x, "other reconstructions")):
            recall = neighbors(pca.transform(part), pca.transform(real), k=3, seed=case.seed)["recall"]
            found[name] = estimate(
                recall.value, recall.stderr, n=n, unit="0-1", target="reconstructed training images",
                description=f"share of reconstructions that are near {what}",
                estimator=f"third nearest neighbors among {n} {what}, on {pca.n_components_} principal components",
            )  # fmt: skip
        return found

    def judge(self, evidence: Evidence, case: Case) -> Finding | None:
        """Compare the recall of samples with the recall of other reconstructions."""
        recall, most = scalar(evidence["recall"]), scalar(evidence["recall_data"])
        if not recall + 2 * scalar_error(evidence["recall"]) < 0.3 * most:
            return None
        severity: Severity = "severe" if recall < 0.15 * most else "moderate"
        description = (
            f"Samples lack the variety of the data: {recall:.0%} of the reconstructed training images are near a "
            f"sample, and {most:.0%} are near another reconstruction."
        )
        remedy = remedies.longer(case.config) if case.sampler is not None else remedies.fitted_prior(case)
        return Finding(self.name, severity, evidence, description, remedy)


class CopiedSamples(Check):
    """Whether samples are nearer to training examples than test examples are.

    Test examples are as near as an example can be that is no copy. A finding is that, by three standard errors, at
    least one in ten samples, beyond the share of the test examples, is nearer to its closest training example than that
    one is to any other: mild, moderate from one in four, severe from one in two. The Mann-Whitney test of all distances
    is shown but raises no alarm: samples that vary too little are near to the middle of the data, too, and to no
    example in particular.

    Args:
        max_examples: Number of samples, and of test examples, at most.
        least: Number of training examples, and of test examples, that an answer needs.

    References:
        A non-parametric test to detect data-copying in generative models (Meehan et al. 2020), Section 3,
        https://arxiv.org/abs/2004.05675; How faithful is your synthetic data? (Alaa et al. 2022),
        https://arxiv.org/abs/2102.08921
    """

    name = "memorization"
    question = "Are samples copies of training examples?"

    def __init__(self, max_examples: int = 500, least: int = 50) -> None:
        self.max_examples, self.least = max_examples, least

    def expensive(self, case: Case) -> bool:
        """Return whether there are so many or so large training examples that each query takes long."""
        products = 4 * min(self.max_examples, case.max_examples) * (case.train.size or math.inf)
        return products * math.prod(case.model.shape) > AFFORDABLE

    def measure(self, case: Case) -> Evidence:
        """Return the z-score and the distances behind it."""
        few = case.test_data[: self.max_examples]
        sizes = len(case.train_data), len(few)
        short = f"{sizes[0]} training and {sizes[1]} test examples are too few to tell; needed: {self.least} of each"
        require(min(sizes) >= self.least, short)
        codes, n = case.draw, min(self.max_examples, case.max_examples)
        drawn = None if codes is None else sample(case.model, n, draw=True, seed=case.seed, codes=codes)
        compared = memorization(
            case.model, case.train, few, n_samples=n, seed=case.seed, samples=drawn
        )  # fmt: skip
        return compared.estimates

    def judge(self, evidence: Evidence, case: Case) -> Finding | None:
        """Judge by the excess over test data."""
        pair = [evidence[name] for name in ("too_near", "too_near_test")]
        excess = scalar(pair[0]) - scalar(pair[1])
        sure = excess > 3 * math.hypot(*(scalar_error(number) for number in pair))
        if not sure or excess < 0.1:
            return None
        severity: Severity = "severe" if excess >= 0.5 else "moderate" if excess >= 0.25 else "mild"
        description = (
            f"Samples are copies: {scalar(pair[0]):.0%} of them are nearer to their closest training example than that "
            f"one is to any other, compared with {scalar(pair[1]):.0%} of test data."
        )
        return Finding(self.name, severity, evidence, description, remedies.dropout(case.config))
