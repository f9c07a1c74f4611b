"""Check that every combination of named components is either constructed or refused with a reason.

python -m tightbound.testing.matrix > docs/composition.md
"""

from __future__ import annotations

import functools
import itertools
import random
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, replace

import numpy as np

from tightbound.components import TABLE, find, make
from tightbound.core.errors import TightboundError
from tightbound.core.noise import ExampleNoise, seeded
from tightbound.core.schedules import Knobs
from tightbound.core.terms import Terms
from tightbound.data import Data
from tightbound.data import open as open_data
from tightbound.model import VAE
from tightbound.objectives.base import Objective

# arguments for a tiny model; all other components use their defaults
SMALL = {
    "prior": {
        "vamp": "vamp(components=3)",
        "exemplar": "exemplar(exemplars=4)",
        "categorical": "categorical(groups=2)",
        "flow": "flow(transforms=1, hidden=(6,))",
        "flow-matching": "flow-matching(hidden=6, blocks=1, steps=1)",
    },
    "posterior": {
        "relaxed-categorical": "relaxed-categorical(groups=2)",
        "flow": "flow(transforms=1, hidden=(6,))",
        "planar": "planar(flows=2)",
        "sylvester": "sylvester(flows=1, reflections=2)",
        "hamiltonian": "hamiltonian(steps=1)",
    },
    "latents": {
        "spatial": "spatial(channels=2)",
        "bottom-up": "bottom-up(upper=2, hidden=(5,))",
        "ladder": "ladder(groups=2, hidden=6)",
        "quantized": "quantized(quantizer=vq(codebook_size=5), positions=3)",
    },
    "quantizer": {
        "vq": "vq(codebook_size=5)",
        "vq-gradient": "vq-gradient(codebook_size=5)",
        "simvq": "simvq(codebook_size=5)",
        "fsq": "fsq(levels=(3, 4))",
        "lfq": "lfq(bits=3)",
        "residual": "residual(depth=2, of=vq(codebook_size=3))",
        "grouped": "grouped(groups=2, of=vq(codebook_size=3))",
        "gumbel": "gumbel(codebook_size=3)",
    },
    "code-prior": {
        "pixelcnn": "pixelcnn(embedding=4, hidden=8, layers=1, attention=2, blocks=1)",
        "transformer": "transformer(hidden=8, layers=1, heads=2, blocks=1)",
    },
    "likelihood": {
        "pixelcnn": "pixelcnn(hidden=4, layers=1, kernel=3, paths=2)",
        "logistic-mixture": "logistic-mixture(components=2)",
        "mixture": "mixture(of=laplace(), components=2)",
    },
    "objective": {
        "miwae": "miwae(m=2, k=2)",
        "piwae": "piwae(m=2, k=2)",
        "ciwae": "ciwae(samples=3)",
        "tvo": "tvo(samples=3)",
    },
}
NETWORKS = {"spatial": "resnet(halvings=(1,), hidden=4, inner=2, blocks=0)"}  # for latents that need maps
DRAWN = "quantized(quantizer=gumbel(codebook_size=3), positions=2)"  # with a posterior that is not deterministic
LATENT = 4


@dataclass(frozen=True)
class Combination:
    """One component name of each kind; prior and posterior are "-" if the latents have their own."""

    prior: str
    posterior: str
    latents: str
    likelihood: str
    objective: str

    def __str__(self) -> str:
        inner = f"{self.prior}, {self.posterior}" if self.prior != "-" else ""
        return f"{self.latents}({inner}), {self.likelihood}, {self.objective}"


def structures() -> list[tuple[str, str, str]]:
    """Return all (prior, posterior, latents): each pair with `flat`, and the latents that have their own."""
    pairs = itertools.product(TABLE["prior"], TABLE["posterior"])
    own = [("-", "-", name) for name in (*TABLE["latents"], DRAWN) if name != "flat"]
    return [(prior, posterior, "flat") for prior, posterior in pairs] + own


def quantized(quantizer: str, prior: str) -> str:
    """Return the spec of latents with this quantizer and this code prior."""
    q, p = (SMALL[kind].get(name, name) for kind, name in (("quantizer", quantizer), ("code-prior", prior)))
    return f"quantized(quantizer={q!r}, prior={p!r}, positions=2)"


@functools.cache
def data_for(likelihood: str) -> Data:
    """Return twelve examples of three classes in this likelihood's domain: images (1, 4, 4), or a table."""
    x = np.random.default_rng(0).random((12, 1, 4, 4)).astype(np.float32)
    labels = np.arange(12) % 3
    kinds = getattr(find("likelihood", likelihood), "domains", ())
    kind = "unit" if likelihood == "mixture" else next(iter(kinds), None)
    if likelihood == "columns":
        table = np.column_stack([x[:, 0, 0], np.round(x[:, 0, 1]), np.floor(3 * x[:, 0, 2])])
        named = ["real"] * 4 + ["binary"] * 4 + [("levels", 3)] * 4
        return open_data(table.astype(np.float32), kinds=named, labels=labels)
    if kind == "levels" or kind is None:
        return open_data(np.floor(5 * x).astype(np.int64), levels=5, labels=labels)
    if kind == "counts":
        return open_data(np.floor(7 * x).astype(np.int64), domain="counts", labels=labels)
    return open_data(np.round(x) if kind == "binary" else x * 0.9 + 0.05, domain=kind, labels=labels)


def compose(c: Combination, seed: int = 0) -> tuple[VAE, Objective]:
    """Build the model, in float64 and eval mode, and its objective; prepare and check them.

    Raises:
        TightboundError: The combination is refused.
    """
    model = _model(c, seed)
    return model, _objective(c, model, terms(c, model), seed)


def _model(c: Combination, seed: int = 0) -> VAE:
    """Build the model, which depends on the objective only through its required context."""

    def text(kind: str) -> str:
        name = getattr(c, kind)
        return "auto" if name == "-" else SMALL[kind].get(name) or name

    context = None if c.objective == "-" else find("objective", c.objective).context
    return VAE.for_data(
        data_for(c.likelihood), context=context, latent="auto" if c.latents == "spatial" else LATENT,
        network=NETWORKS.get(c.latents, "mlp(hidden=(6,), activation='tanh')"),
        likelihood=text("likelihood"), latents=text("latents"), prior=text("prior"), posterior=text("posterior"),
        seed=seed,
    ).double().eval()  # fmt: skip


def _objective(c: Combination, model: VAE, seen: Terms, seed: int = 0) -> Objective:
    """Build the objective, prepare it for the model, and check it on the model's terms."""
    objective: Objective = make("objective", SMALL["objective"].get(c.objective) or c.objective)
    with seeded(seed):
        objective.prepare(model, 12)
        if objective.networks is not None:
            objective.networks.double()
        objective.check(seen)
    return objective


def terms(c: Combination, model: VAE, samples: int = 1) -> Terms:
    """Return the terms of a fixed batch of six examples with fixed noise."""
    batch = next(data_for(c.likelihood).train.epoch(6))
    noise = ExampleNoise("matrix", index=batch.positions())
    with noise.default():
        return model(batch, samples, noise, Knobs.final(model.schedules))


@functools.cache
def _cached(c: Combination) -> tuple[VAE, Terms] | TightboundError:
    try:
        model = _model(c)
        return model, terms(c, model)
    except TightboundError as error:
        return error


@functools.cache
def why_not(c: Combination) -> str | None:
    """Return the reason why a combination is refused; None if it is accepted.

    Combinations that differ only in the objective share one model.

    Raises:
        Exception: Any error other than a TightboundError.
    """
    needed = find("objective", c.objective).context  # pyright: ignore[reportAttributeAccessIssue]
    made = _cached(c if needed else replace(c, objective="-"))
    if isinstance(made, TightboundError):
        return str(made)
    try:
        _objective(c, *made)
    except TightboundError as error:
        return str(error)
    return None


@functools.cache
def covering(seed: int = 0) -> list[Combination]:
    """Return a pairwise covering array: accepted combinations that contain every pair of compatible names.

    A combination is refused because of its structure, or because the objective does not fit the structure or the
    likelihood, or because the likelihood is one of tables and the latents are maps. Trying these separately avoids
    trying the whole product.
    """
    chance = random.Random(seed)
    plain = Combination("normal", "normal", "flat", "bernoulli", "elbo")
    likelihoods, objectives = list(TABLE["likelihood"]), list(TABLE["objective"])
    spaces = [(s, o) for s in structures() for o in objectives if _fits(plain, s, o)]
    ends = [(o, x) for o in objectives for x in likelihoods if _fits_likelihood(plain, o, x)]
    every = [
        Combination(*space, likelihood, objective)
        for space, objective in spaces
        for other, likelihood in ends
        if other == objective
        and (space[2] not in NETWORKS or _fits(replace(plain, likelihood=likelihood), space, "elbo"))
    ]
    chance.shuffle(every)
    missing = {pair for c in every for pair in _pairs(c)}
    rows: list[Combination] = []
    while missing:
        pool = [c for c in chance.sample(every, min(len(every), 300)) if not missing.isdisjoint(_pairs(c))]
        pool = pool or [next(c for c in every if not missing.isdisjoint(_pairs(c)))]
        best = max(pool, key=lambda c: len(missing & _pairs(c)))
        missing -= _pairs(best)
        rows.append(best)
    return rows


def _fits(plain: Combination, structure: tuple[str, str, str], objective: str) -> bool:
    """Return whether a structure fits an objective."""
    prior, posterior, latents = structure
    c = replace(plain, prior=prior, posterior=posterior, latents=latents, objective=objective)
    return why_not(c) is None


def _fits_likelihood(plain: Combination, objective: str, likelihood: str) -> bool:
    """Return whether a likelihood fits an objective, with the posterior that the objective needs."""
    c = replace(plain, objective=objective, likelihood=likelihood)
    return why_not(c) is None or why_not(replace(c, posterior="point")) is None


@functools.cache
def _pairs(c: Combination) -> frozenset[tuple[str, str, str, str]]:
    named = [(f.name, getattr(c, f.name)) for f in fields(c) if getattr(c, f.name) != "-"]
    return frozenset((*one, *other) for one, other in itertools.combinations(named, 2))


def table() -> str:
    """Return the page `docs/composition.md`: which components fit together, and why others do not."""
    plain = Combination("normal", "normal", "flat", "bernoulli", "elbo")
    lines = [
        "# Which components fit together",
        "",
        "Any prior, posterior, likelihood and objective can be combined, unless the combination has no meaning; it is",
        "then refused when the model is built. The tables show every combination of two kinds of components: a dot",
        "means accepted, a number refused, for the reason with that number at the end of the page. Networks, contexts",
        "and observations, which no table shows, fit all components. `tightbound list` describes the components.",
        "",
        "This page is generated; each combination was constructed:",
        "`python -m tightbound.testing.matrix > docs/composition.md`.",
        "",
    ]
    reasons: dict[str, int] = {}
    priors, posteriors = list(TABLE["prior"]), list(TABLE["posterior"])
    rows = [
        [p, *(_cell(replace(plain, prior=p, posterior=q), reasons) for q in posteriors)] for p in priors
    ]  # with the objective `autoencoder`, which needs no density
    lines += ["## Priors (rows) and posteriors, with objective `autoencoder`", "", *_grid(posteriors, rows)]
    spaces = [("normal", q, "flat") for q in posteriors if why_not(replace(plain, posterior=q)) is None]
    spaces += [s for s in structures() if s[0] != "normal" and s[1] == "normal"]
    spaces += [("sphere", "von-mises-fisher", "flat"), ("categorical", "relaxed-categorical", "flat")]
    spaces += [("normal", "point", "flat"), *(s for s in structures() if s[0] == "-")]
    objectives = list(TABLE["objective"])
    names = [f"{p}, {q}" if p != "-" else latents.replace(DRAWN, "quantized by gumbel") for p, q, latents in spaces]
    rows = []
    for objective in objectives:
        cells = [
            _cell(replace(plain, prior=p, posterior=q, latents=latents, objective=objective), reasons)
            for p, q, latents in spaces
        ]
        rows.append([objective, *cells])
    lines += ["## Objectives (rows) and latent structures, with likelihood `bernoulli`", "", *_grid(names, rows)]
    likelihoods = list(TABLE["likelihood"])
    rows = []
    for objective in objectives:
        q = "normal" if why_not(replace(plain, objective=objective)) is None else "point"
        cells = [_cell(replace(plain, posterior=q, objective=objective, likelihood=x), reasons) for x in likelihoods]
        rows.append([objective, *cells])
    lines += ["## Objectives (rows) and likelihoods, with prior `normal`", "", *_grid(likelihoods, rows)]
    own, codes = replace(plain, prior="-", posterior="-"), list(TABLE["code-prior"])
    rows = [[q, *(_cell(replace(own, latents=quantized(q, p)), reasons) for p in codes)] for q in TABLE["quantizer"]]
    lines += ["## Quantizers (rows) and code priors, with objective `elbo`", "", *_grid(codes, rows)]
    codes = ["quantized", DRAWN]
    rows = [[x, *(_cell(replace(own, latents=c, likelihood=x), reasons) for c in codes)] for x in likelihoods]
    lines += [
        "## Likelihoods (rows) and code indices, deterministic and drawn",
        "",
        *_grid(["quantized", "by gumbel"], rows),
    ]
    lines += ["## Reasons", "", *(f"{number}. {reason}" for reason, number in reasons.items())]
    return "\n".join(lines)


def _cell(c: Combination, reasons: dict[str, int]) -> str:
    reason = why_not(c)
    # the row and the column already name the components
    reason = reason and re.sub(r"\b(prior|posterior|that of|those of) [A-Z]\w+", r"\1 P", reason)
    reason = reason and re.sub(r"^objective '[\w-]+'", "the objective", reason)
    return "·" if reason is None else str(reasons.setdefault(reason, len(reasons) + 1))


def _grid(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    yield "| | " + " | ".join(columns) + " |"
    yield "|---" * (len(columns) + 1) + "|"
    for name, *cells in rows:
        yield f"| `{name}` | " + " | ".join(cells) + " |"
    yield ""


if __name__ == "__main__":
    print(table())
