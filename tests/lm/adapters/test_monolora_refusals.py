"""What MonoLoRA cannot do is refused in a sentence, before anything is changed."""

import re

import pytest
import torch
from made_adapters import adapted, config, filled, llama, token_batch
from peft import EvaConfig, PeftMixedModel, convert_to_lora, get_peft_model
from peft.tuners.lora import LoraLayer
from peft.utils.hotswap import hotswap_adapter
from torch import nn

from monosemy.errors import InputError
from monosemy.functional.lora import PLACEMENTS
from monosemy.lm.monolora import MonoLoraConfig

NON_LINEAR = [p for p in PLACEMENTS if p != "weights"]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("placement", "inside"),
        ("non_negative", "softplus"),
        ("init_lora_weights", False),
        ("init_lora_weights", "pissa"),
        ("init_lora_weights", "mica"),
        ("use_dora", True),
        ("use_qalora", True),
        ("lora_bias", True),
        ("alora_invocation_tokens", [1]),
        ("velora_config", {}),
        ("target_parameters", ["experts.gate_up_proj"]),
    ],
)
def test_settings_without_a_meaning(name: str, value: object, says) -> None:
    if value == {}:
        from peft.tuners.lora.config import VeloraConfig

        value = VeloraConfig()
    with says(f"{name}=", "MonoLoRA"):
        MonoLoraConfig(**{name: value})


def test_eva_is_no_refusal() -> None:
    assert MonoLoraConfig(init_lora_weights="eva", eva_config=EvaConfig()).init_lora_weights == "eva"


def parameters_of(model: nn.Module) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in model.state_dict().items()}


@pytest.mark.parametrize("call", ["merge_and_unload", "merge_adapter", "layer"])
@pytest.mark.parametrize("placement", NON_LINEAR)
def test_merging_names_the_placement_and_touches_nothing(placement: str, call: str, says) -> None:
    model = filled(adapted(placement="weights"))
    model.add_adapter("other", config(placement=placement))
    filled(model)
    model.base_model.set_adapter(["default", "other"])
    before = parameters_of(model)
    with says("'other'", f"placement='{placement}'", "weights"):
        if call == "layer":
            model.base_model.model.model.layers[0].self_attn.q_proj.merge(adapter_names=["other"])
        else:
            getattr(model, call)()
    after = parameters_of(model)
    assert before.keys() == after.keys()
    assert all(torch.equal(value, after[name]) for name, value in before.items())
    assert not any(m.merged_adapters for m in model.modules() if isinstance(m, LoraLayer))


def test_the_mergeable_one_of_two_can_be_merged() -> None:
    model = filled(adapted(placement="weights"))
    model.add_adapter("other", config(placement="output"))
    tokens = token_batch()
    wanted = model(tokens).logits
    torch.testing.assert_close(model.merge_and_unload(adapter_names=["default"])(tokens).logits, wanted)


def test_no_conversion_weighting_mixing_or_swapping(tmp_path, says) -> None:
    model = filled(adapted(placement="weights"))
    with says("add_weighted_adapter"):
        model.add_weighted_adapter(["default"], [1.0], "sum")
    assert not model.supports_lora_conversion()
    with pytest.raises(TypeError, match="do not support LoRA conversion"):
        convert_to_lora(model, rank=2)
    with pytest.raises(ValueError, match="MONOLORA"):
        PeftMixedModel(llama(), config())
    model.save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="MONOLORA"):
        hotswap_adapter(model, tmp_path, adapter_name="default")


def test_lora_cannot_join_nor_be_joined() -> None:
    from peft import LoraConfig

    with pytest.raises(ValueError, match="different peft types"):
        adapted().add_adapter("lora", LoraConfig(target_modules=["q_proj"]))


class Mixed(nn.Module):
    """A linear layer among others."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(4, 4)
        self.table = nn.Embedding(5, 4)
        self.conv = nn.Conv1d(4, 4, 1)
        self.attention = nn.MultiheadAttention(4, 2)


@pytest.mark.parametrize(
    ("kind", "name"), [("Embedding", "table"), ("Conv1d", "conv"), ("MultiheadAttention", "attention")]
)
def test_other_kinds_of_layers_are_refused_and_nothing_stays(kind: str, name: str, says) -> None:
    model = Mixed()
    before = dict(model.named_modules())
    with says(name, kind, "linear"):
        get_peft_model(model, config(target_modules=["first", name]))
    assert dict(model.named_modules()) == before


def test_a_refused_second_adapter_leaves_the_first(says) -> None:
    model = filled(get_peft_model(Mixed(), config(target_modules=["first"])))
    before = parameters_of(model)
    with says("table"):
        model.add_adapter("other", config(target_modules=["first", "table"]))
    assert list(model.peft_config) == ["default"]
    assert parameters_of(model).keys() == before.keys()
    assert model.base_model.model.first.active_adapters == ["default"]
    model.add_adapter("other", config(target_modules=["first"]))


def test_quantised_layers_outside_the_whitelist(monkeypatch, says) -> None:
    """A dispatcher that PEFT may have for a library that is not installed here, with a layer that ignores variants."""
    from peft.tuners.lora import layer as lora_layer, model as lora_model

    class AwqLoraLinear(lora_layer.Linear):
        pass

    AwqLoraLinear.__module__ = "peft.tuners.lora.awq"

    def dispatch(target: nn.Module, adapter_name: str, config, **kwargs):
        return AwqLoraLinear(target, adapter_name, config=config, **kwargs) if isinstance(target, nn.Linear) else None

    monkeypatch.setattr(lora_model, "dispatch_awq", dispatch)
    with says("first", "Linear", "bitsandbytes"):
        get_peft_model(Mixed(), config(target_modules=["first"]))


@pytest.mark.parametrize("kind", ["Linear8bitLt", "Linear4bit", "GPTQLoraLinear", "HqqLoraLinear"])
def test_quantised_layers_inside_it_are_given_s_plus(monkeypatch, kind: str, says) -> None:
    from peft.tuners.lora import layer as lora_layer, model as lora_model

    quantised = type(kind, (lora_layer.Linear,), {"__module__": "peft.tuners.lora.made"})
    monkeypatch.setattr(
        lora_model,
        "dispatch_awq",
        lambda target, name, config, **kwargs: quantised(target, name, config=config, **kwargs),
    )
    model = filled(get_peft_model(llama(), config(target_modules=["q_proj"], task_type="CAUSAL_LM")))
    layer = model.base_model.model.model.layers[0].self_attn.q_proj
    assert type(layer).__name__ == kind
    assert (layer(torch.randn(5, 32)) - layer.base_layer(torch.zeros(5, 32))).shape == (5, 32)
    x = torch.randn(3, 32)
    assert ((layer(x) - layer.base_layer(x)) >= -1e-6).all(), "the update of `output` is never negative"
    if kind in ("GPTQLoraLinear", "HqqLoraLinear"):
        with says("adapter_names", kind):
            model(token_batch(), adapter_names=["default"] * 4)


def test_target_modules_that_are_not_there(says) -> None:
    with says("q_projj", "LlamaForCausalLM", "(nearest: q_proj"):
        get_peft_model(llama(), config(target_modules=["q_projj"]))
    with says("zzz", "choose among q_proj, k_proj"):
        get_peft_model(llama(), config(target_modules=["zzz"]))
    with says("layers.*query", "LlamaForCausalLM"):
        get_peft_model(llama(), config(target_modules=r".*layers.*query"))
    with says("target_modules", "custom", "first"):
        get_peft_model(Mixed(), config(target_modules=None))


def test_input_errors_are_value_errors() -> None:
    with pytest.raises(ValueError, match=re.escape("placement='inside'")):
        MonoLoraConfig(placement="inside")
    assert issubclass(InputError, ValueError)
