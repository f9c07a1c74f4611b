"""Estimators of the information in latent codes, and of the distance between their distribution and the prior."""

from tightbound.information.aggregate import (
    Decomposition,
    aggregate_kl,
    decompose,
    log_aggregate,
    log_pairs,
    log_pairs_by_dimension,
    log_weights,
    mutual_information,
)
from tightbound.information.mmd import KERNELS, mmd
from tightbound.information.stream import AggregateStream

__all__ = [
    "KERNELS",
    "AggregateStream",
    "Decomposition",
    "aggregate_kl",
    "decompose",
    "log_aggregate",
    "log_pairs",
    "log_pairs_by_dimension",
    "log_weights",
    "mmd",
    "mutual_information",
]
