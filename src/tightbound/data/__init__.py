"""Data: built-in sets, arrays, files, folders of images, tables, torch datasets and loaders.

Names are imported on first use, so that `tightbound.data.names` stays free of torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from tightbound.data.names import BUILTINS

if TYPE_CHECKING:
    from tightbound.data.loader_split import LoaderSplit
    from tightbound.data.scenes import Scenes
    from tightbound.data.source import Data, open
    from tightbound.data.split import ArraySplit, Indexed, MappedSplit, Split
    from tightbound.data.sprites import Sprites

__all__ = [
    "BUILTINS",
    "ArraySplit",
    "Data",
    "Indexed",
    "LoaderSplit",
    "MappedSplit",
    "Scenes",
    "Split",
    "Sprites",
    "open",
]

_HOME = {
    "Data": "source", "open": "source", "LoaderSplit": "loader_split", "Scenes": "scenes", "Sprites": "sprites"
}  # fmt: skip


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOME.get(name, 'split')}"), name)
