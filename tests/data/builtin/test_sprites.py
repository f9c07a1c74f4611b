"""The sprites against slow, independent geometry."""

import numpy as np
import pytest
import torch

from tightbound.data import open
from tightbound.data.builtin.sprites import Sprites

SPRITES = Sprites()
CHOICE = torch.from_numpy(np.random.default_rng(0).integers(0, 737_280, 90))


def bezier(points, t):
    """De Casteljau."""
    points = np.asarray(points, float)[None].repeat(len(t), 0)
    while points.shape[1] > 1:
        points = points[:, :-1] * (1 - t)[:, None, None] + points[:, 1:] * t[:, None, None]
    return points[:, 0]


def outline(kind):
    """A polygon (P, 2) around the unrotated shape of scale 1, y down."""
    if kind == 0:
        return np.array([(-9.6, -9.6), (9.6, -9.6), (9.6, 9.6), (-9.6, 9.6)])
    t = np.linspace(0, 1, 20_001)
    if kind == 1:
        return np.stack([12.8 * np.cos(2 * np.pi * t), 7.2 * np.sin(2 * np.pi * t)], 1)
    right = np.concatenate(
        [
            bezier([(0, -5.09), (1.76, -11.85), (9.89, -9.90), (9.57, -3.69)], t),
            bezier([(9.57, -3.69), (9.57, 1.34), (0.82, 5.51), (0, 9.70)], t),
        ]
    )
    return np.concatenate([right, right[::-1] * [-1, 1]])


def winding(polygon, points):
    """Even-odd test of each point, by the crossings of a ray with each edge, and distance to the outline."""
    a, b = polygon, np.roll(polygon, -1, 0)
    inside, distance = [], []
    for x, y in points:
        crosses = (a[:, 1] > y) != (b[:, 1] > y)
        e, f = a[crosses], b[crosses]
        inside.append((e[:, 0] + (y - e[:, 1]) / (f[:, 1] - e[:, 1]) * (f[:, 0] - e[:, 0]) > x).sum() % 2)
        edge = b - a
        along = np.clip(((x - a[:, 0]) * edge[:, 0] + (y - a[:, 1]) * edge[:, 1]) / ((edge**2).sum(1) + 1e-300), 0, 1)
        distance.append(np.hypot(a[:, 0] + along * edge[:, 0] - x, a[:, 1] + along * edge[:, 1] - y).min())
    return np.array(inside), np.array(distance)


@pytest.mark.parametrize("kind", [0, 1, 2])
@pytest.mark.parametrize("endpoint", [True, False])
def test_pixels_lie_in_a_polygon_drawn_on_the_screen(kind, endpoint):
    """The polygon is turned counter-clockwise, scaled and shifted; pixels within reach of it are tested."""
    polygon = outline(kind)
    step = max(1, len(polygon) // 1500)
    rng = np.random.default_rng(kind)
    sprites = Sprites(endpoint)
    for _ in range(3):
        scale, turn, x, y = (int(rng.integers(n)) for n in (6, 40, 32, 32))
        theta = 2 * np.pi * turn / (39 if endpoint else 40)
        rotation = np.array([[np.cos(theta), np.sin(theta)], [-np.sin(theta), np.cos(theta)]])  # y down
        drawn = (polygon[::step] @ rotation.T) * (0.5 + 0.1 * scale) + [16 + 32 * x / 31, 16 + 32 * y / 31]
        rows, columns = np.mgrid[0:64, 0:64].reshape(2, -1)
        centers = np.stack([columns + 0.5, rows + 0.5], 1)
        near = np.abs(centers - drawn.mean(0)).max(1) < 17
        expected, distance = winding(drawn, centers[near])
        image = sprites.batch(sprites.index_of(torch.tensor([[kind, scale, turn, x, y]]))).x[0, 0].numpy()
        found = image.reshape(-1)
        assert not found[~near].any()
        sure = distance > 1e-4
        assert (found[near] == expected)[sure].all()
        assert sure.mean() > 0.99


def area(kind):
    x, y = outline(kind).T
    return abs(np.dot(x, np.roll(y, -1)) - np.dot(y, np.roll(x, -1))) / 2


@pytest.mark.parametrize("kind", [0, 1, 2])
def test_areas_grow_with_the_square_of_the_scale(kind):
    positions = torch.cartesian_prod(
        torch.tensor([kind]),
        torch.arange(6),
        torch.arange(0, 40, 3),
        torch.arange(0, 32, 7),
        torch.tensor([5]),
    )
    batch = SPRITES.batch(SPRITES.index_of(positions))
    pixels = batch.x.sum((1, 2, 3)).double()
    for scale in range(6):
        mean = pixels[positions[:, 1] == scale].mean().item()
        assert mean == pytest.approx(area(kind) * (0.5 + 0.1 * scale) ** 2, rel=0.01)


def test_first_and_last_orientation():
    ends = [torch.tensor([[kind, 5, turn, 7, 9] for kind in range(3)]) for turn in (0, 39)]
    published = [SPRITES.batch(SPRITES.index_of(f)).x for f in ends]
    assert torch.equal(*published)
    other = Sprites(endpoint=False)
    distinct = [other.batch(other.index_of(f)).x for f in ends]
    assert all((a != b).any() for a, b in zip(*distinct, strict=True))


def test_factors_and_positions_are_inverse():
    assert len(SPRITES) == 737_280
    factors = SPRITES.factors_of(CHOICE)
    assert torch.equal(SPRITES.index_of(factors), CHOICE)
    assert SPRITES.factors_of(torch.tensor(0)).tolist() == [0, 0, 0, 0, 0]
    assert SPRITES.factors_of(torch.tensor(1)).tolist() == [0, 0, 0, 0, 1]
    assert SPRITES.factors_of(torch.tensor(737_279)).tolist() == [2, 5, 39, 31, 31]
    assert len(SPRITES.factor_names) == len(SPRITES.factor_sizes) == 5


def test_a_batch():
    batch = SPRITES.batch(CHOICE)
    assert batch.x.shape == (90, 1, 64, 64)
    assert batch.x.dtype == torch.uint8
    assert batch.x.max() == 1
    assert torch.equal(batch.label, SPRITES.factors_of(CHOICE))
    single = torch.cat([SPRITES.batch(CHOICE[i : i + 1]).x for i in range(90)])
    assert torch.equal(single, batch.x)
    assert len(SPRITES.batch(CHOICE[:0])) == 0


def test_position_moves_right_and_down():
    def center(x, y):
        image = SPRITES.batch(SPRITES.index_of(torch.tensor([[1, 3, 4, x, y]]))).x[0, 0].double()
        grid = torch.arange(64).double() + 0.5
        return (image.sum(0) @ grid / image.sum()).item(), (image.sum(1) @ grid / image.sum()).item()

    assert center(0, 31) == pytest.approx((16, 48), abs=0.2)
    assert center(31, 0) == pytest.approx((48, 16), abs=0.2)


def test_the_built_in_split():
    data = open("sprites")
    assert (len(data.train), len(data.test)) == (727_280, 10_000)
    seen = torch.zeros(len(SPRITES), dtype=torch.int64)
    for split in (data.train, data.test):
        seen[split.rows] += 1
    assert (seen == 1).all()
    assert data.test.rows[:4].tolist() == [55, 103, 147, 216]
    batch = next(data.train.epoch(16, key=(0,)))
    assert torch.equal(SPRITES.index_of(batch.label), data.train.rows[batch.index])
    assert data.domain.kind == "binary"
    assert data.train.labels is None
