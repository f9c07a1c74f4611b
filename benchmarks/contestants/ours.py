"""tightbound: training loop, evaluation, embedding and sampling, on the networks on which all are compared."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from harness import worker
from nets import NETS, load_weights, save_weights, to_channels_last
from torch import nn

import tightbound as tb
from tightbound.components import make
from tightbound.data import Data
from tightbound.data.memory import keep_freed_memory
from tightbound.inference.infer import encode, sample
from tightbound.nn.base import Architecture, Shape
from tightbound.recipes import recipe
from tightbound.training.folder import RunFolder
from tightbound.training.loop import Loop
from tightbound.training.trainer import Stage


class Locatello(Architecture):
    """The convolutional network of `nets` as an architecture of tightbound."""

    def encoder(self, shape: Shape) -> nn.Module:
        return NETS["conv"].encoder()[:-1]  # the last layer is the posterior's

    def decoder(self, features: int, outputs: int, shape: Shape) -> nn.Module:
        return NETS["conv"].decoder()


def prepare(options: dict[str, Any]) -> worker.Turn:
    torch.set_num_threads(options["threads"])
    data = tb.data.open(np.load(options["data"]), levels=options["scale"] + 1, test=0.01)
    model = build(data, options["net"])
    load_weights(options["start"], model.parameters())
    return _training(options, model, data) if "lr" in options else _use(options, model)


def build(data: Data, net: str) -> tb.VAE:
    """Return the recipe `lesson`, or the convolutional model on bits."""
    if net == "mlp":
        config = recipe("lesson")
        parts = {name: getattr(config, name) for name in ("latent", "network", "likelihood", "observation")}
        return tb.VAE.for_data(data, **parts, start_at_data=False)
    return tb.VAE.for_data(data, latent=10, network=Locatello(), likelihood="bernoulli", start_at_data=False)


def _training(options: dict[str, Any], model: tb.VAE, data: Data) -> worker.Turn:
    """Train epochs with metrics, without validation and checkpoints."""
    how: Any = {name: options[name] for name in ("precision", "compile") if name in options}
    settings = tb.Settings(
        epochs=1000, batch_size=options["batch_size"], lr=options["lr"], seed=options["seed"], validation_size=0,
        checkpoint_seconds=1e9, device="cpu", **how,
    )  # fmt: skip
    if options.get("channels_last"):
        to_channels_last(model)
    if settings.keep_memory:
        keep_freed_memory()  # as `fit` does
    folder = RunFolder(Path(worker.scratch()))
    stage = Stage(model, data.whole, make("objective", "elbo"))
    loop = Loop(stage, settings, folder, torch.device("cpu"), quiet=True)
    trainer = loop.trainer

    def epoch() -> worker.Answer:
        loop.prepare()  # compiles in the first turn, which counts for the curves alone
        trainer.model.train()
        for batch in trainer.batches():
            trainer.take_step(batch)
        return {"loss": loop.validator.finish_epoch()["train_loss"]}

    def turn(request: dict[str, Any]) -> worker.Answer:
        if request["what"] == "epoch":
            return worker.timed(epoch)
        if request["what"] == "weights":
            save_weights(request["file"], model.parameters())
            return {}
        judged = build(data, options["net"])
        load_weights(request["file"], judged.parameters())
        test = np.load(request["test"])
        elbo = tb.evaluate(judged, test, samples=request["samples"])["elbo"]
        return {"elbo": elbo.value, "stderr": elbo.stderr}

    return turn


def _use(options: dict[str, Any], model: tb.VAE) -> worker.Turn:
    """Use a model that was trained elsewhere."""
    x = np.load(options["data"])
    precision = options.get("precision", "fp32")

    def likelihood(n: int, samples: int) -> worker.Answer:
        found = tb.evaluate(model, x[:n], samples=samples, precision=precision)
        return {"bounds": found.per_example["iwae"].tolist()}

    def turn(request: dict[str, Any]) -> worker.Answer:
        n = request["n"]
        if request["what"] == "likelihood":
            return worker.timed(lambda: likelihood(n, request["samples"]))
        if request["what"] == "embed":
            return worker.timed(lambda: encode(model, x[:n]))
        return worker.timed(lambda: sample(model, n))

    return turn


if __name__ == "__main__":
    worker.serve(prepare)
