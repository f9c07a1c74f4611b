"""Base class of the estimators. It holds their parameters, trains by `tightbound.fit` and pickles by value."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

import numpy as np
from scipy.sparse import issparse
from sklearn.base import BaseEstimator
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted, validate_data

from tightbound.core.errors import InputError, whole
from tightbound.sklearn.tables import Array, Frame, as_frame, holds_words

if TYPE_CHECKING:
    from tightbound.core.interfaces import Likelihood
    from tightbound.core.latents import Latents
    from tightbound.core.model import VAE
    from tightbound.core.terms import Batch
    from tightbound.data import Data, Split
    from tightbound.data.columns import Kinds
    from tightbound.nn.base import Architecture
    from tightbound.objectives.base import Objective
    from tightbound.posteriors.base import Posterior
    from tightbound.priors.base import Prior
    from tightbound.trained import Trained

COMPONENTS = ("network", "likelihood", "prior", "posterior", "latents")


class Estimator(BaseEstimator):
    """Base class of the estimators.

    X is an array, a sparse matrix or a data frame (N, D). NaN stands for a missing entry, which the bound integrates
    out exactly. Columns of words and dates are taken from data frames only. Other rows have the same columns; a value
    that a column cannot hold, such as a category that the training data lack, counts as missing, with a warning.

    Pickling is by value: the weights, the description of the model and its latent sampler, without the training data.
    Unpickle only files that you trust; to share a model safely, train with `fit_options={"run": FOLDER}` and use
    `tightbound.load`.

    Args:
        n_components: Number of dimensions of the latent code z, or "auto" (16).
        network: Architecture of the encoder and the decoder. This and the next four are a name, such as
            "vamp(components=50)", or an object; see `tightbound.VAE.for_data`.
        likelihood: p(x | z).
        prior: p(z).
        posterior: q(z | x).
        latents: Structure of the latent variables.
        objective: What training maximizes, as a name or an object.
        kinds: Kinds of the columns, by name or number, or one for all, such as "real" or {"visits": "counts"}; None:
            inferred, see `tightbound.data.open`.
        max_epochs: Passes over the data, or "auto": until the bound of validation rows no longer rises.
        batch_size: Rows per step, or "auto".
        lr: Learning rate, or "auto".
        samples: Importance samples per row for the bound on log p(x).
        random_state: Seed of all random draws; None: another one for each fit.
        verbose: Whether to show the progress of training.
        fit_options: Further options of `tightbound.fit`, such as {"patience": 20, "minutes": 5}.

    Attributes:
        model_: The trained model, a `tightbound.Trained` with all of its analyses, such as `model_.diagnose(X)`.
        history_: Training metrics, one dictionary per epoch of all training.
        n_features_in_: Number of columns D.
        feature_names_in_: Names of the columns, if X was a data frame whose columns have names.
    """

    model_: Trained
    history_: list[dict[str, Any]]
    n_features_in_: int

    def __init__(
        self,
        n_components: int | Literal["auto"] = "auto",
        *,
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
        self.n_components = n_components
        self.network = network
        self.likelihood = likelihood
        self.prior = prior
        self.posterior = posterior
        self.latents = latents
        self.objective = objective
        self.kinds = kinds
        self.max_epochs = max_epochs
        self.batch_size = batch_size
        self.lr = lr
        self.samples = samples
        self.random_state = random_state
        self.verbose = verbose
        self.fit_options = fit_options

    def __sklearn_tags__(self) -> Any:
        """Return the tags of scikit-learn."""
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        tags.input_tags.allow_nan = True
        tags.input_tags.categorical = True
        return tags

    def __getstate__(self) -> dict[str, Any]:
        if hasattr(self, "model_"):
            self._sampled()  # needs the data, which a pickle lacks
        state: dict[str, Any] = dict(cast("Mapping[str, Any]", super().__getstate__()))
        if "model_" in state:
            from tightbound.sklearn.packing import pack

            state["model_"] = pack(state["model_"])
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        if "model_" in state:
            from tightbound.sklearn.packing import unpack

            state = {**state, "model_": unpack(state["model_"])}
        super().__setstate__(state)

    def _validated(self, X: Any, *, reset: bool = False) -> Array | Frame:
        """Return X (N, D) as numbers, or as it is if it is a data frame with words or with names to learn."""
        if not reset:
            check_is_fitted(self)
        frame = as_frame(X)
        if frame is None or not (reset or holds_words(frame)):
            how: dict[str, Any] = {"accept_sparse": "csr", "dtype": np.float64, "ensure_all_finite": "allow-nan"}
            x = validate_data(self, X, reset=reset, ensure_min_samples=1 + reset, **how)
            return cast(Any, x).toarray() if issparse(x) else np.asarray(x)
        validate_data(self, X, reset=reset, skip_check_array=True)
        if len(frame) < 1 + reset:
            raise InputError(f"X has {len(frame)} sample(s), while a minimum of {1 + reset} is required")
        return X

    def _train(self, X: Array | Frame, *, mixed: bool = False, labels: Array | None = None, **options: Any) -> Data:
        """Train a new model with `tightbound.fit`, and return the training data as `tightbound.fit` reads them.

        Args:
            X: Rows, validated.
            mixed: Whether each column needs a domain of its own.
            labels: Class number of each row (N,); -1 marks rows whose class the model infers.
            **options: Options of `tightbound.fit`, which take precedence over those of the estimator.
        """
        import tightbound as tb

        self._seed = seed_of(self.random_state)
        data = self._opened(X, mixed, labels)
        parts = {name: copy.deepcopy(getattr(self, name)) for name in COMPONENTS}
        parts |= {} if labels is None else {"context": copy.deepcopy(cast(Any, self).context)}
        if self.n_components != "auto":
            whole("n_components", self.n_components, least=1)
        model = tb.VAE.for_data(data, latent=cast(Any, self.n_components), seed=self._seed, **parts)
        self.history_ = []
        self._fit(model, data, self._seed, **options)
        frame = as_frame(X)
        self._package = None if frame is None else frame.implementation.name.lower()
        return data

    def _train_on(self, X: Array | Frame, **options: Any) -> Data:
        """Continue the training of the model, and read rows as in its first training."""
        from tightbound.core.noise import key_seed
        from tightbound.data.given import training_data

        model = copy.deepcopy(self.model_.model)
        with _advice():
            data = training_data(X, like=model)
        seed = key_seed("further", self._seed, len(self.history_))  # other noise than in the training before
        folder, run = self.model_.folder, (self.fit_options or {}).get("run")
        if run is not None and folder is not None and folder.path.resolve() == Path(run).resolve():
            options["overwrite"] = True  # by the same model, trained further
        self._fit(model, data, seed, **options)
        return data

    def _fit(self, model: Any, data: Data, seed: int, **options: Any) -> None:
        import tightbound as tb

        for name in ("max_epochs", "batch_size"):
            if getattr(self, name) != "auto":
                whole(name, getattr(self, name), least=1)
        whole("samples", self.samples, least=1)
        own: dict[str, Any] = {"batch_size": self.batch_size, "lr": self.lr, "seed": seed, "quiet": not self.verbose}
        own |= {} if self.max_epochs == "auto" else {"epochs": self.max_epochs}
        options = {**own, **(self.fit_options or {}), **options}
        self.model_ = tb.fit(model, data, copy.deepcopy(self.objective), **options)
        self._suited = True
        last = self.history_[-1] if self.history_ else {"epoch": 0, "step": 0}
        further = [
            {**row, **{name: row[name] + last[name] for name in ("epoch", "step")}} for row in self.model_.metrics
        ]
        self.history_ = [*self.history_, *further]

    def _train_sampled(self, X: Array | Frame, *, mixed: bool = False) -> None:
        """Train the model as `_train` does, and let `_sampled` fit a latent sampler when samples are needed."""
        self._train(X, mixed=mixed)
        self._suited = False

    def _sampled(self) -> Trained:
        """Return the model for sampling; the first call fits a latent sampler if latent codes do not match the prior.

        The sampler is fitted only when samples are needed, since this can take as long as a short training.
        """
        from tightbound.config import Settings
        from tightbound.inference.fitting import chosen_sampler
        from tightbound.recipes.afterwards import Afterwards, suit_samples

        data = None if self._suited else self.model_.data
        self._suited = True
        if data is not None and chosen_sampler(self.model_.folder) is None:
            settings = Settings.of(self.model_.config)
            suit_samples(self.model_, data, settings, Afterwards.of(self.model_, settings))
        return self.model_

    def _opened(self, X: Array | Frame, mixed: bool, labels: Array | None = None) -> Data:
        """Open training data so that other rows may hold other numbers: no column is bounded by what it has held."""
        from tightbound.data import columns
        from tightbound.data.given import training_data

        source: Any = X if labels is None else (X, labels)
        with _advice():
            if self.kinds is not None or (self.likelihood != "auto" and not mixed):
                return training_data(source, kinds=self.kinds)
            if mixed or X.shape[1] <= columns.MAX_OWN:
                return training_data(source, kinds={})
            data = training_data(source)
            if data.domain.kind != "unit":
                return data
            return training_data(source, **columns.unbounded(np.asarray(X)))

    def _split(self, x: Array | Frame) -> Split:
        """Return validated rows as the model reads them."""
        from tightbound.data.feed import as_split

        with warnings.catch_warnings(), _advice():
            warnings.filterwarnings("ignore", message=".* has no entries: they count as missing")  # of a few rows
            return as_split(self.model_.model, x)

    def _rows(self, x: Array | Frame | Split) -> Batch:
        """Return validated rows as stored for the model, in one batch; draws for a row depend on its values alone."""
        import torch

        from tightbound.core.noise import key_seed
        from tightbound.data import Split
        from tightbound.data.feed import first

        split = x if isinstance(x, Split) else self._split(x)
        batch = first(self.model_.model, split, len(split))
        keys = [key_seed(row.tobytes().hex()) for row in batch.x.numpy()]
        return replace(batch, index=torch.tensor(keys))

    def _bound(self, X: Any) -> Array:
        """Return the bound on log p(x) of each row (N,), in nats."""
        from tightbound.trained import Trained

        rows = self._rows(self._validated(X))
        return Trained(self._precise()).log_likelihood(rows, samples=self.samples, seed=self._seed).numpy()

    def _precise(self) -> VAE:
        """Return the model in float64.

        In float32 the last digits of a row's bound would depend on how many rows are computed together.
        """
        return copy.deepcopy(self.model_.model).cpu().double()


@contextmanager
def _advice() -> Iterator[None]:
    """Replace advice to use an option of `tightbound.data.open` by advice to leave a column out of X."""
    try:
        yield
    except InputError as error:
        raise InputError(str(error).replace("leave it out with ignore=", "leave it out of X")) from None


def seed_of(random_state: Any) -> int:
    """Return the seed of a `random_state`; None gives a different seed in each call."""
    if isinstance(random_state, int | np.integer) and not isinstance(random_state, bool):
        return int(random_state)
    return int(check_random_state(random_state).randint(np.iinfo(np.int32).max))
