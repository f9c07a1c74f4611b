"""Counts, from opening the data to bits; densities that stay accurate in float32."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch
from scipy import stats

import tightbound as tb
from tightbound.core.domain import COUNTS, REAL
from tightbound.core.errors import CompositionError, InputError
from tightbound.core.noise import Noise
from tightbound.core.terms import Batch
from tightbound.likelihoods import Beta, Counts, Levels
from tightbound.likelihoods.beta import BetaDistribution
from tightbound.likelihoods.counts import NegativeBinomialDistribution, PoissonDistribution
from tightbound.likelihoods.student import StudentTDistribution

X = stats.nbinom(2, 0.05).rvs((200, 4), random_state=0)


def test_counts_are_declared_or_what_a_wide_table_holds() -> None:
    data = tb.data.open(X, domain="counts")
    assert data.domain == COUNTS
    assert next(data.whole.epoch(5)).x.dtype == torch.int32
    assert tb.data.open(X).domain.kind == "mixed"
    assert X.max() <= 255
    assert tb.data.open(np.tile(X, 13)).domain.kind == "levels"
    assert tb.data.open(np.tile(X, 13) * 9).domain == COUNTS
    for wrong in (X - 1, X + 0.5, X.astype(float) * 1e7):
        with pytest.raises(InputError, match=r"outside counts|not all are integers|whole numbers up to"):
            tb.data.open(wrong, domain="counts")


@pytest.mark.parametrize("likelihood", ["auto", "poisson", "zero-inflated-negative-binomial", "mixture(of='poisson')"])
def test_a_model_of_counts_starts_near_the_data_and_has_bits(likelihood) -> None:
    model = tb.VAE.for_data(
        tb.data.open(X, domain="counts"), latent=2, network="mlp(hidden=(8,))", likelihood=likelihood
    )
    result = tb.evaluate(model, X, samples=20)
    fitted = -stats.nbinom(2, 0.05).logpmf(X).mean() / np.log(2)
    assert fitted - 0.1 < result["bits_per_dim"].value < (25 if likelihood == "poisson" else fitted + 1.5)
    assert result["iwae"].target == "counts"
    with pytest.raises(InputError, match="outside counts"):
        tb.evaluate(model, -X, samples=1)


@pytest.mark.parametrize("form", [X, X.astype(float), pd.DataFrame(X), np.tile(X, 13), (np.tile(X, 13) * 9.0)])
def test_a_likelihood_decides_what_whole_numbers_are(form) -> None:
    data = tb.data.open(form)
    for likelihood, domain in (("poisson", COUNTS), ("zero-inflated-negative-binomial", COUNTS), ("gaussian", REAL)):
        model = tb.VAE.for_data(data, likelihood=likelihood, latent=2, network="mlp(hidden=(8,))")
        levels = data.domain.kind == "levels" and likelihood == "gaussian"
        assert model.observation.source == (data.domain if levels else domain)
        assert model.observation.target_name.endswith("dequantized (noise seed 0)") == levels
        assert np.isfinite(tb.evaluate(model, data.whole, samples=1)["elbo"].value)


def test_likelihoods_not_for_counts_name_those_that_are() -> None:
    with pytest.raises(CompositionError, match="use 'poisson', 'negative-binomial'"):
        tb.VAE.for_data(tb.data.open(X, domain="counts"), likelihood="categorical")
    pictures = np.tile(X, 16).reshape(200, 8, 8) / X.max()
    with pytest.raises(CompositionError, match=r"Poisson is a distribution of counts"):
        tb.VAE.for_data(tb.data.open(pictures, levels=int(X.max()) + 1), likelihood="poisson")
    restored = Counts().restore(torch.tensor([3.0]))
    assert torch.equal(restored, torch.tensor([3.0]))


def spread(*limits: tuple[float, float], n: int = 4000) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [torch.rand(n, generator=generator) * (b - a) + a for a, b in limits]


def test_count_densities_stay_accurate_in_float32() -> None:
    """log-gammas of a million are ten millions, of which float32 holds the units; log p at the mode is about -8.

    What remains is of the size that rounding the log mean itself brings.
    """
    log_mean, log_shape, log_x, share = spread((-10, 15), (-15, 15), (-1, 15), (0, 1))
    x = torch.where(share < 0.5, log_x, log_mean).exp().round().clamp(max=2**24)
    mean, r = log_mean.double().exp().numpy(), log_shape.double().exp().numpy()
    for p, exact in (
        (PoissonDistribution(log_mean), stats.poisson(mean).logpmf(x)),
        (NegativeBinomialDistribution(log_mean, log_shape), stats.nbinom(r, r / (r + mean)).logpmf(x)),
    ):
        allowed = 5e-5 + 2e-6 * np.abs(exact) + 1e-6 * np.abs(x.numpy() - mean)
        assert (np.abs(p.log_prob(x).numpy() - exact) < allowed).all()


def test_continuous_densities_stay_accurate_in_float32() -> None:
    log_a, log_b, x = spread((-12, 12), (-12, 12), (1e-3, 1 - 1e-3))
    p = BetaDistribution(log_a, log_b)
    exact = stats.beta(log_a.double().exp().numpy(), log_b.double().exp().numpy()).logpdf(x.double())
    np.testing.assert_allclose(p.log_prob(x).numpy(), exact, rtol=2e-5, atol=2e-5)
    middle = torch.sigmoid(log_a - log_b).clamp(1e-6, 1 - 1e-6)
    exact = stats.beta(log_a.double().exp().numpy(), log_b.double().exp().numpy()).logpdf(middle.double())
    np.testing.assert_allclose(p.log_prob(middle).numpy(), exact, rtol=2e-5, atol=2e-4)
    log_df, y = spread((1, 15), (-50, 50))
    exact = stats.t(log_df.exp().double().numpy()).logpdf(y.double())
    got = StudentTDistribution(log_df.exp(), torch.zeros(()), torch.ones(())).log_prob(y)
    np.testing.assert_allclose(got.numpy(), exact, rtol=5e-6, atol=5e-6)


def test_negative_binomial_tends_to_poisson() -> None:
    log_mean, x = torch.tensor(1.3, dtype=torch.float64), torch.arange(20, dtype=torch.float64)
    near = NegativeBinomialDistribution(log_mean, torch.tensor(25.0, dtype=torch.float64))
    assert torch.allclose(near.log_prob(x), PoissonDistribution(log_mean).log_prob(x), atol=1e-8)


def test_beta_refuses_the_endpoints_and_dequantized_levels_avoid_them() -> None:
    p = Beta()(torch.zeros(2))
    for x in (0.0, 1.0, -0.1):
        with pytest.raises(InputError, match="zero or infinite"):
            p.log_prob(torch.tensor(x))
    observation = Levels(256, dequantize=True)
    levels = torch.tensor([0.0, 255.0])[:, None].expand(2, 100_000)
    x = observation(tb.core.terms.Batch(levels), tb.core.noise.Noise("ends"), True).x
    assert x.min() > 0
    assert x.max() < 1
    assert torch.equal((x * 256).floor(), levels)
    assert Beta()(torch.full((2,), -3.0)).sample((10_000,)).max() < 1


def test_degrees_of_freedom_stay_above_two() -> None:
    with pytest.raises(InputError, match="above 2"):
        tb.likelihoods.StudentT(df=2.0)
    p = tb.likelihoods.StudentT(df=6.0, scale=2.0)(torch.zeros(1))
    assert p.variance.item() == pytest.approx(stats.t(6, 0, 2).var())


LIBRARY = ("poisson(library=True)", "negative-binomial(library=True)", "zero-inflated-negative-binomial(library=True)")


@pytest.fixture(scope="module", params=LIBRARY)
def sharing(request: pytest.FixtureRequest) -> tb.VAE:
    """A model whose means are shares of each example's total."""
    data = tb.data.open(X, domain="counts")
    return tb.VAE.for_data(data, latent=2, network="mlp(hidden=(8,))", likelihood=request.param)


def test_means_are_shares_of_the_total(sharing: tb.VAE) -> None:
    z, totals = torch.randn(3, 2), torch.tensor([10.0, 100.0, 1000.0])
    at = sharing.decode(z, offset=totals.log())
    inflation = at.base_dist.logits.sigmoid() if hasattr(at.base_dist, "logits") else torch.zeros(3, 4)
    assert torch.allclose((at.mean / (1 - inflation)).sum(1), totals, rtol=1e-4)
    typical = sharing.decode(z).mean / (1 - inflation)
    assert torch.allclose(typical.sum(1), torch.tensor(float(np.median(X.sum(1)))).expand(3), rtol=1e-2)
    shares = typical / typical.sum(1, keepdim=True)
    assert torch.allclose(at.mean / (1 - inflation), shares * totals[:, None], rtol=1e-4)


def test_given_a_total_probabilities_of_all_examples_sum_to_one(sharing: tb.VAE) -> None:
    """The total is a number that the mean is scaled by: p(x | z, total) is a product of families, each normalized."""
    p = sharing.double().decode(torch.randn(1, 2).double(), offset=torch.tensor([3.0]).double().log()).base_dist
    line = torch.arange(4000).double()
    mass = p.log_prob(line[:, None, None].expand(-1, 1, 4)).exp().sum(0)
    assert torch.allclose(mass, torch.ones_like(mass), atol=1e-6)
    sharing.float()


def test_bounds_are_given_the_total_of_each_example(sharing: tb.VAE) -> None:
    seen = sharing.observe(Batch(torch.from_numpy(X[:5]).float()), Noise("counts"))
    assert seen.offset is not None
    assert torch.allclose(seen.offset, torch.from_numpy(X[:5].sum(1)).float().log())
    z = torch.zeros(1, 5, 2)
    own = sharing.log_likelihood(seen, z)
    p = sharing.decode(z[0], offset=seen.offset)
    assert torch.allclose(own[0], p.log_prob(seen.x), atol=1e-4)
    found = tb.evaluate(sharing, X, samples=5)
    assert found["iwae"].target == "counts, given the total count"
    assert "given the total count" in sharing.summary


def test_reconstructions_have_their_own_totals_and_samples_those_of_the_data(sharing: tb.VAE) -> None:
    trained = tb.Trained(sharing)
    sums = trained.reconstruct(X).sum(1).numpy()
    assert np.corrcoef(sums, X.sum(1))[0, 1] > 0.99
    drawn = trained.sample(2000, draw=True).sum(1).log1p()
    given = torch.from_numpy(X.sum(1)).float().log1p()
    assert drawn.mean().item() == pytest.approx(given.mean().item(), abs=0.1)
    assert drawn.std().item() >= 0.9 * given.std().item()


def test_dispersions_are_those_around_shares_of_the_total() -> None:
    """Poisson counts with varied totals are overdispersed, but not around their shares of the total."""
    rng = np.random.default_rng(0)
    x = rng.poisson(rng.lognormal(4, 0.7, (2000, 1)) * rng.dirichlet(np.ones(6), 1))
    data = tb.data.open(x, domain="counts")
    fitted = {}
    for library in (False, True):
        likelihood = f"negative-binomial(library={library})"
        model = tb.VAE.for_data(data, latent=1, likelihood=likelihood, network="mlp(hidden=(8,))")
        fitted[library] = model.likelihood.log_scale.exp()
    assert fitted[True].max() < 0.1 < 0.3 < fitted[False].min()


def test_parts_of_other_likelihoods_have_no_total() -> None:
    data = tb.data.open(X, domain="counts")
    for text in ("mixture(of='poisson(library=True)')", "columns(families={'counts': 'poisson(library=True)'})"):
        given = data if text.startswith("mixture") else tb.data.open(X, kinds="counts")
        with pytest.raises(CompositionError, match="total"):
            tb.VAE.for_data(given, likelihood=text, latent=2)
    with pytest.raises(CompositionError, match="use library=False"):
        tb.VAE.for_data(data, likelihood="poisson(library=True)", context="visible", latent=2)
