"""What is known about a trained model, in numbers that say how they were estimated."""

from tightbound.analysis.ais import Annealed, ais, bdmc
from tightbound.analysis.compare import Comparison, compare
from tightbound.analysis.downstream import Probe, Steering, called, probe, probe_codes, steer
from tightbound.analysis.evaluate import evaluate
from tightbound.analysis.features import fit_features
from tightbound.analysis.numbers import Estimate, Evaluation
from tightbound.analysis.rate import Rate, rate_decomposition
from tightbound.analysis.sweep import Point, Sweep, sweep

__all__ = ["Estimate", "Evaluation", "Point", "Rate", "Sweep", "evaluate", "rate_decomposition", "sweep"]
__all__ = ["Estimate", "Evaluation", "Probe", "Steering", "called", "evaluate", "probe", "probe_codes", "steer"]
from tightbound.analysis.quality import Quality, quality, sample_quality

__all__ = ["Estimate", "Evaluation", "Quality", "evaluate", "fit_features", "quality", "sample_quality"]
from tightbound.analysis.score import Detection, Scores, detect, score

__all__ = ["Comparison", "Detection", "Estimate", "Evaluation", "Scores", "compare", "detect", "evaluate", "score"]
from tightbound.analysis.diagnosis import Check, Diagnosis, Finding, Subject, diagnose
from tightbound.analysis.gap import InferenceGap, encoder_overfitting, inference_gap
from tightbound.analysis.holes import Holes, holes
from tightbound.analysis.memorization import Memorization, memorization
from tightbound.analysis.paths import Paths, compare_paths, paths, traversal

__all__ = [
    "Check",
    "Diagnosis",
    "Estimate",
    "Evaluation",
    "Finding",
    "Holes",
    "InferenceGap",
    "Memorization",
    "Paths",
    "Subject",
    "compare_paths",
    "diagnose",
    "encoder_overfitting",
    "evaluate",
    "holes",
    "inference_gap",
    "memorization",
    "paths",
    "traversal",
]
__all__ = ["Annealed", "Estimate", "Evaluation", "ais", "bdmc", "evaluate"]
