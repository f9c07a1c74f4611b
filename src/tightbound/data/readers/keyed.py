"""Mappings from names to arrays: .npz and .pt files, dictionaries of other libraries."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa

from tightbound.core.errors import InputError, first_line
from tightbound.core.schema import Schema
from tightbound.data.dataset import Arrays
from tightbound.data.form import as_array
from tightbound.data.readers.paths import role

_DATA = ("x", "data", "images", "image", "features", "inputs", "input")
_LABELS = ("y", "labels", "label", "targets", "target")
_KINDS = rf"({'|'.join((*_DATA, *_LABELS))})"
_PARTED = re.compile(rf"{_KINDS}[_-]?([a-z]+)|([a-z]+)[_-]{_KINDS}", re.IGNORECASE)


def from_mapping(arrays: Mapping[str, Any], title: str) -> Arrays:
    """Return the arrays of a mapping: x and y, or x_train and x_test, ...; other words for these are known.

    Raises:
        InputError: If it is not clear which array holds the data.
    """
    if not any(np.ndim(value) for value in arrays.values() if not isinstance(value, str | Mapping)):
        raise InputError(f"{title} holds no arrays; needed: {{'x': data, 'y': labels}}, or a column for each name")
    parts: dict[tuple[str, str], str] = {}
    for key in map(str, arrays):
        if match := _PARTED.fullmatch(key):
            word, part = (match[1], match[2]) if match[1] else (match[4], match[3])
            if found := role(part, whole=True):
                parts["x" if word.lower() in _DATA else "y", found] = key
    if ("x", "train") in parts and {("x", "test"), ("x", "validation")} & {*parts}:
        return _split(arrays, parts, title)
    lower = {str(key).lower(): key for key in arrays}
    label = next((lower[k] for k in _LABELS if k in lower), None)
    key = next((lower[k] for k in _DATA if k in lower), None)
    others = [k for k in arrays if k != label]
    if key is None and len(others) == 1:
        key = others[0]
    if key is None:
        raise InputError(
            f"{title} holds the arrays {', '.join(map(str, arrays)) or '(none)'}; "
            "name the data 'x' (and 'y' for labels), or x_train and x_test"
        )
    columns, classes = (
        _names(arrays.get(name)) for name in ("feature_names", "target_names")
    )  # keys of scikit-learn's data sets
    unused = [str(k) for k in others if k != key and k not in ("feature_names", "target_names")]
    notes = (f"array {str(key)!r} of {title} was used",)
    notes += (f"arrays not used: {', '.join(unused)[:200]}",) if unused else ()
    x, y = as_array(arrays[key]), None if label is None else as_array(arrays[label])
    columns = columns if x.ndim == 2 and len(columns) == x.shape[1] else ()
    ranks = y is not None and y.ndim == 1 and y.dtype.kind in "iu" and [*np.unique(y)] == [*range(len(classes))]
    return Arrays(x, y, notes=notes, schema=Schema(columns), classes=classes if ranks else ())


def _names(names: Any) -> tuple[str, ...]:
    return () if names is None or np.ndim(names) != 1 else tuple(map(str, names))


def _split(arrays: Mapping[str, Any], parts: Mapping[tuple[str, str], str], title: str) -> Arrays:
    roles = [name for name in ("train", "test", "validation") if ("x", name) in parts]
    x = _join(title, [parts["x", name] for name in roles], arrays)
    labeled = all(("y", name) in parts for name in roles)
    y = _join(title, [parts["y", name] for name in roles], arrays) if labeled else None
    sizes = [len(as_array(arrays[parts["x", name]])) for name in roles]
    shown = ", ".join(f"{size:,} {name}" for size, name in zip(sizes, roles, strict=True))
    notes = (f"split: as given in {title}, {shown}",)
    if not labeled and any(kind == "y" for kind, _ in parts):
        notes += ("no labels: a part has none",)
    unused = [str(key) for key in arrays if key not in parts.values()]
    notes += (f"arrays not used: {', '.join(unused)[:200]}",) if unused else ()
    return Arrays(x, y, sizes[0], sizes[2] if len(sizes) > 2 else 0, notes)


def _join(title: str, keys: list[str], arrays: Mapping[str, Any]) -> np.ndarray:
    parts = [as_array(arrays[key]) for key in keys]
    for key, part in zip(keys, parts, strict=True):
        if part.ndim == 0 or part.shape[1:] != parts[0].shape[1:] or part.dtype != parts[0].dtype:
            raise InputError(
                f"{title}: {keys[0]} is {parts[0].dtype} {parts[0].shape} but {key} is {part.dtype} {part.shape}; they "
                "must agree except in the number of examples"
            )
    return np.concatenate(parts)


def as_columns(source: Mapping[str, Any]) -> pa.Table | None:
    """Return a mapping from names to columns of one length as a table; None: it is none."""
    if not source or any(isinstance(value, str | Mapping) or np.ndim(value) != 1 for value in source.values()):
        return None
    try:
        columns = {str(name): as_array(value) for name, value in source.items()}
        timed = {name: x.astype("M8[us]") for name, x in columns.items() if x.dtype.kind == "M"}
        return pa.table({name: timed[name] if name in timed else x.tolist() for name, x in columns.items()})
    except (pa.ArrowException, ValueError) as error:
        raise InputError(f"the dictionary is no table: {first_line(error)}; give columns of one length") from None
