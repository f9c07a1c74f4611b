"""Fit a latent sampler to the latent codes of a trained model, save it in the run, and load it."""

from __future__ import annotations

from pathlib import Path

import torch

from tightbound.components import Spec, describe, find, make, parse, rebuild
from tightbound.config import Settings
from tightbound.core.errors import CompositionError, InputError, suggestion, whole
from tightbound.core.model import VAE
from tightbound.core.noise import key_seed, seeded
from tightbound.core.terms import class_numbers
from tightbound.data.feed import Source, as_split
from tightbound.data.splits.drawn import Drawn
from tightbound.data.splits.indexed import Indexed
from tightbound.inference.infer import encode
from tightbound.inference.samplers import Sampler
from tightbound.training import checkpoint
from tightbound.training.folder import RunFolder
from tightbound.training.loop import Loop
from tightbound.training.signals import Interrupted, stop_on_signals
from tightbound.training.trainer import Stage
from tightbound.training.weights import load_stage

ACTIVE = 0.01  # variance of posterior means over examples above which a latent dimension counts as active
DRAWS = 8  # latent codes drawn per example to train a sampler by gradients


def fit_sampler(
    model: VAE,
    folder: RunFolder,
    source: Source,
    sampler: str | Spec,
    *,
    epochs: int | None = None,
    minutes: float | None = None,
    seed: int = 0,
    default: bool = False,
    quiet: bool = True,
    trust: bool = False,
) -> Sampler:
    """Fit a latent sampler to draws from q(z | x) for the examples, and save it in the run under its name.

    Latent codes of a conditional model are pooled over its contexts, which is right if z does not depend on them.

    Args:
        model: The trained model.
        folder: The run.
        source: Examples, usually the training split.
        sampler: "gaussian-mixture(components=10)", "kernel", "flow", "vae", ...
        epochs: Epochs for a sampler that is trained by gradients; None: its default.
        minutes: Maximum training time in minutes; None: 20 if the number of epochs is not fixed, otherwise no limit.
        seed: Random seed.
        default: Use it wherever samples are drawn, unless another source is asked for. A sampler that was the default
            before stays it.
        quiet: Show no progress.
        trust: Import your own sampler.

    Raises:
        CompositionError: If the latent codes do not lie in R^L.
        InputError: If epochs= is given for a sampler that is not trained by gradients, or labels are missing.
        Interrupted: On Ctrl-C; nothing is saved.
    """
    spec = parse(sampler) if isinstance(sampler, str) else sampler
    asked = {"epochs": whole("epochs", epochs, least=1)} if epochs is not None else {}
    check_sampled(model)
    source = as_split(model, source, partial=find("sampler", spec.name, trust=trust).infers_classes)
    coded = encode(model, source, draw=True, seed=seed)
    codes, labels = coded.sample, class_numbers(coded.label)
    assert codes is not None
    known = [] if labels is None else labels.unique().tolist()
    about = {"labels": known, "active": torch.nonzero(coded.mean.var(0) > ACTIVE)[:, 0].tolist()}
    if not (spec.args or spec.kwargs):
        spec = spec.replace(**find("sampler", spec.name, trust=trust).suited(codes, seed))
    with seeded(seed):
        fitted: Sampler = make("sampler", spec, trust=trust, latent=codes.shape[1], **about)
        fitted.start_at(codes, seed, labels)
    if fitted.trains is not None:
        more = (encode(model, source, draw=True, seed=key_seed("codes", seed, i)).sample for i in range(1, DRAWS))
        drawn = torch.stack([codes, *(each for each in more if each is not None)], 1)
        settings = Settings(minutes=minutes, seed=seed, checkpoint_seconds=1e9)
        settings = settings.replace(**{**fitted.options(len(codes)), **asked})
        _train(fitted, Drawn(fitted.inputs(drawn), labels), settings, folder, _stage(spec.name), quiet)
    elif epochs is not None:
        raise InputError(f"sampler {spec.name!r} is not trained by gradients; leave out epochs=")
    default = default or default_sampler(folder) == _stage(spec.name).removeprefix("sampler-")
    save_sampler(folder, spec.name, fitted, len(codes), default=default)
    return fitted.eval()


def check_sampled(model: VAE) -> None:
    """Raise CompositionError if latent samplers are undefined for a model."""
    if model.context is not None and model.context.completes:
        raise CompositionError(
            "the latent codes of a model that completes examples depend on the visible part; use complete()"
        )
    if model.latents.support != "real":
        raise CompositionError(
            f"the latent codes of this model lie on {model.latents.support!r}, and samplers are densities on R^L; "
            "sample from the prior"
        )


def _train(sampler: Sampler, codes: Drawn, settings: Settings, folder: RunFolder, stage: str, quiet: bool) -> None:
    """Train a sampler by gradients; with auto epochs, held-out latent codes decide when to stop."""
    trains, objective = sampler.trains, sampler.objective
    assert trains is not None
    train, held_out = (
        codes.held_out(len(codes) // 10, settings.seed, keep_labeled=sampler.infers_classes)
        if len(codes) >= 10
        else (codes, None)
    )
    repeated = objective.rows(train.labels)
    if repeated is not None and isinstance(train, Indexed):
        train = train.subset(repeated)
    loop = Loop(Stage(trains, train, objective, held_out, stage), settings, folder, torch.device("cpu"), quiet)
    rows = [row for row in folder.metrics() if row["stage"] != stage]
    try:
        with stop_on_signals() as flag:
            loop.run(rows, flag)
        load_stage(trains, folder, stage)
    except Interrupted as stop:
        raise Interrupted(f"stopped by {stop.by.name}; the sampler was not fitted; fit it again", stop.by) from None
    finally:
        for kind in ("best", "last"):
            folder.checkpoint(kind, stage).unlink(missing_ok=True)
    folder.write_metrics(rows)


def save_sampler(folder: RunFolder, name: str, fitted: Sampler, codes: int, *, default: bool) -> None:
    """Save a latent sampler that was fitted to so many latent codes in a run, under its name."""
    scalars = {"sampler": describe(fitted), "codes": codes, "default": default}
    checkpoint.save(_file(folder, name), fitted.state_dict(), scalars)


def default_sampler(folder: RunFolder | None) -> str | None:
    """Return the name of the latent sampler that draws the samples of a run; None: its prior does."""
    if folder is None:
        return None
    chosen = (name for name in _fitted(folder) if checkpoint.load(_file(folder, name))[1]["default"])
    return next(chosen, None)


def chosen_sampler(folder: RunFolder | None, name: str | None = None) -> Sampler | None:
    """Return the latent sampler that samples come from; None: they come from the prior.

    Args:
        folder: The run; None: there is none.
        name: A fitted sampler, or "prior"; None: the default of the run.

    Raises:
        InputError: If there is no such sampler.
    """
    name = name or default_sampler(folder)
    if name is None or name == "prior":
        return None
    if folder is None:
        raise InputError("latent samplers are saved in the model's run, and it has none; fit with run=FOLDER")
    return load_sampler(folder, name)


def load_sampler(folder: RunFolder, name: str, *, trust: bool = False) -> Sampler:
    """Return a latent sampler that was fitted for a run.

    Raises:
        InputError: If there is no sampler of this name (the message lists the existing ones).
    """
    path = _file(folder, name)
    if not path.is_file():
        there = _fitted(folder)
        known = f"; {suggestion(name, there)}" if there else ""
        raise InputError(f"no sampler {name!r} was fitted for {folder}{known}; fit one with fit_sampler()")
    try:
        tensors, scalars = checkpoint.load(path)
        sampler: Sampler = rebuild(scalars["sampler"], trust=trust)
        checkpoint.into(sampler, tensors, path)
    except InputError as error:
        raise InputError(f"the sampler in {str(path)!r} is damaged; fit it again with fit_sampler()") from error
    return sampler.eval()


def _fitted(folder: RunFolder) -> list[str]:
    """Return the names of the latent samplers of a run."""
    files = (folder.path / "checkpoints").glob("sampler-*/fitted.safetensors")
    return sorted(file.parent.name.removeprefix("sampler-") for file in files)


def _stage(name: str) -> str:
    return f"sampler-{name.replace('_', '-').replace(':', '.')}"


def _file(folder: RunFolder, name: str) -> Path:
    return folder.checkpoint("fitted", _stage(name))
