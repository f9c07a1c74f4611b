"""Laws of latents and objectives, which need a whole model."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from tightbound.core.errors import DensityUnknown, NotABound
from tightbound.core.interfaces import Latents, SecondStage, State
from tightbound.core.model import VAE
from tightbound.core.noise import ExampleNoise, Noise, seeded
from tightbound.core.schedules import Knobs
from tightbound.core.terms import Batch, LatentTerms, Terms
from tightbound.likelihoods import Bernoulli, Identity
from tightbound.nn import MLP
from tightbound.objectives.base import Objective
from tightbound.testing.vectors import moment_error


def check_latents(latents: Latents, shape: tuple[int, ...], *, seed: int = 0) -> None:
    """Runs every law of latents on data of this shape.

    1. Shapes of all terms; codes are integers below their number of entries. 2. An example's terms depend on its own noise
    alone, not on its batch or on the number of samples drawn beside; those of certain codes on no noise. 3. The
    closed-form KL is the mean of log q - log p. 4. `generate` gives features, and `decode` those of a sample's groups;
    `moments` are those of the samples (of a Monte Carlo chain, those of its start) or, of several groups, of each given
    those drawn before it at their means; `log_prior` of a flat code is the sum over its groups. 5. `log_pairs` of a
    example's own code is log q(z | x), and refuses with the reason where that is not known elsewhere. 6. Gradients reach
    every parameter, of the value or of the penalty. 7. What is trained in a second stage gives, when it is taken up,
    the log-probability of the same codes, by which gradients reach all of its parameters; before, they reach none.

    Raises:
        AssertionError: naming the law that is broken.
    """
    latents = copy.deepcopy(latents).double().eval()
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(3, *shape, generator=generator, dtype=torch.float64)
    index, knobs = torch.tensor([4, 0, 11]), Knobs.final(latents.schedules)

    def infer(state: State, samples: int, noise: Noise) -> tuple[tuple[LatentTerms, ...], Tensor]:
        return latents.infer(state, samples, noise, knobs, lambda features: -0.5 * (features - 1).square().sum(-1))

    state = latents.encode(x)
    groups, features = infer(state, 5, ExampleNoise("law", index=index))
    assert features.shape == (5, 3, latents.features), f"features have shape {tuple(features.shape)}"
    for group in groups:
        assert group.z.shape[:2] == (5, 3), f"z has shape {tuple(group.z.shape)}; samples and data come first"
        for name in ("log_prior", "log_posterior"):
            value = getattr(group, name)
            assert value is None or value.shape == (5, 3), f"{name} has shape {tuple(value.shape)}, not (5, 3)"
        assert group.kl is None or group.kl.shape[:2] == (5, 3), f"kl has shape {tuple(group.kl.shape)}"
        _check_codes(group)
    codes = torch.cat([group.z.flatten(2) for group in groups], dim=-1)
    assert torch.allclose(latents.decode(codes[0]), features[0], atol=1e-10), "decode: not the features of those groups"
    priors = [group.log_prior for group in groups]
    if all(value is not None for value in priors) and latents.recoverable:
        total = torch.stack([value[0] for value in priors if value is not None]).sum(0)
        assert torch.allclose(latents.log_prior(codes[0]), total, atol=1e-9), "log_prior: not the sum over the groups"
    _check_pairs(latents, x, codes[0].detach(), groups)
    _, alone = infer(latents.encode(x[1:2]), 5, ExampleNoise("law", index=index[1:2]))
    assert torch.allclose(features[:, 1:2], alone, atol=1e-10), "an example's latents depend on its batch"
    with torch.no_grad():
        many = max(500, min(20_000, 2**18 // latents.features))
        groups, _ = infer(state, many, Noise("law", seed))
        for group in groups:
            if group.kl is None or group.log_posterior is None:
                continue
            ratio, closed = group.log_ratio(), group.kl.sum(-1)
            off = (ratio.mean(0) - closed.mean(0)).abs()
            allowed = 5 * ((ratio.std(0) + closed.std(0)) / many**0.5) + 1e-9
            assert (off <= allowed).all(), f"kl: closed form and Monte Carlo differ by {off.max().item():.3g} nats"
        mean, variance = latents.moments(state)
        assert mean.shape == variance.shape == (3, latents.latent), f"moments have shape {tuple(mean.shape)}"
        chain = any(group.posterior is None and group.drawn is not None for group in groups)  # its moments are unknown
        drawn_codes = any(group.discrete and not group.deterministic for group in groups)
        if len(groups) == 1 and not chain:
            codes = groups[0].z.flatten(2)
            off = (codes.mean(0) - mean).abs()
            error = 1 / many + (0 if drawn_codes else moment_error(groups[0].posterior))
            assert (off <= 5.5 * (codes.var(0) * error).sqrt() + 1e-9).all(), "moments: not the mean of the samples"
        elif not chain and not drawn_codes:  # the mean of codes is no code, so that no draw is there
            still, _ = infer(state, 1, Still("law"))
            codes = torch.cat([group.z[0].flatten(1) for group in still], dim=-1)
            assert torch.allclose(codes, mean, atol=1e-10), "moments: not the walk along the groups' means"
            widths = [
                torch.zeros_like(g.z[0]).flatten(1) if g.posterior is None else g.posterior.variance.expand(1, 3, -1)[0]
                for g in still
            ]
            assert torch.allclose(torch.cat(widths, dim=-1), variance, atol=1e-10), "moments: not those variances"
    prior = latents.generate(7, Noise("law", seed))
    assert prior.shape == (7, latents.features), f"generate(7) gave features of shape {tuple(prior.shape)}"
    drawn = latents.draw(7, Noise("law", seed))
    assert drawn.shape == (7, latents.latent), f"draw(7) gave codes of shape {tuple(drawn.shape)}"
    assert torch.allclose(latents.decode(drawn), prior, atol=1e-10), "generate: not the features of the codes drawn"
    value = features.square().sum()
    groups, _ = infer(state, 2, Noise("law", seed))
    for group in groups:
        value = value + group.z.square().sum() + (0 if group.log_posterior is None else group.rate().sum())
        value = value + (0 if group.penalty is None else group.penalty.sum())
    later = set() if latents.second is None else {id(p) for p in latents.second.parameters()}
    _reach(value, [p for p in latents.parameters() if id(p) not in later])
    if latents.second is not None:
        assert not any(p.requires_grad for p in latents.second.parameters()), "what is trained later is trained before"
        _check_second(latents, latents.second, groups, lambda: infer(state, 2, Noise("law", seed))[0])


def _check_codes(group: LatentTerms) -> None:
    """Of a discrete group."""
    codes, entries, penalty = group.codes, group.entries, group.penalty
    assert penalty is None or penalty.shape == (5, 3), f"the penalty has shape {tuple(penalty.shape)}, not (5, 3)"
    if not group.discrete:
        return
    assert codes is not None, "a discrete group does not say its codes"
    assert entries is not None, "a discrete group does not say how many values a code can take"
    assert codes.shape[:2] == (5, 3), f"codes have shape {tuple(codes.shape)}; samples and data come first"
    assert not codes.is_floating_point(), f"codes are {codes.dtype}, not integers"
    assert 0 <= codes.min() <= codes.max() < entries, f"codes {codes.min()} .. {codes.max()} of {entries} entries"
    if group.deterministic:
        same = torch.equal(codes, codes[:1].expand_as(codes)) and torch.equal(group.z, group.z[:1].expand_as(group.z))
        assert same, "certain codes differ between samples"
        assert group.log_posterior is None or not group.log_posterior.any(), "certain codes have log q = 0"


def _check_second(
    latents: Latents, second: SecondStage, groups: Sequence[LatentTerms], again: Callable[[], Sequence[LatentTerms]]
) -> None:
    """Of the same codes, before and after it is taken up."""
    before = [group.log_prior for group in groups]
    codes = second.codes(groups)
    assert not codes.is_floating_point(), f"the second stage trains on {codes.dtype}, not on integers"
    assert len(codes) == groups[0].z.shape[1], f"the second stage trains on codes of shape {tuple(codes.shape)}"
    second.take_up()
    taken = again()
    for one, other in zip(groups, taken, strict=True):
        assert torch.equal(one.z, other.z), "what is trained later changes z"
    value = second(Batch(codes.to(groups[0].z.dtype))).log_likelihood
    total = torch.stack([group.log_prior[0] for group in taken if group.log_prior is not None]).sum(0)
    assert value.shape == (1, len(codes)), f"the second stage gives shape {tuple(value.shape)}, not (1, B)"
    assert torch.allclose(value[0], total, atol=1e-8), "the second stage's log p(codes) is not that of the model"
    _reach(value.sum(), list(second.parameters()))
    second.set_aside()
    for one, other in zip(before, again(), strict=True):
        same = one is None or (other.log_prior is not None and torch.equal(one, other.log_prior))
        assert same, "what is set aside again is still in use"


def _check_pairs(latents: Latents, x: Tensor, codes: Tensor, groups: Sequence[LatentTerms]) -> None:
    """Against the densities of the first sample of each example."""
    local = latents.local(x)
    try:
        pairs = latents.log_pairs(codes, local)
    except (NotABound, DensityUnknown):
        return
    assert pairs.shape in ((3, 3, 1), (3, 3, latents.latent)), f"log_pairs has shape {tuple(pairs.shape)}"
    total = torch.stack([g.log_posterior[0] for g in groups if g.log_posterior is not None]).sum(0)
    joint = pairs.sum(-1)
    assert torch.allclose(joint.diagonal(), total, atol=1e-8), "log_pairs: not log q(z | x) at an example's own code"
    turned = latents.log_pairs(codes[[2, 0]], local[[1]]).sum(-1)
    assert torch.allclose(turned, joint[[2, 0]][:, [1]], atol=1e-8), "log_pairs: a pair depends on the others"


def check_objective(objective: Objective, *, seed: int = 0, model: VAE | None = None) -> None:
    """Runs every law of objectives, on a small model.

    1. One finite value an example. 2. A pointwise objective's value for an example does not change with the size or
    the order of the batch; one that does change declares itself. 3. Gradients reach every parameter that a group
    trains, and no parameter is in two groups. 4. Each group's loss falls along its own gradient; the first is minus
    the objective. 5. The loss of the objective's own networks (an adversary) reaches none of the model's parameters.

    Arguments:
        model: Of bits, in float64 and eval mode; None: `small_model`.

    Raises:
        AssertionError: naming the law that is broken.
    """
    model = small_model(seed) if model is None else model
    generator = torch.Generator().manual_seed(seed)
    x = (torch.rand(6, *model.shape, generator=generator) < 0.4).double()
    knobs = Knobs.final({**model.schedules, **objective.schedules})
    everything = list(range(6))

    def terms(rows: list[int]) -> Terms:
        batch = Batch(x[rows], index=torch.tensor(rows))
        return model(batch, objective.samples, ExampleNoise("law", index=torch.tensor(rows)), knobs)

    def evaluated(what: Callable[[Terms, Knobs], Tensor], rows: list[int]) -> Tensor:
        with Noise("law", seed).default():
            return what(terms(rows), knobs)

    with Noise("prepare", seed).default():
        objective.prepare(model, 6)
    objective.check(terms(everything))
    whole = evaluated(objective, everything)
    assert whole.shape == (6,), f"6 data gave a value of shape {tuple(whole.shape)}, not (6,)"
    assert torch.isfinite(whole).all(), "the value is not finite"
    rows = [4, 1]
    part = evaluated(objective, rows)
    same = torch.allclose(part, whole[rows], atol=1e-9)
    assert same or not objective.pointwise, "an example's value changes with its batch: declare pointwise = False"
    groups = objective.parameter_groups(model)
    trained = [id(p) for group in groups for p in group.params]
    assert len(trained) == len(set(trained)), "two groups train the same parameter"
    mine = {id(p) for p in model.parameters()}
    adversarial = not all(mine & {id(p) for p in group.params} for group in groups)
    for i, group in enumerate(groups):
        before = evaluated(group.loss, everything)
        if i == 0:
            assert torch.allclose(before, -whole.mean()), "the first group's loss is not minus the objective's mean"
        adversary = not mine & {id(p) for p in group.params}
        if adversary and before.requires_grad:
            leaked = torch.autograd.grad(before, list(model.parameters()), allow_unused=True, retain_graph=True)
            assert all(g is None for g in leaked), "the loss of an adversary reaches parameters of the model"
        step_downhill(group.params, _reach(before, group.params))
        if adversarial or i == 0:  # else a group's loss may be one whose gradient alone has a meaning
            assert evaluated(group.loss, everything) < before, "a small step along a group's gradient raises its loss"
    if not adversarial:
        after = evaluated(objective, everything)
        assert after.mean() > whole.mean(), "a small step along its gradient does not raise the objective"


class Still(Noise):
    """Noise that is zero: Gaussian draws are means."""

    def normal(self, shape: Sequence[int], like: Tensor) -> Tensor:
        """Zeros."""
        return like.new_zeros(tuple(shape))


def small_model(seed: int = 0, point: bool = False) -> VAE:
    """A VAE of 3 latents on 2x3 bits, in float64."""
    from tightbound.latents import Flat
    from tightbound.posteriors import DiagonalNormal, Point
    from tightbound.priors import StandardNormal

    with seeded(seed):
        network = MLP((8,), activation="tanh")
        posterior = (Point if point else DiagonalNormal)((1, 2, 3), 3, network)
        latents = Flat(StandardNormal(3), posterior)
        return VAE(latents, Bernoulli((1, 2, 3), 3, network), Identity("binary")).double().eval()


@torch.no_grad()
def step_downhill(params: list[torch.nn.Parameter], gradients: list[Tensor]) -> None:
    """A small step downhill."""
    norm = torch.stack([g.square().sum() for g in gradients]).sum().sqrt()
    for p, g in zip(params, gradients, strict=True):
        p.sub_(1e-4 * g / norm)


def _reach(value: Tensor, params: list[torch.nn.Parameter]) -> list[Tensor]:
    """The gradients, after the law that all are there and finite."""
    gradients = torch.autograd.grad(value, params, allow_unused=True)
    for parameter, gradient in zip(params, gradients, strict=True):
        assert gradient is not None, f"no gradient reaches a parameter of shape {tuple(parameter.shape)}"
        assert torch.isfinite(gradient).all(), (
            f"the gradient of a parameter of shape {tuple(parameter.shape)} is not finite"
        )
    return [g for g in gradients if g is not None]
