"""Does a better bound, prior, hierarchy or posterior pay? Paired comparisons on binarized MNIST.

    TIGHTBOUND_DATA=folder python benchmarks/quality.py iwae --epochs 10 --seeds 3 --out results

Both contestants are trained with the same data, epochs, optimizer, initial seed and architecture but for the one part
that is compared. Each is evaluated by the IWAE bound on the same (once binarized) test images, and the difference is
taken image by image. Finished runs in --out are kept, so that an interrupted comparison goes on where it stopped.

- iwae: objective iwae(samples=64) against elbo, the one-layer model of Burda et al. 2016.
- vamp: prior vamp against N(0, I), two hidden layers of 300, 40 latents (Tomczak and Welling 2018).
- layers: the two-layer model of Burda et al. 2016 against the one-layer one, both by the ELBO with warm-up.
- posterior: the gap IWAE - ELBO of a flow posterior against the diagonal's, both trained on one decoder that is held.
"""

from __future__ import annotations

import argparse
import json
import math
import platform
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

import tightbound as tb
from tightbound.data import Data, Indexed
from tightbound.recipes import recipe


@dataclass(frozen=True)
class Comparison:
    """Two compositions, as differences from a recipe."""

    recipe: str
    better: dict[str, Any]
    worse: dict[str, Any]
    both: dict[str, Any] = field(default_factory=dict)
    decoder: bool = False  # hold the decoder of a third model, trained as `worse`, and compare the gaps


COMPARISONS = {
    "iwae": Comparison("iwae", {"objective": "iwae(samples=64)"}, {"objective": "elbo"}),
    "vamp": Comparison(
        "iwae",
        {"prior": "vamp(components=500)"},
        {"prior": "normal"},
        {"network": "mlp(hidden=(300, 300))", "latent": 40, "objective": "elbo(beta=linear(share=0.2))"},
    ),
    "layers": Comparison(
        "iwae",
        {"latents": "bottom-up(upper=50, hidden=(100, 100))", "latent": 100},
        {"latent": 50},
        {"objective": "elbo(beta=linear(share=0.2))"},
    ),
    "posterior": Comparison(
        "iwae", {"posterior": "flow(kind='iaf', transforms=2)"}, {"posterior": "normal"}, {"objective": "elbo"}, True
    ),
}
COMPOSED = ("latent", "network", "likelihood", "observation", "prior", "posterior", "latents")


def compose(data: Data, comparison: Comparison, own: dict[str, Any], seed: int) -> tuple[tb.VAE, Any]:
    """Return the model and its config."""
    config = recipe(comparison.recipe).replace(**comparison.both, **own, seed=seed)
    return tb.VAE.for_data(data, **{name: getattr(config, name) for name in COMPOSED}, seed=seed), config


def run(
    name: str, own: dict[str, Any], data: Data, seed: int, arguments: argparse.Namespace, decoder: tb.VAE | None
) -> dict[str, np.ndarray]:
    """Return the bounds of one contestant per image; train it unless it is there already."""
    folder = arguments.out / f"{arguments.comparison}-{name}-{seed}"
    kept = folder.with_suffix(".npz")
    if kept.is_file():
        return dict(np.load(kept))
    model, config = compose(data, COMPARISONS[arguments.comparison], own, seed)
    if decoder is not None:
        model.likelihood.load_state_dict(decoder.likelihood.state_dict())
        model.likelihood.requires_grad_(False)
    resume = (folder / "checkpoints").is_dir()
    began = time.perf_counter()
    settings = {k: getattr(config, k) for k in ("batch_size", "lr", "eps", "schedule", "seed")}
    trained = tb.fit(
        model, data, config.objective, **settings,
        epochs=arguments.epochs, validation_size=0, run=folder, quiet=True, resume=resume,
    )  # fmt: skip
    seconds = time.perf_counter() - began
    assert isinstance(data.test, Indexed)
    pick = np.sort(np.random.default_rng(0).permutation(len(data.test))[: arguments.images])
    numbers = trained.evaluate(data.test.subset(pick), samples=arguments.samples)
    result = {k: np.asarray(numbers.per_example[k]) for k in ("iwae", "elbo")} | {"seconds": np.asarray(seconds)}
    np.savez(kept, allow_pickle=False, **result)
    nll = numbers["iwae"]
    print(f"seed {seed}, {name}: NLL {-float(str(nll.value)):.2f} ± {nll.stderr:.2f}, {seconds:.0f} s", flush=True)
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n\n")[0] if __doc__ else None)
    parser.add_argument("comparison", choices=list(COMPARISONS))
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--samples", type=int, default=1000)
    parser.add_argument("--images", type=int, default=10_000, help="test images, picked at random")
    parser.add_argument("--out", type=Path, default=Path("quality"))
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    comparison, data = COMPARISONS[arguments.comparison], tb.data.open("mnist")
    assert data.test is not None
    rows = []
    for seed in range(arguments.seeds):
        decoder = None
        if comparison.decoder:
            decoder = compose(data, comparison, comparison.worse, seed)[0]
            run("decoder", comparison.worse, data, seed, arguments, None)
            decoder = tb.load(arguments.out / f"{arguments.comparison}-decoder-{seed}", model=decoder).model
        pair = [
            run(name, own, data, seed, arguments, decoder)
            for name, own in (("better", comparison.better), ("worse", comparison.worse))
        ]
        values = [r["elbo"] - r["iwae"] if comparison.decoder else r["iwae"] for r in pair]
        difference = values[0] - values[1]
        rows.append({
            "seed": seed,
            "better": float(values[0].mean()),
            "worse": float(values[1].mean()),
            "difference": float(difference.mean()),
            "stderr": float(difference.std(ddof=1) / math.sqrt(len(difference))),
            "seconds": [float(r["seconds"]) for r in pair],
        })  # fmt: skip
    what = "ELBO - IWAE" if comparison.decoder else f"IWAE-{arguments.samples} bound"
    print(f"{what} on {min(len(data.test), arguments.images):,} test images after {arguments.epochs} epochs, nats")
    for row in rows:
        by_image = f"{row['difference']:+.2f} ± {row['stderr']:.2f} (over images)"
        print(f"  seed {row['seed']}: {row['better']:.2f} against {row['worse']:.2f}: {by_image}")
    over = [row["difference"] for row in rows]
    spread = f", sd over seeds {np.std(over, ddof=1):.2f}" if len(over) > 1 else ""
    print(f"  mean difference {np.mean(over):+.2f}{spread}")
    machine = {"machine": platform.machine(), "threads": torch.get_num_threads(), "torch": torch.__version__}
    facts = {"comparison": arguments.comparison, "epochs": arguments.epochs, "rows": rows, "machine": machine}
    (arguments.out / f"{arguments.comparison}.json").write_text(json.dumps(facts, indent=2) + "\n")


if __name__ == "__main__":
    main()
