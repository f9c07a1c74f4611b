"""PyTorch data loaders: how they are read, and models that are trained and evaluated on them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, IterableDataset, TensorDataset

import tightbound as tb
from tightbound.core.errors import InputError

SMALL: Any = {"latent": 2, "network": "mlp(hidden=(8,))"}


@pytest.fixture(scope="module")
def x() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 17, (60, 1, 4, 4)).astype(np.uint8)


def test_a_shuffling_loader_is_read_in_order_to_encode_and_evaluate(x: np.ndarray) -> None:
    loader = DataLoader(TensorDataset(torch.from_numpy(x), torch.arange(60)), batch_size=7, shuffle=True)
    data = tb.data.open(loader, levels=17)
    model = tb.VAE.for_data(data, **SMALL)
    trained = tb.fit(model, data, steps=3, quiet=True)
    state = torch.get_rng_state()
    one, two = trained.encode(data.test), trained.encode(data.test)
    assert torch.equal(one, two)
    assert torch.allclose(one, trained.encode(x))
    assert torch.equal(torch.get_rng_state(), state), "torch's global generator was used"
    assert torch.cat([b.label for b in data.test.epoch(7) if b.label is not None]).tolist() == list(range(60))
    assert trained.evaluate(data.test, samples=5)["iwae"].value == pytest.approx(
        trained.evaluate(x, samples=5)["iwae"].value, rel=1e-6
    )


def test_static_binarization_needs_data_with_positions(x: np.ndarray) -> None:
    data = tb.data.open(DataLoader(TensorDataset(torch.from_numpy(x)), batch_size=7), levels=17)
    model = tb.VAE.for_data(data, **SMALL, likelihood="bernoulli", observation="binarized(mode='static')")
    with pytest.raises(InputError, match="mode='dynamic'"):
        tb.fit(model, data, steps=1, quiet=True)


class Twelve(IterableDataset[torch.Tensor]):
    def __iter__(self) -> Any:
        return iter(torch.eye(12))


def test_a_model_is_trained_and_evaluated_on_a_stream() -> None:
    data = tb.data.open(DataLoader(Twelve(), batch_size=5))
    trained = tb.fit(tb.VAE.for_data(data, **SMALL), data, steps=7, quiet=True)
    assert trained.evaluate(data.test, samples=3)["iwae"].n == 12
