"""Files that commands write."""

from __future__ import annotations

import csv
import io
import os
import tempfile
import warnings
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from itertools import repeat
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import torch
from torch import Tensor

from tightbound.core.errors import InputError
from tightbound.core.files import atomic, unwritable
from tightbound.data import Split
from tightbound.data.readers.tabular.notation import Notation

Array: TypeAlias = np.ndarray[Any, Any]
TABLES = (".csv", ".parquet")  # extensions of tables


def csv_text(rows: Iterable[Iterable[Any]]) -> str:
    """Return rows of cells as CSV."""
    buffer = io.StringIO()
    csv.writer(buffer, lineterminator="\n").writerows(rows)
    return buffer.getvalue()


def write_table(
    out: Path,
    x: Tensor,
    header: Sequence[str],
    words: Sequence[Sequence[str]] = (),
    about: Mapping[str, Array] | None = None,
    notation: Sequence[str] = (),
    decimal: str | None = None,
    *,
    rows: int = 10_000,
) -> None:
    """Write a table (N, D) as CSV or Parquet, depending on the extension of the file.

    Numbers, dates and prices are written in the format of the training data, with as many decimals; Parquet holds
    numbers and dates. Without a known format, float32 numbers have the fewest digits that distinguish them.

    Args:
        out: The file.
        x: The table.
        header: Names of its columns.
        words: For each column, the words of its categories; (): all columns hold numbers.
        about: Columns to write before those of the table, by name.
        notation: Format of the numbers of each column, as `Schema.notation`; () if the format is unknown.
        decimal: Decimal mark of the notation.
        rows: Number of rows that are held as text at a time.
    """
    legends, beside = words or [()] * x.shape[1], about or {}
    forms = [Notation(shown, decimal) if shown else None for shown in notation or [""] * x.shape[1]]
    if out.suffix == ".parquet":
        columns = dict(beside)
        for name, values, legend, form in zip(header, _shortest(x).T, legends, forms, strict=True):
            columns[name] = np.array(legend)[values.astype(int)] if legend else _typed(values, form)
        write_columns(out, columns)
        return
    with atomic(out) as file:
        file.write(csv_text([[*beside, *header]]).encode())
        for start in range(0, len(x), rows):
            part = _shortest(x[start : start + rows]).tolist()
            cells = ([_cell(*each) for each in zip(row, legends, forms, strict=True)] for row in part)
            known = [values[start : start + rows].tolist() for values in beside.values()]
            before = zip(*known, strict=True) if known else repeat((), len(part))
            file.write(csv_text([*own, *row] for own, row in zip(before, cells, strict=True)).encode())


def _cell(value: float, words: Sequence[str], form: Notation | None) -> str:
    return words[round(value)] if words else f"{value:.9g}" if form is None or value != value else form.text(value)


def _typed(values: Array, form: Notation | None) -> Array:
    """Return numbers (N,) with the precision of their column: whole numbers as integers, dates as dates."""
    found = values if form is None or np.isnan(values).any() else form.values(values)
    if found.dtype.kind == "f" and len(found) and (found == found.round()).all() and abs(found).max() < 2**53:
        return found.astype(int)
    return found


def _shortest(x: Tensor) -> Array:
    """Return numbers in float64, rounded to the fewest digits that distinguish them in their own type."""
    return x.numpy().astype(str).astype(np.float64)


def write_columns(out: Path, columns: Mapping[str, Array]) -> None:
    """Write columns (N,) by name as CSV or Parquet, depending on the extension of the file."""
    if out.suffix == ".parquet":
        import pyarrow as pa
        from pyarrow import parquet

        with atomic(out) as file:
            parquet.write_table(pa.table({name: pa.array(values.tolist()) for name, values in columns.items()}), file)
        return
    lists = [values.tolist() for values in columns.values()]
    with atomic(out) as file:
        file.write(csv_text([columns, *zip(*lists, strict=True)]).encode())


def described(split: Split, label: str | None = None) -> dict[str, Array]:
    """Return the columns that tell a person which examples a split holds, and their labels if they have any, by name.

    Args:
        split: The examples.
        label: Name of the column of labels; None: "label".
    """
    positions, labels = [], []
    for batch in split.epoch(4096):
        positions.append(batch.positions())
        labels.append(batch.label)
    found = split.about(torch.cat(positions))
    if all(each is not None for each in labels):
        found |= _label_columns(torch.cat(labels), split, label or "label")
    return found


def _label_columns(labels: Tensor, split: Split, name: str) -> dict[str, Array]:
    if labels.dim() > 1:
        return {f"{name}{i}": column.numpy() for i, column in enumerate(labels.flatten(1).unbind(1), 1)}
    known = [split.class_name(value) for value in labels.tolist()] if split.classes else None
    return {name: labels.numpy() if known is None else np.array(known)}


def write_annotated(out: Path, source: Path, rows: Tensor, **arrays: Array) -> None:
    """Write AnnData with arrays added to its `obsm`.

    Args:
        out: The .h5ad file to write.
        source: The .h5ad file that holds the cells.
        rows: Positions (N,) of the cells to write.
        **arrays: Arrays (N, ...), by their names in `obsm`.
    """
    from tightbound.data.readers import annotated

    cells = annotated.read(source)
    cells = cells if torch.equal(rows, torch.arange(len(cells))) else cells[rows.numpy()].copy()
    for name, array in arrays.items():
        cells.obsm[name] = array
    try:
        with tempfile.TemporaryDirectory(dir=out.parent) as folder, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about future changes of the package
            whole = Path(folder) / out.name
            cells.write_h5ad(whole)
            os.replace(whole, out)
    except OSError as error:
        raise unwritable(out, error) from error


def out_file(out: Path | None, name: str, known: tuple[str, ...]) -> Path:
    """Return the file that was asked for, or one of this name with the first ending, after checking it."""
    chosen = Path(name + known[0]) if out is None else out
    check_ending(chosen, known)
    return chosen


def check_ending(out: Path, known: tuple[str, ...]) -> None:
    """Raise InputError if a file has another ending or its folder does not exist."""
    if out.suffix not in known:
        raise InputError(f"cannot write {str(out)!r}: its ending must be {' or '.join(known)}")
    if not out.parent.is_dir():
        raise InputError(f"cannot write {str(out)!r}: there is no folder {str(out.parent)!r}")


def npy(array: np.ndarray) -> bytes:
    """Return the bytes of a .npy file."""
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=False)
    return buffer.getvalue()


class Parts(NamedTuple):
    """Array that is never held in memory as a whole."""

    shape: tuple[int, ...]
    parts: Iterable[Tensor]  # float32, of rows in order


def write_npz(out: Path, arrays: Mapping[str, Any]) -> None:
    """Write arrays by name, `Parts` one part at a time; if writing fails, no file is left behind."""
    with atomic(out) as file, zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, array in arrays.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                if not isinstance(array, Parts):
                    np.lib.format.write_array(member, np.asanyarray(array), allow_pickle=False)
                    continue
                header = {"descr": "<f4", "fortran_order": False, "shape": array.shape}
                np.lib.format.write_array_header_1_0(member, header)
                for part in array.parts:
                    member.write(part.numpy().astype("<f4").tobytes())
