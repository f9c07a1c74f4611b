"""A conditional model knows its classes by name."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

import tightbound as tb
from tightbound.core.errors import InputError

CENTERS = {"a": -3.0, "b": 0.0, "c": 3.0}
RNG = np.random.default_rng(0)


def examples(words: str, n: int = 240) -> tuple[torch.Tensor, list[str]]:
    labels = [words[i] for i in RNG.integers(0, len(words), n)]
    x = np.array([[CENTERS[word], 2 * CENTERS[word]] for word in labels])
    return torch.from_numpy(x + 0.1 * RNG.normal(size=x.shape)).float(), labels


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    data = examples("abc")
    options = {"latent": 1, "network": "mlp(hidden=(16,))", "context": "labels", "epochs": 30, "lr": 0.02}
    run = tmp_path_factory.mktemp("classes") / "run"
    tb.train(data, run=run, quiet=True, **options)
    return tb.load(run)


@pytest.mark.parametrize("form", ["words", "array", "opened", "split", "two classes by number"])
def test_labels_of_other_data_are_matched_by_name(trained, form):
    x, labels = examples("cb", 20)
    numbers = ["abc".index(word) for word in labels]
    given = {
        "words": lambda: (x, labels),
        "array": lambda: (x.numpy(), np.array(labels)),
        "opened": lambda: tb.data.open(np.concatenate([x, x]), labels=labels * 2, test=0.5),
        "split": lambda: tb.data.open(x, labels=labels).whole,
        "two classes by number": lambda: (x, numbers),
    }[form]()
    split = given.require_test() if form == "opened" else None
    found = trained.reconstruct(given)
    wanted = x if split is None else next(split.epoch(100)).x
    assert (found - wanted).abs().max() < 1.2
    assert found.shape == wanted.shape


def test_contexts_are_given_by_name(trained):
    for context in ("c", ["c", "a"], np.array(["c", "a"]), torch.tensor([2, 0])):
        x = trained.sample(4, context=context, draw=False)
        centers = torch.tensor([3.0, 3.0 if isinstance(context, str) else -3.0] * 2)
        assert (x[:, 0] - centers).abs().max() < 0.8
    z = torch.zeros(2, 1)
    assert torch.equal(trained.decode(z, context=["b", "a"]), trained.decode(z, context=torch.tensor([1, 0])))
    with pytest.raises(InputError, match="'d' is no class of this model; known: a, b, c"):
        trained.sample(2, context="d")
    with pytest.raises(InputError, match="the labels hold 'd', which the model was not trained on; known classes: a"):
        trained.encode((examples("a", 4)[0], list("aada")))


def test_an_unconditional_model_takes_classes_that_are_new():
    data = examples("ab")
    model = tb.VAE.for_data(data, latent=1, network="mlp(hidden=(4,))")
    split = tb.Trained(model)._examples((examples("cb", 3)[0], list("cbc")))
    assert split.labels.tolist() == [2, 1, 2]
    assert [split.class_name(i) for i in range(3)] == ["a", "b", "c"]
    codes = tb.Trained(model).attribute_vector((examples("cb", 3)[0], list("cbc")), "c", "b")
    assert codes.shape == (1,)


def test_a_folder_that_lacks_classes_is_read_by_the_names_of_its_folders(tmp_path):
    colors = {"blue": (0, 0, 255), "green": (0, 255, 0), "red": (255, 0, 0)}
    for folder, names in (("train", colors), ("new", ("green", "red"))):
        for name in names:
            (tmp_path / folder / name).mkdir(parents=True)
            for i in range(8):
                Image.new("RGB", (4, 4), colors[name]).save(tmp_path / folder / name / f"{i}.png")
    model = tb.VAE.for_data(str(tmp_path / "train"), latent=1, network="mlp(hidden=(4,))", context="labels")
    assert model.schema.classes == ("blue", "green", "red")
    split = tb.Trained(model)._examples(str(tmp_path / "new"))
    assert split.labels.tolist() == [1] * 8 + [2] * 8
    assert split.titles(torch.tensor([0, 15])) == ["green/0.png", "red/7.png"]


@pytest.fixture(scope="module")
def gaps():
    """Return a model that is conditional on the labels 3, 7 and 10."""
    labels = torch.tensor([3, 7, 10]).repeat(80)
    x = (labels.float() - 7).unsqueeze(1) * torch.ones(240, 2) + 0.1 * torch.randn(240, 2)
    options = {"latent": 1, "network": "mlp(hidden=(16,))", "context": "labels", "epochs": 60, "lr": 0.01}
    return tb.train((x, labels), quiet=True, **options)


def test_labels_between_those_of_the_training_data_are_unknown(gaps):
    with pytest.raises(InputError, match=r"in 3, 7, 10; the model was not trained on 4, 5"):
        gaps.encode((torch.zeros(3, 2), torch.tensor([5, 7, 4])))
    with pytest.raises(InputError, match="the model was not trained on 1"):
        gaps.sample(2, context=1)
    assert (
        gaps.sample(3, draw=False)[:, 0] - torch.tensor([-4.0, 0.0, 3.0])
    ).abs().max() < 1  # a sample of each label in turn
    x = torch.tensor([[3.0, 3.0], [-4.0, -4.0]])
    assert (gaps.reconstruct((x, torch.tensor([10, 3]))) - x).abs().max() < 1


def test_a_label_without_training_examples_is_said():
    x, labels = torch.randn(40, 2), torch.tensor([0, 1] * 20)
    data = tb.data.open(x, labels=labels)
    data = replace(data, test=tb.data.open(x, labels=labels.clone().fill_(2)).whole)
    with pytest.warns(UserWarning, match="no training example has the label 2"):
        tb.VAE.for_data(data, latent=1, network="mlp(hidden=(4,))", context="labels")


def test_training_data_of_a_method_come_in_any_form(trained):
    kept = trained.best_samples(2, examples("abc", 60), keep=0.5)
    assert kept.x.shape == (2, 2)
