"""A trained model as a person uses it, and the two ways to get one: `fit` and `load`."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import tightbound as tb
from conftest import gray
from tightbound.core.component import Component
from tightbound.core.errors import CompositionError, InputError
from tightbound.inference import infer
from tightbound.inference.infer import linear, spherical
from tightbound.likelihoods import Bernoulli
from tightbound.posteriors import DiagonalNormal
from tightbound.priors import StandardNormal

QUICK: dict[str, Any] = {"epochs": 1, "batch_size": 16, "quiet": True, "validation_size": 0}


@pytest.fixture(scope="module")
def data() -> tb.data.Data:
    return tb.data.open(gray(), levels=17)


@pytest.fixture(scope="module")
def trained(data: tb.data.Data, tmp_path_factory: pytest.TempPathFactory) -> tb.Trained:
    """With dropout, and with an observation that draws: both must be still."""
    model = tb.VAE.for_data(data, latent=3, network="mlp(hidden=(16,), dropout=0.5)", likelihood="bernoulli")
    return tb.fit(model, data, run=tmp_path_factory.mktemp("trained") / "run", **QUICK)


def x(data: tb.data.Data) -> Tensor:
    return next(data.train.epoch(20)).x


CALLS: dict[str, Callable[[tb.Trained, Tensor], Tensor]] = {
    "encode": lambda t, x: t.encode(x),
    "encode, sampled": lambda t, x: t.encode(x, draw=True),
    "decode": lambda t, x: t.decode(torch.ones(5, 3)),
    "decode, sampled": lambda t, x: t.decode(torch.ones(5, 3), draw=True),
    "reconstruct": lambda t, x: t.reconstruct(x),
    "sample": lambda t, x: t.sample(6),
    "sample, drawn": lambda t, x: t.sample(6, draw=True),
    "interpolate": lambda t, x: t.interpolate(x[0], x[1], path="spherical"),
    "log_likelihood": lambda t, x: t.log_likelihood(x, samples=7),
}


@pytest.mark.parametrize("call", CALLS)
def test_calls_are_deterministic_in_eval_mode_and_without_gradients(
    trained: tb.Trained, data: tb.data.Data, call: str
) -> None:
    trained.model.train()
    torch.manual_seed(1)
    one = CALLS[call](trained, x(data))
    torch.manual_seed(2)
    state = torch.get_rng_state()
    two = CALLS[call](trained, x(data))
    assert torch.equal(one, two)
    assert torch.equal(torch.get_rng_state(), state), "torch's generator was moved"
    assert not one.requires_grad
    assert trained.model.training, "the mode was not restored"
    assert all(module.training for module in trained.model.modules())
    trained.model.eval()
    assert torch.equal(CALLS[call](trained, x(data)), one)
    assert not trained.model.training
    assert torch.is_grad_enabled()


def test_the_mode_is_restored_after_an_error_too(trained: tb.Trained) -> None:
    trained.model.train()
    with pytest.raises(InputError):
        trained.encode(torch.zeros(2, 1, 9, 9))
    assert trained.model.training
    trained.model.eval()


def test_seeds_are_heeded(trained: tb.Trained, data: tb.data.Data) -> None:
    some = x(data)
    for call in (
        lambda seed: trained.encode(some, draw=True, seed=seed),
        lambda seed: trained.decode(torch.ones(5, 3), draw=True, seed=seed),
        lambda seed: trained.sample(6, seed=seed),
        lambda seed: trained.log_likelihood(some, samples=3, seed=seed),
    ):
        assert torch.equal(call(4), call(4))
        assert not torch.equal(call(4), call(5))
    assert not torch.equal(trained.encode(some, draw=True), trained.encode(some))


@pytest.mark.parametrize("sample", [False, True])
def test_codes_do_not_depend_on_the_batch_size(trained: tb.Trained, data: tb.data.Data, sample: bool) -> None:
    some = x(data)
    expected = infer.encode(trained.model, some, draw=sample)
    for size in (1, 7, 20):
        got = infer.encode(trained.model, some, draw=sample, batch_size=size)
        for a, b in zip(got, expected, strict=True):
            torch.testing.assert_close(a, b)


def test_arrays_tensors_and_splits_are_alike(trained: tb.Trained, data: tb.data.Data) -> None:
    raw = next(data.whole.epoch(100)).x
    expected = trained.encode(data.whole)
    assert expected.shape == (len(data.whole), 3)
    torch.testing.assert_close(trained.encode(data.test), expected[data.test.rows])
    for source in (raw, raw.numpy(), raw.double(), raw.numpy().astype(np.float32), raw.numpy().astype(np.int64)):
        torch.testing.assert_close(trained.encode(source), expected)
        torch.testing.assert_close(trained.log_likelihood(source, samples=3), trained.log_likelihood(raw, samples=3))


def test_shapes_and_units_are_those_of_the_data(trained: tb.Trained, data: tb.data.Data) -> None:
    some = x(data)
    assert trained.reconstruct(some).shape == some.shape
    torch.testing.assert_close(trained.reconstruct(some).squeeze(1), trained.decode(trained.encode(some)))
    assert 4 < trained.reconstruct(some).mean() < 12, "levels 0..16, not [0, 1]"
    drawn = trained.sample(30, draw=True)
    assert set(drawn.unique().tolist()) <= {0.0, 16.0}, "bits, in the data's units"
    likelihood = trained.log_likelihood(some, samples=9)
    assert likelihood.shape == (20,)
    assert likelihood.mean().item() == pytest.approx(trained.evaluate(some, samples=9)["iwae"].value)


def test_interpolation_goes_from_one_example_to_the_other(trained: tb.Trained, data: tb.data.Data) -> None:
    a, b = x(data)[:2]
    ends = trained.reconstruct(torch.stack([a, b]))
    for path in ("linear", "spherical"):
        walk = trained.interpolate(a, b, steps=5, path=path)
        torch.testing.assert_close(walk[[0, -1]], ends, rtol=1e-4, atol=1e-3)
        assert trained.interpolate(a.numpy(), b.numpy(), steps=5, path=path).equal(walk)  # pyright: ignore


def test_the_great_circle() -> None:
    a, b, t = torch.tensor([3.0, 0.0]), torch.tensor([0.0, 1.0]), torch.tensor([0.0, 0.25, 0.5, 1.0])
    walk = spherical(a, b, t)
    torch.testing.assert_close(walk.norm(dim=1), torch.tensor([3.0, 2.5, 2.0, 1.0]))
    angles = torch.atan2(walk[:, 1], walk[:, 0])
    torch.testing.assert_close(angles, t * torch.pi / 2)
    for other in (2 * a, -a, torch.zeros(2)):  # no circle is singled out
        walk = spherical(a, other, t)
        assert torch.isfinite(walk).all()
        torch.testing.assert_close(walk, linear(a, other, t))


WRONG: dict[str, tuple[Callable[[tb.Trained], object], str]] = {
    "one example without its batch axis": (lambda t: t.encode(torch.zeros(8, 8)), r"\(N, 1, 8, 8\)"),
    "a split of another shape": (lambda t: t.encode(tb.data.open(gray(shape=(9, 8)), levels=17).test), r"9, 8"),
    "words": (lambda t: t.encode(np.array(["a", "b"])), "number"),
    "nothing": (lambda t: t.encode(torch.zeros(0, 1, 8, 8)), "at least one"),
    "not a number": (lambda t: t.encode(torch.full((2, 1, 8, 8), torch.nan)), "NaN|nan|finite"),
    "values outside the domain": (lambda t: t.log_likelihood(torch.full((2, 1, 8, 8), 200), samples=2), "17 levels"),
    "codes of another size": (lambda t: t.decode(torch.zeros(2, 4)), r"\(N, 3\)"),
    "ends of another shape": (lambda t: t.interpolate(torch.zeros(1, 8, 8), torch.zeros(1, 8, 9)), "1, 8, 8"),
    "one step": (lambda t: t.interpolate(torch.zeros(1, 8, 8), torch.zeros(1, 8, 8), steps=1), "steps = 1"),
    "unknown path": (
        lambda t: t.interpolate(*torch.zeros(2, 1, 8, 8), path="cubic"),  # pyright: ignore
        "linear, spherical",
    ),
    "no samples": (lambda t: t.sample(0), "n = 0"),
    "half a sample": (lambda t: t.sample(2.5), "n = 2.5"),  # pyright: ignore
    "no importance samples": (lambda t: t.log_likelihood(torch.zeros(2, 1, 8, 8), samples=0), "samples = 0"),
}


@pytest.mark.parametrize("case", WRONG)
def test_mistakes_are_explained(trained: tb.Trained, case: str) -> None:
    call, description = WRONG[case]
    with pytest.raises(InputError, match=description):
        call(trained)


def test_an_autoencoder_has_codes_but_no_likelihood(data: tb.data.Data) -> None:
    model = tb.VAE.for_data(data, latent=2, network="mlp(hidden=(8,))", posterior="point")
    trained = tb.fit(model, data, tb.objectives.Autoencoder(), **QUICK)
    assert torch.equal(trained.encode(x(data), draw=True), trained.encode(x(data)))
    with pytest.raises(InputError, match="point mass"):
        trained.log_likelihood(x(data), samples=2)


def test_load_gives_the_same_model_back(trained: tb.Trained, data: tb.data.Data) -> None:
    loaded = tb.load(trained.path)
    assert torch.equal(loaded.encode(data.test), trained.encode(data.test))
    assert torch.equal(loaded.sample(3), trained.sample(3))
    assert not loaded.model.training
    assert loaded.weights == trained.weights
    assert list(loaded.metrics) == list(trained.metrics)


# A user's own modules, with no base class and none of our parts.


class Encoder(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(64, 12)

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x.flatten(1)).relu()


def composed(data: tb.data.Data, decoder: nn.Module | None = None, encoder: nn.Module | None = None) -> tb.VAE:
    torch.manual_seed(0)
    posterior = DiagonalNormal(data.shape, 3, encoder or Encoder())
    likelihood = Bernoulli(data.shape, 3, decoder or nn.Sequential(nn.Linear(3, 64)))
    observation = tb.VAE.for_data(data, likelihood="bernoulli").observation
    return tb.VAE(tb.Flat(StandardNormal(3), posterior), likelihood, observation)


def test_networks_of_ones_own(data: tb.data.Data, tmp_path: Path) -> None:
    with pytest.warns(UserWarning, match="model=mine"):
        trained = tb.fit(composed(data), data, run=tmp_path / "run", **QUICK)
    with pytest.raises(CompositionError, match=r"Encoder.*load\(run, model=mine\)"):
        tb.load(tmp_path / "run")
    loaded = tb.load(tmp_path / "run", model=composed(data))
    assert torch.equal(loaded.encode(data.test), trained.encode(data.test))
    resumed = tb.fit(composed(data), data, run=tmp_path / "run", resume=True, **{**QUICK, "epochs": 2})
    assert len(resumed.metrics) == 2
    with pytest.raises(InputError, match="another model"):
        tb.load(tmp_path / "run", model=composed(data, decoder=nn.Linear(3, 64)))


def test_networks_that_do_not_fit_are_explained(data: tb.data.Data) -> None:
    with pytest.raises(CompositionError, match=r"decoder gives .B, 60.*needs 64.*nn.Linear\(..., 64\)"):
        composed(data, decoder=nn.Linear(3, 60))
    with pytest.raises(CompositionError, match="decoder does not accept inputs of shape"):
        composed(data, decoder=nn.Linear(4, 64))
    with pytest.raises(CompositionError, match=r"encoder does not accept input.*nn.Linear\(64"):
        composed(data, encoder=nn.Linear(63, 8))


OWN = """
from torch import nn
from tightbound.nn import Architecture, MLP
from tightbound.priors import StandardNormal

class Tiny(Architecture):
    "A linear network."
    def __init__(self, width: int = 4) -> None:
        self.width = width
    def encoder(self, shape):
        return MLP(hidden=(self.width,)).encoder(shape)
    def decoder(self, features, outputs, shape):
        return MLP(hidden=(self.width,)).decoder(features, outputs, shape)

class MyPrior(StandardNormal):
    "N(0, I), under another name."
"""


def test_a_part_of_ones_own_by_its_import_path(
    data: tb.data.Data, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "own_parts.py").write_text(OWN)
    monkeypatch.syspath_prepend(tmp_path)
    parts: Any = {"network": "own_parts:Tiny(width=5)", "prior": "own_parts:MyPrior", "latent": 3}
    with pytest.raises(InputError, match="trust"):
        tb.VAE.for_data(data, **parts)
    with pytest.warns(UserWarning, match="trust=True"):
        trained = tb.fit(tb.VAE.for_data(data, **parts, trust=True), data, run=tmp_path / "run", **QUICK)
    with pytest.raises(InputError, match="trust"):
        tb.load(tmp_path / "run")
    loaded = tb.load(tmp_path / "run", trust=True)
    assert type(loaded.model.latents.prior).__name__ == "MyPrior"  # pyright: ignore
    assert torch.equal(loaded.encode(data.test), trained.encode(data.test))
    sys.modules.pop("own_parts", None)


class Scaled(Component, nn.Module):
    """A network of the user's that says how it was constructed."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Flatten(), nn.Linear(64, width))

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x)


def test_a_module_that_is_a_part_needs_no_model(data: tb.data.Data, tmp_path: Path) -> None:
    like = tb.VAE.for_data(data, latent=3, network="mlp(hidden=(4,))", likelihood="bernoulli")
    posterior = DiagonalNormal(data.shape, 3, Scaled(width=5))
    model = tb.VAE(tb.Flat(StandardNormal(3), posterior), like.likelihood, like.observation)  # pyright: ignore
    with pytest.warns(UserWarning, match="trust=True"):
        trained = tb.fit(model, data, run=tmp_path / "run", **QUICK)
    loaded = tb.load(tmp_path / "run", trust=True)
    assert torch.equal(loaded.encode(data.test), trained.encode(data.test))


def test_the_readme_way_in_ten_lines() -> None:
    data = tb.data.open("digits")
    trained = tb.fit(tb.VAE.for_data(data, latent=2, network="mlp(hidden=(16,))"), data, epochs=1, quiet=True)
    assert trained.evaluate(data.test, samples=3)["iwae"].value < 0  # pyright: ignore
    assert set(tb.__all__) <= set(dir(tb))
    for name in tb.__all__:
        assert getattr(tb, name) is not None
    with pytest.raises(AttributeError, match="fitt"):
        tb.fitt  # noqa: B018  # pyright: ignore


def test_latent_codes_are_decoded_from_numpy_arrays(trained: tb.Trained) -> None:
    assert torch.equal(trained.decode(np.zeros((3, 3))), trained.decode(torch.zeros(3, 3)))


def test_a_float64_model_is_loaded_in_float64(data: tb.data.Data, tmp_path: Path) -> None:
    model = tb.VAE.for_data(data, latent=2, network="mlp(hidden=(8,))").double()
    trained = tb.fit(model, data, run=tmp_path / "run", **QUICK)
    loaded = tb.load(tmp_path / "run")
    assert torch.equal(loaded.encode(data.test), trained.encode(data.test))
    assert loaded.encode(data.test).dtype == torch.float64
