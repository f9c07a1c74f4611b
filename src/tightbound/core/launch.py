"""What a launcher (torchrun) tells the processes that it starts. Free of torch until several have something to say."""

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
    """Whether this process was started as one of several."""
    return int(os.environ.get("WORLD_SIZE", "1")) > 1 and "RANK" in os.environ and "MASTER_ADDR" in os.environ


def first() -> bool:
    """Whether this process is the first of those that were started together."""
    return not started() or os.environ["RANK"] == "0"


def go_alone() -> None:
    """From now on, count this process as started by itself."""
    os.environ["WORLD_SIZE"] = "1"


def again() -> bool:
    """Whether the launcher has started its processes again because one of them died."""
    return int(os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")) > 0


def job() -> str | None:
    """Return a name for this call of the launcher, the same after restarts; None if there is no launcher.

    Only the first process's answer counts: without a rendezvous id it names that process's own launcher.
    """
    name = os.environ.get("TORCHELASTIC_RUN_ID")
    return f"{socket.gethostname()} {os.getppid()}" if name == "none" else name


def check_named(run: object) -> None:
    """Check that a run of several processes, or one that may be started again, has a folder.

    Raises:
        InputError: If it has none.
    """
    if run is None and (started() or job() is not None):
        raise InputError(
            "processes of a launcher share a run, and find it again when they are restarted; "
            "name its folder with run=, where all of them can read and write"
        )


@contextlib.contextmanager
def first_alone_speaks() -> Iterator[None]:
    """Show what the first process prints, and nothing of the others."""
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
    """Return the store in which these processes meet, this one's number, and how many there are.

    The store is kept apart from those of earlier starts, which may hold the addresses of dead processes.
    """
    from torch.distributed import PrefixStore  # pyright: ignore[reportPrivateImportUsage]
    from torch.distributed.rendezvous import rendezvous

    store, rank, size = next(rendezvous("env://"))
    return PrefixStore(f"tightbound/{os.environ.get('TORCHELASTIC_RESTART_COUNT', '0')}", store), rank, size


def first_to_report(message: str) -> bool:
    """Whether no other process has reported this message; from now on it counts as reported."""
    if not started():
        return True
    try:
        store, _, _ = meeting()
        store.set("said", message)
        return store.add(f"said/{hashlib.sha256(message.encode()).hexdigest()}", 1) == 1
    except (RuntimeError, ValueError, OSError):  # the store is gone
        return True


def reported(seconds: float = 5.0) -> bool:
    """Whether another process has reported what ended it, or does so within some seconds."""
    try:
        store, _, _ = meeting()
        store.wait(["said"], timedelta(seconds=seconds))
    except (RuntimeError, ValueError, OSError):  # nothing was reported, or the store is gone
        return False
    return True
