"""Tables of typed columns, wherever they are stored: in memory where they fit, else read as they are needed."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from tqdm.auto import tqdm

from tightbound.core.domain import Domain
from tightbound.core.errors import InputError, needs
from tightbound.data import arrow, columns, encoding, files, pictures
from tightbound.data.arrow import Layout
from tightbound.data.encoding import Encoding, Seen
from tightbound.data.images import legend
from tightbound.data.pictures import Pictures, Wish
from tightbound.data.rows import Opened, as_stored, sampled, spread
from tightbound.data.split import WORKERS, Indexed

if TYPE_CHECKING:
    import pyarrow as pa


class Table(ABC):
    """Rows of typed columns."""

    title: str  # in messages
    schema: pa.Schema
    classes: Mapping[str, tuple[str, ...]]  # of columns of integers: the words that these stand for

    @abstractmethod
    def __len__(self) -> int:
        """Rows."""

    @abstractmethod
    def scan(self, names: tuple[str, ...]) -> Iterator[pa.Table]:
        """These columns of all rows, in order, in parts that fit in memory."""

    @abstractmethod
    def take(self, rows: np.ndarray, names: tuple[str, ...]) -> pa.Table:
        """These columns of some rows, in their order."""


class Store(Table):
    """A table in files."""

    train: int | None = None  # the first so many rows are the training data, as given
    notes: tuple[str, ...] = ()

    @abstractmethod
    def split(self, coder: Coder) -> tuple[Indexed, str]:
        """The rows as data that are read as they are needed, and a note on how."""

    @abstractmethod
    def fingerprint(self) -> str:
        """Of what is stored, without reading all of it."""


class Held(Table):
    """A table in memory."""

    def __init__(self, table: pa.Table, title: str, classes: Mapping[str, tuple[str, ...]] | None = None) -> None:
        self.table, self.title, self.schema, self.classes = table, title, table.schema, classes or {}

    def __len__(self) -> int:
        return len(self.table)

    def scan(self, names: tuple[str, ...]) -> Iterator[pa.Table]:
        """See `Table.scan`."""
        yield self.table.select(list(names))

    def take(self, rows: np.ndarray, names: tuple[str, ...]) -> pa.Table:
        """See `Table.take`."""
        return self.table.select(list(names)).take(rows)


def is_frame(source: object) -> bool:
    """Whether this is a data frame that narwhals knows, without importing any package."""
    known = {kind.__module__.partition(".")[0] for kind in type(source).__mro__} & {"pandas", "polars", "pyarrow"}
    return bool(known) and hasattr(source, "columns")


def from_frame(source: Any) -> Held:
    """Return a data frame of pandas, polars or pyarrow as a table.

    Raises:
        InputError: If a column mixes types, or the package pyarrow is missing.
    """
    with needs("tables", "data frames"):
        import narwhals as nw
        import pyarrow as pa
    try:
        return Held(nw.from_native(source, eager_only=True).to_arrow(), "the data frame")
    except (pa.ArrowException, TypeError, ValueError) as error:
        raise InputError(f"the data frame cannot be used: {arrow.first_line(error)}") from None


@dataclass(frozen=True)
class Raw:
    """Rows of an Arrow table -> raw x (B, ...), and the words of columns that have any."""

    layout: Layout
    classes: Mapping[str, tuple[str, ...]]
    pictures: Pictures | None
    told: Domain | None
    threads: int = 1  # that decode pictures

    def __call__(self, table: pa.Table, where: str, rows: arrow.Rows) -> tuple[np.ndarray, columns.Words]:
        """`where` and `rows`, their numbers, are for messages."""
        names = self.layout.columns
        if self.layout.kind == "columns":
            return arrow.matrix(table, names, self.classes)
        column, where = table[names[0]], f"{where}, column {names[0]}"
        if self.pictures is None:
            return arrow.array(column, where, rows), {}
        x = arrow.decoded(column, self.pictures, where, rows, self.threads)
        return pictures.scaled(x, self.told), {}


@dataclass(frozen=True)
class Coder:
    """Rows of an Arrow table -> x (B, *shape) as stored."""

    raw: Raw
    domain: Domain
    code: Encoding | None  # None: a domain for each column
    shape: tuple[int, ...]
    title: str

    @property
    def names(self) -> tuple[str, ...]:
        """The columns that are read."""
        return self.raw.layout.columns

    @property
    def dtype(self) -> np.dtype:
        """As stored."""
        return np.dtype(np.float32) if self.code is None else self.code.dtype

    def __call__(self, table: pa.Table, where: str, rows: arrow.Rows) -> np.ndarray:
        """`where` and `rows`, their numbers, are for messages."""
        x, words = self.raw(table, where, rows)
        if self.code is None:
            return columns.encode(x, self.raw.layout.header, words, self.domain, self.title)
        if self.raw.layout.kind == "columns" and (words or np.isnan(x).any()):
            raise InputError(f"{where} has words or nulls, unlike the data before it; name the kinds of its columns")
        return as_stored(x, self.code, self.shape, where)


def open_store(
    store: Store, told: Domain | None, kinds: columns.Kinds | None, labels: Any, wish: Wish
) -> files.Arrays | Opened:
    """The data of a table.

    Raises:
        InputError: for columns that cannot be used, options that do not fit them, and an empty table.
    """
    if len(store) == 0:
        raise InputError(f"{store.title} is empty; it must hold at least 2 data")
    raw, wanted, notes = understood(store, told, kinds, labels, wish)
    y, named = _labels(store, raw.layout.label, labels)
    notes = (*store.notes, *notes, *named)
    header = raw.layout.header
    first, _ = raw(store.take(np.zeros(1, np.int64), raw.layout.columns), store.title, [0])
    if first.nbytes * len(store) <= files.MEMORY_LIMIT:
        x, words = _all(store, raw)
        return files.Arrays(x, y, store.train, notes, header, words, wanted or None)
    coder, found = coder_of(store, raw, wanted)
    split, how = store.split(coder)
    return Opened(split, coder.domain, (*notes, *found, how), store.fingerprint(), y, store.train, header)


def open_held(held: Held, told: Domain | None, kinds: columns.Kinds | None, labels: Any) -> files.Arrays:
    """Return the data of a table in memory."""
    raw, wanted, notes = understood(held, told, kinds, labels, Wish())
    y, named = _labels(held, raw.layout.label, labels)
    x, words = raw(held.table, held.title, range(len(held)))
    return files.Arrays(x, y, None, (*notes, *named), raw.layout.header, words, wanted or None)


def understood(
    store: Table, told: Domain | None, kinds: columns.Kinds | None, labels: Any, wish: Wish
) -> tuple[Raw, Mapping[int, Any], tuple[str, ...]]:
    """How the rows of a table are read, the kinds of its columns that are known, and notes."""
    plan = arrow.layout(store.schema, labels if isinstance(labels, str) else None, store.title)
    if kinds is not None and plan.kind != "columns":
        raise InputError(f"kinds are for tables of numbers and words, and {store.title} holds {plan.kind}; leave them")
    if wish and plan.kind != "pictures":
        raise InputError(f"resize and gray are for pictures, and {store.title} holds none; leave them out")
    wanted: dict[int, Any] = {}
    if plan.kind == "columns":
        wanted = columns.told(kinds, plan.columns, len(plan.columns))
        binary = [i for i, name in enumerate(plan.columns) if str(store.schema.field(name).type) == "bool"]
        if told is None and len(binary) < len(plan.columns):
            wanted = {**dict.fromkeys(binary, "binary"), **wanted}
    seen = None
    if plan.kind == "pictures":
        wish.check()
        some = spread(len(store))
        given = arrow.encoded(store.take(some, plan.columns)[plan.columns[0]], store.title, some)
        headers = {f"row {i}": pictures.header(file) for i, file in zip(some.tolist(), given, strict=True)}
        bad = next((name for name, found in headers.items() if found is None), None)
        if bad is not None:
            raise InputError(f"{store.title}: {bad} of column {plan.columns[0]} holds no picture; remove it")
        seen = pictures.judge({name: h for name, h in headers.items() if h is not None}, wish, store.title)
    notes = plan.notes + (() if seen is None else (seen.described(len(store)), *seen.notes))
    return Raw(plan, store.classes, seen, told), wanted, notes


def _all(store: Store, raw: Raw) -> tuple[np.ndarray, columns.Words]:
    """All rows in memory."""
    import pyarrow as pa

    if raw.layout.kind == "columns":
        return raw(pa.concat_tables(store.scan(raw.layout.columns)), store.title, ())
    threaded = Raw(raw.layout, raw.classes, raw.pictures, raw.told, WORKERS)
    x: np.ndarray | None = None
    done = 0
    for table in store.scan(raw.layout.columns):
        part, _ = threaded(table, store.title, range(done, done + len(table)))
        x = np.empty((len(store), *part.shape[1:]), part.dtype) if x is None else x
        if part.shape[1:] != x.shape[1:]:
            raise InputError(
                f"{store.title}: rows differ in shape: row 0 is {x.shape[1:]}, row {done} {part.shape[1:]}; make them "
                "equal"
            )
        x[done : done + len(part)] = part
        done += len(part)
    assert x is not None
    return x, {}


def coder_of(store: Table, raw: Raw, wanted: Mapping[int, Any]) -> tuple[Coder, tuple[str, ...]]:
    """How rows become what is stored: judged by all of a table, of columns or of vectors, which may lack entries, and
    by a few arrays or pictures."""
    if raw.layout.kind != "columns":
        some = spread(len(store))
        x, _ = raw(store.take(some, raw.layout.columns), store.title, some)
        if x.ndim != 2:
            known = None if raw.pictures is None else raw.pictures.domain
            code, values, shape = sampled(x, raw.told or known, store.title)
            return Coder(raw, code.domain, code, shape, store.title), (values,)
    with tqdm(total=len(store), desc=f"reading {store.title} once", unit=" rows", disable=None, leave=False) as bar:
        return _surveyed(store, raw, wanted, bar.update)


def _surveyed(store: Table, raw: Raw, wanted: Mapping[int, Any], count: Any) -> tuple[Coder, tuple[str, ...]]:
    """The coder of a table of columns or vectors, by all of its rows; `count` is told how many were read."""
    title, done = store.title, 0
    survey = columns.Survey(raw.layout.header, wanted, title)
    seen: Seen | None = None
    first = np.zeros((0, 0))
    for table in store.scan(raw.layout.columns):
        x, words = raw(table, title, range(done, done + len(table)))
        survey.add(x, words)
        if not survey.mixed:
            own = Seen.of(x, encoding.sought(raw.told), title)
            seen, first = (own, x) if seen is None else (seen.merged(own), first)
        done += len(x)
        count(len(x))
    shape = (survey.width,)
    if survey.mixed:
        domain, found = survey.domain(raw.told)
        return Coder(raw, domain, None, shape, title), found
    assert seen is not None
    code, values = encoding.judge(seen, first, raw.told, title)
    return Coder(raw, code.domain, code, shape, title), (values,)


def _labels(store: Table, name: str | None, labels: Any) -> tuple[np.ndarray | None, tuple[str, ...]]:
    """(N,) labels, and notes."""
    if labels is not None and not isinstance(labels, str):
        return np.asarray(labels), ()
    if name is None:
        return None, ()
    parts, vocabulary = [], dict[str, int]()
    for table in store.scan((name,)):
        y, words = arrow.numbers(table[name])
        if words:
            numbers = np.array([vocabulary.setdefault(word, len(vocabulary)) for word in words], np.float64)
            y = np.where(np.isnan(y), np.nan, numbers[np.nan_to_num(y).astype(np.int64)])
        parts.append(y)
    y = np.concatenate(parts)
    lacking = int(np.isnan(y).sum()) + (int((y < 0).sum()) if name in store.classes else 0)
    if lacking and labels is not None:
        raise InputError(f"{store.title}: column {name} lacks {lacking:,} labels; fill them, or remove these rows")
    if lacking:
        return None, (f"no labels: column {name} lacks {lacking:,} of them",)
    if name in store.classes:
        return y, (legend(store.classes[name]),)
    if not vocabulary:
        return y, ()
    words = sorted(vocabulary)
    rank = np.empty(len(words), np.int64)
    rank[[vocabulary[word] for word in words]] = np.arange(len(words))
    return rank[y.astype(np.int64)], (legend(words),)
