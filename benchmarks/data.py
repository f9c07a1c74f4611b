"""Time and memory of reading data: in memory against a torch DataLoader, decoding, and as data grow 1x, 10x and 100x.

    python benchmarks/data.py --json data.json

Each row is measured in a process of its own. Memory is its peak resident memory (Linux only), beside a process that has
imported the same and read nothing. "A reader" is the largest of the processes that read ahead for it; they share most
of their memory with it. Sources that are read as they are needed may hold 1 MiB of data, so that even 1x does not fit;
"array" is held in memory, whatever its size.
"""

from __future__ import annotations

import argparse
import io
import json
import resource
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from harness.race import order
from harness.report import options, seconds_table, show, summary, write

SHAPE = (1, 28, 28)
KINDS = ("array", "parquet", "tar", "saved")
LOADER = "torch DataLoader"
ROOM = 1 << 20  # bytes of data that may be held in memory, and of a window of Parquet row groups
PART = 1_000  # examples written together: 0.75 MiB


def main() -> None:
    parser = options(__doc__, repeats=5, peers=False)
    parser.add_argument("--base", type=int, default=2_000, help="examples at 1x")
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=KINDS, help="sources that grow")
    parser.add_argument("--child", nargs=2, metavar=("KIND", "PATH"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        print(json.dumps(measured(*arguments.child)))
        return
    if arguments.base * int(np.prod(SHAPE)) <= ROOM:
        parser.error(f"--base {arguments.base} fits in the {ROOM / 2**20:.0f} MiB of room: give 1,338 or more")
    repeats = 1 if arguments.quick else arguments.repeats
    size = 2_000 if arguments.quick else 20_000
    found: dict[str, Any] = {"loader": against_loader(size, repeats)}
    print(f"an epoch of {size:,} images 28x28 in memory, shuffled, in batches of 128:")
    seconds_table("", found["loader"], "ours", "ms")
    with tempfile.TemporaryDirectory() as folder:
        found["decode"] = decoding(Path(folder), repeats, size // 10)
        print(f"a folder of {size // 10:,} PNG 28x28, read whole: {found['decode']['images_a_second']:,.0f} images/s")
        found["growth"] = growth(
            Path(folder), arguments.base, arguments.kinds, (1, 4) if arguments.quick else (1, 10, 100)
        )
    write(arguments, found)


def pixels(size: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (size, *SHAPE), dtype=np.uint8)


def seconds(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def against_loader(size: int, repeats: int) -> dict[str, dict[str, Any]]:
    """Read the same arrays, shuffled, in batches of 128, in turns."""
    import torch
    from torch.utils.data import DataLoader, TensorDataset

    from tightbound.data import ArraySplit

    x = pixels(size)
    split, loader = ArraySplit(x), DataLoader(TensorDataset(torch.from_numpy(x)), 128, shuffle=True)
    work: dict[str, Callable[[int], object]] = {
        "ours": lambda repeat: sum(len(b) for b in split.epoch(128, key=(repeat,))),
        LOADER: lambda _: sum(len(b[0]) for b in loader),
    }
    times: dict[str, list[float]] = {name: [] for name in work}
    for repeat in range(-1, repeats):  # the first warms up
        for name in order(list(work), repeat):
            taken = seconds(lambda name=name, repeat=repeat: work[name](repeat + 1))
            if repeat >= 0:
                times[name].append(taken)
    return summary(times, "ours")


def decoding(folder: Path, repeats: int, size: int) -> dict[str, Any]:
    from tightbound.data import open

    (folder / "png").mkdir()
    for i, content in enumerate(pngs(pixels(size))):
        (folder / "png" / f"{i:05d}.png").write_bytes(content)
    times = [seconds(lambda: open(folder / "png")) for _ in range(repeats)]
    row = summary({"decode": times})["decode"]
    return {"images": size, **row, "images_a_second": size / row["median"]}


def pngs(x: np.ndarray) -> list[bytes]:
    from PIL import Image

    out = []
    for each in x:
        file = io.BytesIO()
        Image.fromarray(each[0]).save(file, "PNG", compress_level=1)
        out.append(file.getvalue())
    return out


def growth(folder: Path, base: int, kinds: Sequence[str], factors: Sequence[int]) -> list[dict[str, Any]]:
    idle = child("idle", folder)["peak"]
    rows = []
    for kind in kinds:
        for times in factors:
            path = written(kind, folder, base * times)
            rows.append({"kind": kind, "data": base * times, "idle": idle, **child(kind, path)})
    cells = [
        [
            row["kind"],
            f"{row['data']:,}",
            f"{row['data'] * int(np.prod(SHAPE)) / 2**20:,.1f}",
            f"{row['open']:.2f}",
            f"{row['epoch']:.2f}",
            f"{row['read'] / row['epoch']:,.0f}",
            "" if idle is None else f"{row['peak'] - idle:.1f}",
            "" if row["readers"] is None else f"{row['readers']:.1f}",
        ]
        for row in rows
    ]
    head = ["source", "data", "MiB", "open, s", "epoch, s", "data/s", "peak over idle, MiB", "a reader, MiB"]
    note = "an epoch shuffled, in batches of 128; idle: a process that read nothing; a reader: all of the largest"
    show("As data grow", head, cells, note)
    return rows


def child(kind: str, path: Path) -> dict[str, Any]:
    command = [sys.executable, __file__, "--child", kind, str(path)]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def written(kind: str, folder: Path, size: int) -> Path:
    """Write data of this size to disk, part by part."""
    path = folder / f"{kind}-{size}"
    parts = [(start, min(PART, size - start)) for start in range(0, size, PART)]
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


def measured(kind: str, path: str) -> dict[str, float | None]:
    """Open data and read one shuffled epoch."""
    import datasets  # noqa: F401
    import pyarrow.parquet  # noqa: F401

    from tightbound.data import Limits, open

    row: dict[str, float | None] = {"open": 0.0, "epoch": 0.0, "read": 0}
    if kind != "idle":
        limits = Limits() if kind == "array" else Limits(memory=ROOM, window=ROOM)
        began = time.perf_counter()
        data = open(path, limits=limits)
        row["open"] = time.perf_counter() - began
        began = time.perf_counter()
        row["read"] = sum(len(b) for b in data.train.epoch(128, key=(1,)))
        row["epoch"] = time.perf_counter() - began
    readers = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    return {**row, "peak": peak(), "readers": readers if sys.platform == "linux" and readers else None}


def peak() -> float | None:
    """Return the peak resident memory of this process, MiB; `getrusage` would count its parent, too."""
    try:
        status = Path("/proc/self/status").read_text()
    except OSError:
        return None
    return next(int(line.split()[1]) / 1024 for line in status.splitlines() if line.startswith("VmHWM"))


if __name__ == "__main__":
    main()
