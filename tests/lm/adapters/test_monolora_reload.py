"""What is saved comes back exactly, through every loader, and never as plain LoRA."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from made_adapters import CAUSAL, FAMILIES, adapted, config, filled, llama, token_batch
from peft import (
    AutoPeftModelForCausalLM,
    AutoPeftModelForSequenceClassification,
    LoraConfig,
    PeftConfig,
    PeftModel,
    get_peft_model,
)

from monosemy.functional.lora import PLACEMENTS
from monosemy.lm.monolora import MonoLoraConfig, MonoLoraModel


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("placement", PLACEMENTS)
def test_peft_and_transformers_reload_exactly(tmp_path: Path, family: str, placement: str) -> None:
    model = filled(adapted(family, placement=placement, non_negative="rep_relu"))
    tokens = token_batch()
    wanted = model(tokens).logits
    model.save_pretrained(tmp_path)
    again = PeftModel.from_pretrained(FAMILIES[family](), tmp_path)
    assert isinstance(again.base_model, MonoLoraModel)
    assert torch.equal(again.eval()(tokens).logits, wanted)
    meta = PeftModel.from_pretrained(FAMILIES[family](), tmp_path, low_cpu_mem_usage=True)
    assert torch.equal(meta.eval()(tokens).logits, wanted)
    if family in CAUSAL:  # in a classifier transformers' loader leaves the saved head out, with LoRA too
        plain = FAMILIES[family]()
        plain.load_adapter(str(tmp_path))
        assert torch.equal(plain.eval()(tokens).logits, wanted)


def test_the_configuration_comes_back(tmp_path: Path) -> None:
    adapted(placement="both", non_negative="rep_relu", use_rslora=True).save_pretrained(tmp_path)
    again = PeftConfig.from_pretrained(tmp_path)
    assert isinstance(again, MonoLoraConfig)
    assert (again.peft_type, again.placement, again.non_negative) == ("MONOLORA", "both", "rep_relu")
    assert again.use_rslora
    assert json.loads((tmp_path / "adapter_config.json").read_text())["peft_type"] == "MONOLORA"


@pytest.mark.parametrize(
    ("family", "loaders"),
    [
        ("llama", (AutoPeftModelForCausalLM,)),
        ("gpt2", (AutoPeftModelForCausalLM,)),
        ("bert", (AutoPeftModelForSequenceClassification,)),
    ],
)
def test_auto_classes(tmp_path: Path, family: str, loaders: tuple[type, ...]) -> None:
    base = tmp_path / "base"
    FAMILIES[family]().save_pretrained(base)
    trained = FAMILIES[family]().from_pretrained(base)
    task = "SEQ_CLS" if family == "bert" else "CAUSAL_LM"
    model = filled(get_peft_model(trained, config(placement="hidden", task_type=task)))
    tokens = token_batch()
    model.save_pretrained(tmp_path / "adapter")
    for loader in loaders:
        again = loader.from_pretrained(str(tmp_path / "adapter"))
        assert torch.equal(again.eval()(tokens).logits, model(tokens).logits), loader


def test_modules_to_save(tmp_path: Path) -> None:
    model = filled(adapted(placement="output", target_modules=["q_proj"], modules_to_save=["lm_head"]))
    model.base_model.model.lm_head.modules_to_save["default"].weight.data += 0.1
    model.save_pretrained(tmp_path)
    again = PeftModel.from_pretrained(llama(), tmp_path).eval()
    assert torch.equal(again(token_batch()).logits, model(token_batch()).logits)


def test_files_are_as_small_as_loras(tmp_path: Path) -> None:
    lora = get_peft_model(llama(), LoraConfig(r=4, target_modules="all-linear", task_type="CAUSAL_LM"))
    lora.save_pretrained(tmp_path / "lora")
    wanted = (tmp_path / "lora" / "adapter_model.safetensors").stat().st_size
    for placement in PLACEMENTS:
        adapted(placement=placement).save_pretrained(tmp_path / placement)
        assert (tmp_path / placement / "adapter_model.safetensors").stat().st_size == wanted


ALONE = """
import sys
from peft import PeftModel
from transformers import AutoModelForCausalLM
model = AutoModelForCausalLM.from_pretrained(sys.argv[1])
try:
    PeftModel.from_pretrained(model, sys.argv[2])
except Exception as error:
    print("refused", type(error).__name__, error)
try:
    model.load_adapter(sys.argv[2])
except Exception as error:
    print("refused", type(error).__name__, error)
assert "monosemy" not in sys.modules
"""


def test_without_this_package_nothing_loads(tmp_path: Path) -> None:
    llama().save_pretrained(tmp_path / "base")
    filled(adapted(placement="output")).save_pretrained(tmp_path / "adapter")
    command = [sys.executable, "-c", ALONE, str(tmp_path / "base"), str(tmp_path / "adapter")]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
    assert done.stdout.count("refused KeyError 'MONOLORA'") == 2, done.stdout


FRESH = """
import sys
from monosemy.lm import load_adapter
from monosemy.lm.models import LoadedModel
from transformers import AutoModelForCausalLM
model = AutoModelForCausalLM.from_pretrained(sys.argv[1])
print(load_adapter(LoadedModel("base", model, None), sys.argv[2]).model.peft_config["default"].placement)
"""


def test_load_adapter_registers_monolora(tmp_path: Path) -> None:
    llama().save_pretrained(tmp_path / "base")
    filled(adapted(placement="output")).save_pretrained(tmp_path / "adapter")
    command = [sys.executable, "-c", FRESH, str(tmp_path / "base"), str(tmp_path / "adapter")]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
    assert done.stdout == "output\n"


def other_bases() -> dict[str, object]:
    return {
        "wider": llama(hidden_size=64),
        "deeper": llama(num_hidden_layers=3),
        "shallower": llama(num_hidden_layers=1),
    }


@pytest.mark.parametrize("kind", ["wider", "deeper", "shallower"])
def test_an_adapter_of_another_base_is_refused(tmp_path: Path, kind: str, says) -> None:
    adapted(target_modules=["q_proj", "v_proj"]).save_pretrained(tmp_path)
    with says("another base model", "_proj.lora_A"):
        PeftModel.from_pretrained(other_bases()[kind], tmp_path)


def test_an_adapter_of_another_family_is_refused(tmp_path: Path, says) -> None:
    adapted(target_modules=["q_proj", "v_proj"]).save_pretrained(tmp_path)
    with says("q_proj, v_proj", "GPT2LMHeadModel", "c_attn"):
        PeftModel.from_pretrained(FAMILIES["gpt2"](), tmp_path)
