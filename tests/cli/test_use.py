"""`monosemy audit`, `fit` and `predict` as a user meets them: from a table with wrong labels to predictions."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from monosemy.corruptions.labels import symmetric_noise
from monosemy.model import RobustClassifier

RNG = np.random.default_rng(0)
NAMES = np.array(["ant", "bee", "cow"])
TRUE = RNG.integers(0, 3, 300)
ROWS = (RNG.normal(size=(3, 6)) * 3)[TRUE] + RNG.normal(size=(300, 6))
NOISY = symmetric_noise(TRUE, 0.2, 3, RNG)


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    split = np.where(np.arange(300) < 240, "train", "test")
    np.savez("data.npz", embeddings=ROWS.astype(np.float32), labels=NAMES[NOISY], split=split)
    np.save("new.npy", ROWS[:50].astype(np.float32))
    return Path("data.npz")


def answer(capsys: pytest.CaptureFixture[str]) -> dict:
    return json.loads(capsys.readouterr().out)


def test_from_wrong_labels_to_predictions(data: Path, monosemy, capsys: pytest.CaptureFixture[str]) -> None:
    assert monosemy("audit", data, "--out", "audit.csv", "--json") == 0
    found = answer(capsys)
    assert found["rows"] == 300
    assert found["noise_rate"] == pytest.approx((NOISY != TRUE).mean(), abs=0.06)
    table = pd.read_csv("audit.csv")
    assert table.columns.tolist() == ["row", "given", "suggested", "probability_wrong", "reason"]
    assert len(table) == 300
    wrong = {f"row {i}" for i in np.flatnonzero(NOISY != TRUE)}
    assert len(wrong & set(table["row"][: len(wrong)])) > 0.85 * len(wrong)
    assert "<html" in Path("audit.html").read_text(encoding="utf-8")

    # A reviewer accepts every suggestion.
    accepted = table[table["given"] != table["suggested"]]
    decisions = accepted[["row", "given", "suggested"]].assign(decision="accept", label=accepted["suggested"])
    decisions.to_csv("decisions.csv", index=False)
    words = ("fit", data, "--features", "dense", "--classifiers", "ce,knn", "--out", "model")
    assert monosemy(*words, "--labels", "decisions.csv", "--json") == 0
    fitted = answer(capsys)
    assert fitted["rows"] == 240
    assert fitted["test_rows"] == 60
    assert f"{len(accepted):,} labels are those of decisions.csv." in fitted["messages"]
    assert fitted["held_out_accuracy"] > 0.9

    assert monosemy("predict", "model", "new.npy", "--out", "predictions.csv", "--explain", "--json") == 0
    predicted = answer(capsys)
    assert predicted["rows"] == 50
    table = pd.read_csv("predictions.csv")
    assert table.columns.tolist() == ["row", "class", "probability", "because"]
    model = RobustClassifier.load("model")
    np.testing.assert_array_equal(table["class"], model.predict(ROWS[:50]))
    assert (table["class"] == NAMES[TRUE[:50]]).mean() > 0.9
    assert sum(predicted["classes"].values()) == 50


def test_what_is_printed_is_for_people(data: Path, monosemy, capsys: pytest.CaptureFixture[str]) -> None:
    assert monosemy("audit", data, "--out", "audit.csv") == 0
    printed = " ".join(capsys.readouterr().out.split())
    assert "of the 300 labels are wrong (95 % interval over draws of rows" in printed
    assert "To review them: audit.html; then monosemy fit data.npz --labels FILE --out MODEL" in printed
    assert monosemy("fit", data, "--features", "dense", "--classifiers", "lda,knn", "--out", "model") == 0
    printed = " ".join(capsys.readouterr().out.split())
    assert "dense + lda" in printed
    assert "Accuracy on the 60 rows of the test split:" in printed


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("audit", "data.npz", "--out", "audit.txt"), "--out 'audit.txt' does not end in .csv"),
        (("audit", "data.npz", "--out", "audit.csv", "--encoder", "x"), "holds embeddings, which no encoder takes"),
        (("audit", "new.npy", "--out", "audit.csv"), "label"),
        (("audit", "one.npz", "--out", "audit.csv"), "All 10 rows have the label 'ant'; give at least two classes"),
        (("audit", "four.npz", "--out", "audit.csv"), "cv=5 folds cannot be made of 4 groups of rows; choose 2 to 4"),
        (("fit", "data.npz", "--out", "model", "--features", "nosuch"), "features='nosuch' cannot be made"),
        (("fit", "data.npz", "--out", "model", "--classifiers", "gcee"), "gcee"),
        (("fit", "data.npz", "--out", "full"), "'full' exists and holds no model"),
        (("fit", "data.npz", "--out", "model", "--labels", "other.csv"), "name 'row 999', which data.npz does"),
        (("fit", "data.npz", "--out", "model", "--study", "full"), "holds no study"),
        (("predict", "full", "new.npy", "--out", "p.csv"), "model.json does not exist"),
        (("predict", "nosuch", "new.npy", "--out", "p.csv"), "does not exist"),
    ],
)  # fmt: skip
def test_what_cannot_be_done_is_one_sentence(
    words: tuple[str, ...], message: str, data: Path, monosemy, capsys: pytest.CaptureFixture[str]
) -> None:
    np.savez("one.npz", embeddings=ROWS[:10], labels=np.full(10, "ant"))
    np.savez("four.npz", embeddings=ROWS[:4], labels=np.array(["ant", "bee"] * 2))
    Path("other.csv").write_text("row,given,suggested,decision,label\nrow 999,ant,bee,accept,bee\n")
    Path("full").mkdir()
    Path("full/mine.txt").write_text("keep")
    quick = ("--features", "dense", "--classifiers", "ce") if words[0] == "fit" and "--features" not in words else ()
    assert monosemy(*words, *(quick if "--classifiers" not in words else quick[:2])) == 2
    assert message in " ".join(capsys.readouterr().err.split())
    assert not Path("model").exists()
    assert not Path("p.csv").exists()
    assert not Path("audit.csv").exists()
    assert [file.name for file in Path("full").iterdir()] == ["mine.txt"]


def test_rows_of_another_width_are_refused(data: Path, monosemy, capsys: pytest.CaptureFixture[str]) -> None:
    assert monosemy("fit", data, "--features", "dense", "--classifiers", "ce", "--out", "model", "--json") == 0
    np.save("wide.npy", np.zeros((4, 9), dtype=np.float32))
    capsys.readouterr()
    assert monosemy("predict", "model", "wide.npy", "--out", "p.csv") == 2
    assert "wide.npy has 9 dimensions, but the model model takes 6" in " ".join(capsys.readouterr().err.split())
    pd.DataFrame({"text": ["a b", "c d"]}).to_csv("texts.csv", index=False)
    assert monosemy("predict", "model", "texts.csv", "--out", "p.csv") == 2
    assert "was fitted to embeddings, but texts.csv holds texts" in " ".join(capsys.readouterr().err.split())


def test_the_choice_of_a_study(data: Path, monosemy, capsys: pytest.CaptureFixture[str]) -> None:
    words = ("--features", "dense,relu", "--classifiers", "ce,knn", "--label-noise", "0.2,0.5", "--n-seeds", 3)
    assert monosemy("study", "--data", data, *words, "--out", "study", "--quiet") == 0
    capsys.readouterr()
    assert monosemy("fit", data, "--study", "study", "--out", "model", "--json") == 0
    fitted = answer(capsys)
    assert fitted["choice"] in {f"{f} + {c}" for f in ("dense", "relu") for c in ("ce", "knn")}
    assert len(fitted["candidates"]["features"]) == 1
    assert any("recommends" in text and "under 20 % label noise" in text for text in fitted["messages"])
