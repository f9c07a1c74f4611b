"""Arrays in .npy and .npz files."""

from __future__ import annotations

import tokenize
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, BinaryIO, Literal

import numpy as np

from tightbound.core.errors import InputError, first_line
from tightbound.data.dataset import Arrays, Data, from_arrays
from tightbound.data.options import Options

SUFFIXES = (".npy", ".npz")
_CORRUPT = (OSError, EOFError, ValueError, zipfile.BadZipFile, zlib.error, KeyError, SyntaxError, NotImplementedError)


def open_arrays(path: Path, options: Options) -> Data:
    """Open a .npy or .npz file; a large .npy file is memory-mapped."""
    options.refuse(path.name, images=True, column=True)
    try:
        found = _single(path, options.limits.memory) if path.suffix.lower() == ".npy" else _archive(path)
    except _CORRUPT as error:
        if isinstance(error, InputError):
            raise
        reason = first_line(error)
        if "Object arrays" in reason:
            reason = "it holds pickled Python objects, which may run code; save a numeric array instead"
        raise InputError(f"{path} cannot be read as an array: {reason}") from None
    y = found.y if options.labels is None else np.asarray(options.labels)
    return from_arrays(replace(found, y=y, kinds=options.kinds), path.stem, options)


def load(file: Path | BinaryIO, mmap_mode: Literal["r"] | None = None) -> Any:
    """Return the array of a .npy file; raise one of `np.load`'s errors, for a damaged header always a ValueError."""
    with _intelligible():
        return np.load(file, mmap_mode, allow_pickle=False)


@contextmanager
def _intelligible() -> Iterator[None]:
    """Turn what Python's tokenizer says of a damaged header into a ValueError."""
    try:
        yield
    except tokenize.TokenError as error:
        raise ValueError(f"its header is damaged ({error.args[0]})") from None


def _single(path: Path, memory: int) -> Arrays:
    with path.open("rb") as file:
        if file.read(6) != b"\x93NUMPY":
            raise InputError(f"{path} is not a .npy file: it is damaged, or of another kind")
    if path.stat().st_size <= memory:
        return Arrays(load(path))
    x = load(path, mmap_mode="r")
    return Arrays(x, notes=(f"the file is memory-mapped: it is larger than {memory / 2**30:.3g} GiB",))


def _archive(path: Path) -> Arrays:
    if not zipfile.is_zipfile(path):
        raise InputError(f"{path} is not a .npz file: it is damaged, or of another kind")
    with path.open("rb") as file, np.load(file, allow_pickle=False) as archive, _intelligible():
        arrays = {key: archive[key] for key in archive.files}
    if "x_train" in arrays and "x_test" in arrays:
        parts = arrays["x_train"], arrays["x_test"]
        x, train, y = _join(path, "x", parts), len(parts[0]), None
        if "y_train" in arrays and "y_test" in arrays:
            y = _join(path, "y", (arrays["y_train"], arrays["y_test"]))
        note = f"split: as given in the file, {train:,} train and {len(parts[1]):,} test"
        return Arrays(x, y, train, (note,))
    key = next((k for k in ("x", "data", "images") if k in arrays), None)
    label = next((k for k in ("y", "labels") if k in arrays), None)
    others = [k for k in arrays if k != label]
    if key is None and len(others) == 1:
        key = others[0]
    if key is None:
        raise InputError(
            f"{path} holds the arrays {', '.join(arrays) or '(none)'}; "
            "name the data 'x' (and 'y' for labels), or x_train and x_test"
        )
    unused = [k for k in others if k != key]
    notes = (f"array {key!r} of the file was used",)
    notes += (f"arrays not used: {', '.join(unused)}",) if unused else ()
    return Arrays(arrays[key], None if label is None else arrays[label], notes=notes)


def _join(path: Path, name: str, parts: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
    train, test = parts
    if train.ndim == 0 or train.shape[1:] != test.shape[1:] or train.dtype != test.dtype:
        raise InputError(
            f"{path}: {name}_train is {train.dtype} {train.shape} but {name}_test is {test.dtype} "
            f"{test.shape}; they must agree except in the number of examples"
        )
    return np.concatenate(parts)
