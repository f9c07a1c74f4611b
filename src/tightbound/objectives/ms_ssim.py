"""Objective with structural similarity of images as the reconstruction term."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from tightbound.core.errors import CompositionError, number
from tightbound.core.latents import Trainable
from tightbound.core.schedules import Knobs, Schedule
from tightbound.core.terms import Terms
from tightbound.objectives.base import unprepared_error
from tightbound.objectives.decoding import MeanDecoder, require_complete_data
from tightbound.objectives.elbo import ELBO, KL

WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)  # weights of the scales, finest first
WINDOW, SIGMA = 11, 1.5  # pixels


class MSSSIM(ELBO):
    """Structural-similarity objective -weight (1 - MS-SSIM(x, E[x | z])) + likelihood E_q[log p(x | z)] - beta KL.

    It is not a bound on log p(x). Small images have fewer scales; see `ms_ssim`.

    Args:
        weight: Cost in nats of images that have nothing in common.
        likelihood: Weight of the log-likelihood; if above 0, a learned scale is trained too.
        beta: Weight of the rate, or its schedule.
        samples: Latent samples per example.
        kl: "closed", "monte-carlo" or "auto", see `RateDistortion`.

    References:
        Learning to generate images with perceptual similarity metrics (Snell et al. 2017), Section 3.2,
        https://arxiv.org/abs/1511.06409
    """

    def __init__(
        self,
        weight: float = 100.0,
        likelihood: float = 0.0,
        beta: float | Schedule = 1.0,
        samples: int = 1,
        kl: KL = "auto",
    ) -> None:
        super().__init__(beta, samples, kl)
        self.weight, self.likelihood = number("weight", weight, least=0), number("likelihood", likelihood, least=0)
        self._decoder: MeanDecoder | None = None

    def prepare(self, model: Trainable, n_examples: int | None) -> None:
        """Require x with a known range, and a likelihood that is trained by its mean."""
        self._decoder = MeanDecoder(model, "ms-ssim", trains_likelihood=self.likelihood == 0)
        if math.isinf(self._decoder.span):
            raise CompositionError(
                "objective 'ms-ssim' needs data with a known range, and these are real numbers; "
                "open the data with domain='unit', or pass integer levels"
            )

    def check(self, terms: Terms) -> None:
        """Require a density, and complete images."""
        super().check(terms)
        require_complete_data(terms, "ms-ssim")
        shape = tuple(terms.batch.x.shape[1:])
        if len(shape) != 3:
            raise CompositionError(
                f"objective 'ms-ssim' needs images (channels, height, width), and the data have shape {shape}; "
                "use objective 'elbo'"
            )

    def __call__(self, terms: Terms, knobs: Knobs) -> Tensor:
        """Return the objective (B,) in nats."""
        if self._decoder is None:
            raise unprepared_error("ms-ssim")
        x, decoded = self._decoder.reconstructed(terms)
        alike = ms_ssim(x.expand_as(decoded).flatten(0, 1), decoded.flatten(0, 1)).reshape(decoded.shape[:2])
        value = self.weight * (alike - 1)
        if self.likelihood:
            value = value + self.likelihood * terms.log_likelihood
        return value.mean(0) - self.penalty(self.rates(terms), knobs)


def ms_ssim(x: Tensor, y: Tensor, span: float = 1.0) -> Tensor:
    """Return the multi-scale structural similarity (N,) of images x and y (N, C, H, W), averaged over channels.

    It is 1 for equal images. The Gaussian window has sigma 1.5 and 11 pixels, or the largest odd number that fits. It
    uses those of the paper's five scales at which the window fits, with weights rescaled to a sum of 1: 3 scales for 64
    pixels, 2 for 28, 1 for 8. A negative similarity at a scale counts as 1e-6, because its power is undefined.

    Args:
        x: Images (N, C, H, W).
        y: Images (N, C, H, W).
        span: Largest possible value minus the smallest.

    References:
        Multiscale structural similarity for image quality assessment (Wang et al. 2003), Eqs. 1 to 7,
        https://doi.org/10.1109/ACSSC.2003.1292216
    """
    channels = x.shape[1]
    x, y = (image.reshape(-1, 1, *image.shape[2:]) for image in (x, y))
    edge = min(x.shape[2:])
    size = min(WINDOW, edge - (edge + 1) % 2)
    scales = min(len(WEIGHTS), int(math.log2(edge // size)) + 1)
    place = torch.arange(size, dtype=x.dtype, device=x.device) - size // 2
    window = (-0.5 * (place / SIGMA).square()).softmax(0)
    total = sum(WEIGHTS[:scales])
    product = x.new_ones(len(x))
    for scale, weight in enumerate(WEIGHTS[:scales]):
        luminance, structure = _similarity(x, y, window, span)
        local = structure if scale < scales - 1 else luminance * structure
        product = product * local.mean((1, 2, 3)).clamp_min(1e-6) ** (weight / total)
        x, y = (F.avg_pool2d(image, 2) if scale < scales - 1 else image for image in (x, y))
    return product.reshape(-1, channels).mean(1)


def _similarity(x: Tensor, y: Tensor, window: Tensor, span: float) -> tuple[Tensor, Tensor]:
    """Return luminance, and contrast times structure, each (N, 1, h, w), of all windows inside (N, 1, H, W)."""
    stack = torch.cat([x, y, x * x, y * y, x * y])
    blurred = F.conv2d(F.conv2d(stack, window.view(1, 1, -1, 1)), window.view(1, 1, 1, -1))
    mean_x, mean_y, square_x, square_y, cross = blurred.chunk(5)
    c1, c2 = (0.01 * span) ** 2, (0.03 * span) ** 2
    luminance = (2 * mean_x * mean_y + c1) / (mean_x.square() + mean_y.square() + c1)
    spread = square_x - mean_x.square() + square_y - mean_y.square()
    return luminance, (2 * (cross - mean_x * mean_y) + c2) / (spread + c2)
