"""Implicit rewards: by hand, and as TRL's own trainer reports them."""

import copy

import numpy as np
import pytest
import torch
from datasets import Dataset
from made_aligned import made_loaded, made_rows
from trl import DPOConfig, DPOTrainer

from monosemy.lm.adapter_training import quiet_libraries
from monosemy.lm.dpo_evaluation import PairLikelihoods, implicit_rewards, pair_likelihoods
from monosemy.lm.models import LoadedModel


def test_rewards_by_hand() -> None:
    trained = PairLikelihoods(np.array([-1.0, -2.0, -3.0, -4.0]), np.array([-2.0, -1.0, -3.0, -9.0]))
    reference = PairLikelihoods(np.array([-2.0, -2.0, -3.0, -4.0]), np.array([-2.0, -2.0, -3.0, -4.0]))
    rewards = implicit_rewards(trained, reference, beta=0.5)
    assert rewards.chosen.tolist() == [0.5, 0, 0, 0]
    assert rewards.rejected.tolist() == [0, 0.5, 0, -2.5]
    assert rewards.margins.tolist() == [0.5, -0.5, 0, 2.5]
    assert rewards.accuracy == (1 + 0 + 0.5 + 1) / 4


def test_likelihoods_by_the_slow_way() -> None:
    """Token by token, without padding, with the end of the text."""
    loaded, rows = made_loaded(), made_rows(3)
    found = pair_likelihoods(loaded, rows, batch_size=2)
    for i, row in enumerate(rows):
        prompt = loaded.tokenizer(row["prompt"])["input_ids"]
        ids = prompt + loaded.tokenizer(row["chosen"])["input_ids"] + [loaded.tokenizer.eos_token_id]
        with torch.no_grad():
            log_p = loaded.model(input_ids=torch.tensor([ids])).logits[0].log_softmax(-1)
        wanted = sum(float(log_p[place - 1, ids[place]]) for place in range(len(prompt), len(ids)))
        assert found.chosen[i] == pytest.approx(wanted, rel=1e-5)


@pytest.mark.parametrize("kind", ["llama", "gpt2"])
def test_rewards_are_those_of_trl(kind: str, tmp_path) -> None:
    loaded, rows = made_loaded(kind), made_rows(8)
    reference = copy.deepcopy(loaded.model)
    with torch.no_grad():
        for weight in loaded.model.parameters():
            weight.add_(0.02 * torch.randn_like(weight))
    trained, before = (
        pair_likelihoods(LoadedModel(kind, model, loaded.tokenizer), rows) for model in (loaded.model, reference)
    )
    rewards = implicit_rewards(trained, before, beta=0.3)
    config = DPOConfig(
        str(tmp_path), beta=0.3, per_device_eval_batch_size=8, use_cpu=True, bf16=False, report_to=[],
        gradient_checkpointing=False, disable_tqdm=True,
    )  # fmt: skip
    data = Dataset.from_list(rows)
    with quiet_libraries():
        trainer = DPOTrainer(
            loaded.model, reference, config, train_dataset=data, eval_dataset=data, processing_class=loaded.tokenizer
        )
        found = trainer.evaluate()
    assert found["eval_rewards/margins"] == pytest.approx(rewards.margins.mean(), rel=1e-4)
    assert found["eval_rewards/chosen"] == pytest.approx(rewards.chosen.mean(), rel=1e-4)
    assert found["eval_rewards/accuracies"] == pytest.approx(rewards.accuracy)
