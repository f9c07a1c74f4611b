"""Cases that one process and two train (see test_parallel.py), and functions that both sides call."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.data import Dataset, TensorDataset

import tightbound as tb
from tightbound.core import launch, world
from tightbound.core.noise import Noise
from tightbound.training import Callback, TrainingState
from tightbound.training.checkpoint import load
from tightbound.training.folder import RunFolder
from tightbound.training.signals import Interrupted, StopFlag

COMMON: dict[str, Any] = {"batch_size": 8, "epochs": 2, "validation_size": 6, "checkpoint_seconds": 1e9, "quiet": True}


def gray(n: int = 60) -> tb.data.Data:
    """8x8 images of 17 levels: n - 12 are trained on."""
    x = np.random.default_rng(0).integers(0, 17, (n, 8, 8)).astype(np.uint8)
    return tb.data.open(x, levels=17, test=0.1)


def mlp(objective: str = "elbo", n: int = 60, own: Mapping[str, Any] = {}, **settings: Any) -> Any:
    return made(gray(n), objective, own, **settings)


def vq(
    quantizer: str = "vq(size=3, codebook_size=8, restart=0.3)", n: int = 60, prior: str = "auto", **settings: Any
) -> Any:
    latents = f'quantized(quantizer="{quantizer}")'
    own = {"network": "resnet(halvings=(1,), hidden=4, inner=2, blocks=1)", "latents": latents, "prior": prior}
    return mlp(own=own, n=n, lr=1e-2, **settings)


def holes(n: int = 60) -> tb.data.Data:
    """A table with missing numbers."""
    x = np.random.default_rng(1).normal(size=(n, 5))
    x[np.random.default_rng(2).random(x.shape) < 0.2] = np.nan
    return tb.data.open(x, test=0.1)


class Fetched(Dataset[Any]):
    """Images that are read one by one."""

    def __init__(self, n: int) -> None:
        self.x = np.random.default_rng(4).integers(0, 17, (n, 8, 8)).astype(np.uint8)

    def __len__(self) -> int:
        return len(self.x)

    def __getitem__(self, i: int) -> Any:
        return self.x[i]


def fetched(n: int) -> tb.data.Data:
    """A data set that is read on demand."""
    return tb.data.open(Fetched(n), levels=17, test=0.1)


def labeled(n: int = 60) -> tb.data.Data:
    """Images with labels."""
    rng = np.random.default_rng(3)
    x, y = rng.integers(0, 17, (n, 8, 8)).astype(np.uint8), rng.integers(0, 3, n)
    return tb.data.open(TensorDataset(torch.from_numpy(x), torch.from_numpy(y)), levels=17, test=0.1)


def made(data: tb.data.Data, objective: str = "elbo", own: Mapping[str, Any] = {}, **settings: Any) -> Any:
    return tb.VAE.for_data(data, **{"latent": 2, "network": "mlp(hidden=(16,))", **own}), data, objective, settings


BINARY = {"likelihood": "bernoulli", "observation": "binarized(mode='dynamic')"}

CASES: dict[str, Callable[[], Any]] = {
    "mlp": mlp,
    "conv": lambda: mlp(own={"network": "conv(channels=(4,), hidden=8)"}),
    "iwae": lambda: mlp("iwae(samples=3)"),
    "groups": lambda: mlp("dreg(samples=3)"),
    "ema, clip, decay": lambda: mlp(ema=0.9, clip=20.0, schedule="cosine(warmup=3)", encoder_lr=3e-3),
    "last batch of one": lambda: mlp(n=61),
    "last batch of one, fetched": lambda: made(fetched(61)),
    "uneven shares": lambda: mlp(n=65, batch_size=7),
    "dynamic": lambda: mlp(own=BINARY),
    "holes": lambda: made(holes()),
    "labels": lambda: made(labeled(), own={"context": "labels"}),
    "vq": vq,
    "residual": lambda: vq("residual(size=3, depth=2, of='vq(codebook_size=8, restart=0.3)', shared=True)"),
    "vq-gradient": lambda: vq("vq-gradient(size=3, codebook_size=8, restart=0.3)"),
    "second": lambda: vq(prior="pixelcnn(hidden=4, layers=1, dropout=0)", n=61),
    "ladder": lambda: mlp(own={"latents": "ladder"}),
    "flow": lambda: mlp(own={"posterior": "flow", "prior": "flow"}),
    "vamp": lambda: mlp(own={"prior": "vamp(components=5)"}),
    "lagging": lambda: mlp("lagging(every=3)"),
    "augmented": lambda: mlp(augment="shift,flip", n=61),
    "spectral": lambda: mlp(own={"network": "mlp(hidden=(16,), spectral_norm=True)"}),
}
EQUAL = tuple(CASES)  # one process and several: the same curve
VARIANTS = ("conv", "iwae", "residual", "vq-gradient", "spectral")  # of others
CASES |= {
    "gan": lambda: mlp("vae-gan"),
    "dropout": lambda: mlp(own={"network": "mlp(hidden=(16,), dropout=0.3)"}),
}
ALIKE = ("gan", "dropout")  # what they draw by torch's generator differs
CASES["compiled"] = lambda: mlp(compile=True)


def train(name: str, run: Path, kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """Train a case; return the curve and the final state."""
    model, data, objective, settings = CASES[name]()
    tb.fit(model, data, objective, run=run, **{**COMMON, **settings, **kwargs})
    states = {file.parent.name: load(file)[0] for file in sorted((run / "checkpoints").glob("**/last.safetensors"))}
    named = {f"{stage}/{k}": v.numpy() for stage, state in states.items() for k, v in state.items()}
    return {"rows": rows(run), "weights": named}


def rows(run: Path) -> list[dict[str, Any]]:
    """The metrics of a run, without times."""
    return [{k: v for k, v in row.items() if k != "seconds"} for row in RunFolder(run).metrics()]


def stopped(name: str, run: Path, step: int, kwargs: Mapping[str, Any], rank: int | None = None) -> int:
    """Train until this process, or the one of this rank, gets a signal in a step; return where it stopped."""

    class Stop(Callback):
        def on_step(self, state: TrainingState) -> None:
            if state.step == step and rank in (None, world.rank()):
                os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(Interrupted) as stop:
        train(name, run, {**kwargs, "callbacks": [Stop()]})
    world.barrier()
    return int(str(stop.value).partition("step ")[2].split()[0])


def refusal(name: str, kwargs: Mapping[str, Any]) -> str:
    """The message with which a case with these changes is refused."""
    model, data, objective, settings = CASES[name]()
    with pytest.raises(tb.TightboundError) as refused:
        tb.fit(model, data, **{"objective": objective, **COMMON, **settings, **kwargs})
    return str(refused.value)


def different(what: str, run: Path) -> str:
    """The message with which processes with different data or settings are refused."""
    n, lr = (60 + 9 * world.rank(), 1e-3) if what == "data" else (60, 1e-3 * (1 + world.rank()))
    model, data, objective, settings = mlp(n=n, lr=lr)
    with pytest.raises(tb.TightboundError) as refused:
        tb.fit(model, data, objective, run=run, **{**COMMON, **settings})
    return str(refused.value)


def compiled_in_one(run: Path) -> tuple[str, list[bool]]:
    """The refusal if one host alone cannot compile, and which modules of the model are changed."""
    from torch._dynamo.exc import TorchDynamoException

    def compiled(function: Any, **_: Any) -> Any:
        def call(*args: Any) -> Any:
            if world.rank() == 1:
                raise TorchDynamoException("no compiler")
            return function(*args)

        return call

    model, data, objective, settings = mlp(own={"network": "conv(channels=(4,), hidden=8)"})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch, "compile", compiled)
        with pytest.raises(tb.TightboundError) as refused:
            tb.fit(model, data, objective, run=run, **{**COMMON, **settings, "compile": True})
    return str(refused.value), ["forward" in vars(part) for part in model.modules()]


def agreed(late: bool) -> tuple[Any, bool, bool]:
    """Return what both processes know, after one collective, of a checkpoint due in one and a signal to the other."""
    flag, calls, reduce = StopFlag(), [0], torch.distributed.all_reduce
    flag.raised = signal.SIGTERM if world.rank() == 1 else None

    def counted(*args: Any) -> Any:
        calls[0] += 1
        return reduce(*args)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.distributed, "all_reduce", counted)
        first = late and world.rank() == 0
        found = flag.agreed(first, late and not first)
    assert calls == [1]
    return found


def timeout() -> float:
    """Hours for which a process waits for the others."""
    group = torch.distributed.group.WORLD
    assert group is not None
    return group._get_backend(torch.device("cpu")).options._timeout.total_seconds() / 3600  # pyright: ignore


def reports() -> list[bool]:
    """Whether this process knows of an error that the second reports: before that, and after."""
    before = launch.reported(0.1)
    world.barrier()
    if world.rank() == 1:
        launch.first_to_report("a file cannot be read")
    return [before, launch.reported(60)]


def draws() -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """For a share of 3 of 6 examples: 5 numbers from torch's generator, and keyed ones for two samples."""
    noise = Noise("test", start=3 * world.rank(), total=6)
    with noise.default():
        own = torch.rand(5)
    return own.numpy(), noise.normal((2, 3, 4), torch.empty(0)).numpy()


def global_draw() -> np.ndarray[Any, Any]:
    """The keyed numbers of `draws`, for all examples."""
    noise = Noise("test")
    with noise.default():
        return noise.normal((2, 6, 4), torch.empty(0)).numpy()
