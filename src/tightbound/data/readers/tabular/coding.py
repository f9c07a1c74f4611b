"""Conversion of the rows of a table to x: columns, arrays or images of one shape and domain."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa
from tqdm.auto import tqdm

from tightbound.core.domain import Domain
from tightbound.core.errors import InputError
from tightbound.data import columns, encoding
from tightbound.data.encoding import Encoding, Seen
from tightbound.data.options import Options
from tightbound.data.readers import images
from tightbound.data.readers.images import ImageFormat
from tightbound.data.readers.tabular import arrow, words
from tightbound.data.readers.tabular.arrow import Layout, Place
from tightbound.data.readers.tabular.tables import Held, Table
from tightbound.data.readers.torch_data import JUDGED, as_stored, sampled
from tightbound.data.survey import Survey


@dataclass(frozen=True)
class Raw:
    """Reader of the rows of an Arrow table as raw x (B, ...), with the words of columns that have any."""

    layout: Layout
    classes: Mapping[str, tuple[str, ...]]
    images: ImageFormat | None
    declared: Domain | None
    titled: bool = True
    threads: int = 1  # number of threads that decode images
    like: bool = False  # see `Options.like`

    @property
    def header(self) -> tuple[str, ...]:
        """Names of the elements of an example, if these are columns."""
        return self.layout.columns if self.layout.kind == "columns" and self.titled else ()

    def __call__(self, table: pa.Table, place: Place) -> tuple[np.ndarray, columns.Words]:
        """Read rows; `place` describes a row in messages."""
        names = self.layout.columns
        if self.layout.kind == "columns":
            return arrow.matrix(table, names, self.classes)
        if self.layout.kind == "array":
            return arrow.array(table[names[0]], lambda i: f"{place(i)}, column {names[0]}"), {}
        x, _ = arrow.decoded(table[names[0]], self.images, place, self.threads)
        return (x if self.images is None else self.images.scaled(x, self.declared)), {}


@dataclass(frozen=True)
class Coder:
    """Reader of the rows of an Arrow table as stored x (B, *shape)."""

    raw: Raw
    domain: Domain
    code: Encoding | None  # None: each column has its own domain
    shape: tuple[int, ...]

    @property
    def names(self) -> tuple[str, ...]:
        """Columns to read."""
        return self.raw.layout.present

    @property
    def dtype(self) -> np.dtype:
        """Data type of the stored values."""
        return np.dtype(np.float32) if self.code is None else self.code.dtype

    def __call__(self, table: pa.Table, place: Place) -> np.ndarray:
        """Read rows; `place` describes a row in messages."""
        x, words = self.raw(table, place)
        where = f"{place(0)} and following"
        if self.code is None:
            return columns.encode(x, self.raw.header, words, self.domain, where, like=self.raw.like)
        if self.raw.layout.kind == "columns" and (words or np.isnan(x).any()):
            raise InputError(f"{where}: words or nulls, unlike the rows before; declare the kinds of the columns")
        return as_stored(x, self.code, self.shape, where)


def understood(table: Table, options: Options) -> tuple[Table, Raw, Mapping[int, Any], tuple[str, ...]]:
    """Return the table with number words converted, the reader of its rows, the kinds of its columns, and notes."""
    plan = arrow.layout(table.schema, options, table.title, titled=table.titled)
    table = _with_numbers(table, plan, options)
    raw = Raw(plan, table.classes, None, options.declared, table.titled, like=options.like)
    if options.kinds is not None and plan.kind != "columns":
        raise options.no_table(f"{table.title} holds {plan.kind}")
    kinds: dict[int, Any] = {}
    if plan.kind == "columns":
        kinds = columns.by_column(options.kinds, raw.header, len(plan.columns))
        boolean = {name for name in plan.present if str(table.schema.field(name).type) == "bool"}
        binary = [i for i, name in enumerate(plan.columns) if name in boolean]
        nominal = [i for i, name in enumerate(plan.columns) if name in plan.present and _is_nominal(table, name)]
        if options.declared is None and (nominal or len(binary) < len(plan.columns)):
            kinds = {**dict.fromkeys(binary, "binary"), **dict.fromkeys(nominal, "categories"), **kinds}
    seen = _judged(table, plan, options) if plan.kind == "images" else None
    options.refuse(table.title, images=seen is None)
    notes = plan.notes + (() if seen is None else (seen.described(len(table)), *seen.notes))
    return table, replace(raw, images=seen), kinds, notes


def _with_numbers(table: Table, plan: Layout, options: Options) -> Table:
    """Return a table of columns with words that are numbers, dates or times read as such.

    Raises:
        InputError: If there are such words in a table that is not in memory, so that they cannot be judged together.
    """
    used = {*plan.present, plan.label, plan.id, *plan.covariates}
    names = tuple(name for name in table.schema.names if name in used)
    if plan.kind != "columns" or not any(words.is_text(table.schema.field(name).type) for name in names):
        return table
    whole = len(table) * len(plan.columns) * 8 <= options.limits.memory and not table.streamed
    rows = pa.concat_tables(table.scan(names)) if whole else next(table.scan(names))
    kinds = columns.by_column(options.kinds, plan.columns if table.titled else (), len(plan.columns))
    as_written = {plan.columns[i] for i, kind in kinds.items() if columns.kind_of(kind) == "categories"}
    read = words.read_columns(
        rows, as_written if plan.id is None else {*as_written, plan.id}, table.where, decimal=options.decimal,
        default=options.schema.decimal or table.decimal, label=plan.label, titled=table.titled, like=options.like,
    )  # fmt: skip
    if whole:
        about = {name: getattr(table, name) for name in _KEPT}
        notes = (*table.notes, *read.notes)
        return Held(
            read.table, table.title, **about, place=table.place, where=table.where, notes=notes, problems=read.problems,
            decimal=read.decimal, unknown=read.unknown, notation=read.notation,
        )  # fmt: skip
    judged = (
        name for name in names if words.is_text(rows.schema.field(name).type) and rows[name].null_count < len(rows)
    )
    odd = next((name for name in judged if not words.is_text(read.table.schema.field(name).type)), None)
    if odd is not None or read.problems:
        problem = next(iter(read.problems.values()), f"column {odd} holds numbers or dates that are written as words")
        raise InputError(f"{table.title}: {problem}; convert it to numbers first, since the rows are not all in memory")
    return table


_KEPT = ("classes", "titled", "train", "validation", "names", "row_numbers", "y")  # of a table that is read


def _is_nominal(table: Table, name: str) -> bool:
    """Return whether a column has a type of categories, which numbers can stand for."""
    return pa.types.is_dictionary(table.schema.field(name).type)


def _judged(table: Table, plan: Layout, options: Options) -> ImageFormat | None:
    """Return the common format of the images of a table, judged by a few; None: they are .npy files."""
    headers = table.headers
    if headers is None:
        some = spread(len(table))
        files = arrow.encoded(table.take(some, plan.columns)[plan.columns[0]], lambda i: table.place(int(some[i])))
        found = {
            table.place(int(row)): images.header(file)
            for row, file in zip(some, files, strict=True)
            if not images.is_numpy(file)
        }
        if bad := next((place for place, header in found.items() if header is None), None):
            raise InputError(f"{bad} cannot be decoded as an image; remove it")
        headers = {place: header for place, header in found.items() if header is not None}
    return images.judge(headers, options, table.title) if headers else None


def spread(size: int) -> np.ndarray:
    """Return the positions of a few examples, from the first to the last."""
    return np.unique(np.linspace(0, size - 1, min(JUDGED, size)).astype(np.int64))


def coder_of(table: Table, raw: Raw, kinds: Mapping[int, Any]) -> tuple[Coder, tuple[str, ...]]:
    """Return how rows are stored, and notes.

    Columns and vectors, which may lack entries, are judged by all rows; arrays and images by a few.
    """
    if raw.layout.kind != "columns":
        some = spread(len(table))
        x, _ = raw(table.take(some, raw.layout.columns), lambda i: table.place(int(some[i])))
        if x.ndim != 2:
            known = None if raw.images is None else raw.images.domain
            code, values, shape, _ = sampled(x, raw.declared or known, table.title, like=raw.like)
            return Coder(raw, code.domain, code, shape), (values,)
    bar = tqdm(total=len(table), desc=f"reading {table.title} once", unit=" rows", disable=None, leave=False)
    survey, done = Survey(raw.header, kinds, table.title, like=raw.like, absent=raw.layout.absent), 0
    seen: Seen | None = None
    first = np.zeros((0, 0))
    for rows in table.scan(raw.layout.columns):
        x, words = raw(rows, lambda i, at=done: table.place(at + i))
        survey.add(x, words)
        if not survey.mixed:
            own = Seen.of(x, encoding.scale_of(raw.declared), table.title)
            seen, first = (own, x) if seen is None else (seen.merged(own), first)
        done += len(x)
        bar.update(len(x))
    bar.close()
    if survey.mixed:
        domain, found = survey.domain(raw.declared)
        return Coder(raw, domain, None, (survey.width,)), found
    assert seen is not None
    code, values = encoding.judge(seen, first, raw.declared, table.title)
    if not raw.like and columns.may_differ(survey.width, first.dtype, code.domain, raw.declared):
        own = survey.numbers(code.domain)
        if own is not None:
            return Coder(raw, own[0], None, (survey.width,)), own[1]
    return Coder(raw, code.domain, code, (survey.width,)), (values,)
