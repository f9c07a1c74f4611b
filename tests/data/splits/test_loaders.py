"""PyTorch data loaders: how they are read, and models that are trained and evaluated on them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, Dataset, IterableDataset, TensorDataset

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


UNGUARDED = """
import torch
from torch.utils.data import DataLoader, TensorDataset
import tightbound as tb

loader = DataLoader(TensorDataset(torch.randn(20, 3)), batch_size=5, num_workers=1, multiprocessing_context="spawn")
try:
    tb.VAE.for_data(loader, latent=2)
except tb.TightboundError as error:
    print(error)
"""


@pytest.mark.slow
def test_a_script_without_a_guard_is_told_so_in_one_line(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(UNGUARDED)
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, timeout=600)
    assert "if __name__ == '__main__'" in done.stdout
    assert len(done.stdout.splitlines()) == 1
    assert done.stderr == ""


class Failing(Dataset[torch.Tensor]):
    def __len__(self) -> int:
        return 20

    def __getitem__(self, i: int) -> torch.Tensor:
        if i == 13:
            raise RuntimeError("a file of my own is broken")
        return torch.full((3,), float(i) / 7)


def test_an_error_of_ones_own_data_set_is_not_called_a_killed_process() -> None:
    loader = DataLoader(Failing(), batch_size=5, num_workers=1)
    with pytest.raises(RuntimeError, match="a file of my own is broken"):
        tb.VAE.for_data(loader, latent=2)


class Rows(Dataset[np.ndarray]):
    """Rows of a table, some of whose entries are missing."""

    x = np.where(np.arange(180).reshape(60, 3) % 7 == 0, np.nan, np.random.default_rng(0).normal(size=(60, 3)))

    def __len__(self) -> int:
        return len(self.x)

    def __getitem__(self, i: int) -> np.ndarray:
        return self.x[i]


class Flow(IterableDataset[np.ndarray]):
    """The same without random access."""

    def __iter__(self) -> Any:
        return iter(Rows.x)


@pytest.mark.parametrize("rows", [Rows(), DataLoader(Rows(), batch_size=9), DataLoader(Flow(), batch_size=9)])
def test_rows_with_missing_entries_are_read_as_in_an_array(rows: Any) -> None:
    assert tb.data.open(rows).domain == tb.data.open(Rows.x).domain
    model = tb.VAE.for_data(Rows.x, **SMALL)
    trained = tb.fit(model, rows, steps=2, quiet=True)
    assert torch.allclose(trained.encode(rows), trained.encode(Rows.x), atol=1e-5)
    assert torch.allclose(trained.encode(rows), trained.encode(Rows.x.astype(np.float32)), atol=1e-5)
    first = np.nan_to_num(Rows.x)
    with pytest.raises(InputError, match="missing entries"):
        tb.Trained(tb.VAE.for_data(first, **SMALL)).encode(rows)


def test_kinds_of_columns_apply_to_rows_of_a_loader() -> None:
    x = np.random.default_rng(0).integers(0, 3, (60, 2))
    loader = DataLoader(TensorDataset(torch.from_numpy(x)), batch_size=9)
    assert tb.data.open(loader, kinds="categories").domain == tb.data.open(x, kinds="categories").domain
    pictures = DataLoader(TensorDataset(torch.zeros(60, 1, 4, 4)), batch_size=9)
    with pytest.raises(InputError, match="kinds are for the columns of a table"):
        tb.data.open(pictures, kinds="categories")


@pytest.mark.parametrize("later", [0, 5], ids=["in the first batch", "in a later batch"])
@pytest.mark.parametrize("stream", [False, True])
def test_fractions_in_new_data_for_a_model_of_levels_are_refused(x: np.ndarray, later: int, stream: bool) -> None:
    class Rows(IterableDataset[Any]):
        def __iter__(self) -> Any:
            return iter(odd)

    trained = tb.Trained(tb.VAE.for_data(x, **SMALL))
    odd = torch.from_numpy(x[:6].astype(np.float32))
    odd[later, 0, 0, 0] = 2.5
    loader = DataLoader(Rows() if stream else TensorDataset(odd), batch_size=2)
    with pytest.raises(InputError, match=r"not all are integers.*; the model was trained on such values only$"):
        trained.encode(loader)
