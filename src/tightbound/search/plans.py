"""Which trials a search makes: all of a grid, draws at random, or what a study advises."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tightbound.core.noise import key_seed
from tightbound.search.ledger import Trial
from tightbound.search.space import Range, Space, Suggest, grid
from tightbound.search.study import Study


class Grid:
    """Every combination of the values.

    Arguments:
        space: What varies.
        study: Which prunes; None: none does.
    """

    search = "grid"

    def __init__(self, space: Space, study: Study | None = None) -> None:
        self._points, self._study = grid(space), study
        plain = [_plain(point) for point in self._points]
        often = Counter(plain)
        self.names: Sequence[str] = [
            # by the values alone, so that a name stays with them when others are added
            name if often[name] == 1 and len(name) <= 120 else f"{name[:100]}-{key_seed(*point.values()):x}"
            for name, point in zip(plain, self._points, strict=True)
        ]
        # values may be added
        self.plan: Mapping[str, Any] = {"search": self.search, "options": " ".join(d.flag for d in space)}

    def propose(self, number: int) -> Trial:
        """The combination of this number."""
        values = self._points[number]
        advised = self._study.begin(self.names[number], values) if self._study is not None else None
        return Trial(self.names[number], values, advised=advised)


class Drawn:
    """Values at random, those of each trial a function of the seed and its number.

    Arguments:
        space, study: As in `Grid`.
        trials: How many.
        seed: Of the draws.
    """

    search = "random"

    def __init__(self, space: Space, study: Study | None, trials: int, seed: int) -> None:
        self._space, self._study, self._seed = space, study, seed
        self.names: Sequence[str] = [f"trial-{number:03}" for number in range(trials)]
        options = {d.flag: " ".join(d.words) for d in space}
        self.plan: Mapping[str, Any] = {"search": self.search, **options, "--search-seed": seed}

    def propose(self, number: int) -> Trial:
        """The values of this number."""
        values = self._draw(_Random(key_seed("search", self._seed, number)))
        advised = self._study.begin(self.names[number], values) if self._study is not None else None
        return Trial(self.names[number], values, advised=advised)

    def _draw(self, suggest: Suggest) -> dict[str, str]:
        return {d.field: d.draw(suggest) for d in self._space}


class Advised(Drawn):
    """What the tree-structured Parzen estimator advises, given the trials before; ten are drawn at random first.

    References:
        Algorithms for hyper-parameter optimization (Bergstra et al. 2011), Section 4.
    """

    search = "tpe"

    def __init__(self, space: Space, study: Study, trials: int, seed: int) -> None:
        super().__init__(space, study, trials, seed)
        self._advice = study

    def propose(self, number: int) -> Trial:
        """What is worth trying next."""
        advised, suggest = self._advice.ask(self.names[number], key_seed("search", self._seed, number))
        values = self._draw(suggest)
        return Trial(self.names[number], values, advised=advised)


@dataclass(frozen=True)
class _Random:
    """Draws by name, each from its own generator, so that one more option leaves the others as they are."""

    seed: int

    def choice(self, name: str, options: Sequence[str]) -> str:
        return options[int(self._generator(name).integers(len(options)))]

    def number(self, name: str, within: Range) -> float:
        generator = self._generator(name)
        low, high = (within.low - 0.5, within.high + 0.5) if within.whole else (within.low, within.high)
        if within.log:
            value = math.exp(generator.uniform(math.log(low), math.log(high)))
        else:
            value = generator.uniform(low, high)
        return min(max(round(value), within.low), within.high) if within.whole else value

    def _generator(self, name: str) -> np.random.Generator:
        return np.random.default_rng(key_seed(self.seed, name))


def _plain(point: Mapping[str, str]) -> str:
    """What a folder can be called."""
    words = ((k.replace("_", "-"), re.sub(r"[^\w.+-]+", "_", v).strip("_") or "value") for k, v in point.items())
    return "_".join(f"{option}-{value}" for option, value in words)
