"""Objectives: functions of the terms, in nats, to be maximised."""

from tightbound.objectives.adversarial import AdversarialAutoencoder, FactorVAE
from tightbound.objectives.autoencoder import Autoencoder
from tightbound.objectives.base import Group, Objective
from tightbound.objectives.disentangling import DIP, BetaTC
from tightbound.objectives.divergence import WAE, InfoVAE
from tightbound.objectives.elbo import ELBO, Capacity, FreeBits
from tightbound.objectives.iwae import IWAE
from tightbound.objectives.multi_sample import CIWAE, MIWAE, PIWAE, Renyi, VRMax
from tightbound.objectives.path_gradient import STL, DReG
from tightbound.objectives.thermodynamic import TVO

__all__ = [
    "CIWAE",
    "ELBO",
    "IWAE",
    "MIWAE",
    "PIWAE",
    "STL",
    "TVO",
    "Autoencoder",
    "Capacity",
    "DReG",
    "FreeBits",
    "Group",
    "Objective",
    "Renyi",
    "VRMax",
from tightbound.objectives.lagging import Lagging
from tightbound.objectives.ms_ssim import MSSSIM
from tightbound.objectives.multi_sample import CIWAE, MIWAE, Renyi
from tightbound.objectives.regularized import RAE
from tightbound.objectives.vae_gan import VAEGAN

__all__ = [
    "CIWAE",
    "DIP",
    "ELBO",
    "IWAE",
    "MIWAE",
    "MSSSIM",
    "RAE",
    "VAEGAN",
    "WAE",
    "AdversarialAutoencoder",
    "Autoencoder",
    "BetaTC",
    "Capacity",
    "FactorVAE",
    "FreeBits",
    "Group",
    "InfoVAE",
    "Lagging",
    "Objective",
    "Renyi",
]
