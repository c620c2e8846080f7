"""`monosemy embed`: embeddings with labels and splits in one file that a study reads."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from monosemy.data.config import DataConfig
from monosemy.data.load import load_data
from monosemy.encoders import text as text_module
from monosemy.encoders.config import BackboneConfig, EncoderSpec
from monosemy.encoders.image import ImageEncoder, embed, save_encoder


class FakeModel:
    """Embeds a text by its length and its last character, and reads 20 tokens."""

    max_seq_length = 20

    def tokenizer(self, texts: list[str], **options) -> dict[str, list[list[int]]]:
        return {"input_ids": [list(map(ord, text)) for text in texts]}

    def encode(self, texts: list[str], **options) -> np.ndarray:
        return np.array([[len(text), ord(text[-1])] for text in texts], dtype=np.float32)


@pytest.fixture
def texts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(text_module, "_load", lambda path: FakeModel())
    frame = pd.DataFrame({"text": [f"query {i}" for i in range(30)], "label": ["yes", "no", "no"] * 10})
    frame.loc[0, "text"] = "a query that is longer than twenty"
    frame.assign(split=["train"] * 18 + ["validation"] * 6 + ["test"] * 6).to_csv(tmp_path / "queries.csv", index=False)
    return tmp_path / "queries.csv"


def test_texts_labels_and_splits(monosemy, texts: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "embeddings.npz"
    assert monosemy("embed", texts, "--encoder", "fake/model", "--out", out) == 0
    printed = capsys.readouterr()
    assert "1 of 30 texts are longer than the 20 tokens" in " ".join((printed.out + printed.err).split())
    with np.load(out) as arrays:
        assert arrays["embeddings"][:2].tolist() == [[34, ord("y")], [7, ord("1")]]
        assert arrays["labels"][:3].tolist() == ["yes", "no", "no"]
    data = load_data(DataConfig(source=str(out)))
    assert (len(data.train), len(data.validation), len(data.test)) == (18, 6, 6)
    assert data.class_names == ("no", "yes")


def test_images_by_an_encoder_file(monosemy, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    encoder = ImageEncoder(EncoderSpec(image_shape=(3, 8, 8), backbone=BackboneConfig(name="conv")))
    save_encoder(encoder, tmp_path / "encoder.safetensors")
    out = tmp_path / "embeddings.npz"
    assert monosemy("embed", photos, "--encoder", tmp_path, "--out", out, "--json") == 0
    told = json.loads(capsys.readouterr().out)
    images = load_data(DataConfig(source=str(photos)))
    with np.load(out) as arrays:
        assert arrays["labels"].tolist() == ["blue"] * 24 + ["green"] * 24 + ["red"] * 24
        expected = embed(encoder.eval(), images.train.inputs)
        assert told["arrays"]["embeddings"] == [72, expected.shape[1]]
        nearest = np.abs(arrays["embeddings"][None] - expected[:, None]).max(axis=2).min(axis=1)
    # Every train image is among the embedded ones, up to the rounding of other batches.
    assert nearest.max() < 1e-5


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--out", "embeddings.csv"], "does not end in .npz"),
        (["--out", "embeddings.npz", "--encoder", "nowhere/encoder.safetensors"], "nowhere"),
        (["--out", "embeddings.npz"], "name an encoder of `monosemy pretrain` by --encoder"),
    ],
)
def test_bad_input_leaves_no_file(
    monosemy, photos: Path, tmp_path: Path, monkeypatch, capsys: pytest.CaptureFixture[str], words: list[str], sentence
) -> None:
    monkeypatch.chdir(tmp_path)
    before = sorted(tmp_path.iterdir())
    assert monosemy("embed", photos, *words) == 2
    assert sentence in " ".join(capsys.readouterr().err.split())
    assert sorted(tmp_path.iterdir()) == before


def test_embeddings_are_not_embedded(monosemy, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    np.savez(tmp_path / "x.npz", embeddings=np.eye(4), labels=[0, 1, 0, 1])
    assert monosemy("embed", tmp_path / "x.npz", "--out", tmp_path / "y.npz") == 2
    assert "holds embeddings already" in " ".join(capsys.readouterr().err.split())
