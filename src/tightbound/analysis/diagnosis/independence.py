"""Models of independent elements, and what the dependence of elements is worth: what a latent code can be good for."""

from __future__ import annotations

import copy
import math

import numpy as np
import torch
from torch import Tensor, nn

from tightbound.analysis.estimate import Array
from tightbound.core.domain import REAL, Domain
from tightbound.core.errors import CompositionError
from tightbound.core.interfaces import Likelihood
from tightbound.core.terms import Batch, cycled, log_density

BINS = 5  # values of an element, after binning, for the dependence
COLUMNS = 256  # elements that the dependence is measured in, at most
CLASSES = (2, 4, 8, 16)  # numbers of latent classes to try


def independent(train: Batch, test: Batch, domain: Domain) -> Array:
    """Return what observed test examples cost if the elements of x are independent, nats (N,) in the target's measure.

    Each element has the marginal of the observed training examples: smoothed frequencies (Jeffreys) if it is discrete,
    else a Gaussian. A number that recurs (0 in the target) has a frequency, and the other numbers have a Gaussian.
    Missing elements cost nothing.
    """
    x, new = train.x.flatten(1).double(), test.x.flatten(1).double()
    columns = domain.columns or (domain,) * x.shape[1]
    known, asked = (
        torch.ones_like(values, dtype=torch.bool) if batch.mask is None else batch.mask.flatten(1)
        for values, batch in ((x, train), (new, test))
    )
    total = torch.zeros(len(new), dtype=torch.float64)
    for column in dict.fromkeys(columns):
        some = torch.tensor([other == column for other in columns])
        cost = _marginal_costs(x[:, some], known[:, some], new[:, some], column)
        total += cost.masked_fill(~asked[:, some], 0.0).sum(1)
    return total.numpy()


def _marginal_costs(x: Tensor, known: Tensor, new: Tensor, domain: Domain) -> Tensor:
    """Return -log p of elements (M, D) of one domain, with the marginals of the known elements of x (N, D)."""
    size = known.sum(0)
    seen = x.masked_fill(~known, 0.0)
    if domain.kind == "binary":  # values between 0 and 1 are expectations over binarizations
        p = (seen.sum(0) + 0.5) / (size + 1)
        return -(new * p.log() + (1 - new) * (1 - p).log())
    if domain.values:
        numbers = torch.tensor(domain.values, dtype=x.dtype)
        seen, new = ((part.unsqueeze(-1) - numbers).abs().argmin(-1) for part in (seen, new.nan_to_num()))
    if domain.values or (domain.discrete and domain.kind != "whole"):
        value, asked = seen.long(), new.nan_to_num().long()
        top = torch.maximum(value.amax(0), asked.amax(0)).add(1).clamp_min(domain.levels or 0)  # (D,) values to expect
        counts = torch.zeros(int(top.max()), x.shape[1], dtype=torch.float64)
        counts.scatter_add_(0, value, known.double())
        p = (counts + 0.5) / (size + 0.5 * top)
        return -p.log().gather(0, asked)
    if domain.kind == "semicontinuous":
        p = ((known & (x == 0)).sum(0) + 0.5) / (size + 1)
        other = _marginal_costs(x, known & (x != 0), new, REAL)
        return torch.where(new == 0, -p.log(), other - (1 - p).log())
    count = size.clamp_min(1)
    center = seen.sum(0) / count
    spread = ((seen - center).square().masked_fill(~known, 0.0).sum(0) / count).sqrt()
    scale = torch.where(size > 0, spread.clamp_min(1e-6), 1.0)
    return 0.5 * ((new - center) / scale) ** 2 + scale.log() + 0.5 * math.log(2 * math.pi)


def marginal_costs(likelihood: Likelihood, train: Batch, test: Batch) -> Array | None:
    """Return what observed test examples cost if one distribution of this family, the same for all, explains them.

    It is a model of that likelihood without a latent code: its parameters, and none of a network, are fitted to the
    marginals of the observed training examples.

    Args:
        likelihood: The family; it is not changed.
        train, test: Observed examples, on the CPU.

    Returns:
        Nats (N,) in the measure of the target; None if the family models dependence by itself, or cannot be fitted to
        marginals.
    """
    if likelihood.autoregressive:
        return None
    fitted = copy.deepcopy(likelihood).to("cpu").float()
    size, network = fitted.outputs * math.prod(fitted.shape), getattr(fitted, "network", None)
    with torch.no_grad():
        if isinstance(network, nn.Module) and fitted.features is not None:
            size = network.eval()(torch.zeros(2, fitted.features))[0].numel()
        fitted.network = Constant(size)
        try:
            fitted.start_at((train.x if train.mask is None else cycled(train.x, train.mask)).float())
        except CompositionError:
            return None
        p = fitted(torch.zeros(1, 1))
        p = p if test.offset is None else fitted.at(p, test.offset)
        costs = -log_density(p, test.x.float(), test.mask)
    return costs.flatten().double().numpy()


class Constant(nn.Module):
    """Network whose output is the same for all inputs.

    Args:
        size: Number of outputs.
    """

    def __init__(self, size: int) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(size))

    def forward(self, features: Tensor) -> Tensor:
        """Return the outputs (B, size) for features (B, ...)."""
        return self.bias.expand(len(features), -1)


def dependence(train: Batch, test: Batch, seed: int = 0) -> Array:
    """Return the nats (N,) by which latent classes explain test examples better than independent elements do.

    Elements are binned at quantiles of the training examples, so that both models can have any marginals. Given the
    class, elements are independent: what the classes gain is dependence between elements, and their mean is a lower
    bound on it, up to sampling error. The number of classes is chosen on a fifth of the training examples; one class
    gains nothing.

    Args:
        train, test: Observed examples.
        seed: Random seed.

    References:
        Latent structure analysis (Lazarsfeld and Henry 1968)
    """
    rng = np.random.default_rng(seed)
    size = train.x[0].numel()
    some = np.sort(rng.permutation(size)[:COLUMNS])
    known, new = (elements(part)[:, some] for part in (train, test))
    binned = [_binned(column, other) for column, other in zip(known.T, new.T, strict=True)]
    x, y = (np.concatenate([pair[i] for pair in binned], axis=1) for i in range(2))
    groups = np.repeat(np.arange(len(binned)), [pair[0].shape[1] for pair in binned])
    cut, distinct = max(1, len(x) // 5), len(np.unique(x, axis=0))
    scores = {
        k: (_classes(x[cut:], groups, k, seed, x[:cut]) - _classes(x[cut:], groups, 1, seed, x[:cut])).mean()
        for k in CLASSES
        if 4 * k <= len(x) - cut and k < distinct
    }
    best = max(scores, key=lambda k: scores[k], default=1)
    if not scores or scores[best] <= 0:
        return np.zeros(len(y))
    return _classes(x, groups, best, seed, y) - _classes(x, groups, 1, seed, y)


def elements(data: Batch) -> Array:
    """Return the elements of observed examples (N, D), NaN where nothing is observed."""
    x = data.x.double().flatten(1)
    return (x if data.mask is None else x.masked_fill(~data.mask.flatten(1), torch.nan)).cpu().numpy()


def _binned(column: Array, other: Array) -> tuple[Array, Array]:
    """Return indicators (N, bins) of the bins of training and test values; rows of zeros where they are missing."""
    seen = column[np.isfinite(column)]
    values = np.unique(seen)
    if len(values) <= BINS:
        edges = (values[1:] + values[:-1]) / 2
    else:
        edges = np.unique(np.quantile(seen, np.arange(1, BINS) / BINS))
    eye = np.eye(len(edges) + 1, dtype=np.float32)
    first, second = (eye[np.searchsorted(edges, v)] * np.isfinite(v)[:, None] for v in (column, other))
    return first, second


def _classes(x: Array, groups: Array, k: int, seed: int, new: Array, steps: int = 40) -> Array:
    """Return log p (M,) of indicators `new` under k latent classes that are fitted to x (N, bins) by EM."""
    from sklearn.cluster import KMeans

    member = (
        KMeans(k, n_init="auto", random_state=seed % 2**32).fit_predict(x) if k > 1 else np.zeros(len(x), dtype=int)
    )
    share = np.eye(k)[member]
    starts = np.flatnonzero(np.diff(groups, prepend=-1))
    counts = x.sum(0) + 0.5
    overall = counts / np.add.reduceat(counts, starts)[groups]

    def maximized(share: Array) -> tuple[Array, Array]:
        """Return the log-probabilities of bins by class (k, bins) and of classes (k,) for shares (N, k)."""
        counts = share.T @ x + 2.0 * overall  # as if each class had two more examples with the overall marginals
        log_p = np.log(counts / np.add.reduceat(counts, starts, axis=1)[:, groups])
        return log_p, np.log((share.sum(0) + 1) / (len(x) + k))

    log_p, log_class = maximized(share)
    for _ in range(steps - 1 if k > 1 else 0):
        joint = x @ log_p.T + log_class
        share = np.exp(joint - joint.max(1, keepdims=True))
        log_p, log_class = maximized(share / share.sum(1, keepdims=True))
    joint = new @ log_p.T + log_class
    top = joint.max(1)
    return top + np.log(np.exp(joint - top[:, None]).sum(1))
