"""Gaussian mixture as a latent sampler."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any, ClassVar, Literal, get_args

import torch
from torch import Tensor
from torch.distributions import Distribution, MultivariateNormal

from tightbound.core.errors import InputError, number, whole
from tightbound.core.noise import key_seed
from tightbound.inference.samplers.base import DensitySampler
from tightbound.priors.mixture import FiniteMixture

Covariance = Literal["full", "diagonal"]
LEAST = 1e-5  # variance that is added to each dimension by default


class GaussianMixture(DensitySampler):
    """Latent sampler with a Gaussian mixture, fitted by scikit-learn's EM.

    Args:
        latent: Size of a latent code.
        components: Number of components K. Without arguments, `fit_sampler` chooses the entry of `TRIED` with the
            highest log-density of held-out codes.
        covariance: "full", or "diagonal", which needs fewer latent codes. Without arguments, it is chosen together with
            `components`.
        reg_covar: Variance that is added to each dimension of standardized latent codes, as in scikit-learn, so that
            few codes determine a full covariance. Without arguments, it is chosen together with `components`.

    References:
        From variational to deterministic autoencoders (Ghosh et al. 2020), Section 4, https://arxiv.org/abs/1903.12436
    """

    TRIED: ClassVar[tuple[tuple[int, Covariance, float], ...]] = (
        (1, "diagonal", LEAST), (1, "full", LEAST), (20, "diagonal", LEAST), (3, "full", LEAST), (10, "full", LEAST),
        (30, "full", LEAST), (1, "full", 0.1), (3, "full", 0.3), (10, "full", 0.3)
    )  # fmt: skip

    LARGE: ClassVar[int] = 300  # maximum number of latent dimensions for which full covariances are tried

    def __init__(
        self, latent: int = 1, components: int = 10, covariance: Covariance = "full", reg_covar: float = LEAST
    ) -> None:
        super().__init__(latent)
        self.components = whole("components", components, least=1)
        if covariance not in get_args(Covariance):
            raise InputError(f"covariance = {covariance!r}; needed: one of {', '.join(get_args(Covariance))}")
        self.covariance: Covariance = covariance
        self.reg_covar = number("reg_covar", reg_covar, least=0)
        self.register_buffer("log_weights", torch.zeros(self.components))
        self.register_buffer("loc", torch.zeros(self.components, self.latent))
        self.register_buffer("scale_tril", torch.eye(self.latent).repeat(self.components, 1, 1))

    log_weights: Tensor
    loc: Tensor
    scale_tril: Tensor

    @classmethod
    def suited(cls, codes: Tensor, seed: int) -> Mapping[str, Any]:
        """Return the components and covariance with the highest log-density of held-out latent codes."""
        order = torch.randperm(len(codes), generator=torch.Generator().manual_seed(key_seed("held-out", seed)))
        some = codes[order[:2500]]  # enough to choose by, and fast
        held_out, rest = some[: len(some) // 5], some[len(some) // 5 :]
        scores: dict[tuple[int, Covariance, float], float] = {}
        for tried in cls.TRIED:
            small = tried[1] == "diagonal" or codes.shape[1] <= cls.LARGE
            if small and len(held_out) and len(rest) > 2 * tried[0]:
                candidate = cls(codes.shape[1], *tried)
                candidate.start_at(rest, seed)
                scores[tried] = candidate.log_prob(held_out).mean().item()
        best = max(scores, key=lambda each: scores[each], default=cls.TRIED[0])
        return dict(zip(("components", "covariance", "reg_covar"), best, strict=True))

    def start_at(self, codes: Tensor, seed: int, labels: Tensor | None = None) -> None:
        """Fit the mixture to latent codes (N, latent).

        Raises:
            InputError: If there are no more latent codes than components.
        """
        super().start_at(codes, seed)
        if len(codes) <= self.components:
            raise InputError(f"{self.components} components need more than {len(codes)} examples; use fewer components")
        standard = ((codes - self.mean) / self.std).double()
        log_weights, loc, scale_tril = fit_mixture(standard, self.components, seed, self.covariance, self.reg_covar)
        self.log_weights.copy_(log_weights)
        self.loc.copy_(loc)
        self.scale_tril.copy_(scale_tril)

    def distribution(self) -> Distribution:
        """Return the mixture."""
        return FiniteMixture(
            self.log_weights, MultivariateNormal(self.loc, scale_tril=self.scale_tril, validate_args=False)
        )


def fit_mixture(
    codes: Tensor, components: int, seed: int, covariance: Covariance = "full", reg_covar: float = LEAST
) -> tuple[Tensor, Tensor, Tensor]:
    """Fit a Gaussian mixture to latent codes (N, latent) in double precision, by scikit-learn's EM.

    Returns:
        Log-weights (K,), means (K, latent) and Cholesky factors (K, latent, latent).
    """
    import sklearn.mixture
    from sklearn.exceptions import ConvergenceWarning

    mixture = sklearn.mixture.GaussianMixture(
        components, covariance_type="full" if covariance == "full" else "diag", reg_covar=reg_covar, max_iter=300,
        random_state=key_seed("gaussian-mixture", seed) % 2**32,
    )  # fmt: skip
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # a mixture that did not converge is still a density
        fitted = mixture.fit(codes.numpy())
    covariances = torch.from_numpy(fitted.covariances_)
    factors = torch.linalg.cholesky(covariances) if covariance == "full" else covariances.sqrt().diag_embed()
    return torch.from_numpy(fitted.weights_).log(), torch.from_numpy(fitted.means_), factors
