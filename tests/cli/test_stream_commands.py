"""`monosemy sae train` and `monosemy activations` as a stranger meets them."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from monosemy.data.streams import open_stream
from monosemy.encoders.config import BackboneConfig, EncoderSpec
from monosemy.encoders.image import ImageEncoder, embed, load_encoder, save_encoder
from monosemy.sae.module import Autoencoder

Run = Callable[..., int]
N, D = 200, 6


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    codes = rng.random((N, 10)) * (rng.random((N, 10)) < 0.2)
    np.save(tmp_path / "rows.npy", (codes @ rng.normal(size=(10, D)) + 2).astype(np.float32))
    return tmp_path / "rows.npy"


def test_several_from_one_file(rows: Path, tmp_path: Path, monosemy: Run, capsys: pytest.CaptureFixture[str]) -> None:
    words = (
        "sae",
        "train",
        rows,
        "--n-latents",
        "16,24",
        "--k",
        "2",
        "--activation",
        "topk,batchtopk",
        "--n-seeds",
        "2",
    )
    more = ("--batch-size", "20", "--epochs", "2", "--out", tmp_path / "run")
    assert monosemy(*words, *more, "--set", "minutes=0") == 0
    assert f"Stopped after 0 minutes; the same command resumes from {tmp_path / 'run'}" in flat(capsys)
    assert monosemy(*words, *more) == 0
    printed = flat(capsys)
    assert f"{N} x {D}" in printed
    files = sorted((tmp_path / "run").glob("*topk-*.safetensors"))
    assert len(files) == 8
    for path in files:
        model = Autoencoder.load(path)
        assert model.n_inputs == D
        assert path.stem.startswith(f"{model.activation.name}-{model.n_latents}-k2-seed")
        assert path.stem in printed
    last = json.loads((tmp_path / "run" / "log.jsonl").read_text().splitlines()[-1])
    assert last["step"] == 20
    assert monosemy(*words, *more, "--lr", "0.1") == 2
    assert "holds a run with saes" in capsys.readouterr().err


def flat(capsys: pytest.CaptureFixture[str]) -> str:
    return " ".join(capsys.readouterr().out.split())


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--n-latents", "many"), "n_latents.0 is 'many', but input should be a valid integer"),
        (("--k", "-1"), "k.0 is '-1', but input should be greater than or equal to 1"),
        (("--activation", "topk,sigmoid"), "activation.1 is 'sigmoid', but input should be 'topk', 'batchtopk'"),
        (("--n-latents", "4", "--k", "5"), "k=5 is outside [1, n_latents=4]"),
        (("--input-column", "x"), "column='x' has no meaning"),
        (("--epochs", "0"), "epochs is '0', but input should be greater than or equal to 1"),
        (("--steps", "0"), "steps is '0', but input should be greater than or equal to 1"),
    ],
)
def test_bad_words_are_one_sentence(
    words: tuple[str, ...], message: str, rows: Path, tmp_path: Path, monosemy: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    assert monosemy("sae", "train", rows, *words, "--out", tmp_path / "run") == 2
    assert message in capsys.readouterr().err


def test_an_autoencoder_that_explains_little_is_said_to_be_untrained(
    rows: Path, tmp_path: Path, monosemy: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    short = ("sae", "train", rows, "--n-latents", 8, "--k", 1, "--steps", 1, "--batch-size", 32)
    assert monosemy(*short, "--out", tmp_path / "short") == 0
    printed = flat(capsys)
    assert "Steps: 1, passes: 1." in printed
    assert "Not trained: topk-8-k1-seed0 (" in printed
    assert "explains less than half of the variance" in printed


@pytest.fixture
def encoder(tmp_path: Path) -> Path:
    spec = EncoderSpec(image_shape=(3, 8, 8), backbone=BackboneConfig(name="conv"))
    save_encoder(ImageEncoder(spec).eval(), tmp_path / "encoder.safetensors")
    return tmp_path / "encoder.safetensors"


def test_an_image_encoder(encoder: Path, photos: Path, tmp_path: Path, monosemy: Run) -> None:
    out = tmp_path / "activations"
    words = ("activations", encoder, "--data", photos, "--layer", "projector", "--out", out, "--batch-size", "10")
    assert monosemy(*words) == 0
    assert monosemy(*words) == 0
    stored = open_stream(out).open().read(1000).numpy()
    assert stored.shape == (72, 256)
    from monosemy.data.config import DataConfig
    from monosemy.data.load import load_data

    data = load_data(DataConfig(source=str(photos)))
    images = np.concatenate([np.asarray(split.inputs) for split in (data.train, data.validation, data.test)])
    made = embed(load_encoder(encoder), images)
    np.testing.assert_allclose(np.sort(stored[:, 0]), np.sort(made[:, 0]), rtol=1e-4, atol=1e-5)


def test_a_language_model(shared_data: Path, tmp_path: Path, monosemy: Run, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("transformers")
    (tmp_path / "texts.txt").write_text("Once upon a time there was a dog.\n\nA cat.\nThe end of it all.\n")
    words = ("activations", shared_data / "stories260k", "--data", tmp_path / "texts.txt", "--layer")
    assert monosemy(*words, "model.layers.1", "--tokens", "mean", "--out", tmp_path / "a", "--batch-size", "2") == 0
    assert "3 rows of model.layers.1" in flat(capsys)
    assert open_stream(tmp_path / "a").open().read(9).shape == (3, 64)
    assert monosemy("sae", "train", tmp_path / "a", "--n-latents", "8", "--k", "2", "--out", tmp_path / "sae") == 0
    assert monosemy(*words, "layers.1", "--out", tmp_path / "b") == 2
    assert "layer='layers.1' does not exist; the closest match is 'model.layers.1'" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--data", "none.txt"), "none.txt does not exist"),
        (("--data", "TEXTS"), "holds texts, but"),
        (("--data", "none.parquet", "--batch-size", "0"), "--batch-size 0 is not positive"),
    ],
)
def test_bad_words_of_activations(
    words: tuple[str, ...],
    message: str,
    encoder: Path,
    tmp_path: Path,
    monosemy: Run,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "texts.csv").write_text("text\na\nb\n")
    places = {"TEXTS": tmp_path / "texts.csv"}
    given = (places.get(word, word) for word in words)
    assert monosemy("activations", encoder, "--layer", "projector", "--out", tmp_path / "out", *given) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
