"""From what the user names to labelled data: every format, and every bad input in one sentence that names it."""

import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from made_files import EMBEDDINGS, LABELS, SPLITS, TEXTS, N, load, texts, write
from safetensors.numpy import save_file

from monosemy.data.config import DataConfig
from monosemy.data.dataset import LabelledData, unit_pixels
from monosemy.data.load import load_data
from monosemy.errors import MissingExtraError


def label_of(data: LabelledData, split: str) -> dict[object, str]:
    """Label by input, for texts and embeddings."""
    part = data.splits()[split]
    keys = part.inputs if isinstance(part.inputs, tuple) else [row.tobytes() for row in part.inputs]
    return {key: data.class_names[y] for key, y in zip(keys, part.labels, strict=True)}


# Tables of texts


@pytest.mark.parametrize("name", ["t.csv", "t.tsv", "t.csv.gz", "t.jsonl", "t.jsonl.gz", "t.parquet"])
def test_texts_from_every_table_format(tmp_path: Path, name: str) -> None:
    data = load(write(texts(), tmp_path / name))
    assert (data.name, data.kind, data.notices) == (name, "texts", ())
    assert data.class_names == ("class 0", "class 1", "class 2", "class 3")
    assert label_of(data, "train") == dict(zip(TEXTS[:24], LABELS[:24], strict=True))
    assert label_of(data, "validation") == dict(zip(TEXTS[24:28], LABELS[24:28], strict=True))
    assert label_of(data, "test") == dict(zip(TEXTS[28:], LABELS[28:], strict=True))


def test_without_splits_both_are_made_class_by_class(tmp_path: Path) -> None:
    path = write(texts().drop(columns="split"), tmp_path / "t.csv")
    data = load(path, test_fraction=0.2, validation_fraction=0.25)
    for part, size in (("test", 2), ("validation", 2), ("train", 6)):
        assert np.bincount(data.splits()[part].labels).tolist() == [size] * 4
    together = label_of(data, "train") | label_of(data, "validation") | label_of(data, "test")
    assert together == dict(zip(TEXTS, LABELS, strict=True)), "every row is used once"
    assert data.notices == ("No split column: 8 of 40 rows became the test set, class by class.",)
    assert label_of(load(path, seed=1), "test") != label_of(load(path), "test")
    assert label_of(load(path), "test") == label_of(load(path), "test")


def test_without_validation_rows_train_gives_some(tmp_path: Path) -> None:
    frame = texts(split=["train"] * 28 + ["test"] * 12)
    data = load(write(frame, tmp_path / "t.csv"), validation_fraction=0.3)
    assert (len(data.train), len(data.validation), len(data.test)) == (20, 8, 12)
    assert label_of(data, "train") | label_of(data, "validation") == dict(zip(TEXTS[:28], LABELS[:28], strict=True))


@pytest.mark.parametrize(
    "names", [("training", "dev", "testing"), ("Train", "VAL", "Test"), ("train", "valid", "test")]
)
def test_splits_go_by_many_names(tmp_path: Path, names: tuple[str, str, str]) -> None:
    renamed = dict(zip(("train", "validation", "test"), names, strict=True))
    data = load(write(texts(split=[renamed[s] for s in SPLITS]), tmp_path / "t.csv"))
    assert (len(data.train), len(data.validation), len(data.test)) == (24, 4, 12)


def test_other_splits_are_left_out_with_a_notice(tmp_path: Path) -> None:
    data = load(write(texts(split=["train"] * 20 + ["extra"] * 8 + ["test"] * 12), tmp_path / "t.csv"))
    assert data.notices == ("Left out: rows of the splits 'extra' (8).",)
    assert len(data.train) + len(data.validation) == 20


def test_labels_that_train_does_not_have_are_left_out_with_a_notice(tmp_path: Path) -> None:
    data = load(write(texts(label=[*LABELS[:28], "new", "new", *LABELS[30:]]), tmp_path / "t.csv"))
    assert data.notices == ("Left out: 2 test rows whose label does not occur in train.",)
    assert len(data.test) == 10
    assert "new" not in data.class_names


def test_number_labels_stand_in_the_order_of_their_values(tmp_path: Path) -> None:
    numbers = [str([10, 9, 2, -1][i % 4]) for i in range(N)]
    assert load(write(texts(label=numbers), tmp_path / "t.csv")).class_names == ("2", "9", "10", "-1")


def test_columns_by_name(tmp_path: Path) -> None:
    frame = texts().rename(columns={"text": "query", "label": "topic", "split": "part"})
    path = write(frame, tmp_path / "t.csv")
    data = load(path, input_column="query", label_column="topic", split_column="part")
    assert label_of(data, "train") == dict(zip(TEXTS[:24], LABELS[:24], strict=True))


def test_noisy_labels_follow_their_rows(tmp_path: Path) -> None:
    noisy = ["class 0", *LABELS[1:]]
    noisy[1] = "class 3"
    path = write(texts(noisy=noisy, split=["train"] * 28 + ["test"] * 12), tmp_path / "t.csv")
    data = load(path, noisy_label_column="noisy")
    assert data.noisy_labels is not None
    for part, given in zip((data.train, data.validation), data.noisy_labels, strict=True):
        wanted = [noisy[TEXTS.index(str(text))] for text in part.inputs]
        assert [data.class_names[y] for y in given] == wanted


# Embeddings


def embedding_file(folder: Path, name: str) -> tuple[Path, dict]:
    """A file of embeddings with splits, and the options that it needs."""
    path = folder / name.removeprefix("parts-")
    parts = {
        f"{letter}_{part}": values[[s == ("validation" if part == "val" else part) for s in SPLITS]]
        for part in ("train", "val", "test")
        for letter, values in (("X", EMBEDDINGS), ("y", np.array([int(label[-1]) for label in LABELS])))
    }
    if name == "parts-a.npz":
        np.savez(path, **parts)
    elif name == "parts-a.safetensors":
        save_file(parts, path)
    elif name.endswith(".npz"):
        np.savez(path, embeddings=EMBEDDINGS, labels=np.array([label[-1] for label in LABELS]), split=np.array(SPLITS))
    else:
        frame = pd.DataFrame({"embedding": list(EMBEDDINGS), "label": [label[-1] for label in LABELS], "split": SPLITS})
        write(frame, path)
    return path, {}


@pytest.mark.parametrize("name", ["a.npz", "parts-a.npz", "parts-a.safetensors", "a.parquet"])
def test_embeddings_with_splits(tmp_path: Path, name: str) -> None:
    path, options = embedding_file(tmp_path, name)
    data = load(path, **options)
    assert (data.kind, data.class_names, data.notices) == ("embeddings", ("0", "1", "2", "3"), ())
    rows = [row.tobytes() for row in EMBEDDINGS]
    for part in ("train", "validation", "test"):
        wanted = {row: label[-1] for row, label, s in zip(rows, LABELS, SPLITS, strict=True) if s == part}
        assert label_of(data, part) == wanted


def test_embeddings_in_json_lines(tmp_path: Path) -> None:
    frame = pd.DataFrame({"embedding": EMBEDDINGS.tolist(), "label": LABELS, "split": SPLITS})
    data = load(write(frame, tmp_path / "a.jsonl"))
    np.testing.assert_allclose(data.test.inputs, EMBEDDINGS[28:], atol=1e-6)
    assert [data.class_names[y] for y in data.test.labels] == LABELS[28:]


@pytest.mark.parametrize("labels", ["l.npy", "l.csv"])
@pytest.mark.parametrize("embeddings", ["a.npy", "a.safetensors"])
def test_embeddings_with_a_file_of_labels(tmp_path: Path, labels: str, embeddings: str) -> None:
    if embeddings == "a.npy":
        np.save(tmp_path / embeddings, EMBEDDINGS.astype(np.float64))
    else:
        save_file({"X": EMBEDDINGS}, tmp_path / embeddings)
    if labels == "l.npy":
        np.save(tmp_path / labels, np.array(LABELS))
    else:
        pd.DataFrame({"anything": LABELS}).to_csv(tmp_path / labels, index=False)
    data = load(tmp_path / embeddings, labels=tmp_path / labels)
    together = label_of(data, "train") | label_of(data, "validation") | label_of(data, "test")
    assert together == {row.tobytes(): label for row, label in zip(EMBEDDINGS, LABELS, strict=True)}
    assert data.train.inputs.dtype == np.float32


# Images


@pytest.fixture
def image_rows(png) -> pd.DataFrame:
    """Hugging Face's layout; the red value is the row."""
    return pd.DataFrame(
        {"img": [{"bytes": png((i, 0, 255)), "path": None} for i in range(N)], "fine_label": [i % 4 for i in range(N)]}
        | {"split": SPLITS}
    )


def test_images_from_parquet_in_hugging_faces_layout(tmp_path: Path, image_rows: pd.DataFrame) -> None:
    data = load(write(image_rows, tmp_path / "a.parquet"))
    assert (data.kind, data.class_names) == ("images", ("0", "1", "2", "3"))
    assert data.test.inputs.shape == (12, 3, 8, 8)
    assert data.test.inputs.dtype == np.uint8
    red = data.test.inputs[:, 0, 4, 4]
    assert red.tolist() == list(range(28, 40))
    assert data.test.labels.tolist() == [i % 4 for i in red]
    assert load(tmp_path / "a.parquet", image_size=16).test.inputs.shape == (12, 3, 16, 16)


def image_folder(root: Path, png, splits: bool) -> Path:
    for i in range(N):
        folder = root / SPLITS[i].replace("validation", "val") / LABELS[i] if splits else root / LABELS[i]
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{i}.{'PNG' if i % 2 else 'bmp'}").write_bytes(png((i, 0, 0), kind="PNG" if i % 2 else "BMP"))
    (root / "notes.txt").write_text("not an image")
    return root


@pytest.mark.parametrize("splits", [True, False])
def test_class_folders_with_and_without_split_folders(tmp_path: Path, png, splits: bool) -> None:
    data = load(image_folder(tmp_path / "pets", png, splits))
    assert (data.name, data.kind) == ("pets", "images")
    assert data.class_names == ("class 0", "class 1", "class 2", "class 3")
    seen = []
    for part in data.splits().values():
        assert part.inputs.dtype == np.uint8
        red = part.inputs[:, 0, 0, 0]
        assert part.labels.tolist() == [i % 4 for i in red]
        seen += red.tolist()
    assert sorted(seen) == list(range(N))
    if splits:
        assert (len(data.train), len(data.validation), len(data.test)) == (24, 4, 12)
    else:
        assert "No split column" in " ".join(data.notices)


def test_the_package_brings_its_own_data() -> None:
    data = load_data(DataConfig(validation_fraction=0.1))
    assert (data.name, data.n_classes, len(data.validation)) == ("digit-pairs", 100, 1000)


# Bad sources


@pytest.mark.parametrize(
    "name", ["no.csv", "no.jsonl", "no.jsonl.gz", "no.parquet", "no.npz", "no.npy", "no.safetensors"]
)
def test_missing_files(tmp_path: Path, refuses, name: str) -> None:
    with refuses(f"{tmp_path / name} does not exist"):
        load(tmp_path / name)


def test_neither_file_nor_known_ending(tmp_path: Path, refuses, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "t.xyz").write_bytes(b"x")
    with refuses(tmp_path / "t.xyz", ".parquet", ".npz"):
        load(tmp_path / "t.xyz")
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(MissingExtraError, match=r"some/name.*pip install 'monosemy\[hub\]'"):
        load("some/name")


def test_unknown_columns(tmp_path: Path, refuses) -> None:
    path = write(texts(), tmp_path / "t.csv")
    for option in ("input_column", "label_column", "split_column", "noisy_label_column"):
        with refuses(path, "'colour'", "'text', 'label', 'split'"):
            load(path, **{option: "colour"})
    path = write(texts().rename(columns={"text": "query"}), tmp_path / "q.csv")
    with refuses(path, "'query', 'label', 'split'", "--input-column"):
        load(path)
    path = write(texts().rename(columns={"label": "topic"}), tmp_path / "l.csv")
    with refuses(path, "'text', 'topic', 'split'", "--label-column"):
        load(path)


def test_one_class_only(tmp_path: Path, refuses) -> None:
    with refuses("t.csv has the one class 'same' in train"):
        load(write(texts(label=["same"] * N), tmp_path / "t.csv"))


def test_a_missing_train_split(tmp_path: Path, refuses) -> None:
    splits = ["odd" if s == "train" else s for s in SPLITS]
    with refuses("t.csv has no train rows", "odd"):
        load(write(texts(split=splits), tmp_path / "t.csv"))


def test_a_missing_test_split_is_split_off_train_and_said(tmp_path: Path) -> None:
    splits = ["odd" if s == "test" else s for s in SPLITS]
    data = load(write(texts(split=splits), tmp_path / "t.csv"))
    n_train = splits.count("train")
    assert any(f"of {n_train} train rows became it" in notice for notice in data.notices)
    assert 0 < len(data.test) < n_train / 2
    assert not set(data.test.inputs) & {*data.train.inputs, *data.validation.inputs}


def test_whole_numbers_stored_as_floats_are_the_same_labels(tmp_path: Path) -> None:
    x = np.random.default_rng(0).standard_normal((40, 3)).astype(np.float32)
    y = np.arange(40) % 2
    np.savez(tmp_path / "t.npz", X_train=x, y_train=y.astype(np.float64), X_test=x, y_test=y)
    assert load(tmp_path / "t.npz").class_names == ("0", "1")


def test_a_test_split_of_unknown_labels(tmp_path: Path, refuses) -> None:
    with refuses("test split of t.csv is empty"):
        load(write(texts(label=[*LABELS[:28], *["new"] * 12]), tmp_path / "t.csv"))


@pytest.mark.parametrize("name", ["t.csv", "t.jsonl", "t.parquet"])
def test_rows_without_a_label(tmp_path: Path, refuses, name: str) -> None:
    path = write(texts(label=[None, None, *LABELS[2:]]), tmp_path / name)
    with refuses(path, "2 of 40 rows", "2 without a label (row 0, row 1)", "--on-bad-row skip"):
        load(path)


@pytest.mark.parametrize("name", ["t.csv", "t.jsonl", "t.parquet"])
def test_rows_without_a_text(tmp_path: Path, refuses, name: str) -> None:
    path = write(texts(text=[None, " ", *TEXTS[2:]]), tmp_path / name)
    with refuses(path, "2 of 40 rows", "2 with an empty text (row 0, row 1)"):
        load(path)


def test_unknown_noisy_labels(tmp_path: Path, refuses) -> None:
    path = write(texts(noisy=["klass 7", *LABELS[1:]]), tmp_path / "t.csv")
    with refuses("t.csv", "'klass 7'"):
        load(path, noisy_label_column="noisy")


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("name", ["a.npz", "a.parquet"])
def test_embeddings_that_are_not_finite(tmp_path: Path, refuses, name: str, value: float) -> None:
    bad = EMBEDDINGS.copy()
    bad[3, 1] = value
    if name == "a.npz":
        np.savez(tmp_path / name, embeddings=bad, labels=LABELS, split=SPLITS)
    else:
        write(pd.DataFrame({"embedding": list(bad), "label": LABELS, "split": SPLITS}), tmp_path / name)
    with refuses(f"{name} has 1 of 40 rows", "1 with NaN or infinity (row 3)"):
        load(tmp_path / name)


def test_array_files_that_lack_or_mismatch_something(tmp_path: Path, refuses) -> None:
    path = tmp_path / "a.npz"
    for arrays, named in (
        ({"embeddings": EMBEDDINGS}, ["'labels'"]),
        ({"vectors": EMBEDDINGS, "labels": LABELS}, ["embeddings", "'vectors', 'labels'"]),
        ({"embeddings": EMBEDDINGS, "labels": LABELS[:39]}, ["40 embeddings", "39 labels"]),
        ({"X_train": EMBEDDINGS, "X_test": EMBEDDINGS, "y_train": LABELS}, ["'y_test'"]),
        ({"X_train": EMBEDDINGS, "y_train": LABELS, "X_test": EMBEDDINGS, "y_test": LABELS[1:]}, ["39 labels"]),
        ({"embeddings": EMBEDDINGS[:, 0], "labels": LABELS}, ["(40,)"]),
        ({"embeddings": EMBEDDINGS[:, None], "labels": LABELS}, ["(40, 1, 3)"]),
        ({"embeddings": EMBEDDINGS.astype(str), "labels": LABELS}, ["<U"]),
    ):
        np.savez(path, **arrays)
        with refuses(path, *named):
            load(path)


def test_label_files_that_are_missing_or_too_short(tmp_path: Path, refuses) -> None:
    np.save(tmp_path / "a.npy", EMBEDDINGS)
    np.save(tmp_path / "l.npy", np.array(LABELS[:7]))
    with refuses(tmp_path / "a.npy", "--labels"):
        load(tmp_path / "a.npy")
    with refuses("40 embeddings", "7 labels"):
        load(tmp_path / "a.npy", labels=tmp_path / "l.npy")
    with refuses(tmp_path / "none.npy"):
        load(tmp_path / "a.npy", labels=tmp_path / "none.npy")


def test_bad_image_folders(tmp_path: Path, png, refuses) -> None:
    with refuses(f"folder {tmp_path} holds no images"):
        load(tmp_path)
    image_folder(tmp_path, png, splits=False)
    (tmp_path / "class 1" / "1.PNG").write_bytes(b"broken")
    with refuses("class 1/1.PNG", tmp_path):
        load(tmp_path)
    (tmp_path / "stray.png").write_bytes(png((1, 1, 1)))
    with refuses(tmp_path, "1 without a label (Image stray.png"):
        load(tmp_path)


def test_unreadable_images_in_a_table(tmp_path: Path, image_rows: pd.DataFrame, refuses) -> None:
    image_rows.at[5, "img"] = {"bytes": b"broken", "path": None}
    path = write(image_rows, tmp_path / "a.parquet")
    with refuses("Image 5", path):
        load(path)


# Real files


@pytest.mark.shared_data
def test_clinc150(shared_data: Path) -> None:
    data = load(shared_data / "clinc150.parquet")
    assert (data.kind, data.n_classes) == ("texts", 150)
    assert (len(data.train), len(data.validation), len(data.test)) == (15_000, 3_000, 4_500)
    assert "oos" not in data.class_names
    assert data.notices[0] == "Left out: rows of the splits 'oos-test' (1000), 'oos-train' (100), 'oos-val' (100)."
    assert data.report.copies["across"]["test in train"]["equal"] == 2
    assert any("test rows are copies of train rows (2 equal, " in notice for notice in data.notices)
    for split, count in (("oos-train", 100), ("oos-val", 100), ("oos-test", 1000)):
        assert f"'{split}' ({count})" in data.notices[0]
    assert set(np.bincount(data.test.labels)) == {30}


@pytest.mark.shared_data
def test_a_slice_of_cifar100(shared_data: Path, tmp_path: Path) -> None:
    rows = pd.read_parquet(shared_data / "cifar100_test.parquet").iloc[:2000]
    data = load(write(rows, tmp_path / "slice.parquet"))
    assert (data.kind, data.n_classes) == ("images", 100)
    assert data.test.inputs.shape[1:] == (3, 32, 32)
    pixels = unit_pixels(np.concatenate([part.inputs for part in data.splits().values()]))
    # The published statistics of the train set, within what 2,000 test images allow.
    np.testing.assert_allclose(pixels.mean(axis=(0, 2, 3)), [0.5071, 0.4865, 0.4409], atol=0.02)
    np.testing.assert_allclose(pixels.std(axis=(0, 2, 3)), [0.2673, 0.2564, 0.2762], atol=0.02)


@pytest.mark.shared_data
def test_human_label_noise_as_noisy_labels(shared_data: Path, tmp_path: Path) -> None:
    table = pd.read_parquet(shared_data / "cifar100n_labels.parquet")
    frame = pd.DataFrame(
        {
            "embedding": [[float(i), 1.0] for i in range(len(table))],
            "label": table["clean_label"],
            "noisy": table["noisy_label"],
            "split": np.where(np.arange(len(table)) % 5 == 0, "test", "train"),
        }
    )
    data = load(write(frame, tmp_path / "n.parquet"), noisy_label_column="noisy")
    assert data.noisy_labels is not None
    assert (data.noisy_labels[0] != data.train.labels).mean() == pytest.approx(0.4020, abs=0.01)


@pytest.mark.shared_data
def test_a_domain_as_a_shifted_set(shared_data: Path, tmp_path: Path) -> None:
    table = pd.read_json(shared_data / "blitzer_sentiment.jsonl.gz", lines=True)
    domains = {name: rows.drop(columns="domain") for name, rows in table.groupby("domain")}
    assert "airline" in domains
    source = next(name for name in domains if name != "airline")
    data = load(
        write(domains[source].drop(columns="split"), tmp_path / "source.parquet"),
        shifts={"airline": str(write(domains["airline"].drop(columns="split"), tmp_path / "airline.jsonl.gz"))},
    )
    assert data.n_classes == 2
    assert len(data.shifts["airline"]) == len(domains["airline"])
