"""A comparison of adapters: what is run, how it is scored, and what the plan may not ask for."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from lm.tiny_models import save_causal

from monosemy.core.config import validated
from monosemy.errors import InputError
from monosemy.lm.models import load_causal_model
from monosemy.study.conditions import conditions, training_labels
from monosemy.study.lora import METHODS, LoraPlan, LoraSource
from monosemy.study.lora.data import LoraData, load_lora_data
from monosemy.study.lora.study import LoraStudy, predict, scores

NOISY = {
    "scenarios": ["label-noise", "few-labels"], "label_noise": {"levels": [0.0, 0.4]},
    "few_labels": {"fractions": [0.5, 1.0]},
}  # fmt: skip


@pytest.fixture
def labelled(tmp_path: Path) -> LoraData:
    rows = [{"text": f"{'ab'[i % 2]} word {i}", "label": i % 2} for i in range(60)]
    path = tmp_path / "texts.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return load_lora_data(LoraSource(source=str(path)))


@pytest.fixture
def free() -> LoraData:
    rows = {name: [{"prompt": "say:", "completion": " yes"}] * 2 for name in ("train", "validation", "test")}
    return LoraData("free", "generation", instructions=rows)


def plan(**changes: Any) -> LoraPlan:
    return validated(LoraPlan, {"model": "m", "data": {"source": "s"}} | changes, "The plan")


def test_levels_that_train_on_the_same_labels_share_a_model(labelled: LoraData, free: LoraData) -> None:
    runs = LoraStudy().jobs(plan(**NOISY, n_seeds=2, methods=("lora", "base")), labelled)
    assert [run.name for run in runs[:6]] == [
        "lora-clean-0-0", "base-clean-0-0", "lora-label-noise-0.4-0", "base-label-noise-0.4-0",
        "lora-few-labels-0.5-0", "base-few-labels-0.5-0",
    ]  # fmt: skip
    assert len(runs) == len({run.name for run in runs}) == 12
    # An untrained model is the same for every seed.
    names = [run.name for run in LoraStudy().jobs(plan(n_seeds=2, methods=("base", "lora")), free)]
    assert names == ["base-clean-0-0", "lora-clean-0-0", "lora-clean-0-1"]


def test_labels_a_class_and_imbalance_choose_the_rows(labelled: LoraData) -> None:
    study = LoraStudy()
    few = study.resolve(plan(scenarios=["labels-per-class", "imbalance"], n_seeds=1, methods=("lora",)), labelled)
    assert few.labels_per_class.counts == (1, 2, 4, 8, 16)
    cells = [job.cell.scenario for job in study.jobs(few, labelled)]
    assert cells == ["clean", *["imbalance"] * 2, *["labels-per-class"] * 5]
    given = conditions(few, labelled.labelled)
    for job in study.jobs(few, labelled)[-5:]:
        rows = labelled.rows(training_labels(job.cell.training, given, labelled.labelled, 0))
        assert sorted(row["label"] for row in rows["train"]) == sorted([0, 1] * int(job.cell.level))
        assert len(rows["validation"]) <= len(rows["train"])
        assert len(rows["test"]) == len(labelled.labelled.test)


def test_every_method_is_what_its_name_says() -> None:
    given = plan(training={"rank": 4, "alpha": 6, "weight_decay": 0.01})
    found = {name: given.training_of(name, 3e-3, 7) for name in METHODS}
    assert {config.lr for config in found.values()} == {3e-3}
    assert {config.seed for config in found.values()} == {7}
    assert {config.rank for config in found.values()} == {4}
    assert (found["base"].method, found["lora"].method) == ("head", "lora")
    assert (found["lora"].alpha, found["lora-half"].alpha, found["monolora-both"].alpha) == (6, 3, 6)
    assert (found["lora"].weight_decay, found["lora-decay"].weight_decay) == (0.01, 0.1)
    for name in METHODS:
        if name.startswith("monolora"):
            _, placement, *rep = name.split("-")
            config = found[name]
            assert (config.method, config.placement) == ("monolora", placement)
            assert config.non_negative == ("rep_relu" if rep else "relu")


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"methods": ("base",)}, ("'lora'", "add it")),
        ({"scenarios": ["shift"]}, ("scenarios.0", "'shift'", "label-noise")),
        ({"scenarios": ["label-noise"], "label_noise": {"levels": [0.5]}}, ("0.5", "2 classes")),
        ({"label_noise": {"levels": [0.2]}}, ("label_noise", "label-noise; add it")),
        ({"held_out": "x.txt"}, ("held_out", "generation")),
        ({"lm_eval": ("arc",)}, ("lm_eval", "generation")),
        ({"judge_prompts": "p.txt"}, ("judge_prompts p.txt has no judge",)),
    ],
)
def test_a_plan_that_does_not_fit_is_one_sentence(labelled: LoraData, changes: Any, named: Any) -> None:
    study = LoraStudy()
    with pytest.raises(InputError) as caught:
        study.check(study.resolve(plan(**changes), labelled), labelled, "cpu")
    assert str(caught.value).endswith(".")
    for word in named:
        assert word in str(caught.value)


def test_free_answers_have_no_labels_to_change(free: LoraData) -> None:
    study = LoraStudy()
    with pytest.raises(InputError, match="free has no labels"):
        study.check(study.resolve(plan(**NOISY), free), free, "cpu")


def test_default_rates_are_those_that_leave_information(labelled: LoraData) -> None:
    resolved = LoraStudy().resolve(plan(scenarios=["label-noise"]), labelled)
    assert resolved.label_noise.levels == (0.2, 0.4)
    assert resolved.data.task == "classification"
    again = validated(LoraPlan, yaml.safe_load(resolved.to_yaml()), "plan.yaml")
    assert again == resolved
    assert LoraStudy().resolve(again, labelled) == resolved


def test_scores_of_free_answers_are_those_of_one_token_after_the_other(tmp_path: Path) -> None:
    loaded = load_causal_model(save_causal(tmp_path), device="cpu")
    ids = loaded.tokenizer("q")["input_ids"]
    for _ in range(4):
        with torch.no_grad():
            ids.append(int(loaded.model(input_ids=torch.tensor([ids])).logits[0, -1].argmax()))
    written = loaded.tokenizer.decode(ids[2:])
    assert loaded.tokenizer(f"q{written}")["input_ids"] == ids, "what the model writes is text"
    answers = (("ab", " cd"), ("q", written), ("q", written[:3] + "!"))
    rows = [{"prompt": prompt, "completion": answer} for prompt, answer in answers]
    nll, right, exact = [], [], []
    for row in rows:
        ids = loaded.tokenizer(row["prompt"] + row["completion"], return_tensors="pt")["input_ids"]
        with torch.no_grad():
            logits = loaded.model(input_ids=ids).logits[0]
        start = 1 + len(row["prompt"])  # a token is a byte, after the token that begins the text
        hits = []
        for place in range(start, ids.shape[1]):
            nll.append(-float(logits[place - 1].log_softmax(-1)[ids[0, place]]))
            hits.append(int(logits[place - 1].argmax()) == int(ids[0, place]))
        right += hits
        exact.append(all(hits))
    found = scores(loaded, rows, LoraData("free", "generation"))
    assert found["loss"] == pytest.approx(np.mean(nll), rel=1e-4)
    assert found["accuracy"] == np.mean(right)
    assert found["exact_match"] == np.mean(exact)
    assert 7 <= sum(right) < len(right)
    assert sum(exact) == 1


def test_a_class_is_chosen_by_its_likelihood(labelled: LoraData, tmp_path: Path) -> None:
    loaded = load_causal_model(save_causal(tmp_path / "model"), device="cpu")
    assert labelled.labelled is not None
    data = LoraData("texts", "generation", labelled.labelled, ("no", "yes"))
    rows = data.rows()["test"]
    right = []
    for row in rows:
        likelihoods = []
        for word in (" no", " yes"):
            ids = loaded.tokenizer(row["prompt"] + word, return_tensors="pt")["input_ids"]
            with torch.no_grad():
                log_p = loaded.model(input_ids=ids).logits[0].log_softmax(-1)
            start = 1 + len(row["prompt"])
            likelihoods.append(sum(float(log_p[i - 1, ids[0, i]]) for i in range(start, ids.shape[1])))
        right.append(int(np.argmax(likelihoods)) == row["label"])
    assert scores(loaded, rows, data)["accuracy"] == np.mean(right)


def test_predictions_do_not_depend_on_the_batch(labelled: LoraData, tmp_path: Path) -> None:
    from lm.tiny_models import save_classifier

    from monosemy.lm.models import load_classifier

    loaded = load_classifier(save_classifier(tmp_path / "model", list("abcdefgh")), device="cpu")
    for parameter in loaded.model.roberta.parameters():
        parameter.data *= 8  # large enough for distinct predictions
    texts = [row["text"] * (i % 3 + 1) for i, row in enumerate(labelled.rows()["train"])]
    alone = np.concatenate([predict(loaded, [text]) for text in texts])
    assert np.array_equal(predict(loaded, texts, batch_size=7), alone)
    assert len(set(alone)) > 1
