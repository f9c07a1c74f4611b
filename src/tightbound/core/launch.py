"""What `torchrun` tells the processes that it starts. Free of torch until several of them have something to say."""

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
    """This process counts as started by itself from now on."""
    os.environ["WORLD_SIZE"] = "1"


def again() -> bool:
    """Whether `torchrun` starts its processes not for the first time: one of them died."""
    return int(os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")) > 0


def job() -> str | None:
    """What tells this call of `torchrun` from others, the same when it starts its processes again; None: there is none.

    Only what the first process says counts: where no --rdzv-id was given, it is that process's own launcher.
    """
    name = os.environ.get("TORCHELASTIC_RUN_ID")
    return f"{socket.gethostname()} {os.getppid()}" if name == "none" else name


def check_named(run: object, flag: str) -> None:
    """Refuses a run without a folder of its own where there are several processes, or these may be started again.

    Raises:
        InputError: says to give `flag`.
    """
    if run is None and (started() or job() is not None):
        raise InputError(
            f"torchrun's processes share a run, and find it when they are started again: name its folder by {flag}, "
            "where all of them can write and read"
        )


@contextlib.contextmanager
def first_alone_speaks() -> Iterator[None]:
    """Nothing that other processes than the first print is shown."""
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
    """The store in which these processes meet, this one's number and how many they are.

    Apart from those of earlier starts: torch may leave the addresses of dead processes in a store that it uses again.
    """
    from torch.distributed import PrefixStore  # pyright: ignore[reportPrivateImportUsage]
    from torch.distributed.rendezvous import rendezvous

    store, rank, size = next(rendezvous("env://"))
    return PrefixStore(f"tightbound/{os.environ.get('TORCHELASTIC_RESTART_COUNT', '0')}", store), rank, size


def first_to_say(message: str) -> bool:
    """Whether no other process has said this, of those that were started together; then it counts as said."""
    if not started():
        return True
    try:
        store, _, _ = meeting()
        store.set("said", message)
        return store.add(f"said/{hashlib.sha256(message.encode()).hexdigest()}", 1) == 1
    except (RuntimeError, ValueError, OSError):  # the others' meeting place is gone
        return True


def said(seconds: float = 5.0) -> bool:
    """Whether one of the processes that were started together has said what ended it, or does so within a while."""
    try:
        store, _, _ = meeting()
        store.wait(["said"], timedelta(seconds=seconds))
    except (RuntimeError, ValueError, OSError):  # nothing was said, or the meeting place is gone
        return False
    return True
