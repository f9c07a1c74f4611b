"""A torch DataLoader as a split, and what it gives as arrays."""

from __future__ import annotations

from collections.abc import Iterator, Sized
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Subset

from tightbound.core.errors import InputError
from tightbound.core.noise import Key, key_seed
from tightbound.core.terms import Batch
from tightbound.data.split import Cast, Split, check_epoch, chosen, share
from tightbound.data.stream import leading


class LoaderSplit(Split):
    """A torch DataLoader, in its own order and its own batch size.

    Batches are x, (x, y), or mappings with a key x, image or input, and perhaps y, label or target.
    `index` counts up in the order of reading.
    """

    def __init__(self, loader: DataLoader[Any], shape: tuple[int, ...], cast: Cast) -> None:
        """A split of any DataLoader; `shape` is of one example as stored, `cast` makes raw x (B, ...) so."""
        self._loader, self.shape, self._cast = loader, shape, cast

    def __len__(self) -> int:
        """N."""
        loader, dataset = self._loader, self._loader.dataset
        if not isinstance(dataset, Sized):
            raise TypeError(f"the length of {type(dataset).__name__}, a stream, is not known")
        if loader.drop_last and loader.batch_size:
            return len(loader) * loader.batch_size
        return len(dataset)

    def steps(self, batch_size: int) -> int:
        """Batches of the loader's own size."""
        return len(self._loader)

    def epoch(
        self,
        batch_size: int,
        *,
        key: tuple[Key, ...] | None = None,
        start: int = 0,
        rank: int = 0,
        world: int = 1,
    ) -> Iterator[Batch]:
        """See `Split.epoch`. The size of a batch is the loader's; `start` batches are read and dropped.

        With a key the order is the loader's own, and the key seeds what it draws from (torch's default generator,
        or its own), so that the order of a shuffling loader repeats; both are given back as they were. Without
        a key the data set is read in its natural order where it has one.
        """
        check_epoch(batch_size, start, rank, world)
        return self._epoch(key, start, rank, world)

    def picked(self, most: int, seed: int) -> Iterator[Batch]:
        """See `Split.picked`; where the data set has no order, see `leading`."""
        if not self._ordered:
            yield from leading(self, most)
            return
        rows, done = chosen(len(self), most, seed), 0
        for raw in seeded(self._natural(Subset(self._loader.dataset, rows.tolist())), key_seed("natural")):
            x, label = unpack(raw)
            yield Batch(torch.from_numpy(self._cast(x)), label=label, index=rows[done : done + len(x)])
            done += len(x)

    @property
    def _ordered(self) -> bool:
        """Whether the data set has a natural order, which the loader can read."""
        return isinstance(self._loader.dataset, Sized) and self._loader.batch_size is not None

    def _natural(self, dataset: Dataset[Any]) -> DataLoader[Any]:
        """These data in their order, as the loader would read them."""
        loader = self._loader
        return DataLoader(
            dataset,
            loader.batch_size,
            num_workers=loader.num_workers,
            collate_fn=loader.collate_fn,
            drop_last=loader.drop_last and dataset is loader.dataset,
        )

    def _epoch(self, key: tuple[Key, ...] | None, start: int, rank: int, world: int) -> Iterator[Batch]:
        done = 0
        loader = self._loader
        if key is None and self._ordered:
            loader = self._natural(loader.dataset)
        batches = seeded(loader, key_seed(*(key or ("natural",))))
        for step, raw in enumerate(batches):
            x, label = unpack(raw)
            part = share(len(x), rank, world)
            index = torch.arange(done, done + len(x))[part]
            done += len(x)
            if step >= start:
                x = torch.from_numpy(np.ascontiguousarray(self._cast(x)[part]))
                yield Batch(x, label=None if label is None else label[part], index=index)


def unpack(raw: Any) -> tuple[np.ndarray, Tensor | None]:
    """x and label of what a DataLoader or a data set gives: x, (x, y), or a mapping.

    Raises:
        InputError: for a mapping without x, or an x that is no array.
    """
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
    x = raw.detach().cpu().numpy() if isinstance(raw, Tensor) else np.asarray(raw)
    if x.dtype.kind not in "biuf":
        raise InputError(f"a batch holds {type(raw).__name__} ({x.dtype}); give tensors or arrays of numbers")
    if label is None:
        return x, None
    y = label.detach().cpu().numpy() if isinstance(label, Tensor) else np.asarray(label)
    if y.dtype.kind not in "biuf":
        raise InputError(f"a batch holds labels of {type(label).__name__} ({y.dtype}); give numbers, or none")
    return x, torch.from_numpy(np.asarray(y))


def seeded(loader: DataLoader[Any], seed: int) -> Iterator[Any]:
    """Iterates a loader with its generators seeded while it works, and as they were while it waits."""
    own = loader.generator, getattr(loader.sampler, "generator", None)
    generators = list(dict.fromkeys([torch.default_generator, *(g for g in own if g is not None)]))
    inside = [torch.Generator().manual_seed(seed).get_state() for _ in generators]
    batches: Iterator[Any] | None = None
    while True:
        outside = [g.get_state() for g in generators]
        try:
            for generator, state in zip(generators, inside, strict=True):
                generator.set_state(state)
            batches = iter(loader) if batches is None else batches
            raw = next(batches)
            inside = [g.get_state() for g in generators]
        except StopIteration:
            return
        finally:
            for generator, state in zip(generators, outside, strict=True):
                generator.set_state(state)
        yield raw
