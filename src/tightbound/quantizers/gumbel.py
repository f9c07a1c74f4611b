"""Code indices drawn from a categorical posterior, trained with the gradient of a continuous relaxation."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.distributions import Categorical, Independent

from tightbound.core.errors import whole
from tightbound.core.noise import Noise
from tightbound.core.numerics import unrounded
from tightbound.core.schedules import Knobs, Schedule, as_schedule
from tightbound.priors.categorical import one_hot, perturbed
from tightbound.quantizers.base import Quantization, Quantizer, precise
from tightbound.quantizers.codebook import nearest_rows


class GumbelQuantizer(Quantizer):
    """Gumbel-softmax quantizer, with a categorical q(index | x) at each position, whose logits the encoder gives.

    Indices are drawn by Gumbel-max, and z is exactly the vector of the drawn index, even in training, so log q and the
    KL belong to the discrete distribution. The gradient of z with respect to the logits is that of
    softmax((logits + g) / t) @ codebook, where g is the Gumbel noise of the draw. As the temperature t falls, its bias
    falls and its variance grows. The gradient with respect to the codebook is exact.

    Args:
        size: Size of a code vector.
        codebook_size: Number of code vectors K.
        temperature: Temperature t >= 0.01, or a schedule, such as linear(start=1.0, stop=0.5).

    References:
        Categorical reparameterization with Gumbel-softmax (Jang et al. 2017), Section 2.2,
        https://arxiv.org/abs/1611.01144; Zero-shot text-to-image generation (Ramesh et al. 2021), Section 2.1,
        https://arxiv.org/abs/2102.12092
    """

    def __init__(self, size: int = 16, codebook_size: int = 512, temperature: float | Schedule = 0.67) -> None:
        super().__init__(size)
        self.codebook_size = whole("codebook_size", codebook_size, least=2)
        self.schedules = {"temperature": as_schedule("temperature", temperature, least=0.01)}
        self.codebook = nn.Parameter(torch.randn(self.codebook_size, self.size) / self.size**0.5)

    @property
    def inputs(self) -> int:
        """Number of logits per position, K."""
        return self.codebook_size

    def forward(self, raw: Tensor, samples: int, noise: Noise, knobs: Knobs) -> Quantization:
        """Draw in at least float32, even under autocast; there is no penalty. See `Quantizer.forward`."""
        with unrounded(raw.device.type):
            logits = precise(raw).unsqueeze(-2)
            q = Categorical(logits=logits, validate_args=False)
            noisy = perturbed(q.logits, (samples,), noise)
            soft = (noisy / knobs["temperature"].to(noisy)).softmax(-1).flatten(-2)
            z = (one_hot(noisy) + (soft - soft.detach())) @ self.codebook.to(noisy)
        return Quantization(z, noisy.argmax(-1), posterior=Independent(q, 2, validate_args=False))

    def embed(self, indices: Tensor) -> Tensor:
        """Return the vectors (..., size) of code indices (..., 1)."""
        return self.codebook[indices.squeeze(-1)]

    def nearest(self, vectors: Tensor) -> Tensor:
        """Return the code indices (..., 1) nearest to vectors (..., size)."""
        return nearest_rows(vectors, self.codebook)

    def moments(self, raw: Tensor) -> tuple[Tensor, Tensor]:
        """Return E[e] and Var[e] of each dimension."""
        with unrounded(raw.device.type):
            p = precise(raw).softmax(-1)
            codebook = self.codebook.to(p)
            mean = p @ codebook
            # centering loses fewer digits in E[e^2] - E[e]^2
            center = codebook.mean(0)
            variance = p @ (codebook - center).square() - (mean - center).square()
        return mean, variance.clamp_min(0)
