"""The commands that look at a run."""

from __future__ import annotations

import json as json_module
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from tightbound import data as sources
from tightbound.cli.arguments import Complete, Embed, Evaluate, FitSampler, Interpolate, Reconstruct, Report, Sample
from tightbound.cli.show import draw_next, endings, record, say, show
from tightbound.config import column_kinds, read_yaml
from tightbound.core.errors import InputError, whole
from tightbound.core.files import write_atomic
from tightbound.core.parts import parse
from tightbound.data import Data, Indexed, Split
from tightbound.generation import infer
from tightbound.report import pictures
from tightbound.report.page import write_report
from tightbound.trained import Trained, load
from tightbound.training.fit import check_fits
from tightbound.training.folder import RunFolder


def _load(command: Any) -> Trained:
    return load(command.run, weights=command.weights, device=command.device, trust=command.trust)


def _open(command: Any, trained: Trained) -> tuple[Data, Split]:
    """The data that a command names, or the run's own, and the split of them."""
    folder = RunFolder(command.run)
    config = read_yaml(folder.config_file)
    run = folder.read(folder.run_file)
    known = run["data"]["name"] if run["data"]["name"] in sources.BUILTINS else None
    name = command.data or config.get("data") or known  # a run made from Python records its settings alone
    if name is None:
        raise InputError(f"the run {str(command.run)!r} does not say where its data are; name them after the run")
    names = ("levels", "domain", "kinds", "resize", "grey", "test")
    options: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in config.items() if k in names}
    options |= {"kinds": column_kinds(options.get("kinds"))}
    if not Path(str(name)).is_dir():  # a folder of images was trained on, and this is none
        options = {k: v for k, v in options.items() if k not in ("resize", "grey")}
    source = trained.model.observation.source
    if source.kind == "mixed":  # what is inferred of a table depends on all of it
        options |= {"levels": None, "domain": None, "kinds": source.columns}
    data = sources.open(name, **options)
    if data.domain != source and source.kind != "mixed":  # few data may miss the highest level, or be whole by chance
        told = {"levels": source.levels} if source.kind == "levels" else {"domain": source.kind}
        data = sources.open(name, **{**options, **told})
    check_fits(trained.model, data)
    own = data.fingerprint == run["data"]["fingerprint"]
    if command.data is None and not own:
        raise InputError(
            f"{str(name)!r} is not what the run {str(command.run)!r} was trained on: it has changed or moved; "
            "name the data that you mean after the run"
        )
    split = command.split
    if split == "auto":
        split = "test" if own or data.builtin else "all"
    return data, {"train": data.train, "test": data.test, "all": data.whole}[split]


def _of_the_run(command: Any) -> bool:
    """Whether numbers are of the run's best weights on its own test data: what the run's folder records."""
    return command.data is None and command.split == "auto" and command.weights == "auto"


def _next(command: Any, what: str) -> None:
    say(f"next: tightbound {what.format(run=shlex.quote(str(command.run)))}")


def evaluate(command: Evaluate) -> None:
    """Prints, and records in the run where the data are its own."""
    trained = _load(command)
    if command.per_datum is not None:
        _check_ending(command.per_datum, (".npz",))
    _, split = _open(command, trained)
    numbers = trained.evaluate(split, samples=command.samples, seed=command.seed, progress=True)
    if command.per_datum is not None:
        _write_npz(command.per_datum, dict(numbers.per_datum))
    if command.json:
        print(json_module.dumps(numbers.to_json(), indent=2, ensure_ascii=False, allow_nan=False))
        return
    say(f"weights: {trained.weights}")
    show(numbers.to_json())
    if _of_the_run(command):
        record(RunFolder(command.run), numbers)
    _next(command, "report {run}")


def sample(command: Sample) -> None:
    """Decodes draws from the prior into a file."""
    trained = _load(command)
    known = endings(trained.model.shape)
    out = _out(command.out, "samples", known)
    context = None if command.context is None else torch.tensor(command.context)
    x = trained.sample(command.n, mean=not command.draw, seed=command.seed, context=context, sampler=command.sampler)
    _write_data(out, x, trained, lambda pixels: pictures.grid(pictures.square(pixels)))
    say(f"{command.n} samples, {'drawn from' if command.draw else 'means of'} p(x|z): {out}")
    _next(command, f"reconstruct {{run}} --out reconstructions{known[0]}")


def fit_sampler(command: FitSampler) -> None:
    """Fits a density to codes, and saves it in the run."""
    trained = _load(command)
    _, split = _open(command, trained)
    trained.fit_sampler(split, command.sampler, epochs=command.epochs, seed=command.seed)
    name = parse(command.sampler).name
    say(f"sampler {name}: fitted to the codes of {len(split):,} data, saved in {command.run}")
    _next(command, f"sample {{run}} --sampler {name} --out samples{endings(trained.model.shape)[0]}")


def complete(command: Complete) -> None:
    """Draws the hidden part of data into a file."""
    trained = _load(command)
    known = endings(trained.model.shape)
    out = _out(command.out, "completions", known)
    _, split = _open(command, trained)
    batch = next(split.epoch(whole("n", command.n, least=1)))[: command.n]
    x = trained.complete(batch, command.draws, mean=not command.draw, seed=command.seed)
    if out.suffix == ".png":
        domain = trained.model.observation.source
        rows = [pictures.to_pixels(row, domain) for row in torch.cat([batch.x.unsqueeze(1), x.to(batch.x)], 1)]
        write_atomic(out, pictures.png(pictures.grid(rows)))
    else:
        _write_data(out, x.flatten(0, 1), trained, None)
    say(f"{len(x)} data, each with {command.draws} completions of its hidden part: {out}")
    _next(command, "evaluate {run}")


def reconstruct(command: Reconstruct) -> None:
    """Decodes posterior means of data into a file."""
    trained = _load(command)
    known = endings(trained.model.shape)
    out = _out(command.out, "reconstructions", known)
    _, split = _open(command, trained)
    if out.suffix != ".png":
        x = trained.reconstruct(split)
        _write_data(out, x, trained, None)
        say(f"{len(x)} reconstructions, decoded posterior means: {out}")
    else:
        batch = next(split.epoch(whole("n", command.n, least=1)))[: command.n]
        x, domain, rebuilt = batch.x, trained.model.observation.source, trained.reconstruct(batch)
        rows: list[pictures.Pixels] = []
        across = pictures.columns(x.shape[-1])
        for start in range(0, len(x), across):
            rows += [pictures.to_pixels(t[start : start + across], domain) for t in (x, rebuilt)]
        labels = ["data", "from code"] * (len(rows) // 2)
        write_atomic(out, pictures.png(pictures.grid(rows, labels)))
        say(f"{len(x)} data above their reconstructions: {out}")
    ending = ".png" if ".png" in known else ".npz"
    _next(command, f"interpolate {{run}} --out interpolation{ending}")


def interpolate(command: Interpolate) -> None:
    """Decodes paths between two codes into a file."""
    trained = _load(command)
    out = _out(command.out, "interpolation", tuple(e for e in endings(trained.model.shape) if e in (".png", ".npz")))
    _, split = _open(command, trained)
    if not isinstance(split, Indexed):
        raise InputError("these data have no random access; give an array, a file or a folder")
    to = min(7, len(split) - 1) if command.to is None else command.to
    for flag, position in (("--from", command.start), ("--to", to)):
        if not 0 <= position < len(split):
            raise InputError(f"{flag} {position}; needed: 0 to {len(split) - 1}, the number of a datum in the split")
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
        _write_npz(out, {path: walk.numpy() for path, walk in walks.items()})
    say(f"{command.steps} steps from datum {command.start} to datum {to}, linear and spherical: {out}")
    _next(command, "embed {run} --out codes.npz")


def embed(command: Embed) -> None:
    """Writes codes, with what they can be matched to."""
    trained = _load(command)
    _check_ending(command.out, (".npz", ".npy", ".csv"))
    _, split = _open(command, trained)
    codes = infer.encode(trained.model, split, sample=command.sample, seed=command.seed)
    chosen = codes.mean if codes.sample is None else codes.sample
    if command.out.suffix == ".npz":
        arrays: dict[str, Any] = {"mean": codes.mean.numpy(), "std": codes.variance.sqrt().numpy()}
        arrays |= {} if codes.sample is None else {"sample": codes.sample.numpy()}
        index, labels = [], []
        for batch in split.epoch(4096):
            index.append(batch.index)
            labels.append(batch.label)
        arrays["index"] = torch.cat(index).numpy()
        if all(label is not None for label in labels):
            arrays["label"] = torch.cat(labels).numpy()
        if split.names is not None:
            arrays["name"] = np.array(list(split.names))
        _write_npz(command.out, arrays)
    else:
        write_atomic(command.out, _npy(chosen.numpy()) if command.out.suffix == ".npy" else _csv(chosen))
    what = "draws from q(z|x)" if command.sample else "posterior means"
    say(f"{len(chosen):,} codes of {chosen.shape[1]} dimensions, {what}: {command.out}")
    _next(command, "report {run}")


def report(command: Report) -> None:
    """Writes the page, evaluating first where the run has no numbers yet."""
    trained = _load(command)
    data, split = _open(command, trained)
    folder = RunFolder(command.run)
    if _of_the_run(command) and folder.evaluation_file.is_file():
        numbers = folder.read(folder.evaluation_file)
    else:
        result = trained.evaluate(split, samples=command.samples, seed=command.seed, progress=True)
        numbers = result.to_json()
        if _of_the_run(command):
            record(folder, result)
    write_report(trained, data, numbers, read_yaml(folder.config_file))
    say(f"report: {folder.report_file}")
    _next(command, draw_next(trained.model))


def _write_data(out: Path, x: Tensor, trained: Trained, picture: Any) -> None:
    if out.suffix == ".png" and picture is not None:
        write_atomic(out, pictures.png(picture(pictures.to_pixels(x, trained.model.observation.source))))
    elif out.suffix == ".npz":
        _write_npz(out, {"x": x.numpy()})
    elif out.suffix == ".npy":
        write_atomic(out, _npy(x.numpy()))
    else:
        observation = trained.model.observation
        write_atomic(out, _csv(x, observation.header, observation.words))


def _csv(x: Tensor, header: Sequence[str] = (), words: Sequence[Sequence[str]] = ()) -> str:
    """A table (N, D) as text, with names of columns and the words of categories."""
    import csv
    import io

    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    if header:
        writer.writerow(header)
    legends = words or [()] * x.shape[1]
    for row in x.tolist():
        writer.writerow([w[round(v)] if w else f"{v:.9g}" for v, w in zip(row, legends, strict=True)])
    return buffer.getvalue()


def _out(out: Path | None, name: str, known: tuple[str, ...]) -> Path:
    """The file that is asked for, or one of this name with the first ending; checked before anything is computed."""
    chosen = Path(name + known[0]) if out is None else out
    _check_ending(chosen, known)
    return chosen


def _check_ending(out: Path, known: tuple[str, ...]) -> None:
    """Before anything is computed."""
    if out.suffix not in known:
        raise InputError(f"cannot write {str(out)!r}: its ending must be {' or '.join(known)}")
    if not out.parent.is_dir():
        raise InputError(f"cannot write {str(out)!r}: there is no folder {str(out.parent)!r}")


def _npy(array: np.ndarray) -> bytes:
    import io

    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=False)
    return buffer.getvalue()


def _write_npz(out: Path, arrays: dict[str, Any]) -> None:
    import io

    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)
    write_atomic(out, buffer.getvalue())
