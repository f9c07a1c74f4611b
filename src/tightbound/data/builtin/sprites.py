"""Squares, ellipses and hearts with known factors, rendered on the dSprites grid."""

from __future__ import annotations

import numpy as np

from tightbound.core.domain import BINARY
from tightbound.data.builtin.factors import FactorGrid

_REACH = 14  # pixels from the center that a shape may touch
_SIDE = 2 * _REACH + 1
_SQUARE, _ELLIPSE = 9.6, (12.8, 7.2)  # half sides, half axes
_HEART = np.array(  # half outline, y down: two cubic Bezier curves
    [
        [(0, -5.09), (1.76, -11.85), (9.89, -9.90), (9.57, -3.69)],
        [(9.57, -3.69), (9.57, 1.34), (0.82, 5.51), (0, 9.70)],
    ]
)


class Sprites(FactorGrid):
    """737,280 binary images (1, 64, 64), uint8; the label (B, 5) holds the indices of their factors.

    The grid is the published one, in its order: shape (square, ellipse, heart), scale 0.5 .. 1 in 6, orientation
    0 .. 2 pi in 40, posX and posY 0 .. 1 in 32; the last varies fastest. A pixel is on if its center lies in the shape.
    The images are rendered, not copied: they differ from the published ones in about one pixel.

    References:
        dSprites: Disentanglement testing Sprites dataset (Matthey et al., 2017),
        https://github.com/google-deepmind/dsprites-dataset
    """

    shape = (1, 64, 64)
    factor_names = ("shape", "scale", "orientation", "posX", "posY")
    factor_sizes = (3, 6, 40, 32, 32)
    domain = BINARY
    note = "rendered on the dSprites grid, in which the first and the last orientation are the same"

    def __init__(self, endpoint: bool = True) -> None:
        """Prepare the grid.

        Args:
            endpoint: True: as published, the last orientation, 2 pi, equals the first. False: 40 different
                orientations, in steps of 9 degrees.
        """
        self.endpoint, self.definition = endpoint, f"sprites 1 endpoint={endpoint}"
        theta = np.linspace(0, 2 * np.pi, 40, endpoint=endpoint)
        self._cos, self._sin = np.cos(-theta), np.sin(-theta)
        self._scale = np.linspace(0.5, 1, 6)
        self._center = 16 + 32 * np.linspace(0, 1, 32)
        self._across, self._top, self._bottom = _heart_table()

    def render(self, *factors: np.ndarray) -> np.ndarray:
        """See `FactorGrid.render`: (B, 1, 64, 64); only the window around each shape is computed."""
        kind, scale, turn, x, y = factors
        left, top = (np.floor(self._center[i]).astype(np.int64) - _REACH for i in (x, y))  # (B,)
        window = np.arange(_SIDE)
        size = self._scale[scale][:, None]
        dx = (left[:, None] + window + 0.5 - self._center[x][:, None]) / size  # (B, W)
        dy = (top[:, None] + window + 0.5 - self._center[y][:, None]) / size
        cos, sin = self._cos[turn][:, None], self._sin[turn][:, None]
        across = (dx * cos)[:, None, :] + (dy * sin)[:, :, None]  # (B, W, W)
        down = (dy * cos)[:, :, None] - (dx * sin)[:, None, :]
        inside = np.empty(across.shape, bool)
        for shape, test in enumerate((self._in_square, self._in_ellipse, self._in_heart)):
            rows = np.flatnonzero(kind == shape)
            inside[rows] = test(across[rows], down[rows])
        image = np.zeros((len(kind), 1, 64, 64), np.uint8)
        example = np.arange(len(kind))[:, None, None]
        image[example, 0, top[:, None, None] + window[:, None], left[:, None, None] + window] = inside
        return image

    @staticmethod
    def _in_square(across: np.ndarray, down: np.ndarray) -> np.ndarray:
        return np.maximum(np.abs(across), np.abs(down)) <= _SQUARE

    @staticmethod
    def _in_ellipse(across: np.ndarray, down: np.ndarray) -> np.ndarray:
        return (across / _ELLIPSE[0]) ** 2 + (down / _ELLIPSE[1]) ** 2 <= 1

    def _in_heart(self, across: np.ndarray, down: np.ndarray) -> np.ndarray:
        across = np.abs(across)
        within = np.interp(across, self._across, self._top), np.interp(across, self._across, self._bottom)
        return (across <= self._across[-1]) & (within[0] <= down) & (down <= within[1])


def _heart_table(points: int = 4096) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the heart as two functions of the distance from its axis: across (P,), top (P,), bottom (P,).

    Its half outline runs out to the widest point and back, so that each half is a function.
    """
    t = np.linspace(0, 1, points)[:, None]
    weights = np.concatenate([(1 - t) ** 3, 3 * t * (1 - t) ** 2, 3 * t**2 * (1 - t), t**3], 1)  # (P, 4)
    outline = np.concatenate([weights @ _HEART[0], (weights @ _HEART[1])[1:]])  # (2 P - 1, 2)
    widest = int(outline[:, 0].argmax())
    out, back = outline[: widest + 1], outline[widest:][::-1]
    across = np.linspace(0, outline[widest, 0], points)
    return across, np.interp(across, *out.T), np.interp(across, *back.T)
