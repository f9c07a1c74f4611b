"""Objectives whose encoder is trained by path derivatives: through z alone, without the score of q."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import replace

import torch
from torch import Tensor

from tightbound.core.errors import CompositionError, NotABound, whole
from tightbound.core.interfaces import Trainable
from tightbound.core.schedules import Knobs
from tightbound.core.terms import Terms
from tightbound.objectives.base import ParameterGroup, require_separate_parameters, split_groups
from tightbound.objectives.iwae import ImportanceWeighted, logmeanexp


class PathGradient(ImportanceWeighted):
    """A function of the importance weights that gives decoder and prior its own gradient, and the encoder

        sum_i c_i (d log w_i / d z_i) (d z_i / d phi),

    in which log w sees phi through z alone, and c is a constant: `path_weight`.
    """

    @abstractmethod
    def path_weight(self, log_weight: Tensor) -> Tensor:
        """c (S, B), of the log-weights (S, B)."""

    def prepare(self, model: Trainable, size: int | None) -> None:
        """Needs encoder and decoder apart: what p owes to shared parameters would be dropped with the score of q."""
        require_separate_parameters(model, self.name)

    def check(self, terms: Terms) -> None:
        """Needs one group of continuous z, and the density of q at any z."""
        super().check(terms)
        needed = f"objective '{self.name}' differentiates the importance weights with respect to z"
        remedy = "use objective 'iwae' or 'elbo'"
        group, *others = terms.latents
        if others:
            raise CompositionError(
                f"{needed}, and z has {1 + len(others)} groups here, where one group's sample moves the q of the next, "
                f"whose score does not drop out; {remedy}, or latents of one group"
            )
        if group.codes is not None:
            raise CompositionError(f"{needed}, and this z is discrete; {remedy}")
        try:
            _evaluated(terms).log_weight  # noqa: B018
        except (NotImplementedError, NotABound):
            raise CompositionError(
                f"{needed}, and this posterior knows its density at its own draws alone; {remedy}, or a posterior "
                "with a density that can be evaluated anywhere, such as 'normal'"
            ) from None

    def parameter_groups(self, model: Trainable) -> list[ParameterGroup]:
        """The decoder and the prior by the objective itself, the encoder by path derivatives."""
        return split_groups(model, encoder=self._path_loss, others=lambda terms, knobs: -self(terms, knobs).mean())

    def _path_loss(self, terms: Terms, knobs: Knobs) -> Tensor:
        """0-d: minus the objective in value, the estimator in gradient."""
        z = terms.latents[0].z
        # z is no leaf: the gradient stops at it, and what q's parameters do before z or beside it stays out
        (slope,) = torch.autograd.grad(_evaluated(terms).log_weight.sum(), z, retain_graph=True)
        path = (slope * z).flatten(2).sum(-1)  # (S, B)
        estimator = (self.path_weight(terms.log_weight.detach()) * path).sum(0).mean()
        return estimator.detach() - estimator - self(terms, knobs).detach().mean()


def _evaluated(terms: Terms) -> Terms:
    """Terms whose log q is a function of z, even where drawing z gave its value."""
    (group,) = terms.latents
    return terms if group.drawn is None else replace(terms, latents=(replace(group, drawn=None),))


class DReG(PathGradient):
    """IWAE with the doubly reparameterized gradient of the encoder, c = w^2 with normalized w: unbiased, and its
    signal-to-noise ratio does not fall with k.

    Arguments:
        samples: k.

    References:
        Doubly reparameterized gradient estimators for Monte Carlo objectives (Tucker et al. 2019), Eq. 8,
        https://arxiv.org/abs/1810.04152
    """

    def __init__(self, samples: int = 5) -> None:
        self.samples = whole("samples", samples, least=1)

    def __call__(self, terms: Terms, knobs: Knobs) -> Tensor:
        """(B,) nats: the IWAE bound."""
        return logmeanexp(terms.log_weight)

    def path_weight(self, log_weight: Tensor) -> Tensor:
        """The squares of the normalized weights."""
        return log_weight.softmax(0).square()


class STL(DReG):
    """Sticking the landing: IWAE (with k = 1 the ELBO) without the score of q in the encoder's gradient, c = w with
    normalized w.

    Unbiased for k = 1, and without variance where q is the exact posterior. Biased for k > 1, as Tucker et al. 2019
    show (https://arxiv.org/abs/1810.04152); `DReG` is not.

    Arguments:
        samples: k.

    References:
        Sticking the landing: simple, lower-variance gradient estimators for variational inference
        (Roeder et al. 2017), https://arxiv.org/abs/1703.09194
    """

    def __init__(self, samples: int = 1) -> None:
        super().__init__(samples)

    def path_weight(self, log_weight: Tensor) -> Tensor:
        """The normalized weights."""
        return log_weight.softmax(0)
