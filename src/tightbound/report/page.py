"""report.html: one self-contained page that reads from top to bottom."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from importlib.resources import files
from typing import Any

import numpy as np
import torch

from tightbound.analysis import pictures
from tightbound.core.files import write_atomic
from tightbound.core.terms import Batch
from tightbound.data import Data, Split
from tightbound.report import codes, figures, ladder, rate
from tightbound.report.analyses import LEAD, analyses
from tightbound.report.section import Section
from tightbound.report.table import drawn
from tightbound.trained import Trained
from tightbound.training.folder import RunFolder


def write_report(
    trained: Trained,
    data: Data,
    numbers: Mapping[str, Mapping[str, Any]],
    config: Mapping[str, Any],
    own: bool = True,
) -> RunFolder:
    """Writes the figures and the page of a run.

    Arguments:
        trained: The model.
        data: Its data; the pictures are of the test split.
        numbers: `Evaluation.to_json()`.
        config: The run's settings.
        own: Whether the data are the run's own, of which the analyses are that the run holds.
    """
    folder = RunFolder(trained.path)
    lead, more = (analyses(folder, LEAD), analyses(folder)) if own else ([], [])
    sections = [*_sections(trained, data, numbers), *ladder.sections(numbers), *more]
    for section in (*lead, *sections):
        if section.picture is not None:
            write_atomic(folder.path / "figures" / section.name, section.picture)
    run = folder.read(folder.run_file)
    page = _page(trained, numbers, config, run, lead, sections)
    write_atomic(folder.report_file, page)
    return folder


def _sections(trained: Trained, data: Data, numbers: Mapping[str, Mapping[str, Any]]) -> list[Section]:
    # a random pick: test data may be ordered by class
    first = next(data.require_test().epoch(64, key=("report",)))
    has_bound = numbers["elbo"]["value"] is not None
    prior = "Decoded draws from the prior p(z)."
    if not has_bound:
        prior = (
            "Decoded draws from N(0, I). This autoencoder was never told to put its codes there: what is not a "
            "likely picture comes from a hole between them."
        )
    elif numbers.get("prior_gain", {}).get("value") == 0:
        prior = (
            "Decoded codes, each drawn at random, for no prior over codes has been learned: what holds a picture "
            "together is missing. See tightbound fit-prior."
        )
    sections = []
    if pictures.is_image(data.shape):
        sections += _image_sections(trained, first, prior)
    elif len(data.shape) == 1:
        some = next(data.whole.epoch(2000, key=("report",)))
        samples, real = _drawn(trained, some), some.x
        chart = figures.marginals(real.double().numpy(), samples.double().numpy(), data.header)
        shown = f"the first {figures.MARGINALS} of {data.shape[0]} columns" if data.shape[0] > figures.MARGINALS else ""
        description = f"{prior} Marginals of data and samples, {shown or 'by column'}."
        sections.append(Section("Samples", description, "samples.svg", chart))
    if trained.metrics:
        gap = "A widening gap between the two lines is overfitting."
        description = gap + " A KL near zero is posterior collapse." * (
            has_bound and not trained.model.latents.deterministic
        )
        description += " All codes are equally probable in this stage." * trained.model.latents.deterministic
        first_stage = [row for row in trained.metrics if not row.get("stage")]
        sections.append(Section("Training", description, "curves.svg", figures.curves(first_stage)))
        for stage in dict.fromkeys(row["stage"] for row in trained.metrics if row.get("stage")):
            chart = figures.curves([row for row in trained.metrics if row.get("stage") == stage], ["loss"])
            of_codes = any("uniform_loss" in row for row in trained.metrics if row.get("stage") == stage)
            description = gap + " The dashed line is what codes cost if all are equally probable." * of_codes
            sections.append(Section(f"Training of stage {stage!r}", description, f"curves-{stage}.svg", chart))
    if trained.model.latents.code_grids:
        sections += codes.sections(trained.model, first, data.require_test())
    else:
        sections.append(_latent_space(trained, data.require_test()))
    kl = numbers["kl_per_dimension"]
    if kl["value"] is not None:
        chart = figures.kl_by_dimension(kl["value"], kl["stderr"])
        description = "A dimension with no bar carries nothing about x: the decoder ignores it."
        sections.append(Section("Use of the latent dimensions", description, "kl.svg", chart))
    return sections + rate.sections(numbers)


def _latent_space(trained: Trained, split: Split) -> Section:
    means, labels = _codes(trained, split)
    description = "Each point is the code of a test example."
    if labels is not None and labels.ndim == 1:
        unaided = ", though no label was used" if trained.model.context is None else ""
        description = f"Classes that form regions of their own can be told apart by their codes{unaided}."
    return Section("The latent space", description, "latent.svg", figures.latent_map(means, labels))


def _image_sections(trained: Trained, batch: Batch, prior: str) -> list[Section]:
    domain = trained.model.observation.source
    shown = batch[: pictures.columns(batch.x.shape[-1])]
    rebuilt = trained.reconstruct(shown)
    pair = [pictures.to_pixels(shown.x, domain), pictures.to_pixels(rebuilt, domain)]
    labels = None if batch.label is None else batch.label[[0, -1]]

    def picture(*arguments: Any) -> bytes:
        return pictures.png(pictures.grid(*arguments))

    means = "codes" if trained.model.latents.code_grids else "posterior means"
    decoded = [
        _samples(trained, batch, prior),
        Section(
            "Reconstructions",
            f"Test data, picked at random, are encoded to their {means} and decoded.",
            "reconstructions.png", picture(pair, ["test data", "from code"]),
        ),
    ]  # fmt: skip
    if trained.model.latents.code_grids:  # between codes there is no path
        return decoded
    paths = ("linear", "spherical")
    walks = [
        pictures.to_pixels(trained.interpolate(batch.x[0], batch.x[-1], path=path, labels=labels), domain)
        for path in paths
    ]
    return [
        *decoded,
        Section(
            "Interpolation",
            "Between the codes of two test data: on a straight line, and on a great circle, which keeps to "
            "where N(0, I) has its mass.",
            "interpolation.png", picture(walks, list(paths)),
        ),
    ]  # fmt: skip


def _samples(trained: Trained, batch: Batch, prior: str) -> Section:
    """Draws from the prior, given the labels of data where the model needs them; completions, where it completes."""
    domain, context = trained.model.observation.source, trained.model.context
    if context is not None and context.completes:
        shown = batch[:8]
        drawn = torch.cat([shown.x.unsqueeze(1), trained.complete(shown, n=7)], 1)
        grid = pictures.png(pictures.grid([pictures.to_pixels(row, domain) for row in drawn]))
        description = (
            "A test example on the left; then its visible part with the rest as the mean of p(x|z), for draws of z."
        )
        return Section("Completions", description, "samples.png", grid)
    values = None if context is None else _values(batch)
    samples = pictures.square(pictures.to_pixels(trained.sample(64, context=values), domain))
    given = "" if context is None else " The labels of test data are given."
    grid = pictures.png(pictures.grid(samples))
    return Section("Samples", f"{prior}{given} Shown is the mean of p(x|z).", "samples.png", grid)


def _drawn(trained: Trained, like: Batch) -> torch.Tensor:
    """Draws of x, as many as there are data, under the contexts of these data."""
    context = trained.model.context
    if context is not None and context.completes:
        return trained.complete(like, mean=False)[:, 0]
    return trained.sample(len(like), mean=False, context=None if context is None else _values(like))


def _values(batch: Batch) -> torch.Tensor | None:
    return batch.label if batch.context is None else batch.context


def _codes(trained: Trained, split: Split, most: int = 3000) -> tuple[np.ndarray, np.ndarray | None]:
    codes, labels = [], []
    for batch in split.epoch(500, key=("report",)):
        codes.append(trained.encode(batch))
        labels.append(batch.label)
        if sum(map(len, codes)) >= most:
            break
    known = None if any(label is None for label in labels) else torch.cat(labels).numpy()
    return torch.cat(codes).double().numpy(), known


def _page(
    trained: Trained,
    numbers: Mapping[str, Mapping[str, Any]],
    config: Mapping[str, Any],
    run: Mapping[str, Any],
    first: Sequence[Section],
    sections: Sequence[Section],
) -> str:
    style = files("tightbound.report").joinpath("page.css").read_text(encoding="utf-8")
    title = f"{trained.path.resolve().name}"
    data = run["data"]
    lead = [f"{data['name']}: {'; '.join(data['notes'])}", f"weights: {trained.weights}"]
    weights = sum(p.numel() for p in trained.model.parameters())
    lead.append(f"{weights:,} parameters, {trained.model.latents.described}")
    body = [f"<h1>{html.escape(title)}</h1>", "<ul class=lead>"]
    body += [f"<li>{html.escape(line)}</li>" for line in lead] + ["</ul>"]
    body += [section.html() for section in first] + [_numbers(numbers)]
    body += [section.html() for section in sections]
    body.append(_settings(config, run))
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{html.escape(title)} - tightbound</title>'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<style>{style}</style></head>\n<body><main>\n" + "\n".join(body) + "\n</main></body></html>\n"
    )


def _numbers(numbers: Mapping[str, Mapping[str, Any]]) -> str:
    first = next(iter(numbers.values()))
    caption = (
        f"Mean over n = {first['n']:,} test data and its standard error; target: {first['target']}; {drawn(first)}."
    )
    return Section("The numbers", caption, numbers=numbers).html()


def _settings(config: Mapping[str, Any], run: Mapping[str, Any]) -> str:
    lines = "".join(
        f"<tr><th scope=row>{html.escape(str(k))}</th><td>{html.escape(str(v))}</td></tr>"
        for k, v in config.items()
        if v is not None
    )
    versions = ", ".join(f"{k} {v}" for k, v in run["versions"].items())
    return (
        "<section><h2>How it was made</h2><details><summary>All settings</summary>"
        f"<table class=settings><tbody>{lines}</tbody></table></details>"
        f"<p>Data {html.escape(run['data']['fingerprint'])}<br>{html.escape(versions)}<br>"
        f"{html.escape(run['hardware']['system'])}, {run['hardware']['threads']} threads</p></section>"
    )
