"""Latent samplers: densities fitted to latent codes after training, for sampling when the prior does not match them."""

from tightbound.inference.samplers.base import DensitySampler as DensitySampler
from tightbound.inference.samplers.base import Sampler as Sampler
from tightbound.inference.samplers.mixture import GaussianMixture as GaussianMixture
