"""Tables of typed columns, arrays or encoded images: in memory where they fit, otherwise read as they are needed."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
from tqdm.auto import tqdm

from tightbound.core.domain import Domain
from tightbound.core.errors import InputError
from tightbound.core.schema import Schema
from tightbound.data import columns, covariates, encoding
from tightbound.data.dataset import Arrays, Data, divided, from_arrays
from tightbound.data.encoding import Encoding, Seen
from tightbound.data.labels import coded
from tightbound.data.options import Limits, Options
from tightbound.data.readers import images
from tightbound.data.readers.images import Header, ImageFormat
from tightbound.data.readers.tabular import arrow, words
from tightbound.data.readers.tabular.arrow import Layout, Place
from tightbound.data.readers.tabular.notation import example_of_type
from tightbound.data.readers.torch_data import JUDGED, as_stored, sampled
from tightbound.data.selection import tell
from tightbound.data.splits.indexed import Indexed
from tightbound.data.splits.workers import WORKERS, MappedSplit


class Table(ABC):
    """Rows of typed columns, with random access."""

    title: str  # in messages
    schema: pa.Schema
    classes: Mapping[str, tuple[str, ...]] = {}  # for columns of integers: the words that these stand for
    titled: bool = True  # whether the names of the columns were given
    notes: tuple[str, ...] = ()
    decimal: str | None = None  # decimal mark of words, where no column tells it
    notation: Mapping[str, str] = {}  # number format by column, see `notation.example`
    problems: Mapping[str, str] = {}  # what cannot be read, by column
    train: int | None = None  # the first so many rows are training data, as given
    validation: int = 0  # the last so many rows are validation data, as given
    names: list[str] | None = None  # one for each row
    row_numbers: Sequence[int] | None = None  # of each row in its file, from 1
    y: np.ndarray | None = None  # labels that are not in a column
    unknown: np.ndarray | None = None  # (N,) words among the numbers of each row, which count as missing
    headers: Mapping[str, Header] | None = None  # of all images, where they were read
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
        """Return the rows as a split that reads them as they are needed, and a note."""
        fetch = partial(_fetched, self, coder)
        split = MappedSplit(fetch, len(self), coder.shape, names=self.names, workers=WORKERS)
        how = f"{len(self):,} examples, read as they are needed by {WORKERS} processes: too large for memory"
        return split, how

    def fingerprint(self) -> str:
        """Return a fingerprint of what is stored, without reading all of it."""
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


@dataclass(frozen=True)
class Raw:
    """How rows of an Arrow table become raw x (B, ...), and the words of columns that have any."""

    layout: Layout
    classes: Mapping[str, tuple[str, ...]]
    images: ImageFormat | None
    declared: Domain | None
    titled: bool = True
    threads: int = 1  # that decode images
    like: bool = False  # see `Options.like`

    @property
    def header(self) -> tuple[str, ...]:
        """Names of the elements of an example, where these are columns."""
        return self.layout.columns if self.layout.kind == "columns" and self.titled else ()

    def __call__(self, table: pa.Table, place: Place) -> tuple[np.ndarray, columns.Words]:
        """Read rows; `place` describes one, in messages."""
        names = self.layout.columns
        if self.layout.kind == "columns":
            return arrow.matrix(table, names, self.classes)
        if self.layout.kind == "array":
            return arrow.array(table[names[0]], lambda i: f"{place(i)}, column {names[0]}"), {}
        x, _ = arrow.decoded(table[names[0]], self.images, place, self.threads)
        return (x if self.images is None else self.images.scaled(x, self.declared)), {}


@dataclass(frozen=True)
class Coder:
    """How rows of an Arrow table become x (B, *shape) as stored."""

    raw: Raw
    domain: Domain
    code: Encoding | None  # None: a domain for each column
    shape: tuple[int, ...]

    @property
    def names(self) -> tuple[str, ...]:
        """The columns that are read."""
        return self.raw.layout.present

    @property
    def dtype(self) -> np.dtype:
        """Type of the stored values."""
        return np.dtype(np.float32) if self.code is None else self.code.dtype

    def __call__(self, table: pa.Table, place: Place) -> np.ndarray:
        """Read rows; `place` describes one, in messages."""
        x, words = self.raw(table, place)
        where = f"{place(0)} and following"
        if self.code is None:
            return columns.encode(x, self.raw.header, words, self.domain, where, like=self.raw.like)
        if self.raw.layout.kind == "columns" and (words or np.isnan(x).any()):
            raise InputError(f"{where}: words or nulls, unlike the rows before; declare the kinds of the columns")
        return as_stored(x, self.code, self.shape, where)


def open_table(table: Table, name: str, options: Options) -> Data:
    """Open a table as a data set."""
    if len(table) == 0:
        raise InputError(f"{table.title} has no rows; it must hold at least one example")
    table, raw, kinds, notes = understood(table, options)
    if raw.images is not None and raw.images.mode == images.DEEP and options.declared is None:
        options = replace(options, declared=raw.images.domain)  # other images can be brighter
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
    if raw.images is not None:  # the first may be broken
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


def understood(table: Table, options: Options) -> tuple[Table, Raw, Mapping[int, Any], tuple[str, ...]]:
    """Return a table whose words that are numbers were read, how its rows are read, the kinds of columns, and notes."""
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


def _notation(table: Table, raw: Raw) -> tuple[str, ...]:
    """Return the number format of each named column; () if all columns hold plain numbers."""
    kinds = {field.name: field.type for field in table.schema}
    shown = [table.notation.get(name) or (example_of_type(kinds[name]) if name in kinds else "") for name in raw.header]
    return tuple(shown) if any(shown) else ()


_KEPT = ("classes", "titled", "train", "validation", "names", "row_numbers", "y")  # of a table that is read


def _is_nominal(table: Table, name: str) -> bool:
    """Whether a column has a type of categories, which numbers can stand for."""
    return pa.types.is_dictionary(table.schema.field(name).type)


def _judged(table: Table, plan: Layout, options: Options) -> ImageFormat | None:
    """Return what the images of a table have in common, judged by a few; None: they are .npy files."""
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
    survey, done = columns.Survey(raw.header, kinds, table.title, like=raw.like, absent=raw.layout.absent), 0
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


def _labels(
    table: Table, name: str | None, options: Options
) -> tuple[np.ndarray | None, tuple[str, ...], tuple[str, ...]]:
    """Return the labels (N,), numbers or words, the words that numbers stand for, and notes."""
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
    """Return the column that names the examples, as text."""
    return [str(value) for rows in table.scan((column,)) for value in rows[column].to_pylist()]
