"""Cells of text that are numbers, dates or times, as numbers."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pyarrow as pa

MISSING = ("", "nan", "na", "n/a", "null", "?", "<na>", "#n/a")  # cells without a value, in any case
MANY = 20  # more different words than these are no categories if they look like numbers
_NO_NUMBER = frozenset(
    {"-", "--", ".", "..", "*", "none", "missing", "unknown", "nil", "#div/0!", "#value!", "\u2013", "\u2014"}
)
_CURRENCY = r"[$\u20ac\u00a3\u00a5\u20b9\u20bd\u20a9]|(?:US|C|A|NZ|HK)\$|(?:USD|EUR|GBP|CHF|JPY|CNY|INR)(?=[\s\d.\-])"
_AFFIXED = re.compile(
    rf"(?P<open>\()?(?P<sign>[-+\u2212])?\s?(?P<prefix>{_CURRENCY})?\s?(?P<after>[-+\u2212])?"
    r"(?P<core>(?:\d[\d.,'\u2019 \u00a0\u202f_]*\d|\d)[.]?(?:[eE][-+]?\d+)?|[.,]\d+)"
    r"\s?(?P<suffix>%|\u20ac|\u00a3|\$|[A-Za-z\u00b5\u00b0\u03bc][A-Za-z\u00b0\u00b2\u00b3/]{0,5})?(?P<close>\))?"
)
SPACES = " \u00a0\u202f'\u2019_"  # group digits whatever the decimal mark is
_EXPONENT = r"(?:[eE][-+]?\d+)?"
_GROUPED = rf"\d{{1,3}}(?:[{SPACES}]\d{{3}})+"
POINT = rf"(?:\d+|\d{{1,3}}(?:,\d{{2,3}})*,\d{{3}}|{_GROUPED})?(?:\.\d*)?{_EXPONENT}"  # with a decimal point
COMMA = rf"(?:\d+|\d{{1,3}}(?:\.\d{{3}})+|{_GROUPED})?(?:,\d*)?{_EXPONENT}"
_FORMS = {".": re.compile(POINT), ",": re.compile(COMMA)}
_MONTH = r"(?<![A-Za-z])(?:jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)[a-z]{0,6}(?![A-Za-z])"
_NUMERIC = re.compile(
    rf"(?=.*\d)(?:(?i:{_MONTH})|{_CURRENCY}|[\s\d.,'\u2019+\-\u2212/:%TZeE()_])+"
)  # numbers, dates and times
_CLOCK = re.compile(r"(\d{1,3}):([0-5]\d)(?::([0-5]\d(?:\.\d+)?))?")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_DATES = (
    *("%Y/%m/%d", "%d.%m.%Y", "%d/%m/%Y", "%m/%d/%Y", "%d-%m-%Y", "%m-%d-%Y", "%d/%m/%y", "%m/%d/%y", "%d.%m.%y"),
    *("%d %b %Y", "%d-%b-%Y", "%d-%b-%y", "%b %d, %Y", "%B %d, %Y", "%d %B %Y", "%b %d %Y", "%B %d %Y", "%Y-%b-%d"),
    *("%b %Y", "%B %Y", "%b-%Y", "%Y/%m", "%a, %d %b %Y", "%a %b %d %Y", "%A, %B %d, %Y", "%d %b, %Y"),
)
_TIMES = ("", " %H:%M", " %H:%M:%S", " %I:%M %p", " %I:%M:%S %p")
DAYS, HOURS = "days since 1970-01-01", "hours"


@dataclass(frozen=True)
class Read:
    """A column of words as numbers."""

    numbers: Mapping[str, float]  # by word, NaN for those that stand for no number
    unit: str = ""

    def note(self) -> str:
        """Return an example of how a word was read."""
        word = next(w for w in self.numbers if self.numbers[w] == self.numbers[w])
        return f"{word[:40]!r} as {self.numbers[word]:.10g}" + (f" {self.unit}" if self.unit else "")


def looks_like_number(cell: str) -> bool:
    """Whether a cell holds digits, and besides only what numbers, dates and times are written with."""
    return _NUMERIC.fullmatch(cell) is not None


class Ambiguous(ValueError):
    """Words that can be read as numbers in two ways; the message says how to choose."""


class Reader:
    """How numbers are written in a file: their decimal mark, which one column can tell of another."""

    def __init__(self, decimal: str | None = None, default: str | None = None) -> None:
        """Read numbers with this decimal mark; None: as the columns tell, and the default where none does."""
        self._decimal, self._default = decimal, default
        self._seen: set[str] = set()
        self.used: set[str] = set()  # decimal marks with which words with a comma were read

    def look(self, words: Iterable[str]) -> None:
        """Learn the decimal mark from the words of a column, if they tell it."""
        cores = [match["core"] for word in words if (match := _AFFIXED.fullmatch(word))]
        if cores and len(found := _marks(cores)) == 1:
            self._seen |= found

    @property
    def comma(self) -> bool:
        """Whether the decimal mark is a comma, as the columns that were looked at tell."""
        return self._decimal is None and self._seen == {","}

    def takes(self, word: str) -> bool:
        """Whether a single word can be read as a number."""
        match = _AFFIXED.fullmatch(word)
        return match is not None and not (match["suffix"] or "").isalpha() and bool(_marks([match["core"]]))

    def read(self, words: Sequence[str]) -> Read | None:
        """Return the different words of a column as numbers; None: they are words.

        Raises:
            Ambiguous: If they can be read in two ways.
        """
        missing = {word: np.nan for word in words if word.lower() in _NO_NUMBER}
        rest = [word for word in words if word not in missing]
        if not rest or not any(map(str.isdigit, "".join(rest[:99]))):
            return None
        read = self._numbers(rest) or _times(rest) or _dates(rest)
        return None if read is None else Read({**read.numbers, **missing}, read.unit)

    def _numbers(self, words: Sequence[str]) -> Read | None:
        matches = [_AFFIXED.fullmatch(word) for word in words]
        parts = [match for match in matches if match is not None]
        if len(parts) < len(words) or len({(part["prefix"], part["suffix"]) for part in parts}) > 1:
            return None
        if any((part["open"] is None) != (part["close"] is None) or (part["sign"] and part["after"]) for part in parts):
            return None
        mark = self._mark([part["core"] for part in parts])
        if mark is None:
            return None
        if any("," in part["core"] for part in parts):
            self.used.add(mark)
        group = ",." if mark == "." else ".,"
        table = str.maketrans({group[0]: None, group[1]: ".", **dict.fromkeys(SPACES)})
        values = {}
        for word, part in zip(words, parts, strict=True):
            low = part["open"] or (part["sign"] or part["after"] or "+") in "-\u2212"
            values[word] = (-1.0 if low else 1.0) * float(part["core"].translate(table))
        suffix = parts[0]["suffix"] or ""
        return Read(values, "" if suffix in "%\u20ac\u00a3$" else suffix)

    def _mark(self, cores: Sequence[str]) -> str | None:
        """Return the decimal mark of the numbers of a column; None: they are no numbers."""
        found = _marks(cores)
        if self._decimal is not None:
            return self._decimal if self._decimal in found else None
        if len(found) < 2:
            return next(iter(found), None)
        if not any("." in core or "," in core for core in cores):
            return "."
        if len(self._seen) == 1:
            return next(iter(self._seen))
        odd = next((core for core in cores if "," in core), None)
        if odd is None or self._default is not None:
            return self._default or "."
        a, b = odd.replace(",", ""), odd.replace(",", ".")
        raise Ambiguous(f"{odd!r} could be {a} or {b}; pass decimal='.' for {a}, decimal=',' for {b}")


def _marks(cores: Sequence[str]) -> set[str]:
    """Return the decimal marks with which all of these are numbers."""
    return {mark for mark, form in _FORMS.items() if all(form.fullmatch(core) for core in cores)}


def _times(words: Sequence[str]) -> Read | None:
    """Return times of day and durations in hours."""
    found = [_CLOCK.fullmatch(word) for word in words]
    parts = [match.groups() for match in found if match is not None]
    if len(parts) < len(words):
        return None
    hours = (int(h) + int(m) / 60 + float(s or 0) / 3600 for h, m, s in parts)
    return Read(dict(zip(words, hours, strict=True)), HOURS)


def _dates(words: Sequence[str]) -> Read | None:
    """Return dates in days; those without a time zone are in UTC."""
    if not re.match(r"\d{1,4}[-/. ]|[A-Za-z]{3,9}(?:[- ]\d|,? [A-Za-z]{3,9} \d|, \d)", words[0]):
        return None
    readings: list[Callable[[str], datetime]] = [_iso]
    readings += [lambda word, form=d + t: datetime.strptime(word, form) for d in _DATES for t in _TIMES]
    found: list[list[float]] = []
    for reading in readings:
        try:
            days = [_days(reading(word)) for word in words]
        except ValueError:
            continue
        if days not in found:
            found.append(days)
    if len(found) > 1:
        raise Ambiguous(
            f"{words[0]!r} could name the day or the month first; write dates as 2019-12-31, leave it out with ignore="
        )
    return Read(dict(zip(words, found[0], strict=True)), DAYS) if found else None


def _iso(word: str) -> datetime:
    if word[:8].isdigit():  # a number
        raise ValueError
    return datetime.fromisoformat(f"{word}-01" if re.fullmatch(r"\d{4}-\d\d", word) else word)


def _days(time: datetime) -> float:
    return ((time if time.tzinfo else time.replace(tzinfo=UTC)) - _EPOCH) / timedelta(days=1)


def as_numbers(column: pa.Array, read: Read) -> pa.Array:
    """Return a column of words (N,) as the numbers that they were read as, null where they stand for none."""
    coded: Any = column.dictionary_encode()
    values = [read.numbers[word] for word in coded.dictionary.to_pylist()]
    numbers = pa.array([None if value != value else value for value in values], pa.float64())
    return numbers.take(coded.indices)


def like(cells: Sequence[str], decimal: str | None = None) -> Callable[[float], str]:
    """Return a function that writes numbers as these cells of a column are written, dates and times among them.

    Args:
        cells: Cells that hold numbers.
        decimal: Decimal mark of the file; None: as the cells tell.
    """
    reader = Reader(decimal, default=".")
    reader.look(cells)
    read = reader.read([*dict.fromkeys(cells)])
    if read is not None and read.unit == DAYS:
        return _like_dates(cells)
    if read is not None and read.unit == HOURS:
        return _like_times(cells)
    parts = [match for cell in cells if (match := _AFFIXED.fullmatch(cell)) is not None]
    mark = decimal or ("," if reader.comma else ".")
    digits = max((len(part["core"].partition(mark)[2]) for part in parts if "e" not in part["core"].lower()), default=0)
    before, after = _affixes(parts[0].string, parts[0]["core"]) if parts else ("", "")
    exponents = any("e" in part["core"].lower() for part in parts)

    def write(value: float) -> str:
        text = f"{value:.9g}" if exponents or not parts else f"{abs(value):.{digits}f}"
        sign = "-" if value < 0 and not text.startswith("-") and float(text) else ""
        return f"{sign}{before}{text.replace('.', mark)}{after}"

    return write


def _affixes(cell: str, core: str) -> tuple[str, str]:
    """Return what stands before and after the digits of a cell, without sign and parentheses."""
    before, _, after = cell.partition(core)
    return before.strip("(+-\u2212"), after.strip(")")


def _like_dates(cells: Sequence[str]) -> Callable[[float], str]:
    for date, time in ((date, time) for date in _DATES for time in _TIMES):
        with contextlib.suppress(ValueError):
            for cell in cells:
                datetime.strptime(cell, date + time)
            return lambda days: (_EPOCH + timedelta(days=days if time else round(days))).strftime(date + time)
    if all(len(cell) <= len("2020-01-01") for cell in cells):
        return lambda days: (_EPOCH + timedelta(days=round(days))).date().isoformat()
    separator = "T" if any("T" in cell for cell in cells) else " "
    return lambda days: (_EPOCH + timedelta(days=days)).replace(tzinfo=None).isoformat(separator, "seconds")


def _like_times(cells: Sequence[str]) -> Callable[[float], str]:
    seconds = any(cell.count(":") == 2 for cell in cells)

    def write(hours: float) -> str:
        total = round(hours * 3600 if seconds else hours * 60) * (1 if seconds else 60)
        return f"{total // 3600}:{total // 60 % 60:02d}" + f":{total % 60:02d}" * seconds

    return write
