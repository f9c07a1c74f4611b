"""Scores of single data, higher where they are more unusual: one small class each, named in `TABLE["score"]`."""

from tightbound.evaluation.scores.base import Score, View
from tightbound.evaluation.scores.bounds import NLL, NegativeELBO, Reconstruction, Typicality
from tightbound.evaluation.scores.codes import Mahalanobis, Prior
from tightbound.evaluation.scores.complexity import Complexity
from tightbound.evaluation.scores.regret import Regret

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
