"""How the numbers of a column are written, shown by one cell that holds none of its values."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from tightbound.data.readers.cells import DAYS, HOURS, Reader, like

Array = np.ndarray[Any, Any]
SHOWN = {DAYS: 11322 + 9.5 / 24, HOURS: 13.5}  # half past nine on the last day of 2000; half past one
MOST = 8  # decimals that are kept
LONGEST = 700_000.0  # days from 1970 to the first and the last year of a date, about


def example(cells: Sequence[str], decimal: str | None = None) -> str:
    """Return a cell that is written like those of a column of numbers; "": as numbers usually are."""
    if not cells or any(re.search(r"\d[eE][-+]?\d", cell) for cell in cells):
        return ""
    read = _reader(cells, decimal).read([*dict.fromkeys(cells)])
    if read is None:
        return ""
    text = like(cells, decimal)(SHOWN.get(read.unit, 0.0))
    return "" if re.search(rf"\d[.,]\d{{{MOST + 1}}}", text) else text


def example_of_type(kind: pa.DataType) -> str:
    """Return the cell that shows how dates of an Arrow type are written; "": they are no dates."""
    return "2000-12-31" if pa.types.is_date(kind) else "2000-12-31 09:30:00" if pa.types.is_timestamp(kind) else ""


class Notation:
    """How the numbers of a column are written.

    Args:
        shown: A cell, as `example` returns it.
        decimal: Decimal mark of the file; None: as the cell tells.
    """

    def __init__(self, shown: str, decimal: str | None = None) -> None:
        self._write, self._decimal = like([shown], decimal), decimal
        read = _reader([shown], decimal).read([shown])
        self._unit, self._dated = "" if read is None else read.unit, ":" not in shown

    def text(self, value: float) -> str:
        """Return a number as text."""
        return self._write(min(max(value, -LONGEST), 4 * LONGEST) if self._unit == DAYS else value)

    def values(self, x: Array) -> Array:
        """Return numbers (N,) with the precision of the text; dates as such."""
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
