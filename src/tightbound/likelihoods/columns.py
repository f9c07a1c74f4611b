"""Likelihood of tables, with one family of distributions per column."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.distributions import Distribution, Independent

from tightbound.components import make
from tightbound.core.domain import Domain, Kind, as_domain
from tightbound.core.errors import CompositionError, InputError, suggestion
from tightbound.core.interfaces import Likelihood
from tightbound.core.noise import Noise, draw
from tightbound.core.terms import UncheckedDistribution
from tightbound.likelihoods.base import ElementwiseLikelihood, start_bias
from tightbound.likelihoods.hurdle import Hurdle
from tightbound.nn.base import Network, Shape, fold
from tightbound.nn.modules import likelihood_network

FAMILIES = {
    "real": "student-t(scale='per-dimension', df='per-dimension')",
    "binary": "bernoulli",
    "levels": "categorical",
    "categories": "categorical",
    "values": "categorical",
    "semicontinuous": "student-t(scale='per-dimension', df='per-dimension')",
    "counts": "negative-binomial",
    "whole": "rounded-logistic",
    "unit": "continuous-bernoulli",
}


class Columns(Likelihood):
    """Likelihood of tables: the product over columns d of p_d(x_d | z), each of a family that fits the column's kind.

    Missing values of x are integrated out by leaving out their factors. All parameters come from one network.

    Args:
        shape: (D,); optional.
        features: Size of the features that the latents give; required with an architecture.
        network: An architecture, or a module (B, features) -> (B, all parameters); None: features are the parameters.
        kinds: The kind of each column: "real", "binary", "counts", "whole", "unit", ("levels", K),
            ("values", numbers), ("semicontinuous", number), ("categories", words).
        families: Families to use instead of student-t (with a scale and degrees of freedom for each column),
            bernoulli, categorical, negative-binomial, rounded-logistic and continuous-bernoulli, as text: by kind,
            {"real": "gaussian"}, or one per column (None: the default for its kind). The family of a "values" column is
            a distribution of the positions of its numbers, which are levels. The family of a "semicontinuous" column is
            the density of all numbers except the one that recurs, which is 0 in the target; see `Hurdle`.

    Raises:
        InputError: If a kind or family is unknown.
        CompositionError: If a family does not fit its column, or the network has the wrong number of outputs.

    References:
        Handling incomplete heterogeneous data using VAEs (Nazabal et al. 2020), Section 2,
        https://arxiv.org/abs/1807.03653
    """

    domains: ClassVar[tuple[Kind, ...]] = ("mixed",)

    def __init__(
        self,
        shape: Shape = (),
        features: int | None = None,
        network: Network | None = None,
        kinds: Sequence[Any] = (),
        families: Mapping[str, str] | Sequence[str | None] | None = None,
    ) -> None:
        super().__init__()
        self.columns = tuple(as_domain(kind) for kind in kinds)
        size = len(self.columns)
        self.shape, self.features = (size,), features
        if size == 0:
            raise CompositionError(
                "likelihood 'columns' needs the kind of each column, and none is given; open the data with kinds="
            )
        if tuple(shape) not in ((), self.shape):
            raise CompositionError(f"{size} kinds were given for data of shape {tuple(shape)}; give one per column")
        members: dict[tuple[str, Domain], list[int]] = {}  # columns of equally many numbers share a family
        for i, text in enumerate(_texts(self.columns, {} if families is None else families)):
            members.setdefault((text, _alike(self.columns[i])), []).append(i)
        self.families = nn.ModuleList(_family(text, len(at), domain) for (text, domain), at in members.items())
        self.sizes = [len(at) for at in members.values()]
        self.categories = [domain.levels if domain.kind == "categories" else None for _, domain in members]
        self.numbers: list[str | None] = []  # names of the buffers of the numbers (n, K) of "values"
        for number, at in enumerate(members.values()):
            few = [self.columns[i].values for i in at]
            self.numbers.append(f"numbers{number}" if few[0] else None)
            if few[0]:
                self.register_buffer(f"numbers{number}", torch.tensor(few), persistent=False)
        self.widths = [family.outputs * n for family, n in zip(self._families(), self.sizes, strict=True)]
        grouped = torch.tensor([i for at in members.values() for i in at])
        self.register_buffer("grouped", grouped, persistent=False)
        self.register_buffer("place", grouped.argsort(), persistent=False)
        total = sum(self.widths)
        self.outputs = math.ceil(total / size)
        self.network = likelihood_network(network, features, 1, (total,), "columns")

    grouped: Tensor  # (D,) column indices, grouped by family and domain
    place: Tensor  # (D,) position of each column in `grouped`

    @property
    def elementwise(self) -> bool:
        """Whether the columns are independent given the features: always."""
        return True

    def forward(self, features: Tensor, context: Tensor | None = None) -> Distribution:
        """Return the distribution with batch shape (...) and event shape (D,) for features (..., features)."""
        raw = features if self.network is None else fold(self.network, features, 1)
        parts = []
        for family, part, n, numbers in zip(
            self._families(), raw.split(self.widths, -1), self.sizes, self._numbers(), strict=True
        ):
            p = family.distribution(part.unflatten(-1, (family.outputs, n)))
            parts.append(p if numbers is None else FewNumbers(p, numbers))
        return Independent(ColumnsDistribution(self, parts), 1, validate_args=False)

    def check_domain(self, target: Domain) -> None:
        """Raise CompositionError unless the targets have these columns."""
        if target.columns != self.columns:
            mine = Domain("mixed", columns=self.columns)
            raise CompositionError(
                f"likelihood 'columns' was built for {mine}, and the data are {target}; pass kinds= of these data, or "
                "open the data with the same kinds="
            )

    @torch.no_grad()
    def start_at(self, x: Tensor) -> None:
        """Initialize to the marginals of targets x (N, D), before training."""
        parts = []
        for family, part, numbers in zip(
            self._families(), x[:, self.grouped].split(self.sizes, -1), self._numbers(), strict=True
        ):
            parts.append((family, part if numbers is None else positions(part, numbers).to(part)))
            family.fit_learned(parts[-1][1])
        start_bias(self.network, torch.cat([family.fit_marginals(part).flatten() for family, part in parts]))

    def _families(self) -> list[ElementwiseLikelihood]:
        return [family for family in self.families if isinstance(family, ElementwiseLikelihood)]

    def _numbers(self) -> list[Tensor | None]:
        return [None if name is None else self.get_buffer(name) for name in self.numbers]


def _alike(column: Domain) -> Domain:
    """Return the domain of a column in the target, which columns of one family share."""
    if column.kind == "values":
        return Domain("levels", column.levels)
    return Domain("semicontinuous", atom=0.0) if column.kind == "semicontinuous" else column


def _texts(columns: Sequence[Domain], families: Mapping[str, str] | Sequence[str | None]) -> list[str]:
    """Return the family of each column as text."""
    if isinstance(families, Mapping):
        unknown = [kind for kind in families if kind not in FAMILIES]
        if unknown:
            raise InputError(f"families= names the kind {unknown[0]!r}; {suggestion(str(unknown[0]), FAMILIES)}")
        return [(FAMILIES | dict(families))[column.kind] for column in columns]
    if isinstance(families, str) or len(families) != len(columns):
        given = repr(families) if isinstance(families, str) else f"{len(families)} families"
        raise InputError(f"families = {given}; needed: {{kind: family}}, or one for each of {len(columns)} columns")
    return [text or FAMILIES[column.kind] for text, column in zip(families, columns, strict=True)]


def _family(text: str, size: int, domain: Domain) -> ElementwiseLikelihood:
    family = make("likelihood", text, shape=(size,), levels=domain.levels or 2)
    if not isinstance(family, ElementwiseLikelihood) or not family.elementwise:
        raise CompositionError(f"{text!r} is not a family for one column; use one with independent elements")
    if family.given:
        raise CompositionError(
            f"{text!r} divides the total of an example, and columns have no total; leave out library="
        )
    if domain.kind == "semicontinuous":
        return Hurdle((size,), of=family)
    family.check_domain(domain)
    return family


def positions(x: Tensor, numbers: Tensor) -> Tensor:
    """Return the position of the number (n, K) of each column that is nearest to x (..., n)."""
    between = (numbers[:, 1:] + numbers[:, :-1]) / 2
    return (x.unsqueeze(-1) > between).sum(-1)


class FewNumbers(UncheckedDistribution):
    """Distribution on K numbers in each of n columns, batch shape (..., n).

    Args:
        p: Distribution of the positions 0 .. K - 1 of the numbers.
        numbers: The numbers (n, K), in increasing order.
    """

    def __init__(self, p: Distribution, numbers: Tensor) -> None:
        self.p, self.numbers = p, numbers
        super().__init__(p.batch_shape, validate_args=False)

    def log_prob(self, value: Tensor) -> Tensor:
        """Return the log-probability of numbers (..., n)."""
        return self.p.log_prob(positions(value, self.numbers))

    @property
    def mean(self) -> Tensor:
        """E[x]."""
        return (self._chances() * self.numbers).sum(-1)

    @property
    def variance(self) -> Tensor:
        """Var[x]."""
        return (self._chances() * (self.numbers - self.mean.unsqueeze(-1)).square()).sum(-1)

    def _chances(self) -> Tensor:
        return log_chances(self.p, self.numbers.shape[-1]).exp().to(self.numbers)


@draw.register
def _(distribution: FewNumbers, samples: Sequence[int], noise: Noise) -> Tensor:
    at = draw(distribution.p, samples, noise).long().unsqueeze(-1)
    return distribution.numbers.expand(*at.shape[:-1], -1).gather(-1, at).squeeze(-1)


class ColumnsDistribution(UncheckedDistribution):
    """Distribution of independent columns, each of its own family; batch shape (..., D).

    Args:
        likelihood: The likelihood that the columns belong to.
        parts: One distribution per family, with batch shape (..., number of its columns).
    """

    def __init__(self, likelihood: Columns, parts: Sequence[Distribution]) -> None:
        self.likelihood, self.parts = likelihood, parts
        super().__init__(torch.Size((*parts[0].batch_shape[:-1], *likelihood.shape)), validate_args=False)

    def log_prob(self, value: Tensor) -> Tensor:
        """Return the log-density (..., D) of each column."""
        values = value[..., self.likelihood.grouped].split(self.likelihood.sizes, -1)
        return self.join([p.log_prob(v) for p, v in zip(self.parts, values, strict=True)])

    @property
    def mean(self) -> Tensor:
        """E[x]; for categories, which have no order, the most probable category."""
        levels = self.likelihood.categories
        return self.join([p.mean if k is None else _mode(p, k) for p, k in zip(self.parts, levels, strict=True)])

    def expected(self, weight: Tensor) -> Tensor:
        """Return the mean (B, D) of the mixture of samples with weights (S, B), or the most probable category."""
        weight = weight.unsqueeze(-1)
        parts = []
        for p, levels in zip(self.parts, self.likelihood.categories, strict=True):
            if levels is None:
                parts.append((weight * p.mean).sum(0))
            else:
                parts.append((weight.unsqueeze(-1) * log_chances(p, levels).exp()).sum(0).argmax(-1))
        return self.join(parts)

    @property
    def variance(self) -> Tensor:
        """Var[x]; NaN for categories, which have no order."""
        kinds = zip(self.parts, self.likelihood.categories, strict=True)
        return self.join([p.variance if k is None else torch.full_like(p.mean, torch.nan) for p, k in kinds])

    def join(self, parts: Sequence[Tensor]) -> Tensor:
        """Join the values (..., number of columns) of all families to (..., D), in the order of the table."""
        dtype = max((p.dtype for p in parts if p.is_floating_point()), key=lambda d: d.itemsize, default=torch.float32)
        return torch.cat([p.to(dtype) for p in parts], -1)[..., self.likelihood.place]


def _mode(p: Distribution, levels: int) -> Tensor:
    """Return the most probable of the levels 0 .. levels - 1."""
    return log_chances(p, levels).argmax(-1)


def log_chances(p: Distribution, levels: int) -> Tensor:
    """Return the log-probabilities (..., levels) of the levels 0 .. levels - 1."""
    k = torch.arange(levels, device=p.mean.device, dtype=p.mean.dtype)
    return torch.stack([p.log_prob(value.expand(p.batch_shape)) for value in k], -1)


@draw.register
def _(distribution: ColumnsDistribution, samples: Sequence[int], noise: Noise) -> Tensor:
    return distribution.join([draw(p, samples, noise) for p in distribution.parts])
