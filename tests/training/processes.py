"""Two processes that wait for work: test functions, called in both at once."""

from __future__ import annotations

import os
import pickle
import socket
import traceback
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing import get_context
from multiprocessing.connection import Connection, wait
from typing import Any

import pytest
import torch

N = 2
FORK = get_context("fork")  # the workers have imported everything already


class Pair:
    """Two worker processes; `call` runs a function in both."""

    def __init__(self) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        common = {"WORLD_SIZE": f"{N}", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": f"{port}"}
        pipes = [FORK.Pipe() for _ in range(N)]
        self._pipes = [mine for mine, _ in pipes]
        self._workers = [
            FORK.Process(target=_serve, args=(pipes, rank, common | {"RANK": f"{rank}", "LOCAL_RANK": f"{rank}"}))
            for rank in range(N)
        ]
        for worker in self._workers:
            worker.start()
        for _, other in pipes:
            other.close()

    def call(self, function: Callable[..., Any], *args: Any) -> list[Any]:
        """Call a function of a module in both; return both results, or fail with the error of one."""
        for pipe in self._pipes:
            pipe.send_bytes(pickle.dumps((function, args)))
        said: dict[int, Any] = {}
        while len(said) < N:
            waiting = {pipe: rank for rank, pipe in enumerate(self._pipes) if rank not in said}
            for answer in wait(list(waiting), 600) or pytest.fail("the processes wait for ever"):
                assert isinstance(answer, Connection)
                ok, said[waiting[answer]] = pickle.loads(answer.recv_bytes())
                if not ok:
                    self.close()  # the other may wait for this one
                    pytest.fail(said[waiting[answer]])
        return [said[rank] for rank in range(N)]

    def close(self) -> None:
        """End both."""
        for worker, pipe in zip(self._workers, self._pipes, strict=True):
            worker.kill()
            worker.join()
            pipe.close()


def _serve(pipes: list[tuple[Connection, Connection]], rank: int, environment: dict[str, str]) -> None:
    """Run calls in a worker until its input ends."""
    from tightbound.core.world import connected

    mine = pipes[rank][1]
    for pipe in (pipe for pair in pipes for pipe in pair if pipe is not mine):
        pipe.close()
    torch.set_num_threads(1)  # a fork has none of the threads that OpenMP believes it has
    os.environ.update(environment)
    warnings.simplefilter("error")
    warnings.simplefilter("ignore", DeprecationWarning)
    with connected():
        while True:
            try:
                function, args = pickle.loads(mine.recv_bytes())
            except EOFError:
                return
            try:
                answer = True, function(*args)
            except BaseException:
                answer = False, traceback.format_exc()
            mine.send_bytes(pickle.dumps(answer))


@contextmanager
def pair() -> Iterator[Pair]:
    """Yield both workers, and end them afterwards."""
    workers = Pair()
    try:
        yield workers
    finally:
        workers.close()
