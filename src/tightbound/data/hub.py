"""Data sets of the Hugging Face package `datasets`: map-style ones, folders saved by them, and streams."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import Tensor

from tightbound.core.domain import Domain
from tightbound.core.errors import InputError, needs
from tightbound.data import arrow, columns, files, stream
from tightbound.data.pictures import Wish
from tightbound.data.rows import Opened
from tightbound.data.split import WORKERS, Indexed, MappedSplit
from tightbound.data.stream import Part, Stream, Streamed, opened
from tightbound.data.tables import Coder, Held, Store, coder_of, open_store, understood

if TYPE_CHECKING:
    import pyarrow as pa

SAVED = ("state.json", "dataset_dict.json")  # a file of a folder that was saved
_PART = 4_096  # rows looked at together


def is_saved(path: Path) -> bool:
    """Whether `save_to_disk` made this folder."""
    return any((path / name).is_file() for name in SAVED)


def is_ours(source: Any) -> bool:
    """Whether this is an object of the package, without importing it."""
    return any(kind.__module__.partition(".")[0] == "datasets" for kind in type(source).__mro__)


def load_saved(path: Path) -> Any:
    """The data set of a folder, memory-mapped.

    Raises:
        InputError: without the package, or for a damaged folder.
    """
    with needs("stream", "folders of Hugging Face data sets"):
        import datasets
    try:
        return datasets.load_from_disk(str(path))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path} cannot be read as a saved data set: {arrow.first_line(error)}") from None


def has_transform(source: Any) -> bool:
    """Whether its data are what a function of the user's makes of them."""
    return getattr(source, "format", {}).get("type") == "custom" if not isinstance(source, dict) else False


def open_hub(
    source: Any, title: str, told: Domain | None, kinds: columns.Kinds | None, labels: Any, wish: Wish
) -> files.Arrays | Opened | Streamed:
    """The data of a Dataset or an IterableDataset, or of a dictionary of these with a split for training.

    Raises:
        InputError: for splits that are missing, and columns that cannot be used.
    """
    import datasets

    train, test, notes = _splits(source)
    if isinstance(train, datasets.IterableDataset):
        if labels is not None and not isinstance(labels, str):
            raise InputError("labels were given for a stream; name the column that holds them")
        return _stream(train, test, title, told, kinds, labels, wish, notes)
    if not isinstance(train, datasets.Dataset):
        raise InputError(f"data cannot be read from {type(train).__name__} of the package datasets; give a Dataset")
    whole = train
    if test is not None:
        if test.features != train.features:
            raise InputError(f"{title}: the splits differ in their columns; make them alike")
        whole = datasets.concatenate_datasets([train, test])
    return open_store(HubStore(whole, title, None if test is None else len(train), notes), told, kinds, labels, wish)


def _splits(source: Any) -> tuple[Any, Any, tuple[str, ...]]:
    """Data for training, for testing (None: no split of their own), and notes."""
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


class HubStore(Store):
    """A map-style data set: Arrow tables, memory-mapped."""

    def __init__(self, dataset: Any, title: str, train: int | None, notes: tuple[str, ...]) -> None:
        """Rows of a `datasets.Dataset`, of which the first `train` are for training as given."""
        self._rows = dataset.with_format("arrow")
        self.title, self.train, self.notes = title, train, notes
        self.schema, self.classes = dataset.features.arrow_schema, _classes(dataset.features)
        self._some: dict[tuple[str, ...], Any] = {}  # rows with these columns alone: choosing them takes a while
        self._own = f"{dataset._fingerprint} {len(dataset)}"

    def __len__(self) -> int:
        """Rows."""
        return len(self._rows)

    def scan(self, names: tuple[str, ...]) -> Iterator[pa.Table]:
        """See `Store.scan`."""
        with arrow.readable(self.title, "Arrow files"):
            yield from self._only(names).iter(batch_size=_PART)

    def take(self, rows: np.ndarray, names: tuple[str, ...]) -> pa.Table:
        """See `Store.take`."""
        with arrow.readable(self.title, "Arrow files"):
            return self._only(names)[rows.tolist()]

    def _only(self, names: tuple[str, ...]) -> Any:
        if names not in self._some:
            self._some[names] = self._rows.select_columns(list(names))
        return self._some[names]

    def split(self, coder: Coder) -> tuple[Indexed, str]:
        """See `Store.split`: any row, from memory maps."""
        split = MappedSplit(_Fetch(self, coder), len(self), coder.shape, workers=WORKERS)
        return split, f"{len(self):,} rows, read from Arrow files as they are needed: too large for memory"

    def fingerprint(self) -> str:
        """Of that which the package gives: of how the data were made."""
        return f"sha256:{hashlib.sha256(self._own.encode()).hexdigest()}"


class _Fetch:
    """Positions (B,) -> x (B, *shape) as stored, for worker processes."""

    def __init__(self, store: HubStore, coder: Coder) -> None:
        self._store, self._coder = store, coder

    def __call__(self, indices: np.ndarray) -> tuple[np.ndarray, Tensor | None]:
        if len(indices) == 0:
            return np.empty((0, *self._coder.shape), self._coder.dtype), None
        return self._coder(self._store.take(indices, self._coder.names), self._store.title, indices), None


class HubStream(Stream):
    """An IterableDataset. Its shards are shuffled where none of its data were set aside."""

    def __init__(self, dataset: Any, coder: Coder, label: str | None, title: str) -> None:
        """The data that a coder makes of the rows, and labels from a column of numbers."""
        self._dataset, self._coder, self._label, self.title = dataset, coder, label, title

    def parts(self, seed: int | None, skip: int) -> Iterator[Part]:
        """See `Stream.parts`."""
        rows = self._dataset.skip(skip) if skip else self._dataset
        if seed is not None:
            rows = rows.shuffle(seed=seed, buffer_size=1)
        done = skip
        for table in _tables(rows, self.title):
            absent = [name for name in (*self._coder.names, self._label) if name and name not in table.schema.names]
            if absent:
                raise InputError(f"{self.title}: rows from {done} on have no column {absent[0]}; make them alike")
            x = self._coder(table, f"{self.title}, rows from {done} on", range(done, done + len(table)))
            label = None
            if self._label is not None:
                label, words = arrow.numbers(table[self._label])
                if words or np.isnan(label).any():
                    raise InputError(f"{self.title}: column {self._label} lacks a label after {done} data; fill it")
            yield Part(x, label)
            done += len(table)


def _tables(rows: Any, title: str, size: int = 256) -> Iterator[pa.Table]:
    with arrow.readable(title, "a stream"):
        yield from rows.with_format("arrow").iter(batch_size=size)


def _stream(
    train: Any,
    test: Any,
    title: str,
    told: Domain | None,
    kinds: columns.Kinds | None,
    labels: str | None,
    wish: Wish,
    notes: tuple[str, ...],
) -> Streamed:
    first = next(_tables(train, title, stream.ASIDE), None)
    if first is None:
        raise InputError(f"{title} gave no data; is it empty?")
    head = Held(first, title, _classes(train.features))
    raw, wanted, found = understood(head, told, kinds, labels, wish)
    coder, values = coder_of(head, raw, wanted)
    label = raw.layout.label
    if label is not None:
        y, words = arrow.numbers(first[label])
        if words or np.isnan(y).any():
            label, found = (
                None,
                (*found, f"no labels: column {label} has words or nulls, and a stream is not known whole"),
            )
    judged = (*notes, *found, *values, f"judged by the first {len(head):,} rows")
    streams = [None if rows is None else HubStream(rows, coder, label, title) for rows in (train, test)]
    assert streams[0] is not None
    return opened(streams[0], streams[1], coder.shape, coder.domain, judged, raw.layout.header)
