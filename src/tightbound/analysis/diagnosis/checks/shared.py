"""What more than one check measures."""

from __future__ import annotations

import torch
from torch import Tensor

from tightbound.analysis.diagnosis.engine import Subject
from tightbound.analysis.diagnosis.worth import independent
from tightbound.analysis.estimate import Array
from tightbound.core.noise import Noise
from tightbound.core.terms import Batch
from tightbound.data.feed import evaluating

FITTED = 5000  # training data that marginals are fitted to, at least


def drawn(subject: Subject, train: bool = False) -> Tensor:
    """(N, latent) one draw of q(z | x) each."""
    sample = (subject.train_codes if train else subject.codes).sample
    assert sample is not None  # the subject asks for draws
    return sample


def observed(subject: Subject, data: Batch) -> Batch:
    """Targets, on the CPU."""
    with evaluating(subject.model):
        return subject.model.observe(data.to(subject.model.device), Noise("evaluate", subject.seed)).to("cpu")


def independent_elements(subject: Subject, data: Batch) -> Array:
    """(N,) nats that data cost if elements of x are independent, with the marginals of training data; in the measure of
    the raw data."""
    observation = subject.model.observation
    train, seen = (
        observed(subject, subject.some(subject.train, max(FITTED, subject.most))),
        observed(subject, data),
    )
    shift = torch.as_tensor(observation.log_det(seen), dtype=torch.float64).expand(len(seen))
    return independent(train, seen, observation.target) - shift.numpy()
