"""torch data sets and loaders as splits."""

from __future__ import annotations

from collections.abc import Sized
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, IterableDataset, TensorDataset

from tightbound.core.domain import Domain
from tightbound.core.errors import InputError
from tightbound.data import encoding, files
from tightbound.data.encoding import Encoding
from tightbound.data.loader_split import LoaderSplit, seeded, unpack
from tightbound.data.rows import Rows, fits, gathered, sampled
from tightbound.data.split import stack


class DatasetRows(Rows):
    """A map-style data set."""

    def __init__(self, dataset: Dataset[Any]) -> None:
        """Raises InputError for a stream, or an empty set."""
        self._dataset, self._size, self.title = dataset, _size(dataset), "a batch"

    def __len__(self) -> int:
        """N."""
        return self._size

    def read(self, indices: np.ndarray) -> tuple[np.ndarray, Tensor | None]:
        """See `Rows.read`; pictures of Pillow are arrays to NumPy."""
        data = [unpack(self._dataset[i]) for i in indices.tolist()]
        labels = [label for _, label in data if label is not None]
        return stack(x for x, _ in data), torch.stack(labels) if len(labels) == len(data) else None


def materialize(dataset: Dataset[Any]) -> files.Arrays | None:
    """All data of a map-style data set as arrays, or None where they take more than 1 GiB.

    Raises:
        InputError: for a stream, an empty set, and data of different shapes.
    """
    rows = DatasetRows(dataset)
    if isinstance(dataset, TensorDataset):
        x, label = unpack(dataset.tensors)
        return files.Arrays(x, None if label is None else label.numpy())
    if not fits(rows):
        return None
    x, y = gathered(rows)
    return files.Arrays(x, None if y is None else y.numpy())


def wrap(
    pair: tuple[DataLoader[Any], DataLoader[Any]], told: Domain | None
) -> tuple[LoaderSplit, LoaderSplit, Encoding, tuple[str, ...]]:
    """Loaders for training and testing, perhaps the same one, as splits.

    Raises:
        InputError: for a loader that gives nothing, and shapes that differ between the two.
    """
    train, test = pair
    samples = [_peek(train)] if train is test else [_peek(train), _peek(test)]
    code, values, shape = sampled(samples[0], told, "a batch")
    if len(samples) == 2 and (other := encoding.channels_first(samples[1], "test data")[0].shape[1:]) != shape:
        raise InputError(f"the training loader gives data of shape {shape}, the test loader {other}; make them equal")
    notes = [values]
    if train is test:
        notes.append("one loader serves as training and as test data: test numbers are those of data trained on")
    if any(loader.drop_last for loader in pair):
        notes.append("a loader drops its last, smaller batch (drop_last=True): its data are not counted")

    def cast(x: np.ndarray) -> np.ndarray:
        return code(encoding.channels_first(x, "a batch")[0], "a batch of the loader")

    return LoaderSplit(train, shape, cast), LoaderSplit(test, shape, cast), code, tuple(notes)


def _peek(loader: DataLoader[Any]) -> np.ndarray:
    """x of the first batch; the generators are left as they were."""
    raw = next(seeded(loader, 0), None)
    if raw is None:
        raise InputError("the loader gives no batch; is its data set empty, or smaller than one batch?")
    if loader.batch_size is None and loader.batch_sampler is None and isinstance(loader.dataset, Sized):
        raise InputError("the loader gives single data (batch_size=None); give it a batch size")
    return unpack(raw)[0]


def _size(dataset: Dataset[Any]) -> int:
    if isinstance(dataset, IterableDataset) or not isinstance(dataset, Sized):
        raise InputError(
            f"{type(dataset).__name__} is a stream without random access; wrap it: DataLoader(dataset, batch_size=128)"
        )
    if len(dataset) == 0:
        raise InputError(f"{type(dataset).__name__} is empty; it must hold at least 2 data")
    return len(dataset)
