"""My own encoder and decoder, optimizer and callback; the run is loaded into the same model again."""

import tempfile

import torch
from sklearn.datasets import load_digits
from torch import nn

import tightbound as tb

x = (load_digits().images > 7).astype("float32").reshape(-1, 1, 8, 8)  # (1797, 1, 8, 8), zeros and ones


class MyEncoder(nn.Module):
    """x (B, 1, 8, 8) -> features (B, 128); tightbound adds the head for mean and variance."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Conv2d(1, 16, 3, stride=2, padding=1), nn.SiLU(), nn.Flatten())
        self.out = nn.Linear(256, 128)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.out(self.layers(x))


class MyDecoder(nn.Module):
    """z (B, 8) -> parameters of the likelihood (B, 64): one logit for each pixel."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(8, 128), nn.SiLU(), nn.Linear(128, 64))

    def forward(self, z: torch.Tensor) -> torch.Tensor:
        return self.layers(z)


def build() -> tb.VAE:
    return tb.VAE.for_data(
        x, encoder=MyEncoder(), decoder=MyDecoder(), latent=8, likelihood="bernoulli", prior="vamp(components=50)"
    )


def log(state: tb.TrainingState) -> None:
    """Called after each epoch; tb.callbacks.TensorBoard writes the same numbers for TensorBoard."""
    print(f"epoch {state.epoch}: loss {state.metrics['train_loss']:.2f} nats")


with tempfile.TemporaryDirectory() as folder:
    run = f"{folder}/own"
    trained = tb.fit(
        build(), x, epochs=20, run=run, quiet=True, callbacks=[log], optimizer=lambda p: torch.optim.RAdam(p, lr=1e-3)
    )
    same = tb.load(run, model=build())
    assert torch.equal(same.encode(x[:5]), trained.encode(x[:5]))
