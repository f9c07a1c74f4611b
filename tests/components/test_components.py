"""How a part is written, found, recorded and rebuilt."""

from __future__ import annotations

import json
import keyword
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import tightbound as tb
from conftest import gray
from tightbound.components import TABLE, Spec, describe, find, foreign, make, name_of, parse, rebuild
from tightbound.core.errors import CompositionError, InputError
from tightbound.core.noise import Noise
from tightbound.core.schedules import Cyclical, Linear
from tightbound.nn import MLP
from tightbound.objectives import ELBO
from tightbound.testing.matrix import NETWORKS

words = st.from_regex(r"[a-z][a-z_]{0,7}", fullmatch=True).filter(lambda w: not keyword.iskeyword(w))
atoms = (
    st.none()
    | st.booleans()
    | st.integers(-(10**12), 10**12)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=9)
)
literals = st.recursive(
    atoms,
    lambda inner: st.lists(inner, max_size=3) | st.tuples(inner, inner) | st.dictionaries(words, inner),
    max_leaves=5,
)
specs = st.recursive(
    st.builds(Spec, words),
    lambda inner: st.builds(
        lambda name, args, kwargs: Spec(name, tuple(args), kwargs),
        words,
        st.lists(literals | inner, max_size=2),
        st.dictionaries(words, literals | inner, max_size=3),
    ),
    max_leaves=6,
)


@settings(max_examples=25)
@given(specs)
def test_a_spec_is_read_back_from_its_text(spec: Spec) -> None:
    assert parse(str(spec)) == spec


def test_examples() -> None:
    assert parse(" vamp ") == Spec("vamp")
    assert parse("mlp(hidden=(512, 256))") == Spec("mlp", (), {"hidden": (512, 256)})
    assert parse("elbo(beta=linear(steps=9), samples=2)") == Spec(
        "elbo", (), {"beta": Spec("linear", (), {"steps": 9}), "samples": 2}
    )
    assert parse("free-bits(-0.5)") == Spec("free-bits", (-0.5,))
    assert parse("my.module:Class(n=1)").name == "my.module:Class"
    assert parse("elbo(samples=3)").replace(beta=4) == parse("elbo(samples=3, beta=4)")


MALFORMED = [
    "", " ", "3", "(3)", "a b", "a(", "a)", "a(b=)", "a()()", "a(x)", "a(b=x)", "a(b=[x])", "a(b=c.d)", "a(b=c.d())",
    "a(b=1 if 1 else 2)", "a(b=lambda: 0)", "a(**{'b': 1})", "a(*[1])", "a(b=1, b=2)", "a(b=__import__)", "a\0b",
    "a(b=f'{1}')", "a(b=[i for i in (1,)])", "a(b=1); c", "a(b=1)\nimport os", "a(" + "-" * 5000 + "1)",
    "a(" + "(" * 500 + ")" * 500 + ")", "a(b=" + "9" * 5000 + ")",
]  # fmt: skip


@pytest.mark.parametrize("text", MALFORMED, ids=lambda text: repr(text)[:25])
def test_malformed_text_is_refused_with_the_way_to_write_it(text: str) -> None:
    with pytest.raises(InputError, match=r"cannot read the component .*; write name") as caught:
        parse(text)
    assert "<ast" not in str(caught.value)
    assert "0x" not in str(caught.value)


@given(st.text(max_size=30) | st.from_regex(r"[a-z]+\(.{0,20}\)", fullmatch=True))
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        spec = parse(text)
    except InputError:
        return
    assert parse(str(spec)) == spec


def test_nothing_is_evaluated(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[str] = []
    monkeypatch.setattr("os.system", lambda command: seen.append(command))
    for text in ("__import__('os').system('x')", "a(b=__import__('os').system('x'))", "os:system('x')"):
        with pytest.raises(InputError):
            make("prior", text)
    for description in (
        {"part": "os:system", "id": 0, "command": "x"},
        {"part": "prior/os:system", "id": 0, "command": "x"},
        {"part": "model/vae", "id": 0, "latents": {"part": "os:system", "id": 1, "command": "x"}},
    ):
        with pytest.raises((InputError, CompositionError)):
            rebuild(description)
    assert seen == []


SUPPLIED: dict[str, dict[str, Any]] = {
    "context": {
        "classes": 3,
        "size": 2,
        "shape": (1, 8, 8),
        "input_shape": (1, 8, 8),
        "covariates": [("batch", ["b1", "b2"]), ("age", [])],
    },
    "quantizer": {"size": 8},
    "sampler": {"latent": 3},
    "features": {"shape": (1, 8, 8), "classes": 3},
    "prior": {"latent": 3, "context": 2},
    "posterior": {"shape": (1, 8, 8), "latent": 3},
    "latents": {"shape": (1, 8, 8), "latent": 3},
    "likelihood": {"shape": (1, 8, 8), "features": 3, "levels": 17},
    "observation": {"levels": 17, "shape": (1, 8, 8), "mean": [0.5], "std": [2.0]},
    "code-prior": {"grid": (2, 3), "depth": 2, "entries": 5, "maps": 3, "context": 2},
}
OF_COLUMNS: dict[str, dict[str, Any]] = {
    "columns": {"shape": (2,), "kinds": ["real", ("categories", ("a", "b"))]},
    "table": {"kinds": ["real", ("categories", ("a", "b"))], "mean": [0.5, 0.0], "std": [2.0, 1.0]},
}
BUILT = (*SUPPLIED, "network", "objective", "schedule", "decay", "score", "augmentation")


def built(kind: str, name: str) -> Any:
    parts: dict[str, Any] = (
        {"network": MLP(hidden=(4,))} if kind in ("context", "posterior", "latents", "likelihood") else {}
    )
    if kind == "latents":
        parts |= {"network": make("network", NETWORKS[name])} if name in NETWORKS else {}
        own = find(kind, name).builds  # what it makes by itself
        parts |= {part: built(part, "normal") for part in ("prior", "posterior") if part not in own}
    return make(kind, name, **SUPPLIED.get(kind, {}) | OF_COLUMNS.get(name, {}) | parts)


@pytest.mark.parametrize(("kind", "name"), [(kind, name) for kind in BUILT for name in TABLE[kind]])
def test_every_name_makes_a_component_that_is_rebuilt_from_json(kind: str, name: str) -> None:
    part = built(kind, name)
    written = json.loads(json.dumps(describe(part), allow_nan=False))
    assert foreign(written) == []
    again = rebuild(written)
    assert type(again) is type(part) is find(kind, name)
    assert describe(again) == describe(part) == written
    if isinstance(part, torch.nn.Module):
        one, two = ({n: t.shape for n, t in p.state_dict().items()} for p in (part, again))
        assert one == two
        again.load_state_dict(part.state_dict())
    if kind == "schedule":
        assert name_of(type(part)) in (f"schedule/{name}", "decay/constant")


def test_every_kind_of_the_table_is_tested() -> None:
    assert set(TABLE) - set(BUILT) == {"model"}  # below
    for kind, table in TABLE.items():
        for name in table:
            assert find(kind, name.replace("-", "_")) is find(kind, name)


def test_a_model_is_rebuilt_and_a_shared_component_stays_shared() -> None:
    data = tb.data.open(gray(), levels=17)
    model = tb.VAE.for_data(data, latent=3, network="mlp(hidden=(4,))")
    written = json.loads(json.dumps(describe(model)))
    assert json.dumps(written).count("network/mlp") == 1
    assert json.dumps(written).count('"same"') == 1
    again = rebuild(written)
    again.load_state_dict(model.state_dict())
    seen = model.observe(next(data.train.epoch(4)), Noise("parts"))
    assert torch.equal(again.encode_state(seen)[0].mean, model.encode_state(seen)[0].mean)
    schedule = Linear(stop=3.0)
    both = rebuild(json.loads(json.dumps(describe({"a": ELBO(beta=schedule), "b": [schedule, Cyclical()]}))))
    assert both["a"].schedules["beta"] is both["b"][0]


def test_recording_does_not_register_modules_twice() -> None:
    body = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 5))
    posterior = tb.posteriors.DiagonalNormal((1, 8, 8), 3, body)
    keys = list(posterior.state_dict())
    assert len(keys) == len(set(keys)) == 4
    assert foreign(describe(posterior)) == ["torch.nn.modules.container:Sequential"]
    with pytest.raises(CompositionError, match="model=mine"):
        rebuild(describe(posterior))


NOT_ONE: list[Any] = [
    {"part": "prior/normal"}, {"part": "prior/normal", "id": 0, "size": 3}, {"part": "nosuch/normal", "id": 0},
    {"part": "prior/nosuch", "id": 0}, {"part": "normal", "id": 0}, {"part": 3, "id": 0}, {"same": 7},
    {"part": "posterior/normal", "id": 0, "shape": "wide"},
]  # fmt: skip


@pytest.mark.parametrize("description", NOT_ONE, ids=str)
def test_damaged_descriptions_are_refused(description: Any) -> None:
    with pytest.raises((InputError, CompositionError)):
        rebuild(description)


def test_arguments_come_from_the_text_first_and_then_from_the_composition() -> None:
    assert make("prior", "normal", latent=4, levels=3).latent == 4
    assert make("prior", "normal(latent=2)", latent=4).latent == 2
    mixture = make("prior", "mixture(10)", latent=4)  # without a name: what the composition does not know
    assert (mixture.latent, mixture.components) == (4, 10)
    assert make("prior", "mixture(4, 10)").components == 10
    with pytest.raises(InputError, match="positional arguments; name them: latent="):
        make("prior", "normal(2)", latent=4, context=0)
    with pytest.raises(InputError, match="gives 'components' twice"):
        make("prior", "mixture(10, components=5)", latent=4)
    with pytest.raises(InputError, match="did you mean 'latent'"):
        make("prior", "normal(latnet=2)")
    with pytest.raises(InputError, match="did you mean 'bernoulli'"):
        make("likelihood", "bernouli")


@pytest.mark.parametrize(
    ("kind", "name", "description"), [("prior", "pixelcnn", "a code-prior"), ("code-prior", "normal", "a prior")]
)
def test_a_component_of_another_kind_is_named_as_such(kind: str, name: str, description: str) -> None:
    with pytest.raises(InputError, match=f"no {kind} '{name}' .*is {description}.*known"):
        find(kind, name)
