"""Time of the IWAE bound against pythae's `get_nll`, at equal weights, data and number of samples.

    python3 -m venv /tmp/pythae && /tmp/pythae/bin/pip install torch==2.13.0 pythae==0.1.2 safetensors
    TIGHTBOUND_DATA=folder python benchmarks/likelihood.py --pythae /tmp/pythae/bin/python --json likelihood.json

The recipe `lesson` (784-512-256-20, Bernoulli) is trained on MNIST. Its weights then give the bound of test images
here, in float32 and in bfloat16 (which includes the float32 check of 50 images), and in pythae: its own VAE and
`get_nll`, in a process of its own that waits meanwhile. They take turns, so that a machine whose speed drifts slows
all. Prints medians over the repeats, of seconds and of the ratio to pythae in each, and the bounds, with paired
differences over the images: pythae's draws are others, so that it may differ by Monte Carlo error, and bfloat16 from
float32 by its rounding. pythae uses as many samples as it is asked for where that is 100 or a multiple of it.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

import tightbound as tb
from tightbound.core.noise import Noise
from tightbound.core.parts import make
from tightbound.core.terms import Batch
from tightbound.evaluation import evaluate
from tightbound.evaluation.evaluate import Precision
from tightbound.recipes import recipe

PEER = Path(__file__).with_name("likelihood_pythae.py")


class Peer:
    """pythae in another process: one line of JSON in, one out."""

    def __init__(self, python: str, model: tb.VAE, batch: Batch, folder: Path) -> None:
        linears = [m for m in model.modules() if isinstance(m, nn.Linear)]
        tensors = {f"{i}.{k}": v for i, layer in enumerate(linears) for k, v in layer.state_dict().items()}
        file = folder / "weights.safetensors"
        x = model.observe(batch, Noise("benchmark")).x.flatten(1)
        save_file({**tensors, "x": x}, file)
        command = [python, str(PEER), str(file), str(torch.get_num_threads())]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.facts = self._answer()

    def __call__(self, images: int, samples: int) -> dict[str, Any]:
        assert self._process.stdin is not None
        print(json.dumps([images, samples]), file=self._process.stdin, flush=True)
        return self._answer()

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            sys.exit("the other process stopped; is pythae installed there?")
        return json.loads(line)

    def close(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()


def lesson(data: tb.data.Data, epochs: int) -> tb.VAE:
    """The recipe's model, trained."""
    config = recipe("lesson").replace(epochs=epochs)
    parts = {name: getattr(config, name) for name in ("latent", "network", "likelihood", "observation")}
    model = tb.vae(data, **parts)
    return tb.fit(
        model, data, make("objective", config.objective_spec()), epochs=epochs, batch_size=128, lr=1e-3, quiet=True
    ).model


def ours(model: tb.VAE, x: Tensor, samples: int, precision: Precision) -> dict[str, Any]:
    """Seconds, processor seconds and the bound of each datum."""
    began, processor = time.perf_counter(), time.process_time()
    found = evaluate(model, x, samples=samples, precision=precision)
    taken = {"seconds": time.perf_counter() - began, "processor": time.process_time() - processor}
    return {**taken, "bounds": found.per_datum["iwae"].tolist()}


def paired(a: list[float], b: list[float]) -> dict[str, float]:
    """Mean of a - b over data, with its standard error."""
    differences = np.subtract(a, b)
    return {"difference": differences.mean(), "stderr": differences.std(ddof=1) / len(differences) ** 0.5}


def machine() -> dict[str, Any]:
    """What the figures depend on."""
    flags = {"amx": torch.cpu._is_amx_tile_supported(), "avx512_bf16": torch.cpu._is_avx512_bf16_supported()}
    facts = {"machine": platform.machine(), "threads": torch.get_num_threads(), "torch": torch.__version__}
    return {**facts, "capability": torch.backends.cpu.get_cpu_capability(), **flags}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n\n")[0] if __doc__ else None)
    parser.add_argument("--pythae", help="a Python in which pythae 0.1.2 and safetensors are installed")
    parser.add_argument("--run", help="a run of the recipe 'lesson', in place of training one")
    parser.add_argument("--epochs", type=int, default=2, help="of training, without --run")
    parser.add_argument("--images", type=int, default=1000)
    parser.add_argument("--samples", type=int, default=5000)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--processor", action="store_true", help="compare processor time, on a machine that is busy")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    data = tb.data.open("mnist")
    model = tb.load(arguments.run).model if arguments.run else lesson(data, arguments.epochs)
    batch = next(data.test.epoch(arguments.images, key=("benchmark",)))
    contestants: dict[str, Callable[[int, int], dict[str, Any]]] = {
        "ours, float32": lambda n, k: ours(model, batch.x[:n], k, "fp32"),
        "ours, bfloat16": lambda n, k: ours(model, batch.x[:n], k, "bf16"),
    }
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        if arguments.pythae:
            peer = Peer(arguments.pythae, model, batch, Path(folder))
            stack.callback(peer.close)
            contestants["pythae"] = peer
        results = {name: [] for name in contestants}
        for contestant in contestants.values():  # what is loaded or chosen at the first call
            contestant(1, 100)
        for turn in range(arguments.repeats):
            names = list(contestants)
            for name in names if turn % 2 else names[::-1]:
                results[name].append(contestants[name](arguments.images, arguments.samples))
    report = summarise(results, "processor" if arguments.processor else "seconds", arguments)
    print(table(report))
    if arguments.json:
        arguments.json.write_text(json.dumps(report, indent=2) + "\n")


def summarise(results: dict[str, list[dict[str, Any]]], clock: str, arguments: argparse.Namespace) -> dict[str, Any]:
    """Medians over the repeats, of seconds and of the ratios in each, and bounds."""
    options = {name: getattr(arguments, name) for name in ("images", "samples", "repeats")}
    report: dict[str, Any] = {"machine": machine(), "clock": clock, **options, "contestants": {}}
    bounds = {name: turns[0]["bounds"] for name, turns in results.items()}
    times = {name: [turn[clock] for turn in turns] for name, turns in results.items()}
    for name in results:
        row: dict[str, Any] = {"seconds": statistics.median(times[name]), "repeats": times[name]}
        row["bound"] = np.mean(bounds[name])
        row["stderr"] = np.std(bounds[name], ddof=1) / len(bounds[name]) ** 0.5
        if name != "ours, float32":
            row["against_float32"] = paired(bounds[name], bounds["ours, float32"])
        if "pythae" in results:
            ratios = [theirs / mine for theirs, mine in zip(times["pythae"], times[name], strict=True)]
            row |= {"times_pythae": statistics.median(ratios), "ratios": ratios}
        report["contestants"][name] = row
    return report


def table(report: dict[str, Any]) -> str:
    """What a person reads."""
    facts = ", ".join(f"{k} {v}" for k, v in report["machine"].items())
    lines = [f"{report['images']} images, k = {report['samples']}, median of {report['repeats']}; {facts}"]
    clock = "processor s" if report["clock"] == "processor" else "seconds"
    lines.append(f"{'':16}{clock:>12}{'x pythae':>10}   bound, nats           less ours in float32, nats")
    for name, row in report["contestants"].items():
        speed = f"{row['times_pythae']:.2f}" if "times_pythae" in row else ""
        line = f"{name:16}{row['seconds']:12.2f}{speed:>10}   {row['bound']:.3f} ± {row['stderr']:.3f}"
        other = row.get("against_float32")
        lines.append(line + (f"      {other['difference']:+.4f} ± {other['stderr']:.4f}" if other else ""))
    return "\n".join(lines)


if __name__ == "__main__":
    main()
