"""Open tables: rows that fit in memory are read at once, and labels, names and covariates always."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pyarrow as pa
from tqdm.auto import tqdm

from tightbound.core.errors import InputError
from tightbound.core.schema import Schema
from tightbound.data import covariates
from tightbound.data.dataset import Arrays, Data, divided, from_arrays
from tightbound.data.labels import coded
from tightbound.data.options import Options
from tightbound.data.readers import images
from tightbound.data.readers.tabular import arrow
from tightbound.data.readers.tabular.arrow import Place
from tightbound.data.readers.tabular.coding import Raw, coder_of, understood
from tightbound.data.readers.tabular.notation import example_of_type
from tightbound.data.readers.tabular.tables import Table
from tightbound.data.selection import tell
from tightbound.data.splits.workers import WORKERS


def open_table(table: Table, name: str, options: Options) -> Data:
    """Open a table as a data set.

    Raises:
        InputError: If the table cannot be used.
    """
    if len(table) == 0:
        raise InputError(f"{table.title} has no rows; it must hold at least one example")
    table, raw, kinds, notes = understood(table, options)
    if raw.images is not None and raw.images.mode == images.DEEP and options.declared is None:
        options = replace(options, declared=raw.images.domain)  # the first images may be darker than others
    y, classes, named = _labels(table, raw.layout.label, options)
    notes = (*table.notes, *notes, *named)
    label = raw.layout.label if y is not None else None
    beside = covariates.coded(_beside(table, raw.layout.covariates), options, table.title)
    notes += beside.notes
    schema = Schema(
        raw.header, (), label, raw.layout.id, tuple(options.ignore), table.decimal, covariates=beside.columns,
        notation=_notation(table, raw),
    )  # fmt: skip
    if raw.layout.id is not None:
        table.names = _names(table, raw.layout.id)
    if raw.images is not None:  # the first image may be broken
        first = np.empty(raw.images.shape, np.uint16 if raw.images.mode == images.DEEP else np.uint8)
    else:
        first, _ = raw(table.take(np.zeros(1, np.int64), raw.layout.present), lambda _: table.place(0))
    if table.in_memory or first.nbytes * len(table) <= options.limits.memory:
        held = Arrays(
            first, y, table.train, table.validation, schema=schema, kinds=kinds or options.kinds, names=table.names,
            row_numbers=table.row_numbers, covariates=beside.values, classes=classes, absent=raw.layout.absent,
            unknown=table.unknown,
        )  # fmt: skip
        problems = {i: table.problems[name] for i, name in enumerate(raw.layout.columns) if name in table.problems}
        held = replace(_all(table, raw, held), notes=notes + _skipped(table.broken), problems=problems)
        return from_arrays(replace(held, title=table.title), name, options)
    if beside.values is not None:
        raise InputError(f"covariates= needs a table in memory, and {table.title} is larger; raise limits=")
    coder, found = coder_of(table, raw, kinds)
    tell(options, found if coder.code is None else ())
    notes += _skipped(table.broken)
    whole, how = table.split(coder, options.limits)
    whole.labels, found_classes, named = coded(y, len(whole), options, classes)
    digest = table.fingerprint()
    if whole.labels is not None:
        digest = f"sha256:{hashlib.sha256(digest.encode() + whole.labels.numpy().tobytes()).hexdigest()}"
    notes = (*notes, *found, how, *named)
    whole.identify(table.names, raw.layout.id, table.row_numbers)
    schema = replace(schema, classes=found_classes)
    share = options.share(len(whole))
    return divided(whole, table.train, name, coder.domain, notes, digest, share, schema, validation=table.validation)


def _all(table: Table, raw: Raw, held: Arrays) -> Arrays:
    """Read all rows into memory."""
    if raw.layout.kind == "columns":
        x, words = raw(pa.concat_tables(table.scan(raw.layout.present)), table.place)
        return replace(held, x=x, words=words)
    bar = tqdm(total=len(table), desc=f"reading {table.title}", unit=" rows", disable=None, leave=False, delay=2)
    x, kept, done = np.zeros(0), [], 0
    for rows in table.scan(raw.layout.columns):
        place: Place = lambda i, at=done: table.place(at + i)  # noqa: E731
        if raw.layout.kind == "images":
            part, good = arrow.decoded(rows[raw.layout.columns[0]], raw.images, place, WORKERS, table.skips_broken)
            part = part if raw.images is None else raw.images.scaled(part, raw.declared)
        else:
            part, good = raw(rows, place)[0], range(len(rows))
        x = x if len(x) else np.empty((len(table), *part.shape[1:]), part.dtype)
        if part.shape[1:] != x.shape[1:]:
            shapes = f"{table.place(0)} is {x.shape[1:]}, {table.place(done)} {part.shape[1:]}"
            raise InputError(f"rows differ in shape: {shapes}; make them equal")
        x[len(kept) : len(kept) + len(part)] = part
        kept += [done + i for i in good]
        done += len(rows)
        bar.update(len(rows))
    bar.close()
    if len(kept) == len(table):
        return replace(held, x=x)
    if not kept:
        raise InputError(f"{table.title}: no image can be decoded, such as {table.place(0)}; check them")
    names = table.names or [table.place(i) for i in range(len(table))]
    table.broken = [*table.broken, *(names[i] for i in sorted({*range(len(table))} - {*kept}))]
    y = held.y if held.y is None or len(held.y) != len(table) else held.y[kept]
    train = None if held.train is None else sum(i < held.train for i in kept)
    validation = sum(i >= len(table) - held.validation for i in kept)
    return replace(held, x=x[: len(kept)], y=y, names=[names[i] for i in kept], train=train, validation=validation)


def _skipped(broken: Sequence[str]) -> tuple[str, ...]:
    more = f" and {len(broken) - 5:,} more" if len(broken) > 5 else ""
    return (f"{len(broken):,} unreadable files skipped: {', '.join(broken[:5])}{more}",) if broken else ()


def _notation(table: Table, raw: Raw) -> tuple[str, ...]:
    """Return the number format of each named column; () if all columns hold plain numbers."""
    kinds = {field.name: field.type for field in table.schema}
    shown = [table.notation.get(name) or (example_of_type(kinds[name]) if name in kinds else "") for name in raw.header]
    return tuple(shown) if any(shown) else ()


def _labels(
    table: Table, name: str | None, options: Options
) -> tuple[np.ndarray | None, tuple[str, ...], tuple[str, ...]]:
    """Return the labels (N,) as numbers or words, the words that the numbers stand for, and notes."""
    if options.labels is not None and options.label_column is None:
        return np.asarray(options.labels), (), ()
    if name is None:
        return table.y, (), ()
    found = [arrow.numbers(rows[name]) for rows in table.scan((name,))]
    classes = table.classes.get(name, ())
    lacking = np.flatnonzero(np.concatenate([np.isnan(y) | ((y < 0) & bool(classes)) for y, _ in found]))
    missing = 0 if options.partial else len(lacking)
    if missing and (options.labels is not None or options.closed):
        first = table.where(int(lacking[0]))
        where = f"{first} has no label" if missing == 1 else f"{missing:,} rows have no label, the first in {first}"
        raise InputError(
            f"{table.title}: column {name}: {where}; add labels, remove such rows, or infer their classes by "
            "context='inferred-labels'"
        )
    if missing:
        return None, (), (f"no labels: column {name} lacks {missing:,} of them",)
    parts = [
        np.array([*words, None], object)[np.where(np.isnan(y), -1, y).astype(np.int64)] if words else y
        for y, words in found
    ]
    return np.concatenate(parts), classes, ()


def _beside(table: Table, names: Sequence[str]) -> dict[str, np.ndarray]:
    """Return the columns of covariates (N,), words or numbers."""
    found: dict[str, np.ndarray] = {}
    for name in names:
        if name in table.problems:
            raise InputError(f"{table.title}: {table.problems[name]}")
        parts = []
        for rows in table.scan((name,)):
            values, words = arrow.numbers(rows[name])
            lacking = np.isnan(values)
            if words:
                texts = np.array([*words, None], object)
                values = texts[np.where(lacking, len(words), values).astype(np.int64)]
            elif name in table.classes:
                values = np.array(table.classes[name], object)[values.astype(np.int64)]
            parts.append(values)
        found[name] = np.concatenate(parts)
    return found


def _names(table: Table, column: str) -> list[str]:
    """Return the names of the examples, as text."""
    return [str(value) for rows in table.scan((column,)) for value in rows[column].to_pylist()]
