"""Features that samples and data are compared by: maps from data to vectors, fitted to training data."""

from tightbound.analysis.samples.features.base import PCA, Features, Given, Identity
from tightbound.analysis.samples.features.classifier import Classifier
from tightbound.analysis.samples.features.fitting import fit_features

__all__ = ["PCA", "Classifier", "Features", "Given", "Identity", "fit_features"]
