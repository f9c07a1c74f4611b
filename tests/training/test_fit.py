"""Results of `fit`: weights, folders, metrics."""

from __future__ import annotations

import gc
from pathlib import Path
from typing import Any

import pytest
import torch

import tightbound as tb
from conftest import gray, tree
from tightbound.core.errors import CompositionError, InputError, NonFinite
from tightbound.objectives import IWAE

QUICK: dict[str, Any] = {"epochs": 2, "batch_size": 16, "quiet": True}


@pytest.fixture
def data() -> tb.data.Data:
    return tb.data.open(gray(), levels=17)


def small(data: tb.data.Data, **parts: Any) -> tb.VAE:
    return tb.VAE.for_data(data, **{"latent": 2, "network": "mlp(hidden=(8,))", **parts})


def test_load_says_which_weights_it_took(data: tb.data.Data, tmp_path: Path) -> None:
    tb.fit(small(data), data, run=tmp_path / "r", ema=0.5, validation_size=6, lr=1e-2, **QUICK)
    words = {which: tb.load(tmp_path / "r", weights=which) for which in ("auto", "best", "ema", "last")}  # pyright: ignore
    assert {which: t.weights.split()[0] for which, t in words.items()} == {
        "auto": "best", "best": "best", "ema": "averaged", "last": "last",
    }  # fmt: skip
    codes = {which: trained.encode(data.test) for which, trained in words.items()}
    assert torch.equal(codes["auto"], codes["best"])
    assert not torch.equal(codes["ema"], codes["last"])
    tb.fit(small(data), data, run=tmp_path / "s", validation_size=0, **QUICK)
    assert tb.load(tmp_path / "s").weights.startswith("last")
    for which, fix in (("best", "validation"), ("ema", "ema="), ("worst", "needed")):
        with pytest.raises(InputError, match=fix):
            tb.load(tmp_path / "s", weights=which)  # pyright: ignore


def test_training_keeps_the_best_weights_not_the_last(data: tb.data.Data, tmp_path: Path) -> None:
    """An autoencoder learns its random pictures by heart, and soon does worse on others."""
    model = small(data, posterior="point", likelihood="bernoulli", observation="binarized(mode='expected')", latent=16)
    more = {**QUICK, "epochs": 12, "validation_size": 6, "lr": 3e-2}
    trained = tb.fit(model, data, tb.objectives.Autoencoder(), run=tmp_path / "r", **more)
    losses = [row["validation_loss"] for row in trained.metrics]
    best = losses.index(min(losses)) + 1
    assert best < 12, "the test needs a run that gets worse"
    assert f"epoch {best}," in trained.weights
    last = tb.load(tmp_path / "r", weights="last")
    assert not torch.equal(last.encode(data.test), trained.encode(data.test))


def test_a_temporary_run_is_deleted_without_a_warning(data: tb.data.Data) -> None:
    trained = tb.fit(small(data), data, **QUICK)
    path = trained.folder.path
    assert trained.metrics
    assert path.is_dir()
    del trained
    gc.collect()
    assert not path.exists()


def test_training_is_a_function_of_the_seed(data: tb.data.Data) -> None:
    def weights(seed: int, outside: int) -> torch.Tensor:
        torch.manual_seed(outside)
        state = torch.get_rng_state()
        trained = tb.fit(small(data, seed=seed, network="mlp(hidden=(8,), dropout=0.5)"), data, seed=seed, **QUICK)
        assert torch.equal(torch.get_rng_state(), state), "torch's generator was moved"
        return torch.cat([p.flatten() for p in trained.model.parameters()])

    assert torch.equal(weights(0, 1), weights(0, 2))
    assert not torch.equal(weights(0, 1), weights(1, 1))


def test_what_is_refused_leaves_no_folder(data: tb.data.Data, tmp_path: Path) -> None:
    run = tmp_path / "r"
    with pytest.raises(CompositionError, match="autoencoder"):
        tb.fit(small(data, posterior="point"), data, IWAE(), run=run, **QUICK)
    for mistake in ({"schedule": "cosin"}, {"validation_size": 54}, {"device": "abacus"}, {"lr": 0.0}, {"epoch": 3}):
        with pytest.raises(InputError):
            tb.fit(small(data), data, run=run, **{**QUICK, **mistake})
    other = tb.data.open(gray(shape=(9, 8)), levels=17)
    with pytest.raises(InputError, match="shape"):
        tb.fit(small(data), other, run=run, **QUICK)
    assert tree(tmp_path) == {}


def test_a_loss_that_is_not_finite_stops_and_keeps_the_run(data: tb.data.Data, tmp_path: Path) -> None:
    with pytest.raises(
        NonFinite, match=r"became (inf|nan) at step \d+ .*terms that are not finite: .*; lower lr= \(now 1e\+30\)"
    ):
        tb.fit(small(data), data, run=tmp_path / "r", lr=1e30, **{**QUICK, "epochs": 20})


def test_the_path_from_fit_to_the_model_is_short() -> None:
    """Read in a traceback: at most eight functions of tightbound from `fit` to the model, both included."""

    class Stop(Exception):
        pass

    class Failing(tb.VAE):
        def forward(self, *args: Any, **kwargs: Any) -> Any:
            if self.training:
                raise Stop
            return super().forward(*args, **kwargs)

    data = tb.data.open(gray(), levels=17)
    model = small(data)
    model.__class__ = Failing
    with pytest.raises(Stop) as stopped:
        tb.fit(model, data, **QUICK)
    package = Path(tb.__file__).parent
    own = [entry for entry in stopped.traceback if package in Path(entry.path).parents]
    assert own[0].name == "fit"
    assert len(own) + 1 <= 8, [entry.name for entry in own]


def test_accumulated_metrics_weigh_each_example_alike(data: tb.data.Data) -> None:
    """54 data in batches of 16: the last holds 6. With a rate of almost nothing the epoch is one evaluation."""
    model = small(data, likelihood="bernoulli", observation="binarized(mode='expected')", posterior="point")
    trained = tb.fit(
        model, data, tb.objectives.Autoencoder(), lr=1e-30, validation_size=0, epochs=1, batch_size=16, quiet=True
    )
    expected = trained.evaluate(data.train, samples=1)["distortion"].value
    assert trained.metrics[0]["train_reconstruction"] == pytest.approx(expected, rel=1e-6)
