"""Read a torch DataLoader whose worker processes may end too early."""

from __future__ import annotations

import multiprocessing
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

from torch.utils.data import DataLoader

from tightbound.core.errors import InputError, ReaderLost

_END = object()


def read_by(loader: DataLoader[Any]) -> Iterator[Any]:
    """Iterate over a loader.

    Raises:
        ReaderLost: If a worker process was killed.
        InputError: If the processes cannot start, because the script is not guarded.
    """
    begun, error = False, None
    try:
        iterator = iter(loader)
    except RuntimeError as caught:
        if "bootstrapping phase" in str(caught):  # this is such a process, which runs the script again
            raise SystemExit(1) from None
        raise
    with _deaf_to_children() if loader.num_workers else nullcontext():
        try:
            while (item := next(iterator, _END)) is not _END:
                begun = True
                yield item
        except (RuntimeError, EOFError, ConnectionError) as caught:
            error = ReaderLost.of(caught)
            if error is None:
                raise
        del iterator  # ends the other readers
    if error is not None:
        method = getattr(loader.multiprocessing_context, "get_start_method", multiprocessing.get_start_method)()
        if not begun and method != "fork":
            error = InputError(
                f"no process of the DataLoader could start: with the start method {method!r} each of them runs the "
                "script again; put its statements under `if __name__ == '__main__':`, or use num_workers=0"
            )
        raise error


@contextmanager
def _deaf_to_children() -> Iterator[None]:
    """Ignore the end of children: torch would raise it wherever the program is; its iterator notices it as well."""
    if threading.current_thread() is not threading.main_thread() or not hasattr(signal, "SIGCHLD"):
        yield
        return
    before = signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    try:
        yield
    finally:
        signal.signal(signal.SIGCHLD, before)


def leave_signals(worker: int) -> None:
    """Ignore Ctrl-C, which reaches all processes of a terminal: the one that trains handles it and ends the others."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
