"""`monosemy sae eval` as a stranger meets it."""

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from safetensors.torch import load_file, save_file

from monosemy.sae.dictionary_learning import to_dictionary_learning
from monosemy.sae.estimators import SparseAutoencoder
from monosemy.sae.hub import save_pretrained
from monosemy.sae.saelens import to_saelens

N, D, M = 120, 6, 16
SAME = ("l0", "explained_variance", "mono_score", "semantic_consistency", "effective_rank")


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """z.npz with labels, z.npy, labels.csv; one model in every layout, and a gated one."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "80")
    labels = np.arange(N) % 3
    z = (np.random.default_rng(0).standard_normal((N, D)) + 3 * np.eye(D)[labels] + 1).astype(np.float32)
    np.savez("z.npz", embeddings=z, labels=labels)
    np.save("z.npy", z)
    pd.DataFrame({"label": np.array(["[red]cat", "dog", "owl"])[labels]}).to_csv("labels.csv", index=False)
    settings = {"n_latents": M, "k": 3, "n_epochs": 3, "batch_size": 32, "random_state": 0}
    model = SparseAutoencoder(**settings).fit(z).autoencoder_
    model.save(Path("sae.safetensors"))
    save_pretrained(model, "folder")
    to_saelens(model, Path("of_saelens"))
    to_dictionary_learning(model, Path("of_dictionary_learning"))
    SparseAutoencoder(activation="gated", **settings).fit(z).autoencoder_.save(Path("gated.safetensors"))
    return tmp_path


def test_models_of_every_layout_side_by_side(here: Path, monosemy, capsys: pytest.CaptureFixture[str]) -> None:
    models = ["sae.safetensors", "folder", "of_saelens", "of_dictionary_learning", "gated.safetensors"]
    assert monosemy("sae", "eval", *models, "z.npz", "--json", "--out", "out") == 0
    answer = json.loads(capsys.readouterr().out)
    assert (answer["rows"], answer["classes"]) == (N, ["0", "1", "2"])
    assert [model["model"] for model in answer["models"]] == models
    ours = answer["models"][0]
    assert (ours["activation"], ours["n_inputs"], ours["n_latents"], ours["k"]) == ("topk", D, M, 3)
    for other in answer["models"][1:4]:
        for metric in SAME:
            assert other["metrics"][metric] == pytest.approx(ours["metrics"][metric], rel=1e-4), metric
    assert answer["models"][4]["k"] is None
    summary = pd.read_csv("out/summary.csv")
    assert list(summary.columns) == ["model", "metric", "value"]
    value = summary.set_index(["model", "metric"])["value"]
    assert value["folder", "explained_variance"] == pytest.approx(ours["metrics"]["explained_variance"])
    latents = pd.read_parquet("out/latents.parquet")
    assert list(latents.columns) == ["model", "latent", "metric", "value"]
    assert len(latents) == 5 * M * 7


def test_the_table_fits_and_says_what_it_shows(here: Path, monosemy, capsys: pytest.CaptureFixture[str]) -> None:
    models = ["sae.safetensors", "folder", "of_saelens", "of_dictionary_learning", "gated.safetensors"]
    assert monosemy("sae", "eval", *models, "z.npy", "--labels", "labels.csv") == 0
    printed = capsys.readouterr().out
    for said in (
        "z.npy: 120 rows, 3 classes", "1  sae.safetensors: topk, k=3, 16 latents of 6 numbers",
        "5  gated.safetensors: gated, 16 latents", "Explained variance", "MonoScore", "share recovered",
        "that chance would give", "|Cosine| of decoder rows",
    ):  # fmt: skip
        assert said in printed, said
    assert max(map(len, printed.splitlines())) <= 80
    assert monosemy("sae", "eval", "folder", "z.npy") == 0
    printed = capsys.readouterr().out
    assert "Without labels nothing is said of classes" in printed
    assert "Semantic consistency" not in printed


def test_a_folder_of_files_is_read_as_one(here: Path, monosemy, capsys: pytest.CaptureFixture[str]) -> None:
    Path("shards").mkdir()
    z = np.load("z.npy")
    for number, part in enumerate(np.split(z, 4)):
        np.save(f"shards/{number}.npy", part)
    answers = []
    for source in ("z.npy", "shards"):
        assert monosemy("sae", "eval", "folder", source, "--labels", "labels.csv", "--json") == 0
        answers.append(json.loads(capsys.readouterr().out)["models"][0]["metrics"])
    assert answers[0] == pytest.approx(answers[1], rel=1e-6)


def test_a_folder_of_a_training_is_all_its_models(here: Path, monosemy, capsys: pytest.CaptureFixture[str]) -> None:
    Path("run").mkdir()
    for name in ("sae.safetensors", "gated.safetensors"):
        shutil.copy(name, "run")
    Path("run/config.yaml").write_text("width: 16\n")
    save_file(load_file("sae.safetensors"), "run/checkpoint.safetensors")
    assert monosemy("sae", "eval", "run", "z.npy", "--json") == 0
    answer = json.loads(capsys.readouterr().out)
    assert [model["model"] for model in answer["models"]] == ["run/gated.safetensors", "run/sae.safetensors"]


def spoil() -> None:
    """Write bad models and data."""
    z = np.load("z.npy")
    np.save("narrow.npy", z[:, 1:])
    np.save("one.npy", z[:1])
    np.save("none.npy", z[:0])
    nan = z.copy()
    nan[7] = np.nan
    np.save("nan.npy", nan)
    np.save("cube.npy", z[None])
    Path("cut.npy").write_bytes(Path("z.npy").read_bytes()[:500])
    whole = Path("sae.safetensors").read_bytes()
    Path("cut.safetensors").write_bytes(whole[:-40])
    Path("empty.safetensors").write_bytes(b"")
    Path("text.safetensors").write_text("no model at all")
    save_file({"weight": load_file("sae.safetensors")["encoder"]}, "foreign.safetensors")
    shutil.copytree("of_saelens", "greedy")
    config = json.loads(Path("greedy/cfg.json").read_text())
    Path("greedy/cfg.json").write_text(json.dumps(config | {"k": 17}))
    pd.DataFrame({"label": [0, 1]}).to_csv("few.csv", index=False)
    pd.DataFrame({"label": [0] * N}).to_csv("alike.csv", index=False)
    Path("file").write_text("precious")


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (("folder", "narrow.npy"), "narrow.npy has rows of 5 numbers, but folder takes 6"),
        (("folder", "one.npy"), "one.npy has 1 row, and metrics compare rows"),
        (("folder", "none.npy"), "none.npy"),
        (("folder", "nan.npy"), "nan.npy has rows with NaN or infinity (first: row 7"),
        (("folder", "cube.npy"), "shape (1, 120, 6)"),
        (("folder", "cut.npy"), "cut.npy"),
        (("folder", "missing.npy"), "missing.npy does not exist"),
        (("folder", "folder/README.md"), "README.md has none of the known endings"),
        (("missing", "z.npy"), "missing does not exist; give a model"),
        (("cut.safetensors", "z.npy"), "cut.safetensors is not a readable safetensors file"),
        (("empty.safetensors", "z.npy"), "empty.safetensors is not a readable safetensors file"),
        (("text.safetensors", "z.npy"), "text.safetensors is not a readable safetensors file"),
        (("foreign.safetensors", "z.npy"), "foreign.safetensors is not a monosemy.sparse-autoencoder.v1 file"),
        (("z.npz", "z.npy"), "z.npz is not a sparse autoencoder that can be read"),
        (("greedy", "z.npy"), "k=17 is outside [1, n_latents=16]"),
        (("folder", "z.npy", "--labels", "few.csv"), "z.npy has 120 rows but 2 labels"),
        (("folder", "z.npy", "--labels", "alike.csv"), "z.npy has 1 class"),
        (("folder", "z.npy", "--labels", "missing.csv"), "missing.csv does not exist"),
        (("folder", "z.npz", "--label-column", "mood"), "z.npz has no labels 'mood'"),
        (("folder", "z.npz", "--input-column", "mood"), "z.npz has no array 'mood' for the embedding"),
        (("folder", "z.npy", "--out", "file"), "--out is 'file', which is not a folder that can be written to"),
    ],
)
def test_bad_input_is_one_sentence_and_exit_code_2(
    words: tuple[str, ...], named: str, here: Path, monosemy, capsys: pytest.CaptureFixture[str]
) -> None:
    spoil()
    assert monosemy("sae", "eval", *words) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    error = captured.err.strip()
    assert error.startswith("Error: ")
    assert named in error
    assert "\n" not in error
    assert error.endswith(".")
    assert Path("file").read_text() == "precious"
