"""What is known about a trained model, in numbers that say how they were estimated."""

from tightbound.evaluation.diagnosis import Check, Diagnosis, Finding, Subject, diagnose
from tightbound.evaluation.evaluate import evaluate
from tightbound.evaluation.gap import InferenceGap, encoder_overfitting, inference_gap
from tightbound.evaluation.holes import Holes, holes
from tightbound.evaluation.memorisation import Memorisation, memorisation
from tightbound.evaluation.numbers import Estimate, Evaluation
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
