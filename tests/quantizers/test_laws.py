"""Every quantizer in the table of names passes the laws, with a small codebook and in variants."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor

from tightbound.components import TABLE, make, parse
from tightbound.core.noise import Noise
from tightbound.quantizers import VectorQuantizer
from tightbound.testing import check_quantizer

QUANTIZERS = [
    "vq(codebook_size=7)",
    "vq(codebook_size=2, commitment=0.0, restart=0.0)",
    "vq(codebook_size=7, gradient='rotation')",
    "vq(codebook_size=7, cosine=True, restart=0.5)",
    "vq(codebook_size=7, cosine=True, gradient='rotation')",
    "vq-gradient(codebook_size=7)",
    "vq-gradient(codebook_size=7, cosine=True, gradient='rotation', restart=0.5)",
    "simvq(codebook_size=7)",
    "simvq(codebook_size=7, cosine=True, gradient='rotation')",
    "fsq(levels=(8, 5, 5))",
    "fsq(levels=(3,))",
    "fsq(levels=(4, 7))",
    "lfq(bits=4, joint=3)",
    "lfq(bits=1, entropy=0.0, joint=1)",
    "lfq(bits=5, spherical=True, temperature=0.5)",
    "residual(depth=3, of='vq(codebook_size=5)')",
    "residual(depth=3, of=vq(codebook_size=5, gradient='rotation'), shared=True)",
    "residual(depth=2, of='vq-gradient(codebook_size=5)')",
    "residual(depth=2, of='simvq(codebook_size=5)')",
    "residual(depth=2, of='residual(depth=2, of=vq(codebook_size=4))')",
    "residual(depth=3, of='vq(codebook_size=5)', beam=4)",
    "grouped(groups=2, of='vq(codebook_size=6)')",
    "grouped(groups=2, of=vq(codebook_size=6, cosine=True))",
    "grouped(size=6, groups=2, of='fsq(levels=(5, 4, 3))')",
    "grouped(size=6, groups=2, of='lfq(bits=3, spherical=True)')",
    "grouped(groups=2, of='residual(depth=2, of=vq(codebook_size=4))')",
    "grouped(groups=2, of='gumbel(codebook_size=5)')",
    "gumbel(codebook_size=7)",
    "gumbel(codebook_size=2, temperature=linear(start=1.0, stop=0.1))",
]


@pytest.mark.parametrize("text", QUANTIZERS)
def test_quantizer(text: str) -> None:
    torch.manual_seed(0)
    check_quantizer(make("quantizer", text, size=4))


def test_every_quantizer_is_checked() -> None:
    assert {parse(text).name for text in QUANTIZERS} == set(TABLE["quantizer"])


class Broken(VectorQuantizer):
    """Quantizer with one of seven defects."""

    def __init__(self, how: str = "") -> None:
        self.__dict__["how"] = how
        super().__init__(3, codebook_size=5)

    def penalty(self, vectors: Tensor, codes: Tensor) -> Tensor:
        penalty = super().penalty(vectors, codes)
        return penalty.mean().expand(len(penalty)) if self.how == "batch" else penalty

    def to_vectors(self, raw: Tensor) -> Tensor:
        return raw.detach() if self.how == "gradient" else raw

    def nearest(self, vectors: Tensor) -> Tensor:
        found = super().nearest(vectors)
        if self.how == "training" and self.training:
            return (found + len(vectors)) % self.codebook_size
        if self.how == "range":
            return found - 1
        return (found + 1) % self.codebook_size if self.how == "nearest" else found

    def moments(self, raw: Tensor) -> tuple[Tensor, Tensor]:
        if self.how == "moves" and self.training:
            self.update_codebook(raw, self.nearest(raw), Noise("broken"))
        mean, variance = super().moments(raw)
        return mean, variance + (self.how == "variance")


@pytest.mark.parametrize(
    ("how", "law"),
    [
        ("batch", "penalty depends on its batch"),
        ("gradient", "no gradient of z"),
        ("training", "in training"),
        ("range", "indices"),
        ("nearest", "nearer"),
        ("moves", "changed the codebook"),
        ("variance", "variance"),
    ],
)
def test_a_broken_quantizer_fails_its_law(how: str, law: str) -> None:
    torch.manual_seed(0)
    check_quantizer(Broken())
    with pytest.raises(AssertionError, match=law):
        check_quantizer(Broken(how))


def test_the_laws_do_not_change_a_quantizer() -> None:
    quantizer = make("quantizer", "vq(codebook_size=5)", size=2)
    before = copy.deepcopy(quantizer.state_dict())
    check_quantizer(quantizer)
    assert all(torch.equal(before[k], v) for k, v in quantizer.state_dict().items())
