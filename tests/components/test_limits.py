"""Work that does not end or fit in memory is refused in one line, before anything starts."""

from __future__ import annotations

import dataclasses
import inspect
import math
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import tightbound as tb
from tightbound.analysis.base import Analysis
from tightbound.analysis.table import analyses
from tightbound.components import TABLE, find, make
from tightbound.components.affordable import Affordable
from tightbound.core.component import signature
from tightbound.core.errors import InputError, whole
from tightbound.core.limits import PASSES, check_held, memory

ENDLESS = 10**12
BUILT_LATER = {"conv"}  # networks whose layers are made with the encoder


def counts() -> Iterator[tuple[str, str, str]]:
    """Each argument of a component that is a whole number."""
    for kind, table in TABLE.items():
        for name in table:
            for word, parameter in signature(find(kind, name)).parameters.items():
                # the sizes of contexts and of labels follow the data
                if parameter.annotation in ("int", "int | None") and word not in ("seed", "context", "kind"):
                    yield kind, name, word


@pytest.mark.parametrize(("kind", "name", "word"), list(counts()))
def test_components_refuse_endless_counts(kind: str, name: str, word: str) -> None:
    if name in BUILT_LATER:
        pytest.skip("built with the encoder")
    takes = signature(find(kind, name)).parameters
    supplied = {
        "latent": 4, "shape": (1, 4, 4), "network": make("network", "mlp(hidden=(8,))"), "features": 4, "levels": 4,
        "context": 0, "size": 16, "classes": 3, "positions": 1, "kinds": ["real"] * 16, word: ENDLESS,
    }  # fmt: skip
    given = {key: value for key, value in supplied.items() if key in takes}
    given |= {"shape": (16,)} if name == "columns" else {}
    start = time.process_time()
    with pytest.raises(InputError, match=r"needed|needs"):
        make(kind, name, **given)
    assert time.process_time() - start < 5


def options() -> Iterator[tuple[str, type[Analysis], str]]:
    for name, analysis in analyses().items():
        for field in dataclasses.fields(analysis):
            if field.metadata.get("least") is not None and field.name != "seed":
                yield name, analysis, field.name


@pytest.mark.parametrize(("name", "analysis", "option"), list(options()))
def test_analyses_refuse_endless_counts(name: str, analysis: Any, option: str) -> None:
    required = {f.name for f in dataclasses.fields(analysis) if f.default is dataclasses.MISSING}
    with pytest.raises(InputError, match=rf"{option} = {ENDLESS}.*needed: a whole number.* of at most"):
        analysis(**dict.fromkeys(required, 0), **{option: ENDLESS})


def test_passes_for_each_example_are_counted_together() -> None:
    kind: Any = analyses()["ais"]
    kind(temperatures=PASSES // 100, chains=10, leapfrog=10)
    with pytest.raises(
        InputError, match=r"temperatures = 1,000,001 and chains = 10 and leapfrog = 10 would take 100,000,1"
    ):
        kind(temperatures=PASSES // 100 + 1, chains=10, leapfrog=10)


def test_seeds_may_have_any_size() -> None:
    for analysis in analyses().values():
        if all(f.default is not dataclasses.MISSING for f in dataclasses.fields(analysis)):
            assert analysis(seed=2**63).seed == 2**63
    assert whole("seed", ENDLESS, least=0, most=math.inf) == ENDLESS


def test_things_that_are_held_fit_into_memory_with_their_copies() -> None:
    most = int(memory() / (4 * 5 * 784))
    assert check_held("n", most, 784) == most
    with pytest.raises(
        InputError, match=rf"n = {most + 1:,} needs .*samples of 784 numbers .* needed: at most {most:,}$"
    ):
        check_held("n", most + 1, 784, of="samples")


def test_samples_to_choose_from_are_counted_before_the_classifier_is_trained(trained: tb.Trained) -> None:
    most = int(memory() / (4 * 5 * 3))
    with pytest.raises(InputError, match=r"^n / keep = .* needs .*samples of 3 numbers each"):
        trained.best_samples(most // 2, keep=0.25)


def test_completions_of_all_examples_are_counted() -> None:
    model = tb.VAE.for_data(X, latent=2, network="mlp(hidden=(4,))")
    with pytest.raises(InputError, match=r"n = .* needs .*completions of 120 numbers each"):
        tb.Trained(model, X).complete(X, int(memory() / (4 * 5 * 100)))


def test_tensors_are_counted_before_they_are_made() -> None:
    with Affordable("it", most=4000) as counted:
        torch.empty(10, 50)
        torch.arange(50.0)
    assert (counted.made, counted.size) == (2, 2200)
    for numbers in (451, 10**15):
        with pytest.raises(InputError, match=r"^training it needs more than .* of memory"), Affordable("it", most=1800):
            torch.zeros(numbers)
    with pytest.raises(InputError, match="more memory than any"), Affordable("it"):
        torch.zeros(2**62)
    with pytest.raises(InputError, match="more than 3 layers"), Affordable("it", tensors=3):
        torch.nn.ModuleList(torch.nn.Linear(1, 1) for _ in range(10**9))


X = np.random.default_rng(0).normal(size=(40, 3)).astype(np.float32)


@pytest.fixture(scope="module")
def trained() -> tb.Trained:
    model = tb.VAE.for_data(X, latent=2, network="mlp(hidden=(4,))")
    return tb.Trained(model, X)


@pytest.mark.parametrize(
    "ask",
    [
        lambda t: t.sample(ENDLESS),
        lambda t: t.interpolate(np.zeros(3), np.ones(3), steps=ENDLESS),
        lambda t: t.evaluate(X, samples=ENDLESS),
        lambda t: t.log_likelihood(np.zeros((2, 3)), samples=PASSES + 1),
        lambda t: t.holes(X, n_samples=10**7 + 1),
        lambda t: t.memorization(X, n_samples=10**7 + 1),
    ],
)
def test_methods_refuse_what_does_not_end(trained: tb.Trained, ask: Any) -> None:
    with pytest.raises(InputError, match="needed: ") as refused:
        ask(trained)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("objective", "options"),
    [("iwae(samples=1000000000)", {}), ("miwae(m=100000, k=100000)", {}), ("elbo", {"epochs": ENDLESS})],
)
def test_fit_refuses_what_does_not_end_before_it_writes(objective: str, options: Any, tmp_path: Path) -> None:
    model = tb.VAE.for_data(X, latent=2, network="mlp(hidden=(4,))")
    before = [parameter.clone() for parameter in model.parameters()]
    with pytest.raises(InputError, match=r"a smaller batch_size=, or fewer samples|needed: a whole number"):
        tb.fit(model, X, objective, run=tmp_path / "run", quiet=True, **options)
    assert not (tmp_path / "run").exists()
    assert all(map(torch.equal, before, model.parameters()))


def test_the_options_of_methods_that_count_are_checked_here() -> None:
    """A new analysis option of a whole number has to name its smallest value, which brings the largest one."""
    for name, analysis in analyses().items():
        for word, parameter in inspect.signature(analysis).parameters.items():
            field = next(f for f in dataclasses.fields(analysis) if f.name == word)
            if parameter.annotation in ("int", "int | None") and name != "attribute":
                assert field.metadata.get("least") is not None, f"{name}: {word}"
