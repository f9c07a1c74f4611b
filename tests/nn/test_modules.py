"""Encoders and decoders of a user's own."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import tightbound as tb
from tightbound.core.errors import CompositionError
from tightbound.posteriors import DiagonalNormal, FullNormal
from tightbound.testing import check_posterior

X = np.random.default_rng(0).integers(0, 2, (40, 1, 4, 4)).astype(np.uint8)


class Pair(nn.Module):
    """An encoder with a head of its own."""

    def __init__(self, latent: int = 3) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Flatten(), nn.Linear(16, 2 * latent))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        mean, log_variance = self.body(x).chunk(2, -1)
        return mean, log_variance


class Named(nn.Module):
    """An encoder that returns neither a tensor nor a pair."""

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        return {"mean": x}


def features() -> nn.Module:
    return nn.Sequential(nn.Conv2d(1, 2, 3, padding=1), nn.Tanh())  # (B, 2, 4, 4)


def decoder(*shape: int) -> nn.Module:
    return nn.Sequential(nn.Linear(3, int(np.prod(shape))), nn.Unflatten(1, shape))


@pytest.mark.parametrize("encoder", [Pair, features])
def test_the_laws_of_posteriors(encoder) -> None:
    check_posterior(DiagonalNormal((1, 4, 4), 3, encoder()))


def test_a_pair_is_the_mean_and_the_log_variance() -> None:
    encoder = Pair()
    posterior = DiagonalNormal((1, 4, 4), 3, encoder)
    x = torch.randn(5, 1, 4, 4)
    q, (mean, log_variance) = posterior(x), encoder(x)
    assert torch.equal(q.mean, mean)
    assert torch.allclose(q.variance, log_variance.exp())
    assert len(list(posterior.parameters())) == len(list(encoder.parameters()))  # no head is added


@pytest.mark.parametrize("encoder", [Pair, features])
@pytest.mark.parametrize(
    ("likelihood", "shape"), [("bernoulli", (16,)), ("bernoulli", (4, 4)), ("bernoulli", (1, 4, 4))]
)
def test_a_model_of_own_modules_trains_and_is_loaded_with_the_model(encoder, likelihood, shape, tmp_path: Path) -> None:
    model = tb.VAE.for_data(
        X, domain="binary", latent=3, encoder=encoder(), decoder=decoder(*shape), likelihood=likelihood
    )
    before = {name: value.clone() for name, value in model.state_dict().items()}
    with pytest.warns(UserWarning, match="cannot be rebuilt from the run"):
        trained = tb.fit(model, X, epochs=1, batch_size=20, run=tmp_path / "run", quiet=True)
    assert all(not torch.equal(before[name], value) for name, value in trained.model.state_dict().items())
    with pytest.raises(CompositionError, match="model="):
        tb.load(tmp_path / "run")
    again = tb.VAE.for_data(
        X, domain="binary", latent=3, encoder=encoder(), decoder=decoder(*shape), likelihood=likelihood
    )
    same = tb.load(tmp_path / "run", model=again)
    assert torch.equal(same.encode(X), trained.encode(X))


def test_outputs_come_first() -> None:
    """A Gaussian with a predicted scale takes (B, 2, *shape): means, then scales."""
    x = X.astype(np.float32) + np.random.default_rng(1).normal(size=X.shape).astype(np.float32)
    likelihood = "gaussian(scale='predicted')"
    model = tb.VAE.for_data(x, latent=3, encoder=Pair(), decoder=decoder(2, 1, 4, 4), likelihood=likelihood)
    z = torch.randn(2, 3)
    assert torch.equal(model.decode(z).mean, model.likelihood.network(z)[:, 0])


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"decoder": decoder(10, 10)}, r"gives \(B, 10, 10\), and likelihood Bernoulli of data \(1, 4, 4\) needs 16"),
        ({"decoder": nn.Linear(5, 16)}, r"the decoder does not accept inputs of shape \('batch', 3\)"),
        ({"encoder": Pair(8)}, r"\(\(B, 8\), \(B, 8\)\), and latent=3 needs a pair .* each \(B, 3\)"),
        ({"encoder": Pair(), "posterior": "full"}, "posterior FullNormal needs one tensor of features"),
        ({"encoder": nn.Linear(7, 2)}, "the encoder does not accept inputs of shape"),
        ({"encoder": Named()}, r"to dict; needed: tensors with the batch axis first"),
        ({"encoder": Pair(), "posterior": DiagonalNormal((1, 4, 4), 3, features())}, "leave out encoder="),
    ],
)  # fmt: skip
def test_sizes_that_do_not_fit_are_refused_with_the_size_needed(given, message: str) -> None:
    with pytest.raises(CompositionError, match=message):
        tb.VAE.for_data(X, domain="binary", latent=3, **given)


def test_the_check_leaves_training_and_evaluation_modes_alone() -> None:
    encoder = nn.Sequential(nn.Flatten(), nn.Linear(16, 4), nn.BatchNorm1d(4)).train()
    encoder[2].eval()
    FullNormal((1, 4, 4), 3, encoder)
    assert encoder.training
    assert not encoder[2].training
    assert encoder[2].num_batches_tracked == 0
