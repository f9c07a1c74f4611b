"""Each command from end to end on a tiny run: what it writes and what it prints."""

from __future__ import annotations

import csv
import dataclasses
import json
import re
import subprocess
import sys
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from PIL import Image

import tightbound as tb
from conftest import TINY, Result, gray
from tightbound.analysis.estimate import mean_error
from tightbound.cli.commands import COMMANDS
from tightbound.components import TABLE
from tightbound.config import Config
from tightbound.data import BUILTINS
from tightbound.recipes import all_recipes
from tightbound.training import checkpoint

Cli = Callable[..., Result]
NAMES = {
    "elbo", "iwae", "rate", "distortion", "bits_per_dim", "active_units", "reconstruction_mse", "relative_mse",
    "kl_per_group", "kl_per_dimension", "latent_mean", "latent_std", "mutual_information", "information_upper",
    "aggregate_kl", "total_correlation", "dimension_wise_kl", "marginal_kl",
    "iwae_ladder", "iwae_gain", "convergence",
    "effective_samples", "pareto_k", "pareto_k_high",
}  # fmt: skip
WEIGHTS = {"iwae_ladder", "iwae_gain", "convergence", "effective_samples", "pareto_k", "pareto_k_high"}
ROWS = NAMES - {"iwae_ladder", "iwae_gain"}  # which have a table of their own
FIELDS = {"value", "stderr", "n", "unit", "samples", "estimator", "target"}


def test_a_run_is_a_folder(run: Path) -> None:
    config = yaml.safe_load((run / "config.yaml").read_text())
    assert (config["data"], config["latent"], config["epochs"]) == ("digits", 2, 2)
    about = json.loads((run / "run.json").read_text())
    assert {"command", "versions", "hardware", "settings", "data"} <= set(about)
    assert about["settings"]["seed"] == 0
    assert about["data"]["fingerprint"].startswith("sha256:")
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert [row["epoch"] for row in rows] == [1, 2]
    for split in ("train", "validation"):
        for row in rows:
            total = row[f"{split}_reconstruction"] + row[f"{split}_kl"]
            assert row[f"{split}_elbo"] == pytest.approx(-total)
            assert row[f"{split}_bits_per_dim"] == pytest.approx(total / (64 * np.log(2)))
    table = list(csv.DictReader((run / "metrics.csv").read_text().splitlines()))
    assert [float(row["train_loss"]) for row in table] == [row["train_loss"] for row in rows]
    files = {str(p.relative_to(run)) for p in run.rglob("*") if p.is_file()}
    assert {"model.json", "report.html", "checkpoints/last.safetensors", "checkpoints/best.safetensors"} <= files
    assert {name for name in files if Path(name).name.startswith(".")} <= {".lock"}


def test_evaluate_shows_the_ladder_and_what_bfloat16_changes(cli: Cli, run: Path) -> None:
    result = cli("evaluate", run, "--samples", "20", "--precision", "bf16", "--split", "test")
    assert result.status == 0
    lines = [line.split() for line in result.out.splitlines()]
    assert [line[0] for line in lines if line[1:3:2] and line[0] in ("1", "10", "20")] == ["1", "10", "20"]
    assert any(line[:1] == ["bf16_difference"] for line in lines)
    assert "The IWAE bound" in result.out or "importance weights" in result.out
    assert cli("evaluate", run, "--precision", "fp8").status == 2


def test_evaluate_as_json_is_one_object_with_the_promised_schema(cli: Cli, run: Path) -> None:
    result = cli("evaluate", run, "--samples", "7", "--json", "--per-example", "p.npz")
    assert result.status == 0
    answer = json.loads(result.out, parse_constant=pytest.fail)
    assert (answer["analysis"], answer["options"]["samples"]) == ("evaluate", 7)
    numbers = answer["estimates"]
    assert set(numbers) == NAMES
    for name, number in numbers.items():
        assert set(number) >= FIELDS, name
        assert number["n"] == 297
        assert number["unit"]
        assert number["estimator"]
        assert number["target"]
        assert np.shape(number["value"]) == np.shape(number["stderr"])
        of_latents = {"kl_per_group": (1,), "kl_per_dimension": (2,), "latent_mean": (2,), "latent_std": (2,)}
        of_latents["marginal_kl"] = (2,)
        of_latents |= {"iwae_ladder": (2,), "iwae_gain": (1,)}  # k = 1 and 7
        assert np.shape(number["value"]) == of_latents.get(name, ())
    assert (numbers["elbo"]["unit"], numbers["bits_per_dim"]["unit"]) == ("nats", "bits/dim")
    assert numbers["iwae"]["samples"] == 7
    value = {name: number["value"] for name, number in numbers.items()}
    assert -value["elbo"] == pytest.approx(value["rate"] + value["distortion"])
    assert value["elbo"] < value["iwae"] < 0
    assert value["bits_per_dim"] == pytest.approx(-value["iwae"] / (64 * np.log(2)))
    assert value["rate"] == pytest.approx(sum(value["kl_per_dimension"]))
    with np.load("p.npz") as file:
        for name in ("elbo", "iwae", "rate", "distortion", "reconstruction_mse"):
            assert file[name].shape == (297,)
            assert file[name].mean() == pytest.approx(value[name])
            assert mean_error(file[name]) == pytest.approx(numbers[name]["stderr"])
        assert file["index"].tolist() == list(range(297))


def test_evaluate_as_a_table_shows_the_nll_and_explains_each_number(cli: Cli, run: Path) -> None:
    out = cli("evaluate", run, "--samples", "5").out
    absent = " ".join(re.findall(r"- +missing: .*(?:\n {30,}.*)*", out))  # numbers that are missing for one reason
    for name in (*ROWS, "nll"):
        line = re.search(rf"^{name} +(.*(?:\n {{30,}}.*)*)$", out, flags=re.MULTILINE)
        assert line is not None or re.search(rf"\b{name}\b", absent), name
        assert line is None or re.search(r": (?s:.*)[a-z]{3}", line[1]), f"{name} is not explained"
    bound = float(re.search(r"^iwae +(-[\d.]+)", out, flags=re.MULTILINE)[1])  # pyright: ignore
    assert float(re.search(r"^nll +([\d.]+)", out, flags=re.MULTILINE)[1]) == -bound  # pyright: ignore


def test_an_autoencoder_has_no_bound_and_says_why(cli: Cli, tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", gray())
    flags = ["--posterior", "point", "--objective", "autoencoder", "--evaluate-samples", "0", "--run", "ae"]
    assert cli("train", "x.npy", *TINY, *flags).status == 0
    numbers = json.loads(cli("evaluate", "ae", "--samples", "5", "--json").out)["estimates"]
    missing = {name for name, number in numbers.items() if number["value"] is None}
    of_the_rate = {"mutual_information", "information_upper", "aggregate_kl", "total_correlation", "dimension_wise_kl"}
    bounds = {"elbo", "iwae", "rate", "bits_per_dim", "kl_per_group", "kl_per_dimension", "marginal_kl"}
    assert missing == bounds | of_the_rate | WEIGHTS
    assert all("point mass" in numbers[name]["reason"] for name in missing)
    assert numbers["distortion"]["value"] > 0
    assert cli("report", "ae", "--quick").status == 0
    page = (tmp_path / "ae/report.html").read_text()
    assert "point mass" in page


def test_sample(cli: Cli, run: Path) -> None:
    assert cli("sample", run, "-n", "5", "--out", "s.png").status == 0
    assert cli("sample", run, "-n", "5", "--out", "s.npz").status == 0
    with Image.open("s.png") as picture:
        picture.load()
        assert picture.format == "PNG"
    with np.load("s.npz") as file:
        x = file["x"]
    torch.testing.assert_close(torch.from_numpy(x), tb.load(run).sample(5))
    assert cli("sample", run, "-n", "5", "--out", "drawn.npy", "--draw").status == 0
    drawn = np.load("drawn.npy")
    assert drawn.shape == (5, 1, 8, 8)
    assert set(np.unique(drawn)) <= set(range(17))
    assert cli("sample", run, "-n", "5", "--out", "other.npy", "--seed", "1").status == 0
    assert not np.allclose(np.load("other.npy"), x)


def test_reconstruct(cli: Cli, run: Path) -> None:
    for out in ("r.png", "r.npz"):
        assert cli("reconstruct", run, "--out", out).status == 0
    test = tb.data.open("digits").test
    with np.load("r.npz") as file:
        torch.testing.assert_close(torch.from_numpy(file["x"]), tb.load(run).reconstruct(test))
    cli("reconstruct", run, "-n", "3", "--out", "three.png")
    with Image.open("r.png") as many, Image.open("three.png") as few:
        assert many.width > few.width


def test_interpolate(cli: Cli, run: Path) -> None:
    known = tb.data.open("digits").test.titles(torch.tensor([2, 5]))
    argv = ["interpolate", run, "--from", known[0], "--to", known[1], "--steps", "6"]
    for out in ("i.png", "i.npz"):
        assert cli(*argv, "--out", out).status == 0
    raw, trained = next(tb.data.open("digits").test.epoch(9)).x, tb.load(run)
    ends = trained.reconstruct(torch.stack([raw[i] for i in (2, 5)]))
    with np.load("i.npz") as file:
        for path in ("linear", "spherical"):
            walk = torch.from_numpy(file[path])
            assert walk.shape == (6, 1, 8, 8)
            torch.testing.assert_close(walk[[0, -1]], ends, atol=1e-3, rtol=1e-4)
        assert not np.allclose(file["linear"][2], file["spherical"][2])


def test_embed(cli: Cli, run: Path) -> None:
    assert cli("embed", run, "--out", "c.npz").status == 0
    test, trained = tb.data.open("digits").test, tb.load(run)
    with np.load("c.npz") as file:
        torch.testing.assert_close(torch.from_numpy(file["mean"]), trained.encode(test))
        assert file["label"].tolist() == test.labels.tolist()  # pyright: ignore
        assert file["index"].tolist() == list(range(297))
        assert "draw" not in file
        mean, std = file["mean"], file["std"]
    assert cli("embed", run, "--draw", "--out", "d.npz").status == 0
    with np.load("d.npz") as file:
        z = (file["draw"] - mean) / std
        assert 0.8 < z.std() < 1.2
        torch.testing.assert_close(torch.from_numpy(file["draw"]), trained.encode(test, draw=True))
    assert cli("embed", run, "--split", "train", "--out", "c.npy").status == 0
    assert np.load("c.npy").shape == (1500, 2)


def test_codes_can_be_matched_to_the_files_of_a_folder(cli: Cli, tmp_path: Path) -> None:
    x = gray(24, levels=256)
    for i, pixels in enumerate(x):
        folder = tmp_path / "pictures" / ("odd" if i % 2 else "even")
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(folder / f"{i:02}.png")
    assert cli("train", "pictures", *TINY, "--evaluate-samples", "0", "--run", "run", "--gray").status == 0
    assert cli("embed", "run", "pictures", "--split", "all", "--out", "c.npz").status == 0
    trained = tb.load("run")
    with np.load("c.npz") as file:
        assert sorted(Path(name).stem for name in file["name"].tolist()) == [f"{i:02}" for i in range(24)]
        for name, label, code in zip(file["name"].tolist(), file["label"], file["mean"], strict=True):
            i = int(Path(name).stem)
            assert label == i % 2  # sub-folders in alphabetical order
            torch.testing.assert_close(trained.encode(x[i][None, None])[0], torch.from_numpy(code))


class _Links(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.links: list[str] = []
        self.text: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.links += [value or "" for name, value in attrs if name in ("src", "href", "srcset", "data", "action")]
        assert tag not in ("script", "link", "iframe", "object"), tag

    def handle_data(self, data: str) -> None:
        self.text.append(data)


@pytest.mark.parametrize("how", [["--quick"], pytest.param([], marks=pytest.mark.slow)], ids=["quick", "whole"])
def test_the_report_is_one_self_contained_page(cli: Cli, run: Path, how: list[str]) -> None:
    (run / "report.html").unlink()
    assert cli("report", run, *how).status == 0
    page = (run / "report.html").read_text(encoding="utf-8")
    reader = _Links()
    reader.feed(page)
    assert reader.links
    assert all(link.startswith(("data:image/", "#")) for link in reader.links)
    assert not re.search(r"url\((?!['\"]?data:)|@import", page)
    text = " ".join(reader.text)
    for word in (
        "Training",
        "Samples",
        "Reconstructions",
        "Interpolation",
        "latent",
        "KL",
        "seed",
        "number of samples",
        *ROWS,
    ):
        assert word.lower() in text.lower().replace(" ", "_") or word.lower() in text.lower(), word
    numbers = json.loads((run / "analysis/evaluate.json").read_text())["estimates"]
    assert f"{numbers['elbo']['value']:.1f}"[:-2] in text


@pytest.mark.filterwarnings("default:the schedule of beta")
def test_a_report_is_of_the_weights_and_data_at_hand(cli: Cli, run: Path, tmp_path: Path) -> None:
    """Numbers of an earlier training, of other weights or of other data do not reach the page or the run."""
    old = json.loads((run / "analysis/evaluate.json").read_text())
    assert cli("train", "--run", "run", "--resume", "--epochs", "3", "--evaluate-samples", "0").status == 0
    assert cli("evaluate", run, "--samples", "5").status == 0
    assert json.loads((run / "analysis/evaluate.json").read_text()) != old, "numbers of before --resume"
    kept = (run / "analysis/evaluate.json").read_bytes()
    assert cli("evaluate", run, "--weights", "last", "--samples", "5").status == 0
    np.save(tmp_path / "other.npy", gray(20))
    assert cli("evaluate", run, "other.npy", "--samples", "5").status == 0
    assert (run / "analysis/evaluate.json").read_bytes() == kept, "numbers of other weights or data"


def test_overwrite_leaves_nothing_of_the_old_run(cli: Cli, run: Path) -> None:
    flags = ["--epochs", "1", "--validation-size", "0", "--evaluate-samples", "0", "--run", "run", "--overwrite"]
    assert cli("train", "digits", *TINY, *flags).status == 0
    assert len((run / "metrics.jsonl").read_text().splitlines()) == 1
    assert not (run / "checkpoints/best.safetensors").exists()
    for name in ("analysis/evaluate.json", "report.html", "figures/training.svg"):
        assert not (run / name).exists(), f"{name} is of the run that was replaced"


def test_a_config_gives_the_same_run_to_the_bit(cli: Cli, run: Path, tmp_path: Path) -> None:
    assert cli("train", "--config", "run/config.yaml", "--run", "again", "--evaluate-samples", "0").status == 0
    assert cli("evaluate", "again", "--samples", "5").status == 0
    for name in ("last", "best"):
        one, two = (checkpoint.load(p / f"checkpoints/{name}.safetensors")[0] for p in (run, tmp_path / "again"))
        assert one.keys() == two.keys()
        assert all(torch.equal(one[key], two[key]) for key in one)
    same = ("config.yaml", "model.json", "analysis/evaluate.json")
    assert [(run / n).read_text() for n in same] == [(tmp_path / "again" / n).read_text() for n in same]
    changed = ["--config", "run/config.yaml", "--run", "third", "--latent", "3", "--evaluate-samples", "0"]
    assert cli("train", *changed).status == 0
    config, before = (yaml.safe_load((tmp_path / n / "config.yaml").read_text()) for n in ("third", "run"))
    assert config == {**before, "latent": 3}


def test_another_objective_is_one_flag(cli: Cli) -> None:
    """A recipe's beta must not stand in the way of an objective that has none."""
    flags = ["--objective", "iwae(samples=2)", "--evaluate-samples", "0"]
    assert cli("train", *TINY, *flags, "--run", "a").err.count("has no argument") == 0


def test_epochs_that_are_asked_for_are_done(cli: Cli, tmp_path: Path) -> None:
    """A recipe (beta-vae) or config may count steps; --epochs on the command line must win over them."""
    np.save(tmp_path / "x.npy", gray())
    (tmp_path / "c.yaml").write_text("steps: 9\nbatch_size: 18\n")
    flags = ["--config", "c.yaml", "--evaluate-samples", "0", "--validation-size", "0", "--run", "run"]
    assert cli("train", "x.npy", *TINY, "--epochs", "1", *flags).status == 0
    assert len((tmp_path / "run/metrics.jsonl").read_text().splitlines()) == 1


def test_new_data_need_not_reach_the_highest_level(cli: Cli, tmp_path: Path) -> None:
    x = gray().astype(np.int64)
    np.save(tmp_path / "x.npy", x)
    np.save(tmp_path / "few.npy", x[:9].clip(max=11))
    np.save(tmp_path / "dark.npy", x[:9].clip(max=1))
    assert cli("train", "x.npy", *TINY, "--evaluate-samples", "0", "--run", "run").status == 0
    for name in ("few.npy", "dark.npy"):
        result = cli("evaluate", "run", name, "--samples", "3", "--json")
        assert result.status == 0, result.err
        assert json.loads(result.out)["estimates"]["elbo"]["target"] == "17 levels"


def test_train_says_where_things_are_and_what_is_next(cli: Cli, tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", gray())
    first = cli("train", "x.npy", *TINY)
    second = cli("train", "x.npy", *TINY, "--epochs", "1", "--evaluate-samples", "0")
    assert "runs/x/report.html" in first.out
    assert "trained: runs/x-2," in second.out, "a run that exists is not touched"
    (offer,) = re.findall(r"tightbound (sample .*?\.png)", first.out)
    assert cli(*offer.split()).status == 0


RECIPES = all_recipes()
KINDS = {"datasets": BUILTINS, "recipes": RECIPES} | {
    f"{kind}s": TABLE[kind]
    for kind in ("likelihood", "prior", "posterior", "objective", "quantizer", "code-prior", "augmentation")
}


@pytest.mark.parametrize("kind", KINDS)
def test_list(cli: Cli, kind: str) -> None:
    entries = json.loads(cli("list", kind, "--json").out)
    assert set(entries) == set(KINDS[kind])
    text = cli("list", kind).out
    for name, entry in entries.items():
        assert len(entry["description"]) > 5, name
        assert name in text


def test_python_dash_m_is_the_same() -> None:
    def out(*argv: str) -> str:
        return subprocess.run(argv, capture_output=True, text=True, check=True).stdout

    assert out(sys.executable, "-m", "tightbound", "list", "recipes", "--json") == out(
        str(Path(sys.executable).with_name("tightbound")), "list", "recipes", "--json"
    )


def test_help_names_every_command_and_flag(cli: Cli) -> None:
    assert all(name in cli("--help").out for name in COMMANDS)
    text = cli("train", "--help").out
    options = [field.name for field in dataclasses.fields(Config) if field.name != "data"]
    assert [name for name in (*options, "run", "resume", "config") if f"--{name.replace('_', '-')}" not in text] == []


@pytest.mark.parametrize("columns", ["60", "80"])
def test_tables_fit_a_narrow_terminal(cli: Cli, run: Path, monkeypatch: pytest.MonkeyPatch, columns: str) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    shown = cli("paths", run, "--pairs", "4")
    assert shown.status == 0, shown.err
    assert "…" not in shown.out
