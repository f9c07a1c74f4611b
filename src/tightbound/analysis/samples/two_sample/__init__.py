"""Differences between two samples of vectors: distances, neighborhoods, classes and elements, with their errors."""

from tightbound.analysis.samples.two_sample.classes import class_distance, class_entropy
from tightbound.analysis.samples.two_sample.elements import covariance_gap, mean_gap, mean_ratio, spread
from tightbound.analysis.samples.two_sample.frechet import frechet, frechet_distance
from tightbound.analysis.samples.two_sample.neighbors import neighbors
from tightbound.analysis.samples.two_sample.pairs import diversity, kernel_distance
from tightbound.analysis.samples.two_sample.resampling import Measured

__all__ = [
    "Measured",
    "class_distance",
    "class_entropy",
    "covariance_gap",
    "diversity",
    "frechet",
    "frechet_distance",
    "kernel_distance",
    "mean_gap",
    "mean_ratio",
    "neighbors",
    "spread",
]
