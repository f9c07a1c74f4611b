"""Code indices of examples: as pictures, counted, and with their prices."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from torch import Tensor

from tightbound.analysis import pictures
from tightbound.analysis.bounds.code_indices import CodeBooks, counted
from tightbound.analysis.figures import Bars, Figure, Heatmap, Panel
from tightbound.analysis.gallery.drawing import infer, some
from tightbound.analysis.result import Table
from tightbound.core.errors import CompositionError
from tightbound.core.model import VAE
from tightbound.core.noise import Noise
from tightbound.core.numerics import precise
from tightbound.core.terms import CodeGrid, LatentTerms, code_terms
from tightbound.data import Split
from tightbound.data.feed import evaluating
from tightbound.inference.infer import decode, encode
from tightbound.latents.codes import needs_codes
from tightbound.priors.codes.autoregressive import log_factors
from tightbound.quantizers.usage import CodebookUsage

if TYPE_CHECKING:
    from tightbound.trained import Trained

BATCH = 50  # examples at once
DRAWN = 3  # draws of the levels below the top one
PANELS = 3  # codebooks that are shown
SCALE = 16  # pixels per position at least, so that code indices are drawn as squares and not smoothed


class Counted(NamedTuple):
    """Code indices of n examples, counted."""

    n: int
    usage: Sequence[CodebookUsage]  # of each level
    prices: Sequence[Tensor] | None  # nats of each position (H, W) by level, mean over examples; None: uniform, unknown
    grids: Sequence[CodeGrid]  # of each level


def count(model: VAE, split: Split, max_examples: int) -> Counted:
    """Count how often each code index is chosen, and add up what each position costs."""
    books, total, n = CodeBooks(), [], 0
    with evaluating(model):
        for batch in split.epoch(BATCH, key=("report",)):
            groups = infer(model, batch)
            books.add(counted(groups))
            costs = _nats(groups)
            n += len(batch)
            total = costs if not total else [a + b for a, b in zip(total, costs, strict=True)]
            if n >= max_examples:
                break
    grids = needs_codes(model.latents).code_grids
    prices = [(each / n).view(grid.height, grid.width) for each, grid in zip(total, grids, strict=False)]
    uneven = any((price - _uniform(grid)).abs().max() >= 1e-4 for price, grid in zip(prices, grids, strict=False))
    return Counted(n, books.usage, prices if uneven else None, grids)


def _uniform(grid: CodeGrid) -> float:
    """Return the nats of a position if all code indices are equally probable."""
    return grid.depth * math.log(grid.codebook_size)


def _nats(groups: Sequence[LatentTerms]) -> list[Tensor]:
    """Return nats (P,) of each level, summed over examples; none if the prior does not tell."""
    try:
        each = [log_factors(g.prior, g.indices[0]) for g in code_terms(groups) if g.prior is not None]
    except CompositionError:
        return []
    return [-precise(logs).sum(-1).flatten(0, -2).sum(0).cpu() for logs in each]


def table(found: Counted) -> Table:
    """Return the use of each codebook."""
    rows = [
        [name, f"{int(usage.used[book])} of {len(counts)}", f"{float(usage.perplexity[book]):.0f}"]
        for name, usage, book, counts in _books(found)
    ]
    caption = "Perplexity: number of equally used code indices that would carry the same information."
    few = min(int(each.counts[0].sum()) for each in found.usage) < 2 * max(grid.codebook_size for grid in found.grids)
    notes = ("So few examples cannot show every code index in use.",) if few else ()
    return Table("Use of the codebooks", ("codebook", "used", "perplexity"), rows, caption, notes)


def usage(found: Counted) -> Figure:
    """Return how often each code index is used."""
    books = _books(found)
    panels: list[Panel] = []
    for name, each, book, counts in books[:PANELS]:
        share = np.sort(counts.double().numpy())[::-1] * len(counts) / max(1, int(counts.sum()))
        labels = [str(i + 1) for i in range(len(counts))]
        panels.append(Bars(labels=labels, series={"uses": share.tolist()}, reference=1.0,
                           title=f"{name}: {int(each.used[book])} of {len(counts)} used",
                           x_label="code index, most used first", y_label="uses over even use"))  # fmt: skip
    explained = "How often each code index is chosen; the dashed line is even use."
    explained += f" {PANELS} of {len(books)} codebooks are shown." if len(books) > PANELS else ""
    return Figure("code-usage", "Use of the codebooks", explained, panels)


def _books(found: Counted) -> list[tuple[str, CodebookUsage, int, Tensor]]:
    """Return name, usage, number and counts of each codebook, the highest level first."""
    return [
        (f"level {i + 1}" + (f", codebook {book + 1}" if len(each.counts) > 1 else ""), each, book, counts)
        for i, each in reversed([*enumerate(found.usage)])
        for book, counts in enumerate(each.counts)
    ]


def prices(found: Counted) -> Figure:
    """Return what each position costs under the code prior, by level."""
    assert found.prices is not None
    panels: list[Panel] = []
    for i, (price, grid) in reversed([*enumerate(zip(found.prices, found.grids, strict=True))]):
        uniform = _uniform(grid)
        title = f"level {i + 1}: {float(price.sum()):.0f} of {uniform * price.numel():.0f} nats"
        high = max(uniform, float(price.max()))
        panels.append(Heatmap(values=price.double().tolist(), low=0.0, high=high, equal=True,
                              title=title, color_label="nats per position"))  # fmt: skip
    explained = (
        "Cost of the code indices by position under the prior, mean over examples: where it is high, the prior is "
        "surprised. A title gives the total, and what it would be if all code indices were equally probable; the scale "
        "ends at that price, or at the highest one."
    )
    return Figure("code-prices", "What the code indices cost", explained, panels)


def pictures_of(trained: Trained, split: Split) -> Figure:
    """Return examples, their code indices as colors, the highest level first, and what is decoded from them."""
    model = trained.model
    shown = some(split, 64)[: pictures.columns(model.shape[-1])]
    with evaluating(model):
        groups = infer(model, shown)
        seen = model.observe(shown.to(model.device), Noise("report"))
        flat = torch.cat([group.z[0].flatten(1) for group in groups], 1)
    domain, grids = model.observation.source, needs_codes(model.latents).code_grids
    rows, labels = [pictures.to_pixels(shown.x, domain)], ["example"]
    for i, (group, grid) in reversed(list(enumerate(zip(groups, grids, strict=True)))):
        rows.append(_colors(group.z[0].detach().float().cpu(), grid))
        labels.append(f"level {i + 1}: {grid.height} x {grid.width}")
    rows.append(pictures.to_pixels(decode(model, flat, context=seen.context), domain))
    explained = (
        "Examples, the code index at each position as a color, and what is decoded from these indices alone. Similar "
        "colors are similar code vectors: red, green and blue are their three principal axes."
    )
    return Figure("code-indices", "The code indices", explained, (pictures.panel(rows, [*labels, "decoded"]),))


def from_the_top(trained: Trained, split: Split) -> Figure:
    """Return draws of all levels below the top one, given the top level of examples."""
    model = trained.model
    shown = some(split, 64)[: pictures.columns(model.shape[-1])]
    codes, latents = encode(model, shown), needs_codes(model.latents)
    top = len(latents.code_grids) - 1
    context = None if codes.context is None else codes.context.to(model.device)
    rows = [pictures.to_pixels(shown.x, model.observation.source)]
    for number in range(DRAWN):
        with evaluating(model):
            flat = latents.complete(
                latents.nearest_indices(codes.mean.to(model.device))[top:], Noise("report", number), context
            )
        rows.append(pictures.to_pixels(decode(model, flat, context=codes.context), model.observation.source))
    explained = (
        f"The code indices of level {top + 1} are those of the examples, and all levels below are drawn from the prior "
        "given these: what stays the same is stored in the top level."
    )
    picture = pictures.panel(rows, ("example", *["from the top"] * DRAWN))
    return Figure("top-level", "What the top level holds", explained, (picture,))


def _colors(vectors: Tensor, grid: CodeGrid) -> pictures.Pixels:
    """Return vectors (B, P, size) as pictures (B, H, W, 3) of colored squares, by principal axes."""
    points = vectors.flatten(0, 1).double()
    points = points - points.mean(0)
    _, _, axes = torch.linalg.svd(points, full_matrices=False)
    spread = points @ axes[:3].T
    spread = torch.nn.functional.pad(spread, (0, 3 - spread.shape[1]))
    low, high = torch.quantile(spread, torch.tensor([0.02, 0.98]).double(), dim=0)
    scaled = ((spread - low) / (high - low).clamp_min(1e-12)).clamp(0, 1)
    maps = (scaled * 255).round().byte().view(len(vectors), grid.height, grid.width, 3)
    scale = max(SCALE, 128 // max(grid.height, grid.width))
    return maps.repeat_interleave(scale, 1).repeat_interleave(scale, 2).numpy()
