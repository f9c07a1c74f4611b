"""Columns of words: which are numbers, dates or times, and which are categories."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, cast

import numpy as np
import pyarrow as pa
from pyarrow import compute, types

from tightbound.core.errors import InputError
from tightbound.data.encoding import MAX_WHOLE, check_exact, is_number, title
from tightbound.data.readers.tabular.cells import (
    COMMA,
    MANY,
    MISSING,
    POINT,
    SPACES,
    Ambiguous,
    Read,
    Reader,
    as_numbers,
    looks_like_number,
)
from tightbound.data.readers.tabular.notation import example

_NOTED = 8  # columns in a note
_SHOWN = 200  # number of cells that determine the number format of a column
_LOOKED = 1000  # numbers of a column that tell the decimal mark of another


@dataclass(frozen=True)
class Columns:
    """A table whose words that are numbers were read as such, notes, and all that cannot be read."""

    table: pa.Table
    notes: tuple[str, ...]
    problems: dict[str, str]  # by column
    decimal: str | None = None  # the decimal mark of words with a comma
    unknown: np.ndarray | None = None  # (N,) words among the numbers of each row; None: nobody looked for them
    notation: Mapping[str, str] = field(default_factory=dict)  # number format by column, see `notation.example`


def read_columns(
    table: pa.Table,
    as_written: Collection[str],
    place: Callable[[int], str],
    *,
    decimal: str | None = None,
    default: str | None = None,
    label: str | None = None,
    titled: bool = True,
    like: bool = False,
) -> Columns:
    """Read the columns of words of a table.

    Args:
        table: Columns, of which those of text are looked at.
        as_written: Columns that stay as they are, but for missing entries.
        place: Describes a row, in messages.
        decimal: Decimal mark; None: as the columns tell.
        default: Decimal mark where they do not tell; None: that is a problem.
        label: Column that may mix words and numbers.
        titled: Whether the columns have names.
        like: Whether a model knows the columns that are not `as_written` as numbers, so that other words are missing.
    """
    reader, names = Reader(decimal, default), table.column_names
    found = {i: without_missing(column) for i, column in enumerate(table.columns) if is_text(column.type)}
    parsed = [i for i in found if names[i] not in as_written and (like or not _are_codes(found[i]))]
    plain = {i: None if decimal == "," else _cast(found[i]) for i in parsed}
    commas = {i: _decimal_commas(found[i]) for i in parsed if plain[i] is None and decimal != "."}
    distinct = {i: _words(found[i]) for i in parsed if plain[i] is None and commas.get(i) is None}
    for i in parsed if distinct or any(column is not None for column in commas.values()) else ():
        reader.look(distinct[i] if i in distinct else _words(found[i].slice(0, _LOOKED)))
    if reader.comma:  # then 1.234 is a thousand and more
        dotted = {i: _words(found[i]) for i in parsed if plain[i] is not None}
        distinct |= {i: words for i, words in dotted.items() if any("." in word for word in words)}
    notes, problems, unknown = [], {}, np.zeros(len(table), np.int64)
    for i, column in found.items():
        words = distinct.get(i, [])
        if like and names[i] != label:
            column, words, odd = _only_numbers(reader, column, words, place, title(i, names if titled else ()))
            unknown += odd
        read, problem = _read(reader, column, words, place, label == names[i])
        if problem:
            kept = f"pass kinds={{{(names[i] if titled else i)!r}: 'categories'}}"
            problems[names[i]] = f"{title(i, names if titled else ())}: {problem}, or {kept}"
        elif read is not None:
            column = as_numbers(column, read)
            if _unlike(read):
                notes.append(f"{names[i]} ({read.note()})")
        elif i not in distinct and i in parsed and plain[i] is not None:
            if problem := _inexact(column, plain[i], title(i, names if titled else ())):
                problems[names[i]] = problem
            column = plain[i]
        elif i not in distinct and commas.get(i) is not None:
            at = int(np.asarray(column.is_valid()).argmax())
            notes.append(f"{names[i]} ({column[at].as_py()!r} as {commas[i][at].as_py():.10g})")
            column = commas[i]
            reader.used.add(",")
        table = table.set_column(i, names[i], column)
    if notes:
        more = f" and {len(notes) - _NOTED} more" if len(notes) > _NOTED else ""
        notes = [f"words read as numbers: {', '.join(notes[:_NOTED])}{more}"]
    mark = next(iter(reader.used)) if len(reader.used) == 1 else None
    numbers = [i for i in found if not like and not is_text(table.schema.field(i).type)]
    shown = {names[i]: example(found[i].drop_null().slice(0, _SHOWN).to_pylist(), decimal or mark) for i in numbers}
    return Columns(table, tuple(notes), problems, mark, unknown if like else None, shown)


def _read(
    reader: Reader, column: pa.Array, words: list[str], place: Callable[[int], str], label: bool
) -> tuple[Read | None, str]:
    """Return the different words of a column as numbers, or None for categories, and what is wrong with them."""
    try:
        read = reader.read(words)
    except Ambiguous as error:
        return None, str(error)
    if read is not None or label:
        return read, ""
    like = [word for word in words if looks_like_number(word)]
    if len(like) == len(words) > MANY:
        return (
            None,
            f"{len(words):,} different words that look like numbers, such as {words[0]!r}; leave it out with ignore=",
        )
    if 2 * sum(map(reader.takes, words)) < len(words):  # words, a few of which are digits, such as codes
        return None, ""
    found, _ = _not_numbers(reader, column, words, place)
    return None, found and f"{found}; correct it, leave it out with ignore="


def _not_numbers(reader: Reader, column: pa.Array, words: list[str], place: Callable[[int], str]) -> tuple[str, Any]:
    """Say which words among numbers are none, if there are such, and return which cells (N,) hold them."""
    numbers = {word for word in words if reader.takes(word)}
    if not numbers or len(numbers) == len(words):
        return "", None
    cells = column.to_pylist()
    odd = np.array([cell is not None and cell not in numbers for cell in cells])
    first, number = int(odd.argmax()), int(odd.sum())
    more = f", and {number - 1:,} more" if number > 1 else ""
    return f"{cells[first][:40]!r} in {place(first)} is not a number{more}", odd


def _only_numbers(
    reader: Reader, column: pa.Array, words: list[str], place: Callable[[int], str], named: str
) -> tuple[pa.Array, list[str], Any]:
    """Return a column that a model knows as numbers, and its words, without words that are none, with a warning.

    The third value tells which cells (N,) held those, or is 0.
    """
    found, odd = _not_numbers(reader, column, words, place)
    if odd is None:
        return column, words, 0
    number = int(odd.sum())
    entries = "this entry counts" if number == 1 else f"these {number:,} entries count"
    warnings.warn(f"{named}: {found}, and the model knows numbers: {entries} as missing", stacklevel=2)
    column = cast(Any, compute).if_else(pa.array(odd), pa.scalar(None, pa.string()), column)
    return column, _words(column), odd


def is_text(kind: Any) -> bool:
    """Whether a column of this type holds words that may stand for numbers; categories of Arrow do not."""
    return types.is_string(kind) or types.is_large_string(kind) or types.is_string_view(kind)


def without_missing(column: Any) -> Any:
    """Return words in one piece, trimmed, and null where they stand for a missing entry."""
    pc: Any = compute
    whole = column.combine_chunks()
    whole = pa.concat_arrays(whole.chunks) if isinstance(whole, pa.ChunkedArray) else whole
    whole = pc.utf8_trim_whitespace(whole.cast(pa.string()))
    empty = pc.is_in(pc.utf8_lower(whole), pa.array(MISSING))
    return pc.if_else(empty, pa.scalar(None, pa.string()), whole)


def _words(column: Any) -> list[str]:
    return column.unique().drop_null().to_pylist()


def _are_codes(column: Any) -> bool:
    """Return whether a column holds few different words, some of which would lose a leading zero ("007") as numbers."""
    pc: Any = compute
    return pc.any(pc.match_substring_regex(column, r"^0\d+$")).as_py() and pc.count_distinct(column).as_py() <= MANY


def _cast(column: Any) -> Any:
    try:
        return column.cast(pa.float64())
    except pa.ArrowInvalid:
        return None


def _inexact(column: Any, numbers: Any, named: str) -> str:
    """Return a message if different integers, written as words, become equal as float64; otherwise ""."""
    pc: Any = compute
    if not pc.any(pc.greater(pc.abs(numbers), float(MAX_WHOLE))).as_py():
        return ""
    try:
        whole = column.filter(pc.match_substring_regex(column, r"^[-+]?\d+$")).to_pylist()
        check_exact(np.array([int(word) for word in whole], object), named)
    except InputError as error:
        return str(error)
    return ""


def _decimal_commas(column: Any) -> Any:
    """Return a column as numbers if all have a decimal comma or none, and they could not have a point."""
    pc: Any = compute
    if not pc.all(pc.match_substring_regex(column, f"^[-+]?(?:{COMMA})$")).as_py():
        return None
    if all(
        pc.all(pc.match_substring_regex(part, f"^[-+]?(?:{POINT})$")).as_py() for part in (column[:_LOOKED], column)
    ):
        return None
    bare = pc.replace_substring_regex(column, f"[.{SPACES}]", "")
    return _cast(pc.replace_substring(bare, ",", "."))


def _unlike(read: Read) -> bool:
    """Whether words were read as something else than Python would read."""
    return any(not is_number(word) or float(word) != value for word, value in read.numbers.items())
