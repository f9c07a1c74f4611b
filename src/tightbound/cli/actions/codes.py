"""`tightbound embed`: write latent codes and code indices."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from tightbound.cli.arguments import Embed
from tightbound.cli.files import TABLES, Parts, check_ending, described, npy, write_annotated, write_npz, write_table
from tightbound.cli.runs import load_run, open_data, say_next
from tightbound.cli.show import say
from tightbound.core.errors import InputError
from tightbound.core.files import write_atomic
from tightbound.core.terms import CodeGrid
from tightbound.core.world import dismissed
from tightbound.data import Split
from tightbound.data.source import is_annotated
from tightbound.inference import infer
from tightbound.inference.indices import UniqueIndices
from tightbound.latents.codes import CodeLatents
from tightbound.trained import Trained

AT_ONCE = 500  # examples whose vectors are held at once


def embed(command: Embed) -> None:
    """Write the latent codes or code indices of examples."""
    trained = load_run(command)
    check_ending(command.out, (".npz", ".npy", *TABLES, ".h5ad"))
    if is_annotated(command.out):
        _source(command, trained)
        command = replace(command, split="all") if command.split == "auto" else command
    _, split = open_data(command, trained)
    latents = trained.model.latents
    if isinstance(latents, CodeLatents):
        description = _integers(command, trained, split, latents.code_grids)
    elif command.unique:
        raise InputError(
            "--unique distinguishes examples with the same code indices, and this model has none; leave out --unique"
        )
    else:
        description = _vectors(command, trained, split)
    say(f"{description}: {command.out}")
    say_next(command, "report {run}")


def _vectors(command: Embed, trained: Trained, split: Split) -> str:
    codes = infer.encode(trained.model, split, draw=command.draw, seed=command.seed)
    dismissed()
    chosen = codes.mean if codes.sample is None else codes.sample
    arrays: dict[str, Any] = {"mean": codes.mean.numpy(), "std": codes.variance.sqrt().numpy()}
    arrays |= {} if codes.sample is None else {"draw": codes.sample.numpy()}
    _write(command, trained, split, arrays, chosen, [f"z{i + 1}" for i in range(chosen.shape[1])])
    what = "draws from q(z|x)" if command.draw else "posterior means"
    return f"{len(chosen):,} latent codes of {chosen.shape[1]} dimensions, {what}"


def _integers(command: Embed, trained: Trained, split: Split, grids: Sequence[CodeGrid]) -> str:
    """Write code indices and their vectors, which may not fit into memory and are computed again for each array."""
    levels = infer.code_indices(trained.model, split, draw=command.draw, seed=command.seed).levels
    dismissed()
    arrays: dict[str, Any] = {}
    for i, (own, grid) in enumerate(zip(levels, grids, strict=True), 1):
        arrays[f"indices_{i}"] = own.numpy().astype(np.int16 if grid.codebook_size <= 2**15 else np.int32)
        arrays |= {f"grid_{i}": np.array([grid.height, grid.width]), f"codebook_size_{i}": np.array(grid.codebook_size)}

    def moments() -> Iterator[tuple[Tensor, Tensor]]:
        for batch in split.epoch(AT_ONCE):
            codes = infer.encode(trained.model, batch)
            yield codes.mean, codes.variance.sqrt()

    shape = (len(levels[0]), trained.model.latents.latent)
    arrays["mean"] = Parts(shape, (mean for mean, _ in moments()))
    deterministic = not next(moments())[1].any()  # drawn codes always have a variance
    if not deterministic:
        arrays["std"] = Parts(shape, (std for _, std in moments()))
    flat = [own.flatten(1) for own in levels]
    level = ["level{i}_" if len(flat) > 1 else ""] * len(flat)
    header = [f"{level[i].format(i=i + 1)}index{j + 1}" for i, own in enumerate(flat) for j in range(own.shape[1])]
    (ids, repeated), about = UniqueIndices.of(levels), ""
    equal = f"code indices equal to those of an earlier example: {repeated:,} of {len(ids):,} examples"
    if command.unique:
        arrays["copy"], about = ids[:, -1].long().numpy(), f"; {equal}, distinguished by copy"
    elif repeated:
        say(f"note: {equal}; --unique distinguishes them", sys.stderr)
    indices, header = (ids, [*header, "copy"]) if command.unique else (ids[:, :-1], header)
    _write(command, trained, split, arrays, indices, header)
    left_out = ", without std, which is 0" if deterministic and command.out.suffix == ".npz" else ""
    return f"{shape[0]:,} examples as {trained.model.latents.description}{left_out}{about}"


def _source(command: Embed, trained: Trained) -> Path:
    """Return the .h5ad file that holds the examples."""
    source = command.data or trained.config.get("data")
    if source is None or not is_annotated(str(source)):
        given = "data in memory" if source is None else repr(str(source))
        raise InputError(
            f"cannot write {str(command.out)!r}: it holds the cells of an .h5ad file, and the examples come from "
            f"{given}; write .npz or .csv"
        )
    return Path(str(source)).expanduser()


def _write(
    command: Embed, trained: Trained, split: Split, arrays: dict[str, Any], chosen: Tensor, header: Sequence[str]
) -> None:
    """Write all arrays (.npz), or only a table of the latent codes or code indices `chosen` (N, D)."""
    if command.out.suffix != ".npz":
        if command.out.suffix in TABLES:
            write_table(command.out, chosen, header, about=described(split, trained.model.schema.label))
        elif is_annotated(command.out):
            rows = torch.cat([batch.origins() for batch in split.epoch(4096)])
            write_annotated(command.out, _source(command, trained), rows, X_vae=chosen.numpy())
        else:
            write_atomic(command.out, npy(chosen.numpy()))
        return
    index, labels = [], []
    for batch in split.epoch(4096):
        index.append(batch.index)
        labels.append(batch.label)
    arrays["index"] = torch.cat(index).numpy()
    if all(label is not None for label in labels):
        arrays["label"] = torch.cat(labels).numpy()
        arrays |= {"classes": np.array(split.classes)} if split.classes else {}
    write_npz(command.out, {**split.about(torch.cat(index)), **arrays})
