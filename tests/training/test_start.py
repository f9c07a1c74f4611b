"""Where training starts: at the training examples, unless the model was trained before or the decoder is given."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import tightbound as tb
from tightbound.analysis.bounds.estimator import evaluate
from tightbound.components import describe
from tightbound.config import Config
from tightbound.data.given import training_data
from tightbound.recipes.composing import compose

SMALL: Any = {"latent": 2, "network": "mlp(hidden=(8,))"}


@pytest.fixture(scope="module")
def data() -> tb.data.Data:
    x = np.random.default_rng(0).integers(0, 17, (60, 1, 4, 4)).astype(np.uint8)
    return tb.data.open(x, levels=17)


def test_a_second_fit_continues_from_the_weights_of_the_first(data: tb.data.Data) -> None:
    model = tb.VAE.for_data(data, **SMALL)
    tb.fit(model, data, steps=20, lr=0.05, quiet=True)
    before = {name: t.clone() for name, t in model.state_dict().items()}
    tb.fit(model, data, steps=1, lr=1e-30, quiet=True)
    assert all(torch.equal(t, before[name]) for name, t in model.state_dict().items())


def test_the_bias_of_a_given_decoder_is_not_overwritten(data: tb.data.Data) -> None:
    decoder = nn.Sequential(nn.Linear(2, 16))
    before = decoder[0].bias.clone()
    likelihood = tb.likelihoods.Binomial(data.shape, 2, decoder, levels=17)
    model = tb.VAE.for_data(data, **SMALL, likelihood=likelihood)
    tb.fit(model, data, steps=1, lr=1e-30, quiet=True)
    assert torch.equal(decoder[0].bias, before)


def test_a_likelihood_given_by_name_starts_at_the_marginals(data: tb.data.Data) -> None:
    start, nowhere = (tb.VAE.for_data(data, **SMALL, start_at_data=on, likelihood="binomial") for on in (True, False))
    better, worse = (evaluate(m, data.train, samples=20)["distortion"].value for m in (start, nowhere))
    assert better < worse - 1  # pyright: ignore


def real(n: int = 60) -> np.ndarray[Any, Any]:
    return np.random.default_rng(1).normal([5.0, -3.0, 0.0], [2.0, 0.1, 30.0], (n, 3))


def gray(n: int = 60) -> np.ndarray[Any, Any]:
    return np.random.default_rng(2).integers(0, 17, (n, 1, 8, 8)).astype(np.uint8)


def table(n: int = 60) -> np.ndarray[Any, Any]:
    x = real(n)
    x[::7, 0] = np.nan
    return x


QUANTIZED = {"latents": "quantized(quantizer='vq(codebook_size=8)')", "network": "resnet(halvings=(1,), hidden=4)"}
STARTS: dict[str, tuple[Any, Any, dict[str, Any]]] = {
    "normalization and learned scale": (real, {}, {}),
    "table": (table, {}, {}),
    "normalization alone": (real, {}, {"start_at_data": False}),
    "pseudo-inputs": (gray, {"levels": 17}, {"prior": "vamp(components=7)"}),
    "exemplars": (real, {}, {"prior": "exemplar(exemplars=20)"}),
    "codebook": (gray, {"levels": 17}, {**SMALL, **QUANTIZED, "latent": 3}),
}


@pytest.mark.parametrize("case", STARTS)
def test_validation_examples_do_not_change_where_training_starts(case: str) -> None:
    make, reading, options = STARTS[case]
    x = make()
    other = x.copy()
    held = np.sort(np.random.default_rng(0).permutation(len(x))[:6])  # those that fit sets aside
    other[held] = (16 - other[held]) if x.dtype == np.uint8 else other[held] * 1e3 + 7
    models = [
        tb.VAE.for_data(tb.data.open(y, **reading, test=0.1).whole, **{**SMALL, **options}, **reading)
        for y in (x, other)
    ]
    assert any(not torch.equal(a, b) for a, b in zip(*(m.state_dict().values() for m in models), strict=True))
    for model, y in zip(models, (x, other), strict=True):
        tb.fit(model, y, steps=1, validation_size=6, quiet=True)
    one, two = (m.state_dict() for m in models)
    assert all(torch.equal(one[name], two[name]) for name in one)
    assert describe(models[0]) == describe(models[1])


def unchanged(model: tb.VAE, before: dict[str, torch.Tensor]) -> bool:
    """Whether only zeros have moved, by a step with the learning rate 1e-30."""
    return all(torch.allclose(t, before[name], rtol=0, atol=1e-29) for name, t in model.state_dict().items())


def test_a_model_that_starts_at_training_examples_only_keeps_its_start() -> None:
    x = real()
    model = tb.VAE.for_data(x, **SMALL, prior="vamp(components=7)")
    before = {name: t.clone() for name, t in model.state_dict().items()}
    for _ in range(2):
        tb.fit(model, x, steps=1, lr=1e-30, validation=x[:5], quiet=True)
        assert unchanged(model, before)


def test_the_command_line_composes_at_the_start_that_fit_uses() -> None:
    x = real()
    composed = compose(Config(**SMALL, prior="exemplar(exemplars=54)", validation_size=6), training_data(x))
    before = {name: t.clone() for name, t in composed.model.state_dict().items()}
    exemplars = composed.model.observation.restore(before["latents.prior.exemplars"])
    held = np.sort(np.random.default_rng(0).permutation(len(x))[:6])
    assert (torch.cdist(exemplars, torch.from_numpy(x[held]).float()).min(1).values > 1e-4).all()
    tb.fit(composed.model, x, steps=1, lr=1e-30, validation_size=6, quiet=True)
    assert unchanged(composed.model, before)


def test_a_model_trained_by_a_loop_of_ones_own_keeps_its_normalization() -> None:
    x = real()
    model = tb.VAE.for_data(x, **SMALL)
    with torch.no_grad():
        next(model.parameters()).add_(1.0)
    before = {name: t.clone() for name, t in model.state_dict().items()}
    tb.fit(model, x, steps=1, lr=1e-30, quiet=True)
    assert unchanged(model, before)


def test_weights_carry_the_normalization_that_they_were_trained_with(tmp_path: Path) -> None:
    x = real()
    encoder: Any = nn.Sequential(nn.Linear(3, 8), nn.Tanh())
    model = tb.VAE.for_data(x, **SMALL, encoder=encoder)
    with pytest.warns(UserWarning, match="cannot be rebuilt"):
        trained = tb.fit(model, x, steps=3, run=tmp_path / "run", quiet=True)
    mine = tb.VAE.for_data(x, **SMALL, encoder=nn.Sequential(nn.Linear(3, 8), nn.Tanh()))
    loaded = tb.load(tmp_path / "run", model=mine)
    assert torch.equal(loaded.encode(x), trained.encode(x))
    assert torch.equal(loaded.model.observation.std, trained.model.observation.std)


@pytest.mark.parametrize("batch_size", [1, 2, 60])
def test_a_loader_of_any_batch_size_starts_at_the_spread_of_the_data(batch_size: int) -> None:
    x = torch.from_numpy(real()).float()
    loader = DataLoader(TensorDataset(x), batch_size=batch_size)
    model = tb.VAE.for_data(loader, **SMALL, domain="real")
    whole = tb.VAE.for_data(x, **SMALL)
    for name, value in whole.state_dict().items():
        assert torch.allclose(model.state_dict()[name], value, atol=1e-5), name


def test_a_loader_is_read_once_to_start_at_its_examples() -> None:
    reads: list[int] = []

    class Counted(TensorDataset):
        def __getitem__(self, index: Any) -> Any:
            reads.append(index)
            return super().__getitem__(index)

    x = torch.from_numpy(real(20)).float()
    loader = DataLoader(Counted(x), batch_size=4)
    model = tb.VAE.for_data(loader, **SMALL, domain="real")
    before = len(reads)
    tb.fit(model, loader, steps=1, quiet=True)
    assert len(reads) - before <= 20 + 8 + 8  # to judge the values, to check the model, and to take the step
