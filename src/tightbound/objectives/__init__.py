"""Objectives: functions of the terms, in nats, that training maximizes."""

from typing import TYPE_CHECKING

from tightbound.components import TABLE
from tightbound.core.exports import lazy_names

if TYPE_CHECKING:  # for editors and type checkers
    from tightbound.objectives.adversarial import AdversarialAutoencoder as AdversarialAutoencoder
    from tightbound.objectives.adversarial import FactorVAE as FactorVAE
    from tightbound.objectives.autoencoders import RAE as RAE
    from tightbound.objectives.autoencoders import Autoencoder as Autoencoder
    from tightbound.objectives.base import Objective as Objective
    from tightbound.objectives.base import ParameterGroup as ParameterGroup
    from tightbound.objectives.disentangling import DIP as DIP
    from tightbound.objectives.disentangling import BetaTC as BetaTC
    from tightbound.objectives.divergence import WAE as WAE
    from tightbound.objectives.divergence import InfoVAE as InfoVAE
    from tightbound.objectives.elbo import ELBO as ELBO
    from tightbound.objectives.elbo import Capacity as Capacity
    from tightbound.objectives.elbo import FreeBits as FreeBits
    from tightbound.objectives.iwae import IWAE as IWAE
    from tightbound.objectives.lagging import Lagging as Lagging
    from tightbound.objectives.ms_ssim import MSSSIM as MSSSIM
    from tightbound.objectives.multi_sample import CIWAE as CIWAE
    from tightbound.objectives.multi_sample import MIWAE as MIWAE
    from tightbound.objectives.multi_sample import PIWAE as PIWAE
    from tightbound.objectives.multi_sample import Renyi as Renyi
    from tightbound.objectives.multi_sample import VRMax as VRMax
    from tightbound.objectives.path_gradient import STL as STL
    from tightbound.objectives.path_gradient import DReG as DReG
    from tightbound.objectives.semi_supervised import M2 as M2
    from tightbound.objectives.thermodynamic import TVO as TVO
    from tightbound.objectives.vae_gan import VAEGAN as VAEGAN

__getattr__, __dir__, __all__ = lazy_names(__name__, TABLE["objective"])
