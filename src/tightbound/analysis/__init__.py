"""Questions asked of a trained model, and the estimates that answer them."""

from tightbound.analysis.base import Analysis, Subject
from tightbound.analysis.estimate import Estimate
from tightbound.analysis.figures import Figure
from tightbound.analysis.result import Evaluation, Result, Table

__all__ = ["Analysis", "Estimate", "Evaluation", "Figure", "Result", "Subject", "Table"]
