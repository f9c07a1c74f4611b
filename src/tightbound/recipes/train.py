"""Train a model from options."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal, Unpack

from tightbound.config import FitOptions
from tightbound.data.given import Source
from tightbound.recipes.afterwards import Afterwards, suit_samples
from tightbound.recipes.composing import compose, configure, opened, recorded
from tightbound.trained import Trained
from tightbound.training.callbacks import CallbackLike
from tightbound.training.checks import check_options
from tightbound.training.fit import fit_run


class TrainOptions(FitOptions, total=False):
    """The options of the composition and of training as keyword arguments (PEP 692)."""

    latent: int | Literal["auto"]
    network: str
    likelihood: str
    observation: str
    prior: str
    posterior: str
    latents: str
    context: str | None
    objective: str
    beta: str | float | None
    sampler: str
    start_at_data: bool
    levels: int | None
    domain: Literal["binary", "counts", "unit", "real"] | None
    kinds: str | None
    labels: str | None
    ignore: tuple[str, ...]
    id: str | None
    layer: str | None
    covariates: tuple[str, ...]
    resize: tuple[int, int] | None
    gray: bool


def train(
    data: Source | tuple[Source, Source],
    *,
    recipe: str | None = None,
    validation: Source | None = None,
    test: Source | float | None = None,
    run: str | Path | None = None,
    resume: bool = False,
    overwrite: bool = False,
    quiet: bool = False,
    callbacks: Sequence[CallbackLike] = (),
    trust: bool = False,
    **options: Unpack[TrainOptions],
) -> Trained:
    """Build a model and an objective from options, train the model, and return it.

    The options have the same names as on the command line. `Trained.config` holds all of them, and a remedy of
    `diagnose()` is a dictionary of options: `tb.train(data, **options | diagnosis.remedy)`.

    If validation examples show that the prior does not match the latent codes (see `diagnose`), `train` fits a Gaussian
    mixture to the latent codes, and `sample` uses it; `sample(sampler="prior")` uses the prior. The option `sampler`
    names another latent sampler to fit, or the "prior".

    Args:
        data: Training data in any form, or a pair (training data, test data).
        recipe: A published composition that the options change.
        validation: Validation data; None: a part of the training data.
        test: Test data, or the fraction of a file to set aside for testing.
        run: Folder of the run; None: nothing is kept beside the result (see `fit`).
        resume: Continue the run from its last checkpoint (see `fit`).
        overwrite: Replace an existing run in that folder.
        quiet: Show no progress.
        callbacks: Functions or callbacks to call after epochs and steps.
        trust: Import components outside tightbound, written "module:Class(...)".
        **options: latent, prior, objective, epochs, lr, ...

    Raises:
        InputError: If an option or component is unknown or out of range, or the data cannot be used.
        CompositionError: If the components do not fit each other or the data.
    """
    config = configure(data, recipe, options)
    config.check()
    examples = opened(config, data, validation, test, trust=trust)
    check_options(options, examples)
    composed = compose(config, examples, trust=trust)
    settings = composed.config.settings()
    fitted = fit_run(
        composed.model, examples, composed.objective, settings, run=run, resume=resume,
        overwrite=overwrite, quiet=quiet, config=recorded(composed.config), callbacks=callbacks,
    )  # fmt: skip
    trained = Trained(
        fitted.model, examples, folder=fitted.folder, weights=fitted.weights, metrics=fitted.metrics, keep=fitted
    )
    suit_samples(trained, examples, settings, Afterwards.of(trained, settings), composed.config.sampler, quiet=quiet)
    return trained
