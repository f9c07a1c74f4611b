"""The evaluation at the end of training costs a share of the training."""

from __future__ import annotations

import pytest

from tightbound.cli.actions.train import affordable


@pytest.mark.parametrize(
    ("passes", "items", "expected"),
    [
        (6_400, 142, 40),  # 200 steps of 128 examples, and 142 test examples: a fourth of the visits
        (250_000, 1000, 250),
        (10_000_000, 1000, 500),
        (10, 1000, 10),
    ],
)
def test_samples_follow_from_the_passes_of_the_training(passes: float, items: int, expected: int) -> None:
    assert affordable(passes, items, least=10, most=500) == expected
