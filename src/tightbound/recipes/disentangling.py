"""Models that disentangle factors of variation, on the re-rendered sprites."""

from __future__ import annotations

from tightbound.config import Config
from tightbound.recipes.base import published


@published("higgins2017beta")
def beta_vae() -> Config:
    """beta-VAE with beta = 4: convolutions, 10 latents, Bernoulli pixels, Adam 1e-4, batch 64.

    The paper trains for at least 300,000 steps, this recipe for 20,000.
    """
    return Config(
        data="sprites",
        network="conv(channels=(32, 32, 64, 64), hidden=256)",
        latent=10,
        likelihood="bernoulli",
        objective="elbo(beta=4.0)",
        steps=20_000,
        batch_size=64,
        lr=1e-4,
    )


@published("burgess2018understanding")
def annealed_vae() -> Config:
    """AnnealedVAE: capacity rises from 0 to 25 nats over the first half of the steps, with gamma = 1000.

    The paper reports disentanglement and no likelihood.
    """
    return beta_vae().replace(objective="capacity(capacity=linear(stop=25.0, share=0.5), gamma=1000.0)", lr=5e-4)


@published("chen2018tcvae")
def beta_tc_vae() -> Config:
    """beta-TC-VAE: weight 6 on the total correlation, stratified minibatch sampling.

    The paper reports disentanglement and no likelihood.
    """
    return beta_vae().replace(objective="beta-tc(beta=6.0)", lr=1e-3)


@published("kim2018factor")
def factor_vae() -> Config:
    """FactorVAE: weight 35 on the total correlation, estimated by a density-ratio discriminator.

    The paper reports disentanglement and no likelihood. The discriminator is smaller than the paper's.
    """
    return beta_vae().replace(objective="factor(gamma=35.0)")


@published("kumar2018dip")
def dip_vae() -> Config:
    """DIP-VAE-II: the covariance of the aggregate posterior is pulled towards the identity.

    The paper reports disentanglement and no likelihood.
    """
    return beta_vae().replace(objective="dip(kind=2, lambda_od=10.0, lambda_d=10.0)")
