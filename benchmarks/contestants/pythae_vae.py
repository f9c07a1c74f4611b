"""pythae 0.1.2: its VAE, trainer, `get_nll`, `embed` and normal sampler, on the networks on which all are compared."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from harness import worker
from nets import NETS, Net, load_weights, save_weights
from pythae.data.datasets import BaseDataset  # pyright: ignore[reportMissingImports]
from pythae.models import VAE, VAEConfig  # pyright: ignore[reportMissingImports]
from pythae.models.base.base_utils import ModelOutput  # pyright: ignore[reportMissingImports]
from pythae.models.nn import BaseDecoder, BaseEncoder  # pyright: ignore[reportMissingImports]
from pythae.samplers import NormalSampler  # pyright: ignore[reportMissingImports]
from pythae.trainers import BaseTrainer, BaseTrainerConfig  # pyright: ignore[reportMissingImports]


class Encoder(BaseEncoder):
    def __init__(self, net: Net) -> None:
        super().__init__()
        self.layers = net.encoder()

    def forward(self, x: torch.Tensor) -> ModelOutput:
        mean, log_variance = self.layers(x).chunk(2, dim=1)
        return ModelOutput(embedding=mean, log_covariance=log_variance)


class Decoder(BaseDecoder):
    """Return probabilities, as pythae takes them."""

    def __init__(self, net: Net) -> None:
        super().__init__()
        self.layers = net.decoder()

    def forward(self, z: torch.Tensor) -> ModelOutput:
        return ModelOutput(reconstruction=self.layers(z).sigmoid())


def prepare(options: dict[str, Any]) -> worker.Turn:
    torch.set_num_threads(options["threads"])
    torch.manual_seed(options["seed"])
    net = NETS[options["net"]]
    x = torch.from_numpy(np.load(options["data"])).float() / options["scale"]
    config = VAEConfig(input_dim=net.shape, latent_dim=net.latent, reconstruction_loss="bce")
    model = VAE(config, Encoder(net), Decoder(net))
    weights = [*model.encoder.parameters(), *model.decoder.parameters()]
    load_weights(options["start"], weights)
    return _training(options, model, x, weights) if "lr" in options else _use(model, x)


def _training(options: dict[str, Any], model: Any, x: torch.Tensor, weights: list[torch.Tensor]) -> worker.Turn:
    """Train epochs, without the trainer's start, its copies of the best model and its files."""
    how = BaseTrainerConfig(
        output_dir=worker.scratch(),
        per_device_train_batch_size=options["batch_size"],
        learning_rate=options["lr"],
        no_cuda=True,
        seed=options["seed"],
    )
    trainer = BaseTrainer(model, BaseDataset(x, torch.zeros(len(x))), training_config=how)
    trainer.prepare_training()
    trainer.callback_handler.on_train_begin(training_config=how, model_config=model.model_config)
    epochs = 0

    def turn(request: dict[str, Any]) -> worker.Answer:
        nonlocal epochs
        if request["what"] == "epoch":
            epochs += 1
            return worker.timed(lambda: {"loss": float(trainer.train_step(epochs))})
        save_weights(request["file"], weights)
        return {}

    return turn


def _use(model: Any, x: torch.Tensor) -> worker.Turn:
    """Use a model that was trained elsewhere."""
    model.eval()
    sampler = NormalSampler(model)

    def likelihood(n: int, samples: int) -> worker.Answer:
        # one example at a time, as get_nll computes them anyway: it returns only their mean
        return {"bounds": [float(model.get_nll(x[i : i + 1], n_samples=samples)) for i in range(n)]}

    def turn(request: dict[str, Any]) -> worker.Answer:
        n = request["n"]
        if request["what"] == "likelihood":
            return worker.timed(lambda: likelihood(n, request["samples"]))
        if request["what"] == "embed":
            return worker.timed(lambda: model.embed(x[:n]))
        return worker.timed(lambda: sampler.sample(n))

    return turn


if __name__ == "__main__":
    worker.serve(prepare)
