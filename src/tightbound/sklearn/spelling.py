"""Descriptions of the columns of a data frame, for writing other rows in the same way."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Self, cast

import narwhals as nw
import numpy as np

from tightbound.core.errors import InputError
from tightbound.sklearn.tables import Array, Frame, are_number_words, series, type_of, written

NAMES = 20  # columns of at least so many words, all different, name the rows
DECIMALS = 8  # columns of numbers with more decimals than these are not rounded


@dataclass(frozen=True)
class Type:
    """Name and data type of one column, for writing other entries.

    Attributes:
        name: Name of the column.
        kind: Data type in the package of the data frame.
        known: Distinct entries; for numbers, dates and times, only the first entry.
    """

    name: str
    kind: Any
    known: nw.Series[Any]

    @classmethod
    def of(cls, column: nw.Series[Any], lacks: Array) -> Self:
        """Describe a column; the mask `lacks` (N,) marks its missing entries."""
        known = column.filter((~lacks).tolist())
        known = known.head(1) if _is_ordered(column) else known.unique(maintain_order=True)
        return cls(column.name, type_of(column), known)

    def check_writable(self) -> None:
        """Check that entries of this type can be written.

        Raises:
            InputError: If they cannot be written.
        """
        if self.known.dtype in (nw.Unknown, nw.Array, nw.List, nw.Struct, nw.Binary):
            raise InputError(
                f"column {self.name!r} has the type {self.kind}, whose entries cannot be generated; "
                "convert it to numbers, words or dates"
            )

    def write(self, values: Array | None, lacks: Array, package: Any) -> nw.Series[Any]:
        """Return entries (n,) as a series of the type of the column.

        Args:
            values: Numbers or words (n,); None: repeat the only value of the column, if it has one.
            lacks: Mask (n,) of the entries that are to be missing.
            package: Data frame package, as narwhals names it.

        Raises:
            InputError: If entries of this type cannot be written.
        """
        self.check_writable()
        only = self.known[0] if len(self.known) else None
        entries = [only] * len(lacks) if values is None else self._entries(values)
        entries = [None if gone else value for gone, value in zip(lacks.tolist(), entries, strict=True)]
        return series(self.name, entries, package, self.kind)

    def _entries(self, values: Array) -> list[Any]:
        return written(values, self.known)


@dataclass(frozen=True)
class Column(Type):
    """Data type, range, precision and gaps of one column.

    Attributes:
        low, high: Smallest and largest number, date or time; None: the column holds something else.
        decimals: Number of decimals; None: more than `DECIMALS`, or the column does not hold numbers.
        step: Largest number, such as 25, of which all differences from `low` are multiples; None: the column has no
            `decimals`, or its range is too large to tell.
        missing: Share of missing entries.
        modeled: Whether it has two values or more, so that there is something to model.
    """

    low: Any = None
    high: Any = None
    decimals: int | None = None
    step: float | None = None
    missing: float = 0.0
    modeled: bool = True

    @classmethod
    def of(cls, column: nw.Series[Any], lacks: Array) -> Self:
        """Describe a column; the mask `lacks` (N,) marks its missing entries.

        Raises:
            InputError: If new entries of its type cannot be written, or each row has a word of its own.
        """
        plain = Type.of(column, lacks)
        plain.check_writable()
        known = column.filter((~lacks).tolist()).unique(maintain_order=True)
        own_words = column.dtype == nw.String and len(known) == (~lacks).sum() >= NAMES
        if own_words and not _numbers(known.to_list()):
            raise InputError(
                f"column {column.name!r} has a different word in each row, such as {known[0]!r}: it names the rows, "
                "and new rows need other names; leave it out"
            )
        ordered = len(known) > 0 and _is_ordered(column)
        ends: list[Any] = [known.min(), known.max()] if ordered else [None, None]
        low, high = map(float, ends) if ordered and known.dtype.is_decimal() else ends
        decimals = step = None
        if ordered and column.dtype.is_numeric():
            x = known.to_numpy().astype(float)
            fits = (d for d in range(DECIMALS + 1) if np.allclose(np.round(x, d), x, rtol=1e-12, atol=0))
            decimals = next(fits, None)
            if decimals is not None and np.ptp(x) < 2**53 / 10**decimals:
                step = int(np.gcd.reduce(np.rint((x - x.min()) * 10**decimals).astype(np.int64))) / 10**decimals
        modeled = len(known) > 1
        return cls(plain.name, plain.kind, plain.known, low, high, decimals, step, float(lacks.mean()), modeled)

    def read(self, value: Any, *, numeric: bool) -> Any:
        """Return a given value in the notation of this column.

        Args:
            value: An entry of the column, or a number, date or time in its range; dates and prices may be text.
            numeric: Whether words of this column stand for numbers, such as "$1.50".

        Raises:
            InputError: If the column cannot hold the value.
        """
        low, high, number, asked = self.low, self.high, value, value
        if numeric and self.known.dtype == nw.String:
            words = _numbers(self.known.to_list())
            shown = f"{min(words, key=words.__getitem__)} and {max(words, key=words.__getitem__)}"
            low, high = min(words.values()), max(words.values())
            number = _numbers([*words, value]).get(value) if isinstance(value, str) else value
        elif low is None:
            known = self.known.to_list()
            if value not in known:
                some = f"{', '.join(map(str, known[:10]))}{', ...' if len(known) > 10 else ''}"
                raise InputError(f"given= has {value!r} for column {self.name!r}; give a known value: {some}")
            return value
        else:
            shown = f"{low} and {high}"
            if isinstance(value, str) and self.known.dtype in (nw.Date, nw.Datetime) and (days := _numbers([value])):
                number = value = written(np.array([*days.values()]), self.known)[0]
        try:
            inside = bool(low <= cast(Any, number) <= high)
        except TypeError:
            inside = False
        if not inside:
            raise InputError(
                f"given= has {asked!r} for column {self.name!r}, whose values lie between {shown}; "
                "give a value in this range"
            )
        return value

    def _entries(self, values: Array) -> list[Any]:
        if self.known.dtype.is_numeric():
            return self._numbers(values.astype(float))
        if are_number_words(values, self.known):
            ends = _numbers(self.known.to_list()).values()
            values = values.astype(float).clip(min(ends), max(ends))
        entries = written(values, self.known)
        return entries if self.low is None else [min(max(value, self.low), self.high) for value in entries]

    def _numbers(self, x: Array) -> list[float] | list[int]:
        """Return numbers moved into the range of the column and rounded to its step and decimals."""
        x = x.clip(self.low, self.high)
        x = self.low + np.rint((x - self.low) / self.step) * self.step if self.step else x
        x = x if self.decimals is None else np.round(x, self.decimals)
        return [round(value) for value in x.tolist()] if self.known.dtype.is_integer() else x.tolist()


def _is_ordered(column: nw.Series[Any]) -> bool:
    """Return whether a column holds numbers, dates or times."""
    return column.dtype.is_numeric() or column.dtype.is_temporal()


def _numbers(words: Sequence[str]) -> dict[str, float]:
    """Return the numbers that words of one column, such as "$1.50", stand for; other words are left out."""
    from tightbound.data.readers.tabular.cells import Ambiguous, Reader

    reader = Reader(default=".")
    reader.look(words)
    try:
        read = reader.read(words)
    except Ambiguous:
        return {}
    return {} if read is None else {word: number for word, number in read.numbers.items() if number == number}


def columns_of(table: nw.DataFrame[Any], lacks: Array) -> list[Column]:
    """Describe the columns of a data frame (N, D); the mask `lacks` (N, D) marks missing entries."""
    return [Column.of(column, lacks[:, i]) for i, column in enumerate(table.iter_columns())]


def types_of(table: nw.DataFrame[Any], lacks: Array) -> list[Type]:
    """Return the types of the columns of a data frame (N, D); the mask `lacks` (N, D) marks missing entries."""
    return [Type.of(column, lacks[:, i]) for i, column in enumerate(table.iter_columns())]


def joined(columns: Iterable[nw.Series[Any]]) -> nw.DataFrame[Any]:
    """Join columns to a data frame."""
    return nw.concat([column.to_frame() for column in columns], how="horizontal")


def typed(x: Array, types: Sequence[Type], package: Any) -> Frame:
    """Return a table (N, D) of numbers and words as a data frame of a package, with the given column types."""
    whole = np.zeros(len(x), bool)
    return joined(own.write(values, whole, package) for own, values in zip(types, x.T, strict=True)).to_native()
