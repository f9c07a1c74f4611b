"""How a step is executed changes its speed, not its numbers."""

from __future__ import annotations

import copy
import functools
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import tightbound as tb
from conftest import tree
from tightbound.core.errors import InputError
from tightbound.core.noise import Noise
from tightbound.core.schedules import Knobs
from tightbound.core.terms import Batch
from tightbound.testing.objectives import small_model
from tightbound.training.checkpoint import load
from tightbound.training.execution import Executor, Step
from training import cases

# when torch compiles, its own code warns
pytestmark = pytest.mark.filterwarnings("ignore")


class SmallStep:
    """A small model's step on a batch."""

    def __init__(self, precision: str = "fp32") -> None:
        self.model, self.objective = small_model().float().train(), tb.objectives.ELBO()
        self.step = Step(self.model, self.objective, precision)
        self.executor = Executor(self.step)
        self.losses = [group.loss for group in self.objective.parameter_groups(self.model)]
        self.batch = Batch(torch.rand(6, *self.model.shape, generator=torch.Generator().manual_seed(0)).round())
        self.knobs = Knobs.final(self.objective.schedules)

    def plan(self) -> None:
        self.executor.plan(self.batch, Noise("plan"), self.knobs, self.losses)

    def compute(self, batch: Batch | None = None, key: int = 0) -> tuple[float, float, list[Tensor]]:
        """Loss, sum of the reconstruction, and gradients."""
        self.model.zero_grad()
        batch = self.batch if batch is None else batch
        draws = self.executor.draws(batch, Noise("t", key))
        (loss,), summary = self.executor.call(batch, draws, self.knobs, self.losses)
        loss.backward()
        gradients = [p.grad.clone() for p in self.model.parameters() if p.grad is not None]
        return loss.item(), summary.sums["reconstruction"].item(), gradients


def assert_close(a: Any, b: Any) -> None:
    assert a[:2] == pytest.approx(b[:2], rel=1e-5)
    for x, y in zip(a[2], b[2], strict=True):
        torch.testing.assert_close(x, y, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("backend", ["eager", pytest.param("inductor", marks=pytest.mark.slow)])
def test_a_compiled_step_computes_the_same(backend: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also with other noise, whose draws are made before; batches of another size are computed eagerly."""
    monkeypatch.setattr(torch, "compile", functools.partial(torch.compile, backend=backend))
    small = SmallStep()
    plain = [small.compute(key=key) for key in (0, 1)]
    smaller = small.compute(small.batch[:4])
    small.plan()
    assert small.executor.compile(small.compute) is None
    assert small.executor.compiled == "step"
    for key in (0, 1):
        assert_close(small.compute(key=key), plain[key])
    assert plain[0][0] != plain[1][0]
    assert small.compute(small.batch[:4])[0] == smaller[0]
    small.executor.close()
    assert small.compute()[0] == plain[0][0]


def test_bfloat16_is_for_the_networks_alone() -> None:
    exact, rounded = SmallStep().compute(), SmallStep("bf16").compute()
    assert rounded[0] != exact[0]
    assert rounded[0] == pytest.approx(exact[0], rel=0.02)
    assert all(gradient.dtype == torch.float32 for gradient in rounded[2])


@pytest.mark.parametrize("compiles", [True, False])
def test_the_model_is_left_as_it_was(compiles: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "compile", stand_in_compiler(compiles))
    model = tb.VAE.for_data(tb.data.open("digits"), latent=2, network="conv(channels=(4, 4))", seed=0)
    before = copy.deepcopy(model)
    executor = Executor(Step(model, tb.objectives.ELBO()))
    reason = executor.compile(lambda: model(Batch(torch.zeros(2, 1, 8, 8))))
    assert reason == (None if compiles else "no compiler")
    if compiles:
        assert executor.compiled == "networks"
        assert [m for m in model.modules() if "forward" in vars(m)]
        assert any(p.stride() != q.stride() for p, q in zip(model.parameters(), before.parameters(), strict=True))
    executor.close()
    for (name, a), b in zip(model.named_parameters(), before.parameters(), strict=True):
        assert torch.equal(a, b), name
        assert a.stride() == b.stride(), name
    assert not [m for m in model.modules() if "forward" in vars(m)]


def stand_in_compiler(works: bool) -> Any:
    """In place of torch.compile: the function as it is, or one that fails as without a C++ compiler."""
    from torch._dynamo.exc import TorchDynamoException

    def fail(*_: Any, **__: Any) -> Any:
        raise TorchDynamoException("no compiler")

    return lambda function, **_: function if works else fail


def train(run: Path, steps: int, **changed: Any) -> tb.Trained:
    data = cases.gray()
    model = tb.VAE.for_data(data, latent=2, network="conv(channels=(4, 6), hidden=8)", seed=0)
    settings: dict[str, Any] = {"batch_size": 8, "validation_size": 6, "ema": 0.9, "clip": 5.0, "quiet": True}
    return tb.fit(model, data, run=run, steps=steps, **settings, **changed)


def last(run: Path) -> dict[str, Tensor]:
    return load(run / "checkpoints" / "last.safetensors")[0]


@pytest.mark.parametrize(
    "real", [False, pytest.param(True, marks=pytest.mark.slow)], ids=["channels-last alone", "compiled"]
)
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_compiled_run_resumes_to_the_same_bits(
    real: bool, precision: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And ends, up to rounding, at the weights of an eager run: the weights that are saved are those that trained."""
    if not real:
        monkeypatch.setattr(torch, "compile", stand_in_compiler(True))
    settings = {"compile": True, "precision": precision}
    train(tmp_path / "plain", 9, precision=precision)
    trained = train(tmp_path / "whole", 9, **settings)
    train(tmp_path / "run", 4, **settings)
    train(tmp_path / "run", 9, resume=True, **settings)
    whole, resumed, plain = (last(tmp_path / name) for name in ("whole", "run", "plain"))
    assert whole.keys() == resumed.keys() == plain.keys()
    loose = 1e-2 if precision == "bf16" else 1e-4
    for name, tensor in whole.items():
        assert torch.equal(tensor, resumed[name]), name
        torch.testing.assert_close(tensor, plain[name], rtol=loose, atol=loose, msg=name)
    assert all(p.is_contiguous() for p in trained.model.parameters())
    assert torch.equal(trained.sample(3), tb.load(tmp_path / "whole").sample(3))


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_refusal_to_compile_leaves_the_folder_as_it_was(
    overwrite: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if overwrite:
        train(tmp_path / "run", 3)
    before = tree(tmp_path)
    monkeypatch.setattr(torch, "compile", stand_in_compiler(False))
    with pytest.raises(
        InputError, match=r"nothing of this model can be compiled here \(no compiler\); leave out compile="
    ):
        train(tmp_path / "run", 3, compile=True, overwrite=overwrite)
    assert tree(tmp_path) == before


def test_a_run_continues_without_a_compiler(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(torch, "compile", stand_in_compiler(True))
        train(tmp_path / "run", 3, compile=True)
    assert train(tmp_path / "run", 5, resume=True).metrics[-1]["step"] == 5


@pytest.mark.slow
def test_a_step_with_a_draw_in_its_middle_has_its_networks_compiled() -> None:
    data = tb.data.open(torch.rand(64, 5))
    model = tb.VAE.for_data(data, latent=2, posterior="flow", seed=0)
    fitted = tb.fit(model, data, steps=2, validation_size=0, compile=True, quiet=True)
    assert torch.isfinite(torch.tensor(fitted.metrics[-1]["train_loss"]))
