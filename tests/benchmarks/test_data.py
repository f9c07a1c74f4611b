"""What benchmarks/data.py says of memory."""

import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
if not BENCHMARKS.is_dir():
    pytest.skip("the benchmarks are not beside these tests", allow_module_level=True)


@pytest.mark.skipif(sys.platform != "linux", reason="the peak of one process is known on Linux alone")
def test_the_peak_is_of_the_process_and_not_of_that_which_started_it():
    held = bytearray(200 << 20)
    held[::4096] = b"x" * len(held[::4096])
    command = [sys.executable, "-c", "import data; print(data.peak())"]
    done = subprocess.run(command, cwd=BENCHMARKS, capture_output=True, text=True, check=True)
    assert 0 < float(done.stdout) < 190
