"""Several processes of a search on this machine, and what they tell."""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any, cast

from tightbound.core.errors import TightboundError


class WorkersDied(TightboundError):
    """Processes ended without having been asked to."""

    exit_status = 1


def pool(
    jobs: int, threads: int, target: Callable[..., None], args: tuple[Any, ...], tell: Callable[[Any], object]
) -> signal.Signals | None:
    """Runs `target(connection, *args)` in new processes, and passes on what they send.

    SIGINT and SIGTERM are passed on as SIGTERM to each, and their end is awaited. They may have had it
    already: where a whole group of processes is ended, as batch systems do.

    Arguments:
        jobs: How many.
        threads: Of each.
        target, args: Picklable; the processes are spawned.
        tell: Called with each object that one of them sends.

    Returns:
        The first signal that ended them; None: they ended by themselves.

    Raises:
        TightboundError: the first that one of them sent, when all have ended.
        WorkersDied: some were killed; the others went on to the end.
    """
    context = multiprocessing.get_context("spawn")
    told, errors = list[signal.Signals](), list[TightboundError]()
    workers, pipes = list[BaseProcess](), list[Connection]()

    def stop(number: int, frame: object) -> None:
        told.append(signal.Signals(number))
        for worker in workers:
            worker.terminate()

    with _on(signal.SIGTERM, stop):
        # a terminal sends Ctrl-C to all: this process alone heeds it, and passes it on
        with _environment(threads), _on(signal.SIGINT, signal.SIG_IGN):
            for _ in range(jobs):
                ours, theirs = context.Pipe(duplex=False)
                worker = context.Process(target=_until_told, args=(target, theirs, *args), daemon=True)
                worker.start()
                theirs.close()  # so that the pipe ends when the worker does
                workers.append(worker)
                pipes.append(cast(Connection, ours))  # on Windows of another class, of the same methods
        with _on(signal.SIGINT, stop):
            if told:  # while they were begun
                stop(told[0], None)
            while pipes:
                for sent in _sent(pipes):
                    errors.append(sent) if isinstance(sent, TightboundError) else tell(sent)
            for worker in workers:
                worker.join()
    if told:
        return told[0]
    if errors:
        raise errors[0]
    dead = [worker for worker in workers if worker.exitcode]
    if dead:
        codes = ", ".join(sorted({_named(worker.exitcode or 0) for worker in dead}))
        raise WorkersDied(f"{len(dead)} of {jobs} processes died ({codes})")
    return None


def _until_told(target: Callable[..., None], *args: Any) -> None:
    """SIGTERM is Ctrl-C here, once: locks are lifted, and what libraries hold is released."""

    def stop(number: int, frame: object) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, stop)
    try:
        target(*args)
    except (KeyboardInterrupt, BrokenPipeError):  # told so, or the process that listened has died
        raise SystemExit(1) from None


def _sent(pipes: list[Connection]) -> Iterator[Any]:
    """What has arrived; pipes that have ended are left out from then on."""
    for pipe in cast(list[Connection], wait(pipes)):
        try:
            yield pipe.recv()
        except EOFError:
            pipes.remove(pipe)


def _named(code: int) -> str:
    return signal.Signals(-code).name if code < 0 else f"exit status {code}"


@contextmanager
def _environment(threads: int) -> Iterator[None]:
    """What libraries read when a new process loads them."""
    names = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
    before = {name: os.environ.get(name) for name in names}
    os.environ.update(dict.fromkeys(names, str(threads)))
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name) if value is None else os.environ.update({name: value})


@contextmanager
def _on(number: signal.Signals, handler: Any) -> Iterator[None]:
    """A signal is handled so for a while."""
    before = signal.signal(number, handler)
    try:
        yield
    finally:
        signal.signal(number, before)
