"""Objectives: functions of the terms, in nats, to be maximised."""

from tightbound.objectives.autoencoder import Autoencoder
from tightbound.objectives.base import Group, Objective
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
]
