"""`monosemy gallery`, and the gallery of a study: from files to the page, and bad input in one sentence."""

import json
import re
from pathlib import Path

import numpy as np
import pytest

Said = pytest.CaptureFixture[str]


def page_values(path: Path) -> dict:
    """What the page was given to show."""
    found = re.search(r'id="page">(.*?)</script>', path.read_text(encoding="utf-8"), re.S)
    assert found is not None
    return json.loads(found.group(1))


@pytest.fixture
def codes(tmp_path: Path) -> Path:
    """One dimension for each third of 72 rows, as of the photos, and a dead one."""
    rng = np.random.default_rng(0)
    values = np.zeros((72, 4), dtype=np.float32)
    values[np.arange(72), np.arange(72) // 24] = rng.uniform(1, 2, 72)
    np.save(tmp_path / "codes.npy", values)
    return tmp_path / "codes.npy"


def test_images_of_class_folders(codes: Path, photos: Path, tmp_path: Path, monosemy, capsys: Said) -> None:
    out = tmp_path / "page.html"
    assert monosemy("gallery", codes, "--data", photos, "--out", out) == 0
    assert capsys.readouterr().out.strip() == str(out)
    values = page_values(out)
    assert values["classes"] == ["blue", "green", "red"]
    assert values["kind"] == "images"
    assert (values["sheets"]["height"], values["sheets"]["width"]) == (8, 8)


def test_the_rest_of_the_page_is_made_without_a_corrupt_image(
    codes: Path, photos: Path, tmp_path: Path, monosemy, capsys: Said
) -> None:
    (photos / "green" / "05.png").write_bytes(b"no image")
    out = tmp_path / "page.html"
    assert monosemy("gallery", codes, "--data", photos, "--out", out) == 2
    said = capsys.readouterr().err
    assert "green/05.png" in said
    assert "Traceback" not in said
    assert "green/05.png" in out.read_text(encoding="utf-8")
    assert page_values(out)["kind"] == "images"
    for file in photos.rglob("*.png"):
        file.write_bytes(b"no image")
    assert monosemy("gallery", codes, "--data", photos, "--out", out) == 2
    assert page_values(out)["kind"] == "none"


def test_texts_and_labels_of_a_table(codes: Path, tmp_path: Path, monosemy) -> None:
    table = tmp_path / "queries.csv"
    table.write_text("text,intent\n" + "".join(f"query {i},{'ab'[i % 2]}\n" for i in range(72)))
    out = tmp_path / "page.html"
    assert monosemy("gallery", codes, "--data", table, "--embeddings", codes, "--out", out) == 0
    assert page_values(out)["kind"] == "texts"
    assert page_values(out)["classes"] == ["a", "b"]


def test_dimensions_are_named_by_words_of_texts_else_by_classes(codes: Path, tmp_path: Path, monosemy) -> None:
    table, out = tmp_path / "queries.csv", tmp_path / "page.html"
    table.write_text(
        "text,intent\n" + "".join(f"{('cat', 'dog', 'owl')[i // 24]} {i},{'xyz'[i // 24]}\n" for i in range(72))
    )
    for words, expected in (
        (("--data", table), ["cat", "dog", "owl"]),
        (("--labels", table), ["x", "y", "z"]),
        ((), None),
    ):
        assert monosemy("gallery", codes, *words, "--out", out) == 0
        names = page_values(out)["sets"][0].get("names")
        assert (names and [names[str(i)]["text"] for i in range(3)]) == expected


def test_codes_alone_and_one_class(codes: Path, tmp_path: Path, monosemy, capsys: Said) -> None:
    out = tmp_path / "page.html"
    assert monosemy("gallery", codes, "--out", out) == 0
    assert page_values(out)["classes"] == []
    labels = tmp_path / "labels.csv"
    labels.write_text("label\n" + "same\n" * 72)
    assert monosemy("gallery", codes, "--labels", labels, "--out", out) == 0
    assert "All rows are of the class same" in capsys.readouterr().out
    assert page_values(out)["classes"] == []


def test_bad_input_is_said_and_nothing_is_written(
    codes: Path, photos: Path, tmp_path: Path, monosemy, capsys: Said
) -> None:
    out = tmp_path / "page.html"
    values = np.load(codes)
    np.save(tmp_path / "few.npy", values[:70])
    values[13, 1] = np.nan
    np.save(tmp_path / "nan.npy", values)
    (tmp_path / "labels.csv").write_text("text,label\n" + "a,b\n" * 71 + "a,\n")
    for words, said in (
        ((tmp_path / "few.npy", "--data", photos), "72 images, but"),
        ((tmp_path / "nan.npy",), "with NaN or infinity (first: row 13"),
        ((codes, "--data", codes), "holds embeddings"),
        ((codes, "--data", tmp_path / "nothing"), "nothing"),
        ((codes, "--data", tmp_path / "labels.csv"), "rows without a label"),
        ((codes, "--embeddings", tmp_path / "few.npy"), "70 rows"),
        ((tmp_path / "missing.npy",), "does not exist"),
    ):
        assert monosemy("gallery", *words, "--out", out) == 2, words
        error = capsys.readouterr().err
        assert said in error, words
        assert "Traceback" not in error
    assert monosemy("gallery", codes, "--out", tmp_path / "page.txt") == 2
    assert "ends in .html" in capsys.readouterr().err
    assert not out.exists()


@pytest.fixture(scope="module")
def embeddings(tmp_path_factory: pytest.TempPathFactory) -> Path:
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 3, 150)
    rows = rng.normal(size=(150, 4)).astype(np.float32) + 2 * np.eye(3, 4, dtype=np.float32)[labels]
    path = tmp_path_factory.mktemp("data") / "toy.npz"
    np.savez(path, embeddings=rows, labels=labels)
    return path


@pytest.mark.slow
def test_a_study_leaves_its_gallery_and_it_is_made_again(
    embeddings: Path, tmp_path: Path, monosemy, capsys: Said
) -> None:
    source = tmp_path / "toy.npz"
    source.write_bytes(embeddings.read_bytes())
    study = tmp_path / "study"
    words = ("--features", "dense,relu", "--label-noise", "0.3", "--n-seeds", "2", "--quiet")
    assert monosemy("study", "--data", source, *words, "--out", study) == 0
    page = study / "gallery.html"
    before = page.read_bytes()
    values = page_values(page)
    assert [item["name"] for item in values["sets"]] == ["dense", "relu"]
    assert values["sets"][0]["predictions"]["condition"] == "under label noise (30 %)"
    page.unlink()
    assert monosemy("report", study) == 0
    assert page.read_bytes() == before
    assert monosemy("report", study, "--out", tmp_path / "elsewhere") == 0
    assert (tmp_path / "elsewhere" / "gallery.html").read_bytes() == before
    page.unlink()
    assert monosemy("gallery", study) == 0
    assert page.read_bytes() == before
    page.unlink()
    (study / "report.html").unlink()
    np.savez(source, embeddings=np.eye(6, 4, dtype=np.float32), labels=np.arange(6) % 2)
    capsys.readouterr()
    assert monosemy("report", study) == 2
    said = capsys.readouterr().err
    assert "no longer the data" in said
    assert "Traceback" not in said
    assert (study / "report.html").is_file()
    source.unlink()
    assert monosemy("report", study) == 2
    assert "does not exist" in capsys.readouterr().err
