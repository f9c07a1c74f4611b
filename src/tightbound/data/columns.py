"""Mixed tables: a kind for each column, words as categories, and missing entries."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tightbound.core.domain import BINARY, REAL, Domain, as_domain
from tightbound.core.errors import InputError, suggestion
from tightbound.data import encoding

MISSING = frozenset({"", "nan", "na", "n/a", "null", "?"})  # cells of a text table, in any case
MOST_CATEGORIES = 256
WHOLE = " (whole: if they are counts or levels, say so in kinds)"

Kinds = Mapping[Any, Any] | Sequence[Any]
Words = Mapping[int, tuple[str, ...]]  # by column: the words that its numbers 0, 1, ... stand for


def told(kinds: Kinds | None, header: Sequence[str], width: int) -> dict[int, Any]:
    """The kinds that a user names, by column.

    Arguments:
        kinds: One for each column (None: to be inferred), or some by the column's name or number.
        header: Names of the columns; may be empty.

    Raises:
        InputError: another number of kinds than of columns, or no such column.
    """
    if kinds is None:
        return {}
    if isinstance(kinds, Mapping):
        return {_position(key, header, width): kind for key, kind in kinds.items()}
    if isinstance(kinds, str) or len(kinds) != width:
        given = repr(kinds) if isinstance(kinds, str) else f"{len(kinds)} kinds"
        raise InputError(
            f"kinds: {given} given for {width} columns; give one for each, or {{column: kind}} for some of them"
        )
    return {i: kind for i, kind in enumerate(kinds) if kind is not None}


def _position(key: Any, header: Sequence[str], width: int) -> int:
    if key in header:
        return list(header).index(key)
    if isinstance(key, int) and not isinstance(key, bool) and 0 <= key < width:
        return key
    raise InputError(
        f"kinds name the column {key!r}, and there is none; "
        + (suggestion(str(key), header) if header else f"columns have numbers 0..{width - 1}")
    )


def title(column: int, header: Sequence[str]) -> str:
    """A column in messages, counted from 1."""
    return f"column {column + 1}" + (f" ({header[column]})" if header else "")


def table(
    x: np.ndarray, header: Sequence[str], words: Words, kinds: Mapping[int, Any], name: str
) -> tuple[np.ndarray, Domain, tuple[str, ...]]:
    """A table (N, D) as stored, float32 with NaN where an entry is missing; its domain; and notes.

    A column that nobody names is of categories where it holds words, binary where it holds 0 and 1 alone, else real.

    Raises:
        InputError: infinite entries, a column without values, or values that are not of its kind.
    """
    x = x.astype(np.float64)
    if np.isinf(x).any():
        first = tuple(int(i) for i in np.argwhere(np.isinf(x))[0])
        number = int(np.isinf(x).sum())
        raise InputError(
            f"{name}: {number} {'value is' if number == 1 else 'values are'} infinite, the first at {first}; "
            "remove them, or make them NaN, which stands for what is missing"
        )
    out = np.full(x.shape, np.nan, np.float32)
    columns = []
    for i, column in enumerate(x.T):
        seen, where = ~np.isnan(column), f"{name}: {title(i, header)}"
        if not seen.any():
            raise InputError(f"{where} has no values; remove it")
        domain, values = _column(column[seen], words.get(i), kinds.get(i), where)
        out[seen, i] = values
        columns.append(domain)
    plain = [domain == REAL and _whole(out[:, i]) for i, domain in enumerate(columns[:8])]
    return out, Domain("mixed", columns=tuple(columns)), notes(columns, plain, np.isnan(out).sum(0), len(out), header)


def notes(
    columns: Sequence[Domain], whole: Sequence[bool], lacking: np.ndarray, size: int, header: Sequence[str]
) -> tuple[str, ...]:
    """What was found of a table of `size` rows: which columns are of whole numbers, and how many entries each lacks."""
    found = "; ".join(
        f"{header[i] if header else i + 1}: {domain}" + (WHOLE if whole[i] else "")
        for i, domain in enumerate(columns[:8])
    )
    shares = ", ".join(f"{header[i] if header else i + 1} {n}" for i, n in enumerate(lacking) if n)
    entries = f"{lacking.sum():,} of {size * len(columns):,} entries"
    missing = f"missing: {entries}" + (f" ({shares:.120})" if shares else "")
    return f"{found}{'; ...' * (len(columns) > 8)}", missing


def encode(x: np.ndarray, header: Sequence[str], words: Words, domain: Domain, name: str) -> np.ndarray:
    """Some rows (B, D) of a table of this domain as stored; see `table`.

    Raises:
        InputError: for entries outside the domain of their column.
    """
    out = np.full(x.shape, np.nan, np.float32)
    for i, column in enumerate(x.T):
        seen = ~np.isnan(column)
        if seen.any():
            out[seen, i] = _column(column[seen], words.get(i), domain.columns[i], f"{name}: {title(i, header)}")[1]
    return out


class Survey:
    """A pass over a table too large for memory, part by part: enough of each column to tell its domain."""

    def __init__(self, header: Sequence[str], kinds: Mapping[int, Any], name: str) -> None:
        """A survey of columns of these names, of which a user named some kinds (see `told`)."""
        self._header, self._kinds, self._name = header, kinds, name
        self._distinct: list[np.ndarray] = []  # by column: all its values, or the first few, the least and the greatest
        self._words: list[tuple[str, ...]] = []
        self._whole: list[bool] = []
        self.lacking = np.zeros(0, np.int64)
        self.size = 0

    @property
    def width(self) -> int:
        """D."""
        return len(self.lacking)

    @property
    def mixed(self) -> bool:
        """Whether columns need domains of their own: words, missing entries, or kinds."""
        return bool(self._kinds) or any(self._words) or bool(self.lacking.any())

    def add(self, x: np.ndarray, words: Words) -> None:
        """Looks at rows (B, D), NaN where an entry is missing."""
        width = x.shape[1]
        if not self.size:
            self._distinct, self._words = [np.zeros(0)] * width, [()] * width
            self._whole, self.lacking = [True] * width, np.zeros(width, np.int64)
        elif width != self.width:
            shapes = f"row 0 has {self.width} entries, row {self.size} has {width}"
            raise InputError(f"{self._name}: rows differ in shape: {shapes}; make them equal")
        self.size += len(x)
        if np.isinf(x).any():
            raise InputError(f"{self._name} holds infinite values; remove them, or make them null, if they are missing")
        for i, column in enumerate(x.T):
            seen = column[~np.isnan(column)]
            self.lacking[i] += len(column) - len(seen)
            if i in words:
                if words[i] != self._words[i]:
                    own = {*self._words[i], *words[i]}
                    self._words[i] = tuple(sorted(own)) if self._words[i] else tuple(words[i])
                if len(self._words[i]) > MOST_CATEGORIES:
                    where = f"{self._name}: {title(i, self._header)}"
                    raise InputError(f"{where} has more than {MOST_CATEGORIES} different words; remove the column")
            elif len(seen):
                self._whole[i] = self._whole[i] and _whole(seen)
                many = len(self._distinct[i]) > MOST_CATEGORIES  # then its range is what is left to be known
                found = np.union1d(self._distinct[i], np.array([seen.min(), seen.max()]) if many else seen)
                few = found[:: -(-len(found) // (2 * MOST_CATEGORIES))] if len(found) > 2 * MOST_CATEGORIES else found
                self._distinct[i] = np.union1d(few, found[[0, -1]])

    def domain(self, told: Domain | None) -> tuple[Domain, tuple[str, ...]]:
        """That of the table, and notes; `told` is that of all columns whose kind is not named. Raises InputError as
        `table` does."""
        words = {i: own for i, own in enumerate(self._words) if own}
        values = [np.arange(len(words[i])) if i in words else own for i, own in enumerate(self._distinct)]
        some = np.full((max(map(len, values)), len(values)), np.nan)
        for column, own in zip(some.T, values, strict=True):
            column[: len(own)] = own
        kinds = self._kinds if told is None else {**dict.fromkeys(range(len(values)), told), **self._kinds}
        _, domain, _ = table(some, self._header, words, kinds, self._name)
        plain = [column == REAL and whole for column, whole in zip(domain.columns, self._whole, strict=True)]
        return domain, notes(domain.columns, plain, self.lacking, self.size, self._header)


def _whole(values: np.ndarray) -> bool:
    values = values[~np.isnan(values)]
    return bool((values == np.rint(values)).all() and values.min() >= 0)


def _column(values: np.ndarray, words: tuple[str, ...] | None, kind: Any, where: str) -> tuple[Domain, np.ndarray]:
    """The domain of one column, and its observed values as stored."""
    if kind is None:
        binary = bool(((values == 0) | (values == 1)).all())
        kind = "categories" if words is not None else BINARY if binary else REAL
    if _nominal(kind):
        return _categories(values, words, kind, where)
    if words is not None:
        raise InputError(
            f"{where} holds words, such as {words[0]!r}, and its kind was named {kind!r}; use 'categories'"
        )
    code, _ = encoding.infer(values[:, None], as_domain(kind), where)
    return code.domain, code.convert(values)


def _categories(values: np.ndarray, words: tuple[str, ...] | None, kind: Any, where: str) -> tuple[Domain, np.ndarray]:
    """As `_column`. Numbers are categories as they are written, or by their place among named words that are none."""
    known = None if kind == "categories" else as_domain(kind)
    if words is None and known is not None and not all(map(is_number, known.words)):
        code, _ = encoding.infer(values[:, None], Domain("levels", known.levels), where)
        return known, code.convert(values)
    if words is None:
        distinct, values = np.unique(values, return_inverse=True)
        words = tuple(f"{v:.9g}" for v in distinct)
    if known is None:
        if not 2 <= len(words) <= MOST_CATEGORIES:
            raise InputError(
                f"{where} has {len(words)} different values; categories are from 2 to {MOST_CATEGORIES}: remove the "
                "column, or name the categories in `kinds`"
            )
        return Domain("categories", len(words), words), values
    unknown = [word for word in words if word not in known.words]
    if unknown:
        raise InputError(f"{where} holds {unknown[0]!r}, which is none of its {known}")
    codes = np.array([known.words.index(word) for word in words])
    return known, codes[values.astype(np.int64)]


def read_cells(
    rows: Sequence[Sequence[str]], width: int, kinds: Mapping[int, Any]
) -> tuple[np.ndarray, dict[int, tuple[str, ...]], tuple[int, int] | None]:
    """Cells as numbers (N, D), NaN where one is missing; the words of columns that hold such; and the row and column
    of the first cell that is no number among numbers, None where there is none."""
    x = np.full((len(rows), width), np.nan)
    words: dict[int, tuple[str, ...]] = {}
    for i in range(width):
        cells = [row[i].strip() for row in rows]
        seen = [n for n, cell in enumerate(cells) if cell.lower() not in MISSING]
        wrong = [n for n in seen if not is_number(cells[n])]
        categories = i in kinds and _nominal(kinds[i])
        if wrong and len(wrong) < len(seen) and not categories:
            return x, words, (wrong[0], i)
        if wrong or categories:
            distinct, codes = np.unique([cells[n] for n in seen], return_inverse=True)
            words[i], x[seen, i] = tuple(map(str, distinct)), codes
        else:
            x[seen, i] = [float(cells[n]) for n in seen]
    return x, words, None


def _nominal(kind: Any) -> bool:
    return kind == "categories" or as_domain(kind).kind == "categories"


def is_number(cell: str) -> bool:
    """Whether a cell of text is one."""
    try:
        float(cell)
    except ValueError:
        return False
    return True
