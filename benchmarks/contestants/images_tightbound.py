"""tightbound: trains on a set of images for some minutes, and writes samples and reconstructions."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from harness import worker

import tightbound as tb
from tightbound.analysis.estimate import scalar
from tightbound.core.errors import TightboundError
from tightbound.training.budget import Budget


def prepare(options: dict[str, Any]) -> worker.Turn:
    torch.set_num_threads(options["threads"])
    if options["clock"] == "processor":
        Budget.clock = staticmethod(time.process_time)  # the machine may be busy

    def turn(request: dict[str, Any]) -> worker.Answer:
        given: dict[str, Any] = dict(options["train"])
        if not given.keys() & {"epochs", "steps", "minutes"}:
            given["minutes"] = options["minutes"]
        run = Path(options["out"], "run")
        found: dict[str, Any] = {}

        def train() -> None:
            found["model"] = tb.train(options["data"], run=run, overwrite=True, seed=options["seed"], **given)

        answer = worker.timed(train)
        model = found["model"]
        answer |= {"epochs": len(model.metrics), "parameters": sum(p.numel() for p in model.model.parameters())}
        answer["steps"] = model.metrics[-1].get("step")
        files = {"default": save(options, "default", model.sample(options["n"]))}
        files["prior"] = save(options, "prior", model.sample(options["n"], sampler="prior"))
        for sampler in options["samplers"]:
            name = sampler.partition("(")[0]
            try:
                model.fit_sampler(sampler)
                files[name] = save(options, name, model.sample(options["n"], sampler=name))
            except TightboundError as error:
                print(f"{sampler}: {error}")
        shown = np.load(options["shown"])
        answer |= {"samples": files, "reconstructions": save(options, "reconstructions", model.reconstruct(shown))}
        if options["test"] is not None:
            answer |= bound(model, np.load(options["test"]))
        return answer

    return turn


def bound(model: tb.Trained, test: np.ndarray) -> dict[str, float]:
    """Return the evidence lower bound on test images, bits/dim, and the error of their reconstructions."""
    elbo = scalar(model.evaluate(test, samples=1)["elbo"])
    x = model.reconstruct(test)
    squared = (torch.as_tensor(np.asarray(x)) - torch.as_tensor(test)).double().square().mean().item()
    return {"bits": -elbo / np.log(2) / test[0].size, "mse": squared / 255**2}


def save(options: dict[str, Any], name: str, x: Any) -> str:
    """Write images as bytes (n, C, H, W)."""
    file = Path(options["out"], f"{name}.npy")
    np.save(file, np.clip(np.rint(np.asarray(x)), 0, 255).astype(np.uint8))
    return str(file)


if __name__ == "__main__":
    worker.serve(prepare)
