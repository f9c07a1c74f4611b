"""Time to draw grids of codes with cached activations against whole passes of the network, from the same noise.

    OMP_NUM_THREADS=1 python benchmarks/sampling.py --json sampling.json

Each prior over codes, untrained and of default size, draws grids of 16 x 16 codes of 512 values, in batches. With
caches a code costs one step; from scratch it costs a pass over the whole grid, of which the logits of one code are
used. The two take turns, so that a machine whose speed drifts slows both. From scratch, only the first `--codes` of a
grid's codes are drawn and their time is scaled to all: each costs the same; 0 draws all. Prints medians over the
repeats, of seconds and of the ratio in each, and whether the codes are the same, in float64 (the first batch size).
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from tightbound.components import make
from tightbound.core.noise import Noise
from tightbound.priors.codes import AutoregressiveCodes, Sharpening, draw_codes
from tightbound.testing.code_priors import draw_from_scratch

PRIORS = ("pixelcnn", "pixelcnn(attention=0)", "transformer")


def measured(p: AutoregressiveCodes, batch: int, arguments: argparse.Namespace) -> dict[str, Any]:
    """Return seconds of both methods and their ratios, measured in turns."""
    clock = time.process_time if arguments.processor else time.perf_counter
    length = p.event_shape.numel()
    part = min(arguments.codes or length, length)
    methods: dict[str, Callable[[], Tensor]] = {
        "cached": lambda: draw_codes(p, (batch,), Noise("sampling"), Sharpening()),
        "scratch": lambda: draw_from_scratch(p, (batch,), Noise("sampling"), Sharpening(), codes=part),
    }
    times: dict[str, list[float]] = {method: [] for method in methods}
    methods["cached"]()  # the first call loads and chooses things
    for turn in range(arguments.repeats):
        for method in list(methods) if turn % 2 else list(methods)[::-1]:
            began = clock()
            methods[method]()
            times[method].append((clock() - began) * (length / part if method == "scratch" else 1))
    ratios = [slow / fast for slow, fast in zip(times["scratch"], times["cached"], strict=True)]
    medians = {method: statistics.median(each) for method, each in times.items()}
    return {**medians, "ratio": statistics.median(ratios), "ratios": ratios, "repeats": times}


def identical(text: str, batch: int, arguments: argparse.Namespace) -> bool:
    """Whether both methods give the same code indices, in float64."""
    p = prior(text, arguments).double()()
    both = [method(p, (batch,), Noise("sampling"), Sharpening()) for method in (draw_codes, draw_from_scratch)]
    return torch.equal(*both)


def prior(text: str, arguments: argparse.Namespace) -> Any:
    torch.manual_seed(0)
    return make("code-prior", text, grid=(arguments.edge, arguments.edge), entries=arguments.entries).eval()


def machine() -> dict[str, Any]:
    """Return the facts that the figures depend on."""
    facts = {"machine": platform.machine(), "threads": torch.get_num_threads(), "torch": torch.__version__}
    return {**facts, "capability": torch.backends.cpu.get_cpu_capability()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n\n")[0] if __doc__ else None)
    parser.add_argument("--priors", nargs="+", default=PRIORS, help="names with arguments, as in a model's text")
    parser.add_argument("--batches", type=int, nargs="+", default=(1, 16, 64))
    parser.add_argument("--edge", type=int, default=16, help="of the grid")
    parser.add_argument("--entries", type=int, default=512)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--codes", type=int, default=16, help="drawn from scratch, and scaled; 0: all")
    parser.add_argument("--processor", action="store_true", help="compare processor time, on a machine that is busy")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    options = {name: value for name, value in vars(arguments).items() if name != "json"}
    report: dict[str, Any] = {"machine": machine(), **options, "rows": []}
    print(", ".join(f"{k} {v}" for k, v in report["machine"].items()))
    clock = "processor time" if arguments.processor else "time"
    print(f"{clock:24}{'batch':>6}{'cached, s':>12}{'scratch, s':>12}{'ratio':>8}   same codes")
    for text in arguments.priors:
        for batch in arguments.batches:
            row: dict[str, Any] = {"prior": text, "batch": batch}
            row |= measured(prior(text, arguments)(), batch, arguments)
            first = batch == arguments.batches[0]
            row["identical"] = identical(text, batch, arguments) if first else None
            report["rows"].append(row)
            same = {True: "yes", False: "NO", None: ""}[row["identical"]]
            figures = f"{batch:6d}{row['cached']:12.3f}{row['scratch']:12.2f}{row['ratio']:8.1f}"
            print(f"{text:24}{figures}   {same}", flush=True)
    if arguments.json:
        arguments.json.write_text(json.dumps(report, indent=2) + "\n")


if __name__ == "__main__":
    main()
