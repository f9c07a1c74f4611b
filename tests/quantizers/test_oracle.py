"""Against vector-quantize-pytorch, where the definitions agree. In it, losses are means over everything (ours are sums
for each example), codes of a residual are 0 where they are dropped out (we have no dropout), and averages count vectors
(ours count shares of the even use) with Laplace smoothing, which eps=0 turns off."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from tightbound.core.noise import Noise
from tightbound.core.schedules import Knobs
from tightbound.quantizers import (
    Codebook,
    FiniteScalarQuantizer,
    GradientVectorQuantizer,
    LookupFreeQuantizer,
    Quantization,
    Quantizer,
    Residual,
    SimVQ,
    VectorQuantizer,
)

B, P, SIZE, K = 6, 5, 4, 8
N = B * P


@pytest.fixture(scope="module")
def oracle() -> Any:
    """Import the package here, because it takes seconds."""
    import vector_quantize_pytorch

    return vector_quantize_pytorch


def raw(seed: int = 0) -> Tensor:
    return torch.randn(B, P, SIZE, generator=torch.Generator().manual_seed(seed)).requires_grad_()


def call(quantizer: Quantizer, x: Tensor) -> Quantization:
    return quantizer(x, 1, Noise("oracle"), Knobs.final(quantizer.schedules))


def gradients(z: Tensor, *leaves: Tensor) -> tuple[Tensor, ...]:
    weight = torch.randn(z.shape[-3:], generator=torch.Generator().manual_seed(1))
    return torch.autograd.grad((z * weight).sum(), leaves, retain_graph=True)


def same_start(theirs: Any, ours: Codebook) -> None:
    """Copy our codebook to theirs; an average use of 1 in ours is N / K vectors in theirs."""
    theirs._codebook.embed.data.copy_(ours.codebook.detach())
    theirs._codebook.cluster_size.fill_(N / K)
    theirs._codebook.embed_avg.copy_(ours.codebook.detach() * N / K)


@pytest.mark.parametrize("gradient", ["straight-through", "rotation"])
@pytest.mark.parametrize("cosine", [False, True])
def test_vector_quantizer(oracle: Any, gradient: str, cosine: bool) -> None:
    torch.manual_seed(0)
    ours = VectorQuantizer(SIZE, K, 0.3, decay=0.8, restart=0, cosine=cosine, gradient=gradient)
    theirs = oracle.VectorQuantize(
        SIZE, K, decay=0.8, eps=0.0, commitment_weight=0.3, use_cosine_sim=cosine, rotation_trick=gradient == "rotation"
    )
    same_start(theirs, ours)
    for step in range(5):
        x = raw(step)
        out = call(ours, x)
        z, codes, loss = theirs(x)
        assert torch.equal(out.indices[0, ..., 0], codes)
        assert torch.allclose(out.z[0], z, atol=1e-6)
        assert out.penalty is not None
        assert torch.allclose(out.penalty.sum() / (N * SIZE), loss, atol=1e-6)  # a mean of theirs
        assert torch.allclose(*gradients(out.z, x), *gradients(z, x), atol=1e-5)
        (mine,) = torch.autograd.grad(out.penalty.sum() / (N * SIZE), x)
        (other,) = torch.autograd.grad(loss, x)
        assert torch.allclose(mine, other, atol=1e-7)
        assert torch.allclose(ours.codebook, theirs.codebook, atol=1e-5), f"averages after {step + 1} steps"
        assert torch.allclose(ours.use * N / K, theirs._codebook.cluster_size[0], atol=1e-4)
    assert len(set(out.indices.flatten().tolist())) > 3


def test_gradient_codebook(oracle: Any) -> None:
    """Their loss |v - e|^2 has the gradient of ours with commitment=1, and half of its value."""
    torch.manual_seed(0)
    ours = GradientVectorQuantizer(SIZE, K, commitment=1.0, restart=0)
    theirs = oracle.VectorQuantize(SIZE, K, learnable_codebook=True, ema_update=False, rotation_trick=False)
    same_start(theirs, ours)
    x = raw()
    out = call(ours, x)
    z, codes, loss = theirs(x)
    assert torch.equal(out.indices[0, ..., 0], codes)
    assert torch.allclose(out.z[0], z, atol=1e-6)
    assert out.penalty is not None
    assert torch.allclose(out.penalty.sum() / (N * SIZE), 2 * loss, atol=1e-6)
    mine = torch.autograd.grad(out.penalty.sum() / (N * SIZE), [x, ours.codebook])
    other = torch.autograd.grad(loss, [x, theirs._codebook.embed])
    assert torch.allclose(mine[0], other[0], atol=1e-7)
    assert torch.allclose(mine[1], other[1][0], atol=1e-7)


@pytest.mark.parametrize("gradient", ["straight-through", "rotation"])
def test_simvq(oracle: Any, gradient: str) -> None:
    torch.manual_seed(0)
    ours = SimVQ(SIZE, K, 0.3, gradient=gradient)
    torch.nn.init.zeros_(ours.map.bias)  # theirs has none
    theirs = oracle.SimVQ(SIZE, K, rotation_trick=gradient == "rotation", input_to_quantize_commit_loss_weight=0.3)
    theirs.frozen_codebook.copy_(ours.codebook)
    theirs.code_transform.weight.data.copy_(ours.map.weight)
    x = raw()
    out = call(ours, x)
    z, codes, loss = theirs(x)
    assert torch.equal(out.indices[0, ..., 0], codes)
    assert torch.allclose(out.z[0], z, atol=1e-6)
    assert out.penalty is not None
    assert torch.allclose(out.penalty.sum() / (N * SIZE), loss, atol=1e-6)
    assert torch.allclose(*gradients(out.z, x), *gradients(z, x), atol=1e-5)
    mine = torch.autograd.grad(out.penalty.sum() / (N * SIZE), [x, ours.map.weight])
    other = torch.autograd.grad(loss, [x, theirs.code_transform.weight])
    for one, same in zip(mine, other, strict=True):
        assert torch.allclose(one, same, atol=1e-6)


@pytest.mark.parametrize("levels", [(8, 5, 5, 5), (7, 3, 4, 6)])
def test_finite_scalar_quantizer(oracle: Any, levels: tuple[int, ...]) -> None:
    ours, theirs = FiniteScalarQuantizer(levels), oracle.FSQ(list(levels))
    assert ours.codebook_size == theirs.codebook_size
    every = torch.arange(ours.codebook_size)
    assert torch.allclose(ours.embed(every.unsqueeze(-1)), theirs.indices_to_codes(every), atol=1e-6)
    for scale in (1, 20):
        x = (scale * raw()).detach().requires_grad_()
        out = call(ours, x)
        z, codes = theirs(x)
        assert torch.equal(out.indices[0, ..., 0], codes.long())
        assert torch.allclose(out.z[0], z, atol=1e-6)
        assert torch.allclose(*gradients(out.z, x), *gradients(z, x), atol=1e-5)


@pytest.mark.parametrize("spherical", [False, True])
def test_lookup_free_quantizer(oracle: Any, spherical: bool) -> None:
    """Their entropies are of softmax(2 v.e / temperature) for all code vectors, and the first bit is the highest."""
    ours = LookupFreeQuantizer(SIZE, spherical, entropy=0.2, temperature=SIZE if spherical else 1.0, commitment=0.3)
    theirs = oracle.LFQ(
        dim=SIZE, entropy_loss_weight=0.2, commitment_loss_weight=0.3 * SIZE, diversity_gamma=1.0, spherical=spherical
    )
    x = raw()
    ours.start_at(x.detach().flatten(0, 1))
    out = call(ours, x)
    z, codes, loss = theirs(x, inv_temperature=1.0)
    assert torch.equal(out.indices[0, ..., 0] >> torch.arange(SIZE).view(SIZE, 1, 1) & 1,
                       codes >> (SIZE - 1 - torch.arange(SIZE)).view(SIZE, 1, 1) & 1)  # fmt: skip
    assert torch.allclose(out.z[0], z, atol=1e-6)
    assert out.penalty is not None
    assert torch.allclose(out.penalty.sum() / N, loss, atol=1e-5)
    assert torch.allclose(*gradients(out.z, x), *gradients(z, x), atol=1e-5)
    (mine,) = torch.autograd.grad(out.penalty.sum() / N, x)
    (other,) = torch.autograd.grad(loss, x)
    assert torch.allclose(mine, other, atol=1e-6)


@pytest.mark.parametrize("shared", [False, True])
def test_residual(oracle: Any, shared: bool) -> None:
    torch.manual_seed(0)
    depth = 3
    ours = Residual(SIZE, depth, of=f"vq(codebook_size={K}, commitment=1.0, decay=0.8, restart=0)", shared=shared)
    theirs = oracle.ResidualVQ(
        dim=SIZE,
        num_quantizers=depth,
        codebook_size=K,
        shared_codebook=shared,
        decay=0.8,
        eps=0.0,
        rotation_trick=False,
    )
    for layer, q in zip(theirs.layers, ours.sequence, strict=True):
        assert isinstance(q, Codebook)
        same_start(layer, q)
    x = raw()
    for step in range(1 if shared else 3):
        out = call(ours, x)
        z, codes, loss = theirs(x)
        assert torch.equal(out.indices[0], codes)
        assert torch.allclose(out.z[0], z, atol=1e-5)
        assert out.penalty is not None
        assert torch.allclose(out.penalty.sum() / (N * SIZE), loss.sum(), atol=1e-6)
        # each of their depths passes its own gradient straight through, so that the sum has it `depth` times; ours is
        # that of the identity once, as in the paper's code
        assert torch.allclose(depth * gradients(out.z, x)[0], gradients(z, x)[0], atol=1e-5)
        if not shared:  # theirs has shared averages decay once for each depth, ours once for all together
            for layer, q in zip(theirs.layers, ours.sequence, strict=True):
                assert isinstance(q, Codebook)
                assert torch.allclose(q.codebook, layer.codebook, atol=1e-5), step
