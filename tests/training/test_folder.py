"""Checkpoints and run folders."""

from __future__ import annotations

import gc
import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest
import torch

import tightbound as tb
from conftest import gray, tree
from tightbound.core.errors import CompositionError, InputError, NonFinite
from tightbound.core.files import write_atomic
from tightbound.objectives import IWAE
from tightbound.training import checkpoint
from tightbound.training.folder import RunFolder
from tightbound.training.monitor import stop_on_signals

QUICK: dict[str, Any] = {"epochs": 2, "batch_size": 16, "quiet": True}


@pytest.fixture
def data() -> tb.data.Data:
    return tb.data.open(gray(), levels=17)


def small(data: tb.data.Data, **parts: Any) -> tb.VAE:
    return tb.vae(data, **{"latent": 2, "network": "mlp(hidden=(8,))", **parts})


def test_a_checkpoint_keeps_tensors_and_scalars(tmp_path: Path) -> None:
    shared = torch.randn(3, 4)
    tensors = {
        "a": shared, "tied": shared, "view": shared[:, 1], "transposed": shared.T, "whole": torch.arange(3),
        "half": torch.randn(5).bfloat16(), "nothing": torch.empty(0), "number": torch.tensor(2.5),
    }  # fmt: skip
    scalars = {"step": 3, "value": 0.1 + 0.2, "none": None, "sums": {"n": 1e300}, "word": "é\n"}
    checkpoint.save(tmp_path / "c.safetensors", tensors, scalars)
    got, numbers = checkpoint.load(tmp_path / "c.safetensors")
    assert numbers == scalars
    assert got.keys() == tensors.keys()
    for name, tensor in tensors.items():
        assert (got[name].dtype, got[name].shape) == (tensor.dtype, tensor.shape)
        assert torch.equal(got[name], tensor)


def test_every_altered_byte_of_a_checkpoint_is_noticed(tmp_path: Path) -> None:
    """In the weights, and in the header, which holds the step and the names."""
    path = tmp_path / "c.safetensors"
    checkpoint.save(path, {"model/weight": torch.randn(6)}, {"step": 1234, "best_value": -0.25})
    body = path.read_bytes()
    unnoticed = []
    for position in range(len(body)):
        path.write_bytes(body[:position] + bytes([body[position] ^ 1]) + body[position + 1 :])
        try:
            checkpoint.load(path)
        except InputError as error:
            assert "damaged" in str(error)  # noqa: PT017
        else:
            unnoticed.append(position)
    shown = "".join(chr(body[i]) for i in unnoticed)
    assert not unnoticed, f"{len(unnoticed)} bytes may change unnoticed: {shown!r}"


def test_every_truncation_of_a_checkpoint_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "c.safetensors"
    checkpoint.save(path, {"weight": torch.randn(6)}, {"step": 1})
    body = path.read_bytes()
    for size in range(len(body)):
        path.write_bytes(body[:size])
        with pytest.raises(InputError, match="damaged"):
            checkpoint.load(path)


def test_writing_is_all_or_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "new/deep/a.txt"
    write_atomic(file, "one")
    with monkeypatch.context() as patch:
        patch.setattr("os.fsync", lambda _: (_ for _ in ()).throw(KeyboardInterrupt()))
        with pytest.raises(KeyboardInterrupt):
            write_atomic(file, "two")
    assert tree(tmp_path) == {"new": None, "new/deep": None, "new/deep/a.txt": b"one"}
    write_atomic(file, b"three")
    assert file.read_bytes() == b"three"
    assert file.stat().st_mode & 0o777 == 0o666 & ~_umask()


def _umask() -> int:
    umask = os.umask(0)
    os.umask(umask)
    return umask


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
    for which, fix in (("best", "validation"), ("ema", "--ema"), ("worst", "needed")):
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
    path = trained.path
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
    with pytest.raises(NonFinite, match=r"became (inf|nan) at step \d+ .*the term that went bad: .*lower the learning"):
        tb.fit(small(data), data, run=tmp_path / "r", lr=1e30, **{**QUICK, "epochs": 20})


@pytest.mark.parametrize("at", range(3))
def test_several_processes_may_end_what_was_begun(at: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those of torchrun open a run at once: at each rename another one overtakes this one and does all of it."""
    folder, move, moves = RunFolder(tmp_path), Path.replace, 0
    names = ["checkpoints/prior/last.safetensors", "metrics.csv", "run.json"]
    for name in (*names, "checkpoints/other/last.safetensors", "analysis/quality.json"):
        write_atomic(tmp_path / name, "old")
    for name in names:
        write_atomic(tmp_path / "complete" / name, "new")
    write_atomic(tmp_path / "complete" / "files.json", json.dumps(names))

    def overtaken(self: Path, target: Path) -> Path:
        nonlocal moves
        moves += 1
        if moves == at + 1:
            folder.settle()
        return move(self, target)

    monkeypatch.setattr(Path, "replace", overtaken)
    folder.settle()
    assert {name: content for name, content in tree(tmp_path).items() if content} == dict.fromkeys(names, b"new")


def test_one_signal_asks_and_the_second_acts() -> None:
    before = signal.getsignal(signal.SIGINT)
    with stop_on_signals() as flag:
        assert flag.raised is None
        signal.raise_signal(signal.SIGINT)
        assert flag.raised is signal.SIGINT
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is before


def test_sigterm_that_is_passed_on_to_a_process_that_had_it_does_not_cut_its_checkpoint_off() -> None:
    """As where a batch system ends all processes of a job, and torchrun or a sweep passes it on."""
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        with stop_on_signals() as flag:
            signal.raise_signal(signal.SIGTERM)
            signal.raise_signal(signal.SIGTERM)
            assert flag.raised is signal.SIGTERM
            signal.raise_signal(signal.SIGTERM)
        assert signal.getsignal(signal.SIGTERM) is signal.default_int_handler
    finally:
        signal.signal(signal.SIGTERM, before)


def test_a_signal_that_is_ignored_stays_so() -> None:
    """As under nohup."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with stop_on_signals() as flag:
            signal.raise_signal(signal.SIGINT)
            assert flag.raised is None
    finally:
        signal.signal(signal.SIGINT, before)


def test_accumulated_metrics_weigh_each_example_alike(data: tb.data.Data) -> None:
    """54 data in batches of 16: the last holds 6. With a rate of almost nothing the epoch is one evaluation."""
    model = small(data, likelihood="bernoulli", observation="binarized(mode='expected')", posterior="point")
    trained = tb.fit(
        model, data, tb.objectives.Autoencoder(), lr=1e-30, validation_size=0, epochs=1, batch_size=16, quiet=True
    )
    expected = trained.evaluate(data.train, samples=1)["distortion"].value
    assert trained.metrics[0]["train_reconstruction"] == pytest.approx(expected, rel=1e-6)
