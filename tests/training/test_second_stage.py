"""The second stage of a run: a code prior."""

from __future__ import annotations

import json
import math
import shutil
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, IterableDataset

import tightbound as tb
from conftest import gray
from tightbound.config import Settings
from tightbound.core.errors import InputError
from tightbound.core.files import write_atomic
from tightbound.data.splits.indexed import ArraySplit
from tightbound.latents import Quantized
from tightbound.objectives import ELBO
from tightbound.training import TrainingState, checkpoint
from tightbound.training.folder import RunFolder
from tightbound.training.loop import Loop
from tightbound.training.second_stage import EncodedSplit, fit_prior
from tightbound.training.signals import Interrupted, StopFlag
from tightbound.training.trainer import Stage
from training.interruptions import KillAt, SignalAt, die, killed
from training.test_loop import state

# 60 data: 48 train in 6 steps an epoch; the codes of 40 train in 4 steps an epoch; 12 + 8 steps in all
COMMON: dict[str, Any] = {
    "batch_size": 8, "epochs": 2, "prior_epochs": 2, "prior_batch_size": 10, "prior_max_examples": 40,
    "validation_size": 6,
    "ema": 0.9, "lr": 1e-2, "checkpoint_seconds": 1e9, "quiet": True,
}  # fmt: skip
TINY = "pixelcnn(embedding=2, hidden=4, layers=1, attention=0, blocks=0)"
OTHER = "transformer(hidden=4, layers=1, heads=1)"


def tiny(data: tb.data.Data, prior: str = TINY, **parts: Any) -> tb.VAE:
    latents = "quantized(quantizer='vq(codebook_size=4)')"
    network = "resnet(halvings=(2, 1), hidden=4, inner=2, blocks=0)"
    return tb.VAE.for_data(data, **{"latent": 2, "network": network, "latents": latents, "prior": prior, **parts})


def train(run: Path, **changed: Any) -> tb.Trained:
    data = tb.data.open(gray(), levels=17)
    model = tiny(data, seed=changed.pop("weights_seed", 0))
    return tb.fit(model, data, run=run, **{**COMMON, **changed})


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("second") / "run"
    train(run)
    return run


def test_a_run_in_two_stages(finished: Path) -> None:
    rows = [json.loads(line) for line in (finished / "metrics.jsonl").read_text().splitlines()]
    assert [(row["stage"], row["epoch"], row["step"]) for row in rows] == [
        ("", 1, 6), ("", 2, 12), ("prior", 1, 4), ("prior", 2, 8)
    ]  # fmt: skip
    uniform = 5 * math.log(4)  # 2x2 and 1x1 codes
    assert [rows[0]["train_kl"], rows[1]["validation_kl"]] == pytest.approx([uniform] * 2, rel=1e-5)
    assert rows[2]["uniform_loss"] == pytest.approx(uniform)
    assert rows[2]["uniform_bits_per_code"] == pytest.approx(2)
    assert rows[2]["train_bits_per_code"] == pytest.approx(rows[2]["train_loss"] / 5 / math.log(2), rel=1e-5)
    for split, level in (("train", 0), ("validation", 1)):
        assert 1 <= rows[0][f"{split}_perplexity_{level}"] <= rows[0][f"{split}_codes_used_{level}"] <= 4
    first = rows[0]
    assert first["train_loss"] == pytest.approx(-first["train_elbo"], rel=1e-6)  # the penalty stands beside it
    assert first["train_penalty"] > 0
    assert first["validation_loss"] == pytest.approx(-first["validation_elbo"], rel=1e-6)
    start = checkpoint.load(finished / "checkpoints/prior/start.safetensors")[0]
    assert not any("prior" in name for name in checkpoint.load(finished / "checkpoints/best.safetensors")[0])
    assert any("net" in name for name in start)


def test_loading_uses_the_prior(finished: Path) -> None:
    trained = tb.load(finished)
    assert trained.weights.count("best") == 2
    x = gray(20, seed=5)[:, None]
    learned = trained.evaluate(x, samples=1)["rate"].value
    (latents,) = [trained.model.latents]
    assert latents.second_stage is not None
    latents.second_stage.disable()
    assert trained.evaluate(x, samples=1)["rate"].value == pytest.approx(5 * math.log(4), rel=1e-5)
    assert learned != pytest.approx(5 * math.log(4), abs=1e-3)


def test_interrupted_and_resumed(finished: Path, tmp_path: Path) -> None:
    """In either stage, and at the end of each; the model that resumes was initialized with other random numbers."""
    for i, count in enumerate((3, 9, 4, 4)):
        stop = SignalAt(count, (signal.SIGINT, signal.SIGTERM)[i % 2])
        with pytest.raises(Interrupted, match="resume="):
            train(tmp_path / "run", resume=i > 0, weights_seed=i, callbacks=[stop])
    train(tmp_path / "run", resume=True, weights_seed=7)
    assert state(tmp_path / "run") == state(finished)


def after_the_model(do: Callable[[], object]) -> Callable[[TrainingState], object]:
    """A callback at the end of the first stage, before the data are encoded."""
    return lambda state: do() if (state.stage, state.epoch) == ("", 2) else None


def test_interrupted_while_the_data_are_encoded(finished: Path, tmp_path: Path) -> None:
    stop = after_the_model(lambda: signal.raise_signal(signal.SIGTERM))
    with pytest.raises(Interrupted, match=r"while the data were encoded.*resume="):
        train(tmp_path / "run", callbacks=[stop])
    assert "uniform" in tb.load(tmp_path / "run").weights
    train(tmp_path / "run", resume=True, weights_seed=3)
    assert state(tmp_path / "run") == state(finished)


def test_killed_between_the_stages(finished: Path, tmp_path: Path) -> None:
    killed(lambda: train(tmp_path / "run", callbacks=[after_the_model(die)]))
    train(tmp_path / "run", resume=True, weights_seed=3)
    assert state(tmp_path / "run") == state(finished)


@pytest.mark.parametrize(
    ("how", "at", "seconds"),
    [("step", 18, 1e9), ("prior/last", 15, 0)],
    ids=["before any checkpoint of it", "while a checkpoint is written"],
)
def test_killed_in_the_second_stage(finished: Path, tmp_path: Path, how: str, at: int, seconds: float) -> None:
    """The data are encoded again, and the prior continues from its last checkpoint."""
    run = tmp_path / "run"
    killed(lambda: train(run, checkpoint_seconds=seconds, callbacks=[KillAt(how, at)]))
    assert (run / "checkpoints/prior/last.safetensors").exists() == (seconds == 0)
    train(run, resume=True, weights_seed=3)
    assert state(run) == state(finished)


@pytest.fixture
def copy(finished: Path, tmp_path: Path) -> Path:
    shutil.copytree(finished, tmp_path / "copy")
    return tmp_path / "copy"


@pytest.fixture(scope="module")
def longer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run whose second stage has three epochs."""
    run = tmp_path_factory.mktemp("longer") / "run"
    train(run, prior_epochs=3)
    return run


def test_more_epochs_of_the_prior_leave_the_first_stage(copy: Path, longer: Path) -> None:
    before = {name: (copy / f"checkpoints/{name}.safetensors").stat().st_mtime_ns for name in ("last", "best")}
    train(copy, prior_epochs=3, resume=True)
    assert before == {n: (copy / f"checkpoints/{n}.safetensors").stat().st_mtime_ns for n in before}
    assert state(copy) == state(longer)


def test_more_epochs_of_the_first_stage_outdate_the_prior(copy: Path, tmp_path: Path) -> None:
    """From the first step on: if the run is killed before the second stage, it has no outdated code prior."""
    with pytest.raises(Interrupted):
        train(copy, epochs=3, resume=True, callbacks=[SignalAt(2)])
    assert not (copy / "checkpoints/prior/last.safetensors").exists()
    assert {row["stage"] for row in RunFolder(copy).metrics()} == {""}
    train(copy, epochs=3, resume=True)
    train(tmp_path / "whole", epochs=3)
    assert state(copy) == state(tmp_path / "whole")


def test_the_data_of_a_finished_run_are_not_encoded_again(copy: Path, capsys: Any) -> None:
    before = state(copy)
    train(copy, resume=True, quiet=False)
    assert "encoding" not in capsys.readouterr().err
    assert state(copy) == before
    train(copy, resume=True, quiet=False, prior_epochs=3)
    assert "code prior: encoding 40 training examples" in capsys.readouterr().err


def test_a_code_prior_that_cannot_be_trained_is_refused_first(tmp_path: Path) -> None:
    class Endless(IterableDataset[torch.Tensor]):
        def __iter__(self) -> Any:
            return iter(torch.from_numpy(gray(40)))

    stream = tb.data.open(DataLoader(Endless(), batch_size=8), levels=17)
    whole = tb.data.open(gray(), levels=17)
    unlabeled = {**COMMON, "run": tmp_path / "run"}
    few = {"steps": 2, "validation_size": 0, "run": tmp_path / "run", "quiet": True}
    with pytest.raises(InputError, match="stream"):
        tb.fit(tiny(stream, start_at_data=False), stream, **few)
    for model in (tiny(whole, "uniform"), tb.VAE.for_data(whole, network="mlp(hidden=(4,))")):
        with pytest.raises(InputError, match=r"prior_epochs = 2.*pixelcnn"):
            tb.fit(model, whole, **unlabeled)
    bad = tiny(whole)
    assert isinstance(bad.latents, Quantized)
    next(bad.latents.all_levels[0].prior.parameters()).data.fill_(math.nan)
    with pytest.raises(ValueError, match="not finite"):
        tb.fit(bad, whole, **unlabeled)
    labeled = tb.data.open(gray(), labels=np.arange(60) % 3, levels=17)
    with pytest.raises(InputError, match="label"):
        tb.fit(tiny(labeled, context="labels"), whole, **unlabeled)
    assert not (tmp_path / "run").exists()


def test_the_prior_alone_sees_labels() -> None:
    labels = np.arange(60) % 3
    data = tb.data.open(gray(), labels=labels, levels=17)
    trained = tb.fit(tiny(data, context="labels"), data, **{**COMMON, "prior_lr": 0.03, "prior_epochs": 5})
    model = trained.model
    batch = next(data.train.epoch(6))
    rest = {"x": batch.x, "index": batch.index}
    with torch.no_grad():
        one, two = (model(tb.core.terms.Batch(**rest, label=torch.full((6,), c))) for c in (0, 1))
    assert torch.equal(one.log_likelihood, two.log_likelihood)
    for a, b in zip(one.latents, two.latents, strict=True):
        assert torch.equal(torch.as_tensor(a.indices), torch.as_tensor(b.indices))
    assert not torch.equal(one.log_weight, two.log_weight)


@pytest.mark.parametrize(
    "changed",
    [{"validation_size": 0, "ema": None}, {"patience": 1, "prior_lr": 1e-30, "prior_epochs": 9}, {"precision": "bf16"},
     {"prior_batch_size": 1000}],
    ids=str,
)  # fmt: skip
def test_settings_hold_for_both_stages(changed: dict[str, Any]) -> None:
    data = tb.data.open(gray(), levels=17)
    trained = tb.fit(tiny(data), data, **{**COMMON, **changed})
    later = [row for row in trained.metrics if row["stage"] == "prior"]
    assert all(math.isfinite(row["train_loss"]) for row in later)
    assert ("validation_loss" in later[0]) == (changed.get("validation_size") != 0)
    if "patience" in changed:
        assert len(later) < 9
    if "prior_batch_size" in changed:
        assert [row["step"] for row in later] == [1, 2]
    assert (
        trained.evaluate(gray(10)[:, None], samples=1, precision=changed.get("precision", "fp32"))["elbo"].value
        is not None
    )


def test_some_examples_of_a_loader_are_encoded() -> None:
    data = tb.data.open(DataLoader(torch.from_numpy(gray(48)), batch_size=7, shuffle=True), levels=17)  # pyright: ignore
    model = tiny(data, start_at_data=False).eval()
    assert model.latents.second_stage is not None
    few, whole = (
        EncodedSplit(model, model.latents.second_stage, data.train, Settings(), "training", n) for n in (20, 99)
    )
    for split in (few, whole):
        split.fill(RunFolder("nowhere"), StopFlag(), True)
    rows = whole.batch(torch.arange(48)).x
    assert rows.dtype == torch.uint8
    assert len(few) == 20
    with torch.no_grad():
        (bottom, top) = model(tb.core.terms.Batch(torch.from_numpy(gray(48)).unsqueeze(1))).latents
    expected = torch.cat([torch.as_tensor(g.indices)[0].flatten(1) for g in (bottom, top)], 1)
    assert torch.equal(rows.long(), expected)
    some = {tuple(row) for row in few.batch(torch.arange(20)).x.tolist()}
    assert some <= {tuple(row) for row in rows.tolist()}


def test_a_known_distribution_is_learned(tmp_path: Path) -> None:
    """A Markov chain of code indices: the loss falls to its entropy, far below that of uniform indices."""
    rng, n = np.random.default_rng(0), 2400
    codes = rng.integers(0, 3, (n, 4))
    for i in range(1, 4):
        codes[:, i] = np.where(rng.random(n) < 0.8, codes[:, i - 1], rng.integers(0, 3, n))
    stay = 0.8 + 0.2 / 3
    entropy = math.log(3) - 3 * (stay * math.log(stay) + (1 - stay) * math.log((1 - stay) / 2))
    data = tb.data.open(gray(), levels=17)
    prior = "pixelcnn(embedding=4, hidden=16, layers=2, attention=0, blocks=0, dropout=0)"
    latents = "quantized(quantizer='vq(codebook_size=3)', positions=4)"
    model = tb.VAE.for_data(data, latent=2, network="mlp(hidden=(4,))", latents=latents, prior=prior)
    chosen = model.latents.second_stage
    assert chosen is not None
    chosen.enable()
    settings = Settings(epochs=4, batch_size=60, lr=1e-2, checkpoint_seconds=1e9)
    held_out = ArraySplit(codes[2000:].astype(np.uint8))
    stage = Stage(chosen, ArraySplit(codes[:2000].astype(np.uint8)), ELBO(), held_out, name="prior")
    loop = Loop(stage, settings, RunFolder(tmp_path), torch.device("cpu"), True)
    rows = loop.run([], StopFlag())
    assert rows[0]["uniform_loss"] == pytest.approx(4 * math.log(3))
    assert rows[-1]["validation_loss"] == pytest.approx(entropy, abs=0.15)
    assert rows[-1]["validation_loss"] < rows[0]["validation_loss"] < 4 * math.log(3)


def test_fit_prior_takes_the_place_of_the_old_one(copy: Path) -> None:
    data = tb.data.open(gray(), levels=17)
    first = {n: (copy / f"checkpoints/{n}.safetensors").read_bytes() for n in ("last", "best")}
    write_atomic(copy / "analysis/diagnosis.json", "{}")
    trained = tb.load(copy)
    trained.fit_prior(data, OTHER, epochs=3, batch_size=20, quiet=True)
    assert first == {n: (copy / f"checkpoints/{n}.safetensors").read_bytes() for n in first}
    assert not (copy / "analysis/diagnosis.json").exists()
    assert [row["epoch"] for row in trained.metrics if row["stage"]] == [1, 2, 3]
    again = tb.load(copy)
    assert again.weights == trained.weights
    for name, tensor in trained.model.state_dict().items():
        assert torch.equal(tensor, again.model.state_dict()[name])
    assert '"code-prior/transformer"' in (copy / "model.json").read_text()
    settings = {**COMMON, "prior_epochs": 3, "prior_batch_size": 20, "resume": True}
    tb.fit(tiny(data, OTHER), data, run=copy, **settings)  # the run goes on as one that had that prior
    with pytest.raises(InputError, match="only the epochs"):
        trained.fit_prior(data, TINY, resume=True)
    with pytest.raises(InputError, match="trained on"):
        trained.fit_prior(tb.data.open(gray(seed=1), levels=17))


def test_fit_prior_is_resumed(copy: Path, longer: Path, tmp_path: Path) -> None:
    """Both the run's own prior and a new one that was stopped; until it ends the run is unchanged."""
    data = tb.data.open(gray(), levels=17)
    tb.load(copy).fit_prior(data, epochs=3, resume=True, quiet=True)
    assert state(copy) == state(longer)
    before = {p: p.read_bytes() for p in copy.rglob("*") if p.is_file()}
    shutil.copytree(copy, tmp_path / "uninterrupted")
    tb.load(tmp_path / "uninterrupted").fit_prior(data, OTHER, quiet=True)
    trained = tb.load(copy)
    with pytest.raises(Interrupted, match=r"is unchanged.*resume="):
        fit_prior(trained.model, RunFolder(copy), data, OTHER, callbacks=[SignalAt(5)])
    assert before == {p: p.read_bytes() for p in before}
    trained.fit_prior(data, resume=True, quiet=True)
    assert state(copy) == state(tmp_path / "uninterrupted")


class Killed(BaseException):
    pass


@contextmanager
def killed_at(move: int, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """End whatever moves a file for the time after so many; give the number of moves."""
    rename: Callable[..., Any] = Path.replace
    moves = [0]

    def counted(self: Path, target: Path) -> Any:
        if moves[0] == move:
            raise Killed
        moves[0] += 1
        return rename(self, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", counted)
        yield moves


def test_fit_prior_is_all_or_nothing(
    finished: Path, copy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed at any move of a file at the end, the run is the old one or, when it is opened, the new one."""
    data = tb.data.open(gray(), levels=17)
    tb.load(copy).fit_prior(data, OTHER, epochs=1, quiet=True)
    new, old = state(copy), state(finished)
    complete = tmp_path / "complete"
    shutil.copytree(finished, complete)
    with killed_at(1, monkeypatch), pytest.raises(Killed):
        RunFolder(complete).accept(_prepared(complete, copy))
    for stop in range(20):
        run = tmp_path / f"run{stop}"
        shutil.copytree(complete, run)
        with killed_at(stop, monkeypatch) as moves:
            try:
                RunFolder(run).settle()
            except Killed:
                pass
            else:
                break
        assert tb.load(run).metrics
        assert state(run) == new
    assert moves == [8]  # config, model, run, two of metrics, three checkpoints
    assert old != new


def _prepared(run: Path, new: Path) -> RunFolder:
    """The files of a new prior, as they lie before they are accepted."""
    aside = RunFolder(run).aside
    shutil.copytree(new, aside.path, ignore=shutil.ignore_patterns(".lock"))
    for file in (aside.path / "checkpoints").glob("*.safetensors"):
        file.unlink()
    write_atomic(aside.begun_file, "{}")
    return aside
