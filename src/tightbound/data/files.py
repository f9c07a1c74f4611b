"""Arrays in files: .npy, .npz, and tables of numbers as text."""

from __future__ import annotations

import csv
import gzip
import io
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from tightbound.core.errors import InputError, suggestion
from tightbound.data import columns
from tightbound.data.columns import Kinds, is_number

MEMORY_LIMIT = 1 << 30  # bytes; larger data stay where they are
TABLES = {".csv": ",", ".tsv": "\t"}
ARRAYS = frozenset({".npy", ".npz", ".gz", *TABLES})  # suffixes of what is read here
_CORRUPT = (OSError, EOFError, ValueError, zipfile.BadZipFile, zlib.error, KeyError, SyntaxError)


@dataclass(frozen=True)
class Arrays:
    """What a source holds, raw."""

    x: np.ndarray
    y: np.ndarray | None = None
    train: int | None = None  # the first so many are the training data, as given; None: to be split
    notes: tuple[str, ...] = ()
    header: tuple[str, ...] = ()  # names of the columns of a table
    words: columns.Words = field(default_factory=dict)  # of columns of categories
    kinds: Kinds | None = None  # of columns, where a person or their types say them
    names: Sequence[str] | None = None  # one for each example


def read_arrays(path: Path, labels: Any = None, kinds: Kinds | None = None) -> Arrays:
    """The arrays of a .npy, .npz, .csv or .tsv file (tables also .gz).

    Arguments:
        path: An existing file.
        labels: Of a table: name of the column that holds them. Else: an array of labels (N,).
        kinds: Of the columns of a table, see `data.open`.

    Raises:
        InputError: for another kind of file, a corrupt or pickled one, and cells that are no numbers among numbers.
    """
    suffix = path.suffixes[-2] if path.suffix == ".gz" and len(path.suffixes) > 1 else path.suffix
    suffix = suffix.lower()
    if suffix in TABLES:
        try:
            return _table(path, TABLES[suffix], labels, kinds)
        except csv.Error as error:
            raise InputError(f"{path} is no table: {error}; give a row of numbers for each example") from None
    if isinstance(labels, str):
        raise InputError(f"labels={labels!r} names a column, but {path.name} is no table; give an array")
    try:
        if suffix == ".npy":
            found = _single(path)
        elif suffix == ".npz":
            found = _archive(path)
        else:
            raise InputError(
                f"{path} is of no known kind ({path.suffix or 'no suffix'}); "
                "give .npy, .npz, .csv, .tsv, .parquet, .tar, or a folder of images"
            )
    except _CORRUPT as error:
        if isinstance(error, InputError):
            raise
        reason = (str(error).splitlines() or [type(error).__name__])[0].rstrip(".")
        if "Object arrays" in reason:
            reason = "it holds pickled Python objects, which may run code; save a numeric array instead"
        raise InputError(f"{path} cannot be read as an array: {reason}") from None
    return replace(found, kinds=kinds, y=found.y if labels is None else np.asarray(labels))


def _single(path: Path) -> Arrays:
    with path.open("rb") as file:
        if file.read(6) != b"\x93NUMPY":
            raise InputError(f"{path} is no .npy file: it is damaged, or of another kind")
    if path.stat().st_size <= MEMORY_LIMIT:
        return Arrays(np.load(path, allow_pickle=False))
    x = np.load(path, mmap_mode="r", allow_pickle=False)
    return Arrays(x, notes=("the file is memory-mapped: it is larger than 1 GiB",))


def _archive(path: Path) -> Arrays:
    if not zipfile.is_zipfile(path):
        raise InputError(f"{path} is no .npz file: it is damaged, or of another kind")
    with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
        arrays = {key: archive[key] for key in archive.files}
    if "x_train" in arrays and "x_test" in arrays:
        parts = arrays["x_train"], arrays["x_test"]
        x, train = _join(path, "x", parts), len(parts[0])
        y = None
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
    return Arrays(
        arrays[key],
        None if label is None else arrays[label],
        notes=notes + ((f"arrays not used: {', '.join(unused)}",) if unused else ()),
    )


def _join(path: Path, name: str, parts: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
    train, test = parts
    if train.ndim == 0 or train.shape[1:] != test.shape[1:] or train.dtype != test.dtype:
        raise InputError(
            f"{path}: {name}_train is {train.dtype} {train.shape} but {name}_test is {test.dtype} "
            f"{test.shape}; they must agree but for the number of data"
        )
    return np.concatenate(parts)


def _table(path: Path, delimiter: str, labels: Any, kinds: Kinds | None) -> Arrays:
    text = _text(path)
    first = next(csv.reader([next((line for line in text.splitlines() if line.strip()), "")], delimiter=delimiter), [])
    if not first:
        raise InputError(f"{path} is empty; it must hold a row of numbers for each example")
    if delimiter == "," and len(first) == 1 and ";" in first[0]:
        delimiter, first = ";", first[0].split(";")
    header = [cell.strip() for cell in first] if not any(map(is_number, first)) else None
    twice = sorted({name for name in header or () if (header or []).count(name) > 1 and name})
    if twice:
        raise InputError(f"{path} has more than one column named {', '.join(twice)}; give each a name of its own")
    column = _column(path, labels, header, len(first))
    keep = [i for i in range(len(first)) if i != column]
    rows = 0
    for line, row in _lines(text, delimiter):
        rows += 1
        if len(row) != len(first):
            raise InputError(
                f"{path}: line {line} has {len(row)} cells, but the first has {len(first)}; give all lines as many"
            )
    if rows == 1 and header is not None:
        raise InputError(f"{path} has a header but no data; it must hold a row of numbers for each example")
    skip = 0 if header is None else next(i for i, line in enumerate(io.StringIO(text)) if line.strip()) + 1
    load = partial(np.loadtxt, delimiter=delimiter, comments=None, quotechar='"', skiprows=skip)
    names = tuple(header[i] for i in keep) if header else ()
    words: columns.Words = {}
    try:
        if kinds is not None:
            raise ValueError("columns of categories keep their cells as they are written")
        x = load(io.StringIO(text), ndmin=2, usecols=keep)
    except ValueError:
        x, words = _cells(path, list(_lines(text, delimiter))[header is not None :], keep, names, kinds)
    y = None if labels is None else np.asarray(labels)
    if column is not None:
        y = load(io.StringIO(text), dtype=str, usecols=column, ndmin=1)
        y = y.astype(float) if all(map(is_number, y)) else y
    notes = () if header is None else (f"header of {len(first)} columns: {', '.join(header[:8])}",)
    notes += () if column is None else (f"labels: column {header[column] if header else column}",)
    every = csv.reader(io.StringIO(text), delimiter=delimiter)
    hollow = sum(len(row) > 1 and not any(cell.strip() for cell in row) for row in every)
    notes += (f"left out, since every cell is empty: {hollow} of the rows",) if hollow else ()
    return Arrays(x, y, notes=notes, header=names, words=words, kinds=kinds)


def _cells(
    path: Path, lines: list[tuple[int, list[str]]], keep: list[int], names: tuple[str, ...], kinds: Kinds | None
) -> tuple[np.ndarray, columns.Words]:
    """A table in which some cells are no numbers, as numbers and words."""
    rows = [[row[i] for i in keep] for _, row in lines]
    x, words, fault = columns.read_cells(rows, len(keep), columns.told(kinds, names, len(keep)))
    if fault is None:
        return x, words
    row, column = fault
    key = repr(names[column]) if names else column
    raise InputError(
        f"{path}: line {lines[row][0]}, {columns.title(keep[column], ()) + (f' ({names[column]})' if names else '')}: "
        f"{rows[row][column].strip()[:40]!r} is no number; correct it, remove the column, or say "
        f"kinds={{{key}: 'categories'}}"
    )


def _text(path: Path) -> str:
    try:
        content = gzip.decompress(path.read_bytes()) if path.suffix.lower() == ".gz" else path.read_bytes()
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise InputError(f"{path} is no text (not UTF-8); give a table of numbers as text") from None
    except _CORRUPT as error:
        raise InputError(f"{path} cannot be read: {error}") from None


def _column(path: Path, labels: Any, header: list[str] | None, width: int) -> int | None:
    if not isinstance(labels, str):
        return None
    if header is None:
        raise InputError(f"labels={labels!r} names a column, but {path} has no header; add one")
    if labels not in header:
        raise InputError(f"{path} has no column {labels!r}; {suggestion(labels, header)}")
    if width == 1:
        raise InputError(f"{path} has no column besides {labels!r}; there are no data")
    return header.index(labels)


def _lines(text: str, delimiter: str) -> Iterator[tuple[int, list[str]]]:
    """The number and the cells of each line that is not blank."""
    reader = csv.reader(io.StringIO(text), delimiter=delimiter)
    return ((reader.line_num, row) for row in reader if any(cell.strip() for cell in row))
