"""The set that a value lies in: what data are, and what a likelihood is a density on. Free of torch."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from tightbound.core.errors import InputError, suggestion

Kind = Literal["binary", "levels", "categories", "counts", "unit", "real", "mixed"]


@dataclass(frozen=True)
class Domain:
    """Values of one element of x.

    binary: {0, 1}; levels: the integers 0 .. levels - 1; counts: the integers 0, 1, 2, ...; unit: the interval
    [0, 1]; real: the line. categories: 0 .. levels - 1 that stand for words and have no order. mixed: each column of
    a table has a domain of its own, and entries may be missing (NaN).
    """

    kind: Kind
    levels: int | None = None  # of "levels" and "categories" (and 2 for "binary")
    words: tuple[str, ...] = ()  # of "categories"
    columns: tuple[Domain, ...] = ()  # of "mixed"

    @property
    def discrete(self) -> bool:
        """Whether values are whole numbers."""
        return self.kind in ("binary", "levels", "categories", "counts")

    @property
    def low(self) -> float:
        """The least value; -inf where there is none."""
        return -math.inf if self.kind in ("real", "mixed") else 0.0

    @property
    def high(self) -> float:
        """The greatest value; inf where there is none."""
        last = (self.levels or 2) - 1.0
        return {"binary": 1.0, "levels": last, "categories": last, "unit": 1.0}.get(self.kind, math.inf)

    @property
    def span(self) -> float:
        """The largest value less the smallest; infinite on the line."""
        return {"binary": 1.0, "unit": 1.0, "real": math.inf}.get(self.kind, float((self.levels or 0) - 1))

    def __str__(self) -> str:
        return {
            "binary": "binary values (0 or 1)",
            "levels": f"integers 0..{(self.levels or 0) - 1} ({self.levels} levels)",
            "categories": f"{self.levels} categories ({', '.join(self.words[:4])}{', ...' * (len(self.words) > 4)})",
            "counts": "counts (0, 1, 2, ...)",
            "unit": "numbers in [0, 1]",
            "real": "real numbers",
            "mixed": "columns: " + ", ".join(f"{n} {k}" for k, n in Counter(c.kind for c in self.columns).items()),
        }[self.kind]

    @property
    def described(self) -> Any:
        """A literal that `as_domain` reads."""
        if self.kind == "categories":
            return (self.kind, self.words)
        return (self.kind, self.levels) if self.kind == "levels" else self.kind


BINARY = Domain("binary", 2)
COUNTS = Domain("counts")
UNIT = Domain("unit")
REAL = Domain("real")


def as_domain(told: Any) -> Domain:
    """The domain of a column: a kind, ("levels", K), ("categories", words), or a Domain.

    Raises:
        InputError: for anything else.
    """
    if isinstance(told, Domain) and told.kind != "mixed":
        return told
    plain = {"binary": BINARY, "counts": COUNTS, "unit": UNIT, "real": REAL}
    if isinstance(told, str) and told in plain:
        return plain[told]
    if isinstance(told, Sequence) and not isinstance(told, str) and len(told) == 2:
        kind, what = told
        if kind == "levels" and isinstance(what, int) and not isinstance(what, bool) and what >= 2:
            return BINARY if what == 2 else Domain("levels", what)
        if kind == "categories" and isinstance(what, Sequence) and not isinstance(what, str):
            words = tuple(str(word) for word in what)
            if len(set(words)) == len(words) >= 2:
                return Domain("categories", len(words), words)
    near = f"; {suggestion(told, plain)}" if isinstance(told, str) and told not in ("levels", "categories") else ""
    raise InputError(
        f"{told!r} is no kind of a column{near}; needed: {', '.join(plain)}, ('levels', K), or "
        "('categories', ['word', 'word', ...])"
    )
