"""Objectives that train the encoder by path derivatives, through z only and without the score of q."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import replace

import torch
from torch import Tensor

from tightbound.core.errors import CompositionError, NotABound, whole
from tightbound.core.latents import Trainable
from tightbound.core.schedules import Knobs
from tightbound.core.terms import Terms, code_terms
from tightbound.objectives.base import ParameterGroup, require_separate_parameters, split_groups
from tightbound.objectives.iwae import ImportanceWeighted, logmeanexp


class PathGradient(ImportanceWeighted):
    """Base class of importance-weighted objectives that train the encoder by path derivatives.

    Decoder and prior get the gradient of the objective. The encoder gets

        sum_i c_i (d log w_i / d z_i) (d z_i / d phi),

    where log w depends on phi only through z, and c, the `path_weight`, is held constant.
    """

    @abstractmethod
    def path_weight(self, log_weight: Tensor) -> Tensor:
        """Return c (S, B) for log-weights (S, B)."""

    def prepare(self, model: Trainable, n_examples: int | None) -> None:
        """Require separate parameters of p and q, since dropping the score of q would drop part of p's gradient."""
        require_separate_parameters(model, self.name)

    def check(self, terms: Terms) -> None:
        """Require a single group of continuous z, and a q whose density is known at any z."""
        super().check(terms)
        needed = f"objective '{self.name}' differentiates the importance weights with respect to z"
        remedy = "use objective 'iwae' or 'elbo'"
        group, *others = terms.latents
        if others:
            raise CompositionError(
                f"{needed}, and z has {1 + len(others)} groups here: a sample of one group changes the q of the next, "
                f"whose score does not cancel; {remedy}, or latents with one group"
            )
        if code_terms([group], relaxed=True):
            raise CompositionError(f"{needed}, and this z is discrete; {remedy}")
        try:
            _evaluated(terms).log_weight  # noqa: B018
        except (NotImplementedError, NotABound):
            raise CompositionError(
                f"{needed}, and the density of this posterior is known only at its own draws; {remedy}, or a posterior "
                "with a density that can be evaluated anywhere, such as 'normal'"
            ) from None

    def parameter_groups(self, model: Trainable) -> list[ParameterGroup]:
        """Return decoder and prior with the objective itself, and the encoder with path derivatives."""
        return split_groups(model, encoder=self._path_loss, others=lambda terms, knobs: -self(terms, knobs).mean())

    def _path_loss(self, terms: Terms, knobs: Knobs) -> Tensor:
        """Return the scalar loss, whose value is minus the objective and whose gradient is the path derivative."""
        z = terms.latents[0].z
        # z is not a leaf, so the gradient stops at z and omits the direct effect of q's parameters on log w
        (slope,) = torch.autograd.grad(_evaluated(terms).log_weight.sum(), z, retain_graph=True)
        path = (slope * z).flatten(2).sum(-1)  # (S, B)
        estimator = (self.path_weight(terms.log_weight.detach()) * path).sum(0).mean()
        return estimator.detach() - estimator - self(terms, knobs).detach().mean()


def _evaluated(terms: Terms) -> Terms:
    """Return terms whose log q is computed as a function of z, even if drawing z gave its value."""
    (group,) = terms.latents
    return terms if group.log_q is None else replace(terms, latents=(replace(group, log_q=None),))


class DReG(PathGradient):
    """IWAE with the doubly reparameterized encoder gradient, c = w^2 for normalized weights w.

    The gradient is unbiased, and its signal-to-noise ratio does not fall with k.

    Args:
        samples: Number of samples k.

    References:
        Doubly reparameterized gradient estimators for Monte Carlo objectives (Tucker et al. 2019), Eq. 8,
        https://arxiv.org/abs/1810.04152
    """

    def __init__(self, samples: int = 5) -> None:
        self.samples = whole("samples", samples, least=1)

    def __call__(self, terms: Terms, knobs: Knobs) -> Tensor:
        """Return the IWAE bound (B,) in nats."""
        return logmeanexp(terms.log_weight)

    def path_weight(self, log_weight: Tensor) -> Tensor:
        """Return the squares of the normalized weights."""
        return log_weight.softmax(0).square()


class STL(DReG):
    """Sticking the landing: IWAE (the ELBO for k = 1) without the score of q in the encoder's gradient.

    The path weights are c = w for normalized weights w. For k = 1 the gradient is unbiased, and has no variance if q is
    the exact posterior. For k > 1 it is biased, as Tucker et al. 2019 show (https://arxiv.org/abs/1810.04152); `DReG`
    is unbiased.

    Args:
        samples: Number of samples k.

    References:
        Sticking the landing: simple, lower-variance gradient estimators for variational inference (Roeder et al. 2017),
            https://arxiv.org/abs/1703.09194
    """

    def __init__(self, samples: int = 1) -> None:
        super().__init__(samples)

    def path_weight(self, log_weight: Tensor) -> Tensor:
        """Return the normalized weights."""
        return log_weight.softmax(0)
