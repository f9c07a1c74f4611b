"""The commands that look at a run."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from tightbound.analysis import called, pictures
from tightbound.analysis.estimate import with_error
from tightbound.cli.arguments import Complete, FitSampler, Interpolate, Reconstruct, Sample
from tightbound.cli.codes import by_level
from tightbound.cli.files import csv, npy, out_file, write_npz
from tightbound.cli.paths import measurable, measure
from tightbound.cli.runs import load_run, open_data, say_next
from tightbound.cli.show import endings, say
from tightbound.components import parse
from tightbound.core.errors import InputError, whole
from tightbound.core.files import write_atomic
from tightbound.core.world import dismissed
from tightbound.data import Indexed
from tightbound.latents.codes import CodeLatents
from tightbound.trained import Trained

JUDGED = 500  # draws of a class, of which it is said how many are of it


def sample(command: Sample) -> None:
    """Decodes draws from the prior into a file."""
    trained = load_run(command)
    known = endings(trained.model.shape)
    out = out_file(command.out, "samples", known)
    context = None if command.context is None else torch.tensor(command.context)

    source: dict[str, Any] = {"sampler": command.sampler, "label": command.label}
    source |= {"seed": command.seed, "context": context, "temperature": command.temperature, "top_k": command.top_k}

    def draws(n: int, mean: bool) -> Tensor:
        return trained.sample(n, mean=mean, **source)

    kept = None
    if command.keep is None:
        x = draws(command.n, not command.draw)
        dismissed()
    else:
        dismissed()
        data, _ = open_data(command, trained)
        how = {"keep": command.keep, "mean": not command.draw, "progress": True}
        kept = trained.best_samples(data, command.n, **how, **source)
        x = kept.x
    _write_data(out, x, trained, lambda pixels: pictures.grid(pictures.square(pixels)))
    say(f"{command.n} samples, {'drawn from' if command.draw else 'means of'} p(x|z): {out}")
    latents = trained.model.latents
    if isinstance(latents, CodeLatents) and not latents.informed and command.sampler is None:
        given = "" if context is None else ", whatever the context"
        say(f"note: no prior over codes has been learned: all are equally probable{given}; tightbound fit-prior "
            "learns one, or train --resume where its training was stopped", sys.stderr)  # fmt: skip
    if kept is not None:
        say(f"kept of {kept.drawn:,} that were drawn: those that {kept.judge} is surest of; mean probability of their "
            f"class {kept.before:.3f} of all, {kept.after:.3f} of those kept")  # fmt: skip
    if command.label is not None:
        _say_called(command, command.label, trained, draws(JUDGED, True))
    say_next(command, f"reconstruct {{run}} --out reconstructions{known[0]}")


def _say_called(command: Sample, label: int, trained: Trained, drawn: Tensor) -> None:
    """How many draws of a class are of it, as k-NN on the run's data sees them."""
    data, _ = open_data(command, trained)
    shares = called(trained.model, drawn, label, data.train, data.require_test(), seed=command.seed)
    found, real = (with_error(n.value, n.stderr) for n in (shares["drawn"], shares["data"]))  # pyright: ignore
    say(f"of {len(drawn)} such means, {found} are called {label} by {shares['drawn'].target}; "
        f"of {shares['data'].n:,} real test data of that class, {real}")  # fmt: skip


def fit_sampler(command: FitSampler) -> None:
    """Fits a density to codes, and saves it in the run."""
    trained = load_run(command)
    _, split = open_data(command, trained)
    trained.fit_sampler(split, command.sampler, epochs=command.epochs, seed=command.seed)
    name = parse(command.sampler).name
    say(f"sampler {name}: fitted to the codes of {len(split):,} data, saved in {command.run}")
    say_next(command, f"sample {{run}} --sampler {name} --out samples{endings(trained.model.shape)[0]}")


def complete(command: Complete) -> None:
    """Draws the hidden part of data into a file."""
    trained = load_run(command)
    known = endings(trained.model.shape)
    out = out_file(command.out, "completions", known)
    _, split = open_data(command, trained)
    batch = next(split.epoch(whole("n", command.n, least=1)))[: command.n]
    x = trained.complete(batch, command.draws, mean=not command.draw, seed=command.seed)
    dismissed()
    if out.suffix == ".png":
        domain = trained.model.observation.source
        rows = [pictures.to_pixels(row, domain) for row in torch.cat([batch.x.unsqueeze(1), x.to(batch.x)], 1)]
        write_atomic(out, pictures.png(pictures.grid(rows)))
    else:
        _write_data(out, x.flatten(0, 1), trained, None)
    say(f"{len(x)} data, each with {command.draws} completions of its hidden part: {out}")
    say_next(command, "evaluate {run}")


def reconstruct(command: Reconstruct) -> None:
    """Decodes posterior means of data into a file."""
    trained = load_run(command)
    known = endings(trained.model.shape)
    if command.levels:
        dismissed()
        by_level(command, trained)
        return
    out = out_file(command.out, "reconstructions", known)
    _, split = open_data(command, trained)
    if out.suffix != ".png":
        x = trained.reconstruct(split)
        dismissed()
        _write_data(out, x, trained, None)
        say(f"{len(x)} reconstructions, decoded posterior means: {out}")
    else:
        batch = next(split.epoch(whole("n", command.n, least=1)))[: command.n]
        x, domain, rebuilt = batch.x, trained.model.observation.source, trained.reconstruct(batch)
        dismissed()
        rows: list[pictures.Pixels] = []
        across = pictures.columns(x.shape[-1])
        for start in range(0, len(x), across):
            rows += [pictures.to_pixels(t[start : start + across], domain) for t in (x, rebuilt)]
        labels = ["data", "from code"] * (len(rows) // 2)
        write_atomic(out, pictures.png(pictures.grid(rows, labels)))
        say(f"{len(x)} data above their reconstructions: {out}")
    ending = ".png" if ".png" in known else ".npz"
    say_next(command, f"interpolate {{run}} --out interpolation{ending}")


def interpolate(command: Interpolate) -> None:
    """Decodes paths between two codes into a file, or measures many."""
    if command.pairs is not None:
        measure(command, command.pairs)
        return
    if command.against is not None or command.json:
        raise InputError("--against and --json are for measured paths; add --pairs 200")
    trained = load_run(command)
    out = out_file(
        command.out, "interpolation", tuple(e for e in endings(trained.model.shape) if e in (".png", ".npz"))
    )
    _, split = open_data(command, trained)
    if not isinstance(split, Indexed):
        raise InputError("these data have no random access; give an array, a file or a folder")
    to = min(7, len(split) - 1) if command.to is None else command.to
    for flag, position in (("--from", command.start), ("--to", to)):
        if not 0 <= position < len(split):
            raise InputError(f"{flag} {position}; needed: 0 to {len(split) - 1}, the number of an example in the split")
    ends = split.batch(torch.tensor([command.start, to]))
    walks = {
        path: trained.interpolate(*ends.x, steps=command.steps, path=path, labels=ends.label)
        for path in ("linear", "spherical")
    }
    domain = trained.model.observation.source
    if out.suffix == ".png":
        rows = [pictures.to_pixels(walk, domain) for walk in walks.values()]
        write_atomic(out, pictures.png(pictures.grid(rows, list(walks))))
    else:
        write_npz(out, {path: walk.numpy() for path, walk in walks.items()})
    say(f"{command.steps} steps from example {command.start} to example {to}, linear and spherical: {out}")
    say_next(command, "interpolate {run} --pairs 200" if measurable(trained.model, split) else "report {run}")


def _write_data(out: Path, x: Tensor, trained: Trained, picture: Any) -> None:
    if out.suffix == ".png" and picture is not None:
        write_atomic(out, pictures.png(picture(pictures.to_pixels(x, trained.model.observation.source))))
    elif out.suffix == ".npz":
        write_npz(out, {"x": x.numpy()})
    elif out.suffix == ".npy":
        write_atomic(out, npy(x.numpy()))
    else:
        observation = trained.model.observation
        write_atomic(out, csv(x, observation.header, observation.words))
