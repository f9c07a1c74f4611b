"""Priors over codes: the laws, over the table and variants; cached drawing; what is refused."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.distributions import Independent, Normal
from torch.utils._python_dispatch import TorchDispatchMode

from tightbound.components import TABLE, make, parse
from tightbound.core.errors import CompositionError, InputError
from tightbound.core.noise import Noise, draw
from tightbound.priors.codes import AutoregressiveCodes, PixelCNN, Sharpening, Transformer, Uniform, draw_codes
from tightbound.priors.codes.drawing import invert
from tightbound.testing import check_code_prior
from tightbound.testing.code_priors import draw_from_scratch

SMALL = {
    "pixelcnn": "pixelcnn(embedding=3, hidden=6, layers=2, attention=2, dropout=0.2, blocks=1)",
    "transformer": "transformer(hidden=8, layers=2, heads=2, dropout=0.2, blocks=1)",
}
WITHOUT = "pixelcnn(embedding=3, hidden=6, layers=3, attention=0)"
PRIORS = [*(SMALL.get(name, name) for name in TABLE["code-prior"]), WITHOUT]
LEARNED = [text for text in PRIORS if text != "uniform"]
GIVEN = [{}, {"maps": 2}, {"context": 3}, {"maps": 2, "context": 3}]


def prior(text: str, depth: int = 1, grid: tuple[int, int] = (2, 2), codebook_size: int = 3, **given: Any) -> Any:
    torch.manual_seed(0)
    return make("code-prior", text, grid=grid, depth=depth, codebook_size=codebook_size, **given)


def lively(text: str, **arguments: Any) -> Any:
    """In float64, away from its start, where codes hardly depend on one another."""
    made = prior(text, **arguments).double().eval()
    with torch.no_grad():
        for p in made.parameters():
            p.copy_(torch.randn_like(p) / (p[0].numel() if p.dim() > 1 else 1) ** 0.5)
    return made


def conditions(made: Any, *lead: int) -> tuple[Tensor | None, Tensor | None]:
    shapes = ((*lead, made.maps, *made.grid), (*lead, made.context))
    sizes = (made.maps, made.context)
    maps, context = (torch.randn(s, dtype=torch.float64) if n else None for s, n in zip(shapes, sizes, strict=True))
    return maps, context


@pytest.mark.parametrize(("depth", "given"), list(zip((1, 2, 2, 1), GIVEN, strict=True)), ids=str)
@pytest.mark.parametrize("text", PRIORS)
def test_laws(text: str, depth: int, given: dict[str, int]) -> None:
    check_code_prior(prior(text, depth, codebook_size=4 - depth, **given))


@pytest.mark.parametrize("text", LEARNED)
def test_laws_of_two_codes_of_three_values_at_each_position(text: str) -> None:
    check_code_prior(prior(text, 2, maps=1, context=2))


@pytest.mark.parametrize(("depth", "given"), list(zip((2, 1, 1, 2), GIVEN, strict=True)), ids=str)
@pytest.mark.parametrize("text", LEARNED)
def test_cached_draws_are_those_from_scratch(text: str, depth: int, given: dict[str, int]) -> None:
    made = lively(text, depth=depth, grid=(4, 5), codebook_size=7, **given)
    p = made(*conditions(made, 3))
    samples = (2,) if p.batch_shape else (2, 3)
    for sharpening in (Sharpening(), Sharpening(1.5, 5)):
        cached = draw_codes(p, samples, Noise("draw"), sharpening)
        scratch = draw_from_scratch(p, samples, Noise("draw"), sharpening)
        assert cached.shape == (2, 3, 20, depth)
        assert torch.equal(cached, scratch)
        assert len(cached.unique()) > 2


@pytest.mark.parametrize("text", LEARNED)
def test_a_draw_takes_one_step_per_code_index(text: str) -> None:
    """No product or convolution has more rows than one code or, above a row of a grid, one row of it needs."""
    made = lively(text, grid=(6, 4), codebook_size=5)
    rows = []

    class Products(TorchDispatchMode):
        def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            if function.overloadpacket in (torch.ops.aten.mm, torch.ops.aten.addmm):
                rows.append(len(args[-2]))
            return function(*args, **(kwargs or {}))

    with Products():
        draw_codes(made(), (2,), Noise("draw"), Sharpening())
    assert len(rows) >= 24
    assert set(rows) == {2}


def test_attention_sees_beyond_the_reach_of_convolutions() -> None:
    seen = []
    for heads in (0, 2):
        made = lively(f"pixelcnn(embedding=4, hidden=8, layers=1, attention={heads})", grid=(6, 6), codebook_size=5)
        codes = torch.zeros(5, 36, 1, dtype=torch.long)
        codes[:, 0, 0] = torch.arange(5)  # the first position
        seen.append(made().log_factors(codes)[:, -1].std().item())  # 5 rows and columns further
    assert seen[0] < 1e-12
    assert seen[1] > 1e-4


@pytest.mark.parametrize("text", LEARNED)
def test_samples_of_maps_fold_into_the_batch(text: str) -> None:
    """Maps (S, B, ...) beside a context (B, ...): batch shape (S, B), each example as by itself."""
    made = lively(text, maps=2, context=3)
    (maps, _), (_, context) = conditions(made, 2, 3), conditions(made, 3)
    assert maps is not None
    assert context is not None
    p = made(maps, context)
    codes = torch.randint(3, (2, 3, 4, 1))
    assert p.batch_shape == (2, 3)
    assert p.log_prob(codes)[1, 2].item() == pytest.approx(made(maps[1, 2], context[2]).log_prob(codes[1, 2]).item())
    assert draw(p, (5,), Noise("draw")).shape == p.sample([5]).shape == (5, 2, 3, 4, 1)


@pytest.mark.parametrize("text", LEARNED)
def test_conditions_that_a_prior_does_not_take_are_ignored(text: str) -> None:
    made = lively(text)
    codes = torch.randint(3, (5, 4, 1))
    p = made(torch.randn(5, 2, 2, 2), torch.randn(5, 3))
    assert p.batch_shape == ()
    assert torch.equal(p.log_prob(codes), made().log_prob(codes))


@pytest.mark.parametrize("text", LEARNED)
def test_densities_are_in_float32_under_autocast(text: str) -> None:
    made = prior(text, maps=2, codebook_size=50).eval()
    maps, codes = torch.randn(1, 2, 2, 2), torch.randint(50, (1, 4, 1))
    with torch.autocast("cpu", torch.bfloat16):
        p = made(maps)
        factors, mass = p.log_factors(codes), p.logits(codes).log_softmax(-1).exp().sum(-1)
        drawn = draw_codes(p, (2,), Noise("draw"), Sharpening())
    assert factors.dtype == mass.dtype == torch.float32
    assert (mass - 1).abs().max() < 1e-5
    assert factors.sum().item() == pytest.approx(made(maps).log_prob(codes).item(), abs=0.1)
    assert drawn.dtype == torch.long


@pytest.mark.parametrize("text", LEARNED)
def test_draws_leave_out_dropout_and_can_be_trained_on(text: str) -> None:
    made = lively(text, context=3)
    context = conditions(made, 2)[1]
    codes = draw(made(None, context), (4,), Noise("draw"))
    assert torch.equal(codes, draw(made.train()(None, context), (4,), Noise("draw")))
    made(None, context).log_prob(codes).sum().backward()


@pytest.mark.parametrize(
    "text",
    [
        "pixelcnn(embedding=4, hidden=16, layers=1, attention=2, dropout=0.0)",
        "transformer(hidden=12, layers=1, dropout=0.0)",
    ],
)
def test_training_lowers_the_code_length_below_the_uniform_one(text: str) -> None:
    """Codes that are all the context: far fewer nats than uniform ones, and drawn again."""
    made = prior(text, depth=2, codebook_size=4, context=4)
    optimizer = torch.optim.Adam(made.parameters(), 2e-2)
    contexts, codes = torch.eye(4), torch.arange(4)[:, None, None].expand(4, 4, 2)
    for _ in range(80):
        optimizer.zero_grad()
        made(None, contexts).log_prob(codes).mean().neg().backward()
        optimizer.step()
    p = made.eval()(None, contexts)
    assert (p.log_prob(codes) > 0.3 * Uniform((2, 2), 2, 4)().log_prob(codes)).all()
    assert torch.equal(draw_codes(p, (6,), Noise("draw"), Sharpening(top_k=1)), codes.expand(6, 4, 4, 2))


def test_the_laws_run_on_every_code_prior() -> None:
    assert {parse(text).name for text in PRIORS} == set(TABLE["code-prior"])


def test_inverse_of_the_distribution_function() -> None:
    probability = torch.tensor([0.0, 0.25, 0.0, 0.5, 0.25, 0.0], dtype=torch.float64)
    uniform = torch.tensor([0.0, 0.2499, 0.25, 0.7499, 0.75, 1 - 2**-53], dtype=torch.float64)
    assert invert(probability.log().expand(6, 6), uniform).tolist() == [1, 1, 3, 3, 4, 4]


@pytest.mark.parametrize("size", [3, 50, 513])
def test_a_code_of_probability_zero_is_never_drawn(size: int) -> None:
    """Not even by the largest number below 1, where the sum of rounded probabilities falls short of it."""
    logits = torch.randn(2000, size, generator=torch.Generator().manual_seed(0))
    logits[:, -1] = logits[:, 0] = -torch.inf
    for uniform in (0.0, 1 - 2**-24):
        drawn = invert(logits, torch.full((2000,), uniform))
        assert (drawn > 0).all()
        assert (drawn < size - 1).all()


def test_sharpened_logits() -> None:
    logits = torch.tensor([[1.0, 3.0, 2.0, 3.0]])
    assert torch.equal(Sharpening()(logits), logits)
    assert torch.allclose(Sharpening(0.5)(logits).softmax(-1), (2 * logits).softmax(-1))
    assert Sharpening(top_k=2)(logits).isfinite().tolist() == [[False, True, False, True]]
    assert torch.equal(Sharpening(top_k=9)(logits), logits)
    assert Sharpening(top_k=1)(logits).isfinite().sum() == 1  # of two that are equally likely
    assert Sharpening(1e-300)(logits).softmax(-1).tolist() == [[0, 0.5, 0, 0.5]]


@pytest.mark.parametrize(
    ("argument", "value"),
    [("temperature", 0), ("temperature", -1.0), ("temperature", float("nan")), ("top_k", 0), ("top_k", 1.5)],
)
def test_sharpening_out_of_range_is_refused(argument: str, value: float) -> None:
    with pytest.raises(InputError, match=f"^{argument} = .*needed: [^\n]*$"):
        Sharpening(**{argument: value})  # pyright: ignore


@pytest.mark.parametrize(
    ("kind", "argument", "value"),
    [
        *((PixelCNN, name, 0) for name in ("embedding", "hidden", "layers", "kernel", "codebook_size", "depth")),
        *((PixelCNN, name, -1) for name in ("attention", "blocks", "dropout", "maps", "context")),
        (PixelCNN, "kernel", 4),
        (PixelCNN, "dropout", 1.0),
        (PixelCNN, "attention", 5),
        (PixelCNN, "grid", (0, 3)),
        *((Transformer, name, 0) for name in ("hidden", "layers", "heads")),
        *((Transformer, name, -1) for name in ("blocks", "dropout")),
        (Transformer, "dropout", 1.0),
        (Transformer, "heads", 3),
    ],
)
def test_numbers_out_of_range_are_refused(kind: Any, argument: str, value: Any) -> None:
    with pytest.raises(InputError, match=f"^[^\n]*{argument if argument != 'attention' else 'heads|attention'}[^\n]*$"):
        kind(**{argument: value})


def test_fewer_feature_maps_than_codes_of_a_position_are_refused() -> None:
    with pytest.raises(InputError, match="hidden = 3; needed: a whole number of at least 4"):
        PixelCNN(depth=4, hidden=3)


@pytest.mark.parametrize("text", LEARNED)
def test_missing_conditions_are_refused(text: str) -> None:
    made = prior(text, maps=2, context=3)
    maps, context = torch.zeros(1, 2, 2, 2), torch.zeros(1, 3)
    for given in (
        (None, context),
        (maps, None),
        (maps[:, :1], context),
        (maps, context[:, :2]),
        (maps[..., :1], context),
    ):
        with pytest.raises(CompositionError, match=r"^the code prior takes [^\n]* was given [^\n]*$"):
            made(*given)


def test_codes_of_another_distribution_are_refused() -> None:
    normal = Independent(Normal(torch.zeros(2, 1), 1.0), 2)
    with pytest.raises(CompositionError, match="code indices cannot be drawn from a Normal"):
        draw_codes(normal, (3,), Noise("draw"), Sharpening())


class Peeking(PixelCNN):
    """Codes are shown their own value."""

    def logits(self, codes: Tensor, condition: Tensor | None) -> Tensor:
        return super().logits(codes, condition) + 0.1 * torch.nn.functional.one_hot(codes, self.codebook_size)


class LookingAhead(PixelCNN):
    """Codes see the last one."""

    def logits(self, codes: Tensor, condition: Tensor | None) -> Tensor:
        return super().logits(codes, condition) + codes[:, -1:, :, None] * torch.arange(3.0)


class Tempered(PixelCNN):
    """Draws are sharper than its density."""

    def generate(self, rows: int, condition: Tensor | None, choose: Any) -> None:
        super().generate(rows, condition, lambda logits, *at: choose(1.3 * logits, *at))


class Leaking(PixelCNN):
    """Contexts are centerd by the batch's mean."""

    def forward(self, maps: Tensor | None = None, context: Tensor | None = None) -> AutoregressiveCodes:
        assert context is not None
        return super().forward(maps, context - context.mean(0) if context.dim() > 1 else context)


class Deaf(PixelCNN):
    """Takes a context, and leaves it out."""

    def logits(self, codes: Tensor, condition: Tensor | None) -> Tensor:
        return super().logits(codes, None if condition is None else 0 * condition)

    def generate(self, rows: int, condition: Tensor | None, choose: Any) -> None:
        super().generate(rows, None if condition is None else 0 * condition, choose)


@pytest.mark.parametrize(
    ("kind", "law"),
    [
        (Peeking, "normalization"),
        (LookingAhead, "normalization"),
        (Tempered, "frequencies"),
        (Leaking, "depends on its batch"),
        (Deaf, "does not depend on maps or context"),
    ],
)
def test_a_wrong_prior_is_caught(kind: type[PixelCNN], law: str) -> None:
    torch.manual_seed(0)
    with pytest.raises(AssertionError, match=law):
        check_code_prior(kind((2, 2), 1, 3, context=2, embedding=3, hidden=6, layers=2, attention=2))
