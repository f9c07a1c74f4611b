"""Data frames of any package, and tables of numbers written as they were given. Free of torch."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, TypeAlias
from zoneinfo import ZoneInfo

import narwhals as nw
import numpy as np
from narwhals.exceptions import DuplicateError

from tightbound.core.errors import InputError

Array: TypeAlias = np.ndarray[Any, Any]
Frame: TypeAlias = Any  # a data frame of a package that narwhals knows


def as_frame(X: Any) -> nw.DataFrame[Any] | None:
    """Return X as a data frame of narwhals; None: it is none.

    Raises:
        InputError: If two columns have the same name, or the data frame is lazy.
    """
    try:
        lazy = not hasattr(X, "shape") and hasattr(X, "collect")
        frame = nw.from_native(X, eager_only=True, pass_through=not lazy)
    except DuplicateError:
        names = [str(name) for name in X.columns]
        twice = next(name for name in names if names.count(name) > 1)
        raise InputError(f"X has several columns with the name {twice!r}; rename them") from None
    except TypeError:  # raised for lazy data frames only
        raise InputError(f"X is a {type(X).__name__}, whose rows are not computed yet; pass X.collect()") from None
    return frame if isinstance(frame, nw.DataFrame) else None


def holds_words(frame: nw.DataFrame[Any]) -> bool:
    """Return whether a column holds anything but numbers, such as words or dates."""
    return not all(dtype.is_numeric() or dtype == nw.Boolean for dtype in frame.schema.values())


def missing(x: Array | Frame) -> Array:
    """Return which entries (N, D) of an array or a data frame are missing."""
    frame = as_frame(x)
    if frame is None:
        return np.isnan(x)
    lacks = [
        (column.is_null() | column.is_nan() if column.dtype.is_float() else column.is_null()).to_numpy()
        for column in frame.iter_columns()
    ]
    return np.stack(lacks, 1).astype(bool)


def chosen(x: Array | Frame, columns: Array) -> Array | Frame:
    """Return the columns of an array or a data frame that a mask (D,) names."""
    frame = as_frame(x)
    if frame is None:
        return x[:, columns]
    return x if columns.all() else frame[:, np.flatnonzero(columns).tolist()].to_native()


def rows_of(x: Array | Frame, rows: Array) -> Array | Frame:
    """Return rows of an array or a data frame by their positions."""
    frame = as_frame(x)
    return x[rows] if frame is None else frame[rows.tolist()].to_native()


def completed(x: Array | Frame, filled: Array, lacks: Array) -> Array | Frame:
    """Return a table (N, D) with other entries where a mask (N, D) says that they are missing, as it was given."""
    frame = as_frame(x)
    if frame is None:
        return np.where(lacks, filled, x)
    new = []
    for own, values, empty in zip(frame.iter_columns(), filled.T, lacks.T, strict=True):
        if empty.any():
            fill = iter(written(values[empty], own))
            entries = [next(fill) if gone else value for gone, value in zip(empty, own.to_list(), strict=True)]
            new.append(series(own.name, entries, frame.implementation, type_of(own)))
    return frame.with_columns(*new).to_native()


def type_of(column: nw.Series[Any]) -> Any:
    """Return the data type of a column in its own package."""
    native = column.to_native()
    return native.dtype if hasattr(native, "dtype") else native.type  # pyarrow's


def series(name: str, entries: Sequence[Any], package: Any, kind: Any) -> nw.Series[Any]:
    """Return a column of a data frame package, with a data type of this package."""
    found = nw.new_series(name, entries, backend=package)
    native = found.to_native()
    if type_of(found) == kind:
        return found
    cast = native.astype(kind) if hasattr(native, "astype") else native.cast(kind)
    return nw.from_native(cast, series_only=True).alias(name)  # columns of pyarrow have no names


def written(values: Array, column: nw.Series[Any]) -> list[Any]:
    """Return numbers and words in the data type of a column: days since 1970-01-01 as dates, hours as durations."""
    if column.dtype.is_temporal():
        return [_moment(value, column.dtype) for value in values.tolist()]
    if column.dtype.is_integer():
        ends = np.iinfo(str(column.dtype).lower())
        return [min(max(round(value), int(ends.min)), int(ends.max)) for value in values.astype(float).tolist()]
    if column.dtype.is_decimal():
        return [Decimal(repr(value)) for value in values.astype(float).tolist()]
    known = {str(value): value for value in column.drop_nulls().to_list()}
    if are_number_words(values, column):
        from tightbound.data.readers.tabular.cells import like

        write = like(list(known))
        return [write(float(value)) for value in values]
    truths = bool(known) and all(isinstance(value, bool) for value in known.values())
    return [value > 0.5 if truths else known.get(value, value) for value in values.tolist()]


def are_number_words(values: Array, column: nw.Series[Any]) -> bool:
    """Return whether numbers are to be written in a column of words, such as "$1.50"."""
    return column.dtype == nw.String and not all(isinstance(value, str) for value in values)


def _moment(value: float, dtype: Any) -> Any:
    """Return days since 1970-01-01 as a date, with a time or without, and hours as a duration or a time of day."""
    limit = _DAYS_OF_NANOSECONDS if getattr(dtype, "time_unit", None) == "ns" else _DAYS
    if dtype == nw.Duration:
        return timedelta(hours=min(max(value, -24 * limit), 24 * limit))
    if dtype == nw.Time:
        return (_START + timedelta(hours=min(max(value, 0.0), 24 - 1e-9))).time()
    value = min(max(value, -limit), limit)
    if dtype == nw.Date:
        return (_START + timedelta(days=round(value))).date()
    zone = getattr(dtype, "time_zone", None)
    moment = _START + timedelta(days=value)
    return moment if zone is None else moment.replace(tzinfo=UTC).astimezone(ZoneInfo(zone))


_START = datetime(1970, 1, 1)
_DAYS = 700_000.0  # maximum number of days before or after 1970 that is written as a date
_DAYS_OF_NANOSECONDS = 106_000.0  # the maximum if 64 bits count nanoseconds


def beside(x: Frame, marks: Array, names: Sequence[str] | Array) -> Frame:
    """Return a data frame with further columns (N, M), whose names come last among `names`."""
    frame = nw.from_native(x, eager_only=True)
    own = names[len(frame.columns) :]
    new = (nw.new_series(name, mark, backend=frame.implementation) for name, mark in zip(own, marks.T, strict=True))
    return frame.with_columns(*new).to_native()


def spelled(x: Array, words: Sequence[Sequence[str]]) -> Array:
    """Return a table (N, D) with the numbers of categories replaced by their words; (): a column holds numbers."""
    if not any(words):
        return x
    out = x.astype(object)
    for i, names in enumerate(words):
        if names:
            out[:, i] = [names[round(value)] for value in x[:, i]]
    return out
