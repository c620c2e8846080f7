"""Labels in files of their own, with and without a header, blank lines and row numbers; keys that join noisy labels."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from made_files import load
from safetensors.numpy import save_file

from monosemy.data.codes import load_codes
from monosemy.data.config import DataConfig
from monosemy.data.labels import read_labels

RNG = np.random.default_rng(0)
Y = RNG.integers(0, 3, 60)
NAMES = [f"c{value}" for value in Y]
X = (RNG.normal(size=(3, 6))[Y] * 3 + RNG.normal(size=(60, 6))).astype(np.float32)


def labels_of(data) -> list[str]:
    """Labels of all rows, in the order of the rows."""
    place = {row.tobytes(): i for i, row in enumerate(X)}
    found = [""] * len(X)
    for part in data.splits().values():
        for row, label in zip(part.inputs, part.labels, strict=True):
            found[place[row.tobytes()]] = data.class_names[label]
    return found


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    np.save(tmp_path / "x.npy", X)
    return tmp_path / "x.npy"


LINES = "".join(f"{name}\n" for name in NAMES)


@pytest.mark.parametrize("ending", [".csv", ".txt", ".tsv"])
@pytest.mark.parametrize(
    ("text", "said"),
    [
        (LINES, "has no header; its first line was read as a label"),
        (LINES.rstrip("\n"), "has no header"),
        (LINES + "\n\n", "has no header"),
        ("\ufeff" + LINES, "has no header"),
        (LINES.replace("\n", "\r\n"), "has no header"),
        ("label\n" + LINES, None),
        ("Label\n" + LINES, None),
        ("species\n" + LINES, "The first line of labels{}, 'species', was read as its header"),
        (LINES.replace("\n", "\n\n", 3), "3 blank lines of labels{} were left out"),
        ("label\n\n" + LINES, "1 blank lines"),
        ("".join(f'"{name}"\n' for name in NAMES), "has no header"),
    ],
)
def test_one_label_a_line(rows: Path, ending: str, text: str, said: str | None) -> None:
    path = rows.with_name("labels" + ending)
    path.write_text(text, encoding="utf-8", newline="")
    data = load(rows, labels=path)
    assert labels_of(data) == NAMES
    about = [message for message in data.notices if path.name in message]
    assert not about if said is None else any(said.format(ending) in message for message in about)
    assert load_codes(DataConfig(source=str(rows), labels=path)).labels is not None


@pytest.mark.parametrize("form", ["%.18e", "%d", "%.1f"])
def test_numbers_that_numpy_wrote(rows: Path, form: str) -> None:
    np.savetxt(rows.with_name("y.csv"), Y, fmt=form)
    data = load(rows, labels=rows.with_name("y.csv"))
    assert data.class_names == ("0", "1", "2")
    assert labels_of(data) == [str(value) for value in Y]


def test_the_number_of_rows_shows_missing_labels(rows: Path, refuses) -> None:
    lines = NAMES.copy()
    lines[5] = lines[7] = ""
    rows.with_name("y.txt").write_text("\n".join(lines) + "\n")
    with refuses("2 of 60 rows", "row 5", "row 7"):
        load(rows, labels=rows.with_name("y.txt"))
    assert sum(map(len, load(rows, labels=rows.with_name("y.txt"), on_bad_row="skip").splits().values())) == 58


def test_a_wrong_number_of_labels(rows: Path, refuses) -> None:
    rows.with_name("y.csv").write_text(LINES[3:-3])
    with refuses("60 embeddings", "y.csv has 58 labels"):
        load(rows, labels=rows.with_name("y.csv"))


@pytest.mark.parametrize(
    ("text", "n_rows", "labels"),
    [
        ("y\nn\ny\n", None, ["y", "n", "y"]),
        ("y\nn\nn\n", 3, ["n", "n"]),
        ("topic\nart\nart\nmusic\nmusic\n", None, ["art", "art", "music", "music"]),
        ("1\n2\n3\n", None, ["1", "2", "3"]),
        ("1\n2\n3\n", 2, ["2", "3"]),
        ("a\nb\nc\n", 3, ["a", "b", "c"]),
        ("cat\n", None, ["cat"]),
        ("cat\n", 1, ["cat"]),
    ],
)
def test_what_the_first_line_is(tmp_path: Path, text: str, n_rows: int | None, labels: list[str]) -> None:
    (tmp_path / "y.csv").write_text(text)
    assert read_labels(tmp_path / "y.csv", n_rows=n_rows) == labels


def test_two_columns_without_a_header(rows: Path) -> None:
    rows.with_name("y.csv").write_text("".join(f"{i},{name}\n" for i, name in enumerate(NAMES)))
    assert labels_of(load(rows, labels=rows.with_name("y.csv"))) == NAMES


@pytest.mark.parametrize("name", ["y.npy", "y.npz", "y.safetensors", "y.pt", "y.parquet", "y.jsonl", "y.csv"])
def test_every_format_of_labels(rows: Path, name: str) -> None:
    path = rows.with_name(name)
    if name == "y.npy":
        np.save(path, Y[:, None])
    elif name == "y.npz":
        np.savez(path, other=X, labels=Y)
    elif name == "y.safetensors":
        save_file({"y": Y}, path)
    elif name == "y.pt":
        torch.save(torch.from_numpy(Y), path)
    elif name == "y.parquet":
        pd.DataFrame({"id": range(60), "label": Y.astype(float)}).to_parquet(path)
    elif name == "y.jsonl":
        pd.DataFrame({"label": Y}).to_json(path, orient="records", lines=True)
    else:
        pd.DataFrame({"label": Y.astype(float)}).to_csv(path)
    assert labels_of(load(rows, labels=path)) == [str(value) for value in Y]


@pytest.mark.parametrize("name", ["y.csv", "y.parquet"])
def test_labels_in_another_order_are_sorted(rows: Path, name: str) -> None:
    shuffled = pd.DataFrame({"label": NAMES}).sample(frac=1, random_state=1)
    path = rows.with_name(name)
    for frame, index in ((shuffled, True), (shuffled.reset_index(), False)):
        frame.to_csv(path, index=index) if name == "y.csv" else frame.to_parquet(path, index=index)
        data = load(rows, labels=path)
        assert labels_of(data) == NAMES
        assert any("sorted by the row numbers" in message for message in data.notices)


def test_keys_that_are_no_positions(rows: Path, refuses) -> None:
    frame = pd.DataFrame({"index": range(60, 0, -1), "label": NAMES})
    frame["index"] = frame["index"] * 2
    frame.to_csv(rows.with_name("y.csv"), index=False)
    with refuses("y.csv", "'index'", "positions"):
        load(rows, labels=rows.with_name("y.csv"))


def test_labels_of_a_table_replace_its_own(tmp_path: Path) -> None:
    pd.DataFrame(X, columns=[f"dim_{i}" for i in range(6)]).to_csv(tmp_path / "x.csv", index=False)
    (tmp_path / "y.txt").write_text(LINES)
    assert load(tmp_path / "x.csv", labels=tmp_path / "y.txt").class_names == ("c0", "c1", "c2")
    pd.DataFrame(X, columns=[f"dim_{i}" for i in range(6)]).assign(label="x").to_csv(tmp_path / "x.csv", index=False)
    assert load(tmp_path / "x.csv", labels=tmp_path / "y.txt").class_names == ("c0", "c1", "c2")


def test_labels_of_bytes(tmp_path: Path) -> None:
    kinds = np.array([b"cat", b"dog", b"cow"])
    np.savez(tmp_path / "x.npz", embeddings=X, labels=kinds[Y])
    assert load(tmp_path / "x.npz").class_names == ("cat", "cow", "dog")
    np.savez(tmp_path / "parts.npz", X_train=X[:40], y_train=kinds[Y[:40]], X_test=X[40:], y_test=kinds[Y[40:]])
    assert load(tmp_path / "parts.npz").class_names == ("cat", "cow", "dog")
    np.save(tmp_path / "y.npy", kinds[Y])
    assert read_labels(tmp_path / "y.npy")[:2] == [kinds[Y[0]].decode(), kinds[Y[1]].decode()]
    assert load_codes(DataConfig(source=str(tmp_path / "x.npz"))).class_names == ("cat", "cow", "dog")


# Keys of noisy labels

TRAIN = 75
CLASSES = [f"c{value}" for value in RNG.integers(0, 3, 90)]
SPLITS = ["train"] * 60 + ["validation"] * 15 + ["test"] * 15
ORDER = RNG.permutation(TRAIN)
FORMATS = ["noisy.csv", "noisy.tsv", "noisy.parquet", "noisy.jsonl"]


def store(frame: pd.DataFrame, path: Path) -> Path:
    if path.suffix == ".parquet":
        frame.to_parquet(path, index=False)
    elif path.suffix == ".jsonl":
        frame.to_json(path, orient="records", lines=True)
    else:
        frame.to_csv(path, index=False, sep="\t" if path.suffix == ".tsv" else ",")
    return path


def noise_rate(folder: Path, noisy: Path, keys=None, name: str = "data.parquet") -> float:
    frame = pd.DataFrame({"text": [f"sentence {i}" for i in range(90)], "label": CLASSES, "split": SPLITS})
    if keys is not None:
        frame["index"] = keys
    data = load(store(frame, folder / name), noisy_labels=noisy)
    assert data.noisy_labels is not None
    return float(np.mean(data.noisy_labels[0] != data.train.labels))


def noisy_frame(keys) -> pd.DataFrame:
    return pd.DataFrame({"index": keys, "noisy_label": [CLASSES[i] for i in ORDER]})


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("data", ["data.parquet", "data.csv"])
@pytest.mark.parametrize(
    "key",
    [
        lambda i: i,
        lambda i: 1000 + 7 * i,
        lambda i: float(i),
        lambda i: f"doc-{i}",
        lambda i: f"{i:04d}",
        lambda i: f"9{i:020d}",
    ],
    ids=["positions", "numbers", "floats", "texts", "padded", "longer than 64 bits"],
)
def test_keys_join_whatever_their_type_and_format(tmp_path: Path, name: str, data: str, key) -> None:
    noisy = store(noisy_frame([key(i) for i in ORDER]), tmp_path / name)
    assert noise_rate(tmp_path, noisy, [key(i) for i in range(90)], data) == 0


@pytest.mark.parametrize("name", FORMATS)
def test_positions_join_where_the_data_has_no_keys(tmp_path: Path, name: str) -> None:
    assert noise_rate(tmp_path, store(noisy_frame(ORDER), tmp_path / name)) == 0


@pytest.mark.parametrize("name", FORMATS)
def test_keys_that_do_not_match_are_refused(tmp_path: Path, name: str, refuses) -> None:
    noisy = store(noisy_frame([f"doc-{i}" for i in ORDER]), tmp_path / name)
    with refuses(noisy, "no label for 75 train rows", "index 0", "'doc-", "has no column 'index'"):
        noise_rate(tmp_path, noisy)
    with refuses(noisy, "no label for 75 train rows", "index 0"):
        noise_rate(tmp_path, noisy, range(90))
    twice = store(noisy_frame([*range(74), 73]), tmp_path / name)
    with refuses(twice, "'73' twice in the column 'index'"):
        noise_rate(tmp_path, twice)


@pytest.mark.parametrize("name", ["noisy.csv", "noisy.parquet"])
def test_the_row_numbers_that_pandas_stores(tmp_path: Path, name: str) -> None:
    frame = pd.DataFrame({"noisy_label": CLASSES[:TRAIN]}).sample(frac=1, random_state=0)
    path = tmp_path / name
    frame.to_csv(path) if name == "noisy.csv" else frame.to_parquet(path)
    assert noise_rate(tmp_path, path) == 0


def test_other_keys_are_said(tmp_path: Path) -> None:
    frame = pd.DataFrame({"id": range(TRAIN), "noisy_label": CLASSES[:TRAIN]})
    pd.DataFrame({"text": ["t"] * 90, "label": CLASSES, "split": SPLITS}).to_csv(tmp_path / "t.csv", index=False)
    frame.to_csv(tmp_path / "noisy.csv", index=False)
    data = load(tmp_path / "t.csv", noisy_labels=tmp_path / "noisy.csv")
    assert any("matched by order, not by its column 'id'" in message for message in data.notices)
