"""Rows that are drawn given some of their entries."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

import tightbound as tb
from tightbound.core.errors import CompositionError, InputError
from tightbound.inference.conditional import sample_given

R = np.random.default_rng(0)
GROUP = R.integers(0, 3, 600)
X = np.stack([GROUP, 2.0 * GROUP + R.normal(size=600), R.poisson(3 + 2 * GROUP)], 1)
KINDS: Any = [("categories", ("a", "b", "c")), "real", "counts"]


@pytest.fixture(scope="module")
def trained() -> tb.Trained:
    return tb.fit(tb.VAE.for_data(X, kinds=KINDS, latent=2), X, steps=60, quiet=True)


def test_rows_are_those_that_rejection_leaves(trained: tb.Trained) -> None:
    """Rows drawn without a condition that happen to have the given category have the same distribution."""
    every = trained.sample(60_000, draw=True, seed=1).numpy()
    left = every[every[:, 0] == 2]
    found = sample_given(trained.model, 3000, torch.tensor([2.0, torch.nan, torch.nan]), seed=2)
    assert (found.x[:, 0] == 2).all()
    for column in (1, 2):
        for power in (1, 2):
            ours, theirs = found.x[:, column].numpy() ** power, left[:, column] ** power
            error = np.hypot(ours.std() / min(found.effective, len(ours)) ** 0.5, theirs.std() / len(theirs) ** 0.5)
            assert abs(ours.mean() - theirs.mean()) < 4 * error


def test_the_effective_number_tells_how_common_the_given_entries_are(trained: tb.Trained) -> None:
    nothing = torch.full((3,), torch.nan)
    usual, far = nothing.clone(), nothing.clone()
    usual[1], far[1] = 2.0, 40.0
    common, rare = (sample_given(trained.model, 10, given) for given in (usual, far))
    assert common.codes == rare.codes == 10_000
    assert 1 <= rare.effective < 0.1 * common.effective < common.effective < 10_000


def test_rows_depend_on_the_seed_alone(trained: tb.Trained) -> None:
    given = torch.tensor([torch.nan, 2.0, torch.nan])
    first, again, other = (sample_given(trained.model, 5, given, seed=seed).x for seed in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_what_cannot_be_given_is_refused(trained: tb.Trained) -> None:
    with pytest.raises(InputError, match="no entry is given"):
        sample_given(trained.model, 3, torch.full((3,), torch.nan))
    images = tb.VAE.for_data(tb.data.open("digits"), latent=2)
    with pytest.raises(CompositionError, match="table"):
        sample_given(images, 3, torch.zeros(1, 8, 8))


def test_rows_of_a_class_are_those_that_rejection_leaves() -> None:
    """A conditional model draws rows of the class whose other entry is near the given one."""
    data = tb.data.open(X[:, 1:], kinds=KINDS[1:], labels=GROUP)
    model = tb.VAE.for_data(data, latent=2, context="labels")
    trained = tb.fit(model, data, steps=60, quiet=True)
    every = trained.sample(60_000, draw=True, context=[1], seed=1).numpy()
    left = every[every[:, 1] == 5, 0]
    found = trained.sample_given({"x2": 5}, 3000, context=[1], seed=2)
    ours = found.x[:, 0].numpy()
    error = np.hypot(ours.std() / min(found.effective, len(ours)) ** 0.5, left.std() / len(left) ** 0.5)
    assert abs(ours.mean() - left.mean()) < 4 * error
    for context, said in ((None, "pass one value for all rows"), ([0, 1], "several values")):
        with pytest.raises(InputError, match=said):
            trained.sample_given({"x2": 5}, 3, context=context)


def test_a_table_of_one_kind_is_given_values_by_name() -> None:
    """The model of such a table needs all entries of a row; entries that are not given must not count as missing."""
    frame = pd.DataFrame(R.normal(size=(100, 2)), columns=["a", "b"])
    trained = tb.fit(tb.VAE.for_data(frame, latent=1, network="mlp(hidden=(4,))"), frame, steps=5, quiet=True)
    assert not trained.model.observation.source.columns
    found = trained.sample_given({"b": "1.5"}, 50).x
    assert (found[:, 1] == 1.5).all()
    assert found[:, 0].std() > 0.1
    with pytest.raises(InputError, match="given= has 'much' for column 'b', which holds real numbers"):
        trained.sample_given({"b": "much"}, 5)
