"""Measure the effect of shifting latent codes along an attribute direction."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from tightbound.analysis.base import Analysis, Subject, option
from tightbound.analysis.estimate import percent, scalar, scalar_error
from tightbound.analysis.figures import Figure, Lines
from tightbound.analysis.result import Result
from tightbound.core.schema import Schema

if TYPE_CHECKING:
    from tightbound.analysis.representation.steering import Shifted
    from tightbound.core.model import VAE
    from tightbound.trained import Trained


@dataclass(frozen=True, kw_only=True)
class Attribute(Analysis[Result]):
    """Shift latent codes along an attribute direction, decode them, and measure the effect.

    The direction leads from one label to another and is estimated from training examples. Latent codes of test examples
    are shifted and decoded. What was decoded is encoded again, and a linear probe, fitted to the latent codes of
    training examples, predicts its label.

    References:
        Autoencoding beyond pixels (Larsen et al. 2016), Section 4.2, https://arxiv.org/abs/1512.09300
    """

    name = "attribute"
    question = "What does shifting latent codes towards a label do?"
    group = "look"
    splits = True
    reported = False
    per_example = True

    label: int | str = option(metavar="LABEL", variant=True)  # a run records no answer about a single label
    """Class label to move to, by name or number."""
    against: int | str | None = option(None, metavar="LABEL", variant=True)
    """Class label to move from. Default: all other labels."""
    factor: int | None = option(None, metavar="INT", variant=True)
    """Which label is meant, counted from 0, if each example has several labels."""
    direction: Literal["means", "probe"] = option("means", choices=("means", "probe"), variant=True)
    """Direction of the shift: means (the difference of the mean latent codes of the two classes) or probe (the normal
    of a linear probe that separates them)."""
    max_examples: int = option(500, least=1, short="-n")
    """Maximum number of test examples, picked at random."""
    rows: int = option(8, least=1)
    """Number of examples in the figure, one per row."""

    def run(self, trained: Trained, subject: Subject) -> Result:
        """Shift latent codes of the examples along a direction from the training split."""
        from tightbound.analysis.representation.steering import steer

        names = Schema(classes=tuple(subject.examples.classes))
        label, against = names.class_number(self.label), names.class_number(self.against)
        found = steer(
            trained.model, subject.train, subject.examples, label, against, factor=self.factor,
            direction=self.direction, max_examples=self.max_examples, names=names, seed=self.seed,
        )  # fmt: skip
        goal = names.class_name(label)
        start = "any other label" if against is None else f"label {names.class_name(against)}"
        sentence = (
            f"Shifted by the full vector, {percent(found.estimates['+1'])}% of {len(found.codes):,} test examples "
            f"with {start} are classified as {goal}; without a shift, {percent(found.estimates['+0'])}%."
        )
        return Result(
            found.estimates,
            per_example={
                "index": found.index.numpy(),
                "label": found.labels.numpy(),
                "predicted": found.predicted,
                "x": found.x.numpy(),
            },
            caption=f"{subject.name}: share classified as {goal}, by multiples of the attribute vector",
            sentences=[sentence],
            figures=[*self._pictures(trained.model, found, names, goal), self._curve(found, goal)],
            details={"strengths": list(found.strengths), "vector": found.vector.tolist()},
        )

    def _pictures(self, model: VAE, found: Shifted, names: Schema, goal: str) -> list[Figure]:
        from tightbound.analysis import pictures

        if not pictures.is_image(model.shape):
            return []
        shown = found.x[: self.rows]
        rows = [pictures.to_pixels(row, model.observation.source) for row in shown]
        labels = [names.class_name(label) for label in found.labels[: self.rows].tolist()]
        panel = pictures.panel(rows, labels, [f"{s:+g}" for s in found.strengths])
        caption = f"Test examples, with their labels at the left, shifted towards label {goal}; above, the strength."
        return [Figure("attribute", f"Towards label {goal}", caption, [panel])]

    def _curve(self, found: Shifted, goal: str) -> Figure:
        name = f"classified as {goal}"
        values = list(found.estimates.values())
        panel = Lines(
            x=found.strengths, series={name: [scalar(each) for each in values]},
            errors={name: [scalar_error(each) for each in values]}, markers=True,
            x_label="multiples of the attribute vector", y_label=f"share classified as {goal}",
        )  # fmt: skip
        caption = "Share of the shifted examples that a linear probe classifies as the label, with 95% intervals."
        return Figure("attribute-effect", "Effect of the shift", caption, [panel])
