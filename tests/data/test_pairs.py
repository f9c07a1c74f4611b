"""Pairs (training data, test data) and (x, labels), wherever data are taken."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import tightbound as tb
from tightbound.core.errors import InputError

X = np.random.default_rng(0).normal(size=(40, 3)).astype(np.float32)


@pytest.mark.parametrize("kind", [np.asarray, lambda x: pd.DataFrame(x, columns=["a", "b", "c"])])
def test_open_takes_training_and_test_data_as_they_are(kind):
    data = tb.data.open((kind(X[:25]), kind(X[25:])))
    assert (data.train.size, data.require_test().size) == (25, 15)
    np.testing.assert_array_equal(next(data.require_test().epoch(15)).x, X[25:])


def test_open_matches_the_columns_of_test_data_by_name():
    frame = pd.DataFrame(X, columns=["a", "b", "c"])
    data = tb.data.open((frame[:25], frame[25:][["c", "a", "b"]]))
    np.testing.assert_array_equal(next(data.require_test().epoch(15)).x, X[25:])


def test_open_takes_x_and_labels():
    labels = np.arange(40) % 4
    both, apart = tb.data.open((X, labels)), tb.data.open(X, labels=labels)
    assert both.train.size == apart.train.size == 36
    np.testing.assert_array_equal(next(both.train.epoch(36)).label, next(apart.train.epoch(36)).label)


@pytest.mark.parametrize(
    ("given", "options", "message"),
    [((X, X, X), {}, "give a pair"), ((X, np.arange(40) % 4), {"labels": np.arange(40) % 4}, "leave out one")],
)
def test_open_refuses_what_is_no_pair_and_labels_given_twice(given, options, message):
    with pytest.raises(InputError, match=message):
        tb.data.open(given, **options)
