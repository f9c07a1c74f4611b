"""Does the diagnosis find what is wrong, does its remedy cure it, and is it silent on healthy models?

    OMP_NUM_THREADS=1 python benchmarks/diagnosis.py --out results
    OMP_NUM_THREADS=1 python benchmarks/diagnosis.py --only healthy

Trains 24 small models: 12 healthy ones of different data, and 12 with one known illness. Healthy models should be
quiet. Of the others the illness should be named, and its remedy should raise the bound on held-out data, unless the
diagnosis says what it trades. Prints a table and counts.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import nn

import tightbound as tb
from tightbound.analysis.diagnosis.findings import Diagnosis
from tightbound.data import Data
from tightbound.trained import Trained

SIZE = 600  # training examples, and as many test examples
MLP: dict[str, Any] = {"network": "mlp(hidden=(32,))", "latent": 4, "batch_size": 50, "epochs": 80,
                       "schedule": "cosine", "lr": 3e-3}  # fmt: skip


class Model(NamedTuple):
    """A model to diagnose.

    Attributes:
        data: Function of a seed that returns examples (N, D), or a name of data.
        options: Options of training.
        illness: Name of the check that should find it; None: it is healthy.
        harm: Function that damages the trained model.
        opening: Options for opening the data.
    """

    data: Callable[[], Any] | str
    options: Mapping[str, Any]
    illness: str | None = None
    harm: Callable[[Trained], None] | None = None
    opening: Mapping[str, Any] = {}


def linear(d: int = 8, latent: int = 3, noise: float = 0.5, shift: float = 0.0) -> np.ndarray:
    rng = np.random.default_rng(0)
    w = rng.normal(size=(latent, d))
    z = rng.normal(size=(2 * SIZE, latent)) + shift
    return z @ w + noise * rng.normal(size=(2 * SIZE, d))


def precise() -> np.ndarray:
    """Factors that x tells so precisely that a heavier rate does not end their use."""
    return linear(noise=0.05)


def circle() -> np.ndarray:
    rng = np.random.default_rng(0)
    angle = rng.uniform(0, 2 * np.pi, 2 * SIZE)
    return np.stack([np.cos(angle), np.sin(angle)], 1) + 0.1 * rng.normal(size=(2 * SIZE, 2))


def clusters() -> np.ndarray:
    rng = np.random.default_rng(0)
    return 3 * rng.normal(size=(5, 6))[rng.integers(0, 5, 2 * SIZE)] + rng.normal(size=(2 * SIZE, 6))


def heavy() -> np.ndarray:
    rng = np.random.default_rng(0)
    return linear() + 0.3 * rng.standard_t(3, size=(2 * SIZE, 8))


def independent() -> np.ndarray:
    rng = np.random.default_rng(0)
    two = np.where(rng.random((2 * SIZE, 3)) < 0.5, -1, 1) + 0.3 * rng.normal(size=(2 * SIZE, 3))
    return np.concatenate([two, rng.exponential(size=(2 * SIZE, 3))], 1)


def counts(rates: float = 4.0) -> np.ndarray:
    """Nearly independent counts."""
    rng = np.random.default_rng(0)
    common = np.exp(0.05 * rng.normal(size=(2 * SIZE, 1)))
    return rng.poisson(rates * common * np.ones((1, 6))).astype(float)


def topics() -> np.ndarray:
    rng = np.random.default_rng(0)
    rates = rng.gamma(0.5, 4.0, size=(4, 12))
    return rng.poisson(rng.dirichlet(0.3 * np.ones(4), 2 * SIZE) @ rates).astype(float)


def overdispersed() -> np.ndarray:
    rng = np.random.default_rng(0)
    return rng.negative_binomial(0.5, 0.05, (2 * SIZE, 8)).astype(float)


def bits() -> np.ndarray:
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(2 * SIZE, 3)) @ (2 * rng.normal(size=(3, 16)))
    return (rng.random((2 * SIZE, 16)) < 1 / (1 + np.exp(-logits))).astype(float)


def unit() -> np.ndarray:
    return 1 / (1 + np.exp(-linear(d=10, noise=0.3)))


def repeated() -> np.ndarray:
    """Each example many times, so that a random split has nearly all of them on both sides."""
    rng = np.random.default_rng(0)
    return linear()[rng.integers(0, 300, 2 * SIZE)]


def few() -> np.ndarray:
    return linear(d=30, latent=10, noise=1.0)[:120]


def head(trained: Trained) -> nn.Linear:
    found = [m for m in trained.model.latents.modules() if isinstance(m, nn.Linear)]
    return found[-1]


def widened(trained: Trained) -> None:
    with torch.no_grad():
        layer = head(trained)
        layer.bias[layer.out_features // 2 :] += 3.0


def deaf(trained: Trained) -> None:
    """Half of the latents that carry something are ignored by the decoder."""
    first = next(m for m in trained.model.likelihood.modules() if isinstance(m, nn.Linear))
    used = np.argsort(-np.asarray(trained.evaluate(samples=1)["kl_per_dimension"].value))
    with torch.no_grad():
        first.weight[:, used[:2].copy()] = 0


def shifted(trained: Trained) -> None:
    """Codes move away from the prior, and the decoder follows them."""
    layer = head(trained)
    first = next(m for m in trained.model.likelihood.modules() if isinstance(m, nn.Linear))
    latent = layer.out_features // 2
    with torch.no_grad():
        layer.bias[:latent] += 3.0
        first.bias.sub_(first.weight @ torch.full((latent,), 3.0))


MODELS: dict[str, Model] = {
    "linear factors": Model(linear, MLP),
    "a circle": Model(circle, {**MLP, "latent": 2, "beta": "linear(share=0.5)"}),
    "clusters": Model(clusters, {**MLP, "prior": "mixture(components=10)"}),
    "heavy tails": Model(heavy, {**MLP, "likelihood": "student-t"}),
    "independent columns": Model(independent, MLP),
    "nearly independent counts": Model(counts, {**MLP, "likelihood": "poisson"}, opening={"domain": "counts"}),
    "topics": Model(topics, {**MLP, "likelihood": "poisson"}, opening={"domain": "counts"}),
    "overdispersed, negative binomial": Model(
        overdispersed, {**MLP, "likelihood": "negative-binomial"}, opening={"domain": "counts"}
    ),
    "bits": Model(bits, MLP),
    "shares": Model(unit, {**MLP, "likelihood": "gaussian"}),
    "digits": Model("digits", {**MLP, "latent": 8, "likelihood": "discretized-logistic", "epochs": 100}),
    "surplus latents": Model(linear, {**MLP, "latent": 16}),
    "beta = 3, much noise": Model(linear, {**MLP, "beta": "3"}, "posterior-collapse"),
    "beta = 8, known noise": Model(
        precise, {**MLP, "beta": "8", "likelihood": "gaussian(scale=0.2)"}, "posterior-too-wide"
    ),
    "beta = 0.05": Model(linear, {**MLP, "beta": "0.05"}, "posterior-too-narrow"),
    "posteriors too wide": Model(linear, MLP, "posterior-too-wide", widened),
    "deaf decoder": Model(linear, MLP, "unused-latents", deaf),
    "codes away from the prior": Model(linear, MLP, "prior-mismatch", shifted),
    "scale = 10": Model(linear, {**MLP, "likelihood": "gaussian(scale=10.0)"}, "wrong-scale"),
    "lr = 1e-5": Model(linear, {**MLP, "lr": 1e-5, "schedule": "constant"}, "undertrained"),
    "overdispersed, Poisson": Model(
        overdispersed, {**MLP, "likelihood": "poisson"}, "wrong-family", opening={"domain": "counts"}
    ),
    "few epochs": Model(clusters, {**MLP, "epochs": 10, "lr": 3e-4, "schedule": "constant"}, "undertrained"),
    "duplicates": Model(repeated, MLP, "test-in-training"),
    "few examples": Model(
        few, {"network": "mlp(hidden=(256,))", "latent": 16, "epochs": 400, "validation_size": 0, "batch_size": 30},
        "overfitting",
    ),
}  # fmt: skip


class Outcome(NamedTuple):
    """The diagnosis of a model and, if a remedy was run, what it changed."""

    found: Diagnosis
    seconds: float
    gain: float | None = None
    stderr: float | None = None


def opened(model: Model) -> Data:
    if isinstance(model.data, str):
        return tb.data.open(model.data, **model.opening)
    x = model.data().astype(np.float32)
    return tb.data.open(x, test=0.5 if len(x) > SIZE else 0.3, **model.opening)


def outcome(model: Model) -> Outcome:
    start, data = time.perf_counter(), opened(model)
    torch.manual_seed(0)
    sick = tb.train(data, quiet=True, **model.options)  # pyright: ignore
    if model.harm is not None:
        model.harm(sick)
    found = sick.diagnose(quick=True)
    if not found.remedy:
        return Outcome(found, time.perf_counter() - start)
    options = {k: v for k, v in model.options.items() if k != "beta" or "objective" not in found.remedy}
    cured = tb.train(data, quiet=True, **{**options, **found.remedy})  # pyright: ignore
    bounds = []
    for trained in (sick, cured):
        result = trained.evaluate(samples=20)
        bounds.append(result.per_example["elbo"])
    gain = bounds[1] - bounds[0]
    return Outcome(found, time.perf_counter() - start, float(gain.mean()), float(gain.std() / np.sqrt(len(gain))))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n\n")[0] if __doc__ else None)
    parser.add_argument("--only", default="", help="models whose name contains this; healthy: those without an illness")
    parser.add_argument("--out", type=Path, help="folder for the figures, as JSON")
    arguments = parser.parse_args()
    rows, right, quiet, cured, trades, worse = [], 0, 0, 0, 0, 0
    some = {
        name: model for name, model in MODELS.items()
        if arguments.only in name or (arguments.only == "healthy" and model.illness is None)
    }  # fmt: skip
    for name, model in some.items():
        done = outcome(model)
        names = [finding.name for finding in done.found.findings]
        fine = not names if model.illness is None else names[:1] == [model.illness]
        right, quiet = right + (fine and model.illness is not None), quiet + (fine and model.illness is None)
        trade = any(finding.trade for finding in done.found.findings)
        gain = "-" if done.gain is None else f"{done.gain:+.2f} ± {done.stderr:.2f}"
        if done.gain is not None and done.stderr is not None:
            up = done.gain > 2 * done.stderr
            cured, trades, worse = cured + up, trades + (not up and trade), worse + (not up and not trade)
        rows.append({"model": name, "illness": model.illness, "found": names, "remedy": dict(done.found.remedy),
                     "gain": done.gain, "stderr": done.stderr, "seconds": done.seconds})  # fmt: skip
        print(f"{'ok ' if fine else 'BAD'} {name:34} {model.illness or 'healthy':22} {', '.join(names) or 'quiet':40} "
              f"{gain:18} {done.seconds:5.1f} s  {dict(done.found.remedy) or ''}", flush=True)  # fmt: skip
    ill = sum(model.illness is not None for model in some.values())
    print(f"healthy and quiet: {quiet} of {len(some) - ill}; illness named first: {right} of {ill}")
    print(
        f"remedies that were run: {cured} raise the held-out ELBO, {trades} are said to be trades, {worse} are neither"
    )
    if arguments.out is not None:
        arguments.out.mkdir(parents=True, exist_ok=True)
        (arguments.out / "diagnosis.json").write_text(json.dumps(rows, indent=2) + "\n")


if __name__ == "__main__":
    main()
