"""report.html: one self-contained page about a run, made from the records of its analyses."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from html import escape
from importlib.resources import files
from pathlib import Path
from typing import Any

from tightbound.analysis import record
from tightbound.analysis.estimate import value_text
from tightbound.analysis.result import Result
from tightbound.analysis.table import analyses
from tightbound.core.errors import CompositionError, InputError, NotABound
from tightbound.core.files import write_atomic
from tightbound.data.given import Source
from tightbound.pages.charts import drawn
from tightbound.pages.html import section
from tightbound.pages.rows import headline
from tightbound.trained import Trained, as_trained
from tightbound.training.folder import RunFolder

FIRST = ("gallery", "diagnose")  # what a person comes for; the others follow in the order of the table
LABELS = {
    "bits_per_dim": "bits per dimension",
    "iwae": "bound on log p(x), nats",
    "elbo": "ELBO, nats",
    "rate": "rate, nats",
    "reconstruction_mse": "reconstruction error (MSE)",
    "active_units": "active latent dimensions",
}


def report(
    trained: Trained | str, data: Source | None = None, *, quick: bool = False, seed: int = 0, progress: bool = False
) -> Path:
    """Write the report page of a run, after asking the questions that its records do not answer yet.

    Args:
        trained: The model, which has a run, or the folder of the run.
        data: Data to ask about; None: those of the run.
        quick: Ask only what takes seconds.
        seed: Random seed.
        progress: Say on standard error what is measured.

    Returns:
        The page, `report.html` in the folder of the run.

    Raises:
        InputError: If the model has no run, or a record is damaged.
    """
    trained = as_trained(trained)
    if trained.folder is None or trained.folder.temporary:
        raise InputError("a report is written into the model's run, and it has none; fit with run=FOLDER")
    folder, subject = trained.folder, trained.subject(data)
    answers = {} if data is not None else record.load(folder, analyses())
    for name, analysis in analyses().items():
        known = record.options_of(folder, name) if name in answers else None
        if not (analysis.fast if quick else analysis.reported):
            continue
        if known is not None and (quick or not known.get("quick")):
            continue
        if progress and not analysis.fast:
            print(f"measuring: {name}", file=sys.stderr, flush=True)
        try:
            question = analysis(seed=seed, progress=progress)
            answers[name] = question.run(trained, subject)
        except CompositionError:
            continue  # the question makes no sense for this model
        except (InputError, NotABound) as error:
            if progress:
                print(f"note: the page has no {name}: {error}", file=sys.stderr, flush=True)
            continue
        if data is None:
            record.save(folder, question, answers[name])
    ordered = [name for name in (*FIRST, *(name for name in analyses() if name not in FIRST)) if name in answers]
    return write_page(trained, folder, {name: answers[name] for name in ordered})


def write_page(trained: Trained, folder: RunFolder, results: Mapping[str, Result]) -> Path:
    """Write the page and its figures from answers by analysis, in this order."""
    images: dict[str, bytes] = {}
    for result in results.values():
        for figure in result.figures:
            images[figure.name] = drawn(figure)
            ending = "png" if figure.is_picture else "svg"
            write_atomic(folder.path / "figures" / f"{figure.name}.{ending}", images[figure.name])
    write_atomic(folder.report_file, _page(trained, folder, results, images))
    return folder.report_file


def _page(trained: Trained, folder: RunFolder, results: Mapping[str, Result], images: Mapping[str, bytes]) -> str:
    style = files("tightbound.pages").joinpath("page.css").read_text(encoding="utf-8")
    title, run = folder.path.resolve().name, folder.read(folder.run_file)
    parameters = sum(p.numel() for p in trained.model.parameters())
    lead = [
        f"{run['data']['name']}: {'; '.join(run['data']['notes'])}",
        f"{parameters:,} parameters, {trained.model.latents.description}; weights: {trained.weights}",
    ]
    body = [f"<h1>{escape(title)}</h1>", "<ul class=lead>", *(f"<li>{escape(line)}</li>" for line in lead), "</ul>"]
    questions = {name: analysis.question for name, analysis in analyses().items()}
    sections = {name: section(questions[name], result, images) for name, result in results.items()}
    body += [sections.pop("gallery", ""), _summary(results), *sections.values()]
    body.append(_settings(trained.config, run))
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{escape(title)} - tightbound</title>'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<style>{style}</style></head>\n<body><main>\n" + "\n".join(body) + "\n</main></body></html>\n"
    )


def _summary(results: Mapping[str, Result]) -> str:
    """Return the verdict and a few numbers, below the first pictures."""
    parts: list[str] = []
    if "diagnose" in results and results["diagnose"].sentences:
        parts.append(f"<p class=verdict>{escape(results['diagnose'].sentences[0])}</p>")
    if "evaluate" in results:
        cards = "".join(
            f"<div>{_card(value_text(estimate))}<span>{escape(LABELS[name])}</span></div>"
            for name, estimate in headline(results["evaluate"].estimates).items()
        )
        parts.append(f"<div class=numbers>{cards}</div>")
    return "\n".join(parts)


def _card(text: str) -> str:
    """Return a number of the summary, with its standard error in small print."""
    value, sign, error = text.partition(" ± ")
    return f"<b>{escape(value)}{f' <small>± {escape(error)}</small>' if sign else ''}</b>"


def _settings(config: Mapping[str, Any], run: Mapping[str, Any]) -> str:
    lines = "".join(
        f"<tr><th scope=row>{escape(str(name))}</th><td>{escape(str(value))}</td></tr>"
        for name, value in config.items()
        if value is not None
    )
    versions = ", ".join(f"{name} {version}" for name, version in run["versions"].items())
    return (
        "<section><h2>How was it made?</h2><details><summary>All settings</summary>"
        f"<table class=settings><tbody>{lines}</tbody></table></details>"
        f"<p>Data {escape(run['data']['fingerprint'])}<br>{escape(versions)}<br>"
        f"{escape(run['hardware']['system'])}, {run['hardware']['threads']} threads</p></section>"
    )
