"""Bad input: exit status 2, one line that starts with "tightbound: ", and nothing written."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from conftest import TINY, Result, gray

Refused = Callable[..., str]

FLAGS = [
    # numbers
    (["--latent", "0"], "latent"),
    (["--latent", "2.5"], "latent"),
    (["--epochs", "-1"], "epochs"),
    (["--epochs", "0"], "epochs"),
    (["--epochs", "many"], "epochs"),
    (["--steps", "0"], "steps"),
    (["--batch-size", "0"], "batch"),
    (["--lr", "nan"], "lr"),
    (["--lr", "inf"], "lr"),
    (["--lr", "0"], "lr"),
    (["--lr", "fast"], "lr"),
    (["--encoder-lr", "-1"], "encoder"),
    (["--eps", "0"], "eps"),
    (["--ema", "1"], "ema"),
    (["--clip", "0"], "clip"),
    (["--seed", "-1"], "seed"),
    (["--test", "2"], "test"),
    (["--test", "nan"], "test"),
    (["--validation-size", "-1"], "validation"),
    (["--validation-size", "54"], "validation"),
    (["--patience", "0"], "patience"),
    (["--checkpoint-seconds", "-1"], "checkpoint"),
    (["--evaluate-samples", "-1"], "evaluate"),
    (["--evaluate-data", "0"], "evaluate"),
    (["--resize", "0", "8"], "resize"),
    # what would not end or fit into memory
    (["--latent", "1000000000000"], "latent"),
    (["--epochs", "999999999999"], "epochs"),
    (["--evaluate-samples", "999999999999"], "--evaluate-samples 999999999999; needed: a whole number"),
    (["--processes", "999999999"], "processes"),
    (["--objective", "iwae(samples=999999999)"], "memory"),
    (["--network", "mlp(hidden=(99999999,))"], "memory"),
    # parts
    (["--likelihood", "bernouli"], "bernoulli"),
    (["--likelihood", "gaussian", "--observation", "levels"], "level"),
    (["--likelihood", "bernoulli(scale=2)"], "scale"),
    (["--prior", "normal(latent=3)"], "latent"),
    (["--prior", "normal(latent=3"], "normal(latent=3"),
    (["--prior", "elbo"], "elbo"),
    (["--prior", "os:system('true')"], "--trust"),
    (["--prior", "nosuch.module:Thing", "--trust"], "nosuch"),
    (["--prior", "json:dumps(obj=1)", "--trust"], "prior"),
    (["--posterior", ""], "component"),
    (["--network", "mlp(hidden=(0,))"], "hidden"),
    (["--network", "mlp(hidden=x)"], "mlp(hidden=x)"),
    (["--network", "mlp(hidden=(x, 3))"], "mlp(hidden=(x, 3))"),
    (["--network", "mlp(**{'hidden': 3})"], "mlp"),
    (["--network", "mlp(hidden=(3,), hidden=(4,))"], "hidden"),
    (["--network", "mlp(dropout=1.5)"], "dropout"),
    (["--network", "mlp(activation='rellu')"], "relu"),
    (["--network", "mlp(activation=3)"], "activation"),
    (["--network", "mlp(1, 2, 3, 4, 5, 6, 7, 8, 9)"], "mlp"),
    (["--network", "conv(kernel=2)"], "kernel"),
    (["--network", "conv(kernel='a')"], "kernel ="),
    (["--network", "conv(kernel=2.5)"], "kernel"),
    (["--network", "mlp(" + "-" * 5000 + "1)"], "component"),
    (["--objective", "iwae(samples=0)"], "samples"),
    (["--objective", "elbo(kl='open')"], "kl"),
    (["--objective", "elbo", "--posterior", "point"], "autoencoder"),
    (["--objective", "iwae", "--beta", "4"], "beta"),
    (["--objective", "capacity(capacity=liner(stop=3))"], "linear"),
    (["--objective", "elbo(beta=mlp())"], "beta"),
    (["--beta", "-1"], "beta"),
    (["--beta", "nan"], "beta"),
    (["--beta", "liner"], "linear"),
    (["--observation", "levels(levels=16)"], "16"),
    (["--observation", "binarized(mode='never')"], "mode"),
    (["--observation", "standardized"], "levels"),
    (["--schedule", "cosin"], "cosine"),
    (["--schedule", "cosine(warmup=-1)"], "warmup"),
    (["--schedule", "cosine(final=nan)"], "final"),
    # words
    (["--device", "abacus"], "abacus"),
    (["--precision", "fp8"], "precision"),
    (["--latnet", "3"], "--latent"),
    (["--recipe", "lessons"], "lesson"),
    (["--config", "missing.yaml"], "missing.yaml"),
    (["--resume"], "no run 'new'"),
    (["--levels", "1"], "levels"),
    (["--domain", "real", "--levels", "17"], "levels"),
    (["extra"], "extra"),
    (["--latent"], "--latent was given without a value"),
    (["--latent", "--epochs", "2"], "--latent was given without a value"),
    (["--prior", "iwae"], "'iwae' is an objective"),
    (["--beta", "linaer"], "needed: a number or a schedule; did you mean 'linear'?"),
    (["--beta", "foo"], "needed: a number or a schedule; known: constant, cosine, cyclical, linear"),
]


@pytest.mark.parametrize(("flags", "names"), FLAGS, ids=lambda v: " ".join(v)[:40] if isinstance(v, list) else "")
def test_train_refuses_a_flag(refused: Refused, tmp_path: Path, flags: list[str], names: str) -> None:
    np.save(tmp_path / "x.npy", gray())
    assert names in refused("train", "x.npy", *TINY, "--run", "new", *flags)


def _save(path: str, x: object) -> str:
    np.save(path, x)  # pyright: ignore[reportArgumentType]
    return path


def _truncated(path: str) -> str:
    np.save(path, gray())
    os.truncate(path, 500)
    return path


def _text(path: str, text: str) -> str:
    Path(path).write_text(text)
    return path


def _folder(path: str) -> str:
    os.mkdir(path)
    return path


def _with(value: float) -> np.ndarray[Any, Any]:
    x = np.random.default_rng(0).normal(size=(20, 3))
    x[7, 1] = value
    return x


DATA: dict[str, Callable[[], str]] = {
    "missing": lambda: "missing.npy",
    "misspelt": lambda: "digit",
    "truncated": lambda: _truncated("x.npy"),
    "nothing but nan": lambda: _save("x.npy", np.full((20, 3), np.nan)),
    "infinite": lambda: _save("x.npy", _with(np.inf)),
    "empty array": lambda: _save("x.npy", np.zeros((0, 8, 8))),
    "no columns": lambda: _save("x.npy", np.zeros((8, 0))),
    "one example": lambda: _save("x.npy", np.zeros((1, 8, 8))),
    "rank 0": lambda: _save("x.npy", np.float64(3)),
    "rank 1": lambda: _save("x.npy", np.arange(9.0)),
    "rank 5": lambda: _save("x.npy", np.zeros((9, 2, 2, 2, 2))),
    "objects": lambda: _save("x.npy", np.array([{}, [1, 2]], dtype=object)),
    "complex": lambda: _save("x.npy", np.ones((9, 3), dtype=complex)),
    "words": lambda: _save("x.npy", np.array([["a", "b"]] * 9)),
    "no array": lambda: _text("x.npy", "hello"),
    "csv of words": lambda: _text("x.csv", "a,b\n1,2\n3,four\n"),
    "ragged csv": lambda: _text("x.csv", "1,2\n3,4,5\n"),
    "empty csv": lambda: _text("x.csv", ""),
    "unknown ending": lambda: _text("x.xyz", "hello"),
    "empty folder": lambda: _folder("pictures"),
    "empty name": lambda: "",
}


@pytest.mark.parametrize("case", DATA)
def test_train_refuses_data(refused: Refused, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, case: str) -> None:
    monkeypatch.chdir(tmp_path)
    refused("train", DATA[case](), *TINY, "--run", "new")


def test_a_likelihood_outside_the_domain_of_real_data(
    refused: Refused, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    _save("x.npy", np.random.default_rng(0).normal(size=(50, 3)))
    for likelihood, fix in (("bernoulli", "gaussian"), ("categorical", "gaussian"), ("binomial", "laplace")):
        assert fix in refused("train", "x.npy", *TINY, "--run", "new", "--likelihood", likelihood)
    assert "mlp" in refused("train", "x.npy", *TINY, "--run", "new", "--network", "conv")


CONFIGS = {
    "unknown key": ("latnet: 3\n", "latent"),
    "a key that is no word": ("1: 2\n", "1"),
    "not YAML": ("latent: [3\n", "YAML"),
    "a list": ("- latent\n- 3\n", "name: value"),
    "empty": ("", "name: value"),
    "not text": ("\udcff", "not text"),
    "word for a number": ("latent: many\n", "latent"),
    "list for a number": ("latent: [3, 4]\n", "latent"),
    "number for a part": ("network: 5\n", "network"),
    "nothing for a part": ("objective: null\n", "objective"),
    "list for beta": ("beta: [1]\n", "beta"),
    "number for a flag": ("gray: 3\n", "gray"),
    "number for data": ("data: 5\n", "data"),
    "one number of two": ("resize: 5\n", "resize"),
    "unknown recipe": ("recipe: lessons\n", "lesson"),
    "unknown choice": ("precision: fp8\n", "precision"),
    "number out of range": ("lr: -1\n", "lr"),
    "tag": ("latent: !!python/object/apply:os.system ['true']\n", "YAML"),
}


@pytest.mark.parametrize("case", CONFIGS)
def test_train_refuses_a_config(refused: Refused, tmp_path: Path, case: str) -> None:
    text, names = CONFIGS[case]
    (tmp_path / "c.yaml").write_bytes(text.encode("utf-8", "surrogateescape"))
    assert names in refused("train", *TINY, "--run", "new", "--config", "c.yaml")


def test_a_config_may_write_numbers_as_people_do(cli: Callable[..., Result], tmp_path: Path) -> None:
    """YAML 1.1 reads 1e-3, without a dot, as a word."""
    np.save(tmp_path / "x.npy", gray())
    (tmp_path / "c.yaml").write_text("lr: 2e-3\nbeta: 4\n")
    assert cli("train", "x.npy", *TINY, "--evaluate-samples", "0", "--run", "new", "--config", "c.yaml").status == 0
    assert yaml.safe_load((tmp_path / "new/config.yaml").read_text())["lr"] == 2e-3


def test_a_run_that_exists_is_kept(refused: Refused, run: Path, tmp_path: Path) -> None:
    assert "--overwrite" in refused("train", *TINY, "--run", "run")
    (tmp_path / "a.txt").write_text("mine")
    assert "file" in refused("train", *TINY, "--run", "a.txt")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/thesis.txt").write_text("mine")
    for flags in ([], ["--overwrite"]):
        assert "not empty" in refused("train", *TINY, "--run", "mine", *flags)


@pytest.mark.parametrize(
    "flags",
    [["--schedule", "cosin"], ["--evaluate-samples", "-1"], ["--likelihood", "nosuch"], ["--validation-size", "9999"]],
    ids=lambda flags: flags[0],
)
def test_a_mistake_does_not_overwrite(refused: Refused, run: Path, flags: list[str]) -> None:
    refused("train", *TINY, "--run", "run", "--overwrite", *flags)


INSPECT = [
    (["evaluate", "run", "--samples", "0"], "samples"),
    (["evaluate", "run", "--samples", "2", "--per-example", "p.txt"], ".npz"),
    (["evaluate", "run", "nosuch"], "nosuch"),
    (["evaluate", "run", "--split", "validation"], "split"),
    (["evaluate", "run", "--device", "abacus"], "abacus"),
    (["evaluate"], "RUN"),
    (["sample", "run", "-n", "0"], "-n 0"),
    (["sample", "run", "-n", "-3"], "-n -3"),
    (["sample", "run", "-n", "4", "--out", "s.gif"], ".png"),
    (["sample", "run", "-n", "4", "--out", "s"], ".png"),
    (["sample", "run", "-n", "4", "--out", "run/run.json/s.png"], "s.png"),
    (["sample", "run", "-n", "4", "--out", "run"], "run"),
    (["reconstruct", "run", "-n", "0"], "-n 0"),
    (["reconstruct", "run", "--out", "r.gif"], ".png"),
    (["interpolate", "run", "--from", "9999"], "--from 9999"),
    (["interpolate", "run", "--to", "-1"], "--to -1"),
    (["interpolate", "run", "--steps", "1"], "--steps 1"),
    (["interpolate", "run", "--out", "i.csv"], ".npz"),
    (["embed", "run", "--out", "c.png"], ".npz"),
    (["report", "nosuch"], "nosuch"),
    (["list", "likelyhoods"], "likelihoods"),
    (["list"], "likelihoods"),
    (["trian"], "train"),
]


@pytest.mark.parametrize(("argv", "names"), INSPECT, ids=lambda v: " ".join(v) if isinstance(v, list) else "")
def test_commands_on_a_run_refuse(refused: Refused, run: Path, argv: list[str], names: str) -> None:
    assert names in refused(*argv)


def test_data_of_another_shape_or_domain_are_refused(refused: Refused, run: Path, tmp_path: Path) -> None:
    np.save(tmp_path / "wide.npy", gray(shape=(8, 10)))
    np.save(tmp_path / "fine.npy", gray(levels=200))
    np.save(tmp_path / "real.npy", np.random.default_rng(0).normal(size=(30, 8, 8)))
    np.save(tmp_path / "table.npy", np.random.default_rng(0).normal(size=(30, 64)))
    assert "(1, 8, 10)" in refused("evaluate", run, "wide.npy", "--samples", "2")
    assert "17 levels" in refused("evaluate", run, "fine.npy", "--samples", "2")
    assert "real" in refused("embed", run, "real.npy")
    assert "table" in refused("reconstruct", run, "table.npy")


def test_a_folder_that_cannot_be_written(refused: Refused, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    assert "file" in refused("train", *TINY, "--run", "file/run")


def _full(*_: object, **__: object) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.filterwarnings("ignore:the schedule of beta depends on the length")
@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_a_full_disk(refused: Refused, run: Path, monkeypatch: pytest.MonkeyPatch, call: str) -> None:
    """The old files stay, no temporary one is left behind, and a new run leaves no folder."""
    monkeypatch.setattr(os, call, _full)
    for argv in (
        ["train", *TINY, "--run", "run", "--resume", "--epochs", "3"],
        ["train", *TINY, "--run", "new"],
        ["sample", run, "-n", "4", "--out", "s.png"],
        ["embed", run, "--out", "c.npz"],
        ["report", run, "--quick"],
    ):
        assert "No space left" in refused(*argv)


@pytest.mark.filterwarnings("ignore:the schedule of beta depends on the length")
def test_a_disk_that_fills_up_during_training(
    cli: Callable[..., Result], run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The last checkpoint stays whole: with space again, the run goes on."""
    last = run / "checkpoints/last.safetensors"
    before, replace = last.read_bytes(), os.replace

    def fill(source: Any, target: Any) -> None:
        _full() if str(target).endswith("last.safetensors") else replace(source, target)

    monkeypatch.setattr(os, "replace", fill)
    result = cli("train", "--run", "run", "--resume", "--epochs", "3")
    assert (result.status, last.read_bytes()) == (2, before)
    assert result.err.splitlines()[-1].startswith("tightbound: cannot write")
    assert {path.name for path in run.rglob(".*")} <= {".lock"}
    monkeypatch.undo()
    monkeypatch.chdir(run.parent)
    assert cli("train", "--run", "run", "--resume", "--epochs", "3", "--evaluate-samples", "0").status == 0
    assert [json.loads(row)["epoch"] for row in (run / "metrics.jsonl").read_text().splitlines()] == [1, 2, 3]


def test_a_loss_that_is_not_finite_says_where_and_what_to_do(cli: Callable[..., Result], tmp_path: Path) -> None:
    result = cli("train", *TINY, "--run", "new", "--lr", "1e30", "--likelihood", "bernoulli")
    line = result.err.splitlines()[-1]
    assert result.status == 1
    assert line.startswith("tightbound: the loss became")
    assert "at step" in line
    assert "--lr" in line


def test_data_that_changed_since_training_are_refused(
    cli: Callable[..., Result], refused: Refused, tmp_path: Path
) -> None:
    np.save(tmp_path / "x.npy", gray())
    assert cli("train", "x.npy", *TINY, "--evaluate-samples", "0", "--run", "r").status == 0
    np.save(tmp_path / "x.npy", gray()[:-1])
    assert "changed or moved" in refused("evaluate", "r", "--samples", "2")


PARSED = {
    "train --lr fast": "--lr fast; needed: a number, or auto;",
    "train --lr=fast": "--lr fast; needed: a number, or auto;",
    "train --epochs soon": "--epochs soon; needed: a whole number, or auto;",
    "train --ema half": "--ema half; needed: a number;",
    "train --steps=many": "--steps many; needed: a whole number",
    "train --resize 3": "--resize 3; needed: HEIGHT WIDTH",
    "train --domain reel": "--domain 'reel'; needed: one of binary, counts, real, unit",
    "sample r -n x": "--n-samples x; needed: a whole number",
    "list prior": "kind 'prior'; needed: one of",
    "compare": "RUN is missing",
}


@pytest.mark.parametrize(("words", "said"), PARSED.items())
def test_words_that_cannot_be_parsed_say_what_is_needed(refused: Refused, words: str, said: str) -> None:
    assert refused(*words.split()).startswith(f"tightbound: {said}")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["train", "--validation-size", "0", "--patience", "2"], "--patience needs validation data"),
        (["train", "--evaluate-samples", "0", "--evaluate-data", "5"], "--evaluate-data does nothing"),
        (["sweep", "--latent", "2", "3", "--search-seed", "1"], "--search-seed are for random draws"),
    ],
)
def test_options_that_cannot_act_are_refused(
    cli: Callable[..., Result], tmp_path: Path, words: list[str], message: str
) -> None:
    refused = cli(words[0], "digits", *words[1:], "--run", tmp_path / "run")
    assert refused.status == 2
    assert message in refused.err
    assert len(refused.err.splitlines()) == 1
    assert not (tmp_path / "run").exists()
