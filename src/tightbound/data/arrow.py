"""Arrow tables: which column is what, and columns as arrays. Used by Parquet files and Hugging Face data sets."""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Literal

import numpy as np

from tightbound.core.errors import InputError, suggestion
from tightbound.data.columns import Words
from tightbound.data.pictures import Pictures, errors

if TYPE_CHECKING:
    import pyarrow as pa

LABELS = ("label", "labels", "y", "target", "cls", "class")
_DATA = ("x", "image", "img", "images", "input", "data", "pixel_values")

Kind = Literal["columns", "array", "pictures"]
Rows = Sequence[int] | np.ndarray  # numbers of rows, for messages


@dataclass(frozen=True)
class Layout:
    """Which columns of a table are the data, and which one the labels."""

    kind: Kind  # a column for each element; one of arrays; one of encoded pictures
    columns: tuple[str, ...]
    label: str | None
    notes: tuple[str, ...]

    @property
    def header(self) -> tuple[str, ...]:
        """Names of the elements of an example, where these are columns."""
        return self.columns if self.kind == "columns" else ()


def layout(schema: pa.Schema, label: str | None, title: str) -> Layout:
    """What a table of this schema holds.

    Arguments:
        schema: Names and types of the columns.
        label: Name of the column of labels; None: one that is called so beside arrays or pictures, and none of a table.
        title: Of the source, in messages.

    Raises:
        InputError: for columns that cannot be used, and which.
    """
    if len(set(schema.names)) < len(schema.names):
        raise InputError(f"{title} has columns of one name; give each a name of its own")
    kinds = {name: _kind(schema.field(name).type) for name in schema.names}
    if label is not None and label not in kinds:
        near = suggestion(label, [name for name in kinds if kinds[name] == "columns"] or list(kinds))
        raise InputError(f"{title} has no column {label!r}; {near}")
    if label is not None and kinds[label] != "columns":
        raise InputError(
            f"{title}: column {label} ({schema.field(label).type}) holds no labels: make it numbers or words"
        )
    whole = [name for name, kind in kinds.items() if kind in ("array", "pictures")]
    if not whole:
        names = tuple(name for name in kinds if name != label)
        bad = [f"{name} ({schema.field(name).type})" for name in names if kinds[name] is None]
        if bad or not names:
            what = f"cannot use the columns {', '.join(bad)[:200]}" if bad else "has no columns of data"
            raise InputError(f"{title}: {what}; remove them, or make them numbers, words or lists of one length")
        return Layout("columns", names, label, (f"{len(names)} columns: {', '.join(names[:8])}", *_named(label)))
    named = [name for name in _DATA if name in whole] if len(whole) > 1 else whole
    if not named:
        raise InputError(
            f"{title} has {len(whole)} columns of arrays or pictures, {', '.join(whole)[:99]}; keep one, or call it 'x'"
        )
    data = named[0]
    label = label or next((name for name in LABELS if kinds.get(name) == "columns"), None)
    rest = [name for name in kinds if name not in (data, label)]
    notes = (f"left out, beside the column {data}: {', '.join(rest)[:200]}",) if rest else ()
    return Layout("pictures" if kinds[data] == "pictures" else "array", (data,), label, (*notes, *_named(label)))


def _named(label: str | None) -> tuple[str, ...]:
    return () if label is None else (f"labels: column {label}",)


def _kind(given: pa.DataType) -> Kind | None:
    from pyarrow import types

    kind = _stored(given)
    if types.is_dictionary(kind):
        kind = kind.value_type
    if _numeric(kind) or types.is_null(kind) or types.is_string(kind) or types.is_large_string(kind):
        return "columns"
    if types.is_binary(kind) or types.is_large_binary(kind) or (types.is_struct(kind) and "bytes" in _fields(kind)):
        return "pictures"
    depth = 0
    while types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind):
        kind, depth = _stored(kind.value_type), depth + 1
    return "array" if depth and _numeric(kind) else None


def _numeric(kind: pa.DataType) -> bool:
    from pyarrow import types

    return types.is_boolean(kind) or types.is_integer(kind) or types.is_floating(kind) or types.is_decimal(kind)


def _fields(kind: Any) -> list[str]:
    return [kind.field(i).name for i in range(kind.num_fields)]


def _stored(kind: Any) -> Any:
    import pyarrow as pa

    return kind.storage_type if isinstance(kind, pa.BaseExtensionType) else kind


def _one(column: pa.ChunkedArray) -> Any:
    """A column in one piece, as stored."""
    import pyarrow as pa

    whole = column.combine_chunks()
    return whole.storage if isinstance(whole, pa.ExtensionArray) else whole


def numbers(column: pa.ChunkedArray) -> tuple[np.ndarray, tuple[str, ...]]:
    """A column of numbers (N,), NaN where it is null; of words their ranks, and the words."""
    import pyarrow as pa
    from pyarrow import types

    values = _one(column)
    if types.is_dictionary(values.type):
        values = values.dictionary_decode()
    if types.is_string(values.type) or types.is_large_string(values.type):
        coded = values.dictionary_encode()
        words = np.array(coded.dictionary.to_pylist(), dtype=object)
        order = np.argsort(words.astype(str), kind="stable") if len(words) else np.zeros(0, np.int64)
        rank = np.empty(len(order), np.float64)
        rank[order] = np.arange(len(order))
        codes = coded.indices.cast(pa.float64()).to_numpy(zero_copy_only=False)
        out = np.full(len(codes), np.nan)
        seen = ~np.isnan(codes)
        out[seen] = rank[codes[seen].astype(np.int64)]
        return out, tuple(str(word) for word in words[order])
    if types.is_boolean(values.type):
        values = values.cast(pa.uint8())
    if values.null_count or types.is_decimal(values.type) or types.is_null(values.type):
        values = values.cast(pa.float64())
    return values.to_numpy(zero_copy_only=False), ()


def matrix(table: pa.Table, names: Sequence[str], classes: Mapping[str, tuple[str, ...]]) -> tuple[np.ndarray, Words]:
    """Columns of numbers or words as (N, D), and the words of those that have any.

    Arguments:
        classes: Of columns of integers, the words that these stand for; -1 stands for none.
    """
    found = [numbers(table[name]) for name in names]
    for i, name in enumerate(names):
        if name in classes:
            x = found[i][0].astype(np.float64)
            found[i] = np.where(x < 0, np.nan, x), classes[name]
    return np.stack([x for x, _ in found], 1), {i: words for i, (_, words) in enumerate(found) if words}


def array(column: pa.ChunkedArray, where: str, rows: Rows) -> np.ndarray:
    """A column of lists, all of one shape, as (N, ...); `rows` are their numbers, for messages.

    Raises:
        InputError: for rows of different shapes, and nulls.
    """
    import pyarrow as pa
    from pyarrow import types

    values, shape = _one(column), [len(column)]
    while not _numeric(values.type):
        _refuse_null(values, shape, where, rows)
        if types.is_fixed_size_list(values.type):
            width = values.type.list_size
        else:
            lengths = np.diff(values.offsets.to_numpy())
            width = int(lengths[0]) if len(lengths) else 0
            if (lengths != width).any():
                odd = int((lengths != width).argmax())
                row = odd // int(np.prod(shape[1:]))
                raise InputError(
                    f"{where}: rows differ in shape: a list of row {rows[0]} has {width} entries, one of row "
                    f"{rows[row]} {int(lengths[odd])}; make them equal"
                )
        shape.append(width)
        values = values.flatten()
        values = values.storage if isinstance(values, pa.ExtensionArray) else values
    _refuse_null(values, shape, where, rows)
    if types.is_boolean(values.type):
        values = values.cast(pa.uint8())
    if types.is_decimal(values.type):
        values = values.cast(pa.float64())
    return values.to_numpy(zero_copy_only=False).reshape(shape)


def _refuse_null(values: Any, shape: Sequence[int], where: str, rows: Rows) -> None:
    if values.null_count:
        row = int(np.asarray(values.is_null()).argmax()) // int(np.prod(shape[1:]))
        raise InputError(f"{where}: row {rows[row]} is null, or holds a null; remove it, or fill it")


def encoded(column: pa.ChunkedArray, where: str, rows: Rows) -> list[Path | BinaryIO]:
    """A column of encoded pictures as files, which may be in memory."""
    out: list[Path | BinaryIO] = []
    for number, row in zip(rows, _one(column).to_pylist(), strict=True):
        content, path = (row.get("bytes"), row.get("path")) if isinstance(row, dict) else (row, None)
        if content is None and path is None:
            raise InputError(f"{where}: row {number} is null; remove it")
        out.append(Path(str(path)) if content is None else io.BytesIO(content))
    return out


def decoded(column: pa.ChunkedArray, pictures: Pictures, where: str, rows: Rows, threads: int = 1) -> np.ndarray:
    """A column of encoded pictures as (N, C, H, W) uint8.

    Raises:
        InputError: for one that cannot be decoded.
    """
    files = encoded(column, where, rows)
    x = np.empty((len(files), *pictures.shape), np.uint8)

    def decode(i: int) -> None:
        try:
            x[i] = pictures.decode(files[i])
        except errors() as error:
            why = first_line(error)
            raise InputError(f"{where}: the picture in row {rows[i]} cannot be used: {why}; remove it") from None

    with ThreadPoolExecutor(threads) as pool:
        for _ in pool.map(decode, range(len(files))) if threads > 1 else map(decode, range(len(files))):
            pass
    return x


@contextmanager
def readable(title: object, what: str) -> Iterator[None]:
    """Says which file or data set cannot be read as what it should be."""
    import pyarrow as pa

    try:
        yield
    except (OSError, pa.ArrowException) as error:
        raise InputError(f"{title} cannot be read as {what}: {first_line(error)}") from None


def first_line(error: Exception) -> str:
    """Of its message; its name where it has none."""
    return (str(error).splitlines() or [type(error).__name__])[0].rstrip(".")
