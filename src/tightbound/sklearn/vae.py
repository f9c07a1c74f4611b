"""Variational autoencoder as a transformer and a density of scikit-learn."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal, Self

import numpy as np
from sklearn.base import ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils.validation import check_array, check_is_fitted

from tightbound.core.errors import InputError
from tightbound.sklearn.base import Estimator
from tightbound.sklearn.spelling import Type, typed, types_of
from tightbound.sklearn.tables import Array, Frame, as_frame, missing, spelled

if TYPE_CHECKING:
    from tightbound.core.interfaces import Likelihood
    from tightbound.core.latents import Latents
    from tightbound.data import Data
    from tightbound.data.columns import Kinds
    from tightbound.nn.base import Architecture
    from tightbound.objectives.base import Objective
    from tightbound.posteriors.base import Posterior
    from tightbound.priors.base import Prior

OUTPUTS = ("mean", "sample", "mean+std")


class VAE(ClassNamePrefixFeaturesOutMixin, TransformerMixin, Estimator):
    """Variational autoencoder: latent codes of rows, a bound on their density, and new rows.

    As a transformer, it returns latent codes; as a density, it returns the bound on log p(x).

    Args:
        n_components: Number of dimensions of the latent code z, or "auto" (16).
        output: Output of `transform`: "mean", the mean of q(z | x); "sample", one draw from q(z | x), which depends
            only on the values of the row; "mean+std", means and then standard deviations, 2 * n_components columns.
        warm_start: Whether `fit` continues the training of an existing model instead of training a new one. As with
            `partial_fit`, rows are read as in the first training.
        network, likelihood, prior, posterior, latents, objective, kinds, max_epochs, batch_size, lr, samples,
            random_state, verbose, fit_options: See `tightbound.sklearn.base.Estimator`, as for the attributes.
    """

    def __init__(
        self,
        n_components: int | Literal["auto"] = "auto",
        *,
        output: Literal["mean", "sample", "mean+std"] = "mean",
        warm_start: bool = False,
        network: str | Architecture = "auto",
        likelihood: str | Likelihood | type[Likelihood] = "auto",
        prior: str | Prior | type[Prior] = "auto",
        posterior: str | Posterior | type[Posterior] = "auto",
        latents: str | Latents = "flat",
        objective: str | Objective = "elbo",
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
        self.output = output
        self.warm_start = warm_start

    def __sklearn_tags__(self) -> Any:
        """Return the tags of scikit-learn."""
        tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = ["float32"]  # the type of latent codes, whatever that of X is
        return tags

    def fit(self, X: Any, y: Any = None) -> Self:
        """Train a model on rows X (N, D); y is ignored.

        If validation rows show that the prior does not match the latent codes, the first call of `sample` fits a
        Gaussian mixture to the latent codes and draws from it, as with `tightbound.train`. With `warm_start`, training
        starts from the weights of the last call, with a new optimizer.

        Raises:
            InputError: If X cannot be used, or a parameter is out of range.
            CompositionError: If the components do not fit each other or the columns.
        """
        self._check_output()
        if self.warm_start and hasattr(self, "model_"):
            self._train_on(self._validated(X))
            self._suited = False
        else:
            self._train_sampled(self._validated(X, reset=True))
        return self

    def partial_fit(self, X: Any, y: Any = None) -> Self:
        """Train for one epoch on rows X (N, D), without validation; y is ignored.

        The first call builds the model as `fit` does; its rows determine the kinds of the columns, and their mean and
        scale. Later calls keep these and the weights, and read rows as `transform` does. Each call starts with a new
        optimizer, so pass at least several hundred rows at a time. `sample` draws latent codes from the prior.

        Raises:
            InputError: If X cannot be used, has other columns than before, or a parameter is out of range.
            CompositionError: If the components do not fit each other or the columns.
        """
        self._check_output()
        once: dict[str, Any] = {"epochs": 1, "validation_size": 0}
        if hasattr(self, "model_"):
            self._train_on(self._validated(X), **once)
        else:
            self._train(self._validated(X, reset=True), **once)
        return self

    def transform(self, X: Any) -> Array:
        """Return latent codes (N, n_components), or the columns that `output` selects."""
        from tightbound.inference.infer import encode

        self._check_output()
        rows = self._rows(self._validated(X))
        codes = encode(self.model_.model, rows, draw=self.output == "sample", seed=self._seed)
        if codes.sample is not None:
            return codes.sample.numpy()
        parts = [codes.mean, codes.variance.sqrt()] if self.output == "mean+std" else [codes.mean]
        return np.hstack([part.numpy() for part in parts])

    def get_feature_names_out(self, input_features: Any = None) -> Array:
        """Return the names of the columns that `transform` returns."""
        names: Array = np.asarray(super().get_feature_names_out(input_features), object)
        return np.concatenate([names, names + "_std"]) if self.output == "mean+std" else names

    def inverse_transform(self, X: Any) -> Array | Frame:
        """Return E[x | z] for the output of `transform`, as an array, or as a data frame if one was fitted.

        The columns of the data frame have the names and data types of the fitted one. Whole numbers, dates and
        categories become the nearest or most probable ones that their types can hold.
        """
        check_is_fitted(self)
        self._check_output()
        z = np.array(check_array(X), np.float32)
        if self.output == "mean+std":
            z = z[:, : self._n_features_out]
        return self._table(self.model_.decode(z).numpy())

    def sample(self, n_samples: int = 1) -> Array | Frame:
        """Draw rows (n_samples, D) from the model, as an array, or as a data frame if one was fitted.

        The columns of the data frame have the names and data types of the fitted one. For rows that also have its
        ranges, decimals and gaps, see `VAESynthesizer`.
        """
        check_is_fitted(self)
        return self._table(self._sampled().sample(n_samples, draw=True, seed=self._seed).numpy())

    def score_samples(self, X: Any) -> Array:
        """Return a lower bound on log p(x) of each row (N,), in nats; missing entries are integrated out.

        The bound is that of `samples` importance samples, which depend on a row's values, and not on the other rows.
        """
        return self._bound(X)

    def score(self, X: Any, y: Any = None) -> float:
        """Return the mean of `score_samples`; y is ignored."""
        return float(self.score_samples(X).mean(dtype=np.float64))

    def _check_output(self) -> None:
        if self.output not in OUTPUTS:
            raise InputError(f"output = {self.output!r}; needed: one of {', '.join(map(repr, OUTPUTS))}")

    @property
    def _n_features_out(self) -> int:
        return self.model_.model.latents.latent

    def _train(self, X: Array | Frame, **options: Any) -> Data:
        data = super()._train(X, **options)
        frame = as_frame(X)
        self._types: list[Type] | None = None if frame is None else types_of(frame, missing(X))
        return data

    def _table(self, x: Array) -> Array | Frame:
        x = spelled(x, [own.words for own in self.model_.model.observation.source.columns])
        return x if self._types is None else typed(x, self._types, self._package)
