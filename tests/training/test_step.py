"""How steps are computed changes their speed, not their numbers."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import tightbound as tb
from tightbound.core.dispatch import Dispatched, kept
from tightbound.core.noise import DrawnNoise, Noise, RecordedNoise
from tightbound.core.schedules import Knobs
from tightbound.core.terms import Batch
from tightbound.testing.models import small_model
from tightbound.training import fastest
from tightbound.training.fastest import choose
from tightbound.training.step import Step, Stepper, Way

# when torch compiles, its own code warns
pytestmark = pytest.mark.filterwarnings("ignore")


def test_a_method_is_chosen_by_the_nearest_class() -> None:
    @Dispatched
    def size(x: object) -> str:
        return "any"

    @size.register
    def _(x: int) -> str:
        return "int"

    assert (size(1.0), size(1), size(True)) == ("any", "int", "int")
    assert size.default(True) == "any"


def test_a_kept_value_is_computed_once() -> None:
    class Holder:
        calls = 0

        @kept
        def value(self) -> Tensor | None:
            self.calls += 1
            return None

    holder = Holder()
    assert holder.value is holder.value is None
    assert holder.calls == 1


def test_planned_draws_are_the_draws() -> None:
    recorded = RecordedNoise(Noise("plan"))
    like = torch.empty(0)
    shapes = ((2, 3, 4), (1, 3, 5))
    seen = [recorded.normal(shapes[0], like), recorded.uniform(shapes[1], like.double())]
    assert recorded.plain
    for key in ("plan", "other"):
        drawn = DrawnNoise(recorded.repeat(Noise(key)))
        again = [drawn.normal(shapes[0], like), drawn.uniform(shapes[1], like.double())]
        fresh = Noise(key)
        expected = [fresh.normal(shapes[0], like), fresh.uniform(shapes[1], like.double())]
        for a, b in zip(again, expected, strict=True):
            assert torch.equal(a, b)
            assert a.dtype == b.dtype
    assert torch.equal(seen[0], Noise("plan").normal(shapes[0], like))
    with recorded.default():
        pass
    assert not recorded.plain


class _Fixture:
    """A small model's step on a batch."""

    def __init__(self) -> None:
        self.model, self.objective = small_model().float().train(), tb.objectives.ELBO()
        self.stepper = Stepper(Step(self.model, self.objective))
        self.losses = [group.loss for group in self.objective.parameter_groups(self.model)]
        self.batch = Batch(torch.rand(6, *self.model.shape, generator=torch.Generator().manual_seed(0)).round())
        self.knobs = Knobs.final(self.objective.schedules)

    def compute(self, how: Any, batch: Batch | None = None, key: int = 0) -> tuple[float, float, list[Tensor]]:
        """Loss, sum of the reconstruction, and gradients."""
        self.model.zero_grad()
        (loss,), summary = how(self.batch if batch is None else batch, Noise("t", key), self.knobs, self.losses)
        loss.backward()
        gradients = [p.grad.clone() for p in self.model.parameters() if p.grad is not None]
        return loss.item(), summary.sums["reconstruction"].item(), gradients

    def same(self, a: Any, b: Any) -> None:
        assert a[:2] == pytest.approx(b[:2], rel=1e-5)
        for x, y in zip(a[2], b[2], strict=True):
            torch.testing.assert_close(x, y, rtol=1e-4, atol=1e-5)


def test_a_compiled_step_computes_the_same() -> None:
    """Also of other noise, which is drawn before; a batch of another size is computed without it."""
    fixture = _Fixture()
    plain = [fixture.compute(fixture.stepper, key=key) for key in (0, 1)]
    smaller = fixture.compute(fixture.stepper, fixture.batch[:4])
    fixture.compute(fixture.stepper.plan)
    assert fixture.stepper.plannable
    fixture.stepper.take(Way(compile="step"))
    for key in (0, 1):
        fixture.same(fixture.compute(fixture.stepper, key=key), plain[key])
    assert plain[0][0] != plain[1][0]
    assert fixture.compute(fixture.stepper, fixture.batch[:4])[0] == smaller[0]
    fixture.stepper.close()
    assert fixture.compute(fixture.stepper)[0] == plain[0][0]


@pytest.mark.parametrize("way", [Way(channels_last=True), Way(compile="networks"), Way(precision="bf16")])
def test_the_model_is_left_as_it_was(way: Way) -> None:
    model = tb.vae(tb.data.open("digits"), latent=2, network="conv(channels=(4,))", seed=0)
    before = copy.deepcopy(model)
    stepper = Stepper(Step(model, tb.objectives.ELBO()))
    stepper.take(way)
    assert stepper.step.precision == way.precision
    stepper.close()
    assert stepper.way == Way()
    for (name, a), b in zip(model.named_parameters(), before.parameters(), strict=True):
        assert torch.equal(a, b), name
        assert a.stride() == b.stride(), name
    assert not [m for m in model.modules() if isinstance(m, nn.Module) and "forward" in vars(m)]


def test_bfloat16_is_of_the_networks_alone() -> None:
    fixture = _Fixture()
    exact = fixture.compute(fixture.stepper)
    fixture.stepper.take(Way(precision="bf16"))
    rounded = fixture.compute(fixture.stepper)
    assert rounded[0] != exact[0]
    assert rounded[0] == pytest.approx(exact[0], rel=0.02)
    assert all(gradient.dtype == torch.float32 for gradient in rounded[2])


def _chosen(
    monkeypatch: pytest.MonkeyPatch, times: dict[str, float], rest: int, **settings: Any
) -> tuple[Way, list[str]]:
    """The way that is taken, and those that were measured, where each takes these milliseconds."""
    model = tb.vae(tb.data.open("digits"), latent=2, network="conv(channels=(4,))", seed=0)
    stepper = Stepper(Step(model, tb.objectives.ELBO()))
    measured: list[str] = []

    def milliseconds(stepper: Stepper, ways: Sequence[Way], run: Any) -> dict[Way, float]:
        stepper.take(ways[-1])
        measured.extend(way.words for way in ways)
        return {way: times[way.words] for way in ways}

    monkeypatch.setattr(fastest, "_milliseconds", milliseconds)
    monkeypatch.setattr(Stepper, "plannable", True)
    monkeypatch.setattr(fastest, "_works", lambda stepper, way, run: True)
    found = choose(stepper, tb.Settings(**settings), lambda: None, rest)
    assert not found or next(iter(found)) == stepper.way.words
    return stepper.way, measured


def test_the_fastest_way_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    times = {"eager, fp32": 10.0, "eager, channels-last, fp32": 8.0, "compiled, channels-last, fp32": 7.0}
    way, measured = _chosen(monkeypatch, times, 10**6, compile="auto")
    assert way == Way("step", channels_last=True)
    assert "eager, bf16" not in measured  # precision is the user's, unless it is left open
    assert _chosen(monkeypatch, {**times, "compiled, channels-last, fp32": 9.0}, 10**6, compile="auto")[0] == Way(
        channels_last=True
    )
    short, measured = _chosen(monkeypatch, times, 1000, compile="auto")  # 8 seconds: compiling would take longer
    assert short == Way(channels_last=True)
    assert measured == ["eager, fp32", "eager, channels-last, fp32"]
    assert _chosen(monkeypatch, {**times, "eager, channels-last, fp32": 9.9}, 1000, compile="auto")[0] == Way()


def test_ways_take_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine that becomes three times as slow while ways are measured decides nothing."""
    asked: list[Way] = []
    a, b = Way(), Way(channels_last=True)

    def turn(stepper: Stepper, way: Way, run: Any) -> list[float]:
        asked.append(way)
        return [0.1 * (1 if way is a else 0.9) * (1 if len(asked) <= 4 else 3)]

    monkeypatch.setattr(fastest, "_turn", turn)
    found = fastest._milliseconds(Stepper(Step(nn.Identity(), tb.objectives.ELBO())), [a, b], lambda: None)  # pyright: ignore[reportArgumentType]
    assert asked == [a, b] * (len(asked) // 2)
    assert found[b] == pytest.approx(0.9 * found[a])


def test_precision_is_chosen_where_it_is_left_open(monkeypatch: pytest.MonkeyPatch) -> None:
    slow, fast = {"eager, fp32": 1.0, "eager, bf16": 2.0}, {"eager, fp32": 2.0, "eager, bf16": 1.0}
    assert _chosen(monkeypatch, slow, 10**6, precision="auto")[0] == Way()
    assert _chosen(monkeypatch, fast, 10**6, precision="auto")[0] == Way(precision="bf16")
    way, measured = _chosen(monkeypatch, {}, 10**6, precision="bf16")
    assert way == Way(precision="bf16")
    assert not measured
    compiled = {"compiled, fp32": 2.0, "compiled, bf16": 1.0}  # `compile` settled, precision open
    assert _chosen(monkeypatch, compiled, 10**6, compile="on", precision="auto")[0] == Way("step", precision="bf16")
    assert _chosen(monkeypatch, {}, 10**6, compile="on") == (Way(), [])


def test_what_cannot_be_compiled_is_refused_or_left(tmp_path: Any) -> None:
    """`compile="on"` of what has a draw in the middle of its graph falls to its networks."""
    data = tb.data.open(torch.rand(64, 5))
    model = tb.vae(data, latent=2, posterior="flow", seed=0)
    fitted = tb.fit(model, data, steps=2, validation_size=0, compile="on", quiet=True)
    assert torch.isfinite(torch.tensor(fitted.metrics[-1]["train_loss"]))
