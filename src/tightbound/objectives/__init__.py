"""Objectives: functions of the terms, in nats, to be maximised."""

from tightbound.objectives.autoencoder import Autoencoder
from tightbound.objectives.base import Group, Objective
from tightbound.objectives.elbo import ELBO, Capacity, FreeBits
from tightbound.objectives.iwae import IWAE
from tightbound.objectives.multi_sample import CIWAE, MIWAE, Renyi

__all__ = ["CIWAE", "ELBO", "IWAE", "MIWAE", "Autoencoder", "Capacity", "FreeBits", "Group", "Objective", "Renyi"]
