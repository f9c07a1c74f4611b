"""Make the environment of the peers, `.peers` beside this folder.

    python benchmarks/peers.py
    python benchmarks/peers.py --cells

With --cells, make the environment of scvi-tools, `.peers-cells`.
They are installed from their packages, and run in processes of their own: the product neither imports them nor shares
an environment with them."""

from __future__ import annotations

import argparse
import subprocess
import sys
import venv
from pathlib import Path

from harness.race import CELLS, PEERS, peers_python

# the same torch as tightbound's, so that figures differ by the code on top of it
PACKAGES = ("torch==2.13.0", "pythae==0.1.2", "disent==0.8.0", "jax==0.10.2", "safetensors", "ctgan==0.12.1")
FOR_CELLS = ("torch==2.13.0", "scvi-tools==1.4.2")


def main(folder: Path | None = None) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n\n")[0])
    parser.add_argument("--cells", action="store_true", help="the environment of benchmarks/cells.py")
    cells = parser.parse_args().cells
    folder = folder or (CELLS if cells else PEERS)
    if not (folder / "bin" / "python").is_file():
        venv.create(folder, with_pip=True)
    packages = FOR_CELLS if cells else PACKAGES
    sys.exit(subprocess.run([peers_python(folder), "-m", "pip", "install", *packages]).returncode)


if __name__ == "__main__":
    main()
