"""Cost and memory of data: in memory against a torch DataLoader, decoding, and as data grow 1x, 10x and 100x.

    python benchmarks/data.py --json data.json

Each measurement of memory is a process of its own: the peak of its resident memory, beside that of a process that has
imported the same and read nothing.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

SHAPE = (1, 28, 28)
KINDS = ("array", "parquet", "tar", "saved")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n\n")[0])
    parser.add_argument("--base", type=int, default=2_000, help="data at 1x")
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=KINDS, help="of sources that grow")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--child", nargs=2, metavar=("KIND", "PATH"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        print(json.dumps(measured(*arguments.child)))
        return
    found: dict[str, Any] = {"machine": {"system": platform.platform(), "cores": os.cpu_count()}}
    found["machine"] |= {"python": platform.python_version(), "load": os.getloadavg()[0]}
    found["loader"] = against_loader(arguments.repeats)
    rows = found["loader"]
    print(f"an epoch of 20,000 images 28x28 in batches of 128: ours {rows['ours']:.3f} s, loader {rows['torch']:.3f} s")
    print(f"the DataLoader takes {rows['ratio']:.1f} times as long")
    with tempfile.TemporaryDirectory() as folder:
        found["decode"] = decoding(Path(folder), arguments.repeats)
        print(f"a folder of PNG 28x28, read whole: {found['decode']['images_a_second']:,.0f} images/s")
        found["growth"] = growth(Path(folder), arguments.base, arguments.kinds)
    if arguments.json:
        arguments.json.write_text(json.dumps(found, indent=2) + "\n")


def pixels(size: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (size, *SHAPE), dtype=np.uint8)


def seconds(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def against_loader(repeats: int) -> dict[str, float]:
    """The same arrays, shuffled, in batches of 128: medians of turns that alternate."""
    import torch
    from torch.utils.data import DataLoader, TensorDataset

    from tightbound.data import ArraySplit

    x = pixels(20_000)
    split, loader = ArraySplit(x), DataLoader(TensorDataset(torch.from_numpy(x)), 128, shuffle=True)
    ours, theirs = [], []
    for repeat in range(repeats + 1):
        ours.append(seconds(lambda repeat=repeat: sum(len(b) for b in split.epoch(128, key=(repeat,)))))
        theirs.append(seconds(lambda: sum(len(b[0]) for b in loader)))
    ratio = statistics.median(b / a for a, b in zip(ours[1:], theirs[1:], strict=True))
    return {"ours": statistics.median(ours[1:]), "torch": statistics.median(theirs[1:]), "ratio": ratio}


def decoding(folder: Path, repeats: int, size: int = 2_000) -> dict[str, float]:
    from tightbound.data import open

    (folder / "png").mkdir()
    for i, content in enumerate(pngs(pixels(size))):
        (folder / "png" / f"{i:05d}.png").write_bytes(content)
    taken = statistics.median(seconds(lambda: open(folder / "png")) for _ in range(repeats))
    return {"images": size, "seconds": taken, "images_a_second": size / taken}


def pngs(x: np.ndarray) -> list[bytes]:
    from PIL import Image

    out = []
    for each in x:
        file = io.BytesIO()
        Image.fromarray(each[0]).save(file, "PNG", compress_level=1)
        out.append(file.getvalue())
    return out


def growth(folder: Path, base: int, kinds: Sequence[str]) -> list[dict[str, Any]]:
    rows = []
    print(
        f"{'source':10}{'data':>10}{'MiB':>8}{'open, s':>10}{'epoch, s':>10}{'data/s':>10}{'peak over idle, MiB':>22}"
    )
    idle = child("idle", folder)["peak"]
    for kind in kinds:
        for times in (1, 10, 100):
            path = written(kind, folder, base * times)
            row = {"kind": kind, "data": base * times, "idle": idle, **child(kind, path)}
            row["over"] = row["peak"] - idle
            rows.append(row)
            print(
                f"{kind:10}{row['data']:10,}{row['data'] * 784 / 2**20:8.1f}{row['open']:10.2f}{row['epoch']:10.2f}"
                f"{row['data'] / row['epoch']:10,.0f}{row['over']:22.1f}"
            )
    return rows


def child(kind: str, path: Path) -> dict[str, Any]:
    command = [sys.executable, __file__, "--child", kind, str(path)]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def written(kind: str, folder: Path, size: int) -> Path:
    """Data of this size on disk, in parts of which each is made alone."""
    path = folder / f"{kind}-{size}"
    parts = [(start, min(1_000, size - start)) for start in range(0, size, 1_000)]
    if kind == "array":
        x = np.lib.format.open_memmap(f"{path}.npy", "w+", np.uint8, (size, *SHAPE))
        for start, count in parts:
            x[start : start + count] = pixels(count, start)
        return Path(f"{path}.npy")
    if kind == "tar":
        with tarfile.open(f"{path}.tar", "w") as out:
            for start, count in parts:
                for i, content in enumerate(pngs(pixels(count, start)), start):
                    info = tarfile.TarInfo(f"{i:08d}.png")
                    info.size = len(content)
                    out.addfile(info, io.BytesIO(content))
        return Path(f"{path}.tar")
    import pyarrow as pa
    import pyarrow.parquet as pq

    def table(start: int, count: int) -> Any:
        flat = pa.array(pixels(count, start).reshape(-1))
        return pa.table({"x": pa.FixedSizeListArray.from_arrays(pa.FixedSizeListArray.from_arrays(flat, 28), 28)})

    file = Path(f"{path}.parquet")
    with pq.ParquetWriter(file, table(0, 1).schema) as out:
        for start, count in parts:
            out.write_table(table(start, count))
    if kind == "parquet":
        return file
    import datasets

    datasets.disable_progress_bars()
    datasets.Dataset.from_parquet(str(file), cache_dir=str(folder / "cache")).save_to_disk(str(path))
    return path


def measured(kind: str, path: str) -> dict[str, float]:
    """Opens, and reads one shuffled epoch; all but "array" without room to hold the data."""
    import datasets  # noqa: F401
    import pyarrow.parquet  # noqa: F401

    from tightbound.data import files, open, parquet

    row: dict[str, float] = {"open": 0.0, "epoch": 0.0}
    if kind != "idle":
        if kind != "array":
            files.MEMORY_LIMIT = 8 << 20  # no source is larger at a scale that a benchmark can write
            parquet.WINDOW = 8 << 20
        began = time.perf_counter()
        data = open(path)
        row["open"] = time.perf_counter() - began
        row["epoch"] = seconds(lambda: sum(len(b) for b in data.train.epoch(128, key=(1,))))
    row["peak"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    row["readers"] = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    return row


if __name__ == "__main__":
    main()
