"""Laws of latents."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from tightbound.core.errors import DensityUnknown, NotABound
from tightbound.core.latents import Latents, SecondStage, State
from tightbound.core.noise import ExampleNoise, Noise
from tightbound.core.schedules import Knobs
from tightbound.core.terms import Batch, CodeTerms, LatentTerms, code_terms
from tightbound.latents.codes import CodeLatents
from tightbound.testing.common import gradients_of
from tightbound.testing.vectors import moment_error

REQUIRED = {
    "encode": "encode(x, context) -> state, which infer and moments take",
    "infer": "infer(state, samples, noise, knobs, log_likelihood) -> (LatentTerms per group, features (S, B, F))",
    "draw": "draw(n, noise, context) -> z (n, latent), ancestral draws from the prior",
    "decode": "decode(z, context) -> features (B, F)",
    "moments": "moments(state) -> mean and variance of q(z | x), each (B, latent)",
}
OPTIONAL = {
    "local": "local(x), with state(local, context): fitting q to each example (inference gap, regret), and log_pairs",
    "log_prior": "log_prior(z, context): annealed importance sampling, holes, paths, the score 'prior'",
    "log_pairs": "log_pairs(z, local): the decomposition of the rate",
    "inference_parameters": "inference_parameters(): encoder_lr=, and objectives that train the encoder separately",
}


def check_latents(latents: Latents | type[Latents], shape: tuple[int, ...], *, seed: int = 0) -> list[str]:
    """Run every law of latents on random data.

    1. The five required methods are defined. 2. All terms have the right shapes; code indices are integers below the
    codebook size. 3. An example's terms depend only on its own noise, not on its batch; with a deterministic posterior
    they depend on no noise. 4. The closed-form KL is the mean of log q - log p. 5. `decode` gives the features of a
    sample's groups; `draw` and `moments` have the right shapes; `moments` are the moments of the samples or, with
    several groups, of each group given the means of the groups drawn before it. 6. Gradients reach every parameter,
    from the terms or the penalty.

    Laws of the optional methods: 7. `log_prior` is the sum over the groups. 8. `log_pairs` of an example's own z is
    log q(z | x), or raises an error with the reason. 9. An enabled second stage gives the log-probability of the same
    draws, and gradients reach all of its parameters; before that, they reach none.

    Args:
        latents: An object, or a class in order to find out which required methods it lacks.
        shape: Shape of an example of the encoder's input.
        seed: Seed of the data and noise.

    Returns:
        The optional methods that the latents do not define, each with what needs it.

    Raises:
        AssertionError: A law is broken; the message names it.
    """
    kind = latents if isinstance(latents, type) else type(latents)
    missing = [what for name, what in REQUIRED.items() if getattr(kind, name) is getattr(Latents, name)]
    assert not missing, f"latents {kind.__name__} lack {len(missing)} of 5 methods; define " + "; ".join(missing)
    assert not isinstance(latents, type), f"latents {kind.__name__} define all methods; construct and pass an object"
    latents = copy.deepcopy(latents).double().eval()
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(3, *shape, generator=generator, dtype=torch.float64)
    index, knobs = torch.tensor([4, 0, 11]), Knobs.final(latents.schedules)

    def infer(state: State, samples: int, noise: Noise) -> tuple[tuple[LatentTerms, ...], Tensor]:
        return latents.infer(state, samples, noise, knobs, lambda features: -0.5 * (features - 1).square().sum(-1))

    state = latents.encode(x)
    groups, features = infer(state, 5, ExampleNoise("law", index=index))
    _check_shapes(latents, groups, features)
    z = torch.cat([group.z.flatten(2) for group in groups], dim=-1)
    assert z.shape[2] == latents.latent, f"the groups have {z.shape[2]} numbers per example, not {latents.latent}"
    assert torch.allclose(latents.decode(z[0]), features[0], atol=1e-10), "decode: not the features of the same groups"
    priors = [group.log_prior for group in groups]
    exact = not isinstance(latents, CodeLatents) or latents.recoverable
    if latents.implements("log_prior") and exact and all(value is not None for value in priors):
        total = torch.stack([value[0] for value in priors if value is not None]).sum(0)
        assert torch.allclose(latents.log_prior(z[0]), total, atol=1e-9), "log_prior: not the sum over the groups"
    if latents.implements("local"):
        _check_pairs(latents, x, z[0].detach(), groups)
    _, alone = infer(latents.encode(x[1:2]), 5, ExampleNoise("law", index=index[1:2]))
    assert torch.allclose(features[:, 1:2], alone, atol=1e-10), "an example's latents depend on its batch"
    with torch.no_grad():
        _check_moments(latents, state, infer, seed)
    drawn = latents.draw(7, Noise("law", seed))
    assert drawn.shape == (7, latents.latent), f"draw(7) gave z of shape {tuple(drawn.shape)}"
    assert latents.decode(drawn).shape == (7, latents.features), "decode(draw(7)) gave features of the wrong size"
    value = features.square().sum()
    groups, _ = infer(state, 2, Noise("law", seed))
    for group in groups:
        value = value + group.z.square().sum() + (0 if group.log_posterior is None else group.rate().sum())
        value = value + (0 if group.penalty is None else group.penalty.sum())
    later = latents.second_stage
    own = set() if later is None else {id(p) for p in later.parameters()}
    gradients_of(value, {name: p for name, p in latents.named_parameters() if id(p) not in own})
    if later is not None:
        assert not any(p.requires_grad for p in later.parameters()), "the second stage is trainable too early"
        _check_second_stage(later, groups, lambda: infer(state, 2, Noise("law", seed))[0])
    return [what for name, what in OPTIONAL.items() if not latents.implements(name)]


def _check_shapes(latents: Latents, groups: Sequence[LatentTerms], features: Tensor) -> None:
    assert features.shape == (5, 3, latents.features), f"features have shape {tuple(features.shape)}"
    for group in groups:
        assert group.z.shape[:2] == (5, 3), f"z has shape {tuple(group.z.shape)}; samples and examples come first"
        for name in ("log_prior", "log_posterior", "penalty"):
            value = getattr(group, name)
            assert value is None or value.shape == (5, 3), f"{name} has shape {tuple(value.shape)}, not (5, 3)"
        assert group.kl is None or group.kl.shape[:2] == (5, 3), f"kl has shape {tuple(group.kl.shape)}"
    for group in code_terms(groups, relaxed=True):
        _check_indices(group)


def _check_indices(group: CodeTerms) -> None:
    indices, size = group.indices, group.codebook_size
    assert indices.shape[:2] == (5, 3), f"indices have shape {tuple(indices.shape)}; samples and examples come first"
    assert not indices.is_floating_point(), f"indices are {indices.dtype}, not integers"
    assert 0 <= indices.min() <= indices.max() < size, (
        f"indices {indices.min()} .. {indices.max()} of a codebook of {size}"
    )
    if group.deterministic:
        same = torch.equal(indices, indices[:1].expand_as(indices))
        same = same and torch.equal(group.z, group.z[:1].expand_as(group.z))
        assert same, "the indices of a deterministic posterior differ between samples"
        assert group.log_posterior is None or not group.log_posterior.any(), "deterministic posterior: log q is not 0"


def _check_moments(
    latents: Latents,
    state: State,
    infer: Callable[[State, int, Noise], tuple[tuple[LatentTerms, ...], Tensor]],
    seed: int,
) -> None:
    """Compare KL and moments with samples."""
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
    chain = any(not isinstance(g, CodeTerms) and g.posterior is None and g.log_q is not None for g in groups)
    drawn_indices = any(not group.deterministic for group in code_terms(groups))
    if len(groups) == 1 and not chain:  # the moments of a Monte Carlo chain are unknown
        z = groups[0].z.flatten(2)
        off = (z.mean(0) - mean).abs()
        error = 1 / many + (0 if drawn_indices else moment_error(groups[0].posterior))
        assert (off <= 5.5 * (z.var(0) * error).sqrt() + 1e-9).all(), "moments: not the mean of the samples"
    elif not chain and not drawn_indices:  # with drawn indices, no draw equals the mean
        still, _ = infer(state, 1, Still("law"))
        z = torch.cat([group.z[0].flatten(1) for group in still], dim=-1)
        assert torch.allclose(z, mean, atol=1e-10), "moments: not the mean of each group given the groups before it"
        widths = [
            torch.zeros_like(g.z[0]).flatten(1) if g.posterior is None else g.posterior.variance.expand(1, 3, -1)[0]
            for g in still
        ]
        same = torch.allclose(torch.cat(widths, dim=-1), variance, atol=1e-10)
        assert same, "moments: not the variance of each group given the groups before it"


def _check_second_stage(
    later: SecondStage, groups: Sequence[LatentTerms], again: Callable[[], Sequence[LatentTerms]]
) -> None:
    """Check that enabling the second stage keeps the draws and gives their log-probability."""
    before = [group.log_prior for group in groups]
    codes = later.codes(groups)[0]
    stored = codes.to(later.dtype(codes))
    assert torch.equal(stored.to(codes.dtype), codes), f"stored as {stored.dtype}, the draws change"
    assert len(codes) == groups[0].z.shape[1], f"the second stage trains on draws of shape {tuple(codes.shape)}"
    later.enable()
    taken = again()
    for one, other in zip(groups, taken, strict=True):
        assert torch.equal(one.z, other.z), "enabling the second stage changes z"
    value = later(Batch(codes.to(groups[0].z.dtype))).log_likelihood
    total = torch.stack([group.log_prior[0] for group in taken if group.log_prior is not None]).sum(0)
    assert value.shape == (1, len(codes)), f"the second stage gives shape {tuple(value.shape)}, not (1, B)"
    if later.exact:
        assert torch.allclose(value[0], total, atol=1e-8), "the second stage's log p differs from the model's"
    gradients_of(value.sum(), dict(later.named_parameters()))
    later.disable()
    for one, other in zip(before, again(), strict=True):
        same = one is None or (other.log_prior is not None and torch.equal(one, other.log_prior))
        assert same, "the second stage is still in use after it was disabled"


def _check_pairs(latents: Latents, x: Tensor, z: Tensor, groups: Sequence[LatentTerms]) -> None:
    """Compare `log_pairs` with the densities of the first sample of each example."""
    local = latents.local(x)
    try:
        pairs = latents.log_pairs(z, local)
    except (NotABound, DensityUnknown):
        return
    assert pairs.shape in ((3, 3, 1), (3, 3, latents.latent)), f"log_pairs has shape {tuple(pairs.shape)}"
    total = torch.stack([g.log_posterior[0] for g in groups if g.log_posterior is not None]).sum(0)
    joint = pairs.sum(-1)
    assert torch.allclose(joint.diagonal(), total, atol=1e-8), "log_pairs: not log q(z | x) at an example's own z"
    turned = latents.log_pairs(z[[2, 0]], local[[1]]).sum(-1)
    assert torch.allclose(turned, joint[[2, 0]][:, [1]], atol=1e-8), "log_pairs: a pair depends on the others"


class Still(Noise):
    """Noise that is zero, so that Gaussian draws are means."""

    def normal(self, shape: Sequence[int], like: Tensor) -> Tensor:
        """Return zeros."""
        return like.new_zeros(tuple(shape))
