"""Streams of Arrow tables: data sets of Hugging Face and shards on the web."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Protocol

import numpy as np

from tightbound.core.errors import InputError
from tightbound.data.dataset import Data
from tightbound.data.options import Options
from tightbound.data.readers import arrow
from tightbound.data.readers.arrow import Place
from tightbound.data.readers.tables import Coder, Held, coder_of, understood
from tightbound.data.stream import Part, Stream, open_stream

if TYPE_CHECKING:
    import pyarrow as pa


class Tables(Protocol):
    """A stream of tables."""

    def __call__(self, seed: int | None, skip: int, size: int) -> Iterator[tuple[pa.Table, Place]]:
        """Yield tables of `size` rows, without the first `skip`; a seed shuffles the shards."""
        ...


class TableStream(Stream):
    """The examples that a coder makes of the rows of tables, and labels from a column of numbers."""

    def __init__(self, tables: Tables, coder: Coder, label: str | None, title: str, order: str, size: int) -> None:
        self._tables, self._coder, self._label, self._size = tables, coder, label, size
        self.title, self.order = title, order

    def parts(self, seed: int | None, skip: int) -> Iterator[Part]:
        """See `Stream.parts`."""
        for rows, place in self._tables(seed, skip, self._size):
            absent = [name for name in (*self._coder.names, self._label) if name and name not in rows.schema.names]
            if absent:
                raise InputError(f"{place(0)} and following have no column {absent[0]}; make all rows alike")
            x, label = self._coder(rows, place), None
            if self._label is not None:
                label, words = arrow.numbers(rows[self._label])
                if words or np.isnan(label).any():
                    raise InputError(f"{place(0)} and following lack numbers in column {self._label}; fill them")
            yield Part(x, label)


def open_tables(
    train: Tables,
    test: Tables | None,
    title: str,
    name: str,
    options: Options,
    *,
    judged: int,
    size: int,
    order: str = Stream.order,
    notes: tuple[str, ...] = (),
    classes: dict[str, tuple[str, ...]] | None = None,
) -> Data:
    """Open a stream of tables as a data set.

    Args:
        train: Tables for training, and for testing if there is no `test`.
        test: Tables for testing.
        title: Name of the source, in messages.
        name: Name of the data set.
        options: Options of `open`.
        judged: The first so many rows tell what the columns hold.
        size: Rows that are read together.
        order: The order of an epoch, in a note.
        notes: Notes on the source.
        classes: See `Table.classes`.

    Raises:
        InputError: If there are no rows, columns that cannot be used, or labels that are not in a column.
    """
    if options.labels is not None and options.label_column is None:
        raise InputError("labels were given for a stream; let its rows have them, and name the column")
    found = next(train(None, 0, judged), None)
    if found is None:
        raise InputError(f"{title} gave no examples; is it empty?")
    head = Held(found[0], title, classes=classes or {}, place=found[1])
    raw, kinds, seen = understood(head, options)
    coder, values = coder_of(head, raw, kinds)
    label = raw.layout.label
    if label is not None:
        y, words = arrow.numbers(head.table[label])
        if words or np.isnan(y).any():
            label = None
            seen += ("no labels: they are words or missing; a stream needs a number in each row",)
    notes = (*notes, *seen, *values, f"judged by the first {len(head):,} rows")
    streams = [None if rows is None else TableStream(rows, coder, label, title, order, size) for rows in (train, test)]
    assert streams[0] is not None
    return open_stream(streams[0], streams[1], coder.shape, coder.domain, name, notes, options, raw.header)
