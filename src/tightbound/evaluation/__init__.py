"""What is known about a trained model, in numbers that say how they were estimated."""

from tightbound.evaluation.evaluate import evaluate
from tightbound.evaluation.features import fit_features
from tightbound.evaluation.numbers import Estimate, Evaluation
from tightbound.evaluation.quality import Quality, quality, sample_quality

__all__ = ["Estimate", "Evaluation", "Quality", "evaluate", "fit_features", "quality", "sample_quality"]
