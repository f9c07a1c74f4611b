"""What samples and data are compared by: maps from data to vectors, fitted on training data."""

from tightbound.evaluation.features.base import Features, Given, Identity
from tightbound.evaluation.features.classifier import Classifier
from tightbound.evaluation.features.fitting import fit_features
from tightbound.evaluation.features.pca import PCA

__all__ = ["PCA", "Classifier", "Features", "Given", "Identity", "fit_features"]
