"""What is known about a trained model, in numbers that say how they were estimated."""

from tightbound.evaluation.ais import Annealed, ais, bdmc
from tightbound.evaluation.evaluate import evaluate
from tightbound.evaluation.numbers import Estimate, Evaluation

__all__ = ["Annealed", "Estimate", "Evaluation", "ais", "bdmc", "evaluate"]
