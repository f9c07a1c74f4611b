"""What is known about a trained model, in numbers that say how they were estimated."""

from tightbound.evaluation.compare import Comparison, compare
from tightbound.evaluation.evaluate import evaluate
from tightbound.evaluation.numbers import Estimate, Evaluation
from tightbound.evaluation.score import Detection, Scores, detect, score

__all__ = ["Comparison", "Detection", "Estimate", "Evaluation", "Scores", "compare", "detect", "evaluate", "score"]
