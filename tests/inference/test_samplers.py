"""Samplers fitted to codes: their densities against scikit-learn's, what they draw, and that the run keeps them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy.integrate import quad

import tightbound as tb
from tightbound.components import TABLE, make
from tightbound.core.errors import CompositionError, InputError
from tightbound.core.noise import Noise
from tightbound.inference.samplers import DensitySampler, GaussianMixture
from tightbound.inference.samplers.kernel import Kernel
from tightbound.training.folder import RunFolder

FITS = [
    "gaussian-mixture(components=2)",
    "kernel(exemplars=100)",
    "flow(transforms=1, hidden=(8,))",
    "flow-matching(hidden=8, blocks=1, steps=4)",
    "vae(hidden=(8,))",
    "m2(hidden=(8,), inner=1)",
    "class-regions(components=2)",
]


def codes(n: int = 400) -> torch.Tensor:
    """Of two clusters in the plane, off the origin and of unequal scales."""
    generator = torch.Generator().manual_seed(0)
    z = torch.randn(n, 2, generator=generator, dtype=torch.float64) * torch.tensor([0.3, 2.0])
    z[: n // 2] += torch.tensor([3.0, -5.0])
    return z + 1


def fitted(text: str, z: torch.Tensor) -> DensitySampler:
    sampler = make("sampler", text, latent=z.shape[1]).double()
    sampler.start_at(z, seed=3)
    return sampler


def test_gaussian_mixture_is_scikit_learns() -> None:
    import sklearn.mixture

    sampler = fitted("gaussian-mixture(components=2)", codes())
    assert isinstance(sampler, GaussianMixture)
    reference = sklearn.mixture.GaussianMixture(2, reg_covar=1e-5)
    reference.weights_, reference.means_ = sampler.log_weights.exp().numpy(), sampler.loc.numpy()
    precision = torch.linalg.inv(sampler.scale_tril @ sampler.scale_tril.mT)
    reference.precisions_cholesky_ = torch.linalg.cholesky(precision).numpy()
    z = codes(50)
    standard = ((z - sampler.mean) / sampler.std).numpy()
    expected = reference.score_samples(standard) - sampler.std.log().sum().item()
    np.testing.assert_allclose(sampler.log_prob(z).numpy(), expected, rtol=1e-6)
    assert sampler.log_prob(z).mean() > torch.distributions.Normal(z.mean(0), z.std(0)).log_prob(z).sum(-1).mean() + 1


def test_kernel_is_scikit_learns_with_scotts_bandwidth() -> None:
    from sklearn.neighbors import KernelDensity

    z = codes(80)
    sampler = fitted("kernel(exemplars=100)", z)
    assert isinstance(sampler, Kernel)
    standard = ((z - z.mean(0)) / z.std(0)).numpy()
    reference = KernelDensity(bandwidth=80 ** (-1 / 6)).fit(standard)
    expected = reference.score_samples(standard) - z.std(0).log().sum().item()
    np.testing.assert_allclose(sampler.log_prob(z).numpy(), expected, rtol=1e-9)


@pytest.mark.parametrize("text", FITS[:3])
def test_the_density_integrates_to_one_in_the_codes_own_units(text: str) -> None:
    z = codes()[:, :1]
    sampler = fitted(text.replace("components=2", "components=3"), z)

    def density(x: float) -> float:
        return sampler.log_prob(torch.tensor([x], dtype=torch.float64)).exp().item()

    total = quad(density, -10, 0, limit=200)[0] + quad(density, 0, 12, limit=200)[0]
    assert total == pytest.approx(1, abs=1e-4)


@pytest.mark.parametrize("text", FITS[:2])
def test_draws_have_the_codes_moments(text: str) -> None:
    z = codes()
    sampler = fitted(text, z)
    drawn = sampler.sample(20_000, Noise("test"))
    assert torch.allclose(drawn.mean(0), z.mean(0), atol=0.1 * float(z.std()))
    assert (drawn.std(0) / z.std(0) - 1).abs().max() < 0.25  # a kernel density is wider, by its bandwidth
    assert torch.equal(drawn, sampler.sample(20_000, Noise("test")))


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tb.Trained:
    data = tb.data.open("digits")
    model = tb.VAE.for_data(data, latent=3, network="mlp(hidden=(16,))", posterior="point")
    run = tmp_path_factory.mktemp("samplers") / "run"
    return tb.fit(model, data, "autoencoder", epochs=2, quiet=True, run=run)


def test_every_sampler_is_tried() -> None:
    assert {text.partition("(")[0] for text in FITS} == set(TABLE["sampler"])


@pytest.mark.parametrize("text", FITS)
def test_a_fitted_sampler_is_kept_with_the_run(trained: tb.Trained, text: str) -> None:
    data, name = tb.data.open("digits"), text.partition("(")[0]
    before = [row for row in RunFolder(trained.path).metrics() if row["stage"] == ""]
    epochs = 2 if name in ("flow", "flow-matching", "vae", "m2") else None
    trained.fit_sampler(text, data.train, epochs=epochs)
    again = tb.load(trained.path)
    x = again.sample(7, sampler=name)
    assert x.shape == (7, 1, 8, 8)
    assert torch.equal(x, trained.sample(7, sampler=name))
    assert not torch.equal(x, trained.sample(7))
    assert [row for row in RunFolder(trained.path).metrics() if row["stage"] == ""] == before
    trained.fit_sampler(text, data.train, epochs=epochs, seed=5)
    assert not torch.equal(x, trained.sample(7, sampler=name))


def test_a_second_vae_is_trained_by_the_elbo_and_closes_in_on_the_codes(trained: tb.Trained) -> None:
    data = tb.data.open("digits")
    trained.fit_sampler("vae(hidden=(32,))", data.train, epochs=15)
    losses = [row["train_loss"] for row in RunFolder(trained.path).metrics() if row["stage"] == "sampler-vae"]
    assert len(losses) == 15
    assert losses[-1] < losses[0] - 0.2


def test_a_sampler_that_was_not_fitted_is_named(trained: tb.Trained) -> None:
    trained.fit_sampler("kernel(exemplars=10)", tb.data.open("digits").train)
    with pytest.raises(InputError, match="did you mean 'kernel'"):
        trained.sample(2, sampler="kernal")


def test_codes_off_the_plane_are_refused() -> None:
    data = tb.data.open("digits")
    model = tb.VAE.for_data(data, latent=3, network="mlp(hidden=(8,))", prior="sphere", posterior="power-spherical")
    with pytest.raises(CompositionError, match="sphere"):
        tb.fit(model, data, steps=1, quiet=True).fit_sampler("kernel", data.train)


def test_too_few_codes_are_refused() -> None:
    with pytest.raises(InputError, match="fewer components"):
        fitted("gaussian-mixture(components=9)", codes(9))


def test_a_sampler_fitted_to_earlier_weights_is_not_used(tmp_path) -> None:
    data = tb.data.open("digits")
    model = tb.VAE.for_data(data, latent=2, network="mlp(hidden=(8,))")
    trained = tb.fit(model, data, epochs=1, quiet=True, run=tmp_path / "run")
    trained.fit_sampler("kernel(exemplars=20)", data.train)
    trained = tb.fit(model, data, epochs=2, quiet=True, run=tmp_path / "run", resume=True)
    with pytest.raises(InputError, match="fit_sampler"):
        trained.sample(2, sampler="kernel")
    with pytest.raises(InputError, match="leave out epochs"):
        trained.fit_sampler("kernel", data.train, epochs=3)
    with pytest.raises(InputError, match="epochs"):
        trained.fit_sampler("flow", data.train, epochs=0)


def test_held_out_codes_choose_the_components_and_their_covariance() -> None:
    generator = torch.Generator().manual_seed(3)
    codes = torch.randn(900, 2, generator=generator)
    assert GaussianMixture.suited(codes, 0)["components"] == 1

    def kind(codes: torch.Tensor) -> tuple[int, str, float]:
        found = GaussianMixture.suited(codes, 0)
        return found["components"], found["covariance"], found["reg_covar"]

    tilted = codes @ torch.tensor([[1.0, 0.9], [0.0, 0.1]])
    assert kind(tilted) == (1, "full", 1e-5)
    centers = torch.tensor([[-9.0, 0.0], [9.0, 0.0], [0.0, 12.0]])
    apart = tilted + centers[torch.arange(900) % 3]
    assert kind(apart) == (3, "full", 1e-5)
    assert kind(codes[:1]) == (1, "diagonal", 1e-5)
    wide = torch.randn(80, 8, generator=generator) @ torch.randn(8, 40, generator=generator)
    wide = wide + 1.5 * torch.randn(80, 40, generator=generator)
    assert kind(wide) == (1, "full", 0.1), "64 codes do not determine 40 x 40 covariances by themselves"


def test_a_variance_is_added_as_in_scikit_learn() -> None:
    import sklearn.mixture

    x = codes()
    sampler = fitted("gaussian-mixture(components=1, reg_covar=0.3)", x)
    assert isinstance(sampler, GaussianMixture)
    standard = (x - x.mean(0)) / x.std(0)
    reference = sklearn.mixture.GaussianMixture(1, reg_covar=0.3).fit(standard.numpy())
    theirs = reference.score_samples(standard.numpy()).mean() - x.std(0).log().sum().item()
    assert sampler.log_prob(x).mean().item() == pytest.approx(theirs, abs=1e-3)


def test_a_diagonal_mixture_is_that_of_scikit_learn() -> None:
    import sklearn.mixture

    x = codes()
    sampler = fitted("gaussian-mixture(components=2, covariance='diagonal')", x)
    assert isinstance(sampler, GaussianMixture)
    reference = sklearn.mixture.GaussianMixture(2, covariance_type="diag", reg_covar=1e-5)
    standard = (x - x.mean(0)) / x.std(0)
    reference.fit(standard.numpy())
    theirs = reference.score_samples(standard.numpy()) - x.std(0).log().sum().item()
    assert sampler.log_prob(x).mean().item() == pytest.approx(theirs.mean(), abs=1e-3)
    with pytest.raises(InputError, match="one of full, diagonal"):
        GaussianMixture(2, covariance="tied")  # type: ignore[arg-type]


def test_a_default_sampler_draws_the_samples_and_the_prior_can_be_asked_for(tmp_path: Path) -> None:
    x = np.random.default_rng(0).normal(size=(200, 3)).astype("float32")
    trained = tb.train(x, run=tmp_path / "run", latent=2, network="mlp(hidden=(4,))", epochs=1, quiet=True)
    prior = trained.sample(5)
    trained.fit_sampler("gaussian-mixture(components=1)")
    assert torch.equal(trained.sample(5), prior)  # fitted, and not asked for
    trained.fit_sampler("gaussian-mixture(components=1)", default=True)
    by_name = trained.sample(5, sampler="gaussian-mixture")
    assert torch.equal(trained.sample(5), by_name)
    assert not torch.equal(by_name, prior)
    assert torch.equal(trained.sample(5, sampler="prior"), prior)
    trained.fit_sampler("gaussian-mixture(components=1)")  # again: it stays the default
    assert torch.equal(trained.sample(5), by_name)
    assert torch.equal(tb.load(tmp_path / "run").sample(5), by_name)
    figures = [figure.name for figure in trained.gallery(x).figures]
    assert figures == ["samples"]


def test_a_mixture_of_many_dimensions_has_a_diagonal_covariance() -> None:
    codes = torch.randn(50, GaussianMixture.LARGE + 1, generator=torch.Generator().manual_seed(0))
    assert GaussianMixture.suited(codes, 0)["covariance"] == "diagonal"
    x = np.random.default_rng(0).normal(size=(60, 4)).astype("float32")
    trained = tb.train(x, latent=1001, network="mlp(hidden=(4,))", epochs=1, quiet=True)
    assert "1,001 dimensions" in trained.diagnose(x, max_examples=20, quick=True).skipped["prior-mismatch"]


def test_train_draws_samples_where_the_codes_are_if_the_prior_is_not() -> None:
    generator = torch.Generator().manual_seed(0)
    centers = torch.tensor([[3.0, 3.0], [-3.0, -3.0]])
    x = torch.randn(600, 2, generator=generator) * 0.2 + centers[torch.arange(600) % 2]
    options: Any = {"latent": 2, "network": "mlp(hidden=(16,))", "lr": 0.015, "quiet": True}
    far = tb.train(x, beta=0.01, epochs=14, **options)
    assert "samples: from gaussian-mixture" in repr(far)
    own, prior = far.sample(300, draw=False), far.sample(300, draw=False, sampler="prior")
    between = [float((s.mean(1).abs() < 1.5).float().mean()) for s in (own, prior)]
    assert between[0] < 0.02 < 0.1 < between[1]  # no data lie there
    near = tb.train(torch.randn(600, 2, generator=generator), beta=1.0, epochs=14, **options)
    assert "samples" not in repr(near)
    labels = {"x": x.numpy(), "y": np.arange(600) % 2}
    assert "samples" not in repr(tb.train(labels, context="labels", beta=0.01, epochs=14, **options))
