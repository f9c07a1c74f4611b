"""Columns in which one number recurs: that number has a probability, and all others have a density."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
import torch
from scipy import integrate, stats

import tightbound as tb
from tightbound.analysis.diagnosis.independence import independent, marginal_costs
from tightbound.components import make
from tightbound.core.errors import CompositionError
from tightbound.core.noise import Noise
from tightbound.core.terms import Batch, log_density
from tightbound.likelihoods import Columns, Table
from tightbound.likelihoods.hurdle import Hurdle
from tightbound.sklearn import VAESynthesizer
from tightbound.testing import check_likelihood

RAIN = ("semicontinuous", 0.1)


@pytest.mark.parametrize(
    "of", ["gaussian", "laplace", "student-t(scale='predicted')", "mixture(of='gaussian', components=2)"]
)
def test_every_density_of_real_numbers_obeys_the_laws(of: str) -> None:
    check_likelihood(Hurdle(of=make("likelihood", of)), cases=2)


def test_log_probabilities_and_moments_agree_with_scipy() -> None:
    family = make("likelihood", "student-t(df=5.0, scale=0.4)")
    p = Hurdle(of=family).double()(torch.tensor([0.7, 1.3], dtype=torch.float64))
    chance, f = 1 / (1 + math.exp(-0.7)), stats.t(5, 1.3, 0.4)
    at = [p.log_prob(torch.tensor(x, dtype=torch.float64)).item() for x in (0.0, 1e-9, -0.5)]
    expected = [math.log(chance), math.log(1 - chance) + f.logpdf(1e-9), math.log(1 - chance) + f.logpdf(-0.5)]
    assert at == pytest.approx(expected, abs=1e-12)
    mean, square = (1 - chance) * f.mean(), (1 - chance) * (f.var() + f.mean() ** 2)
    assert p.mean.item() == pytest.approx(mean, abs=1e-12)
    assert p.variance.item() == pytest.approx(square - mean**2, abs=1e-12)


def test_the_density_may_not_be_one_of_whole_numbers() -> None:
    with pytest.raises(CompositionError, match="Poisson is a distribution of counts"):
        Hurdle(of=make("likelihood", "poisson"))


def test_a_bound_is_a_probability_in_any_unit_and_a_density_in_the_units_of_the_data() -> None:
    kinds = (RAIN, "real")
    observation = Table(kinds, mean=(2.0, 1.0), std=(4.0, 3.0), factors=0).double()
    likelihood = Columns(kinds=kinds).double()
    p = likelihood(torch.tensor([0.3, -1.0, 0.2], dtype=torch.float64))  # a logit and two locations

    def log_p(x: float) -> float:
        batch = Batch(torch.tensor([[x, math.nan]], dtype=torch.float32).double())
        seen = observation(batch, Noise("test"), training=False)
        value = log_density(p, seen.x, seen.mask) + observation.log_det(seen)
        return value.item()

    chance = math.exp(log_p(0.1))
    assert chance == pytest.approx(1 / (1 + math.exp(-0.3)), abs=1e-12)
    total = sum(integrate.quad(lambda x: math.exp(log_p(x)), *ends, limit=200)[0] for ends in ((-300, 0), (0, 300)))
    assert chance + total == pytest.approx(1, abs=1e-4)


def test_the_number_survives_the_observation_exactly() -> None:
    observation = Table((RAIN, ("semicontinuous", -7.3)), mean=(2.0, 5.0), std=(1.7, 0.013), factors=0)
    x = torch.tensor([[0.1, -7.3], [0.1000001, -7.300001], [5.0, math.nan]])
    seen = observation(Batch(x), Noise("test"), training=False)
    assert (seen.x[:2] == 0).tolist() == [[True, True], [False, False]]
    assert torch.equal(observation.restore(seen.x)[0], x[0])
    assert seen.mask is not None
    assert seen.mask.tolist() == [[True, True], [True, True], [True, False]]


def table(n: int = 400) -> np.ndarray:
    """Return rows (n, 2): an amount that is often exactly 0.1, and a number that it depends on; some are missing."""
    rng = np.random.default_rng(0)
    z = rng.normal(size=n)
    x = np.stack([np.where(z < 0.2, 0.1, 0.1 + np.exp(z + 0.3 * rng.normal(size=n))), z + 0.3 * rng.normal(size=n)], 1)
    x[rng.random(x.shape) < 0.1] = math.nan
    return x.astype(np.float32)


def test_a_model_starts_at_the_marginals_and_samples_hold_the_number_exactly() -> None:
    x = table()
    data = tb.data.open(x)
    number = np.float32(0.1)
    assert [column.kind for column in data.domain.columns] == ["semicontinuous", "real"]
    model = tb.VAE.for_data(data, latent=2, network="mlp(hidden=(8,))")
    trained = tb.fit(model, data, epochs=1, quiet=True)
    known = x[:, 0][~np.isnan(x[:, 0])]
    share, drawn = (known == number).mean(), trained.sample(4000, draw=True)[:, 0].numpy()
    assert abs((drawn == number).mean() - share) < 0.06
    filled = trained.impute(x, draw=True)[:, 0].numpy()[np.isnan(x[:, 0])]
    assert 0.2 < (filled == number).mean() < 0.9
    means = trained.impute(x)[:, 0].numpy()
    assert np.isfinite(means).all()
    low, high = (means[np.isnan(x[:, 0]) & part].mean() for part in (x[:, 1] < -0.5, x[:, 1] > 0.5))
    assert low < high


def test_independent_columns_cost_their_entropy() -> None:
    x = table(4000)
    data = tb.data.open(x)
    model = tb.VAE.for_data(data, latent=2, network="mlp(hidden=(8,))")
    seen = model.observe(Batch(torch.from_numpy(x)), Noise("test"))
    known = ~np.isnan(x[:, 0])
    only = seen.mask & torch.tensor([True, False])
    seen = Batch(seen.x, input=seen.input, mask=only)
    chance = (x[known, 0] == np.float32(0.1)).mean()
    costs = marginal_costs(model.likelihood, seen, seen)
    gaussian = independent(seen, seen, model.observation.target)
    at = known & (x[:, 0] == np.float32(0.1))
    assert costs is not None
    assert costs[at] == pytest.approx(-math.log(chance), abs=0.01)
    assert gaussian[at] == pytest.approx(-math.log(chance), abs=0.01)
    y = seen.x[:, 0].numpy()[known & ~at]
    expected = -stats.norm(y.mean(), y.std()).logpdf(y) - math.log(1 - chance)
    assert gaussian[known & ~at] == pytest.approx(expected, abs=1e-2)
    assert (costs[~known] == 0).all()


def test_synthetic_rows_hold_the_number_as_often_as_the_data() -> None:
    """Draws below all amounts of the data become the smallest one, not the number that recurs."""
    rng = np.random.default_rng(0)
    amount = np.where(rng.random(600) < 0.5, 0.0, np.round(0.3 + rng.exponential(2.0, 600), 1))
    frame = pd.DataFrame({"rain": amount, "heat": np.round(rng.normal(size=600), 2)})
    estimator = VAESynthesizer(n_components=2, max_epochs=3, random_state=0).fit(frame)
    rain = estimator.sample(4000)["rain"].to_numpy()
    assert abs((rain == 0).mean() - (amount == 0).mean()) < 0.06
    assert rain[rain != 0].min() >= 0.3
    assert (rain == np.round(rain, 1)).all()
    given = estimator.sample(10, given={"rain": 0.0})
    assert (given["rain"] == 0).all()
