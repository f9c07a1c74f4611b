"""The networks on which all are compared, in plain torch, and the transfer of weights between contestants."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class Net:
    """An encoder (B, *shape) -> (B, 2 latent), means then log-variances, and a decoder (B, latent) -> logits."""

    shape: tuple[int, ...]
    latent: int
    encoder: Callable[[], nn.Sequential]
    decoder: Callable[[], nn.Sequential]


def mlp_encoder() -> nn.Sequential:
    """Return the lesson's network, 784-512-256-20."""
    return nn.Sequential(
        nn.Flatten(), nn.Linear(784, 512), nn.ReLU(), nn.Linear(512, 256), nn.ReLU(), nn.Linear(256, 40)
    )


def mlp_decoder() -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(20, 256), nn.ReLU(), nn.Linear(256, 512), nn.ReLU(), nn.Linear(512, 784), nn.Unflatten(1, (1, 28, 28))
    )


def conv_encoder(latent: int = 10) -> nn.Sequential:
    """Return the network of Locatello et al. 2019 (https://arxiv.org/abs/1811.12359), Table 1, with kernels of 4."""
    layers: list[nn.Module] = []
    for above, below in itertools.pairwise((1, 32, 32, 64, 64)):
        layers += [nn.Conv2d(above, below, 4, stride=2, padding=1), nn.ReLU()]
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(1024, 256), nn.ReLU(), nn.Linear(256, 2 * latent))


def conv_decoder(latent: int = 10) -> nn.Sequential:
    layers: list[nn.Module] = [nn.Linear(latent, 256), nn.ReLU(), nn.Linear(256, 1024), nn.ReLU()]
    layers.append(nn.Unflatten(1, (64, 4, 4)))
    for above, below in itertools.pairwise((64, 64, 32, 32, 1)):
        layers += [nn.ConvTranspose2d(above, below, 4, stride=2, padding=1), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


NETS = {
    "mlp": Net((1, 28, 28), 20, mlp_encoder, mlp_decoder),
    "conv": Net((1, 64, 64), 10, conv_encoder, conv_decoder),
}


def save_start(file: str, net: str, seed: int, data: np.ndarray[Any, Any] | None = None) -> None:
    """Write the weights from which all start, as torch initializes them.

    Args:
        data: (N, *shape) in [0, 1], at whose marginals the output bias of an MLP starts, as the product has it where it
            is asked to.
    """
    with torch.random.fork_rng(devices=()):
        torch.manual_seed(seed)
        networks = NETS[net].encoder(), NETS[net].decoder()
    weights: list[Tensor] = [p for network in networks for p in network.parameters()]
    if data is not None:
        weights[-1] = torch.logit(torch.from_numpy(data.sum(0) + 1) / (len(data) + 2)).flatten()
    save_weights(file, weights)


def to_channels_last(model: nn.Module) -> None:
    """Lay out the kernels of convolutions channels-last, and with them what they compute."""
    for p in model.parameters():
        if p.dim() == 4:
            p.data = p.data.to(memory_format=torch.channels_last)


def save_weights(file: str, weights: Iterable[Tensor]) -> None:
    """Write weight (out, in) and bias of each layer, of the encoder, then of the decoder."""
    np.savez(file, *(p.detach().float().numpy() for p in weights))


def load_weights(file: str, weights: Iterable[Tensor]) -> None:
    """Load the weights into parameters, in that order."""
    with torch.no_grad():
        for p, given in zip(weights, read_weights(file), strict=True):
            p.copy_(given)


def read_weights(file: str) -> list[Tensor]:
    with np.load(file) as arrays:
        return [torch.from_numpy(array) for array in arrays.values()]
