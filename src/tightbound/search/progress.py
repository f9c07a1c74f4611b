"""Lines that say how far the runs of a sweep are."""

from __future__ import annotations

import os
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from tightbound.search.metric import Metric
from tightbound.search.space import label
from tightbound.search.study import Record, State


@dataclass
class Progress:
    """Lines on standard error that say when runs begin and end, and at most every `seconds` how far they are."""

    folder: Path
    metric: Metric
    quiet: bool
    parent: int | None = None  # process that started this one
    seconds: float = 10.0
    began: float = 0.0
    last: float = 0.0

    def note(self, line: str) -> None:
        """Print a line, unless quiet."""
        if not self.quiet:
            print(line, file=sys.stderr, flush=True)

    def say(self, record: Record, what: str, score: float | None = None) -> None:
        """Print what happened to a run."""
        value = "" if score is None else f", validation {self.metric.description} {score:.2f}"
        self.note(f"{label(record.values)}: {what}{value}")

    def begin(self, record: Record) -> None:
        """Say that a run begins."""
        self.began = self.last = time.monotonic()
        self.say(record, str(self.folder / record.name))

    def epoch(self, record: Record, epoch: int, score: float | None) -> None:
        """Say how far a run is, if this process is one of several and enough time has passed."""
        if self.parent is None:
            return  # training shows its own progress
        if os.getppid() != self.parent:
            raise KeyboardInterrupt  # the process that started this one has died
        if time.monotonic() - self.last > self.seconds:
            self.last = time.monotonic()
            self.say(record, f"epoch {epoch}", score)

    def end(self, record: Record, state: State, score: float | None, reason: str | None) -> None:
        """Say how a run ended."""
        what = f"failed: {reason}" if state == "failed" else reason or "done"
        self.say(record, f"{what} [{time.monotonic() - self.began:.1f} s]", score)
