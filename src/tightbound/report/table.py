"""The rows in which numbers are shown, in the terminal and on the page."""

from __future__ import annotations

import math
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Row:
    """One line of the table."""

    name: str
    value: str
    unit: str
    says: str


def rows(numbers: Mapping[str, Mapping[str, Any]]) -> list[Row]:
    """A line for each number of `Evaluation.to_json()`; the NLL follows the bound that it negates."""
    lines = []
    for name, number in numbers.items():
        lines.append(Row(name, _value(number), number["unit"], number.get("says", "") + _why(number)))
        if name == "iwae" and number["value"] is not None and number["reason"] is None:
            negated = {**number, "value": -number["value"]}
            says = "negative log-likelihood, at most this: -iwae; lower is better"
            lines.append(Row("nll", _value(negated), "nats", says))
    return lines


def command_line(words: Sequence[str]) -> str:
    """Words as a shell takes them, in double quotes where they hold single ones."""
    return " ".join(f'"{w}"' if "'" in w and not set(w) & set('"$`\\!') else shlex.quote(w) for w in words)


def with_error(value: float, stderr: float | None) -> str:
    """Two digits of the standard error, and the value to the same place."""
    if stderr is None or not stderr > 0:
        return f"{value:.4g}" if stderr is None else f"{value:g}"
    places = max(0, 1 - math.floor(math.log10(stderr)))
    return f"{value:.{places}f} ± {stderr:.{places}f}"


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
