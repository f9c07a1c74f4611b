"""Modules and tensors of the user's own: they work, or one line before training says what is needed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

import tightbound as tb
from tightbound.core.errors import CompositionError, InputError

X = np.random.default_rng(0).integers(0, 9, (145, 3)).astype(np.float32)  # exact in bfloat16
QUICK: dict[str, Any] = {"steps": 2, "quiet": True}


class Encoder(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(3, 8)

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x)


@pytest.mark.parametrize("name", ["encoder", "decoder"])
@pytest.mark.parametrize(
    ("given", "message"),
    [
        (lambda x: x, "is a function; needed: an nn.Module"),
        (Encoder, r"is the class Encoder; .* Encoder\(\)"),
        ("mlp", "is a str; needed: an nn.Module"),
        (Encoder().double(), r"parameters of float64; needed: float32; use (en|de)coder.to\(torch.float32\)"),
    ],
)
def test_what_is_no_module_of_the_default_type_is_refused(name: str, given: Any, message: str) -> None:
    with pytest.raises(CompositionError, match=f"^{name}= .*{message}"):
        tb.VAE.for_data(X, domain="real", latent=2, **{name: given})


def test_a_class_of_another_kind_is_refused() -> None:
    kind: Any = nn.Linear
    with pytest.raises(CompositionError, match="likelihood= is the class Linear; needed: a subclass of Likelihood"):
        tb.VAE.for_data(X, domain="real", latent=2, likelihood=kind)


def normalized() -> tb.VAE:
    return tb.VAE.for_data(X, domain="real", latent=2, encoder=nn.Sequential(nn.Linear(3, 8), nn.BatchNorm1d(8)))


def test_batch_normalization_refuses_a_last_batch_of_one_before_training(tmp_path: Path) -> None:
    model, options = normalized(), {"validation_size": 15, "epochs": 1, "quiet": True}
    before = {name: t.clone() for name, t in model.state_dict().items()}
    with pytest.raises(InputError, match=r"130 training examples, batch_size=129.* use another batch_size="):
        tb.fit(model, X, batch_size=129, run=tmp_path / "run", **options)
    assert not (tmp_path / "run").exists()
    assert all(torch.equal(t, before[name]) for name, t in model.state_dict().items() if "encoder" in name)
    assert np.isfinite(tb.fit(model, X, batch_size=128, **options).metrics[0]["train_loss"])


def test_a_last_batch_of_one_is_refused_in_a_loader_too() -> None:
    loader = DataLoader(TensorDataset(torch.from_numpy(X)), batch_size=144)
    with pytest.raises(InputError, match="drop_last=True"):
        tb.fit(normalized(), loader, **QUICK)


quiet = pytest.mark.filterwarnings("ignore:Sparse CSR", "ignore:torch.quantize_per", "ignore:The PyTorch API of nested")

TENSORS: dict[str, Callable[[Tensor], Tensor]] = {
    "bfloat16": lambda x: x.bfloat16(),
    "float16": lambda x: x.half(),
    "sparse": lambda x: x.to_sparse(),
    "sparse rows": lambda x: x.to_sparse_csr(),
    "quantized": lambda x: torch.quantize_per_tensor(x, 0.5, 0, torch.qint8),
    "negated view": lambda x: torch._neg_view(-x),
    "requires grad": lambda x: x.clone().requires_grad_(),
}


@quiet
@pytest.mark.parametrize("kind", TENSORS)
def test_tensors_of_every_kind_are_taken_as_their_numbers(kind: str) -> None:
    plain = torch.from_numpy(X)
    x = TENSORS[kind](plain)
    models = [tb.VAE.for_data(data, domain="real", latent=2, network="mlp(hidden=(8,))") for data in (plain, x)]
    mine, other = (tb.fit(model, data, **QUICK) for model, data in zip(models, (plain, x), strict=True))
    assert torch.equal(mine.encode(plain), other.encode(x))
    assert models[0].loss(plain, seed=1) == models[1].loss(x, seed=1)


@quiet
@pytest.mark.parametrize("kind", ["meta", "nested"])
def test_tensors_without_equal_rows_or_values_are_refused(kind: str) -> None:
    x = torch.zeros(4, 3, device="meta") if kind == "meta" else torch.nested.nested_tensor([torch.zeros(3)] * 2)
    with pytest.raises(InputError, match=kind):
        tb.VAE.for_data(x, latent=2)


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_training_does_not_depend_on_the_gradient_mode_around_it(mode: Any) -> None:
    def trained() -> Tensor:
        model = tb.VAE.for_data(X, domain="real", latent=2, network="mlp(hidden=(8,))")
        return tb.fit(model, X, **QUICK).encode(X)

    with mode():
        inside = trained()
    assert torch.equal(inside, trained())
