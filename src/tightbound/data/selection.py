"""Which columns of a table hold the examples, the labels and the names of the examples."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass

from tightbound.core.errors import InputError, suggestion
from tightbound.core.schema import listed
from tightbound.data import covariates
from tightbound.data.options import Options


@dataclass(frozen=True)
class Selection:
    """The columns of a table, by what they hold."""

    columns: tuple[str, ...]  # of x, in order
    label: str | None = None
    id: str | None = None  # names the examples
    covariates: tuple[str, ...] = ()
    absent: tuple[str, ...] = ()  # columns of x that the table lacks: all their entries are missing
    notes: tuple[str, ...] = ()


def select(names: Sequence[str], options: Options, title: str, *, titled: bool = True) -> Selection:
    """Return which columns of a table are what.

    Columns of a table with a header are taken by the names that the model knows, if it knows any, in its order.

    Args:
        names: Names of the columns.
        options: Options of the data: labels, id, ignore, and the names that a model knows.
        title: Name of the table, in messages.
        titled: Whether the names were given.

    Raises:
        InputError: If a column does not exist, or columns are missing from a table for a model that needs all.
    """
    known, label, own = options.schema, options.label_column, options.id
    present, expected = {*names}, {*known.columns}
    for name, column in (("labels", label), ("id", own), *(("ignore", column) for column in options.ignore)):
        if column is not None and column not in present:
            raise InputError(f"{name}={column!r}: {title} has no column {column!r}; {suggestion(column, names)}")
    if label is None and known.label in names:
        label = known.label
    if own is None and known.id in names:
        own = known.id
    beside = covariates.chosen(names, options, title)
    aside = {label, own, *beside, *options.ignore, *known.ignored}
    rest = tuple(name for name in names if name not in aside)
    if not titled or not known.columns:
        return Selection(rest, label, own, beside)
    absent = tuple(name for name in known.columns if name not in present)
    extra, notes = [name for name in rest if name not in expected], ()
    if absent and (extra or options.kinds is None or len(absent) == len(known.columns)):
        lacks = f"{title} lacks {_columns(absent)}, which the model was trained on"
        more = f", and has {_columns(extra)}, which it does not know" if extra else ""
        cells = "" if options.kinds is None else ", with empty cells for missing entries"
        raise InputError(f"{lacks}{more}; rename or add columns{cells}")
    if extra:
        verb = "are" if len(extra) > 1 else "is"
        notes += (f"{title}: {_columns(extra)} {verb} ignored: the model was trained without",)
    return Selection(known.columns, label, own, beside, absent, notes)


def tell(options: Options, notes: Sequence[str]) -> None:
    """Warn about data that a model cannot take as they are; data that are only opened have notes."""
    for note in notes if options.like else ():
        warnings.warn(note, stacklevel=2)


def _columns(names: Sequence[str]) -> str:
    return f"the column{'s' * (len(names) > 1)} {listed(names)}"
