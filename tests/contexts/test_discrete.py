"""Codes given a context: the prior alone sees it."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import tightbound as tb
from conftest import gray
from tightbound.core.errors import CompositionError
from tightbound.core.noise import Noise
from tightbound.latents.code_prior import CodePriorStage

LATENTS = "quantized(quantizer=vq(codebook_size=5), positions=3)"
PRIOR = "transformer(hidden=8, layers=1, heads=2, dropout=0.0)"


def labeled() -> tb.data.Data:
    return tb.data.open(gray(40, (1, 6, 6)), labels=np.arange(40) % 3, levels=17)


def test_the_label_enters_the_prior_alone() -> None:
    model = tb.VAE.for_data(
        labeled(), latent=4, network="mlp(hidden=(6,))", latents=LATENTS, prior=PRIOR, context="labels"
    )
    second = model.latents.second_stage
    assert isinstance(second, CodePriorStage)
    second.enable()
    assert model.context is not None
    contexts = [model.context.encode(torch.full((5,), label)) for label in (0, 2)]
    codes = model.latents.draw(5, Noise("codes"), contexts[0])
    prior = [model.latents.log_prior(codes, context) for context in contexts]
    assert not torch.allclose(prior[0], prior[1])
    means = [model.decode(codes, context).mean for context in contexts]
    assert torch.equal(means[0], means[1])


def test_discrete_latents_refuse_a_context_that_is_part_of_x() -> None:
    with pytest.raises(CompositionError, match="use latents 'flat', or context 'labels'"):
        tb.VAE.for_data(labeled(), latent=4, latents=LATENTS, prior=PRIOR, context="visible(columns=(0, 0.5))")


def test_a_prior_that_is_named_twice_is_refused() -> None:
    with pytest.raises(CompositionError, match="leave one out"):
        tb.VAE.for_data(labeled(), latent=4, latents="quantized(prior='uniform')", prior=PRIOR)
