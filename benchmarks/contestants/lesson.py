"""The lesson's script: its model, loss and loop as it has them, and MNIST as torchvision's `MNIST` and `ToTensor` give
it, one image at a time. The only difference: the loss is a mean over examples, not over batches of 128."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from harness import worker
from nets import read_weights, save_weights
from PIL import Image
from torch import Tensor, nn, optim
from torch.utils.data import DataLoader, Dataset


class MNIST(Dataset[tuple[Tensor, int]]):
    """Items as torchvision 0.28 gives them: an image of PIL, then `to_tensor`."""

    def __init__(self, data: Tensor, targets: Tensor) -> None:
        self.data, self.targets = data, targets

    def __len__(self) -> int:
        return len(self.data)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        picture, target = Image.fromarray(self.data[index].numpy(), mode="L"), int(self.targets[index])
        image = torch.from_numpy(np.array(picture, np.uint8, copy=True))
        image = image.view(picture.size[1], picture.size[0], 1).permute((2, 0, 1)).contiguous()
        return image.to(dtype=torch.get_default_dtype()).div(255), target


class VAE(nn.Module):
    def __init__(self, input_dim: int = 784, latent_dim: int = 20) -> None:
        super().__init__()
        self.encoder = nn.Sequential(nn.Linear(input_dim, 512), nn.ReLU(), nn.Linear(512, 256), nn.ReLU())
        self.fc_mu = nn.Linear(256, latent_dim)
        self.fc_logvar = nn.Linear(256, latent_dim)
        self.decoder = nn.Sequential(
            nn.Linear(latent_dim, 256),
            nn.ReLU(),
            nn.Linear(256, 512),
            nn.ReLU(),
            nn.Linear(512, input_dim),
            nn.Sigmoid(),
        )

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        h = self.encoder(x)
        return self.fc_mu(h), self.fc_logvar(h)

    def reparameterize(self, mu: Tensor, logvar: Tensor) -> Tensor:
        std = torch.exp(0.5 * logvar)
        eps = torch.randn_like(std)
        return mu + std * eps

    def decode(self, z: Tensor) -> Tensor:
        return self.decoder(z)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        mu, logvar = self.encode(x)
        z = self.reparameterize(mu, logvar)
        return self.decode(z), mu, logvar


def vae_loss(
    recon_x: Tensor, x: Tensor, mu: Tensor, logvar: Tensor, beta: float = 1.0
) -> tuple[Tensor, Tensor, Tensor]:
    bce = F.binary_cross_entropy(recon_x, x, reduction="sum")
    kld = -0.5 * torch.sum(1 + logvar - mu.pow(2) - logvar.exp())
    return bce + beta * kld, bce, kld


def prepare(options: dict[str, Any]) -> worker.Turn:
    torch.set_num_threads(options["threads"])
    torch.manual_seed(options["seed"])
    images = torch.from_numpy(np.load(options["data"])).squeeze(1)
    train_dataset = MNIST(images, torch.zeros(len(images), dtype=torch.int64))  # the lesson leaves labels unused
    train_loader = DataLoader(train_dataset, batch_size=options["batch_size"], shuffle=True)
    vae = VAE()
    with torch.no_grad():
        w1, b1, w2, b2, weight, bias, *rest = read_weights(options["start"])
        heads = [t.chunk(2) for t in (weight, bias)]
        given = [w1, b1, w2, b2, heads[0][0], heads[1][0], heads[0][1], heads[1][1], *rest]
        for p, value in zip(vae.parameters(), given, strict=True):
            p.copy_(value)
    optimizer = optim.Adam(vae.parameters(), lr=options["lr"])
    vae.train()

    def epoch() -> worker.Answer:
        train_loss = train_bce = train_kld = 0.0
        for data, _ in train_loader:
            data = data.view(-1, 784)
            recon, mu, logvar = vae(data)
            loss, bce, kld = vae_loss(recon, data, mu, logvar)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            train_loss += loss.item()
            train_bce += bce.item()
            train_kld += kld.item()
        return {"loss": train_loss / len(train_dataset)}

    def turn(request: dict[str, Any]) -> worker.Answer:
        if request["what"] == "epoch":
            return worker.timed(epoch)
        heads = (vae.fc_mu, vae.fc_logvar)
        head = [torch.cat([h.weight for h in heads]), torch.cat([h.bias for h in heads])]
        save_weights(request["file"], [*vae.encoder.parameters(), *head, *vae.decoder.parameters()])
        return {}

    return turn


if __name__ == "__main__":
    worker.serve(prepare)
