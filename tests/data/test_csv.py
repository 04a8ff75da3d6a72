"""Tables in text, read by pandas: npkd.data.tables."""

import numpy as np
import pandas as pd
import pytest

from npkd.core.validation import InputError
from npkd.data.datasets import load, stored

ROWS = 200


@pytest.fixture
def frame():
    """Two columns of numbers, one of truth, one of words of three classes."""
    rng = np.random.default_rng(0)
    kind = np.array(["oak", "ash", "elm", "elm"])[np.arange(ROWS) % 4]
    return pd.DataFrame({"height": rng.standard_normal(ROWS), "girth": rng.integers(0, 9, ROWS),
                         "old": rng.random(ROWS) < 0.5, "kind": kind})


@pytest.mark.parametrize(("separator", "name"), [(",", "a.csv"), (";", "a.csv"), ("\t", "a.tsv")])
def test_words_are_classes_in_sorted_order_and_a_fifth_is_the_test_part(frame, separator, name, tmp_path):
    frame.to_csv(tmp_path / name, index=False, sep=separator)
    _, (x, y, x_test, y_test), limits, words = stored(str(tmp_path / name), seed=3, label="kind")
    assert words == ("ash", "elm", "oak")
    assert limits is None
    assert np.bincount(y_test).tolist() == [10, 20, 10]            # a fifth of each
    whole = {(*row[:-1], words.index(row[-1])) for row in frame.itertuples(index=False, name=None)}
    found = {(*row, label) for row, label in zip([*x.tolist(), *x_test.tolist()], [*y, *y_test], strict=True)}
    assert found == whole
    other = stored(str(tmp_path / name), seed=4, label="kind")[1]
    assert not np.array_equal(other[2], x_test)                    # by the seed
    data = load(str(tmp_path / name), seed=3, label="kind")
    assert (data.words, data.classes, data.shape, data.name) == (words, 3, (3,), "a")


def test_whole_numbers_are_classes_and_decimals_are_numbers_to_predict(frame, tmp_path):
    frame["kind"] = np.arange(ROWS) % 3 * 2 + 5
    frame.to_csv(tmp_path / "a.csv", index=False)
    data = load(str(tmp_path / "a.csv"), seed=0, label="kind")
    assert (data.words, data.targets) == (("5", "7", "9"), None)
    data = load(str(tmp_path / "a.csv"), seed=0, label="height")
    assert data.targets is not None
    assert data.words == ()
    assert data.y_test.shape == (ROWS // 5, 1)
    frame["kind"] = np.arange(ROWS)
    frame.to_csv(tmp_path / "a.csv", index=False)
    with pytest.raises(InputError, match="200 different values in 200 rows"):
        load(str(tmp_path / "a.csv"), seed=0, label="kind")


@pytest.mark.parametrize(("change", "label", "said"), [
    (lambda f: f.assign(girth=f.girth.where(f.index != 7)), "kind", "no value in line 9, column 'girth'"),
    (lambda f: f.assign(kind=f.kind.where(f.index != 0)), "kind", "no value in line 2, column 'kind'"),
    (lambda f: f.assign(town="Ulm", river="Po"), "kind", r'columns=\["town", "river"\]'),
    (lambda f: f, None, "--label is None; .* one of height, girth, old, kind"),
    (lambda f: f, "sort", "--label is 'sort'"), (lambda f: f[["kind"]], "kind", "column 'kind' alone"),
    (lambda f: f[:0], "kind", "a header and no rows"),
    (lambda f: f.assign(kind="elm"), "kind", "holds the class 0 alone")])
def test_what_a_table_cannot_be_is_one_sentence(frame, change, label, said, tmp_path):
    change(frame).to_csv(tmp_path / "a.csv", index=False)
    with pytest.raises(InputError, match=said):
        load(str(tmp_path / "a.csv"), seed=0, label=label)


def test_the_line_that_makes_numbers_of_words_does(frame, tmp_path, monkeypatch):
    frame.assign(town=np.where(frame.girth > 4, "Ulm", "Bonn")).to_csv(tmp_path / "a.csv", index=False)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError) as raised:
        load("a.csv", seed=0, label="kind")
    exec(str(raised.value).partition("makes numbers of them: ")[2], {})
    assert load("a-numbers.csv", seed=0, label="kind").shape == (5,)


def test_the_line_reads_decimal_commas_thousands_and_dates(frame, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    odd = frame.assign(price=[f"{n},{n % 9}5" for n in range(ROWS)], sum=[f"{n},{n % 9}" for n in range(ROWS)],
                       day=[f"2024-03-{1 + n % 28:02}" for n in range(ROWS)],
                       town=np.where(frame.girth > 4, "Ulm", "Au"))
    odd.drop(columns="height").to_csv("a.csv", index=False, sep=";")
    american = odd.assign(height=[f"{n + 1},000.5" for n in range(ROWS)]).drop(columns=["price", "sum", "day"])
    american.to_csv("b.csv", index=False)
    for name, label, shape in (("a", "kind", (7,)), ("a", "sum", (9,)), ("b", "kind", (5,))):
        with pytest.raises(InputError) as raised:
            load(f"{name}.csv", seed=0, label=label)
        exec(str(raised.value).partition("makes numbers of them: ")[2], {})
        if label == "kind":
            assert load(f"{name}-numbers.csv", seed=0, label=label).shape == shape
        else:
            assert pd.read_csv("a-numbers.csv")["sum"].dtype == np.float64
    assert pd.read_csv("a-numbers.csv")["price"][3] == 3.35
    assert pd.read_csv("b-numbers.csv")["height"][1] == 2000.5


def test_columns_without_a_name(frame, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    frame.to_csv("a.csv")
    with pytest.raises(InputError, match=r"column without a name, number 1, .* leaves the first one out") as raised:
        load("a.csv", seed=0, label="kind")
    exec(str(raised.value).partition("first one out: ")[2], {})
    assert load("a-numbers.csv", seed=0, label="kind").shape == (3,)
    lines = frame.to_csv(index=False).splitlines()
    for content in (",\n".join(lines) + ",\n", "\n".join([lines[0] + ",", *lines[1:]])):
        with open("b.csv", "w") as file:
            file.write(content)
        assert load("b.csv", seed=0, label="kind").shape == (3,)
    with open("b.csv", "w") as file:
        file.write("\n".join([lines[0], *(line + "," for line in lines[1:])]))
    with pytest.raises(InputError, match="a value more in its rows than names in its header"):
        load("b.csv", seed=0, label="kind")
    with pytest.raises(InputError, match="there is no such file"):
        load("nope.csv", seed=0, label="kind")


@pytest.mark.parametrize("content", [b"", b"a,b\n1,2\n1,2,3,4\n", b"a,b\n\xff\xfe,1\n"])
def test_what_is_no_table_is_said(content, tmp_path):
    (tmp_path / "a.csv").write_bytes(content)
    with pytest.raises(InputError, match="it must be a table in UTF-8 with a header line"):
        load(str(tmp_path / "a.csv"), seed=0, label="b")
