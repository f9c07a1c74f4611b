"""Raw data with random access: taken into memory where they fit, else read as they are needed."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from tightbound.core.domain import Domain
from tightbound.core.errors import InputError
from tightbound.data import encoding, files
from tightbound.data.encoding import Encoding
from tightbound.data.split import WORKERS, Indexed, MappedSplit

JUDGED = 64  # data by which those are judged that are too many to be looked at


@dataclass(frozen=True)
class Opened:
    """Data that stay where they are, but for their labels."""

    split: Indexed
    domain: Domain
    notes: tuple[str, ...]
    fingerprint: str
    y: np.ndarray | None = None  # labels, where they are known of all data
    train: int | None = None  # the first so many are the training data, as given; None: to be split
    header: tuple[str, ...] = ()


class Rows(ABC):
    """Raw data with random access."""

    title: str  # in messages
    domain: Domain | None = None  # that of the values, where it is known
    together = False  # whether threads may read

    @abstractmethod
    def __len__(self) -> int:
        """N."""

    @abstractmethod
    def read(self, indices: np.ndarray) -> tuple[np.ndarray, Tensor | None]:
        """Raw x (B, ...) and, where they are not known otherwise, labels (B, ...)."""


def spread(size: int) -> np.ndarray:
    """Positions of a few data, from the first to the last."""
    return np.unique(np.linspace(0, size - 1, min(JUDGED, size)).astype(np.int64))


def gathered(rows: Rows) -> tuple[np.ndarray, Tensor | None]:
    """All of the data."""
    size = len(rows)
    if not rows.together:
        return rows.read(np.arange(size))
    first, _ = rows.read(np.zeros(1, np.int64))
    x = np.empty((size, *first.shape[1:]), first.dtype)

    def fill(part: np.ndarray) -> None:
        x[part] = rows.read(part)[0]

    with ThreadPoolExecutor(WORKERS) as pool:
        for _ in pool.map(fill, np.array_split(np.arange(size), -(-size // JUDGED))):
            pass
    return x, None


def fits(rows: Rows) -> bool:
    """Whether all of the data may be held in memory."""
    return rows.read(np.zeros(1, np.int64))[0].nbytes * len(rows) <= files.MEMORY_LIMIT


class _Reader:
    """Positions (B,) -> x (B, *shape) as stored and labels, for worker processes."""

    def __init__(self, rows: Rows, code: Encoding, shape: tuple[int, ...]) -> None:
        self._rows, self._code, self._shape = rows, code, shape

    def __call__(self, indices: np.ndarray) -> tuple[np.ndarray, Tensor | None]:
        if len(indices) == 0:
            return np.empty((0, *self._shape), self._code.dtype), None
        x, y = self._rows.read(indices)
        return as_stored(x, self._code, self._shape, self._rows.title), y


def as_stored(x: np.ndarray, code: Encoding, shape: tuple[int, ...], title: str) -> np.ndarray:
    """Raw x (B, ...) as stored (B, *shape)."""
    x, _ = encoding.channels_first(x, title)
    if x.shape[1:] != shape:
        raise InputError(f"{title}: data differ in shape: the first are {shape}, others {x.shape[1:]}; make them equal")
    return np.require(code(x, title), requirements=("C", "W"))  # Arrow gives arrays that cannot be written


def sampled(x: np.ndarray, told: Domain | None, title: str) -> tuple[Encoding, str, tuple[int, ...]]:
    """How data are stored, judged by some of them; a note; and their shape."""
    x, _ = encoding.channels_first(x, title)
    code, values = encoding.infer(x, told, title)
    return code, f"{values}; judged by {len(x)} data", x.shape[1:]


def mapped(
    rows: Rows, told: Domain | None, names: Sequence[str] | None = None, some: np.ndarray | None = None
) -> tuple[Indexed, Encoding, tuple[str, ...]]:
    """Data that worker processes read as they are needed; judged by `some` of them, else by the first."""
    size = len(rows)
    sample, _ = rows.read(np.arange(min(JUDGED, size)) if some is None else some)
    code, values, shape = sampled(sample, told or rows.domain, rows.title)
    notes = (
        f"{size:,} data of {shape}, read as they are needed by {WORKERS} processes: too large for memory",
        values,
    )
    fetch: Callable[[np.ndarray], tuple[np.ndarray, Tensor | None]] = _Reader(rows, code, shape)
    return MappedSplit(fetch, size, shape, names=names, workers=WORKERS), code, notes
