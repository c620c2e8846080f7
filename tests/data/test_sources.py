"""The classification of sources, usual names, lines of text, and the policy for missing values."""

from pathlib import Path

import numpy as np
import pytest

from monosemy.data.load import read_texts
from monosemy.data.sources import Source, check_missing, choose_column, classify, read_lines
from monosemy.errors import InputError


def touch(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"x")


@pytest.mark.parametrize(
    ("files", "kind", "names"),
    [
        (["b.parquet", "a.parquet", ".c.parquet", "rows.npy"], "table", ["a.parquet", "b.parquet"]),
        (["data/a.parquet", "data_batch_1"], "table", ["a.parquet"]),
        (["data_batch_1", "x.npy"], "cifar", None),
        (["train.bin"], "cifar", None),
        (["b.safetensors", "a.safetensors", "c.npy"], "array", ["a.safetensors", "b.safetensors"]),
        (["x.npz"], "array", ["x.npz"]),
        (["dataset_info.json", "state.json", "a.parquet"], "dataset", None),
        (["cat/1.png"], "images", None),
        ([], "images", None),
    ],
)
def test_folders(tmp_path: Path, files: list[str], kind: str, names: list[str] | None) -> None:
    touch(tmp_path, *files)
    source = classify(tmp_path)
    assert (source.kind, source.is_folder) == (kind, True)
    assert [path.name for path in source.paths] == (names or [tmp_path.name])


def test_files_patterns_and_names(tmp_path: Path) -> None:
    touch(tmp_path, "a.CSV", "b.csv.gz", "c.npy", "d.txt", "e.xls", "[x].csv")
    for name, kind in (("a.CSV", "table"), ("b.csv.gz", "table"), ("c.npy", "array"), ("d.txt", "text")):
        source = Source(str(tmp_path / name), kind, (tmp_path / name,))  # type: ignore[arg-type]
        assert classify(tmp_path / name) == classify(str(tmp_path / name)) == source
    assert classify(tmp_path / "[x].csv").paths == (tmp_path / "[x].csv",)
    assert [path.name for path in classify(tmp_path / "*.csv*").paths] == ["[x].csv", "b.csv.gz"]
    assert classify("digit-pairs").kind == "digit pairs"
    assert classify("owner/name").kind == "hub"
    for name, message in (
        ("none.csv", "none.csv does not exist"),
        ("*.none", "No file matches"),
        ("e.xls", "none of the known endings .parquet"),
        ("[cd].*", r"c.npy and .*d.txt, which cannot be read together"),
        ("e.*", "e.xls, which cannot be read together"),
    ):
        with pytest.raises(InputError, match=message):
            classify(tmp_path / name)
    assert str(classify("owner/name").unsupported("a table")) == (
        "owner/name is the name of a Hugging Face data set; give a table."
    )


def test_usual_names() -> None:
    assert choose_column(["features", "activations", "embeddings"], "embedding", None, "x.npz") == "embeddings"
    assert choose_column(["features", "activations"], "embedding", None, "x.npz") == "activations"
    assert choose_column(["a", "y"], "label", "a", "x.csv") == "a"
    assert choose_column(["a"], "label", None, "x.csv", or_only=True) == "a"
    with pytest.raises(
        InputError, match=r"x.csv has no column for the label .* its columns are 'a'; .* --label-column"
    ):
        choose_column(["a"], "label", None, "x.csv")
    with pytest.raises(InputError, match=r"x.npz has no array 'b' for the embedding; its arrays are 'a'"):
        choose_column(["a"], "embedding", "b", "x.npz", noun="array")


def test_lines(tmp_path: Path) -> None:
    path = tmp_path / "prompts.txt"
    path.write_text("one\n\n  two \n")
    assert read_lines(path, "list of prompts") == read_texts(str(path)) == ("one", "two")
    path.write_text("\n")
    with pytest.raises(InputError, match=r"list of prompts .*prompts.txt is empty"):
        read_lines(path, "list of prompts")
    path.write_bytes("caf\xe9 one\n\nzwei".encode("cp1252"))
    assert read_lines(path, "list of prompts") == ("caf\xe9 one", "zwei")
    path.write_text("\ufeffone\ntwo", encoding="utf-8")
    assert read_lines(path, "list of prompts") == ("one", "two")
    path.write_bytes(b"\x81\x8d")
    with pytest.raises(InputError, match=r"prompts.txt is neither UTF-8 nor Western European text; save it as UTF-8"):
        read_lines(path, "list of prompts")
    with pytest.raises(InputError, match=r"nowhere.txt does not exist"):
        read_lines(tmp_path / "nowhere.txt", "list of prompts")


def test_texts_of_tables(tmp_path: Path) -> None:
    (tmp_path / "t.jsonl").write_text('{"question": "a", "text": "c", "label": 1}\n{"question": "b", "text": "d"}\n')
    assert read_texts(str(tmp_path / "t.jsonl")) == ("c", "d")
    assert read_texts(str(tmp_path / "t.jsonl"), "question") == ("a", "b")
    with pytest.raises(InputError, match=r"no column of texts 'label' .* columns of texts are 'question', 'text'"):
        read_texts(str(tmp_path / "t.jsonl"), "label")
    (tmp_path / "two.jsonl").write_text('{"x": "a", "y": "b"}\n')
    with pytest.raises(InputError, match=r"no column of texts for the prompt .* 'x', 'y'; .* --input-column"):
        read_texts(str(tmp_path / "two.jsonl"), role="prompt")
    (tmp_path / "gap.jsonl").write_text('{"text": "a"}\n{"text": null}\n')
    with pytest.raises(InputError, match=r"1 of 2 rows .* 1 with an empty text .row 1."):
        read_texts(str(tmp_path / "gap.jsonl"))


def test_missing_values() -> None:
    check_missing(np.zeros(3, dtype=bool), "without a label", "x")
    with pytest.raises(InputError, match=r"^x has 4 of 5 rows without a label \(first: row 0, 2, 3\); drop or repair"):
        check_missing(np.array([1, 0, 1, 1, 1], dtype=bool), "without a label", "x")
    with pytest.raises(InputError, match=r"^x has rows with NaN \(first: row 11\)"):
        check_missing(np.array([0, 1], dtype=bool), "with NaN", "x", range(10, 12))
