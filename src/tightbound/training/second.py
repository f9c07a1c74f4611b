"""The second stage of a run: a prior over codes, trained on codes that the model gives once."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from tightbound.config import Settings
from tightbound.core.errors import InputError
from tightbound.core.interfaces import SecondStage
from tightbound.core.model import VAE
from tightbound.core.noise import DatumNoise, Noise, key_seed
from tightbound.core.schedules import Knobs
from tightbound.core.terms import Batch
from tightbound.data.feed import batches, evaluating
from tightbound.data.split import ArraySplit, Indexed, Split
from tightbound.objectives.elbo import ELBO
from tightbound.training.loop import Stage

NAME = "prior"
AT_ONCE = 64  # data that are encoded together


def second_stage(model: VAE, second: SecondStage, train: Split, validation: Split | None, settings: Settings) -> Stage:
    """The stage that trains what the latents leave for later, on codes of the data, one draw each.

    Raises:
        InputError: a stream without end.
    """
    own = settings.of_second()
    second.set_aside()
    held_out = None if validation is None else _coded(model, second, validation, settings)
    split = _coded(model, second, train, settings)
    second.take_up()
    return Stage(second, split, ELBO(), held_out, name=NAME, settings=own)


class CodeSplit(ArraySplit):
    """Codes (N, ...) of data, with what each datum is conditioned on (N, *context)."""

    def __init__(self, codes: np.ndarray, context: Tensor | None) -> None:
        super().__init__(codes)
        self._context = context

    def batch(self, indices: Tensor) -> Batch:
        """See `Indexed.batch`."""
        codes = torch.from_numpy(self._x[indices.numpy()])
        return Batch(codes, context=None if self._context is None else self._context[indices], index=indices)


def _coded(model: VAE, second: SecondStage, split: Split, settings: Settings) -> CodeSplit:
    """The codes of a split, in the smallest integers that hold them; of some data where they are many."""
    try:
        total = len(split)
    except TypeError:
        raise InputError("a prior over codes needs data of known number, and these are a stream; give a file") from None
    if isinstance(split, Indexed) and total > settings.prior_data:
        order = np.random.default_rng(key_seed("codes", settings.seed)).permutation(total)
        split = split.subset(np.sort(order[: settings.prior_data]))
    codes: list[np.ndarray] = []
    contexts: list[Tensor] = []
    with evaluating(model):
        for batch in batches(model, split, AT_ONCE):
            seen = model.observe(batch, Noise("codes", settings.seed))
            noise = DatumNoise("codes", settings.seed, index=batch.positions())
            groups, _ = model.infer(seen, model.encode_state(seen), 1, noise, Knobs.final(model.schedules))
            found = second.codes(groups)
            codes.append(found.cpu().numpy().astype(np.int32))
            contexts += [] if seen.context is None else [seen.context.cpu()]
    return CodeSplit(np.concatenate(codes), torch.cat(contexts) if contexts else None)
