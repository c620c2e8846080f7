"""DecPO inside TRL: what it adds, that it changes nothing else, and the ways in which TRL trains."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from made_preference import MIDDLE, ModelKind, logged, made_trainer, trained_weights
from peft import LoraConfig, PromptTuningConfig
from torch import Tensor
from trl import DPOTrainer

from monosemy.lm.decpo import DecPOTrainer

Make = Callable[..., Any]
LORA = {"llama": ["q_proj", "up_proj"], "gpt2": ["c_attn", "c_fc"]}


def lora(kind: ModelKind, **more: Any) -> LoraConfig:
    return LoraConfig(
        r=2, lora_alpha=8, target_modules=LORA[kind], fan_in_fan_out=kind == "gpt2", init_lora_weights=False, **more
    )


def same(first: dict[str, Tensor], second: dict[str, Tensor]) -> bool:
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


def plain_term(z: Tensor) -> Tensor:
    z = z.double()
    z = z / z.norm(dim=0)
    return (z.T @ z - torch.eye(z.shape[1], dtype=z.dtype)).square().sum()


@pytest.mark.parametrize("peft", [False, True], ids=["full", "lora"])
@pytest.mark.parametrize("kind", ["llama", "gpt2"])
def test_weight_0_is_dpo_bit_for_bit(trainer: Make, kind: ModelKind, peft: bool) -> None:
    adapter = lora(kind) if peft else None
    plain = trainer(kind, trainer_class=DPOTrainer, peft_config=adapter)
    ours = trainer(kind, decpo_weight=0, peft_config=adapter)
    assert same(trained_weights(plain), trained_weights(ours))
    assert logged(plain, "loss") == logged(ours, "loss") == pytest.approx(logged(ours, "decpo/loss"))
    assert logged(plain, "rewards/margins") == logged(ours, "rewards/margins")
    assert all(value > 0 for value in logged(ours, "decpo/decorrelation"))
    assert logged(ours, "decpo/penalty") == [0] * 4


@pytest.mark.parametrize("tokens", ["all", "completion", "last"])
@pytest.mark.parametrize("kind", ["llama", "gpt2"])
def test_loss_and_gradient_by_the_slow_way(trainer: Make, kind: ModelKind, tokens: str) -> None:
    ours = trainer(kind, decpo_weight=0.05, decpo_tokens=tokens)
    batch = next(iter(ours.get_train_dataloader()))
    model = ours.model.train()
    base = DPOTrainer.compute_loss(ours, model, batch)
    seen: list[Tensor] = []
    handle = model.get_submodule(MIDDLE[kind]).register_forward_hook(lambda *call: seen.append(call[2]))
    model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"])
    handle.remove()
    rows = []
    for sequence, z in enumerate(seen[0]):
        attended = [i for i, value in enumerate(batch["attention_mask"][sequence]) if value]
        answered = [i for i, value in enumerate(batch["completion_mask"][sequence]) if value]
        rows += [z[i] for i in {"all": attended, "completion": answered, "last": attended[-1:]}[tokens]]
    slow = base + 0.05 * plain_term(torch.stack(rows))
    fast = ours.compute_loss(model, batch)
    assert fast.item() == pytest.approx(slow.item(), rel=1e-5)
    weights = [weight for weight in model.parameters() if weight.requires_grad]
    for ours_grad, slow_grad in zip(
        torch.autograd.grad(fast, weights), torch.autograd.grad(slow, weights), strict=True
    ):
        torch.testing.assert_close(ours_grad, slow_grad, rtol=1e-4, atol=1e-5)


def test_several_layers_count_with_their_mean(trainer: Make) -> None:
    ours = trainer(decpo_weight=0.01, decpo_layers=[0, "model.layers.2.mlp.down_proj", "-1"], max_steps=1)
    ours.train()
    names = ["model.layers.0.mlp.up_proj", "model.layers.2.mlp.down_proj", "model.layers.2.mlp.up_proj"]
    each = [logged(ours, f"decpo/decorrelation/{name}")[0] for name in names]
    assert len(set(each)) == 3
    assert logged(ours, "decpo/decorrelation")[0] == pytest.approx(sum(each) / 3)
    assert logged(ours, "decpo/penalty")[0] == pytest.approx(0.01 * sum(each) / 3)
    assert logged(ours, "loss")[0] == pytest.approx(logged(ours, "decpo/loss")[0] + 0.01 * sum(each) / 3, rel=1e-5)


@pytest.mark.parametrize("kind", ["llama", "gpt2"])
def test_training_decorrelates(trainer: Make, kind: ModelKind) -> None:
    values = {}
    for weight in (0, 1):
        ours = trainer(kind, decpo_weight=weight, max_steps=30)
        ours.train()
        values[weight] = logged(ours, "decpo/decorrelation")
    assert values[1][-1] < 0.8 * values[1][0]
    assert values[1][-1] < 0.8 * values[0][-1]


LOSSES = (
    "sigmoid", "hinge", "ipo", "exo_pair", "nca_pair", "robust", "bco_pair", "sppo_hard", "aot", "aot_unpaired",
    "apo_zero", "apo_down", "discopop", "sft", "sigmoid_norm",
)  # fmt: skip


@pytest.mark.parametrize("loss", LOSSES)
def test_any_loss_of_trl_beneath(trainer: Make, loss: str) -> None:
    settings = {"loss_type": loss, "label_smoothing": 0.001 if loss == "exo_pair" else 0.0, "max_steps": 2}
    ours = trainer(decpo_weight=0.01, **settings)
    ours.train()
    plain = trainer(trainer_class=DPOTrainer, **settings)
    plain.train()
    assert all(math.isfinite(value) for value in logged(ours, "loss"))
    assert logged(ours, "decpo/loss")[0] == pytest.approx(logged(plain, "loss")[0], rel=1e-5)  # before the first step
    assert logged(ours, "loss")[0] > logged(plain, "loss")[0]


def test_reference_of_an_adapter_is_left_alone(trainer: Make) -> None:
    """The reference runs through the same modules, after the policy: only the policy's activations count."""
    ours = trainer(decpo_weight=0.5, peft_config=lora("llama"), max_steps=1)
    batch = next(iter(ours.get_train_dataloader()))
    model = ours.model.train()
    seen: list[Tensor] = []
    up = model.get_base_model().get_submodule(MIDDLE["llama"])
    handle = up.register_forward_hook(lambda *call: seen.append(call[2]))
    ours.compute_loss(model, batch)
    handle.remove()
    policy, reference = (z[batch["attention_mask"].bool()] for z in seen)
    assert ours._metrics["train"]["decpo/decorrelation"] == pytest.approx([plain_term(policy).item()], rel=1e-5)
    assert plain_term(reference).item() != pytest.approx(plain_term(policy).item(), rel=1e-3)


def test_precomputed_reference(trainer: Make) -> None:
    live = trained_weights(trainer(decpo_weight=0.01))
    before = trained_weights(trainer(decpo_weight=0.01, precompute_ref_log_probs=True))
    for name, weight in live.items():
        torch.testing.assert_close(before[name], weight, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("regularizer", ["decorrelation", "l1", "dropout"])
@pytest.mark.parametrize("peft", [False, True], ids=["full", "lora"])
def test_checkpointing_changes_nothing(trainer: Make, regularizer: str, peft: bool) -> None:
    def weights(checkpointing: bool) -> dict[str, Tensor]:
        return trained_weights(
            trainer(
                decpo_weight=0.3, decpo_regularizer=regularizer, gradient_checkpointing=checkpointing,
                gradient_checkpointing_kwargs={"use_reentrant": False} if checkpointing else None,
                peft_config=lora("llama") if peft else None,
            )
        )  # fmt: skip

    kept, recomputed = weights(False), weights(True)
    assert kept.keys() == recomputed.keys()
    for name, weight in kept.items():
        torch.testing.assert_close(recomputed[name], weight, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("regularizer", ["decorrelation", "dropout"])
def test_resume_is_exact(trainer: Make, tmp_path: Path, regularizer: str) -> None:
    settings = {"decpo_weight": 0.1, "decpo_regularizer": regularizer, "max_steps": 6, "save_strategy": "steps"}
    whole = trained_weights(trainer(**settings, save_steps=3, output_dir=str(tmp_path / "whole")))
    again = trainer(**settings, save_steps=3, output_dir=str(tmp_path / "again"))
    resumed = trained_weights(again, resume=str(tmp_path / "whole" / "checkpoint-3"))
    assert len(logged(again, "loss")) == 6
    assert same(whole, resumed)


def test_l1_shrinks_activations_and_dropout_drops_them(trainer: Make) -> None:
    plain = trained_weights(trainer(decpo_weight=0))
    l1 = trainer(decpo_weight=1, decpo_regularizer="l1", max_steps=20)
    l1.train()
    penalty = logged(l1, "decpo/penalty")
    assert penalty[-1] < 0.8 * penalty[0]
    dropped = trainer(decpo_weight=0.5, decpo_regularizer="dropout")
    assert not same(plain, trained_weights(dropped))
    assert logged(dropped, "decpo/penalty") == [0] * 4
    batch = next(iter(dropped.get_train_dataloader()))
    model = dropped.model
    with torch.no_grad():
        model.eval()
        first, second = (dropped.compute_loss(model, batch).item() for _ in range(2))
    assert first == second  # nothing is dropped in evaluation
    model.train()
    assert dropped.compute_loss(model, batch).item() != dropped.compute_loss(model, batch).item()
    assert same(plain, trained_weights(trainer(decpo_weight=0, decpo_regularizer="dropout")))


def test_streams_and_prompt_tuning(trainer: Make, pairs: Any) -> None:
    prompt = PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=3)
    ours = trainer(
        decpo_weight=0.01, train_dataset=pairs.to_iterable_dataset(), peft_config=prompt, max_steps=3, learning_rate=0.1
    )
    ours.train()
    values = logged(ours, "decpo/penalty")
    assert values[-1] != values[0]
    weights = [weight for name, weight in ours.model.named_parameters() if weight.requires_grad]
    assert [weight.shape for weight in weights] == [(3, 16)]


def test_evaluation_is_logged(trainer: Make, pairs: Any) -> None:
    ours = trainer(decpo_weight=0.01, eval_dataset=pairs.select(range(8)), eval_strategy="steps", eval_steps=2)
    ours.train()
    assert len(logged(ours, "eval_decpo/decorrelation")) == 2
    penalty, base, loss = (logged(ours, f"eval_{name}") for name in ("decpo/penalty", "decpo/loss", "loss"))
    assert loss == pytest.approx([a + b for a, b in zip(penalty, base, strict=True)], rel=1e-5)
    assert ours.evaluate()["eval_loss"] > 0


def test_model_card_names_the_method(trainer: Make, tmp_path: Path) -> None:
    ours = trainer(decpo_weight=0.01, max_steps=1, save_strategy="steps", save_steps=1)
    ours.train()
    assert "2406.17969" in (tmp_path / "run" / "README.md").read_text()


def test_a_name_for_the_folder_is_found(model_folders: dict[ModelKind, Path], pairs: Any, monkeypatch: Any) -> None:
    monkeypatch.chdir(model_folders["llama"].parent)
    monkeypatch.setattr("transformers.training_args.is_torch_bf16_gpu_available", lambda: True)  # TRL's default
    found = DecPOTrainer(str(model_folders["llama"]), train_dataset=pairs)
    assert found.args.output_dir == "llama-DecPO"
    assert list(found._decpo_layers) == [MIDDLE["llama"]]


def test_stories(shared_data: Path, tmp_path: Path) -> None:
    import gzip
    import json

    from datasets import Dataset

    with gzip.open(shared_data / "paradetox_pairs.jsonl.gz", "rt") as file:
        rows = [json.loads(next(file)) for _ in range(16)]
    data = Dataset.from_list(
        [{"prompt": "Say:", "chosen": " " + row["neutral"][0], "rejected": " " + row["toxic"]} for row in rows]
    )
    ours = made_trainer(
        shared_data / "stories260k", train_dataset=data, max_steps=3, output_dir=str(tmp_path / "run"),
        learning_rate=1e-3, decpo_weight=1e-2, max_length=64,
    )  # fmt: skip
    ours.train()
    assert list(ours._decpo_layers) == ["model.layers.2.mlp.up_proj"]
    values = logged(ours, "decpo/decorrelation")
    assert values[-1] < values[0]
