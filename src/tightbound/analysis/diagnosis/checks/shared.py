"""Measurements that more than one check makes."""

from __future__ import annotations

import torch
from torch import Tensor

from tightbound.analysis.diagnosis.engine import Case
from tightbound.analysis.diagnosis.worth import independent
from tightbound.analysis.estimate import Array
from tightbound.core.noise import Noise
from tightbound.core.terms import Batch
from tightbound.data.feed import evaluating


def drawn(case: Case, train: bool = False) -> Tensor:
    """Return one draw of q(z | x) for each example, (N, latent)."""
    sample = (case.train_codes if train else case.codes).sample
    assert sample is not None  # the case asks for draws
    return sample


def observed(case: Case, data: Batch) -> Batch:
    """Return examples as the likelihood sees them, on the CPU."""
    with evaluating(case.model):
        return case.model.observe(data.to(case.model.device), Noise("evaluate", case.seed)).to("cpu")


def independent_elements(case: Case, data: Batch, max_examples: int = 5000) -> Array:
    """Return what examples cost if elements of x are independent with the marginals of training data, nats (N,).

    The cost is in the measure of the raw data. The marginals are fitted to `max_examples` training examples, or to as
    many as the case looks at if these are more.
    """
    observation = case.model.observation
    train, seen = observed(case, case.some(case.train, max(max_examples, case.max_examples))), observed(case, data)
    shift = torch.as_tensor(observation.log_det(seen), dtype=torch.float64).expand(len(seen))
    return independent(train, seen, observation.target) - shift.numpy()
