"""What is known about a trained model, in numbers that say how they were estimated."""

from tightbound.evaluation.diagnosis import Check, Diagnosis, Finding, Subject, diagnose
from tightbound.evaluation.evaluate import evaluate
from tightbound.evaluation.numbers import Estimate, Evaluation

__all__ = ["Check", "Diagnosis", "Estimate", "Evaluation", "Finding", "Subject", "diagnose", "evaluate"]
