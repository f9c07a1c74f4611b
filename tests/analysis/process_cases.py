"""Computations that one process and each of two make, for `test_processes.py`."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader, TensorDataset

import tightbound as tb
from tightbound.analysis.bounds.estimator import evaluate
from tightbound.analysis.bounds.rate import rate_decomposition
from tightbound.analysis.detection.engine import score
from tightbound.core import world
from tightbound.core.terms import Batch
from tightbound.data.feed import Source, each
from tightbound.inference import infer
from tightbound.latents.codes import CodeLatents
from tightbound.model import VAE

N = 121  # of evaluation four batches, of the rate two blocks of codes
KINDS: dict[str, dict[str, Any]] = {
    "flat": {},
    "without a density": {"posterior": "point"},
    "flow": {"posterior": "flow"},  # which draws from torch's default generator, seeded for a whole batch
    "conditional": {"context": "visible(columns=(0, 0.5))"},
    "hierarchy": {"latents": "ladder"},
    "quantized": {
        "latents": "quantized(quantizer='vq(codebook_size=5)', positions=6)",
        "prior": "pixelcnn(hidden=8, layers=1, embedding=4, attention=0, blocks=1)",
    },
    "drawn codes": {
        "latents": "quantized(quantizer='gumbel(codebook_size=4)', positions=6)",
        "prior": "pixelcnn(hidden=8, layers=1, embedding=4, attention=0, blocks=1)",
    },
}


def data() -> torch.Tensor:
    """(N, 1, 8, 8) bits."""
    return torch.randint(0, 2, (N, 1, 8, 8), generator=torch.Generator().manual_seed(0)).float()


def model(kind: str) -> VAE:
    """Untrained."""
    torch.manual_seed(1)
    parts = {"network": "mlp(hidden=(8,))", **KINDS[kind]}
    return tb.VAE.for_data(tb.data.open(data()), latent=3, **parts).eval()


def found(kind: str) -> dict[str, Any]:
    """All numbers of an evaluation, and what embedding, reconstructing and sampling give."""
    vae, x = model(kind), data()
    result = evaluate(vae, x, samples=110, seed=2)
    again = evaluate(vae, x[:50], samples=50, seed=2, precision="bf16")
    codes = infer.encode(vae, x, draw=True, batch_size=25)
    arrays = {**result.per_example, "mean of codes": codes.mean.numpy(), "draws": codes.sample.numpy()}  # pyright: ignore
    arrays["reconstructed"] = infer.reconstruct(vae, x, batch_size=25).numpy()
    arrays["decoded"] = infer.decode(vae, codes.mean, context=codes.context, batch_size=25, draw=True).numpy()
    if codes.context is None:
        arrays["sampled"] = infer.sample(vae, 5, draw=True, batch_size=2).numpy()
    else:
        arrays["completed"] = tb.Trained(vae).complete(x, 120, draw=True).numpy()
    if isinstance(vae.latents, CodeLatents):
        for i, level in enumerate(infer.code_indices(vae, x, batch_size=25).levels):
            arrays[f"codes of level {i}"] = level.numpy()
    parts = rate_decomposition(vae, x, max_examples=5)
    numbers = {"all": result.to_json(), "bf16": again.to_json(), "of five codes": parts.to_json()}
    for part in (
        numbers["all"]["estimates"],
        numbers["bf16"]["estimates"],
    ):  # sums over all data, of which each process takes its own first
        part["relative_mse"] = {k: v for k, v in part["relative_mse"].items() if k not in ("value", "stderr")}
    return {"arrays": arrays, "numbers": numbers, "relative": result["relative_mse"].value}


def scored() -> dict[str, np.ndarray[Any, Any]]:
    """By every score, of data against the same."""
    labels = torch.arange(N) % 2
    vae = model("flat")
    chosen = ("nll", "elbo", "regret(steps=1, measured=5)", "prior", "complexity", "mahalanobis", "typicality")
    own = Batch(data(), label=labels)
    return dict(score(vae, own, own, scores=chosen, samples=7).per_example)


def embedded(source: str) -> np.ndarray[Any, Any]:
    """Posterior means of a data set of each kind."""
    x = data()
    kinds: dict[str, Source] = {
        "array": x.numpy(),
        "split": tb.data.open(x).whole,
        "subset": tb.data.open(x).whole.subset(range(0, N, 2)),  # type: ignore[attr-defined]
        "loader": tb.data.open(DataLoader(TensorDataset(x), batch_size=5)).train,
        "one example": x[:1],
    }
    return infer.encode(model("flat"), kinds[source], batch_size=2).mean.numpy()


def indices() -> tuple[list[int], list[int], int]:
    """Those of the data of a split in the order in which they come back; the numbers of its batches; and how many
    batches this process computed."""
    mine: list[int] = []

    def rows(batch: Batch, number: int) -> tuple[list[int], int]:
        assert world.size() == 1, "a batch is computed apart from other processes"
        mine.append(number)
        return batch.positions().tolist(), number

    every = each(model("flat"), tb.data.open(data()).whole, 4, rows)
    return [i for part, _ in every for i in part], [number for _, number in every], len(mine)


def refused(why: str) -> str:
    """Return the message of a process about data that it or another one cannot use."""
    x = data()
    if why == "a bad example in the last batch":
        x = TensorDataset(x.clone())
        given: Source = tb.data.open(DataLoader(x, batch_size=3), domain="binary").train
        x.tensors[0][-1] = torch.nan  # after it was opened, where it would be seen
    elif why == "other data":
        given = x[: N - 8 * world.rank()]
    else:
        given = x[:0]
    try:
        infer.encode(model("flat"), given, batch_size=4)
    except tb.core.errors.InputError as error:
        return str(error)
    return "nothing"


def dismissed() -> tuple[int, int]:
    """Rank and size after the others have gone, of the one that is left; the status of those that go."""
    try:
        world.dismissed()
    except SystemExit as stop:
        return 1, int(stop.code or 0)
    return world.rank(), world.size()
