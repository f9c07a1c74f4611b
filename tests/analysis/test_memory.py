"""Rows decoded at once are bounded by what a row takes, and by no caller's batch size."""

from __future__ import annotations

import sys

import pytest
import torch
from torch.utils.data import DataLoader, TensorDataset

import tightbound as tb
from tightbound.analysis import evaluate


def decoded(monkeypatch: pytest.MonkeyPatch, model: tb.VAE, data, samples: int) -> int:
    """The most (sample, example) rows that reach the likelihood at once."""
    most = [0]
    hook = model.likelihood.register_forward_hook(lambda _, given, __: most.append(given[0].shape[:-1].numel()) or None)
    evaluate(model, data, samples=samples)
    hook.remove()
    return max(most)


def test_rows_do_not_grow_with_k_or_with_a_loaders_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    module = sys.modules["tightbound.analysis.bounds.estimator"]
    monkeypatch.setattr(module, "ROWS", 400)
    x = torch.randint(0, 2, (64, 1, 4, 4)).float()
    loader = tb.data.open(DataLoader(TensorDataset(x), batch_size=64))
    model = tb.VAE.for_data(loader, latent=2, network="mlp(hidden=(4,))")
    assert decoded(monkeypatch, model, loader.test, 100) <= 400
    assert decoded(monkeypatch, model, loader.test, 1000) <= 400
    assert decoded(monkeypatch, model, x, 1000) <= 400
    by_loader, by_array = (evaluate(model, d, samples=20)["iwae"].value for d in (loader.test, x))
    assert by_loader == pytest.approx(by_array, rel=1e-6)


def test_a_row_of_many_numbers_is_decoded_in_few_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    x = torch.randint(0, 256, (2, 1, 28, 28), dtype=torch.uint8)
    data = tb.data.open(x, test=0.5)
    model = tb.VAE.for_data(data, latent=2, network="mlp(hidden=(4,))", likelihood="categorical")
    assert decoded(monkeypatch, model, x, 150) <= 100


def test_pairs_are_made_in_blocks_and_data_encoded_in_few_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    module = sys.modules["tightbound.analysis.bounds.rate"]
    x = torch.randint(0, 2, (300, 1, 4, 4)).float()
    model = tb.VAE.for_data(tb.data.open(x), latent=2, network="mlp(hidden=(4,))")
    whole = module.rate_decomposition(model, x)
    monkeypatch.setattr(module, "ELEMENTS", 600)
    monkeypatch.setattr(module, "CHUNK", 20)
    monkeypatch.setattr(module, "ROWS", 32)
    blocks, rows = [], []
    pairs = model.latents.log_pairs
    monkeypatch.setattr(model.latents, "log_pairs", lambda *g: blocks.append(pairs(*g)) or blocks[-1])
    hook = model.latents.posterior.network.register_forward_hook(lambda _, given, __: rows.append(len(given[0])))
    parts = module.rate_decomposition(model, x)
    hook.remove()
    assert max(block.numel() for block in blocks) <= 600
    assert max(rows) <= 32
    for name, number in whole.numbers.items():
        assert parts[name].value == pytest.approx(number.value, abs=1e-5), name
