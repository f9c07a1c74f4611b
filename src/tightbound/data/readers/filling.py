"""A table as text with its gaps filled, and every other cell as it was written."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Mapping
from pathlib import Path

from tightbound.data.options import Options
from tightbound.data.readers import dialect
from tightbound.data.readers.cells import MISSING, like
from tightbound.data.readers.text import form_of, names_of

SAMPLE = 200  # cells of a column that show how its values are written


def filled(path: Path, options: Options, values: Mapping[int, Mapping[str, float | str]]) -> tuple[str, int]:
    """Return the text of a table with its gaps filled, and their number. Lines without gaps stay as they are.

    Args:
        path: The file.
        options: How it is read.
        values: What belongs in a gap: for each row, counted from 1 without the header, values by column.
    """
    text, form = form_of(path, options)
    every, names = text.split("\n"), names_of(form)
    spans = _records(form.lines, form.delimiter)[int(form.titled) :]
    writers: dict[int, Callable[[float], str]] = {}
    count = 0
    for row, (start, end, cells) in enumerate(spans, 1):
        own, gaps = values.get(row, {}), 0
        for i, name in enumerate(names):
            if name not in own or i >= len(cells) or cells[i].strip().lower() not in MISSING:
                continue
            value = own[name]
            if not isinstance(value, str):
                if i not in writers:
                    seen = (each[i].strip() for _, _, each in spans if i < len(each))
                    shown = [cell for cell in seen if cell.lower() not in MISSING][:SAMPLE]
                    writers[i] = like(shown, options.decimal)
                value = writers[i](float(value))
            cells[i], gaps = value, gaps + 1
        if gaps:
            lines = [number - 1 for number in form.numbers[start:end]]
            every[lines[0]] = _written(cells, form.delimiter)
            for line in lines[1:]:
                every[line] = "\0"  # a record of several lines is one line now
            count += gaps
    return "\n".join(line for line in every if line != "\0"), count


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
