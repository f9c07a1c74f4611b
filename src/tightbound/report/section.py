"""A section of a page."""

from __future__ import annotations

import base64
import html
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tightbound.report.table import brief


@dataclass(frozen=True)
class Section:
    """A heading, then numbers, a picture, and what to see in them."""

    title: str
    description: str
    name: str = ""  # of the picture's file in figures/
    picture: bytes | None = None  # PNG or SVG, as the name says
    numbers: Mapping[str, Mapping[str, Any]] | None = None  # estimates as JSON has them, by name
    body: str = ""  # HTML, after the numbers

    def html(self) -> str:
        """Self-contained."""
        title = html.escape(self.title)
        parts = [f"<section><h2>{title}</h2>", "" if self.numbers is None else _table(self.numbers), self.body]
        if self.picture is not None:
            kind = "svg+xml" if self.name.endswith("svg") else "png"
            source = base64.b64encode(self.picture).decode()
            look = "chart" if kind != "png" else "pixels"
            parts.append(f'<img class={look} alt="{title}" src="data:image/{kind};base64,{source}">')
        return "".join([*parts, f"<p>{html.escape(self.description)}</p></section>"])


def _table(numbers: Mapping[str, Mapping[str, Any]]) -> str:
    cells = "".join(
        f"<tr><th scope=row>{html.escape(row.name)}</th><td class=value>{html.escape(row.value)}</td>"
        f"<td class=unit>{html.escape(row.unit)}</td><td>{html.escape(row.description)}</td></tr>"
        for row in brief(numbers)
    )
    return f"<table><tbody>{cells}</tbody></table>"
