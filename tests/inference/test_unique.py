"""Semantic ids: code indices that differ for all examples."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

import tightbound as tb
from conftest import Result
from tightbound.core.errors import CompositionError
from tightbound.inference.indices import UniqueIndices


def random_indices(n: int, *shape: int, k: int, seed: int = 0) -> Tensor:
    return torch.randint(0, k, (n, *shape), generator=torch.Generator().manual_seed(seed), dtype=torch.int32)


def test_ids_are_different_and_begin_with_the_code_indices() -> None:
    levels = [random_indices(2000, 2, 2, k=3), random_indices(2000, 1, 1, k=3, seed=1)]
    ids, repeated = UniqueIndices.of(levels)
    flat = torch.cat([own.flatten(1) for own in levels], 1)
    assert torch.equal(ids[:, :-1], flat)
    assert len(ids.unique(dim=0)) == 2000
    assert repeated == 2000 - len(flat.unique(dim=0)) > 1000
    seen: list[tuple[int, ...]] = []
    for *code, copy in ids[:300].tolist():
        assert copy == seen.count(tuple(code))
        seen.append(tuple(code))


def test_different_code_indices_have_the_copy_number_zero() -> None:
    ids, repeated = UniqueIndices.of([torch.arange(5).view(5, 1, 1)])
    assert (repeated, ids.tolist()) == (0, [[i, 0] for i in range(5)])


def test_ids_of_two_thousand_embeddings_are_unique(cli: Callable[..., Result], tmp_path: Path) -> None:
    """A tenth of them are equal to others, so that no quantizer can tell them apart."""
    x = np.random.default_rng(0).normal(size=(1800, 12)).astype(np.float32)
    x = np.concatenate([x, x[:200]])
    np.save(tmp_path / "items.npy", x)
    options = {"network": "mlp(hidden=(16,))", "latent": 4, "steps": 3, "run": tmp_path / "run", "quiet": True}
    trained = tb.train(x, recipe="semantic-ids", **options)
    (levels,) = trained.code_indices(x)
    assert levels.shape == (2000, 1, 1, 3)
    ids, repeated = trained.unique_indices(x)
    assert repeated == 2000 - len(levels.flatten(1).unique(dim=0)) >= 200
    assert len(ids.unique(dim=0)) == 2000

    found = cli("embed", tmp_path / "run", tmp_path / "items.npy", "--unique", "--out", tmp_path / "ids.npz")
    assert found.status == 0, found.err
    assert f"{repeated:,} of 2,000 examples, distinguished by copy" in found.out
    with np.load(tmp_path / "ids.npz") as file:
        written = np.concatenate([file["indices_1"].reshape(2000, 3), file["copy"][:, None]], 1)
    assert np.array_equal(written, ids.numpy())


def test_a_model_without_code_indices_has_no_ids(run: Path) -> None:
    trained = tb.load(run)
    with pytest.raises(CompositionError, match="latents Flat have none"):
        trained.unique_indices(trained.data.test)
