"""Grids of images."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tightbound.analysis import pictures
from tightbound.core.domain import Domain
from tightbound.core.errors import InputError


@pytest.mark.parametrize(("edge", "count", "cell"), [(8, 12, 71), (8, 2, 112), (64, 12, 71), (300, 4, 300)])
def test_images_fill_the_width_and_are_never_made_smaller(edge: int, count: int, cell: int) -> None:
    row = np.zeros((count, edge, edge, 3), np.uint8)
    picture = pictures.grid([row])
    assert picture.size == (count * (cell + pictures.GAP) - pictures.GAP, cell)


def test_labels_share_the_width() -> None:
    row = np.zeros((12, 8, 8, 3), np.uint8)
    assert pictures.grid([row, row], ("examples", "decoded")).width <= pictures.WIDTH


def test_small_images_are_smoothed() -> None:
    row = np.zeros((1, 2, 2, 3), np.uint8)
    row[0, :, 1] = 255
    values = np.asarray(pictures.grid([row]).convert("L"))[0]
    assert len(np.unique(values)) > 20
    assert (np.diff(values.astype(int)) >= 0).all()


def test_levels_have_a_fixed_scale_and_real_values_are_stretched() -> None:
    x = torch.tensor([[[[0.0, 8.0, 16.0]]]])
    assert pictures.to_pixels(x, Domain("levels", 17))[0, 0, :, 0].tolist() == [0, 128, 255]
    stretched = pictures.to_pixels(torch.linspace(5, 6, 200).view(1, 1, 1, -1), Domain("real"))
    assert (stretched.min(), stretched.max()) == (0, 255)
    with pytest.raises(InputError, match="not images"):
        pictures.to_pixels(torch.zeros(2, 5), Domain("real"))
