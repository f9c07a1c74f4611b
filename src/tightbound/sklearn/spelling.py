"""How the columns of a data frame write their entries, so that new rows can be written likewise."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self

import narwhals as nw
import numpy as np

from tightbound.sklearn.tables import Array, written

DECIMALS = 8  # at most; numbers with more are not rounded


@dataclass(frozen=True)
class Column:
    """How one column writes its entries.

    Attributes:
        name: Name.
        kind: Data type, as the package of the data frame has it.
        known: Its distinct entries.
        low, high: Least and largest entry of numbers, dates and times; None: others.
        decimals: Decimals of its numbers; None: more than `DECIMALS`, or no numbers.
        step: Largest number that all differences from `low` are multiples of, such as 25; None: as for `decimals`.
        missing: Share of missing entries.
    """

    name: str
    kind: Any
    known: nw.Series[Any]
    low: Any
    high: Any
    decimals: int | None
    step: float | None
    missing: float

    @classmethod
    def of(cls, column: nw.Series[Any], lacks: Array) -> Self:
        """Return how a column writes its entries, of which some lack (N,)."""
        known = column.filter((~lacks).tolist()).unique(maintain_order=True)
        ordered = len(known) and (column.dtype.is_numeric() or column.dtype.is_temporal())
        low, high = (known.min(), known.max()) if ordered else (None, None)
        decimals = step = None
        if ordered and column.dtype.is_numeric():
            x = known.to_numpy().astype(float)
            fits = (d for d in range(DECIMALS + 1) if np.allclose(np.round(x, d), x, rtol=1e-12, atol=0))
            decimals = next(fits, None)
            if decimals is not None and np.ptp(x) < 2**53 / 10**decimals:
                step = int(np.gcd.reduce(np.rint((x - x.min()) * 10**decimals).astype(np.int64))) / 10**decimals
        native = getattr(column.to_native(), "dtype", None)
        return cls(column.name, native, known, low, high, decimals, step, float(lacks.mean()))

    @property
    def modeled(self) -> bool:
        """Whether the column has at least two values, so that there is something to model."""
        return len(self.known) > 1

    def write(self, values: Array | None, lacks: Array, package: Any) -> Any:
        """Return numbers or words (n,), of which some are missing, as a series of the column's own type.

        Args:
            values: The values; None: the column has one value at most.
            lacks: Which of them are missing (n,).
            package: The data frame package, as narwhals names it.
        """
        if values is None:
            entries = [self.known[0] if len(self.known) else None] * len(lacks)
        elif self.known.dtype.is_numeric():
            entries = self._numbers(values.astype(float))
        else:
            entries = written(values, self.known)
            entries = entries if self.low is None else [min(max(value, self.low), self.high) for value in entries]
        entries = [None if gone else value for gone, value in zip(lacks.tolist(), entries, strict=True)]
        series = nw.new_series(self.name, entries, backend=package)
        native = series.to_native()
        if self.kind is None or native.dtype == self.kind:
            return series
        cast = native.astype(self.kind) if hasattr(native, "astype") else native.cast(self.kind)
        return nw.from_native(cast, series_only=True)

    def _numbers(self, x: Array) -> list[float] | list[int]:
        """Return numbers within the range of the column, in its steps and with its decimals."""
        x = x.clip(self.low, self.high)
        x = self.low + np.rint((x - self.low) / self.step) * self.step if self.step else x
        x = x if self.decimals is None else np.round(x, self.decimals)
        return [round(value) for value in x.tolist()] if self.known.dtype.is_integer() else x.tolist()


def columns_of(table: nw.DataFrame[Any], lacks: Array) -> list[Column]:
    """Return how the columns of a data frame (N, D) write their entries, of which a mask (N, D) says which lack."""
    return [Column.of(column, lacks[:, i]) for i, column in enumerate(table.iter_columns())]
