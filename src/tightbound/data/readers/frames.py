"""Data frames of pandas, polars and other packages that narwhals knows."""

from __future__ import annotations

from typing import Any

from tightbound.core.errors import InputError
from tightbound.data.readers.arrow import first_line
from tightbound.data.readers.tables import Held


def is_frame(source: object) -> bool:
    """Whether this is a data frame or a table of Arrow, without importing any package."""
    known = {kind.__module__.partition(".")[0] for kind in type(source).__mro__} & {"pandas", "polars", "pyarrow"}
    return bool(known) and hasattr(source, "columns")


def from_frame(source: Any) -> Held:
    """Return a data frame as a table in memory.

    Raises:
        InputError: If a column mixes types.
    """
    import narwhals as nw
    import pyarrow as pa

    try:
        table = nw.from_native(source, eager_only=True).to_arrow()
        return Held(
            table.select([name for name in table.column_names if name != "__index_level_0__"]), "the data frame"
        )
    except (pa.ArrowException, TypeError, ValueError) as error:
        raise InputError(f"the data frame cannot be used: {first_line(error)}") from None
