"""Test examples that are also training examples, counted where data are opened."""

from __future__ import annotations

import numpy as np
import torch

import tightbound as tb
from tightbound.core.terms import Batch
from tightbound.data.duplicates import collision_bits


def told(x: np.ndarray) -> list[str]:
    return [note for note in tb.data.open(x).notes if note.startswith("duplicates")]


def test_examples_on_both_sides_of_the_split_are_noted() -> None:
    rng = np.random.default_rng(0)
    once = rng.normal(size=(50, 8)).astype(np.float32)
    (note,) = told(once[rng.integers(0, 50, 1000)])
    assert "100% of the test examples are also training examples" in note
    assert not told(rng.normal(size=(1000, 8)).astype(np.float32))


def test_rows_that_are_equal_by_chance_are_not() -> None:
    assert not told(np.random.default_rng(0).integers(0, 3, (1000, 6)))


def test_bits_of_elements_add_up_to_as_many_as_are_enough() -> None:
    x = torch.tensor([[0, 7, 1], [1, 7, 2], [2, 7, 3], [3, 7, 4]])  # two elements of four values, one constant
    assert collision_bits(Batch(x)) == 4.0
    assert collision_bits(Batch(x), 1.5) == 2.0
