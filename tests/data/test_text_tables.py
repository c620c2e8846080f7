"""CSV and TSV as people have them: delimiters, encodings, quotation marks and headers, each with the right rows."""

import csv
import gzip
import io
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, strategies as st
from made_files import load

from monosemy.data.tables import read_table
from monosemy.data.text_files import text_file
from monosemy.data.text_tables import find_delimiter, read_text_table

LABELS = ["a", "b"] * 10


def table_of(path: Path, content: str | bytes, encoding: str = "utf-8") -> tuple[list[list[str]], tuple[str, ...]]:
    """Header and rows as they are read, and the messages."""
    path.write_bytes(content if isinstance(content, bytes) else content.encode(encoding))
    frame, layout = read_text_table(path)
    return [list(frame), *frame.values.tolist()], layout.messages


# Delimiters


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("t.csv", "text;label\nhallo, du;a\nja;b\n", "semicolons"),
        ("t.csv", "text\tlabel\nhallo, du\ta\nja\tb\n", "tabs"),
        ("t.csv", "text|label\nhallo, du|a\nja|b\n", "vertical bars"),
        ("t.csv", 'sep=;\ntext;label\n"hallo, du";a\nja;b\n', "semicolons"),
        ("t.csv", 'text,label\n"hallo, du",a\nja,b\n', None),
        ("t.tsv", "text\tlabel\nhallo, du\ta\nja\tb\n", None),
        ("t.tab", "text\tlabel\nhallo, du\ta\nja\tb\n", None),
        ("t.tsv", 'text,label\n"hallo, du",a\nja,b\n', "commas"),
        ("t.txt", "text\tlabel\nhallo, du\ta\nja\tb\n", "tabs"),
        ("t.csv", "text;label\r\nhallo, du;a\r\nja;b\r\n", "semicolons"),
        ("t.csv", "text;label\rhallo, du;a\rja;b\r", "semicolons"),
        ("t.csv", "\n\ntext;label\n\nhallo, du;a\n\nja;b\n", "semicolons"),
    ],
)
def test_the_delimiter_is_found_and_said(tmp_path: Path, name: str, text: str, said: str | None) -> None:
    rows, messages = table_of(tmp_path / name, text)
    assert rows == [["text", "label"], ["hallo, du", "a"], ["ja", "b"]]
    assert messages == (() if said is None else (f"The fields of {name} are separated by {said}.",))


def test_commas_stay_the_delimiter_where_they_fit(tmp_path: Path) -> None:
    text = "text,label\nhello; you; there,1\none;two,2\n"
    assert table_of(tmp_path / "t.csv", text)[0][1:] == [["hello; you; there", "1"], ["one;two", "2"]]
    assert find_delimiter("label\na;b\nc;d\n", ",") == ",", "the header has one field"
    assert find_delimiter("a;b\n" + "1;2\n" * 30 + "total\n", ",") == ";", "one record of 31 differs"
    assert find_delimiter("a,b\n" + "1;2,3,4\n" * 30, ",") == ",", "the usual one goes first, and pandas will say where"


def test_decimal_commas(tmp_path: Path) -> None:
    rows = "".join(f"{i},5;-{i},25;{LABELS[i]}\n" for i in range(20))
    (tmp_path / "t.csv").write_text("x1;x2;label\n" + rows)
    data = load(tmp_path / "t.csv")
    assert "The numbers of" in data.notices[-1] or any("comma before their decimals" in m for m in data.notices)
    found = np.concatenate([part.inputs for part in data.splits().values()])
    np.testing.assert_array_equal(found[found[:, 0].argsort()], [[i + 0.5, -i - 0.25] for i in range(20)])
    (tmp_path / "t.csv").write_text('x1,x2,label\n"1,5",2,a\n"2,5",3,b\n')
    assert read_table(tmp_path / "t.csv").has_free_commas is False, "1,234 may be a thousand there"


# Encodings

WORDS = [f"caf\u00e9 {i}" for i in range(20)]
CSV = "text,label\n" + "".join(f"{word},{label}\n" for word, label in zip(WORDS, LABELS, strict=True))
JSONL = "".join(
    json.dumps({"text": w, "label": y}, ensure_ascii=False) + "\n" for w, y in zip(WORDS, LABELS, strict=True)
)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "cp1252"])
@pytest.mark.parametrize(
    ("name", "text"), [("t.csv", CSV), ("t.csv.gz", CSV), ("t.jsonl", JSONL), ("t.jsonl.gz", JSONL)]
)
def test_encodings(tmp_path: Path, name: str, text: str, encoding: str) -> None:
    raw = text.encode(encoding)
    (tmp_path / name).write_bytes(gzip.compress(raw) if name.endswith(".gz") else raw)
    data = load(tmp_path / name)
    texts = [t for part in data.splits().values() for t in part.inputs]
    assert sorted(texts) == sorted(WORDS)
    assert data.class_names == ("a", "b")
    said = [message for message in data.notices if "is not UTF-8" in message]
    assert len(said) == (encoding == "cp1252")
    assert all("cp1252" in message and "'caf\u00e9'" in message and name in message for message in said)


@pytest.mark.parametrize("encoding", ["cp1251", "shift-jis", "gb18030", "koi8-r", "euc-kr"])
def test_other_encodings_are_named_by_the_user(tmp_path: Path, encoding: str, refuses) -> None:
    words = {
        "shift-jis": "\u3053\u3093\u306b\u3061\u306f",
        "gb18030": "\u4f60\u597d\u4e16\u754c",
        "euc-kr": "\uc548\ub155",
    }
    word = words.get(encoding, "\u043f\u0440\u0438\u0432\u0435\u0442")
    text = "text,label\n" + "".join(f"{word} {i},{LABELS[i]}\n" for i in range(20))
    (tmp_path / "t.csv").write_bytes(text.encode(encoding))
    with refuses("t.csv", "neither UTF-8 nor Western European", "data.encoding"):
        load(tmp_path / "t.csv")
    data = load(tmp_path / "t.csv", encoding=encoding)
    assert {t.split()[0] for t in data.train.inputs} == {word}
    with refuses("'utf-8'", "t.csv"):
        load(tmp_path / "t.csv", encoding="utf-8")
    with refuses("'klingon'"):
        load(tmp_path / "t.csv", encoding="klingon")


def test_binary_files_are_no_text(tmp_path: Path, refuses) -> None:
    (tmp_path / "t.csv").write_bytes(b"text,label\n\xe9\x00\x01\x02,a\n")
    with refuses("t.csv", "neither UTF-8 nor Western European"):
        load(tmp_path / "t.csv")


@given(text=st.text(st.characters(blacklist_categories=("Cs", "Cc")), min_size=1))
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_unicode_is_never_mistaken(tmp_path: Path, encoding: str, text: str) -> None:
    (tmp_path / "t.txt").write_bytes(text.encode(encoding))
    file = text_file(tmp_path / "t.txt")
    with file.open_text() as opened:
        assert opened.read() == text.removeprefix("\ufeff") if encoding == "utf-8" else text


# Quotation marks


def test_marks_that_do_not_pair_in_a_tsv_are_characters(tmp_path: Path) -> None:
    lines = [f"sentence {i}\t{'pos' if i % 2 else 'neg'}" for i in range(20)]
    lines[3], lines[9] = '"an opening mark only\tpos', 'and here it ends"\tpos'
    (tmp_path / "reviews.tsv").write_text("\n".join(["text\tlabel", *lines]) + "\n")
    data = load(tmp_path / "reviews.tsv")
    texts = {t for part in data.splits().values() for t in part.inputs}
    assert len(texts) == 20
    assert {'"an opening mark only', 'and here it ends"'} <= texts
    assert any("quotation marks that do not pair in 1 rows (first: row 3)" in message for message in data.notices)


@pytest.mark.parametrize(
    "text",
    [
        'text\tlabel\n"Hello" he said\ta\n"never closed\tb\nc\td\n',
        'text\tlabel\n"Hello" he said\ta\n',
        'text\tlabel\n"never closed\tb\nc\td\n',
        'text\tlabel\n"""\tb\nc\td\n',
        'text\tlabel\n"a\tb\n"c\td\n"e\tf\n',
    ],
)
def test_every_line_of_such_a_tsv_is_a_row(tmp_path: Path, text: str) -> None:
    rows, messages = table_of(tmp_path / "t.tsv", text)
    assert rows == [line.split("\t") for line in text.splitlines()]
    assert "do not pair" in messages[0]


def test_marks_that_are_needed_are_not_characters(tmp_path: Path) -> None:
    frame = pd.DataFrame({"text": ["two\nlines", 'he "said" it', "tab\there", "plain", ""], "label": list("abcde")})
    for separator, name in (("\t", "t.tsv"), (",", "t.csv"), (";", "s.csv")):
        frame.to_csv(tmp_path / name, sep=separator, index=False)
        read, layout = read_text_table(tmp_path / name)
        assert read.values.tolist() == frame.values.tolist()
        assert not any("pair" in message for message in layout.messages)


def test_marks_that_are_needed_and_marks_that_do_not_pair(tmp_path: Path) -> None:
    rows, messages = table_of(tmp_path / "t.tsv", 'text\tlabel\n"two\nlines"\ta\nx\ty\n"Hello" he\tb\n')
    assert rows[1] == ["two\nlines", "a"]
    assert "do not pair in 1 rows (first: row 2)" in messages[0]


def test_joined_rows_of_a_csv_are_said(tmp_path: Path) -> None:
    lines = [f"sentence {i},{'pos' if i % 2 else 'neg'}" for i in range(20)]
    lines[3], lines[9] = '"an opening mark only,pos', 'and here it ends",pos'
    rows, messages = table_of(tmp_path / "t.csv", "\n".join(["text,label", *lines]) + "\n")
    assert len(rows) == 15
    assert "first: row 3" in messages[0]
    assert "join lines that are whole rows" in messages[0]


def test_an_open_mark_of_a_csv(tmp_path: Path, refuses) -> None:
    (tmp_path / "t.csv").write_text('text,label\na,1\n"b,2\nc,3\n')
    with refuses("t.csv", "EOF inside string", "double the marks inside"):
        read_table(tmp_path / "t.csv")


FIELD = st.text(st.sampled_from('ab "\t\n,;'), max_size=6)


@given(rows=st.lists(st.tuples(FIELD, FIELD), min_size=1, max_size=8))
@pytest.mark.parametrize(("separator", "name"), [("\t", "t.tsv"), (",", "t.csv")])
def test_what_a_csv_writer_quotes_is_read_back(tmp_path: Path, rows: list, separator: str, name: str) -> None:
    """All fields in marks, so that what the file means is certain."""
    text = io.StringIO()
    csv.writer(text, delimiter=separator, quoting=csv.QUOTE_ALL, lineterminator="\n").writerows([("t", "u"), *rows])
    (tmp_path / name).write_text(text.getvalue(), newline="")
    assert read_text_table(tmp_path / name)[0].values.tolist() == [list(row) for row in rows]


# Headers


@pytest.mark.parametrize(
    ("text", "header", "first"),
    [
        ("5.1,3.5,1.4,setosa\n4.9,3.0,1.3,setosa\n", ["0", "1", "2", "3"], "5.1"),
        ("0.5,1.5\n2.5,3.5\n", ["0", "1"], "0.5"),
        ("0,0,1\n1,0,1\n", ["0", "1", "2"], "0"),
        ("-1,2\n3,4\n", ["0", "1"], "-1"),
        ("5,1;3,5\n4,9;3,0\n", ["0", "1"], "5,1"),
        ("0,1,2\n5.1,3.5,1.4\n", ["0", "1", "2"], "5.1"),
        ("0,1,label\n5.1,3.5,a\n", ["0", "1", "label"], "5.1"),
        ("text,label\nx,1\n", ["text", "label"], "x"),
        ("text,0.5\nx,a\n", ["text", "0.5"], "x"),
    ],
)
def test_numbers_in_the_first_line_are_data(tmp_path: Path, text: str, header: list[str], first: str) -> None:
    rows, messages = table_of(tmp_path / "t.csv", text)
    assert (rows[0], rows[1][0]) == (header, first)
    assert any("numbers in its first line" in message for message in messages) == (len(rows) - 1 == text.count("\n"))


def test_a_matrix_that_numpy_wrote(tmp_path: Path) -> None:
    matrix = np.random.default_rng(0).normal(size=(20, 3))
    np.save(tmp_path / "y.npy", LABELS)
    for name, options in (("m.csv", {"delimiter": ","}), ("m.tsv", {"delimiter": "\t"}), ("spaces.csv", {})):
        np.savetxt(tmp_path / name, matrix, **options)
        data = load(tmp_path / name, labels=tmp_path / "y.npy")
        found = np.concatenate([part.inputs for part in data.splits().values()])
        np.testing.assert_array_equal(found[found[:, 0].argsort()], matrix.astype(np.float32)[matrix[:, 0].argsort()])


@pytest.mark.parametrize(
    ("name", "line", "value"),
    [("spam.tsv", "{label}\tmessage {i}\n", "'a'"), ("news.csv", '"{label}","title {i}","text, {i}"\n', "'a'")],
)
def test_a_missing_header_is_suspected(tmp_path: Path, name: str, line: str, value: str, refuses) -> None:
    (tmp_path / name).write_text("".join(line.format(label=LABELS[i], i=i) for i in range(20)))
    with refuses(name, f"write a header if the first line is a row ({value} also stands below it)"):
        load(tmp_path / name)


def test_pointers_of_git_lfs(tmp_path: Path, refuses) -> None:
    (tmp_path / "t.csv").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:abc\nsize 123\n")
    with refuses("t.csv", "git lfs pull"):
        load(tmp_path / "t.csv")


def test_a_header_that_numpy_wrote(tmp_path: Path) -> None:
    matrix = np.random.default_rng(0).normal(size=(20, 2))
    rows = np.column_stack([matrix, np.arange(20) % 2])
    np.savetxt(tmp_path / "t.csv", rows, delimiter=",", header="dim_0,dim_1,label")
    data = load(tmp_path / "t.csv")
    assert (data.class_names, data.train.inputs.shape[1]) == (("0", "1"), 2)


def test_unicode_text_of_excel(tmp_path: Path) -> None:
    rows = "".join(f"caf\u00e9 {i}\t{LABELS[i]}\r\n" for i in range(20))
    (tmp_path / "t.csv").write_bytes(("text\tlabel\r\n" + rows).encode("utf-16"))
    assert load(tmp_path / "t.csv").class_names == ("a", "b")


def test_a_name_that_stands_twice(tmp_path: Path, refuses) -> None:
    (tmp_path / "t.csv").write_text("text,label,label\nx,1,2\ny,2,1\n")
    with refuses("t.csv", "'label' twice"):
        read_table(tmp_path / "t.csv")


@pytest.mark.parametrize("header", ["text, label", "Text,Label", " text ,LABEL "])
def test_names_match_with_another_case_and_spaces(tmp_path: Path, header: str) -> None:
    rows = "".join(f"t{i},{LABELS[i]},{'train ' if i < 14 else ' Test'}\n" for i in range(20))
    (tmp_path / "t.csv").write_text(f"{header},split\n{rows}")
    data = load(tmp_path / "t.csv")
    assert (data.class_names, len(data.test)) == (("a", "b"), 6)
    label = header.split(",")[1]
    assert f"The column {label!r} of {tmp_path / 't.csv'} was taken for the label." in data.notices
    named = load(tmp_path / "t.csv", label_column="label", input_column="text")
    assert named.class_names == ("a", "b")


def test_an_exact_name_goes_first(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("text,Label,label\n" + "".join(f"t{i},x,{LABELS[i]}\n" for i in range(20)))
    data = load(tmp_path / "t.csv")
    assert data.class_names == ("a", "b")
    assert not any("taken for" in message for message in data.notices)


def test_row_numbers_without_a_name_are_ignored(tmp_path: Path) -> None:
    frame = pd.DataFrame({"text": WORDS, "label": LABELS})
    frame.to_csv(tmp_path / "t.csv")
    data = load(tmp_path / "t.csv")
    assert "The first column of t.csv has no name and numbers the rows; it was ignored." in data.notices
    frame[["label"]].assign(a=range(20), b=0.5).to_csv(tmp_path / "n.csv")
    assert load(tmp_path / "n.csv").train.inputs.shape[1] == 2
    pd.DataFrame({"": WORDS, "label": LABELS}).to_csv(tmp_path / "texts.csv", index=False)
    assert load(tmp_path / "texts.csv", input_column="Unnamed: 0").kind == "texts", "texts number no rows"


def test_empty_columns_of_a_spreadsheet_are_ignored(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("text,label,,\n" + "".join(f"t{i},{LABELS[i]},,\n" for i in range(20)))
    table = read_table(tmp_path / "t.csv")
    assert table.columns == ["text", "label"]
    assert table.messages == ["t.csv has 2 columns without a name and values, which were ignored."]
