"""Tables in text, read with pandas."""

import numpy as np
import pytest

from npkd.core.validation import InputError
from npkd.data.datasets import load
from npkd.data.tables import read_table
from tests.data.test_tables import TABLE


def test_a_table_with_words_as_classes(tmp_path):
    (tmp_path / "t.csv").write_text(TABLE)
    data = load(str(tmp_path / "t.csv"), seed=0, label="kind")
    assert data.words == ("a", "b", "c")
    assert data.classes == 3
    assert len(data.x_test) == 18
    assert data.x_train.shape[1] == 2


def test_a_table_with_decimals_is_of_numbers(tmp_path):
    x, y, words = read_numbers(tmp_path)
    assert y.dtype == float
    assert words == ()
    assert x.shape == (90, 1)


def read_numbers(folder):
    """The table without its words, of height."""
    (folder / "n.csv").write_text("\n".join(";".join(line.split(";")[:2]) for line in TABLE.splitlines()))
    return read_table(folder / "n.csv", "height")


@pytest.mark.parametrize(("text", "label", "words"), [
    (TABLE, "colour", r"--label is 'colour'; it must be the column .* one of size, height, kind"),
    (TABLE, None, "--label is None"), (TABLE, "size", "holds words in \"kind\""),
    (TABLE + "3;;a\n", "kind", "no value in line 92, column 'height'"),
    ("a,b\n", "a", "no rows"), ("kind\n1\n2\n", "kind", "alone"), ("", "kind", "No columns"),
    ("a,b\n" + "".join(f"{n},{n}\n" for n in range(20)), "b", "too many for classes"),
])
def test_tables_that_are_refused(text, label, words, tmp_path):
    (tmp_path / "t.csv").write_text(text)
    with pytest.raises(InputError, match=words):
        read_table(tmp_path / "t.csv", label)


def test_the_test_part_goes_by_the_seed(tmp_path):
    (tmp_path / "t.csv").write_text(TABLE)
    one, two, three = (load(str(tmp_path / "t.csv"), seed=seed, label="kind") for seed in (0, 0, 1))
    assert np.array_equal(one.y_test, two.y_test)
    assert not np.array_equal(one.scaling.offset, three.scaling.offset)
