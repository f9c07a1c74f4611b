"""New rows of a table, drawn from a variational autoencoder."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Self

import narwhals as nw
import numpy as np
from sklearn.utils.validation import check_is_fitted

from tightbound.core.errors import InputError, suggestion, whole
from tightbound.core.schema import listed
from tightbound.sklearn.base import Estimator
from tightbound.sklearn.spelling import Column, columns_of, joined
from tightbound.sklearn.tables import Array, as_frame, missing, spelled

if TYPE_CHECKING:
    from torch import Tensor

    from tightbound.analysis.samples.sample_quality import SampleQuality


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
            frame = _of_array(np.asarray(x))
        lacks = missing(frame.to_native())
        self._columns: list[Column] = columns_of(frame, lacks)
        if not any(column.modeled for column in self._columns):
            raise InputError(
                "no column of X has two different values: there is nothing to learn; pass rows that differ"
            )
        self._marks = {
            column.name: _unused(f"{column.name} is missing", frame.columns)
            for column in self._columns
            if column.modeled and column.missing > 0
        }
        self._names = [column.name for column in self._columns if column.modeled] + [*self._marks.values()]
        self._train_sampled(self._marked(frame), mixed=True)
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
                Dates, and numbers that the data hold as text, such as "$1.50", may be text in the same notation. Latent
                codes are drawn, and then resampled with the probability of these values; a warning says if few latent
                codes fit.
            complete: Whether to fill in all entries, instead of leaving out as many as are missing in the data.
            random_state: Random seed; None: the estimator's seed, so that each call returns the same rows.

        Raises:
            InputError: If the data do not have a column or a value in `given`.
        """
        from tightbound.inference.ranges import in_range

        check_is_fitted(self)
        whole("n_samples", n_samples, least=1)
        if given is not None and not isinstance(given, Mapping):
            raise InputError(f"given= is a {type(given).__name__}; needed: values by column, such as {{'age': 40}}")
        seed = self._seed if random_state is None else random_state
        source = self.model_.model.observation.source
        if given:
            from tightbound.inference.conditional import sample_given
            from tightbound.inference.fitting import chosen_sampler

            sampler = chosen_sampler(self._sampled().folder)
            codes = None if sampler is None else sampler.sample
            found = sample_given(self.model_.model, n_samples, self._given(given), codes=codes, seed=seed)
            x, self.effective_sample_size_ = self.model_.form.give(found.x, source), found.effective
            if found.warning:
                warnings.warn(found.warning, stacklevel=2)
        else:
            x = self._sampled().sample(n_samples, draw=True, seed=seed)
        x = in_range(x, self.model_.model, [str(name) for name in given or {}])
        table = spelled(x.numpy(), [own.words for own in source.columns])
        values = dict(zip(self._names, table.T, strict=True))
        draws = np.random.default_rng(seed)
        new = [self._written(column, values, n_samples, given or {}, complete, draws) for column in self._columns]
        rows = joined(new)
        return rows.to_numpy() if self._is_array else rows.to_native()

    def quality(self, X: Any, *, target: Any = None) -> SampleQuality:
        """Compare new rows with held-out rows, and compare training rows in the same way as a floor.

        New rows are those of `sample`. The comparison includes missing entries: a second column, "NAME is missing",
        marks those of each column.

        Args:
            X: Rows that the model was not trained on, with the columns of `fit`; at least 20.
            target: Column to predict from the others, by trees that are trained on new rows and tested on X.

        Returns:
            The estimates of `tightbound.Trained.quality`, by name; `print` shows all of them.

        Raises:
            InputError: If X lacks a column, there are too few rows, or the estimator comes from a pickle, which lacks
                training rows.
        """
        import torch

        from tightbound.analysis.samples.row_quality import LARGE, compare_rows

        check_is_fitted(self)
        frame = as_frame(X)
        if frame is None:
            frame = _of_array(np.asarray(X))
        known = [str(name) for name in frame.columns]
        lacking = [str(column.name) for column in self._columns if str(column.name) not in known]
        if lacking:
            raise InputError(f"X lacks the columns {listed(lacking)}; pass rows with the columns of fit()")
        data = self.model_.data
        if data is None:
            raise InputError("quality needs the training data, which a pickle does not hold; fit the estimator again")
        train = torch.cat([batch.x for batch in data.train.epoch(4096)])
        real, train = (_some(x, LARGE, self._seed) for x in (self._rows(self._marked(frame)).x, train))
        new = self.sample(max(len(real), len(train)))
        new = _of_array(new) if self._is_array else nw.from_native(new, eager_only=True)
        return compare_rows(
            self._rows(self._marked(new)).x, real, train,
            columns=self.model_.model.observation.source.columns, names=[str(name) for name in self._names],
            target=None if target is None else str(target), seed=self._seed,
        )  # fmt: skip

    def _marked(self, frame: nw.DataFrame[Any]) -> Any:
        """Return the columns of the model, and the columns that mark missing entries, as a data frame."""
        lacks = missing(frame.to_native())
        marks = [
            nw.new_series(mark, lacks[:, frame.columns.index(name)], backend=frame.implementation)
            for name, mark in self._marks.items()
        ]
        own = [frame.columns.index(column.name) for column in self._columns if column.modeled]
        return frame[:, own].with_columns(*marks).to_native()

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
        from tightbound.inference.conditional import check_given

        package: Any = self._package
        domains = self.model_.model.observation.source.columns
        frame = nw.from_dict({name: [None] for name in self._names}, backend=package)
        for name, value in given.items():
            column = next((each for each in self._columns if each.name == name), None)
            if column is None:
                names = [str(each.name) for each in self._columns]
                raise InputError(f"given= names column {name!r}, which the data lack; {suggestion(str(name), names)}")
            if not column.modeled:
                raise InputError(f"given= names column {name!r}, which has at most one value; leave it out")
            numeric = domains[self._names.index(name)].kind != "categories"
            value = column.read(value, numeric=numeric)
            frame = frame.with_columns(nw.new_series(name, [value], backend=package))
            if name in self._marks:
                frame = frame.with_columns(nw.new_series(self._marks[name], [False], backend=package))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about entries that are not given
            row = self._rows(frame.to_native()).x[0]
        check_given(self.model_.model, given, self._names, row)
        return row


def _some(x: Tensor, n: int, seed: int) -> Tensor:
    """Return up to n of the rows of x (N, D), at random."""
    import torch

    return x[torch.randperm(len(x), generator=torch.Generator().manual_seed(seed))[:n]]


def _of_array(x: Array) -> nw.DataFrame[Any]:
    """Return an array (N, D) as a data frame with the columns "0", "1", ..."""
    return nw.from_dict({str(i): column for i, column in enumerate(x.T)}, backend="pyarrow")


def _unused(name: str, names: Sequence[Any]) -> str:
    """Return a name that no column has."""
    while name in names:
        name += " (2)"
    return name
