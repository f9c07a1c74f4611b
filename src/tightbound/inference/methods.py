"""Latent codes, reconstructions, samples and interpolations, as methods of `tightbound.Trained`."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from torch import Tensor

from tightbound.core.errors import InputError, whole
from tightbound.core.latents import Draw
from tightbound.core.limits import check_held
from tightbound.core.noise import Noise
from tightbound.core.noise import draw as draw_from
from tightbound.core.schema import Schema
from tightbound.core.terms import Batch
from tightbound.data.feed import as_split
from tightbound.data.form import Form, as_tensor
from tightbound.data.given import Source, training_data
from tightbound.inference import imputation, infer
from tightbound.inference.attributes import Direction, class_labels, refuse_completion, vector_of_codes
from tightbound.inference.conditional import Conditional, given_row, sample_given
from tightbound.inference.fitting import default_sampler, fit_sampler, load_sampler
from tightbound.inference.indices import IndexMethods
from tightbound.inference.infer import Values
from tightbound.latents.codes import needs_codes

if TYPE_CHECKING:
    from tightbound.core.model import VAE
    from tightbound.data import Data, Split
    from tightbound.training.folder import RunFolder


class Inference(IndexMethods):
    """Methods of `tightbound.Trained` that encode examples and generate new ones."""

    model: VAE
    folder: RunFolder | None
    data: Any

    def _examples(self, data: Source) -> Split:
        return as_split(self.model, data)

    @property
    def form(self) -> Form:
        """Form of the training data, in which samples are returned."""
        return Form(self.model.layout, self.model.observation.source.given == "shares")

    def _in_form(self, x: Tensor, given: Source | None = None) -> Tensor:
        """Return stored values in the form of the given examples, or else in that of the training data."""
        domain = self.model.observation.source
        if isinstance(given, Batch):
            return x
        given = given[0] if isinstance(given, tuple) else given
        return (Form.of(given, tuple(self.model.shape), domain) or self.form).give(x, domain)

    def _run(self) -> RunFolder:
        if self.folder is None:
            raise InputError("latent samplers are saved in the model's run, but there is none; fit with run=FOLDER")
        return self.folder

    def _training_data(self, data: Source | None, why: str) -> Data:
        known = self.data if data is None else training_data(data, like=self.model)
        if known is None:
            raise InputError(f"{why} needs the training data, which are unknown; pass data=")
        return known

    def encode(self, data: Source, *, draw: bool = False, seed: int = 0) -> Tensor:
        """Return the posterior mean of each example (N, latent), or with `draw` one draw from q(z | x) each."""
        codes = infer.encode(self.model, self._examples(data), draw=draw, seed=seed)
        return codes.mean if codes.sample is None else codes.sample

    def decode(
        self,
        z: Tensor | np.ndarray[Any, Any],
        *,
        context: Values | None = None,
        draw: bool = False,
        seed: int = 0,
    ) -> Tensor:
        """Return E[x | z] (N, *shape) for latent codes (N, latent), or with `draw` one draw from p(x | z) each.

        Args:
            z: Latent codes (N, latent).
            context: For a conditional model, one value for each code or one for all, such as class labels (N,), by
                number or name; None: as for `sample`.
            draw: Draw x from p(x | z) instead of using its mean.
            seed: Random seed.

        Raises:
            InputError: If z has another shape or is not finite, or there are more or fewer contexts than codes.
        """
        contexts = infer.contexts(self.model, len(z), context, in_turn=False)
        return self._in_form(infer.decode(self.model, z, context=contexts, draw=draw, seed=seed))

    def reconstruct(self, data: Source, *, draw: bool = False, levels: int | None = None, seed: int = 0) -> Tensor:
        """Return E[x | z] (N, *shape) at the posterior mean of each example, or with `draw` one draw each.

        Args:
            data: Examples, in any form.
            draw: Draw z from q(z | x) and x from p(x | z).
            levels: For quantized latents with several levels: decode only this many of the highest levels; the others
                are drawn given these (with a uniform prior, they are set to the indices nearest to zero).
            seed: Random seed.
        """
        split = self._examples(data)
        if not draw:
            return self._in_form(infer.reconstruct(self.model, split, levels=levels, seed=seed), data)
        if levels is not None:
            raise InputError("draw= and levels= were both given; pass only one of them")
        codes = infer.encode(self.model, split, draw=True, seed=seed)
        assert codes.sample is not None
        x = infer.decode(self.model, codes.sample, context=codes.context, offset=codes.offset, draw=True, seed=seed)
        return self._in_form(x, data)

    def impute(self, data: Source, *, samples: int = 200, draw: bool = False, seed: int = 0) -> Tensor:
        """Return a table (N, D) with its missing entries (NaN) filled and the others unchanged.

        A missing number becomes its mean given the observed entries, moved to the nearest number that its column can
        hold, such as a whole number. A missing category becomes the most probable one. An entry that the model cannot
        hold, such as an unknown category, counts as missing, with a warning.

        Args:
            data: A table, in any form.
            samples: Draws of z per example; more draws are closer to the model's conditional mean.
            draw: Fill in one joint draw given the observed entries of an example instead of means, as multiple
                imputation needs.
            seed: Random seed.

        Raises:
            CompositionError: If the model was not made for a mixed table, whose entries may be missing.

        References:
            MIWAE (Mattei and Frellsen 2019), Section 3, https://arxiv.org/abs/1812.02633
        """
        examples = data if isinstance(data, Batch) else self._examples(data)
        return self._in_form(imputation.impute(self.model, examples, samples=samples, draw=draw, seed=seed), data)

    def fit_sampler(
        self,
        sampler: str = "gaussian-mixture",
        data: Source | None = None,
        *,
        epochs: int | None = None,
        minutes: float | None = None,
        seed: int = 0,
        default: bool = False,
        quiet: bool = True,
    ) -> None:
        """Fit a density to latent codes and save it in the run, for sampling when the prior does not match the codes.

        Args:
            sampler: "gaussian-mixture" (with as many components as held-out codes ask for), "kernel", "flow" or "vae"
                (a second VAE), for `sample(sampler="flow")`; or, with labeled data, "class-regions(components=3)", or
                "m2" if only few labels are known, for `sample(sampler="m2", label=3)`.
            data: Examples to whose latent codes the density is fitted; None: the training split.
            epochs: Epochs for a sampler that is trained by gradients; None: its default.
            minutes: Maximum training time in minutes; None: 20 if the number of epochs is not fixed, otherwise no
                limit.
            seed: Random seed.
            default: Let `sample` use it unless it is told otherwise.
            quiet: Show no progress.
        """
        known = self._training_data(None, "fit_sampler()").train if data is None else data
        folder = self._run()
        with folder.exclusive():
            folder.check_current()
            fit_sampler(
                self.model, folder, known, sampler,
                epochs=epochs, minutes=minutes, seed=seed, default=default, quiet=quiet,
            )  # fmt: skip

    def sample(
        self,
        n: int = 64,
        *,
        draw: bool | None = None,
        seed: int = 0,
        context: Values | None = None,
        sampler: str | None = None,
        label: int | str | None = None,
        temperature: float = 1.0,
        top_k: int | None = None,
    ) -> Tensor:
        """Return new examples (n, *shape) for draws of z from the prior: E[x | z], or for a table draws from p(x | z).

        Args:
            n: Number of samples.
            draw: Draw x from p(x | z) instead of using its mean, which is smoother than data; Default: draw rows of
                a table, and take the means of images.
            seed: Random seed.
            context: Class labels, by number or name, or attributes (m, ...) for a conditional model, taken in turn;
                None: each class.
            sampler: Draw z from this latent sampler that `fit_sampler` has fitted, or from the "prior"; None: from the
                run's default, which `tightbound train` fits where codes are far from the prior, else the prior.
            label: Class to sample, by number or name, with a sampler that has classes.
            temperature: Divide the logits of a learned code prior by this; with values other than 1, draws do not
                follow the model's distribution.
            top_k: Draw each code index only from the k most probable ones.

        Raises:
            InputError: If there is no such sampler, class or context.
            CompositionError: If temperature or top_k is given for a model without a learned code prior.
        """
        source = self._source(sampler, label, temperature, top_k)
        return self._in_form(
            infer.sample(self.model, n, draw=infer.drawn(self.model, draw), seed=seed, context=context, codes=source)
        )

    def sample_given(
        self,
        given: Mapping[str, Any],
        n: int = 64,
        *,
        context: Values | None = None,
        sampler: str | None = None,
        seed: int = 0,
    ) -> Conditional:
        """Draw rows of a table that have these values in some columns, by importance resampling of latent codes.

        Args:
            given: Values by column, such as {"sex": "female", "age": 40}; columns without names are x1, x2, ...
            n: Number of rows.
            context: For a conditional model, one value for all rows, such as a class label by number or name.
            sampler: As for `sample`.
            seed: Random seed.

        Returns:
            `x`, the rows (n, D); `codes`, the number of latent codes that were drawn; `effective`, the effective number
            that the rows come from. If it is small, the rows vary less than they should, and `warning` says so.

        Raises:
            InputError: If the model lacks a column, or the column cannot hold the value.
            CompositionError: If the model is not a model of whole rows of a table, or its likelihood couples columns.
        """
        codes = self._source(sampler, None, 1.0, None)
        row = given_row(self.model, given)
        found = sample_given(self.model, n, row, context=context, codes=codes, seed=seed)
        return found._replace(x=self._in_form(found.x))

    def _source(
        self, sampler: str | None, label: int | str | None, temperature: float, top_k: int | None
    ) -> Draw | None:
        """Return the function that draws latent codes; None: use the prior unchanged."""
        sharp = temperature != 1 or top_k is not None
        if sampler is None and not sharp:
            sampler = default_sampler(self.folder)
        sampler = None if sampler == "prior" else sampler
        if sampler is None and label is not None:
            raise InputError(
                "label= selects a class of a latent sampler: fit 'class-regions' or 'm2', and pass it as sampler=; for "
                "a conditional model, pass the label as context="
            )
        if sampler is None:
            latents = self.model.latents
            return needs_codes(latents, "temperature= or top_k=").sharpened(temperature, top_k) if sharp else None
        if sharp:
            raise InputError(
                f"temperature= and top_k= change the prior, and sampler {sampler!r} replaces it; pass only one of them"
            )
        fitted = load_sampler(self._run(), sampler)
        return (fitted if label is None else fitted.of(self.model.schema.class_number(label))).sample

    def attribute_vector(
        self,
        data: Source,
        label: int | str,
        against: int | str | None = None,
        *,
        factor: int | None = None,
        direction: Direction = "means",
    ) -> Tensor:
        """Return the vector (latent,) that moves latent codes from label `against` (None: all others) to `label`.

        Args:
            data: Labeled examples.
            label: Class to move to, by number or name.
            against: Class to move from; None: all other classes.
            factor: Column of the labels, if each example has several.
            direction: "means": difference of the class means; "probe": normal of a linear probe that separates them.

        Raises:
            InputError: If there are no labels, or not these.
            CompositionError: If the model completes examples.

        References:
            Autoencoding beyond pixels (Larsen et al. 2016), Section 4.2, https://arxiv.org/abs/1512.09300
        """
        refuse_completion(self.model)
        split = self._examples(data)
        codes, names = infer.encode(self.model, split), Schema(classes=tuple(split.classes))
        ends = (names.class_number(label), names.class_number(against))
        return vector_of_codes(codes.mean, class_labels(codes.label, factor), *ends, names=names, direction=direction)

    def complete(self, data: Source, n: int = 1, *, draw: bool | None = None, seed: int = 0) -> Tensor:
        """Return n completions (N, n, *shape) of the hidden part of each example, as means or draws as in `sample`.

        Raises:
            CompositionError: If the model has no context 'visible'.
        """
        model, split = self.model, self._examples(data)
        is_drawn = infer.drawn(model, draw)
        check_held("n", whole("n", n, least=1), (split.size or 1) * math.prod(model.shape), of="completions")

        def rows(batch: Batch, number: int) -> Tensor:
            seen = model.observe(batch, Noise("complete", seed))
            if seen.mask is None or seen.context is None:
                raise InputError("the model is not conditioned on a part of x; train it with context='visible(...)'")
            noise = Noise("complete", seed, number)
            given = seen.context.repeat_interleave(n, 0)
            likelihood = model.generate(len(given), noise, given)
            x = likelihood.mean if not is_drawn else draw_from(likelihood, (), noise)
            reference = model.observation.reference(batch.x, seen).repeat_interleave(n, 0)
            x = torch.where(seen.mask.repeat_interleave(n, 0), model.observation.restore(x), reference.to(x))
            return x.unflatten(0, (-1, n)).cpu()

        found = infer.each_example(model, split, max(1, 500 // n), rows, "complete")
        return self._in_form(torch.cat(found), data)

    def interpolate(
        self,
        a: Tensor | np.ndarray[Any, Any],
        b: Tensor | np.ndarray[Any, Any],
        *,
        steps: int = 9,
        path: Literal["linear", "spherical"] = "linear",
        labels: Values | None = None,
    ) -> Tensor:
        """Return E[x | z] (steps, *shape) along a path between the latent codes of two examples.

        Args:
            a: First example (*shape).
            b: Last example (*shape).
            steps: Number of points, including both ends.
            path: Straight line, or great circle, which keeps the norm typical of N(0, I).
            labels: Labels (2, ...) of the two examples, if the model is conditional; the context is interpolated
                linearly.

        Raises:
            InputError: If there are fewer than 2 steps, or the path is unknown.
        """
        infer.check_samples(self.model, steps, "steps", of="points", least=2)
        if path not in infer.PATHS:
            raise InputError(f"path = {path!r}; needed: one of {', '.join(infer.PATHS)}")
        a, b = as_tensor(a), as_tensor(b)
        if a.shape != b.shape:
            needed = tuple(self.model.shape)
            raise InputError(f"a has shape {tuple(a.shape)} and b {tuple(b.shape)}; needed: two examples {needed}")
        pair = torch.stack([a, b])
        known = None if labels is None else torch.as_tensor(self.model.schema.class_numbers(labels))
        batch = replace(next(self._examples(pair).epoch(2)), label=known)
        ends, t = infer.encode(self.model, batch), torch.linspace(0, 1, steps)
        context = ends.context
        if context is not None:
            context = infer.linear(context[0].flatten(), context[1].flatten(), t).unflatten(1, context.shape[1:])
        z = infer.PATHS[path](ends.mean[0], ends.mean[1], t)
        return self._in_form(infer.decode(self.model, z, context=context), pair)
