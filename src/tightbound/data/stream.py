"""Streams: examples that come one after another, without random access and without a known length."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch

from tightbound.core.domain import Domain
from tightbound.core.errors import InputError
from tightbound.core.noise import Key, key_seed
from tightbound.core.terms import Batch
from tightbound.data.dataset import Data
from tightbound.data.groups import ahead
from tightbound.data.options import Limits, Options
from tightbound.data.split import ArraySplit, Split, check_epoch, share


class Part(NamedTuple):
    """Consecutive examples of a stream."""

    x: np.ndarray  # (B, *shape) as stored
    label: np.ndarray | None  # (B,)

    def __getitem__(self, rows: slice | np.ndarray) -> Part:  # pyright: ignore[reportIncompatibleMethodOverride]
        return Part(self.x[rows], None if self.label is None else self.label[rows])


class Stream(ABC):
    """A source that can be read again and again, from its beginning."""

    title: str  # in messages
    order = "the stream's own order"  # of an epoch, in a note

    @abstractmethod
    def parts(self, seed: int | None, skip: int) -> Iterator[Part]:
        """Yield the examples after the first `skip`; with a seed, shards are in an order that depends on it alone."""


class StreamSplit(Split):
    """A stream in batches.

    Examples are shuffled within a buffer. `index` counts up in the order of reading.
    """

    def __init__(self, stream: Stream, shape: tuple[int, ...], skip: int = 0, limits: Limits | None = None) -> None:
        """A split of a stream without its first `skip` examples."""
        self._stream, self.shape, self._skip, self._limits = stream, shape, skip, limits or Limits()

    def __len__(self) -> int:
        """Raise TypeError: the length is not known."""
        raise TypeError(f"the length of {self._stream.title}, a stream, is not known")

    def held_out(self, validation: int, seed: int) -> tuple[Split, Split]:
        """See `Split.held_out`: the first examples of the stream, held in memory."""
        aside = first(self._stream, validation, self._skip)
        if len(aside) < validation:
            raise InputError(
                f"{validation} validation examples were asked for, but the stream gave {len(aside)} for training; use "
                "fewer"
            )
        return StreamSplit(self._stream, self.shape, self._skip + validation, self._limits), aside

    def picked(self, max_examples: int, seed: int) -> Iterator[Batch]:
        """See `Split.picked` and `leading`."""
        return leading(self, max_examples, self._limits)

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
        return ahead(self._epoch(batch_size, None if key is None else key_seed(*key), start, rank, world))

    def _epoch(self, batch_size: int, seed: int | None, start: int, rank: int, world: int) -> Iterator[Batch]:
        parts = self._stream.parts(seed, self._skip)
        if seed is not None:
            parts = _shuffled(parts, np.random.default_rng(seed), self._limits)
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
    """Yield the same examples in parts of one size; the last may be smaller."""
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


def _shuffled(parts: Iterator[Part], random: np.random.Generator, limits: Limits) -> Iterator[Part]:
    """Yield random examples of a full buffer, whose places the next ones take."""
    waiting: list[Part] = []
    buffer: Part | None = None
    for part in parts:
        if buffer is None:
            waiting.append(part)
            if sum(len(each.x) for each in waiting) >= _buffered(part.x, limits):
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


def _buffered(x: np.ndarray, limits: Limits) -> int:
    """Return how many examples such as these a buffer holds."""
    return max(1, min(limits.buffer, limits.buffer_bytes // max(1, x[:1].nbytes)))


def leading(split: Split, max_examples: int, limits: Limits | None = None) -> Iterator[Batch]:
    """Yield the first examples of a split, as many as a buffer holds, and at least `max_examples`."""
    found = 0
    for batch in split.epoch(500):
        yield batch
        found += len(batch)
        if found >= max(max_examples, _buffered(batch.x.numpy(), limits or Limits())):
            return


def first(stream: Stream, count: int, skip: int = 0) -> ArraySplit:
    """Return the first examples of a stream, in memory.

    Raises:
        InputError: If there are none.
    """
    parts: list[Part] = []
    for part in stream.parts(None, skip):
        parts.append(part[: count - sum(len(each.x) for each in parts)])
        if sum(len(each.x) for each in parts) >= count:
            break
    if not parts:
        raise InputError(f"{stream.title} gave no examples; is it empty?")
    whole = _joined(parts)
    return ArraySplit(whole.x, None if whole.label is None else torch.from_numpy(whole.label))


def open_stream(
    stream: Stream,
    test: Stream | None,
    shape: tuple[int, ...],
    domain: Domain,
    name: str,
    notes: tuple[str, ...],
    options: Options,
    header: tuple[str, ...] = (),
) -> Data:
    """Open a stream as a data set; the first examples of `test`, or of the stream itself, are set aside for testing.

    If all data are for training (`options.test` is None) and there is no `test`, nothing is set aside.

    Raises:
        InputError: If the stream is empty, or too short to set examples aside.
    """
    limits = options.limits
    digest = "none: a stream may change what it gives"
    whole = StreamSplit(stream, shape, 0, limits)
    aside = first(stream if test is None else test, limits.set_aside)
    held = f"shuffled within a buffer of {_buffered(aside.x, limits):,} examples"
    length = f"a stream of unknown length: say how long to train with steps=; an epoch is in {stream.order}, {held}"
    if test is None and options.test is None:
        return Data(name, whole, None, domain, (*notes, length), digest, False, whole, header)
    size = len(aside)
    if test is None and next(stream.parts(None, size), None) is None:
        raise InputError(
            f"{stream.title} ended after {size} examples; needed: more than {limits.set_aside}, of which the first are "
            "set aside for testing: hold them in an array or a map-style data set"
        )
    source = "set aside from the stream" if test is None else "of the test stream"
    split = f"split: the first {size:,} examples {source}, in memory, are for testing; validation takes the next ones"
    train = StreamSplit(stream, shape, size if test is None else 0, limits)
    return Data(name, train, aside, domain, (*notes, split, length), digest, False, whole, header)
