"""True streams: data that come one after another, with no random access and no known length."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch

from tightbound.core.domain import Domain
from tightbound.core.errors import InputError
from tightbound.core.noise import Key, key_seed
from tightbound.core.terms import Batch
from tightbound.data.groups import ahead
from tightbound.data.split import ArraySplit, Split, check_epoch, share

ASIDE = 1_000  # data for testing, the first of a stream
BUFFER = 10_000  # data that are held to be shuffled,
BUFFER_BYTES = 1 << 28  # within so many bytes


class Part(NamedTuple):
    """Data that follow each other."""

    x: np.ndarray  # (B, *shape) as stored
    label: np.ndarray | None  # (B,)

    def __getitem__(self, rows: slice | np.ndarray) -> Part:  # pyright: ignore[reportIncompatibleMethodOverride]
        return Part(self.x[rows], None if self.label is None else self.label[rows])


class Stream(ABC):
    """What can be read again and again, from its beginning."""

    title: str  # in messages
    order = "in the stream's own order"  # of the shards, in a note

    @abstractmethod
    def parts(self, seed: int | None, skip: int) -> Iterator[Part]:
        """The data without the first `skip`; with a seed, shards are in an order that depends on it alone."""


class StreamSplit(Split):
    """A stream in batches. What it gives is shuffled within a buffer of data; `index` counts up in the order of
    reading."""

    def __init__(self, stream: Stream, shape: tuple[int, ...], skip: int = 0) -> None:
        """A split of a stream without its first `skip` data."""
        self._stream, self.shape, self._skip = stream, shape, skip

    def __len__(self) -> int:
        """Not known."""
        raise TypeError(f"the length of {self._stream.title}, a stream, is not known")

    def held_out(self, validation: int, seed: int) -> tuple[Split, Split]:
        """See `Split.held_out`: the first of the stream, held in memory."""
        aside = first(self._stream, validation, self._skip)
        if len(aside) < validation:
            raise InputError(
                f"{validation} validation data were asked for, but the stream gave {len(aside)} for training; use fewer"
            )
        return StreamSplit(self._stream, self.shape, self._skip + validation), aside

    def picked(self, most: int, seed: int) -> Iterator[Batch]:
        """See `Split.picked`; see `leading`."""
        return leading(self, most)

    def epoch(
        self,
        batch_size: int,
        *,
        key: tuple[Key, ...] | None = None,
        start: int = 0,
        rank: int = 0,
        world: int = 1,
    ) -> Iterator[Batch]:
        """See `Split.epoch`; batches before `start` are read and dropped, and each process reads all of the stream."""
        check_epoch(batch_size, start, rank, world)
        seed = None if key is None else key_seed(*key)
        return ahead(self._epoch(batch_size, seed, start, rank, world))

    def _epoch(self, batch_size: int, seed: int | None, start: int, rank: int, world: int) -> Iterator[Batch]:
        parts = self._stream.parts(seed, self._skip)
        if seed is not None:
            parts = _shuffled(parts, np.random.default_rng(seed))
        done = 0
        for number, part in enumerate(_batched(parts, batch_size)):
            mine = share(len(part.x), rank, world)
            if number >= start:
                label = None if part.label is None else torch.from_numpy(part.label[mine])
                x = torch.from_numpy(np.ascontiguousarray(part.x[mine]))
                yield Batch(x, label=label, index=torch.arange(done, done + len(part.x))[mine])
            done += len(part.x)


def _joined(parts: list[Part]) -> Part:
    labels = [part.label for part in parts if part.label is not None]
    x = np.concatenate([part.x for part in parts])
    return Part(x, np.concatenate(labels) if len(labels) == len(parts) else None)


def _batched(parts: Iterator[Part], size: int) -> Iterator[Part]:
    waiting: list[Part] = []
    for part in parts:
        waiting.append(part)
        if sum(len(each.x) for each in waiting) >= size:
            whole = _joined(waiting)
            full = len(whole.x) // size * size
            for at in range(0, full, size):
                yield whole[at : at + size]
            waiting = [whole[full:]] if full < len(whole.x) else []
    if waiting:
        yield _joined(waiting)


def _shuffled(parts: Iterator[Part], random: np.random.Generator) -> Iterator[Part]:
    """Each part takes the place of as many data of a full buffer, picked at random, which are given."""
    waiting: list[Part] = []
    buffer: Part | None = None
    for part in parts:
        if buffer is None:
            waiting.append(part)
            if sum(len(each.x) for each in waiting) >= buffered(part.x):
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


def buffered(x: np.ndarray) -> int:
    """How many data such as these a buffer holds."""
    return max(1, min(BUFFER, BUFFER_BYTES // max(1, x[:1].nbytes)))


def leading(split: Split, most: int) -> Iterator[Batch]:
    """The first data of a split, as many as a buffer holds, and no fewer than `most`."""
    found = 0
    for batch in split.epoch(500):
        yield batch
        found += len(batch)
        if found >= max(most, buffered(batch.x.numpy())):
            return


def first(stream: Stream, most: int, skip: int = 0) -> ArraySplit:
    """The first data of a stream, in memory.

    Raises:
        InputError: where there are none.
    """
    parts: list[Part] = []
    for part in stream.parts(None, skip):
        parts.append(part[: most - sum(len(each.x) for each in parts)])
        if sum(len(each.x) for each in parts) >= most:
            break
    if not parts:
        raise InputError(f"{stream.title} gave no data; is it empty?")
    whole = _joined(parts)
    return ArraySplit(whole.x, None if whole.label is None else torch.from_numpy(whole.label))


@dataclass(frozen=True)
class Streamed:
    """Data of a stream."""

    train: Split
    test: Split
    whole: Split
    domain: Domain
    notes: tuple[str, ...]
    header: tuple[str, ...] = ()


def opened(
    stream: Stream,
    test: Stream | None,
    shape: tuple[int, ...],
    domain: Domain,
    notes: tuple[str, ...],
    header: tuple[str, ...] = (),
) -> Streamed:
    """Train and test data of a stream, whose test data are the first of `test`, or of itself."""
    aside = first(stream if test is None else test, ASIDE)
    size = len(aside)
    train = StreamSplit(stream, shape, size if test is None else 0)
    if test is None and next(stream.parts(None, size), None) is None:
        raise InputError(
            f"{stream.title} ended after {size} data; needed: more than {ASIDE}, of which the first are set aside "
            "for testing: hold them in an array or a map-style data set"
        )
    held = buffered(aside.batch(torch.arange(1)).x.numpy())
    source = "set aside from the stream" if test is None else "of the test stream"
    notes = (
        *notes,
        f"split: the first {size:,} data {source}, held in memory, are for testing; validation data are the next ones",
        f"a stream of unknown length: say how long to train with --steps; its order is {stream.order}, shuffled within "
        f"a buffer of {held:,} data",
    )
    return Streamed(train, aside, StreamSplit(stream, shape), domain, notes, header)
