"""`monosemy layers` on the real small model and on random ones: what it writes, prints and refuses."""

import json
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from monosemy.cli.layers import named_models
from monosemy.errors import InputError

pytest.importorskip("trl")

Run = Callable[..., int]
TEXTS = ["Once upon a time", "The dog ran home", "A big red ball", "She was sad", "It rained all day"]


@pytest.fixture
def prompts(tmp_path: Path) -> Path:
    path = tmp_path / "prompts.txt"
    path.write_text("\n\n".join(TEXTS) + "\n", encoding="utf-8")
    return path


@pytest.fixture
def gpt2(tmp_path: Path) -> Path:
    """Without a tokenizer's help: weights alone are measured."""
    from tokenizers import Tokenizer, models
    from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast

    config = GPT2Config(vocab_size=4, n_embd=8, n_layer=2, n_head=2, n_positions=16, pad_token_id=0)
    model = GPT2LMHeadModel(config)
    for block in model.transformer.h:
        block.mlp.c_fc.bias.data -= 0.2
    model.save_pretrained(tmp_path / "gpt2")
    inner = Tokenizer(models.WordLevel({"<pad>": 0, "a": 1, "b": 2, "<unk>": 3}, unk_token="<unk>"))
    PreTrainedTokenizerFast(tokenizer_object=inner, pad_token="<pad>", unk_token="<unk>").save_pretrained(
        tmp_path / "gpt2"
    )
    return tmp_path / "gpt2"


def test_two_models(
    monosemy: Run, shared_data: Path, prompts: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = shared_data / "stories260k"
    out = tmp_path / "out"
    code = monosemy(
        "layers", f"base={model}", f"again={model}", "--data", prompts, "--encoder", "none", "--device", "cpu",
        "--out", out,
    )  # fmt: skip
    assert code == 0
    said = capsys.readouterr().out
    assert "base: " in said
    assert "Mean over layers" in said
    assert "No superposition of base, again: The MLPs of this llama model have no bias" in said
    assert {path.name for path in out.iterdir()} == {
        "environment.json", *(f"layers.{end}" for end in ("parquet", "csv", "png", "svg"))
    }  # fmt: skip
    table = pd.read_parquet(out / "layers.parquet")
    assert list(table) == ["model", "layer", "depth", "metric", "value"]
    pd.testing.assert_frame_equal(pd.read_csv(out / "layers.csv"), table, check_dtype=False)
    wide = table.pivot(index=["metric", "layer"], columns="model", values="value")
    assert (wide["base"] == wide["again"]).all()


def test_weights_alone_as_json(monosemy: Run, gpt2: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert monosemy("layers", gpt2, "--json", "--out", tmp_path / "out", "--device", "cpu") == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["models"][0]["architecture"] == "gpt2"
    assert answer["prompts"] == 0
    assert answer["prompt_similarity"] is None
    values = [row["value"] for row in answer["layers"] if row["metric"] == "weight_gauge"]
    assert min(values) == -1


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["stories"], "have no bias"),
        (["stories", "--layers", "model.layers"], "--layers, --up and --down name the modules"),
        (["stories", "--data", "nowhere.txt"], "nowhere.txt does not exist"),
        (["./nowhere"], "The folder ./nowhere does not exist"),
        (["stories", "stories"], "Two models are called 'stories260k'"),
    ],
)
def test_refused(
    monosemy: Run,
    shared_data: Path,
    tmp_path: Path,
    words: list[str],
    sentence: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    model = str(shared_data / "stories260k")
    out = tmp_path / "out"
    assert monosemy("layers", *(model if word == "stories" else word for word in words), "--out", out) == 2
    assert sentence in capsys.readouterr().err
    assert not out.exists()


def test_names() -> None:
    assert named_models(["gpt2", "org/model", "a=./b", "/runs/x=1/dpo"]) == {
        "gpt2": "gpt2", "model": "org/model", "a": "./b", "dpo": "/runs/x=1/dpo",
    }  # fmt: skip
    with pytest.raises(InputError, match="no name or no folder"):
        named_models(["=x"])


def test_smooth_activations_are_not_shown_as_active(shared_data: Path, prompts: Path, tmp_path: Path) -> None:
    from monosemy.lm.layers import measure_layers
    from monosemy.report.layers import layers_figure

    found = measure_layers({"a": str(shared_data / "stories260k")}, TEXTS, device="cpu")
    assert "active" in set(found.layers["metric"])
    titles = [axes.get_title(loc="left") for axes in layers_figure(found).axes]
    assert titles == ["Feature decorrelation", "Effective rank", "Sparsity of neurons"]
