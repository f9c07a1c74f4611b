"""Tables as text: numbers as people write them, delimiters, headers, indices, encodings."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tightbound.core.domain import REAL, WHOLE, Domain
from tightbound.core.errors import InputError
from tightbound.data import Data, open

RNG = np.random.default_rng(0)
X = RNG.normal(size=(30, 2)).round(2)


def read(tmp_path: Path, text: str | bytes, name: str = "t.csv", **options: object) -> Data:
    path = tmp_path / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return open(path, **options)


def values(data: Data) -> np.ndarray:
    return next(data.whole.epoch(len(data.whole))).x.numpy()


def noted(data: Data, words: str) -> bool:
    return any(words in note for note in data.notes)


@pytest.mark.parametrize(
    ("cells", "expected", "note"),
    [
        (("$10.58", '"$1,200.00"', "-$3"), (10.58, 1200, -3), "'$10.58' as 10.58"),
        (("45.2%", "3%", "100 %"), (45.2, 3, 100), "'45.2%' as 45.2"),
        (('"1,234.5"', "2.25", '"12,000"'), (1234.5, 2.25, 12000), "'1,234.5' as 1234.5"),
        (('"1,234"', '"2,000"', "5"), (1234, 2000, 5), "'1,234' as 1234"),
        (('"0,12"', '"-1,3"', "5"), (0.12, -1.3, 5), "'0,12' as 0.12"),
        (("(1.50)", "2", "3"), (-1.5, 2, 3), "'(1.50)' as -1.5"),
        (("1 234", "5", "12\u00a0345"), (1234, 5, 12345), "'1 234' as 1234"),
        (("\u22121.5", "2.5", "0"), (-1.5, 2.5, 0), "as -1.5"),
        (("12 kg", "3.5kg", "0 kg"), (12, 3.5, 0), "'12 kg' as 12 kg"),
        (("2019-01-31", "2019-02-01", "1970-01-02"), (17927, 17928, 1), "days since 1970-01-01"),
        (("2019-01-31 06:00", "2019-01-31T12:00:00Z", "2019-01-31"), (17927.25, 17927.5, 17927), "days since"),
        (("31/12/2019", "01/01/2020", "02/01/2020"), (18261, 18262, 18263), "'31/12/2019' as 18261 days"),
        (("12/31/2019", "01/01/2020", "01/02/2020"), (18261, 18262, 18263), "'12/31/2019' as 18261 days"),
        (("12:30", "00:15", "23:59:06"), (12.5, 0.25, 23.985), "'12:30' as 12.5 hours"),
    ],
)
def test_text_that_is_a_number(tmp_path: Path, cells: tuple[str, ...], expected: tuple[float, ...], note: str) -> None:
    data = read(tmp_path, "a,b\n" + "".join(f"{cell},{i}.5\n" for i, cell in enumerate(cells)))
    whole = all(value >= 0 and value == int(value) for value in expected)
    assert data.domain == (Domain("mixed", columns=(WHOLE, REAL)) if whole else REAL)
    assert np.allclose(values(data)[:, 0], expected)
    assert noted(data, note)


def test_a_cell_for_no_number_is_missing_among_numbers_only(tmp_path: Path) -> None:
    data = read(tmp_path, "a,b\n1.5,none\n-,x\n2.5,-\n")
    assert np.array_equal(values(data)[:, 0], [1.5, np.nan, 2.5], equal_nan=True)
    assert data.domain.columns[1].words == ("-", "none", "x")


@pytest.mark.parametrize(
    ("text", "options"), [("0,12;-1,3\n4,5;6,7\n", {}), ("0,12;-1,3\n4,5;6,7\n", {"decimal": ","})]
)
def test_decimal_commas(tmp_path: Path, text: str, options: dict) -> None:
    assert np.allclose(values(read(tmp_path, text, **options)), [[0.12, -1.3], [4.5, 6.7]])


def test_one_column_tells_the_decimal_mark_of_another(tmp_path: Path) -> None:
    assert np.allclose(values(read(tmp_path, "a;b\n0,12;1.234\n4,5;6.789\n")), [[0.12, 1234], [4.5, 6789]])
    assert np.allclose(values(read(tmp_path, "a;b\n0,12;1,234\n4,5;6,789\n")), [[0.12, 1.234], [4.5, 6.789]])
    assert np.allclose(values(read(tmp_path, "a;b\n0.12;1,234\n4.5;6,789\n")), [[0.12, 1234], [4.5, 6789]])


def test_numbers_that_can_be_read_in_two_ways_are_asked_for(tmp_path: Path) -> None:
    text = "a;b\n1,234;x\n2,345;y\n"
    with pytest.raises(
        InputError, match=r"column 1 \(a\): '1,234' could be 1234 or 1\.234; pass decimal='\.' for 1234"
    ):
        read(tmp_path, text)
    assert values(read(tmp_path, text, decimal="."))[0, 0] == 1234
    assert np.isclose(values(read(tmp_path, text, decimal=","))[0, 0], 1.234)
    with pytest.raises(InputError, match=r"column 1 \(day\): '01/02/2020' could name the day or the month first"):
        read(tmp_path, "day,x\n01/02/2020,1\n03/04/2020,2\n")


def test_many_words_that_look_like_numbers_are_no_categories(tmp_path: Path) -> None:
    text = "phone,x\n" + "".join(f"555-{1000 + i},{i}\n" for i in range(30))
    with pytest.raises(InputError, match=r"column 1 \(phone\): 30 different words that look like numbers.*'555-1000'"):
        read(tmp_path, text)
    assert read(tmp_path, text, kinds={"phone": "categories"}).domain.columns[0].levels == 30
    assert read(tmp_path, "age,x\n10-20,1\n20-30,5\n10-20,7\n").domain.columns[0].words == ("10-20", "20-30")


def test_all_problems_of_a_file_are_reported_at_once(tmp_path: Path) -> None:
    rows = [(f"w{i}", "same", f"{i}", "", "inf", f"{i}") for i in range(300)]
    rows[4] = ("w4", "same", "four", "", "1", "4")
    rows[9] = ("w9", "same", "nine", "", "2", "9")
    text = "name,constant,n,empty,big,fine\n" + "".join(",".join(row) + "\n" for row in rows)
    with pytest.raises(InputError) as caught:
        read(tmp_path, text)
    said = str(caught.value)
    for part in (
        "5 columns cannot be used",
        "column 1 (name) has more than 256 different words",
        "column 2 (constant) has one value only",
        "column 3 (n): 'four' in line 6 is not a number, and 1 more",
        "column 4 (empty) has no values",
        "column 5 (big) has 298 infinite values",
    ):
        assert part in said
    assert "\n" not in said
    assert "fine" not in said


def test_all_rows_of_another_length_are_reported_at_once(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"the first row has 2 cells, line 3 has 1, line 5 has 3; give all rows"):
        read(tmp_path, "1,2\n3,4\n5\n6,7\n8,9,10\n")


@pytest.mark.parametrize("header", [True, False])
@pytest.mark.parametrize(
    ("name", "delimiter", "said"),
    [
        ("t.csv", ",", ""), ("t.csv", ";", "semicolon"), ("t.csv", "\t", "tab"), ("t.csv", "|", "bar"),
        ("t.csv", " ", "space"), ("t.tsv", "\t", ""), ("t.tsv", ",", "comma"), ("t.txt", "   ", "space"),
        ("t.txt", ",", "comma"), ("t.dat", "\t", "tab"),
    ],
)  # fmt: skip
def test_delimiters_are_found_and_said(tmp_path: Path, name: str, delimiter: str, said: str, header: bool) -> None:
    text = delimiter.join("ab") + "\n" if header else ""
    text += "".join(delimiter.join(map(str, row)) + "\n" for row in X)
    data = read(tmp_path, text, name)
    assert np.allclose(values(data), X)
    assert data.header == (("a", "b") if header else ())
    assert noted(data, f"delimiter: {said}") == bool(said)


def test_delimiters_in_words_are_none(tmp_path: Path) -> None:
    data = read(tmp_path, "name;n\nSmith, John;3\nDoe, Jane;5\n")
    assert data.domain.columns[0].words == ("Doe, Jane", "Smith, John")
    data = read(tmp_path, "tags,n\na;b;c;d,3.5\na;b;c;d,2\ne;f;g;h,5\n")
    assert data.domain.columns[0].words == ("a;b;c;d", "e;f;g;h")
    assert read(tmp_path, "day\n2019-01-01 12:00\n2019-01-02 12:00\n").shape == (1,)
    assert read(tmp_path, "1:2\n3:4\n", delimiter=":").shape == (2,)
    with pytest.raises(InputError, match="must be one character"):
        read(tmp_path, "1,2\n", delimiter=", ")


def test_headers_of_numbers(tmp_path: Path) -> None:
    body = "".join(",".join(f"{v:.2f}" for v in row) + "\n" for row in RNG.normal(size=(9, 3)))
    data = read(tmp_path, "2019,2020,2021\n" + body)
    assert data.header == ("2019", "2020", "2021")
    assert len(data.whole) == 9
    assert noted(data, "header: the first row, 2019, 2020, 2021")
    assert len(read(tmp_path, "2019,2020,2021\n" + body, header=False).whole) == 10
    assert read(tmp_path, "0,1,2\n" + body).header == ("0", "1", "2")
    assert read(tmp_path, "1.5,1,2\n" + body).header == ()
    assert read(tmp_path, "1.5,1,2\n" + body, header=True).header == ("1.5", "1", "2")
    mixed = "".join(f"{'abc'[i % 3]},{i},{i * i}\n" for i in range(9))
    assert read(tmp_path, "country,2019,2020\n" + mixed).header == ("country", "2019", "2020")
    assert len(read(tmp_path, "a,0,1\nb,1,0\na,1,1\n").whole) == 3
    assert len(read(tmp_path, "2019,2020,2021\n2020,2021,2022\n2021,2022,2023\n").whole) == 3


def test_an_index_is_set_aside(tmp_path: Path) -> None:
    rows = "".join(f"{i},{a},{b}\n" for i, (a, b) in enumerate(X))
    data = read(tmp_path, ",a,b\n" + rows)
    assert data.header == ("a", "b")
    assert np.allclose(values(data), X)
    assert data.whole.names[:2] == ["0", "1"]
    assert noted(data, "left out: the first column, which names the rows; if it is data, pass index=False")
    assert read(tmp_path, ",a,b\n" + rows, index=False).shape == (3,)
    for name in ("Unnamed: 0", "index", "id"):
        assert read(tmp_path, f"{name},a,b\n" + rows).header == ("a", "b")
    assert read(tmp_path, "t,a,b\n" + rows).shape == (3,)
    assert read(tmp_path, "t,a,b\n" + rows, index=True).shape == (2,)
    cars = read(tmp_path, "a b\nMazda 1.5 2\nFiat 3.5 4\nFord 5 6.5\n", "cars.txt")  # as R writes it
    assert cars.header == ("a", "b")
    assert cars.whole.names == ["Mazda", "Fiat", "Ford"]
    assert read(tmp_path, ",a\n0.5,1\n1.5,2\n").shape == (2,)  # a column without a name that counts nothing


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-32", "utf-8", "cp1252"])
def test_encodings(tmp_path: Path, encoding: str) -> None:
    text = "größe,stadt\r\n1.5,Köln\r\n2.5,Bern\r\n3.5,Köln\r\n"
    data = read(tmp_path, text.encode(encoding))
    assert data.header == ("größe", "stadt")
    assert data.domain.columns[1] == Domain("categories", 2, ("Bern", "Köln"))
    assert noted(data, "not UTF-8") == (encoding == "cp1252")
    assert read(tmp_path, text.encode(encoding), encoding=encoding).header == ("größe", "stadt")
    with pytest.raises(InputError, match="encoding='nonsense' is not known"):
        read(tmp_path, text, encoding="nonsense")


def test_lines_above_the_table(tmp_path: Path) -> None:
    assert read(tmp_path, "sep=;\na;b\n1,5;2\n3,5;4\n").header == ("a", "b")
    data = read(tmp_path, "# made by numpy\n# a b\n1.5 2\n3 4.5\n", "t.txt")
    assert data.header == ("a", "b")
    assert np.allclose(values(data), [[1.5, 2], [3, 4.5]])
    assert noted(data, "2 lines of comments")


def test_options_for_text_are_refused_elsewhere(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="delimiter= applies to tables as text"):
        open(X, delimiter=";")
    with pytest.raises(InputError, match=r"decimal='x' was given; it must be '\.' or ','"):
        open(X, decimal="x")
