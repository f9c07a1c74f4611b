"""Latent samplers: densities fitted to latent codes after training, for sampling when the prior does not match them."""

from __future__ import annotations

import math
import warnings
from abc import abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar, Literal, get_args

import torch
from torch import Tensor
from torch.distributions import Distribution, Independent, MultivariateNormal, Normal

from tightbound.core.component import Component
from tightbound.core.errors import InputError, number, whole
from tightbound.core.latents import Trainable
from tightbound.core.model import VAE
from tightbound.core.noise import Noise, draw, key_seed
from tightbound.core.schedules import Knobs
from tightbound.core.terms import Batch, Terms
from tightbound.latents.flat import Flat
from tightbound.likelihoods import Gaussian, Identity
from tightbound.nn import MLP
from tightbound.posteriors import DiagonalNormal
from tightbound.priors import Flow, StandardNormal
from tightbound.priors.mixture import FiniteMixture

Covariance = Literal["full", "diagonal"]


class Sampler(Component, Trainable):
    """Base class of latent samplers, distributions fitted to flat latent codes (latent,) of training examples.

    Args:
        latent: Size of a latent code.
    """

    epochs: ClassVar[int] = 0  # epochs of training by gradients after `start_at`; 0: no such training

    def __init__(self, latent: int = 1) -> None:
        super().__init__()
        self.latent = whole("latent", latent, least=1)
        self.register_buffer("mean", torch.zeros(self.latent))
        self.register_buffer("std", torch.ones(self.latent))

    mean: Tensor
    std: Tensor

    def start_at(self, codes: Tensor, seed: int, labels: Tensor | None = None) -> None:
        """Set mean and scale from latent codes (N, latent), and fit the parameters that need no gradients.

        Args:
            codes: Latent codes.
            seed: Random seed.
            labels: Classes (N,), for a sampler that depends on them.

        Raises:
            InputError: If there are too few latent codes.
        """
        if len(codes) < 2:
            raise InputError(
                f"a latent sampler needs at least 2 examples and was given {len(codes)}; pass more examples"
            )
        self.mean.copy_(codes.mean(0))
        self.std.copy_(codes.std(0).clamp_min(1e-6))

    @classmethod
    def suited(cls, codes: Tensor, seed: int) -> Mapping[str, Any]:
        """Return the arguments that suit latent codes (N, latent), for those that a user leaves out."""
        return {}

    @abstractmethod
    def standardized(self, n: int, noise: Noise) -> Tensor:
        """Draw standardized latent codes (n, latent)."""

    def sample(self, n: int, noise: Noise, context: Tensor | None = None) -> Tensor:
        """Draw latent codes (n, latent); the context is ignored."""
        return self.mean + self.std * self.standardized(n, noise)

    def of(self, label: int) -> Sampler:
        """Return a sampler for one class.

        Raises:
            InputError: If the sampler has no classes, or not this one.
        """
        raise InputError(
            f"latent sampler {type(self).__name__} has no classes; fit 'class-regions' to sample class {label}"
        )


class DensitySampler(Sampler):
    """Base class of latent samplers with a density."""

    @abstractmethod
    def distribution(self) -> Distribution:
        """Return the distribution of standardized latent codes, with batch shape ()."""

    def log_prob(self, codes: Tensor) -> Tensor:
        """Return the log-density (...) of latent codes (..., latent) in nats."""
        return self.distribution().log_prob((codes - self.mean) / self.std) - self.std.log().sum()

    def forward(self, batch: Batch, samples: int = 1, noise: Noise | None = None, knobs: Knobs | None = None) -> Terms:
        """Return the log-density of latent codes as a log-likelihood without latents."""
        return Terms(self.log_prob(batch.x).unsqueeze(0), (), self.distribution(), batch)

    def standardized(self, n: int, noise: Noise) -> Tensor:
        """Return draws (n, latent)."""
        return draw(self.distribution(), (n,), noise)


class GaussianMixture(DensitySampler):
    """Latent sampler with a Gaussian mixture, fitted by scikit-learn's EM.

    Args:
        latent: Size of a latent code.
        components: Number of components K. Without arguments, `fit_sampler` chooses the entry of `TRIED` with the
            highest log-density of held-out codes.
        covariance: "full", or "diagonal", which needs fewer codes; chosen with the number of components.

    References:
        From variational to deterministic autoencoders (Ghosh et al. 2020), Section 4, https://arxiv.org/abs/1903.12436
    """

    TRIED: ClassVar[tuple[tuple[int, Covariance], ...]] = (
        (1, "diagonal"), (1, "full"), (20, "diagonal"), (3, "full"), (10, "full"), (30, "full")
    )  # fmt: skip

    LARGE: ClassVar[int] = 300  # latent dimensions with more of which no full covariance is tried

    def __init__(self, latent: int = 1, components: int = 10, covariance: Covariance = "full") -> None:
        super().__init__(latent)
        self.components = whole("components", components, least=1)
        if covariance not in get_args(Covariance):
            raise InputError(f"covariance = {covariance!r}; needed: one of {', '.join(get_args(Covariance))}")
        self.covariance: Covariance = covariance
        self.register_buffer("log_weights", torch.zeros(self.components))
        self.register_buffer("loc", torch.zeros(self.components, self.latent))
        self.register_buffer("scale_tril", torch.eye(self.latent).repeat(self.components, 1, 1))

    log_weights: Tensor
    loc: Tensor
    scale_tril: Tensor

    @classmethod
    def suited(cls, codes: Tensor, seed: int) -> Mapping[str, Any]:
        """Return the components and covariance that suit a held-out fifth of the codes best, of at most 2,500."""
        order = torch.randperm(len(codes), generator=torch.Generator().manual_seed(key_seed("held-out", seed)))
        some = codes[order[:2500]]
        held_out, rest = some[: len(some) // 5], some[len(some) // 5 :]
        scores: dict[tuple[int, Covariance], float] = {}
        for components, covariance in cls.TRIED:
            small = covariance == "diagonal" or codes.shape[1] <= cls.LARGE
            if small and len(held_out) and len(rest) > 2 * components:
                candidate = cls(codes.shape[1], components, covariance)
                candidate.start_at(rest, seed)
                scores[components, covariance] = candidate.log_prob(held_out).mean().item()
        components, covariance = max(scores, key=lambda each: scores[each], default=cls.TRIED[0])
        return {"components": components, "covariance": covariance}

    def start_at(self, codes: Tensor, seed: int, labels: Tensor | None = None) -> None:
        """Fit the mixture."""
        super().start_at(codes, seed)
        if len(codes) <= self.components:
            raise InputError(f"{self.components} components need more than {len(codes)} examples; use fewer components")
        standard = ((codes - self.mean) / self.std).double()
        log_weights, loc, scale_tril = fit_mixture(standard, self.components, seed, self.covariance)
        self.log_weights.copy_(log_weights)
        self.loc.copy_(loc)
        self.scale_tril.copy_(scale_tril)

    def distribution(self) -> Distribution:
        """Return the mixture."""
        return FiniteMixture(
            self.log_weights, MultivariateNormal(self.loc, scale_tril=self.scale_tril, validate_args=False)
        )


def fit_mixture(
    codes: Tensor, components: int, seed: int, covariance: Covariance = "full"
) -> tuple[Tensor, Tensor, Tensor]:
    """Fit a Gaussian mixture to latent codes (N, latent) in double precision, by scikit-learn's EM.

    Returns:
        Log-weights (K,), means (K, latent) and Cholesky factors (K, latent, latent).
    """
    import sklearn.mixture
    from sklearn.exceptions import ConvergenceWarning

    mixture = sklearn.mixture.GaussianMixture(
        components, covariance_type="full" if covariance == "full" else "diag", reg_covar=1e-5, max_iter=300,
        random_state=key_seed("gaussian-mixture", seed) % 2**32,
    )  # fmt: skip
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # a mixture that did not converge is still a density
        fitted = mixture.fit(codes.numpy())
    covariances = torch.from_numpy(fitted.covariances_)
    factors = torch.linalg.cholesky(covariances) if covariance == "full" else covariances.sqrt().diag_embed()
    return torch.from_numpy(fitted.weights_).log(), torch.from_numpy(fitted.means_), factors


class Kernel(DensitySampler):
    """Latent sampler with a kernel density, an equal mixture of N(c_n, (h s)^2) over codes c_n with scale s.

    Args:
        latent: Size of a latent code.
        exemplars: Maximum number of latent codes to keep, picked at random.
        bandwidth: Bandwidth h; None: Scott's rule, N^(-1 / (latent + 4)).

    References:
        Multivariate density estimation (Scott 1992), Eq. 6.42
    """

    def __init__(self, latent: int = 1, exemplars: int = 2000, bandwidth: float | None = None) -> None:
        super().__init__(latent)
        self.bandwidth = None if bandwidth is None else number("bandwidth", bandwidth, above=0)
        kept = whole("exemplars", exemplars, least=1)
        self.register_buffer("codes", torch.zeros(kept, self.latent))
        self.register_buffer("log_weights", torch.zeros(kept))  # -inf for unused rows

    codes: Tensor
    log_weights: Tensor

    def start_at(self, codes: Tensor, seed: int, labels: Tensor | None = None) -> None:
        """Keep latent codes, picked at random."""
        super().start_at(codes, seed)
        generator = torch.Generator().manual_seed(key_seed("kernel", seed))
        kept = codes[torch.randperm(len(codes), generator=generator)[: len(self.codes)]]
        self.codes[: len(kept)] = (kept - self.mean) / self.std
        self.log_weights[len(kept) :] = -math.inf

    def distribution(self) -> Distribution:
        """Return the mixture."""
        n = torch.isfinite(self.log_weights).sum().double()
        h = n ** (-1 / (self.latent + 4)) if self.bandwidth is None else n.new_tensor(self.bandwidth)
        normal = Normal(self.codes, h.to(self.codes).expand_as(self.codes), validate_args=False)
        return FiniteMixture(self.log_weights, Independent(normal, 1, validate_args=False))


class FlowSampler(DensitySampler):
    """Latent sampler with a normalizing flow, fitted by maximum likelihood.

    Args:
        latent: Size of a latent code.
        kind: As for the prior `flow`.
        transforms: As for the prior `flow`.
        hidden: As for the prior `flow`.
    """

    epochs = 50

    def __init__(
        self, latent: int = 1, kind: str = "maf", transforms: int = 3, hidden: tuple[int, ...] = (64, 64)
    ) -> None:
        super().__init__(latent)
        self.flow = Flow(self.latent, kind, transforms, hidden)

    def distribution(self) -> Distribution:
        """Return the flow."""
        return self.flow()


class SecondVAE(Sampler):
    """Latent sampler with a second VAE on the codes of the first: z is drawn from p(z | u), and u from N(0, I).

    Args:
        latent: Size of a latent code.
        hidden: Widths of the encoder's hidden layers; the decoder has them in reverse.

    References:
        Diagnosing and enhancing VAE models (Dai and Wipf 2019), Section 4, https://arxiv.org/abs/1903.05789
    """

    epochs = 50

    def __init__(self, latent: int = 1, hidden: tuple[int, ...] = (256, 256)) -> None:
        super().__init__(latent)
        size, network = self.latent, MLP(hidden)
        latents = Flat(StandardNormal(size), DiagonalNormal((size,), size, network))
        self.vae = VAE(latents, Gaussian((size,), size, network), Identity())

    def forward(self, batch: Batch, samples: int = 1, noise: Noise | None = None, knobs: Knobs | None = None) -> Terms:
        """Return the terms of the second VAE for standardized latent codes."""
        return self.vae(Batch((batch.x - self.mean) / self.std, index=batch.index), samples, noise, knobs)

    def standardized(self, n: int, noise: Noise) -> Tensor:
        """Return draws (n, latent)."""
        return draw(self.vae.generate(n, noise), (), noise)
