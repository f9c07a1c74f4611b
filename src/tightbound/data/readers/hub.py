"""Data sets of the Hugging Face package `datasets`: map-style ones, folders saved by them, and streams."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from tightbound.core.errors import InputError, first_line, needs
from tightbound.data.dataset import Data
from tightbound.data.options import Options
from tightbound.data.readers.tabular import arrow
from tightbound.data.readers.tabular.arrow import Place
from tightbound.data.readers.tabular.opening import open_table
from tightbound.data.readers.tabular.stream import Tables, open_tables
from tightbound.data.readers.tabular.tables import Table


def is_saved(path: Path) -> bool:
    """Whether `save_to_disk` made this folder."""
    return any((path / name).is_file() for name in ("state.json", "dataset_dict.json"))


def load_saved(path: Path) -> Any:
    """Return the data set of a folder, memory-mapped."""
    with needs("stream", "folders of Hugging Face data sets"):
        import datasets
    try:
        return datasets.load_from_disk(str(path))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path} cannot be read as a saved data set: {first_line(error)}") from None


def open_hub(source: Any, title: str, name: str, options: Options) -> Data:
    """Open a Dataset, an IterableDataset, or a dictionary of these with a split for training."""
    import datasets

    train, test, notes = _splits(source)
    if isinstance(train, datasets.IterableDataset):
        tests = None if test is None else _tables(test, title)
        judged, classes = options.limits.set_aside, _classes(train.features)
        return open_tables(
            _tables(train, title), tests, title, name, options, judged=judged, size=256, notes=notes, classes=classes
        )
    if not isinstance(train, datasets.Dataset):
        raise InputError(f"data cannot be read from {type(train).__name__} of the package datasets; give a Dataset")
    if test is None:
        return open_table(HubTable(train, title, None, notes), name, options)
    if test.features != train.features:
        raise InputError(f"{title}: the splits differ in their columns; make them alike")
    return open_table(HubTable(datasets.concatenate_datasets([train, test]), title, len(train), notes), name, options)


def _splits(source: Any) -> tuple[Any, Any, tuple[str, ...]]:
    """Return the training data, the test data (None: no split of their own), and notes."""
    if not isinstance(source, Mapping):
        return source, None, ()
    if len(source) == 1:
        return next(iter(source.values())), None, (f"split {next(iter(source))!r}",)
    test = next((name for name in ("test", "validation") if name in source), None)
    if "train" not in source or test is None:
        raise InputError(
            f"the splits are {', '.join(source)}; needed: 'train', and 'test' or 'validation'; or give one"
        )
    rest = [name for name in source if name not in ("train", test)]
    notes = (f"split: as given, 'train' and {test!r}",) + ((f"splits left out: {', '.join(rest)}",) if rest else ())
    return source["train"], source[test], notes


def _classes(features: Any) -> dict[str, tuple[str, ...]]:
    return {name: tuple(own.names) for name, own in (features or {}).items() if hasattr(own, "int2str")}


class HubTable(Table):
    """A map-style data set: Arrow tables, memory-mapped."""

    def __init__(self, dataset: Any, title: str, train: int | None, notes: tuple[str, ...]) -> None:
        """Rows of a `datasets.Dataset`, of which the first `train` are for training as given."""
        self._rows = dataset.with_format("arrow")
        self.title, self.train, self.notes = title, train, notes
        self.schema, self.classes = dataset.features.arrow_schema, _classes(dataset.features)
        self._chosen: dict[tuple[str, ...], Any] = {}  # rows with these columns: choosing them takes a while
        self._own = f"{dataset._fingerprint} {len(dataset)}"

    def __len__(self) -> int:
        return len(self._rows)

    def take(self, rows: np.ndarray, names: tuple[str, ...]) -> pa.Table:
        """See `Table.take`."""
        if names not in self._chosen:
            self._chosen[names] = self._rows.select_columns(list(names))
        with arrow.readable(self.title, "Arrow files"):
            return self._chosen[names][rows.tolist()]

    def fingerprint(self) -> str:
        """See `Table.fingerprint`: of how the data were made, as the package records it."""
        return f"sha256:{hashlib.sha256(self._own.encode()).hexdigest()}"


def _tables(dataset: Any, title: str) -> Tables:
    """Return an IterableDataset as tables."""

    def read(seed: int | None, skip: int, size: int) -> Iterator[tuple[pa.Table, Place]]:
        rows = dataset.skip(skip) if skip else dataset
        if seed is not None:
            rows = rows.shuffle(seed=seed, buffer_size=1)
        done = skip
        with arrow.readable(title, "a stream"):
            for table in rows.with_format("arrow").iter(batch_size=size):
                yield table, lambda i, at=done: f"{title}, row {at + i}"
                done += len(table)

    return read
