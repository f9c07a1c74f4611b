"""Domains: the set of values that data can take and that a likelihood is a density on. Does not import torch."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, get_args

from tightbound.core.errors import InputError, suggestion

if TYPE_CHECKING:
    from torch import Tensor

Kind = Literal["binary", "levels", "categories", "values", "counts", "whole", "unit", "real", "semicontinuous", "mixed"]
Given = Literal["", "integers", "floats", "shares"]


@dataclass(frozen=True)
class Domain:
    """Set of values that one element of x can take.

    binary: {0, 1}; levels: the integers 0 .. levels - 1; counts: the integers 0, 1, 2, ...; unit: the interval
    [0, 1]; real: the real line; categories: the integers 0 .. levels - 1, which stand for words and have no order;
    values: a few distinct numbers, in order, or a single one; whole: the integers 0, 1, 2, ..., which measure (an age,
    a weight) rather than count; semicontinuous: real numbers one of which, the atom, has a probability
    (rain, with many days of exactly 0); mixed: each column of a table has its own domain, and values may be missing
    (NaN).

    `given` tells how the training data held these values, so that other data are not misread. Levels: "" as integers,
    "floats" as floating-point levels, "shares" as floating-point shares of the highest level. Unit: "" as
    floating-point numbers, "integers" as the integers 0 and 1.
    """

    kind: Kind
    levels: int | None = None  # for "levels", "categories" and "values" (and 2 for "binary")
    words: tuple[str, ...] = ()  # for "categories"
    values: tuple[float, ...] = ()  # for "values", in increasing order
    atom: float | None = None  # for "semicontinuous"
    columns: tuple[Domain, ...] = ()  # for "mixed"
    plain: Domain | None = field(default=None, compare=False, repr=False)  # for "mixed": one domain for all numbers
    given: Given = field(default="", compare=False, repr=False)

    def __post_init__(self) -> None:
        if self.given not in get_args(Given):
            raise InputError(f"given = {self.given!r}; needed: one of {get_args(Given)}")

    @property
    def discrete(self) -> bool:
        """Whether values are whole numbers."""
        return self.kind in ("binary", "levels", "categories", "counts", "whole")

    @property
    def continuous(self) -> bool:
        """Whether a distribution on this domain is a density, rather than probabilities of single values."""
        return self.kind in ("unit", "real")

    @property
    def low(self) -> float:
        """The smallest value, or -inf."""
        return -math.inf if self.kind in ("real", "semicontinuous", "mixed") else min(self.values, default=0.0)

    @property
    def high(self) -> float:
        """The largest value, or inf."""
        last = (self.levels or 2) - 1.0
        known = {"binary": 1.0, "levels": last, "categories": last, "unit": 1.0}
        return max(self.values) if self.values else known.get(self.kind, math.inf)

    @property
    def span(self) -> float:
        """The largest value minus the smallest; infinite for real numbers."""
        known = {"binary": 1.0, "unit": 1.0, "real": math.inf, "semicontinuous": math.inf}
        return self.high - self.low if self.values else known.get(self.kind, float((self.levels or 0) - 1))

    def nearest(self, x: Tensor) -> Tensor:
        """Return the values of this domain that are nearest to x."""
        if self.values:
            import torch

            known = torch.tensor(self.values, dtype=x.dtype, device=x.device)
            return known[torch.bucketize(x.contiguous(), (known[1:] + known[:-1]) / 2)]
        return (x.round() if self.discrete else x).clamp(self.low, self.high)

    def __str__(self) -> str:
        return {
            "binary": "binary values (0 or 1)",
            "levels": f"integers 0..{(self.levels or 0) - 1} ({self.levels} levels)",
            "categories": f"{self.levels} categories ({', '.join(self.words[:4])}{', ...' * (len(self.words) > 4)})",
            "values": f"the number {self.low:g} only"
            if self.levels == 1
            else f"{self.levels} numbers ({', '.join(f'{v:g}' for v in self.values[:4])}"
            f"{', ...' * (len(self.values) > 4)})",
            "counts": "counts (0, 1, 2, ...)",
            "whole": "whole numbers",
            "unit": "numbers in [0, 1]",
            "real": "real numbers",
            "semicontinuous": f"real numbers, often {self.atom or 0:g}",
            "mixed": "columns: " + ", ".join(f"{n} {k}" for k, n in Counter(c.kind for c in self.columns).items()),
        }[self.kind]

    @property
    def literal(self) -> Any:
        """The Python literal that `as_domain` reads back."""
        if self.kind == "categories":
            return (self.kind, self.words)
        if self.kind == "values":
            return (self.kind, self.values)
        if self.kind == "semicontinuous":
            return (self.kind, self.atom)
        if self.given == "shares":
            return (self.kind, self.levels, self.given)
        return (self.kind, self.levels) if self.kind == "levels" else self.kind


BINARY = Domain("binary", 2)
COUNTS = Domain("counts")
WHOLE = Domain("whole")
UNIT = Domain("unit")
REAL = Domain("real")
CONTAINED = {
    "real": ("real", "unit", "levels", "counts", "whole"),
    "unit": ("binary",),
    "counts": ("binary", "levels"),
    "whole": ("binary", "levels"),
}  # other kinds, as they are
PLAIN = {"binary": BINARY, "counts": COUNTS, "unit": Domain("unit", given="integers"), "real": REAL}
OF_COLUMNS = {**PLAIN, "whole": WHOLE}


def as_domain(given: Any) -> Domain:
    """Return the domain of a column, given as a kind, ("levels", K), ("categories", words), ("values", numbers),
    ("semicontinuous", number), or a Domain.

    ("levels", K, "shares") stands for levels that are written as shares of the highest one.

    Raises:
        InputError: The value is none of these.
    """
    if isinstance(given, Domain) and given.kind != "mixed":
        return given
    if isinstance(given, str) and given in OF_COLUMNS:
        return OF_COLUMNS[given]
    if isinstance(given, Sequence) and not isinstance(given, str) and len(given) in (2, 3):
        kind, values, held = (*given, "floats")[:3]
        if kind == "levels" and isinstance(values, int) and not isinstance(values, bool) and values >= 2:
            return BINARY if values == 2 else Domain("levels", values, given=held)
        if kind == "categories" and isinstance(values, Sequence) and not isinstance(values, str):
            words = tuple(str(word) for word in values)
            if len(set(words)) == len(words) >= 2:
                return Domain("categories", len(words), words)
        if kind == "values" and isinstance(values, Sequence) and not isinstance(values, str):
            numbers = tuple(sorted({float(value) for value in values}))
            if numbers:
                return Domain("values", len(numbers), values=numbers)
        if kind == "semicontinuous" and isinstance(values, int | float) and math.isfinite(values):
            return Domain("semicontinuous", atom=float(values))
    named = isinstance(given, str) and given not in ("levels", "categories", "values", "semicontinuous")
    near = f"; {suggestion(str(given), OF_COLUMNS)}" if named else ""
    raise InputError(
        f"{given!r} is not the domain of a column{near}; needed: {', '.join(OF_COLUMNS)}, ('levels', K), "
        "('values', [number, number, ...]), ('semicontinuous', number), or ('categories', ['word', 'word', ...])"
    )
