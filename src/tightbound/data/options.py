"""Options of `open`, checked."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, TypedDict

from tightbound.core.domain import Domain
from tightbound.core.errors import InputError
from tightbound.data.columns import Kinds


@dataclass(frozen=True)
class Limits:
    """How much of the data is held in memory.

    Args:
        memory: Bytes of examples that are held in memory; larger data are read as they are needed.
        window: Bytes of Parquet row groups that are held together to shuffle their rows.
        buffer: Examples of a stream that are held to be shuffled,
        buffer_bytes: in at most so many bytes.
        set_aside: Examples at the beginning of a stream that are set aside for testing.
    """

    memory: int = 1 << 30
    window: int = 1 << 28
    buffer: int = 10_000
    buffer_bytes: int = 1 << 28
    set_aside: int = 1_000


class ReadOptions(TypedDict, total=False):
    """The options of `open` that say how data are read, as keyword arguments (PEP 692)."""

    levels: int | None
    domain: Literal["binary", "counts", "unit", "real"] | None
    kinds: Kinds | None
    resize: tuple[int, int] | None
    gray: bool
    labels: Any
    limits: Limits | None


@dataclass(frozen=True)
class Options:
    """Options that a user gives beside the source; not every option applies to every source."""

    declared: Domain | None = None  # domain of the values
    kinds: Kinds | None = None
    resize: tuple[int, int] | None = None  # height and width of encoded images
    gray: bool = False  # read encoded images as gray
    test: float | None = None  # None: nothing is set aside for testing
    labels: Any = None
    limits: Limits = Limits()
    columns: tuple[str, ...] = ()  # the columns of a table to take, in this order; (): all

    @property
    def for_images(self) -> bool:
        """Whether there are options for encoded images."""
        return self.resize is not None or self.gray

    @property
    def label_column(self) -> str | None:
        """Name of the column that holds the labels."""
        return self.labels if isinstance(self.labels, str) else None

    def refuse(
        self, title: str, *, images: bool = False, kinds: bool = False, column: bool = False, labels: str | None = None
    ) -> Options:
        """Raise InputError for options that do not apply to a source.

        Args:
            title: Name of the source, in the message.
            images: Refuse options for encoded images.
            kinds: Refuse kinds of columns.
            column: Refuse the name of a column of labels.
            labels: Refuse labels; this completes "labels were given for ...".
        """
        if images and self.for_images:
            raise InputError(
                "resize and gray apply to folders of images and other encoded images; change arrays before opening them"
            )
        if kinds and self.kinds is not None:
            raise InputError(f"kinds are for the columns of a table, and {title} is not a table; leave them out")
        if column and self.label_column is not None:
            raise InputError(
                f"labels={self.labels!r} names a column, but {title} has none; give an array, or labels beside the data"
            )
        if labels and self.labels is not None:
            raise InputError(f"labels were given for {labels}")
        return self
