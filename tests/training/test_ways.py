"""Law 8 in each way to compute steps; runs of before, and machines that cannot go on as the run began."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

import tightbound as tb
from conftest import tree
from tightbound.core.launch import first_alone_speaks
from tightbound.training import fastest, loop, step
from tightbound.training.checkpoint import load
from tightbound.training.step import Stepper, Way
from training import cases

# when torch compiles, its own code warns
pytestmark = pytest.mark.filterwarnings("ignore")
SETTINGS: dict[str, Any] = {"batch_size": 8, "validation_size": 6, "ema": 0.9, "clip": 5.0, "quiet": True}


def train(run: Path, steps: int, **changed: Any) -> tb.Trained:
    data = cases.gray()
    model = tb.vae(data, latent=2, network="conv(channels=(4, 6), hidden=8)", seed=0)
    return tb.fit(model, data, run=run, steps=steps, **SETTINGS, **changed)


def last(run: Path) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    return load(run / "checkpoints" / "last.safetensors")


def force(monkeypatch: pytest.MonkeyPatch, way: Way) -> None:
    """What is fastest is this."""

    def choose(stepper: Stepper, *_: Any) -> dict[str, float]:
        stepper.take(way)
        return {}

    monkeypatch.setattr(loop, "choose", choose)


WAYS = [
    Way(channels_last=True),
    Way(channels_last=True, precision="bf16"),
    pytest.param(Way(compile="networks", channels_last=True), marks=pytest.mark.slow),
    pytest.param(Way(compile="step", channels_last=True), marks=pytest.mark.slow),
]


@pytest.mark.parametrize("way", WAYS)
def test_interrupted_and_resumed_in_each_way(way: Way, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """To the same bits; and, but for rounding, to the weights of an eager run: what is saved is what was trained."""
    settings = {"compile": "auto", "precision": "auto"}
    force(monkeypatch, Way(precision=way.precision))
    train(tmp_path / "plain", 9, **settings)
    force(monkeypatch, way)
    trained = train(tmp_path / "whole", 9, **settings)
    train(tmp_path / "run", 4, **settings)
    monkeypatch.setattr(loop, "choose", lambda *_: pytest.fail("the run has a way"))
    train(tmp_path / "run", 9, resume=True, **settings)
    (whole, told), (resumed, again), (plain, _) = (last(tmp_path / name) for name in ("whole", "run", "plain"))
    assert told["way"] == again["way"] == vars(way)
    assert whole.keys() == resumed.keys() == plain.keys()
    loose = 1e-2 if way.precision == "bf16" else 1e-4
    for name, tensor in whole.items():
        assert torch.equal(tensor, resumed[name]), name
        torch.testing.assert_close(tensor, plain[name], rtol=loose, atol=loose, msg=name)
    assert all(p.is_contiguous() for p in trained.model.parameters())
    assert torch.equal(trained.sample(3), tb.load(tmp_path / "whole").sample(3))


def test_a_run_of_before_whose_compile_was_false_goes_on(tmp_path: Path) -> None:
    train(tmp_path / "run", 3)
    file = tmp_path / "run" / "run.json"
    told = json.loads(file.read_text())
    told["settings"]["compile"] = False
    file.write_text(json.dumps(told))
    assert train(tmp_path / "run", 5, resume=True).metrics[-1]["step"] == 5


@pytest.mark.parametrize("asked", ["auto", "on"])
def test_a_compiled_run_where_nothing_can_be_compiled(
    asked: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another machine has no compiler: "on" is refused in one line, "auto" goes on, which is said."""
    from torch._dynamo.exc import TorchDynamoException

    def cannot(*_: Any, **__: Any) -> Any:
        def call(*_: Any) -> Any:
            raise TorchDynamoException("no compiler")

        return call

    monkeypatch.setattr(step.torch, "compile", lambda function, **_: function)
    force(monkeypatch, Way(compile="networks"))
    train(tmp_path / "run", 3, compile=asked)
    monkeypatch.setattr(step.torch, "compile", cannot)
    if asked == "on":
        with pytest.raises(tb.TightboundError, match="go on where they can"):
            train(tmp_path / "run", 5, compile=asked, resume=True)
    else:
        with pytest.warns(UserWarning, match="goes on without"):
            train(tmp_path / "run", 5, compile=asked, resume=True)
        assert last(tmp_path / "run")[1]["way"] == vars(Way())


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_refusal_to_compile_leaves_no_run(overwrite: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And an earlier one as it was."""
    if overwrite:
        train(tmp_path / "run", 3)
    before = tree(tmp_path)
    monkeypatch.setattr(fastest, "_kinds", lambda stepper: [])
    with pytest.raises(tb.TightboundError, match="nothing of this model can be compiled here"):
        train(tmp_path / "run", 3, compile="on", overwrite=overwrite)
    assert tree(tmp_path) == before


def test_what_other_processes_say_is_written_as_the_first_says_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """In frames of UTF-8: an error in other characters would count as another, and be shown twice."""
    import sys

    for name, value in {"WORLD_SIZE": "2", "RANK": "1", "MASTER_ADDR": "127.0.0.1"}.items():
        monkeypatch.setenv(name, value)
    with first_alone_speaks():
        assert sys.stdout.encoding == sys.stderr.encoding == "utf-8"
