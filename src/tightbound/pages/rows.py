"""Estimates as the rows of a table, for the terminal and the report page."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from tightbound.analysis.estimate import Estimate, value_text, with_error


@dataclass(frozen=True)
class Row:
    """One line of a table of estimates."""

    name: str
    value: str
    unit: str
    description: str


def headline(estimates: Mapping[str, Estimate]) -> dict[str, Estimate]:
    """Return the most important estimates: bound, rate, error, number of dimensions in use, and accuracy of classes."""
    bound = "iwae" if _known(estimates, "iwae") else "elbo"
    names = ("bits_per_dim", bound, "rate", "reconstruction_mse", "active_units", "accuracy")
    return {name: estimates[name] for name in names if _known(estimates, name)}


def rows(estimates: Mapping[str, Estimate]) -> list[Row]:
    """Return one row per estimate; estimates that are missing for the same reason share a row at the end.

    Curves (estimates with `at`) are left out: they have figures and tables of their own. The negative log-likelihood
    follows the tightest bound, which it negates.
    """
    missing: dict[str, list[str]] = {}
    for name, estimate in estimates.items():
        if estimate.value is None and estimate.reason and estimate.at is None:
            missing.setdefault(estimate.reason, []).append(name)
    shared = {reason: names for reason, names in missing.items() if len(names) > 1}
    skipped = {name for names in shared.values() for name in names}
    bound = next((name for name in ("iwae", "elbo") if _known(estimates, name)), None)
    found: list[Row] = []
    for name, estimate in estimates.items():
        if estimate.at is not None or name in skipped:
            continue
        found.append(Row(name, value_text(estimate), estimate.unit, f"{estimate.description}{_reason(estimate)}"))
        if name == bound and "iwae" in estimates and estimate.reason is None and isinstance(estimate.value, float):
            error = estimate.stderr if isinstance(estimate.stderr, float) else None
            text = f"negative log-likelihood, at most this value: -{name}; lower is better"
            found.append(Row("nll", with_error(-estimate.value, error), "nats", text))
    return found + [Row("", "-", "missing", f"{', '.join(names)}: {reason}") for reason, names in shared.items()]


def _known(estimates: Mapping[str, Estimate], name: str) -> bool:
    return name in estimates and estimates[name].value is not None


def _reason(estimate: Estimate) -> str:
    if estimate.reason is None:
        return ""
    return f" (missing: {estimate.reason})" if estimate.value is None else f" ({estimate.reason})"
