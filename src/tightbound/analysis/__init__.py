"""Questions asked of a trained model, and the estimates that answer them.

Names are imported when they are first used, so that the options of analyses stay free of torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tightbound.analysis.bounds.annealed import ais, bdmc
    from tightbound.analysis.bounds.estimator import evaluate
    from tightbound.analysis.bounds.gap import encoder_overfitting, inference_gap
    from tightbound.analysis.bounds.rate import rate_decomposition
    from tightbound.analysis.comparison.compare import Comparison, compare
    from tightbound.analysis.comparison.sweep import Point, Sweep, sweep
    from tightbound.analysis.detection.score import Detection, Scores, detect, score
    from tightbound.analysis.diagnosis.engine import Case, Check, diagnose
    from tightbound.analysis.diagnosis.findings import Diagnosis, Finding
    from tightbound.analysis.estimate import Estimate
    from tightbound.analysis.geometry.paths import Paths, compare_paths, paths, traversal
    from tightbound.analysis.representation import Probe, Steering, called, probe, probe_codes, steer
    from tightbound.analysis.result import Evaluation
    from tightbound.analysis.samples.features import fit_features
    from tightbound.analysis.samples.holes import Holes, holes
    from tightbound.analysis.samples.memorization import Memorization, memorization
    from tightbound.analysis.samples.quality import Quality, quality, sample_quality

_HOMES = {
    "bounds.annealed": ("ais", "bdmc"),
    "bounds.estimator": ("evaluate",),
    "bounds.gap": ("encoder_overfitting", "inference_gap"),
    "bounds.rate": ("rate_decomposition",),
    "comparison.compare": (
        "Comparison",
        "compare",
    ),
    "comparison.sweep": (
        "Point",
        "Sweep",
        "sweep",
    ),
    "detection.score": (
        "Detection",
        "Scores",
        "detect",
        "score",
    ),
    "diagnosis.engine": (
        "Case",
        "Check",
        "diagnose",
    ),
    "diagnosis.findings": (
        "Diagnosis",
        "Finding",
    ),
    "estimate": ("Estimate",),
    "geometry.paths": (
        "Paths",
        "compare_paths",
        "paths",
        "traversal",
    ),
    "representation": (
        "Probe",
        "Steering",
        "called",
        "probe",
        "probe_codes",
        "steer",
    ),
    "result": ("Evaluation",),
    "samples.features": ("fit_features",),
    "samples.holes": (
        "Holes",
        "holes",
    ),
    "samples.memorization": (
        "Memorization",
        "memorization",
    ),
    "samples.quality": (
        "Quality",
        "quality",
        "sample_quality",
    ),
}
_MODULES = {name: module for module, names in _HOMES.items() for name in names}

__all__ = [
    "Case",
    "Check",
    "Comparison",
    "Detection",
    "Diagnosis",
    "Estimate",
    "Evaluation",
    "Finding",
    "Holes",
    "Memorization",
    "Paths",
    "Point",
    "Probe",
    "Quality",
    "Scores",
    "Steering",
    "Sweep",
    "ais",
    "bdmc",
    "called",
    "compare",
    "compare_paths",
    "detect",
    "diagnose",
    "encoder_overfitting",
    "evaluate",
    "fit_features",
    "holes",
    "inference_gap",
    "memorization",
    "paths",
    "probe",
    "probe_codes",
    "quality",
    "rate_decomposition",
    "sample_quality",
    "score",
    "steer",
    "sweep",
    "traversal",
]


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_MODULES[name]}"), name)


def __dir__() -> list[str]:
    return __all__
