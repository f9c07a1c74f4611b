"""tightbound: a model of counts given their totals, on CPU."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from harness import worker
from scipy import sparse

import tightbound as tb
from tightbound.analysis.estimate import scalar


def prepare(options: dict[str, Any]) -> worker.Turn:
    torch.set_num_threads(options["threads"])
    x = sparse.csr_matrix(np.load(options["data"])["x"])

    def turn(request: dict[str, Any]) -> worker.Answer:
        found: dict[str, tb.Trained] = {}

        def train() -> None:
            found["model"] = tb.train(
                x[request["train"]], latent=options["latent"], epochs=options["epochs"], seed=request["seed"],
                device="cpu", quiet=True, **options["train"],
            )  # fmt: skip

        answer = worker.timed(train)
        np.save(request["out"], found["model"].encode(x).numpy())
        evaluated = found["model"].evaluate(x[request["test"]], samples=options["samples"])
        return {**answer, "nll": -scalar(evaluated["iwae"])}

    return turn


if __name__ == "__main__":
    worker.serve(prepare)
