"""Lookup-free and binary spherical quantization, which keep the sign of each element."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from tightbound.core.errors import CompositionError, number, whole
from tightbound.core.noise import Noise
from tightbound.quantizers.base import Nearest, precise
from tightbound.quantizers.codebook import over_batch

_MARGIN = 1e-3  # least average share of a value in the entropy penalty, relative to an even share


class LookupFreeQuantizer(Nearest):
    """Lookup-free quantizer, which keeps the sign of each element: 2 ** bits code vectors without a codebook.

    Code vectors have elements -1 and 1, or with `spherical`, where vectors have length 1, -bits ** -0.5 and
    bits ** -0.5. The gradient is straight-through. Element i is bit i of the code index, the first one as units.

    The entropy penalty treats the code vector e as a draw with q(e | v) proportional to exp(-|v - e|^2 / (s^2
    temperature)), where s is the magnitude of its elements; then the bits are independent given v. They are divided
    into groups of `joint` bits, and the penalty is the sum of -KL(q, m) over groups, where q is the distribution of a
    group's 2 ** joint values and m is the moving average of q. Over a batch with average m, it is E H(q) - H(E q): the
    values of each vector become certain, and all values common. Its gradient is that of E H(q) - H(E q), too, and yet
    no example's penalty depends on its batch. Its cost is linear in the number of bits for a given `joint`.
    With joint=1 it is lowest, but then bits that repeat each other are as good as independent ones.

    Args:
        bits: Number of elements, each of which is a bit of the code index.
        spherical: Scale vectors to length 1.
        entropy: Weight of the entropy penalty in nats.
        joint: Number of bits in a group of the entropy penalty.
        temperature: Temperature of q(e | v).
        commitment: Weight of |v - e|^2 for the vector v and its code vector e, summed over an example.
        decay: Decay per step of the moving average of q.

    Raises:
        CompositionError: If spherical=True and bits=1.

    References:
        Lookup-free: Yu et al. 2024, Section 3.1, https://arxiv.org/abs/2310.05737; binary spherical, and joint=1: Zhao
            et al. 2024, Section 4.1, https://arxiv.org/abs/2406.07548
    """

    mean: Tensor  # (values,) moving average of q, one group after another
    even: Tensor  # (values,) even share of each value in its group
    places: Tensor  # (bits,) place of each element's bit in the code index

    def __init__(
        self,
        bits: int = 9,
        spherical: bool = False,
        entropy: float = 0.3,
        joint: int = 9,
        temperature: float = 1.0,
        commitment: float = 0.05,
        decay: float = 0.9,
    ) -> None:
        super().__init__(whole("bits", bits, least=1, most=24))
        self.codebook_size = 2**self.size
        self.spherical = bool(spherical)
        if spherical and self.size < 2:
            raise CompositionError("spherical=True needs vectors with a direction, but bits = 1; pass bits=2 or more")
        self.entropy = number("entropy", entropy, least=0)
        self.joint = whole("joint", joint, least=1, most=12)
        self.temperature = number("temperature", temperature, above=0)
        self.commitment = number("commitment", commitment, least=0)
        self.decay = number("decay", decay, least=0, below=1)
        self.magnitude = self.size**-0.5 if spherical else 1.0
        self.register_buffer("places", torch.arange(self.size), persistent=False)
        groups = self.places.split(self.joint)
        self.register_buffer("even", torch.cat([torch.full((2 ** len(g),), 0.5 ** len(g)) for g in groups]), False)
        self.register_buffer("mean", self.even.clone())

    def to_vectors(self, raw: Tensor) -> Tensor:
        """Return the encoder's outputs, scaled to length 1 if `spherical`."""
        return F.normalize(raw, dim=-1) if self.spherical else raw

    def embed(self, indices: Tensor) -> Tensor:
        """Return the vectors (..., size) of code indices (..., 1)."""
        return ((indices >> self.places & 1) * 2 - 1).to(self.mean) * self.magnitude

    @torch.no_grad()
    def nearest(self, vectors: Tensor) -> Tensor:
        """Return the code indices (..., 1) nearest to vectors (..., size)."""
        return ((vectors > 0).long() << self.places).sum(-1, keepdim=True)

    def log_q(self, vectors: Tensor) -> Tensor:
        """Return log q (..., values) for vectors (..., size), one group of bits after another."""
        found = []
        for logits in (vectors * (4 / (self.magnitude * self.temperature))).split(self.joint, -1):
            places = self.places[: logits.shape[-1]]
            values = torch.arange(2 ** len(places), device=places.device).unsqueeze(1) >> places & 1
            found.append((logits @ values.to(logits).T).log_softmax(-1))
        return torch.cat(found, -1)

    def penalty(self, vectors: Tensor, indices: Tensor) -> Tensor:
        """Return the sum (B,) of the commitment and entropy penalties."""
        distance = (vectors - self.embed(indices)).square().sum((1, 2))
        log_q, mean = self.log_q(vectors), torch.maximum(self.mean, _MARGIN * self.even)
        information = (log_q.exp() * (log_q - mean.log())).sum((1, 2))
        return self.commitment * distance - self.entropy * information

    @torch.no_grad()
    def update_codebook(self, vectors: Tensor, indices: Tensor, noise: Noise) -> None:
        """Update the moving average of q."""
        q = self.log_q(vectors).exp().flatten(0, 1)
        total, count = over_batch(q.sum(0), noise), over_batch(q.new_tensor(len(q)), noise)
        self.mean.lerp_((total / count).to(self.mean), 1 - self.decay)

    @torch.no_grad()
    def start_at(self, raw: Tensor) -> None:
        """Set the moving average of q to the mean over the encoder's outputs (N, bits)."""
        self.mean.copy_(self.log_q(self.to_vectors(precise(raw))).exp().mean(0))
