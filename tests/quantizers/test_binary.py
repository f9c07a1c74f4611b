"""Lookup-free and binary spherical quantizers: signs, and the entropy penalty against enumeration."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

import tightbound as tb
from tightbound.components import make
from tightbound.core.errors import CompositionError, InputError
from tightbound.core.noise import Noise
from tightbound.core.schedules import Knobs
from tightbound.quantizers import LookupFreeQuantizer, Quantization

JOINT = pytest.mark.parametrize("joint", [1, 2, 3, 9])
BOTH = pytest.mark.parametrize("spherical", [False, True])


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def call(quantizer: LookupFreeQuantizer, raw: Tensor) -> Quantization:
    return quantizer(raw, 1, Noise("binary"), Knobs.final({}))


def penalties(quantizer: LookupFreeQuantizer, raw: Tensor) -> Tensor:
    found = call(quantizer, raw).penalty
    assert found is not None
    return found[0]


def entropy(p: Tensor) -> Tensor:
    return -torch.special.xlogy(p, p).sum(-1)


def by_groups(quantizer: LookupFreeQuantizer, codes: Tensor, q: Tensor) -> list[Tensor]:
    """Return the probabilities (..., 2 ** n) of the values of each group of n bits, from those of all code vectors."""
    found = []
    for part in (codes > 0).long().split(quantizer.joint, -1):
        value = (part * 2 ** torch.arange(part.shape[1])).sum(1)
        found.append(q.new_zeros(*q.shape[:-1], 2 ** part.shape[1]).index_add(-1, value, q))
    return found


def enumerated(quantizer: LookupFreeQuantizer, vectors: Tensor) -> tuple[Tensor, Tensor]:
    """All code vectors, and q(e | v) proportional to exp(-|v - e|^2 / (s^2 temperature))."""
    codes = quantizer.embed(torch.arange(quantizer.codebook_size).unsqueeze(1))
    scale = float(codes.abs().max()) ** 2 * quantizer.temperature
    return codes, (-torch.cdist(vectors, codes).square() / scale).softmax(-1)


@BOTH
def test_the_nearest_of_all_sign_vectors_is_the_sign(spherical: bool) -> None:
    quantizer = LookupFreeQuantizer(6, spherical).double()
    codes, _ = enumerated(quantizer, normal(1, 6))
    assert quantizer.codebook_size == len(codes.unique(dim=0)) == 64
    assert codes.abs().unique().numel() == 1
    assert codes[5].sign().tolist() == [1, -1, 1, -1, -1, -1], "the first element is the lowest bit"
    assert torch.allclose(codes.norm(dim=1), torch.tensor(1.0 if spherical else 6**0.5, dtype=torch.float64))
    raw = normal(50, 2, 6)
    out = call(quantizer, raw)
    assert torch.equal(out.z[0].sign(), raw.sign())
    assert torch.equal(out.indices[0, ..., 0], torch.cdist(raw.flatten(0, 1), codes).argmin(1).view(50, 2))


@BOTH
def test_the_gradient_is_that_of_the_vectors(spherical: bool) -> None:
    quantizer, weight = LookupFreeQuantizer(6, spherical).double(), normal(6, seed=1)
    raw = normal(4, 2, 6).requires_grad_()
    (got,) = torch.autograd.grad((call(quantizer, raw).z * weight).sum(), raw)
    (wanted,) = torch.autograd.grad((quantizer.to_vectors(raw) * weight).sum(), raw)
    assert torch.allclose(got, wanted)
    assert (got == weight).all() != spherical


@BOTH
@JOINT
def test_the_entropy_of_an_example_is_that_of_all_code_vectors(joint: int, spherical: bool) -> None:
    """With an even m, -KL(q, m) is H(q) - bits log 2; the entropies of the groups add, since bits are independent."""
    quantizer = LookupFreeQuantizer(5, spherical, 1.0, joint, temperature=3.0, commitment=0.0).double()
    raw = normal(20, 1, 5)
    _, q = enumerated(quantizer, quantizer.to_vectors(raw)[:, 0])
    assert torch.allclose(penalties(quantizer, raw), entropy(q) - 5 * math.log(2))


@BOTH
@JOINT
def test_the_penalty_of_a_batch_is_its_entropy_given_the_vector_minus_its_entropy(joint: int, spherical: bool) -> None:
    quantizer = LookupFreeQuantizer(5, spherical, 0.7, joint, temperature=2.0, commitment=0.0).double()
    raw = (normal(60, 1, 5) + normal(5, seed=1)).requires_grad_()
    quantizer.start_at(raw.detach()[:, 0])
    codes, q = enumerated(quantizer, quantizer.to_vectors(raw)[:, 0])
    groups = by_groups(quantizer, codes, q.mean(0))
    assert torch.allclose(quantizer.mean, torch.cat(groups).detach())
    wanted = 0.7 * (entropy(q).mean() - torch.stack([entropy(group) for group in groups]).sum())
    got = penalties(quantizer, raw).mean()
    assert torch.allclose(got, wanted)
    # its gradient holds m constant, and is still the gradient of the batch's value
    gradients = [torch.autograd.grad(value, raw, retain_graph=True)[0] for value in (got, wanted)]
    assert torch.allclose(*gradients)


def test_joint_groups_tell_repeated_bits_from_independent_ones() -> None:
    """The batch entropy of two bits is 2 log 2; if they are equal it is log 2, which single bits do not show."""
    every = torch.tensor([[1, 1], [-1, -1], [1, -1], [-1, 1]]).double() * 50
    for rows, joint, wanted in ((every, 1, 2), (every[:2], 1, 2), (every, 2, 2), (every[:2], 2, 1)):
        quantizer = LookupFreeQuantizer(2, entropy=1.0, joint=joint, commitment=0.0).double()
        quantizer.start_at(rows)
        assert float(penalties(quantizer, rows.unsqueeze(1)).mean()) == pytest.approx(-wanted * math.log(2))


def test_the_average_follows_training_and_not_evaluation() -> None:
    quantizer = LookupFreeQuantizer(3, joint=1, decay=0.75).double()
    raw = normal(7, 2, 3)
    call(quantizer.eval(), raw)
    assert quantizer.mean.tolist() == [0.5] * 6
    call(quantizer.train(), raw)
    p = (4 * raw).sigmoid().mean((0, 1))
    assert torch.allclose(quantizer.mean, 0.375 + 0.25 * torch.stack([1 - p, p], 1).flatten())


@BOTH
def test_commitment_is_the_squared_distance(spherical: bool) -> None:
    quantizer = LookupFreeQuantizer(3, spherical, entropy=0.0, commitment=0.5).double()
    raw = normal(7, 2, 3)
    wanted = (quantizer.to_vectors(raw) - call(quantizer, raw).z[0]).square().sum((1, 2))
    assert torch.allclose(penalties(quantizer, raw), 0.5 * wanted)


@pytest.mark.parametrize("raw", [0.0, 1e-30, 1e4, -1e4])
@BOTH
def test_extreme_vectors_have_finite_penalties_and_gradients(raw: float, spherical: bool) -> None:
    quantizer = LookupFreeQuantizer(3, spherical)
    x = torch.full((2, 1, 3), raw, requires_grad=True)
    for _ in range(100):  # the average comes near 0 or 1
        call(quantizer, x)
    value = penalties(quantizer, x).sum()
    assert torch.isfinite(value)
    assert torch.isfinite(torch.autograd.grad(value, x)[0]).all()


@BOTH
def test_the_penalty_brings_all_code_vectors_into_use(spherical: bool) -> None:
    """A linear encoder with a large bias uses almost one code vector; the penalty alone trains it to use all."""
    torch.manual_seed(0)
    encoder = torch.nn.Linear(3, 3)
    torch.nn.init.eye_(encoder.weight)
    torch.nn.init.constant_(encoder.bias, 2.0)
    quantizer = LookupFreeQuantizer(3, spherical, entropy=1.0, temperature=4.0)
    optimizer, x = torch.optim.Adam(encoder.parameters(), lr=0.02), torch.randn(300, 1, 3)

    def shares() -> Tensor:
        return torch.bincount(call(quantizer, encoder(x)).indices.flatten(), minlength=8) / 300

    quantizer.start_at(encoder(x).detach()[:, 0])
    assert shares().max() > 0.9
    for _ in range(150):
        optimizer.zero_grad()
        penalties(quantizer, encoder(x)).mean().backward()
        optimizer.step()
    assert shares().min() > 0.02


def test_the_rate_is_the_number_of_bits() -> None:
    data = tb.data.open(normal(40, 6).float().numpy())
    model = tb.VAE.for_data(
        data, latents="quantized(quantizer=lfq(bits=5), positions=3)", network="mlp(hidden=(8,))", seed=0
    )
    trained = tb.fit(model, data, epochs=1, quiet=True)
    assert trained.evaluate(data.whole, samples=1)["rate"].value == pytest.approx(15 * math.log(2), rel=1e-6)


@pytest.mark.parametrize(
    ("text", "error", "said"),
    [
        ("lfq(bits=0)", InputError, "bits = 0"),
        ("lfq(bits=25)", InputError, "of at most 24"),
        ("lfq(temperature=0)", InputError, "temperature = 0"),
        ("lfq(entropy=-1)", InputError, "entropy = -1"),
        ("lfq(bits=1, spherical=True)", CompositionError, "bits=2 or more"),
        ("residual(of='lfq')", CompositionError, "LookupFreeQuantizer"),
        ("grouped(groups=2, of='lfq')", CompositionError, "size 8 .* has size = 9"),
    ],
)
def test_invalid_arguments_raise(text: str, error: type[Exception], said: str) -> None:
    with pytest.raises(error, match=said):
        make("quantizer", text, size=16)
