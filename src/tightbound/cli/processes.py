"""`--processes N`: run the command again in several processes, started by torch's own launcher."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from tightbound.cli.arguments import Command
from tightbound.cli.training import Train
from tightbound.core.errors import whole


def start(command: Command, argv: Sequence[str], processes: int) -> None:
    """Run a command in several processes of this machine, and wait for them.

    Args:
        command: The command.
        argv: Its words, with the option.
        processes: Number of processes.

    Raises:
        InputError: If there are more than 1024 processes.
        SystemExit: With the status of the first process that failed.
    """
    whole("processes", processes, least=1, most=1024)
    from torch.distributed import run
    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError

    words = _without(argv, "--processes")
    if isinstance(command, Train) and command.run is None:
        from tightbound.cli.actions.train import run_name
        from tightbound.training.folder import unused

        words += ["--run", str(unused(Path("runs") / run_name(command)))]  # all processes need the same name
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, cores // processes)))
    logging.getLogger("torch.distributed.elastic").setLevel(logging.CRITICAL)  # the processes report errors themselves
    options = ["--standalone", "--nproc-per-node", str(processes)]
    try:
        run.run(run.parse_args([*options, "-m", "--", "tightbound", *words]))
    except ChildFailedError as failed:
        status = failed.get_first_failure()[1].exitcode
        sys.exit(status if status > 0 else 128 - status)
    except SignalException as stopped:
        sys.exit(128 + stopped.sigval)


def _without(argv: Sequence[str], option: str) -> list[str]:
    """Return the words without an option and its value."""
    words, rest = [], iter(argv)
    for word in rest:
        if word == option:
            next(rest, None)
        elif not word.startswith(f"{option}="):
            words.append(word)
    return words
