"""Memory figures of benchmarks/data.py."""

import subprocess
import sys

import pytest


@pytest.mark.skipif(sys.platform != "linux", reason="the peak of one process is known on Linux alone")
def test_the_peak_is_of_the_process_and_not_of_that_which_started_it(benchmarks):
    held = bytearray(200 << 20)
    held[::4096] = b"x" * len(held[::4096])
    command = [sys.executable, "-c", "import data; print(data.peak())"]
    done = subprocess.run(command, cwd=benchmarks, capture_output=True, text=True, check=True)
    assert 0 < float(done.stdout) < 190
