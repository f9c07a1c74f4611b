"""pythae 0.1.2: its VAE, VAMP and RAE with its residual networks, trained for some minutes, with its samplers."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from harness import worker
from pythae import models, samplers, trainers  # pyright: ignore[reportMissingImports]
from pythae.data.datasets import BaseDataset  # pyright: ignore[reportMissingImports]
from pythae.models.nn.benchmarks import celeba, cifar, mnist  # pyright: ignore[reportMissingImports]

NETWORKS = {(1, 28, 28): (mnist, "MNIST"), (3, 32, 32): (cifar, "CIFAR"), (3, 64, 64): (celeba, "CELEBA")}
SAMPLERS = {
    "vae": ("normal", "gaussian-mixture", "maf"),
    "vamp": ("vamp", "gaussian-mixture"),
    "rae": ("gaussian-mixture", "maf"),
}
BATCH = 64


def prepare(options: dict[str, Any]) -> worker.Turn:
    torch.set_num_threads(options["threads"])
    torch.manual_seed(options["seed"])
    x = torch.from_numpy(np.load(options["data"])).float() / 255

    def turn(request: dict[str, Any]) -> worker.Answer:
        model = build(options["kind"], tuple(x.shape[1:]), options["latent"])
        answer = worker.timed(lambda: train(options, model, x))
        answer["parameters"] = sum(p.numel() for p in model.parameters())
        model.eval()
        with torch.no_grad():
            shown = torch.from_numpy(np.load(options["shown"])).float() / 255
            answer["reconstructions"] = save(options, "reconstructions", model.reconstruct(shown))
        answer["samples"] = {name: draw(options, name, model, x) for name in SAMPLERS[options["kind"]]}
        return answer

    return turn


def build(kind: str, shape: Any, latent: int) -> Any:
    module, name = NETWORKS[shape]
    own = {"vae": ("VAE", "VAEConfig"), "vamp": ("VAMP", "VAMPConfig"), "rae": ("RAE_L2", "RAE_L2_Config")}[kind]
    config = getattr(models, own[1])(input_dim=shape, latent_dim=latent)
    encoder = getattr(module, f"Encoder_ResNet_{'AE' if kind == 'rae' else 'VAE'}_{name}")(config)
    return getattr(models, own[0])(
        config, encoder=encoder, decoder=getattr(module, f"Decoder_ResNet_AE_{name}")(config)
    )


def train(options: dict[str, Any], model: Any, x: torch.Tensor) -> dict[str, Any]:
    """Train whole epochs while another one fits into the time."""
    about: dict[str, Any] = {
        "output_dir": worker.scratch(), "per_device_train_batch_size": BATCH, "no_cuda": True, "seed": options["seed"],
    }  # fmt: skip
    if options["kind"] == "rae":
        rates = {"encoder_learning_rate": options["lr"], "decoder_learning_rate": options["lr"]}
        how = trainers.CoupledOptimizerTrainerConfig(**about, **rates)
        trainer = trainers.CoupledOptimizerTrainer(model, BaseDataset(x, torch.zeros(len(x))), training_config=how)
    else:
        how = trainers.BaseTrainerConfig(**about, learning_rate=options["lr"])
        trainer = trainers.BaseTrainer(model, BaseDataset(x, torch.zeros(len(x))), training_config=how)
    trainer.prepare_training()
    trainer.callback_handler.on_train_begin(training_config=how, model_config=model.model_config)
    clock = time.process_time if options["clock"] == "processor" else time.perf_counter
    began, epochs, loss = clock(), 0, 0.0
    while epochs == 0 or (clock() - began) * (epochs + 1) / epochs <= 60 * options["minutes"]:
        epochs += 1
        found = trainer.train_step(epochs)
        loss = float(found[0] if isinstance(found, tuple) else found)  # a pair of optimizers: a tuple
    return {"epochs": epochs, "loss": loss}


def draw(options: dict[str, Any], name: str, model: Any, x: torch.Tensor) -> str:
    """Fit a sampler if it has to be fitted, and write its samples."""
    if name == "normal":
        sampler = samplers.NormalSampler(model)
    elif name == "vamp":
        sampler = samplers.VAMPSampler(model)
    elif name == "gaussian-mixture":
        sampler = samplers.GaussianMixtureSampler(model, samplers.GaussianMixtureSamplerConfig(n_components=10))
        sampler.fit(x)
    else:
        how = trainers.BaseTrainerConfig(
            output_dir=worker.scratch(), num_epochs=100 if len(x) < 5000 else 10, learning_rate=1e-3, no_cuda=True,
            per_device_train_batch_size=BATCH,
        )  # fmt: skip
        sampler = samplers.MAFSampler(model)
        sampler.fit(x, training_config=how)
    with torch.no_grad():
        drawn = sampler.sample(options["n"], batch_size=100, return_gen=True)
    return save(options, name, drawn)


def save(options: dict[str, Any], name: str, x: torch.Tensor) -> str:
    """Write images as bytes (n, C, H, W)."""
    file = Path(options["out"], f"{name}.npy")
    np.save(file, (x.detach().clamp(0, 1) * 255).round().byte().numpy())
    return str(file)


if __name__ == "__main__":
    worker.serve(prepare)
