"""Options of `open`, checked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypedDict

from tightbound.core.domain import Domain
from tightbound.core.errors import InputError
from tightbound.core.schema import UNNAMED, Schema, listed
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
    background: str | None
    labels: Any
    delimiter: str | None
    decimal: str | None
    header: bool | None
    index: bool | None
    encoding: str | None
    ignore: Sequence[str]
    id: str | None
    layer: str | None
    covariates: Sequence[str]
    limits: Limits | None


TEXT_OPTIONS = ("delimiter", "header", "index", "encoding")
IMAGE_OPTIONS = ("resize", "gray", "background")


@dataclass(frozen=True)
class Options:
    """Options that a user gives beside the source; not every option applies to every source."""

    declared: Domain | None = None  # domain of the values
    kinds: Kinds | None = None
    resize: tuple[int, int] | None = None  # height and width of encoded images
    gray: bool = False  # read encoded images as gray
    background: str | None = None  # color behind transparent pixels; None: white
    test: float | None = None  # None: nothing is set aside for testing
    labels: Any = None
    limits: Limits = Limits()
    delimiter: str | None = None  # between the cells of a table as text; None: found, as are the next
    decimal: str | None = None  # decimal mark
    header: bool | None = None  # whether the first row holds the names of the columns
    index: bool | None = None  # whether the first column names the rows
    encoding: str | None = None  # of text
    ignore: Sequence[str] = ()  # columns of a table to leave out
    id: str | None = None  # column of a table that names the examples
    layer: str | None = None  # layer of AnnData; None: X
    covariates: Sequence[str] = ()  # columns that a model can be conditioned on
    covariate_kinds: Mapping[str, str] = field(default_factory=dict)  # declared kinds
    schema: Schema = UNNAMED  # the names that a model knows, by which columns and labels are recognized
    like: bool = False  # read like the data of a model: what it does not know is missing or ignored, with a warning
    closed: bool = False  # whether the model is conditional on the class, so that it needs to know each
    partial: bool = False  # whether the model infers missing labels, which become -1

    @property
    def for_images(self) -> bool:
        """Whether there are options for encoded images."""
        return self.resize is not None or self.gray or self.background is not None

    @property
    def for_text(self) -> tuple[str, ...]:
        """The options for tables as text that were given."""
        return tuple(name for name in TEXT_OPTIONS if getattr(self, name) is not None)

    @property
    def label_column(self) -> str | None:
        """Name of the column that holds the labels."""
        return self.labels if isinstance(self.labels, str) else None

    def share(self, size: int) -> float | None:
        """Return the share of so many examples to set aside for testing; a single one for a model is not divided."""
        return None if self.like and size < 2 else self.test

    def no_table(self, found: str) -> InputError:
        """Return the error for data that are no table, though columns have kinds: as declared, or those of a model."""
        if not self.like:
            return InputError(f"kinds are for the columns of a table, and {found}; leave them out")
        named = f" with the columns {listed(self.schema.columns)}" if self.schema.columns else ""
        return InputError(f"{found}, and the model was trained on a table{named}; give one of the same columns")

    def refuse(
        self,
        title: str,
        *,
        images: bool = False,
        kinds: bool = False,
        column: bool = False,
        text: bool = False,
        layer: bool = False,
        labels: str | None = None,
    ) -> Options:
        """Raise InputError for options that do not apply to a source.

        Args:
            title: Name of the source, in the message.
            images: Refuse options for encoded images.
            kinds: Refuse kinds of columns.
            column: Refuse names of columns.
            text: Refuse options for tables as text.
            layer: Whether to refuse a layer.
            labels: Refuse labels; this completes "labels were given for ...".
        """
        if images and self.for_images:
            given = next(name for name in IMAGE_OPTIONS if getattr(self, name))
            raise InputError(
                f"{given}= applies to encoded images, such as a folder of PNG files, and {title} holds none; "
                "leave it out"
            )
        if text and self.for_text:
            raise InputError(f"{self.for_text[0]}= applies to tables as text, and {title} is none; leave it out")
        if layer and self.layer is not None:
            raise InputError(f"layer= names a layer of AnnData, and {title} is not AnnData; leave it out")
        if kinds and self.kinds is not None:
            raise self.no_table(f"{title} is not a table")
        if column and self.label_column is not None:
            raise InputError(
                f"labels={self.labels!r} names a column, but {title} has none; give an array, or labels beside the data"
            )
        if column and self.decimal is not None:
            raise InputError(f"decimal= says how words in a table are read, and {title} has none; leave it out")
        if column and (self.id is not None or self.ignore or self.covariates):
            raise InputError(
                f"id=, ignore= and covariates= name columns of a table, and {title} has none; leave them out"
            )
        if labels and self.labels is not None:
            raise InputError(f"labels were given for {labels}")
        return self
