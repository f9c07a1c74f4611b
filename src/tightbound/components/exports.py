"""Public names of the component packages, derived from the table of names. Does not import torch."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from tightbound.components.table import TABLE


def public_names(package: str, *kinds: str, **modules: Sequence[str]) -> dict[str, str]:
    """Return the module that defines each public name of a package.

    A component's class is public once the table of names lists it, without a line in its package's `__init__.py`.

    Args:
        package: Name of the package.
        *kinds: Kinds of components in the package, keys of the table of names.
        **modules: Further public names, by the submodule that defines them.
    """
    paths = [path.partition(":") for kind in kinds for path in TABLE[kind].values()]
    own = {name: module for module, _, name in paths if module.startswith(f"{package}.")}
    return own | {name: f"{package}.{module}" for module, names in modules.items() for name in names}


def load_name(package: str, names: Mapping[str, str], name: str) -> Any:
    """Import a public name on first use; for a package's `__getattr__`.

    Raises:
        AttributeError: If the package has no such name.
    """
    if name not in names:
        raise AttributeError(f"module {package!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(names[name]), name)
    setattr(sys.modules[package], name, value)
    return value
