"""`tightbound.sklearn.VAE`: what it returns is what the engine says, in the forms of scikit-learn."""

from __future__ import annotations

import pickle
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.stats import multivariate_normal
from sklearn.base import clone
from sklearn.compose import make_column_transformer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler

import tightbound as tb
from tightbound.priors import VampPrior
from tightbound.sklearn import VAE, VAEImputer, VAEOutlierDetector

TINY: dict[str, Any] = {"network": "mlp(hidden=(4,))", "max_epochs": 2, "samples": 5, "random_state": 0}
RNG = np.random.default_rng(0)
X = RNG.normal(size=(60, 2)) @ RNG.normal(size=(2, 5)) + 0.3 * RNG.normal(size=(60, 5))
TABLE = pd.DataFrame({"height": X[:, 0], "city": RNG.choice(["Oslo", "Rome"], 60), "member": RNG.random(60) > 0.5})
TABLE.loc[3, "city"], TABLE.loc[5, "height"] = None, np.nan


@pytest.fixture(scope="module")
def fitted() -> VAE:
    return VAE(2, **TINY).fit(X)


@pytest.fixture(scope="module")
def of_words() -> VAE:
    return VAE(2, **TINY).fit(TABLE)


def test_results_are_those_of_the_trained_model(fitted: VAE) -> None:
    trained = fitted.model_
    z = fitted.transform(X)
    assert_array_equal(z, trained.encode(X).numpy())
    assert_array_equal(fitted.inverse_transform(z), trained.decode(z).numpy())
    assert_array_equal(fitted.sample(7), trained.sample(7, draw=True, seed=0).numpy())
    assert fitted.history_ == list(trained.metrics)
    assert fitted.history_[-1]["epoch"] == 2


def test_the_bound_is_that_of_the_engine_with_draws_that_depend_on_a_row_alone(fitted: VAE) -> None:
    many = clone(fitted).set_params(samples=2000).fit(X)
    assert_allclose(many.score_samples(X), many.model_.log_likelihood(X, samples=2000), atol=0.1)
    found = fitted.score_samples(X)
    assert_allclose(fitted.score_samples(X[::-1][:7]), found[::-1][:7], rtol=1e-5)
    assert fitted.score(X) == pytest.approx(found.mean(), rel=1e-6)
    same = fitted.score_samples(np.repeat(X[:1], 3, 0))
    assert same[0] == same[1] == same[2]


def test_the_score_is_the_density_of_correlated_numbers() -> None:
    """Factor analysis, where training starts, explains normal numbers: the bound is near the normal density."""
    vae = VAE(2, network="mlp(hidden=(4,), skip=True)", max_epochs=30, samples=200, random_state=0).fit(X)
    normal = multivariate_normal(X.mean(0), np.cov(X.T))
    assert vae.score(X) == pytest.approx(normal.logpdf(X).mean(), abs=0.5)
    drawn = vae.sample(2000)
    assert_allclose(np.cov(drawn.T), np.cov(X.T), atol=0.25 * np.trace(np.cov(X.T)))


def test_the_same_seed_gives_the_same_bits(fitted: VAE) -> None:
    again = clone(fitted).fit(X)
    assert_array_equal(again.transform(X), fitted.transform(X))
    assert_array_equal(again.score_samples(X), fitted.score_samples(X))
    assert not np.array_equal(clone(fitted).set_params(random_state=1).fit(X).transform(X), fitted.transform(X))


def test_a_pickle_holds_the_model_its_sampler_and_no_data(of_words: VAE) -> None:
    of_words.model_.fit_sampler("gaussian-mixture(components=2)", default=True)
    again = pickle.loads(pickle.dumps(of_words))
    assert again.model_.data is None
    assert again.history_ == of_words.history_
    assert_array_equal(again.transform(TABLE), of_words.transform(TABLE))
    assert_array_equal(again.score_samples(TABLE), of_words.score_samples(TABLE))
    pd.testing.assert_frame_equal(again.sample(9), of_words.sample(9))
    assert "gaussian-mixture" in repr(again.model_)
    assert pickle.loads(pickle.dumps(again)).score(TABLE) == of_words.score(TABLE)


def test_a_data_frame_keeps_its_names_and_words(of_words: VAE) -> None:
    drawn = of_words.sample(20)
    assert list(drawn.columns) == list(of_words.feature_names_in_) == list(of_words.model_.model.schema.columns)
    assert set(drawn["city"]) <= {"Oslo", "Rome"}
    assert drawn.dtypes.equals(TABLE.dtypes)
    codes = clone(of_words).set_output(transform="pandas").fit_transform(TABLE)
    assert list(codes.columns) == ["vae0", "vae1"]
    assert codes.index.equals(TABLE.index)
    with pytest.raises(ValueError, match="feature names"):
        of_words.transform(TABLE[["city", "height", "member"]])


TYPES = pd.DataFrame(
    {
        "day": pd.to_datetime("2024-01-01") + pd.to_timedelta(RNG.integers(0, 90, 60), unit="D"),
        "hours": pd.to_timedelta(RNG.integers(0, 90, 60), unit="h"),
        "member": RNG.random(60) > 0.5,
        "visits": RNG.integers(0, 90, 60),
        "change": RNG.integers(-90, 90, 60).astype(np.int8),
        "score": pd.array(RNG.integers(0, 4, 60), dtype="Int64"),
        "size": pd.Categorical(RNG.choice(["s", "m"], 60), ["s", "m", "l"], ordered=True),
        "price": RNG.choice(["$1.50", "$2.75", "$9.00"], 60),
        "x": X[:, 0].astype(np.float32),
    }
)


@pytest.mark.parametrize("frame", [TYPES, TYPES.rename(columns=lambda name: len(name) + ord(name[0]))])
def test_rows_have_the_types_of_the_data_frame(frame: pd.DataFrame) -> None:
    vae: Any = VAE(2, **TINY).fit(frame)
    far = 1e4 * np.ones((3, 2))  # decoded to numbers beyond what dates and small integers hold
    for rows in (vae.sample(9), vae.inverse_transform(vae.transform(frame)), vae.inverse_transform(far)):
        assert rows.dtypes.equals(frame.dtypes)
        assert list(rows.columns) == list(frame.columns)
        assert rows.notna().all(axis=None)


def test_an_expected_truth_is_the_more_probable_one() -> None:
    frame = pd.DataFrame({"x": X[:, 0], "member": np.arange(60) < 6})
    vae: Any = VAE(1, **{**TINY, "max_epochs": 30}).fit(frame)
    assert vae.inverse_transform(np.zeros((1, 1)))["member"].tolist() == [False]


def test_entries_that_cannot_be_written_anew_are_refused_in_one_line() -> None:
    frame = pd.DataFrame({"month": pd.period_range("2020-01", periods=60, freq="M"), "x": X[:, 0]})
    vae = VAE(1, **TINY).fit(frame)
    assert vae.transform(frame).shape == (60, 1)
    with pytest.raises(tb.TightboundError, match=r"column 'month' has the type .* convert it"):
        vae.sample(3)


def test_an_unknown_word_counts_as_missing(of_words: VAE) -> None:
    some, missing = TABLE.iloc[10:14].copy(), TABLE.iloc[10:14].copy()
    some.loc[11, "city"], missing.loc[11, "city"] = "Bern", None
    with pytest.warns(UserWarning, match="'Bern', unknown to the model"):
        found = of_words.score_samples(some)
    assert_array_equal(found, of_words.score_samples(missing))


def test_components_are_names_or_objects_and_stay_as_they_were() -> None:
    prior = VampPrior(2, shape=(10,), components=3)
    before = {name: value.clone() for name, value in prior.state_dict().items()}
    vae = VAE(2, prior=prior, **TINY).fit(X)
    assert isinstance(vae.model_.model.latents.prior, VampPrior)
    assert vae.model_.model.latents.prior is not prior
    assert all((prior.state_dict()[name] == value).all() for name, value in before.items())
    assert clone(vae).fit(X).score(X) == vae.score(X)


def test_it_works_in_scikit_learns_tools() -> None:
    y = X[:, 0] > 0
    pipe = make_pipeline(MinMaxScaler(), VAE(2, **TINY), LogisticRegression())
    search = GridSearchCV(pipe, {"vae__n_components": [1, 2]}, cv=2, error_score="raise").fit(X, y)
    assert search.best_estimator_.named_steps["vae"].transform(X).shape[1] == search.best_params_["vae__n_components"]
    density = GridSearchCV(VAE(2, **TINY), {"n_components": [1, 2]}, cv=2, error_score="raise").fit(X)
    assert np.isfinite(density.cv_results_["mean_test_score"]).all()
    both = make_column_transformer((VAE(1, **TINY), ["height", "city"]), remainder="passthrough")
    assert list(both.set_output(transform="pandas").fit_transform(TABLE).columns) == ["vae__vae0", "remainder__member"]


def test_options_of_fit_are_passed_on() -> None:
    vae = VAE(2, network="mlp(hidden=(4,))", fit_options={"steps": 3, "validation_size": 5}).fit(X)
    assert vae.history_[-1]["step"] == 3
    for name in ("n_components", "max_epochs", "batch_size", "samples"):
        with pytest.raises(tb.TightboundError, match=f"{name} = 0"):
            VAE(**{**TINY, name: 0}).fit(X)
    with pytest.raises(tb.TightboundError, match="patience"):
        VAE(2, fit_options={"patiense": 3}, **TINY).fit(X)


def test_importing_does_not_load_torch() -> None:
    code = "import sys, tightbound.sklearn as s; s.VAE(2); assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize(("width", "unit"), [(5, False), (51, False), (51, True)])
def test_a_constant_column_adds_nothing_to_the_bound(width: int, unit: bool) -> None:
    rng = np.random.default_rng(1)
    x = rng.random((60, width)) if unit else rng.normal(size=(60, width))
    x[:, 1] = 0.25
    settings: dict[str, Any] = {**TINY, "max_epochs": 10, "lr": 0.1, "fit_options": {"validation_size": 0}}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = VAE(2, **settings).fit(x)
    assert found.score(x) == pytest.approx(VAE(2, **settings).fit(np.delete(x, 1, 1)).score(np.delete(x, 1, 1)), abs=1)
    assert (found.sample(9)[:, 1] == 0.25).all()


@pytest.mark.parametrize("column", [[f"p{i}" for i in range(300)], ["01/02/2020", "02/03/2020"] * 150, [None] * 300])
def test_errors_about_columns_advise_what_estimators_have(column: list[Any]) -> None:
    frame = pd.DataFrame({"x": np.random.default_rng(0).normal(size=300), "who": column})
    for kind in (VAE, VAEImputer, VAEOutlierDetector):
        if kind is VAEImputer and column[0] is None:
            continue
        with pytest.raises(tb.TightboundError, match=r"column 2 \(who\).* leave it out of X") as caught:
            kind(**TINY).fit(frame)
        assert "ignore" not in str(caught.value)


def test_transform_returns_means_draws_or_standard_deviations(fitted: VAE) -> None:
    vae: Any = clone(fitted).fit(X)
    z = vae.transform(X)
    both = vae.set_params(output="mean+std").transform(X)
    assert list(vae.get_feature_names_out()) == ["vae0", "vae1", "vae0_std", "vae1_std"]
    assert list(vae.set_output(transform="pandas").transform(X).columns) == ["vae0", "vae1", "vae0_std", "vae1_std"]
    assert_array_equal(both[:, :2], z)
    assert_array_equal(vae.inverse_transform(both), fitted.inverse_transform(z))
    vae.set_output(transform="default").set_params(output="sample")
    drawn = vae.transform(X)
    assert list(vae.get_feature_names_out()) == ["vae0", "vae1"]
    standard = (drawn - z) / both[:, 2:]
    assert 0.8 < standard.std() < 1.2  # of 120 standard normal numbers
    assert abs(standard.mean()) < 0.3
    assert_allclose(vae.transform(X[::-1]), drawn[::-1], atol=1e-5)
    with pytest.raises(ValueError, match="output = 'means'; needed: one of 'mean', 'sample'"):
        vae.set_params(output="means").transform(X)


def test_partial_fit_goes_on_with_the_model() -> None:
    vae: Any = VAE(2, lr=0.05, **TINY)
    scores = [vae.partial_fit(part).score(X) for part in 4 * np.split(X, 2)]
    assert scores[-1] > scores[0] + 0.2
    assert [row["epoch"] for row in vae.history_] == list(range(1, 9))
    assert vae.history_[-1]["step"] == 8
    before = vae.model_
    codes = before.encode(X)
    vae.partial_fit(X)
    assert (before.encode(X) == codes).all()  # a model that was taken stays as it is
    assert not np.array_equal(vae.transform(X), codes.numpy())
    again = pickle.loads(pickle.dumps(vae)).partial_fit(X)
    assert_array_equal(again.transform(X), vae.partial_fit(X).transform(X))
    with pytest.raises(ValueError, match="features"):
        vae.partial_fit(X[:, :3])


@pytest.mark.parametrize("again", [lambda vae: vae.partial_fit(X), lambda vae: vae.set_params(warm_start=True).fit(X)])
def test_further_training_replaces_the_own_run_and_no_other(tmp_path: Path, again: Callable[[Any], Any]) -> None:
    run = tmp_path / "run"
    vae: Any = VAE(2, **TINY, fit_options={"run": run}).partial_fit(X)
    codes = again(vae).transform(X)
    assert_array_equal(tb.load(run).encode(X).numpy(), codes)
    assert (run / "model.json").exists()
    VAE(2, **TINY, fit_options={"run": tmp_path / "other"}).fit(X)
    with pytest.raises(tb.TightboundError, match="exists; pass"):
        again(vae.set_params(fit_options={"run": tmp_path / "other"}))


def test_partial_fit_reads_words_as_the_first_rows(of_words: VAE) -> None:
    vae: Any = clone(of_words)
    vae.partial_fit(TABLE.iloc[10:])
    assert set(vae.partial_fit(TABLE.iloc[:10]).sample(20)["city"]) <= {"Oslo", "Rome"}
    other = TABLE.iloc[:10].assign(city="Bern")
    with pytest.warns(UserWarning, match="'Bern', unknown to the model"):
        vae.partial_fit(other)


def test_warm_start_begins_at_the_weights_that_there_are() -> None:
    cold = VAE(2, **{**TINY, "max_epochs": 30, "fit_options": {"lr": 0.01}}).fit(X)
    warm: Any = clone(cold).set_params(warm_start=True).fit(X)
    assert_array_equal(warm.transform(X), cold.transform(X))
    warm.set_params(max_epochs=1, fit_options={"lr": 1e-6}).fit(X)
    assert_allclose(warm.transform(X), cold.transform(X), atol=1e-3)
    assert warm.history_[-1]["epoch"] == 31
    assert np.abs(warm.set_params(warm_start=False).fit(X).transform(X) - cold.transform(X)).max() > 0.1


def test_a_latent_sampler_is_fitted_when_samples_are_needed() -> None:
    """Training of a plain autoencoder leaves the codes far from the prior."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(200, 2)) @ rng.normal(size=(2, 5)) + 5
    vae = VAE(2, objective="elbo(beta=0.001)", lr=0.05, network="mlp(hidden=(4,))", max_epochs=15, random_state=0).fit(
        x
    )
    vae.transform(x)
    assert "gaussian-mixture" not in repr(vae.model_)
    again = pickle.loads(pickle.dumps(clone(vae).fit(x)))
    drawn = vae.sample(50)
    assert "gaussian-mixture" in repr(vae.model_)
    assert_array_equal(again.sample(50), drawn)
