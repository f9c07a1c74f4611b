"""Codes as data, sharpened draws, and samples that a classifier keeps."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

import tightbound as tb
from conftest import Result, gray
from tightbound.analysis.samples.rejection import keep_best, whole_quotas
from tightbound.core.errors import CompositionError, InputError
from tightbound.core.noise import Noise
from tightbound.inference import infer
from tightbound.latents import Quantized
from tightbound.latents.codes import needs_codes
from tightbound.priors.codes import AutoregressiveCodes

NETWORK = {
    2: "resnet(halvings=(1, 1), hidden=4, inner=2, blocks=1)",
    3: "resnet(halvings=(1, 1, 1), hidden=4, blocks=0)",
}
QUANTIZERS = (
    "vq(codebook_size=6)",
    "residual(depth=2, of=vq(codebook_size=4))",
    "gumbel(codebook_size=5)",
    "grouped(of=fsq(levels=(3, 3)))",
)
PRIOR = "pixelcnn(hidden=8, layers=1, attention=0)"


def model(quantizer: str, levels: int = 2, prior: str = PRIOR, context: str | None = None) -> tb.VAE:
    """Untrained, its prior in use where it has parameters, and far from uniform."""
    data = tb.data.open(gray(40, (1, 8, 8)), labels=np.arange(40) % 3, levels=17)
    latents = f"quantized(quantizer={quantizer})"
    made = tb.VAE.for_data(data, latent=4, network=NETWORK[levels], latents=latents, prior=prior, context=context)
    second = made.latents.second_stage
    if second is not None:
        torch.manual_seed(0)
        for p in second.parameters():
            torch.nn.init.normal_(p, std=0.4)
        second.enable()
    return made.eval()


def x(n: int = 9) -> Tensor:
    return torch.from_numpy(gray(n, (1, 8, 8)))


@pytest.mark.parametrize("levels", [2, 3])
@pytest.mark.parametrize("quantizer", QUANTIZERS)
def test_codes_decode_to_the_reconstruction_exactly(quantizer: str, levels: int) -> None:
    made = model(quantizer, levels)
    latents = needs_codes(made.latents)
    codes = infer.code_indices(made, x(), batch_size=4).levels
    assert [tuple(own.shape[1:]) for own in codes] == [table.shape for table in latents.code_grids]
    again = infer.decode_indices(made, codes, batch_size=4)
    assert torch.equal(again, infer.reconstruct(made, x(), batch_size=4))
    assert torch.equal(again, infer.reconstruct(made, x(), levels=levels, batch_size=4))
    if "gumbel" not in quantizer:
        vectors = latents.embed([own.long() for own in codes])
        assert torch.equal(vectors, infer.encode(made, x()).mean)
        drawn = infer.code_indices(made, x(), draw=True, batch_size=4).levels
        assert all(torch.equal(a, b) for a, b in zip(codes, drawn, strict=True))


@pytest.mark.parametrize("levels", [2, 3])
def test_what_lower_levels_hold_is_not_looked_at(levels: int) -> None:
    for prior in (PRIOR, "uniform"):
        made = model("vq(codebook_size=6)", levels, prior)
        codes = infer.code_indices(made, x()).levels
        changed = [(codes[0] + 1) % 6, *codes[1:]]
        top = [infer.decode_indices(made, c, levels=levels - 1) for c in (codes, changed)]
        assert torch.equal(*top)
        whole = [infer.decode_indices(made, c) for c in (codes, changed)]
        assert not torch.equal(*whole)
        assert not torch.equal(top[0], whole[0])


def test_levels_left_out_are_drawn_given_those_above() -> None:
    made = model("vq(codebook_size=6)")
    latents = made.latents
    assert isinstance(latents, Quantized)
    top = torch.zeros(400, *latents.code_grids[1].shape, dtype=torch.long)
    for known in (top, top + 3):
        drawn = latents.nearest_indices(latents.complete([known], Noise("test")))
        assert torch.equal(drawn[1], known)
        below = latents.priors_of([drawn[0][:1], known[:1]])[0]
        assert isinstance(below, AutoregressiveCodes)
        logits = below.logits(drawn[0][:1])  # of the first position, which depends on the top alone
        share = drawn[0][:, 0, 0].bincount(minlength=6) / 400
        assert (share - logits[0, 0, 0].softmax(0)).abs().max() < 5 * 0.5 / 400**0.5


def test_sharper_draws_are_likelier_and_the_limit_is_one_code() -> None:
    made = model("vq(codebook_size=6)")
    with torch.no_grad():
        means = [
            made.latents.log_prior(made.latents.sharpened(t, k)(100, Noise("t"), None)).mean()
            for t, k in ((1.0, None), (0.6, None), (1e-6, None), (1.0, 1))
        ]
        fair = made.latents.log_prior(made.latents.draw(100, Noise("t"))).mean()
    assert means[0] == fair
    assert means[0] < means[1] < means[2]
    assert means[2] == means[3]
    one = infer.sample(made, 5, codes=made.latents.sharpened(top_k=1))
    assert torch.allclose(one, one[:1].expand_as(one))


def test_sharpening_is_refused_where_there_is_nothing_to_sharpen() -> None:
    with pytest.raises(CompositionError, match="this model has a uniform one"):
        model("vq(codebook_size=6)", prior="uniform").latents.sharpened(0.5)
    flat = tb.VAE.for_data(tb.data.open(gray(), levels=17), latent=2, network="mlp(hidden=(4,))")
    with pytest.raises(CompositionError, match="Flat"):
        tb.Trained(flat).sample(2, temperature=0.5)
    with pytest.raises(CompositionError, match="needs code indices"):
        infer.code_indices(flat, x())
    with pytest.raises(InputError, match="temperature"):
        model("vq(codebook_size=6)").latents.sharpened(0.0)


@pytest.mark.parametrize("levels", [2, 3])
def test_the_class_asked_for_changes_the_draw(levels: int) -> None:
    made = model("vq(codebook_size=6)", levels, context="labels")
    draws = [infer.sample(made, 40, context=torch.tensor([label])) for label in (0, 2)]
    assert not torch.equal(*draws)
    assert torch.equal(infer.sample(made, 6, context=torch.tensor([0, 2]))[0], infer.sample(made, 6)[0])


def test_a_context_and_a_prior_that_takes_none_are_refused() -> None:
    with pytest.raises(CompositionError, match="only through their prior, and the uniform prior takes none"):
        model("vq(codebook_size=6)", prior="uniform", context="labels")


@pytest.mark.parametrize(
    ("codes", "what"),
    [
        ([torch.zeros(2, 4, 4).long()], "code indices of 1 levels"),
        ([torch.zeros(2, 4, 4), torch.zeros(2, 2, 2).long()], "float32; needed: whole"),
        ([torch.zeros(2, 4, 4).long(), torch.zeros(3, 2, 2).long()], r"level 2 have shape \(3, 2, 2\)"),
        ([torch.zeros(2, 4, 4).long(), torch.full((2, 2, 2), 6)], "6 to 6; needed: 0 to 5"),
        ([torch.zeros(2, 4, 3).long(), torch.zeros(2, 2, 2).long()], r"needed: \(N, 4, 4\)"),
    ],
)
def test_what_are_no_codes_is_refused(codes: list[Tensor], what: str) -> None:
    with pytest.raises(InputError, match=what):
        infer.decode_indices(model("vq(codebook_size=6)"), codes)


def test_the_best_of_each_class_are_kept() -> None:
    """Samples are the probabilities that they are given."""
    p = torch.tensor([[0.9, 0.1], [0.6, 0.4], [0.8, 0.2], [0.7, 0.3], [0.1, 0.9], [0.3, 0.7], [0.2, 0.8], [0.4, 0.6]])
    wanted: list[Tensor | None] = []

    def draw(total: int, classes: Tensor | None) -> Tensor:
        wanted.append(classes)
        return p[:total]

    kept = keep_best(draw, lambda x: x, 4, 0.5, None, "test")
    assert kept.x.tolist() == p[[0, 2, 4, 6]].tolist()
    assert kept.drawn == 8
    assert kept.before == pytest.approx(0.75)
    assert kept.after == pytest.approx(0.85)
    kept = keep_best(draw, lambda x: x, 4, 0.5, torch.tensor([1, 0]), "test")  # all that is drawn for 0 comes first
    assert wanted[-1] is not None
    assert wanted[-1].tolist() == [0, 0, 0, 0, 1, 1, 1, 1]
    assert kept.classes.tolist() == [1, 0, 1, 0]
    assert kept.x.tolist() == p[[4, 0, 6, 2]].tolist()


def test_quotas_are_proportional_whole_and_add_up() -> None:
    assert whole_quotas(torch.tensor([5, 0, 3, 2]), 5).tolist() == [3, 0, 1, 1]
    counts = torch.randint(0, 40, (30,), generator=torch.Generator().manual_seed(0))
    quotas = whole_quotas(counts, int(counts.sum()) // 4)
    assert quotas.sum() == counts.sum() // 4
    assert ((quotas - counts / 4).abs() < 1).all()
    assert (quotas <= counts).all()


def test_commands(cli: Callable[..., Result], refused: Callable[..., str], tmp_path: Path) -> None:
    parts = ["--latents", "quantized(quantizer=vq(codebook_size=6))", "--network", NETWORK[2], "--latent", "4"]
    parts += [
        "--prior",
        PRIOR,
        "--context",
        "labels",
        "--steps",
        "4",
        "--prior-epochs",
        "1",
        "--prior-max-examples",
        "100",
    ]
    result = cli("train", "digits", *parts, "--evaluate-samples", "0", "--run", "q")
    assert result.status == 0, result.err
    assert "2x2 + 4x4 code indices, codebook size 6" in result.out
    assert cli("embed", "q", "--out", "c.npz").status == 0
    trained, test = tb.load("q"), tb.data.open("digits").test
    with np.load("c.npz") as file:
        codes = [file["indices_1"], file["indices_2"]]
        assert [file["grid_1"].tolist(), file["codebook_size_2"].tolist()] == [[4, 4], 6]
        assert np.array_equal(file["mean"], trained.encode(test).numpy())
        assert "std" not in file
        assert file["label"].tolist() == test.labels.tolist()  # pyright: ignore
    own = trained.code_indices(test)
    assert [tuple(level.shape) for level in own] == [(297, 4, 4), (297, 2, 2)]
    assert all(np.array_equal(level.numpy().reshape(297, -1, 1), c) for level, c in zip(own, codes, strict=True))
    assert torch.equal(trained.decode_indices(own), trained.decode_indices(codes))
    assert torch.equal(trained.decode_indices(own), trained.reconstruct(test))
    assert cli("embed", "q", "--out", "c.npy").status == 0
    assert np.array_equal(np.load("c.npy"), np.concatenate([c.reshape(297, -1) for c in codes], 1))

    how = ["-n", "8", "--context", "3", "--temperature", "0.7", "--top-k", "4", "--out", "s.npy"]
    kept = cli("sample", "q", *how, "--keep", "0.25")
    assert "kept 8 of 32 samples" in kept.out
    before, after = (float(kept.out.split(word)[0].split()[-1]) for word in (" before,", " after"))
    assert before < after
    assert cli("reconstruct", "q", "--levels", "--out", "l.npz").status == 0
    with np.load("l.npz") as file:
        assert np.array_equal(file["levels_2"], trained.reconstruct(test).numpy()[:16])
    assert "--temperature 0.0" in refused("sample", "q", "--temperature", "0")
    assert "above 0 and below 1" in refused("sample", "q", "--keep", "1")
    assert "did you mean 'pixelcnn'" in refused("train", "digits", *parts[:6], "--prior", "pixelcn")
    for kind, name in (("quantizers", "residual"), ("code-priors", "transformer")):
        assert name in cli("list", kind).out


def test_a_model_without_codes_has_none_to_sharpen_or_show(run: Path, refused: Callable[..., str]) -> None:
    assert "latents Flat have none" in refused("sample", run, "--top-k", "3")
    assert "latents Flat have none" in refused("reconstruct", run, "--levels")


def test_contexts_of_code_indices_are_one_for_each_or_one_for_all() -> None:
    made = model(QUANTIZERS[0], context="labels")
    trained = tb.Trained(made)
    codes = infer.code_indices(made, (x(4), np.array([0, 1, 2, 0]))).levels
    each, one = trained.decode_indices(codes, context=torch.tensor([1, 1, 1, 1])), torch.tensor([1])
    assert torch.equal(trained.decode_indices(codes, context=one), each)
    with pytest.raises(InputError, match="has 2 values and z has 4 codes; pass one for each or one for all"):
        trained.decode_indices(codes, context=torch.tensor([1, 2]))
