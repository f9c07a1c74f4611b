"""Comparison of new rows of a table with real rows: columns, dependence, prediction, distance to training rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from tightbound.analysis.estimate import Estimate
from tightbound.analysis.samples import row_quality_shown as shown
from tightbound.analysis.samples import two_sample
from tightbound.analysis.samples.copies import nearness
from tightbound.analysis.samples.features.base import Scaled, take
from tightbound.analysis.samples.neighbors import BLOCK, nearest_and_gap, realized
from tightbound.analysis.samples.quality_shown import floor_table, verdict
from tightbound.analysis.samples.row_prediction import prediction
from tightbound.analysis.samples.sample_quality import SampleQuality, given_contexts, refuse_completion
from tightbound.analysis.samples.two_sample import Measured
from tightbound.analysis.samples.two_sample.resampling import Array
from tightbound.core.domain import REAL, Domain
from tightbound.core.errors import InputError, suggestion, whole
from tightbound.core.latents import Draw
from tightbound.core.model import VAE
from tightbound.data import Data, Split
from tightbound.data.feed import Source, as_split
from tightbound.data.splits.indexed import ArraySplit
from tightbound.inference import infer

FEWEST = 20  # minimum number of rows, for standard errors
LEAST_KNOWN = 5  # minimum number of known entries of a column that is compared
LARGE = 10_000  # maximum number of rows to train a predictor of the target on


class Rows(NamedTuple):
    """Real rows that new rows are compared with.

    Attributes:
        real: Test rows (n, D), which the model was not trained on; NaN marks missing entries.
        train: Training rows.
        columns: Domain of each column.
        names: Name of each column.
        target: Column to predict from the others, if any.
        seed: Random seed.
        about: Descriptions of the samples and the data, for captions.
    """

    real: Tensor
    train: Split
    columns: Sequence[Domain]
    names: Sequence[str]
    target: str | None = None
    seed: int = 0
    about: Mapping[str, str] = {"samples": "rows as given", "data": "real rows as given"}


def compare_rows(
    samples: Tensor | Array,
    real: Tensor | Array,
    train: Tensor | Array,
    *,
    columns: Sequence[Domain] | None = None,
    names: Sequence[str] | None = None,
    target: str | None = None,
    seed: int = 0,
) -> SampleQuality:
    """Compare new rows of any model with real rows.

    Args:
        samples: New rows (n, D).
        real: Real rows (m, D) that the model was not trained on.
        train: Real rows (N, D) that the model was trained on.
        columns: Domain of each column; None: real numbers.
        names: Name of each column; None: x1, x2, ...
        target: Column to predict from the others, by name.
        seed: Random seed.

    Raises:
        InputError: If the shapes differ, there are fewer than 20 rows, or no column has the name `target`.
    """
    x, y, z = (torch.as_tensor(part) for part in (samples, real, train))
    if not x.shape[1:] == y.shape[1:] == z.shape[1:] or x.dim() != 2:
        raise InputError(f"rows have shapes {[tuple(part.shape) for part in (x, y, z)]}; needed: (N, D), equal D")
    width = x.shape[1]
    named = [f"x{i + 1}" for i in range(width)] if names is None else names
    rows = Rows(y, ArraySplit(z.numpy()), columns or [REAL] * width, named, target, seed)
    return _judged(rows, x, x, z[:LARGE])


def row_quality(
    model: VAE,
    data: Data,
    test: Source | None = None,
    *,
    name: str | None = None,
    n_samples: int = 5000,
    target: str | None = None,
    codes: Draw | None = None,
    seed: int = 0,
) -> SampleQuality:
    """Compare new rows, drawn from p(x|z), with test rows, and compare training rows in the same way as a floor.

    Entries that are missing in the data are also removed from the samples.

    Args:
        model: The model of a table.
        data: Data that the model was trained on.
        test: Rows to compare with. Default: the test split.
        name: Name of these rows, for captions.
        n_samples, target: As for `Quality`.
        codes: `sample` of a latent sampler, to draw latent codes from. Default: the prior.
        seed: Random seed.

    Raises:
        InputError: If there are fewer than 20 test rows, or no column has the name `target`.
    """
    whole("n_samples", n_samples, least=FEWEST)
    refuse_completion(model)
    held = data.require_test() if test is None else as_split(model, test)
    real, other = take(held, n_samples, seed), take(data.train, LARGE, seed)
    width = model.shape[0]
    domain = model.observation.source
    rows = Rows(
        realized(model, real, seed), data.train, domain.columns or [domain] * width,
        model.schema.columns or [f"x{i + 1}" for i in range(width)], target, seed,
        {
            "samples": f"draws from p(x|z); z from {'the prior' if codes is None else 'a fitted latent sampler'}",
            "data": name or f"{data.name}, test split",
        },
    )  # fmt: skip
    if min(len(real), len(other)) < FEWEST:
        raise InputError(
            f"{len(real)} test and {len(other)} training rows are too few to compare with; needed: {FEWEST} each"
        )
    count = max(len(real), len(other) if target is not None else 0)
    context = given_contexts(model, real)
    x = infer.sample(model, count, draw=True, seed=seed, context=context, codes=codes)
    own = x[: len(real)].masked_fill(torch.isnan(real.x), torch.nan)
    useful = x[: len(other)].masked_fill(torch.isnan(other.x[:count]), torch.nan) if target is not None else own
    return _judged(rows, own, useful, realized(model, other, seed))


def _judged(rows: Rows, samples: Tensor, useful: Tensor, other: Tensor) -> SampleQuality:
    """Compare samples (n, D) with real rows, and training rows `other` as a floor; `useful` rows train predictors."""
    if rows.target is not None and rows.target not in rows.names:
        raise InputError(f"target= names column {rows.target!r}, which the model lacks; "
                         f"{suggestion(rows.target, rows.names)}")  # fmt: skip
    n = min(len(samples), len(rows.real), len(other))
    if n < FEWEST:
        raise InputError(f"{n} rows are too few to compare; needed: at least {FEWEST} samples, test and training rows")
    x, y, z, new = (part.double().numpy() for part in (samples[:n], rows.real[:n], other, useful))
    known = [i for i in range(x.shape[1]) if all(_known(part[:n, i]) >= LEAST_KNOWN for part in (x, y, z))]
    held = [i for i in known if not _is_constant(np.concatenate([part[:, i] for part in (x, y, z)]))]
    if not held:
        raise InputError(
            "no column has enough known entries and different values to compare; give rows with fewer missing entries"
        )
    left_out = " Columns that always hold the same value are left out." if len(held) < len(known) else ""
    levels = [own.levels or 0 if own.kind == "categories" else 0 for own in rows.columns]
    columns, names = [rows.columns[i] for i in held], [rows.names[i] for i in held]
    own, floor = (_Measures.of(part[:, held], y[:, held], [levels[i] for i in held], rows.seed) for part in (x, z[:n]))
    place = int(np.argmax([a.value - b.value for a, b in zip(own.columns, floor.columns, strict=True)]))
    target = f"against {rows.about['data']}"
    estimates = own.estimates(names[place], place, n=n, target=f"{rows.about['samples']}; {target}")
    base = floor.estimates(names[place], place, n=n, target=f"training rows; {target}")
    if rows.target is not None:
        found, real = prediction(
            new, z, rows.real.double().numpy(), rows.names.index(rows.target), rows.columns, levels, rows.target,
            rows.seed,
        )  # fmt: skip
        estimates |= found
        base |= real
    near = _nearness(rows, samples[:n], rows.real[:n])
    estimates |= {name: near[name] for name in ("nearer_than_test", "too_near")}
    base["nearer_than_test"] = Estimate(
        0.5, 0.0, n=n, unit="probability", estimator="exact", target="test rows", description="by symmetry"
    )
    base["too_near"] = near["too_near_test"]
    tables = [
        *floor_table(estimates, base),
        shown.columns_table(names, columns, own.columns, floor.columns),
        *shown.pairs_table(names, own.pairs, floor.pairs),
    ]
    return SampleQuality(
        estimates,
        tables=tables,
        figures=shown.figures(names, columns, x[:, held], y[:, held], own.columns),
        sentences=[
            *verdict(estimates, base, shown.MEANING),
            shown.worst_sentence(names[place], estimates, base),
        ],
        caption=f"{n:,} samples ({rows.about['samples']}) against as many rows ({rows.about['data']}). Floor: as many "
        f"training rows in place of samples, the best result that can be expected.{left_out}",
        details={
            "floor": {name: asdict(each) for name, each in base.items()},
            "intervals": own.intervals(place),
            "floor_intervals": floor.intervals(place),
            "about": dict(rows.about),
            "classes": {},
            "columns": {name: each.value for name, each in zip(names, own.columns, strict=True)},
            "worst_column": names[place],
        },
    )


class _Measures(NamedTuple):
    """Distances between two sets of rows."""

    mean: Measured
    columns: list[Measured]
    pairs: two_sample.Dependence | None
    auroc: Measured

    @classmethod
    def of(cls, x: Array, y: Array, levels: Sequence[int], seed: int) -> _Measures:
        """Compare rows x (n, D) with rows y (n, D)."""
        mean, columns = two_sample.marginal_distances(x, y, [own > 0 for own in levels], seed)
        pairs = two_sample.dependence(x, y, levels, seed)
        return cls(mean, columns, pairs, two_sample.classifier_auroc(x, y, levels, seed))

    def named(self, place: int) -> dict[str, Measured]:
        """Return the measures by name; `place` is the position of the worst column."""
        found = {"column_distance": self.mean, "worst_column": self.columns[place], "classifier_auroc": self.auroc}
        return found if self.pairs is None else {**found, "dependence_gap": self.pairs.mean}

    def intervals(self, place: int) -> dict[str, list[float]]:
        """Return 95% intervals by name."""
        return {name: [each.low, each.high] for name, each in self.named(place).items()}

    def estimates(self, column: str, place: int, **facts: Any) -> dict[str, Estimate]:
        """Return the measures as estimates, in the order in which they are shown; `column` names the worst column."""
        found = self.named(place)
        return {
            name: Estimate(
                found[name].value, found[name].stderr, unit=unit, estimator=how, description=text.format(column=column),
                **facts,
            )
            for name, (unit, how, text) in shown.NUMBERS.items()
            if name in found
        }  # fmt: skip


def _known(column: Array) -> int:
    return int((~np.isnan(column)).sum())


def _is_constant(column: Array) -> bool:
    known = column[~np.isnan(column)]
    return bool((known == known[0]).all())


def _nearness(rows: Rows, samples: Tensor, real: Tensor) -> dict[str, Estimate]:
    """Compare the distance of samples to the nearest training row with that of test rows."""
    scaled = Scaled(samples.shape[1:], tuple(own.literal for own in rows.columns))
    scaled.fit(rows.train)
    queries = scaled(torch.cat([samples, real]).float())
    distance, _, between = nearest_and_gap(queries, lambda: (scaled(b.x.float()) for b in rows.train.epoch(BLOCK)))
    space = "standardized columns, categories one-hot"
    return nearness(distance.double().numpy(), between.double().numpy(), len(samples), space)
