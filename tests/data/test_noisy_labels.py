"""Real noisy labels from a file of their own: matched by index or by order, given as names or as integers."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from made_files import LABELS, N, image_parquet, load, noise_images, texts, write

NOISY = [LABELS[(i + (i % 3 == 0)) % N] for i in range(N)]


def found(data) -> dict[str, str]:
    """Given label by text, of train and validation."""
    assert data.noisy_labels is not None
    parts = zip((data.train, data.validation), data.noisy_labels, strict=True)
    return {
        str(text): data.class_names[y] for split, given in parts for text, y in zip(split.inputs, given, strict=True)
    }


def test_by_order_before_anything_is_split_off(tmp_path: Path) -> None:
    frame = texts().drop(columns="split")
    given = write(pd.DataFrame({"noisy_label": NOISY}), tmp_path / "g.csv")
    data = load(write(frame, tmp_path / "t.csv"), noisy_labels=given)
    wanted = dict(zip(frame["text"], NOISY, strict=True))
    assert found(data) == {text: wanted[text] for text in found(data)}
    assert len(found(data)) == N - len(data.test)
    np.save(tmp_path / "g.npy", np.array(NOISY))
    assert found(load(tmp_path / "t.csv", noisy_labels=tmp_path / "g.npy")) == found(data)


def test_train_rows_only_where_the_source_has_a_test_split(tmp_path: Path) -> None:
    in_train = np.arange(N) % 5 > 0
    frame = texts(split=np.where(in_train, "train", "test"))
    given = write(pd.DataFrame({"noisy_label": np.array(NOISY)[in_train]}), tmp_path / "g.csv")
    data = load(write(frame, tmp_path / "t.csv"), noisy_labels=given)
    assert found(data) == dict(zip(frame["text"][in_train], np.array(NOISY)[in_train], strict=True))


def test_by_index_in_any_order(tmp_path: Path) -> None:
    frame = texts(split=["train"] * 28 + ["test"] * 12)
    shuffled = pd.DataFrame({"index": range(28), "x": NOISY[:28]}).sample(frac=1, random_state=0)
    given = write(shuffled, tmp_path / "g.parquet")
    path = write(frame, tmp_path / "t.csv")
    wanted = dict(zip(frame["text"][:28], NOISY[:28], strict=True))
    assert found(load(path, noisy_labels=given)) == wanted, "places in train where the source has no index"
    numbered = frame.assign(index=[*range(28), *range(12)]).sample(frac=1, random_state=1)
    path = write(numbered, tmp_path / "n.parquet")
    assert found(load(path, noisy_labels=given)) == wanted, "the source's own index, whose test rows count from 0 too"


def test_columns(tmp_path: Path, refuses) -> None:
    path = write(texts().drop(columns="split"), tmp_path / "t.csv")
    given = write(pd.DataFrame({"worker": ["w"] * N, "first": NOISY, "second": LABELS}), tmp_path / "g.csv")
    assert found(load(path, noisy_labels=given, noisy_label_column="first")) != found(
        load(path, noisy_labels=given, noisy_label_column="second")
    )
    with refuses(given, "noisy label", "'worker', 'first', 'second'", "--noisy-label-column"):
        load(path, noisy_labels=given)
    with refuses(given, "'third'"):
        load(path, noisy_labels=given, noisy_label_column="third")


@pytest.mark.parametrize("named", [True, False])
def test_integers_index_the_classes_of_the_metadata(tmp_path: Path, named: bool) -> None:
    names = ["pear", "apple", "fig"]
    path = image_parquet(tmp_path / "a.parquet", noise_images(30), [i % 3 for i in range(30)], names if named else None)
    write(pd.DataFrame({"noisy_label": [(i // 3) % 3 for i in range(30)]}), tmp_path / "g.parquet")
    data = load(path, noisy_labels=tmp_path / "g.parquet")
    assert data.class_names == (("pear", "apple", "fig") if named else ("0", "1", "2"))
    known = {image.tobytes(): (i // 3) % 3 for i, image in enumerate(noise_images(30).transpose(0, 3, 1, 2))}
    assert data.noisy_labels is not None
    for split, given in zip((data.train, data.validation), data.noisy_labels, strict=True):
        assert given.tolist() == [known[image.tobytes()] for image in split.inputs]


def test_bad_files(tmp_path: Path, refuses) -> None:
    path = write(texts(split=["train"] * 28 + ["test"] * 12), tmp_path / "t.csv")

    def refused(frame: dict, *named: object) -> None:
        with refuses(*named):
            load(path, noisy_labels=write(pd.DataFrame(frame), tmp_path / "g.parquet"))

    refused({"noisy_label": NOISY}, "g.parquet", "40 labels for 28 train rows", "'index'")
    refused({"noisy_label": NOISY[:28], "index": [0] * 28}, "g.parquet", "twice", "'index'")
    refused({"noisy_label": NOISY[:28], "index": range(5, 33)}, "g.parquet", "no label for 5 train rows", "index 0")
    refused({"noisy_label": ["klass 7", *NOISY[1:28]]}, "'klass 7'", "t.csv")
    refused({"noisy_label": [None, *NOISY[1:28]]}, "1 without a noisy label (row 0)", "t.csv")
    with refuses(tmp_path / "none.csv"):
        load(path, noisy_labels=tmp_path / "none.csv")
    doubled = write(texts(split=["train"] * 28 + ["test"] * 12, index=[0] * N), tmp_path / "d.parquet")
    good = write(pd.DataFrame({"noisy_label": NOISY[:28], "index": range(28)}), tmp_path / "h.parquet")
    with refuses("The data", "twice", "'index'"):
        load(doubled, noisy_labels=good)
