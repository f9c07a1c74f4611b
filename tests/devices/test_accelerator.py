"""On a GPU, if there is one: runs agree with those on the CPU, and each can be loaded on the other device."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import tightbound as tb
from tightbound.analysis.estimate import scalar
from tightbound.trained import Trained
from tightbound.training.checks import choose_device

DEVICE = choose_device("auto")
if DEVICE.type == "cpu":
    pytest.skip("there is no accelerator here: neither cuda nor mps", allow_module_level=True)
HOW: dict[str, Any] = {"batch_size": 50, "validation_size": 100, "quiet": True}


def data() -> tb.data.Data:
    """The digits, 8 x 8."""
    return tb.data.open("digits")


def model(**parts: Any) -> tb.VAE:
    """A small model."""
    torch.manual_seed(0)
    return tb.VAE.for_data(data(), latent=4, network="mlp(hidden=(64,))", **parts)


def trained(run: Path | None = None, device: str = str(DEVICE), epochs: int = 2, **how: Any) -> Trained:
    """A run of two epochs."""
    return tb.fit(model(), data(), run=run, device=device, epochs=epochs, **{**HOW, **how})


def test_auto_takes_the_accelerator() -> None:
    assert trained(epochs=1, device="auto").model.device.type == DEVICE.type


def test_a_run_resumes_to_the_same_bits(tmp_path: Path) -> None:
    once = trained(tmp_path / "once", epochs=3)
    trained(tmp_path / "twice", epochs=1)
    again = tb.fit(model(), data(), run=tmp_path / "twice", device=str(DEVICE), epochs=3, resume=True, **HOW)
    for name, value in once.model.state_dict().items():
        assert torch.equal(value, again.model.state_dict()[name]), name


@pytest.mark.parametrize("weights", ["best", "last"])
def test_a_run_is_loaded_on_another_device(tmp_path: Path, weights: Any) -> None:
    there = trained(tmp_path / "there")
    here = tb.load(tmp_path / "there", device="cpu", weights=weights)
    assert here.model.device.type == "cpu"
    back = tb.load(tmp_path / "there", device=str(DEVICE), weights=weights)
    x = data().test
    torch.testing.assert_close(here.encode(x), back.encode(x), rtol=1e-3, atol=1e-3)
    if weights == "best":
        torch.testing.assert_close(there.encode(x), here.encode(x), rtol=1e-3, atol=1e-3)
    trained(tmp_path / "here", device="cpu")
    assert tb.load(tmp_path / "here", device=str(DEVICE)).sample(4).shape == (4, 1, 8, 8)


def test_estimates_agree_with_the_cpu_within_their_errors(tmp_path: Path) -> None:
    """The draws differ; the model and the data are the same."""
    trained(tmp_path / "run")
    one, other = (tb.load(tmp_path / "run", device=d).evaluate(data().test, samples=200) for d in ("cpu", str(DEVICE)))
    assert list(one.numbers) == list(other.numbers)
    for name in ("elbo", "iwae", "rate", "distortion", "mutual_information"):
        a, b = one[name], other[name]
        assert scalar(a) == pytest.approx(scalar(b), abs=2 * float(np.asarray(a.stderr))), name  # errors go together
    for name in ("mean", "variance", "reconstruction_mse"):
        np.testing.assert_allclose(one.per_example[name], other.per_example[name], rtol=1e-2, atol=1e-3, err_msg=name)


def test_losses_are_close_to_the_cpu() -> None:
    losses = [trained(device=d, epochs=3).metrics[-1]["train_loss"] for d in ("cpu", str(DEVICE))]
    assert losses[0] == pytest.approx(losses[1], rel=0.02)


@pytest.mark.parametrize("prior", ["normal", "mixture(components=5)", "vamp(components=5)"])
def test_draws_and_codes_come_back_to_the_cpu(prior: str) -> None:
    run = tb.fit(model(prior=prior), data(), device=str(DEVICE), epochs=1, **HOW)
    x = run.sample(5, draw=True)
    assert x.device.type == run.encode(data().test, draw=True).device.type == "cpu"
    assert torch.equal(x, run.sample(5, draw=True))
    assert run.reconstruct(data().test).shape == (len(data().test), 1, 8, 8)


@pytest.mark.parametrize("how", [{"precision": "bf16"}, {"compile": True}])
def test_other_execution_modes_train_too(how: dict[str, Any]) -> None:
    if how.get("compile") and DEVICE.type == "mps":
        pytest.skip("torch.compile is not for mps yet")
    plain, other = trained(epochs=3).metrics, trained(epochs=3, **how).metrics
    assert other[-1]["train_loss"] == pytest.approx(plain[-1]["train_loss"], rel=0.05)
    assert other[-1]["train_loss"] < other[0]["train_loss"]


def test_the_effect_of_bfloat16_is_estimated() -> None:
    found = trained(epochs=1).evaluate(data().test, samples=50, precision="bf16")
    assert abs(scalar(found["bf16_difference"])) < 1
