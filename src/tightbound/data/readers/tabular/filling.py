"""Tables as text with their gaps filled, and all other cells as they were written."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from tightbound.data.options import Options
from tightbound.data.readers.tabular import dialect
from tightbound.data.readers.tabular.cells import MISSING, like
from tightbound.data.readers.tabular.text import Form, form_of, names_of

SAMPLE = 200  # cells of a column that show how its values are written


Values = Mapping[int, Mapping[str, float | str]]  # values for cells: by row, counted from 1, then by column


def filled(path: Path, options: Options, values: Sequence[Values], lead: str | None = None) -> tuple[str, int]:
    """Replace the values of some cells of a table as text; all other lines stay as they are.

    Args:
        path: The file.
        options: How it is read.
        values: Values for gaps and other cells to replace. Several sets give as many tables, one below the other, with
            one header.
        lead: Name of a first column, which numbers these tables from 1. Default: no such column.

    Returns:
        The text, and the number of replaced values per table.
    """
    text, form = form_of(path, options)
    names, spans = names_of(form), _records(form.lines, form.delimiter)
    header = spans[0] if form.titled else None
    every, first = text.split("\n"), form.numbers[0] - 1 if header is None else form.numbers[header[1] - 1]
    end = form.numbers[-1]
    above, body, below = every[:first], every[first:end], every[end:]
    writers: dict[int, Callable[[float], str]] = {}
    tables, count = [], 0
    for number, own in enumerate(values, 1):
        lines, count = _table(body, first, form, names, spans[int(form.titled) :], own, writers, options)
        tables += [_led(line, str(number), form) if starts and lead is not None else line for line, starts in lines]
    if lead is not None and header is not None:
        place = form.numbers[header[0]] - 1
        above[place] = _led(above[place], lead, form)
    return "\n".join([*above, *tables, *below]), count


def _table(
    body: list[str],
    first: int,
    form: Form,
    names: Sequence[str],
    spans: Sequence[tuple[int, int, list[str]]],
    values: Values,
    writers: dict[int, Callable[[float], str]],
    options: Options,
) -> tuple[list[tuple[str, bool]], int]:
    """Return lines with replaced values, whether a row starts in each line, and the number of replaced values."""
    every: list[tuple[str, bool] | None] = [(line, False) for line in body]
    count = 0
    for row, (start, end, found) in enumerate(spans, 1):
        own, gaps, cells = values.get(row, {}), 0, [*found]
        for i, name in enumerate(names):
            if name not in own or i >= len(cells):
                continue
            value = own[name]
            if not isinstance(value, str):
                if i not in writers:
                    others = (each for at, (_, _, each) in enumerate(spans, 1) if name not in values.get(at, {}))
                    seen = (each[i].strip() for each in others if i < len(each))
                    shown = [cell for cell in seen if cell.lower() not in MISSING][:SAMPLE]
                    writers[i] = like(shown, options.decimal)
                value = writers[i](float(value))
            cells[i], gaps = value, gaps + 1
        lines = [number - 1 - first for number in form.numbers[start:end]]
        every[lines[0]] = (_written(cells, form.delimiter) if gaps else body[lines[0]], True)
        for line in lines[1:] if gaps else ():
            every[line] = None  # a record of several lines becomes one line
        count += gaps
    return [line for line in every if line is not None], count


def _led(line: str, cell: str, form: Form) -> str:
    """Return a line with a cell added at its beginning."""
    return f"{cell}{form.delimiter or ','}{line}"


def _records(lines: list[str], delimiter: str) -> list[tuple[int, int, list[str]]]:
    """Return for each row its first line, the line after its last one, and its cells."""
    if delimiter in ("", " "):
        return [(i, i + 1, row) for i, row in enumerate(dialect.rows(lines, delimiter))]
    found, start = [], 0
    reader = csv.reader((f"{line}\n" for line in lines), delimiter=delimiter)
    for cells in reader:
        found.append((start, reader.line_num, cells))
        start = reader.line_num
    return found


def _written(cells: list[str], delimiter: str) -> str:
    file = io.StringIO()
    csv.writer(file, delimiter=delimiter or "\x1f", lineterminator="").writerow(cells)
    return file.getvalue()
