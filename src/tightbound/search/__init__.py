"""Sweeps: a run for each of several settings, chosen by validation data."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tightbound.search.engine import sweep
    from tightbound.search.result import SweepResult, SweptRun

_NAMES = {"SweepResult": "result", "SweptRun": "result", "sweep": "engine"}
__all__ = ["SweepResult", "SweptRun", "sweep"]


def __getattr__(name: str) -> Any:
    """Import names when they are first used, so that the command line can read options without torch."""
    if name not in _NAMES:
        raise AttributeError(f"module 'tightbound.search' has no attribute {name!r}")
    return getattr(importlib.import_module(f"tightbound.search.{_NAMES[name]}"), name)
