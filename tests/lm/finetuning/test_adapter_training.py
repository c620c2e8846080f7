"""One adapter: it learns, leaves the rest alone, repeats, goes on after a kill, and refuses in one sentence."""

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from processes import in_processes
from tiny_models import CHAT_TEMPLATE, save_causal, save_classifier, tiny_tokenizer

from monosemy.lm import adapter_training as module
from monosemy.lm.adapter_training import load_adapter, peft_config, task_of, train_adapter
from monosemy.lm.config import AdapterConfig
from monosemy.lm.models import LoadedModel, load_causal_model, load_classifier
from monosemy.lm.tokenization import padded_batches, tokenize, tokenize_answers

SENTIMENT = [
    {"text": f"{word} {thing}", "label": label}
    for label, word in enumerate(("bad", "fine"))
    for thing in ("film", "cast", "plot", "scene", "score", "end")
]
PAIRS = [{"prompt": f"say {number}:", "completion": " yes"} for number in range(8)]
QUICK: dict[str, Any] = {"batch_size": 4, "epochs": 1, "lr": 1e-2}


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    root = tmp_path_factory.mktemp("models")
    return {kind: save_causal(root / kind, kind) for kind in ("llama", "gpt2")} | {
        "roberta": save_classifier(root / "roberta", ["bad", "fine"])
    }


def classifier(folders: dict[str, str], kind: str = "roberta") -> LoadedModel:
    return load_classifier(folders[kind], ["bad", "fine"], device="cpu")


def weights(loaded: LoadedModel) -> dict[str, torch.Tensor]:
    return {name: weight.detach().clone() for name, weight in loaded.model.named_parameters()}


def accuracy(loaded: LoadedModel) -> float:
    tokens = tokenize(loaded.tokenizer, [row["text"] for row in SENTIMENT])
    rows, ids, mask = next(padded_batches(loaded, tokens, len(tokens)))
    with torch.no_grad():
        predicted = loaded.model(input_ids=ids, attention_mask=mask).logits.argmax(dim=-1)
    return float(np.mean(predicted.numpy() == [SENTIMENT[row]["label"] for row in rows]))


@pytest.mark.parametrize(
    ("method", "placement"),
    [("lora", "output"), *(("monolora", place) for place in ("output", "hidden", "both", "weights"))],
)
def test_a_classifier_learns_and_its_base_stays(folders: dict[str, str], method: Any, placement: Any) -> None:
    loaded = classifier(folders)
    before = weights(loaded)
    config = AdapterConfig(method=method, placement=placement, batch_size=4, epochs=20, lr=2e-2, dropout=0.0)
    trained = train_adapter(loaded, SENTIMENT, config)
    assert accuracy(trained) == 1.0
    assert not trained.model.training
    after = weights(trained)
    factors = [name for name in after if ".lora_B." in name]
    assert factors
    assert all(after[name].abs().max() > 0 for name in factors), "B starts at 0"
    base = {name.replace("base_model.model.", "").replace("base_layer.", ""): value for name, value in after.items()}
    for name, weight in before.items():
        if not name.startswith("classifier"):
            assert torch.equal(base[name], weight), name


def test_a_head_alone_learns(folders: dict[str, str]) -> None:
    loaded = classifier(folders)
    before = weights(loaded)
    trained = train_adapter(loaded, SENTIMENT, AdapterConfig(method="head", batch_size=4, epochs=5, lr=1e-2))
    changed = {name.split(".")[0] for name, weight in weights(trained).items() if not torch.equal(weight, before[name])}
    assert changed == {"classifier"}


@pytest.mark.parametrize("kind", ["llama", "gpt2"])
def test_a_causal_model_learns_answers_or_classes(folders: dict[str, str], kind: str) -> None:
    from monosemy.lm.evaluation import answer_losses

    loaded = load_causal_model(folders[kind], device="cpu")
    prompts, answers = [row["prompt"] for row in PAIRS], [row["completion"] for row in PAIRS]
    before = answer_losses(loaded, prompts, answers).total().mean_nll
    config = AdapterConfig(
        method="monolora", placement="hidden", batch_size=4, epochs=10, lr=5e-2, target_modules=("all-linear",)
    )
    trained = train_adapter(loaded, PAIRS, config)
    assert answer_losses(trained, prompts, answers).total().mean_nll < 0.8 * before
    as_classifier = train_adapter(classifier(folders, kind), SENTIMENT, AdapterConfig(**QUICK))
    assert 0 <= accuracy(as_classifier) <= 1


@pytest.mark.parametrize(
    ("row", "task"),
    [
        ({"text": "a", "label": 1}, "classification"),
        ({"prompt": "a", "completion": "b", "label": 1}, "generation"),
        ({"text": "a"}, "generation"),
        ({"messages": []}, "generation"),
    ],
)
def test_rows_say_what_they_train(row: dict[str, Any], task: str) -> None:
    assert task_of(row) == task


def test_settings_reach_the_adapter() -> None:
    config = AdapterConfig(
        method="monolora", placement="both", non_negative="rep_relu", rank=3, alpha=6, dropout=0.2,
        target_modules=("query", "key"),
    )  # fmt: skip
    found = peft_config(config, "classification")
    assert (found.r, found.lora_alpha, found.lora_dropout, found.placement) == (3, 6, 0.2, "both")
    assert (found.non_negative, found.target_modules, found.task_type) == ("rep_relu", {"query", "key"}, "SEQ_CLS")
    assert peft_config(AdapterConfig(target_modules=("all-linear",)), "generation").target_modules == "all-linear"
    assert AdapterConfig().model_dump(include={"rank", "alpha", "dropout", "lr", "batch_size", "epochs"}) == {
        "rank": 8, "alpha": 4, "dropout": 0.1, "lr": 1e-4, "batch_size": 16, "epochs": 20,
    }  # fmt: skip


MESSAGES = [
    {
        "messages": [
            {"role": "user", "content": "one"},
            {"role": "assistant", "content": "two"},
            {"role": "user", "content": "three"},
            {"role": "assistant", "content": "four"},
        ]
    }
]


@pytest.mark.parametrize(("rows", "learned"), [(PAIRS[:1], " yes</s>"), (MESSAGES, "four</s>")])
def test_the_loss_is_on_the_last_answer_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rows: list[dict[str, Any]], learned: str
) -> None:
    folder = save_causal(tmp_path, tokenizer=tiny_tokenizer(["<user>", "<assistant>"], CHAT_TEMPLATE))
    seen: list[Any] = []
    monkeypatch.setattr(module, "train_to_end", lambda trainer, *_: seen.extend(trainer.get_train_dataloader()))
    loaded = load_causal_model(folder, device="cpu")
    train_adapter(loaded, rows, AdapterConfig(**QUICK))
    (batch,) = seen
    counted = batch["labels"][0][batch["labels"][0] != -100]
    assert loaded.tokenizer.decode(counted) == learned


def test_few_rows_are_passed_over_until_enough_steps_are_made(folders: dict[str, str]) -> None:
    steps: list[tuple[int, int]] = []
    config = AdapterConfig(batch_size=4, epochs=1, min_steps=7)
    train_adapter(classifier(folders), SENTIMENT[:5], config, on_step=lambda done, total: steps.append((done, total)))
    assert steps == [(step, 7) for step in range(1, 8)]


def test_seeds_repeat_and_differ(folders: dict[str, str]) -> None:
    found = [weights(train_adapter(classifier(folders), SENTIMENT, AdapterConfig(**QUICK, seed=s))) for s in (0, 0, 1)]
    assert all(torch.equal(found[0][name], found[1][name]) for name in found[0])
    assert any(not torch.equal(found[0][name], found[2][name]) for name in found[0])


@pytest.mark.parametrize("rows", [SENTIMENT, PAIRS])
def test_a_killed_training_goes_on_as_if_nothing_had_been(
    folders: dict[str, str], tmp_path: Path, rows: list[dict[str, Any]]
) -> None:
    def fresh() -> LoadedModel:
        return classifier(folders) if rows is SENTIMENT else load_causal_model(folders["llama"], device="cpu")

    config = AdapterConfig(batch_size=4, epochs=4, lr=1e-2)
    whole = weights(train_adapter(fresh(), rows, config))

    class Killed(Exception):
        pass

    steps: list[int] = []

    def until_after_half(done: int, total: int) -> None:
        steps.append(done)
        if len(steps) == total // 2 + 2:
            raise Killed

    with pytest.raises(Killed):
        train_adapter(fresh(), rows, config, checkpoints=tmp_path / "run", on_step=until_after_half)
    first = len(steps)
    resumed = train_adapter(fresh(), rows, config, checkpoints=tmp_path / "run", on_step=until_after_half)
    assert steps[first] == steps[-1] - (len(steps) - first) + 1 > 1, "it went on, and did not begin anew"
    assert not (tmp_path / "run").exists()
    after = weights(resumed)
    for name, weight in whole.items():
        torch.testing.assert_close(after[name], weight, msg=name)


def test_a_saved_adapter_is_the_same(folders: dict[str, str], tmp_path: Path, says: Any) -> None:
    config = AdapterConfig(method="monolora", **QUICK)
    trained = train_adapter(load_causal_model(folders["llama"], device="cpu"), PAIRS, config)
    trained.model.save_pretrained(tmp_path / "adapter")
    again = load_adapter(load_causal_model(folders["llama"], device="cpu"), tmp_path / "adapter")
    completed = tokenize_answers(trained.tokenizer, ["say 1:"], [" yes"])[0]
    ids = torch.tensor([completed.ids])
    assert torch.equal(again.model(input_ids=ids).logits, trained.model(input_ids=ids).logits)
    with says("q_proj", "GPT2"):
        load_adapter(load_causal_model(folders["gpt2"], device="cpu"), tmp_path / "adapter")
    with says(str(tmp_path / "nowhere")):
        load_adapter(load_causal_model(folders["gpt2"], device="cpu"), tmp_path / "nowhere")


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"target_modules": ("nothing",)}, ("nothing",)),
        ({"method": "monolora", "target_modules": ("nothing",)}, ("nothing",)),
        ({"method": "head"}, ("method='head'", "lora")),
        ({"batch_size": 3, "accumulation": 2}, ("batch_size=3", "2 parts", "multiple of 2")),
    ],
)
def test_bad_settings_are_one_sentence(folders: dict[str, str], says: Any, changes: Any, named: Any) -> None:
    with says(*named):
        train_adapter(load_causal_model(folders["llama"], device="cpu"), PAIRS, AdapterConfig(**QUICK | changes))
    with says("no rows"):
        train_adapter(load_causal_model(folders["llama"], device="cpu"), [], AdapterConfig(**QUICK))


def train_together(folder: str) -> dict[str, Any]:
    rank, world = torch.distributed.get_rank(), torch.distributed.get_world_size()
    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(world)}
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29533"}
    steps: list[int] = []
    trained = train_adapter(
        load_classifier(folder, ["bad", "fine"], device="cpu"),
        SENTIMENT,
        AdapterConfig(batch_size=4, epochs=25, lr=2e-2, dropout=0.0),
        on_step=lambda done, _: steps.append(done),
    )
    return weights(trained) | {"steps": torch.tensor(len(steps)), "accuracy": torch.tensor(accuracy(trained))}


@pytest.mark.slow
def test_two_processes_train_one_adapter(folders: dict[str, str]) -> None:
    first, second = in_processes(train_together, folders["roberta"])
    for name, value in first.items():
        assert torch.equal(value, second[name]), name
    assert first["steps"] == 75, "12 rows, 4 a step over both processes, 25 times"
    assert first["accuracy"] == 1
