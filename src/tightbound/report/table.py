"""The rows in which numbers are shown, in the terminal and on the page."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tightbound.analysis.estimate import with_error


@dataclass(frozen=True)
class Row:
    """One line of the table."""

    name: str
    value: str
    unit: str
    description: str


@dataclass(frozen=True)
class Grid:
    """A table of numbers with a heading for each row and column."""

    title: str
    description: str
    head: Sequence[str]
    rows: Sequence[Sequence[str]]

    def html(self) -> str:
        """With its title and line."""
        head = "".join(f"<th scope=col>{html.escape(cell)}</th>" for cell in ("", *self.head))
        body = "".join(
            f"<tr><th scope=row>{html.escape(row[0])}</th>"
            + "".join(f"<td class=value>{html.escape(cell)}</td>" for cell in row[1:])
            + "</tr>"
            for row in self.rows
        )
        title, description = html.escape(self.title), html.escape(self.description)
        return f"<h3>{title}</h3><p>{description}</p><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def rows(numbers: Mapping[str, Mapping[str, Any]]) -> list[Row]:
    """A line for each number of `Evaluation.to_json()` but curves; the NLL follows the bound that it negates."""
    lines = []
    exists = [name for name in ("iwae", "elbo") if numbers.get(name, {}).get("value") is not None]
    for name, number in numbers.items():
        if number.get("at") is not None:
            continue
        lines.append(Row(name, _value(number), number["unit"], number.get("description", "") + _why(number)))
        if "iwae" in numbers and name in exists[:1] and number["reason"] is None:
            negated = {**number, "value": -number["value"]}
            description = f"negative log-likelihood, at most this: -{name}; lower is better"
            lines.append(Row("nll", _value(negated), "nats", description))
    return lines


def brief(numbers: Mapping[str, Mapping[str, Any]]) -> list[Row]:
    """The same, where numbers that one reason leaves without a value share a line, after the others."""
    absent: dict[str, list[str]] = {}
    for name, number in numbers.items():
        if number["value"] is None and number["reason"]:
            absent.setdefault(number["reason"], []).append(name)
    shared = {reason: names for reason, names in absent.items() if len(names) > 1}
    gone = {name for names in shared.values() for name in names}
    lines = [row for row in rows(numbers) if row.name not in gone]
    return lines + [Row("", "-", "none", f"{', '.join(names)}: {reason}") for reason, names in shared.items()]


def drawn(number: Mapping[str, Any]) -> str:
    """How many draws of q(z|x) a number of an evaluation is of."""
    if number["samples"] is None:
        return "one sample an example, for z is a function of x"
    return f"{number['samples']:,} samples of q(z|x) an example"


@dataclass(frozen=True)
class Rung:
    """One line of the ladder of IWAE bounds."""

    samples: int
    bound: float
    bound_error: float | None
    gain: float | None  # over the rung before; None: the first
    gain_error: float | None


def ladder(numbers: Mapping[str, Mapping[str, Any]]) -> list[Rung]:
    """The bound by number of samples, of `Evaluation.to_json()`; empty where there is none, or one alone."""
    bounds, gains = numbers.get("iwae_ladder"), numbers.get("iwae_gain")
    if not bounds or not gains or bounds["value"] is None or gains["value"] is None:
        return []
    n = len(bounds["value"])
    columns = [bounds["at"], bounds["value"], bounds["stderr"] or [None] * n, [None, *gains["value"]]]
    columns.append([None, *(gains["stderr"] or [None] * (n - 1))])
    return [Rung(int(k), *rest) for k, *rest in zip(*columns, strict=True)]


def _value(number: Mapping[str, Any]) -> str:
    value, stderr = number["value"], number["stderr"]
    if value is None:
        return "-"
    if isinstance(value, list):
        few = ", ".join(f"{v:.2f}" for v in value)
        span = few if len(value) <= 5 else f"{np.min(value):.2f} to {np.max(value):.2f}"
        return span if stderr is None else f"{span} (± {np.max(stderr):.2f})"
    if number["unit"] == "dimensions":
        return f"{value:.0f}" + (f" ± {stderr:.1f}" if stderr is not None and stderr >= 0.05 else "")
    return with_error(value, stderr)


def _why(number: Mapping[str, Any]) -> str:
    if number["reason"] is None:
        return ""
    return f" (none: {number['reason']})" if number["value"] is None else f" ({number['reason']})"
