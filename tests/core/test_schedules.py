"""Schedules are pure functions of progress."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tightbound.core.errors import InputError
from tightbound.core.schedules import (
    Constant,
    Cosine,
    CosineDecay,
    Cyclical,
    Knobs,
    Linear,
    LinearDecay,
    Progress,
    Schedule,
    as_schedule,
)

totals, numbers = st.integers(1, 400), st.floats(-50, 50)


def walk(schedule: Schedule, total: int) -> list[float]:
    """Its values at each step of a run, and at the end."""
    return [schedule(Progress(step, 0, total)) for step in range(total + 1)]


@given(numbers, numbers, totals, st.integers(1, 500) | st.none(), st.floats(0.01, 1), st.sampled_from([Linear, Cosine]))
def test_ramps(start: float, stop: float, total: int, steps: int | None, share: float, kind: type) -> None:
    """They begin at `start`, go one way, and stay at `stop`."""
    values = walk(kind(start, stop, steps=steps, share=share), total)
    length = steps if steps is not None else share * total
    assert values[0] == pytest.approx(start)
    moves = [b - a for a, b in pairwise(values)]
    assert all(move * (stop - start) >= -1e-9 for move in moves)
    assert all(v == pytest.approx(stop) for step, v in enumerate(values) if step >= max(length, 1))
    assert min(start, stop) - 1e-9 <= min(values) <= max(values) <= max(start, stop) + 1e-9


def test_shapes() -> None:
    assert walk(Linear(0, 1, steps=4), 6) == [0, 0.25, 0.5, 0.75, 1, 1, 1]
    assert walk(Linear(0, 1, share=0.5), 4) == [0, 0.5, 1, 1, 1]
    assert walk(Cosine(0, 1, steps=4), 4) == pytest.approx([0, (1 - math.sqrt(0.5)) / 2, 0.5, 0.5 + 0.5**1.5, 1])
    assert walk(Cyclical(cycles=2, ramp=0.5), 8) == [0, 0.5, 1, 1, 0, 0.5, 1, 1, 1]
    assert walk(CosineDecay(), 4) == pytest.approx([1, 0.5 + 0.5**1.5, 0.5, 0.5 - 0.5**1.5, 0])
    assert walk(LinearDecay(final=0.5), 4) == [1, 0.875, 0.75, 0.625, 0.5]
    assert walk(LinearDecay(warmup=2, final=0), 4) == [0.5, 1, 1, 0.5, 0]


@given(st.integers(1, 300), st.integers(1, 6), st.floats(0.05, 1), numbers, numbers)
def test_cycles_repeat_and_end_at_stop(length: int, cycles: int, ramp: float, start: float, stop: float) -> None:
    schedule, total = Cyclical(start, stop, cycles, ramp), length * cycles
    values = walk(schedule, total)
    assert values[-1] == stop
    for step in range(total - length):
        if (step + 1) % length:  # the ends of a cycle are a jump
            assert values[step] == pytest.approx(values[step + length], abs=1e-6 * (1 + abs(stop - start)) / ramp)


@given(totals, st.integers(0, 500), st.floats(0, 1), st.sampled_from([CosineDecay, LinearDecay]))
def test_decays_warm_up_to_one_and_go_down_to_final(total: int, warmup: int, final: float, kind: type) -> None:
    """Never to zero in the warm-up, which would waste its first step."""
    values = walk(kind(warmup=warmup, final=final), total)
    assert all(0 < value <= 1 for value in values[:warmup])
    rising, falling = values[: warmup + 1], values[warmup:]
    assert rising == sorted(rising)
    assert all(a >= b - 1e-12 for a, b in pairwise(falling))
    if total > warmup:
        assert values[-1] == pytest.approx(final)


def test_knobs_are_scalars_by_name() -> None:
    knobs = Knobs.at({"beta": Linear(steps=4), "gamma": Constant(3)}, Progress(1, 0, 9))
    assert {name: (knob.item(), knob.shape) for name, knob in knobs.items()} == {
        "beta": (0.25, torch.Size()), "gamma": (3.0, torch.Size()),
    }  # fmt: skip


@pytest.mark.parametrize(
    "schedule",
    [Linear(steps=1000), Cosine(2, 5, steps=50), Cyclical(stop=4), Linear(share=3.0), Constant(7)],
    ids=["linear", "cosine", "cyclical", "longer than the run", "constant"],
)
def test_the_final_knob_is_the_end_of_the_schedule(schedule: Schedule) -> None:
    """The final value holds at any length of the schedule: validation and evaluation use it."""
    stop = getattr(schedule, "stop", getattr(schedule, "value", None))
    assert Knobs.final({"k": schedule})["k"].item() == stop


def test_numbers_become_schedules_and_bad_ones_are_named() -> None:
    assert as_schedule("beta", 4)(Progress(3, 0, 9)) == 4
    ramp = Linear()
    assert as_schedule("beta", ramp, least=0) is ramp
    for wrong in (-1, math.nan, math.inf, "4", None, True, torch.tensor(1.0)):
        with pytest.raises(InputError, match="beta ="):
            as_schedule("beta", wrong, least=0)  # pyright: ignore
    with pytest.raises(InputError, match=r"start|stop|beta"):
        as_schedule("beta", Linear(start=0, stop=-2), least=0)
    for make in (
        lambda: Linear(steps=0),
        lambda: Linear(share=0),
        lambda: Cyclical(cycles=0),
        lambda: Cyclical(ramp=2),
    ):
        with pytest.raises(InputError):
            make()
