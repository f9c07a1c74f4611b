"""Arrow tables: which column is what, and columns as NumPy arrays."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
from pyarrow import compute, types

from tightbound.core.errors import InputError, first_line
from tightbound.data.columns import Words
from tightbound.data.encoding import check_exact
from tightbound.data.options import Options
from tightbound.data.readers import images
from tightbound.data.readers.images import File, ImageFormat
from tightbound.data.readers.tabular.cells import DAYS, HOURS
from tightbound.data.readers.tabular.words import is_text, without_missing
from tightbound.data.selection import select, tell

LABELS = ("label", "labels", "y", "target", "cls", "class")
_DATA = ("x", "image", "img", "images", "input", "data", "pixel_values")

Kind = Literal["columns", "array", "images"]
Place = Callable[[int], str]  # describes a row of a part of a table, for messages


@dataclass(frozen=True)
class Layout:
    """Which columns of a table hold the examples, and which one the labels."""

    kind: Kind  # a column for each element; one column of arrays; one column of encoded images
    columns: tuple[str, ...]
    label: str | None
    notes: tuple[str, ...]
    id: str | None = None  # the column that names the examples
    absent: tuple[str, ...] = ()  # columns of the examples that the table lacks
    covariates: tuple[str, ...] = ()

    @property
    def present(self) -> tuple[str, ...]:
        """The columns of the examples that the table has."""
        return tuple(name for name in self.columns if name not in self.absent)


def layout(schema: pa.Schema, options: Options, title: str, *, titled: bool = True) -> Layout:
    """Return what a table of this schema holds.

    Without the name of a column of labels, one of `LABELS` beside arrays or images holds them.
    """
    if len(set(schema.names)) < len(schema.names):
        twice = sorted({name for name in schema.names if schema.names.count(name) > 1})
        raise InputError(f"{title} has more than one column named {', '.join(twice)}; give each a name of its own")
    kinds = {name: _kind(schema.field(name).type) for name in schema.names}
    whole = [name for name, kind in kinds.items() if kind in ("array", "images")]
    picked = select(schema.names, options, title, titled=titled and not whole)
    label = picked.label
    others = [(name, "a covariate") for name in picked.covariates]
    for name, what in ((label, "labels"), (picked.id, "names of examples"), *others):
        if name is not None and kinds[name] != "columns":
            raise InputError(
                f"{title}: column {name} ({schema.field(name).type}) cannot hold {what}: use numbers or words"
            )
    tell(options, picked.notes)
    if whole and label is None:
        label = next((name for name in LABELS if kinds.get(name) == "columns" and name not in options.ignore), None)
    named = () if label is None else (f"labels: column {label}",)
    named += () if picked.id is None else (f"names of the examples: column {picked.id}",)
    if not whole:
        names = picked.columns
        bad = [f"{name} ({schema.field(name).type})" for name in names if kinds.get(name, "columns") is None]
        if bad or not names:
            what = f"cannot use the columns {', '.join(bad)[:200]}" if bad else "has no columns of data"
            raise InputError(f"{title}: {what}; remove them, or make them numbers, words or lists of one length")
        timed = [f"{name} ({unit})" for name in names if name in kinds and (unit := _unit(schema.field(name).type))]
        notes = (f"{len(names)} columns: {', '.join(names[:8])}", *named, *picked.notes)
        notes += (f"dates and times read as numbers: {', '.join(timed)[:200]}",) if timed else ()
        return Layout("columns", names, label, notes, picked.id, picked.absent, picked.covariates)
    usual = [name for name in _DATA if name in whole] if len(whole) > 1 else whole
    if not usual:
        raise InputError(
            f"{title} has {len(whole)} columns of arrays or images, {', '.join(whole)[:99]}; keep one, or call it 'x'"
        )
    data = usual[0]
    rest = [name for name in kinds if name not in (data, label, picked.id, *picked.covariates)]
    notes = (f"left out, beside the column {data}: {', '.join(rest)[:200]}",) if rest else ()
    kind: Kind = "images" if kinds[data] == "images" else "array"
    return Layout(kind, (data,), label, notes + named, picked.id, covariates=picked.covariates)


def _kind(given: pa.DataType) -> Kind | None:
    """Return what a column of this type holds; None: nothing that can be used."""
    kind = _storage(given)
    if types.is_dictionary(kind):
        kind = kind.value_type
    if _numeric(kind) or types.is_null(kind) or is_text(kind) or _unit(kind):
        return "columns"
    if types.is_struct(kind):
        return "images" if "bytes" in [kind.field(i).name for i in range(kind.num_fields)] else None
    if types.is_binary(kind) or types.is_large_binary(kind):
        return "images"
    depth = 0
    while types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind):
        kind, depth = _storage(kind.value_type), depth + 1
    return "array" if depth and _numeric(kind) else None


def _numeric(kind: pa.DataType) -> bool:
    return types.is_boolean(kind) or types.is_integer(kind) or types.is_floating(kind) or types.is_decimal(kind)


def _unit(kind: Any) -> str:
    """Return the unit in which dates or times of this type are read; "": it is of neither."""
    if types.is_date(kind) or types.is_timestamp(kind):
        return DAYS
    return HOURS if types.is_time(kind) or types.is_duration(kind) else ""


def _in_units(values: Any) -> Any:
    """Return dates in days and times in hours, as words that say the same are read."""
    kind = values.type
    if types.is_date(kind):
        return values.cast(pa.date32()).cast(pa.int32()).cast(pa.float64())
    if types.is_timestamp(kind):
        to, per = pa.timestamp("us"), 86_400e6
    else:
        to, per = pa.time64("us") if types.is_time(kind) else pa.duration("us"), 3_600e6
    return compute.call_function("divide", [values.cast(to, safe=False).cast(pa.int64()).cast(pa.float64()), per])


def _storage(kind: Any) -> Any:
    return kind.storage_type if isinstance(kind, pa.BaseExtensionType) else kind


def _joined(column: pa.ChunkedArray) -> Any:
    """Return a column in one piece, as stored."""
    whole = column.combine_chunks()
    whole = pa.concat_arrays(whole.chunks) if isinstance(whole, pa.ChunkedArray) else whole
    return whole.storage if isinstance(whole, pa.ExtensionArray) else whole


def numbers(column: pa.ChunkedArray, name: str | None = None) -> tuple[np.ndarray, tuple[str, ...]]:
    """Return a column as numbers (N,), NaN where it is null, and its distinct words; words become their ranks.

    Args:
        column: The column.
        name: Name of the column for messages; None: do not check its integers.

    Raises:
        InputError: If different integers become equal as floating-point numbers, and there is a name.
    """
    values = _joined(column)
    if types.is_dictionary(values.type):
        values = values.dictionary_decode()
    if _unit(values.type):
        values = _in_units(values)
    if is_text(values.type):
        values = without_missing(pa.chunked_array([values]))
        words = sorted(values.drop_null().unique().to_pylist())
        codes = compute.call_function("index_in", [values], compute.SetLookupOptions(pa.array(words, values.type)))
        return codes.cast(pa.float64()).to_numpy(zero_copy_only=False), tuple(words)
    if types.is_boolean(values.type):
        values = values.cast(pa.uint8())
    if name is not None and types.is_integer(values.type):
        check_exact(values.drop_null().to_numpy(zero_copy_only=False), f"column {name}")
    if values.null_count or types.is_decimal(values.type) or types.is_null(values.type):
        values = values.cast(pa.float64(), safe=False)
    return values.to_numpy(zero_copy_only=False), ()


def labels(column: pa.ChunkedArray, classes: Sequence[str] = ()) -> np.ndarray | None:
    """Return a column of labels (N,), words or numbers; None: some are missing.

    If `classes` has the words that the numbers stand for, -1 marks a missing label.
    """
    values, words = numbers(column)
    if np.isnan(values).any() or (classes and (values < 0).any()):
        return None
    return np.array(words)[values.astype(np.int64)] if words else values


def matrix(table: pa.Table, names: Sequence[str], classes: Mapping[str, tuple[str, ...]]) -> tuple[np.ndarray, Words]:
    """Return columns of numbers or words as (N, D), and the words of those that have any; NaN for columns that lack.

    `classes` are the words that the integers of some columns stand for; -1 stands for a missing one.
    """
    held = {*table.schema.names}
    found = [numbers(table[name], name) if name in held else (np.full(len(table), np.nan), ()) for name in names]
    for i, name in enumerate(names):
        if name in classes:
            x = found[i][0].astype(np.float64)
            found[i] = np.where(x < 0, np.nan, x), classes[name]
    return np.stack([x for x, _ in found], 1), {i: words for i, (_, words) in enumerate(found) if words}


def array(column: pa.ChunkedArray, place: Place) -> np.ndarray:
    """Return a column of lists, all of one shape, as (N, ...)."""
    values, shape = _joined(column), [len(column)]
    while not _numeric(values.type):
        _refuse_null(values, shape, place)
        if types.is_fixed_size_list(values.type):
            width = values.type.list_size
        else:
            lengths = np.diff(values.offsets.to_numpy())
            width = int(lengths[0]) if len(lengths) else 0
            if (lengths != width).any():
                odd = int((lengths != width).argmax())
                raise InputError(
                    f"rows differ in shape: a list of {place(0)} has {width} entries, one of "
                    f"{place(odd // int(np.prod(shape[1:])))} {int(lengths[odd])}; make them equal"
                )
        shape.append(width)
        values = values.flatten()
        values = values.storage if isinstance(values, pa.ExtensionArray) else values
    _refuse_null(values, shape, place)
    if types.is_boolean(values.type) or types.is_decimal(values.type):
        values = values.cast(pa.uint8() if types.is_boolean(values.type) else pa.float64())
    return values.to_numpy(zero_copy_only=False).reshape(shape)


def _refuse_null(values: Any, shape: Sequence[int], place: Place) -> None:
    if values.null_count:
        row = int(np.asarray(values.is_null()).argmax()) // int(np.prod(shape[1:]))
        raise InputError(f"{place(row)} is null, or holds a null; remove it, or fill it")


def encoded(column: pa.ChunkedArray, place: Place) -> list[File]:
    """Return a column of encoded images as files, which may be in memory."""
    out: list[File] = []
    for i, row in enumerate(_joined(column).to_pylist()):
        content, path = (row.get("bytes"), row.get("path")) if isinstance(row, dict) else (row, None)
        if content is None and path is None:
            raise InputError(f"{place(i)} is null; remove it")
        out.append(Path(str(path)) if content is None else io.BytesIO(content))
    return out


def decoded(
    column: pa.ChunkedArray, seen: ImageFormat | None, place: Place, threads: int = 1, skip: bool = False
) -> tuple[np.ndarray, np.ndarray]:
    """Return a column of encoded images (N, C, H, W) or .npy files (N, ...), and which rows these are (N,).

    Without an image format there are .npy files only. With `skip` what cannot be decoded is left out.
    """
    files = encoded(column, place)

    def decode(i: int) -> np.ndarray | None:
        try:
            return images.decode(files[i], seen)
        except images.errors() as error:
            if skip:
                return None
            raise InputError(f"{place(i)} cannot be decoded: {first_line(error)}; remove it") from None

    with ThreadPoolExecutor(threads) as pool:
        found = list(pool.map(decode, range(len(files))) if threads > 1 else map(decode, range(len(files))))
    good = [i for i, x in enumerate(found) if x is not None]
    arrays = [x for x in found if x is not None]
    for i, x in zip(good, arrays, strict=True):
        if x.shape != arrays[0].shape:
            raise InputError(f"{place(i)} has shape {x.shape}, {place(good[0])} {arrays[0].shape}; make them equal")
    empty = np.empty((0, *(() if seen is None else seen.shape)), np.uint8)
    return np.stack(arrays) if arrays else empty, np.array(good, np.int64)


@contextmanager
def readable(title: object, what: str) -> Iterator[None]:
    """Raise InputError if a file or data set in this block cannot be read as what it should be."""
    try:
        yield
    except (OSError, UnicodeDecodeError, pa.ArrowException) as error:
        raise InputError(f"{title} cannot be read as {what}: {first_line(error)}") from None
