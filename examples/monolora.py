"""LoRA and MonoLoRA on the same tiny causal model: the one import that changes, and what the updates look like."""

import tempfile
import warnings

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import LlamaConfig, LlamaForCausalLM

from monosemy.lm import MonoLoraConfig, describe_adapter

warnings.filterwarnings("ignore", category=FutureWarning, module="transformers")  # set off by PEFT itself
torch.set_num_threads(1)
torch.manual_seed(0)
shape = LlamaConfig(
    vocab_size=64, hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4, bos_token_id=None
)
base = LlamaForCausalLM(shape).state_dict()
tokens = torch.randint(0, 64, (8, 16))
batches = [{"input_ids": tokens, "attention_mask": torch.ones_like(tokens)}]


def fresh() -> LlamaForCausalLM:
    model = LlamaForCausalLM(shape)
    model.load_state_dict(base)
    return model


settings = {"r": 8, "lora_alpha": 4, "lora_dropout": 0.1, "target_modules": "all-linear", "task_type": "CAUSAL_LM"}
configs = {"LoRA": LoraConfig(**settings)} | {
    f"MonoLoRA, {placement}": MonoLoraConfig(placement=placement, **settings)
    for placement in ("output", "hidden", "both", "weights")
}

print(f"{'adapter':18} {'loss':>6} {'zeros in units':>15} {'zeros in updates':>17}")
for name, config in configs.items():
    model = get_peft_model(fresh(), config)
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=0.01)
    for _ in range(30):
        loss = model(input_ids=tokens, labels=tokens).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    means = describe_adapter(model, batches).means()
    print(f"{name:18} {loss.item():6.3f} {means['hidden_zeros']:15.2f} {means['update_zeros']:17.2f}")

with tempfile.TemporaryDirectory() as folder:
    model.save_pretrained(folder)
    again = PeftModel.from_pretrained(fresh(), folder)
    same = torch.equal(again(tokens).logits, model.eval()(tokens).logits)
print(f"reloaded exactly: {same}; merged ('weights' only): {type(model.merge_and_unload()).__name__}")
