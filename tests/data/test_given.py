"""Every form of data gives the same examples, for training and for a trained model."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from torch.utils.data import DataLoader, TensorDataset

from tightbound.core.domain import BINARY, REAL, Domain
from tightbound.core.errors import InputError
from tightbound.core.schema import Schema
from tightbound.core.terms import Batch
from tightbound.data import open
from tightbound.data.given import examples, training_data
from tightbound.model import VAE

RNG = np.random.default_rng(0)
X = RNG.normal(size=(20, 3)).astype(np.float32)
Y = np.arange(20) % 4
GRAY = RNG.integers(0, 256, (12, 6, 5), dtype=np.uint8)
WORDS = Domain("categories", 3, ("x", "y", "z"))
FRAME = pd.DataFrame({"a": [1.5, None, 3.0, 2.0] * 3, "b": list("xyxz") * 3, "c": [True, False, True, True] * 3})


def values(split):
    return torch.cat([batch.x for batch in split.epoch(7)])


def npy(folder):
    np.save(folder / "x.npy", X)
    return folder / "x.npy"


def csv(folder):
    pd.DataFrame(X.astype(float)).to_csv(folder / "x.csv", index=False, header=["a", "b", "c"])
    return str(folder / "x.csv")


FORMS = {
    "array": lambda _: X,
    "list": lambda _: X.tolist(),
    "tensor": lambda _: torch.from_numpy(X),
    "data frame": lambda _: pd.DataFrame(X),
    "data set": lambda _: TensorDataset(torch.from_numpy(X)),
    "loader": lambda _: DataLoader(TensorDataset(torch.from_numpy(X)), 8),
    "split": lambda _: open(X).whole,
    "batch": lambda _: Batch(torch.from_numpy(X)),
    "data": lambda _: training_data(X, test=X),
    "path": npy,
    "text": csv,
}


@pytest.mark.parametrize("form", FORMS)
def test_examples_of_every_form_are_the_same(tmp_path, form):
    split = examples(FORMS[form](tmp_path), REAL, (3,))
    assert torch.equal(values(split), torch.from_numpy(X))


@pytest.mark.parametrize("form", [form for form in FORMS if form not in ("path", "text", "data")])
def test_what_is_given_for_training_is_all_trained_on(tmp_path, form):
    data = training_data(FORMS[form](tmp_path))
    assert data.test is None
    assert data.domain == REAL
    assert torch.equal(values(data.train), torch.from_numpy(X))
    with pytest.raises(InputError, match="no test split"):
        data.require_test()


def test_a_path_is_split_as_by_open(tmp_path):
    data, opened = training_data(npy(tmp_path)), open(npy(tmp_path))
    assert torch.equal(values(data.train), values(opened.train))
    assert torch.equal(values(data.test), values(opened.test))
    assert len(training_data(npy(tmp_path), test=0.5).test) == 10
    assert data.fingerprint == opened.fingerprint


def test_opened_data_are_returned_as_they_are():
    data = open("digits")
    assert training_data(data) is data
    assert examples(data, data.domain, data.shape) is data.test
    assert len(examples("digits", data.domain, data.shape)) == 297


def test_validation_and_test_data_are_those_given():
    data = training_data(X, X[:5], X[5:7])
    assert torch.equal(values(data.validation), torch.from_numpy(X[:5]))
    assert torch.equal(values(data.test), torch.from_numpy(X[5:7]))
    train, validation = data.held_out(3)
    assert train is data.train
    assert validation is data.validation
    assert data.fingerprint not in (training_data(X).fingerprint, training_data(X, X[:6], X[5:7]).fingerprint)


def test_pairs_hold_test_data_or_labels():
    assert torch.equal(values(training_data((X, X[:4])).test), torch.from_numpy(X[:4]))
    for labels in (Y, Y.tolist(), torch.from_numpy(Y), pd.Series(Y)):
        data = training_data((X, labels))
        assert data.test is None
        assert data.train.labels.tolist() == Y.tolist()
    assert examples((X, Y), REAL, (3,)).labels.tolist() == Y.tolist()
    assert len(training_data((FRAME, FRAME[:4])).test) == 4
    with pytest.raises(InputError, match="both given"):
        training_data((X, X[:4]), test=X)
    with pytest.raises(InputError, match="a tuple of 3"):
        training_data((X, X, X))


def test_columns_of_a_data_frame_have_kinds_and_are_found_by_name():
    data = training_data(FRAME, test=FRAME[["c", "a", "b"]])
    assert data.domain.columns == (REAL, WORDS, BINARY)
    assert data.header == ("a", "b", "c")
    expected = torch.tensor([[1.5, 0, 1], [torch.nan, 1, 0], [3, 0, 1], [2, 2, 1]]).repeat(3, 1)
    for split in (data.train, data.test):
        assert torch.equal(values(split).nan_to_num(-9), expected.nan_to_num(-9))
    other = FRAME.assign(extra=1)[["extra", "c", "b", "a"]]
    with pytest.warns(UserWarning, match="the column extra is ignored"):
        found = values(examples(other, data.domain, (3,), data.schema))
    assert torch.equal(found.nan_to_num(-9), expected.nan_to_num(-9))
    with pytest.raises(InputError, match=r"lacks the column b.*has the column word, which it does not know"):
        examples(FRAME.rename(columns={"b": "word"}), data.domain, (3,), data.schema)
    assert training_data(FRAME, labels="b").train.labels.tolist() == [0, 1, 0, 2] * 3


UNKNOWN = {
    "without a column": (FRAME[["c", "a"]], "the data frame has no column 'b': its entries count as missing"),
    "an empty column": (FRAME.assign(b=None), r"column 2 \(b\) has no entries"),
    "unseen categories": (FRAME.assign(b="w"), r"column 2 \(b\) holds 'w', unknown to the model"),
}


@pytest.mark.parametrize("case", UNKNOWN)
def test_what_a_model_does_not_know_of_a_table_counts_as_missing(case):
    data = training_data(FRAME)
    other, said = UNKNOWN[case]
    with pytest.warns(UserWarning, match=said):
        found = values(examples(other, data.domain, (3,), data.schema))
    assert found[:, 1].isnan().all()
    assert torch.equal(found[:, [0, 2]].nan_to_num(-9), values(data.train)[:, [0, 2]].nan_to_num(-9))


def test_data_that_are_no_table_are_told_the_columns_of_the_model():
    data = training_data(FRAME)
    for other, found in (("digits", "digits is not a table"), (GRAY[:, None], "the array has shape")):
        with pytest.raises(InputError, match=f"{found}.*trained on a table with the columns a, b, c; give one"):
            examples(other, data.domain, (3,), data.schema)


LACKING = {
    "None": ([None, "red", "blue"], "column lab: row 1 has no label;"),
    "NaN": (["red", np.nan, "blue"], "column lab: row 2 has no label;"),
    "several": (["red", None, None], "column lab: 2 rows have no label, the first in row 2;"),
}


@pytest.mark.parametrize("case", LACKING)
def test_the_row_without_a_label_is_named(case):
    labels, said = LACKING[case]
    schema = Schema(("c", "d", "e"), ("blue", "red"), "lab")
    with pytest.raises(InputError, match=said):
        examples(pd.DataFrame(X[:3], columns=["c", "d", "e"]).assign(lab=labels), REAL, (3,), schema, closed=True)
    first = [isinstance(label, str) for label in labels].index(False) + 1
    with pytest.raises(InputError, match=f"example {first} has no label"):
        examples((X[:3], np.array(labels, object)), REAL, (3,), schema, closed=True)


def test_a_model_of_complete_rows_needs_all_entries():
    data = training_data(pd.DataFrame(X, columns=["c", "d", "e"]))
    for other, said in (
        (pd.DataFrame({"d": [0.5, None], "e": [1, 2], "c": [0, 1]}), r"column 2 \(d\) lacks 1 entries"),
        (pd.DataFrame({"d": [0.5, 1], "e": ["x", "y"], "c": [0, 1]}), r"column 3 \(e\) holds words, such as 'x'"),
        (pd.DataFrame({"d": [0.5, 1], "c": [0, 1]}), "lacks the column e, which the model was trained on"),
    ):
        with pytest.raises(InputError, match=said):
            examples(other, data.domain, (3,), data.schema)
    swapped = values(
        examples(pd.DataFrame({"e": [3.0, 4], "c": [0, 1], "d": [5.0, 6]}), data.domain, (3,), data.schema)
    )
    assert swapped.tolist() == [[0, 5, 3], [1, 6, 4]]


def test_opened_data_are_matched_by_name():
    data = training_data((FRAME[["a", "c"]].fillna(0), list("pqrs") * 3))
    other = training_data((FRAME[["c", "a"]].fillna(0), list("srqs") * 3))
    with pytest.raises(InputError, match="no test split"):
        examples(other, data.domain, (2,), data.schema)
    other = replace(other, test=other.train)
    found = examples(other, data.domain, (2,), data.schema)
    assert torch.equal(values(found), values(data.train))
    assert found.labels.tolist() == [3, 2, 1, 3] * 3
    assert next(found.epoch(4)).label.tolist() == [3, 2, 1, 3]
    with pytest.raises(InputError, match="lacks the columns c; pass what x was opened from"):
        examples(replace(other, schema=replace(other.schema, columns=("x", "a"))), data.domain, (2,), data.schema)


def test_values_are_encoded_like_the_training_data():
    data = training_data(GRAY / 255)
    assert data.domain == Domain("levels", 256)
    for same in (GRAY[:3] / 255, GRAY[:3], GRAY[:3, None], torch.from_numpy(GRAY[:3])):
        found = values(examples(same, data.domain, data.shape))
        assert torch.equal(found.to(torch.uint8)[:, 0], torch.from_numpy(GRAY[:3]))
    dark = training_data(GRAY, validation=GRAY[:2] // 255)  # 0 and 1 alone are levels, too
    assert values(dark.validation).max() <= 1
    model = VAE.for_data(data, latent=1)
    assert training_data(GRAY // 128, like=model).domain == data.domain


def test_numbers_that_stand_for_categories_are_read_as_they_are_written():
    x = np.array([[5.0, 1], [2, 0], [5, 1], [9, 0]])
    data = training_data(x, kinds={0: "categories"})
    assert data.domain.columns[0].words == ("2", "5", "9")
    assert values(examples(x, data.domain, (2,)))[:, 0].tolist() == [1, 0, 1, 2]
    stored = values(data.train)
    assert torch.equal(values(examples(stored, data.domain, (2,))), stored)


@pytest.mark.parametrize(
    ("source", "match"),
    [
        (X[:, :2], r"x holds examples of shape \(2,\); needed: \(N, 3\)"),
        (open(X[:, :2]).train, r"needed: \(N, 3\)"),
        (X * np.inf, "infinite"),
        ((X, X), "a pair of data sets"),
        ("no/such/file.npy", "neither a file"),
        ({"a": 1}, "the dictionary holds no arrays"),
    ],
)
def test_examples_that_do_not_fit_are_refused(source, match):
    with pytest.raises(InputError, match=match):
        examples(source, REAL, (3,))


def test_values_outside_the_domain_are_refused():
    for source in (GRAY, Batch(torch.from_numpy(GRAY[:, None]))):
        with pytest.raises(InputError, match=r"17 levels"):
            examples(source, Domain("levels", 17), (1, 6, 5))


def test_a_file_of_one_row_is_one_example(tmp_path):
    path = tmp_path / "one.csv"
    path.write_text("a,b\n0.5,1.5\n")
    assert next(examples(path, REAL, (2,), Schema(("a", "b"))).epoch(9)).x.tolist() == [[0.5, 1.5]]
