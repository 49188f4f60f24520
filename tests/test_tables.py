"""Tables as people have them: read in the one way that is meant, or refused with line and cell."""

import gzip
import io
import sys

import jaxtyping
import numpy as np
import pandas as pd
import pytest
from sklearn import datasets as sk

from collapse_jax.cli.options import tables as of_commands
from collapse_jax.cli.options.tasks import find_kind
from collapse_jax.cli.options.yaml_files import read_yaml
from collapse_jax.tasks.parts.tables import read_table


@pytest.fixture(autouse=True)
def _folder(tmp_path, monkeypatch):
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    monkeypatch.chdir(tmp_path)


def write(text, name="t.csv", encoding="utf-8"):
    content = text.encode(encoding)
    with open(name, "wb") as file:
        file.write(gzip.compress(content) if name.endswith(".gz") else content)
    return name


# What was read as nonsense, and how each is refused.
REFUSED = {
    "trailing delimiter": (
        "a,b,c\n1,2,3,\n4,5,6,\n",
        "fields in each line as in line 1, 3; line 2 of t.csv has 4, the first '1' and the last ''",
    ),
    "row names": ("a,b\nr1,1,2\nr2,3,4\n", "line 2 of t.csv has 3, the first 'r1'.*row names"),
    "short line": ("a,b\n1,2\n\n3\n", "line 4 of t.csv has 1, the first '3'"),
    "semicolons": ("a;b\n1,5;2,5\n3,5;4,5\n", "sep must be given where it may be ',' or ';'"),
    "tabs": ("a\tb\n1\t2\n", r"sep must be given where it may be ',' or '\\t'"),
    "white space": ("a b\n1  2\n3 4\n", "sep must be given: t.csv has no ','"),
    "no header": ("5.1,setosa\n4.9,other\n", "header must be given.* line 1 of t.csv has '5.1'"),
    "labels without header": ("red\nblue\nred\n", "line 1 of t.csv has 'red', as line 3 has"),
    "question mark": ("a,b\n1,2\n\n?,3\n4,5\n", "got '\\?' in line 4, column 'a' of t.csv"),
    "hyphen": ("a,b\n1,2\n-,3\n4,5\n", "got '-' in line 3, column 'a'"),
    "point": ("a,b\n1,2\n.,3\n4,5\n", "got '.' in line 3, column 'a'"),
    "thousands": ('a,b\n"1,234.5",2\n"2,0",3\n', "got '1,234.5' in line 2, column 'a'"),
    "per cent": ("a,b\n5%,2\n6%,3\n", "got '5%' in line 2, column 'a'"),
    "Unicode minus": ("a,b\n\u22125,2\n6,3\n", "got '\u22125' in line 2, column 'a'"),
    "many cells are numbers": (
        "a,b\n" + "1,2\n" * 8 + "x,1\ny,1\nz,1\n",
        "got 'x' in line 10, column 'a'",
    ),
    "after a field of two lines": ('a,b\n"x\ny",1\n"u\nv",?\nz,5\n', r"got '\?' in line 4, column"),
    "a blank line in one column": ("a\n1\n\n3\n", "got 1, the first in line 3, column 'a'"),
    "a bad cell after blank lines": ("\na\n1\n\n?\n4\n5\n", r"got '\?' in line 5, column 'a'"),
    "missing": ("a,b\n1,2\n,3\n4,\n", "got 2, the first in line 3, column 'a' of t.csv; drop_miss"),
    "nothing but a header": ("a,b\n", "t.csv has none"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_refused(kind):
    text, message = REFUSED[kind]
    with pytest.raises(ValueError, match=message):
        read_table(write(text))


READ = {
    "trailing delimiter everywhere": ("a,b,\n1,2,\n3,5,\n", {}, [[1, 2], [3, 5]]),
    "decimal commas": ("a;b\n1,5;2\n3;4,5\n", {"sep": ";", "decimal": ","}, [[1.5, 2], [3, 4.5]]),
    "no header": ("5,1\n4,2\n", {"header": False}, [[5, 1], [4, 2]]),
    "years as names": ("2019,2020\n4,2\n5,1\n", {"header": True}, [[4, 2], [5, 1]]),
    "named missing": (
        "a,b\n1,2\n?,3\n4,5\n",
        {"na_values": ["?"], "drop_missing": True},
        [[1, 2], [4, 5]],
    ),
    "missing elsewhere": ("a,b\n,2\n1,3\n", {"columns": ["b"]}, [[2], [3]]),
    "white space": ("a  b\n1 2\n 3   4\n", {"sep": " "}, [[1, 2], [3, 4]]),
    "a dropped column": ("a,b\n1,x\n2,?\n3,4\n4,5\n", {"drop": "b"}, [[1], [2], [3], [4]]),
    "more than 64 bits": ("a\n123456789012345678901234\n2\n", {}, [[1.2345678901234568e23], [2]]),
    "thousands": ('a,b\n"1,234.5",2\n2000,3\n', {"thousands": ","}, [[1234.5, 2], [2000, 3]]),
    "German thousands": (
        "a;b\n-1.234.567,5;2\n2.000;,5\n",
        {"sep": ";", "decimal": ",", "thousands": "."},
        [[-1234567.5, 2], [2000, 0.5]],
    ),
    "one column with blank lines": (
        '\na\n1\n\n3\n""\n4\n\n\n',
        {"drop_missing": True},
        [[1], [3], [4]],
    ),
    "a comma within": ('a,b\n"x, y",1\n"u, v",2\n', {}, [[1], [2]]),
}


@pytest.mark.parametrize("kind", READ)
def test_read(kind):
    text, options, rows = READ[kind]
    np.testing.assert_array_equal(read_table(write(text), **options).rows, rows)


def test_formats_are_read_alike(monkeypatch):
    text = "gr\u00f6\u00dfe,b\n1,2.5\n3,4.5\n"
    tabs = text.replace(",", "\t")
    for name, content, options in (
        ("t.csv.gz", text, {}),
        ("T.TSV", tabs, {}),
        ("t.tsv.gz", tabs, {}),
        ("latin.csv", text, {"encoding": "latin-1"}),
        ("u.csv", text, {"encoding": "utf-16"}),
        ("bom.csv", "\ufeff" + text, {}),
    ):
        table = read_table(write(content, name, options.get("encoding", "utf-8")), **options)
        assert table.names == ["gr\u00f6\u00dfe", "b"]
        np.testing.assert_array_equal(table.rows, [[1, 2.5], [3, 4.5]])
    with pytest.raises(ValueError, match=r"encoding must be .*: line 1 of latin.csv is not utf-8"):
        read_table("latin.csv")
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(text.encode())))
    np.testing.assert_array_equal(read_table("-").rows, [[1, 2.5], [3, 4.5]])


def test_indices_and_identifiers_are_left_out_and_said():
    text = ",PassengerId,age,when,colour,order\n0,17,3,2020-01-01,red,1\n"
    text += "1,12,3,2020-01-02,blue,2\n2,15,4,2020-01-03,red,3\n"
    assert read_table(write(text)).report == (
        "3 rows; columns used: age, order (counts the rows); left out: "
        "Unnamed: 0 (without a name), PassengerId (an identifier), "
        "when (text such as '2020-01-01'), colour (text such as 'red')"
    )
    asked = read_table("t.csv", ["PassengerId"], target="age")
    assert asked.rows.tolist() == [[17, 3], [12, 3], [15, 4]]
    for name in ("Obs", "index", "user_id", "row.names"):
        assert read_table(write(f"{name},a\n3,2\n1,3\n2,4\n")).names == ["a"]
    for name in ("paid", "width", "idle"):
        assert read_table(write(f"{name},a\n3,2\n1,3\n2,4\n")).names == [name, "a"]
    repeated = read_table(write("id,a\n1,2\n1,3\n2,4\n"))
    assert repeated.names == ["id", "a"]


def test_parquet_and_npy():
    pd.DataFrame({0: [1.0, 2.0], 1: [3, 4]}).to_parquet("whole.parquet")
    assert read_table("whole.parquet").names == ["0", "1"]
    frame = pd.DataFrame({"a": pd.array([1, None, 3], dtype="Int64"), "b": [True, False, True]})
    frame = frame.assign(when=pd.date_range("2020", periods=3), n=[5, 6, 7]).set_index("n")
    frame.to_parquet("kinds.parquet")
    table = read_table("kinds.parquet", drop_missing=True)
    assert (table.names, table.n_incomplete) == (["n", "a"], 1)
    assert table.left_out == {"b": "true and false", "when": "dates"}
    np.testing.assert_array_equal(table.rows, [[5, 1], [7, 3]])
    np.save("c.npy", np.ones((3, 2)) * 1j)
    with pytest.raises(ValueError, match=r"c.npy has none, but 0 \(complex numbers\)"):
        read_table("c.npy")
    for option, value in (("sep", ";"), ("header", False), ("na_values", ["?"])):
        with pytest.raises(ValueError, match=f"{option} can only be given for text"):
            read_table("c.npy", **{option: value})


OTHER_MARKS = [
    ('a,b\n"2,0",2\n"1,234",3\n', {"thousands": ","}, "got '2,0' in line 2"),
    ("a;b\n1.234,5;2\n2.00;3\n", {"sep": ";", "decimal": ",", "thousands": "."}, "got '2.00'"),
    ("a;b\n1.5;2\n2.25;3\n", {"sep": ";", "decimal": ","}, "got '1.5' in line 2, column 'a'"),
]


@pytest.mark.parametrize(("text", "options", "message"), OTHER_MARKS)
def test_numbers_with_other_marks_are_refused(text, options, message):
    with pytest.raises(ValueError, match=message):
        read_table(write(text), **options)


BAD_OPTIONS = [
    ({"thousands": "."}, "thousands must be one character .* other than decimal, got '.' and '.'"),
    ({"thousands": "1"}, "thousands must be one character that is no letter, digit or sign"),
    ({"sep": "ab"}, "sep must be one character, other than decimal, got 'ab'"),
    ({"decimal": ","}, "sep must be one character, other than decimal, got ',' and ','"),
    ({"decimal": "x"}, "decimal must be '.' or ',', got 'x'"),
    ({"encoding": "utf-9"}, "encoding must be one that Python knows, got 'utf-9'"),
    ({"drop": ["c"]}, "drop must be one of 'a', 'b', got 'c'"),
    ({"drop": ["a"], "columns": ["a"]}, "drop must not hold columns that are to be used, got 'a'"),
    ({"target": "c"}, "target must be one of 'a', 'b', got 'c'"),
]


@pytest.mark.parametrize(("options", "message"), BAD_OPTIONS, ids=[m[:30] for _, m in BAD_OPTIONS])
def test_bad_options(options, message):
    with pytest.raises(ValueError, match=message):
        read_table(write("a,b\n1,2\n3,5\n"), **options)


REAL = {
    "diabetes": sk.load_diabetes,
    "iris": sk.load_iris,
    "wine": sk.load_wine,
    "breast_cancer": sk.load_breast_cancer,
}


@pytest.mark.parametrize("name", REAL)
def test_real_tables_come_back_exactly(name):
    frame = REAL[name](as_frame=True).frame
    columns, values = list(frame.columns), frame.to_numpy(np.float64)
    frame.to_csv("t.csv")
    frame.to_csv("de.csv", sep=";", decimal=",", index=False)
    table = read_table("t.csv")
    assert table.left_out == {"Unnamed: 0": "without a name"}
    german = read_table("de.csv", sep=";", decimal=",")
    for found in (table, german):
        assert found.names == columns
        np.testing.assert_allclose(found.rows, values, rtol=1e-15)


def test_the_command_line_reads_once_and_says_what_it_reads(monkeypatch, capsys):
    """Also the standard input, which is gone when it has been read, for all cells of a sweep."""
    text = "id;x;y\n" + "".join(f"{9 * i};{i % 5},5;{i % 7}\n" for i in range(30))
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(text.encode())))
    given = {"data": "-", "target": "y", "sep": ";", "decimal": ","}
    kind = find_kind("linear-regression", trust=False)
    first, second = (kind.make({**given, "n_samples": n}) for n in (9, 12))
    assert (first.n_samples, second.n_samples, second.population) == (9, 12, 22)
    report = "-: 30 rows; columns used: x, y (the target); left out: id (an identifier)\n"
    assert capsys.readouterr().err == report
    with pytest.raises(ValueError, match="sep can only be chosen together with data, got ;"):
        of_commands.read_data("TABLE", sep=";")


def test_labels_are_one_column_of_any_kind():
    write("colour,n\nred,1\n,2\nblue,3\n")
    with pytest.raises(
        ValueError, match="no missing values, got 1, the first in line 3, column 'c"
    ):
        read_table("t.csv", ["colour"], labels=True)
    found = read_table("t.csv", ["colour"], labels=True, drop_missing=True)
    assert found.rows.tolist() == [["red"], ["blue"]]
    write("code\n007\n7 \n1e3\n1000\nNA\n")
    codes = read_table("t.csv", labels=True, drop_missing=True)
    assert codes.rows.tolist() == [["007"], ["7"], ["1e3"], ["1000"]]
    write("colour,n\nred,1\n,2\nblue,3\n")
    alone = read_table("t.csv", drop=["n"], labels=True, drop_missing=True)
    assert alone.rows.tolist() == found.rows.tolist()


def test_yaml_has_the_numbers_of_version_1_2():
    read = read_yaml("[1e-3, 1E5, -.5, 1., .inf, 0x1F, 0o17, 017, +3, 1_0, 1:30, yes, No, true, ~]")
    expected = [0.001, 1e5, -0.5, 1.0, np.inf, 31, 15, 17, 3, "1_0", "1:30", "yes", "No", True]
    assert read == [*expected, None]
    assert list(map(type, read[:-1])) == list(map(type, expected))
    assert read_yaml("{a: 2020-01-01, b: , c: '1e-3'}") == {
        "a": "2020-01-01",
        "b": None,
        "c": "1e-3",
    }
