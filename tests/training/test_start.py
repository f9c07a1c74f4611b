"""Where training starts: at the marginals of the data, unless the model was trained before or the decoder is given."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import tightbound as tb
from tightbound.analysis.bounds.estimator import evaluate

SMALL: Any = {"latent": 2, "network": "mlp(hidden=(8,))"}


@pytest.fixture(scope="module")
def data() -> tb.data.Data:
    x = np.random.default_rng(0).integers(0, 17, (60, 1, 4, 4)).astype(np.uint8)
    return tb.data.open(x, levels=17)


def test_a_second_fit_continues_from_the_weights_of_the_first(data: tb.data.Data) -> None:
    model = tb.VAE.for_data(data, **SMALL)
    tb.fit(model, data, steps=20, lr=0.05, quiet=True)
    before = {name: t.clone() for name, t in model.state_dict().items()}
    tb.fit(model, data, steps=1, lr=1e-30, quiet=True)
    assert all(torch.equal(t, before[name]) for name, t in model.state_dict().items())


def test_the_bias_of_a_given_decoder_is_not_overwritten(data: tb.data.Data) -> None:
    decoder = nn.Sequential(nn.Linear(2, 16))
    before = decoder[0].bias.clone()
    likelihood = tb.likelihoods.Binomial(data.shape, 2, decoder, levels=17)
    model = tb.VAE.for_data(data, **SMALL, likelihood=likelihood)
    tb.fit(model, data, steps=1, lr=1e-30, quiet=True)
    assert torch.equal(decoder[0].bias, before)


def test_a_likelihood_given_by_name_starts_at_the_marginals(data: tb.data.Data) -> None:
    start, nowhere = (tb.VAE.for_data(data, **SMALL, start_at_data=on, likelihood="binomial") for on in (True, False))
    better, worse = (evaluate(m, data.train, samples=20)["distortion"].value for m in (start, nowhere))
    assert better < worse - 1  # pyright: ignore
