"""Codebooks: averages, restarts, the start, and the gradients through them."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from torch import Tensor

from tightbound.components import make
from tightbound.core.errors import CompositionError, InputError
from tightbound.core.noise import ExampleNoise, Noise
from tightbound.core.schedules import Knobs
from tightbound.quantizers import (
    Codebook,
    CodebookUsage,
    GradientVectorQuantizer,
    Quantization,
    VectorQuantizer,
    codebook,
)

BOTH = pytest.mark.parametrize("family", [VectorQuantizer, GradientVectorQuantizer])


def normal(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def call(quantizer: Codebook, raw: Tensor, *key: int) -> Quantization:
    return quantizer(raw, 1, Noise("codebook", *key), Knobs())


def train(quantizer: Codebook, steps: int, batch: int = 32) -> None:
    optimizer = torch.optim.Adam([*quantizer.parameters(), torch.nn.Parameter(torch.zeros(1))], 0.01)
    for step in range(steps):
        penalty = call(quantizer, normal(batch, 16, quantizer.size, seed=step), step).penalty
        assert penalty is not None
        if penalty.requires_grad:
            optimizer.zero_grad()
            penalty.mean().backward()
            optimizer.step()


def share_used(quantizer: Codebook) -> float:
    usage = CodebookUsage.empty(quantizer.codebook_size)
    usage.add(quantizer.nearest(normal(300, 16, quantizer.size, seed=99)))
    return float(usage.used_share)


@torch.no_grad()
def kill(quantizer: Codebook, share: float = 0.95) -> None:
    """Move code vectors and their averages to where no data are."""
    dead = torch.arange(int(share * quantizer.codebook_size))
    quantizer.set_vectors(dead, 100 + normal(len(dead), quantizer.size))


@BOTH
@pytest.mark.parametrize("cosine", [False, True])
@pytest.mark.parametrize(("decay", "counted"), [(0.9, False), (0.99, True)])
def test_a_dead_codebook_recovers(family: type[Codebook], cosine: bool, decay: float, counted: bool) -> None:
    """Restarts begin when the use of dead vectors has decayed, after log(0.03) / log(0.9) = 34 steps, or is 0."""
    torch.manual_seed(0)
    quantizer = family(6, 64, decay=decay, cosine=cosine)
    quantizer.start_at(normal(2000, 6))
    assert share_used(quantizer) > 0.95
    kill(quantizer)
    if cosine:
        with torch.no_grad():
            quantizer.codebook[:60] = quantizer.codebook[0]  # one direction: the first of equals is chosen
    if counted:
        quantizer.use[:60] = 0
    assert share_used(quantizer) < 0.1
    train(quantizer, 50)
    assert share_used(quantizer) > 0.9


@BOTH
def test_without_restart_dead_vectors_stay_dead(family: type[Codebook]) -> None:
    torch.manual_seed(0)
    quantizer = family(6, 64, decay=0.5, restart=0)
    quantizer.start_at(normal(2000, 6))
    kill(quantizer)
    before = quantizer.codebook.detach().clone()[:60]
    train(quantizer, 200)  # 0.5^200 is less than the least number of single precision
    assert quantizer.use[:60].max() == 0
    assert torch.equal(quantizer.codebook[:60], before)
    assert torch.isfinite(quantizer.codebook).all()


def test_a_code_vector_with_vanished_averages_can_be_used_again() -> None:
    quantizer = VectorQuantizer(2, 4, restart=0, decay=0.5)
    quantizer.use[:], quantizer.sums[:] = 0, 0
    quantizer.codebook.copy_(torch.tensor([[0.0, 0], [5, 0], [0, 5], [5, 5]]))
    call(quantizer, torch.tensor([[[4.0, 1.0], [5.0, 1.0]]]))
    assert torch.allclose(quantizer.codebook, torch.tensor([[0.0, 0], [4.5, 1], [0, 5], [5, 5]]))


def test_decay_zero_takes_the_means_of_the_batch() -> None:
    quantizer = VectorQuantizer(3, 8, decay=0, restart=0)
    before, raw = quantizer.codebook.clone(), normal(5, 7, 3)
    codes = call(quantizer, raw).indices.flatten()
    for entry in range(8):
        mine = raw.flatten(0, 1)[codes == entry]
        assert torch.allclose(quantizer.codebook[entry], mine.mean(0) if len(mine) else before[entry], atol=1e-6)


@BOTH
def test_averages_do_not_depend_on_the_batch_size(family: type[Codebook]) -> None:
    torch.manual_seed(0)
    once = family(3, 8, restart=0, decay=0.7)
    twice = copy.deepcopy(once)
    for step in range(4):
        raw = normal(5, 7, 3, seed=step)
        call(once, raw)
        call(twice, torch.cat([raw, raw, raw]))
    for name, value in once.state_dict().items():
        assert torch.allclose(value, twice.state_dict()[name], atol=1e-6), name
    assert math.isclose(float(once.use.mean()), 1, rel_tol=1e-5)


@BOTH
def test_restarts_take_different_vectors_of_the_batch(family: type[Codebook]) -> None:
    torch.manual_seed(0)
    quantizer = family(3, 40)
    quantizer.use.zero_()
    values = normal(12, 3)
    raw = values[torch.arange(60) % 12].view(6, 10, 3)  # each of 12 values five times
    call(quantizer, raw)
    restarted = quantizer.codebook.detach()[quantizer.use > 0.9]
    assert 6 <= len(restarted) <= 12  # 40 vectors were picked
    assert len(restarted.unique(dim=0)) == len(restarted)
    assert ((restarted.unsqueeze(1) == values).all(2).any(1)).all()


def test_restarts_depend_on_the_noise_only_and_do_not_shift_later_draws() -> None:
    torch.manual_seed(0)
    first = VectorQuantizer(3, 8)
    first.use.zero_()
    again, other = copy.deepcopy(first), copy.deepcopy(first)
    raw, noise = normal(20, 10, 3), Noise("a")
    first(raw, 1, noise, Knobs())
    again(raw, 1, Noise("a"), Knobs())
    other(raw, 1, Noise("b"), Knobs())
    assert torch.equal(first.codebook, again.codebook)
    assert not torch.equal(first.codebook, other.codebook)
    healthy, unshifted = VectorQuantizer(3, 8, restart=0), Noise("a")
    healthy(raw, 1, unshifted, Knobs())
    assert torch.equal(noise.normal((1, 3), raw), unshifted.normal((1, 3), raw))


def test_restart_works_with_noise_per_example() -> None:
    quantizer = VectorQuantizer(3, 8)
    quantizer.use.zero_()
    quantizer(normal(4, 9, 3), 1, ExampleNoise("a", index=torch.arange(4)), Knobs())
    assert quantizer.use.min() == 1


@BOTH
@pytest.mark.parametrize("cosine", [False, True])
def test_codebook_starts_at_the_means_of_the_data(family: type[Codebook], cosine: bool) -> None:
    torch.manual_seed(0)
    centers = torch.nn.functional.normalize(normal(6, 4), dim=1) * 3
    quantizer = family(4, 6, cosine=cosine)
    quantizer.start_at((centers.repeat(50, 1) + 0.01 * normal(300, 4)).requires_grad_().detach())
    wanted = centers / 3 if cosine else centers
    assert torch.cdist(quantizer.codebook.detach(), wanted).min(0).values.max() < 0.01


@BOTH
def test_restarts_prefer_vectors_with_large_errors(family: type[Codebook]) -> None:
    """The probability is proportional to the squared distance, 4 : 1 : 0, and zero for vectors in the codebook."""
    values = torch.tensor([[0.0], [2.0], [9.0]])  # vectors of index 0, at 0, and of index 1, at 10
    first = family(1, 6, decay=0)
    first.set_vectors(torch.arange(6), torch.tensor([[0.0], [10.0], [99.0], [99.0], [99.0], [99.0]]))
    first.move_vectors = lambda *_: None  # pyright: ignore[reportAttributeAccessIssue]
    first.restart = 0.1
    one = torch.full((3,), 0, dtype=torch.long)
    one[2] = 1
    codes, picks = one.view(1, 3, 1), torch.zeros(3)
    for key in range(400):
        quantizer = copy.deepcopy(first)
        quantizer.update_codebook(values.view(1, 3, 1), codes, Noise("restart", key))
        new = quantizer.codebook.detach()[2:]
        assert len(new[new < 50]) == 2  # four code vectors are dead, and two vectors are not yet coded exactly
        assert 0 not in new
        quantizer = copy.deepcopy(first)
        quantizer.set_vectors(torch.arange(3, 6), torch.zeros(3, 1))
        quantizer.decay = 0.5  # so that only one code vector is dead
        quantizer.use.copy_(torch.tensor([1.0, 1.0, 0.0, 1.0, 1.0, 1.0]))
        quantizer.update_codebook(values.view(1, 3, 1), codes, Noise("restart", key))
        picks += quantizer.codebook.detach()[2] == values[:, 0]
    assert picks[0] == 0
    assert float(picks[1]) / 400 == pytest.approx(0.8, abs=0.1)  # five standard errors


def test_start_uses_vectors_from_all_positions() -> None:
    """The data have 64 positions, each with a vector of its own."""
    torch.manual_seed(0)
    values = 10 * normal(64, 2)
    quantizer = VectorQuantizer(2, 16)
    quantizer.start_at(values.repeat(256, 1))
    all_means = torch.cdist(values, quantizer.codebook).min(1).values.square().mean()
    assert all_means < 0.05 * values.var(0).sum()


def test_start_with_fewer_different_vectors_than_code_vectors() -> None:
    torch.manual_seed(0)
    quantizer = VectorQuantizer(2, 10)
    values, before = normal(3, 2), quantizer.codebook.clone()
    quantizer.start_at(values.repeat(40, 1))
    assert torch.cdist(quantizer.codebook[:3], values).min(0).values.max() < 1e-5
    assert torch.equal(quantizer.codebook[3:], before[3:])


def test_nearest_rows_do_not_depend_on_the_block_size() -> None:
    vectors, table = normal(7, 11, 4), normal(9, 4, seed=1)
    whole = codebook.nearest_rows(vectors, table)
    assert torch.equal(codebook.nearest_rows(vectors, table, block=20), whole)
    several = codebook.nearest_rows(vectors, table, 4, block=20)
    assert torch.equal(several, torch.cdist(vectors, table).argsort(-1)[..., :4])
    assert torch.equal(several[..., :1], whole)
    assert codebook.nearest_rows(vectors, table, 99).shape == (7, 11, 9)


def test_nearest_is_exact_far_from_the_origin() -> None:
    """Without centering, |v|^2 - 2 v.e + |e|^2 would lose all digits here."""
    table, vectors = 3000 + normal(50, 8), 3000 + normal(400, 8, seed=1)
    exact = torch.cdist(vectors.double(), table.double(), compute_mode="donot_use_mm_for_euclid_dist").argmin(1)
    assert torch.equal(codebook.nearest_rows(vectors, table)[:, 0], exact)


def test_rotation_keeps_the_angle_of_the_gradient_and_scales_it_by_the_lengths() -> None:
    torch.manual_seed(0)
    quantizer = VectorQuantizer(5, 9, gradient="rotation").double().eval()
    raw = normal(20, 1, 5, dtype=torch.float64).requires_grad_()
    z, weight = call(quantizer, raw).z[0], normal(20, 1, 5, seed=3, dtype=torch.float64)
    (gradient,) = torch.autograd.grad((z * weight).sum(), raw)
    length = z.norm(dim=-1) / raw.norm(dim=-1)
    cosine = torch.cosine_similarity
    assert torch.allclose(gradient.norm(dim=-1), length * weight.norm(dim=-1))
    assert torch.allclose(cosine(gradient, raw, dim=-1), cosine(weight, z, dim=-1))


@pytest.mark.parametrize("where", ["vector", "entry", "opposite"])
def test_rotation_gradient_is_finite_for_zero_and_opposite_vectors(where: str) -> None:
    quantizer = VectorQuantizer(2, 2, gradient="rotation").eval()
    quantizer.codebook.copy_(torch.tensor([[0.0, 0.0] if where == "entry" else [-1.0, 0.0], [90.0, 90.0]]))
    raw = torch.tensor([[[0.0, 0.0] if where == "vector" else [0.5, 0.0]]]).requires_grad_()
    out = call(quantizer, raw)
    (gradient,) = torch.autograd.grad((out.z * torch.tensor([1.0, 2.0])).sum(), raw)
    wanted = [[-2.0, 4.0]] if where == "opposite" else [[1.0, 2.0]]  # turned by pi in a plane with e; straight-through
    assert torch.allclose(gradient[0].abs(), torch.tensor(wanted).abs())
    assert torch.equal(out.z[0, 0, 0], quantizer.codebook[0])


def test_the_penalty_and_its_gradients_in_closed_form() -> None:
    torch.manual_seed(0)
    for family, weights in ((VectorQuantizer, (0.3, 0)), (GradientVectorQuantizer, (0.3, 1))):
        quantizer = family(3, 5, commitment=0.3)
        raw = normal(4, 6, 3).requires_grad_()
        out = call(quantizer, raw)
        assert out.penalty is not None
        off = (raw - out.z[0]).detach()
        assert torch.allclose(out.penalty[0], sum(weights) * off.square().sum((1, 2)))
        out.penalty.sum().backward()
        assert raw.grad is not None
        assert torch.allclose(raw.grad, 2 * weights[0] * off, atol=1e-6)
        if quantizer.codebook.requires_grad:
            pull = torch.zeros(5, 3).index_add_(0, out.indices.flatten(), -2 * weights[1] * off.flatten(0, 1))
            assert quantizer.codebook.grad is not None
            assert torch.allclose(quantizer.codebook.grad, pull, atol=1e-5)
            assert not torch.autograd.grad(call(quantizer, raw).z.sum(), quantizer.codebook, allow_unused=True)[0]


@pytest.mark.parametrize(
    ("text", "error", "description"),
    [
        ("vq(codebook_size=1)", InputError, "codebook_size = 1"),
        ("vq(decay=1.0)", InputError, "decay = 1.0"),
        ("vq(restart=1.5)", InputError, "restart = 1.5"),
        ("vq(gradient='rotate')", InputError, "did you mean 'rotation'"),
        ("vq(commitment=-1)", InputError, "commitment = -1"),
        ("vq(size=1, cosine=True)", CompositionError, "size=2 or more"),
        ("vq(size=0)", InputError, "size = 0"),
    ],
)
def test_invalid_codebooks_raise(text: str, error: type[Exception], description: str) -> None:
    with pytest.raises(error, match=description):
        make("quantizer", text)


def test_a_start_from_vectors_that_differ_by_rounding_errors_does_not_warn() -> None:
    """Remainders of a residual quantizer are such vectors if it starts with as many vectors as code vectors."""
    vectors = torch.zeros(100, 4)
    vectors[:40, 0] = 1e-30
    quantizer = VectorQuantizer(4, 8)
    quantizer.start_at(vectors)
    assert torch.isfinite(quantizer.codebook).all()
