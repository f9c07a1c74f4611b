"""Semi-supervised classifier of scikit-learn, based on a variational autoencoder."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal, Self, cast

import numpy as np
from sklearn.base import ClassifierMixin
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import assert_all_finite, check_consistent_length, column_or_1d

from tightbound.core.errors import InputError
from tightbound.sklearn.base import Estimator
from tightbound.sklearn.tables import Array

if TYPE_CHECKING:
    from tightbound.contexts.inferred import InferredLabels
    from tightbound.core.interfaces import Likelihood
    from tightbound.core.latents import Latents
    from tightbound.data.columns import Kinds
    from tightbound.nn.base import Architecture
    from tightbound.objectives.base import Objective
    from tightbound.posteriors.base import Posterior
    from tightbound.priors.base import Prior

UNLABELED = -1


class VAEClassifier(ClassifierMixin, Estimator):
    """Semi-supervised classifier that learns from labeled and unlabeled rows.

    The class y and a latent code z generate each row (the model M2). The class of an unlabeled row, marked by -1 as in
    `sklearn.semi_supervised`, is summed out exactly. A classifier q(y | x), trained with the model, predicts classes.
    Unlabeled rows are set aside for validation before labeled ones, so that few labels are all used for training.

    Args:
        n_components: Number of dimensions of the latent code z, or "auto" (16).
        context: The class as a variable of the model, with arguments of its classifier: `noise` added to its input in
            training, and its `network`.
        objective: The bound and the weight of the labels, such as "m2(alpha=5, share=0.3)".
        network, likelihood, prior, posterior, latents, kinds, max_epochs, batch_size, lr, random_state, verbose,
            fit_options: See `tightbound.sklearn.base.Estimator`, as for the other attributes.

    Attributes:
        classes_: Class labels, in order.

    References:
        Semi-supervised learning with deep generative models (Kingma et al. 2014), https://arxiv.org/abs/1406.5298
    """

    classes_: Array

    def __init__(
        self,
        n_components: int | Literal["auto"] = "auto",
        *,
        context: str | InferredLabels = "inferred-labels(noise=0.5)",
        network: str | Architecture = "auto",
        likelihood: str | Likelihood | type[Likelihood] = "auto",
        prior: str | Prior | type[Prior] = "auto",
        posterior: str | Posterior | type[Posterior] = "auto",
        latents: str | Latents = "flat",
        objective: str | Objective = "m2(alpha=5)",
        kinds: Kinds | None = None,
        max_epochs: int | Literal["auto"] = "auto",
        batch_size: int | Literal["auto"] = "auto",
        lr: float | Literal["auto"] = "auto",
        samples: int = 100,
        random_state: int | np.random.RandomState | None = None,
        verbose: bool = False,
        fit_options: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(
            n_components, network=network, likelihood=likelihood, prior=prior, posterior=posterior, latents=latents,
            objective=objective, kinds=kinds, max_epochs=max_epochs, batch_size=batch_size, lr=lr, samples=samples,
            random_state=random_state, verbose=verbose, fit_options=fit_options,
        )  # fmt: skip
        self.context = context

    def fit(self, X: Any, y: Any) -> Self:
        """Train a model on rows X (N, D) with labels y (N,), which are -1 for unlabeled rows.

        Raises:
            InputError: If X or y cannot be used, or a parameter is out of range.
            CompositionError: If the components do not fit each other or the columns.
        """
        if y is None:
            raise InputError(
                "VAEClassifier requires y to be passed, but the target y is None; use -1 for unlabeled rows"
            )
        x = self._validated(X, reset=True)
        labels = column_or_1d(y, warn=True)
        assert_all_finite(labels, input_name="y")
        check_consistent_length(x, labels)
        known = np.array([value not in (UNLABELED, str(UNLABELED)) for value in labels.tolist()])
        given = np.array(labels[known].tolist())  # words mixed with -1 may have the type object
        check_classification_targets(given)
        self.classes_ = np.unique(given)
        if len(self.classes_) < 2:
            found = len(self.classes_)
            raise InputError(f"y holds {found} class{'es' * (found != 1)} besides -1; needed: at least 2")
        numbers = np.full(len(labels), UNLABELED)
        numbers[known] = np.searchsorted(self.classes_, given)
        self._train(x, labels=numbers)
        return self

    def predict_log_proba(self, X: Any) -> Array:
        """Return log q(y | x) (N, classes); the columns follow `classes_`."""
        import torch

        from tightbound.core.noise import Noise

        rows = self._rows(self._validated(X))
        model = copy.deepcopy(self.model_.model).cpu().double()  # in float32, rounding depends on the number of rows
        labels = cast("InferredLabels", model.context)
        with torch.no_grad():
            return labels.log_probabilities(model.observe(rows, Noise("classify"), context=False)).numpy()

    def predict_proba(self, X: Any) -> Array:
        """Return q(y | x) (N, classes); the columns follow `classes_`."""
        return np.exp(self.predict_log_proba(X))

    def predict(self, X: Any) -> Array:
        """Return the most probable class of each row (N,)."""
        probable = self.predict_log_proba(X).argmax(1)
        return self.classes_[probable]
