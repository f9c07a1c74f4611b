"""Law 5: objectives that train encoder and decoder by different estimators, against what they estimate."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import pytest
import torch
from torch import Tensor
from torch.distributions import Distribution, Independent, Normal

import tightbound as tb
from laws.linear import linear_gaussian
from tightbound.components import make
from tightbound.core.errors import CompositionError
from tightbound.core.noise import Noise
from tightbound.core.schedules import Knobs
from tightbound.core.terms import Batch, CodeTerms, LatentTerms, Terms
from tightbound.latents import Flat
from tightbound.likelihoods import Bernoulli, Identity
from tightbound.nn import MLP
from tightbound.objectives import ELBO, IWAE, PIWAE, STL, TVO, DReG, VRMax
from tightbound.objectives.base import Objective, ParameterGroup
from tightbound.objectives.multi_sample import MIWAE, Renyi
from tightbound.posteriors import DiagonalNormal
from tightbound.priors import LearnedNormal
from tightbound.priors.base import Prior
from tightbound.testing.objectives import small_model


class Naive(Objective):
    """Wrong estimator of public code: squared weights on the total derivative, and on the decoder."""

    def __init__(self, samples: int) -> None:
        self.samples = samples

    def __call__(self, terms: Terms, knobs: Knobs) -> Tensor:
        weight = terms.log_weight.detach().softmax(0).square()
        return (weight * terms.log_weight).sum(0)


def tiny(seed: int = 0) -> tb.VAE:
    """Return a model with two latents, a learned prior and four bits, and a posterior that is far from exact."""
    with torch.random.fork_rng(devices=()):
        torch.manual_seed(seed)
        network = MLP((3,), activation="tanh")
        prior = LearnedNormal(2)
        model = tb.VAE(
            Flat(prior, DiagonalNormal((4,), 2, network)), Bernoulli((4,), 2, network), Identity("binary")
        ).double()
        with torch.no_grad():
            for p in model.parameters():
                p.add_(0.5 * torch.randn_like(p))
    return model


def gradients(objective: Objective, model: tb.VAE, batch: Batch, seed: int) -> dict[str, Tensor]:
    """Return one estimate of the gradient, by parameter."""
    names = {id(p): name for name, p in model.named_parameters()}
    terms = model(batch, objective.samples, Noise("test", seed))
    knobs = Knobs.final(objective.schedules)
    found = {}
    for group in objective.parameter_groups(model):
        given = torch.autograd.grad(group.loss(terms, knobs), group.params, retain_graph=True)
        found |= {names[id(p)]: g for p, g in zip(group.params, given, strict=True)}
    assert set(found) == set(names.values())
    return found


def z_scores(a: Objective, b: Objective | dict[str, Tensor], model: tb.VAE, batch: Batch, repeats: int = 80):
    """Return the largest |mean| / standard error of the difference per parameter, on the same draws."""
    differences: dict[str, list[Tensor]] = {name: [] for name, _ in model.named_parameters()}
    for seed in range(repeats):
        other = b if isinstance(b, dict) else gradients(b, model, batch, seed)
        for name, g in gradients(a, model, batch, seed).items():
            differences[name].append(g - other[name])
    scores = {}
    for name, values in differences.items():
        d = torch.stack(values)
        scores[name] = ((d.mean(0) / (d.std(0) / repeats**0.5).clamp_min(1e-15)).abs().max()).item()
    return scores


def bits(copies: int) -> Batch:
    """Return copies of three examples, each with its own draws."""
    x = torch.tensor([[1, 0, 0, 1], [0, 1, 1, 1], [1, 1, 0, 0]], dtype=torch.float64)
    return Batch(x.repeat(copies, 1))


def test_dreg_and_iwae_agree_in_expectation_for_every_parameter() -> None:
    """The naive estimator disagrees, both for the encoder and for decoder and prior."""
    model, batch = tiny(), bits(100)
    scores = z_scores(DReG(3), IWAE(3), model, batch)
    assert max(scores.values()) < 5, scores
    naive = z_scores(Naive(3), IWAE(3), model, batch)
    for part in ("latents.posterior", "latents.prior", "likelihood"):
        assert max(z for name, z in naive.items() if name.startswith(part)) > 10, naive


def test_dreg_leaves_decoder_and_prior_the_gradient_of_iwae() -> None:
    """Gradients are equal on the same draws; those of the naive estimator are far off."""
    model, batch = tiny(), bits(20)
    dreg, iwae, naive = (gradients(objective(5), model, batch, 0) for objective in (DReG, IWAE, Naive))
    outside = [name for name in iwae if not name.startswith("latents.posterior")]
    assert all(torch.allclose(dreg[name], iwae[name], atol=1e-14) for name in outside)
    assert any((naive[name] - iwae[name]).norm() > 0.3 * iwae[name].norm() for name in outside)


def test_stl_is_unbiased_for_one_sample_and_biased_for_more() -> None:
    model, batch = tiny(), bits(100)
    scores = z_scores(STL(1), ELBO(kl="monte-carlo"), model, batch)
    assert max(scores.values()) < 5, scores
    scores = z_scores(STL(3), IWAE(3), model, batch)
    assert max(z for name, z in scores.items() if "posterior" in name) > 10, scores


@pytest.mark.parametrize("objective", [STL(1), STL(4), DReG(4), TVO(samples=4)])
def test_path_gradients_have_no_variance_at_the_exact_posterior(objective) -> None:
    linear = linear_gaussian()
    batch = Batch(torch.randn(3, 6, generator=torch.Generator().manual_seed(1), dtype=torch.float64))
    for seed in range(3):
        found = gradients(objective, linear.model, batch, seed)
        by_score = gradients(IWAE(objective.samples), linear.model, batch, seed)
        for name in (name for name in found if name.startswith("latents.posterior")):
            assert found[name].abs().max() < 1e-12
            assert by_score[name].abs().max() > 1e-2


def test_loss_of_each_group_is_minus_the_value() -> None:
    model, batch = tiny(), bits(2)
    for objective in (DReG(4), STL(4), TVO(samples=4)):
        terms = model(batch, 4, Noise("test"))
        value = objective(terms, Knobs()).mean()
        for group in objective.parameter_groups(model):
            assert torch.allclose(group.loss(terms, Knobs()), -value, atol=1e-12)


# --- thermodynamic ---


def thermodynamic(linear, batch: Batch, objective: TVO) -> Tensor:
    """Return the left Riemann sum (B,), by quadrature over the only latent."""
    model = linear.model
    state = model.encode_state(model.observe(batch, Noise("none")))
    grid = torch.linspace(-12, 12, 4001, dtype=torch.float64).reshape(-1, 1, 1).expand(-1, len(batch), 1)
    group = LatentTerms(grid, state[1], state[0])
    log_joint = model.likelihood(grid, None).log_prob(batch.x) + group.log_prior
    log_weight = log_joint - group.log_posterior
    points = [0.0, *(objective.beta_1 ** (1 - i / (objective.partitions - 1)) for i in range(objective.partitions))]
    total = torch.zeros(len(batch), dtype=torch.float64)
    for beta, end in pairwise(points):
        density = (group.log_posterior + beta * log_weight).softmax(0)
        total = total + (end - beta) * (density * log_weight).sum(0)
    return total


def inexact(n: int = 2):
    linear = linear_gaussian(d=2, latent=1, off=0.4)
    return linear, Batch(torch.randn(n, 2, generator=torch.Generator().manual_seed(3), dtype=torch.float64))


def test_tvo_with_one_partition_is_the_elbo() -> None:
    linear, batch = inexact()
    terms = linear.model(batch, 7, Noise("test"))
    elbo = ELBO(kl="monte-carlo", samples=7)
    assert torch.allclose(TVO(1, samples=7)(terms, Knobs()), elbo(terms, Knobs.final(elbo.schedules)), atol=1e-14)
    for name, z in z_scores(TVO(1, samples=3), ELBO(kl="monte-carlo", samples=3), tiny(), bits(50)).items():
        assert z < 5, name


def test_tvo_increases_with_partitions_and_stays_below_the_evidence() -> None:
    linear, batch = inexact()
    exact = linear.evidence(batch.x)
    values = []
    for partitions in (2, 5, 100):
        objective = TVO(partitions, beta_1=0.01, samples=20_000)
        value = objective(linear.model(batch, objective.samples, Noise("test")), Knobs())
        assert torch.allclose(value, thermodynamic(linear, batch, objective), atol=0.02)
        values.append(value.mean().item())
    assert values[0] + 0.05 < values[1] < values[2] - 0.02
    assert values[2] == pytest.approx(exact.mean().item(), abs=0.02)
    few = TVO(5, beta_1=0.01, samples=2)
    many = Batch(batch.x.repeat(20_000, 1))
    low = few(linear.model(many, 2, Noise("test")), Knobs()).reshape(-1, 2).mean(0)
    assert (low < thermodynamic(linear, batch, few) - 0.01).all()


def test_tvo_gradient_is_that_of_the_riemann_sum_for_every_parameter() -> None:
    linear, batch = inexact(1)
    objective = TVO(4, beta_1=0.1, samples=4000)
    parameters = dict(linear.model.named_parameters())
    exact = torch.autograd.grad(-thermodynamic(linear, batch, objective).mean(), list(parameters.values()))
    target = dict(zip(parameters, exact, strict=True))
    scores = z_scores(objective, target, linear.model, batch)
    assert max(scores.values()) < 5, scores
    other = z_scores(objective, {n: 1.02 * g for n, g in target.items()}, linear.model, batch)
    assert max(other.values()) > 5, "too little power to see an error of 2%"


# --- partially importance weighted, and the largest weight ---


def test_piwae_trains_the_decoder_by_iwae_and_the_encoder_by_miwae() -> None:
    model, batch = tiny(), bits(3)
    piwae, iwae, miwae = (gradients(o, model, batch, 0) for o in (PIWAE(4, 3), IWAE(12), MIWAE(4, 3)))
    for name, found in piwae.items():
        mine, others = (miwae, iwae) if name.startswith("latents.posterior") else (iwae, miwae)
        assert torch.equal(found, mine[name]), name
        assert not torch.allclose(found, others[name], rtol=1e-3), name


def test_renyi_tends_to_vr_max() -> None:
    terms = tiny()(bits(3), 6, Noise("test"))
    best = VRMax(6)(terms, Knobs())
    assert torch.equal(best, torch.stack([column.max() for column in terms.log_weight.T]))
    assert torch.allclose(Renyi(-1e6, 6)(terms, Knobs()), best, atol=1e-5)
    assert (best > IWAE(6)(terms, Knobs())).all()


# --- what is refused ---


class FromEncoder(Prior):
    """Prior that is the posterior of one fixed pseudo-example."""

    needs_encoder = True

    def forward(self, context: Tensor | None = None, encode=None) -> Distribution:
        q = encode(torch.zeros(1, 4, dtype=torch.float64))
        return Independent(Normal(q.base_dist.loc[0], q.base_dist.scale[0]), 1)


@pytest.mark.parametrize("objective", [DReG(), STL(), TVO(), PIWAE()])
def test_shared_parameters_raise(objective) -> None:
    apart = tiny()
    objective.prepare(apart, None)
    prior = tb.VAE(Flat(FromEncoder(2), apart.latents.posterior), apart.likelihood, apart.observation)
    tied = tiny()
    tied.likelihood.register_parameter("tied", next(tied.latents.posterior.parameters()))
    for model in (prior, tied):
        with pytest.raises(CompositionError, match="share some; use objective 'iwae'"):
            objective.prepare(model, None)


def seen(**changes) -> Terms:
    terms = tiny()(bits(1), 2, Noise("test"))
    return replace(terms, latents=(replace(terms.latents[0], **changes),))


class AtItsDraws(Normal):
    """Distribution with a density that is known only at its own draws."""

    def log_prob(self, value: Tensor) -> Tensor:
        raise NotImplementedError


@pytest.mark.parametrize("objective", [DReG(), STL(), TVO()])
def test_terms_without_a_path_derivative_raise(objective) -> None:
    terms = seen()
    objective.check(terms)
    objective.check(seen(log_q=terms.latents[0].log_posterior))
    q = Independent(AtItsDraws(torch.zeros(3, 2), 1.0, validate_args=False), 1, validate_args=False)
    drawn = torch.zeros(2, 3, dtype=torch.float64)
    indices = torch.zeros(2, 3, 2, dtype=torch.long)
    (group,) = terms.latents
    discrete = CodeTerms(group.z, group.prior, group.posterior, indices=indices, codebook_size=2, relaxed=True)
    for refused, reason in (
        (replace(terms, latents=terms.latents * 2), "2 groups"),
        (replace(terms, latents=(discrete,)), "discrete"),
        (seen(posterior=q, log_q=drawn), "only at its own draws"),
        (seen(posterior=None, log_q=drawn), "only at its own draws"),
        (seen(posterior=None), "point mass"),
    ):
        with pytest.raises(CompositionError, match=reason):
            objective.check(refused)


@pytest.mark.parametrize("objective", [DReG(3), STL(3), TVO(samples=3)])
def test_density_of_a_flow_is_evaluated_at_z_for_the_path(objective) -> None:
    """Flows give log q at their draws as a function of noise and parameters, which has no gradient in z."""
    model, batch = tiny(), bits(2)
    terms = model(batch, 3, Noise("test"))
    (group,) = terms.latents
    drawn = replace(terms, latents=(replace(group, log_q=group.posterior.log_prob(group.z).detach()),))
    loss = objective.parameter_groups(model)[1].loss
    by_density, by_draw = (
        torch.autograd.grad(loss(t, Knobs()), model.inference_parameters(), retain_graph=True) for t in (terms, drawn)
    )
    assert all(torch.allclose(a, b, atol=1e-14) for a, b in zip(by_density, by_draw, strict=True))


def test_no_group_without_trainable_parameters() -> None:
    model = small_model()
    model.likelihood.requires_grad_(False)
    groups: list[ParameterGroup] = DReG().parameter_groups(model)
    assert [p.shape for group in groups for p in group.params] == [p.shape for p in model.inference_parameters()]


@pytest.mark.parametrize("objective", ["dreg(samples=3)", "piwae(m=2, k=2)", "tvo(samples=3)"])
def test_two_groups_train_and_resume_to_the_same_bits(objective, tmp_path) -> None:
    data = tb.data.open("digits")
    weights = []
    for name, parts in (("whole", (4,)), ("parts", (2, 4))):
        for steps in parts:
            model = tb.VAE.for_data(data, latent=2, network="mlp(hidden=(8,))")
            before = [p.clone() for p in model.parameters()]
            tb.fit(
                model, data, make("objective", objective), steps=steps, quiet=True, validation_size=0,
                resume=steps != parts[0], run=tmp_path / name,
            )  # fmt: skip
        assert all(not torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True))
        weights.append([p.detach() for p in model.parameters()])
    assert all(torch.equal(a, b) for a, b in zip(*weights, strict=True))


@pytest.mark.slow  # compiles: half a minute
@pytest.mark.filterwarnings("default")  # torch's compiler warns of its own code
def test_two_groups_train_a_compiled_model() -> None:
    data = tb.data.open("digits")
    losses = []
    for compiled in (False, True):
        model = tb.VAE.for_data(data, latent=2, network="mlp(hidden=(8,))")
        trained = tb.fit(model, data, DReG(), steps=3, quiet=True, validation_size=0, compile=compiled)
        losses.append(trained.metrics[-1]["train_loss"])
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)


@pytest.mark.parametrize("near", [1e-3, 1e-6, 1e-9, -1e-6])
def test_renyi_tends_to_the_elbo_in_single_precision(near: float) -> None:
    weight = -100 + 3 * torch.randn(5, 4, generator=torch.Generator().manual_seed(0))
    terms = Terms(weight, (), torch.distributions.Normal(0.0, 1.0), Batch(torch.zeros(4, 1)))
    got = make("objective", f"renyi(alpha={1 - near})")(terms, Knobs())
    exact = weight.double()
    exact = ((near * (exact - exact.mean(0))).exp().mean(0).log() / near + exact.mean(0)).float()
    assert torch.allclose(got, exact, atol=2e-3)
