"""Models with quantized latents and a code prior that is trained in a second stage."""

from __future__ import annotations

from tightbound.config import Config
from tightbound.recipes.base import published


@published("oord2017vqvae", "oord2016pixelcnn")
def vq_vae() -> Config:
    """VQ-VAE: a grid of code indices with codebook size 512, then a PixelCNN code prior; on Fashion-MNIST.

    The codebook follows the encoder by moving averages. The bound is log p(x | z) + log p(z) with the learned code
    prior. The paper uses larger networks and other data.
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
    """VQ-VAE-2: two levels of code indices, the lower conditioned on the upper; on scenes.

    All elements share one scale. If the decoder predicted a scale for each element, errors would cost least where the
    picture is hardest to model, and small details would blur. The paper uses ImageNet and faces.
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
    """Finite scalar quantization: four elements rounded to 8, 5, 5 and 5 levels, 1000 indices without a codebook.

    The paper uses ImageNet.
    """
    return vq_vae().replace(latents="quantized(quantizer=fsq(levels=(8, 5, 5, 5)))")


@published("lee2022rqvae")
def rq_vae() -> Config:
    """Residual quantization: four indices per position from one codebook, each for the residual of the earlier ones.

    The code prior is a transformer over positions and depths. The paper uses other data.
    """
    return vq_vae().replace(
        latents="quantized(quantizer=residual(depth=4, of=vq(codebook_size=256), shared=True))", prior="transformer"
    )


@published("rajput2023tiger", "lee2022rqvae")
def semantic_ids() -> Config:
    """Semantic ids: residual quantization of embedding vectors (N, D) by three codebooks of size 256.

    `tightbound embed --unique` and `trained.unique_indices` add a fourth index, which distinguishes examples with equal
    ones. Without data, the digits stand in for embeddings. The paper quantizes embeddings of the text of products.
    """
    return Config(
        network="mlp(hidden=(512, 256))",
        latents="quantized(quantizer=residual(depth=3, of=vq(codebook_size=256)), positions=1, start_size=4096)",
        latent=32,
        epochs=100,
        batch_size=128,
        lr=1e-3,
        schedule="cosine(final=0.01)",
    )
