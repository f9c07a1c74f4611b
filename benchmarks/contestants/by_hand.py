"""A training loop as a person would write it in torch: data in memory, fused Adam, no metrics but the loss."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from harness import worker
from nets import NETS, load_weights, save_weights, to_channels_last
from torch import Tensor, nn


class ByHand(nn.Module):
    """A VAE and its loss."""

    def __init__(self, options: dict[str, Any]) -> None:
        super().__init__()
        net = NETS[options["net"]]
        self.encoder, self.decoder = net.encoder(), net.decoder()
        self._bf16 = options.get("precision") == "bf16"
        self._scale = options["scale"]

    def forward(self, raw: Tensor) -> Tensor:
        """Return the loss of images (B, C, H, W), uint8, in nats per example."""
        x = raw.float() / self._scale
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=self._bf16):
            mu, log_variance = self.encoder(x).float().chunk(2, dim=1)
            z = mu + (0.5 * log_variance).exp() * torch.randn_like(mu)
            logits = self.decoder(z).float()
        reconstruction = F.binary_cross_entropy_with_logits(logits, x, reduction="sum")
        kl = -0.5 * (1 + log_variance - mu.square() - log_variance.exp()).sum()
        return (reconstruction + kl) / len(x)


def prepare(options: dict[str, Any]) -> worker.Turn:
    if options.get("flush"):  # before there are other threads, which inherit it
        torch.set_flush_denormal(True)
    torch.set_num_threads(options["threads"])
    torch.manual_seed(options["seed"])
    data = torch.from_numpy(np.load(options["data"]))
    model = ByHand(options)
    weights = [*model.encoder.parameters(), *model.decoder.parameters()]
    load_weights(options["start"], weights)
    if options.get("channels_last"):
        to_channels_last(model)
    # the last batch is smaller: without dynamic=False the second shape would be compiled for any
    loss_of = torch.compile(model, dynamic=False) if options.get("compile") else model
    optimizer = torch.optim.Adam(model.parameters(), lr=options["lr"], fused=True)

    def epoch() -> worker.Answer:
        total = 0.0
        for rows in torch.randperm(len(data)).split(options["batch_size"]):
            loss = loss_of(data[rows])
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            total += loss.item() * len(rows)
        return {"loss": total / len(data)}

    def turn(request: dict[str, Any]) -> worker.Answer:
        if request["what"] == "epoch":
            return worker.timed(epoch)
        save_weights(request["file"], weights)
        return {}

    return turn


if __name__ == "__main__":
    worker.serve(prepare)
