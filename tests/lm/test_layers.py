"""Layer metrics against one prompt at a time and plain definitions; superposition by hand; several models; refusals."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from peft import LoraConfig, get_peft_model
from test_architectures import tiny
from tiny_models import save_causal, tiny_tokenizer, with_biases

from monosemy.errors import InputError
from monosemy.functional.activity import hoyer_sparsity
from monosemy.functional.geometry import effective_rank, feature_decorrelation, superposition_change
from monosemy.lm import layers
from monosemy.lm.architectures import MlpNames, mlps
from monosemy.lm.layers import measure_layers, neuron_superpositions, prompt_metrics
from monosemy.lm.models import LoadedModel, load_causal_model

TEXTS = ["a b", "one longer prompt than the others", "short", "x", "yet another", "so it goes", "the end of it", "why?"]


def embed(texts: tuple[str, ...]) -> NDArray[np.float32]:
    """Something of a text's own."""
    return np.array([[len(text), text.count("e"), text.count(" "), 1] for text in texts], dtype=np.float32)


@pytest.fixture(scope="module", params=["llama", "gpt2", "opt"])
def loaded(request: Any, tmp_path_factory: pytest.TempPathFactory) -> LoadedModel:
    folder = tmp_path_factory.mktemp(request.param)
    return load_causal_model(save_causal(folder, request.param, context=64), device="cpu")


def one_by_one(loaded: LoadedModel, texts: list[str]) -> list[tuple[NDArray, NDArray]]:
    """Per layer (N, D) of the up-projection and of the neurons, without batches or padding."""
    found: list[tuple[list, list]] = [([], []) for _ in mlps(loaded.model)]
    for number, mlp in enumerate(mlps(loaded.model)):
        mlp.up.register_forward_hook(lambda _m, _x, y, n=number: found[n][0].append(y.reshape(-1, y.shape[-1])[-1]))
        mlp.down.register_forward_pre_hook(
            lambda _m, x, n=number: found[n][1].append(x[0].reshape(-1, x[0].shape[-1])[-1])
        )
    with torch.no_grad():
        for text in texts:
            loaded.model(**loaded.tokenizer(text, return_tensors="pt"))
    for mlp in mlps(loaded.model):
        mlp.up._forward_hooks.clear()
        mlp.down._forward_pre_hooks.clear()
    return [(torch.stack(up).numpy(), torch.stack(neurons).numpy()) for up, neurons in found]


def plain_mono_score(activations: NDArray, embeddings: NDArray) -> float:
    """Mean over the neurons of the weighted mean cosine over pairs, pair by pair."""
    unit = embeddings / np.linalg.norm(embeddings, axis=1, keepdims=True)
    scores = []
    for a in np.maximum(activations, 0).T.astype(float):
        weights = np.outer(a, a)
        np.fill_diagonal(weights, 0)
        if (a > 0).sum() >= 2:
            scores.append((weights * (unit @ unit.T)).sum() / weights.sum())
    return float(np.mean(scores))


def test_equals_one_prompt_at_a_time(loaded: LoadedModel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(layers, "_BLOCK", 5)
    monkeypatch.setattr(layers, "_BATCH_TOKENS", 64)  # several batches in a block
    metrics = prompt_metrics(loaded, TEXTS, embed)
    assert len(metrics) == 2
    for found, (up, neurons) in zip(metrics, one_by_one(loaded, TEXTS), strict=True):
        assert found["feature_decorrelation"] == pytest.approx(feature_decorrelation(up), rel=1e-4)
        assert found["effective_rank"] == pytest.approx(effective_rank(up), rel=1e-3)
        assert found["sparsity"] == pytest.approx(hoyer_sparsity(neurons).mean(), rel=1e-4)
        active = np.abs(neurons) > 1e-5 * np.linalg.norm(neurons, axis=1, keepdims=True)
        assert found["active"] == pytest.approx(active.mean(), abs=1e-3)
        assert found["mono_score"] == pytest.approx(plain_mono_score(neurons, embed(tuple(TEXTS))), rel=1e-4)
        assert 0 < found["mono_neurons"] <= 1


def test_wide_layers_have_the_rank_of_the_first_prompts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(layers, "RANK_ROWS", 6)
    rows = np.random.default_rng(0).normal(size=(9, 8)).astype(np.float32)
    reading = layers.PromptMetrics(False)
    for block in (rows[:4], rows[4:]):
        reading.update(block, block, None)
    found = reading.compute()
    assert found["effective_rank"] == pytest.approx(effective_rank(rows[:6]))
    assert found["feature_decorrelation"] == pytest.approx(feature_decorrelation(rows))
    assert "mono_score" not in found


def test_relu_models_are_sparse(tmp_path: Path) -> None:
    opt = load_causal_model(save_causal(tmp_path / "opt", "opt"), device="cpu")
    llama = load_causal_model(save_causal(tmp_path / "llama"), device="cpu")
    found = measure_layers({"opt": opt, "llama": llama}, TEXTS).layers
    active = found[found["metric"] == "active"].groupby("model")["value"].mean()
    assert active["opt"] < 0.8
    assert active["llama"] > 0.95


def test_models_side_by_side(tmp_path: Path) -> None:
    base = with_biases(save_causal(tmp_path / "base", "gpt2"))
    model = load_causal_model(base, device="cpu")
    before = neuron_superpositions(model.model)
    with torch.no_grad():
        model.model.transformer.h[1].mlp.c_fc.bias[:3] += 0.5
    model.model.save_pretrained(tmp_path / "after")
    model.tokenizer.save_pretrained(tmp_path / "after")
    llama = save_causal(tmp_path / "llama")
    told: list[tuple[str, int, int]] = []
    sources = {"base": base, "after": str(tmp_path / "after"), "llama": llama}
    found = measure_layers(sources, TEXTS, embed=embed, device="cpu", on_progress=lambda *done: told.append(done))
    assert told[-1] == ("llama", 8, 8)
    assert repr(found).startswith("LayerMetrics of base (2 layers), after (2 layers)")
    assert [(m.name, m.architecture, m.n_layers) for m in found.models] == [
        ("base", "gpt2", 2), ("after", "gpt2", 2), ("llama", "llama", 2),
    ]  # fmt: skip
    change = found.layers[found.layers["metric"] == "weight_change"]
    assert change["model"].tolist() == ["after"] * 2
    after = neuron_superpositions(model.model)
    assert change["value"].tolist() == pytest.approx([0, superposition_change(before[1], after[1])])
    assert change["value"].iloc[1] > 0
    assert change["depth"].tolist() == [0, 1]
    assert len(found.warnings) == 1
    assert found.warnings[0].startswith("No superposition of llama: ")
    unit = embed(tuple(TEXTS)) / np.linalg.norm(embed(tuple(TEXTS)), axis=1, keepdims=True)
    assert found.prompt_similarity == pytest.approx(((unit @ unit.T).sum() - 8) / 56, rel=1e-6)
    weights_alone = measure_layers({"base": base}, device="cpu")
    assert set(weights_alone.layers["metric"]) == {"weight_median", "weight_gauge"}
    assert weights_alone.layers["value"].abs().max() >= 1
    with pytest.raises(InputError, match="have no bias"):
        measure_layers({"llama": llama}, device="cpu")


def test_biases_that_nobody_trained_give_no_superposition(tmp_path: Path) -> None:
    fresh = save_causal(tmp_path / "fresh", "gpt2")
    with pytest.raises(InputError, match=r"^The median superposition of this gpt2 model is 0"):
        measure_layers({"fresh": fresh}, device="cpu")
    found = measure_layers({"fresh": fresh}, TEXTS, device="cpu")
    assert found.warnings[0].startswith("No superposition of fresh: The median")
    assert "weight_gauge" not in set(found.layers["metric"])


def test_adapters_are_opened_with_their_base(tmp_path: Path) -> None:
    base = load_causal_model(save_causal(tmp_path / "base"), device="cpu")
    config = LoraConfig(r=2, target_modules=["up_proj"], init_lora_weights=False)
    adapted = get_peft_model(base.model, config)
    adapted.save_pretrained(tmp_path / "adapter")
    ids = torch.tensor([[3, 9, 20]])
    with torch.no_grad():
        wanted = adapted.eval()(input_ids=ids).logits
        found = layers.open_model(str(tmp_path / "adapter"), "cpu")
        torch.testing.assert_close(found.model(input_ids=ids).logits, wanted, rtol=1e-4, atol=1e-4)
    assert not any("lora" in name for name, _ in found.model.named_parameters())
    (tmp_path / "adapter" / "adapter_config.json").write_text("{}")
    with pytest.raises(InputError, match="does not name its base model"):
        layers.open_model(str(tmp_path / "adapter"), "cpu")


def test_adapters_that_cannot_be_merged(tmp_path: Path) -> None:
    from monosemy.lm.monolora import MonoLoraConfig

    base = load_causal_model(save_causal(tmp_path / "base"), device="cpu")
    adapted = get_peft_model(base.model, MonoLoraConfig(r=2, target_modules=["up_proj"], placement="output"))
    adapted.save_pretrained(tmp_path / "adapter")
    found = measure_layers({"mono": str(tmp_path / "adapter")}, TEXTS, device="cpu")
    assert "cannot be merged" in found.warnings[0]
    assert set(found.layers["metric"]) == {"feature_decorrelation", "effective_rank", "sparsity", "active"}


@pytest.mark.parametrize(
    ("texts", "options", "sentence"),
    [
        (["one"], {}, "prompts holds 1 text"),
        (["one", "  "], {}, "Prompt 2 is empty; drop it"),
        (["one", "x" * 70], {}, "Prompt 2 has 71 tokens, beyond the context of 32"),
        (["one", "two"], {"max_tokens": 33}, "max_tokens=33 is outside 1 to the model's context of 32"),
        (["one", "two"], {"names": MlpNames("model.layers", "up", "down")}, "the nearest name is"),
    ],
)
def test_refused(texts: list[str], options: dict[str, Any], sentence: str) -> None:
    tokenizer = tiny_tokenizer()
    tokenizer.model_max_length = 64  # the model has 32
    model = tiny("llama")
    model.resize_token_embeddings(len(tokenizer))
    with pytest.raises(InputError, match=re.escape(sentence)):
        prompt_metrics(LoadedModel("tiny", model, tokenizer), texts, **{"max_tokens": None} | options)


def test_long_prompts_keep_their_end(loaded: LoadedModel) -> None:
    long = ["q" * 90 + "the same end of 20.." for _ in range(2)] + ["z" * 75 + "the same end of 20.."]
    found = prompt_metrics(loaded, long, max_tokens=20)
    # The three are the same text once they are cut.
    assert found[0]["feature_decorrelation"] == pytest.approx(0, abs=1e-6)


def test_activations_that_are_not_finite(loaded: LoadedModel) -> None:
    weight = next(mlps(loaded.model)[1].up.parameters())
    kept = weight.detach().clone()
    with torch.no_grad():
        weight[0] = float("nan")
    with pytest.raises(InputError, match=r"activations of layer 1 .* are not finite"):
        prompt_metrics(loaded, TEXTS)
    with torch.no_grad():
        weight.copy_(kept)


def test_stories(shared_data: Path) -> None:
    found = measure_layers({"stories": str(shared_data / "stories260k")}, TEXTS, device="cpu")
    assert found.models[0].n_layers == 5
    values = found.layers[found.layers["metric"] == "feature_decorrelation"]["value"]
    assert values.between(0, 1.2).all()


# For each: the module of a layer's up-projection, and whether its weight has a neuron's inputs in a column.
UP: dict[str, tuple[Callable[[Any], Any], bool]] = {
    "gpt2": (lambda m: [block.mlp.c_fc for block in m.transformer.h], True),
    "gpt_neo": (lambda m: [block.mlp.c_fc for block in m.transformer.h], False),
    "gptj": (lambda m: [block.mlp.fc_in for block in m.transformer.h], False),
    "opt": (lambda m: [layer.fc1 for layer in m.model.decoder.layers], False),
    "gpt_neox": (lambda m: [layer.mlp.dense_h_to_4h for layer in m.gpt_neox.layers], False),
}


@pytest.mark.parametrize("kind", UP)
def test_superposition_by_hand(kind: str) -> None:
    model = tiny(kind)
    find, in_columns = UP[kind]
    with torch.no_grad():
        for number, up in enumerate(find(model)):
            up.weight.zero_()
            up.bias.zero_()
            # Neuron 7 has the inputs 3 and 4 (length 5) and a bias; neuron 9 one input only.
            for neuron, place, value in ((7, 0, 3.0), (7, 15, 4.0), (9, 2, 2.0)):
                up.weight[(place, neuron) if in_columns else (neuron, place)] = value
            up.bias[7], up.bias[9] = -0.1 * (number + 1), 0.5
    found = neuron_superpositions(model)
    assert [len(neurons) for neurons in found] == [40] * 3
    for number, neurons in enumerate(found):
        expected = np.zeros(40)
        expected[7], expected[9] = -0.5 * (number + 1), 1.0
        assert neurons == pytest.approx(expected, rel=1e-6)


def test_superposition_needs_biases() -> None:
    with pytest.raises(InputError, match=r"MLPs of this llama model have no bias \(layer 0\)"):
        neuron_superpositions(tiny("llama"))


def test_superposition_counts_merged_adapters() -> None:
    torch.manual_seed(1)
    config = LoraConfig(r=2, target_modules=["fc1"], init_lora_weights=False)
    adapted = get_peft_model(tiny("opt"), config)
    with pytest.raises(InputError, match=r"adapter on model\.decoder\.layers\.0\.fc1 cannot be merged"):
        neuron_superpositions(adapted)
    layer = adapted.get_base_model().model.decoder.layers[0].fc1
    weight = (layer.base_layer.weight + layer.get_delta_weight("default")).detach().numpy()
    bias = torch.randn(40, generator=torch.Generator().manual_seed(2))
    layer.base_layer.bias.data[:] = bias
    found = neuron_superpositions(adapted.merge_and_unload())[0]
    assert found == pytest.approx(np.linalg.norm(weight, axis=1) * bias.numpy(), rel=1e-5)
    assert not np.allclose(found, neuron_superpositions(tiny("opt"))[0])
