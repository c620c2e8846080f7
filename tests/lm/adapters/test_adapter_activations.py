"""Units of adapters: what is read off, and the statistics, against the plain way by hand."""

import numpy as np
import pytest
import torch
from made_adapters import adapted, bert, config, filled, gpt2, llama, token_batch
from peft import LoraConfig, get_peft_model
from peft.tuners.lora import LoraLayer

from monosemy.functional.consistency import activation_counts, semantic_consistency
from monosemy.functional.lora import PLACEMENTS, low_rank_update
from monosemy.lm.adapter_units import adapter_activations, describe_adapter

Q = "base_model.model.model.layers.0.self_attn.q_proj"


def batches() -> list[dict[str, torch.Tensor]]:
    """Three texts in two batches; the first two end in padding, one begins with it."""
    tokens = token_batch(3, 6)
    mask = torch.ones_like(tokens)
    mask[0, 4:] = 0
    mask[2, :2] = 0
    return [{"input_ids": tokens[i], "attention_mask": mask[i]} for i in (slice(0, 2), slice(2, 3))]


def inputs_of(model, name: str, batch) -> torch.Tensor:
    """What goes into a layer, (T, D), by a hook on the layer itself."""
    caught = []
    handle = model.get_submodule(name).register_forward_pre_hook(lambda _, args: caught.append(args[0]))
    with torch.no_grad():
        model(**batch)
    handle.remove()
    return caught[0][batch["attention_mask"].bool()]


@pytest.mark.parametrize("non_negative", ["relu", "rep_relu"])
@pytest.mark.parametrize("placement", PLACEMENTS)
def test_updates_are_the_formula_and_padding_is_out(placement: str, non_negative: str) -> None:
    model = filled(adapted(placement=placement, non_negative=non_negative, lora_dropout=0.5)).train()
    found = list(adapter_activations(model, batches(), kind="update"))
    assert model.training, "left as it was"
    layer = model.eval().get_submodule(Q)
    a, b = layer.lora_A["default"].weight, layer.lora_B["default"].weight
    for batch, one in zip(batches(), found, strict=True):
        x = inputs_of(model, Q, batch)
        torch.testing.assert_close(one.layers[Q], low_rank_update(x, a, b, placement, non_negative).detach())
        assert one.rows.tokens.tolist() == batch["input_ids"][batch["attention_mask"].bool()].tolist()
        assert len(one.layers) == 14, "seven linear layers in each of two blocks"
    assert found[0].rows.samples.tolist() == [0] * 4 + [1] * 6
    assert found[1].rows.positions.tolist() == [2, 3, 4, 5]


@pytest.mark.parametrize("placement", PLACEMENTS)
def test_hidden_units(placement: str) -> None:
    model = filled(adapted(placement=placement))
    batch = batches()[0]
    (found,) = adapter_activations(model, [batch])
    x, a = inputs_of(model, Q, batch), model.get_submodule(Q).lora_A["default"].weight.detach()
    wanted = x @ (a.clamp(min=0) if placement == "weights" else a).T
    torch.testing.assert_close(found.layers[Q], wanted.clamp(min=0) if placement in ("hidden", "both") else wanted)


def test_layers_that_do_not_see_every_token_are_left_out() -> None:
    model = filled(get_peft_model(bert(), config(target_modules=["query", "pooler.dense"])))
    (found,) = adapter_activations(model, batches()[:1])
    assert len(found.layers) == 2
    assert not any("pooler" in name for name in found.layers)


def plain(placement: str | None):
    settings = {"r": 4, "target_modules": ["q_proj", "down_proj"], "task_type": "CAUSAL_LM"}
    torch.manual_seed(3)
    if placement is None:
        return filled(get_peft_model(llama(), LoraConfig(**settings)))
    return filled(get_peft_model(llama(), config(placement=placement, **settings)))


@pytest.mark.parametrize("of", ["hidden", "update"])
@pytest.mark.parametrize("placement", [None, "output", "both"])
def test_statistics_are_those_of_all_tokens_at_once(placement: str | None, of: str) -> None:
    model, labels = plain(placement), np.array([1, 0, 1])
    described = describe_adapter(model, batches(), labels, kind=of)
    assert repr(described).startswith("AdapterDescription of ")
    texts = np.array([0] * 4 + [1] * 6 + [2] * 4)
    tokens = torch.cat([one.rows.tokens for one in adapter_activations(model, batches())]).numpy()
    for kind in ("hidden", "update"):
        values = torch.cat([one.layers[Q] for one in adapter_activations(model, batches(), kind=kind)]).numpy()
        row = described.layers.set_index("layer").loc[Q]
        assert row[f"{kind}_zeros"] == pytest.approx((values == 0).mean())
        if kind != of:
            continue
        units = described.units[described.units.layer == Q]
        counts = activation_counts(values, labels[texts], 2)
        wanted = semantic_consistency(counts, np.bincount(labels[texts]) / len(texts))
        np.testing.assert_allclose(units.label_consistency, wanted.score)
        np.testing.assert_allclose(units.label_chance, wanted.chance)
        assert units.support.tolist() == wanted.support.tolist()
        for m, unit in enumerate(units.itertuples()):
            largest = {t: values[texts == t, m].max() for t in range(3) if values[texts == t, m].max() > 0}
            assert unit.top_texts == sorted(largest, key=lambda t: -largest[t])
            assert unit.top_values == pytest.approx([largest[t] for t in unit.top_texts])
        if of == "hidden":
            _, numbered = np.unique(tokens, return_inverse=True)
            by_token = activation_counts(values, numbered, numbered.max() + 1)
            np.testing.assert_allclose(units.token_consistency, by_token.max(axis=0) / by_token.sum(axis=0))
        else:
            assert "token_consistency" not in units


def test_only_s_plus_makes_zeros() -> None:
    zeros = {p: describe_adapter(plain(p), batches()).means() for p in (None, *PLACEMENTS)}
    for placement, found in zeros.items():
        assert (found["hidden_zeros"] > 0.2) == (placement in ("hidden", "both"))
        assert (found["update_zeros"] > 0.2) == (placement in ("output", "both"))
        assert "label_consistency" not in found


def test_top_positions_and_number() -> None:
    model = plain("hidden")
    described = describe_adapter(model, batches(), n_top=2)
    (first, _) = adapter_activations(model, batches())
    values = first.layers[Q][:4, 0]
    unit = described.units[(described.units.layer == Q) & (described.units.unit == 0)].iloc[0]
    assert len(unit.top_texts) <= 2
    if 0 in unit.top_texts:
        assert unit.top_positions[unit.top_texts.index(0)] == int(values.argmax())


def test_an_adapter_loaded_by_transformers(tmp_path) -> None:
    model = filled(adapted("gpt2", placement="both"))
    model.save_pretrained(tmp_path)
    other = gpt2()
    other.load_adapter(str(tmp_path))
    ours, theirs = (next(iter(adapter_activations(m, batches(), kind="update"))).layers for m in (model, other))
    assert [n.removeprefix("base_model.model.") for n in ours] == list(theirs)
    assert all(torch.equal(a, b) for a, b in zip(ours.values(), theirs.values(), strict=True))


def test_wrong_calls(says) -> None:
    model = plain("output")
    with says("kind='output'", "hidden"):
        describe_adapter(model, batches(), kind="output")
    with says("batches", "empty"):
        describe_adapter(model, [])
    with says("labels", "(2,)", "3 texts"):
        describe_adapter(model, batches(), [0, 1])
    with says("adapter='other'"):
        describe_adapter(model, batches(), adapter="other")
    with says("input_ids", "pixels"):
        next(adapter_activations(model, [{"pixels": torch.ones(1)}]))
    with model.disable_adapter(), says("adapter='default'", "activate"):
        describe_adapter(model, batches())
    assert not any(m._forward_hooks for m in model.modules() if isinstance(m, LoraLayer))
