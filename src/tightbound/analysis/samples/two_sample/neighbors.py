"""Precision, recall, density and coverage: rows of one sample in the neighborhoods of another."""

from __future__ import annotations

import numpy as np

from tightbound.analysis.samples.two_sample.pairs import squared_distances, tiles
from tightbound.analysis.samples.two_sample.resampling import BLOCKS, Array, Measured, block_of, jackknife

SPARE = 4  # times k nearest rows are kept, so that the k-th one remains known when a block is left out


def neighbors(x: Array, y: Array, k: int = 5, seed: int = 0) -> dict[str, Measured]:
    """Return precision, recall, density and coverage of samples x (n, F) with respect to data y (m, F).

    A ball about each row reaches to its k-th nearest other row.

    - precision: share of samples in some ball of the data;
    - recall: share of data in some ball of the samples;
    - density: number of balls of the data that a sample lies in, over k; about 1 if the distributions agree;
    - coverage: share of the data's balls that contain some sample.

    The standard errors are from a jackknife over blocks of rows, with new balls for each: a bootstrap would draw rows
    twice, and so shrink the balls.

    References:
        Improved precision and recall metric for assessing generative models (Kynkaanniemi et al. 2019), Eq. 1 and 2,
        https://arxiv.org/abs/1904.06991
        Reliable fidelity and diversity metrics for generative models (Naeem et al. 2020), Eq. 3 and 4,
        https://arxiv.org/abs/2002.09797
    """
    blocks_x, blocks_y = block_of(len(x), seed, "x"), block_of(len(y), seed, "y")
    radius_x, radius_y = _radii(x, k, blocks_x), _radii(y, k, blocks_y)
    cases = BLOCKS + 1  # each block left out in turn, then none
    precise, dense = np.zeros((cases, len(x)), bool), np.zeros(cases)
    recalled, covered = np.zeros((cases, len(y)), bool), np.zeros((cases, len(y)), bool)
    for rows, inner in tiles(x, y):
        square = squared_distances(x, y, rows, inner).astype(np.float32)
        for case in range(cases):
            kept = blocks_x[rows] != case
            some = square[kept]
            inside = some <= radius_y[case]  # balls of rows that are left out have radius -1
            precise[case, np.flatnonzero(kept) + rows.start] = inside.any(1)
            dense[case] += np.count_nonzero(inside)
            covered[case] |= inside.any(0)
            recalled[case] |= (some <= radius_x[case][rows][kept][:, None]).any(0)
    in_x, in_y = blocks_x != np.arange(cases)[:, None], blocks_y != np.arange(cases)[:, None]

    def share(hit: Array, among: Array) -> Measured:  # rows that are left out count in neither
        return jackknife((hit & among).sum(1) / among.sum(1)).share(hit.shape[1])

    return {
        "precision": share(precise, in_x),
        "recall": share(recalled, in_y),
        "density": jackknife(dense / (k * in_x.sum(1))).within(0.0, np.inf),
        "coverage": share(covered, in_y),
    }


def _radii(x: Array, k: int, blocks: Array) -> Array:
    """Return the squared distance of each row to its k-th nearest other row, (BLOCKS + 1, n) float32: without each
    block in turn, then with all rows; -1 for the rows that are left out."""
    spare = min(SPARE * k, len(x) - 1)
    out = np.empty((BLOCKS + 1, len(x)), np.float32)
    for rows, inner in tiles(x, x):
        square = squared_distances(x, x, rows, inner)
        square[np.arange(len(square)), np.arange(rows.start, rows.stop)] = np.inf
        near = np.argpartition(square, spare - 1, axis=1)[:, :spare]
        distance = np.take_along_axis(square, near, 1)
        order = np.argsort(distance, axis=1)
        distance, near = np.take_along_axis(distance, order, 1), np.take_along_axis(near, order, 1)
        for case in range(BLOCKS + 1):
            count = (blocks[near] != case).cumsum(1)
            kth = np.where(count[:, -1] >= k, (count >= k).argmax(1), spare - 1)
            out[case, rows] = np.take_along_axis(distance, kth[:, None], 1)[:, 0]
    for case in range(BLOCKS):
        out[case, blocks == case] = -1.0
    return out
