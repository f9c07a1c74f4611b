"""Scores of single examples, higher if the example is more unusual: one class each, named in `TABLE["score"]`."""

from tightbound.analysis.detection.scores.base import Score, View
from tightbound.analysis.detection.scores.bounds import NLL, NegativeELBO, Reconstruction, Typicality
from tightbound.analysis.detection.scores.codes import Mahalanobis, Prior
from tightbound.analysis.detection.scores.complexity import Complexity
from tightbound.analysis.detection.scores.regret import Regret

__all__ = [
    "NLL",
    "Complexity",
    "Mahalanobis",
    "NegativeELBO",
    "Prior",
    "Reconstruction",
    "Regret",
    "Score",
    "Typicality",
    "View",
]
