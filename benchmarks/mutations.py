"""Damage files and words at random, give them to tightbound, and count what comes of it.

    python benchmarks/mutations.py --trials 10000

Each trial changes one of `SOURCES` (a table, an array, pictures, shards, a run's files, words of a command) by
random edits and uses it. It is clean if that works, with finite numbers, or is refused by one error of tightbound.
Anything else counts under its name: another exception, a number that is not finite, a process that dies, takes more
than `SECONDS`, or more than `MEMORY` beyond what it had. Trials are seeded.
"""

from __future__ import annotations

import argparse
import io
import json
import multiprocessing
import random
import resource
import shutil
import tarfile
import tempfile
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np
import torch
from PIL import Image

import tightbound as tb
from tightbound.cli.main import main as tightbound

SECONDS = 30  # for one trial
MEMORY = 3 << 30  # bytes of addresses that a trial may take
BLOCK = 100  # trials of one process
WORDS = ("nan", "inf", "-1", "1e999", "0", "", "999999999999", '"', ",", "\0", "é", "null", "[]", "{}", "true", "\n")
HINTS = (b"\0", b"\xff", b"\n", b",", b'"', b"{", b"nan", b"1e999", b"-1", b"99999999999", b"\xff\xff\xff\x7f")
COMMAND = (
    "train", "digits", "--latent", "2", "--steps", "1", "--network", "mlp(hidden=(4,))",
    "--prior", "vamp(components=3)", "--objective", "iwae(samples=2)", "--batch-size", "32",
    "--lr", "0.001", "--evaluate-samples", "0",
)  # fmt: skip

Use = Callable[[Path], object]
Random = random.Random


def _table(folder: Path) -> Path:
    draws = np.random.default_rng(0)
    rows = [f"{a:.3f},{b},{c},{d}" for a, b, c, d in zip(
        draws.normal(size=30), draws.integers(0, 9, 30), draws.choice(["red", "blue", ""], 30),
        draws.choice(["2020-01-02", "2021-11-30"], 30), strict=True)]  # fmt: skip
    (folder / "x.csv").write_text("\n".join(["height,count,color,day", *rows]) + "\n")
    return folder / "x.csv"


def _parquet(folder: Path) -> Path:
    import pandas as pd

    pd.read_csv(_table(folder)).drop(columns="day").to_parquet(folder / "x.parquet")
    return folder / "x.parquet"


def _npy(folder: Path) -> Path:
    np.save(folder / "x.npy", np.random.default_rng(0).integers(0, 17, (20, 6, 6)))
    return folder / "x.npy"


def _npz(folder: Path) -> Path:
    draws = np.random.default_rng(0)
    np.savez(folder / "x.npz", x=draws.normal(size=(20, 4)), y=draws.integers(0, 2, 20))
    return folder / "x.npz"


def _pictures(suffix: str, folder: Path) -> Path:
    (folder / "pictures").mkdir()
    for i in range(3):
        pixels = np.random.default_rng(i).integers(0, 256, (8, 9, 3), np.uint8)
        Image.fromarray(pixels).save(folder / "pictures" / f"{i}.{suffix}")
    return folder / "pictures" / f"0.{suffix}"


def _shard(folder: Path) -> Path:
    picture = _pictures("png", folder)
    with tarfile.open(folder / "x.tar", "w") as archive:
        for file in sorted(picture.parent.iterdir()):
            archive.add(file, file.name)
    return folder / "x.tar"


def _run(name: str, folder: Path) -> Path:
    x = torch.rand(40, 4, generator=torch.Generator().manual_seed(0))
    np.save(folder / "data.npy", x.numpy())
    model = tb.VAE.for_data(x, latent=2, network="mlp(hidden=(4,))")
    tb.fit(model, str(folder / "data.npy"), run=folder / "run", steps=2, batch_size=10, quiet=True)
    return next(iter(sorted((folder / "run").rglob(name))))


def _config(folder: Path) -> Path:
    np.save(folder / "data.npy", np.random.default_rng(0).integers(0, 17, (40, 16)))
    (folder / "config.yaml").write_text(
        f"data: {folder / 'data.npy'}\nlatent: 2\nnetwork: mlp(hidden=(4,))\nprior: vamp(components=3)\n"
        "batch_size: 32\nsteps: 1\nlr: 0.001\nschedule: cosine\n"
    )
    return folder / "config.yaml"


def _opened(path: Path) -> None:
    """Open data, start a model at them, and compute its loss."""
    data = tb.data.open(str(path))
    model = tb.VAE.for_data(data, latent=2, network="mlp(hidden=(4,))")
    _check(model.loss(next(data.train.epoch(8)), seed=0), "the loss")


def _check(numbers: torch.Tensor, name: str) -> None:
    if not torch.isfinite(numbers).all():
        raise RuntimeError(f"{name} is not finite")


def _folder(path: Path) -> None:
    _opened(path.parent)


def _loaded(path: Path) -> None:
    """Load the run that holds a file, and sample."""
    run = next(parent for parent in path.parents if parent.name == "run")
    _check(tb.load(run).sample(2), "a sample")


def _commanded(*words: str) -> None:
    """Give words to the command line; raise the error that it reports in one line."""
    said = io.StringIO()
    try:
        with redirect_stdout(io.StringIO()), redirect_stderr(said):
            tightbound(list(words))
    except SystemExit as ended:
        if ended.code in (0, None):
            return
        errors = said.getvalue().strip().splitlines()
        errors = [line for line in errors if not line.startswith(("note: ", "digits: "))]
        if ended.code not in (1, 2) or len(errors) != 1:
            raise RuntimeError(f"status {ended.code}, {len(errors)} lines: {errors[:2]}") from None
        raise tb.TightboundError(errors[0]) from None


def _configured(path: Path) -> None:
    run = path.parent / "new"
    shutil.rmtree(run, ignore_errors=True)
    _commanded("train", "--config", str(path), "--run", str(run))


SOURCES: dict[str, tuple[Callable[[Path], Path], Use]] = {
    "csv": (_table, _opened),
    "parquet": (_parquet, _opened),
    "npy": (_npy, _opened),
    "npz": (_npz, _opened),
    "png": (lambda folder: _pictures("png", folder), _folder),
    "jpeg": (lambda folder: _pictures("jpg", folder), _folder),
    "gif": (lambda folder: _pictures("gif", folder), _folder),
    "tar": (_shard, _opened),
    "weights": (lambda folder: _run("*.safetensors", folder), _loaded),
    "model": (lambda folder: _run("model.json", folder), _loaded),
    "config": (_config, _configured),
    "words": (_config, _configured),  # the file only gives the folder its name
}


def mutated(content: bytes, draws: Random) -> bytes:
    """Return bytes with one to four random edits."""
    for _ in range(draws.randint(1, 4)):
        at, length = draws.randrange(len(content) + 1), draws.choice((1, 1, 2, 8, 64))
        kind = draws.randrange(6)
        if kind == 0 and content:  # another byte
            at = draws.randrange(len(content))
            content = content[:at] + bytes([draws.randrange(256)]) + content[at + 1 :]
        elif kind == 1:
            content = content[:at] + content[at + length :]
        elif kind == 2:
            content = content[:at] + draws.choice(HINTS) + content[at:]
        elif kind == 3:
            content = content[:at] + content[max(0, at - length) : at] * draws.choice((1, 2, 50)) + content[at:]
        elif kind == 4:
            content = content[:at]
        else:
            content = content[:at] + draws.randbytes(length) + content[at + length :]
    return content


def reworded(words: Sequence[str], draws: Random) -> list[str]:
    """Return the words of a command with one or two random edits."""
    changed = list(words)
    for _ in range(draws.randint(1, 2)):
        at = draws.randrange(1, len(changed))
        kind = draws.randrange(4)
        if kind == 0:
            changed[at] = draws.choice(WORDS)
        elif kind == 1:
            changed.insert(at, draws.choice((*WORDS, *words)))
        elif kind == 2:
            del changed[at]
        else:
            letter = draws.randrange(len(changed[at]) + 1)
            changed[at] = changed[at][:letter] + draws.choice(WORDS) + changed[at][letter + 1 :]
    return [word.replace("\0", "") for word in changed]  # no system passes a null in a word


@contextmanager
def _limited() -> Iterator[None]:
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    before = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)


def outcome(name: str, file: Path, content: bytes, seed: int) -> str:
    """Run one trial; return "works", "refused", or what is wrong."""
    draws = Random(f"{name} {seed}")
    try:
        with _limited(), warnings.catch_warnings(), redirect_stderr(io.StringIO()):
            warnings.simplefilter("ignore")
            if name == "words":
                shutil.rmtree(file.parent / "new", ignore_errors=True)
                _commanded(*reworded(COMMAND, draws), "--run", str(file.parent / "new"))
            else:
                file.write_bytes(mutated(content, draws))
                SOURCES[name][1](file)
    except tb.TightboundError as error:
        lines = str(error).splitlines()
        return "refused" if len(lines) == 1 else f"{len(lines)} lines"
    except BaseException as error:
        return f"{type(error).__name__}: {str(error)[:80]}"
    return "works"


def _serve(name: str, folder: Path, seeds: Sequence[int], pipe: Connection) -> None:
    torch.set_num_threads(1)  # a fork has none of the threads that OpenMP believes it has
    file = SOURCES[name][0](folder)
    content = file.read_bytes()
    pipe.send("ready")
    for seed in seeds:
        pipe.send(outcome(name, file, content, seed))
    pipe.close()


def campaign(name: str, trials: int, seed: int) -> dict[str, list[int]]:
    """Run trials of one source; return the seeds by outcome."""
    found: dict[str, list[int]] = {}
    seeds = list(range(seed, seed + trials))
    while seeds:
        ours, theirs = multiprocessing.Pipe(duplex=False)
        with tempfile.TemporaryDirectory() as folder:
            arguments = (name, Path(folder), seeds[:BLOCK], theirs)
            process = multiprocessing.get_context("fork").Process(target=_serve, args=arguments)
            process.start()
            theirs.close()
            ours.recv()
            for _ in seeds[:BLOCK]:
                try:
                    said = ours.recv() if ours.poll(SECONDS) else f"took more than {SECONDS} s"
                except EOFError:
                    process.join()
                    said = f"the process died: {process.exitcode}"
                found.setdefault(said, []).append(seeds.pop(0))
                if said.startswith(("took", "the process")):
                    break
            process.kill()
            process.join()
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=10_000, help="trials in all")
    parser.add_argument("--only", nargs="+", choices=SOURCES, default=list(SOURCES), metavar="SOURCE", help="sources")
    parser.add_argument("--seed", type=int, default=0, help="first random seed")
    parser.add_argument("--json", type=Path, help="file for the counts")
    arguments = parser.parse_args()
    counts = {}
    for name in arguments.only:
        found = campaign(name, max(1, arguments.trials // len(arguments.only)), arguments.seed)
        counts[name] = Counter({said: len(seeds) for said, seeds in found.items()})
        clean = sum(counts[name][each] for each in ("works", "refused"))
        print(
            f"{name}: {clean:,} of {counts[name].total():,} clean, {counts[name]['works']:,} of them work", flush=True
        )
        for said, seeds in found.items():
            if said not in ("works", "refused"):
                print(f"  {len(seeds)} x {said} (seeds {seeds[:5]})", flush=True)
    if arguments.json is not None:
        arguments.json.write_text(json.dumps(counts, indent=2) + "\n")


if __name__ == "__main__":
    main()
