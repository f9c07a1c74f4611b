"""`tightbound.sklearn.VAEImputer` fills what is missing by its conditional distribution, and nothing else."""

from __future__ import annotations

import pickle
from typing import Any

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.impute import SimpleImputer
from sklearn.linear_model import Ridge
from sklearn.pipeline import make_pipeline

from tightbound.sklearn import VAEImputer

FACTOR: dict[str, Any] = {"network": "mlp(hidden=(4,), skip=True)", "max_epochs": 20, "random_state": 0}
RNG = np.random.default_rng(0)
FULL = RNG.normal(size=(300, 2)) @ RNG.normal(size=(2, 6)) + 0.3 * RNG.normal(size=(300, 6))
LACKS = RNG.random(FULL.shape) < 0.3
X = np.where(LACKS, np.nan, FULL)


@pytest.fixture(scope="module")
def fitted() -> VAEImputer:
    return VAEImputer(2, **FACTOR).fit(X)


@pytest.fixture(scope="module")
def normal() -> tuple[Any, Any]:
    """Conditional mean and variance of entry (0, 0) of the rows below, if numbers were normal."""
    cov, mean = np.cov(FULL.T), FULL.mean(0)
    gain = np.linalg.solve(cov[1:, 1:], cov[1:, 0])
    return mean[0] + (FULL[:, 1:] - mean[1:]) @ gain, cov[0, 0] - cov[0, 1:] @ gain


def test_observed_entries_stay_and_the_others_are_better_than_means(fitted: VAEImputer) -> None:
    out = fitted.transform(X)
    assert_array_equal(out[~LACKS], X[~LACKS])
    assert np.abs(out - fitted.model_.impute(X).numpy()).mean() < 0.02  # other draws
    means = SimpleImputer().fit_transform(X)
    assert ((out - FULL)[LACKS] ** 2).mean() < 0.3 * ((means - FULL)[LACKS] ** 2).mean()
    assert_allclose(fitted.transform(X[:3]), out[:3], rtol=1e-4)


def test_means_and_draws_are_those_of_the_conditional_distribution(fitted: VAEImputer, normal: tuple[Any, Any]) -> None:
    hidden = FULL.copy()
    hidden[:, 0] = np.nan
    mean, variance = normal
    assert_allclose(fitted.transform(hidden)[:, 0], mean, atol=3 * variance**0.5)
    drawing = pickle.loads(pickle.dumps(fitted)).set_params(sample_posterior=True)
    z = (drawing.transform(hidden)[:, 0] - mean) / variance**0.5
    assert abs(z.mean()) < 0.35
    assert 0.7 < z.std() < 1.4
    assert_array_equal(drawing.transform(hidden), drawing.transform(hidden))
    again = [drawing.model_.impute(hidden[:5], draw=True, seed=seed)[:, 0] for seed in (1, 2)]
    assert (again[0] != again[1]).all()


@pytest.mark.filterwarnings("ignore:Skipping features without any observed values")
def test_columns_without_entries_and_indicators_are_as_with_scikit_learns_imputers() -> None:
    x = np.column_stack([FULL[:, 0], np.full(300, np.nan), X[:, 1]])
    for keep in (False, True):
        own, other = (
            kind(add_indicator=True, keep_empty_features=keep, **given)
            for kind, given in ((VAEImputer, {**FACTOR, "max_epochs": 1}), (SimpleImputer, {}))
        )
        out, expected = own.fit_transform(x), other.fit_transform(x)
        assert out.shape == expected.shape
        seen = ~np.isnan(np.column_stack([x if keep else x[:, [0, 2]], np.zeros((300, 2))]))
        seen[:, 1] |= keep  # filled with 0
        assert_array_equal(out[seen], expected[seen])
        assert list(own.get_feature_names_out(["a", "b", "c"])) == list(other.get_feature_names_out(["a", "b", "c"]))


@pytest.mark.parametrize("output", ["default", "pandas"])
def test_a_data_frame_gets_entries_of_its_kinds(output: str) -> None:
    table = pd.DataFrame(
        {
            "height": FULL[:, 0],
            "city": np.where(FULL[:, 1] > 0, "Rome", "Oslo").astype(object),
            "member": pd.Series(FULL[:, 2] > 0).astype(object),
            "born": pd.to_datetime("1990-01-01") + pd.to_timedelta(np.round(1000 * FULL[:, 3]), "D"),
            "children": RNG.integers(0, 60, 300),
        },
        index=np.arange(300) * 2,
    )
    for i, name in enumerate(table.columns[:4]):
        table.loc[table.index[10 * i : 10 * i + 10], name] = None
    imputer = VAEImputer(2, add_indicator=True, **FACTOR).set_output(transform=output).fit(table)  # pyright: ignore
    out = imputer.transform(table)
    assert list(out.columns) == [*table.columns, *(f"missingindicator_{name}" for name in table.columns[:4])]
    assert out.index.equals(table.index)
    assert set(out["city"]) == {"Rome", "Oslo"}
    assert set(out["member"]) == {True, False}
    assert out["height"].dtype == float
    assert out["children"].equals(table["children"])
    assert out["born"].dtype.kind == "M"
    assert out["born"].iloc[30:40].dt.year.between(1975, 2005).all()
    seen = table.notna()
    assert (out[table.columns].astype(object).where(seen, 0) == table.astype(object).where(seen, 0)).all(axis=None)
    one = imputer.transform(table.iloc[:1])  # one row, whose only height is missing
    assert one["city"].iloc[0] == table["city"].iloc[0]


def test_it_is_the_first_step_of_a_pipeline(fitted: VAEImputer) -> None:
    y = FULL @ np.arange(6)
    filled = make_pipeline(clone(fitted), Ridge()).fit(X, y).score(X, y)
    assert filled > make_pipeline(SimpleImputer(), Ridge()).fit(X, y).score(X, y)


def test_gaps_are_filled_by_a_model_of_complete_rows() -> None:
    x = np.random.default_rng(0).normal(size=(50, 2))
    for whole in (x, pd.DataFrame(x, columns=["a", "b"])):
        gap = whole.copy()
        gap[:1] = np.nan
        imputer = VAEImputer(2, max_epochs=1, network="mlp(hidden=(4,))", samples=2).fit(whole)
        assert np.isfinite(np.asarray(imputer.transform(gap))).all()


def test_intervals_of_draws_hold_hidden_entries_as_often_as_they_should() -> None:
    """90% intervals of entries that are normal given the others, in rows that the model has not seen."""
    rng = np.random.default_rng(5)
    loadings = rng.normal(size=(2, 6))
    x, new = (rng.normal(size=(n, 2)) @ loadings + 0.5 * rng.normal(size=(n, 6)) for n in (800, 150))
    gaps = [rng.random(each.shape) < 0.3 for each in (x, new)]
    imputer = VAEImputer(2, samples=100, **FACTOR).fit(np.where(gaps[0], np.nan, x))
    given = np.where(gaps[1], np.nan, new)
    drawn = np.stack([*imputer.draws(given, 39)])
    assert np.array_equal(drawn[:, ~gaps[1]], np.broadcast_to(given[~gaps[1]], drawn[:, ~gaps[1]].shape))
    low, high = np.sort(drawn, 0)[[1, 37]]  # of 40 equally probable gaps, 36 lie between these two
    inside = ((low <= new) & (new <= high))[gaps[1]]
    assert 0.85 < inside.mean() < 0.95


def test_draws_have_the_form_of_the_rows(fitted: VAEImputer) -> None:
    one, two = fitted.draws(X[:20], 2)
    assert one.shape == (20, 6)
    assert (one[LACKS[:20]] != two[LACKS[:20]]).mean() > 0.99
    assert_array_equal(one, next(fitted.draws(X[:20], 1)))
    frame = pd.DataFrame({"x": X[:, 0], "word": np.where(FULL[:, 1] > 0, "u", "v").astype(object)})
    frame.loc[:9, "word"] = None
    imputer = VAEImputer(2, **{**FACTOR, "max_epochs": 1}).fit(frame)
    for table in imputer.draws(frame, 3):
        assert set(table["word"]) == {"u", "v"}
        assert table["x"].notna().all()
    with pytest.raises(ValueError, match="n_draws = 0"):
        fitted.draws(X, 0)


def test_filled_columns_keep_their_types() -> None:
    n = 40
    table: Any = pd.DataFrame(
        {
            "whole": pd.array([3, None, -20, 41] * 10, dtype="Int64"),
            "short": pd.array([3, None, 9, 41] * 10, dtype="Int16"),
            "true": pd.array([True, None, False, True] * 10, dtype="boolean"),
            "word": pd.array(["u", None, "v", "v"] * 10, dtype="string"),
            "kind": pd.Categorical(["lo", None, "hi", "hi"] * 10, categories=["lo", "mid", "hi"], ordered=True),
            "x": np.random.default_rng(0).normal(size=n).astype(np.float32),
        }
    )
    filled: Any = VAEImputer(2, **{**FACTOR, "max_epochs": 1}).fit_transform(table)
    assert filled.dtypes.equals(table.dtypes)
    assert filled.notna().all(axis=None)
