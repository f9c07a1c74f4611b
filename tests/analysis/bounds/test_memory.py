"""Memory is bounded: by what a row takes, and not by the number of samples or a loader's batch size."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.utils.data import DataLoader, TensorDataset

import tightbound as tb
from tightbound.analysis.bounds.estimator import evaluate
from tightbound.analysis.bounds.rate import rate_decomposition


def decoded(model: tb.VAE, data: Any, samples: int, **options: Any) -> int:
    """Return the largest number of (sample, example) rows that reach the likelihood at once."""
    most = [0]
    hook = model.likelihood.register_forward_hook(lambda _, given, __: most.append(given[0].shape[:-1].numel()) or None)
    evaluate(model, data, samples=samples, **options)
    hook.remove()
    return max(most)


def test_rows_do_not_grow_with_the_samples_or_with_a_loaders_batches() -> None:
    x = torch.randint(0, 2, (64, 1, 4, 4)).float()
    loader = tb.data.open(DataLoader(TensorDataset(x), batch_size=64))
    model = tb.VAE.for_data(loader, latent=2, network="mlp(hidden=(4,))")
    for data, samples in ((loader.test, 100), (loader.test, 1000), (x, 1000)):
        assert decoded(model, data, samples, max_rows=400) <= 400
    by_loader, by_array = (evaluate(model, d, samples=20, max_rows=400)["iwae"].value for d in (loader.test, x))
    assert by_loader == pytest.approx(by_array, rel=1e-6)


def test_large_examples_are_decoded_in_few_rows() -> None:
    x = torch.randint(0, 256, (4, 1, 28, 28), dtype=torch.uint8)
    data = tb.data.open(x, test=0.5)
    model = tb.VAE.for_data(data, latent=2, network="mlp(hidden=(4,))", likelihood="categorical")
    assert decoded(model, x, 150) <= 100


def test_pairs_are_made_in_blocks_and_few_examples_encoded_at_once() -> None:
    x = torch.randint(0, 2, (300, 1, 4, 4)).float()
    model = tb.VAE.for_data(tb.data.open(x), latent=2, network="mlp(hidden=(4,))")
    whole = rate_decomposition(model, x)
    rows: list[int] = []
    hook = model.latents.posterior.network.register_forward_hook(lambda _, given, __: rows.append(len(given[0])))
    parts = rate_decomposition(model, x, batch_size=32, chunk=20, max_elements=600)
    hook.remove()
    assert max(rows) <= 32
    for name, estimate in whole.estimates.items():
        assert parts[name].value == pytest.approx(estimate.value, abs=1e-5), name
