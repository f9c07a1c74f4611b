"""The answer of an analysis as HTML."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from html import escape

from tightbound.analysis.figures import Figure
from tightbound.analysis.result import Result, Table
from tightbound.pages.rows import Row, rows

LONG = 10  # rows; longer tables are folded


def section(title: str, result: Result, images: Mapping[str, bytes]) -> str:
    """Return a section: conclusions, figures and tables, with the table of estimates folded below.

    Args:
        title: Heading.
        result: The answer.
        images: The figures of the result, drawn, by name.
    """
    parts = [f"<section><h2>{escape(title)}</h2>"]
    parts += [f"<p class=sentence>{escape(sentence)}</p>" for sentence in result.sentences]
    parts += [figure_html(figure, images[figure.name]) for figure in result.figures]
    parts += [table_html(table) for table in result.tables]
    if result.estimates:
        shown = estimates_html(rows(result.estimates))
        parts.append(f"<details><summary>All numbers</summary><p>{escape(result.caption)}</p>{shown}</details>")
    elif result.caption:
        parts.append(f"<p>{escape(result.caption)}</p>")
    return "\n".join([*parts, "</section>"])


def figure_html(figure: Figure, image: bytes) -> str:
    """Return a figure with its caption, the image embedded."""
    kind, look = ("png", "pixels") if figure.is_picture else ("svg+xml", "chart")
    source = base64.b64encode(image).decode()
    return (
        f'<figure><h3>{escape(figure.title)}</h3><img class={look} alt="{escape(figure.title)}" '
        f'src="data:image/{kind};base64,{source}"><figcaption>{escape(figure.caption)}</figcaption></figure>'
    )


def table_html(table: Table) -> str:
    """Return a table with its title, caption and notes; a long one is folded."""
    head = "".join(f"<th scope=col>{escape(cell)}</th>" for cell in table.columns)
    body = "".join(
        f"<tr><th scope=row>{escape(row[0])}</th>" + "".join(_cell(cell) for cell in row[1:]) + "</tr>"
        for row in table.rows
    )
    caption = f"<p>{escape(table.caption)}</p>" if table.caption else ""
    notes = "".join(f"<p>{escape(note)}</p>" for note in table.notes)
    content = (
        f"{caption}<div class=wide><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>{notes}"
    )
    if len(table.rows) > LONG:
        return f"<details><summary>{escape(table.title)}</summary>{content}</details>"
    return f"<h3>{escape(table.title)}</h3>{content}"


def _cell(text: str) -> str:
    """Return a table cell; numbers stand out and do not wrap."""
    is_number = bool(text) and (text[0].isdigit() or text[0] in "-+±.") and len(text) < 40
    return f"<td{' class=value' if is_number else ''}>{escape(text)}</td>"


def estimates_html(lines: Sequence[Row]) -> str:
    """Return the table of estimates."""
    cells = "".join(
        f"<tr><th scope=row>{escape(row.name)}</th><td class=value>{escape(row.value)}</td>"
        f"<td class=unit>{escape(row.unit)}</td><td>{escape(row.description)}</td></tr>"
        for row in lines
    )
    return f"<div class=wide><table><tbody>{cells}</tbody></table></div>"
