"""The checks of a diagnosis. A check is one class in `checks/`, listed in `CHECKS`."""

from __future__ import annotations

import importlib
import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, ClassVar, get_args

import numpy as np
import torch

from tightbound.analysis.bounds.estimator import evaluate
from tightbound.analysis.diagnosis.findings import Diagnosis, Evidence, Finding, Severity
from tightbound.analysis.diagnosis.independence import dependence, independent, marginal_costs
from tightbound.analysis.diagnosis.worth import Exchange, drawn, exchange
from tightbound.analysis.estimate import Array, Estimate, estimate, mean, mean_error, scalar, scalar_error, value_text
from tightbound.analysis.result import Evaluation, Table
from tightbound.components.registry import plain_name
from tightbound.core.errors import CompositionError, InputError, whole
from tightbound.core.latents import Draw
from tightbound.core.model import VAE
from tightbound.core.noise import Noise, key_seed
from tightbound.core.terms import Batch
from tightbound.data import Split
from tightbound.data.feed import evaluating, pick
from tightbound.inference.infer import Codes, encode
from tightbound.inference.samplers import DensitySampler, GaussianMixture, Sampler

# import paths of the checks, in the order in which they are made: causes before what follows from them
CHECKS: tuple[str, ...] = (
    "tightbound.analysis.diagnosis.checks.fit:NotFinite",
    "tightbound.analysis.diagnosis.checks.overfitting:TestedOnTraining",
    "tightbound.analysis.diagnosis.checks.training:Undertrained",
    "tightbound.analysis.diagnosis.checks.variance:VarianceCollapse",
    "tightbound.analysis.diagnosis.checks.scale:WrongScale",
    "tightbound.analysis.diagnosis.checks.scale:WrongFamily",
    "tightbound.analysis.diagnosis.checks.width:TooWide",
    "tightbound.analysis.diagnosis.checks.width:TooNarrow",
    "tightbound.analysis.diagnosis.checks.units:UnusedLatents",
    "tightbound.analysis.diagnosis.checks.prior:PriorMismatch",
    "tightbound.analysis.diagnosis.checks.fit:NothingLearned",
    "tightbound.analysis.diagnosis.checks.collapse:PosteriorCollapse",
    "tightbound.analysis.diagnosis.checks.units:InactiveUnits",
    "tightbound.analysis.diagnosis.checks.codebook:CodebookCollapse",
    "tightbound.analysis.diagnosis.checks.codebook:CodePrior",
    "tightbound.analysis.diagnosis.checks.samples:PriorHoles",
    "tightbound.analysis.diagnosis.checks.samples:LowRecall",
    "tightbound.analysis.diagnosis.checks.overfitting:Overfitting",
    "tightbound.analysis.diagnosis.checks.overfitting:EncoderOverfitting",
    "tightbound.analysis.diagnosis.checks.samples:CopiedSamples",
)


WORTH = 0.1  # nats of dependence below which a latent code has nothing to carry


@dataclass
class Case:
    """Model and data of one diagnosis. Expensive values are computed once, when a check first needs them.

    Args:
        model: The model.
        train: Training examples.
        test: Test examples.
        config: Options that the model was trained with; empty if they are not known.
        metrics: Training metrics, one row per epoch.
        seed: Random seed.
        max_examples: Examples of each split to look at, at most.
        samples: Latent samples per example.
        sampler: Latent sampler that samples come from; None: samples come from the prior.
        max_codes: Training examples whose latent codes a density is fitted to, at most; None: ten times `max_examples`.
    """

    model: VAE
    train: Split
    test: Split
    config: Mapping[str, Any] = field(default_factory=dict)
    metrics: Sequence[Mapping[str, Any]] = ()
    seed: int = 0
    max_examples: int = 1000
    samples: int = 20
    sampler: Sampler | None = None
    max_codes: int | None = None

    def __post_init__(self) -> None:
        whole("max_examples", self.max_examples, least=2)
        whole("samples", self.samples, least=1)

    def some(self, split: Split, max_examples: int) -> Batch:
        """Return at most `max_examples` of a split, picked at random and in random order, so that the first few
        represent all of them.

        Raises:
            InputError: If there are fewer than two examples, which have no standard error.
        """
        batch = pick(self.model, split, max_examples, self.seed)
        if len(batch) < 2:
            raise InputError("a diagnosis needs at least two training and two test examples")
        return batch[torch.from_numpy(np.random.default_rng(key_seed("diagnose", self.seed)).permutation(len(batch)))]

    @property
    def draw(self) -> Draw | None:
        """Function that draws latent codes for samples; None: they come from the prior."""
        return None if self.sampler is None else self.sampler.sample

    @cached_property
    def test_data(self) -> Batch:
        """Test examples, at most `max_examples`, picked at random."""
        return self.some(self.test, self.max_examples)

    @cached_property
    def train_data(self) -> Batch:
        """As many training examples as test examples, if there are that many, picked at random."""
        return self.some(self.train, len(self.test_data))

    @cached_property
    def evaluation(self) -> Evaluation:
        """Evaluation on the test examples."""
        return evaluate(self.model, self.test_data, samples=self.samples, seed=self.seed)

    @cached_property
    def train_evaluation(self) -> Evaluation:
        """Evaluation on the training examples."""
        return evaluate(self.model, self.train_data, samples=self.samples, seed=self.seed)

    @cached_property
    def gap(self) -> Estimate:
        """ELBO of training examples minus ELBO of test examples."""
        a, b = (part.per_example["elbo"] for part in (self.train_evaluation, self.evaluation))
        return estimate(
            a.mean() - b.mean(), math.hypot(mean_error(a), mean_error(b)), n=len(b), unit="nats",
            target=self.evaluation["elbo"].target, description="ELBO of training data minus ELBO of test data",
            estimator=f"difference of means over {len(a)} training and {len(b)} test examples",
        )  # fmt: skip

    @cached_property
    def codes(self) -> Codes:
        """Latent codes of the test examples, with a draw from q(z | x) each."""
        return encode(self.model, self.test_data, draw=True, seed=self.seed)

    @cached_property
    def train_codes(self) -> Codes:
        """Latent codes of the training examples, with a draw from q(z | x) each."""
        return encode(self.model, self.train_data, draw=True, seed=self.seed)

    @property
    def many(self) -> Batch:
        """Training examples whose latent codes show where those of the training data lie."""
        return self.some(self.train, self.max_codes or 10 * self.max_examples)

    @cached_property
    def density(self) -> DensitySampler:
        """Density of latent codes: of the latent sampler or, without one, a mixture fitted to training codes."""
        if isinstance(self.sampler, DensitySampler):
            return self.sampler
        codes = drawn(encode(self.model, self.many, draw=True, seed=self.seed))
        mixture = GaussianMixture(codes.shape[1], **GaussianMixture.suited(codes, self.seed))
        mixture.start_at(codes, self.seed)
        return mixture

    @cached_property
    def exchange(self) -> Exchange:
        """Exchange rate between rate and distortion on the training examples."""
        return exchange(self.model, self.train_data, self.train_codes, self.seed)

    def observed(self, data: Batch) -> Batch:
        """Return examples as the likelihood sees them, on the CPU."""
        with evaluating(self.model):
            return self.model.observe(data.to(self.model.device), Noise("evaluate", self.seed)).to("cpu")

    def independent_elements(self, data: Batch, max_examples: int = 5000) -> Array:
        """Return what examples cost if elements of x are independent with the marginals of training data, nats (N,).

        The cost is in the measure of the raw data. The marginals are fitted to `max_examples` training examples, or to
        as many as the case looks at if these are more.
        """
        observation, seen = self.model.observation, self.observed(data)
        train = self.observed(self.some(self.train, max(max_examples, self.max_examples)))
        return independent(train, seen, observation.target) - self._log_det(seen)

    def family_costs(self, data: Batch) -> Array | None:
        """Return what examples cost under one distribution of the likelihood's family for all of them, nats (N,).

        The cost is in the measure of the raw data. The distribution is fitted to the training examples. None: the
        family models the dependence of elements, or cannot be fitted.
        """
        seen, train = self.observed(data), self.observed(self.train_data)
        found = marginal_costs(self.model.likelihood, train, seen)
        return None if found is None else found - self._log_det(seen)

    def _log_det(self, seen: Batch) -> Array:
        shift = torch.as_tensor(self.model.observation.log_det(seen), dtype=torch.float64)
        return shift.expand(len(seen)).numpy()

    @cached_property
    def dependence(self) -> Estimate:
        """Nats of dependence between elements of test examples that latent classes find."""
        facts: dict[str, Any] = {"unit": "nats", "target": "dependence between elements of x, on test data"}
        about = "what a latent code could be good for: at least so many nats, up to sampling error"
        if self.model.context is not None:
            why = "the context explains a part of the dependence, which is not known"
            return Estimate.missing(why, n=len(self.test_data), description=about, **facts)
        train = self.some(self.train, max(2000, self.max_examples))
        gain = dependence(self.observed(train), self.observed(self.test_data), key_seed("dependence", self.seed))
        how = "gain of latent classes over independent elements, both of binned values"
        return mean(gain, estimator=how, description=about, **facts)

    @property
    def nothing_to_encode(self) -> bool:
        """Whether latent classes find no dependence between elements that is worth a tenth of a nat."""
        found = self.dependence
        return found.value is not None and scalar(found) - 2 * scalar_error(found) < WORTH

    @property
    def has_bound(self) -> bool:
        """Whether the model has a bound on log p(x); plain autoencoders have none."""
        return "elbo" in self.evaluation.per_example


class Check(ABC):
    """One way in which a model can fail."""

    name: ClassVar[str]
    question: ClassVar[str]
    """The question that the check answers."""
    fatal: ClassVar[bool] = False
    """Whether later checks can measure nothing after a finding."""
    explains: ClassVar[tuple[str, ...]] = ()
    """Names of checks that are not made after a severe finding, since they would find its consequences."""

    def expensive(self, case: Case) -> bool:
        """Return whether the check takes more than about a second, so that a quick diagnosis leaves it out."""
        return False

    @abstractmethod
    def measure(self, case: Case) -> Evidence:
        """Return the estimates that the check judges, by name.

        Raises:
            CompositionError: If they make no sense for this model (see `require`); the check then counts as skipped.
        """

    @abstractmethod
    def judge(self, evidence: Evidence, case: Case) -> Finding | None:
        """Return what the evidence shows; None: nothing is wrong."""

    def note(self, evidence: Evidence, case: Case) -> str | None:
        """Return in a sentence what else a person should know; None: nothing."""
        return None


def require(met: bool, reason: str) -> None:
    """Raise CompositionError with the reason why a check does not apply, unless a condition is met."""
    if not met:
        raise CompositionError(reason)


def diagnose(
    case: Case,
    checks: Sequence[str | Check] = CHECKS,
    *,
    quick: bool = False,
    name: str = "test data",
    progress: bool = False,
) -> Diagnosis:
    """Make each check that applies.

    Args:
        case: The model and its data.
        checks: Checks, or their import paths "module:Class".
        quick: Leave out the checks that are expensive.
        name: Name of the test data, for the caption.
        progress: Show a progress bar on standard error.
    """
    from tqdm.auto import tqdm

    findings: list[Finding] = []
    evidence: dict[str, Evidence] = {}
    skipped: dict[str, str] = {}
    questions: dict[str, str] = {}
    notes: list[str] = []
    explained: dict[str, str] = {}
    stopped: str | None = None
    for each in (bar := tqdm(checks, unit="check", disable=not progress or None, leave=False)):
        check = each if isinstance(each, Check) else _imported(each)
        questions[check.name] = check.question
        bar.set_description(check.name)
        reason = (
            stopped
            or explained.get(check.name)
            or ("left out of a quick diagnosis" if quick and check.expensive(case) else None)
        )
        if reason is None:
            try:
                evidence[check.name] = check.measure(case)
            except CompositionError as error:
                reason = str(error)
        if reason is not None:
            skipped[check.name] = reason
            continue
        finding = check.judge(evidence[check.name], case)
        note = check.note(evidence[check.name], case)
        notes += [] if note is None else [note]
        if finding is not None:
            findings.append(replace(finding, remedy=_changed(finding.remedy, case)))
            if finding.severity == "severe":
                explained |= dict.fromkeys(check.explains, f"would find what follows from {check.name}")
            stopped = f"nothing else can be measured after {check.name}" if check.fatal else stopped
    worst = get_args(Severity)[::-1]
    findings.sort(key=lambda finding: worst.index(finding.severity))  # stable: else in the order of the checks
    caption = f"At most {case.max_examples:,} training and as many test examples ({name})."
    made = f"{len(evidence)} check{'s' * (len(evidence) != 1)} of {len(case.test_data):,} test examples"
    return _result(findings, notes, evidence, skipped, questions, caption, made)


def _changed(options: Mapping[str, Any], case: Case) -> Mapping[str, Any]:
    """Leave out options that the run has already, as given or chosen by "auto"."""
    parts = {"likelihood": case.model.likelihood, "observation": case.model.observation}
    own = {name: str(case.config.get(name)) for name in options}
    own |= {name: plain_name(parts[name]) for name in options if name in parts and own[name] in ("auto", "None")}
    return {name: value for name, value in options.items() if own[name] != str(value)}


def _imported(path: str) -> Check:
    module, _, name = path.partition(":")
    return getattr(importlib.import_module(module), name)()


def _result(
    findings: Sequence[Finding],
    notes: Sequence[str],
    evidence: Mapping[str, Evidence],
    skipped: Mapping[str, str],
    questions: Mapping[str, str],
    caption: str,
    made: str,
) -> Diagnosis:
    found = ", ".join(f"{finding.name} ({finding.severity})" for finding in findings)
    verdict = f"Found by {made}: {found}." if findings else f"Healthy: {made} found nothing."
    severity = {finding.name: finding.severity for finding in findings}
    rows = [
        [check, "skipped", question, skipped[check]]
        if check in skipped
        else [check, severity.get(check, "ok"), question, _facts(evidence[check])]
        for check, question in questions.items()
    ]
    note = "Thresholds are in nats, shares or standard errors; the documentation of each check states them."
    table = Table("What was checked", ("check", "result", "question", "evidence"), rows, note)
    remedy: dict[str, Any] = {}
    for finding in findings:  # if two set the same option, the more severe one counts
        remedy = {**finding.remedy, **remedy}
    written = [
        {
            "name": each.name,
            "severity": each.severity,
            "description": each.description,
            "remedy": dict(each.remedy),
            "trade": each.trade,
        }
        for each in findings
    ]
    return Diagnosis(
        {f"{check}.{name}": estimate for check, found in evidence.items() for name, estimate in found.items()},
        tables=[table],
        sentences=[verdict, *map(str, findings), *notes],
        caption=caption,
        tabulated=True,
        remedy=remedy,
        details={
            "verdict": verdict,
            "findings": written,
            "checked": list(evidence),
            "skipped": dict(skipped),
            "questions": dict(questions),
        },
    )


def _facts(evidence: Evidence) -> str:
    """Return the first few numbers of a check; the estimates hold all of them."""
    single = [(name, estimate) for name, estimate in evidence.items() if isinstance(estimate.value, float)]
    return "; ".join(
        f"{name.replace('_', ' ')} {value_text(estimate)} {estimate.unit}".strip() for name, estimate in single[:4]
    )
