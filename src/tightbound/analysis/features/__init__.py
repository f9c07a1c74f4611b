"""What samples and data are compared by: maps from data to vectors, fitted on training data."""

from tightbound.analysis.features.base import Features, Given, Identity
from tightbound.analysis.features.classifier import Classifier
from tightbound.analysis.features.fitting import fit_features
from tightbound.analysis.features.pca import PCA

__all__ = ["PCA", "Classifier", "Features", "Given", "Identity", "fit_features"]
