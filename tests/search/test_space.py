"""What varies: how it is written, and what is drawn from it."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pytest

from tightbound.cli.several import several
from tightbound.cli.sweep import _near
from tightbound.components import parse
from tightbound.core.errors import InputError
from tightbound.search.plans import Drawn, Grid
from tightbound.search.space import Dimension, Range, grid


class Always:
    """Picks the last option and the middle, and remembers what it was asked."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def choice(self, name: str, options: Sequence[str]) -> str:
        self.asked.append(name)
        return options[-1]

    def number(self, name: str, within: Range) -> float:
        self.asked.append(name)
        return (within.low + within.high) / 2


def test_ranges_are_told_from_values_schedules_and_parts() -> None:
    words = ["sweep", "digits", "--lr", "log(1e-4, 1e-2)", "--beta", "linear(steps=100)", "--latent=int(2, 8)",
             "--network", "mlp(hidden=(512, 256))", "conv", "--prior", "vamp(components=int(1, 9))",
             "--epochs", "3"]  # fmt: skip
    space, rest = several(words)
    assert [d.field for d in space] == ["lr", "latent", "network", "prior"]
    assert list(rest) == ["sweep", "digits", "--beta", "linear(steps=100)", "--epochs", "3"]
    assert [d.ranged for d in space] == [True, True, False, True]


def test_ranges_within_parts_are_drawn_by_the_argument_they_are_of() -> None:
    pick = Always()
    assert Dimension("prior", ("normal", "vamp(components=int(2, 8))")).draw(pick) == "vamp(components=5)"
    assert Dimension("beta", ("linear(uniform(0, 1), steps=int(10, 30))",)).draw(pick) == "linear(0.5, steps=20)"
    assert Dimension("lr", ("uniform(0.25, 0.75)",)).draw(pick) == "0.5"
    assert pick.asked == ["prior", "prior.vamp.components", "beta.linear.0", "beta.linear.steps", "lr"]
    assert Dimension("latent", ("4", "int(2, 64)")).extremes() == ("4", "2", "64")


@pytest.mark.parametrize("text", ["log(0, 1)", "uniform(1, 1)", "uniform(1)", "int(1, 2.5)", "int(0, 3, log=True)",
                                  "int(1, 9, step=2)", "log('a', 2)"])  # fmt: skip
def test_ranges_without_limits_are_refused(text: str) -> None:
    with pytest.raises(InputError):
        Range.of(parse(text))


def test_a_part_of_that_name_is_no_range() -> None:
    assert Range.of(parse("uniform")) is None
    assert Range.of(parse("uniform()")) is None


def drawn(word: str, field: str, n: int, seed: int = 0) -> list[str]:
    search = Drawn((Dimension(field, (word,)),), None, n, seed)
    return [search.propose(i).values[field] for i in range(n)]


def test_random_draws_have_their_distribution_and_depend_on_seed_and_number_alone() -> None:
    n = 1000
    logs = np.log([float(v) for v in drawn("log(1e-4, 1e-2)", "lr", n)])
    spread = math.log(100) / math.sqrt(12)
    assert abs(logs.mean() - math.log(1e-3)) < 4 * spread / math.sqrt(n)
    assert abs(logs.std() - spread) < 0.1 * spread
    counts = np.bincount([int(v) for v in drawn("int(2, 5)", "latent", n)])
    assert counts[:2].sum() == 0
    assert abs(counts[2:] - n / 4).max() < 4 * math.sqrt(n * 3 / 16)
    assert drawn("int(2, 64)", "latent", 5) == drawn("int(2, 64)", "latent", 50)[:5]
    assert drawn("int(2, 64)", "latent", 5) != drawn("int(2, 64)", "latent", 5, seed=1)
    assert {len(v.strip("0").replace(".", "").lstrip("0")) <= 4 for v in drawn("uniform(0.1, 4)", "beta", 20)} == {True}


def test_a_grid_has_every_combination_under_names_of_its_own() -> None:
    space = (Dimension("beta", ("0.5", "1")), Dimension("prior", ("vamp(3)", "vamp[3]", "normal")))
    assert len(grid(space)) == 6
    assert grid(space)[1] == {"beta": "0.5", "prior": "vamp[3]"}
    names = Grid(space).names
    assert len(set(names)) == 6
    assert names[2] == "beta-0.5_prior-normal"


def test_a_run_keeps_its_name_when_values_are_added() -> None:
    long = Dimension("prior", tuple(f"mixture(components={n}{'0' * 120})" for n in range(1, 4)))
    few, more = Grid((Dimension("beta", ("1", "2")), long)), Grid((Dimension("beta", ("0", "1", "2", "3")), long))
    assert [search.propose(i).name for search in (few,) for i in range(6)] == list(more.names)[3:9]
    assert len(set(more.names)) == 12
    assert max(map(len, more.names)) <= 120


def test_points_that_are_tried_before_training_are_few_and_hold_all_pairs() -> None:
    values = [("a", "b"), ("x",), *[("0", "1", "2")] * 8]
    points = list(_near(values))
    assert points[0] == ("a", "x", *"00000000")
    assert len(set(points)) == len(points) < 200 < 2 * 3**8
    assert ("b", "x", *"00000002") in points
    pairs = {(i, p[i], j, p[j]) for p in points for i in range(10) for j in range(i)}
    assert pairs == {(i, u, j, v) for i in range(10) for j in range(i) for u in values[i] for v in values[j]}
