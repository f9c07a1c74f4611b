"""Two processes share evaluation, embedding and sampling, and compute what one does, bit for bit."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from analysis import process_cases as cases
from conftest import Result
from training.processes import Pair, pair


@pytest.fixture(scope="module")
def two() -> Iterator[Pair]:
    """Two processes, for all tests of this file."""
    with pair() as workers:
        yield workers


def same(name: str, one: Any, other: Any) -> None:
    """Fails where values differ."""
    if isinstance(one, dict):
        assert list(one) == list(other)
        for key, value in one.items():
            same(f"{name}: {key}", value, other[key])
    elif isinstance(one, np.ndarray):
        np.testing.assert_array_equal(one, other, err_msg=name)
    else:
        assert one == other, name


@pytest.mark.parametrize("kind", list(cases.KINDS))
def test_two_processes_find_the_numbers_of_one(two: Pair, kind: str) -> None:
    expected = cases.found(kind)
    for answer in two.call(cases.found, kind):
        same(kind, expected["arrays"], answer["arrays"])
        same(kind, expected["numbers"], answer["numbers"])
        assert answer["relative"] == pytest.approx(expected["relative"], rel=1e-12)


def test_scores_are_those_of_one_process(two: Pair) -> None:
    expected = cases.scored()
    for answer in two.call(cases.scored):
        same("scores", expected, answer)


@pytest.mark.parametrize("source", ["array", "split", "subset", "loader", "one example"])
def test_data_of_every_kind_are_shared(two: Pair, source: str) -> None:
    expected = cases.embedded(source)
    for answer in two.call(cases.embedded, source):
        same(source, expected, answer)


def test_each_process_computes_its_batches_alone_and_all_get_all_in_order(two: Pair) -> None:
    computed = []
    for positions, numbers, mine in two.call(cases.indices):
        assert positions == list(range(cases.N))
        assert numbers == list(range(31))
        computed.append(mine)
    assert computed == [16, 15]


@pytest.mark.parametrize("why", ["a bad example in the last batch", "no data"])
def test_what_one_process_cannot_use_is_refused_by_all(two: Pair, why: str) -> None:
    expected = cases.refused(why)
    assert expected != "nothing"
    assert two.call(cases.refused, why) == [expected, expected]


def test_processes_that_were_given_different_data_are_told_so(two: Pair) -> None:
    for said in two.call(cases.refused, "other data"):
        assert "2 processes were given different data" in said


@pytest.mark.slow
def test_torchrun_evaluates_and_speaks_once(run: Path, cli: Callable[..., Result], tmp_path: Path) -> None:
    words = ("evaluate", "run", "--samples", "120", "--json", "--per-example")
    expected = json.loads(cli(*words, "one.npz").out)
    agent = (sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "-m", "--", "tightbound")
    told = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run([*agent, *words, "two.npz"], cwd=tmp_path, capture_output=True, text=True, env=told)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)  # one object: the other process prints nothing
    for numbers in (expected, found):
        relative = numbers["estimates"].pop("relative_mse")
        numbers["relative"] = pytest.approx(relative["value"], rel=1e-12) if numbers is expected else relative["value"]
    assert found == expected
    one, two = (np.load(tmp_path / name) for name in ("one.npz", "two.npz"))
    for name in one:
        np.testing.assert_array_equal(one[name], two[name], err_msg=name)


def test_the_first_goes_on_when_the_others_are_dismissed(two: Pair) -> None:
    assert two.call(cases.dismissed) == [(0, 1), (1, 0)]  # the last test: there is no pair any more
