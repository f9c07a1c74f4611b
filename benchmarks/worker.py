"""What a contestant's process runs: one line of JSON in, one out. Needs the standard library alone.

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

PACKAGES = ("tightbound", "torch", "numpy", "pythae", "jax", "jaxlib", "disent", "lightning", "scikit-learn", "pillow")


def serve(prepare: Callable[[dict[str, Any]], Turn]) -> None:
    """Reads options, answers with the facts of this process, then answers each request, until its input ends."""
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what libraries print goes to standard error: the answers alone go out
    try:
        turn = prepare(json.loads(sys.stdin.readline()))
        print(json.dumps({"python": sys.version.split()[0], "packages": versions()}), file=out, flush=True)
        for line in sys.stdin:
            print(json.dumps(turn(json.loads(line))), file=out, flush=True)
    except KeyboardInterrupt:
        sys.exit(130)


def timed(work: Callable[[], Any]) -> Answer:
    """Seconds, processor seconds and page faults of a call, and what it gave where that is a dict."""
    began, processor, faults = time.perf_counter(), time.process_time(), _faults()
    found = work()
    taken = {"seconds": time.perf_counter() - began, "processor": time.process_time() - processor}
    taken["faults"] = _faults() - faults
    return {**taken, **(found if isinstance(found, dict) else {})}


def _faults() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt


def scratch() -> str:
    """A folder that goes with the process."""
    folder = tempfile.TemporaryDirectory(prefix="benchmark-")
    atexit.register(folder.cleanup)
    return folder.name


def versions() -> dict[str, str]:
    """Of the packages that figures depend on, those that are installed here."""
    found = {}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found
