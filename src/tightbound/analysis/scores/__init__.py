"""Scores of single data, higher where they are more unusual: one small class each, named in `TABLE["score"]`."""

from tightbound.analysis.scores.base import Score, View
from tightbound.analysis.scores.bounds import NLL, NegativeELBO, Reconstruction, Typicality
from tightbound.analysis.scores.codes import Mahalanobis, Prior
from tightbound.analysis.scores.complexity import Complexity
from tightbound.analysis.scores.regret import Regret

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
