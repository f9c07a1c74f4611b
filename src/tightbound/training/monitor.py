"""Show the progress of training on standard error."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from tightbound.training.tally import perplexities

if TYPE_CHECKING:
    from tqdm import tqdm


def _live() -> bool:
    return "ipykernel" in sys.modules or sys.stderr.isatty()


def _bar(total: int, start: int, quiet: bool) -> tqdm[Any]:
    from tqdm.auto import tqdm

    form = "{percentage:3.0f}%|{bar:12}| {remaining} left{desc}"
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
        total: Number of steps of the stage.
        start: Number of steps already taken.
        epochs: Number of epochs of the stage.
        quiet: Show nothing.
        stage: Name of the stage; "" is the first.
    """

    def __init__(self, total: int, start: int, epochs: int, quiet: bool, stage: str = "") -> None:
        self._quiet, self._epochs, self._stage = quiet, epochs, f"{stage}: " if stage else ""
        self._live = _live()
        self._bar = _bar(total, start, quiet)
        self._bar.set_description_str(f", {stage}" if stage else "", refresh=False)

    def step(self) -> None:
        """Count a step."""
        self._bar.update()

    def epoch(self, row: Mapping[str, Any]) -> None:
        """Show the metrics of an epoch."""
        named = {name.removesuffix("_loss"): loss for name, loss in row.items() if name.endswith("_loss")}
        epoch = f"{self._stage}epoch {row['epoch']}/{self._epochs}"
        usage = "|".join(f"{p:.0f}" for p in perplexities(row))
        if self._live:
            losses = ", ".join(f"{name} {loss:.2f}" for name, loss in named.items())
            end = f", perplexity: {usage}" if usage else ""
            self._bar.set_description_str(f", {epoch}, loss: {losses}{end}", refresh=False)
        elif not self._quiet and (row["epoch"] % max(1, self._epochs // 20) == 0 or row["epoch"] == self._epochs):
            words = [epoch]
            for name, loss in named.items():
                start = f"{name}_bits_per_"
                bits = [f" ({v:.4f} bits/{k.removeprefix(start)})" for k, v in row.items() if k.startswith(start) and v]
                words.append(f"{name} loss {loss:.2f}{''.join(bits)}")
            words += [f"perplexity {usage}"] if usage else []
            print(", ".join(words), f"[{row['seconds']:.1f} s]", file=sys.stderr, flush=True)

    def close(self) -> None:
        """Close the bar."""
        self._bar.close()
