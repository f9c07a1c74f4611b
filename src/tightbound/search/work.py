"""One process of a search: it trains trial after trial until there are none left."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from tightbound.core.errors import TightboundError
from tightbound.search.ledger import Ledger, Search, Trial
from tightbound.search.metric import Metric
from tightbound.search.study import Study


@dataclass(frozen=True)
class Event:
    """What happened to a trial."""

    trial: Trial
    epoch: int | None = None  # that ended; None: the trial began or ended
    value: float | None = None  # of what runs are chosen by

    @property
    def began(self) -> bool:
        """Whether the trial began."""
        return self.epoch is None and not self.trial.over


OnEpoch = Callable[[Mapping[str, Any]], None]
Train = Callable[[Trial, OnEpoch], float | None]  # trains, or goes on; gives what the run is chosen by
Tell = Callable[[Event], object]


class Pruned(Exception):
    """A trial is given up."""


def work(ledger: Ledger, search: Search, metric: Metric, train: Train, tell: Tell, study: Study | None = None) -> None:
    """Trains what is left, with whoever else does.

    An error ends its trial, not the search. What stops the process (Ctrl-C, SIGKILL) leaves its trial to whoever comes
    next.
    """
    while True:
        with ledger.claimed(search) as trial:
            if trial is None:
                return
            tell(Event(trial))

            def on_epoch(row: Mapping[str, Any], trial: Trial = trial) -> None:
                reached = metric.of_epoch(row)
                tell(Event(trial, row["epoch"], reached))
                if study is None or trial.advised is None or reached is None:
                    return
                if study.hopeless(trial.advised, row["epoch"], reached):
                    raise Pruned(f"pruned after epoch {row['epoch']}")

            value = None
            try:
                value = train(trial, on_epoch)
                over = trial.ended("done")
            except Pruned as stop:
                over = trial.ended("pruned", str(stop))
            except (KeyboardInterrupt, BrokenPipeError):
                raise
            except Exception as error:
                over = trial.ended("failed", reason(error))
            if study is not None and trial.advised is not None:
                study.tell(trial.advised, over.state, value)
            ledger.write(over)
            tell(Event(over, value=value))


def reason(error: Exception) -> str:
    """An error in a line."""
    said = " ".join(str(error).split())
    if isinstance(error, MemoryError) or "allocate" in said:
        return "out of memory"
    return said if isinstance(error, TightboundError) else f"{type(error).__name__}: {said}"
