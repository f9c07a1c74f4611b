"""What a trained model gives: codes, reconstructions, samples, interpolations."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from torch import Tensor

from tightbound.core.errors import InputError
from tightbound.core.interfaces import Draw
from tightbound.data import Data
from tightbound.data.feed import Source
from tightbound.inference import infer
from tightbound.inference.attributes import Direction, attribute_vector
from tightbound.inference.fitting import fit_sampler, load_sampler
from tightbound.inference.rejection import Kept, best_samples
from tightbound.latents.codes import coded
from tightbound.training.fit import Fitted


class Generating:
    """See `tightbound.Trained`, whose half this is."""

    def __init__(self, fitted: Fitted) -> None:
        self.model, self.path, self.weights = fitted.model, fitted.folder.path, fitted.weights
        self._fitted = fitted

    def encode(self, data: Source, *, sample: bool = False, seed: int = 0) -> Tensor:
        """(N, latent): posterior means, or with `sample` one draw of q(z | x) for each example."""
        codes = infer.encode(self.model, data, sample=sample, seed=seed)
        return codes.mean if codes.sample is None else codes.sample

    def decode(
        self,
        codes: Tensor | np.ndarray[Any, Any],
        *,
        context: Tensor | None = None,
        sample: bool = False,
        seed: int = 0,
    ) -> Tensor:
        """(N, *shape): E[x | z], or with `sample` a draw of p(x | z); `context` as in `sample`."""
        contexts = infer.contexts(self.model, len(codes), context)
        return infer.decode(self.model, codes, context=contexts, sample=sample, seed=seed)

    def reconstruct(self, data: Source, *, levels: int | None = None, seed: int = 0) -> Tensor:
        """(N, *shape): E[x | z] at the posterior means; of integer codes in several levels, with `levels` from that
        many of the highest alone (those below are drawn given these; under a uniform prior, those nearest to zero)."""
        return infer.reconstruct(self.model, data, levels=levels, seed=seed)

    def codes(self, data: Source, *, sample: bool = False, seed: int = 0) -> list[Tensor]:
        """The integers (N, H, W), or (N, H, W, depth) where there are several at a position, of each level, the lowest
        first; with `sample` draws of q(codes | x), where that is a distribution.

        Raises:
            CompositionError: latents without integer codes.
        """
        levels = infer.integers(self.model, data, sample=sample, seed=seed).levels
        tables = coded(self.model.latents).code_grids
        return [own.view(-1, *table.plane) for own, table in zip(levels, tables, strict=True)]

    def decode_codes(
        self,
        codes: Sequence[Tensor | np.ndarray[Any, Any]],
        *,
        context: Tensor | None = None,
        sample: bool = False,
        seed: int = 0,
    ) -> Tensor:
        """(N, *shape): E[x | codes] of integers as `codes` gives them, or with `sample` a draw of p(x | codes);
        `context` as in `sample`.

        Raises:
            InputError: codes of other shapes, or out of range.
            CompositionError: latents without integer codes.
        """
        contexts = infer.contexts(self.model, len(codes[0]) if len(codes) else 0, context)
        return infer.decode_integers(self.model, codes, context=contexts, sample=sample, seed=seed)

    def fit_sampler(self, data: Source, sampler: str, *, epochs: int | None = None, seed: int = 0) -> None:
        """Fits a density to the codes of data, and saves it in the run: "gaussian-mixture(components=10)", "kernel",
        "flow", "vae" (a second one), for `sample(sampler="flow")`; "class-regions(components=3)" of labeled data, for
        `sample(sampler="class-regions", label=3)`."""
        fit_sampler(self.model, self._fitted.folder, data, sampler, epochs=epochs, seed=seed)

    def sample(
        self,
        n: int = 64,
        *,
        mean: bool = True,
        seed: int = 0,
        context: Tensor | None = None,
        sampler: str | None = None,
        label: int | None = None,
        temperature: float = 1.0,
        top_k: int | None = None,
        keep: float | None = None,
        data: Data | None = None,
    ) -> Tensor:
        """(n, *shape): for z from the prior E[x | z], or with mean=False a draw of p(x | z).

        Arguments:
            context: Of a conditional model: class labels or attributes (m, ...), taken in turn; None: each class.
            sampler: Draw z from what `fit_sampler` fitted, in place of the prior.
            label: Draw codes of this class alone, from a sampler that knows classes.
            temperature, top_k: Of a learned prior over codes: its logits are divided by the one; the k likeliest codes
                alone are drawn. Other values than 1 and None do not give draws from the model.
            keep: Draw n / keep, and keep those of each class that a classifier is surest of: see `best_samples`.
            data: What the model was trained on, with labels, for `keep`.

        Raises:
            InputError: no such sampler or class, a context that is not the model's, or no data for `keep`.
            CompositionError: a temperature or top_k, and no learned prior over codes.
        """
        codes = self._source(sampler, label, temperature, top_k)
        if keep is None:
            return infer.sample(self.model, n, mean=mean, seed=seed, context=context, codes=codes)
        if data is None:
            raise InputError("keep judges samples by a classifier of the data's labels; give data=, with labels")
        kept = best_samples(
            self.model, data, n, keep=keep, mean=mean, seed=seed, context=context, codes=codes, label=label
        )
        return kept.x

    def best_samples(
        self,
        data: Data,
        n: int = 64,
        *,
        keep: float = 0.25,
        sampler: str | None = None,
        label: int | None = None,
        temperature: float = 1.0,
        top_k: int | None = None,
        **how: Any,
    ) -> Kept:
        """What `sample` with `keep` gives, with its classes and probabilities; `how` and errors as in
        `tightbound.inference.rejection.best_samples`."""
        codes = self._source(sampler, label, temperature, top_k)
        return best_samples(self.model, data, n, keep=keep, codes=codes, label=label, **how)

    def _source(self, sampler: str | None, label: int | None, temperature: float, top_k: int | None) -> Draw | None:
        """Where codes come from; None: the prior as it is."""
        if sampler is None and label is not None:
            raise InputError(
                "a label picks a class of a sampler: fit 'class-regions' and name it; of a conditional model, give "
                "the label as context"
            )
        sharp = temperature != 1 or top_k is not None
        if sampler is None:
            return self.model.latents.sharpened(temperature, top_k) if sharp else None
        if sharp:
            raise InputError(
                f"temperature and top_k are of the prior, and sampler {sampler!r} stands in its place; give the one or "
                "the other"
            )
        fitted = load_sampler(self._fitted.folder, sampler)
        return (fitted if label is None else fitted.of(label)).sample

    def attribute_vector(
        self,
        data: Source,
        of: int,
        against: int | None = None,
        *,
        factor: int | None = None,
        direction: Direction = "means",
    ) -> Tensor:
        """(latent,): what to add to codes so that they leave label `against` (None: all others) for label `of`; see
        `tightbound.analysis.steer` for what it does."""
        return attribute_vector(self.model, data, of, against, factor=factor, direction=direction)

    def complete(self, data: Source, n: int = 1, *, mean: bool = True, seed: int = 0) -> Tensor:
        """(N, n, *shape): data with their hidden elements drawn given the visible ones, for context 'visible'."""
        return infer.complete(self.model, data, n, mean=mean, seed=seed)

    def interpolate(
        self,
        a: Tensor,
        b: Tensor,
        *,
        steps: int = 9,
        path: Literal["linear", "spherical"] = "linear",
        labels: Tensor | None = None,
    ) -> Tensor:
        """(steps, *shape): E[x | z] between the codes of two data (*shape); their labels (2, ...), where the model is
        conditioned on them."""
        return infer.interpolate(self.model, a, b, steps=steps, path=path, labels=labels)
