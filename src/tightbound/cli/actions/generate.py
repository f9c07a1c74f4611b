"""Commands that write what a model makes: samples, reconstructions, completions, interpolations."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from tightbound.analysis import classified_as, pictures
from tightbound.analysis.estimate import with_error
from tightbound.cli.actions.codes import by_level
from tightbound.cli.arguments import Complete, Interpolate, Reconstruct, Sample
from tightbound.cli.files import csv, npy, out_file, write_npz
from tightbound.cli.runs import load_run, open_data, say_next
from tightbound.cli.show import endings, say
from tightbound.core.errors import InputError, whole
from tightbound.core.files import write_atomic
from tightbound.core.world import dismissed
from tightbound.data import Indexed
from tightbound.latents.codes import CodeLatents
from tightbound.trained import Trained

JUDGED = 500  # samples of a class, for the share that a classifier assigns to it


def sample(command: Sample) -> None:
    """Write decoded draws from the prior."""
    trained = load_run(command)
    known = endings(trained.model.shape)
    out = out_file(command.out, "samples", known)
    context = None if command.context is None else torch.tensor(command.context)
    options: dict[str, Any] = {"sampler": command.sampler, "label": command.label, "seed": command.seed}
    options |= {"context": context, "temperature": command.temperature, "top_k": command.top_k}
    kept = None
    if command.keep is None:
        x = trained.sample(command.n_samples, draw=command.draw, **options)
        dismissed()
    else:
        dismissed()
        kept = trained.best_samples(command.n_samples, keep=command.keep, draw=command.draw, progress=True, **options)
        x = kept.x
    _write(out, x, trained, lambda pixels: pictures.grid(pictures.square(pixels)))
    say(f"{command.n_samples} samples, {'drawn from' if command.draw else 'means of'} p(x|z): {out}")
    latents = trained.model.latents
    if isinstance(latents, CodeLatents) and not latents.has_learned_prior and command.sampler is None:
        say("note: no code prior was trained, so all code indices are equally probable; train one with `tightbound "
            "fit-code-prior`", sys.stderr)  # fmt: skip
    if kept is not None:
        say(f"kept {len(x):,} of {kept.drawn:,} samples by {kept.judge}; mean probability of their class: "
            f"{kept.before:.3f} before, {kept.after:.3f} after")  # fmt: skip
    if command.label is not None:
        _say_share(command, command.label, trained, trained.sample(JUDGED, **options))
    say_next(command, f"reconstruct {{run}} --out reconstructions{known[0]}")


def _say_share(command: Sample, label: int, trained: Trained, drawn: Tensor) -> None:
    """Print the share of the samples of a class that a classifier assigns to it."""
    data, split = open_data(command, trained)
    shares = classified_as(trained.model, drawn, label, data.train, split, seed=command.seed)
    found, real = (with_error(n.value, n.stderr) for n in (shares["generated"], shares["data"]))  # pyright: ignore
    say(f"{found} of {len(drawn)} such samples are assigned to class {label} by {shares['generated'].target}; "
        f"of {shares['data'].n:,} real test examples of that class, {real}")  # fmt: skip


def complete(command: Complete) -> None:
    """Write completions of the hidden part of examples."""
    trained = load_run(command)
    out = out_file(command.out, "completions", endings(trained.model.shape))
    _, split = open_data(command, trained)
    batch = next(split.epoch(whole("n_examples", command.n_examples, least=1)))[: command.n_examples]
    x = trained.complete(batch, command.n_samples, draw=command.draw, seed=command.seed)
    dismissed()
    if out.suffix == ".png":
        domain = trained.model.observation.source
        rows = [pictures.to_pixels(row, domain) for row in torch.cat([batch.x.unsqueeze(1), x.to(batch.x)], 1)]
        write_atomic(out, pictures.png(pictures.grid(rows)))
    else:
        _write(out, x.flatten(0, 1), trained, None)
    say(f"{len(x)} examples, each with {command.n_samples} completions of its hidden part: {out}")
    say_next(command, "evaluate {run}")


def reconstruct(command: Reconstruct) -> None:
    """Write reconstructions from the posterior mean."""
    trained = load_run(command)
    known = endings(trained.model.shape)
    if command.levels:
        dismissed()
        by_level(command, trained)
        return
    out = out_file(command.out, "reconstructions", known)
    _, split = open_data(command, trained)
    how = "draws of p(x|z)" if command.draw else "decoded posterior means"
    if out.suffix != ".png":
        x = trained.reconstruct(split, draw=command.draw, seed=command.seed)
        dismissed()
        _write(out, x, trained, None)
        say(f"{len(x)} reconstructions, {how}: {out}")
    else:
        batch = next(split.epoch(whole("n_examples", command.n_examples, least=1)))[: command.n_examples]
        rebuilt = trained.reconstruct(batch, draw=command.draw, seed=command.seed)
        x, domain = batch.x, trained.model.observation.source
        dismissed()
        rows: list[pictures.Pixels] = []
        across = pictures.columns(x.shape[-1])
        for start in range(0, len(x), across):
            rows += [pictures.to_pixels(t[start : start + across], domain) for t in (x, rebuilt)]
        labels = ["examples", "reconstructed"] * (len(rows) // 2)
        write_atomic(out, pictures.png(pictures.grid(rows, labels)))
        say(f"{len(x)} examples above their reconstructions, {how}: {out}")
    say_next(command, f"interpolate {{run}} --out interpolation{'.png' if '.png' in known else '.npz'}")


def interpolate(command: Interpolate) -> None:
    """Write decoded paths between two latent codes."""
    trained = load_run(command)
    known = tuple(ending for ending in endings(trained.model.shape) if ending in (".png", ".npz"))
    out = out_file(command.out, "interpolation", known)
    _, split = open_data(command, trained)
    if not isinstance(split, Indexed):
        raise InputError("these data have no random access; give an array, a file or a folder")
    to = min(7, len(split) - 1) if command.to is None else command.to
    for flag, position in (("--from", command.start), ("--to", to)):
        if not 0 <= position < len(split):
            raise InputError(f"{flag} {position}; needed: 0 to {len(split) - 1}, the position of an example")
    ends = split.batch(torch.tensor([command.start, to]))
    walks = {
        path: trained.interpolate(*ends.x, steps=command.steps, path=path, labels=ends.label)
        for path in ("linear", "spherical")
    }
    if out.suffix == ".png":
        rows = [pictures.to_pixels(walk, trained.model.observation.source) for walk in walks.values()]
        write_atomic(out, pictures.png(pictures.grid(rows, list(walks))))
    else:
        write_npz(out, {path: walk.numpy() for path, walk in walks.items()})
    say(f"{command.steps} steps from example {command.start} to example {to}, linear and spherical: {out}")
    say_next(command, "report {run}")


def _write(out: Path, x: Tensor, trained: Trained, picture: Any) -> None:
    if out.suffix == ".png" and picture is not None:
        write_atomic(out, pictures.png(picture(pictures.to_pixels(x, trained.model.observation.source))))
    elif out.suffix == ".npz":
        write_npz(out, {"x": x.numpy()})
    elif out.suffix == ".npy":
        write_atomic(out, npy(x.numpy()))
    else:
        observation = trained.model.observation
        write_atomic(out, csv(x, observation.header, observation.words))
