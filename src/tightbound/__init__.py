"""tightbound: variational autoencoders with honest numbers.

    import tightbound as tb

    data = tb.data.open("digits")
    trained = tb.fit(tb.VAE.for_data(data, latent=16), data, run="runs/digits")
    print(trained.evaluate()["iwae"])

Names are imported when they are first used, so that `import tightbound` costs nothing.
"""

from typing import TYPE_CHECKING

from tightbound.core.exports import lazy_names

if TYPE_CHECKING:
    from tightbound import analysis as analysis
    from tightbound import contexts as contexts
    from tightbound import data as data
    from tightbound import information as information
    from tightbound import likelihoods as likelihoods
    from tightbound import nn as nn
    from tightbound import objectives as objectives
    from tightbound import posteriors as posteriors
    from tightbound import priors as priors
    from tightbound import quantizers as quantizers
    from tightbound import sklearn as sklearn
    from tightbound import testing as testing
    from tightbound.analysis.estimate import Estimate as Estimate
    from tightbound.analysis.result import Result as Result
    from tightbound.config import Settings as Settings
    from tightbound.core.errors import TightboundError as TightboundError
    from tightbound.core.schedules import Cosine as Cosine
    from tightbound.core.schedules import Cyclical as Cyclical
    from tightbound.core.schedules import Linear as Linear
    from tightbound.latents import BottomUp as BottomUp
    from tightbound.latents import Flat as Flat
    from tightbound.latents import Ladder as Ladder
    from tightbound.latents import Quantized as Quantized
    from tightbound.model import VAE as VAE
    from tightbound.pages.page import report as report
    from tightbound.recipes.train import train as train
    from tightbound.search import sweep as sweep
    from tightbound.trained import Trained as Trained
    from tightbound.trained import compare as compare
    from tightbound.trained import evaluate as evaluate
    from tightbound.trained import fit as fit
    from tightbound.trained import load as load
    from tightbound.training import callbacks as callbacks
    from tightbound.training.callbacks import Callback as Callback
    from tightbound.training.callbacks import TrainingState as TrainingState

__getattr__, __dir__, __all__ = lazy_names(__name__)
