"""Differences between two samples of vectors: distances, neighborhoods, classes and elements, with their errors."""

from tightbound.analysis.samples.two_sample.classifier import classifier_auroc, predictor
from tightbound.analysis.samples.two_sample.dependence import Dependence, dependence
from tightbound.analysis.samples.two_sample.marginals import marginal_distances
from tightbound.analysis.samples.two_sample.neighbors import neighbors
from tightbound.analysis.samples.two_sample.pairs import diversity, kernel_distance
from tightbound.analysis.samples.two_sample.resampling import Measured
from tightbound.analysis.samples.two_sample.statistics import (
    class_distance,
    class_entropy,
    elements,
    frechet,
    frechet_distance,
    mean_ratio,
)

__all__ = [
    "Dependence",
    "Measured",
    "class_distance",
    "class_entropy",
    "classifier_auroc",
    "dependence",
    "diversity",
    "elements",
    "frechet",
    "frechet_distance",
    "kernel_distance",
    "marginal_distances",
    "mean_ratio",
    "neighbors",
    "predictor",
]
