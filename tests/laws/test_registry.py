"""Every part in the table of names passes the laws of its kind, with its defaults and in the variants below."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from tightbound.components import TABLE, find, make, parse
from tightbound.core.domain import BINARY, Domain
from tightbound.latents import Flat, Quantized
from tightbound.likelihoods import ElementwiseLikelihood
from tightbound.nn import MLP, ResNet
from tightbound.posteriors import DiagonalNormal, Point
from tightbound.priors import StandardNormal
from tightbound.quantizers import GumbelQuantizer
from tightbound.testing import (
    check_joint_likelihood,
    check_latents,
    check_likelihood,
    check_objective,
    check_posterior,
    check_prior,
)
from tightbound.testing.matrix import NETWORKS, SMALL
from tightbound.testing.objectives import small_model


def small(kind: str, name: str) -> str:
    """The part with fewer components, maps or units than by default; groups are left to its default."""
    text = SMALL[kind].get(name, name)
    return name if "groups" in text else text


FAMILIES = [name for name in TABLE["likelihood"] if issubclass(find("likelihood", name), ElementwiseLikelihood)]
LIKELIHOODS = [
    *FAMILIES,
    "gaussian(scale=0.3)",
    "gaussian(scale='per-dimension')",
    "gaussian(scale='predicted')",
    "laplace(scale=2.0)",
    "laplace(scale='predicted')",
    "binomial(levels=2)",
    "binomial(levels=17)",
    "categorical(levels=2)",
    "categorical(levels=17)",
    "discretized-logistic(levels=2)",
    "discretized-logistic(levels=17, scale='shared')",
    "discretized-logistic(levels=17, scale=0.05)",
    "logistic-mixture(levels=17, components=2)",
    "logistic-mixture(levels=6, components=2)",
    "logistic-mixture(shape=(3, 1, 1), levels=2)",
    "logistic-mixture(shape=(3, 1, 1), levels=3, components=2)",
    "logistic-mixture(shape=(3, 1, 2), levels=2, components=3)",
    "negative-binomial(dispersion='predicted')",
    "negative-binomial(dispersion=0.2)",
    "zero-inflated-negative-binomial(dispersion='predicted')",
    "student-t(df=6.0, scale='predicted')",
    "student-t(df='per-dimension', scale='per-dimension')",
    "mixture(of=gaussian(scale='predicted'), components=2)",
    "mixture(of='student-t(df=7.0)')",
    "mixture(of=poisson())",
    "mixture(of='zero-inflated-negative-binomial', components=2)",
    "mixture(of='beta', components=2)",
    "mixture(of='discretized-logistic(levels=9)', components=2)",
]
POSTERIORS = [
    *(small("posterior", name) for name in TABLE["posterior"]),
    "low-rank(rank=1)",
    "flow(kind='nsf', transforms=1, hidden=(8,), features=3)",
    "flow(kind='realnvp', transforms=3, hidden=(8, 8), features=3)",
    "sylvester(flows=2, reflections=1)",
]
COLUMNS = Domain("mixed", columns=(Domain("levels", 3), BINARY, Domain("levels", 5), Domain("levels", 3)))
JOINT = [
    ("pixelcnn(hidden=8)", (1, 3, 2), BINARY),
    ("pixelcnn(hidden=7, layers=2, network=mlp(hidden=(4,)), maps=3)", (2, 2, 2), Domain("levels", 3)),
    (
        "pixelcnn(hidden=7, layers=2, kernel=3, family=\"discretized-logistic(scale='shared')\")",
        (3, 1, 2),
        Domain("levels", 4),
    ),
    ("pixelcnn(hidden=5, layers=1, kernel=3, paths=64)", (3, 2, 2), BINARY),
    ("columns(network=mlp(hidden=(4,)))", (4,), COLUMNS),
    (
        "columns(network=mlp(hidden=(4,)), families=('binomial', None, 'discretized-logistic', None))",
        (4,),
        COLUMNS,
    ),
]
OBJECTIVES = [
    *(name for name in TABLE["objective"] if name not in ("autoencoder", "m2")),  # m2: tests/objectives
    "elbo(beta=4.0, samples=3)",
    "elbo(kl='monte-carlo', samples=2)",
    "elbo(beta=linear(start=0.1, stop=0.5))",
    "free-bits(free_bits=0.01, average='example')",
    "free-bits(free_bits=0.01, over='group', average='example')",
    "free-bits(free_bits=0.01, over='total', average='example')",
    "free-bits(free_bits=0.02, over='group')",
    "iwae(samples=1)",
    "iwae(samples=8)",
    "beta-tc(sampling='mws', samples=2, alpha=0.5, gamma=2.0)",
    "dip(kind=2)",
    "info(alpha=1.0, kernel='rbf', samples=2)",
    "info(alpha=-1.0, lambda_=3.0, kernel='laplacian', width=2.0)",
    "factor(gamma=linear(stop=5.0), network=mlp(hidden=(8,)), samples=2)",
    "vae-gan(gamma=0.1, network=mlp(hidden=(8, 4), activation='tanh'), samples=2)",
    "rae(penalty='gradient', weight=0.5, samples=2)",
    "rae(penalty=None)",
    "ms-ssim(weight=3.0, likelihood=0.5, beta=0.1, samples=2)",
    "lagging(every=2, samples=2)",
]
LATENTS = [
    *(SMALL["latents"].get(name, name) for name in TABLE["latents"] if name != "quantized"),
    "quantized(quantizer='vq(codebook_size=5)', positions=3)",
    "quantized(quantizer=gumbel(codebook_size=3), positions=2)",
    "bottom-up(upper=(4, 2), hidden=(), top=mixture(latent=2))",
    "ladder(groups=(2, 3), hidden=6, activation='tanh', top=learned(latent=3))",
]
QUANTIZERS = {
    "vq": "vq(codebook_size=6)",
    "vq-gradient": "vq-gradient(codebook_size=6, gradient='rotation')",
    "simvq": "simvq(codebook_size=6)",
    "fsq": "fsq(levels=(4, 3))",
    "lfq": "lfq(bits=3)",
    "residual": "residual(depth=2, of='vq(codebook_size=4)')",
    "grouped": "grouped(groups=2, of='vq-gradient(codebook_size=3)')",
    "gumbel": "gumbel(codebook_size=4)",
}
SECOND_STAGES = {
    "uniform": "uniform",
    "pixelcnn": "pixelcnn(embedding=4, hidden=8, layers=1, attention=2, blocks=1)",
    "transformer": "transformer(hidden=8, layers=1, heads=2, blocks=1)",
}
LEVELS = [((2,), (1, 9, 6)), ((1, 1), (3, 11, 8)), ((1, 1, 1), (3, 11, 8)), ((2, 1), (1, 1, 7))]
FOR_POINTS = ["info(alpha=1.0)", "wae-mmd", "aae", "wae-gan(weight=10.0)", "rae", "rae(penalty='gradient')"]


PRIORS = [
    *(small("prior", name) for name in TABLE["prior"]),
    "vamp(components=20, learned_weights=True, start='mean')",
    "flow(kind='nsf', transforms=1, hidden=(8,))",
    "flow(kind='realnvp', hidden=(32,))",
]


@pytest.mark.parametrize("text", LIKELIHOODS)
def test_likelihood(text: str) -> None:
    check_likelihood(make("likelihood", text), cases=3)


@pytest.mark.parametrize(("text", "shape", "target"), JOINT)
def test_joint_likelihood(text: str, shape: tuple[int, ...], target: Domain) -> None:
    kinds = [column.literal for column in target.columns]
    likelihood = make("likelihood", text, shape=shape, features=2, levels=target.levels, kinds=kinds)
    check_joint_likelihood(likelihood, target)


def test_the_laws_run_on_every_likelihood() -> None:
    assert {*FAMILIES, *(parse(text).name for text, _, _ in JOINT)} == set(TABLE["likelihood"])


@pytest.mark.parametrize("latent", [1, 3])
@pytest.mark.parametrize("text", PRIORS)
def test_prior(text: str, latent: int) -> None:
    least = find("prior", parse(text).name).least
    check_prior(make("prior", text, latent=max(latent, least), shape=(1, 2, 3)))


@pytest.mark.parametrize("context", [0, 3])
@pytest.mark.parametrize("text", PRIORS)
def test_prior_away_from_its_start(text: str, context: int) -> None:
    """Where a flow is no longer N(0, I), and a context has an effect."""
    torch.manual_seed(0)
    prior = make("prior", text, latent=2, shape=(1, 2, 3), context=context)
    with torch.no_grad():
        for parameter in prior.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    check_prior(prior)


@pytest.mark.parametrize("name", POSTERIORS)
@pytest.mark.parametrize("network", [None, MLP((8,), activation="tanh")])
def test_posterior(name: str, network: Any) -> None:
    latent = 2
    raw_shape = make("posterior", name, latent=latent, shape=(1, 2, 2), network=MLP((2,))).raw_shape
    shape = (math.prod(raw_shape),) if network is None else (1, 3, 3)
    torch.manual_seed(0)
    check_posterior(make("posterior", name, shape=shape, latent=latent, network=network))


@pytest.mark.parametrize("text", LATENTS)
def test_latents(text: str) -> None:
    shape, network = (1, 2, 3), MLP((8,), activation="tanh")
    torch.manual_seed(0)
    parts = {"prior": StandardNormal(3), "posterior": DiagonalNormal(shape, 3, network)}
    network = make("network", NETWORKS.get(parse(text).name, "mlp(hidden=(8,), activation='tanh')"))
    parts = {name: part for name, part in parts.items() if name not in find("latents", parse(text).name).builds}
    check_latents(make("latents", text, shape=shape, latent=3, network=network, **parts), shape)


TWO_STAGE = [*((q, "pixelcnn") for q in QUANTIZERS), ("residual", "uniform"), ("gumbel", "transformer")]


@pytest.mark.parametrize(
    ("quantizer", "prior", "halvings", "shape"),
    [(*pair, *LEVELS[(i + j) % len(LEVELS)]) for i, pair in enumerate(TWO_STAGE) for j in range(2)],
)
def test_quantized_latents_with_two_levels(
    quantizer: str, prior: str, halvings: tuple[int, ...], shape: tuple[int, ...]
) -> None:
    """Color and gray, with odd, unequal and single edges, two of the shapes for each pair; codes start at data."""
    torch.manual_seed(0)
    network = ResNet(halvings, hidden=8, blocks=1, inner=4)
    latents = Quantized(shape, 4, network, QUANTIZERS[quantizer], SECOND_STAGES[prior])
    latents.start_at(torch.randn(10, *shape))
    check_latents(latents, shape)


def test_each_level_may_have_its_own_quantizer_and_prior() -> None:
    torch.manual_seed(0)
    network, shape = ResNet((1, 1), hidden=8, blocks=1, inner=4), (3, 7, 6)
    quantizers = [QUANTIZERS["residual"], GumbelQuantizer(3, 4)]
    latents = Quantized(shape, 4, network, quantizers, [SECOND_STAGES["transformer"], "uniform"])
    latents.start_at(torch.randn(10, *shape))
    check_latents(latents, shape)


def test_the_laws_run_on_every_quantizer_and_code_prior() -> None:
    assert set(QUANTIZERS) == set(TABLE["quantizer"])
    assert set(SECOND_STAGES) == set(TABLE["code-prior"])


def test_flat_with_a_point() -> None:
    torch.manual_seed(0)
    check_latents(Flat(StandardNormal(3), Point((1, 2, 3), 3, MLP((8,), activation="tanh"))), (1, 2, 3))


def pairs() -> list[tuple[str, str]]:
    """Each prior with the first posterior on its support, and each posterior with the first prior."""
    fits = [
        (prior, posterior)
        for prior in TABLE["prior"]
        for posterior in TABLE["posterior"]
        if find("prior", prior).support in ("any", find("posterior", posterior).support)
    ]
    first = {pair for i in (0, 1) for pair in {pair[i]: pair for pair in reversed(fits)}.values()}
    names = {small("posterior", name) for name in TABLE["posterior"]}
    variants = [("normal", text) for text in POSTERIORS if text not in names]
    chosen = [(small("prior", prior), small("posterior", q)) for prior, q in fits if (prior, q) in first]
    return chosen + variants


def test_every_prior_and_posterior_has_a_partner() -> None:
    assert {parse(prior).name for prior, _ in pairs()} == set(TABLE["prior"])
    assert {posterior for _, posterior in pairs()} == set(POSTERIORS)


@pytest.mark.parametrize(("prior", "posterior"), pairs())
def test_flat(prior: str, posterior: str) -> None:
    torch.manual_seed(0)
    network = MLP((8,), activation="tanh")
    parts = {"latent": 3, "shape": (1, 2, 3), "network": network}
    latents = Flat(make("prior", prior, **parts), make("posterior", posterior, **parts))
    latents.start_at(torch.randn(20, 1, 2, 3))
    check_latents(latents, (1, 2, 3))


@pytest.mark.parametrize("text", OBJECTIVES)
def test_objective(text: str) -> None:
    check_objective(make("objective", text))


@pytest.mark.parametrize("text", FOR_POINTS)
def test_objective_of_a_point_posterior(text: str) -> None:
    check_objective(make("objective", text), model=small_model(point=True))


def test_autoencoder_trains_decoder_and_encoder_of_a_point_model() -> None:
    from tightbound.core.schedules import Knobs
    from tightbound.core.terms import Batch

    model, objective = small_model(point=True), make("objective", "autoencoder")
    batch = Batch(torch.ones(4, *model.shape, dtype=torch.float64), index=torch.arange(4))
    terms = model(batch, 1)
    objective.check(terms)
    value = objective(terms, Knobs())
    assert torch.equal(value, terms.log_likelihood[0])
    value.sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in model.parameters())


def test_free_bits_gives_no_gradient_below_its_limit() -> None:
    objective = make("objective", "free-bits(free_bits=100.0)")
    from tightbound.core.schedules import Knobs

    rates = [torch.rand(5, 3, dtype=torch.float64, requires_grad=True)]
    penalty = objective.penalty(rates, Knobs.final(objective.schedules))
    assert torch.allclose(penalty, torch.tensor(300.0, dtype=torch.float64))
    (gradient,) = torch.autograd.grad(penalty.sum(), rates[0])
    assert gradient.abs().max() == 0
