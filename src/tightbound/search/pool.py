"""Several processes of a search on this machine, and what they tell."""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection, wait
from typing import Any

from tightbound.core.errors import TightboundError


class WorkersDied(TightboundError):
    """Processes ended without having been asked to."""

    exit_status = 1


def pool(
    jobs: int, threads: int, target: Callable[..., None], args: tuple[Any, ...], tell: Callable[[Any], object]
) -> None:
    """Runs `target(connection, *args)` in new processes, and passes on what they send.

    The first SIGINT or SIGTERM is passed on as SIGTERM to each, once, and their end awaited.

    Arguments:
        jobs: How many.
        threads: Of each.
        target, args: Picklable; the processes are spawned.
        tell: Called with each object that one of them sends.

    Raises:
        KeyboardInterrupt: after a signal, when all have ended.
        TightboundError: the first that one of them sent, when all have ended.
        WorkersDied: some were killed; the others went on to the end.
    """
    context = multiprocessing.get_context("spawn")
    with (
        _environment(threads),
        _on(signal.SIGINT, signal.SIG_IGN),
    ):  # a terminal sends Ctrl-C to all: this one passes it on
        workers, pipes = [], []
        for _ in range(jobs):
            ours, theirs = context.Pipe(duplex=False)
            worker = context.Process(target=target, args=(theirs, *args), daemon=True)
            worker.start()
            theirs.close()  # so that the pipe ends when the worker does
            workers.append(worker)
            pipes.append(ours)
    stopped, errors = False, list[TightboundError]()
    with _on(signal.SIGTERM, signal.default_int_handler):  # acts as Ctrl-C
        while pipes:
            try:
                for sent in _sent(pipes):
                    errors.append(sent) if isinstance(sent, TightboundError) else tell(sent)
            except KeyboardInterrupt:
                if not stopped:
                    for worker in workers:
                        worker.terminate()
                stopped = True
    for worker in workers:
        worker.join()
    if stopped:
        raise KeyboardInterrupt
    if errors:
        raise errors[0]
    dead = [worker for worker in workers if worker.exitcode]
    if dead:
        codes = ", ".join(sorted({_named(worker.exitcode or 0) for worker in dead}))
        raise WorkersDied(f"{len(dead)} of {jobs} processes died ({codes}); the same command goes on")


def _sent(pipes: list[Connection]) -> Iterator[Any]:
    """What has arrived; pipes that have ended are left out from then on."""
    for pipe in wait(pipes):
        assert isinstance(pipe, Connection)
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
