"""The checks that scikit-learn has for its own estimators."""

from __future__ import annotations

from typing import Any

from sklearn.utils.estimator_checks import parametrize_with_checks

from tightbound.sklearn import VAE, VAEClassifier, VAEImputer, VAEOutlierDetector, VAESynthesizer

TINY: dict[str, Any] = {
    "network": "mlp(hidden=(4,))",
    "max_epochs": 1,
    "samples": 2,
    "fit_options": {"validation_size": 0},  # halves the time
}
# scikit-learn leaves out this part for its own semi-supervised classifiers, by their names
UNLABELED = {"check_classifiers_classes": "one of the two classes is -1, which marks unlabeled rows"}


@parametrize_with_checks(
    [
        VAE(2, **TINY),
        VAEClassifier(2, **{**TINY, "max_epochs": 4, "lr": 0.1}),  # it has to learn blobs
        VAEImputer(2, **TINY),
        VAEOutlierDetector(2, **TINY),
        VAESynthesizer(2, **TINY),
    ],
    expected_failed_checks=lambda estimator: UNLABELED if isinstance(estimator, VAEClassifier) else {},
)
def test_scikit_learns_checks(estimator: Any, check: Any) -> None:
    check(estimator)
