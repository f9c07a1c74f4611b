"""Data: arrays, data frames, files, folders, torch data sets and loaders, built-in sets.

Names are imported on first use, so that the names of the built-in data sets are available without torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from tightbound.data.builtin import BUILTINS

if TYPE_CHECKING:
    from tightbound.data.builtin.scenes import Scenes
    from tightbound.data.builtin.sprites import Sprites
    from tightbound.data.dataset import Data
    from tightbound.data.given import Source
    from tightbound.data.loader_split import LoaderSplit
    from tightbound.data.options import Limits
    from tightbound.data.source import open
    from tightbound.data.split import ArraySplit, Indexed, MappedSplit, Split

__all__ = [
    "BUILTINS",
    "ArraySplit",
    "Data",
    "Indexed",
    "Limits",
    "LoaderSplit",
    "MappedSplit",
    "Scenes",
    "Source",
    "Split",
    "Sprites",
    "open",
]

_MODULES = {
    "Data": "dataset", "Limits": "options", "LoaderSplit": "loader_split", "Scenes": "builtin.scenes",
    "Source": "given", "Sprites": "builtin.sprites", "open": "source",
}  # fmt: skip


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_MODULES.get(name, 'split')}"), name)
