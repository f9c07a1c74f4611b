"""Discrete codes on the page: what they look like, which are used, what each costs."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from tightbound.analysis import pictures
from tightbound.analysis.bounds.code_indices import CodeBooks, counted
from tightbound.core.errors import CompositionError
from tightbound.core.model import VAE
from tightbound.core.noise import ExampleNoise, Noise
from tightbound.core.numerics import precise
from tightbound.core.schedules import Knobs
from tightbound.core.terms import Batch, CodeGrid, LatentTerms
from tightbound.data import Split
from tightbound.data.feed import evaluating
from tightbound.inference.infer import decode, encode
from tightbound.latents.codes import coded
from tightbound.priors.codes.factors import log_factors
from tightbound.quantizers.usage import CodebookUsage
from tightbound.report.figures import BLUE, GRAY, STYLE, figure_of, svg
from tightbound.report.section import Section

MOST = 1000  # test data whose codes are counted
AT_ONCE = 50
DRAWN = 3  # times that what is below the top level is drawn
PANELS = 4  # codebooks that have room side by side


def sections(model: VAE, shown: Batch, split: Split) -> list[Section]:
    """Of a model whose latents are grids of codes.

    Arguments:
        shown: Raw data whose codes are drawn as pictures.
        split: Data whose codes are counted, some of them.
    """
    books, costs = _counted(model, split)
    made = [_pictures(model, shown)] if pictures.is_image(model.shape) else []
    grids = model.latents.code_grids
    made.append(_use(books.usage, grids))
    if costs is None or all(_uniform(cost, grid) for cost, grid in zip(costs, grids, strict=True)):
        return made
    if len(grids) > 1 and pictures.is_image(model.shape):
        made.append(_from_the_top(model, shown))
    return [*made, _costs(costs, grids)]


def _uniform(cost: Tensor, grid: CodeGrid) -> bool:
    """Whether all codes are equally probable: there is nothing to see in what they cost."""
    return bool((cost - grid.depth * math.log(grid.entries)).abs().max() < 1e-4)


def _infer(model: VAE, batch: Batch) -> tuple[LatentTerms, ...]:
    seen = model.observe(batch.to(model.device), Noise("report"))
    noise = ExampleNoise("report", index=batch.positions())
    groups, _ = model.infer(seen, model.encode_state(seen), 1, noise, Knobs.final(model.schedules))
    return groups


def _counted(model: VAE, split: Split) -> tuple[CodeBooks, list[Tensor] | None]:
    """How often each entry is chosen; nats of each position, (H, W) a level, where the prior says what they are."""
    books, total, n = CodeBooks(), [], 0
    with evaluating(model):
        for batch in split.epoch(AT_ONCE, key=("report",)):
            groups = _infer(model, batch)
            books.add(counted(groups))
            costs = _nats(groups)
            n += len(batch)
            total = costs if not total else [a + b for a, b in zip(total, costs, strict=True)]
            if n >= MOST:
                break
    if not total:
        return books, None
    shapes = [(grid.height, grid.width) for grid in model.latents.code_grids]
    return books, [(each / n).view(shape) for each, shape in zip(total, shapes, strict=True)]


def _nats(groups: Sequence[LatentTerms]) -> list[Tensor]:
    """(P,) of each level, summed over data; none where the prior does not say."""
    try:
        each = [log_factors(g.prior, g.codes[0]) for g in groups if g.prior is not None and g.codes is not None]
    except CompositionError:
        return []
    return [-precise(logs).sum(-1).flatten(0, -2).sum(0).cpu() for logs in each]


def _pictures(model: VAE, batch: Batch) -> Section:
    shown = batch[: pictures.columns(batch.x.shape[-1])]
    with evaluating(model):
        groups = _infer(model, shown)
        seen = model.observe(shown.to(model.device), Noise("report"))
        flat = torch.cat([group.z[0].flatten(1) for group in groups], 1)
    domain, grids = model.observation.source, model.latents.code_grids
    rows, labels = [pictures.to_pixels(shown.x, domain)], ["test data"]
    for i, (group, grid) in reversed(list(enumerate(zip(groups, grids, strict=True)))):
        rows.append(_colors(group.z[0].detach().float().cpu(), grid, shown.x.shape[-2:]))
        labels.append(f"level {i + 1}: {grid.height} x {grid.width}")
    rows.append(pictures.to_pixels(decode(model, flat, context=seen.context), domain))
    description = (
        "Test data, the code at each position as a color, and what is decoded from these codes alone. Codes are alike "
        "in color where their vectors are: red, green and blue are the vectors' three principal axes."
    )
    picture = pictures.png(pictures.grid(rows, [*labels, "from codes"]))
    return Section("The codes", description, "codes.png", picture)


def _from_the_top(model: VAE, batch: Batch) -> Section:
    shown = batch[: pictures.columns(batch.x.shape[-1])]
    codes = encode(model, shown)
    latents = coded(model.latents)
    top = len(latents.code_grids) - 1
    context = None if codes.context is None else codes.context.to(model.device)
    rows = [pictures.to_pixels(shown.x, model.observation.source)]
    for number in range(DRAWN):
        with evaluating(model):
            flat = latents.completed(latents.codes(codes.mean.to(model.device))[top:], Noise("report", number), context)
        rows.append(pictures.to_pixels(decode(model, flat, context=codes.context), model.observation.source))
    description = (
        f"The codes of level {top + 1} are those of test data, and all below are drawn from the prior given these: "
        "what stays the same is what the top level holds."
    )
    labels = ["test data", *["from the top"] * DRAWN]
    return Section("What the top level holds", description, "top.png", pictures.png(pictures.grid(rows, labels)))


def _colors(vectors: Tensor, grid: CodeGrid, size: Sequence[int]) -> pictures.Pixels:
    """Vectors (B, P, size) -> pictures (B, H, W, 3) of this size, by principal axes."""
    points = vectors.flatten(0, 1).double()
    points = points - points.mean(0)
    _, _, axes = torch.linalg.svd(points, full_matrices=False)
    spread = points @ axes[:3].T
    spread = torch.nn.functional.pad(spread, (0, 3 - spread.shape[1]))
    low, high = torch.quantile(spread, torch.tensor([0.02, 0.98]).double(), dim=0)
    scaled = ((spread - low) / (high - low).clamp_min(1e-12)).clamp(0, 1)
    maps = (scaled * 255).round().byte().view(len(vectors), grid.height, grid.width, 3)
    rows, columns = (torch.arange(n) * edge // n for n, edge in zip(size, maps.shape[1:3], strict=True))
    return maps[:, rows][:, :, columns].numpy()


def _use(usage: Sequence[CodebookUsage], grids: Sequence[CodeGrid]) -> Section:
    import matplotlib as mpl

    books = [(i, book, counts) for i, each in enumerate(usage) for book, counts in enumerate(each.counts)]
    few = books[:PANELS]
    with mpl.rc_context(STYLE):
        figure, axes = figure_of(len(few), min(10.8, 3.6 * len(few) + 1), 2.9)
        for axis, (level, book, counts) in zip(axes, few, strict=True):
            share = np.sort(counts.double().numpy())[::-1] * len(counts) / max(1, int(counts.sum()))
            axis.fill_between(np.arange(len(share)), share, step="mid", color=BLUE, lw=0)
            axis.axhline(1, color=GRAY, lw=1, ls="--")
            which = f", codebook {book + 1}" if len(usage[level].counts) > 1 else ""
            used, even = int(usage[level].used[book]), float(usage[level].perplexity[book])
            axis.set(title=f"level {level + 1}{which}: {used} of {len(counts)} used,\nperplexity {even:.0f}")
            axis.set(xlabel="entries, most used first", ylabel="times the even share" if axis is axes[0] else None)
            axis.set(xlim=(-0.5, len(share) - 0.5), ylim=(0, None))
        chart = svg(figure)
    n = int(usage[0].counts.sum()) // (grids[0].height * grids[0].width * grids[0].depth)
    description = (
        f"How often each entry of a codebook is chosen in {n:,} test data; the dashed line is where all are used alike."
    )
    description += f" Shown are {PANELS} of {len(books)} codebooks." if len(books) > PANELS else ""
    many = min(int(each.counts[0].sum()) for each in usage) >= 2 * max(grid.entries for grid in grids)
    description += (
        " Entries that are never chosen are wasted." if many else " So few data cannot show every entry in use."
    )
    return Section("Use of the codebooks", description, "use.svg", chart)


def _costs(costs: Sequence[Tensor], grids: Sequence[CodeGrid]) -> Section:
    import matplotlib as mpl

    with mpl.rc_context(STYLE):
        figure, axes = figure_of(len(costs), min(10.8, 3.4 * len(costs) + 1), 3.0)
        for i, (axis, cost, grid) in enumerate(zip(axes, costs, grids, strict=True)):
            most = grid.depth * math.log(grid.entries)
            image = axis.imshow(cost.numpy(), cmap="viridis", vmin=0, vmax=max(most, float(cost.max())), aspect="equal")
            axis.set(
                title=f"level {i + 1}: {float(cost.sum()):.0f} of {most * cost.numel():.0f} nats", xticks=[], yticks=[]
            )
            figure.colorbar(image, ax=axis, label="nats a position")
        chart = svg(figure)
    description = (
        "What codes cost by position under the prior in use, mean over test data: where it is high, the prior is "
        "surprised. A title says what all cost, of what they would if they were equally probable; the scale ends at "
        "that price of one position, log K for each of its codes, or at the dearest."
    )
    return Section("The price of codes", description, "prices.svg", chart)
