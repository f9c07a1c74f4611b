"""Laws of quantizers."""

from __future__ import annotations

import copy
import itertools
from typing import cast

import torch
from torch import Tensor
from torch.distributions import Independent

from tightbound.core.noise import ExampleNoise, Noise
from tightbound.core.schedules import Knobs
from tightbound.quantizers.base import Quantization, Quantizer
from tightbound.testing.common import check_rebuilt

DRAWS = 20_000
MOST = 50_000  # maximum number of indices to enumerate
DATA, POSITIONS = 4, 2


def check_quantizer(quantizer: Quantizer, *, seed: int = 0) -> None:
    """Run every law of quantizers.

    1. Shapes are right, indices are below the codebook size, and z is exactly `embed` of the indices. 2. `nearest`
    finds the nearest of all indices, by enumeration, and maps a code vector to its own index; a greedy quantizer finds
    near indices, and mostly its own. 3. The gradient of z at a position reaches the inputs at that position only; the
    gradient of the penalty is finite. 4. An example's indices, z, penalty, posterior and moments do not depend on its
    batch, not even in training; the penalty is summed over positions. 5. The same noise gives the same result.
    6. Evaluation, and `moments` in training, change no state. 7. Without a posterior, all samples are equal, the mean
    is z and the variance is 0. With one, its probabilities sum to 1, indices have these frequencies, and z has the
    right moments. 8. Autocast does not change results in single precision. 9. The laws hold after `start_at` too, and
    the quantizer can be rebuilt from its description.

    Args:
        quantizer: Quantizer with few indices (codebook_size ** depth is at most some thousands), for enumeration.
        seed: Seed of the inputs.

    Raises:
        AssertionError: A law is broken; the message names it.
    """
    quantizer = copy.deepcopy(quantizer).double().eval()
    generator = torch.Generator().manual_seed(seed)
    raw = torch.randn(DATA, POSITIONS, quantizer.inputs, generator=generator, dtype=torch.float64)
    _check_laws(quantizer, raw, generator, seed)
    rows = torch.randn(8 * quantizer.codebook_size, quantizer.inputs, generator=generator, dtype=torch.float64)
    quantizer.start_at(rows)
    _check_laws(quantizer, raw, generator, seed)
    check_rebuilt(quantizer, lambda own: _call(own, raw, 1, Noise(seed)).z)


def _check_laws(quantizer: Quantizer, raw: Tensor, generator: torch.Generator, seed: int) -> None:
    before = copy.deepcopy(quantizer.state_dict())
    out = _call(quantizer, raw, 3, Noise("law", seed))
    _check_shapes(quantizer, out)
    same = _call(quantizer, raw, 3, Noise("law", seed))
    assert torch.equal(out.z, same.z), "the same noise gave different samples"
    assert torch.equal(out.indices, same.indices), "the same noise gave different samples"
    _check_nearest(quantizer, generator)
    _check_gradients(quantizer, raw, seed)
    _check_batches(quantizer, raw)
    _check_posterior(quantizer, raw, out, seed)
    _check_autocast(quantizer, raw, seed)
    quantizer.train().moments(raw)
    quantizer.eval()
    after = quantizer.state_dict()
    assert all(torch.equal(after[k], v) for k, v in before.items()), "evaluation or moments changed the codebook"


def _call(quantizer: Quantizer, raw: Tensor, samples: int, noise: Noise) -> Quantization:
    return quantizer(raw, samples, noise, Knobs.final(quantizer.schedules))


def _check_shapes(quantizer: Quantizer, out: Quantization) -> None:
    batch = (3, DATA, POSITIONS)
    assert out.z.shape == (*batch, quantizer.size), f"z has shape {tuple(out.z.shape)}"
    assert out.indices.shape == (*batch, quantizer.depth), f"indices have shape {tuple(out.indices.shape)}"
    assert out.indices.dtype == torch.long, f"indices are {out.indices.dtype}"
    inside = (out.indices >= 0) & (out.indices < quantizer.codebook_size)
    assert inside.all(), f"indices: some lie outside 0 .. {quantizer.codebook_size - 1}"
    assert torch.equal(out.z, quantizer.embed(out.indices).to(out.z)), "z differs from the code vectors of the indices"
    if out.penalty is not None:
        assert out.penalty.shape == batch[:2], f"the penalty has shape {tuple(out.penalty.shape)}, not (S, B)"
        assert torch.isfinite(out.penalty).all(), "the penalty is not finite"


@torch.no_grad()
def _check_nearest(quantizer: Quantizer, generator: torch.Generator) -> None:
    count = quantizer.codebook_size**quantizer.depth
    assert count <= MOST, f"{count} indices are too many to enumerate; check a smaller quantizer"
    every = torch.tensor(list(itertools.product(range(quantizer.codebook_size), repeat=quantizer.depth)))
    vectors = quantizer.embed(every).double()
    assert vectors.shape == (count, quantizer.size), f"{count} indices have vectors of shape {tuple(vectors.shape)}"
    points = torch.randn(60, quantizer.size, generator=generator, dtype=torch.float64)
    points = vectors.mean(0) + vectors.std(0) * points
    codes = quantizer.nearest(points)
    assert codes.shape == (60, quantizer.depth), f"nearest: 60 vectors gave indices of shape {tuple(codes.shape)}"
    found = (quantizer.embed(codes) - points).norm(dim=-1)
    distance = torch.cdist(points, vectors, compute_mode="donot_use_mm_for_euclid_dist")
    if quantizer.greedy:
        assert (found < distance.median(1).values).double().mean() > 0.9, "nearest: random indices are equally near"
        sums = quantizer.embed(codes)
        kept = (quantizer.embed(quantizer.nearest(sums)) - sums).norm(dim=-1) < 1e-9
        assert kept.double().mean() > 0.9, "nearest: code vectors are not mapped to themselves"
        return
    assert torch.allclose(found, distance.min(1).values, atol=1e-9), "nearest: other indices are nearer"
    again = quantizer.embed(quantizer.nearest(vectors))
    assert torch.equal(again, vectors), "nearest: a code vector is not mapped to its own index"


def _check_gradients(quantizer: Quantizer, raw: Tensor, seed: int) -> None:
    leaf = raw.clone().requires_grad_()
    out = _call(quantizer, leaf, 1, Noise("law", seed))
    weight = torch.randn(quantizer.size, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    assert out.z.requires_grad, "no gradient of z reaches the inputs"
    value = (out.z[0, 1, 0] * weight).sum()
    (gradient,) = torch.autograd.grad(value, leaf, retain_graph=True, materialize_grads=True)
    assert torch.isfinite(gradient).all(), "the gradient of z is not finite"
    assert gradient[1, 0].abs().max() > 0, "no gradient of z reaches the inputs"
    gradient[1, 0] = 0
    assert gradient.abs().max() == 0, "the gradient of z at a position reaches other positions"
    if out.penalty is not None and out.penalty.requires_grad:
        leaves = [leaf, *quantizer.parameters()]
        for gradient in torch.autograd.grad(out.penalty.sum(), leaves, allow_unused=True):
            assert gradient is None or torch.isfinite(gradient).all(), "the gradient of the penalty is not finite"


def _check_batches(quantizer: Quantizer, raw: Tensor) -> None:
    index = torch.tensor([5, 2, 9, 7])
    for training in (False, True):
        both, alone = (copy.deepcopy(quantizer).train(training) for _ in range(2))
        many = _call(both, raw, 2, ExampleNoise("law", index=index))
        one = _call(alone, raw[1:2], 2, ExampleNoise("law", index=index[1:2]))
        said = "depends on its batch" + (" in training" if training else "")
        assert torch.equal(many.indices[:, 1:2], one.indices), f"an example's indices {said}"
        assert torch.allclose(many.z[:, 1:2], one.z, atol=1e-10), f"an example's z {said}"
        assert (many.penalty is None) == (one.penalty is None), f"whether there is a penalty {said}"
        if many.penalty is not None and one.penalty is not None:
            assert torch.allclose(many.penalty[:, 1:2], one.penalty, atol=1e-10), f"an example's penalty {said}"
        if many.posterior is not None and one.posterior is not None:
            logs = (many.posterior.log_prob(many.indices)[:, 1:2], one.posterior.log_prob(one.indices))
            assert torch.allclose(*logs, atol=1e-10), f"an example's posterior {said}"
    for many, one in zip(quantizer.moments(raw), quantizer.moments(raw[1:2]), strict=True):
        assert torch.allclose(many[1:2], one, atol=1e-10), "an example's moments depend on its batch"
    twice = _call(quantizer, torch.cat([raw, raw], 1), 1, Noise("law")).penalty
    once = _call(quantizer, raw, 1, Noise("law")).penalty
    if twice is not None and once is not None:
        assert torch.allclose(twice, 2 * once), "the penalty is not summed over positions"


@torch.no_grad()
def _check_posterior(quantizer: Quantizer, raw: Tensor, out: Quantization, seed: int) -> None:
    mean, variance = quantizer.moments(raw)
    assert mean.shape == variance.shape == out.z.shape[1:], f"moments have shapes {mean.shape}, {variance.shape}"
    if out.posterior is None:
        assert (out.indices == out.indices[0]).all(), "without a posterior, samples differ"
        assert torch.equal(mean, out.z[0]), "moments: without a posterior, the mean is not z"
        assert variance.abs().max() == 0, "moments: without a posterior, the variance is not 0"
        return
    q = cast(Independent, out.posterior)
    shape = (POSITIONS, quantizer.depth)
    assert (q.batch_shape, q.event_shape) == ((DATA,), shape), f"posterior: shapes {q.batch_shape}, {q.event_shape}"
    probs = q.base_dist.probs
    assert probs.shape == (DATA, *shape, quantizer.codebook_size), (
        f"posterior: probabilities of shape {tuple(probs.shape)}"
    )
    assert torch.allclose(probs.sum(-1), torch.ones(()).double()), "posterior: probabilities do not sum to 1"
    some = out.indices[:1]
    log_q = probs.log().gather(-1, some[0].unsqueeze(-1)).sum((1, 2, 3))
    assert torch.allclose(q.log_prob(some)[0], log_q), "posterior: log q does not agree with its probabilities"
    draws = _call(quantizer, raw, DRAWS, Noise("frequencies", seed))
    for entry in range(quantizer.codebook_size):
        p = probs[..., entry]
        off = ((draws.indices == entry).double().mean(0) - p).abs()
        allowed = 6 * (p * (1 - p) / DRAWS).sqrt() + 10 / DRAWS
        assert (off < allowed).all(), "posterior: frequencies differ from probabilities"
    off = (draws.z.mean(0) - mean).abs()
    assert (off < 6 * (draws.z.var(0) / DRAWS).sqrt() + 1e-9).all(), f"moments: the mean is off by {off.max():.3g}"
    fourth = (draws.z - draws.z.mean(0)).pow(4).mean(0)
    error = ((fourth - draws.z.var(0).square()).clamp_min(0) / DRAWS).sqrt()
    off = (draws.z.var(0) - variance).abs()
    allowed = 6 * error + 1e-3 * variance + 1e-9
    assert (off < allowed).all(), f"moments: the variance is off by {off.max():.3g}"


@torch.no_grad()
def _check_autocast(quantizer: Quantizer, raw: Tensor, seed: int) -> None:
    single, low = copy.deepcopy(quantizer).float(), raw.bfloat16()
    plain = _call(single, low.float(), 2, Noise("law", seed))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        cast_ = _call(single, low, 2, Noise("law", seed))
        moments = single.moments(low)
    assert cast_.z.dtype == torch.float32, f"under autocast, z is {cast_.z.dtype}"
    assert torch.equal(cast_.indices, plain.indices), "under autocast, the indices differ"
    assert torch.equal(cast_.z, plain.z), "under autocast, z differs"
    for one, other in zip(moments, single.moments(low.float()), strict=True):
        assert torch.equal(one, other), "under autocast, the moments differ"
    if cast_.penalty is not None and plain.penalty is not None:
        assert torch.equal(cast_.penalty, plain.penalty), "under autocast, the penalty differs"
