"""The set that a value lies in: what data are, and what a likelihood is a density on. Free of torch."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

Kind = Literal["binary", "levels", "counts", "unit", "real"]


@dataclass(frozen=True)
class Domain:
    """Values of one element of x.

    binary: {0, 1}; levels: the integers 0 .. levels - 1; counts: the integers 0, 1, 2, ...; unit: the interval
    [0, 1]; real: the line.
    """

    kind: Kind
    levels: int | None = None  # of "levels" (and 2 for "binary")

    @property
    def discrete(self) -> bool:
        """Whether values are whole numbers."""
        return self.kind in ("binary", "levels", "counts")

    @property
    def low(self) -> float:
        """The least value; -inf where there is none."""
        return -math.inf if self.kind == "real" else 0.0

    @property
    def high(self) -> float:
        """The greatest value; inf where there is none."""
        return {"binary": 1.0, "levels": (self.levels or 2) - 1.0, "unit": 1.0}.get(self.kind, math.inf)

    def __str__(self) -> str:
        return {
            "binary": "binary values (0 or 1)",
            "levels": f"integers 0..{(self.levels or 0) - 1} ({self.levels} levels)",
            "counts": "counts (0, 1, 2, ...)",
            "unit": "numbers in [0, 1]",
            "real": "real numbers",
        }[self.kind]


BINARY = Domain("binary", 2)
COUNTS = Domain("counts")
UNIT = Domain("unit")
REAL = Domain("real")
