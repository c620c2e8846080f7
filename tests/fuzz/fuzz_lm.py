"""Readers that need the extra `lm`, with the sound files that hostile variants are made from."""

import json
from pathlib import Path
from typing import Any

import torch
from fuzz_data import EMBEDDINGS, SPLITS, N, Target, load, stream, write_csv
from fuzz_models import plan


def _adapter_plan(folder: Path) -> None:
    values = {
        "model": "m",
        "data": {"source": "x"},
        "methods": ["lora", "base"],
        "training": {"rank": 4},
        "learning_rates": [1e-4],
        "n_seeds": 2,
    }
    (folder / "plan.yaml").write_text(json.dumps(values))


def _adapter_model() -> Any:
    from monosemy.study.lora import LoraPlan

    return LoraPlan


def _align_plan(folder: Path) -> None:
    values = {
        "data": {"source": "x"},
        "models": ["m"],
        "weights": [1e-4],
        "losses": ["ipo"],
        "training": {},
        "n_seeds": 1,
    }
    (folder / "plan.yaml").write_text(json.dumps(values))


def _align_model() -> Any:
    from monosemy.study.dpo import DpoPlan

    return DpoPlan


def _instructions(folder: Path) -> None:
    rows = [{"instruction": f"do {i}", "context": "", "response": f"done {i}", "split": SPLITS[i]} for i in range(N)]
    (folder / "t.jsonl").write_text("\n".join(map(json.dumps, rows)))


def _dialogues(folder: Path) -> None:
    said = [[{"role": "user", "content": f"q {i}"}, {"role": "assistant", "content": f"a {i}"}] for i in range(N)]
    (folder / "t.jsonl").write_text("\n".join(json.dumps({"messages": messages}) for messages in said))


def _saved(folder: Path) -> None:
    from datasets import Dataset

    rows = {"text": [f"text {i}" for i in range(N)], "label": [i % 4 for i in range(N)]}
    Dataset.from_dict(rows).save_to_disk(str(folder / "saved"))


def _saved_rows(folder: Path) -> None:
    from datasets import Dataset

    Dataset.from_dict({"embedding": EMBEDDINGS.tolist()}).save_to_disk(str(folder / "saved"))


def _read_instructions(folder: Path) -> Any:
    from monosemy.lm.config import InstructionConfig
    from monosemy.lm.instructions import load_instructions

    return load_instructions(InstructionConfig(source=str(folder / "t.jsonl")))


def _preferences(folder: Path) -> None:
    rows = [{"prompt": f"q {i}", "chosen": f"good {i}", "rejected": f"bad {i}"} for i in range(N)]
    (folder / "t.jsonl").write_text("\n".join(map(json.dumps, rows)))


def _detox(folder: Path) -> None:
    rows = [{"toxic": f"bad {i}", "neutral": [f"good {i}", f"kind {i}"]} for i in range(N)]
    (folder / "t.jsonl").write_text("\n".join(map(json.dumps, rows)))


def _sycophancy(folder: Path) -> None:
    rows = [
        {
            "question": f"q {i}",
            "answer_matching_behavior": " (A)",
            "answer_not_matching_behavior": " (B)",
            "split": "generate",
        }
        for i in range(N)
    ]
    (folder / "t.jsonl").write_text("\n".join(map(json.dumps, rows)))


def _safe_rlhf(folder: Path) -> None:
    rows = [
        {
            "prompt": f"q {i}",
            "response_0": f"a {i}",
            "response_1": f"b {i}",
            "safer_response_id": i % 2,
            "better_response_id": 0,
        }
        for i in range(N)
    ]
    (folder / "t.jsonl").write_text("\n".join(map(json.dumps, rows)))


def _read_preferences(folder: Path) -> Any:
    from monosemy.lm.config import PreferenceConfig
    from monosemy.lm.preferences import load_preferences

    return load_preferences(PreferenceConfig(source=str(folder / "t.jsonl"), template="chat"))


def _read_classification(folder: Path) -> Any:
    from monosemy.lm.texts import load_classification

    return load_classification(str(folder / "t.csv"))


def _base_model() -> Any:
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    small = {
        "vocab_size": 16,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "hidden_size": 8,
        "intermediate_size": 8,
    }
    return LlamaForCausalLM(LlamaConfig(**small))


def _adapter(folder: Path) -> None:
    from peft import get_peft_model

    from monosemy.lm.monolora import MonoLoraConfig

    config = MonoLoraConfig(r=2, target_modules=["q_proj"], task_type="CAUSAL_LM", base_model_name_or_path="base")
    get_peft_model(_base_model(), config).save_pretrained(folder)
    (folder / "README.md").unlink(missing_ok=True)


def _read_adapter(folder: Path) -> Any:
    from monosemy.lm.adapter_training import load_adapter
    from monosemy.lm.models import LoadedModel

    return load_adapter(LoadedModel("base", _base_model(), None), folder)


LM_TARGETS: dict[str, Target] = {
    "saved data set": Target(_saved, load("saved")),
    "stream of a saved data set": Target(_saved_rows, stream("saved")),
    "adapter plan": Target(_adapter_plan, plan(_adapter_model)),
    "alignment plan": Target(_align_plan, plan(_align_model)),
    "instructions": Target(_instructions, _read_instructions),
    "dialogues": Target(_dialogues, _read_instructions),
    "preferences": Target(_preferences, _read_preferences),
    "preferences of rewrites": Target(_detox, _read_preferences),
    "preferences of sycophancy": Target(_sycophancy, _read_preferences),
    "preferences of safety": Target(_safe_rlhf, _read_preferences),
    "labelled texts": Target(write_csv, _read_classification),
    "adapter": Target(_adapter, _read_adapter),
}
