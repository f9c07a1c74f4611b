"""`tightbound list`."""

from __future__ import annotations

import inspect
import json

from tightbound.cli.arguments import List
from tightbound.core.parts import TABLE, find


def show(command: List) -> None:
    """Prints the names of a kind, with a line on each."""
    entries = _entries(command.kind)
    if command.json:
        print(json.dumps(entries, indent=2, ensure_ascii=False))
        return
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, padding=(0, 2, 0, 0), show_header=False)
    table.add_column(no_wrap=True, style="bold")
    table.add_column()
    for name, entry in entries.items():
        table.add_row(name, Text("\n".join(entry.values())))
    Console().print(table)


def _entries(kind: str) -> dict[str, dict[str, str]]:
    if kind == "datasets":
        from tightbound.data.names import BUILTINS

        return {name: {"says": line} for name, line in BUILTINS.items()}
    if kind == "recipes":
        from tightbound.recipes import RECIPES

        return {name: {"says": _first_line(function)} for name, function in RECIPES.items()}
    part = kind if kind in TABLE else kind.removesuffix("s")
    return {name: _part(part, name) for name in TABLE[part]}


def _part(kind: str, name: str) -> dict[str, str]:
    cls = find(kind, name)
    supplied = ("shape", "features", "network", "latent")  # the composition gives these
    own = [
        str(p).partition(":")[0] if p.default is p.empty else f"{p.name}={p.default!r}"
        for p in inspect.signature(cls).parameters.values()
        if p.name not in supplied and p.kind is not p.VAR_KEYWORD
    ]
    entry = {"says": _first_line(cls)}
    return entry | ({"arguments": ", ".join(own)} if own else {})


def _first_line(thing: object) -> str:
    return (inspect.getdoc(thing) or "").partition("\n\n")[0].replace("\n", " ")
