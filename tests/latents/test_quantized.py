"""Laws of the bound of models whose codes can be enumerated."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.distributions import Categorical, Distribution, Independent

import tightbound as tb
from tightbound.analysis.bounds.estimator import evaluate
from tightbound.components import describe, rebuild, untrusted
from tightbound.core.errors import CompositionError, InputError
from tightbound.core.noise import ExampleNoise
from tightbound.core.terms import Batch, code_terms
from tightbound.latents import Quantized
from tightbound.latents.codes import needs_codes
from tightbound.priors.codes import CodePrior
from tightbound.quantizers import VectorQuantizer

NETWORKS = {
    "one level": "mlp(hidden=(6,))",  # 3 positions
    "two levels": "resnet(halvings=(1, 1), hidden=4, inner=2, blocks=1)",  # 2x2 and 1x1
}
PIXELCNN = "pixelcnn(embedding=3, hidden=4, layers=1, attention=2, blocks=1)"


class Linear(CodePrior):
    """Logits of each position, to which the maps add theirs."""

    def __init__(
        self, grid: Any = (1, 1), depth: int = 1, codebook_size: int = 2, maps: int = 0, context: int = 0
    ) -> None:
        super().__init__(grid, depth, codebook_size, maps, context)
        self.logits = nn.Parameter(torch.randn(self.positions, self.depth, self.codebook_size))
        self.shift = nn.Parameter(torch.randn(self.maps, self.codebook_size)) if self.maps else None

    def forward(self, maps: Tensor | None = None, context: Tensor | None = None) -> Distribution:
        logits = self.logits
        if self.shift is not None and maps is not None:
            logits = logits + (maps.flatten(-2).transpose(-2, -1) @ self.shift).unsqueeze(-2)
        return Independent(Categorical(logits=logits), 2)


class Own(VectorQuantizer):
    """A quantizer of the user's own."""


def bits(n: int = 12) -> Tensor:
    return torch.from_numpy(np.random.default_rng(0).integers(0, 2, (n, 1, 4, 4), dtype=np.uint8))


def small(levels: str, prior: str, entries: int = 3) -> tb.VAE:
    data = tb.data.open(bits(40).numpy(), domain="binary")
    model = tb.VAE.for_data(
        data, latent=2, network=NETWORKS[levels],
        latents=f"quantized(quantizer='vq(codebook_size={entries})', positions=3)",
        prior="uniform" if prior == "linear" else prior,
    ).double().eval()  # fmt: skip
    latents = model.latents
    assert isinstance(latents, Quantized)
    with torch.random.fork_rng(devices=()):
        torch.manual_seed(1)
        for level in latents.all_levels:
            if prior == "linear":
                level.prior = Linear(**level.prior.needs).double()
            for p in level.prior.parameters():
                nn.init.normal_(p, std=0.7)
            nn.init.normal_(level.quantizer.codebook)
            if level.rise is not None:
                for p in level.rise.parameters():
                    nn.init.normal_(p, std=0.7)
    if latents.second_stage is not None:
        latents.second_stage.enable()
    return model


def all_codes(latents: Quantized) -> list[Tensor]:
    """Every value of the codes of all levels: (N, P, depth) of each, the lowest first."""
    grids = [grid.shape for grid in latents.code_grids]
    sizes = [positions * depth for positions, depth in grids]
    every = torch.tensor(list(itertools.product(range(3), repeat=sum(sizes))))
    return [part.unflatten(1, grid) for part, grid in zip(every.split(sizes, 1), grids, strict=True)]


def by_hand(model: tb.VAE, codes: list[Tensor]) -> tuple[Tensor, Any]:
    """log p(codes) (N,) and p(x | codes), with the walk down written out."""
    latents = model.latents
    assert isinstance(latents, Quantized)
    above, prior = None, torch.zeros(len(codes[0]), dtype=torch.float64)
    for level, own in zip(reversed(latents.all_levels), reversed(codes), strict=True):
        if latents.learned:
            p = level.prior(above, None)
            prior = prior + p.log_prob(own)
        else:
            prior = prior - own[0].numel() * np.log(3)
        maps = level.quantizer.codebook[own[..., 0]].transpose(1, 2).unflatten(2, level.plane[1:])
        maps = maps if above is None else torch.cat([maps, above], 1)
        above = None if level.rise is None else level.rise(maps)
    return prior, model.likelihood(maps.flatten(1))


@pytest.mark.parametrize("prior", ["uniform", "linear", PIXELCNN])
@pytest.mark.parametrize("levels", NETWORKS)
@torch.no_grad()
def test_the_bound_of_enumerable_codes(levels: str, prior: str) -> None:
    """log p(x | c*) + log p(c*) is what the model, its objective and `evaluate` give; it is below the evidence."""
    model = small(levels, prior)
    x = bits()
    terms = model(Batch(x.double(), index=torch.arange(len(x))))
    own = [group.indices[0] for group in code_terms(terms.latents)]
    log_prior, likelihood = by_hand(model, own)
    bound = likelihood.log_prob(x.double()) + log_prior
    assert torch.allclose(terms.log_weight[0], bound, atol=1e-10)
    assert torch.allclose(tb.objectives.ELBO()(terms, tb.core.schedules.Knobs.final({"beta": lambda _: 1.0})), bound)
    every = all_codes(model.latents)  # pyright: ignore[reportArgumentType]
    log_p, decoded = by_hand(model, every)
    assert log_p.logsumexp(0).item() == pytest.approx(0, abs=1e-9)
    assert torch.allclose(model.latents.log_prior_of(every), log_p, atol=1e-10)  # pyright: ignore
    evidence = torch.stack([(decoded.log_prob(example.double()) + log_p).logsumexp(0) for example in x])
    assert (bound < evidence).all()
    result = evaluate(model, x, samples=3)
    assert np.allclose(result.per_example["elbo"], bound, atol=1e-5)
    assert result["elbo"].value == pytest.approx(bound.mean().item(), abs=1e-5)


@pytest.mark.parametrize("prior", ["uniform", PIXELCNN])
@torch.no_grad()
def test_the_terms_of_an_example_do_not_depend_on_its_batch(prior: str) -> None:
    model = small("two levels", prior)
    x = bits().double()

    def parts(rows: list[int]) -> tuple[Tensor, Tensor | None]:
        index = torch.tensor(rows)
        terms = model(Batch(x[rows], index=index), 2, ExampleNoise("law", index=index))
        return terms.log_weight, terms.penalty

    whole, penalty = parts([*range(12)])
    assert penalty is not None
    for rows in ([3], [7, 0, 3], [*reversed(range(12))]):
        weight, own = parts(rows)
        assert own is not None
        assert torch.allclose(weight, whole[:, rows], atol=1e-10)
        assert torch.allclose(own, penalty[:, rows], atol=1e-10)


def test_a_fixed_prior_is_in_use_from_the_start() -> None:
    """One without parameters has nothing to wait for; one with them is set aside until it has been trained."""
    model = small("one level", "uniform")
    assert model.latents.second_stage is None
    assert model.latents.learned  # pyright: ignore[reportAttributeAccessIssue]
    data = tb.data.open(bits(40).numpy(), domain="binary")
    waiting = tb.VAE.for_data(
        data, latent=2, network=NETWORKS["one level"], latents="quantized", prior=PIXELCNN
    ).latents
    assert isinstance(waiting, Quantized)
    assert not waiting.learned
    assert not any(p.requires_grad for level in waiting.all_levels for p in level.prior.parameters())


def test_a_prior_is_replaced_and_recorded() -> None:
    model = small("two levels", "uniform")
    before = {n: t.clone() for n, t in model.state_dict().items()}
    model.latents.replace_prior(PIXELCNN)
    assert model.latents.second_stage is not None
    assert {n for n in model.state_dict() if n not in before} <= model.trained_later
    kept = describe(model)["latents"]["prior"]
    assert [one["part"] for one in kept] == ["code-prior/pixelcnn"] * 2
    with pytest.raises(CompositionError, match="2 level"):
        model.latents.replace_prior([PIXELCNN])
    flat = tb.VAE.for_data(tb.data.open(bits(40).numpy(), domain="binary"), latent=2, network="mlp(hidden=(4,))")
    assert flat.latents.second_stage is None
    with pytest.raises(CompositionError, match="latents Flat have none; train a model with latents 'quantized'"):
        needs_codes(flat.latents).replace_prior(PIXELCNN)


@pytest.mark.parametrize(
    ("latents", "prior"),
    [
        ("quantized(quantizer='{0}:Own(codebook_size=3)')", f"{Linear.__module__}:Linear"),
        (
            "quantized(quantizer=residual(depth=2, of='{0}:Own(codebook_size=3)'), prior=['{0}:Linear', 'uniform'])",
            "auto",
        ),
    ],
)
def test_components_of_a_users_own_are_named_in_text(latents: str, prior: str) -> None:
    """They are imported where the user trusts them, when the model is made and when it is rebuilt, and only there."""
    data = tb.data.open(bits(40).numpy(), domain="binary")
    given: dict[str, Any] = {
        "latent": 2,
        "network": NETWORKS["two levels"],
        "latents": latents.format(__name__),
        "prior": prior,
    }
    with pytest.raises(InputError, match="trust=True"):
        tb.VAE.for_data(data, **given)
    model = tb.VAE.for_data(data, **given, trust=True)
    assert isinstance(model.latents, Quantized)
    assert any(isinstance(part, Own) for part in model.modules())
    assert isinstance(model.latents.all_levels[0].prior, Linear)
    written = describe(model)
    assert set(untrusted(written)) == {f"{__name__}:Own", f"{__name__}:Linear"}
    with pytest.raises(InputError, match="trust=True"):
        rebuild(written)
    again = rebuild(written, trust=True)
    again.load_state_dict(model.state_dict())
    assert describe(again) == written


def test_one_quantizer_may_serve_two_levels() -> None:
    """Its entries are then those of both; it is written once, and read back as one."""
    network = tb.nn.ResNet(halvings=(1, 1), hidden=4, inner=2, blocks=1)
    own = VectorQuantizer(2, codebook_size=3)
    latents = Quantized((1, 4, 4), 2, network, [own, own])
    again = rebuild(describe(latents))
    assert again.all_levels[0].quantizer is again.all_levels[1].quantizer
    assert sum("codebook" in name for name, _ in again.named_buffers()) == 1


def test_levels_cannot_schedule_one_name_differently() -> None:
    """A knob has one value at a step."""
    network = tb.nn.ResNet(halvings=(1, 1), hidden=4, inner=2, blocks=1)
    text = "gumbel(codebook_size=3, temperature=linear(start=1.0, stop={}))"
    assert Quantized((1, 4, 4), 2, network, [text.format(0.5), text.format(0.5)]).schedules
    with pytest.raises(CompositionError, match="temperature"):
        Quantized((1, 4, 4), 2, network, [text.format(0.5), text.format(0.2)])


def test_starting_at_constant_data_keeps_the_scale_of_the_head() -> None:
    model = small("two levels", "uniform")
    levels = model.latents.all_levels  # pyright: ignore[reportAttributeAccessIssue]
    before = [level.head.weight.detach().clone() for level in levels]
    for level, weight in zip(levels, before, strict=True):
        raw = torch.full((8, 4, level.quantizer.inputs), 0.3).double()
        with torch.no_grad():
            level.standardize(raw + 1e-8 * torch.randn_like(raw))
        assert torch.equal(level.head.weight, weight)
