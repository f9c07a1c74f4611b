"""What `fit_run` calls after each epoch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import tightbound as tb
from tightbound.config import Settings
from tightbound.training import checkpoint
from tightbound.training.fit import fit_run


def test_it_sees_each_epoch_and_what_it_raises_ends_training_at_a_run_that_goes_on(tmp_path: Path) -> None:
    data = tb.data.open("digits")
    settings = Settings(epochs=4, batch_size=500, checkpoint_seconds=0.0)
    seen: list[Any] = []

    def until(last: int) -> Any:
        def on_epoch(row: Any) -> None:
            saved = checkpoint.load(tmp_path / "run" / "checkpoints" / "last.safetensors")[1]
            seen.append((row["epoch"], saved["epoch"], row["validation_loss"]))
            if row["epoch"] == last:
                raise StopAsyncIteration

        return on_epoch

    def model() -> tb.VAE:
        return tb.vae(data, latent=2, network="mlp(hidden=(8,))")

    with pytest.raises(StopAsyncIteration):
        fit_run(model(), data, None, settings, run=tmp_path / "run", quiet=True, on_epoch=until(2))
    assert [(epoch, saved) for epoch, saved, _ in seen] == [(1, 1), (2, 2)]
    fitted = fit_run(
        model(), data, None, settings, run=tmp_path / "run", resume=True, quiet=True, on_epoch=until(5)
    )  # fmt: skip
    assert [(epoch, saved) for epoch, saved, _ in seen] == [(i, i) for i in (1, 2, 3, 4)]
    assert [row["validation_loss"] for row in fitted.metrics] == [loss for _, _, loss in seen]
