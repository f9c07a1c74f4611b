"""A solid in a room, ray-cast in color from known factors."""

from __future__ import annotations

import colorsys
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

from tightbound.core.domain import Domain
from tightbound.data.builtin.factors import FactorGrid

Array = np.ndarray[Any, np.dtype[np.float32]]

SIDE, RAYS = 64, 2  # pixels of an edge, rays of an edge of a pixel
EYE, HEIGHT, TARGET, LENS = 5.4, 2.9, 0.85, 2.2  # where the camera is, looks at, and its focal length
ROOM = 4.5  # half the side of its floor; the camera sees two walls, as if those behind it were not there
LIGHT = np.array([0.35, 0.8, 0.5], np.float32) / np.float32(np.sqrt(0.35**2 + 0.8**2 + 0.5**2))
AMBIENT, SHADOW = 0.45, 0.55  # light without the lamp; share of the lamp's that shadow leaves
FAR = np.float32(1e9)


class Scenes(FactorGrid):
    """480,000 color images (3, 64, 64), uint8; the label (B, 6) holds the indices of their factors.

    They share the factors and the order of 3dshapes, but not its images: floor hue, wall hue and object hue in 10 each,
    scale in 8, shape (cube, cylinder, sphere, capsule), orientation of the camera, -30 to 30 degrees in 15; the last
    varies fastest. Light is diffuse, with one lamp and hard shadows; edges are smoothed by 2 x 2 rays per pixel. An
    image is linear in its three colors, so that 480 images of the light suffice to render all of them.

    References:
        Disentangling by factorizing (Kim and Mnih 2018), for 3dshapes, https://arxiv.org/abs/1802.05983
    """

    shape = (3, SIDE, SIDE)
    factor_names = ("floor hue", "wall hue", "object hue", "scale", "shape", "orientation")
    factor_sizes = (10, 10, 10, 8, 4, 15)
    domain = Domain("levels", 256)
    note = "ray-cast, with the factors of 3dshapes but other images"
    definition = "scenes 1"

    def __init__(self) -> None:
        self._hues = np.array([colorsys.hsv_to_rgb(i / 10, 0.85, 1.0) for i in range(10)], np.float32)

    def render(self, *factors: np.ndarray) -> np.ndarray:
        """See `FactorGrid.render`: (B, 3, 64, 64)."""
        hues, (scale, shape, turn) = np.stack(factors[:3], 1), factors[3:]
        light = brightness()[scale, shape, turn]  # (B, 3 surfaces, 64, 64)
        x = np.einsum("bsc,bshw->bchw", self._hues[hues], light, optimize=True)
        return np.rint(255 * x).clip(0, 255).astype(np.uint8)


class Hit(NamedTuple):
    """Where rays meet a surface."""

    distance: Array  # (N,) in lengths of the ray; FAR: nowhere
    normal: Array  # (N, 3)


@lru_cache(maxsize=1)
def brightness() -> Array:
    """Return the brightness (8, 4, 15, 3, 64, 64) of the surfaces, times the share of each pixel they fill."""
    scales = np.linspace(0.75, 1.25, 8, dtype=np.float32)
    turns = np.linspace(-np.pi / 6, np.pi / 6, 15, dtype=np.float32)
    cameras = [_camera(turn) for turn in turns]
    return np.array([[[_image(s, kind, *c) for c in cameras] for kind in range(4)] for s in scales], np.float32)


def _camera(turn: float) -> tuple[Array, Array]:
    """Return the eye (3,) and the directions (N, 3) of its rays; the camera orbits the middle of the room, y is up."""
    eye = np.array([EYE * np.sin(turn), HEIGHT, EYE * np.cos(turn)], np.float32)
    ahead = np.array([0, TARGET, 0], np.float32) - eye
    ahead /= np.linalg.norm(ahead)
    right = np.cross(ahead, [0, 1, 0]).astype(np.float32)
    right /= np.linalg.norm(right)
    up = np.cross(right, ahead)
    n = SIDE * RAYS
    at = (np.arange(n, dtype=np.float32) + 0.5) / n * 2 - 1
    across, down = np.meshgrid(at, at)
    rays = LENS * ahead + across[..., None] * right - down[..., None] * up
    return eye, (rays / np.linalg.norm(rays, axis=-1, keepdims=True)).reshape(-1, 3).astype(np.float32)


def _image(scale: float, kind: int, eye: Array, rays: Array) -> Array:
    """Return the light (3, 64, 64) of floor, walls and object."""
    start = np.broadcast_to(eye, rays.shape)
    hits = [_floor(start, rays), _walls(start, rays), SOLIDS[kind](start, rays, scale)]
    nearest = np.argmin([hit.distance for hit in hits], axis=0)
    out = np.zeros((3, len(rays)), np.float32)
    for surface, hit in enumerate(hits):
        seen = nearest == surface
        point = start[seen] + hit.distance[seen, None] * rays[seen]
        normal = hit.normal[seen]
        lamp = np.maximum(normal @ LIGHT, 0)
        if surface < 2:  # a convex solid casts no shadow on itself
            to_lamp = np.broadcast_to(LIGHT, point.shape)
            above = (point + 1e-3 * normal).astype(np.float32)
            hidden = SOLIDS[kind](above, to_lamp, scale).distance < FAR
            lamp = np.where(hidden, SHADOW * lamp, lamp)
        out[surface, seen] = AMBIENT + (1 - AMBIENT) * lamp
    return out.reshape(3, SIDE, RAYS, SIDE, RAYS).mean((2, 4))


def _positive(distance: Array) -> Array:
    return np.where(distance > 1e-4, distance, FAR)


def _plane(start: Array, rays: Array, axis: int, at: float, side: float) -> Hit:
    """Intersect rays with the plane where a coordinate is `at`, seen from the side of its normal."""
    along = rays[:, axis]
    facing = along * side < -1e-9
    distance = np.where(facing, (at - start[:, axis]) / np.where(facing, along, 1), FAR)
    normal = np.zeros_like(rays)
    normal[:, axis] = side
    return Hit(_positive(distance), normal)


def _nearest(*hits: Hit) -> Hit:
    """Return the first surface that each ray meets."""
    which = np.argmin([hit.distance for hit in hits], axis=0)
    rows = np.arange(len(which))
    return Hit(np.stack([h.distance for h in hits])[which, rows], np.stack([h.normal for h in hits])[which, rows])


def _floor(start: Array, rays: Array) -> Hit:
    return _plane(start, rays, 1, 0.0, 1.0)


def _walls(start: Array, rays: Array) -> Hit:
    """Intersect rays with the walls at the back, left and right."""
    back, left = _plane(start, rays, 2, -ROOM, 1.0), _plane(start, rays, 0, -ROOM, 1.0)
    return _nearest(back, left, _plane(start, rays, 0, ROOM, -1.0))


def _ball(start: Array, rays: Array, center: float, radius: float) -> Hit:
    """Intersect rays with a sphere around (0, center, 0)."""
    from_middle = start - np.array([0, center, 0], np.float32)
    half, rest = (from_middle * rays).sum(1), (from_middle**2).sum(1) - radius**2
    root = half**2 - rest
    distance = np.where(root > 0, _positive(-half - np.sqrt(np.maximum(root, 0))), FAR)
    return Hit(distance, (from_middle + np.minimum(distance, 1e3)[:, None] * rays) / radius)


def _side(start: Array, rays: Array, low: float, high: float, radius: float) -> Hit:
    """Intersect rays with the side of an upright cylinder around the y axis, between two heights."""
    flat, along = start[:, [0, 2]], rays[:, [0, 2]]
    square = np.maximum((along**2).sum(1), 1e-12)
    half, rest = (flat * along).sum(1), (flat**2).sum(1) - radius**2
    root = half**2 - square * rest
    distance = np.where(root > 0, _positive((-half - np.sqrt(np.maximum(root, 0))) / square), FAR)
    point = start + np.minimum(distance, 1e3)[:, None] * rays
    distance = np.where((point[:, 1] > low) & (point[:, 1] < high), distance, FAR)
    return Hit(distance, point * np.array([1, 0, 1], np.float32) / radius)


def _cube(start: Array, rays: Array, scale: float) -> Hit:
    """Axis-aligned, on the floor."""
    half = 0.72 * scale
    faces = [_plane(start, rays, 1, 2 * half, 1.0)]
    faces += [_plane(start, rays, axis, side * half, side) for axis in (0, 2) for side in (-1.0, 1.0)]
    hits = []
    for face in faces:
        point = start + np.minimum(face.distance, 1e3)[:, None] * rays
        within = (
            (np.abs(point[:, [0, 2]]) <= half + 1e-4).all(1) & (point[:, 1] <= 2 * half + 1e-4) & (point[:, 1] >= 0)
        )
        hits.append(Hit(np.where(within, face.distance, FAR), face.normal))
    return _nearest(*hits)


def _cylinder(start: Array, rays: Array, scale: float) -> Hit:
    """Upright, on the floor."""
    radius, high = 0.75 * scale, 1.5 * scale
    top = _plane(start, rays, 1, high, 1.0)
    point = start + np.minimum(top.distance, 1e3)[:, None] * rays
    lid = np.where((point[:, [0, 2]] ** 2).sum(1) <= radius**2, top.distance, FAR)
    return _nearest(_side(start, rays, 0.0, high, radius), Hit(lid, top.normal))


def _sphere(start: Array, rays: Array, scale: float) -> Hit:
    """On the floor."""
    return _ball(start, rays, 0.85 * scale, 0.85 * scale)


def _capsule(start: Array, rays: Array, scale: float) -> Hit:
    """Upright, on the floor."""
    radius, high = 0.55 * scale, 1.25 * scale
    ends = (_ball(start, rays, at, radius) for at in (radius, high))
    return _nearest(_side(start, rays, radius, high, radius), *ends)


SOLIDS = (_cube, _cylinder, _sphere, _capsule)
