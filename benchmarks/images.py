"""Samples of models of images after equal time, by the distance to the data and by what a person sees.

    python benchmarks/images.py --set icons --minutes 3 --only tightbound
    python benchmarks/images.py --set icons --threads 1 --only tightbound --options "network=resnet latent=32"

tightbound with all defaults, tightbound with each set of `--options`, and the VAE, VAMP and RAE of pythae 0.1.2 with
its residual networks, in the peers' environment, train one after the other for `--minutes` each; epochs or steps among
the options are taken instead of the minutes. Each sampler of each is a row: the Frechet distance to the training images
(at most 5,000) of 1,000 samples, on 48 principal components of pixels in [0, 1], with the recall there (3 neighbors),
and the Frechet distance of features of a classifier of the labels (without labels, of 64 components). The first row is
the floor: half of the training images against the other half. Errors are standard errors over samples. `--out` gets a
sheet of samples of each, and one of test images (odd rows) above their reconstructions (even rows).
"""

from __future__ import annotations

import argparse
import ast
import re
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from harness import image_sets
from harness.race import Contestant, Race, peers_python
from harness.report import options, show, write
from PIL import Image

COMPONENTS, NEIGHBORS = 48, 3
REFERENCE, SAMPLES, SHOWN, TESTED = 5000, 1000, 32, 1000
SAMPLERS = ("gaussian-mixture(components=10)",)
PYTHAE = {"pythae VAE": "vae", "pythae VAMP": "vamp", "pythae RAE": "rae"}


class Figure(NamedTuple):
    """A number and its standard error."""

    value: float
    stderr: float

    def __str__(self) -> str:
        digits = 2 if abs(self.value) < 2 else 1
        return f"{self.value:.{digits}f} ± {self.stderr:.{digits}f}"


class Measures:
    """The distances of samples to the training images of a set.

    Args:
        name: What `tb.data.open` opens.
    """

    def __init__(self, name: str) -> None:
        from sklearn.decomposition import PCA

        import tightbound as tb
        from tightbound.analysis.samples.features import fit_features

        data = tb.data.open(name)
        self.train, self.test = image_sets.images(data.train), image_sets.images(data.test)
        picked = np.random.default_rng(0).permutation(len(self.train))[:REFERENCE]
        self._pixels = PCA(COMPONENTS, random_state=0).fit(flat(self.train[picked]))
        self._features = fit_features(data, "auto", seed=0)
        self.kind = type(self._features).__name__.lower()
        self._real = self._spaces(self.train[picked])

    def of(self, samples: np.ndarray) -> dict[str, Figure]:
        """Return the figures of samples (n, C, H, W)."""
        return compared(self._spaces(samples), self._real)

    def floor(self) -> dict[str, Figure]:
        """Return the figures of half of the images against the other half."""
        half = len(self._real[0]) // 2
        return compared([x[:half] for x in self._real], [x[half : 2 * half] for x in self._real])

    def _spaces(self, x: np.ndarray) -> list[np.ndarray]:
        return [self._pixels.transform(flat(x)), self._features.of(torch.from_numpy(x).float()).numpy()]


def compared(samples: list[np.ndarray], real: list[np.ndarray]) -> dict[str, Figure]:
    """Return the figures of samples and data on the components of pixels and in features, (n, F) each."""
    from tightbound.analysis.samples.two_sample import frechet, neighbors

    found = {"pixels": frechet(samples[0], real[0])[0], "features": frechet(samples[1], real[1])[0]}
    near = neighbors(samples[0], real[0], NEIGHBORS)
    found |= {"precision": near["precision"], "recall": near["recall"]}
    found["feature recall"] = neighbors(samples[1], real[1], NEIGHBORS)["recall"]
    return {name: Figure(each.value, each.stderr) for name, each in found.items()}


def flat(x: np.ndarray) -> np.ndarray:
    """Return pixels (n, D) in [0, 1]."""
    return x.reshape(len(x), -1).astype(np.float32) / 255


@dataclass(frozen=True)
class Place:
    """Where the contestants find the images and leave theirs."""

    data: str
    files: Mapping[str, str]
    out: Path


def main() -> None:
    arguments = parsed()
    found: dict[str, Any] = {}
    for name in arguments.set:
        path = image_sets.path_of(name)
        if path is None:
            continue
        with tempfile.TemporaryDirectory(prefix="images-") as temporary:
            found[name] = measured(name, path, Path(temporary), arguments)
    write(arguments, found)


def parsed() -> argparse.Namespace:
    parser = options(__doc__, repeats=1)
    parser.add_argument("--set", nargs="+", choices=image_sets.NAMES, default=image_sets.NAMES, help="sets of images")
    parser.add_argument("--minutes", type=float, default=3.0, help="training of each")
    parser.add_argument("--only", nargs="+", metavar="NAME", help="starts of names: tightbound, pythae")
    parser.add_argument(
        "--options", action="append", default=[], metavar="'KEY=VALUE ...'", help="of one more tightbound"
    )
    parser.add_argument("--no-defaults", action="store_true", help="leave out tightbound with all defaults")
    parser.add_argument("--latent", type=int, default=32, help="of pythae's models")
    parser.add_argument("--lr", type=float, default=1e-3, help="of pythae's models")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, metavar="FOLDER", help="where sheets are written")
    parser.add_argument("--log", type=Path, metavar="FILE", help="where each row is appended as soon as it is known")
    arguments = parser.parse_args()
    if arguments.quick:
        arguments.minutes = 0.05
    return arguments


def measured(name: str, path: str, temporary: Path, arguments: argparse.Namespace) -> dict[str, Any]:
    """Train each contestant on a set, and show its rows."""
    measures = Measures(path)
    arrays = {"train": measures.train, "test": measures.test[:TESTED], "shown": measures.test[:SHOWN]}
    for part, x in arrays.items():
        np.save(temporary / f"{part}.npy", x)
    place = Place(path, {part: str(temporary / f"{part}.npy") for part in arrays}, temporary)
    rows: list[dict[str, Any]] = []

    def add(contestant: str, sampler: str, figures: Mapping[str, Figure], about: Mapping[str, Any]) -> None:
        rows.append({"contestant": contestant, "sampler": sampler, "figures": figures, **about})
        if arguments.log:
            with arguments.log.open("a") as file:
                print(name, contestant, sampler, *cells(rows[-1]), sep=" | ", file=file)

    add("floor", "", measures.floor(), {})
    for contestant in contestants(place, arguments):
        with Race([contestant], arguments.threads) as race:
            answer = race.ask(contestant.name)
        for sampler, file in answer["samples"].items():
            samples = np.load(file)
            add(contestant.name, sampler, measures.of(samples), {k: answer.get(k) for k in ABOUT})
            save_sheet(arguments.out, name, contestant.name, sampler, samples[:64])
        both = [x.reshape(-1, 8, *x.shape[1:]) for x in (arrays["shown"], np.load(answer["reconstructions"]))]
        pairs = np.stack(both, 1).reshape(-1, *arrays["shown"].shape[1:])
        save_sheet(arguments.out, name, contestant.name, "reconstructions", pairs)
    head = ["contestant", "sampler", *FIGURES, *ABOUT]
    title = f"{name}: {len(measures.train):,} images {'x'.join(map(str, measures.train.shape[1:]))}"
    show(title, head, [[row["contestant"], row["sampler"], *cells(row)] for row in rows], f"features: {measures.kind}")
    return {"rows": rows, "features": measures.kind}


FIGURES = ("pixels", "recall", "precision", "features", "feature recall")
ABOUT = ("seconds", "processor", "epochs", "steps", "parameters", "bits", "mse")


def cells(row: Mapping[str, Any]) -> list[str]:
    """Return the cells of a row after its names."""
    about = [row.get(name) for name in ABOUT]
    words = ["" if v is None else f"{v:.4g}" if isinstance(v, float) else f"{v:,}" for v in about]
    return [*(str(row["figures"][name]) for name in FIGURES), *words]


def contestants(place: Place, arguments: argparse.Namespace) -> list[Contestant]:
    """Return the contestants that are asked for."""
    names = {"minutes": arguments.minutes, "clock": arguments.clock, "n": SAMPLES, "seed": arguments.seed}
    common = {**names, "shown": place.files["shown"]}
    ours = {**common, "data": place.data, "test": place.files["test"], "samplers": SAMPLERS}
    theirs = {**common, "data": place.files["train"], "latent": arguments.latent, "lr": arguments.lr}
    sets = {} if arguments.no_defaults else {"tightbound": {}}
    sets |= {f"tightbound {text}": parse_options(text) for text in arguments.options}
    own = {name: {**ours, "train": given} for name, given in sets.items()}
    own |= {} if arguments.no_peers else {name: {**theirs, "kind": kind} for name, kind in PYTHAE.items()}
    asked: list[Contestant] = []
    for name, given in own.items():
        if arguments.only and not name.startswith(tuple(arguments.only)):
            continue
        out = place.out / re.sub(r"\W+", "-", name)
        out.mkdir()
        script, python = (
            ("images_tightbound.py", sys.executable) if name in sets else ("images_pythae.py", peers_python())
        )
        asked.append(Contestant(name, f"contestants/{script}", {**given, "out": str(out)}, python))
    return asked


def parse_options(text: str) -> dict[str, Any]:
    """Parse "lr=1e-3 likelihood=discretized-logistic(scale='shared')"; what is no Python value is a string.

    Raises:
        SystemExit: a word is not KEY=VALUE.
    """
    found: dict[str, Any] = {}
    for word in re.split(r"\s+(?![^(]*\))", text.strip()):
        key, equals, value = word.partition("=")
        if not equals or not key.isidentifier():
            sys.exit(f"--options {text!r}: {word!r} was given; needed: KEY=VALUE, such as latent=32")
        try:
            found[key] = ast.literal_eval(value)
        except (ValueError, SyntaxError):
            found[key] = value
    return found


def save_sheet(folder: Path | None, *names: str | np.ndarray) -> None:
    """Write images (n, C, H, W) in rows of eight, twice as large, to a file named by the words before them."""
    if folder is None:
        return
    *words, x = names
    assert isinstance(x, np.ndarray)
    folder.mkdir(parents=True, exist_ok=True)
    rows = [np.concatenate(x[i : i + 8], 2) for i in range(0, len(x) - len(x) % 8, 8)]
    whole = np.concatenate(rows, 1).transpose(1, 2, 0).repeat(2, 0).repeat(2, 1)
    name = re.sub(r"\W+", "-", " ".join(map(str, words))).strip("-")
    Image.fromarray(whole.squeeze()).save(folder / f"{name}.png")


if __name__ == "__main__":
    main()
