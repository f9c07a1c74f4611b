"""Streams of Arrow tables: data sets of Hugging Face and shards on the web."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TypeAlias

import numpy as np
import pyarrow as pa

from tightbound.core.errors import InputError
from tightbound.core.schema import Schema
from tightbound.data.dataset import Data
from tightbound.data.labels import Naming
from tightbound.data.options import Options
from tightbound.data.readers.tabular import arrow
from tightbound.data.readers.tabular.arrow import Place
from tightbound.data.readers.tabular.coding import coder_of, understood
from tightbound.data.readers.tabular.tables import Held
from tightbound.data.splits.stream import Part, Stream, StreamSplit, buffered

# (seed, skip, size) -> tables of `size` rows, without the first `skip`; a seed shuffles the shards
Tables: TypeAlias = "Callable[[int | None, int, int], Iterator[tuple[pa.Table, Place]]]"


def open_tables(
    train: Tables,
    test: Tables | None,
    title: str,
    name: str,
    options: Options,
    *,
    judged: int,
    size: int,
    order: str = "the stream's own order",
    notes: tuple[str, ...] = (),
    classes: dict[str, tuple[str, ...]] | None = None,
) -> Data:
    """Open a stream of tables as a data set.

    The first examples of `test`, or of the stream itself, are set aside for testing; none if there is no `test` and all
    data are for training (`options.test` is None).

    The first `judged` rows tell what the columns hold, `size` rows are read together, and `order` is that of an epoch,
    in a note; for `classes` see `Table`.
    """
    if options.labels is not None and options.label_column is None:
        raise InputError("labels were given for a stream; let its rows have them, and name the column")
    if options.covariates:
        raise InputError("covariates= needs a table in memory, and a stream was given; leave it out")
    found = next(train(None, 0, judged), None)
    if found is None:
        raise InputError(f"{title} gave no examples; is it empty?")
    head = Held(found[0], title, classes=classes or {}, place=found[1], streamed=True)
    _, raw, kinds, seen = understood(head, options)
    coder, values = coder_of(head, raw, kinds)
    label = raw.layout.label
    given, y = head.classes.get(label or "", ()), None
    if label is not None:
        y = arrow.labels(head.table[label], given)
        if y is None:
            label = None
            seen += ("no labels: some are missing; a stream needs a label in each row",)
    naming = Naming(y, options, given)

    def stream(tables: Tables) -> Stream:
        def parts(seed: int | None, skip: int) -> Iterator[Part]:
            for rows, place in tables(seed, skip, size):
                absent = [name for name in (*coder.names, label) if name and name not in rows.schema.names]
                if absent:
                    raise InputError(f"{place(0)} and following have no column {absent[0]}; make all rows alike")
                x, y = coder(rows, place), None
                if label is not None:
                    y = arrow.labels(rows[label], given)
                    if y is None:
                        raise InputError(f"{place(0)} and following lack labels in column {label}; fill them")
                    y = np.asarray(naming(y))
                yield Part(x, y)

        return Stream(parts, title)

    own, limits = stream(train), options.limits
    whole = StreamSplit(own, coder.shape, 0, limits)
    aside = (own if test is None else stream(test)).first(limits.set_aside)
    rest, split = whole, ()
    if test is not None or options.test is not None:
        source = "set aside from the stream" if test is None else "of the test stream"
        split = (
            f"split: the first {len(aside):,} examples {source}, in memory, are for testing; validation takes the next "
            "ones",
        )
    if test is None and options.test is not None:
        if next(own.parts(None, len(aside)), None) is None:
            raise InputError(
                f"{title} ended after {len(aside)} examples; needed: more than {limits.set_aside}, of which the first "
                "are set aside for testing: hold them in an array or a map-style data set"
            )
        rest = StreamSplit(own, coder.shape, len(aside), limits)
    notes = (*notes, *seen, *values, f"judged by the first {len(head):,} rows", *split)
    notes += (
        f"a stream of unknown length: say how long to train with steps=; an epoch is in {order}, shuffled within a "
        f"buffer of {buffered(aside.x, limits):,} examples",
    )
    digest = "none: a stream may change what it gives"
    schema = Schema(raw.header, tuple(naming.classes), label, ignored=tuple(options.ignore))
    for split_of in (whole, rest, aside):
        split_of.classes = naming.classes
    return Data(name, rest, aside if split else None, coder.domain, notes, digest, False, whole, schema)
