"""Facts that torchrun passes to the processes that it starts. Imports torch only when several must communicate."""

from __future__ import annotations

import contextlib
import hashlib
import os
import socket
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

from tightbound.core.errors import InputError


def started() -> bool:
    """Return whether this process was started as one of several."""
    return int(os.environ.get("WORLD_SIZE", "1")) > 1 and "RANK" in os.environ and "MASTER_ADDR" in os.environ


def first() -> bool:
    """Return whether this process is the first of those that were started together."""
    return not started() or os.environ["RANK"] == "0"


def go_alone() -> None:
    """Treat this process from now on as if it had been started by itself."""
    os.environ["WORLD_SIZE"] = "1"


def again() -> bool:
    """Return whether the launcher has restarted its processes because one of them died."""
    return int(os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")) > 0


def job() -> str | None:
    """Return a name for this call of the launcher, which restarts do not change; None if there is no launcher.

    Use the first process's value only: without a rendezvous id, each process names its own launcher.
    """
    name = os.environ.get("TORCHELASTIC_RUN_ID")
    return f"{socket.gethostname()} {os.getppid()}" if name == "none" else name


def check_named(run: object) -> None:
    """Check that a run of several processes, or one that may be restarted, has a folder.

    Raises:
        InputError: If it has no folder.
    """
    if run is None and (started() or job() is not None):
        raise InputError(
            "a launcher's processes share a run and must find it after a restart, so it needs a folder; "
            "pass run= with a folder that all of them can read and write"
        )


@contextlib.contextmanager
def first_alone_speaks() -> Iterator[None]:
    """Show what the first process prints, and silence the others."""
    if first():
        yield
        return
    with (
        open(os.devnull, "w", encoding="utf-8") as nowhere,
        contextlib.redirect_stdout(nowhere),
        contextlib.redirect_stderr(nowhere),
    ):
        yield


def meeting() -> tuple[Any, int, int]:
    """Return the store that these processes share, the rank of this process, and the number of processes.

    Each restart uses a separate store, because an earlier one may hold the addresses of dead processes.
    """
    from torch.distributed import PrefixStore  # pyright: ignore[reportPrivateImportUsage]
    from torch.distributed.rendezvous import rendezvous

    store, rank, size = next(rendezvous("env://"))
    return PrefixStore(f"tightbound/{os.environ.get('TORCHELASTIC_RESTART_COUNT', '0')}", store), rank, size


def first_to_report(message: str) -> bool:
    """Mark a message as reported, and return whether this process is the first to report it."""
    if not started():
        return True
    try:
        store, _, _ = meeting()
        store.set("said", message)
        return store.add(f"said/{hashlib.sha256(message.encode()).hexdigest()}", 1) == 1
    except (RuntimeError, ValueError, OSError):  # the store is gone
        return True


def reported(seconds: float = 5.0) -> bool:
    """Return whether another process has reported why it ended, or does so within some seconds."""
    try:
        store, _, _ = meeting()
        store.wait(["said"], timedelta(seconds=seconds))
    except (RuntimeError, ValueError, OSError):  # nothing was reported, or the store is gone
        return False
    return True
