"""Data frames of pandas, polars and others that narwhals knows."""

from __future__ import annotations

from typing import Any

import pyarrow as pa

from tightbound.core.errors import InputError, first_line
from tightbound.data.readers.tabular.tables import Held


def from_frame(source: Any) -> Held:
    """Return a data frame as a table in memory."""
    import narwhals as nw

    try:
        if hasattr(source, "dtypes") and hasattr(source, "assign"):  # pandas
            source = source.assign(**{name: _plain(source[name]) for name in source.columns if _is_odd(source[name])})
        table = nw.from_native(source, eager_only=True).to_arrow()
        return Held(
            table.select([name for name in table.column_names if name != "__index_level_0__"]), "the data frame"
        )
    except (pa.ArrowException, TypeError, ValueError) as error:
        raise InputError(f"the data frame cannot be used: {first_line(error)}") from None


def _is_odd(column: Any) -> bool:
    """Whether a column of pandas has a type that Arrow does not know as what it is."""
    if column.dtype != object:
        return str(column.dtype).startswith("period")
    found = {type(value) for value in column.dropna()}
    return str in found and len(found) > 1 and all(issubclass(kind, str | float | int) for kind in found)


def _plain(column: Any) -> Any:
    """Return a column of months and the like as their first days, one of words and numbers as words."""
    if column.dtype != object:
        return column.dt.to_timestamp()
    return column.map(str, na_action="ignore")
