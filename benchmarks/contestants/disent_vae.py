"""disent 0.8.0: its VAE in Lightning's trainer, as its own examples train it, on the convolutional network."""

from __future__ import annotations

import logging
import sys
import time
import warnings
from typing import Any

import numpy as np
import torch
from harness import worker
from nets import NETS, Net, load_weights


def stub_torchvision() -> None:
    """Declare the operators of torchvision if its compiled ones do not load: PyPI's are for CUDA's torch.

    disent imports torchvision for features that its VAE does not use.
    """
    try:
        import torchvision  # noqa: F401  # pyright: ignore[reportMissingImports]
    except RuntimeError:
        for name in [name for name in sys.modules if name.partition(".")[0] == "torchvision"]:
            del sys.modules[name]
        for name in ("nms", "qnms"):
            torch.library.define(f"torchvision::{name}", "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")


stub_torchvision()
warnings.simplefilter("ignore")

import lightning  # noqa: E402  # pyright: ignore[reportMissingImports]
from disent.frameworks.vae import Vae  # noqa: E402  # pyright: ignore[reportMissingImports]
from disent.model import AutoEncoder, DisentDecoder, DisentEncoder  # noqa: E402  # pyright: ignore[reportMissingImports]


class Encoder(DisentEncoder):
    def __init__(self, net: Net) -> None:
        super().__init__(x_shape=net.shape, z_size=net.latent, z_multiplier=2)
        self.layers = net.encoder()

    def encode(self, x: torch.Tensor) -> torch.Tensor:
        return self.layers(x)


class Decoder(DisentDecoder):
    def __init__(self, net: Net) -> None:
        super().__init__(x_shape=net.shape, z_size=net.latent)
        self.layers = net.decoder()

    def decode(self, z: torch.Tensor) -> torch.Tensor:
        return self.layers(z)


class Images(torch.utils.data.Dataset[dict[str, Any]]):
    """Items as disent's data sets give them: a tuple of observations, one here."""

    def __init__(self, x: torch.Tensor) -> None:
        self.x = x

    def __len__(self) -> int:
        return len(self.x)

    def __getitem__(self, index: int) -> dict[str, Any]:
        return {"x_targ": (self.x[index],)}


class Watch(lightning.Callback):
    """Measure the epoch without the trainer's start, and the mean of its losses."""

    def on_train_epoch_start(self, *_: Any) -> None:
        self.losses: list[float] = []
        self.began, self.processor = time.perf_counter(), time.process_time()

    def on_train_batch_end(self, trainer: Any, module: Any, outputs: Any, *_: Any) -> None:
        self.losses.append(float(outputs["loss"]))

    def on_train_epoch_end(self, *_: Any) -> None:
        self.taken = {
            "seconds": time.perf_counter() - self.began, "processor": time.process_time() - self.processor,
        }  # fmt: skip


def prepare(options: dict[str, Any]) -> worker.Turn:
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    torch.set_num_threads(options["threads"])
    torch.manual_seed(options["seed"])
    net = NETS[options["net"]]
    x = torch.from_numpy(np.load(options["data"])).float() / options["scale"]
    loader = torch.utils.data.DataLoader(Images(x), batch_size=options["batch_size"], shuffle=True)
    how = {"optimizer": "adam", "optimizer_kwargs": {"lr": options["lr"]}}
    config = Vae.cfg(recon_loss="bce", loss_reduction="mean_sum", **how)
    encoder, decoder = Encoder(net), Decoder(net)
    load_weights(options["start"], [*encoder.parameters(), *decoder.parameters()])
    module = Vae(model=AutoEncoder(encoder, decoder), cfg=config)

    def turn(request: dict[str, Any]) -> worker.Answer:
        watch = Watch()
        trainer = lightning.Trainer(
            max_epochs=1, accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False,
            enable_model_summary=False, callbacks=[watch],
        )  # fmt: skip
        trainer.fit(module, loader)
        return {**watch.taken, "loss": float(np.mean(watch.losses))}

    return turn


if __name__ == "__main__":
    worker.serve(prepare)
