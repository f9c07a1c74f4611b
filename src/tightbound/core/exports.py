"""Packages whose names are imported when they are first used. Free of torch."""

from __future__ import annotations

import ast
import importlib
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any


def lazy_names(
    package: str, *tables: Mapping[str, str]
) -> tuple[Callable[[str], Any], Callable[[], list[str]], list[str]]:
    """Return `__getattr__`, `__dir__` and `__all__` of a package.

    Its names are those that it imports under `if TYPE_CHECKING:`, for editors and type checkers, and the classes in it
    that a table of names lists: a component needs no line in its package's `__init__.py`.

    Args:
        package: Name of the package.
        *tables: Import paths of components, "module:Class", by name.
    """
    module = sys.modules[package]
    blocks = [
        b for b in ast.parse(Path(str(module.__file__)).read_text(encoding="utf-8")).body if isinstance(b, ast.If)
    ]
    imports = [node for block in blocks for node in block.body if isinstance(node, ast.ImportFrom)]
    homes = {alias.name: str(node.module) for node in imports for alias in node.names}
    paths = [path.partition(":") for table in tables for path in table.values()]
    homes |= {name: home for home, _, name in paths if home.startswith(f"{package}.")}
    names = sorted(homes)

    def load(name: str) -> Any:
        if name not in homes:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        if homes[name] == package:
            return importlib.import_module(f"{package}.{name}")
        value = getattr(importlib.import_module(homes[name]), name)
        setattr(module, name, value)
        return value

    return load, lambda: names, names
