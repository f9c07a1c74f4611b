"""Objectives: functions of the terms, in nats, to be maximized."""

from tightbound.objectives.adversarial import AdversarialAutoencoder, FactorVAE
from tightbound.objectives.autoencoders import RAE, Autoencoder
from tightbound.objectives.base import Objective, ParameterGroup
from tightbound.objectives.disentangling import DIP, BetaTC
from tightbound.objectives.divergence import WAE, InfoVAE
from tightbound.objectives.elbo import ELBO, Capacity, FreeBits
from tightbound.objectives.iwae import IWAE
from tightbound.objectives.lagging import Lagging
from tightbound.objectives.ms_ssim import MSSSIM
from tightbound.objectives.multi_sample import CIWAE, MIWAE, PIWAE, Renyi, VRMax
from tightbound.objectives.path_gradient import STL, DReG
from tightbound.objectives.thermodynamic import TVO
from tightbound.objectives.vae_gan import VAEGAN

__all__ = [
    "CIWAE",
    "DIP",
    "ELBO",
    "IWAE",
    "MIWAE",
    "MSSSIM",
    "PIWAE",
    "RAE",
    "STL",
    "TVO",
    "VAEGAN",
    "WAE",
    "AdversarialAutoencoder",
    "Autoencoder",
    "BetaTC",
    "Capacity",
    "DReG",
    "FactorVAE",
    "FreeBits",
    "InfoVAE",
    "Lagging",
    "Objective",
    "ParameterGroup",
    "Renyi",
    "VRMax",
]
