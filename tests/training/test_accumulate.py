"""A step whose examples are divided into parts is the same step."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import tightbound as tb
from tightbound.core.errors import InputError
from tightbound.core.noise import FoldedNoise, Noise
from tightbound.core.terms import Batch
from tightbound.training.checkpoint import load
from tightbound.training.checks import check_memory
from training import cases


def states(name: str, run: Path, **settings: Any) -> dict[str, Tensor]:
    """Train a case in double precision; return everything that training leaves."""
    model, data, objective, own = cases.CASES[name]()
    tb.fit(model.double(), data, objective, run=run, **{**cases.COMMON, **own, **settings})
    files = sorted((run / "checkpoints").glob("**/last.safetensors"))
    return {f"{file.parent.name}/{key}": t for file in files for key, t in load(file)[0].items()}


@pytest.mark.parametrize(
    "name",
    ["iwae", "ema, clip, decay", "uneven shares", "dynamic", "vq", "residual", "second", "lagging", "spectral"],
)
def test_a_step_in_parts_is_the_same_step(name: str, tmp_path: Path) -> None:
    """With three parts, of 3, 3 and 2 examples, and fewer for a last batch of one or two."""
    whole, parts = states(name, tmp_path / "whole"), states(name, tmp_path / "parts", accumulate=3)
    assert whole.keys() == parts.keys()
    for key, value in whole.items():
        np.testing.assert_allclose(parts[key], value, 1e-9, 1e-9, err_msg=key)
    for one, other in zip(cases.rows(tmp_path / "whole"), cases.rows(tmp_path / "parts"), strict=True):
        assert one.pop("stage") == other.pop("stage")
        assert one == pytest.approx(other, rel=1e-6)


def test_each_example_keeps_its_draws() -> None:
    noise, like = Noise("step", start=2, total=9), torch.empty(0)
    parts = Noise("step", start=2, total=9).divided([3, 2, 1])
    for _ in range(2):
        found = [part.normal((2, n, 4), like) for part, n in zip(parts, (3, 2, 1), strict=True)]
        assert torch.equal(torch.cat(found, 1), noise.normal((2, 6, 4), like))
    drawn = [part.branch().uniform((1, n), like) for part, n in zip(parts, (3, 2, 1), strict=True)]
    assert torch.equal(torch.cat(drawn, 1), noise.branch().uniform((1, 6), like))
    seeds = []
    for part in parts:  # dropout, which draws by torch's generator, must not repeat
        with part.default():
            seeds.append(float(torch.rand(())))
    assert len(set(seeds)) == 3


@pytest.mark.parametrize("samples", [1, 2])
def test_an_update_sees_the_whole_batch_once(samples: int) -> None:
    """In the order, and with the draws, of an undivided batch."""
    values = torch.arange(12.0).view(2, 6)[:samples]
    found: list[tuple[Tensor, Tensor]] = []

    def update(x: Tensor, noise: Noise) -> None:
        found.append((x, noise.uniform((1, len(x)), x)))

    FoldedNoise(Noise("step"), samples).once(update, values.flatten())
    for part, own in zip(Noise("step").divided([4, 2]), values.split([4, 2], 1), strict=True):
        FoldedNoise(part, samples).once(update, own.flatten())
    (whole, draws), (joined, same) = found
    assert torch.equal(whole, joined)
    assert torch.equal(draws, same)


@pytest.mark.parametrize(("n", "parts", "sizes"), [(8, 3, [3, 3, 2]), (8, 2, [4, 4]), (2, 5, [1, 1]), (1, 3, [1])])
def test_parts_of_a_batch(n: int, parts: int, sizes: list[int]) -> None:
    divided = Batch(torch.arange(n)).divided(parts)
    assert [len(part) for part in divided] == sizes
    assert torch.equal(Batch.joined(divided).x, torch.arange(n))


def test_a_run_in_parts_resumes_to_the_same_bits_and_to_no_other_parts(tmp_path: Path) -> None:
    whole = cases.train("vq", tmp_path / "whole", {"accumulate": 3})
    assert cases.stopped("vq", tmp_path / "run", 4, {"accumulate": 3}) == 4
    message = cases.refusal("vq", {"run": tmp_path / "run", "resume": True, "accumulate": 2})
    assert "accumulate was 3 and is 2" in message
    parts = cases.train("vq", tmp_path / "run", {"accumulate": 3, "resume": True})
    assert all(np.array_equal(value, parts["weights"][name]) for name, value in whole["weights"].items())
    assert whole["rows"] == parts["rows"]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*script_method.*:DeprecationWarning")  # torch's own compiler
def test_a_compiled_step_in_parts(tmp_path: Path) -> None:
    whole = cases.train("compiled", tmp_path / "whole", {})["weights"]
    parts = cases.train("compiled", tmp_path / "parts", {"accumulate": 2})["weights"]
    for name, value in whole.items():
        np.testing.assert_allclose(parts[name], value, 1e-4, 1e-4, err_msg=name)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"objective": "beta-tc"}, "'beta-tc' compares the examples of a batch, and accumulate = 3 divides it; leave"),
        ({"batch_size": 2}, "batch_size = 2 for accumulate = 3; needed: at least 3 for objective 'elbo'"),
        ({"objective": "factor", "batch_size": 5}, "needed: at least 6 for objective 'factor'"),
    ],
)
def test_what_parts_would_change_is_refused(changed: dict[str, Any], message: str, tmp_path: Path) -> None:
    assert message in cases.refusal("mlp", {"run": tmp_path / "run", "accumulate": 3, **changed})
    assert not (tmp_path / "run").exists()


def test_small_batches_of_a_code_prior_are_refused_before_training(tmp_path: Path) -> None:
    changed = {"run": tmp_path / "run", "accumulate": 3, "prior_batch_size": 2}
    assert "batch_size = 2 for accumulate = 3" in cases.refusal("second", changed)
    assert not (tmp_path / "run").exists()


def test_batch_normalization_needs_whole_batches() -> None:
    data = cases.gray()
    encoder = nn.Sequential(nn.Flatten(), nn.Linear(64, 8), nn.BatchNorm1d(8))
    model = tb.VAE.for_data(data, latent=2, encoder=encoder, decoder=nn.Linear(2, 64))
    with pytest.raises(InputError, match=r"batch normalization compares .* accumulate = 2 divides it; leave out"):
        tb.fit(model, data, accumulate=2, **cases.COMMON)


def test_parts_need_less_memory() -> None:
    """A petabyte in one part, but not in a million."""
    objective = tb.objectives.IWAE(samples=10**6)
    model, n = tb.VAE.for_data(cases.gray(), latent=2, network="mlp(hidden=(4,))"), 10**6
    with pytest.raises(InputError, match=r"1,000,000 x 1,000,000 latent samples at once .* larger accumulate="):
        check_memory(model, objective, n, torch.device("cpu"))
    check_memory(model, objective, 1, torch.device("cpu"))
