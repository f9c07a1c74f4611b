"""Files that commands write."""

from __future__ import annotations

import csv
import io
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from torch import Tensor

from tightbound.core.errors import InputError
from tightbound.core.files import atomic


def csv_text(rows: Iterable[Iterable[Any]]) -> str:
    """Return rows of cells as CSV."""
    buffer = io.StringIO()
    csv.writer(buffer, lineterminator="\n").writerows(rows)
    return buffer.getvalue()


def table_csv(x: Tensor, header: Sequence[str] = (), words: Sequence[Sequence[str]] = ()) -> str:
    """Return a table (N, D) as CSV, with names of columns and the words of categories."""
    legends = words or [()] * x.shape[1]
    rows = ([w[round(v)] if w else f"{v:.9g}" for v, w in zip(row, legends, strict=True)] for row in x.tolist())
    return csv_text([*([header] if header else []), *rows])


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
