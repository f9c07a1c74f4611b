"""Findings of a diagnosis, and the result that holds them. Free of torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from tightbound.analysis.estimate import Estimate
from tightbound.analysis.result import Result

Severity = Literal["mild", "moderate", "severe"]
Evidence = Mapping[str, Estimate]


@dataclass(frozen=True)
class Finding:
    """Something that is wrong with a model.

    Attributes:
        name: Name of the check that found it.
        severity: "mild", "moderate" or "severe".
        evidence: Estimates of the check, by name.
        description: What is wrong, in a sentence that contains the size of the effect.
        remedy: Training options to change: {"beta": 1.0}; empty if no option helps.
        trade: What the remedy may cost; empty if it raises the bound on new data.
    """

    name: str
    severity: Severity
    evidence: Evidence
    description: str
    remedy: Mapping[str, Any]
    trade: str = ""

    def __str__(self) -> str:
        changes = " and ".join(f'{name} to "{value}"' if isinstance(value, str) else f"{name} to {value}"
                               for name, value in self.remedy.items())  # fmt: skip
        trade = f" This is a trade: {self.trade}." if self.trade else ""
        advice = f" Remedy: set {changes}.{trade}" if changes else ""
        return f"{self.name} ({self.severity}): {self.description}{advice}"


@dataclass(frozen=True, repr=False)
class Diagnosis(Result):
    """Result of a diagnosis: the verdict, the findings and the evidence of each check."""

    @property
    def verdict(self) -> str:
        """The conclusion, in one sentence."""
        return self.details["verdict"]

    @property
    def findings(self) -> tuple[Finding, ...]:
        """The findings, the most severe first."""
        return tuple(Finding(**found, evidence=self.evidence[found["name"]]) for found in self.details["findings"])

    @property
    def checked(self) -> tuple[str, ...]:
        """Names of the checks that were made."""
        return tuple(self.details["checked"])

    @property
    def skipped(self) -> Mapping[str, str]:
        """Reason why a check does not apply, by its name."""
        return self.details["skipped"]

    @property
    def evidence(self) -> Mapping[str, Evidence]:
        """Estimates of each check, by its name."""
        found: dict[str, dict[str, Estimate]] = {name: {} for name in self.checked}
        for key, estimate in self.estimates.items():
            check, _, name = key.partition(".")
            found[check][name] = estimate
        return found
