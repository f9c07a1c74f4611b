"""Work that follows training, in proportion to it."""

from __future__ import annotations

import math
from dataclasses import dataclass

from tightbound.analysis.diagnosis.checks.prior import PriorMismatch
from tightbound.analysis.diagnosis.diagnose import Diagnose
from tightbound.analysis.diagnosis.engine import Case, diagnose
from tightbound.config import Settings
from tightbound.data import Data
from tightbound.data.division import few_labels, for_training
from tightbound.inference.fitting import save_sampler
from tightbound.trained import Trained
from tightbound.training.suited import Suited

PASSES = 60  # through the decoder that a quick diagnosis takes for each of its examples
DECODED = 8_000_000  # numbers that each part may decode after the shortest training: a second or two


@dataclass(frozen=True)
class Afterwards:
    """How much is computed after training: about a tenth of the work of training, and a few seconds at least.

    It is counted in examples, not in seconds, so that results do not depend on the speed of the machine. A visit of an
    example in training takes about three passes through the networks; evaluation, sampler and diagnosis have a twelfth
    to an eighth of a pass for each visit.

    Args:
        visits: Examples that were trained on, counted at each visit.
        dimensions: Numbers in an example.
        density: Work of log p(z), in passes through the decoder.
    """

    visits: int
    dimensions: int
    density: int = 0

    @classmethod
    def of(cls, trained: Trained, settings: Settings) -> Afterwards:
        """Return the work that a training allows."""
        model = trained.model
        prior, size = model.latents.second_stage, sum(p.numel() for p in model.likelihood.parameters())
        own = 0 if prior is None else sum(p.numel() for p in prior.parameters())
        steps = max((int(row["step"]) for row in trained.metrics if not row.get("stage")), default=0)
        visits = steps * Suited.to(model, settings).batch_size
        return cls(visits, math.prod(model.shape), model.latents.density_passes * own // max(1, size))

    @property
    def least(self) -> int:
        """Passes through the networks that even the shortest training allows."""
        return DECODED // self.dimensions // (1 + self.density)

    def evaluation(self, examples: int) -> tuple[int, int]:
        """Return how many of the test examples to evaluate, and with how many samples each, in tens."""
        passes = self.visits // 8 // (1 + self.density)
        samples = min(500, max(10, passes // examples // 10 * 10))
        return min(examples, max(50, max(passes, self.least) // samples)), samples

    @property
    def codes(self) -> int:
        """Training examples to whose latent codes a sampler is fitted, at most."""
        return max(self.visits // 12, min(5000, max(200, self.least)))

    @property
    def diagnosis(self) -> Diagnose:
        """The diagnosis of a trained model."""
        least = min(100, max(30, self.least // PASSES))
        examples = min(300, max(least, self.visits // 12 // PASSES // (1 + self.density)))
        return Diagnose(max_examples=examples, samples=10, quick=True, progress=True)


def suit_samples(
    trained: Trained,
    data: Data,
    settings: Settings,
    afterwards: Afterwards,
    sampler: str = "auto",
    *,
    quiet: bool = True,
) -> bool:
    """Fit the latent sampler that samples will come from.

    Args:
        trained: The trained model.
        data: Data that the model was trained on.
        settings: Training options.
        afterwards: Amount of work in proportion to the training.
        sampler: Latent sampler; "prior": none; "auto": a Gaussian mixture if validation examples show a prior
            mismatch and the model is not conditional, since the mixture does not depend on the context.
        quiet: Show no progress.

    Returns:
        True if a sampler was fitted.

    Raises:
        InputError: If the sampler needs labels, and there are none.
    """
    if sampler == "prior":
        return False
    if sampler != "auto":
        some = data if settings.labels_fraction is None else few_labels(data, settings.labels_fraction, settings.seed)
        own = {"minutes": settings.minutes, "seed": settings.seed, "quiet": quiet}
        trained.fit_sampler(sampler, some.train, default=True, **own)
        return True
    if trained.model.latents.second_stage is not None:  # this prior was fitted to latent codes itself
        return False
    train, held_out = for_training(data, settings, partial=trained.model.infers_context)
    if trained.model.context is not None or held_out is None or (held_out.size or 2) < 2 or trained.folder is None:
        return False
    codes = afterwards.codes
    case = Case(
        trained.model, train, held_out, trained.config, max_examples=min(300, codes), samples=1, max_codes=codes
    )
    if not diagnose(case, (PriorMismatch(),)).findings:
        return False
    with trained.folder.exclusive():
        trained.folder.check_current()
        save_sampler(trained.folder, "gaussian-mixture", case.density, len(case.many), default=True)
    return True
