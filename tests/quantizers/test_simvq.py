"""SimVQ: a learned map of fixed vectors."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor

from tightbound.core.noise import Noise
from tightbound.core.schedules import Knobs
from tightbound.quantizers import GradientVectorQuantizer, Quantization, Quantizer, Residual, SimVQ


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def call(quantizer: Quantizer, raw: Tensor) -> Quantization:
    return quantizer(raw, 1, Noise("simvq"), Knobs.final({}))


def penalty(quantizer: Quantizer, raw: Tensor) -> Tensor:
    found = call(quantizer, raw).penalty
    assert found is not None
    return found.mean()


def codes(quantizer: SimVQ) -> Tensor:
    return quantizer.embed(torch.arange(quantizer.codebook_size).unsqueeze(1)).detach()


def test_code_vectors_are_a_map_of_fixed_vectors() -> None:
    torch.manual_seed(0)
    quantizer = SimVQ(4, 6).double()
    torch.nn.init.normal_(quantizer.map.weight)
    torch.nn.init.normal_(quantizer.map.bias)
    assert torch.allclose(codes(quantizer), quantizer.codebook @ quantizer.map.weight.mT + quantizer.map.bias)
    assert {name for name, _ in quantizer.named_parameters()} == {"map.weight", "map.bias"}
    raw = normal(20, 3, 4)
    nearest = torch.cdist(raw.flatten(0, 1), codes(quantizer)).argmin(1)
    assert torch.equal(call(quantizer, raw).indices.flatten(), nearest)


def test_the_penalty_is_that_of_a_learned_codebook() -> None:
    torch.manual_seed(0)
    quantizer, other = SimVQ(4, 6, 0.3).double(), GradientVectorQuantizer(4, 6, 0.3).double()
    raw = normal(5, 2, 4).requires_grad_()
    quantizer.start_at(raw.detach().flatten(0, 1))
    other.codebook.data.copy_(codes(quantizer))
    mine, wanted = call(quantizer, raw), call(other, raw)
    assert mine.penalty is not None
    assert wanted.penalty is not None
    assert torch.allclose(mine.penalty, wanted.penalty)
    (got,) = torch.autograd.grad(mine.penalty.sum(), quantizer.map.weight)
    (rows,) = torch.autograd.grad(wanted.penalty.sum(), other.codebook)
    assert torch.allclose(got, rows.mT @ quantizer.codebook), "the chain rule"


def test_a_step_moves_code_vectors_that_nothing_is_nearest_to_and_keeps_the_fixed_ones() -> None:
    torch.manual_seed(0)
    quantizer = SimVQ(4, 50).double()
    fixed, before, raw = quantizer.codebook.clone(), codes(quantizer), normal(3, 1, 4)
    optimizer = torch.optim.SGD(quantizer.parameters(), lr=0.1)
    penalty(quantizer, raw).backward()
    optimizer.step()
    assert len(call(quantizer, raw).indices.unique()) <= 3
    assert ((codes(quantizer) - before).norm(dim=1) > 1e-3).all()
    assert torch.equal(quantizer.codebook, fixed)


def train(quantizer: Quantizer, raw: Tensor, steps: int) -> None:
    optimizer = torch.optim.Adam(quantizer.parameters(), lr=0.05)
    for _ in range(steps):
        optimizer.zero_grad()
        penalty(quantizer, raw).backward()
        optimizer.step()


def test_far_vectors_use_more_code_vectors_than_a_learned_codebook_without_restarts() -> None:
    """Far away, the few code vectors that are nearest at first are the only ones that a learned codebook moves."""
    raw, used = normal(400, 1, 4) + 3, []
    for kind in (lambda: SimVQ(4, 32), lambda: GradientVectorQuantizer(4, 32, restart=0)):
        torch.manual_seed(0)
        quantizer = kind().double()
        train(quantizer, raw, 300)
        used.append(len(call(quantizer, raw).indices.unique()))
    assert used[0] > 2 * used[1]


def test_each_depth_of_a_residual_has_its_own_map() -> None:
    torch.manual_seed(0)
    quantizer = Residual(4, 3, of="simvq(codebook_size=16)").double()
    data = normal(400, 4)
    train(quantizer, data.unsqueeze(1), 100)
    left = [rest.square().sum(1).mean() for _, rest, _ in quantizer.left(data, quantizer.assign(data))]
    assert left[2] < 0.6 * left[1] < 0.4 * left[0]
    first, second = (cast(SimVQ, one) for one in quantizer.sequence[:2])
    assert not torch.equal(first.codebook, second.codebook)
    gradients = torch.autograd.grad(penalty(quantizer, data.unsqueeze(1)), list(quantizer.parameters()))
    assert all(gradient.abs().max() > 0 for gradient in gradients)
