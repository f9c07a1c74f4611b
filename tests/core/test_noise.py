"""Randomness is a function of its key, and nothing else."""

from __future__ import annotations

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.distributions import Gamma, Independent, Laplace, Normal

from tightbound.core.noise import DrawnNoise, ExampleNoise, Noise, RecordedNoise, draw, key_seed

keys = st.lists(st.integers() | st.text(max_size=5), max_size=4).map(tuple)
LIKE = torch.empty(0)


@given(keys, keys)
def test_each_key_has_its_own_seed(one: tuple[int | str, ...], two: tuple[int | str, ...]) -> None:
    assert (key_seed(*one) == key_seed(*two)) == (one == two)
    assert 0 <= key_seed(*one) < 2**63


def test_elements_of_a_key_are_not_concatenated() -> None:
    assert len({key_seed("a", 12), key_seed("a", 1, 2), key_seed("a12"), key_seed("a", "12"), key_seed(12, "a")}) == 5


@given(st.integers(1, 4), st.integers(1, 9), st.data())
@settings(max_examples=40, deadline=None)
def test_slices_equal_those_of_the_global_batch(samples: int, total: int, draws: st.DataObject) -> None:
    start = draws.draw(st.integers(0, total - 1))
    size = draws.draw(st.integers(1, total - start))
    whole, part = Noise("k", 3), Noise("k", 3, start=start, total=total)
    for kind in ("normal", "uniform", "normal"):
        a = getattr(whole, kind)((samples, total, 5), LIKE)
        b = getattr(part, kind)((samples, size, 5), LIKE)
        assert torch.equal(a[:, start : start + size], b)


def test_draws_differ_from_each_other_and_repeat() -> None:
    one, two = Noise("k"), Noise("k")
    a, b = one.normal((1, 4), LIKE), one.normal((1, 4), LIKE)
    assert not torch.equal(a, b)
    assert torch.equal(two.normal((1, 4), LIKE), a)
    assert torch.equal(two.normal((1, 4), LIKE), b)
    assert Noise("k").normal((1, 4), LIKE.double()).dtype is torch.float64


@given(st.permutations(range(8)), st.integers(1, 8))
@settings(max_examples=30, deadline=None)
def test_the_noise_of_an_example_depends_on_that_example(order: list[int], size: int) -> None:
    """An example's noise depends neither on the order nor on its batch."""
    everyone = ExampleNoise("e", 0, index=torch.arange(8))
    expected = [everyone.normal((3, 8, 2), LIKE), everyone.uniform((3, 8, 2), LIKE)]
    for part in torch.tensor(order).split(size):
        noise = ExampleNoise("e", 0, index=part)
        assert torch.equal(noise.normal((3, len(part), 2), LIKE), expected[0][:, part])
        assert torch.equal(noise.uniform((3, len(part), 2), LIKE), expected[1][:, part])


def test_noise_has_the_distribution_of_its_name() -> None:
    for noise in (Noise("law"), ExampleNoise("law", index=torch.arange(2000))):
        z, u = noise.normal((10, 2000), LIKE), noise.uniform((10, 2000), LIKE)
        assert abs(z.mean()) < 0.03
        assert abs(z.std() - 1) < 0.03
        assert abs(u.mean() - 0.5) < 0.01
        assert 0 <= u.min() < u.max() < 1
        assert torch.corrcoef(z[:, :2].T)[0, 1].abs() < 0.9


def test_the_default_generator_is_seeded_and_given_back() -> None:
    def inside(outside: int) -> torch.Tensor:
        torch.manual_seed(outside)
        state = torch.get_rng_state()
        with Noise("d", 1).default():
            out = torch.rand(3)
        assert torch.equal(torch.get_rng_state(), state)
        return out

    assert torch.equal(inside(1), inside(2))
    with Noise("d", 2).default():
        assert not torch.equal(torch.rand(3), inside(1))


def test_draws_of_distributions_come_from_the_noise_and_have_gradients() -> None:
    scale = torch.full((4, 3), 0.5, requires_grad=True)
    families = (Normal(torch.zeros(4, 3), scale), Laplace(torch.zeros(4, 3), scale), Gamma(scale, torch.ones(4, 3)))
    for family in families:
        distribution = Independent(family, 1)
        torch.manual_seed(0)
        one = draw(distribution, (2,), Noise("x"))
        torch.manual_seed(1)
        assert torch.equal(one, draw(distribution, (2,), Noise("x")))
        assert one.shape == (2, 4, 3)
        (gradient,) = torch.autograd.grad(one.square().sum(), scale)
        assert (gradient != 0).any()


def test_recorded_draws_equal_the_draws() -> None:
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
