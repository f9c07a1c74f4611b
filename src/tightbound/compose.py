"""Temporary name of `VAE.for_data`."""

from tightbound.model import VAE

vae = VAE.for_data
