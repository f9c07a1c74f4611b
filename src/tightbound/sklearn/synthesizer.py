"""New rows of a table, drawn from a variational autoencoder."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import Any, Self

import narwhals as nw
import numpy as np
from sklearn.utils.validation import check_is_fitted

from tightbound.core.errors import InputError, suggestion, whole
from tightbound.sklearn.base import Estimator
from tightbound.sklearn.spelling import Column, columns_of
from tightbound.sklearn.tables import Array, as_frame, missing, spelled


class VAESynthesizer(Estimator):
    """Synthesizer that draws new rows like those of a table: same names, types, categories, decimals and gaps.

    Numbers have the decimals of their column and stay within its range, and categories are those of the data. For each
    column with missing entries, the model has a second column that marks them, so that gaps depend on the other columns
    as they do in the data.

    Parameters and attributes: see `tightbound.sklearn.base.Estimator`.

    Attributes:
        effective_sample_size_: Effective number of latent codes behind the rows of the last `sample(given=...)`.
    """

    effective_sample_size_: float

    def fit(self, X: Any, y: Any = None) -> Self:
        """Train a model on rows X (N, D), a data frame or an array, whose entries may be missing; y is ignored.

        Raises:
            InputError: If X cannot be used, or a parameter is out of range.
            CompositionError: If the components do not fit each other or the columns.
        """
        x = self._validated(X, reset=True)
        frame = as_frame(X)
        self._is_array = frame is None
        if frame is None:
            frame = nw.from_dict({str(i): column for i, column in enumerate(np.asarray(x).T)}, backend="pyarrow")
        lacks = missing(frame.to_native())
        self._columns: list[Column] = columns_of(frame, lacks)
        own = [i for i, column in enumerate(self._columns) if column.modeled]
        if not own:
            raise InputError(
                "no column of X has two different values: there is nothing to learn; pass rows that differ"
            )
        self._marks = {
            column.name: _unused(f"{column.name} is missing", frame.columns)
            for column in self._columns
            if column.modeled and column.missing > 0
        }
        marks = [
            nw.new_series(self._marks[column.name], lacks[:, i], backend=frame.implementation)
            for i, column in enumerate(self._columns)
            if column.name in self._marks
        ]
        self._names = [self._columns[i].name for i in own] + [mark.name for mark in marks]
        self._train_sampled(frame[:, own].with_columns(*marks).to_native(), mixed=True)
        return self

    def sample(
        self,
        n_samples: int = 1,
        *,
        given: Mapping[Any, Any] | None = None,
        complete: bool = False,
        random_state: int | None = None,
    ) -> Any:
        """Draw rows (n_samples, D) from the model, as a data frame or an array like that of `fit`.

        Args:
            n_samples: Number of rows.
            given: Values that all rows have in some columns, by name (columns of an array are named "0", "1", ...).
                Latent codes are drawn, and then resampled with the probability of these values; a warning says if few
                latent codes fit.
            complete: Whether to fill in all entries, instead of leaving out as many as are missing in the data.
            random_state: Random seed; None: the estimator's seed, so that each call returns the same rows.

        Raises:
            InputError: If the data do not have a column or a value in `given`.
        """
        check_is_fitted(self)
        whole("n_samples", n_samples, least=1)
        if given is not None and not isinstance(given, Mapping):
            raise InputError(f"given= is a {type(given).__name__}; needed: values by column, such as {{'age': 40}}")
        seed = self._seed if random_state is None else random_state
        domains = self.model_.model.observation.source.columns
        if given:
            from tightbound.inference.conditional import sample_given
            from tightbound.inference.fitting import chosen_sampler

            sampler = chosen_sampler(self.model_.folder)
            codes = None if sampler is None else sampler.sample
            found = sample_given(self.model_.model, n_samples, self._given(given), codes=codes, seed=seed)
            x, self.effective_sample_size_ = found.x, found.effective
            if found.warning:
                warnings.warn(found.warning, stacklevel=2)
        else:
            x = self.model_.sample(n_samples, draw=True, seed=seed)
        stored = self.model_.form.give(x, self.model_.model.observation.source).numpy()
        values = dict(zip(self._names, spelled(stored, [own.words for own in domains]).T, strict=True))
        draws = np.random.default_rng(seed)
        new = [self._written(column, values, n_samples, given or {}, complete, draws) for column in self._columns]
        rows = nw.concat([series.to_frame() for series in new], how="horizontal")
        return rows.to_numpy() if self._is_array else rows.to_native()

    def _written(
        self,
        column: Column,
        values: Mapping[str, Array],
        n: int,
        given: Mapping[Any, Any],
        complete: bool,
        draws: np.random.Generator,
    ) -> Any:
        """Return one column of new rows."""
        if complete or column.name in given:
            lacks = np.zeros(n, bool)
        elif column.name in self._marks:
            lacks = values[self._marks[column.name]].astype(float) > 0.5
        else:
            lacks = draws.random(n) < column.missing  # a column with at most one value is not modeled
        return column.write(values.get(column.name), lacks, self._package)

    def _given(self, given: Mapping[Any, Any]) -> Any:
        """Return the given values as the model stores them (D,), with NaN for the other columns."""
        package: Any = self._package
        frame = nw.from_dict({name: [None] for name in self._names}, backend=package)
        for name, value in given.items():
            column = next((each for each in self._columns if each.name == name), None)
            if column is None:
                names = [str(each.name) for each in self._columns]
                raise InputError(f"given= names column {name!r}, which the data lack; {suggestion(str(name), names)}")
            if not column.modeled:
                raise InputError(f"given= names column {name!r}, which has at most one value; leave it out")
            column.check(value)
            frame = frame.with_columns(nw.new_series(name, [value], backend=package))
            if name in self._marks:
                frame = frame.with_columns(nw.new_series(self._marks[name], [False], backend=package))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about entries that are not given
            return self._rows(frame.to_native()).x[0]


def _unused(name: str, names: Sequence[Any]) -> str:
    """Return a name that no column has."""
    while name in names:
        name += " (2)"
    return name
