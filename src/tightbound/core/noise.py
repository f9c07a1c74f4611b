"""Random numbers that depend on a key alone, so that resuming, sharding and re-batching do not change them."""

from __future__ import annotations

import copy
import hashlib
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import accumulate
from typing import Any, cast

import torch
from torch import Tensor
from torch.distributions import Bernoulli, Distribution, Independent, Normal

from tightbound.core.dispatch import Dispatched
from tightbound.core.errors import whole

Key = int | str


def key_seed(*key: Key) -> int:
    """Return a 63-bit seed that depends on every element of the key and on their order."""
    digest = hashlib.blake2b(repr(key).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 1


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Seed torch's default generators for code that takes no generator, and restore them afterwards.

    Raises:
        InputError: If the seed is no whole number of at least 0.
    """
    seed = whole("seed", seed, least=0, most=math.inf)
    seed = seed if seed < 2**63 else key_seed("large", seed)  # generators take 64 bits
    # torch.manual_seed would format and store a stack trace for each accelerator that is missing
    cuda = torch.cuda.default_generators if torch.cuda.is_initialized() else ()
    generators = [torch.default_generator, *cuda]
    states = [generator.get_state() for generator in generators]
    for generator in generators:
        generator.manual_seed(seed)
    try:
        yield
    finally:
        for generator, state in zip(generators, states, strict=True):
            generator.set_state(state)


class Noise:
    """Noise of one training step, drawn for the global batch and sliced by rank.

    Args:
        key: Key of the draws, such as (seed, stage, epoch, step); each draw appends its number.
        start: Index in the global batch of the first example that this process holds.
        total: Size of the global batch; None: this process holds the whole batch.
    """

    def __init__(self, *key: Key, start: int = 0, total: int | None = None) -> None:
        self._key, self._draws = key, 0
        self._start, self._total = start, total

    @property
    def whole(self) -> bool:
        """Whether this process holds all examples of the batch."""
        return self._total is None

    def normal(self, shape: Sequence[int], like: Tensor) -> Tensor:
        """Return standard normal draws of this shape (S, B, ...), with dtype and device of `like`."""
        return self._draw(Tensor.normal_, shape, like)

    def uniform(self, shape: Sequence[int], like: Tensor) -> Tensor:
        """Return uniform draws from [0, 1) of this shape (S, B, ...), with dtype and device of `like`."""
        return self._draw(Tensor.uniform_, shape, like)

    @contextmanager
    def default(self) -> Iterator[None]:
        """Seed torch's default generators for code that takes no generator, and restore them afterwards."""
        with seeded(self._seed()):
            yield

    def branch(self) -> Noise:
        """Return a separate stream for code that makes an unknown number of draws; it counts as one draw."""
        self._draws += 1
        branch = copy.copy(self)
        branch._key, branch._draws = (*self._key, self._draws), 0
        return branch

    def once(self, update: Callable[..., None], *values: Tensor) -> None:
        """Call `update(*values, noise)` once per step, with values (B, ...) of all examples that this process holds."""
        update(*values, self.branch())

    def divided(self, sizes: Sequence[int]) -> list[Noise]:
        """Return the noise of each part of the batch, of these sizes; each example keeps its draws."""
        if len(sizes) == 1:
            return [self]
        starts, waiting = [0, *accumulate(sizes)], dict[tuple[Key, ...], list[tuple[Tensor, ...]]]()
        return [PartNoise(self, start, starts[-1], len(sizes), waiting) for start in starts[:-1]]

    def _next(self) -> int:
        self._draws += 1
        return key_seed(*self._key, self._draws)

    def _seed(self) -> int:
        """Return a seed for code that draws for this process's examples only; each process gets a different one."""
        seed = self._next()
        return seed if self.whole else key_seed(seed, self._start)

    def _draw(self, fill: Callable[..., Any], shape: Sequence[int], like: Tensor) -> Tensor:
        whole = list(shape)
        if self._total is not None:
            whole[1] = self._total
        generator = torch.Generator(like.device).manual_seed(self._next())
        out = fill(like.new_empty(whole), generator=generator)
        return out if self._total is None else out[:, self._start : self._start + shape[1]]


class PartNoise(Noise):
    """Noise of one of the parts of a batch, which a process computes one after the other.

    Args:
        batch: Noise of the examples that the process holds.
        start: Index of the part's first example among them.
        size: Number of these examples.
        parts: Number of parts.
        waiting: Values given to `once` for the parts so far, by key; shared by the parts.
    """

    def __init__(
        self, batch: Noise, start: int, size: int, parts: int, waiting: dict[tuple[Key, ...], list[tuple[Tensor, ...]]]
    ) -> None:
        super().__init__(*batch._key, start=batch._start + start, total=batch._total or size)
        self._batch, self._parts, self._waiting = batch, parts, waiting

    def once(self, update: Callable[..., None], *values: Tensor) -> None:
        """Keep the values until those of all parts are there; see `Noise.once`."""
        key = self.branch()._key
        found = self._waiting.setdefault(key, [])
        found.append(values)
        if len(found) == self._parts:
            noise = Noise(*key, start=self._batch._start, total=self._batch._total)
            update(*map(torch.cat, zip(*self._waiting.pop(key), strict=True)), noise)


def unkeyed() -> Noise:
    """Return noise seeded by torch's default generator, for calls without a key."""
    return Noise("unkeyed", int(torch.randint(2**62, ())))


class ExampleNoise(Noise):
    """Noise of an evaluation: an example's draws depend only on the key and on the example's index.

    They do not depend on batch size or order. Only code that takes no generator does, since `default` seeds it by the
    whole batch.

    Args:
        key: Key of the draws, such as ("evaluate", seed, block).
        index: Index (B,) of each example in its split.
    """

    def __init__(self, *key: Key, index: Tensor) -> None:
        self._prefix, self._index = key, index.tolist()
        super().__init__(*key, *self._index)

    def branch(self) -> Noise:
        """Return a separate stream, in which each example's draws again depend on that example only."""
        branch = cast(ExampleNoise, super().branch())
        branch._prefix = (*self._prefix, self._draws)
        return branch

    def _draw(self, fill: Callable[..., Any], shape: Sequence[int], like: Tensor) -> Tensor:
        samples, batch, *event = shape
        if batch != len(self._index):
            raise ValueError(f"noise for {batch} examples was requested, but this noise has {len(self._index)} indices")
        self._draws += 1
        generator = torch.Generator(like.device)
        out = like.new_empty((batch, samples, *event))
        for row, example in zip(out, self._index, strict=True):
            fill(row, generator=generator.manual_seed(key_seed(*self._prefix, example, self._draws)))
        return out.transpose(0, 1)


class SharedNoise(Noise):
    """Noise that varies along the first axis only and is the same for all examples."""

    def _draw(self, fill: Callable[..., Any], shape: Sequence[int], like: Tensor) -> Tensor:
        return super()._draw(fill, (shape[0], *(1 for _ in shape[1:])), like).expand(*shape)


class FoldedNoise(Noise):
    """View of noise (S, B, ...) for code that folds samples and examples into one batch (1, S B, ...)."""

    def __init__(self, noise: Noise, samples: int) -> None:
        self._noise, self._samples = noise, samples

    def branch(self) -> FoldedNoise:
        """Return this view of a branch of the underlying noise."""
        return FoldedNoise(self._noise.branch(), self._samples)

    def once(self, update: Callable[..., None], *values: Tensor) -> None:
        """Call `update` with folded values (S B, ...); see `Noise.once`."""

        def folded(*given: Any) -> None:
            *found, noise = given
            update(*(v.transpose(0, 1).flatten(0, 1) for v in found), FoldedNoise(noise, self._samples))

        self._noise.once(folded, *(v.unflatten(0, (self._samples, -1)).transpose(0, 1) for v in values))

    @property
    def whole(self) -> bool:
        """Whether this process holds all examples of the batch."""
        return self._noise.whole

    def _seed(self) -> int:
        return self._noise._seed()

    def _draw(self, fill: Callable[..., Any], shape: Sequence[int], like: Tensor) -> Tensor:
        unfolded = (self._samples, shape[1] // self._samples, *shape[2:])
        return self._noise._draw(fill, unfolded, like).reshape(*shape)


class RecordedNoise(Noise):
    """Noise that records the draws it makes from another noise, so that they can be made in advance next time.

    Attributes:
        plan: For each draw, the function that fills it, its shape, and an empty tensor of its dtype and device.
        plain: Whether the plan is complete: no code asked for a branch or for the default generator.
    """

    def __init__(self, noise: Noise) -> None:
        self._noise = noise
        self.plan: list[tuple[Callable[..., Any], tuple[int, ...], Tensor]] = []
        self.plain = True

    def branch(self) -> Noise:
        """Return a branch of the underlying noise."""
        self.plain = False
        return self._noise.branch()

    def once(self, update: Callable[..., None], *values: Tensor) -> None:
        """Call `update` by the underlying noise."""
        self.plain = False
        self._noise.once(update, *values)

    @property
    def whole(self) -> bool:
        """Whether this process holds all examples of the batch."""
        return self._noise.whole

    def _seed(self) -> int:
        self.plain = False
        return self._noise._seed()

    def _draw(self, fill: Callable[..., Any], shape: Sequence[int], like: Tensor) -> Tensor:
        self.plan.append((fill, tuple(shape), like.new_empty(0)))
        return self._noise._draw(fill, shape, like)

    def repeat(self, noise: Noise) -> list[Tensor]:
        """Make the recorded draws from another noise."""
        return [noise._draw(fill, shape, like) for fill, shape, like in self.plan]


class DrawnNoise(Noise):
    """Noise that returns draws made in advance, in order."""

    def __init__(self, draws: Sequence[Tensor]) -> None:
        self._made, self._draws = draws, 0

    def _draw(self, fill: Callable[..., Any], shape: Sequence[int], like: Tensor) -> Tensor:
        self._draws += 1
        return self._made[self._draws - 1]


@Dispatched
def draw(distribution: Distribution, samples: Sequence[int], noise: Noise) -> Tensor:
    """Draw (*samples, *batch, *event) from a distribution, reparametrized if possible.

    Families with a method registered here take their random numbers from `noise`; others draw from torch's default
    generator, which `noise` seeds.
    """
    with noise.default():
        if distribution.has_rsample:
            return distribution.rsample(torch.Size(samples))
        return distribution.sample(torch.Size(samples))


@Dispatched
def draw_with_log_prob(
    distribution: Distribution, samples: Sequence[int], noise: Noise
) -> tuple[Tensor, Tensor | None]:
    """Draw, and also return the log-density (*samples, *batch) of the draws if drawing computes it, else None.

    Families with an expensive or unknown density (flows) register a method here.
    """
    return draw(distribution, samples, noise), None


@draw.register
def _(distribution: Normal, samples: Sequence[int], noise: Noise) -> Tensor:
    return distribution.loc + distribution.scale * noise.normal((*samples, *distribution.batch_shape), distribution.loc)


@draw.register
def _(distribution: Independent, samples: Sequence[int], noise: Noise) -> Tensor:
    return draw(distribution.base_dist, samples, noise)


@draw.register
def _(distribution: Bernoulli, samples: Sequence[int], noise: Noise) -> Tensor:
    probs = distribution.probs
    return (noise.uniform((*samples, *distribution.batch_shape), probs) < probs).to(probs.dtype)
