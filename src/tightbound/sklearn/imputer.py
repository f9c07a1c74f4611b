"""Missing entries filled by a variational autoencoder, as an imputer of scikit-learn."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, Literal, Self

import numpy as np
from sklearn.base import OneToOneFeatureMixin, TransformerMixin
from sklearn.impute import MissingIndicator

from tightbound.core.errors import whole
from tightbound.sklearn.base import Estimator
from tightbound.sklearn.tables import Array, Frame, as_frame, beside, chosen, completed, missing, spelled

if TYPE_CHECKING:
    from tightbound.core.interfaces import Likelihood
    from tightbound.core.latents import Latents
    from tightbound.data.columns import Kinds
    from tightbound.nn.base import Architecture
    from tightbound.objectives.base import Objective
    from tightbound.posteriors.base import Posterior
    from tightbound.priors.base import Prior


class VAEImputer(OneToOneFeatureMixin, TransformerMixin, Estimator):
    """Imputer that fills missing entries (NaN, None) given the observed entries of their row.

    It is trained on incomplete rows: missing entries are integrated out exactly. A missing number becomes its
    conditional mean, moved to the nearest number that its column can hold; a missing category becomes the most probable
    one. Observed entries stay as they are. A row's draws depend on its values alone.

    Args:
        n_components: Number of dimensions of the latent code z, or "auto" (16).
        sample_posterior: Fill entries with one joint draw given the observed entries of a row instead of means; for
            multiple imputation, see `draws`.
        add_indicator: Append a column for each column that lacked entries in fitting, as `MissingIndicator` does.
        keep_empty_features: Fill columns without any entry in fitting with 0, instead of leaving them out.
        samples: Importance samples per row.
        network, likelihood, prior, posterior, latents, objective, kinds, max_epochs, batch_size, lr, random_state,
            verbose, fit_options: See `tightbound.sklearn.base.Estimator`, as for the other attributes.

    Attributes:
        indicator_: The fitted `MissingIndicator`; None without `add_indicator`.

    References:
        MIWAE: Deep generative modelling and imputation of incomplete data sets (Mattei and Frellsen 2019),
        https://arxiv.org/abs/1812.02633
    """

    indicator_: MissingIndicator | None

    def __init__(
        self,
        n_components: int | Literal["auto"] = "auto",
        *,
        sample_posterior: bool = False,
        add_indicator: bool = False,
        keep_empty_features: bool = False,
        samples: int = 200,
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
        random_state: int | np.random.RandomState | None = None,
        verbose: bool = False,
        fit_options: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(
            n_components, network=network, likelihood=likelihood, prior=prior, posterior=posterior, latents=latents,
            objective=objective, kinds=kinds, max_epochs=max_epochs, batch_size=batch_size, lr=lr, samples=samples,
            random_state=random_state, verbose=verbose, fit_options=fit_options,
        )  # fmt: skip
        self.sample_posterior = sample_posterior
        self.add_indicator = add_indicator
        self.keep_empty_features = keep_empty_features

    def fit(self, X: Any, y: Any = None) -> Self:
        """Train a model on rows X (N, D), whose entries may be missing; y is ignored.

        Raises:
            InputError: If X cannot be used, or a parameter is out of range.
            CompositionError: If the components do not fit each other or the columns.
        """
        x = self._validated(X, reset=True)
        lacks = missing(x)
        self._filled: Array = np.asarray(~lacks.all(0))
        self._train(chosen(x, self._filled), mixed=True)
        self.indicator_ = None
        if self.add_indicator:
            self.indicator_ = MissingIndicator(error_on_new=False).fit(np.where(lacks, np.nan, 0.0))
        return self

    def transform(self, X: Any) -> Array | Frame:
        """Return rows (N, D) with their missing entries filled, and with the columns that `add_indicator` appends.

        A data frame with words is returned as one; other tables are arrays, unless `set_output` says otherwise.
        """
        return self._completed(self._validated(X), self._seed, draw=self.sample_posterior)

    def draws(self, X: Any, n_draws: int = 5) -> Iterator[Array | Frame]:
        """Yield rows (N, D) with their missing entries filled at random, n_draws times, for multiple imputation.

        Each time, all missing entries of a row are drawn together given its observed ones. Analyze each table, and
        combine the results. Their spread shows the uncertainty due to the missing entries, but not the uncertainty of
        the model's parameters. If X is a data frame, data frames are returned.

        Args:
            X: Rows (N, D).
            n_draws: Number of tables.
        """
        from tightbound.core.noise import key_seed

        whole("n_draws", n_draws, least=1)
        x = self._validated(X)
        x = x if as_frame(X) is None else X
        return (self._completed(x, key_seed("draw", self._seed, i), draw=True) for i in range(n_draws))

    def _completed(self, x: Array | Frame, seed: int, *, draw: bool) -> Array | Frame:
        lacks, own, model = missing(x), self._filled, self.model_.model
        stored = self.model_.impute(self._rows(chosen(x, own)), samples=self.samples, seed=seed, draw=draw)
        domain = model.observation.source
        filled = spelled(self.model_.form.give(stored, domain).numpy(), [each.words for each in domain.columns])
        everywhere = np.zeros(lacks.shape, filled.dtype)
        everywhere[:, own] = filled
        out = completed(x, everywhere, lacks)
        out = out if self.keep_empty_features else chosen(out, own)
        if self.indicator_ is None:
            return out
        marks = np.asarray(self.indicator_.transform(np.where(lacks, np.nan, 0.0)))
        return np.hstack([out, marks]) if as_frame(out) is None else beside(out, marks, self.get_feature_names_out())

    def get_feature_names_out(self, input_features: Any = None) -> Array:
        """Return the names of the columns that `transform` returns."""
        names: Array = np.asarray(super().get_feature_names_out(input_features))
        out = names if self.keep_empty_features else names[self._filled]
        marks = None if self.indicator_ is None else self.indicator_.get_feature_names_out(names)
        return out if marks is None else np.concatenate([out, np.asarray(marks)])
