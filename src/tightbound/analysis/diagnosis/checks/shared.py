"""What more than one check measures."""

from __future__ import annotations

import torch
from torch import Tensor

from tightbound.analysis.diagnosis.engine import Case
from tightbound.analysis.diagnosis.worth import independent
from tightbound.analysis.estimate import Array
from tightbound.core.noise import Noise
from tightbound.core.terms import Batch
from tightbound.data.feed import evaluating

FITTED = 5000  # training data that marginals are fitted to, at least


def drawn(case: Case, train: bool = False) -> Tensor:
    """(N, latent) one draw of q(z | x) each."""
    sample = (case.train_codes if train else case.codes).sample
    assert sample is not None  # the subject asks for draws
    return sample


def observed(case: Case, data: Batch) -> Batch:
    """Targets, on the CPU."""
    with evaluating(case.model):
        return case.model.observe(data.to(case.model.device), Noise("evaluate", case.seed)).to("cpu")


def independent_elements(case: Case, data: Batch) -> Array:
    """(N,) nats that data cost if elements of x are independent, with the marginals of training data; in the measure of
    the raw data."""
    observation = case.model.observation
    train, seen = (
        observed(case, case.some(case.train, max(FITTED, case.max_examples))),
        observed(case, data),
    )
    shift = torch.as_tensor(observation.log_det(seen), dtype=torch.float64).expand(len(seen))
    return independent(train, seen, observation.target) - shift.numpy()
