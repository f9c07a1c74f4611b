"""The second stage of a run: a prior over codes, trained on codes that the model gives once."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from tightbound.config import Settings
from tightbound.core.errors import CompositionError, InputError
from tightbound.core.interfaces import SecondStage
from tightbound.core.model import VAE
from tightbound.core.noise import ExampleNoise, Noise, key_seed
from tightbound.core.schedules import Knobs
from tightbound.core.terms import Batch
from tightbound.data.feed import batches, evaluating
from tightbound.data.split import Indexed, Split
from tightbound.objectives.elbo import ELBO
from tightbound.training import checkpoint
from tightbound.training.folder import RunFolder
from tightbound.training.loop import Stage
from tightbound.training.monitor import StopFlag, counting, stopped

NAME = "prior"
_AT_ONCE = 64  # data that are encoded together


def check_second(model: VAE, settings: Settings, train: Split, first: Batch) -> None:
    """Refuses, before anything is trained, what the second stage could not be trained on or with.

    Raises:
        InputError: settings of a second stage that the model lacks, or a stream of data.
        CompositionError: a prior that gives no number an example.
    """
    second = model.latents.second
    if second is None:
        if asked := settings.changed_for_code_prior():
            said = ", ".join(f"{name} = {value!r}" for name, value in asked.items())
            raise InputError(
                f"{said}: this model has no prior that is trained in a second stage; give it one, such as prior "
                "'pixelcnn' with latents 'quantized', or leave out (None) what concerns it"
            )
        return
    _size(train)
    with evaluating(model):
        batch = _coded(model, second, first.to(model.device), settings.seed)
        second.take_up()
        try:
            value = second(batch, 1, Noise("check")).log_likelihood
        finally:
            second.set_aside()
    if value.shape != (1, len(first)) or not torch.isfinite(value).all():
        found = f"shape {tuple(value.shape)}" if value.shape != (1, len(first)) else "values that are not finite"
        raise CompositionError(
            f"the log-probability of the codes of {len(first)} data, under their prior, has {found}; needed: a finite "
            "number for each"
        )


class CodeSplit(Indexed):
    """Codes (N, ...) of data, with what each example is conditioned on (N, *context); made when `fill` is called.

    Arguments:
        model, second: Give the codes, as they are at that time, one draw each.
        split: Of the data.
        settings: How many, and the seed.
        name: Of these data, for who waits.

    Raises:
        InputError: a stream without end.
    """

    def __init__(self, model: VAE, second: SecondStage, split: Split, settings: Settings, name: str) -> None:
        self._model, self._second, self._split, self._name = model, second, split, name
        self._n, self._seed = min(_size(split), settings.prior_max_examples), settings.seed
        self._codes: Tensor | None = None
        self._context: Tensor | None = None

    def __len__(self) -> int:
        """N."""
        return self._n

    def batch(self, indices: Tensor) -> Batch:
        """See `Indexed.batch`."""
        assert self._codes is not None, "no codes were made; call fill"
        context = None if self._context is None else self._context[indices]
        return Batch(self._codes[indices], context=context, index=indices)

    def fill(self, folder: RunFolder, flag: StopFlag, quiet: bool) -> None:
        """Makes the codes, in the smallest integers that hold them.

        Raises:
            Interrupted: after a signal.
        """
        contexts: list[Tensor] = []
        done = 0
        with counting(self._n, f"{NAME}: codes of {self._n:,} {self._name} data", quiet) as count:
            for part in self._parts():
                if self._codes is None:
                    self._codes = torch.empty(self._n, part.x.shape[1], dtype=_smallest(self._second.entries))
                    self.shape = tuple(self._codes.shape[1:])
                self._codes[done : done + len(part)] = part.x
                contexts += [] if part.context is None else [part.context.cpu()]
                done += len(part)
                count(len(part))
                if (by := flag.agreed()[0]) is not None:
                    raise stopped(by, f"while data were coded for stage {NAME!r}", folder)
        if self._codes is None:
            raise InputError("there are no data to be coded; give at least one example")
        self._n, self._codes = done, self._codes[:done]
        self._context = torch.cat(contexts) if contexts else None

    def _parts(self) -> Iterator[Batch]:
        """Codes, batch by batch, of data picked at random where there are more than are wanted."""
        split, total = self._split, _size(self._split)
        rows = torch.arange(total)
        if self._n < total:
            order = np.random.default_rng(key_seed("codes", self._seed)).permutation(total)
            rows = torch.from_numpy(np.sort(order[: self._n]))
            if isinstance(split, Indexed):
                split, total, rows = split.subset(rows), self._n, torch.arange(self._n)
        chosen = torch.zeros(total + 1, dtype=torch.bool).index_fill_(0, rows, True)  # a loader may give more than N
        with evaluating(self._model):
            for batch in batches(self._model, split, _AT_ONCE):
                these = chosen[batch.positions().cpu().clamp_max(total)].to(batch.x.device)
                if these.any():
                    yield _coded(self._model, self._second, batch if these.all() else batch[these], self._seed)


def save_start(second: SecondStage, folder: RunFolder) -> None:
    """Keeps the untrained weights, which are of no other stage, for whoever resumes before there are trained ones."""
    checkpoint.save(folder.checkpoint("start", NAME), second.state_dict(), {})


def load_start(second: SecondStage, folder: RunFolder) -> None:
    """Takes what `save_start` kept."""
    path = folder.checkpoint("start", NAME)
    checkpoint.into(second, checkpoint.load(path)[0], path)


def second_stage(
    model: VAE, second: SecondStage, train: Split, validation: Split | None, settings: Settings
) -> tuple[Stage, list[CodeSplit]]:
    """The stage that trains what the latents leave for later, and the splits that have to be filled before it does."""
    codes = [CodeSplit(model, second, train, settings, "training")]
    codes += [] if validation is None else [CodeSplit(model, second, validation, settings, "validation")]
    second.take_up()
    stage = Stage(second, codes[0], ELBO(), *codes[1:], name=NAME, settings=settings.for_code_prior())
    return stage, codes


def _size(split: Split) -> int:
    if split.size is None:
        raise InputError(
            "a prior over codes is trained on data of known number, and these are a stream; give a file or a data set, "
            "or prior 'uniform', which is not trained"
        )
    return split.size


def _coded(model: VAE, second: SecondStage, batch: Batch, seed: int) -> Batch:
    """Codes of a raw batch, and its context, on the model's device; each example's depend on it alone."""
    seen = model.observe(batch, Noise("codes", seed))
    noise = ExampleNoise("codes", seed, index=batch.positions())
    groups, _ = model.infer(seen, model.encode_state(seen), 1, noise, Knobs.final(model.schedules))
    return Batch(second.codes(groups), context=seen.context, index=batch.positions())


def _smallest(entries: int) -> torch.dtype:
    kinds = (torch.uint8, torch.int16, torch.int32)
    return next((kind for kind in kinds if entries - 1 <= torch.iinfo(kind).max), torch.int64)
