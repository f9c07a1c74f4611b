"""Objectives: functions of the terms, in nats, to be maximised."""

from tightbound.objectives.autoencoder import Autoencoder
from tightbound.objectives.base import Group, Objective
from tightbound.objectives.elbo import ELBO, Capacity, FreeBits
from tightbound.objectives.iwae import IWAE

__all__ = ["ELBO", "IWAE", "Autoencoder", "Capacity", "FreeBits", "Group", "Objective"]
