"""The aggressive phase: which parameters move at which step, and when it ends."""

from __future__ import annotations

import pytest
import torch
from torch.distributions import Independent, Normal

import tightbound as tb
from conftest import gray
from tightbound.core.errors import CompositionError
from tightbound.core.terms import Batch, LatentTerms, Terms
from tightbound.objectives import Lagging
from tightbound.testing.objectives import small_model
from tightbound.training import checkpoint


def told(spread: float, n: int = 50) -> Terms:
    """Return terms of codes whose means are this far apart, in units of the posterior's scale."""
    torch.manual_seed(0)
    q = Independent(Normal(spread * torch.arange(float(n)).unsqueeze(1), torch.ones(n, 1)), 1)
    zero = torch.zeros(1, n)
    return Terms(zero, (LatentTerms(q.sample((1,)), q, q),), q, Batch(zero.T))


def test_phase_ends_when_mutual_information_decreases() -> None:
    objective = Lagging(every=4)
    with pytest.raises(CompositionError, match="prepare"):
        objective.end_epoch([])
    model = small_model()
    objective.prepare(model, None)
    encoder, decoder = objective.parameter_groups(model)
    for spread, aggressive in ((0.1, True), (0.5, True), (2.0, True), (1.0, False), (3.0, False)):
        assert [s for s in range(8) if decoder.due(s)] == ([3, 7] if objective.phase.aggressive else list(range(8)))
        assert all(encoder.due(s) for s in range(8))
        objective.end_epoch(iter([told(spread), told(spread)]))
        assert objective.phase.aggressive.item() == aggressive


def test_decoder_is_updated_only_when_due(tmp_path) -> None:
    """Train 3 steps of 8 examples with a decoder that is due at the fourth."""
    data = tb.data.open(gray(), levels=17)
    model = tb.VAE.for_data(data, latent=2, network="mlp(hidden=(8,))", start_at_data=False)
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    tb.fit(model, data, Lagging(every=4), steps=3, batch_size=8, validation_size=6, run=tmp_path / "run", quiet=True)
    last = checkpoint.under("model", checkpoint.load(tmp_path / "run/checkpoints/last.safetensors")[0])
    moved = {name for name, p in before.items() if not torch.equal(p, last[name])}
    assert moved == {name for name in before if name.startswith("latents")}
