"""Commands that write what a model makes: samples, reconstructions, completions, interpolations."""

from __future__ import annotations

import sys
from collections.abc import Callable, Container, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from tightbound.analysis import pictures
from tightbound.analysis.estimate import with_error
from tightbound.analysis.representation.steering import classified_as
from tightbound.cli.arguments import Complete, Impute, Interpolate, Reconstruct, Sample
from tightbound.cli.files import TABLES, described, npy, out_file, write_npz, write_table
from tightbound.cli.runs import load_run, open_data, say_next, split_name
from tightbound.cli.show import endings, note, say
from tightbound.core.errors import InputError, whole
from tightbound.core.files import write_atomic
from tightbound.core.schema import listed
from tightbound.core.terms import Batch
from tightbound.core.world import dismissed
from tightbound.data import Indexed, Split
from tightbound.data.options import TEXT_OPTIONS, Options
from tightbound.data.readers.tabular.filling import filled
from tightbound.data.source import is_text_file
from tightbound.inference import infer
from tightbound.inference.classes import learns_classes
from tightbound.inference.fitting import default_sampler
from tightbound.inference.ranges import in_range
from tightbound.latents.codes import CodeLatents, needs_codes
from tightbound.trained import Trained

DRAW = "draw"  # column that numbers the completed tables of multiple imputation
JUDGED = 500  # samples of a class, for the share that a classifier assigns to it


def sample(command: Sample) -> None:
    """Write decoded draws from the prior."""
    trained = load_run(command)
    known = endings(trained.model.shape)
    out = out_file(command.out, "samples", known)
    if command.given:
        _sample_given(command, trained, out)
        return
    draw = _drawn(command, trained)
    options: dict[str, Any] = {"sampler": command.sampler, "label": command.label, "seed": command.seed}
    options |= {"context": command.context, "temperature": command.temperature, "top_k": command.top_k}
    kept = None
    if command.keep is None:
        x = trained.sample(command.n_samples, draw=draw, **options)
        dismissed()
    else:
        dismissed()
        kept = trained.best_samples(command.n_samples, keep=command.keep, draw=draw, progress=True, **options)
        x = kept.x
    about = {} if kept is not None else _asked(command, trained)
    _write(out, _inside(x, trained, out), trained, lambda pixels: pictures.grid(pictures.square(pixels)), about)
    say(f"{command.n_samples} samples, {'drawn from' if draw else 'means of'} p(x|z): {out}")
    _say_sampler(command, trained)
    latents = trained.model.latents
    if isinstance(latents, CodeLatents) and not latents.has_learned_prior and command.sampler is None:
        say("note: no code prior was trained, so all code indices are equally probable; train one with `tightbound "
            "fit-prior`", sys.stderr)  # fmt: skip
    if kept is not None:
        say(f"kept {len(x):,} of {kept.drawn:,} samples by {kept.judge}; mean probability of their class: "
            f"{kept.before:.3f} before, {kept.after:.3f} after")  # fmt: skip
    if command.label is not None:
        label = trained.model.schema.class_number(command.label)
        _say_share(command, label, trained, trained.sample(JUDGED, draw=draw, **options))
    say_next(command, f"reconstruct {{run}} --out reconstructions{known[0]}")


def _drawn(command: Sample | Complete, trained: Trained) -> bool:
    """Return whether to draw x from p(x|z): as the options say, and by default for rows of a table."""
    if command.draw and command.mean:
        raise InputError("--draw and --mean were both given; give only one of them")
    return infer.drawn(trained.model, True if command.draw else False if command.mean else None)


def _say_sampler(command: Sample, trained: Trained) -> None:
    """Print a note if latent codes are not drawn from the prior."""
    fitted = default_sampler(trained.folder)
    if fitted is not None and command.sampler is None:
        say(f"note: z is drawn from {fitted}, fitted to the latent codes; for samples from the prior, add "
            "--sampler prior", sys.stderr)  # fmt: skip


def _sample_given(command: Sample, trained: Trained, out: Path) -> None:
    """Write rows that have given values in some columns."""
    ruled_out = {
        "--mean": command.mean, "--label": command.label, "--keep": command.keep,
        "--temperature": command.temperature != 1, "--top-k": command.top_k,
    }  # fmt: skip
    if flag := next((name for name, value in ruled_out.items() if value not in (None, False)), None):
        raise InputError(f"--given and {flag} cannot be combined; leave out {flag}")
    pairs = [_assigned(text, trained.model.schema.columns) for text in command.given]
    given = dict(pairs)
    if len(given) < len(pairs):
        raise InputError(f"--given {' '.join(command.given)} names a column twice; give each column once")
    options: dict[str, Any] = {"context": command.context, "sampler": command.sampler, "seed": command.seed}
    found = trained.sample_given(given, command.n_samples, **options)
    dismissed()
    about = {} if command.context is None else _asked(command, trained)
    _write(out, _inside(found.x, trained, out, given), trained, about=about)
    say(f"{command.n_samples} rows given {', '.join(command.given)}, drawn from p(x|z): {out}")
    say(f"effective number of latent codes: {found.effective:,.0f} of {found.codes:,}")
    if found.warning:
        note(found.warning)
    _say_sampler(command, trained)
    say_next(command, "quality {run}")


def _assigned(text: str, names: Sequence[str]) -> tuple[str, str]:
    """Return the column and the value of "COLUMN=VALUE"; a name may contain "=", and a value may be quoted."""
    known = [name for name in names if text.startswith(f"{name}=")]
    name = max(known, key=len) if known else text.partition("=")[0].strip()
    value = text[len(name) :].lstrip().removeprefix("=").strip() if known else text.partition("=")[2].strip()
    if not name or not value:
        raise InputError(f"--given {text!r}; needed: COLUMN=VALUE, such as sex=female")
    return name, value[1:-1] if len(value) > 1 and value[0] == value[-1] and value[0] in "'\"" else value


def _asked(command: Sample, trained: Trained) -> dict[str, Any]:
    """Return the column of the classes that samples were drawn for; none, if the model is not conditional on them."""
    context, names = trained.model.context, trained.model.schema
    if context is None or not context.classes:
        return {}
    turns = names.class_numbers(context.examples(command.n_samples) if command.context is None else command.context)
    drawn = [names.class_name(int(turns[i % len(turns)])) for i in range(command.n_samples)]
    return {names.label or "label": np.array(drawn)}


def _say_share(command: Sample, label: int, trained: Trained, drawn: Tensor) -> None:
    """Print the share of the samples of a class that a classifier assigns to it, or why it is not known."""
    drawn = trained.form.take(drawn, trained.model.observation.source)
    names, partial = trained.model.schema, trained.infers_labels or learns_classes(command.sampler)
    try:
        data, split = open_data(command, trained)
        shares = classified_as(
            trained.model, drawn, label, data.train, split, names=names, partial=partial, seed=command.seed
        )
    except InputError as error:
        note(f"whether the samples show their class is not known: {error}")
        return
    found, real = (with_error(n.value, n.stderr) for n in (shares["generated"], shares["data"]))  # pyright: ignore
    say(f"{found} of {len(drawn)} such samples are assigned to class {names.class_name(label)} by "
        f"{shares['generated'].target}; of {shares['data'].n:,} real test examples of that class, {real}")  # fmt: skip


def complete(command: Complete) -> None:
    """Write completions of the hidden part of examples."""
    trained = load_run(command)
    out = out_file(command.out, "completions", endings(trained.model.shape))
    batch, about = _first_examples(command, trained)
    x = trained.complete(batch, command.n_samples, draw=_drawn(command, trained), seed=command.seed)
    dismissed()
    if out.suffix == ".png":
        domain = trained.model.observation.source
        rows = [pictures.to_pixels(row, domain) for row in torch.cat([batch.x.unsqueeze(1), x.to(batch.x)], 1)]
        write_atomic(out, pictures.png(pictures.grid(rows)))
    else:
        x = trained.form.give(x.flatten(0, 1), trained.model.observation.source)
        _write(
            out, _inside(x, trained, out), trained, about={k: np.repeat(v, command.n_samples) for k, v in about.items()}
        )
    say(f"{len(x)} examples, each with {command.n_samples} completions of its hidden part: {out}")
    say_next(command, "evaluate {run}")


def reconstruct(command: Reconstruct) -> None:
    """Write reconstructions from the posterior mean."""
    trained = load_run(command)
    known = endings(trained.model.shape)
    if command.levels:
        dismissed()
        _reconstruct_levels(command, trained)
        return
    out = out_file(command.out, "reconstructions", known)
    how = "draws of p(x|z)" if command.draw else "decoded posterior means"
    if out.suffix != ".png":
        _, split = open_data(command, trained)
        x = trained.reconstruct(split, draw=command.draw, seed=command.seed)
        dismissed()
        _write(out, x, trained, about=_about(split, trained, out))
        say(f"{len(x)} reconstructions, {how}: {out}")
    else:
        batch, _ = _first_examples(command, trained)
        rebuilt = trained.reconstruct(batch, draw=command.draw, seed=command.seed)
        dismissed()
        _write_stacked(out, {"examples": batch.x, "reconstructed": rebuilt}, trained)
        say(f"{len(batch)} examples above their reconstructions, {how}: {out}")
    say_next(command, f"interpolate {{run}} --out interpolation{'.png' if '.png' in known else '.npz'}")


def impute(command: Impute) -> None:
    """Write a table with its missing entries filled in."""
    trained = load_run(command)
    out = out_file(command.out, "imputed", tuple(ending for ending in endings(trained.model.shape) if ending != ".png"))
    source = Path(command.data or str(trained.config.get("data") or ""))
    if command.draws is not None:
        whole("draws", command.draws, least=1)
        if out.suffix not in TABLES:
            raise InputError(
                f"--draws writes several tables to one file; the extension of --out must be {' or '.join(TABLES)}"
            )
    as_text = out.suffix == ".csv" and is_text_file(str(source)) and command.split in ("auto", "all")
    if as_text:  # read as new data, so that no row is left out
        command = replace(command, data=str(source), split="all")
    if out.exists() and source.exists() and out.samefile(source):
        raise InputError(f"--out {str(out)!r} is the file whose gaps are to be filled; give another name")
    _, split = open_data(command, trained)
    turns = range(command.draws or 1)
    tables = [
        trained.impute(split, samples=command.samples, draw=command.draws is not None, seed=command.seed + turn)
        for turn in turns
    ]
    dismissed()
    numbers = [x.numpy().astype(str).astype(np.float64) for x in tables]  # 39.1 in float32 is written as 39.1
    if as_text:
        lead = None if command.draws is None else DRAW
        text, gaps = filled(source, _reading(trained), [_by_row(x, split, trained) for x in numbers], lead)
        write_atomic(out, text)
    else:
        gaps = int(_gaps(split).sum())
        about = _about(split, trained, out)
        if command.draws is not None:
            number = {DRAW: np.repeat(np.array(turns) + 1, len(tables[0]))}
            about = number | {name: np.tile(values, len(tables)) for name, values in about.items()}
        _write(out, torch.from_numpy(np.concatenate(numbers)), trained, about=about)
    how = "conditional means" if command.draws is None else f"{command.draws} random draws each"
    say(f"filled {gaps:,} missing entries of {tables[0].numel():,} with {how}: {out}")
    unknown = None if split.size is None else split.unknown_entries(torch.arange(split.size))
    if unknown is not None and unknown.any():
        rows = listed(split.titles(torch.from_numpy(np.flatnonzero(unknown))))
        note(
            f"{int(unknown.sum()):,} of these entries held values that the model cannot hold, which were replaced "
            f"({rows}); with --strict, they are an error"
        )
    say_next(command, "evaluate {run}")


def _reading(trained: Trained) -> Options:
    """Return how a run reads tables as text."""
    known: dict[str, Any] = {name: trained.config.get(name) for name in TEXT_OPTIONS}
    return Options(decimal=trained.config.get("decimal") or trained.model.schema.decimal, **known)


def _by_row(x: np.ndarray[Any, Any], split: Split, trained: Trained) -> dict[int, dict[str, float | str]]:
    """Return the filled entries of a table (N, D) by row of its file and column, categories as words."""
    rows = np.concatenate([split.identity(batch.positions())["row"] for batch in split.epoch(4096)])
    names = trained.model.schema.columns
    words: Sequence[Sequence[str]] = trained.model.observation.words or [()] * len(names)

    def value(words: Sequence[str], number: float) -> float | str:
        return words[round(number)] if words else number

    return {
        int(row): {
            name: value(w, number)
            for name, w, number, is_gap in zip(names, words, entries, gaps, strict=True)
            if is_gap
        }
        for row, entries, gaps in zip(rows.tolist(), x.tolist(), _gaps(split).tolist(), strict=True)
    }


def _gaps(split: Split) -> Tensor:
    """Return which entries (N, D) of a table are missing."""
    return torch.cat([batch.x.isnan() for batch in split.epoch(4096)])


def _reconstruct_levels(command: Reconstruct, trained: Trained) -> None:
    """Write examples and their reconstructions from the highest level of code indices, from the two highest, ..."""
    latents = needs_codes(trained.model.latents)
    number = len(latents.code_grids)
    if number < 2:
        raise InputError(
            "--levels shows what each level of code indices holds, and this model has one level; leave it out"
        )
    known = tuple(e for e in endings(trained.model.shape) if e in (".png", ".npz"))
    out = out_file(command.out, "levels", known)
    batch, _ = _first_examples(command, trained)
    found = [trained.reconstruct(batch, levels=levels, seed=command.seed) for levels in range(1, number + 1)]
    if out.suffix == ".png":
        names = ["examples", "top level", *(f"top {levels}" for levels in range(2, number)), "all levels"]
        _write_stacked(out, dict(zip(names, (batch.x, *found), strict=True)), trained)
    else:
        named = {"x": batch.x.float(), **{f"levels_{i}": x for i, x in enumerate(found, 1)}}
        domain = trained.model.observation.source
        write_npz(out, {name: trained.form.give(x, domain).numpy() for name, x in named.items()})
    say(f"{len(batch)} examples above their reconstructions from {latents.description}, level by level: {out}")
    say(f"code indices of levels that are left out: {latents.fill_description}")
    say_next(command, "report {run}")


def interpolate(command: Interpolate) -> None:
    """Write decoded paths between two latent codes."""
    trained = load_run(command)
    known = tuple(ending for ending in endings(trained.model.shape) if ending in (".png", ".npz"))
    out = out_file(command.out, "interpolation", known)
    data, split = open_data(command, trained)
    if not isinstance(split, Indexed):
        raise InputError("these data have no random access; give an array, a file or a folder")
    named = (("--from", command.start, 0), ("--to", command.to, min(7, len(split) - 1)))
    searched = split_name(command, data)
    positions = torch.tensor([_position(split, *end, searched) for end in named])
    ends, domain = split.batch(positions), trained.model.observation.source
    walks = {
        path: trained.interpolate(*ends.x, steps=command.steps, path=path, labels=ends.label)
        for path in ("linear", "spherical")
    }
    if out.suffix == ".png":
        rows = [pictures.to_pixels(walk, domain) for walk in walks.values()]
        write_atomic(out, pictures.png(pictures.grid(rows, list(walks))))
    else:
        write_npz(out, {path: trained.form.give(walk, domain).numpy() for path, walk in walks.items()})
    start, end = split.titles(positions)
    say(f"{command.steps} steps from example {start} to example {end}, linear and spherical: {out}")
    say_next(command, "report {run}")


def _position(split: Split, flag: str, title: str | None, default: int, searched: str) -> int:
    """Return the position of the example that a flag names, or the default."""
    if title is None:
        return default
    try:
        return split.position(title)
    except InputError as error:
        more = "" if searched == "all" else "; --split all searches the examples of all splits"
        raise InputError(f"{flag} {title}: {error}{more}") from None


def _first_examples(command: Complete | Reconstruct, trained: Trained) -> tuple[Batch, dict[str, Any]]:
    """Return the first examples of a command's data, as many as it asks for, and columns that tell which they are."""
    _, split = open_data(command, trained)
    batch = next(split.epoch(whole("n_examples", command.n_examples, least=1)))[: command.n_examples]
    return batch, split.about(batch.positions())


def _inside(x: Tensor, trained: Trained, out: Path, given: Container[str] = ()) -> Tensor:
    """Move the numbers of rows of a table into the range of the training data, except in the given columns."""
    return in_range(x, trained.model, given) if out.suffix in TABLES else x


def _write_stacked(out: Path, named: Mapping[str, Tensor], trained: Trained) -> None:
    """Write a picture of examples (N, *shape), each above what was made of it."""
    first, domain = next(iter(named.values())), trained.model.observation.source
    across = pictures.columns(first.shape[-1])
    starts = range(0, len(first), across)
    rows = [pictures.to_pixels(x[start : start + across], domain) for start in starts for x in named.values()]
    write_atomic(out, pictures.png(pictures.grid(rows, [*named] * len(starts))))


def _about(split: Split, trained: Trained, out: Path) -> dict[str, Any]:
    """Return the columns that identify the examples of a table."""
    return described(split, trained.model.schema.label) if out.suffix in TABLES else {}


def _write(
    out: Path,
    x: Tensor,
    trained: Trained,
    picture: Callable[[Any], Any] | None = None,
    about: Mapping[str, Any] | None = None,
) -> None:
    """Write examples in the form of the training data; a table begins with the columns `about`."""
    if out.suffix == ".png" and picture is not None:
        domain = trained.model.observation.source
        write_atomic(out, pictures.png(picture(pictures.to_pixels(trained.form.take(x, domain), domain))))
    elif out.suffix == ".npz":
        write_npz(out, {"x": x.numpy()})
    elif out.suffix == ".npy":
        write_atomic(out, npy(x.numpy()))
    else:
        known = trained.model.schema
        names = known.columns or [f"x{i + 1}" for i in range(x.shape[1])]
        write_table(out, x, names, trained.model.observation.words, about, known.notation, known.decimal)
