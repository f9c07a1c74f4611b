"""MS-SSIM and VAE-GAN: similarity against SciPy, and the parameters that each loss trains."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter
from torch.distributions import Independent, Normal

import tightbound as tb
from tightbound.core.errors import CompositionError
from tightbound.core.noise import ExampleNoise, Noise
from tightbound.core.schedules import Knobs
from tightbound.core.terms import Batch, Terms
from tightbound.latents import Flat
from tightbound.likelihoods import Gaussian, Identity, Levels
from tightbound.nn import MLP
from tightbound.objectives import MSSSIM, RAE, VAEGAN, AdversarialAutoencoder, FactorVAE
from tightbound.objectives.decoding import MeanDecoder
from tightbound.objectives.ms_ssim import WEIGHTS, ms_ssim
from tightbound.posteriors import DiagonalNormal
from tightbound.priors import LearnedNormal, StandardNormal
from tightbound.testing import check_objective
from tightbound.testing.objectives import small_model


def images(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def by_scipy(x: np.ndarray, y: np.ndarray, scales: int) -> float:
    """Compute the similarity of one channel by SciPy's Gaussian filter, cropped to complete windows."""
    c1, c2, product = 0.01**2, 0.03**2, 1.0
    weights = np.array(WEIGHTS[:scales]) / sum(WEIGHTS[:scales])

    def blur(image: np.ndarray) -> np.ndarray:
        return gaussian_filter(image, 1.5, radius=5)[5:-5, 5:-5]

    for scale, weight in enumerate(weights):
        a, b = blur(x), blur(y)
        va, vb, ab = blur(x * x) - a**2, blur(y * y) - b**2, blur(x * y) - a * b
        local = (2 * ab + c2) / (va + vb + c2)
        if scale == scales - 1:
            local = local * (2 * a * b + c1) / (a**2 + b**2 + c1)
        product *= local.mean() ** weight
        x, y = (v.reshape(v.shape[0] // 2, 2, v.shape[1] // 2, 2).mean((1, 3)) for v in (x, y))
    return product


@pytest.mark.parametrize(("shape", "scales"), [((64, 64), 3), ((28, 28), 2), ((32, 48), 2), ((12, 12), 1)])
def test_ms_ssim_equals_scipys_at_as_many_scales_as_fit(shape, scales: int) -> None:
    x = images(2, 3, *shape)
    y = 0.7 * x + 0.3 * images(2, 3, *shape, seed=1)
    expected = [np.mean([by_scipy(a.numpy(), b.numpy(), scales) for a, b in zip(x[i], y[i])]) for i in range(2)]  # noqa: B905
    assert np.allclose(ms_ssim(x, y), expected, atol=1e-10)
    assert 0.3 < expected[0] < 0.98


@pytest.mark.parametrize("shape", [(1, 1), (2, 3), (7, 9), (8, 8), (28, 28), (65, 33)])
def test_ms_ssim_is_1_for_equal_images_symmetric_and_decreases_with_noise(shape) -> None:
    x, noise = images(3, 2, *shape), images(3, 2, *shape, seed=1) - 0.5
    assert torch.allclose(ms_ssim(x, x), torch.ones(3).double())
    values = [ms_ssim(x, x + s * noise) for s in (0.1, 0.4)]
    assert torch.allclose(values[0], ms_ssim(x + 0.1 * noise, x))
    assert (values[0] < 1).all()
    assert (values[1] < values[0]).all()
    assert torch.allclose(values[0], ms_ssim(255 * x, 255 * (x + 0.1 * noise), span=255.0))


def test_ms_ssim_of_anticorrelated_images_has_a_finite_gradient() -> None:
    x = images(2, 1, 16, 16).requires_grad_()
    ms_ssim(x, 1 - x.detach()).sum().backward()
    assert x.grad is not None
    assert torch.isfinite(x.grad).all()


def composed(likelihood, observation, shape=(1, 2, 3), prior=StandardNormal) -> tb.VAE:
    return tb.VAE(Flat(prior(3), DiagonalNormal(shape, 3, MLP((8,)))), likelihood, observation).double()


def terms(model: tb.VAE, n: int = 4, samples: int = 2) -> Terms:
    index = torch.arange(n)
    x = (torch.arange(n * 6).reshape(n, *model.shape) % 5 < 2).double()
    return model(Batch(x, index=index), samples, ExampleNoise(0, index=index), Knobs())


def test_levels_are_compared_on_the_unit_scale() -> None:
    likelihood = tb.likelihoods.Binomial((1, 2, 3), 3, MLP((8,)), levels=17)
    model, objective = composed(likelihood, Levels(17)), MSSSIM(weight=10.0, beta=0.0)
    objective.prepare(model, None)
    t = terms(model, samples=1)
    expected = 10 * (ms_ssim(t.batch.x, t.likelihood.mean[0], span=16.0) - 1)
    assert torch.allclose(objective(t, Knobs.final(objective.schedules)), expected)


def test_ms_ssim_raises_for_vectors_unknown_ranges_masks_and_untrained_scales() -> None:
    network = MLP((8,))
    with pytest.raises(CompositionError, match="known range"):
        MSSSIM().prepare(composed(Gaussian((1, 2, 3), 3, network, scale=1.0), Identity("real")), None)
    shared = composed(Gaussian((1, 2, 3), 3, network), Identity("unit"))
    with pytest.raises(CompositionError, match="log_scale untrained"):
        MSSSIM().prepare(shared, None)
    MSSSIM(likelihood=0.1).prepare(shared, None)
    flat = composed(tb.likelihoods.Bernoulli((6,), 3, network), Identity("binary"), (6,))
    with pytest.raises(CompositionError, match="needs images"):
        MSSSIM().check(terms(flat))
    t = terms(small_model())
    masked = replace(t, batch=replace(t.batch, mask=torch.ones(4, 1, 2, 3, dtype=torch.bool)))
    for objective in (MSSSIM(), VAEGAN()):
        with pytest.raises(CompositionError, match="masked"):
            objective.check(masked)


def test_mean_decoder_uses_each_examples_own_context() -> None:
    data = tb.data.open("digits")
    model = tb.VAE.for_data(data, latent=3, network="mlp(hidden=(8,))", likelihood="binomial", context="labels").eval()
    t = model(next(data.train.epoch(5)), 3)
    decoder = MeanDecoder(model, "test", trains_likelihood=True)
    assert torch.allclose(decoder.mean(t.latents[0].z, t.batch.context), decoder.reconstructed(t)[1], atol=1e-6)
    assert decoder.reconstructed(t)[0].max() == 1
    for objective in (VAEGAN(), FactorVAE(), AdversarialAutoencoder(), RAE("gradient"), MSSSIM()):
        tb.fit(model, data, objective, steps=1, quiet=True)


def test_vae_gan_compares_reconstructions_by_a_gaussian_on_features() -> None:
    model, objective = small_model(), VAEGAN(network=MLP((5,), activation="tanh"))
    with Noise("test").default():
        objective.prepare(model, None)
    t = terms(model, samples=3)

    def features(x: torch.Tensor) -> torch.Tensor:
        f = objective.discriminator.features(x)
        return (f - f.mean(-1, keepdim=True)) / (f.var(-1, correction=0, keepdim=True) + 1e-5).sqrt()

    density = Independent(Normal(features(t.likelihood.mean), 1.0), 1).log_prob(features(t.batch.x)).mean(0)
    rate = t.latents[0].rate().mean(0).sum(-1)
    assert torch.allclose(objective(t, Knobs()), density - rate)


def test_vae_gan_has_a_group_for_encoder_decoder_and_discriminator() -> None:
    network = MLP((8,))
    bernoulli = tb.likelihoods.Bernoulli((1, 2, 3), 3, network)
    model, objective = composed(bernoulli, Identity("binary"), prior=LearnedNormal), VAEGAN()
    objective.prepare(model, None)
    encoder, decoder, adversary = objective.parameter_groups(model)
    assert {id(p) for p in encoder.params} == {id(p) for p in model.latents.inference_parameters()}
    assert {id(p) for p in decoder.params} == {
        id(p) for p in [*bernoulli.parameters(), *model.latents.prior.parameters()]
    }
    assert {id(p) for p in adversary.params} == {id(p) for p in objective.discriminator.parameters()}
    check_objective(VAEGAN(), model=model.eval())  # a learned prior is trained, too


def test_vae_gan_raises_for_a_scale_that_the_mean_does_not_train() -> None:
    with pytest.raises(CompositionError, match="log_scale untrained"):
        VAEGAN().prepare(composed(Gaussian((1, 2, 3), 3, MLP((8,))), Identity("real")), None)
    fixed = composed(Gaussian((1, 2, 3), 3, MLP((8,)), scale=1.0), Identity("real"))
    VAEGAN().prepare(fixed, None)
    with pytest.raises(CompositionError, match="at least 3 units"):
        VAEGAN(network=MLP((8, 2))).prepare(fixed, None)
