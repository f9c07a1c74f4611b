"""Two processes that wait for work: test functions, called in both at once."""

from __future__ import annotations

import importlib.util
import os
import pickle
import select
import socket
import subprocess
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

N = 2


class Pair:
    """Two worker processes; `call` runs a function in both."""

    def __init__(self) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        common = {"WORLD_SIZE": f"{N}", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": f"{port}", "OMP_NUM_THREADS": "1"}
        self._workers = [
            subprocess.Popen(
                [sys.executable, "-W", "error", "-W", "ignore::DeprecationWarning", __file__],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                env=os.environ | common | {"RANK": f"{rank}", "LOCAL_RANK": f"{rank}"},
            )
            for rank in range(N)
        ]

    def call(self, file: str, name: str, *args: Any) -> list[Any]:
        """Call `name(*args)` of this file in both; return both results, or fail with the error of one."""
        for worker in self._workers:
            assert worker.stdin is not None
            pickle.dump((file, name, args), worker.stdin)
            worker.stdin.flush()
        said: dict[int, Any] = {}
        while len(said) < N:
            waiting = {worker.stdout: rank for rank, worker in enumerate(self._workers) if rank not in said}
            for answer in select.select(list(waiting), [], [], 600)[0] or pytest.fail("the processes wait for ever"):
                ok, said[waiting[answer]] = pickle.load(answer)
                if not ok:
                    self.close()  # the other may wait for this one
                    pytest.fail(said[waiting[answer]])
        return [said[rank] for rank in range(N)]

    def close(self) -> None:
        """End both."""
        for worker in self._workers:
            worker.kill()
            worker.communicate()


def _serve() -> None:
    """Run calls in a worker until its input ends."""
    from tightbound.core.world import connected

    out = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what the work prints is not an answer
    modules: dict[str, Any] = {}
    with connected():
        while True:
            try:
                file, name, args = pickle.load(sys.stdin.buffer)
            except EOFError:
                return
            try:
                if file not in modules:
                    spec = importlib.util.spec_from_file_location(Path(file).stem, file)
                    assert spec is not None
                    assert spec.loader is not None
                    modules[file] = importlib.util.module_from_spec(spec)
                    spec.loader.exec_module(modules[file])
                answer = True, getattr(modules[file], name)(*args)
            except BaseException:
                answer = False, traceback.format_exc()
            pickle.dump(answer, out)
            out.flush()


@contextmanager
def pair() -> Iterator[Pair]:
    """Yield both workers, and end them afterwards."""
    workers = Pair()
    try:
        yield workers
    finally:
        workers.close()


if __name__ == "__main__":
    _serve()
