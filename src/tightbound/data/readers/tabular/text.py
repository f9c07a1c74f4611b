"""Tables as text: .csv, .tsv and .txt files, also compressed."""

from __future__ import annotations

import csv
import gzip
import io
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from pyarrow import compute
from pyarrow import csv as pacsv

from tightbound.core.errors import InputError, first_line
from tightbound.data.options import Options
from tightbound.data.readers import paths
from tightbound.data.readers.tabular import dialect
from tightbound.data.readers.tabular.cells import looks_like_number
from tightbound.data.readers.tabular.dialect import NAMES
from tightbound.data.readers.tabular.tables import Held

_UNNAMED = re.compile(r"|unnamed: ?\d+|\.\.\.1", re.IGNORECASE)  # also as pandas and readr name such a column
_COUNTERS = frozenset({"index", "id", "idx", "row", "rowid", "row_id", "rownames"})


def read_text(path: Path, options: Options) -> Held:
    """Read a table, and recognize its delimiter, header and index of rows.

    Training data leave out rows in which every cell is empty.
    """
    text, notes = dialect.decoded(_content(path), path, options.encoding)
    form = _form(text, path, options)
    names, cells = names_of(form), _cells(form, path)
    where = Places(path, form)
    if not len(cells):
        raise InputError(f"{path} has a header but no rows; it must hold a row for each example")
    pc: Any = compute
    columns, blank = [], np.ones(len(cells), bool)
    for column in cells.columns:
        column = pc.utf8_trim_whitespace(column.combine_chunks())
        blank &= np.asarray(pc.equal(column, ""))
        columns.append(column)
    table = pa.Table.from_arrays(columns, names)
    notes += form.notes
    lines = np.arange(len(table))
    if blank.any() and len(names) > 1 and not options.like:
        notes += (f"left out, since every cell is empty: {blank.sum()} of the rows",)
        table, lines = table.filter(pa.array(~blank)), lines[~blank]
    table, index, said = _without_index(table, form, options)
    return Held(
        table, str(path), titled=form.titled, notes=notes + said, names=index, row_numbers=(lines + 1).tolist(),
        where=lambda i: where(int(lines[i])), decimal="." if form.delimiter == "," else None,
    )  # fmt: skip


@dataclass(frozen=True)
class Form:
    """How a table is written."""

    body: str  # without what is above the header
    lines: list[str]  # of the body, those that are not empty
    numbers: list[int]  # of these lines in the file
    delimiter: str
    titled: bool
    first: list[str]  # cells of the first row
    width: int
    notes: tuple[str, ...]


class Places:
    """Describes the rows of a table by lines of its file."""

    def __init__(self, path: Path, form: Form) -> None:
        """The lines of a file; rows are counted where a row can have more than one line."""
        self._numbers, self._titled, self._quoted = form.numbers, form.titled, '"' in form.body

    def __call__(self, row: int) -> str:
        """Describe the row at this position, without the header."""
        at = row + int(self._titled)
        return f"row {at + 1}" if self._quoted or at >= len(self._numbers) else f"line {self._numbers[at]}"


def form_of(path: Path, options: Options) -> tuple[str, Form]:
    """Return the text of a table, and how it is written."""
    text, _ = dialect.decoded(_content(path), path, options.encoding)
    return text, _form(text, path, options)


def names_of(form: Form) -> list[str]:
    """Return the names of the columns."""
    names = [cell if form.titled else "" for cell in form.first]
    return [name or f"column {i}" for i, name in enumerate(names, 1)]


def _content(path: Path) -> bytes:
    try:
        content = path.read_bytes()
        return gzip.decompress(content) if path.suffix.lower() == ".gz" else content
    except (OSError, EOFError) as error:
        raise InputError(f"{path} cannot be read: {first_line(error)}") from None


def _form(text: str, path: Path, options: Options) -> Form:
    """Return how a table is written: as the options say, or as its first lines tell."""
    usual, delimiter = paths.delimiter(path), options.delimiter
    notes: list[str] = []
    every = text.split("\n")
    start = next((i for i, line in enumerate(every) if line.strip()), len(every))
    if declared := re.fullmatch(r"sep=(.)", every[start].strip() if start < len(every) else ""):  # by Excel
        start, delimiter = start + 1, delimiter or declared[1]
    comments = start
    while start < len(every) and every[start].startswith("#"):
        start += 1
    kept = [(i, line) for i, line in enumerate(every[start:], start + 1) if line.strip()]
    if start > comments and kept:  # the last comment may be the header, as numpy.savetxt writes it
        last = every[start - 1].lstrip("# ")
        split = delimiter or dialect.sniffed([line for _, line in kept[: dialect.SAMPLE]], usual)
        if len(dialect.rows([last], split)[0]) == len(dialect.rows([kept[0][1]], split)[0]) > 1:
            kept.insert(0, (start, last))
        notes.append(f"left out: {start - comments} lines of comments")
    if not kept:
        raise InputError(f"{path} is empty; it must hold a row for each example")
    lines = [line for _, line in kept]
    sample = lines[: dialect.SAMPLE]
    if delimiter is None:
        delimiter = dialect.sniffed(sample, usual)
        if delimiter != usual and delimiter:
            notes.append(f"delimiter: {NAMES[delimiter]}, as the lines tell; if it is another, pass delimiter=")
    if len(delimiter) > 1:
        raise InputError(f"delimiter={delimiter!r} was given; it must be one character, such as ';'")
    cells = [row for row in dialect.rows(sample, delimiter) if any(row)] or [[""]]
    titled = dialect.has_header(cells) if options.header is None else options.header
    width = max((len(row) for row in cells), key=[len(row) for row in cells].count)
    if titled and len(cells[0]) == width - 1:  # as R writes a table with row names
        cells[0] = ["", *cells[0]]
        lines = [f'""{delimiter}{lines[0]}', *lines[1:]]
    number_header = titled and any(map(dialect.looks_like_number, cells[0]))
    if number_header and options.header is None:
        notes.append(f"header: the first row, {', '.join(cells[0])[:60]}; if it holds data, pass header=False")
    return Form(
        "\n".join(lines) + "\n", lines, [i for i, _ in kept], delimiter, titled, cells[0], len(cells[0]), tuple(notes)
    )


def _cells(form: Form, path: Path) -> pa.Table:
    """Return the cells below the header as words."""
    names, delimiter, body = names_of(form), form.delimiter, form.body
    if delimiter in ("", " "):  # runs of spaces, or a single column
        file = io.StringIO()
        csv.writer(file, delimiter="\x1f", lineterminator="\n").writerows(dialect.rows(form.lines, delimiter))
        delimiter, body = "\x1f", file.getvalue()
    odd: list[tuple[int, int]] = []

    def skip(row: Any) -> str:
        odd.append((row.number, row.actual_columns))
        return "skip"

    try:
        cells = pacsv.read_csv(
            io.BytesIO(body.encode()),
            pacsv.ReadOptions(column_names=[str(i) for i in range(len(names))], use_threads=False),
            pacsv.ParseOptions(delimiter=delimiter, newlines_in_values=True, invalid_row_handler=skip),
            pacsv.ConvertOptions(column_types={str(i): pa.string() for i in range(len(names))}),
        )
    except pa.ArrowException as error:
        raise InputError(f"{path} is not a table: {first_line(error)}; give all rows as many cells") from None
    if odd:
        lines = [(form.numbers[n - 1] if '"' not in body and n else n, width) for n, width in odd]
        shown = ", ".join(f"line {line} has {width}" for line, width in lines[:5])
        more = f" and {len(odd) - 5:,} more lines" if len(odd) > 5 else ""
        raise InputError(
            f"{path} is not a table: the first row has {len(names)} cells, {shown}{more}; give all rows as many, or "
            f"pass delimiter= (it was read as {NAMES.get(form.delimiter, form.delimiter)})"
        )
    return cells.slice(int(form.titled))


def _without_index(table: pa.Table, form: Form, options: Options) -> tuple[pa.Table, list[str] | None, tuple[str, ...]]:
    """Return a table without the column that numbers or names its rows, this column, and a note.

    It is the first, if it has no name and no value twice, or is called as an index is and counts 0, 1, 2, ...
    """
    if options.index is False or (len(table.column_names) < 2 and not options.index):
        return table, None, ()
    name, column = table.column_names[0], table.column(0).combine_chunks()
    if options.index is None:
        if (
            not form.titled
            or len(table) < 2
            or name in (*options.schema.columns, options.label_column, options.id, options.schema.id)
        ):
            return table, None, ()
        found = column.to_pylist()
        whole = all(re.fullmatch(r"\d{1,15}", word) for word in found)
        counted = whole and [int(word) - int(found[0]) for word in found] == list(range(len(found)))
        unnamed = _UNNAMED.fullmatch(form.first[0]) is not None
        distinct = len({*found}) == len(found) and (whole or not any(map(looks_like_number, found)))
        if not (unnamed and distinct) and not (counted and name.lower() in _COUNTERS):
            return table, None, ()
    what = "the first column" if _UNNAMED.fullmatch(form.first[0]) else f"column {name}"
    hint = "" if options.index else "; if it is data, pass index=False"
    return table.remove_column(0), column.to_pylist(), (f"left out: {what}, which names the rows{hint}",)
