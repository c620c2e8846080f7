"""TRL's trainers take the rows as they are: one real step of each on a tiny model."""

import json
from pathlib import Path
from typing import Any

import pytest
from test_instructions import ALPACA, MESSAGES, PAIRS, TEXTS, write
from tiny_models import CHAT_TEMPLATE, save_causal, tiny_tokenizer

from monosemy.lm.config import InstructionConfig, PreferenceConfig
from monosemy.lm.instructions import load_instructions
from monosemy.lm.preferences import load_preferences

SETTINGS: dict[str, Any] = {
    "max_steps": 1,
    "per_device_train_batch_size": 2,
    "report_to": [],
    "save_strategy": "no",
    "use_cpu": True,
    "bf16": False,
    "disable_tqdm": True,
}
SENTENCES = [{"sentence": f"fine film {i}", "label": i % 2} for i in range(20)]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("model")
    return save_causal(folder, tokenizer=tiny_tokenizer(chat_template=CHAT_TEMPLATE), scale=1.0)


@pytest.mark.slow
@pytest.mark.parametrize("template", ["plain", "alpaca", "chat"])
@pytest.mark.parametrize("rows", [ALPACA, MESSAGES, PAIRS, TEXTS, SENTENCES], ids=lambda rows: next(iter(rows[0])))
def test_instructions_train(rows: list[dict[str, Any]], template: Any, model: str, tmp_path: Path) -> None:
    from trl import SFTConfig, SFTTrainer

    source = write(rows, tmp_path / "rows.jsonl")
    datasets = load_instructions(InstructionConfig(source=source, template=template)).datasets()
    trainer = SFTTrainer(model, args=SFTConfig(str(tmp_path), **SETTINGS), train_dataset=datasets["train"])
    result = trainer.train()
    assert result.training_loss > 0
    batch = next(iter(trainer.get_train_dataloader()))
    scored = (batch["labels"] != -100).sum()
    assert 0 < scored <= batch["input_ids"].numel()
    if datasets["train"].column_names[0] == "prompt":
        assert scored < batch["attention_mask"].sum(), "the prompts are not trained on"


@pytest.mark.slow
@pytest.mark.parametrize("template", ["plain", "chat"])
def test_preferences_train(template: Any, model: str, tmp_path: Path) -> None:
    from trl import DPOConfig, DPOTrainer

    rows = [{"toxic": f"damn {i} !", "neutral": [f"oh {i}"]} for i in range(20)]
    path = tmp_path / "pairs.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)))
    datasets = load_preferences(PreferenceConfig(source=str(path), template=template)).datasets()
    trainer = DPOTrainer(model, args=DPOConfig(str(tmp_path), **SETTINGS), train_dataset=datasets["train"])
    assert trainer.train().training_loss == pytest.approx(0.6931, abs=1e-3), "the first step's loss is ln 2"
