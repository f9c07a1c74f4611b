"""Law 4: densities against SciPy, shapes of folded samples, closed forms."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import stats

from tightbound.components import TABLE, find, make
from tightbound.core.terms import closed_kl
from tightbound.likelihoods import ElementwiseLikelihood
from tightbound.likelihoods.levels import LevelCategorical

RAW = torch.linspace(-2, 2, 9, dtype=torch.float64)


def logp(text: str, raw: torch.Tensor, x: torch.Tensor) -> np.ndarray:
    likelihood = make("likelihood", text).double()
    return likelihood(raw.unsqueeze(-1)).log_prob(x).detach().numpy()


@pytest.mark.parametrize(
    ("text", "x", "oracle"),
    [
        ("bernoulli", 1.0, lambda r: stats.bernoulli(1 / (1 + np.exp(-r))).logpmf(1)),
        ("gaussian(scale=0.3)", 0.7, lambda r: stats.norm(r, 0.3).logpdf(0.7)),
        ("gaussian", 0.7, lambda r: stats.norm(r, 1).logpdf(0.7)),
        ("laplace(scale=2.0)", 0.7, lambda r: stats.laplace(r, 2).logpdf(0.7)),
        ("student-t(scale=2.0, df=5.0)", 0.7, lambda r: stats.t(5, r, 2).logpdf(0.7)),
        ("student-t", 0.7, lambda r: stats.t(10, r).logpdf(0.7)),
        ("poisson", 0.0, lambda r: stats.poisson(np.exp(r)).logpmf(0)),
        ("poisson", 5.0, lambda r: stats.poisson(np.exp(r)).logpmf(5)),
        ("negative-binomial(dispersion=0.5)", 0.0, lambda r: stats.nbinom(2, 2 / (2 + np.exp(r))).logpmf(0)),
        ("negative-binomial(dispersion=0.5)", 5.0, lambda r: stats.nbinom(2, 2 / (2 + np.exp(r))).logpmf(5)),
        ("binomial(levels=17)", 5.0, lambda r: stats.binom(16, 1 / (1 + np.exp(-r))).logpmf(5)),
        (
            "discretized-logistic(levels=17, scale=0.25)",
            5.0,
            lambda r: np.log(stats.logistic((r + 1) * 8, 2).cdf(5.5) - stats.logistic((r + 1) * 8, 2).cdf(4.5)),
        ),
    ],
)
def test_log_density_agrees_with_scipy(text, x, oracle) -> None:
    got = logp(text, RAW, torch.tensor(x, dtype=torch.float64))
    np.testing.assert_allclose(got, oracle(RAW.numpy()), rtol=1e-9, atol=1e-10)


def test_families_of_two_parameters_agree_with_scipy() -> None:
    raw = torch.cartesian_prod(RAW, RAW)
    a, b = raw.numpy().T
    for text, x, oracle in (
        ("beta", 0.3, stats.beta(np.exp(a), np.exp(b)).logpdf(0.3)),
        (
            "negative-binomial(dispersion='predicted')",
            5.0,
            stats.nbinom(np.exp(-b), 1 / (1 + np.exp(a + b))).logpmf(5),
        ),
        (
            "zero-inflated-negative-binomial(dispersion=0.5)",
            0.0,
            np.log(1 / (1 + np.exp(-b)) + stats.nbinom(2, 2 / (2 + np.exp(a))).pmf(0) / (1 + np.exp(b))),
        ),
    ):
        got = make("likelihood", text).double()(raw).log_prob(torch.tensor(x, dtype=torch.float64))
        np.testing.assert_allclose(got.numpy(), oracle, rtol=1e-9, atol=1e-10)


def test_mixture_of_students_agrees_with_scipy() -> None:
    likelihood = make("likelihood", "mixture(of=student_t(df=5.0, scale='predicted'), components=2)").double()
    raw = torch.tensor([0.3, -1.0, 0.2, 0.5, -2.0, 0.1], dtype=torch.float64)
    w = torch.softmax(raw[:2], 0).numpy()
    m, s, n, t = raw[2:].tolist()
    parts = [stats.t(5, loc, np.exp(scale)).pdf(0.7) for loc, scale in ((m, s), (n, t))]
    got = likelihood(raw).log_prob(torch.tensor(0.7, dtype=torch.float64)).item()
    assert got == pytest.approx(np.log(w @ parts), abs=1e-9)


def test_continuous_bernoulli_agrees_with_its_normalizer() -> None:
    """C(l) = 2 artanh(1 - 2 l) / (1 - 2 l), Eq. 6 of Loaiza-Ganem and Cunningham 2019."""
    raw = RAW[RAW != 0]
    rate = torch.sigmoid(raw).numpy()
    c = 2 * np.arctanh(1 - 2 * rate) / (1 - 2 * rate)
    exact = np.log(c) + 0.3 * np.log(rate) + 0.7 * np.log(1 - rate)
    np.testing.assert_allclose(
        logp("continuous-bernoulli", raw, torch.tensor(0.3, dtype=torch.float64)), exact, rtol=1e-9
    )


@pytest.mark.parametrize(
    "name", [name for name in TABLE["likelihood"] if issubclass(find("likelihood", name), ElementwiseLikelihood)]
)
def test_shapes_fold_samples_and_data_and_sum_over_elements(name: str) -> None:
    """log p of an image is the sum over its elements, for every sample and example of a folded batch."""
    single, image = make("likelihood", name, levels=5).double(), make("likelihood", name, levels=5, shape=(1, 2, 3))
    p = single.outputs
    raw = torch.randn(4, 2, p, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    x = torch.tensor([[0.0, 1, 1, 0, 1, 0], [1, 1, 0, 0, 0, 1]], dtype=torch.float64)
    x = x if {"binary", "counts"} & {*single.domains} else x * 0.9 + 0.05
    whole = image.double()(raw.flatten(2)).log_prob(x.reshape(2, 1, 2, 3))
    assert whole.shape == (4, 2)
    for s in range(4):
        for b in range(2):
            each = single(raw[s, b].T).log_prob(x[b])
            assert torch.allclose(whole[s, b], each.sum(), atol=1e-10)


def test_level_categorical_moments() -> None:
    logits = torch.randn(3, 5, dtype=torch.float64)
    p = torch.softmax(logits, -1).numpy()
    k = np.arange(5)
    q = LevelCategorical(logits)
    np.testing.assert_allclose(q.mean, p @ k)
    np.testing.assert_allclose(q.variance, p @ k**2 - (p @ k) ** 2)


def test_closed_kl_of_diagonal_normals() -> None:
    """KL(N(m, s^2) || N(0, 1)) = (m^2 + s^2 - 1) / 2 - log s, Kingma and Welling 2014, Appendix B."""
    posterior = make("posterior", "normal", shape=(8,), latent=4).double()
    raw = torch.randn(5, 8, dtype=torch.float64)
    mean, log_variance = raw.reshape(5, 2, 4).unbind(1)
    exact = 0.5 * (mean**2 + log_variance.exp() - 1 - log_variance)
    kl = closed_kl(posterior(raw), make("prior", "normal", latent=4).double()(None))
    assert kl is not None
    assert torch.allclose(kl, exact, atol=1e-12)


def test_full_covariance_density_agrees_with_scipy() -> None:
    posterior = make("posterior", "full", shape=(24,), latent=4).double()
    q = posterior(torch.randn(3, 24, dtype=torch.float64))
    z = torch.randn(3, 4, dtype=torch.float64)
    exact = [
        stats.multivariate_normal(m, c).logpdf(v)
        for m, c, v in zip(q.mean.numpy(), q.covariance_matrix.numpy(), z.numpy(), strict=True)
    ]
    np.testing.assert_allclose(q.log_prob(z), exact, rtol=1e-9)


def test_mixture_density_agrees_with_scipy() -> None:
    """And its ELBO takes the Monte Carlo KL, since none is known in closed form."""
    prior = make("prior", "mixture", latent=2, components=3).double()
    z = np.array([0.3, -1.2])
    weights = torch.softmax(prior.logits, 0).detach().numpy()
    scale = prior.log_scale.exp().detach().numpy()
    parts = stats.norm(prior.loc.detach().numpy(), scale).pdf(z).prod(1)
    got = prior(None).log_prob(torch.from_numpy(z)).item()
    assert got == pytest.approx(np.log(weights @ parts), abs=1e-9)
    q = make("posterior", "normal", shape=(4,), latent=2).double()(torch.zeros(1, 4, dtype=torch.float64))
    assert closed_kl(q, prior(None)) is None
