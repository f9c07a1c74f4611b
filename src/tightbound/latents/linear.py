"""Start a VAE of vectors at its best linear model: factor analysis, and linear predictors from its factors."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tightbound.core.interfaces import Likelihood
from tightbound.core.model import VAE
from tightbound.core.noise import Noise
from tightbound.core.terms import Batch, log_density
from tightbound.latents.flat import Flat
from tightbound.nn.factor_analysis import ROWS, FactorAnalysis
from tightbound.nn.mlp import linear_path
from tightbound.posteriors.normal import DiagonalNormal

STEPS = 100  # of L-BFGS
DRAWS = 2  # of each code


def start_linear(model: VAE, seen: Batch) -> None:
    """Start the linear paths of encoder and decoder at factor analysis of an observed batch.

    The encoder's path becomes the posterior of the factors, as far as it is linear, and the decoder's path the best
    linear predictor of the likelihood's parameters from the factors. The hidden layers add nothing at first. A model
    whose networks have no linear paths, or whose posterior or prior is not normal, stays as it is.

    Args:
        model: The model.
        seen: Observed examples.
    """
    latents, likelihood = model.latents, model.likelihood
    if not isinstance(latents, Flat) or model.context is not None or type(latents.posterior) is not DiagonalNormal:
        return
    encoder, decoder = linear_path(latents.posterior.network), linear_path(getattr(likelihood, "network", None))
    if encoder is None or decoder is None or not latents.prior.standard:
        return
    seen = seen[:ROWS]
    x, known = model.observation.numbers(seen)
    x, known = x.cpu().double(), known.cpu()
    factors = FactorAnalysis.fit(x, known, min(latents.latent, max(1, x.shape[1] - 1)))
    mean, covariance = factors.posterior(x, known)
    variance = 1 / torch.linalg.inv(covariance).diagonal(dim1=1, dim2=2)  # of the nearest diagonal Gaussian
    unused = (0, latents.latent - mean.shape[1])
    mean, variance = F.pad(mean, unused), F.pad(variance, unused, value=1.0)
    shown = model.encoder_input(seen).flatten(1)
    weight, bias = _ridge(shown.cpu().double(), mean)
    error = (shown.cpu().double() @ weight.mT + bias - mean).square().mean(0)
    log_weight, log_bias = _ridge(shown.cpu().double(), (variance + error).log())
    raw = torch.cat([shown.cpu().double() @ weight.mT + bias, shown.cpu().double() @ log_weight.mT + log_bias], 1)
    gain, shift = _predict(likelihood, decoder, seen, *raw.to(seen.x).chunk(2, 1))
    _set(encoder, torch.cat([gain[:, None] * weight, log_weight]), torch.cat([gain * bias, log_bias + shift]))


def _ridge(x: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """Return the weight and bias of the linear map from x (N, D) to targets (N, K) with the least squared error."""
    center, mean = x.mean(0), target.mean(0)
    x, target = x - center, target - mean
    gram = x.mT @ x + 1e-3 * torch.eye(x.shape[1], dtype=x.dtype, device=x.device)
    weight = torch.linalg.solve(gram, x.mT @ target).mT
    return weight, mean - weight @ center


def _predict(
    likelihood: Likelihood, decoder: nn.Linear, seen: Batch, mean: Tensor, log_variance: Tensor
) -> tuple[Tensor, Tensor]:
    """Start the decoder at the best linear predictor from codes, together with the width of the codes.

    The ELBO of codes from N(gain * mean, exp(log_variance + shift)) is maximized over the decoder's linear path,
    learned scales, gain and shift. The weights have a standard normal prior. A factor that costs more than it tells
    vanishes.

    Returns:
        gain (L,) and shift (L,), in double precision.
    """
    own, layer = likelihood.network, nn.Linear(mean.shape[1], decoder.out_features).to(mean)
    nn.init.zeros_(layer.weight)
    layer.bias.copy_(decoder.bias)
    gain, shift = torch.ones_like(mean[0]).requires_grad_(), torch.zeros_like(mean[0]).requires_grad_()
    noise = Noise("start", "factors").normal((DRAWS, *mean.shape), mean)
    likelihood.network = layer
    with torch.enable_grad():
        parameters = [p for p in likelihood.parameters() if p.requires_grad]
        search = torch.optim.LBFGS([*parameters, gain, shift], max_iter=STEPS, line_search_fn="strong_wolfe")

        def loss() -> Tensor:
            search.zero_grad()
            m, v = gain * mean, log_variance + shift
            p = likelihood(m + (v / 2).exp() * noise)
            p = p if seen.offset is None else likelihood.at(p, seen.offset)
            told = log_density(p, seen.x, seen.mask).mean(0).sum()
            rate = (m.square() + v.exp() - v - 1).sum() / 2
            value = (rate - told + layer.weight.square().sum() / 2) / len(mean)
            value.backward()
            return value

        search.step(loss)
    search.zero_grad()
    likelihood.network = own
    _set(decoder, layer.weight.detach(), layer.bias.detach())
    return gain.detach().cpu().double(), shift.detach().cpu().double()


def _set(layer: nn.Linear, weight: Tensor, bias: Tensor) -> None:
    """Make a layer that sees hidden units and then a network's input this linear map of the input."""
    layer.weight.zero_()
    layer.weight[:, -weight.shape[1] :] = weight.to(layer.weight)
    layer.bias.copy_(bias)
