"""Questions asked of a trained model, and the estimates that answer them.

Names are imported when they are first used, so that the options of analyses stay free of torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tightbound.analysis.base import Analysis, Subject
    from tightbound.analysis.bounds.annealed import ais, bdmc
    from tightbound.analysis.bounds.estimator import evaluate
    from tightbound.analysis.bounds.gap import encoder_overfitting, inference_gap
    from tightbound.analysis.bounds.rate import rate_decomposition
    from tightbound.analysis.comparison.compare import Comparison
    from tightbound.analysis.comparison.engine import compare
    from tightbound.analysis.detection.engine import detect, score
    from tightbound.analysis.detection.score import Scores
    from tightbound.analysis.diagnosis.engine import Case, Check, diagnose
    from tightbound.analysis.diagnosis.findings import Diagnosis, Finding
    from tightbound.analysis.estimate import Estimate
    from tightbound.analysis.figures import Figure
    from tightbound.analysis.geometry.measures import compare_paths, paths, traversal
    from tightbound.analysis.representation.engine import probe
    from tightbound.analysis.representation.probe import probe_codes
    from tightbound.analysis.representation.steering import classified_as, steer
    from tightbound.analysis.result import Evaluation, Result, Table
    from tightbound.analysis.samples.copies import memorization
    from tightbound.analysis.samples.coverage import holes
    from tightbound.analysis.samples.features import fit_features
    from tightbound.analysis.samples.sample_quality import SampleQuality, compare_samples, sample_quality

_HOMES = {
    "base": (
        "Analysis",
        "Subject",
    ),
    "bounds.annealed": (
        "ais",
        "bdmc",
    ),
    "bounds.estimator": ("evaluate",),
    "bounds.gap": (
        "encoder_overfitting",
        "inference_gap",
    ),
    "bounds.rate": ("rate_decomposition",),
    "comparison.compare": ("Comparison",),
    "comparison.engine": ("compare",),
    "detection.engine": (
        "detect",
        "score",
    ),
    "detection.score": ("Scores",),
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
    "figures": ("Figure",),
    "geometry.measures": (
        "compare_paths",
        "paths",
        "traversal",
    ),
    "representation.engine": ("probe",),
    "representation.probe": ("probe_codes",),
    "representation.steering": (
        "classified_as",
        "steer",
    ),
    "result": (
        "Evaluation",
        "Result",
        "Table",
    ),
    "samples.copies": ("memorization",),
    "samples.coverage": ("holes",),
    "samples.features": ("fit_features",),
    "samples.sample_quality": (
        "SampleQuality",
        "compare_samples",
        "sample_quality",
    ),
}
_MODULES = {name: module for module, names in _HOMES.items() for name in names}

__all__ = [
    "Analysis",
    "Case",
    "Check",
    "Comparison",
    "Diagnosis",
    "Estimate",
    "Evaluation",
    "Figure",
    "Finding",
    "Result",
    "SampleQuality",
    "Scores",
    "Subject",
    "Table",
    "ais",
    "bdmc",
    "classified_as",
    "compare",
    "compare_paths",
    "compare_samples",
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
    "rate_decomposition",
    "sample_quality",
    "score",
    "steer",
    "traversal",
]


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_MODULES[name]}"), name)


def __dir__() -> list[str]:
    return __all__
