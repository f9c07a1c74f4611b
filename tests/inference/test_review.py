"""Defects that a reviewer found, each with a test that failed before."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, IterableDataset, TensorDataset

import tightbound as tb
from tightbound.analysis import evaluate
from tightbound.cli.main import main
from tightbound.core.errors import CompositionError, InputError
from tightbound.report.rows import rows

SMALL: Any = {"latent": 2, "network": "mlp(hidden=(8,))"}


@pytest.fixture(scope="module")
def x() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 17, (60, 1, 4, 4)).astype(np.uint8)


def test_a_second_fit_goes_on_from_the_weights(x: np.ndarray) -> None:
    """`fit` reset the output bias to the data's marginals each time."""
    data = tb.data.open(x, levels=17)
    model = tb.VAE.for_data(data, **SMALL)
    tb.fit(model, data, steps=20, lr=0.05, quiet=True)
    before = {name: t.clone() for name, t in model.state_dict().items()}
    tb.fit(model, data, steps=1, lr=1e-30, quiet=True)
    assert all(torch.equal(t, before[name]) for name, t in model.state_dict().items())


def test_a_decoder_of_ones_own_is_left_as_it_is(x: np.ndarray) -> None:
    """The last bias registered, of whatever layer, was overwritten."""
    data = tb.data.open(x, levels=17)
    decoder = nn.Sequential(nn.Linear(2, 16))
    before = decoder[0].bias.clone()
    likelihood = tb.likelihoods.Binomial(data.shape, 2, decoder, levels=17)
    model = tb.VAE.for_data(data, **SMALL, likelihood=likelihood)
    tb.fit(model, data, steps=1, lr=1e-30, quiet=True)
    assert torch.equal(decoder[0].bias, before)


def test_named_likelihoods_start_at_the_datas_marginals(x: np.ndarray) -> None:
    data = tb.data.open(x, levels=17)
    start, nowhere = (tb.VAE.for_data(data, **SMALL, start_at_data=on, likelihood="binomial") for on in (True, False))
    better, worse = (evaluate(m, data.train, samples=20)["distortion"].value for m in (start, nowhere))
    assert better < worse - 1  # pyright: ignore


def test_a_shuffling_loader_is_read_in_order_for_codes_and_numbers(x: np.ndarray) -> None:
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


def test_static_binarization_of_a_loader_is_refused(x: np.ndarray) -> None:
    data = tb.data.open(DataLoader(TensorDataset(torch.from_numpy(x)), batch_size=7), levels=17)
    model = tb.VAE.for_data(data, **SMALL, likelihood="bernoulli", observation="binarized(mode='static')")
    with pytest.raises(InputError, match="mode='dynamic'"):
        tb.fit(model, data, steps=1, quiet=True)


class Stream(IterableDataset[torch.Tensor]):
    def __iter__(self) -> Any:
        return iter(torch.eye(12))


def test_a_stream_is_trained_on_and_evaluated() -> None:
    data = tb.data.open(DataLoader(Stream(), batch_size=5))
    trained = tb.fit(tb.VAE.for_data(data, **SMALL), data, steps=7, quiet=True)
    assert trained.evaluate(data.test, samples=3)["iwae"].n == 12


def test_columns_that_float32_cannot_hold_are_refused() -> None:
    milliseconds = 1.7e12 + np.random.default_rng(0).uniform(0, 86400, (50, 1))
    with pytest.raises(InputError, match="subtract an offset"):
        tb.data.open(milliseconds)


def test_tiny_columns_are_standardized_and_constant_ones_are_warned_of() -> None:
    rng = np.random.default_rng(0)
    tiny = tb.VAE.for_data(tb.data.open(rng.normal(size=(200, 2)) * 1e-13), **SMALL)
    assert torch.allclose(tiny.observation.std, torch.tensor(1e-13), rtol=0.2)  # pyright: ignore
    mixed = np.concatenate([rng.normal(size=(200, 1)), np.full((200, 1), 3.0)], axis=1)
    with pytest.warns(UserWarning, match="column 1 .* constant"):
        tb.VAE.for_data(tb.data.open(mixed), **SMALL)


def test_free_bits_over_factors_need_them(x: np.ndarray) -> None:
    """With a Monte Carlo KL it was silently over groups."""
    data = tb.data.open(x, levels=17)
    with pytest.raises(CompositionError, match="over='group'"):
        tb.fit(tb.VAE.for_data(data, **SMALL), data, tb.objectives.FreeBits(kl="monte-carlo"), steps=1, quiet=True)


def test_cross_entropy_in_expectation_is_not_called_a_likelihood(x: np.ndarray) -> None:
    data = tb.data.open(x, levels=17)
    model = tb.VAE.for_data(data, **SMALL, likelihood="bernoulli", observation="binarized(mode='expected')")
    trained = tb.fit(model, data, steps=1, quiet=True)
    with pytest.raises(InputError, match="no likelihood"):
        trained.log_likelihood(data.test)
    result = trained.evaluate(data.test, samples=2)
    assert "nll" not in [row.name for row in rows(result.estimates)]
    assert "no likelihood" in (result["iwae"].reason or "")


def test_codes_from_numpy_are_decoded(x: np.ndarray) -> None:
    data = tb.data.open(x, levels=17)
    trained = tb.fit(tb.VAE.for_data(data, **SMALL), data, steps=1, quiet=True)
    assert torch.equal(trained.decode(np.zeros((3, 2))), trained.decode(torch.zeros(3, 2)))


def test_a_float64_model_comes_back_as_one(x: np.ndarray, tmp_path: Path) -> None:
    data = tb.data.open(x, levels=17)
    trained = tb.fit(tb.VAE.for_data(data, **SMALL).double(), data, steps=2, quiet=True, run=tmp_path / "r")
    loaded = tb.load(tmp_path / "r")
    assert torch.equal(loaded.encode(x), trained.encode(x))
    assert loaded.encode(x).dtype == torch.float64


def test_changed_data_are_not_evaluated_as_the_runs_own(
    x: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    """All rows, training data too, were evaluated and recorded as the run's numbers."""
    monkeypatch.chdir(tmp_path)
    np.save("x.npy", x)
    flags = ["--levels", "17", "--network", "mlp(hidden=(8,))", "--steps", "1", "--evaluate-samples", "0"]
    main(["train", "x.npy", "--run", "r", *flags])
    np.save("x.npy", x[:-1])
    with pytest.raises(SystemExit) as stop:
        main(["evaluate", "r", "--samples", "2"])
    assert stop.value.code == 2
    assert "changed or moved" in capsys.readouterr().err


def test_a_folder_named_like_a_recipe_is_only_data(
    x: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    from tightbound.cli.main import parse

    monkeypatch.chdir(tmp_path)
    assert parse(["train", "autoencoder"]).recipe is None  # pyright: ignore
    assert parse(["train"]).recipe == "digits"  # pyright: ignore


def test_a_table_has_a_next_step_that_works(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    monkeypatch.chdir(tmp_path)
    np.savetxt("t.csv", np.random.default_rng(0).normal(size=(40, 3)), delimiter=",")
    main(["train", "t.csv", "--run", "r", "--network", "mlp(hidden=(8,))", "--steps", "2", "--evaluate-samples", "2"])
    for _ in range(4):
        step = capsys.readouterr().out.split("next: tightbound ")[1].split(";")[0].split()
        main(step)
    assert (tmp_path / "samples.csv").is_file()
    assert (tmp_path / "interpolation.npz").is_file()
