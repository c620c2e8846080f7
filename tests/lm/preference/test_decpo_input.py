"""What DecPO refuses, each in one sentence, and that nothing is lost when a loss is not finite."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from datasets import Dataset
from made_preference import ModelKind, made_pairs, trained_weights
from peft import LoraConfig
from transformers import AutoModelForCausalLM, HfArgumentParser, TrainerCallback
from trl import DPOConfig

from monosemy.errors import InputError
from monosemy.lm.architectures import token_rows
from monosemy.lm.decpo import DecPOConfig, DecPOTrainer, is_empty

Make = Callable[..., Any]


def config(**settings: Any) -> DecPOConfig:
    return DecPOConfig(**({"output_dir": "run", "bf16": False, "use_cpu": True} | settings))


def test_layers_may_be_given_one_by_one() -> None:
    assert config(decpo_layers=3).decpo_layers == ["3"]
    assert config(decpo_layers="a.b").decpo_layers == ["a.b"]
    assert config(decpo_layers=[-1, "a.b"]).decpo_layers == ["-1", "a.b"]
    assert config().decpo_layers is None


def test_command_line_of_the_config() -> None:
    words = "--output_dir run --bf16 False --decpo_weight 0.01 --decpo_layers 1 a.b --decpo_tokens last --use_cpu"
    (found,) = HfArgumentParser(DecPOConfig).parse_args_into_dataclasses(words.split())
    assert (found.decpo_weight, found.decpo_layers, found.decpo_tokens) == (0.01, ["1", "a.b"], "last")


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"decpo_weight": -1}, "decpo_weight=-1 is not a weight"),
        ({"decpo_weight": float("nan")}, "decpo_weight=nan is not a weight"),
        ({"decpo_tokens": "first"}, "decpo_tokens='first' is not one of all, completion, last"),
        ({"decpo_regularizer": "l2"}, "decpo_regularizer='l2' is not one of decorrelation, l1, dropout"),
        ({"decpo_regularizer": "dropout", "decpo_weight": 1}, "would drop every activation"),
        ({"decpo_layers": []}, "decpo_layers=[] names no layer"),
        ({"use_liger_kernel": True}, "use_liger_kernel=True replaces the forward pass"),
        ({"padding_free": True}, "padding_free=True joins sequences"),
        ({"torch_compile": True}, "torch_compile=True skips the hooks"),
        (
            {"gradient_checkpointing": True, "gradient_checkpointing_kwargs": {"use_reentrant": True}},
            "use_reentrant=True, which loses the regulariser's gradient",
        ),
    ],
)
def test_settings(settings: dict[str, Any], sentence: str) -> None:
    with pytest.raises(InputError, match=re.escape(sentence)):
        config(**settings)


@pytest.mark.parametrize(
    ("layers", "sentence"),
    [
        (["model.layers.1.mlp.up_projj"], "the nearest name is 'model.layers.1.mlp.up_proj'"),
        (["layers.2.mlp.down_proj"], "the nearest name is 'model.layers.2.mlp.down_proj'"),
        ([""], "decpo_layers names ''"),
        (["3"], "names layer 3, but the model has 3; choose one of 0 to 2"),
        (["-4"], "names layer -4"),
    ],
)
def test_layers_that_are_not_there(trainer: Make, layers: list[str], sentence: str) -> None:
    with pytest.raises(InputError, match=re.escape(sentence)):
        trainer(decpo_layers=layers)


def test_an_unknown_architecture_needs_names(trainer: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("monosemy.lm.architectures.ARCHITECTURES", {})
    with pytest.raises(InputError, match=r"architecture 'llama' is not one .* such as 'model\.layers\.1\.mlp"):
        trainer()
    trainer(decpo_layers=["model.layers.1.mlp.up_proj"])


def test_a_plain_config(model_folders: dict[ModelKind, Path], pairs: Dataset) -> None:
    with pytest.raises(InputError, match="args is a DPOConfig; give DecPOTrainer a DecPOConfig"):
        DecPOTrainer(
            AutoModelForCausalLM.from_pretrained(model_folders["llama"]),
            args=DPOConfig("run", bf16=False, use_cpu=True),
            train_dataset=pairs,
        )


@pytest.mark.parametrize("column", ["chosen", "rejected"])
def test_empty_answers(trainer: Make, column: str) -> None:
    data = made_pairs(4).to_list()
    data[2][column] = "  "
    bad = Dataset.from_list(data)
    with pytest.raises(InputError, match=r"train_dataset has 1 of 4 pairs with an empty .* first in row 2; drop them"):
        trainer(train_dataset=bad)
    with pytest.raises(InputError, match="eval_dataset has 1 of 4"):
        trainer(eval_dataset=bad)
    with pytest.raises(InputError, match="eval_dataset other has 1 of 4"):
        trainer(eval_dataset={"other": bad})


@pytest.mark.parametrize(
    ("answer", "empty"),
    [
        ([{"role": "assistant", "content": "Yes."}], False),
        ([{"role": "assistant", "content": " "}], True),
        ([{"role": "assistant", "content": None, "tool_calls": [{}]}], False),
        ([{"role": "assistant", "content": [{"type": "text", "text": ""}]}], True),
        ([{"role": "assistant", "content": [{"type": "image"}]}], False),
        ([], True),
        (None, True),
    ],
)
def test_what_is_empty(answer: Any, empty: bool) -> None:
    assert is_empty(answer) is empty


def test_answers_without_tokens_in_a_stream(trainer: Make) -> None:
    """A stream cannot be looked through beforehand; tokenised rows without an answer are seen in their batch."""
    rows = [{"prompt_ids": [3, 4], "chosen_ids": [5, 6], "rejected_ids": []}] * 4
    ours = trainer(decpo_weight=0.1)
    batch = ours.data_collator(rows)
    with pytest.raises(InputError, match="an answer without tokens"):
        ours.compute_loss(ours.model, batch)


def test_nothing_trainable_at_or_below_the_layer(trainer: Make) -> None:
    adapter = LoraConfig(r=2, target_modules=["q_proj"], layers_to_transform=[2])
    ours = trainer(decpo_weight=0.1, decpo_layers=["0"], peft_config=adapter)
    with pytest.raises(InputError, match=r"model\.layers\.0\.mlp\.up_proj have no gradient"):
        ours.train()
    trainer(decpo_weight=0, decpo_layers=["0"], peft_config=adapter, max_steps=1).train()


def test_reentrant_checkpointing_of_the_model_itself(trainer: Make) -> None:
    ours = trainer(decpo_weight=0.1)
    ours.model.gradient_checkpointing_enable({"use_reentrant": True})
    with pytest.raises(InputError, match="without reentrant gradient checkpointing"):
        ours.train()


def test_layers_without_a_row_for_each_token(trainer: Make) -> None:
    batch = {"attention_mask": torch.ones(4, 6), "completion_mask": torch.ones(4, 6)}
    with pytest.raises(InputError, match=r"some\.layer has activations of shape \(4, 5, 7\) for 4 sequences of 6"):
        token_rows(torch.zeros(4, 5, 7), batch, "all", "some.layer")
    assert token_rows(torch.zeros(24, 7), batch, "all", "flat").shape == (24, 7)
    virtual = torch.arange(8.0).expand(4, 8).unsqueeze(-1)  # two virtual tokens before six real ones
    assert token_rows(virtual, batch, "last", "prompted").flatten().tolist() == [7] * 4
    assert token_rows(virtual, batch, "all", "prompted").min() == 2


class _Poison(TrainerCallback):
    """Makes a weight NaN after a step."""

    def __init__(self, after: int) -> None:
        self.after = after

    def on_step_end(self, args: Any, state: Any, control: Any, model: Any = None, **more: Any) -> None:
        if state.global_step == self.after:
            next(model.parameters()).data[:] = float("nan")


def test_a_loss_that_is_not_finite_stops(trainer: Make, tmp_path: Path) -> None:
    ours = trainer(decpo_weight=0.1, max_steps=9, save_strategy="steps", save_steps=2)
    ours.add_callback(_Poison(after=3))
    with pytest.raises(
        InputError,
        match=r"The loss is nan at step 4 .*; lower the learning rate .*checkpoint to resume from is .*checkpoint-2",
    ):
        ours.train()
    assert [path.name for path in (tmp_path / "run").glob("checkpoint-*")] == ["checkpoint-2"]
    again = trainer(decpo_weight=0.1, max_steps=4)
    weights = trained_weights(again, resume=str(tmp_path / "run" / "checkpoint-2"))
    assert all(weight.isfinite().all() for weight in weights.values())


def test_weights_that_are_not_finite_are_not_saved(trainer: Make, tmp_path: Path) -> None:
    ours = trainer(decpo_weight=0.1, max_steps=9, save_strategy="steps", save_steps=3, save_total_limit=1)
    ours.add_callback(_Poison(after=6))
    with pytest.raises(InputError, match=r"not finite after step 6 and were not saved; lower .*the last checkpoint"):
        ours.train()
    assert [path.name for path in (tmp_path / "run").glob("checkpoint-*")] == ["checkpoint-3"]


def test_no_checkpoint_yet(trainer: Make) -> None:
    ours = trainer(decpo_weight=0.1)
    next(ours.model.parameters()).data[:] = float("nan")
    with pytest.raises(InputError, match=r"at step 1 .*; lower the .*no checkpoint was saved"):
        ours.train()
