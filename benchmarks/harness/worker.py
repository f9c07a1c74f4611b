"""The loop of a contestant's process: one line of JSON in, one out. Needs only the standard library.

A contestant is a script whose `main` is `worker.serve(prepare)`: `prepare(options)` builds what is to be measured and
gives a function from a request to an answer, called once a turn. Between turns the process is blocked on its standard
input: nothing of it runs, once the threads of its last turn have gone to sleep.
"""

from __future__ import annotations

import atexit
import json
import os
import resource
import sys
import tempfile
import time
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from typing import Any

Answer = dict[str, Any]
Turn = Callable[[dict[str, Any]], Answer]

PACKAGES = (
    "tightbound", "torch", "numpy", "pythae", "jax", "jaxlib", "disent", "ctgan", "scvi-tools", "lightning",
    "scikit-learn", "pillow",
)  # fmt: skip


def serve(prepare: Callable[[dict[str, Any]], Turn]) -> None:
    """Read options, answer with facts about this process, then answer each request until the input ends."""
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # libraries print to standard error: only answers go out
    try:
        turn = prepare(json.loads(sys.stdin.readline()))
        print(json.dumps({"python": sys.version.split()[0], "packages": versions()}), file=out, flush=True)
        for line in sys.stdin:
            print(json.dumps(turn(json.loads(line))), file=out, flush=True)
    except KeyboardInterrupt:
        sys.exit(130)


def timed(work: Callable[[], Any]) -> Answer:
    """Return seconds, processor seconds and page faults of a call, and its result if that is a dict."""
    began, processor, faults = time.perf_counter(), time.process_time(), _faults()
    found = work()
    taken = {"seconds": time.perf_counter() - began, "processor": time.process_time() - processor}
    taken["faults"] = _faults() - faults
    return {**taken, **(found if isinstance(found, dict) else {})}


def _faults() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt


def scratch() -> str:
    """Return a folder that is deleted with the process."""
    folder = tempfile.TemporaryDirectory(prefix="benchmark-")
    atexit.register(folder.cleanup)
    return folder.name


def versions() -> dict[str, str]:
    """Return the versions of the installed packages that figures depend on."""
    found = {}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found
