"""Signal-to-noise ratio of the encoder's and the decoder's gradient against the number of samples k.

    OMP_NUM_THREADS=1 python benchmarks/gradient_snr.py --json snr.json --picture snr.png

The model is the linear one of Rainforth et al. 2018 (https://arxiv.org/abs/1802.04537): z ~ N(0, I) in 20 dimensions,
x = z + m + noise of variance 1, q(z | x) = N(A x + b, 2/3 I), with data drawn from it and parameters at the optimum,
then moved by N(0, 0.01^2). Here the decoder's matrix and the log-variances are parameters, too.

The gradient of the mean over a batch is estimated many times, with fresh latent noise. The ratio of a parameter is
|mean| / standard deviation; that of a side of the model is the root mean square over its parameters, less what the
error of the mean adds to the square. Prints the ratios, and the slope of each against k in log-log with its standard
error. PIWAE splits k into m = sqrt(k) estimates of sqrt(k) samples each.
"""

from __future__ import annotations

import argparse
import json
import math
import platform
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

import tightbound as tb
from tightbound.core.noise import Noise
from tightbound.core.schedules import Knobs
from tightbound.core.terms import Batch
from tightbound.latents import Flat
from tightbound.likelihoods import Gaussian, Identity
from tightbound.objectives import IWAE, PIWAE, STL, DReG, Objective
from tightbound.posteriors import DiagonalNormal
from tightbound.priors import StandardNormal

DIMENSIONS, VARIANCE = 20, 2 / 3
SAMPLES = (1, 2, 4, 8, 16, 32, 64, 128, 256)
SQUARES = (1, 4, 16, 64, 256)
SIDES = ("encoder", "decoder")
ESTIMATORS: dict[str, tuple[Callable[[int], Objective], tuple[int, ...]]] = {
    "IWAE": (IWAE, SAMPLES),
    "DReG": (DReG, SAMPLES),
    "STL": (STL, SAMPLES),
    "PIWAE": (lambda k: PIWAE(math.isqrt(k), math.isqrt(k)), SQUARES),
}


def linear_model(off: float) -> tb.VAE:
    """Return the model at its optimum (except for q's variance), moved by N(0, off^2)."""
    decoder = nn.Linear(DIMENSIONS, DIMENSIONS)
    posterior = DiagonalNormal((DIMENSIONS,), DIMENSIONS, nn.Flatten())
    latents = Flat(StandardNormal(DIMENSIONS), posterior)
    likelihood = Gaussian((DIMENSIONS,), DIMENSIONS, decoder, scale=1.0)
    model = tb.VAE(latents, likelihood, Identity())
    with torch.no_grad():
        for p in model.parameters():
            p.zero_()
        for p in likelihood.parameters():  # x = z + m; m = 0
            if p.dim() == 2:
                p.copy_(torch.eye(DIMENSIONS))
        weight, bias = model.inference_parameters()  # means, then log-variances
        weight[:DIMENSIONS] = torch.eye(DIMENSIONS) / 2
        bias[DIMENSIONS:] = math.log(VARIANCE)
        for p in model.parameters():
            p.add_(off * torch.randn_like(p))
    return model


def estimates(objective: Objective, model: tb.VAE, batch: Batch, repeats: int, key: str) -> dict[str, Tensor]:
    """Return the gradients of each side, (repeats, parameters)."""
    sides = {"encoder": model.inference_parameters(), "decoder": list(model.likelihood.parameters())}
    found: dict[str, list[Tensor]] = {side: [] for side in sides}
    for repeat in range(repeats):
        terms = model(batch, objective.samples, Noise(key, repeat))
        given: dict[int, Tensor] = {}
        for group in objective.parameter_groups(model):
            gradients = torch.autograd.grad(group.loss(terms, Knobs()), group.params, retain_graph=True)
            given |= {id(p): g for p, g in zip(group.params, gradients, strict=True)}
        for side, parameters in sides.items():
            found[side].append(torch.cat([given[id(p)].flatten() for p in parameters]))
    return {side: torch.stack(values) for side, values in found.items()}


def signal_to_noise(gradients: Tensor) -> float:
    """Return the root mean square over parameters of |mean| / std, for gradients (repeats, parameters).

    NaN if nothing rises above the error of the mean. The square is unbiased for normal gradients.
    """
    gradients, n = gradients.double(), len(gradients)
    square = gradients.mean(0).square() / gradients.var(0) * (n - 3) / (n - 1) - 1 / n
    mean = square.mean().item()
    return math.sqrt(mean) if mean > 0 else math.nan


def slope(gradients: dict[int, Tensor]) -> tuple[float, float]:
    """Return the least-squares slope of log ratio against log k, and its jackknife standard error over tenths."""

    def fit(keep: Callable[[Tensor], Tensor]) -> float:
        ratios = [signal_to_noise(keep(g)) for g in gradients.values()]
        return float(np.polyfit(np.log(list(gradients)), np.log(ratios), 1)[0])

    without = [fit(lambda g, i=i: g[torch.arange(len(g)) % 10 != i]) for i in range(10)]
    return fit(lambda g: g), float(np.std(without) * math.sqrt(9))


def draw_picture(ratios: dict[str, dict[str, dict[int, float]]], slopes: dict[str, Any], path: Path) -> None:
    """Draw a log-log panel for each side, with guides of slope 1/2 and -1/2."""
    import matplotlib as mpl

    mpl.use("agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, 2, figsize=(10, 4.6), sharey=True, layout="constrained")
    styles = {"IWAE": ("#c1272d", "o", "-"), "DReG": ("#0000a7", "s", "-"), "STL": ("#008176", "^", "--")}
    styles["PIWAE"] = ("#d99000", "D", ":")
    for axis, side in zip(axes, SIDES, strict=True):
        for name, by_side in ratios.items():
            color, marker, line = styles[name]
            biased = " (biased for k > 1)" if (name, side) == ("STL", "encoder") else ""
            label = f"{name}, slope {slopes[name][side]['all'][0]:+.2f}{biased}"
            k, ratio = list(by_side[side]), list(by_side[side].values())
            axis.plot(k, ratio, line, color=color, marker=marker, markersize=5, label=label)
        for name, power in {"encoder": (("DReG", 0.5), ("IWAE", -0.5)), "decoder": (("IWAE", 0.5),)}[side]:
            guide = [0.3 * ratios[name][side][1] * k**power for k in SAMPLES]
            axis.plot(SAMPLES, guide, color="0.7", linewidth=1, zorder=0)
            where = {"xy": (SAMPLES[-3], guide[-3]), "xytext": (4, -12 if power > 0 else 4)}
            axis.annotate(f"slope {power:+.1f}", **where, textcoords="offset points", color="0.45", fontsize=8)
        axis.set(xscale="log", yscale="log", title=f"{side.capitalize()}'s gradient", xlabel="samples k")
        axis.set_xticks(SAMPLES, [str(k) for k in SAMPLES])
        axis.set_yticks([0.01, 0.1, 1, 10], ["0.01", "0.1", "1", "10"])
        axis.set_ylim(0.004, 60)
        axis.minorticks_off()
        axis.grid(color="0.92")
        axis.legend(frameon=False, fontsize=8, loc="upper left")
    axes[0].set_ylabel("signal-to-noise ratio")
    figure.savefig(path, dpi=130)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n\n")[0] if __doc__ else None)
    parser.add_argument("--repeats", type=int, default=600)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--off", type=float, default=0.01, help="standard deviation of the parameters' displacement")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--picture", type=Path)
    arguments = parser.parse_args()
    torch.manual_seed(arguments.seed)
    began = time.process_time()
    model = linear_model(arguments.off)
    batch = Batch(math.sqrt(2) * torch.randn(arguments.batch, DIMENSIONS))
    ratios: dict[str, dict[str, dict[int, float]]] = {}
    slopes: dict[str, dict[str, dict[str, tuple[float, float]]]] = {}
    print(f"{'':15s}" + "".join(f"{f'k={k}':>8s}" for k in SAMPLES) + "   slope, all k       slope, k >= 16")
    for name, (make, samples) in ESTIMATORS.items():
        found = {k: estimates(make(k), model, batch, arguments.repeats, f"{name} {k}") for k in samples}
        ratios[name], slopes[name] = {}, {}
        for side in SIDES:
            gradients = {k: sides[side] for k, sides in found.items()}
            ratios[name][side] = {k: signal_to_noise(g) for k, g in gradients.items()}
            slopes[name][side] = fitted = {
                "all": slope(gradients),
                "from 16": slope({k: g for k, g in gradients.items() if k >= 16}),
            }
            row = "".join(f"{ratios[name][side][k]:8.3f}" if k in gradients else " " * 8 for k in SAMPLES)
            text = "   ".join(f"{value:+.4f} ± {error:.4f}" for value, error in fitted.values())
            print(f"{name:6s} {side:8s}{row}   {text}", flush=True)
    seconds = time.process_time() - began
    print(f"{seconds:.0f} s of processor time")
    if arguments.picture:
        draw_picture(ratios, slopes, arguments.picture)
    if arguments.json:
        machine = {"machine": platform.machine(), "threads": torch.get_num_threads(), "torch": torch.__version__}
        settings = {name: getattr(arguments, name) for name in ("repeats", "batch", "off", "seed")}
        facts = {"ratios": ratios, "slopes": slopes, "settings": settings, "cpu_seconds": seconds, "machine": machine}
        arguments.json.write_text(json.dumps(facts, indent=2) + "\n")


if __name__ == "__main__":
    main()
