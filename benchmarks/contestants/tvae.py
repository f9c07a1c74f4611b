"""CTGAN's TVAE with default options: fit it to the rows of a CSV file, and write new rows."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import torch
from ctgan import TVAE  # pyright: ignore[reportMissingImports]
from harness import worker


def prepare(options: dict[str, Any]) -> worker.Turn:
    torch.set_num_threads(options["threads"])

    def turn(request: dict[str, Any]) -> worker.Answer:
        torch.manual_seed(request["seed"])
        np.random.seed(request["seed"])
        rows = pd.read_csv(request["train"])
        model = TVAE(enable_gpu=False)
        answer = worker.timed(lambda: model.fit(rows, request["discrete"]))
        model.sample(request["n"]).to_csv(request["out"], index=False)
        return answer

    return turn


if __name__ == "__main__":
    worker.serve(prepare)
