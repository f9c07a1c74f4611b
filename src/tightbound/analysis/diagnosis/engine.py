"""What is wrong with a model, if anything. A check is one class in `checks/`, listed in `CHECKS`."""

from __future__ import annotations

import importlib
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from typing import Any, ClassVar, Literal, get_args

import numpy as np
import torch

from tightbound.analysis.bounds.estimator import evaluate
from tightbound.analysis.diagnosis.worth import Exchange, exchange
from tightbound.analysis.estimate import Estimate, Evaluation
from tightbound.core.errors import CompositionError, InputError, whole
from tightbound.core.model import VAE
from tightbound.core.noise import key_seed
from tightbound.core.terms import Batch
from tightbound.data import Split
from tightbound.data.feed import pick
from tightbound.inference.infer import Codes, encode

Severity = Literal["mild", "moderate", "severe"]
Evidence = Mapping[str, Estimate]

# where the checks are, in the order in which they are made
CHECKS: list[str] = [
    "tightbound.analysis.diagnosis.checks.fit:NotFinite",
    "tightbound.analysis.diagnosis.checks.fit:NothingLearnt",
    "tightbound.analysis.diagnosis.checks.collapse:PosteriorCollapse",
    "tightbound.analysis.diagnosis.checks.collapse:InactiveUnits",
    "tightbound.analysis.diagnosis.checks.regularization:OverRegularized",
    "tightbound.analysis.diagnosis.checks.regularization:UnderRegularized",
    "tightbound.analysis.diagnosis.checks.variance:VarianceCollapse",
    "tightbound.analysis.diagnosis.checks.codebook:CodebookCollapse",
    "tightbound.analysis.diagnosis.checks.prior:UniformPrior",
    "tightbound.analysis.diagnosis.checks.holes:PriorHoles",
    "tightbound.analysis.diagnosis.checks.fit:Overfitting",
    "tightbound.analysis.diagnosis.checks.encoder:EncoderOverfitting",
    "tightbound.analysis.diagnosis.checks.memorization:CopiedSamples",
    "tightbound.analysis.diagnosis.checks.fit:Undertrained",
]


@dataclass(frozen=True)
class Finding:
    """Something that is wrong, how one knows, and what to do about it."""

    name: str
    severity: Severity
    evidence: Evidence
    description: str  # a plain sentence, with the evidence's size in it
    remedy: tuple[str, ...]  # flags to add to the command that trained it: "--beta", "1", ...; () where none would do

    def to_json(self) -> dict[str, Any]:
        """Plain numbers, lists and strings."""
        evidence = {name: asdict(number) for name, number in self.evidence.items()}
        return {
            "name": self.name,
            "severity": self.severity,
            "evidence": evidence,
            "description": self.description,
            "remedy": list(self.remedy),
        }


@dataclass
class Subject:
    """What is diagnosed. Costly things are computed once, when a check first asks."""

    model: VAE
    train: Split
    test: Split
    config: Mapping[str, Any] = field(default_factory=dict)  # the flags that the run was trained by, where known
    metrics: Sequence[Mapping[str, Any]] = ()  # one row an epoch
    seed: int = 0
    most: int = 1000  # data that checks look at
    samples: int = 20  # of q(z | x) an example

    def __post_init__(self) -> None:
        whole("most", self.most, least=2)
        whole("samples", self.samples, least=1)

    def some(self, split: Split, most: int) -> Batch:
        """At most this many data of a split, picked at random, in random order: the first few stand for all.

        Raises:
            InputError: fewer than two data, which have no standard error.
        """
        batch = pick(self.model, split, most, self.seed)
        if len(batch) < 2:
            raise InputError("a diagnosis needs at least two training and two test data")
        return batch[torch.from_numpy(np.random.default_rng(key_seed("diagnose", self.seed)).permutation(len(batch)))]

    @cached_property
    def test_data(self) -> Batch:
        """At most `most` test data, picked at random."""
        return self.some(self.test, self.most)

    @cached_property
    def train_data(self) -> Batch:
        """Training data, as many as the test data and at most as there are, picked at random."""
        return self.some(self.train, len(self.test_data))

    @cached_property
    def evaluation(self) -> Evaluation:
        """Of the test data."""
        return evaluate(self.model, self.test_data, samples=self.samples, seed=self.seed)

    @cached_property
    def train_evaluation(self) -> Evaluation:
        """Of the training data."""
        return evaluate(self.model, self.train_data, samples=self.samples, seed=self.seed)

    @cached_property
    def codes(self) -> Codes:
        """Of the test data, with a draw of q(z | x) each."""
        return encode(self.model, self.test_data, sample=True, seed=self.seed)

    @cached_property
    def train_codes(self) -> Codes:
        """Of the training data, with a draw of q(z | x) each."""
        return encode(self.model, self.train_data, sample=True, seed=self.seed)

    @cached_property
    def exchange(self) -> Exchange:
        """The trade of rate for distortion, on the training data."""
        return exchange(self.model, self.train_data, self.train_codes, self.seed)

    @property
    def has_bound(self) -> bool:
        """Whether a bound on log p(x) exists, which plain autoencoders lack."""
        return "elbo" in self.evaluation.per_example


class Check(ABC):
    """One way in which a model can be wrong."""

    name: ClassVar[str]
    question: ClassVar[str]  # the question that it answers, in a few words
    fatal: ClassVar[bool] = False  # whether a finding leaves nothing for later checks to measure
    expensive: ClassVar[bool] = False  # whether it takes more than a second: not made at the end of each training

    def skips(self, subject: Subject) -> str | None:
        """Why the check does not apply to this model; None: it does."""
        return None

    @abstractmethod
    def measure(self, subject: Subject) -> Evidence:
        """The evidence: numbers by name.

        Raises:
            CompositionError: where the model lets none be measured; the check then counts as skipped.
        """

    @abstractmethod
    def judge(self, evidence: Evidence, subject: Subject) -> Finding | None:
        """What the evidence shows; None: nothing wrong."""


@dataclass(frozen=True)
class Diagnosis:
    """What was found, and everything that it was looked for with."""

    findings: tuple[Finding, ...]  # the worst first
    evidence: Mapping[str, Evidence]  # of each check that was made, by its name
    skipped: Mapping[str, str]  # name of a check -> why it does not apply
    asked: Mapping[str, str]  # name of a check -> the question that it answers

    @property
    def checked(self) -> tuple[str, ...]:
        """Names of the checks that were made."""
        return tuple(self.evidence)

    @property
    def numbers(self) -> Mapping[str, Estimate]:
        """All evidence, as "check: number"."""
        return {f"{check}: {name}": n for check, found in self.evidence.items() for name, n in found.items()}

    @property
    def remedy(self) -> tuple[str, ...]:
        """The flags of all findings; where two set the same, that of the worse."""
        merged: dict[str, str] = {}
        for finding in self.findings:
            for flag, value in zip(finding.remedy[::2], finding.remedy[1::2], strict=True):
                merged.setdefault(flag, value)
        return tuple(word for pair in merged.items() for word in pair)

    @property
    def verdict(self) -> str:
        """In a line."""
        made = f"{len(self.checked)} check{'s' * (len(self.checked) != 1)}"
        if not self.findings:
            return f"healthy: {made}, nothing found"
        return f"{made}, found: " + ", ".join(f"{finding.name} ({finding.severity})" for finding in self.findings)

    def to_json(self) -> dict[str, Any]:
        """Plain numbers, lists and strings."""
        return {
            "verdict": self.verdict,
            "findings": [finding.to_json() for finding in self.findings],
            "checked": list(self.checked),
            "skipped": dict(self.skipped),
            "evidence": {
                check: {name: asdict(number) for name, number in found.items()}
                for check, found in self.evidence.items()
            },
            "asked": dict(self.asked),
            "remedy": list(self.remedy),
        }


def diagnose(subject: Subject, checks: Sequence[str] | None = None, *, quick: bool = False) -> Diagnosis:
    """Makes each check that applies.

    Arguments:
        subject: The model, its data, and what is known of its training.
        checks: Import paths, "module:Class"; None: all of `CHECKS`.
        quick: Leave out those that are dear.
    """
    findings: list[Finding] = []
    evidence: dict[str, Evidence] = {}
    skipped: dict[str, str] = {}
    asked: dict[str, str] = {}
    stopped: str | None = None
    for path in CHECKS if checks is None else checks:
        module, _, name = path.partition(":")
        check: Check = getattr(importlib.import_module(module), name)()
        asked[check.name] = check.question
        reason = stopped or (
            "takes longer: see tightbound diagnose" if quick and check.expensive else check.skips(subject)
        )
        if reason is None:
            try:
                evidence[check.name] = check.measure(subject)
            except CompositionError as error:
                reason = str(error)
        if reason is not None:
            skipped[check.name] = reason
            continue
        finding = check.judge(evidence[check.name], subject)
        if finding is not None:
            findings.append(finding)
            stopped = f"{check.name} was found" if check.fatal else stopped
    worst = get_args(Severity)[::-1]
    findings.sort(key=lambda finding: worst.index(finding.severity))  # stable: else in the order of the checks
    return Diagnosis(tuple(findings), evidence, skipped, asked)
