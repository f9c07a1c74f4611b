"""The checks that scikit-learn has for its own estimators."""

from __future__ import annotations

from typing import Any

from sklearn.utils.estimator_checks import parametrize_with_checks

from tightbound.sklearn import VAE, VAEImputer, VAEOutlierDetector, VAESynthesizer

TINY: dict[str, Any] = {
    "network": "mlp(hidden=(4,))",
    "max_epochs": 1,
    "samples": 2,
    "fit_options": {"validation_size": 0},  # halves the time
}


@parametrize_with_checks(
    [VAE(2, **TINY), VAEImputer(2, **TINY), VAEOutlierDetector(2, **TINY), VAESynthesizer(2, **TINY)]
)
def test_scikit_learns_checks(estimator: Any, check: Any) -> None:
    check(estimator)
