"""What commands write."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from tightbound.core.errors import InputError
from tightbound.core.files import write_atomic


def csv(x: Tensor, header: Sequence[str] = (), words: Sequence[Sequence[str]] = ()) -> str:
    """A table (N, D) as text, with names of columns and the words of categories."""
    import csv

    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    if header:
        writer.writerow(header)
    legends = words or [()] * x.shape[1]
    for row in x.tolist():
        writer.writerow([w[round(v)] if w else f"{v:.9g}" for v, w in zip(row, legends, strict=True)])
    return buffer.getvalue()


def out_file(out: Path | None, name: str, known: tuple[str, ...]) -> Path:
    """The file that is asked for, or one of this name with the first ending; checked before anything is computed."""
    chosen = Path(name + known[0]) if out is None else out
    check_ending(chosen, known)
    return chosen


def check_ending(out: Path, known: tuple[str, ...]) -> None:
    """Before anything is computed."""
    if out.suffix not in known:
        raise InputError(f"cannot write {str(out)!r}: its ending must be {' or '.join(known)}")
    if not out.parent.is_dir():
        raise InputError(f"cannot write {str(out)!r}: there is no folder {str(out.parent)!r}")


def npy(array: np.ndarray) -> bytes:
    """The bytes of a .npy file."""
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=False)
    return buffer.getvalue()


def write_npz(out: Path, arrays: dict[str, Any]) -> None:
    """Writes arrays by name, whole or not at all."""
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)
    write_atomic(out, buffer.getvalue())
