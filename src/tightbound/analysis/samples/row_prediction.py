"""Prediction of one column by models that are trained on new rows and tested on real rows."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tightbound.analysis.estimate import Estimate, mean_error, ratio, scalar, share
from tightbound.analysis.samples.two_sample import predictor
from tightbound.analysis.samples.two_sample.resampling import Array
from tightbound.core.domain import Domain
from tightbound.core.errors import InputError
from tightbound.core.noise import key_seed

CLASSES = ("categories", "binary", "values")  # kinds of columns that are predicted by a classifier


def prediction(
    samples: Array,
    train: Array,
    test: Array,
    place: int,
    columns: Sequence[Domain],
    levels: Sequence[int],
    name: str,
    seed: int,
) -> tuple[dict[str, Estimate], dict[str, Estimate]]:
    """Return how well trees that are trained on samples predict a column, and how well trees trained on real rows do.

    Args:
        samples: New rows (n, D).
        train: Real rows (N, D) to train on.
        test: Other real rows (m, D) to test on.
        place: Position of the column to predict.
        columns: Domain of each column.
        levels: Number of categories of each column; 0 for a column of numbers.
        name: Name of the column.
        seed: Random seed.

    Returns:
        Estimates "target_score" and "target_loss" of the samples, and "target_score" of the real rows.

    Raises:
        InputError: If the column is known in fewer than two rows, or is the only column.

    References:
        Real-valued (medical) time series generation with recurrent conditional GANs (Esteban et al. 2017), Section 3,
        https://arxiv.org/abs/1706.02633
    """
    own = columns[place]
    classes = own.kind in CLASSES
    parts = [rows[~np.isnan(rows[:, place])] for rows in (samples, train, test)]
    if min(map(len, parts)) < 2:
        raise InputError(f"target= names column {name!r}, which is missing in almost all rows; give another column")
    samples, train, test = parts
    rest = [i for i in range(len(columns)) if i != place]
    if not rest:
        raise InputError("target= needs other columns to predict it from, and there is only one column; leave it out")
    others = [levels[i] for i in rest]
    truth = test[:, place]
    guesses = [
        _guess(rows[:, rest], rows[:, place], test[:, rest], others, classes, key_seed("target", seed))
        for rows in (samples, train)
    ]
    what = f"{name} of {len(test):,} test rows"
    how = "gradient-boosted trees (scikit-learn), trained on {}"
    hows = [how.format(f"{len(samples):,} samples"), how.format(f"{len(train):,} training rows")]
    about = "accuracy" if classes else "R^2"
    text = f"{about} of predicting {name} from the other columns, trained on samples, tested on real rows"
    if classes:
        right = [(guess == truth).astype(float) for guess in guesses]
        found, real = (
            share(hits.astype(bool), unit="share", estimator=how, target=what, description=text)
            for hits, how in zip(right, hows, strict=True)
        )
        loss = right[1] - right[0]
    else:
        spread = (truth - truth.mean()) ** 2
        errors = [(guess - truth) ** 2 for guess in guesses]
        found, real = (
            _one_minus(ratio(each, spread, unit="R^2", estimator=how, target=what, description=text))
            for each, how in zip(errors, hows, strict=True)
        )
        loss = (errors[0] - errors[1]) / spread.mean()
    lost = Estimate(
        float(loss.mean()), float(mean_error(loss)), n=len(test), unit=found.unit, target=what,
        estimator=f"paired difference of {about}; {hows[0]} and on {len(train):,} training rows",
        description="target_score of training rows minus that of samples; 0: samples are as useful as real rows",
    )  # fmt: skip
    return {"target_score": found, "target_loss": lost}, {"target_score": real}


def _guess(x: Array, y: Array, test: Array, levels: Sequence[int], classes: bool, seed: int) -> Array:
    """Return predictions for test rows (m, D - 1) from rows x with targets y."""
    if classes and len(np.unique(y)) == 1:
        return np.full(len(test), y[0])
    return predictor(levels, classes, seed).fit(x, y).predict(test)


def _one_minus(found: Estimate) -> Estimate:
    from dataclasses import replace

    return replace(found, value=1 - scalar(found))
