"""Data: arrays, data frames, files, folders, torch data sets and loaders, built-in sets.

Names are imported on first use, so that the names of the built-in data sets are available without torch.
"""

from typing import TYPE_CHECKING

from tightbound.core.exports import lazy_names

if TYPE_CHECKING:
    from tightbound.data.builtin import BUILTINS as BUILTINS
    from tightbound.data.builtin.scenes import Scenes as Scenes
    from tightbound.data.builtin.sprites import Sprites as Sprites
    from tightbound.data.dataset import Data as Data
    from tightbound.data.given import Source as Source
    from tightbound.data.options import Limits as Limits
    from tightbound.data.source import open as open
    from tightbound.data.splits.base import Split as Split
    from tightbound.data.splits.indexed import ArraySplit as ArraySplit
    from tightbound.data.splits.indexed import Indexed as Indexed
    from tightbound.data.splits.loader import LoaderSplit as LoaderSplit
    from tightbound.data.splits.workers import MappedSplit as MappedSplit

__getattr__, __dir__, __all__ = lazy_names(__name__)
