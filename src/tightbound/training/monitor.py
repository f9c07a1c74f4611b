"""What a person sees while a model trains, and how they stop it."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from tightbound.core.errors import TightboundError


class Interrupted(TightboundError, KeyboardInterrupt):
    """Training was stopped by Ctrl-C or SIGTERM; a checkpoint has been written."""

    def __init__(self, message: str, by: signal.Signals) -> None:
        super().__init__(message)
        self.by = by
        self.exit_status = 128 + by


class StopFlag:
    """Set by the first SIGINT or SIGTERM; a second one acts at once."""

    raised: signal.Signals | None = None


@contextmanager
def stop_on_signals() -> Iterator[StopFlag]:
    """Turns the first SIGINT or SIGTERM into a flag that the loop looks at (in the main thread only)."""
    flag = StopFlag()
    if threading.current_thread() is not threading.main_thread():
        yield flag
        return
    previous = {s: signal.getsignal(s) for s in (signal.SIGINT, signal.SIGTERM)}
    previous = {s: handler for s, handler in previous.items() if handler != signal.SIG_IGN}  # nohup and the like

    def handle(number: int, frame: object) -> None:
        flag.raised = signal.Signals(number)
        for s, handler in previous.items():
            signal.signal(s, handler)

    for s in previous:
        signal.signal(s, handle)
    try:
        yield flag
    finally:
        for s, handler in previous.items():
            signal.signal(s, handler)


class Monitor:
    """A progress bar with time left in a terminal or a notebook; plain lines, about twenty, elsewhere.

    Arguments:
        total: Steps of the stage.
        start: Steps taken already.
        epochs: Of the stage.
        quiet: Show nothing.
    """

    def __init__(self, total: int, start: int, epochs: int, quiet: bool) -> None:
        from tqdm.auto import tqdm

        self._quiet, self._epochs = quiet, epochs
        self._live = "ipykernel" in sys.modules or sys.stderr.isatty()
        form = "{percentage:3.0f}%|{bar:12}| {remaining} left{desc}"
        self._bar = tqdm(
            total=total, initial=start, disable=quiet or not self._live, bar_format=form, dynamic_ncols=True
        )

    def step(self) -> None:
        """One step was taken."""
        self._bar.update()

    def epoch(self, row: Mapping[str, Any]) -> None:
        """An epoch is over."""
        words = [f"epoch {row['epoch']}/{self._epochs}"]
        for split in ("train", "validation"):
            if (loss := row.get(f"{split}_loss")) is not None:
                bits = row.get(f"{split}_bits_per_dim")
                words.append(f"{split} loss {loss:.2f}" + (f" ({bits:.4f} bits/dim)" if bits is not None else ""))
        if self._live:
            losses = [f"{s} {row[f'{s}_loss']:.2f}" for s in ("train", "validation") if f"{s}_loss" in row]
            self._bar.set_description_str(f", {words[0]}, loss: {', '.join(losses)}", refresh=False)
        elif not self._quiet and (row["epoch"] % max(1, self._epochs // 20) == 0 or row["epoch"] == self._epochs):
            print(", ".join(words), f"[{row['seconds']:.1f} s]", file=sys.stderr, flush=True)

    def close(self) -> None:
        """Leaves the bar as it stands."""
        self._bar.close()
