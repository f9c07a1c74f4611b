"""pythae's side of likelihood.py, run by a Python that has it: its own VAE and `get_nll`, with weights that are given.

    python likelihood_pythae.py WEIGHTS.safetensors THREADS

Reads lines [images, samples], and answers each with seconds, processor seconds and log p(x) of each datum.
"""

from __future__ import annotations

import contextlib
import json
import sys
import time

import torch
from pythae.models import VAE, VAEConfig  # pyright: ignore[reportMissingImports]
from pythae.models.base.base_utils import ModelOutput  # pyright: ignore[reportMissingImports]
from pythae.models.nn import BaseDecoder, BaseEncoder  # pyright: ignore[reportMissingImports]
from safetensors.torch import load_file
from torch import nn


class Encoder(BaseEncoder):
    """784-512-256, and heads for mean and log-variance."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(784, 512), nn.ReLU(), nn.Linear(512, 256), nn.ReLU())
        self.head = nn.Linear(256, 40)

    def forward(self, x: torch.Tensor) -> ModelOutput:
        mean, log_variance = self.head(self.layers(x)).chunk(2, dim=1)
        return ModelOutput(embedding=mean, log_covariance=log_variance)


class Decoder(BaseDecoder):
    """20-256-512-784, to probabilities, as pythae takes them."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(20, 256), nn.ReLU(), nn.Linear(256, 512), nn.ReLU(), nn.Linear(512, 784))

    def forward(self, z: torch.Tensor) -> ModelOutput:
        return ModelOutput(reconstruction=self.layers(z).sigmoid())


def main() -> None:
    torch.set_num_threads(int(sys.argv[2]))
    tensors = load_file(sys.argv[1])
    with contextlib.redirect_stdout(sys.stderr):
        config = VAEConfig(input_dim=(784,), latent_dim=20, reconstruction_loss="bce")
        model = VAE(config, Encoder(), Decoder())
    linears = [m for part in (model.encoder, model.decoder) for m in part.modules() if isinstance(m, nn.Linear)]
    for i, layer in enumerate(linears):
        layer.load_state_dict({k: tensors[f"{i}.{k}"] for k in ("weight", "bias")})
    model.eval()
    print(json.dumps({"torch": torch.__version__, "threads": torch.get_num_threads()}), flush=True)
    for line in sys.stdin:
        images, samples = json.loads(line)
        began, processor = time.perf_counter(), time.process_time()
        # a datum at a time, as get_nll goes over them anyway, to see the value of each: it gives their mean alone
        values = [float(model.get_nll(tensors["x"][i : i + 1], n_samples=samples)) for i in range(images)]
        taken = {"seconds": time.perf_counter() - began, "processor": time.process_time() - processor}
        print(json.dumps({**taken, "bounds": values}), flush=True)


if __name__ == "__main__":
    main()
