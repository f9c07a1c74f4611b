"""`tightbound list` and `tightbound cite`."""

from __future__ import annotations

import inspect
import json

from tightbound.cli.arguments import Cite, List
from tightbound.components import TABLE, find, signature
from tightbound.core.errors import InputError

SUPPLIED = ("shape", "features", "network", "latent", "context", "kinds", "classes")  # the composition gives these
OWN_SUPPLIED = {"quantizer": ("size",), "code-prior": ("grid", "depth", "entries", "maps", "context")}


def show(command: List) -> None:
    """Print the names of a kind, each with a description."""
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


def cite(command: Cite) -> None:
    """Print the BibTeX entries of a recipe."""
    from tightbound.recipes import bibliography, find_recipe

    keys, entries = find_recipe(command.recipe).cites, bibliography()
    if not keys:
        raise InputError(f"recipe {command.recipe!r} is tightbound's own; there is no paper to cite")
    print("\n".join(entries[key] for key in keys))


def _entries(kind: str) -> dict[str, dict[str, str]]:
    if kind == "datasets":
        from tightbound.data.builtin import BUILTINS

        return {name: {"description": line} for name, line in BUILTINS.items()}
    if kind == "recipes":
        from tightbound.recipes import all_recipes, bibliography, citation

        short = {key: citation(entry) for key, entry in bibliography().items()}
        cited = {name: {"cites": "; ".join(short[k] for k in r.cites)} for name, r in all_recipes().items() if r.cites}
        return {
            name: {"description": found.description, **cited.get(name, {})} for name, found in all_recipes().items()
        }
    part = kind if kind in TABLE else kind.removesuffix("s")
    return {name: _part(part, name) for name in TABLE[part]}


def _part(kind: str, name: str) -> dict[str, str]:
    cls = find(kind, name)
    supplied = OWN_SUPPLIED.get(kind, SUPPLIED)
    own = [
        str(p).partition(":")[0] if p.default is p.empty else f"{p.name}={p.default!r}"
        for p in signature(cls).parameters.values()
        if p.name not in supplied and p.kind is not p.VAR_KEYWORD
    ]
    entry = {"description": _first_line(cls)}
    return entry | ({"arguments": ", ".join(own)} if own else {})


def _first_line(thing: object) -> str:
    return (inspect.getdoc(thing) or "").partition("\n\n")[0].replace("\n", " ")
