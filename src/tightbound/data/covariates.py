"""Covariates: columns that describe the examples, such as batch and age, and that a model can be conditioned on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from tightbound.core.errors import InputError, suggestion
from tightbound.core.schema import Schema, listed
from tightbound.data.columns import MAX_CATEGORIES, MAX_VALUES, REPEATED
from tightbound.data.encoding import as_word
from tightbound.data.options import Options

KINDS = ("categories", "real")


class Covariates(NamedTuple):
    """Covariates of N examples.

    Attributes:
        values: Numbers and positions of words (N, C).
        columns: Name of each covariate, and its words in order; () for a number.
        notes: Messages on what was inferred.
    """

    values: Tensor | None = None
    columns: tuple[tuple[str, tuple[str, ...]], ...] = ()
    notes: tuple[str, ...] = ()


def coded(columns: Mapping[str, np.ndarray], options: Options, title: str) -> Covariates:
    """Convert covariates to numbers; words become positions in the model's list, or else in alphabetical order.

    A column holds categories if it holds words, or at most `MAX_VALUES` whole numbers that repeat `REPEATED` times on
    average; otherwise numbers.

    Args:
        columns: For each covariate, words or numbers (N,); None, NaN and empty words are missing.
        options: Options of the data, with declared kinds and the covariates that a model knows.
        title: Name of the data in messages.

    Raises:
        InputError: If entries are missing, or the model does not know a word.
    """
    if not columns:
        return Covariates()
    known, values, named, told = dict(options.schema.covariates), [], [], []
    for name, column in columns.items():
        lacking = np.array([value is None or value != value or value == "" for value in column.tolist()])
        if lacking.any():
            lack = f"{int(lacking.sum()):,} examples lack the covariate {name!r}"
            raise InputError(f"{title}: {lack}, the first in example {int(lacking.argmax()) + 1}; fill it in")
        words = known[name] if name in known else _words(column, options.covariate_kinds.get(name), name, title)
        values.append(_codes(column, words, name, title))
        named.append((name, words))
        told.append(f"{name}: {len(words)} categories ({listed(words, 4)})" if words else f"{name}: a number")
    return Covariates(torch.stack(values, 1), tuple(named), (f"covariates: {'; '.join(told)}",))


def _words(column: np.ndarray, kind: str | None, name: str, title: str) -> tuple[str, ...]:
    """Return the words of a column, in order; (): it holds numbers."""
    if kind not in (None, *KINDS):
        raise InputError(f"kinds={{{name!r}: {kind!r}}}: the kind of a covariate must be one of {', '.join(KINDS)}")
    numeric = column.dtype.kind in "biuf"
    distinct = np.unique(column if numeric else column.astype(str))
    if len(distinct) < 2:
        raise InputError(f"{title}: the covariate {name!r} is the same in all examples; leave it out")
    if not numeric and kind == "real":
        raise InputError(f"{title}: the covariate {name!r} holds words, such as {distinct[0]!r}; leave out its kind")
    few = len(distinct) <= MAX_VALUES and len(column) >= REPEATED * len(distinct)
    if numeric and (kind == "real" or (kind is None and not (few and (distinct == np.rint(distinct)).all()))):
        return ()
    if len(distinct) > MAX_CATEGORIES:
        raise InputError(
            f"{title}: the covariate {name!r} has {len(distinct):,} categories; needed: at most {MAX_CATEGORIES}"
        )
    return tuple(map(as_word, distinct.tolist())) if numeric else tuple(distinct.tolist())


def _codes(column: np.ndarray, words: Sequence[str], name: str, title: str) -> Tensor:
    """Return a column as numbers, or as positions of its words."""
    numeric = column.dtype.kind in "biuf"
    if not words:
        if not numeric:
            raise InputError(f"{title}: the covariate {name!r} holds {column[0]!r}, and the model needs a number")
        return torch.from_numpy(column.astype(np.float32))
    distinct, places = np.unique(column if numeric else column.astype(str), return_inverse=True)
    found = [as_word(value) if numeric else str(value) for value in distinct.tolist()]
    unknown = [word for word in found if word not in words]
    if unknown:
        raise InputError(
            f"{title}: the covariate {name!r} holds {unknown[0]!r}, which the model was not trained on; "
            f"known: {listed(words, 20)}"
        )
    return torch.tensor([float(words.index(word)) for word in found])[torch.from_numpy(places)]


def chosen(names: Sequence[str], options: Options, title: str, where: str = "") -> tuple[str, ...]:
    """Return the names of covariate columns: the requested ones, or those that a model knows if any of them exists.

    Args:
        names: Names of the columns.
        options: Options of the data.
        title: Name of the data in messages.
        where: Part of the data that has these columns, such as " in obs", in messages.

    Raises:
        InputError: If a column does not exist.
    """
    present = {*names}
    for name in options.covariates:
        if name not in present:
            raise InputError(
                f"covariates={name!r}: {title} has no column {name!r}{where}; {suggestion(name, map(str, names))}"
            )
    expected = tuple(name for name, _ in options.schema.covariates)
    lacking = [name for name in expected if name not in present]
    if options.covariates or len(lacking) == len(expected):
        return tuple(options.covariates)
    if lacking:
        raise InputError(f"{title} lacks the covariate {listed(lacking)}, which the model was trained with; add it")
    return expected


def renumbered(values: Tensor, own: Schema, known: Schema, title: str) -> Tensor:
    """Return covariates (N, C) of opened data in the model's order, with the model's positions of words."""
    have = {name: (i, words) for i, (name, words) in enumerate(own.covariates)}
    columns = []
    for name, words in known.covariates:
        if name not in have or bool(have[name][1]) != bool(words):
            raise InputError(
                f"{title} lacks the covariate {name!r} of the model; pass the source that the data were opened from"
            )
        place, mine = have[name]
        column = values[:, place]
        unknown = [word for word in mine if word not in words]
        if unknown and words:
            raise InputError(f"{title}: the covariate {name!r} holds {unknown[0]!r}, unknown to the model")
        table = torch.tensor([float(words.index(word)) for word in mine])
        columns.append(table[column.long()] if words else column)
    return torch.stack(columns, 1)
