"""A run with any prior is evaluated, saved and loaded to the same numbers."""

from __future__ import annotations

import math

import pytest
import torch

import tightbound as tb
from tightbound.components import TABLE, find
from tightbound.core.noise import Noise

PRIORS = [n for n in TABLE["prior"] if getattr(find("prior", n), "support", "real") in ("real", "any")]


@pytest.mark.parametrize("context", [None, "labels"])
@pytest.mark.parametrize("prior", [*PRIORS, "vamp(components=5, learned_weights=True)", "flow(kind='nsf')"])
def test_a_saved_run_loads_to_the_same_samples_and_bounds(prior: str, context: str | None, tmp_path) -> None:
    data = tb.data.open("digits")
    model = tb.VAE.for_data(data, latent=2, network="mlp(hidden=(8,))", prior=prior, context=context)
    trained = tb.fit(model, data, steps=3, batch_size=50, quiet=True, run=tmp_path / "run")
    loaded = tb.load(tmp_path / "run")
    digit = None if model.context is None else model.context.encode(torch.tensor([3, 1, 4, 1]))
    ours, theirs = (t.model.generate(4, Noise("sample"), digit).mean for t in (trained, loaded))
    assert torch.equal(ours, theirs)
    ours, theirs = (t.evaluate(data.test, samples=2) for t in (trained, loaded))
    assert ours["iwae"].value == theirs["iwae"].value
    assert math.isfinite(ours["elbo"].value)
    assert -ours["elbo"].value == pytest.approx(ours["rate"].value + ours["distortion"].value, rel=1e-6)
