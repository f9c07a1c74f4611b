"""A torch DataLoader as a split."""

from __future__ import annotations

from collections.abc import Iterator, Sized
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, RandomSampler, SequentialSampler, Subset

from tightbound.core.errors import InputError
from tightbound.core.noise import Key, key_seed
from tightbound.core.terms import Batch
from tightbound.data.form import as_array
from tightbound.data.labels import Naming
from tightbound.data.splits.base import Cast, Split, chosen, share
from tightbound.data.splits.stream import leading
from tightbound.data.splits.workers import read_by


class LoaderSplit(Split):
    """A torch DataLoader, in its own order and its own batch size.

    Batches are x, (x, y), or mappings with a key x, image or input, and perhaps y, label or target. `index` counts up
    in the order of reading.

    With a key the order of an epoch is the loader's own. The key seeds the generators it draws from (torch's default
    one, or its own), so that the order of a shuffling loader repeats, and both are restored afterwards. Without a key
    the data set is read in its natural order, if it has one. Batches before `start` are read and dropped.
    """

    def __init__(self, loader: DataLoader[Any], shape: tuple[int, ...], cast: Cast, naming: Naming) -> None:
        """A split of a DataLoader.

        Args:
            loader: The loader.
            shape: Shape of one example as stored.
            cast: Function that returns raw x (B, ...) as stored.
            naming: Conversion of labels to numbers.
        """
        self.loader, self.shape, self._cast, self._naming = loader, shape, cast, naming
        self.classes = naming.classes
        self.batch_size = loader.batch_size
        if self._ordered and not isinstance(loader.sampler, SequentialSampler | RandomSampler):
            raise InputError(
                f"the DataLoader picks examples by a {type(loader.sampler).__name__}, which reading in order would "
                "ignore; give it the examples themselves, as in DataLoader(Subset(dataset, indices))"
            )

    def __len__(self) -> int:
        loader, dataset = self.loader, self.loader.dataset
        if not isinstance(dataset, Sized):
            raise TypeError(f"the length of {type(dataset).__name__}, a stream, is not known")
        if loader.drop_last and loader.batch_size:
            return len(loader) * loader.batch_size
        return len(dataset)

    def steps(self, batch_size: int) -> int:
        """Return the number of batches, which have the loader's own size."""
        return len(self.loader)

    def smallest_batch(self, batch_size: int) -> int | None:
        """See `Split.smallest_batch`; batches have the loader's own size."""
        return None if self.batch_size is None else super().smallest_batch(self.batch_size)

    def picked(self, max_examples: int, seed: int) -> Iterator[Batch]:
        """See `Split.picked`, and `leading` for a data set without an order."""
        if not self._ordered:
            yield from leading(self, max_examples)
            return
        rows, done = chosen(len(self), max_examples, seed), 0
        for raw in seeded(self._natural(Subset(self.loader.dataset, rows.tolist())), key_seed("natural")):
            x, label = unpack(raw)
            index = rows[done : done + len(x)]
            yield Batch(
                torch.from_numpy(self._cast(x)),
                label=self._naming(label),
                index=index,
                origin=origins(self.loader.dataset, index),
            )
            done += len(x)

    @property
    def _ordered(self) -> bool:
        """Whether the data set has a natural order, which the loader can read."""
        return isinstance(self.loader.dataset, Sized) and self.loader.batch_size is not None

    def _natural(self, dataset: Dataset[Any]) -> DataLoader[Any]:
        """Return a loader that reads a data set in its order."""
        loader = self.loader
        return DataLoader(
            dataset,
            loader.batch_size,
            num_workers=loader.num_workers,
            collate_fn=loader.collate_fn,
            drop_last=loader.drop_last and dataset is loader.dataset,
        )

    def _epoch(
        self, batch_size: int, key: tuple[Key, ...] | None, start: int, rank: int, world: int
    ) -> Iterator[Batch]:
        done = 0
        loader = self.loader
        if key is None and self._ordered:
            loader = self._natural(loader.dataset)
        batches = seeded(loader, key_seed(*(key or ("natural",))))
        for step, raw in enumerate(batches):
            x, words = unpack(raw)
            label, part = self._naming(words), share(len(x), rank, world)
            index = torch.arange(done, done + len(x))[part]
            done += len(x)
            if step >= start:
                x = torch.from_numpy(np.ascontiguousarray(self._cast(x)[part]))
                origin = origins(self.loader.dataset, index) if loader is not self.loader else None
                yield Batch(x, label=None if label is None else label[part], index=index, origin=origin)


def origins(dataset: Dataset[Any], index: Tensor) -> Tensor:
    """Return the origins of examples of a data set: their positions in what torch's `Subset` takes them from."""
    while isinstance(dataset, Subset):
        index, dataset = torch.as_tensor(dataset.indices)[index], dataset.dataset
    return index


def unpack(raw: Any) -> tuple[np.ndarray, np.ndarray | None]:
    """Return x and labels, numbers or words, of an item of a DataLoader or data set: x, (x, y), or a mapping."""
    label = None
    if isinstance(raw, dict):
        found = next((raw[k] for k in ("x", "image", "input") if k in raw), None)
        if found is None:
            keys = ", ".join(map(str, raw)) or "none"
            raise InputError(f"a batch is a mapping with the keys {keys}; name the data 'x', 'image' or 'input'")
        label = next((raw[k] for k in ("y", "label", "target") if k in raw), None)
        raw = found
    elif isinstance(raw, (tuple, list)):
        raw, label = raw[0], raw[1] if len(raw) > 1 else None
    x = as_array(raw)
    if x.dtype.kind not in "biuf":
        raise InputError(f"a batch holds {type(raw).__name__} ({x.dtype}); give tensors or arrays of numbers")
    if label is None:
        return x, None
    y = as_array(label)
    if y.dtype.kind not in "biufU":
        raise InputError(f"a batch holds labels of {type(label).__name__} ({y.dtype}); give numbers or words, or none")
    return x, y


def seeded(loader: DataLoader[Any], seed: int) -> Iterator[Any]:
    """Iterate over a loader with its generators seeded while it works, and restored while it waits."""
    own = loader.generator, getattr(loader.sampler, "generator", None)
    generators = list(dict.fromkeys([torch.default_generator, *(g for g in own if g is not None)]))
    inside = [torch.Generator().manual_seed(seed).get_state() for _ in generators]
    batches: Iterator[Any] | None = None
    while True:
        outside = [g.get_state() for g in generators]
        try:
            for generator, state in zip(generators, inside, strict=True):
                generator.set_state(state)
            batches = read_by(loader) if batches is None else batches
            raw = next(batches)
            inside = [g.get_state() for g in generators]
        except StopIteration:
            return
        finally:
            for generator, state in zip(generators, outside, strict=True):
                generator.set_state(state)
        yield raw
