"""Loading: folders open, pad tokens are there, and whatever cannot be had is said in one sentence."""

from pathlib import Path

import pytest
import torch
from tiny_models import save_causal, save_classifier, tiny_tokenizer

from monosemy.lm import models
from monosemy.lm.models import load_causal_model, load_classifier, load_tokenizer, model_fingerprint


def test_a_folder_opens(tmp_path: Path) -> None:
    loaded = load_causal_model(save_causal(tmp_path, context=77), device="cpu")
    assert not loaded.model.training
    assert loaded.device.type == "cpu"
    assert loaded.context == 77
    assert loaded.model.dtype == torch.float32
    assert load_causal_model(str(tmp_path), dtype="bfloat16", device="cpu").model.dtype == torch.bfloat16


def test_a_missing_pad_token_is_the_unknown_or_the_last(tmp_path: Path) -> None:
    tokenizer = tiny_tokenizer(pad=None)
    loaded = load_causal_model(save_causal(tmp_path / "a", tokenizer=tokenizer), device="cpu")
    assert loaded.tokenizer.pad_token == "<unk>"
    assert loaded.model.config.pad_token_id == loaded.tokenizer.pad_token_id == 2
    tokenizer.unk_token = None
    tokenizer.save_pretrained(tmp_path / "a")
    assert load_tokenizer(str(tmp_path / "a")).pad_token == "</s>"


def test_the_new_head_of_a_classifier_is_drawn_by_its_seed(tmp_path: Path) -> None:
    folder = save_causal(tmp_path)
    before = torch.get_rng_state()
    heads = [load_classifier(folder, ("bad", "good", "odd"), seed=seed, device="cpu") for seed in (1, 1, 2)]
    assert torch.equal(torch.get_rng_state(), before)
    weights = [head.model.score.weight for head in heads]
    assert weights[0].shape[0] == 3
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])
    assert heads[0].model.config.id2label == {0: "bad", 1: "good", 2: "odd"}


def test_heads_that_were_never_trained_are_refused(tmp_path: Path, says) -> None:
    with says("no trained classifier head", "score.weight"):
        load_classifier(save_causal(tmp_path / "a"), device="cpu")
    with says("no trained language-model head"):
        load_causal_model(save_classifier(tmp_path / "b", ("x", "y")), device="cpu")


def test_a_trained_head_of_another_size_is_made_new(tmp_path: Path) -> None:
    folder = save_classifier(tmp_path, ("x", "y"))
    assert load_classifier(folder, ("a", "b", "c"), device="cpu").model.config.num_labels == 3


def test_pickled_weights_are_refused(tmp_path: Path, says) -> None:
    folder = Path(save_causal(tmp_path))
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with says(folder, "pytorch_model.bin", "safetensors"):
        load_causal_model(str(folder))


def test_what_is_not_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, says) -> None:
    with says("./nowhere", "does not exist"):
        load_causal_model("./nowhere")
    with says(tmp_path / "no", "does not exist"):
        load_causal_model(str(tmp_path / "no"))
    with says(tmp_path, "cannot be loaded"):
        load_causal_model(str(tmp_path))
    monkeypatch.setattr(models, "_hub_answers", lambda: False)
    with says("nobody/no-such-model", "no connection"):
        load_causal_model("nobody/no-such-model")
    with says("zonk", "device"):
        load_causal_model(save_causal(tmp_path / "m"), device="zonk")


def test_a_name_without_an_address_is_offline(monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import constants

    def no_address(*args: object) -> None:
        raise OSError("no such host")

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(models.socket, "getaddrinfo", no_address)
    assert not models._hub_answers()
    monkeypatch.setattr(models.socket, "getaddrinfo", lambda *args: [])
    assert models._hub_answers()
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert not models._hub_answers()


def test_models_are_told_apart_by_their_files(tmp_path: Path) -> None:
    folder = save_causal(tmp_path)
    before = model_fingerprint(folder)
    assert model_fingerprint(folder) == before
    (tmp_path / "config.json").write_text("{}")
    assert model_fingerprint(folder) != before
    assert model_fingerprint("some/name") != model_fingerprint("some/other")


@pytest.mark.shared_data
def test_the_real_small_model(shared_data: Path) -> None:
    loaded = load_causal_model(str(shared_data / "stories260k"), device="cpu")
    assert loaded.context == 512
    assert loaded.tokenizer.pad_token == "<unk>"
