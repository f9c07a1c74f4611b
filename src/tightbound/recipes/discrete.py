"""Models whose latents are codes, each with a prior over the codes that is learned in a second stage."""

from __future__ import annotations

from tightbound.config import Config
from tightbound.recipes.base import published


@published("oord2017vqvae", "oord2016pixelcnn")
def vq_vae() -> Config:
    """VQ-VAE: one grid of codes from a codebook of 512, then a PixelCNN over the codes; on Fashion-MNIST.

    The codebook follows the encoder by moving averages. The bound is log p(x | codes) + log p(codes), with the learned
    prior. The paper's figures are of larger networks and other data: none is a target here.
    """
    return Config(
        data="fashion-mnist",
        latents="quantized(quantizer=vq(codebook_size=512))",
        latent=64,
        prior="pixelcnn",
        epochs=10,
        batch_size=64,
        lr=1e-3,
        schedule="cosine(final=0.01)",
        prior_epochs=10,
    )


@published("razavi2019vqvae2", "oord2016pixelcnn")
def vq_vae_2() -> Config:
    """VQ-VAE-2: two levels of codes, the lower one given the upper one in encoder, decoder and prior; on scenes.

    One scale for all elements, not one predicted for each: under the latter, the likelihood asks least where the
    picture is hardest, and small things blur. The paper's figures are of ImageNet and faces: none is a target here.
    """
    return vq_vae().replace(
        data="scenes",
        network="resnet(halvings=(2, 1))",
        likelihood="discretized-logistic(scale='shared')",
        latent=16,
        epochs=1,
        steps=4_000,
        batch_size=32,
        lr=2e-3,
        schedule="cosine(warmup=100, final=0.01)",
        validation_size=1_000,
        prior_epochs=3,
        prior_max_examples=20_000,
        prior_lr=1e-3,
        prior_batch_size=16,
    )


@published("mentzer2024fsq", "oord2016pixelcnn")
def fsq() -> Config:
    """Finite scalar quantization: four numbers rounded to 8, 5, 5 and 5 levels, 1000 codes without a codebook.

    The paper's figures are of ImageNet: none is a target here.
    """
    return vq_vae().replace(latents="quantized(quantizer=fsq(levels=(8, 5, 5, 5)))")


@published("lee2022rqvae")
def rq_vae() -> Config:
    """Residual quantization: four codes at each position, of one codebook, each of what the ones before it leave.

    The prior is a transformer over positions and depths. The paper's figures are of other data: none is a target here.
    """
    return vq_vae().replace(
        latents="quantized(quantizer=residual(depth=4, of=vq(codebook_size=256), shared=True))", prior="transformer"
    )
