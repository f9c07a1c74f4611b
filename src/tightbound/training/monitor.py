"""Show the progress of training on standard error."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from tightbound.training.tally import perplexities

if TYPE_CHECKING:
    from tqdm import tqdm

    from tightbound.training.budget import Budget


def _live() -> bool:
    return "ipykernel" in sys.modules or sys.stderr.isatty()


def _bar(total: int | None, start: int, quiet: bool) -> tqdm[Any]:
    from tqdm.auto import tqdm

    form = "{elapsed}{desc}" if total is None else "{percentage:3.0f}%|{bar:12}| {remaining} left{desc}"
    return tqdm(total=total, initial=start, disable=quiet or not _live(), bar_format=form, dynamic_ncols=True)


@contextmanager
def counting(total: int, title: str, quiet: bool) -> Iterator[Callable[[int], object]]:
    """Show the progress of some work; yield a function to call with the number of examples just done."""
    if not quiet and not _live():
        print(title, file=sys.stderr, flush=True)
    bar = _bar(total, 0, quiet)
    bar.set_description_str(f", {title}", refresh=False)
    try:
        yield bar.update
    finally:
        bar.close()


class Monitor:
    """Progress bar in a terminal or a notebook, or about twenty plain lines elsewhere.

    Args:
        budget: What decides how long the stage takes.
        start: Number of steps already taken.
        quiet: Show nothing.
        stage: Name of the stage; "" is the first.
        trains_on: Name of the training loss.
    """

    def __init__(self, budget: Budget, start: int, quiet: bool, stage: str = "", trains_on: str = "train loss") -> None:
        self._trains_on = trains_on
        self._quiet, self._budget, self._stage = quiet, budget, f"{stage}: " if stage else ""
        self._live, self._shown = _live(), 0.0
        self._bar = _bar(None if budget.open else budget.total, start, quiet)
        self._bar.set_description_str(f", {stage}" if stage else "", refresh=False)

    def step(self) -> None:
        """Count a step."""
        self._bar.update()

    def epoch(self, row: Mapping[str, Any]) -> None:
        """Show the metrics of an epoch."""
        named = {name.removesuffix("_loss"): loss for name, loss in row.items() if name.endswith("_loss")}
        epochs = "" if self._budget.open else f"/{self._budget.epochs}"
        epoch = f"{self._stage}epoch {row['epoch']}{epochs}"
        usage = "|".join(f"{p:.0f}" for p in perplexities(row))
        if self._live:
            losses = ", ".join(f"{name} {loss:.2f}" for name, loss in named.items())
            end = f", perplexity: {usage}" if usage else ""
            self._bar.set_description_str(f"{self._left()}, {epoch}, loss: {losses}{end}", refresh=False)
        elif not self._quiet and self._due(row):
            words = [epoch]
            for name, loss in named.items():
                start = f"{name}_bits_per_"
                bits = [f" ({v:.4f} bits/{k.removeprefix(start)})" for k, v in row.items() if k.startswith(start) and v]
                title = self._trains_on if name == "train" else f"{name} loss"
                words.append(f"{title} {loss:.2f}{''.join(bits)}")
            words += [f"perplexity {usage}"] if usage else []
            print(", ".join(words), f"[{row['seconds']:.1f} s{self._left()}]", file=sys.stderr, flush=True)

    def _due(self, row: Mapping[str, Any]) -> bool:
        """Whether a plain line is due: about each twentieth of a known length, else after a fifth more time."""
        budget, shown = self._budget, self._shown
        if budget.over(row["step"]):
            return True
        reached = budget.seconds if budget.open else row["step"] // max(1, budget.total // 20)
        due = reached > (1.2 * shown + 1 if budget.open else shown)
        self._shown = reached if due else shown
        return due

    def _left(self) -> str:
        """Return how long training may take, if its end is not known."""
        budget = self._budget
        if not budget.open or budget.minutes is None:
            return ""
        rates = f", learning rate lowered {budget.decays} of {budget.DECAYS} times" if budget.decays else ""
        return f" of at most {budget.minutes:g} min{rates}"

    def close(self) -> None:
        """Close the bar."""
        self._bar.close()
