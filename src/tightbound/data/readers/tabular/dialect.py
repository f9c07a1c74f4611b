"""How a table is written as text: its encoding, delimiter and header, found by looking at its first lines."""

from __future__ import annotations

import codecs
import csv
import re
from collections import Counter
from collections.abc import Sequence

from tightbound.core.errors import InputError
from tightbound.data.encoding import is_number
from tightbound.data.readers.tabular.cells import MISSING, looks_like_number

SAMPLE = 200  # lines that are looked at
NAMES = {",": "comma", ";": "semicolon", "\t": "tab", "|": "bar", " ": "space", "": "none"}
_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_CONTROL = re.compile(r"[\x00-\x08\x0e-\x1f\x7f]")
_HIDDEN = re.compile(r"\t|[;,|]\s?[-+.]?\d|\d\s?[;,|]")  # a delimiter in a cell, beside a number
_DATE = re.compile(r"\d{1,4}[-/.]\d{1,2}[-/.]\d{1,4}(?:[ T]\d{1,2}:\d\d\S*)?")
_YEARS = range(1800, 2200)


def decoded(content: bytes, title: object, encoding: str | None = None) -> tuple[str, tuple[str, ...]]:
    """Return bytes as text, with newlines alone at the ends of lines, and notes.

    Without an encoding, this is what a byte order mark tells, else UTF-8, else Windows-1252 (Latin-1).
    """
    first = [encoding] if encoding else [name for mark, name in _MARKS if content.startswith(mark)][:1]
    for name in first or ("utf-8", "cp1252"):
        try:
            text = content.decode(name)
        except LookupError:
            raise InputError(f"encoding={encoding!r} is not known; use a name such as 'utf-8' or 'latin-1'") from None
        except UnicodeError:
            continue
        if _CONTROL.search(text[:100_000]):
            break
        note = (f"text: not UTF-8, read as {name}; if letters are wrong, pass encoding=",) if name == "cp1252" else ()
        note = note if first or name == "cp1252" else ()
        return text.replace("\r\n", "\n").replace("\r", "\n"), note if not encoding else ()
    how = f"encoding={encoding!r}" if encoding else "UTF-8 or another encoding that it declares"
    raise InputError(f"{title} is not text ({how}); give a table of numbers and words as text")


def rows(lines: Sequence[str], delimiter: str) -> list[list[str]]:
    """Return the cells of lines; "" is no delimiter, and a space stands for any number of them."""
    if not delimiter:
        return [[line.strip().strip('"')] for line in lines]
    if delimiter == " ":
        lines = [" ".join(line.split()) for line in lines]
    return [[cell.strip() for cell in row] for row in csv.reader(lines, delimiter=delimiter)]


def sniffed(lines: Sequence[str], usual: str | None) -> str:
    """Return the delimiter with which lines have the same number of cells, and the cells most look like values.

    Args:
        lines: The first lines of the file.
        usual: Delimiter that the name of the file stands for, which is preferred; None: a name that says nothing.
    """
    order = list(dict.fromkeys([usual or "\t", "\t", ";", "|", ",", "", " "]))
    scores = {each: _score(rows(lines, each), each) for each in order}
    return max(order, key=lambda each: scores[each])  # the first of the best


def _score(cells: list[list[str]], delimiter: str) -> float:
    widths = Counter(map(len, cells))
    [(width, count)] = widths.most_common(1)
    if width < 2 and delimiter:
        return 0.0
    fitting = count / len(cells)
    if len(cells) > 1 and len(cells[0]) != width:
        by_r = 1 < len(cells[0]) == width - 1  # R leaves out the name of the first column
        fitting = fitting + 1 / len(cells) if by_r else fitting / 2
    values = [_value(cell, delimiter) for row in cells for cell in row]
    return fitting * sum(values) / max(1, len(values))


def _value(cell: str, delimiter: str) -> float:
    """Return how much a cell looks like a single value, from 0 to 1."""
    if cell.lower() in MISSING or is_number(cell) or _DATE.fullmatch(cell):
        return 1.0
    if delimiter and looks_like_number(cell) and not re.search(r"[;|\t]", cell):
        return 0.98 if "," in cell else 1.0
    return 0.0 if _HIDDEN.search(cell) else 0.9


def has_header(cells: Sequence[Sequence[str]]) -> bool:
    """Return whether the first row of a table (its first rows are given) holds the names of columns.

    It does if it holds no number, or a word above a column of numbers, and if its numbers, if any, count up while those
    of no other row do, as 0, 1, 2 or 2019, 2020, 2021.
    """
    first, rest = cells[0], cells[1:]
    numbers = [cell for cell in first if looks_like_number(cell)]
    if not numbers:
        return True
    if not _counting(numbers) or not rest:
        return False
    if any(_counting([cell for cell in row if looks_like_number(cell)]) for row in rest):
        return False
    words = [i for i, cell in enumerate(first) if cell.lower() not in MISSING and cell not in numbers]
    if any(all(looks_like_number(row[i]) for row in rest if i < len(row) and row[i]) for i in words):
        return True
    whole = all(cell.isdigit() for row in rest for cell in row if looks_like_number(cell))
    return not whole or not first[0] or len(numbers) > 4 or int(numbers[0]) in _YEARS


def _counting(cells: Sequence[str]) -> bool:
    """Return whether cells are whole numbers from 0 or 1 on, or years, each one more than the one before."""
    if not cells or not all(cell.isdigit() for cell in cells):
        return False
    found = [int(cell) for cell in cells]
    return found == list(range(found[0], found[0] + len(found))) and (found[0] in (0, 1) or found[0] in _YEARS)
