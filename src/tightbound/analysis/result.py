"""The result of an analysis: estimates, values for each example, tables, figures and sentences."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Self

from tightbound.analysis.estimate import Estimate
from tightbound.analysis.figures import Figure
from tightbound.core.errors import suggestion

if TYPE_CHECKING:
    from tightbound.analysis.estimate import Array


@dataclass(frozen=True)
class Table:
    """A table of text, for the terminal and the report page.

    Attributes:
        title: Heading.
        columns: Heads of the columns; the first column names the row.
        rows: Cells, one sequence for each row.
        caption: What the table shows, in a sentence.
        notes: Footnotes below it.
    """

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    caption: str = ""
    notes: Sequence[str] = ()


@dataclass(frozen=True, repr=False)
class Result:
    """Answer to one question about a trained model.

    `result["name"]` is the estimate of that name; `print(result)` shows all of them.

    Attributes:
        estimates: Numbers with standard errors, by name.
        per_example: Arrays (N, ...) with one row for each example, by name.
        tables: Further tables.
        tabulated: Whether the tables show the estimates, so that these need not be listed again.
        figures: Charts and pictures.
        sentences: Conclusions in words, the most important first.
        caption: What the estimates are taken over, in one line.
        remedy: Training options to change, if something is wrong: {"beta": "linear(share=0.25)"}.
        details: Other plain values (numbers, strings, lists, mappings) for programs that read the JSON.
    """

    estimates: Mapping[str, Estimate]
    per_example: Mapping[str, Array] = field(default_factory=dict, kw_only=True)
    tables: Sequence[Table] = field(default=(), kw_only=True)
    tabulated: bool = field(default=False, kw_only=True)
    figures: Sequence[Figure] = field(default=(), kw_only=True)
    sentences: Sequence[str] = field(default=(), kw_only=True)
    caption: str = field(default="", kw_only=True)
    remedy: Mapping[str, Any] = field(default_factory=dict, kw_only=True)
    details: Mapping[str, Any] = field(default_factory=dict, kw_only=True)

    def __getitem__(self, name: str) -> Estimate:
        if name not in self.estimates:
            raise KeyError(f"no estimate {name!r}; {suggestion(name, self.estimates)}")
        return self.estimates[name]

    def __contains__(self, name: object) -> bool:
        return name in self.estimates

    def __iter__(self) -> Iterator[str]:
        return iter(self.estimates)

    def __str__(self) -> str:
        width = max((len(name) for name in self.estimates), default=0)
        lines = [f"{name:{width}}  {estimate}" for name, estimate in self.estimates.items()]
        return "\n".join([*self.sentences, self.caption, *lines]).strip("\n")

    __repr__ = __str__  # a prompt shows what `print` does

    def to_json(self, *, figures: bool = True) -> dict[str, Any]:
        """Return plain numbers, lists and strings; `per_example` is left out.

        Args:
            figures: Include the figures, with their data.
        """
        written = {
            "caption": self.caption,
            "sentences": list(self.sentences),
            "estimates": {name: asdict(estimate) for name, estimate in self.estimates.items()},
            "tables": [asdict(table) for table in self.tables],
            "tabulated": self.tabulated,
            "remedy": dict(self.remedy),
            "details": dict(self.details),
        }
        return written | ({"figures": [figure.to_json() for figure in self.figures]} if figures else {})

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> Self:
        """Return the result that `to_json` wrote, without `per_example`."""
        return cls(
            {name: Estimate(**estimate) for name, estimate in stored["estimates"].items()},
            tables=[Table(**table) for table in stored["tables"]],
            figures=[Figure.from_json(figure) for figure in stored.get("figures", ())],
            tabulated=stored["tabulated"],
            sentences=stored["sentences"],
            caption=stored["caption"],
            remedy=stored["remedy"],
            details=stored["details"],
        )


@dataclass(frozen=True, repr=False)
class Evaluation(Result):
    """Bounds, rate, distortion and use of the latent space, with the values of each example."""

    @property
    def bound(self) -> str | None:
        """Name of the tightest bound on log p(x): "iwae", "elbo" if the posterior is deterministic, None if none."""
        return next((name for name in ("iwae", "elbo") if name in self.per_example), None)

    @property
    def has_code_indices(self) -> bool:
        """Whether the latent is quantized, so that z is a grid of code indices."""
        return "codes" in self.per_example

    @property
    def has_uniform_codes(self) -> bool:
        """Whether all code indices are equally probable under the prior in use."""
        return "prior_gain" in self.per_example and not self.per_example["prior_gain"].any()
