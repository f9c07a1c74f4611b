"""Estimators for scikit-learn. Torch is imported when an estimator is fitted.

from tightbound.sklearn import VAE

codes = VAE(n_components=2).fit_transform(X)
"""

from tightbound.sklearn.classifier import VAEClassifier
from tightbound.sklearn.imputer import VAEImputer
from tightbound.sklearn.outliers import VAEOutlierDetector
from tightbound.sklearn.synthesizer import VAESynthesizer
from tightbound.sklearn.vae import VAE

__all__ = ["VAE", "VAEClassifier", "VAEImputer", "VAEOutlierDetector", "VAESynthesizer"]
