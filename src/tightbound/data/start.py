"""Start a model from training examples: normalization, marginals, pseudo-inputs and codebooks."""

from __future__ import annotations

import math
import warnings
import weakref
import zlib
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from tightbound.core.domain import Domain
from tightbound.core.errors import InputError
from tightbound.core.model import VAE
from tightbound.core.noise import Noise, seeded
from tightbound.core.terms import Batch
from tightbound.data.splits.base import Split
from tightbound.data.splits.indexed import Subset
from tightbound.data.splits.loader import LoaderSplit
from tightbound.latents.linear import start_linear


class Start:
    """Initialization of an untrained model from training examples, which can be repeated with other examples.

    `VAE.for_data` runs it with all examples that it is given. `fit` repeats it with those that are left after it has
    set validation examples aside, so that the model has not seen what its best epoch is chosen by. Each repetition
    begins at the same initial values and random numbers.

    Args:
        normalization: Fit the mean and the scale of the observation.
        weights: Fit pseudo-inputs and codebooks.
        likelihood: With `weights`, also fit the likelihood to the marginals.
    """

    def __init__(self, *, normalization: bool, weights: bool, likelihood: bool) -> None:
        self._normalization, self._weights, self._likelihood = normalization, weights, likelihood
        self._generator = torch.get_rng_state()
        self._before: dict[str, Tensor] = {}  # what the last run changed, as it was before
        self._after: int | None = None  # checksum of the model after the last run
        self._seen: Any = None

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_seen": None}  # a weak reference cannot be copied

    def __call__(self, model: VAE, examples: Split) -> None:
        """Start the model from these examples; a model whose weights have changed since the last time stays as it is.

        Raises:
            InputError: If there are no examples, or they do not vary where they must.
            CompositionError: If the likelihood cannot start at marginals.
        """
        first = self._after is None
        if not first and (_same(self._seen, _identity(examples)) or self._after != _checksum(model)):
            return
        state, training = model.state_dict(), model.training
        with torch.no_grad(), seeded(0):
            for name, value in self._before.items():
                state[name].copy_(value)
            before = {name: value.clone() for name, value in _tensors(model).items()}
            torch.set_rng_state(self._generator)
            model.train()
            self._run(model, examples, warn=first)
            model.train(training)
        self._before = {n: before[n] for n, now in _tensors(model).items() if not torch.equal(now, before[n])}
        self._after, self._seen = _checksum(model), _identity(examples)

    def _run(self, model: VAE, examples: Split, warn: bool) -> None:
        if self._normalization:
            model.observation.normalize(*moments(examples, model.shape, model.observation.source.columns, warn=warn))
        if self._weights or model.likelihood.given or model.context is not None:
            # at most 10,000 examples or 256 MB
            most = max(100, min(10_000, 2**26 // math.prod(model.shape)))
            batch = gathered(examples, most).to(model.device)
            _check_enough(batch.x)
            if model.context is not None:
                model.context.start_at(batch)
            seen = model.observe(batch, Noise("start"))
            if seen.offset is not None:
                model.likelihood.learn_offsets(seen.offset)
            if not self._weights:
                return
            if self._likelihood:
                model.observation.start_at(seen)
                seen = model.observe(batch, Noise("start"))
            model.start_at(seen, likelihood=self._likelihood)
            if self._likelihood:
                start_linear(model, seen)


def _check_enough(x: Tensor) -> None:
    """Raise InputError if there is but one example, or all values are the same."""
    if len(x) < 2:
        raise InputError("the training split has 1 example; at least 2 are needed")
    if bool((x == x.flatten()[0]).all()):
        raise InputError(
            f"every value of the training data is {x.flatten()[0]:g}, so there is nothing to learn; check the data and "
            "how they are read (images that differ in transparency alone: pass another background=)"
        )


def gathered(examples: Split, max_examples: int) -> Batch:
    """Return at most so many examples in random order, in one batch; a loader is read until there are enough.

    Raises:
        InputError: If there are none.
    """
    parts: list[Batch] = []
    missing = max_examples
    for batch in examples.epoch(max_examples, key=("start",)):
        parts.append(batch[:missing])
        missing -= len(parts[-1])
        if missing == 0:
            break
    if not parts:
        raise InputError("the training split is empty; give at least two examples")
    return parts[0] if len(parts) == 1 else Batch.joined(parts)


def moments(
    split: Split, shape: Sequence[int], columns: Sequence[Domain] = (), *, warn: bool = True
) -> tuple[list[float], list[float]]:
    """Compute the mean and standard deviation of data in one pass, batch by batch.

    Args:
        split: The data.
        shape: Shape of an example.
        columns: Domains of the columns of a table.
        warn: Warn about constant columns.

    Returns:
        Means and standard deviations: of the observed values in each column of a table, or of all elements of other
        data together. The standard deviation of a constant column is 1; a warning names it if it is real.

    Raises:
        InputError: If the split is empty.
    """
    table = len(shape) == 1
    size = math.prod(shape) if table else 1
    n, mean, square = (torch.zeros(size, dtype=torch.float64) for _ in range(3))
    for batch in split.epoch(4096):
        x = batch.x.double().flatten(1) if table else batch.x.double().reshape(-1, 1)
        # update mean and squared deviations by a batch (Chan et al. 1979)
        seen = ~torch.isnan(x)
        more, x = seen.sum(0), x.masked_fill(~seen, 0.0)
        own = x.sum(0) / more.clamp_min(1)
        delta, total = own - mean, (n + more).clamp_min(1)
        square = square + ((x - own) * seen).square().sum(0) + delta.square() * n * more / total
        mean, n = mean + delta * more / total, n + more
    if n.sum() == 0:
        raise InputError("the training split is empty; give at least two examples")
    std = (square / n.clamp_min(1)).sqrt()
    varies = std > 1e-7 * mean.abs().clamp_min(1e-30)
    constant = [i for i in (~varies).nonzero().flatten().tolist() if not columns or columns[i].kind == "real"]
    if warn and table and constant:
        where = ", ".join(str(i + 1) for i in constant[:5])
        warnings.warn(
            f"column {where} of the training data is constant, so its density has no maximum as its scale shrinks; "
            "leave it out",
            stacklevel=5,
        )
    return mean.tolist(), torch.where(varies, std, 1.0).tolist()


def _identity(split: Split) -> tuple[weakref.ref[Any], Tensor | None]:
    """Return what tells a split from others: the data, which are not kept alive, and the rows."""
    if isinstance(split, Subset):
        return weakref.ref(split.base), split.rows
    return weakref.ref(split.loader if isinstance(split, LoaderSplit) else split), None


def _same(a: Any, b: Any) -> bool:
    if a is None or a[0]() is None or a[0]() is not b[0]():
        return False
    return a[1] is b[1] or (a[1] is not None and b[1] is not None and torch.equal(a[1], b[1]))


def _tensors(model: nn.Module) -> dict[str, Tensor]:
    return {name: value.detach() for name, value in model.state_dict().items() if isinstance(value, Tensor)}


def _checksum(model: nn.Module) -> int:
    """Return a checksum of all parameters and buffers in float32, the same on every device."""
    crc = 0
    for value in _tensors(model).values():
        plain = value.to("cpu", torch.float32 if value.is_floating_point() else value.dtype).contiguous()
        crc = zlib.crc32(plain.flatten().view(torch.uint8).numpy().data, crc) if plain.numel() else crc
    return crc
