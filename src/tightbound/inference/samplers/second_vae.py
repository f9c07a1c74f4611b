"""Second VAE as a latent sampler."""

from __future__ import annotations

from torch import Tensor

from tightbound.core.model import VAE
from tightbound.core.noise import Noise, draw
from tightbound.inference.samplers.base import Sampler
from tightbound.latents.flat import Flat
from tightbound.likelihoods import Gaussian, Identity
from tightbound.nn import MLP
from tightbound.posteriors import DiagonalNormal
from tightbound.priors import StandardNormal


class SecondVAE(Sampler):
    """Latent sampler with a second VAE on latent codes z of the first: u is drawn from N(0, I), and z from p(z | u).

    Args:
        latent: Size of a latent code.
        hidden: Widths of the encoder's hidden layers; the decoder has them in reverse.

    References:
        Diagnosing and enhancing VAE models (Dai and Wipf 2019), Section 4, https://arxiv.org/abs/1903.05789
    """

    def __init__(self, latent: int = 1, hidden: tuple[int, ...] = (256, 256)) -> None:
        super().__init__(latent)
        size, network = self.latent, MLP(hidden)
        latents = Flat(StandardNormal(size), DiagonalNormal((size,), size, network))
        self.vae = VAE(latents, Gaussian((size,), size, network), Identity())

    @property
    def trains(self) -> VAE:
        """The second VAE."""
        return self.vae

    def inputs(self, codes: Tensor) -> Tensor:
        """Return standardized latent codes."""
        return (codes - self.mean) / self.std

    def standardized(self, n: int, noise: Noise) -> Tensor:
        """Draw standardized latent codes (n, latent)."""
        return draw(self.vae.generate(n, noise), (), noise)
