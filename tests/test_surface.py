"""The surface that users call: near misses are one clear line, and near matches work."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from torch.utils.data import DataLoader, SubsetRandomSampler, TensorDataset

import tightbound as tb
from tightbound.components import describe
from tightbound.core.errors import InputError

X = np.random.default_rng(0).integers(0, 17, (60, 8, 8)).astype(np.uint8)
NET = "mlp(hidden=(4,))"


@pytest.fixture(scope="module")
def levels() -> tb.VAE:
    return tb.VAE.for_data(X, latent=2, network=NET, levels=17)


@pytest.mark.parametrize(
    ("x", "match"),
    [
        (torch.full((3, 1, 8, 8), 3.5), "values from 3.5 to 3.5"),
        (torch.full((3, 1, 8, 8), -1), "values from -1 to -1"),
        (torch.full((3, 1, 8, 8), 17), "values from 17 to 17"),
        (torch.full((3, 1, 8, 8), torch.nan), "not finite"),
        (torch.zeros(1, 8), r"shape \(1, 8\); needed: one tensor of shape \(B, 1, 8, 8\)"),
        (torch.zeros(0, 1, 8, 8), "with B at least 1"),
        (torch.zeros(3, 64), r"shape \(3, 64\)"),
        ([torch.zeros(3, 1, 8, 8), torch.zeros(3)], r"x is a list of 2 parts; .* such as batch\[0\]"),
    ],
)
def test_a_loss_of_other_data_is_refused(levels: tb.VAE, x: Any, match: str) -> None:
    with pytest.raises(InputError, match=match):
        levels.loss(x)


def test_a_loss_takes_images_without_their_channel(levels: tb.VAE) -> None:
    x = torch.from_numpy(X[:5])
    assert torch.equal(levels.loss(x, seed=0), levels.loss(x.unsqueeze(1), seed=0))
    for name, value in (("samples", 0), ("samples", 2.5), ("seed", 1.5)):
        with pytest.raises(InputError, match=name):
            levels.loss(x, **{name: value})


def test_shares_of_data_in_memory_are_refused(levels: tb.VAE) -> None:
    for name in ("validation", "test"):
        with pytest.raises(InputError, match=f"{name} = 0.2 is a number"):
            tb.fit(levels, X, **{name: 0.2}, steps=1, quiet=True)


def test_a_loader_that_picks_examples_is_refused(levels: tb.VAE) -> None:
    data = TensorDataset(torch.from_numpy(X).unsqueeze(1))
    picking = DataLoader(data, batch_size=10, sampler=SubsetRandomSampler(range(20)))
    with pytest.raises(InputError, match="picks examples by a SubsetRandomSampler"):
        tb.Trained(levels).encode(picking)
    assert len(tb.Trained(levels).encode(DataLoader(data, batch_size=7, shuffle=True))) == 60


def test_numpy_scalars_are_numbers(tmp_path: Path) -> None:
    model = tb.VAE.for_data(X, latent=np.int64(2), network=NET, levels=17)
    tb.fit(model, X, run=tmp_path / "run", lr=np.float64(1e-3), epochs=np.int64(1), quiet=True)
    assert tb.load(tmp_path / "run").encode(X).shape == (60, 2)


def test_runs_are_compared_by_their_folders_and_models_as_they_are(run: Path, levels: tb.VAE) -> None:
    found = tb.compare([str(run), levels], X, samples=2)
    assert len(found.runs) == 2
    assert tb.evaluate(str(run), tb.load(run).data, samples=2)["elbo"].value is not None
    for models in ([], "run", 3):
        with pytest.raises(InputError, match="needed: a list of trained models or folders of runs"):
            tb.compare(models)
    with pytest.raises(InputError, match="int was given; needed: a trained model"):
        tb.evaluate(3, X)
    with pytest.raises(InputError, match="needed: a VAE, built as it was for training"):
        tb.load(run, model=tb.VAE)


def test_a_prompt_shows_what_matters(levels: tb.VAE, run: Path) -> None:
    found = tb.evaluate(levels, X, samples=2)
    assert repr(found) == str(found)
    assert len(repr(found)) < 4000
    size = sum(p.numel() for p in levels.parameters())
    model = f"DiscretizedLogistic likelihood of 17 levels, 2 latents, {size:,} parameters"
    assert repr(tb.Trained(levels)) == f"<Trained: {model}; weights: as given>"
    assert repr(tb.load(run)).endswith(f"; run: {str(run)!r}>")


def test_one_callback_needs_no_list(levels: tb.VAE) -> None:
    epochs = []
    tb.fit(levels, X, epochs=2, quiet=True, callbacks=lambda state: epochs.append(state.epoch))
    assert epochs == [1, 2]
    with pytest.raises(InputError, match="pass one of them"):
        tb.fit(levels, X, epochs=1, resume=True, overwrite=True)


def test_a_result_is_asked_by_name(levels: tb.VAE) -> None:
    found = tb.evaluate(levels, X, samples=2)
    assert "elbo" in found
    assert "nothing" not in found
    assert set(found) == set(found.estimates)
    with pytest.raises(KeyError, match="did you mean 'iwae'"):
        found["iwea"]


def test_a_run_with_validation_data_in_memory_asks_for_data(tmp_path: Path) -> None:
    """A run cannot find such data again; that is no damage of the data that it was trained on."""
    digits = tb.data.open("digits")
    model = tb.VAE.for_data(digits, latent=2, network=NET)
    tb.fit(model, digits, validation=X[:10], run=tmp_path / "run", steps=2, quiet=True)
    loaded = tb.load(tmp_path / "run")
    with pytest.raises(InputError, match="data="):
        loaded.evaluate(samples=2)
    assert loaded.evaluate(digits, samples=2)["elbo"].value is not None


def test_a_run_of_data_in_memory_or_of_a_file_that_moved_is_asked_about_other_data(tmp_path: Path) -> None:
    table = tmp_path / "t.csv"
    table.write_text("a,b\n" + "".join(f"{i % 7}.5,{i % 3}.25\n" for i in range(60)))
    for i, data in enumerate((pd.read_csv(table), str(table), tb.data.open(str(table)))):
        run = tmp_path / f"run{i}"
        tb.train(data, run=run, latent=1, network=NET, steps=2, quiet=True, sampler="prior")
        assert (tb.load(run).config["data"] is None) == (i != 1)
    other = pd.read_csv(table)[::-1]
    table.rename(tmp_path / "moved.csv")
    for i in range(3):
        loaded = tb.load(tmp_path / f"run{i}")
        assert loaded.evaluate(other, samples=2)["elbo"].value is not None
        with pytest.raises(InputError, match="data="):
            loaded.evaluate(samples=2)


def test_codes_are_decoded_with_a_context_each_or_one_for_all() -> None:
    model = tb.VAE.for_data((X, np.arange(60) % 3), latent=2, network=NET, levels=17, context="labels")
    trained, z = tb.Trained(model), torch.randn(6, 2, generator=torch.Generator().manual_seed(0))
    one, each = trained.decode(z, context=torch.tensor([1])), trained.decode(z, context=torch.tensor([1] * 6))
    assert torch.equal(one, each)
    for wrong in (2, 9):
        with pytest.raises(InputError, match=f"context= has {wrong} values and z has 6 codes"):
            trained.decode(z, context=torch.zeros(wrong, dtype=torch.long))
    with pytest.raises(InputError, match="z holds 2 values that are not finite"):
        trained.decode(torch.full((1, 2), torch.nan), context=torch.tensor([1]))


@pytest.mark.parametrize(
    ("shape", "network"),
    [
        ((1, 28, 28), "conv"),
        ((1, 218, 178), "conv(channels=(32, 64, 64, 64))"),
        ((3, 24, 24), "conv"),
        ((3, 64, 64), "resnet(halvings=(3,))"),
        ((3, 218, 178), "resnet(halvings=(4,))"),
    ],
)
def test_the_default_network_grows_with_the_edge_of_images_not_with_their_area(
    shape: tuple[int, ...], network: str
) -> None:
    x = np.random.default_rng(0).integers(0, 256, (3, *shape), dtype=np.uint8)
    default, named = (tb.VAE.for_data(x, latent=2, **given).state_dict() for given in ({}, {"network": network}))
    assert all(torch.equal(default[name], named[name]) for name in default)
    assert default.keys() == named.keys()
    assert sum(value.numel() for value in default.values()) < 9e6


@pytest.mark.parametrize(("shape", "latent"), [((1, 28, 28), 16), ((3, 32, 32), 32)])
def test_the_latent_size_of_images_fits_their_kind_and_pixels_share_a_scale(shape: Any, latent: int) -> None:
    x = np.random.default_rng(0).integers(0, 256, (6, *shape), dtype=np.uint8)
    model = tb.VAE.for_data(x)
    assert model.latents.latent == latent
    assert describe(model.likelihood)["scale"] == "shared"


NARROW = "mlp(hidden=(128, 128), skip=True)"


@pytest.mark.parametrize(("columns", "network"), [(3, NARROW), (100, NARROW), (101, "mlp")])
def test_tables_get_a_narrow_network_and_a_scale_for_each_column(columns: int, network: str) -> None:
    x = np.random.default_rng(0).normal(size=(20, columns))
    model, named = (tb.VAE.for_data(x, **given) for given in ({}, {"network": network}))
    assert model.state_dict().keys() == named.state_dict().keys()
    assert all(torch.equal(value, named.state_dict()[name]) for name, value in model.state_dict().items())
    assert describe(model.likelihood)["scale"] == "per-dimension"
    assert tb.VAE.for_data(x.reshape(20, 1, 1, columns)).likelihood.log_scale.shape == ()  # pyright: ignore
