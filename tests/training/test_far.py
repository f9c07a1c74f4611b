"""A value far from all others is named when it breaks training."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

import tightbound as tb
from tightbound.core.errors import NonFinite
from tightbound.data.splits.indexed import ArraySplit
from tightbound.training.far import farthest

FRAME = pd.DataFrame(np.random.default_rng(0).normal(size=(90, 3)), columns=["a", "b", "c"])


def test_a_loss_that_is_not_finite_names_the_row_and_the_column(tmp_path: Path) -> None:
    model = tb.VAE.for_data(FRAME, latent=2, network="mlp(hidden=(4,))")
    odd = FRAME.copy()
    odd.loc[17, "b"] = 1e30
    odd.to_csv(tmp_path / "odd.csv", index=False)
    for source, row in ((odd, "index 17"), (str(tmp_path / "odd.csv"), "row 18")):
        with pytest.raises(NonFinite, match=rf"; {row} holds 1e\+30 in column 2 \(b\), .*: correct .*, or lower lr="):
            tb.fit(model, source, epochs=20, lr=1e30, quiet=True)


def test_only_values_far_from_the_others_are_named() -> None:
    x = torch.from_numpy(FRAME.to_numpy(np.float32, copy=True))
    assert farthest(ArraySplit(x.numpy())) == ""
    x[5, 2], x[:, 0] = -1e6, torch.nan
    assert farthest(ArraySplit(x.numpy())).startswith(
        "index 5 holds -1e+06 in column 3 (index 2), of which half of the values are"
    )
    assert farthest(ArraySplit(np.zeros((4, 1, 2, 2), np.float32))) == ""
