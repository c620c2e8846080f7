"""Readers of LoRA files do not take a MonoLoRA adapter for LoRA; what PEFT refuses to LoRA is refused here, too."""

from pathlib import Path

import pytest
import torch
from made_adapters import adapted, config, filled, llama, token_batch
from peft import LoraConfig, PeftModel, get_model_status, get_peft_model
from peft.utils.hotswap import prepare_model_for_compiled_hotswap
from safetensors.torch import load_file
from transformers import MambaConfig, MambaForCausalLM, Qwen3MoeConfig, Qwen3MoeForCausalLM

from monosemy.functional.lora import PLACEMENTS
from monosemy.lm.monolora import MonoLoraConfig

FILE = "adapter_model.safetensors"


def read_as_vllm(folder: Path) -> None:
    """vLLM: the part before the last of each name is lora_A or lora_B."""
    for name in load_file(folder / FILE):
        if name.split(".")[-2] not in ("lora_A", "lora_B"):
            raise ValueError(f"unsupported LoRA weight: {name}")


def read_as_llama_cpp(folder: Path) -> None:
    """llama.cpp: each name holds .lora_A.weight or .lora_B.weight."""
    for name in load_file(folder / FILE):
        if ".lora_A.weight" not in name and ".lora_B.weight" not in name:
            raise ValueError(f"Unexpected name '{name}': Not a lora_A or lora_B tensor")


READERS = [read_as_vllm, read_as_llama_cpp]


@pytest.mark.parametrize("placement", PLACEMENTS)
@pytest.mark.parametrize("read", READERS)
def test_readers_of_lora_files_stop(read, placement: str, tmp_path) -> None:
    filled(adapted(placement=placement)).save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="mono_"):
        read(tmp_path)


@pytest.mark.parametrize("non_negative", ["relu", "rep_relu"])
def test_to_lora_is_exact_and_read_by_all(non_negative: str, tmp_path) -> None:
    model = filled(adapted(placement="weights", non_negative=non_negative, use_rslora=True))
    model.to_lora(tmp_path)
    for read in READERS:
        read(tmp_path)
    loaded = PeftModel.from_pretrained(llama(), tmp_path).eval()
    assert type(loaded.peft_config["default"]) is LoraConfig
    tokens = token_batch()
    assert not torch.equal(model(tokens).logits, llama().eval()(tokens).logits), "the adapter has an effect"
    torch.testing.assert_close(loaded(tokens).logits, model(tokens).logits)


@pytest.mark.parametrize("placement", [p for p in PLACEMENTS if p != "weights"])
def test_to_lora_is_refused_for_other_placements(placement: str, tmp_path, says) -> None:
    with says("'default'", f"placement='{placement}'", "weights"):
        adapted(placement=placement).to_lora(tmp_path / "lora")
    assert not (tmp_path / "lora").exists()
    with says("'other'", "'default'"):
        adapted(placement="weights").to_lora(tmp_path / "lora", "other")


def test_the_card_says_what_is_needed_once(tmp_path) -> None:
    model = adapted()
    for _ in range(2):
        model.save_pretrained(tmp_path)
    card = (tmp_path / "README.md").read_text()
    assert card.count("from monosemy.lm import MonoLoraConfig") == 1
    assert "- monolora" in card


@pytest.mark.parametrize("placement", PLACEMENTS)
def test_preparation_for_hotswap_is_refused_and_changes_nothing(placement: str, says) -> None:
    model = filled(adapted(placement=placement))
    before = model(token_batch()).logits
    with says("hot-swapping", "to_lora"):
        prepare_model_for_compiled_hotswap(model, target_rank=16)
    assert torch.equal(model(token_batch()).logits, before)


def test_preparation_for_hotswap_of_lora_still_works() -> None:
    model = get_peft_model(llama(), LoraConfig(r=4, target_modules=["q_proj"]))
    prepare_model_for_compiled_hotswap(model, target_rank=16)
    assert model.base_model.model.model.layers[0].self_attn.q_proj.lora_A["default"].out_features == 16


def moe() -> Qwen3MoeForCausalLM:
    return Qwen3MoeForCausalLM(
        Qwen3MoeConfig(
            hidden_size=16, num_hidden_layers=1, num_attention_heads=4, num_key_value_heads=2, head_dim=8,
            intermediate_size=32, moe_intermediate_size=16, num_experts=4, num_experts_per_tok=2, vocab_size=64,
        )
    )  # fmt: skip


@pytest.mark.parametrize("targets", [["q_proj", "gate_proj"], ["down_proj"], r".*\.(q_proj|up_proj)", "all-linear"])
def test_experts_are_refused_by_name(targets, says) -> None:
    with says("mlp.experts", "gate_up_proj", "exclude_modules"):
        get_peft_model(moe(), config(target_modules=targets))


def test_experts_that_are_left_out_on_purpose() -> None:
    get_peft_model(moe(), config(target_modules=["q_proj"]))
    get_peft_model(moe(), config(target_modules="all-linear", exclude_modules=r".*experts.*"))


@pytest.mark.parametrize("targets", [["out_proj"], "all-linear"])
def test_out_proj_of_mamba(targets, says) -> None:
    model = MambaForCausalLM(MambaConfig(hidden_size=16, num_hidden_layers=1, vocab_size=64, state_size=4))
    with says("out_proj", "mamba"):
        get_peft_model(model, config(target_modules=targets))


@pytest.mark.parametrize(
    ("name", "value"), [("exclude_modules", ["q_proj"]), ("modules_to_save", ["q_proj"]), ("layers_to_transform", [7])]
)
def test_the_setting_that_leaves_nothing_is_named(name: str, value: list, says) -> None:
    with says("q_proj", f"{name}={value!r}") as caught:
        get_peft_model(llama(), config(target_modules=["q_proj"], **{name: value}))
    assert "choose among" not in str(getattr(caught, "value", ""))


def test_choices_for_a_second_adapter_are_layers_of_the_model(says) -> None:
    model = adapted(target_modules=["q_proj"])
    with says("qq_proj", "choose among q_proj, k_proj"):
        model.add_adapter("other", config(target_modules=["qq_proj"]))


def test_status_knows_the_type() -> None:
    assert get_model_status(adapted()).peft_types == {"default": "MONOLORA"}


def test_shards_that_were_not_gathered_are_reported(tmp_path) -> None:
    model = adapted()
    model.base_model.model.model.layers[0].self_attn.q_proj.lora_A["default"].weight.data = torch.zeros(32)
    with pytest.warns(UserWarning, match="not gathered"):
        model.save_pretrained(tmp_path)


def test_defaults_are_lora_s_and_the_paper_s_by_name() -> None:
    mono, lora, paper = MonoLoraConfig(), LoraConfig(), MonoLoraConfig.paper(r=16)
    assert (mono.r, mono.lora_alpha, mono.lora_dropout) == (lora.r, lora.lora_alpha, lora.lora_dropout)
    assert (paper.r, paper.lora_alpha, paper.lora_dropout) == (16, 4, 0.1)
