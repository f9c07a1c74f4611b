"""Arrays in .npy, .npz and .pt files."""

from __future__ import annotations

import pickle
import tokenize
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, BinaryIO, Literal

import numpy as np
import torch
from torch import Tensor

from tightbound.core.errors import InputError, first_line
from tightbound.data.dataset import Arrays, Data, from_arrays
from tightbound.data.form import as_array
from tightbound.data.options import Options
from tightbound.data.readers.keyed import from_mapping
from tightbound.data.readers.sparse import countable

SUFFIXES = (".npy", ".npz", ".pt", ".pth")
_CORRUPT = (OSError, EOFError, ValueError, zipfile.BadZipFile, zlib.error, KeyError, SyntaxError, NotImplementedError)


def open_arrays(path: Path, options: Options) -> Data:
    """Open a .npy, .npz or .pt file; a large .npy file is memory-mapped."""
    options.refuse(path.name, images=True, column=True)
    try:
        read = {".npy": lambda path: _single(path, options.limits.memory), ".npz": _archive}
        found = read.get(path.suffix.lower(), _saved)(path)
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
    if {"format", "shape", "data"} <= arrays.keys():
        from scipy.sparse import load_npz

        matrix = load_npz(path)
        return Arrays(as_array(matrix), notes=(f"{path} holds a sparse matrix",), domain=countable(matrix))
    return from_mapping(arrays, str(path))


def _saved(path: Path) -> Arrays:
    """Return what torch.save wrote: a tensor, a pair or a dictionary of tensors; nothing else is unpickled."""
    try:
        found = torch.load(path, map_location="cpu", weights_only=True)
    except (*_CORRUPT, RuntimeError, pickle.UnpicklingError, IndexError, AttributeError, TypeError) as error:
        if "weights_only" in str(error) or "Unsupported" in str(error):
            raise InputError(
                f"{path} holds Python objects, which may run code; save its tensors alone: "
                "torch.save({'x': x, 'y': y}, path)"
            ) from None
        raise InputError(f"{path} cannot be read as a .pt file: {first_line(error)}") from None
    if isinstance(found, tuple | list) and len(found) == 2 and all(isinstance(each, Tensor) for each in found):
        found = {"x": found[0], "y": found[1]}
    if isinstance(found, Mapping):
        return from_mapping(found, str(path))
    if not isinstance(found, Tensor):
        raise InputError(
            f"{path} holds a {type(found).__name__}; needed: a tensor, a pair (x, y) or a dictionary of them"
        )
    return Arrays(found.numpy())
