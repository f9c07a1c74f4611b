"""What is known about a trained model, in numbers that say how they were estimated."""

from tightbound.evaluation.ais import Annealed, ais, bdmc
from tightbound.evaluation.compare import Comparison, compare
from tightbound.evaluation.downstream import Probe, Steering, called, probe, probe_codes, steer
from tightbound.evaluation.evaluate import evaluate
from tightbound.evaluation.features import fit_features
from tightbound.evaluation.numbers import Estimate, Evaluation
from tightbound.evaluation.rate import Rate, rate_decomposition
from tightbound.evaluation.sweep import Point, Sweep, sweep

__all__ = ["Estimate", "Evaluation", "Point", "Rate", "Sweep", "evaluate", "rate_decomposition", "sweep"]
__all__ = ["Estimate", "Evaluation", "Probe", "Steering", "called", "evaluate", "probe", "probe_codes", "steer"]
from tightbound.evaluation.quality import Quality, quality, sample_quality

__all__ = ["Estimate", "Evaluation", "Quality", "evaluate", "fit_features", "quality", "sample_quality"]
from tightbound.evaluation.score import Detection, Scores, detect, score

__all__ = ["Comparison", "Detection", "Estimate", "Evaluation", "Scores", "compare", "detect", "evaluate", "score"]
from tightbound.evaluation.diagnosis import Check, Diagnosis, Finding, Subject, diagnose
from tightbound.evaluation.gap import InferenceGap, encoder_overfitting, inference_gap
from tightbound.evaluation.holes import Holes, holes
from tightbound.evaluation.memorisation import Memorisation, memorisation
from tightbound.evaluation.paths import Paths, compare_paths, paths, traversal

__all__ = [
    "Check",
    "Diagnosis",
    "Estimate",
    "Evaluation",
    "Finding",
    "Holes",
    "InferenceGap",
    "Memorisation",
    "Paths",
    "Subject",
    "compare_paths",
    "diagnose",
    "encoder_overfitting",
    "evaluate",
    "holes",
    "inference_gap",
    "memorisation",
    "paths",
    "traversal",
]
__all__ = ["Annealed", "Estimate", "Evaluation", "ais", "bdmc", "evaluate"]
