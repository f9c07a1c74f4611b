"""Tables of typed columns, arrays or encoded images, in memory or read on demand."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import pyarrow as pa

from tightbound.data.options import Limits
from tightbound.data.readers.images import Header
from tightbound.data.splits.indexed import Indexed
from tightbound.data.splits.workers import WORKERS, MappedSplit

if TYPE_CHECKING:
    from tightbound.data.readers.tabular.coding import Coder


class Table(ABC):
    """Rows of typed columns, with random access."""

    title: str  # name of the table in messages
    schema: pa.Schema
    classes: Mapping[str, tuple[str, ...]] = {}  # by column of integers: the words that the integers stand for
    titled: bool = True  # whether the names of the columns were given
    notes: tuple[str, ...] = ()
    decimal: str | None = None  # decimal mark of words, if the columns do not reveal it
    notation: Mapping[str, str] = {}  # number format by column, see `notation.example`
    problems: Mapping[str, str] = {}  # by column: why it cannot be read
    train: int | None = None  # number of first rows that were given as training data
    validation: int = 0  # number of last rows that were given as validation data
    names: list[str] | None = None  # one for each row
    row_numbers: Sequence[int] | None = None  # row number in the file, from 1, for each row
    y: np.ndarray | None = None  # labels that are not in a column
    unknown: np.ndarray | None = None  # (N,) number of words among the numbers of each row; they count as missing
    headers: Mapping[str, Header] | None = None  # headers of all images, if they were read
    in_memory: ClassVar[bool] = False
    streamed: bool = False  # whether these are the first rows of a stream
    skips_broken: ClassVar[bool] = False  # leave out images that cannot be decoded
    broken: Sequence[str] = ()  # names of the images that are left out
    part: ClassVar[int] = 512  # rows per part of a scan

    @abstractmethod
    def __len__(self) -> int:
        """Return the number of rows."""

    @abstractmethod
    def take(self, rows: np.ndarray, names: tuple[str, ...]) -> pa.Table:
        """Return these columns of some rows, in the order of `rows`."""

    def scan(self, names: tuple[str, ...]) -> Iterator[pa.Table]:
        """Yield these columns of all rows, in order, in parts that fit in memory."""
        for start in range(0, len(self), self.part):
            yield self.take(np.arange(start, min(len(self), start + self.part)), names)

    def place(self, row: int) -> str:
        """Describe a row in messages."""
        return f"{self.title}, row {row}"

    def where(self, row: int) -> str:
        """Describe a row in messages that name the table."""
        return f"row {row + 1}"

    def split(self, coder: Coder, limits: Limits) -> tuple[Indexed, str]:
        """Return a split that reads rows on demand, and a note."""
        fetch = partial(_fetched, self, coder)
        split = MappedSplit(fetch, len(self), coder.shape, names=self.names, workers=WORKERS)
        how = f"{len(self):,} examples, read as they are needed by {WORKERS} processes: too large for memory"
        return split, how

    def fingerprint(self) -> str:
        """Return a fingerprint of the contents, without reading all of them."""
        raise NotImplementedError


class Held(Table):
    """A table in memory."""

    in_memory = True

    def __init__(self, table: pa.Table, title: str, **about: Any) -> None:
        """A table; `about` sets attributes such as `classes`, `titled` and `notes`."""
        self.table, self.title, self.schema = table, title, table.schema
        for name, value in about.items():
            setattr(self, name, value)

    def __len__(self) -> int:
        return len(self.table)

    def take(self, rows: np.ndarray, names: tuple[str, ...]) -> pa.Table:
        """See `Table.take`."""
        return self.table.select(list(names)).take(rows)

    def scan(self, names: tuple[str, ...]) -> Iterator[pa.Table]:
        """See `Table.scan`."""
        yield self.table.select(list(names))


def _fetched(table: Table, coder: Coder, rows: np.ndarray) -> tuple[np.ndarray, None]:
    return coder(table.take(rows, coder.names), lambda i: table.place(int(rows[i]))), None
