"""Columns of tables: declared kinds, and rows as they are stored, with words as categories."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tightbound.core.domain import Domain, as_domain
from tightbound.core.errors import InputError, suggestion
from tightbound.data import encoding
from tightbound.data.encoding import is_number, title

LEARNED = ("categories", "values", "semicontinuous")  # kinds whose words or numbers may be learned from the data
MAX_CATEGORIES = 256
MAX_VALUES = 32  # maximum number of distinct numbers in a "values" column
REPEATED = 20  # minimum number of rows per distinct number of a "values" column, on average
MAX_OWN = 50  # maximum number of columns with separate kinds; wider numeric tables hold spectra, pixels or genes

Kinds = Mapping[Any, Any] | Sequence[Any] | str
Words = Mapping[int, tuple[str, ...]]  # by column: the words that its numbers 0, 1, ... stand for


def by_column(kinds: Kinds | None, header: Sequence[str], width: int) -> dict[int, Any]:
    """Return declared kinds by number of the column, given one for all, one for each, or by name or number."""
    if kinds is None:
        return {}
    if isinstance(kinds, Mapping):
        return {_position(key, header, width): kind for key, kind in kinds.items()}
    if isinstance(kinds, str):
        return dict.fromkeys(range(width), kinds)
    if len(kinds) != width:
        raise InputError(
            f"kinds: {len(kinds)} kinds given for {width} columns; give one for each, one for all, such as "
            "kinds='categories', or {column: kind} for some of them"
        )
    return {i: kind for i, kind in enumerate(kinds) if kind is not None}


def _position(key: Any, header: Sequence[str], width: int) -> int:
    if key in header:
        return list(header).index(key)
    if isinstance(key, int) and not isinstance(key, bool) and 0 <= key < width:
        return key
    known = suggestion(str(key), header) if header else f"columns have the indices 0..{width - 1}, as in x[:, 0]"
    raise InputError(f"kinds name the column {key!r}, which does not exist; {known}")


def may_differ(width: int, dtype: np.dtype[Any], plain: Domain, declared: Domain | None) -> bool:
    """Return whether numeric columns without declared kinds get kinds of their own.

    Args:
        width: Number of columns.
        dtype: Type of the numbers; bytes are levels.
        plain: Domain of all numbers as one kind.
        declared: Domain that was declared for all numbers.
    """
    numbers = plain.kind in ("real", "levels", "counts")
    return numbers and declared is None and (width <= MAX_OWN or plain.kind == "real") and dtype != np.uint8


def constant(x: np.ndarray) -> np.ndarray:
    """Return a mask (D,) of the columns of x (N, D) that always hold the same number."""
    return (x == x[0]).all(0)


def unbounded(x: np.ndarray) -> dict[str, Any]:
    """Return options of `open` for x (N, D) under which every column is real unless it is constant."""
    alike = constant(x)
    if not alike.any():
        return {"domain": "real"}
    return {"kinds": [("values", [v]) if c else "real" for v, c in zip(x[0], alike, strict=True)]}


def whole_numbers(ranges: Mapping[Any, tuple[float, float]]) -> tuple[str, ...]:
    """Return a note on columns of whole numbers that are taken as real ones, by name or number, with their ranges."""
    if not ranges:
        return ()
    first = list(ranges)[:6]
    shown = ", ".join(
        f"{name if isinstance(name, str) else title(name, ())} {ranges[name][0]:.0f}..{ranges[name][1]:.0f}"
        for name in first
    )
    more = f" and {len(ranges) - len(first)} more" if len(ranges) > len(first) else ""
    how = f"samples of them are fractions: to keep them whole, pass kinds={dict.fromkeys(first, 'whole')!r}"
    return (f"whole numbers taken as real: {shown}{more}; {how}",)


def whole_columns(x: np.ndarray, header: Sequence[str]) -> dict[Any, tuple[float, float]]:
    """Return the columns of x (N, D) that hold whole numbers beyond 0 and 1, by name or number, with their ranges."""
    whole = (x == np.rint(x)).all(0)
    low, high = x.min(0), x.max(0)
    names = list(header) or list(range(x.shape[1]))
    return {names[i]: (low[i], high[i]) for i in np.flatnonzero(whole & (low >= 0) & (high > 1) & (high > low))}


def encode(
    x: np.ndarray, header: Sequence[str], words: Words, domain: Domain, name: str, *, like: bool = False
) -> np.ndarray:
    """Return rows (B, D) as stored, float32 NaN where an entry is missing or, with `like`, unknown to the model."""
    out = np.full(x.shape, np.nan, np.float32)
    for i, (column, own) in enumerate(zip(x.T, domain.columns, strict=True)):
        seen, where = ~np.isnan(column), f"{name}: {title(i, header)}"
        if like and (own.kind == "categories" or i not in words):
            seen = encoding.held(column, own, words.get(i))
        if not seen.any():
            continue
        if own.kind == "categories":
            out[seen, i] = codes(column[seen], words.get(i), own, where)
            continue
        if i in words:
            raise InputError(f"{where} holds words, such as {words[i][0]!r}; needed: {own}")
        if own.kind == "values":
            known = encoding.held(column, own)
            if not known[seen].all():
                raise InputError(f"{where} holds {column[seen & ~known][0]:g}, which is none of its {own}")
            out[seen, i] = column[seen]
            continue
        fix = encoding.TRAINED if like else None
        out[seen, i] = encoding.infer(column[seen, None], own, where, fix)[0].convert(column[seen])
    return out


def codes(values: np.ndarray, words: tuple[str, ...] | None, domain: Domain, where: str) -> np.ndarray:
    """Return the categories of values: words, numbers as they are written, or numbers in place of words."""
    if words is None and not all(map(is_number, domain.words)):
        known = Domain("levels", domain.levels, given="floats")
        return encoding.infer(values[:, None], known, where)[0].convert(values)
    if words is None:
        distinct, values = np.unique(values, return_inverse=True)
        words = tuple(map(encoding.as_word, distinct))
    used = np.unique(values.astype(np.int64))
    unknown = [words[i] for i in used if words[i] not in domain.words]
    if unknown:
        raise InputError(f"{where} holds {unknown[0]!r}, which is none of its {domain}")
    codes = np.full(len(words), np.nan)
    codes[used] = [domain.words.index(words[i]) for i in used]
    return codes[values.astype(np.int64)]


def kind_of(declared: Any) -> str | None:
    """Return the name of the declared kind of a column; None: none was declared."""
    return declared if declared is None or declared in LEARNED else as_domain(declared).kind
