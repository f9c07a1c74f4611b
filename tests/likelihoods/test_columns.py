"""Mixed columns with missing entries: likelihood `columns` and observation `table`."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy import stats
from torch import nn

import tightbound as tb
from tightbound.analysis.bounds.estimator import evaluate
from tightbound.core.domain import Domain, as_domain
from tightbound.core.errors import CompositionError, InputError
from tightbound.core.noise import ExampleNoise, Noise, draw
from tightbound.core.schedules import Knobs
from tightbound.core.terms import Batch, log_density
from tightbound.inference.infer import reconstruct
from tightbound.latents import Flat
from tightbound.likelihoods import Columns, Gaussian, Standardized, Table
from tightbound.objectives import ELBO, IWAE
from tightbound.posteriors import DiagonalNormal
from tightbound.priors import StandardNormal

KINDS = ("real", ("levels", 3), "real", "counts", ("categories", ("red", "green", "blue")), "binary")
NAN = math.nan


def test_log_prob_is_the_sum_over_columns() -> None:
    likelihood = Columns(kinds=KINDS, families={"real": "gaussian(scale=0.5)", "counts": "poisson"}).double()
    # grouped by family: two means, three logits, a log rate, three logits, a logit
    raw = torch.tensor([0.3, -1.0, 0.1, 0.2, 0.7, 1.1, -0.4, 0.0, 0.9, -0.6], dtype=torch.float64)
    x = torch.tensor([0.8, 2.0, -0.2, 4.0, 1.0, 1.0], dtype=torch.float64)
    levels, colors = torch.log_softmax(raw[2:5], 0), torch.log_softmax(raw[6:9], 0)
    parts = [
        stats.norm(0.3, 0.5).logpdf(0.8),
        levels[2].item(),
        stats.norm(-1.0, 0.5).logpdf(-0.2),
        stats.poisson(math.exp(1.1)).logpmf(4),
        colors[1].item(),
        stats.bernoulli(1 / (1 + math.exp(0.6))).logpmf(1),
    ]
    p = likelihood(raw)
    assert p.log_prob(x).item() == pytest.approx(sum(parts), abs=1e-12)
    for observed in ([True, False, True, False, True, True], [False] * 6):
        kept = sum(part for part, seen in zip(parts, observed, strict=True) if seen)
        assert log_density(p, x, torch.tensor(observed)).item() == pytest.approx(kept, abs=1e-12)
    assert p.mean[[0, 2]].tolist() == [0.3, -1.0]
    assert p.mean[3].item() == pytest.approx(math.exp(1.1))
    assert p.mean[4].item() == 2  # the most probable category
    draws = draw(p, (20_000,), Noise("test"))
    assert (draws.mean(0)[[0, 2, 3, 5]] - p.mean[[0, 2, 3, 5]]).abs().max() < 0.06
    assert ((draws[:, 4:5] == torch.arange(3)).double().mean(0) - colors.exp()).abs().max() < 0.02


def test_few_numbers_have_probabilities_and_whole_numbers_those_of_their_cells() -> None:
    kinds = (("values", (1.0, 2.5, 10.0)), "whole", ("values", (0.0, 7.0, 8.0)))
    likelihood = Columns(kinds=kinds).double()
    # grouped by family: the first logit of both columns of few numbers, the second, the third; a location
    raw = torch.tensor([0.3, -1.0, 0.1, 0.2, 0.7, 1.1, 2.2], dtype=torch.float64)
    first, third = torch.log_softmax(raw[[0, 2, 4]], 0), torch.log_softmax(raw[[1, 3, 5]], 0)
    p = likelihood(raw)
    for number, chance in ((3.0, stats.logistic.cdf(1.3) - stats.logistic.cdf(0.3)), (0.0, stats.logistic.cdf(-1.7))):
        x = torch.tensor([2.5, number, 8.0], dtype=torch.float64)
        assert p.log_prob(x).item() == pytest.approx((first[1] + third[2]).item() + math.log(chance), abs=1e-12)
    means = (first.exp() @ raw.new_tensor([1, 2.5, 10])), (third.exp() @ raw.new_tensor([0, 7, 8]))
    assert p.mean[[0, 2]].tolist() == pytest.approx([mean.item() for mean in means])
    draws = draw(p, (20_000,), Noise("test"))
    assert set(draws[:, 0].tolist()) == {1.0, 2.5, 10.0}
    assert bool((draws[:, 1] == draws[:, 1].round()).all() and (draws[:, 1] >= 0).all())
    assert ((draws.mean(0) - p.mean).abs() < 5 * (draws.var(0) / 20_000).sqrt()).all()
    assert (draws.var(0) / p.variance - 1).abs().max() < 0.05


def test_the_encoder_sees_numbers_standardized_and_the_target_holds_them_as_they_are() -> None:
    table = Table(["real", "whole", ("values", (1.0, 5.0))], [1.0, 40.0, 2.0], [2.0, 10.0, 4.0])
    seen = table(Batch(torch.tensor([[3.0, 60.0, 5.0], [NAN, 30.0, NAN]])), Noise("test"), False)
    assert seen.input is not None
    assert seen.input.tolist() == [[1, 2, 0.75, 1, 1, 1], [0, -1, 0, 0, 1, 0]]
    assert seen.x[0].tolist() == [1, 60, 5]
    assert table.restore(seen.x)[0].tolist() == [3, 60, 5]
    assert table.log_det(seen).tolist() == pytest.approx([-math.log(2), 0])


class Exact(nn.Module):
    """Exact encoder of x = w z + m + s e with one z: mean and log-variance of q(z | observed x), standardized."""

    def __init__(self, w: torch.Tensor, m: torch.Tensor, s: torch.Tensor) -> None:
        super().__init__()
        self.w, self.m, self.s = w, m, s

    def forward(self, written: torch.Tensor) -> torch.Tensor:
        x, observed = written.chunk(2, 1)
        precision = 1 + (observed * (self.w / self.s).square()).sum(1, keepdim=True)
        mean = (observed * self.w * (x - self.m) / self.s**2).sum(1, keepdim=True) / precision
        return torch.cat([mean, -precision.log()], 1)


def gaussian_table() -> tuple[tb.VAE, torch.Tensor, torch.Tensor]:
    """Return a model x = w z + m + s e on five columns of different units, its mean and covariance of raw x."""
    generator = torch.Generator().manual_seed(0)
    w, m = torch.randn(2, 5, generator=generator, dtype=torch.float64)
    s = torch.full((5,), 0.6, dtype=torch.float64)
    center = torch.tensor([3.0, 0.0, -100.0, 5.0, 0.5], dtype=torch.float64)
    scale = torch.tensor([2.0, 1.0, 50.0, 0.125, 4.0], dtype=torch.float64)  # exact in float32
    decoder = nn.Linear(1, 5)
    posterior = DiagonalNormal((10,), 1, nn.Flatten())
    posterior.network = Exact(w, m, s)
    likelihood = Columns((5,), 1, decoder, kinds=["real"] * 5, families={"real": "gaussian(scale=0.6)"})
    table = Table(["real"] * 5, center.tolist(), scale.tolist())
    model = tb.VAE(Flat(StandardNormal(1), posterior), likelihood, table).double()
    with torch.no_grad():
        decoder.weight.copy_(w[:, None])
        decoder.bias.copy_(m)
    covariance = torch.outer(scale * w, scale * w) + torch.diag((scale * s).square())
    return model, center + scale * m, covariance


def table_with_holes(mean: torch.Tensor, covariance: torch.Tensor) -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)
    x = mean + torch.randn(12, 5, generator=generator, dtype=torch.float64) @ torch.linalg.cholesky(covariance).T
    holes = torch.rand(12, 5, generator=generator) < 0.4
    holes[3] = True  # nothing is known of this example
    holes[4] = False
    return x.masked_fill(holes, NAN)


def test_bounds_equal_the_exact_density_of_observed_values() -> None:
    model, mean, covariance = gaussian_table()
    x = table_with_holes(mean, covariance)
    exact = []
    for row in x:
        seen = ~row.isnan()
        block = torch.distributions.MultivariateNormal(mean[seen], covariance[seen][:, seen]) if seen.any() else None
        exact.append(0.0 if block is None else block.log_prob(row[seen]).item())
    terms = model(Batch(x), 7)
    for objective in (IWAE(7), ELBO(samples=7, kl="monte-carlo")):
        assert objective(terms, Knobs.final(objective.schedules)).tolist() == pytest.approx(exact, abs=1e-9)
    result = evaluate(model, x, samples=20)
    assert result.per_example["iwae"].tolist() == pytest.approx(exact, abs=1e-9)
    assert result["bits_per_dim"].value is None
    assert "different kinds" in result["bits_per_dim"].reason


def test_reconstruction_is_the_conditional_mean_of_missing_entries() -> None:
    model, mean, covariance = gaussian_table()
    x = table_with_holes(mean, covariance)
    found = reconstruct(model, x)
    assert torch.isfinite(found).all()
    for row, rebuilt in zip(x, found, strict=True):
        seen = ~row.isnan()
        cross = covariance[~seen][:, seen]
        expected = mean[~seen] + cross @ torch.linalg.solve(covariance[seen][:, seen], row[seen] - mean[seen])
        assert torch.allclose(rebuilt[~seen], expected, atol=1e-9)


def test_bound_of_an_empty_row_is_minus_its_kl() -> None:
    (model, mean, covariance), elbo = gaussian_table(), ELBO(samples=3)
    x = table_with_holes(mean, covariance)[3:4]
    with torch.no_grad():
        for bias in (0.0, 0.7):
            offset = torch.tensor([[bias, 0.4]], dtype=torch.float64)
            model.latents.posterior.network.forward = lambda written, offset=offset: offset.expand(len(written), 2)
            terms = model(Batch(x), 3)
            kl = 0.5 * (math.exp(0.4) + bias**2 - 1 - 0.4)
            assert terms.log_likelihood.abs().max() == 0
            assert elbo(terms, Knobs.final(elbo.schedules)).item() == pytest.approx(-kl, abs=1e-12)
    result = evaluate(model, torch.cat([x, table_with_holes(mean, covariance)[:2]]), samples=5)
    assert np.isnan(result.per_example["reconstruction_mse"]).tolist() == [True, False, False]
    assert result["reconstruction_mse"].n == 2


def mixed(n: int = 60, missing: float = 0.3) -> np.ndarray:
    rng = np.random.default_rng(0)
    columns = (rng.normal(5, 3, n), rng.integers(0, 3, n), rng.normal(-2, 0.1, n), rng.poisson(3, n))
    x = np.stack([*columns, rng.integers(0, 3, n), rng.integers(0, 2, n)], 1)
    x[rng.random(x.shape) < missing] = np.nan
    return x


def test_missing_entries_have_no_effect_and_no_gradient() -> None:
    data = tb.data.open(mixed(), kinds=KINDS)
    model = tb.VAE.for_data(data, latent=2, network="mlp(hidden=(8,), activation='tanh')").double()
    raw = data.whole.batch(torch.arange(60)).x
    assert raw.isnan().any()
    terms = model(Batch(raw), 2)
    terms.log_weight.mean().backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert torch.isfinite(parameter.grad).all(), name
    # p of the observed values is the same whatever stands in the target where nothing was observed
    seen = model.observe(Batch(raw), Noise("x"))
    other = torch.where(seen.mask, seen.x, torch.ones_like(seen.x))
    values = [log_density(terms.likelihood, x, seen.mask) for x in (seen.x, other)]
    assert torch.equal(*values)
    assert seen.input.shape == (60, 1 + 1 + 1 + 1 + 3 + 1 + 6)
    assert not seen.input.isnan().any()


def test_log_det_counts_observed_values() -> None:
    table = Table(["real", "binary", "real"], mean=[1.0, 0.5, 2.0], std=[4.0, 0.5, 0.25]).double()
    x = torch.tensor([[1.0, 0.0, NAN], [NAN, NAN, NAN], [1.0, NAN, 2.0]], dtype=torch.float64)
    seen = table(Batch(x), Noise("x"), False)
    expected = [-math.log(4), 0.0, -math.log(4) - math.log(0.25)]
    assert table.log_det(seen).tolist() == pytest.approx(expected, abs=1e-12)
    assert table.restore(seen.x)[seen.mask].tolist() == x[~x.isnan()].tolist()


def test_log_det_of_a_completion_counts_hidden_entries() -> None:
    from tightbound.contexts import Visible

    std = [4.0, 0.5, 2.0, 8.0]
    likelihood = Gaussian((4,), 5, nn.Linear(5, 4), scale=1.0)
    posterior = DiagonalNormal((8,), 1, nn.Sequential(nn.Flatten(), nn.Linear(8, 2)))
    observation = Standardized([0.0] * 4, std, (4,))
    model = tb.VAE(
        Flat(StandardNormal(1), posterior), likelihood, observation, Visible((4,), columns=(0, 0.5))
    ).double()
    x = torch.randn(3, 4, dtype=torch.float64)
    terms = model(Batch(x), 1, ExampleNoise("x", index=torch.arange(3)))
    hidden = torch.distributions.Normal(terms.likelihood.mean * torch.tensor(std), torch.tensor(std).double())
    assert torch.allclose(terms.log_likelihood, hidden.log_prob(x)[..., 2:].sum(-1), atol=1e-9)


def test_training_starts_at_the_marginals_of_observed_values() -> None:
    data = tb.data.open(mixed(4000), kinds=KINDS)
    model = tb.VAE.for_data(data, latent=2, network="mlp(hidden=(8,))")
    with torch.no_grad():
        for layer in model.likelihood.network:
            if isinstance(layer, nn.Linear):
                layer.weight.zero_()
    x = data.train.batch(torch.arange(len(data.train))).x
    start = model.observation.restore(model.likelihood(torch.zeros(2)).mean)
    wanted = x.nanmean(0)
    wanted[0] = x[:, 0].nanmedian()  # the location of a Student's t
    assert torch.allclose(start[[0, 2, 3, 5]], wanted[[0, 2, 3, 5]], atol=5e-2)
    assert model.likelihood.families[0].log_scale.exp().tolist() == pytest.approx([1, 1], abs=6e-2)  # standardized


@pytest.mark.parametrize(
    ("make", "error", "match"),
    [
        (lambda: Columns(kinds=()), CompositionError, "the kind of each"),
        (lambda: Columns((3,), kinds=["real"]), CompositionError, "1 kinds"),
        (lambda: Columns(kinds=["reel"]), InputError, "did you mean 'real'"),
        (lambda: Columns(kinds=["real"], families={"reel": "laplace"}), InputError, "did you mean 'real'"),
        (lambda: Columns(kinds=["real"], families=["laplace", None]), InputError, "one for each of 1 columns"),
        (lambda: Columns(kinds=["real"], families=["bernoulli"]), CompositionError, "binary values"),
        (lambda: Columns(kinds=[("categories", "abc"[:2])]), InputError, "not the domain"),
        (lambda: Columns((1,), 2, nn.Linear(2, 3), kinds=["real"]), CompositionError, "needs 1 numbers per example"),
        (lambda: Columns(kinds=["real"]).check_domain(Domain("real")), CompositionError, "was built for"),
        (lambda: Table(["real", "real"], std=[1.0]), InputError, "1 standard deviations"),
    ],
)
def test_invalid_arguments_raise(make, error: type[Exception], match: str) -> None:
    with pytest.raises(error, match=match):
        make()


def test_domain_survives_its_text_form() -> None:
    for kind in (*KINDS, "unit"):
        assert as_domain(as_domain(kind).literal) == as_domain(kind)
    with pytest.raises(InputError, match="not the domain of a column"):
        as_domain("mixed")


def test_a_missing_entry_of_a_beta_column_is_left_out() -> None:
    table = np.random.default_rng(0).random((30, 2)).astype(np.float32) * 0.8 + 0.1
    table[3, 1] = np.nan
    data = tb.data.open(table, kinds=["unit", "unit"])
    model = tb.VAE.for_data(data, latent=2, network="mlp(hidden=(8,))", likelihood="columns(families={'unit': 'beta'})")
    assert np.isfinite(evaluate(model, data.train, samples=3)["elbo"].value)
