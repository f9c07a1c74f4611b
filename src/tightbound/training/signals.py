"""Stop training after a checkpoint on Ctrl-C or SIGTERM."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from tightbound.core.errors import TightboundError
from tightbound.core.world import together

if TYPE_CHECKING:
    from tightbound.training.folder import RunFolder


class Interrupted(TightboundError, KeyboardInterrupt):
    """Training was stopped by Ctrl-C or SIGTERM; a checkpoint has been written."""

    def __init__(self, message: str, by: signal.Signals) -> None:
        super().__init__(message)
        self.by = by
        self.exit_status = 128 + by

    @classmethod
    def at(cls, where: str, folder: RunFolder, by: signal.Signals) -> Interrupted:
        """Return the error, with where training stopped and how to continue it."""
        way = f"to continue {folder}, pass resume="
        if folder.temporary:
            way = "it cannot be continued; pass run= to be able to"
        return cls(f"stopped by {by.name} {where}; {way}", by)


class StopFlag:
    """Flag that the first SIGINT or SIGTERM sets.

    A second SIGINT acts at once. A second SIGTERM does nothing, because launchers forward signals that their processes
    have already received.
    """

    raised: signal.Signals | None = None

    def agreed(self, due: bool = False, late: bool = False) -> tuple[signal.Signals | None, bool, bool]:
        """Return the signal that any process received, and whether `due` and `late` hold in any (one collective)."""
        own = [self.raised == signal.SIGINT, self.raised == signal.SIGTERM, due, late]
        interrupt, end, due_somewhere, late_somewhere = together(own)
        by = signal.SIGINT if interrupt else signal.SIGTERM if end else None
        return by, bool(due_somewhere), bool(late_somewhere)


@contextmanager
def stop_on_signals() -> Iterator[StopFlag]:
    """Turn the first SIGINT or SIGTERM into a flag that the training loop checks (in the main thread only)."""
    flag = StopFlag()
    if threading.current_thread() is not threading.main_thread():
        yield flag
        return
    previous = {s: signal.getsignal(s) for s in (signal.SIGINT, signal.SIGTERM)}
    previous = {s: handler for s, handler in previous.items() if handler != signal.SIG_IGN}  # such as under nohup

    def handle(number: int, frame: object) -> None:
        flag.raised = flag.raised or signal.Signals(number)
        if signal.SIGINT in previous:
            signal.signal(signal.SIGINT, previous[signal.SIGINT])

    for s in previous:
        signal.signal(s, handle)
    try:
        yield flag
    finally:
        for s, handler in previous.items():
            signal.signal(s, handler)
