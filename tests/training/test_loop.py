"""Law 8: interrupted and resumed training equals uninterrupted training bit for bit."""

from __future__ import annotations

import itertools
import json
import os
import shutil
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

import tightbound as tb
from conftest import gray
from tightbound.core.errors import InputError
from tightbound.core.schedules import Linear
from tightbound.nn import MLP
from tightbound.objectives import ELBO, IWAE, VAEGAN, FactorVAE, Lagging, Objective
from tightbound.training import checkpoint
from tightbound.training.signals import Interrupted
from training.interruptions import KillAt, SignalAt, killed

Fit = Callable[..., tb.Trained]

# 60 data: 48 train in 6 steps an epoch, 6 validate, 6 test; 3 epochs; a checkpoint only where one is forced
COMMON: dict[str, Any] = {"batch_size": 8, "epochs": 3, "validation_size": 6, "checkpoint_seconds": 1e9, "quiet": True}
TOTAL = 18


def everything(data: tb.data.Data) -> tuple[tb.VAE, Objective, dict[str, Any]]:
    """Dropout, dynamic binarization, several samples, averaged weights, a schedule, clipping."""
    network = "mlp(hidden=(16,), dropout=0.3)"
    model = tb.VAE.for_data(
        data, latent=2, network=network, likelihood="bernoulli", observation="binarized(mode='dynamic')"
    )
    settings = {"ema": 0.9, "schedule": "cosine(warmup=5, final=0.1)", "clip": 5.0, "lr": 1e-2, "encoder_lr": 3e-3}
    return model, IWAE(samples=3), settings


def scheduled(data: tb.data.Data) -> tuple[tb.VAE, Objective, dict[str, Any]]:
    """KL warm-up, convolutions, AdamW, two samples."""
    model = tb.VAE.for_data(data, latent=2, network="conv(channels=(4,), hidden=8)")
    return model, ELBO(beta=Linear(share=0.7), samples=2), {"optimizer": "adamw", "weight_decay": 0.1, "lr": 1e-2}


def patient(data: tb.data.Data) -> tuple[tb.VAE, Objective, dict[str, Any]]:
    """Early stopping: at this rate nothing ever gets better, so epoch 3 is the second that is not."""
    return *scheduled(data)[:2], {"lr": 1e-30, "patience": 2, "epochs": 9}


def adversarial(data: tb.data.Data) -> tuple[tb.VAE, Objective, dict[str, Any]]:
    """A discriminator with an optimizer of its own, permuted draws, two samples, a spectrally normalized decoder."""
    model = tb.VAE.for_data(data, latent=2, network="mlp(hidden=(8,), spectral_norm=True)")
    return model, FactorVAE(network=MLP((8,)), lr=1e-2, samples=2), {"lr": 1e-2}


def three_groups(data: tb.data.Data) -> tuple[tb.VAE, Objective, dict[str, Any]]:
    """VAE-GAN, with draws of the prior and clipping."""
    model = tb.VAE.for_data(data, latent=2, network="mlp(hidden=(8,))", likelihood="bernoulli")
    return model, VAEGAN(network=MLP((8,)), lr=1e-2), {"lr": 1e-2, "clip": 1.0}


def lagging(data: tb.data.Data) -> tuple[tb.VAE, Objective, dict[str, Any]]:
    """A decoder that is updated at each fourth step while the encoder leads; information falls after an epoch."""
    model = tb.VAE.for_data(data, latent=2, network="mlp(hidden=(8,))", likelihood="bernoulli")
    return model, Lagging(every=4), {"lr": 1e-2}


COMPOSITIONS = {f.__name__: f for f in (everything, scheduled, patient, adversarial, three_groups, lagging)}


def train(composition: str, run: Path, **changed: Any) -> tb.Trained:
    data = tb.data.open(gray(), levels=17)
    model, objective, settings = COMPOSITIONS[composition](data)
    options = {**COMMON, **settings, **changed}
    if "steps" in options:
        del options["epochs"]
    return tb.fit(model, data, objective, run=run, **options)


def state(run: Path) -> dict[str, Any]:
    """Everything that training leaves, except times."""
    out: dict[str, Any] = {}
    for file in sorted(run.glob("checkpoints/**/*.safetensors")):
        tensors, scalars = checkpoint.load(file)
        out[str(file.relative_to(run))] = {n: (t.dtype, t.shape, t.numpy().tobytes()) for n, t in tensors.items()}
        timed = ("seconds", "spent", "rows")
        out[f"{file.relative_to(run)} scalars"] = {k: v for k, v in scalars.items() if k not in timed}
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    out["metrics"] = [{k: v for k, v in row.items() if k != "seconds"} for row in rows]
    out["table"] = len((run / "metrics.csv").read_text().splitlines())
    return out


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """The states that uninterrupted runs leave."""
    runs = {name: tmp_path_factory.mktemp(name) / "run" for name in COMPOSITIONS}
    for name, run in runs.items():
        train(name, run)
    return {name: state(run) for name, run in runs.items()}


def test_the_reference_runs_differ_where_they_should(whole: dict[str, dict[str, Any]]) -> None:
    """Otherwise the comparisons below could not fail."""
    assert len(whole["everything"]["metrics"]) == len(whole["scheduled"]["metrics"]) == 3
    assert len(whole["patient"]["metrics"]) == 3
    assert any(n.startswith("ema/") for n in whole["everything"]["checkpoints/last.safetensors"])
    for name in ("adversarial", "three_groups"):
        last = whole[name]["checkpoints/last.safetensors"]
        assert {"objective/head.2.weight", "optimizer1/0/exp_avg"} <= set(last)
    assert "objective/information" in whole["lagging"]["checkpoints/last.safetensors"]


@pytest.mark.parametrize(
    ("composition", "steps"),
    [
        *itertools.product(["everything", "scheduled"], [(4,), (6,), (18,), (1, 6, 10)]),
        *itertools.product(["adversarial", "three_groups", "lagging"], [(6,), (1, 8)]),
    ],
    ids=str,
)
def test_interrupted_and_resumed(whole: Any, tmp_path: Path, composition: str, steps: tuple[int, ...]) -> None:
    """Within an epoch, on the last step of an epoch and of the run, and several times."""
    run = tmp_path / "run"
    for i, count in enumerate(steps):
        stop = SignalAt(count, (signal.SIGINT, signal.SIGTERM)[i % 2])
        with pytest.raises(Interrupted, match="resume="):
            train(composition, run, resume=i > 0, callbacks=[stop])
        assert checkpoint.load(run / "checkpoints/last.safetensors")[1]["step"] == sum(steps[: i + 1])
    trained = train(composition, run, resume=True)
    assert state(run) == whole[composition]
    best = run / "checkpoints/best.safetensors"
    if best.is_file():  # an adversary's epochs have no best
        kept = checkpoint.load(best)[0]
        assert all(torch.equal(t, kept[n]) for n, t in trained.model.state_dict().items())


def test_patience_counts_across_an_interruption(whole: Any, tmp_path: Path) -> None:
    with pytest.raises(Interrupted):
        train("patient", tmp_path / "run", callbacks=[SignalAt(15)])
    train("patient", tmp_path / "run", resume=True)
    assert state(tmp_path / "run") == whole["patient"]


@pytest.mark.parametrize(
    ("how", "at", "seconds"),
    [("step", 10, 1e9), ("step", 10, 0), ("last", 12, 0)],
    ids=["before any checkpoint", "between checkpoints", "while a checkpoint is written"],
)
def test_killed_and_resumed(whole: Any, tmp_path: Path, how: str, at: int, seconds: float) -> None:
    """SIGKILL leaves no time to save: the run continues from the last checkpoint, or from step 0 without one."""
    run = tmp_path / "run"
    killed(lambda: train("everything", run, checkpoint_seconds=seconds, callbacks=[KillAt(how, at)]))
    assert (run / "checkpoints/last.safetensors").exists() == (seconds == 0)
    train("everything", run, resume=True)
    assert state(run) == whole["everything"]


def test_sigterm_on_the_command_line_saves_a_checkpoint(cli: Any, tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", gray())
    last = tmp_path / "run/checkpoints/last.safetensors"

    def stop_after_a_checkpoint() -> None:
        while not last.is_file():
            time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=stop_after_a_checkpoint, daemon=True).start()
    words = ["--network", "mlp(hidden=(16,))", "--batch-size", 8, "--epochs", 1000000, "--run", "run"]
    stopped = cli("train", "x.npy", *words, "--checkpoint-seconds", 0)
    assert stopped.status == 128 + signal.SIGTERM
    step = checkpoint.load(last)[1]["step"]
    line = stopped.err.splitlines()[-1]
    assert line.startswith(f"tightbound: stopped by SIGTERM after step {step} of 7000000; to continue the run 'run'")


def test_resuming_without_a_checkpoint_starts_at_step_0(whole: Any, tmp_path: Path) -> None:
    with pytest.raises(Interrupted):
        train("scheduled", tmp_path / "run", callbacks=[SignalAt(8)])
    shutil.rmtree(tmp_path / "run/checkpoints")
    train("scheduled", tmp_path / "run", resume=True)
    assert state(tmp_path / "run") == whole["scheduled"]


def test_metrics_past_the_checkpoint_are_cut(whole: Any, tmp_path: Path) -> None:
    run = tmp_path / "run"
    with pytest.raises(Interrupted):
        train("everything", run, callbacks=[SignalAt(8)])
    kept = {p: p.read_bytes() for p in (run / "checkpoints").iterdir()}
    train("everything", run, resume=True)
    for path, content in kept.items():  # as if killed at the end, before the checkpoint but after the metrics
        path.write_bytes(content)
    assert len((run / "metrics.jsonl").read_text().splitlines()) == 3
    train("everything", run, resume=True)
    assert state(run) == whole["everything"]


def test_a_finished_run_stays_as_it_is(whole: Any, tmp_path: Path) -> None:
    train("everything", tmp_path / "run")
    train("everything", tmp_path / "run", resume=True)
    assert state(tmp_path / "run") == whole["everything"]


def test_more_epochs_continue(tmp_path: Path) -> None:
    """If no schedule depends on the length of the run, 2 epochs and then 3 are 3 epochs."""
    constant = {"schedule": "constant"}
    train("everything", tmp_path / "whole", **constant)
    train("everything", tmp_path / "parts", epochs=2, **constant)
    trained = train("everything", tmp_path / "parts", resume=True, **constant)
    assert [row["epoch"] for row in trained.metrics] == [1, 2, 3]
    one, two = state(tmp_path / "whole"), state(tmp_path / "parts")
    assert one == two


def test_more_steps_continue_in_mid_epoch(tmp_path: Path) -> None:
    constant = {"schedule": "constant"}
    train("everything", tmp_path / "whole", steps=12, **constant)
    train("everything", tmp_path / "parts", steps=8, **constant)
    train("everything", tmp_path / "parts", steps=12, resume=True, **constant)
    one, two = (state(tmp_path / name)["checkpoints/last.safetensors"] for name in ("whole", "parts"))
    assert one == two


@pytest.mark.parametrize(("composition", "name"), [("everything", "lr"), ("scheduled", "beta")])
def test_more_epochs_of_a_schedule_of_the_whole_run_are_said(
    whole: Any, tmp_path: Path, composition: str, name: str
) -> None:
    train(composition, tmp_path / "run", epochs=2)
    with pytest.warns(UserWarning, match=f"schedule of {name} depends on the length of the run, which was 2 epochs"):
        train(composition, tmp_path / "run", resume=True)
    assert state(tmp_path / "run") != whole[composition]


@pytest.mark.parametrize(
    "changed",
    [{"lr": 1e-3}, {"batch_size": 6}, {"seed": 1}, {"ema": None}, {"schedule": "constant"}, {"validation_size": 5},
     {"precision": "bf16"}, {"epochs": 1}],
    ids=lambda changed: next(iter(changed)),
)  # fmt: skip
def test_changed_settings_are_refused(tmp_path: Path, changed: dict[str, Any]) -> None:
    """Also fewer epochs than were trained. The run stays as it was."""
    with pytest.raises(Interrupted):
        train("everything", tmp_path / "run", callbacks=[SignalAt(14)])
    before = {p: p.read_bytes() for p in (tmp_path / "run").rglob("*") if p.is_file()}
    with pytest.raises(InputError, match=next(iter(changed))):
        train("everything", tmp_path / "run", resume=True, **changed)
    assert {p: p.read_bytes() for p in (tmp_path / "run").rglob("*") if p.is_file()} == before


def test_another_model_objective_data_or_split_is_refused(tmp_path: Path) -> None:
    data = tb.data.open(gray(), levels=17)

    def go_on(data: tb.data.Data, model: tb.VAE | None = None, objective: Objective | None = None, **more: Any) -> Any:
        model = model or tb.VAE.for_data(data, latent=2, network="mlp(hidden=(8,))")
        return tb.fit(model, data, objective, run=tmp_path / "run", **{**COMMON, "epochs": 1, **more})

    go_on(data)
    for change, what in (
        ({"model": tb.VAE.for_data(data, latent=3, network="mlp(hidden=(8,))")}, "model"),
        ({"objective": ELBO(beta=2)}, "objective"),
        ({"data": tb.data.open(gray(seed=1), levels=17)}, "data"),
        ({"data": tb.data.open(gray(), levels=17, test=0.3)}, "data"),
    ):
        with pytest.raises(InputError, match=what):
            go_on(**{"data": data, "epochs": 2, "resume": True, **change})
    with pytest.raises(InputError, match="no run"):
        tb.fit(tb.VAE.for_data(data), data, run=tmp_path / "elsewhere", resume=True)


def test_a_dataloader_resumes_to_the_same_bits(tmp_path: Path) -> None:
    def go(run: Path, resume: bool = False, **more: Any) -> None:
        torch.manual_seed(int(resume))  # the state of the default generator must not matter
        x = torch.from_numpy(gray(48))
        data = tb.data.open(DataLoader([(row, 0) for row in x], batch_size=8, shuffle=True), levels=17)  # pyright: ignore
        model = tb.VAE.for_data(data, latent=2, network="mlp(hidden=(8,), dropout=0.2)")
        tb.fit(model, data, run=run, resume=resume, **{**COMMON, "validation_size": 0, "epochs": 2, **more})

    go(tmp_path / "whole")
    with pytest.raises(Interrupted):
        go(tmp_path / "parts", callbacks=[SignalAt(9)])
    go(tmp_path / "parts", resume=True)
    assert state(tmp_path / "parts") == state(tmp_path / "whole")
