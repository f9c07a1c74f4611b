"""What is wrong with a model, if anything. A check is one class in `checks/`, listed in `CHECKS`."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, ClassVar, Literal

from tightbound.core.model import VAE
from tightbound.data import Split
from tightbound.evaluation.numbers import Evaluation

Severity = Literal["mild", "moderate", "severe"]


@dataclass(frozen=True)
class Finding:
    """Something that is wrong, how one knows, and what to do about it."""

    name: str
    severity: Severity
    evidence: Mapping[str, Any]  # numbers by name
    says: str  # a plain sentence, with the evidence's size in it
    remedy: tuple[str, ...]  # flags to add to the command that trained it


@dataclass
class Subject:
    """What is diagnosed. Costly things are computed once, when a check first asks."""

    model: VAE
    train: Split
    test: Split
    config: Mapping[str, Any] = field(default_factory=dict)  # the flags that the run was trained by
    metrics: Sequence[Mapping[str, Any]] = ()  # one row an epoch
    seed: int = 0
    most: int = 1000  # data that checks look at
    samples: int = 100  # of q(z | x) a datum

    @cached_property
    def evaluation(self) -> Evaluation:
        """Of at most `most` test data."""
        raise NotImplementedError


class Check(ABC):
    """One way in which a model can be wrong."""

    name: ClassVar[str]

    def skips(self, subject: Subject) -> str | None:
        """Why the check does not apply to this model; None: it does."""
        return None

    @abstractmethod
    def measure(self, subject: Subject) -> Mapping[str, Any]:
        """The evidence: numbers by name."""

    @abstractmethod
    def judge(self, evidence: Mapping[str, Any], subject: Subject) -> Finding | None:
        """What the evidence shows; None: nothing wrong."""
