"""Streams: examples that come one after another, without random access and without a known length."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch

from tightbound.core.errors import InputError
from tightbound.core.noise import Key, key_seed
from tightbound.core.terms import Batch
from tightbound.data.options import Limits
from tightbound.data.splits.base import Split, share
from tightbound.data.splits.groups import ahead
from tightbound.data.splits.indexed import ArraySplit


class Part(NamedTuple):
    """Consecutive examples of a stream."""

    x: np.ndarray  # (B, *shape), as stored
    label: np.ndarray | None  # (B,)

    def __getitem__(self, rows: slice | np.ndarray) -> Part:  # pyright: ignore[reportIncompatibleMethodOverride]
        return Part(self.x[rows], None if self.label is None else self.label[rows])


@dataclass(frozen=True)
class Stream:
    """A source that can be read again and again, from its beginning.

    `parts(seed, skip)` yields the examples after the first `skip`; a seed puts shards in an order that depends on it.
    """

    parts: Callable[[int | None, int], Iterator[Part]]
    title: str  # name of the stream in messages

    def first(self, count: int, skip: int = 0) -> ArraySplit:
        """Return the first examples after `skip`, in memory; raise InputError if there are none."""
        parts: list[Part] = []
        for part in self.parts(None, skip):
            parts.append(part[: count - _size(parts)])
            if _size(parts) >= count:
                break
        if not parts:
            raise InputError(f"{self.title} gave no examples; is it empty?")
        whole = _joined(parts)
        label = None if whole.label is None else torch.from_numpy(whole.label)
        return ArraySplit(whole.x, label, origin=torch.arange(skip, skip + len(whole.x)))


class StreamSplit(Split):
    """A stream in batches, without its first `skip` examples.

    Examples are shuffled within a buffer. `index` counts up in the order of reading. Batches of an epoch before `start`
    are read and dropped, and each process reads all of the stream.
    """

    def __init__(self, stream: Stream, shape: tuple[int, ...], skip: int = 0, limits: Limits | None = None) -> None:
        self._stream, self.shape, self._skip, self._limits = stream, shape, skip, limits or Limits()

    def __len__(self) -> int:
        raise TypeError(f"the length of {self._stream.title}, a stream, is not known")

    def held_out(self, validation: int, seed: int, *, keep_labeled: bool = False) -> tuple[Split, Split]:
        """See `Split.held_out`: the first examples of the stream, held in memory."""
        aside = self._stream.first(validation, self._skip)
        if len(aside) < validation:
            raise InputError(
                f"{validation} validation examples were asked for, but the stream gave {len(aside)} for training; use "
                "fewer"
            )
        return StreamSplit(self._stream, self.shape, self._skip + validation, self._limits), aside

    def picked(self, max_examples: int, seed: int) -> Iterator[Batch]:
        """See `Split.picked` and `leading`."""
        return leading(self, max_examples, self._limits)

    def _epoch(
        self, batch_size: int, key: tuple[Key, ...] | None, start: int, rank: int, world: int
    ) -> Iterator[Batch]:
        return ahead(self._read(batch_size, None if key is None else key_seed(*key), start, rank, world))

    def _read(self, batch_size: int, seed: int | None, start: int, rank: int, world: int) -> Iterator[Batch]:
        parts = self._stream.parts(seed, self._skip)
        if seed is not None:
            parts = _shuffled(parts, np.random.default_rng(seed), self._limits)
        done = 0
        for number, part in enumerate(_batched(parts, batch_size)):
            mine = share(len(part.x), rank, world)
            if number >= start:
                label = None if part.label is None else torch.from_numpy(part.label[mine])
                x = torch.from_numpy(np.ascontiguousarray(part.x[mine]))
                index = torch.arange(done, done + len(part.x))[mine]
                yield Batch(x, label=label, index=index, origin=index + self._skip if seed is None else None)
            done += len(part.x)


def _size(parts: list[Part]) -> int:
    return sum(len(part.x) for part in parts)


def _joined(parts: list[Part]) -> Part:
    labels = [part.label for part in parts if part.label is not None]
    x = np.concatenate([part.x for part in parts])
    return Part(x, np.concatenate(labels) if len(labels) == len(parts) else None)


def _batched(parts: Iterator[Part], size: int) -> Iterator[Part]:
    """Yield the same examples in parts of one size; the last may be smaller."""
    waiting: list[Part] = []
    for part in parts:
        waiting.append(part)
        if _size(waiting) >= size:
            whole = _joined(waiting)
            full = len(whole.x) // size * size
            for at in range(0, full, size):
                yield whole[at : at + size]
            waiting = [whole[full:]] if full < len(whole.x) else []
    if waiting:
        yield _joined(waiting)


def _shuffled(parts: Iterator[Part], random: np.random.Generator, limits: Limits) -> Iterator[Part]:
    """Yield random examples of a full buffer, and fill their places with the next examples."""
    waiting: list[Part] = []
    buffer: Part | None = None
    for part in parts:
        if buffer is None:
            waiting.append(part)
            if _size(waiting) >= buffered(part.x, limits):
                buffer = _joined(waiting)
            continue
        for at in range(0, len(part.x), len(buffer.x)):
            new = part[at : at + len(buffer.x)]
            places = random.choice(len(buffer.x), len(new.x), replace=False)
            out = buffer[places]
            buffer.x[places] = new.x
            if buffer.label is not None and new.label is not None:
                buffer.label[places] = new.label
            yield out
    if buffer is None and waiting:
        buffer = _joined(waiting)
    if buffer is not None:
        yield buffer[random.permutation(len(buffer.x))]


def buffered(x: np.ndarray, limits: Limits) -> int:
    """Return how many examples like these a buffer holds."""
    return max(1, min(limits.buffer, limits.buffer_bytes // max(1, x[:1].nbytes)))


def leading(split: Split, max_examples: int, limits: Limits | None = None) -> Iterator[Batch]:
    """Yield the first examples of a split, as many as a buffer holds, and at least `max_examples`."""
    found = 0
    for batch in split.epoch(500):
        yield batch
        found += len(batch)
        if found >= max(max_examples, buffered(batch.x.numpy(), limits or Limits())):
            return
