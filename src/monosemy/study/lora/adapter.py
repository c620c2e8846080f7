"""One model of a comparison: finetuned under one condition, and measured."""

import json
import math
import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from monosemy.core.console import OnCount
from monosemy.core.files import atomic_path, write_text
from monosemy.data.sources import read_lines
from monosemy.lm.adapter_training import train_adapter
from monosemy.lm.adapter_units import AdapterDescription, describe_adapter
from monosemy.lm.config import Decoding
from monosemy.lm.evaluation import answer_losses, candidate_likelihoods, lm_eval, measure_perplexity
from monosemy.lm.generation import generate
from monosemy.lm.judge import judge_answers, make_judge
from monosemy.lm.models import LoadedModel, load_causal_model, load_classifier
from monosemy.lm.prompts import Row, Text
from monosemy.lm.tokenization import padded_batches, tokenize, tokenize_answers
from monosemy.metrics.dimensions import MIN_SUPPORT
from monosemy.seeding import derive_seed
from monosemy.study import folder as study_folder
from monosemy.study.conditions import Cell, training_labels
from monosemy.study.lora.data import AdapterData
from monosemy.study.lora.plan import AdapterPlan, MethodName

_DESCRIBED = 128
"""Test texts that the units of an adapter are measured on."""
_LOOKED_AT = 500
"""Train rows that the train accuracy is measured on."""
_SHOWN = 8
"""Units of each end that are kept with their texts."""
_UNIT_METRICS = ("label_consistency", "label_chance", "token_consistency", "token_chance")


@dataclass(frozen=True)
class AdapterRun:
    """One model to finetune."""

    method: MethodName
    cell: Cell
    seed: int

    @property
    def name(self) -> str:
        """Also the name of its files."""
        return f"{self.method}-{self.cell.scenario}-{self.cell.level:g}-{self.seed}"


def load_base(plan: AdapterPlan, data: AdapterData, device: str, seed: int) -> LoadedModel:
    """The model as it comes; a classifier with a new head, the same for every method."""
    if data.task == "generation":
        return load_causal_model(plan.model, dtype=plan.dtype, device=device)
    assert data.labelled is not None
    names = data.labelled.class_names
    return load_classifier(plan.model, names, dtype=plan.dtype, device=device, seed=seed)


def run_cell(
    run: AdapterRun,
    plan: AdapterPlan,
    data: AdapterData,
    held_out: tuple[str, ...],
    folder: Path,
    device: str,
    *,
    is_main: bool = True,
    on_step: OnCount | None = None,
) -> list[study_folder.Row]:
    """Finetune at every learning rate of the grid, keep what is best on validation, measure it.

    Writes ``adapters/NAME`` (PEFT's layout), ``units/NAME.json`` (an adapter's units with their texts) and
    ``answers/NAME.jsonl`` (what a judge was shown) into the folder.
    """
    labels = None
    if data.labelled is not None:
        labels = training_labels(run.cell.training, plan, data.labelled, run.seed)
    rows = data.rows(labels)
    seed = derive_seed(plan.seed, "adapter", run.seed) % 2**31
    if run.method == "base" and data.task == "generation":
        loaded = load_base(plan, data, device, seed)
        found = {"validation_accuracy": scores(loaded, rows["validation"], data)["accuracy"]}
    else:
        loaded, found = _best(run, plan, data, rows, folder, device, seed, on_step)
    looked_at = np.linspace(0, len(rows["train"]) - 1, min(_LOOKED_AT, len(rows["train"]))).astype(int)
    found["train_accuracy"] = scores(loaded, [rows["train"][i] for i in looked_at], data)["accuracy"]
    found |= scores(loaded, rows["test"], data)
    if run.method != "base":
        if is_main:
            _save_adapter(loaded, folder / "adapters" / run.name)
        found |= _units(loaded, rows["test"], data, folder / "units" / f"{run.name}.json" if is_main else None)
    answers = folder / "answers" / f"{run.name}.jsonl" if is_main else None
    found |= _abilities(loaded, plan, rows["test"], held_out, answers)
    place = {"features": run.method, "scenario": run.cell.scenario, "level": run.cell.level, "seed": run.seed}
    return [place | {"metric": metric, "value": value} for metric, value in found.items()]


def _best(
    run: AdapterRun,
    plan: AdapterPlan,
    data: AdapterData,
    rows: dict[str, list[Row]],
    folder: Path,
    device: str,
    seed: int,
    on_step: OnCount | None,
) -> tuple[LoadedModel, dict[str, float]]:
    """The adapter of the learning rate that is best on validation; of equally good ones that of the smallest."""
    best: tuple[LoadedModel, dict[str, float]] | None = None
    grid: dict[str, float] = {}
    for lr in plan.learning_rates:
        trained = train_adapter(
            load_base(plan, data, device, seed),
            rows["train"],
            plan.training_of(run.method, lr, seed),
            checkpoints=folder / "training" / f"{run.name}-{lr:g}",
            on_step=on_step,
        )
        held = scores(trained, rows["validation"], data)
        found = {f"validation_{name}": value for name, value in held.items()} | {"lr": lr}
        grid |= {f"validation_{name}@{lr:g}": value for name, value in held.items()}
        if best is None or _merit(found) > _merit(best[1]):
            best = trained, found
    assert best is not None
    return best if len(plan.learning_rates) == 1 else (best[0], grid | best[1])


def _merit(found: dict[str, float]) -> float:
    """Labels are to be right, free answers likely; a model that diverged is the worst."""
    merit = -found["validation_loss"] if "validation_loss" in found else found["validation_accuracy"]
    return -math.inf if math.isnan(merit) else merit


def scores(loaded: LoadedModel, rows: Sequence[Row], data: AdapterData) -> dict[str, float]:
    """How well a model does on rows.

    Of a classifier, accuracy. Of classes that are generated, the accuracy of the likeliest class word. Of free answers:
    accuracy, the share of their tokens that are the likeliest at their place; exact_match, the share of answers all of
    whose tokens are; loss, in nats a token.
    """
    if data.task == "classification":
        predicted = predict(loaded, [str(row["text"]) for row in rows])
        return {"accuracy": float((predicted == np.array([row["label"] for row in rows])).mean())}
    prompts, answers = _asked(rows)
    if data.labelled is not None:
        likelihood = candidate_likelihoods(loaded, prompts, [_candidate(word, data) for word in data.words])
        wanted = np.array([row["label"] for row in rows])
        return {"accuracy": float((likelihood.argmax(axis=1) == wanted).mean())}
    losses = answer_losses(loaded, prompts, answers)
    return {
        "accuracy": float(losses.n_right.sum() / losses.n_tokens.sum()),
        "exact_match": float((losses.n_right == losses.n_tokens).mean()),
        "loss": losses.total().mean_nll,
    }


def _candidate(word: str, data: AdapterData) -> Text:
    return [{"role": "assistant", "content": word}] if data.template == "chat" else f" {word}"


def _asked(rows: Sequence[Row]) -> tuple[list[Text], list[Text]]:
    """Prompts and answers; of a dialogue its last turn is the answer, of a plain text all of it."""
    if "messages" in rows[0]:
        return [row["messages"][:-1] for row in rows], [row["messages"][-1:] for row in rows]
    if "text" in rows[0]:
        return [""] * len(rows), [row["text"] for row in rows]
    return [row["prompt"] for row in rows], [row["completion"] for row in rows]


@torch.no_grad()
def predict(loaded: LoadedModel, texts: Sequence[str], batch_size: int = 32) -> NDArray[np.int64]:
    """The class (N,) that a classifier gives each text."""
    # The tokenizer's own truncation would keep the special token at the end, and so change the results.
    tokens = [ids[: loaded.context] for ids in tokenize(loaded.tokenizer, texts)]
    predicted = np.empty(len(tokens), dtype=np.int64)
    for rows, ids, mask in padded_batches(loaded, tokens, batch_size):
        predicted[rows] = loaded.model(input_ids=ids, attention_mask=mask).logits.argmax(dim=-1).cpu().numpy()
    return predicted


def _save_adapter(loaded: LoadedModel, folder: Path) -> None:
    """Whole or not at all."""
    half = folder.with_name(f".{folder.name}.half")
    shutil.rmtree(half, ignore_errors=True)
    loaded.model.save_pretrained(half)
    shutil.rmtree(folder, ignore_errors=True)
    os.replace(half, folder)


def _units(loaded: LoadedModel, rows: Sequence[Row], data: AdapterData, path: Path | None) -> dict[str, float]:
    """Zeros and consistency of the r hidden units and of the updates, and the units of both ends with their texts."""
    chosen = [rows[i] for i in np.linspace(0, len(rows) - 1, min(_DESCRIBED, len(rows))).astype(int)]
    tokens, texts = _read_tokens(loaded, chosen, data)
    labels = np.array([row["label"] for row in chosen]) if data.labelled is not None else None
    parts = list(padded_batches(loaded, tokens, 16))
    order = np.concatenate([part for part, _, _ in parts])
    batches = [{"input_ids": ids, "attention_mask": mask} for _, ids, mask in parts]
    found: dict[str, float] = {}
    shown = {}
    for kind in ("hidden", "update"):
        described = describe_adapter(loaded.model, batches, None if labels is None else labels[order], kind=kind)
        means = described.means()
        found |= {f"{kind}_zeros": means[f"{kind}_zeros"], f"{kind}_dead": means["dead"], f"{kind}_l0": means["l0"]}
        found |= {f"{kind}_{name}": means[name] for name in _UNIT_METRICS if name in means}
        shown[kind] = _ends(described, [texts[i] for i in order], loaded, labelled=labels is not None)
    if path is not None:
        write_text(path, json.dumps(shown, ensure_ascii=False, indent=1) + "\n")
    return found


def _read_tokens(loaded: LoadedModel, rows: Sequence[Row], data: AdapterData) -> tuple[list[list[int]], list[str]]:
    """What the model reads of each row, and the same as text."""
    if data.task == "classification":
        texts = [str(row["text"]) for row in rows]
        return [ids[: loaded.context] for ids in tokenize(loaded.tokenizer, texts)], texts
    pairs = tokenize_answers(loaded.tokenizer, *_asked(rows))
    tokens = [pair.ids[: loaded.context] for pair in pairs]
    return tokens, loaded.tokenizer.batch_decode(tokens, skip_special_tokens=True)


def _ends(
    described: AdapterDescription, texts: Sequence[str], loaded: LoadedModel, *, labelled: bool
) -> list[dict[str, Any]]:
    """The units that are most and least consistent above chance, with the texts that activate them most."""
    by = "label" if labelled else "token"
    units = described.units
    if f"{by}_consistency" not in units:
        return []
    units = units[units["support"] >= MIN_SUPPORT]
    surplus = (units[f"{by}_consistency"] - units[f"{by}_chance"]).sort_values(ascending=False, kind="stable")
    surplus = surplus.dropna()
    ends = dict.fromkeys([*surplus.index[:_SHOWN], *surplus.index[-_SHOWN:]])
    kept = []
    for unit in units.loc[list(ends)].to_dict("records"):
        kept.append(
            {
                "layer": str(unit["layer"]).removeprefix("base_model.model."),
                "unit": int(unit["unit"]),
                "support": int(unit["support"]),
                "by": by,
                "commonest": _commonest(unit, by, loaded),
                "consistency": float(unit[f"{by}_consistency"]),
                "chance": float(unit[f"{by}_chance"]),
                "texts": [
                    {"text": texts[text], "value": value}
                    for text, value in zip(unit["top_texts"], unit["top_values"], strict=True)
                ],
            }
        )
    return kept


def _commonest(unit: dict[Any, Any], by: str, loaded: LoadedModel) -> str:
    if by == "token":
        return str(loaded.tokenizer.decode([int(unit["token"])]))
    return str(unit["label"])


def _abilities(
    loaded: LoadedModel, plan: AdapterPlan, rows: Sequence[Row], held_out: tuple[str, ...], path: Path | None
) -> dict[str, float]:
    """What was there before: perplexity on held-out texts, harmless answers, standard benchmarks."""
    found: dict[str, float] = {}
    if held_out:
        found["held_out_perplexity"] = measure_perplexity(loaded, held_out).perplexity
    if plan.judge is not None:
        found["unsafe"] = _judged(loaded, plan, rows, path)
    for task, metrics in lm_eval(loaded, plan.lm_eval, limit=plan.lm_eval_limit).items():
        found |= {f"{task}/{name}": value for name, value in metrics.items()}
    return found


def _judged(loaded: LoadedModel, plan: AdapterPlan, rows: Sequence[Row], path: Path | None) -> float:
    assert plan.judge is not None
    prompts: Sequence[Text] = (
        read_lines(plan.judge_prompts, "list of prompts") if plan.judge_prompts is not None else _asked(rows)[0]
    )
    prompts = list(prompts)[: plan.n_answers]
    answers = generate(loaded, prompts, Decoding(max_new_tokens=plan.max_new_tokens))
    asked = [prompt if isinstance(prompt, str) else prompt[-1]["content"] for prompt in prompts]
    judgement = judge_answers(make_judge(plan.judge), asked, answers)
    if path is not None:
        lines = zip(asked, answers, judgement.scores.tolist(), strict=True)
        keys = ("prompt", "answer", "unsafe")
        text = "".join(json.dumps(dict(zip(keys, line, strict=True)), ensure_ascii=False) + "\n" for line in lines)
        with atomic_path(path) as temporary:
            temporary.write_text(text, encoding="utf-8")
    return judgement.mean
