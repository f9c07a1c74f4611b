"""Priors made of the encoder: VampPrior and exemplars."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.distributions import Distribution, Independent, Normal

from tightbound.core.errors import CompositionError, InputError, suggestion, whole
from tightbound.nn.base import as_sizes
from tightbound.priors.base import Encode, Prior, conditioner
from tightbound.priors.mixture import FiniteMixture

NOISE = 0.01  # of pseudo-inputs about the data that they start at, in half-ranges of the data


class VampPrior(Prior):
    """sum_k w_k q(z | u_k): the posterior at K learned pseudo-inputs u.

    Pseudo-inputs stay within the range of the data that `start_at` saw, by a tanh where the paper has a hardtanh,
    whose gradient vanishes at the edge; a prior that saw none keeps them in (-3, 3) and starts at N(0, 1).
    A context shifts the logits of w by a network.

    Arguments:
        latent: Size of z.
        components: Their number K.
        shape: Of the encoder's input.
        learned_weights: Learn w; else w = 1/K where there is no context.
        start: What `start_at` starts the pseudo-inputs at: "data", each at a random example, or "mean", all at the mean;
            with a little noise.
        context: Size of the context.

    References:
        VAE with a VampPrior (Tomczak and Welling 2018), Eqs. 9 and 10, https://arxiv.org/abs/1705.07120
    """

    support = "any"
    needs_encoder = True
    needs_evaluable: ClassVar[bool] = True

    def __init__(
        self,
        latent: int = 1,
        components: int = 500,
        shape: tuple[int, ...] = (1,),
        learned_weights: bool = False,
        start: str = "data",
        context: int = 0,
    ) -> None:
        super().__init__(latent, context)
        if start not in ("data", "mean"):
            raise InputError(f"start = {start!r}; {suggestion(str(start), ('data', 'mean'))}")
        self.components, self.shape, self.start = (
            whole("components", components, least=1),
            as_sizes("shape", shape),
            start,
        )
        self.raw = nn.Parameter(torch.randn(components, *self.shape))
        self.logits = nn.Parameter(torch.zeros(components)) if learned_weights else None
        self.shift = conditioner(context, components)
        self.register_buffer("limits", torch.tensor([-3.0, 3.0]))

    limits: Tensor  # (2,) least and greatest number in the data

    def start_at(self, x: Tensor) -> None:
        """Takes the range of inputs x (N, *shape), and starts the pseudo-inputs there.

        Raises:
            InputError: where x is constant.
        """
        self.limits.copy_(torch.stack(x.aminmax()))
        middle, half = self._middle()
        if half == 0:
            raise InputError(f"the data are {middle.item():g} everywhere, so that pseudo-inputs have no range to learn")
        at = random_rows(x, self.components) if self.start == "data" else x.mean(0).expand_as(self.raw)
        within = ((at - middle) / half).clamp(-0.95, 0.95)  # not at the edge, where the tanh is flat
        with torch.no_grad():
            self.raw.copy_(middle + half * (within.atanh() + NOISE * torch.randn_like(self.raw)))

    @property
    def pseudo_inputs(self) -> Tensor:
        """(K, *shape) u."""
        middle, half = self._middle()
        return middle + half * ((self.raw - middle) / half).tanh()

    def _middle(self) -> tuple[Tensor, Tensor]:
        """Middle and half-width of the range."""
        low, high = self.limits
        return (high + low) / 2, (high - low) / 2

    def forward(self, context: Tensor | None = None, encode: Encode | None = None) -> Distribution:
        """Batch shape (), or (B,) given a context.

        Raises:
            CompositionError: without an encoder.
        """
        logits = self.limits.new_zeros(self.components) if self.logits is None else self.logits
        logits = logits if self.shift is None else logits + self.shift(context)
        return FiniteMixture(logits, given(encode)(self.pseudo_inputs))


class Exemplar(Prior):
    """(1/N) sum_n N(z; mu(x_n), sigma^2 I): a kernel density at the posterior means of N training data.

    One variance is learned. The exemplars are drawn from the data that `start_at` sees, and saved with the model;
    where these are fewer than N, each serves about equally often.

    The paper leaves an example's own exemplar out while training. Here a prior does not know which example its z came from:
    the data that are exemplars are scored by a prior that has stored their codes, so that their training bound is
    that of a model which remembers them. A bound on held-out data is what it says. Keep N small beside the data.

    Arguments:
        latent: Size of z.
        exemplars: Their number N.
        shape: Of the encoder's input.
        context: Size of the context, which this prior does not look at.

    References:
        Exemplar VAE (Norouzi et al. 2020), Eqs. 5 and 6, https://arxiv.org/abs/2004.04795
    """

    needs_encoder = True

    def __init__(self, latent: int = 1, exemplars: int = 500, shape: tuple[int, ...] = (1,), context: int = 0) -> None:
        super().__init__(latent, context)
        self.shape = as_sizes("shape", shape)
        self.log_scale = nn.Parameter(torch.zeros(()))
        self.register_buffer("exemplars", torch.zeros(whole("exemplars", exemplars, least=1), *self.shape))
        self.register_buffer("started", torch.tensor(False))

    exemplars: Tensor  # (N, *shape)
    started: Tensor

    def start_at(self, x: Tensor) -> None:
        """Takes the exemplars from inputs x (M, *shape)."""
        self.exemplars.copy_(random_rows(x, len(self.exemplars)))
        self.started.fill_(True)

    def forward(self, context: Tensor | None = None, encode: Encode | None = None) -> Distribution:
        """Batch shape ().

        Raises:
            CompositionError: without an encoder, or before `start_at`.
        """
        if not self.started:
            raise CompositionError(
                "the exemplar prior has no exemplars; build the model with start_at_data=True, or call start_at(x)"
            )
        mean = given(encode)(self.exemplars).mean
        normal = Normal(mean, self.log_scale.exp().expand_as(mean), validate_args=False)
        return FiniteMixture(mean.new_zeros(len(mean)), Independent(normal, 1, validate_args=False))


def random_rows(x: Tensor, n: int) -> Tensor:
    """n rows of x (N, ...) in random order, each once before any comes again."""
    return x[torch.randperm(len(x), device=x.device).repeat(-(-n // len(x)))[:n]]


def given(encode: Encode | None) -> Encode:
    """The encoder that a prior was called with.

    Raises:
        CompositionError: where it was called with none.
    """
    if encode is None:
        raise CompositionError("this prior is made of the encoder; call it as prior(context, encode)")
    return encode
