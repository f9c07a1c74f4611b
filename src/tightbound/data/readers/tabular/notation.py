"""Number format of a column, described by one example cell that is no value of the column."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from tightbound.data.readers.tabular.cells import DAYS, HOURS, Reader, like

Array = np.ndarray[Any, Any]
SHOWN = {DAYS: 11322 + 9.5 / 24, HOURS: 13.5}  # half past nine on the last day of 2000; half past one
MOST = 8  # maximum number of decimals
BOOLEAN = "true"  # example cell of a column of booleans
LONGEST = 700_000.0  # largest number of days from 1970 to a date, approximately


def example(cells: Sequence[str], decimal: str | None = None) -> str:
    """Return an example cell in the format of a column of numbers; "" for plain numbers."""
    if not cells or any(re.search(r"\d[eE][-+]?\d", cell) for cell in cells):
        return ""
    read = _reader(cells, decimal).read([*dict.fromkeys(cells)])
    if read is None:
        return ""
    text = like(cells, decimal)(SHOWN.get(read.unit, 0.0))
    return "" if re.search(rf"\d[.,]\d{{{MOST + 1}}}", text) else text


def example_of_type(kind: pa.DataType) -> str:
    """Return an example cell in the format of dates or booleans of an Arrow type; "" for other types."""
    if pa.types.is_boolean(kind):
        return BOOLEAN
    return "2000-12-31" if pa.types.is_date(kind) else "2000-12-31 09:30:00" if pa.types.is_timestamp(kind) else ""


class Notation:
    """Number format of a column.

    Args:
        shown: Example cell, as `example` returns it.
        decimal: Decimal mark of the file. Default: inferred from the cell.
    """

    def __init__(self, shown: str, decimal: str | None = None) -> None:
        self._boolean = shown == BOOLEAN
        self._write, self._decimal = like([] if self._boolean else [shown], decimal), decimal
        read = _reader([shown], decimal).read([shown])
        self._unit, self._dated = "" if read is None else read.unit, ":" not in shown

    def text(self, value: float) -> str:
        """Return a number as text."""
        return self._write(min(max(value, -LONGEST), 4 * LONGEST) if self._unit == DAYS else value)

    def values(self, x: Array) -> Array:
        """Return numbers (N,) with the precision of the text, dates as dates, and 0 and 1 of booleans as these."""
        if self._boolean:
            return x.astype(bool) if np.isin(x, (0, 1)).all() else x
        if self._unit == DAYS:
            days = np.clip(x, -LONGEST, 4 * LONGEST)
            if self._dated:
                return days.round().astype("datetime64[D]")
            return (days * 86400).round().astype("datetime64[s]")
        cells = [self.text(value) for value in x.tolist()]
        read = _reader(cells, self._decimal).read([*dict.fromkeys(cells)])
        return x if read is None else np.array([read.numbers.get(cell, math.nan) for cell in cells])


def _reader(cells: Sequence[str], decimal: str | None) -> Reader:
    reader = Reader(decimal, default=".")
    reader.look(cells)
    return reader
