"""Finite scalar, residual, grouped and Gumbel quantizers, and the usage of codebooks."""

from __future__ import annotations

import itertools
import json
import math
from typing import cast

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.distributions import Categorical, Independent, kl_divergence

from tightbound.components import describe, make, rebuild
from tightbound.core.errors import CompositionError, InputError
from tightbound.core.noise import Noise
from tightbound.core.schedules import Knobs, Linear, Progress
from tightbound.quantizers import (
    CodebookUsage,
    FiniteScalarQuantizer,
    Grouped,
    GumbelQuantizer,
    Quantization,
    Quantizer,
    Residual,
    VectorQuantizer,
)
from tightbound.quantizers.usage import QuantizationError


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def call(quantizer: Quantizer, raw: Tensor, samples: int = 1, key: int = 0) -> Quantization:
    return quantizer(raw, samples, Noise("families", key), Knobs.final(quantizer.schedules))


# finite scalar


@pytest.mark.parametrize("levels", [(3,), (4,), (5,), (8,), (7, 4), (3, 6, 5)])
def test_every_level_is_reached_and_has_an_index(levels: tuple[int, ...]) -> None:
    quantizer = FiniteScalarQuantizer(levels).double()
    line = torch.linspace(-9, 9, 400, dtype=torch.float64)
    for i, count in enumerate(levels):
        raw = torch.zeros(1, 400, len(levels), dtype=torch.float64)
        raw[..., i] = line
        values = call(quantizer, raw).z[0, 0, :, i]
        assert (values.diff() >= 0).all()
        assert values.unique().tolist() == pytest.approx([(k - count // 2) / (count // 2) for k in range(count)])
    every = torch.arange(math.prod(levels)).unsqueeze(1)
    vectors = quantizer.embed(every)
    assert len(vectors.unique(dim=0)) == quantizer.codebook_size == len(every)
    assert torch.equal(quantizer.nearest(vectors), every)


@pytest.mark.parametrize("count", [3, 4, 5, 8, 16])
def test_raw_zero_is_at_the_middle_of_level_zero_for_odd_and_even_counts(count: int) -> None:
    """The shift of an even count undoes its half level exactly; with tan in place of atanh it would not."""
    quantizer = FiniteScalarQuantizer((count,)).double()
    assert abs(float(quantizer.to_vectors(torch.zeros(1, dtype=torch.float64)))) < 1e-15
    ends = quantizer.to_vectors(torch.tensor([[-99.0], [99.0]], dtype=torch.float64)).flatten() * (count // 2)
    below, above = count // 2, (count - 1) // 2  # levels on each side of 0; at the ends there is half of one more left
    assert -below - 0.5 < ends[0] <= -below + 0.5
    assert above - 0.5 <= ends[1] < above + 0.5


def test_finite_scalar_gradient_is_that_of_the_bounding_function() -> None:
    quantizer = FiniteScalarQuantizer((8, 5)).double()
    raw = normal(2, 3, 2).requires_grad_()
    (got,) = torch.autograd.grad(call(quantizer, raw).z.sum(), raw)
    (smooth,) = torch.autograd.grad(quantizer.to_vectors(raw).sum(), raw)
    assert torch.allclose(got, smooth)


@pytest.mark.parametrize("levels", ["()", "(2, 5)", "(4.5,)", "5", "'85'"])
def test_invalid_levels_raise(levels: str) -> None:
    with pytest.raises(InputError, match="levels ="):
        make("quantizer", f"fsq(levels={levels})")


def test_finite_scalar_size_is_the_number_of_level_counts() -> None:
    quantizer = make("quantizer", "fsq", size=16)
    assert (quantizer.size, quantizer.inputs, quantizer.codebook_size) == (4, 4, 1000)


# residual


@pytest.mark.parametrize("shared", [False, True])
def test_each_depth_is_the_nearest_to_the_remainder(shared: bool) -> None:
    torch.manual_seed(0)
    quantizer = Residual(3, 4, of=VectorQuantizer(codebook_size=6, commitment=0.5), shared=shared).double().eval()
    raw = normal(5, 2, 3)
    out = call(quantizer, raw)
    rest, penalty = raw, torch.zeros(5)
    for depth, q in enumerate(quantizer.sequence):
        distance = (rest.unsqueeze(2) - cast(VectorQuantizer, q).codebook).square().sum(-1)
        assert torch.equal(out.indices[0, ..., depth], distance.argmin(-1))
        penalty = penalty + 0.5 * distance.min(-1).values.sum(1)
        rest = rest - q.embed(out.indices[0, ..., depth : depth + 1])
    assert torch.allclose(out.z[0], raw - rest)
    assert out.penalty is not None
    assert torch.allclose(out.penalty[0], penalty)


def test_a_full_beam_finds_the_nearest_sum() -> None:
    torch.manual_seed(0)
    data = normal(500, 3)
    quantizer = Residual(3, 3, of="vq(codebook_size=4)", beam=64).double().eval()
    quantizer.start_at(data)
    every = torch.tensor(list(itertools.product(range(4), repeat=3)))
    distance = torch.cdist(data, quantizer.embed(every))
    assert torch.equal(quantizer.assign(data), every[distance.argmin(1)])


def test_a_beam_leaves_a_smaller_remainder_and_recovers_indices_of_sums() -> None:
    torch.manual_seed(0)
    data = normal(1500, 8)
    greedy = Residual(8, 4, of="vq(codebook_size=16)").double().eval()
    greedy.start_at(data)
    beam = Residual(8, 4, of="vq(codebook_size=16)", beam=4).double().eval()
    beam.load_state_dict(greedy.state_dict())
    sums = greedy.embed(greedy.assign(data))
    assert torch.equal(call(greedy, data.unsqueeze(0)).z[0, 0], sums)
    left, less = (float((data - q.embed(q.assign(data))).square().sum()) for q in (greedy, beam))
    assert less < 0.92 * left
    kept = [
        (codes == greedy.assign(data)).all(1).double().mean() for codes in (greedy.assign(sums), greedy.nearest(sums))
    ]
    assert kept[0] < 0.9
    assert kept[1] > 0.99


@pytest.mark.parametrize("shared", [False, True])
def test_the_remainder_shrinks_with_depth(shared: bool) -> None:
    torch.manual_seed(0)
    data, left = normal(3000, 4), []
    for depth in (1, 2, 4):
        quantizer = Residual(4, depth, of="vq(codebook_size=16)", shared=shared).double().eval()
        quantizer.start_at(data)
        left.append(float((data - quantizer.embed(quantizer.nearest(data))).square().mean() / data.var()))
    assert left[0] < 0.5
    assert left[1] < 0.6 * left[0]
    assert left[2] < 0.5 * left[1]


def test_a_shared_codebook_follows_all_depths_at_once() -> None:
    torch.manual_seed(0)
    quantizer = Residual(3, 2, of="vq(codebook_size=4, decay=0.0, restart=0.0)", shared=True).double()
    single = cast(VectorQuantizer, quantizer.sequence[0])
    before, raw = single.codebook.clone(), normal(6, 5, 3)
    codes = call(quantizer, raw).indices[0]
    rests = torch.stack([raw, raw - before[codes[..., 0]]], 2)
    for entry in codes.unique():
        assert torch.allclose(single.codebook[entry], rests[codes == entry].mean(0))
    assert len(list(quantizer.buffers())) == len(list(single.buffers()))  # one codebook


def test_the_gradient_is_applied_once_to_the_sum() -> None:
    torch.manual_seed(0)
    quantizer = Residual(3, 4, of="vq(codebook_size=6)").double()
    raw = normal(2, 3, 3).requires_grad_()
    (gradient,) = torch.autograd.grad(call(quantizer, raw).z.sum(), raw)
    assert torch.equal(gradient, torch.ones_like(raw))


@pytest.mark.parametrize(
    ("text", "error", "description"),
    [
        ("residual(of='fsq')", CompositionError, "FiniteScalarQuantizer"),
        ("residual(of='gumbel')", CompositionError, "GumbelQuantizer"),
        ("residual(of='vq(cosine=True)')", CompositionError, "anywhere"),
        ("residual(of='vq(size=3)')", CompositionError, "size 16 .* has size = 3"),
        ("residual(of='residual', shared=True)", CompositionError, "with one codebook"),
        ("residual(of='normal')", InputError, "no quantizer 'normal'"),
        ("residual(of=4)", InputError, "of = 4"),
        ("residual(depth=0)", InputError, "depth = 0"),
        ("grouped(groups=3)", CompositionError, "size=15"),
        ("grouped(groups=2, of='fsq')", CompositionError, "size 8 .* has size = 4"),
        ("gumbel(temperature=0.001)", InputError, "temperature = 0.001"),
    ],
)
def test_invalid_nested_quantizers_raise(text: str, error: type[Exception], description: str) -> None:
    with pytest.raises(error, match=description):
        make("quantizer", text, size=16)


@pytest.mark.parametrize("of", ["vq(codebook_size=8, cosine=True)", VectorQuantizer(codebook_size=8, cosine=True)])
def test_nested_quantizer_is_text_or_an_object_and_is_recorded(of: Quantizer | str) -> None:
    quantizer = Grouped(6, 3, of=of)
    again = rebuild(json.loads(json.dumps(describe(quantizer))))
    assert [(q.size, q.codebook_size, q.cosine) for q in again.parts] == [(2, 8, True)] * 3
    first, second = cast(list[VectorQuantizer], quantizer.parts[:2])
    assert not torch.equal(first.codebook, second.codebook)  # each is drawn by itself


# grouped


def test_grouped_concatenates_its_quantizers() -> None:
    torch.manual_seed(0)
    quantizer = Grouped(6, 3, of="vq(codebook_size=5, restart=0.0)").double()
    raw = normal(4, 2, 6)
    out = call(quantizer.eval(), raw)
    each = [call(q, raw[..., 2 * i : 2 * i + 2]) for i, q in enumerate(quantizer.parts)]
    assert torch.equal(out.z, torch.cat([one.z for one in each], -1))
    assert torch.equal(out.indices, torch.cat([one.indices for one in each], -1))
    assert out.penalty is not None
    assert torch.allclose(out.penalty, sum(cast(Tensor, one.penalty) for one in each))


@pytest.mark.parametrize(
    ("of", "whole"),
    [("fsq(levels=(5, 4, 3))", "fsq(levels=(5, 4, 3, 5, 4, 3))"), ("lfq(bits=3, joint=1)", "lfq(bits=6, joint=1)")],
)
def test_a_group_of_scalar_quantizers_is_one_with_all_elements(of: str, whole: str) -> None:
    product, single = make("quantizer", "grouped(groups=2)", size=6, of=of).double(), make("quantizer", whole).double()
    raw = 2 * normal(40, 3, 6)
    found, wanted = call(product, raw), call(single, raw)
    assert torch.equal(found.z, wanted.z)
    first, second = found.indices.unbind(-1)
    assert torch.equal(first + product.codebook_size * second, wanted.indices[..., 0])
    if wanted.penalty is not None:
        assert torch.allclose(cast(Tensor, found.penalty), wanted.penalty)


def test_the_posterior_of_grouped_is_the_product() -> None:
    torch.manual_seed(0)
    quantizer = Grouped(6, 2, of="gumbel(codebook_size=5)").double()
    raw = normal(4, 2, 10)
    out = call(quantizer, raw)
    q = cast(Independent, out.posterior)
    logs = raw.view(4, 2, 2, 5).log_softmax(-1)
    assert torch.allclose(q.log_prob(out.indices)[0], logs.gather(-1, out.indices[0].unsqueeze(-1)).sum((1, 2, 3)))
    uniform = Independent(Categorical(logits=torch.zeros(2, 2, 5, dtype=torch.float64)), 2)
    assert torch.allclose(kl_divergence(q, uniform), (logs.exp() * (logs + math.log(5))).sum((1, 2, 3)))
    assert "temperature" in quantizer.schedules


# Gumbel


def test_gumbel_gradients_in_closed_form() -> None:
    torch.manual_seed(0)
    quantizer = GumbelQuantizer(3, 4, temperature=Linear(1.0, 0.5)).double()
    raw, weight = normal(2, 3, 4).requires_grad_(), normal(3, seed=1)
    for step in (0, 10**6):
        knobs = Knobs.at(quantizer.schedules, Progress(step, 0, 1000))
        out = quantizer(raw, 5, Noise("g"), knobs)
        u = Noise("g").uniform((5, 2, 3, 1, 4), raw.detach()).squeeze(-2)
        noisy = raw.log_softmax(-1) - (-u.log()).log()
        assert torch.equal(out.indices[..., 0], noisy.argmax(-1))
        relaxed = (noisy / knobs["temperature"]).softmax(-1) @ quantizer.codebook.detach()
        mine = torch.autograd.grad((out.z * weight).sum(), raw, retain_graph=True)
        assert torch.allclose(*mine, *torch.autograd.grad((relaxed * weight).sum(), raw))
        (book,) = torch.autograd.grad((out.z * weight).sum(), quantizer.codebook)
        counts = torch.bincount(out.indices.flatten(), minlength=4).unsqueeze(1)
        assert torch.allclose(book, counts * weight)


def test_gumbel_moments_by_enumeration() -> None:
    torch.manual_seed(0)
    quantizer = GumbelQuantizer(3, 4).double()
    quantizer.codebook.data += 50
    raw = normal(2, 3, 4)
    mean, variance = quantizer.moments(raw)
    p, entries = raw.softmax(-1).unsqueeze(-1), quantizer.codebook
    assert torch.allclose(mean, (p * entries).sum(2))
    assert torch.allclose(variance, (p * (entries - mean.unsqueeze(2)).square()).sum(2), atol=1e-12)


def test_gumbel_probabilities_sum_to_one() -> None:
    quantizer = GumbelQuantizer(2, 3).double()
    q = cast(Independent, call(quantizer, normal(2, 3, 3)).posterior)
    every = torch.tensor(list(itertools.product(range(3), repeat=3))).view(27, 1, 3, 1)
    assert torch.allclose(q.log_prob(every).exp().sum(0), torch.ones(2, dtype=torch.float64))


# usage


def test_usage_over_a_stream_equals_usage_in_one_call() -> None:
    codes = torch.randint(0, 7, (3, 50, 4, 2), generator=torch.Generator().manual_seed(0)) ** 2 % 7
    vectors, chosen = 1000 + normal(3, 50, 4, 5), 1000 + 0.8 * normal(3, 50, 4, 5)
    usage = CodebookUsage.empty(7, 2)
    for part in range(0, 50, 8):
        rows = slice(part, part + 8)
        usage.add(codes[:, rows])
        usage.add_error(QuantizationError.of(vectors[:, rows], chosen[:, rows]))
    for column in (0, 1):
        counts = np.bincount(codes[..., column].flatten(), minlength=7)
        p = counts[counts > 0] / counts.sum()
        assert usage.counts[column].tolist() == counts.tolist()
        assert usage.used[column] == (counts > 0).sum() < 7
        assert usage.entropy[column].item() == pytest.approx(-(p * np.log(p)).sum())
    assert torch.allclose(usage.used_share, usage.used / 7)
    assert torch.allclose(usage.perplexity.log(), usage.entropy)
    assert usage.relative_entropy == pytest.approx(float(usage.entropy.mean()) / math.log(7))
    flat = vectors.reshape(-1, 5)
    wanted = (flat - chosen.reshape(-1, 5)).square().sum() / (flat - flat.mean(0)).square().sum()
    assert usage.relative_error == pytest.approx(float(wanted), rel=1e-9)


def test_a_shared_codebook_is_counted_over_the_whole_grid() -> None:
    codes = torch.tensor([[0, 1, 2], [0, 1, 2]])
    shared, apart = CodebookUsage.empty(4), CodebookUsage.empty(4, 3)
    for usage in (shared, apart):
        usage.add(codes)
    assert shared.counts.tolist() == [[2, 2, 2, 0]]
    assert apart.counts.tolist() == [[2, 0, 0, 0], [0, 2, 0, 0], [0, 0, 2, 0]]
    assert shared.perplexity.tolist() == pytest.approx([3])
    assert apart.relative_entropy == 0
    assert shared.relative_error is None


@pytest.mark.parametrize(
    ("text", "codebooks"),
    [("vq", 1), ("residual(depth=3)", 3), ("residual(depth=3, shared=True)", 1), ("grouped(groups=4)", 4)],
)
def test_usage_knows_the_codebooks_of_a_quantizer(text: str, codebooks: int) -> None:
    quantizer = make("quantizer", text, size=8)
    usage = CodebookUsage.empty(quantizer.codebook_size, 1 if quantizer.shared else quantizer.depth)
    assert usage.counts.shape == (codebooks, 512)
    usage.add(quantizer.nearest(torch.randn(5, 8)))
    assert usage.counts.sum() == 5 * quantizer.depth


def test_indices_out_of_range_raise() -> None:
    with pytest.raises(InputError, match="3 indices per position for 2 codebooks"):
        CodebookUsage.empty(4, 2).add(torch.zeros(5, 3, dtype=torch.long))
    with pytest.raises(InputError, match="needed: 0"):
        CodebookUsage.empty(4).add(torch.tensor([1, 4]))
