"""The scenes against slow, independent geometry: distances to the surfaces, along which rays are traced."""

from __future__ import annotations

import colorsys

import numpy as np
import pytest
import torch

from tightbound.data import open
from tightbound.data.builtin import scenes
from tightbound.data.builtin.scenes import Scenes

SCENES = Scenes()


def away(kind: int, scale: float, p: np.ndarray) -> np.ndarray:
    """Signed distance of points (N, 3) from a solid that stands on the floor."""
    flat, y = np.hypot(p[:, 0], p[:, 2]), p[:, 1]
    if kind == 0:
        half = 0.72 * scale
        q = np.abs(p - [0, half, 0]) - half
        return np.linalg.norm(np.maximum(q, 0), axis=1) + np.minimum(q.max(1), 0)
    if kind == 1:
        q = np.stack([flat - 0.75 * scale, np.abs(y - 0.75 * scale) - 0.75 * scale], 1)
        return np.linalg.norm(np.maximum(q, 0), axis=1) + np.minimum(q.max(1), 0)
    if kind == 2:
        return np.linalg.norm(p - [0, 0.85 * scale, 0], axis=1) - 0.85 * scale
    nearest = np.clip(y, 0.55 * scale, 1.25 * scale)
    return np.hypot(flat, y - nearest) - 0.55 * scale


@pytest.mark.parametrize("kind", range(4))
@pytest.mark.parametrize("scale", [0.75, 1.25])
def test_solids_are_where_tracing_finds_them(kind: int, scale: float) -> None:
    rng = np.random.default_rng(kind)
    start = np.tile(np.array([1.5, 2.9, 5.0]), (400, 1))
    aim = np.array([0, 0.8, 0]) + rng.uniform(-1.6, 1.6, (400, 3)) - start
    rays = aim / np.linalg.norm(aim, axis=1, keepdims=True)
    distance, normal = scenes.SOLIDS[kind](start.astype(np.float32), rays.astype(np.float32), scale)
    travelled = np.zeros(400)
    for _ in range(400):
        travelled += away(kind, scale, start + travelled[:, None] * rays)
    hit = (travelled < 20) & (away(kind, scale, start + travelled[:, None] * rays) < 1e-6)
    grazing = np.abs(np.where(hit, np.einsum("nd,nd->n", normal, rays), 1)) < 0.05
    assert hit.sum() > 40
    assert ((distance < scenes.FAR) == hit)[~grazing].mean() > 0.995
    both = hit & (distance < scenes.FAR) & ~grazing
    assert np.allclose(distance[both], travelled[both], atol=2e-3)
    point = start[both] + travelled[both, None] * rays[both]
    slope = np.stack([away(kind, scale, point + d) - away(kind, scale, point - d) for d in 1e-4 * np.eye(3)], 1) / 2e-4
    assert (np.abs(np.einsum("nd,nd->n", slope, normal[both]) - 1) < 0.02).mean() > 0.97  # but for edges


def test_hues_reach_their_surface_and_no_other() -> None:
    def x(*factors: int) -> torch.Tensor:
        return SCENES.batch(SCENES.index_of(torch.tensor([factors]))).x[0].double()

    base = x(0, 3, 6, 4, 2, 7)
    floor, wall, ball = x(1, 3, 6, 4, 2, 7), x(0, 4, 6, 4, 2, 7), x(0, 3, 7, 4, 2, 7)
    moved = [(other != base).any(0) for other in (floor, wall, ball)]
    assert moved[0][-1].all()  # the foot of the picture is floor
    assert moved[1][0].all()  # its head is wall
    assert (torch.stack(moved).sum(0) > 1).float().mean() < 0.1  # edges, where two fill a pixel
    assert torch.stack(moved).any(0).all()  # nothing else is seen
    hue = colorsys.rgb_to_hsv(*(base[:, -1, 32] / 255).tolist())
    assert hue[0] == pytest.approx(0.0, abs=0.01)
    assert colorsys.rgb_to_hsv(*(base[:, 1, 32] / 255).tolist())[0] == pytest.approx(0.3, abs=0.01)


def test_larger_solids_fill_more_and_the_camera_orbits() -> None:
    share = scenes.brightness()[..., 2, :, :] > 0  # (8, 4, 15, 64, 64)
    filled = share.sum((-1, -2))
    assert (np.diff(filled, axis=0) > 0).all()
    ball = share[:, 2]
    assert np.array_equal(ball[:, :7], ball[:, :7:-1][..., ::-1])  # from left and right, but for the lamp, the same


def test_all_combinations_are_there_in_order() -> None:
    data = open("scenes")
    assert (len(data.train), len(data.test), data.shape) == (470_000, 10_000, (3, 64, 64))
    assert len(SCENES) == 480_000
    index = torch.tensor([0, 14, 15, 479_999, 123_456])
    assert torch.equal(SCENES.index_of(SCENES.factors_of(index)), index)
    assert SCENES.factors_of(index)[1].tolist() == [0, 0, 0, 0, 0, 14]
    batch = data.test.batch(torch.arange(5))
    assert batch.x.dtype == torch.uint8
    assert (data.domain.kind, data.domain.levels) == ("levels", 256)
