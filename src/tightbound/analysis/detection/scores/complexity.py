"""The likelihood, corrected for how simple an example is."""

from __future__ import annotations

import io
import math
import zlib

import numpy as np

from tightbound.analysis.detection.scores.base import Array, Score, View
from tightbound.core.model import VAE
from tightbound.core.noise import Noise
from tightbound.core.terms import Batch
from tightbound.data.feed import each


class Complexity(Score):
    """NLL in bits minus the length of a lossless code of the example, made by a compressor that has seen no data.

    It is a log-ratio of likelihoods, with the compressor as the model of everything else. Images of up to 256 levels
    are coded as PNG (1 bit per element if they are binarized), other integers by zlib of their packed bytes, both at
    the highest effort. The code is a code of the values that the bound is about.

    References:
        Input complexity and out-of-distribution detection with likelihood-based generative models (Serra et al. 2020),
        Eq. 1, https://arxiv.org/abs/1909.11480
    """

    name = "complexity"
    description = "NLL in bits minus bits of a lossless code: the input-complexity score S"
    unit = "bits"

    def estimator(self, data: View, train: View) -> str:
        """Return how the two terms are computed."""
        code = "PNG" if _is_picture(data.model) else "zlib of packed bytes"
        return f"{data.nll_estimator}; minus the length of {code}"

    def reason_missing(self, data: View) -> str | None:
        """Return why the example has no lossless code to compare with; None: it has."""
        observation, context = data.model.observation, data.model.context
        if not observation.source.discrete and not observation.counts_bits:
            return f"{observation.source} have no lossless code whose length compares with a density"
        if context is not None and context.completes:
            return "the model bounds a part of x given the rest, and a code is a code of the whole"
        return super().reason_missing(data)

    def __call__(self, data: View, train: View) -> Array:
        """Return the values (N,), bits."""
        return -data.bound / math.log(2) - code_lengths(data)


def code_lengths(data: View) -> Array:
    """Return the bits (N,) of a lossless code of each example."""
    model = data.model
    binary = model.observation.counts_bits and model.observation.target.levels == 2
    code = png_bits if _is_picture(model) else zlib_bits

    def lengths(batch: Batch, number: int) -> Array:
        seen = model.observe(batch, Noise("code", data.seed))
        x = model.observation.reference(batch.x, seen).cpu().numpy()
        return np.array([code(example, binary) for example in (x > 0 if binary else np.rint(x))], dtype=float)

    return np.concatenate(each(model, data.batch, 500, lengths))


def _is_picture(model: VAE) -> bool:
    levels = model.observation.source.levels or 2
    return len(model.shape) == 3 and model.shape[0] in (1, 3, 4) and levels <= 256


def png_bits(x: Array, binary: bool = False) -> int:
    """Return the length of the PNG file of an image (C, H, W), C = 1, 3 or 4, of levels 0 .. 255 or of two values."""
    from PIL import Image

    pixels = x.astype(np.uint8).transpose(1, 2, 0).squeeze(-1) if len(x) == 1 else x.astype(np.uint8).transpose(1, 2, 0)
    image = Image.fromarray(pixels * 255).convert("1", dither=Image.Dither.NONE) if binary else Image.fromarray(pixels)
    buffer = io.BytesIO()
    image.save(buffer, format="PNG", optimize=True)
    return 8 * buffer.getbuffer().nbytes


def zlib_bits(x: Array, binary: bool = False) -> int:
    """Return the length of the zlib code of integers >= 0.

    They are packed into bits if they have two values, else into the fewest bytes that hold the largest.
    """
    packed = np.packbits(x.astype(bool)) if binary else x.astype(np.min_scalar_type(int(x.max(initial=0))))
    return 8 * len(zlib.compress(packed.tobytes(), 9))
