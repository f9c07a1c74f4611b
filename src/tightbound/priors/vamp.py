"""Priors that use the encoder: VampPrior and exemplar prior."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.distributions import Distribution, Independent, Normal

from tightbound.core.errors import CompositionError, InputError, suggestion, whole
from tightbound.nn.base import as_sizes
from tightbound.priors.base import Encode, Prior, conditioner
from tightbound.priors.mixture import FiniteMixture

NOISE = 0.01  # standard deviation of the noise on initial pseudo-inputs, as a fraction of the data's half-range


class VampPrior(Prior):
    """VampPrior sum_k w_k q(z | u_k), the mixture of posteriors at K learned pseudo-inputs u_k.

    A tanh keeps the pseudo-inputs within the range of the data that `start_at` saw; the paper uses a hardtanh, whose
    gradient vanishes at the edge. Without data, they stay in (-3, 3) and start as draws from N(0, 1). A network of the
    context shifts the logits of w.

    Args:
        latent: Size of z.
        components: Number of pseudo-inputs K.
        shape: Shape of the encoder's input.
        learned_weights: Learn w; otherwise w = 1/K, unless there is a context.
        start: Initial pseudo-inputs in `start_at`: "data", each at a random example, or "mean", all at the mean; a
            little noise is added.
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

    limits: Tensor  # (2,) smallest and largest number in the data

    def start_at(self, x: Tensor) -> None:
        """Set the range of the pseudo-inputs from encoder inputs x (N, *shape), and initialize them within it.

        Raises:
            InputError: If x is constant.
        """
        self.limits.copy_(torch.stack(x.aminmax()))
        middle, half = self._middle()
        if half == 0:
            raise InputError(
                f"the data are {middle.item():g} everywhere, so pseudo-inputs have no range; pass data that vary"
            )
        at = random_rows(x, self.components) if self.start == "data" else x.mean(0).expand_as(self.raw)
        within = ((at - middle) / half).clamp(-0.95, 0.95)  # off the edge, where the tanh is flat
        with torch.no_grad():
            self.raw.copy_(middle + half * (within.atanh() + NOISE * torch.randn_like(self.raw)))

    @property
    def pseudo_inputs(self) -> Tensor:
        """Pseudo-inputs u (K, *shape)."""
        middle, half = self._middle()
        return middle + half * ((self.raw - middle) / half).tanh()

    def _middle(self) -> tuple[Tensor, Tensor]:
        """Return the middle and the half-width of the range."""
        low, high = self.limits
        return (high + low) / 2, (high - low) / 2

    def forward(self, context: Tensor | None = None, encode: Encode | None = None) -> Distribution:
        """Return the mixture; batch shape (), or (B,) if there is a context.

        Raises:
            CompositionError: If no encoder is given.
        """
        logits = self.limits.new_zeros(self.components) if self.logits is None else self.logits
        logits = logits if self.shift is None else logits + self.shift(context)
        return FiniteMixture(logits, given(encode)(self.pseudo_inputs))


class Exemplar(Prior):
    """Exemplar prior, a kernel density at the posterior means of N training examples.

    The density is (1/N) sum_n N(z; mu(x_n), sigma^2 I), with one learned variance. The exemplars are drawn from the
    data that `start_at` sees, and saved with the model; with fewer than N examples, each is used about equally often.

    The paper leaves out an example's own exemplar in training. Here the prior does not know which example z belongs to,
    so the training bound on exemplars is too high, as in a model that has memorized them. The bound on held-out
    examples is valid. Keep N small compared with the data.

    Args:
        latent: Size of z.
        exemplars: Number of exemplars N.
        shape: Shape of the encoder's input.
        context: Size of the context, which is ignored.

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
        """Choose the exemplars from encoder inputs x (M, *shape)."""
        self.exemplars.copy_(random_rows(x, len(self.exemplars)))
        self.started.fill_(True)

    def forward(self, context: Tensor | None = None, encode: Encode | None = None) -> Distribution:
        """Return the kernel density with batch shape ().

        Raises:
            CompositionError: If no encoder is given, or `start_at` has not been called.
        """
        if not self.started:
            raise CompositionError(
                "the exemplar prior has no exemplars; build the model with start_at_data=True, or call start_at(x)"
            )
        mean = given(encode)(self.exemplars).mean
        normal = Normal(mean, self.log_scale.exp().expand_as(mean), validate_args=False)
        return FiniteMixture(mean.new_zeros(len(mean)), Independent(normal, 1, validate_args=False))


def random_rows(x: Tensor, n: int) -> Tensor:
    """Return n rows of x (N, ...) in random order; no row repeats before all rows have been used."""
    return x[torch.randperm(len(x), device=x.device).repeat(-(-n // len(x)))[:n]]


def given(encode: Encode | None) -> Encode:
    """Return the encoder that a prior was called with, after checking that there is one.

    Raises:
        CompositionError: If there is no encoder.
    """
    if encode is None:
        raise CompositionError("this prior uses the encoder; call it as prior(context, encode)")
    return encode
