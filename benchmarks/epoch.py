"""Time of a training epoch against a hand-written loop, in one process, and the bound that each reaches.

    TIGHTBOUND_DATA=folder python benchmarks/epoch.py --epochs 10 --seeds 3 --json epoch.json

The recipe `lesson` (784-512-256-20, Bernoulli, Adam 1e-3, batch 128, all of MNIST's training set) is trained by the
library's loop and by one as a person would write it: data in memory, fused Adam, no metrics but the loss. The two take
turns, epoch by epoch, so that a machine whose speed drifts slows both. Prints the median seconds of an epoch, the
median of the ratios pair by pair, and the test ELBO of both after training, over the seeds.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import tempfile
import time
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import tightbound as tb
from tightbound.core.parts import make
from tightbound.data import Data, Indexed
from tightbound.recipes import recipe
from tightbound.training.folder import RunFolder
from tightbound.training.loop import Loop, Stage
from tightbound.training.monitor import Monitor, StopFlag


def lesson(data: Data, seed: int) -> tb.VAE:
    """The recipe's model."""
    config = recipe("lesson")
    parts = {name: getattr(config, name) for name in ("latent", "network", "likelihood", "observation")}
    return tb.vae(data, **parts, seed=seed)


class Ours:
    """The library's loop."""

    def __init__(self, data: Data, seed: int, epochs: int, folder: Path) -> None:
        self.model = lesson(data, seed)
        config = recipe("lesson").replace(validation=0, epochs=epochs, seed=seed)
        stage = Stage(self.model, data.train, make("objective", config.objective_spec()))
        self._loop = Loop(stage, config.settings(), RunFolder(folder), torch.device("cpu"), quiet=True)
        self._monitor = Monitor(self._loop.total, 0, epochs, quiet=True)

    def epoch(self) -> None:
        self._loop.run_epoch([], StopFlag(), self._monitor)
        self._loop.finish_epoch()


class ByHand(nn.Module):
    """The lesson's network, loss and loop, written out."""

    def __init__(self, data: Data, seed: int) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.encoder = nn.Sequential(nn.Linear(784, 512), nn.ReLU(), nn.Linear(512, 256), nn.ReLU())
        self.head = nn.Linear(256, 40)
        self.decoder = nn.Sequential(nn.Linear(20, 256), nn.ReLU(), nn.Linear(256, 512), nn.ReLU(), nn.Linear(512, 784))
        assert isinstance(data.train, Indexed)
        self.train_data = data.train.batch(torch.arange(len(data.train))).x.flatten(1)
        self.optimizer = torch.optim.Adam(self.parameters(), lr=1e-3, fused=True)

    def forward(self, x: Tensor) -> Tensor:
        mu, log_variance = self.head(self.encoder(x)).chunk(2, dim=1)
        z = mu + (0.5 * log_variance).exp() * torch.randn_like(mu)
        reconstruction = F.binary_cross_entropy_with_logits(self.decoder(z), x, reduction="sum")
        kl = -0.5 * (1 + log_variance - mu.square() - log_variance.exp()).sum()
        return (reconstruction + kl) / len(x)

    def epoch(self) -> None:
        for rows in torch.randperm(len(self.train_data)).split(128):
            loss = self(self.train_data[rows].float() / 255)
            self.optimizer.zero_grad(set_to_none=True)
            loss.backward()
            self.optimizer.step()

    def as_vae(self, data: Data) -> tb.VAE:
        """The same weights in the library's model, to be evaluated alike."""
        model = lesson(data, 0)
        mine = [*self.encoder.parameters(), *self.head.parameters(), *self.decoder.parameters()]
        with torch.no_grad():
            for theirs, p in zip(model.parameters(), mine, strict=True):
                theirs.copy_(p)
        return model


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n\n")[0] if __doc__ else None)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    data = tb.data.open("mnist")
    seconds: dict[str, list[float]] = {"ours": [], "by hand": []}
    bounds: dict[str, list[float]] = {"ours": [], "by hand": []}
    for seed in range(arguments.seeds):
        with tempfile.TemporaryDirectory() as folder:
            ours, hand = Ours(data, seed, arguments.epochs, Path(folder)), ByHand(data, seed)
            for epoch in range(arguments.epochs):
                turn = [("ours", ours), ("by hand", hand)]
                for name, contestant in turn if epoch % 2 else turn[::-1]:
                    began = time.perf_counter()
                    contestant.epoch()
                    seconds[name].append(time.perf_counter() - began)
        for name, model in (("ours", ours.model), ("by hand", hand.as_vae(data))):
            elbo = tb.evaluate(model, data.test, samples=10)["elbo"]
            bounds[name].append(float(str(elbo.value)))
        print(f"seed {seed}: test ELBO ours {bounds['ours'][-1]:.2f}, by hand {bounds['by hand'][-1]:.2f}", flush=True)
    ratios = [a / b for a, b in zip(seconds["ours"], seconds["by hand"], strict=True)]
    for name, values in seconds.items():
        line = f"{name:8s}  {statistics.median(values):.3f} s an epoch (min {min(values):.3f}, max {max(values):.3f})"
        spread = statistics.stdev(bounds[name]) if arguments.seeds > 1 else float("nan")
        print(f"{line}; test ELBO {statistics.fmean(bounds[name]):.2f}, sd over seeds {spread:.2f}")
    print(f"ratio     {statistics.median(ratios):.3f} (median of {len(ratios)} pairs)")
    if arguments.json:
        machine = {"machine": platform.machine(), "threads": torch.get_num_threads(), "torch": torch.__version__}
        facts = {"seconds": seconds, "ratios": ratios, "test_elbo": bounds, "machine": machine}
        arguments.json.write_text(json.dumps(facts, indent=2) + "\n")


if __name__ == "__main__":
    main()
