"""Sweeps, which train a run for each of several settings and choose the best by validation data."""

from typing import TYPE_CHECKING

from tightbound.core.exports import lazy_names

if TYPE_CHECKING:
    from tightbound.search.engine import sweep as sweep
    from tightbound.search.result import SweepResult as SweepResult
    from tightbound.search.result import SweptRun as SweptRun

__getattr__, __dir__, __all__ = lazy_names(__name__)
