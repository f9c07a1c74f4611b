"""Measure classification errors on MNIST with few labels: M2 and M1+M2 of Kingma et al. 2014, and supervised models.

    TIGHTBOUND_DATA=DATA python benchmarks/semi_supervised.py --labels 100 --seeds 3
    TIGHTBOUND_DATA=DATA python benchmarks/semi_supervised.py --labels 1000 --seeds 3 --models m2 --minutes 40

All models use the same labels, equally many for each class; each seed selects different labels. `labels` is a network
that is trained on the labeled images only, and `logistic` is logistic regression on them. `m2` and `m1-m2` are
the recipes.

The paper reports, for 100 and 1000 labels, 11.97% and 3.60% (M2) and 3.33% and 2.40% (M1+M2) after thousands of epochs.
The output is the error on the 10,000 test images, with its standard error over seeds, and the minutes of one seed.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression
from torch import nn

import tightbound as tb
from tightbound.analysis.estimate import scalar
from tightbound.data.division import few_labels

Error = Callable[[Any, int, float], float]


def split(data: Any) -> tuple[torch.Tensor, torch.Tensor]:
    """Return images in [0, 1] (N, 784) and labels (N,)."""
    batch = next(data.epoch(len(data)))
    return batch.x.flatten(1).float() / 255, batch.label


def logistic(data: Any, seed: int, minutes: float) -> float:
    """Return the error of logistic regression on the labeled images."""
    (x, y), (xt, yt) = split(data.train), split(data.test)
    return 1 - LogisticRegression(max_iter=2000).fit(x[y >= 0], y[y >= 0]).score(xt, yt)


def labels(data: Any, seed: int, minutes: float) -> float:
    """Return the error of a network with 500 hidden units on the labeled images, binarized at random at each step."""
    (x, y), (xt, yt) = split(data.train), split(data.test)
    x, y = x[y >= 0], y[y >= 0]
    torch.manual_seed(seed)
    network = nn.Sequential(nn.Linear(784, 500), nn.ReLU(), nn.Linear(500, 10))
    optimizer = torch.optim.Adam(network.parameters(), 1e-3)
    for _ in range(500):
        rows = torch.randint(len(x), (200,))
        loss = nn.functional.cross_entropy(network(torch.bernoulli(x[rows])), y[rows])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return float((network(xt).argmax(1) != yt).double().mean())


def recipe(name: str) -> Error:
    """Return a function that returns the error of a recipe."""

    def error(data: Any, seed: int, minutes: float) -> float:
        trained = tb.train(data, recipe=name, minutes=minutes, seed=seed, quiet=True)
        return 1 - scalar(trained.classify(data.test)["accuracy"])

    return error


MODELS: dict[str, Error] = {"logistic": logistic, "labels": labels, "m2": recipe("m2"), "m1-m2": recipe("m1-m2")}


def main() -> None:
    """Print the errors of all models."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--labels", type=int, default=100)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--minutes", type=float, default=40, help="maximum time of each training; M1+M2 has two")
    parser.add_argument("--models", nargs="*", choices=MODELS, default=list(MODELS))
    options = parser.parse_args()
    data = tb.data.open("mnist")
    for name in options.models:
        errors, start = [], time.monotonic()
        for seed in range(options.seeds):
            few = few_labels(data, options.labels / len(data.train), seed)
            errors.append(MODELS[name](few, seed, options.minutes))
            print(f"{name}: seed {seed}: {errors[-1]:.2%}", flush=True)
        minutes = (time.monotonic() - start) / 60 / options.seeds
        spread = f" +- {np.std(errors, ddof=1) / np.sqrt(len(errors)):.2%}" if len(errors) > 1 else ""
        print(f"{name}: {options.labels} labels: {np.mean(errors):.2%}{spread} ({minutes:.1f} min)", flush=True)


if __name__ == "__main__":
    main()
