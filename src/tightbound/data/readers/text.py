"""Tables as text: .csv and .tsv files, also compressed."""

from __future__ import annotations

import csv
import gzip
import io
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from pyarrow import compute
from pyarrow import csv as pacsv

from tightbound.core.domain import as_domain
from tightbound.core.errors import InputError, first_line
from tightbound.data.columns import by_column, is_number, title
from tightbound.data.options import Options
from tightbound.data.readers import paths
from tightbound.data.readers.tables import Held

MISSING = ("", "nan", "na", "n/a", "null", "?")  # cells without a value, in any case


def read_text(path: Path, options: Options) -> Held:
    """Read a table: a first row without any number is the header; rows without any value are left out."""
    pc: Any = compute

    split = paths.delimiter(path) or ","
    try:
        content = gzip.decompress(path.read_bytes()) if path.suffix.lower() == ".gz" else path.read_bytes()
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise InputError(f"{path} is not text (UTF-8); give a table of numbers and words as text") from None
    except (OSError, EOFError) as error:
        raise InputError(f"{path} cannot be read: {first_line(error)}") from None
    first = next(csv.reader([next((line for line in text.splitlines() if line.strip()), "")], delimiter=split), [])
    if not first:
        raise InputError(f"{path} is empty; it must hold a row for each example")
    if split == "," and len(first) == 1 and ";" in first[0]:
        split, first = ";", first[0].split(";")
    titled = not any(map(is_number, first))
    names = [cell.strip() if titled else "" for cell in first]
    names = [name or f"column {i}" for i, name in enumerate(names, 1)]
    try:
        cells = pacsv.read_csv(
            io.BytesIO(text.encode()),
            pacsv.ReadOptions(column_names=[str(i) for i in range(len(names))], use_threads=False),
            pacsv.ParseOptions(delimiter=split, newlines_in_values=True),
            pacsv.ConvertOptions(column_types={str(i): pa.string() for i in range(len(names))}),
        )
    except pa.ArrowException as error:
        raise InputError(f"{path} is not a table: {first_line(error)}; give all rows as many cells") from None
    cells = cells.slice(int(titled))
    if not len(cells):
        raise InputError(f"{path} has a header but no rows; it must hold a row for each example")
    lines = [number for number, line in enumerate(text.splitlines(), 1) if line.strip()]
    as_written = _as_written(names, options, titled)
    columns, blank = [], np.ones(len(cells), bool)
    for i, (name, column) in enumerate(zip(names, cells.columns, strict=True)):
        column = pc.utf8_trim_whitespace(column.combine_chunks())
        blank &= np.asarray(pc.equal(column, ""))
        empty = pc.is_in(pc.utf8_lower(column), pa.array(MISSING))
        column = pc.if_else(empty, pa.scalar(None, pa.string()), column)
        if name not in as_written:
            column, bad = _numbers(column)
            if bad is not None and name != options.label_column:
                row, key = bad + int(titled), name if titled else i
                at = f"line {lines[row]}" if len(lines) == len(cells) + titled else f"row {row + 1}"
                raise InputError(
                    f"{path}: {at}, {title(i, names if titled else ())}: {column[bad].as_py()[:40]!r} is not a number; "
                    f"correct it, remove the column, or pass kinds={{{key!r}: 'categories'}}"
                )
        columns.append(column)
    table = pa.Table.from_arrays(columns, names)
    if not blank.any() or len(names) == 1:
        return Held(table, str(path), titled=titled)
    notes = (f"left out, since every cell is empty: {blank.sum()} of the rows",)
    return Held(table.filter(pa.array(~blank)), str(path), titled=titled, notes=notes)


def _as_written(names: list[str], options: Options, titled: bool) -> set[str]:
    """Return the columns of categories, whose cells stay as they are written: "01" is not 1."""
    kept = [*options.columns] if titled else []
    kept = kept or [name for name in names if name != options.label_column]
    kinds = by_column(options.kinds, kept if titled else (), len(kept))
    return {kept[i] for i, kind in kinds.items() if kind == "categories" or as_domain(kind).kind == "categories"}


def _numbers(column: pa.Array) -> tuple[pa.Array, int | None]:
    """Return a column as numbers if it holds any, and the first cell that is not a number among numbers."""
    try:
        return column.cast(pa.float64()), None
    except pa.ArrowInvalid:
        cells = column.to_pylist()
    wrong = [i for i, cell in enumerate(cells) if cell is not None and not is_number(cell)]
    if not wrong:  # numbers that Python reads and Arrow does not, such as 1_000
        return pa.array([None if cell is None else float(cell) for cell in cells], pa.float64()), None
    return column, wrong[0] if len(wrong) < len(cells) - column.null_count else None
