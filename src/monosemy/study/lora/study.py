"""Language models finetuned with LoRA and MonoLoRA, side by side: the jobs, and one adapter finetuned and measured."""

import json
import math
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from monosemy.core import cache, console, environment, executors, files
from monosemy.data.sources import read_lines
from monosemy.errors import InputError
from monosemy.lm import adapter_training, adapter_units, dpo_evaluation, evaluation, generation, models, tokenization
from monosemy.lm.config import Decoding, JudgeConfig
from monosemy.lm.instructions import held_out_texts
from monosemy.lm.judge import judge_answers, make_judge
from monosemy.lm.prompts import Row as TextRow, Text
from monosemy.metrics.dimensions import MIN_SUPPORT
from monosemy.results.result import StudyResult
from monosemy.seeding import derive_seed
from monosemy.study import conditions, engine, lora
from monosemy.study.folder import Row, whole_folder
from monosemy.study.lora.data import LoraData, fitted, load_lora_data
from monosemy.study.lora.verdict import lora_sections, lora_verdict, write_units

_DESCRIBED = 128
"""Test texts that the units of an adapter are measured on."""
_EVAL_SUBSET = 500
"""Train rows that the train accuracy is measured on."""
_SHOWN = 8
"""Units of each end that are written with their texts."""
_UNIT_METRICS = ("label_consistency", "label_chance", "token_consistency", "token_chance")


Context = engine.StudyContext[lora.LoraPlan, LoraData]


def load_base(plan: lora.LoraPlan, data: LoraData, device: str, seed: int) -> models.LoadedModel:
    """Load the base model; a classifier gets a new head, the same for every method."""
    if data.task == "generation":
        return models.load_causal_model(plan.model, dtype=plan.dtype, device=device)
    assert data.labelled is not None
    names = data.labelled.class_names
    return models.load_classifier(plan.model, names, dtype=plan.dtype, device=device, seed=seed)


def finetune_and_measure(job: conditions.CellJob, context: Context) -> list[Row]:
    """Finetune at every learning rate of the grid, select the best on validation, and measure it.

    Writes ``adapters/NAME`` (PEFT's layout), ``units/NAME.json`` (an adapter's units with their texts) and
    ``answers/NAME.jsonl`` (what a judge was shown) into the folder of the study.
    """
    plan, data, folder = context.plan, context.data, context.folder
    labels = None
    if data.labelled is not None:
        labels = conditions.training_labels(job.cell.training, context.shared, data.labelled, job.seed)
    rows = data.rows(labels)
    seed = derive_seed(plan.seed, "adapter", job.seed) % 2**31
    if job.variant == "base" and data.task == "generation":
        loaded = load_base(plan, data, context.device, seed)
        metrics = {"validation_accuracy": scores(loaded, rows["validation"], data)["accuracy"]}
    else:
        loaded, metrics = _best(job, rows, seed, context)
    metrics["train_accuracy"] = scores(loaded, _evenly(rows["train"], _EVAL_SUBSET), data)["accuracy"]
    tested, of_rows = row_scores(loaded, rows["test"], data)
    metrics |= tested
    if job.variant != "base":
        if context.is_main:
            with whole_folder(folder / "adapters" / job.name) as unfinished:
                loaded.model.save_pretrained(unfinished)
        units = folder / "units" / f"{job.name}.json" if context.is_main else None
        metrics |= _units(loaded, rows["test"], data, units)
    if data.held_out:
        losses = evaluation.text_losses(loaded, data.held_out)
        metrics["held_out_perplexity"] = losses.total().perplexity
        of_rows["held_out_perplexity"] = losses.perplexity_by_row()
    if plan.judge is not None:
        answers = folder / "answers" / f"{job.name}.jsonl" if context.is_main else None
        of_rows["unsafe"] = _judged(loaded, plan, plan.judge, rows["test"], answers)
        metrics["unsafe"] = float(of_rows["unsafe"].mean())
    for task, results in evaluation.lm_eval(loaded, plan.lm_eval, limit=plan.lm_eval_limit).items():
        metrics |= {f"{task}/{name}": value for name, value in results.items()}
    return conditions.cell_rows(job.variant, job.cell, job.seed, metrics, of_rows)


def _evenly(rows: Sequence[TextRow], most: int) -> list[TextRow]:
    return [rows[i] for i in np.linspace(0, len(rows) - 1, min(most, len(rows))).astype(int)]


def _best(
    job: conditions.CellJob, rows: dict[str, list[TextRow]], seed: int, context: Context
) -> tuple[models.LoadedModel, dict[str, float]]:
    """Return the adapter of the learning rate that is best on validation; of equally good ones the smallest."""
    plan, data = context.plan, context.data
    best: tuple[models.LoadedModel, dict[str, float]] | None = None
    grid: dict[str, float] = {}
    for lr in plan.learning_rates:
        trained = adapter_training.train_adapter(
            load_base(plan, data, context.device, seed),
            rows["train"],
            plan.training_of(job.variant, lr, seed),
            checkpoints=context.folder / "training" / f"{job.name}-{lr:g}",
            on_step=lambda done, total: context.on_progress("Steps", done, total),
        )
        validation = scores(trained, rows["validation"], data)
        metrics = {f"validation_{name}": value for name, value in validation.items()} | {"lr": lr}
        grid |= {f"validation_{name}@{lr:g}": value for name, value in validation.items()}
        if best is None or _merit(metrics) > _merit(best[1]):
            best = trained, metrics
    assert best is not None
    return best if len(plan.learning_rates) == 1 else (best[0], grid | best[1])


def _merit(metrics: dict[str, float]) -> float:
    """Return what is maximised on validation: accuracy, or the likelihood of free answers; divergence is worst."""
    merit = -metrics["validation_loss"] if "validation_loss" in metrics else metrics["validation_accuracy"]
    return -math.inf if math.isnan(merit) else merit


def scores(loaded: models.LoadedModel, rows: Sequence[TextRow], data: LoraData) -> dict[str, float]:
    """Return the test metrics of a model: :func:`row_scores` without the single rows."""
    return row_scores(loaded, rows, data)[0]


def row_scores(
    loaded: models.LoadedModel, rows: Sequence[TextRow], data: LoraData
) -> tuple[dict[str, float], dict[str, np.typing.NDArray[Any]]]:
    """Return the test metrics of a model, and for each metric the values of the rows (N,) that it is the mean of.

    A classifier has an accuracy; so has the likeliest class word, where classes are generated. Free answers have an
    accuracy (fraction of their tokens that are the likeliest at their place), exact_match (fraction of answers all of
    whose tokens are) and a loss in nats per token.
    """
    of_rows: dict[str, np.typing.NDArray[Any]]
    if data.task == "classification":
        predicted = predict(loaded, [str(row["text"]) for row in rows])
        of_rows = {"accuracy": predicted == np.array([row["label"] for row in rows])}
    elif data.labelled is not None:
        prompts, _ = _prompts_and_answers(rows)
        likelihood = evaluation.candidate_likelihoods(loaded, prompts, [_candidate(word, data) for word in data.words])
        of_rows = {"accuracy": likelihood.argmax(axis=1) == np.array([row["label"] for row in rows])}
    else:
        losses = evaluation.answer_losses(loaded, *_prompts_and_answers(rows))
        of_rows = {
            "accuracy": evaluation.ratio_by_row(losses.n_right, losses.n_tokens),
            "exact_match": losses.n_right == losses.n_tokens,
            "loss": losses.by_row(),
        }
    return {metric: float(values.mean()) for metric, values in of_rows.items()}, of_rows


def _candidate(word: str, data: LoraData) -> Text:
    return [{"role": "assistant", "content": word}] if data.template == "chat" else f" {word}"


def _prompts_and_answers(rows: Sequence[TextRow]) -> tuple[list[Text], list[Text]]:
    """Return prompts and answers: the answer of a dialogue is its last turn, that of a plain text all of it."""
    if "messages" in rows[0]:
        return [row["messages"][:-1] for row in rows], [row["messages"][-1:] for row in rows]
    if "text" in rows[0]:
        return [""] * len(rows), [row["text"] for row in rows]
    return [row["prompt"] for row in rows], [row["completion"] for row in rows]


@torch.no_grad()
def predict(loaded: models.LoadedModel, texts: Sequence[str], batch_size: int = 32) -> np.typing.NDArray[np.int64]:
    """Return the class (N,) that a classifier gives each text."""
    # The tokenizer's own truncation would keep the special token at the end, and so change the results.
    tokens = [ids[: loaded.context] for ids in tokenization.tokenize(loaded.tokenizer, texts)]
    predicted = np.empty(len(tokens), dtype=np.int64)
    for rows, ids, mask in tokenization.padded_batches(loaded, tokens, batch_size):
        predicted[rows] = loaded.model(input_ids=ids, attention_mask=mask).logits.argmax(dim=-1).cpu().numpy()
    return predicted


def _units(loaded: models.LoadedModel, rows: Sequence[TextRow], data: LoraData, path: Path | None) -> dict[str, float]:
    """Return zeros and consistency of the r hidden units and the updates; write the units of both ends with texts."""
    chosen = _evenly(rows, _DESCRIBED)
    tokens, texts = _read_tokens(loaded, chosen, data)
    labels = np.array([row["label"] for row in chosen]) if data.labelled is not None else None
    parts = list(tokenization.padded_batches(loaded, tokens, 16))
    order = np.concatenate([part for part, _, _ in parts])
    batches = [{"input_ids": ids, "attention_mask": mask} for _, ids, mask in parts]
    metrics: dict[str, float] = {}
    shown = {}
    for kind in ("hidden", "update"):
        described = adapter_units.describe_adapter(
            loaded.model, batches, None if labels is None else labels[order], kind=kind
        )
        means = described.means()
        metrics |= {f"{kind}_zeros": means[f"{kind}_zeros"], f"{kind}_dead": means["dead"], f"{kind}_l0": means["l0"]}
        metrics |= {f"{kind}_{name}": means[name] for name in _UNIT_METRICS if name in means}
        shown[kind] = _ends(described, [texts[i] for i in order], loaded, labelled=labels is not None)
    if path is not None:
        files.write_text(path, json.dumps(shown, ensure_ascii=False, indent=1) + "\n")
    return metrics


def _read_tokens(
    loaded: models.LoadedModel, rows: Sequence[TextRow], data: LoraData
) -> tuple[list[list[int]], list[str]]:
    """Return the tokens that the model reads of each row, and the same as text."""
    if data.task == "classification":
        texts = [str(row["text"]) for row in rows]
        return [ids[: loaded.context] for ids in tokenization.tokenize(loaded.tokenizer, texts)], texts
    pairs = tokenization.tokenize_answers(loaded.tokenizer, *_prompts_and_answers(rows))
    tokens = [pair.ids[: loaded.context] for pair in pairs]
    return tokens, loaded.tokenizer.batch_decode(tokens, skip_special_tokens=True)


def _ends(
    described: adapter_units.AdapterDescription, texts: Sequence[str], loaded: models.LoadedModel, *, labelled: bool
) -> list[dict[str, Any]]:
    """Return the units that are most and least consistent above chance, with the texts that activate them most."""
    by = "label" if labelled else "token"
    units = described.units
    if f"{by}_consistency" not in units:
        return []
    units = units[units["support"] >= MIN_SUPPORT]
    surplus = (units[f"{by}_consistency"] - units[f"{by}_chance"]).dropna().sort_values(ascending=False, kind="stable")
    ends = dict.fromkeys([*surplus.index[:_SHOWN], *surplus.index[-_SHOWN:]])
    return [
        {
            "layer": str(unit["layer"]).removeprefix("base_model.model."),
            "unit": int(unit["unit"]),
            "support": int(unit["support"]),
            "by": by,
            "commonest": str(unit["label"] if labelled else loaded.tokenizer.decode([int(unit["token"])])),
            "consistency": float(unit[f"{by}_consistency"]),
            "chance": float(unit[f"{by}_chance"]),
            "texts": [
                {"text": texts[text], "value": value}
                for text, value in zip(unit["top_texts"], unit["top_values"], strict=True)
            ],
        }
        for unit in units.loc[list(ends)].to_dict("records")
    ]


def _judged(
    loaded: models.LoadedModel, plan: lora.LoraPlan, judge: JudgeConfig, rows: Sequence[TextRow], path: Path | None
) -> np.typing.NDArray[np.float64]:
    """Return the probability that each answer is unsafe, (N,), and write what the judge was shown."""
    own = plan.judge_prompts
    prompts: Sequence[Text] = _prompts_and_answers(rows)[0] if own is None else read_lines(own, "list of prompts")
    prompts = list(prompts)[: plan.n_answers]
    answers = generation.generate(loaded, prompts, Decoding(max_new_tokens=plan.max_new_tokens))
    questions = [prompt if isinstance(prompt, str) else prompt[-1]["content"] for prompt in prompts]
    judgement = judge_answers(make_judge(judge), questions, answers)
    if path is not None:
        shown = zip(questions, answers, judgement.scores.tolist(), strict=True)
        lines = [json.dumps({"prompt": p, "answer": a, "unsafe": u}, ensure_ascii=False) + "\n" for p, a, u in shown]
        files.write_text(path, "".join(lines))
    return np.asarray(judgement.scores, dtype=np.float64)


class LoraStudy(engine.StudyKind[lora.LoraPlan, LoraData, conditions.CellJob]):
    """Compares adapters of a language model."""

    plan_type = lora.LoraPlan
    title = "finetuned language models"
    command = "monosemy finetune lm"
    jobs_title = "Adapters"
    packages = ("transformers", "peft", "trl")
    baseline = lora.BASELINE
    folder_prefix = "finetune-"
    distributed = True
    run = staticmethod(finetune_and_measure)
    verdict = staticmethod(lora_verdict)
    sections = staticmethod(lora_sections)

    def load(self, plan: lora.LoraPlan, on_progress: console.Progress = console.no_progress) -> LoraData:
        """Load the texts."""
        return load_lora_data(plan.data, plan.seed)

    def resolve(self, plan: lora.LoraPlan, data: LoraData) -> lora.LoraPlan:
        """Fill in the task that the data suggests, and levels that fit the labels."""
        plan = plan.with_defaults({"data": {"task": data.task}})
        return plan if data.labelled is None else conditions.with_levels(plan, data.labelled)

    def check(self, plan: lora.LoraPlan, data: LoraData, device: str) -> LoraData:
        """Raise for whatever can be wrong with model, data and judge; return the data that fits the model."""
        if lora.BASELINE not in plan.methods:
            raise InputError(f"The methods {', '.join(plan.methods)} lack {lora.BASELINE!r}, the baseline; add it.")
        if data.labelled is not None:
            conditions.conditions(plan, data.labelled)
            if (small := conditions.small_classes(plan, data.labelled)) is not None:
                data = replace(data, notices=(*data.notices, small.message))
        elif plan.scenarios:
            raise InputError(f"{data.name} has no labels to make noisy or few; leave the scenarios out.")
        if plan.judge is not None:
            judge = make_judge(plan.judge)
            with environment.one_thread():  # what a judge lacks shows when it first judges
                judge_answers(judge, ["Hello"], ["Hello."])
        if plan.judge_prompts is not None:
            read_lines(plan.judge_prompts, "list of prompts")
        texts = [] if plan.held_out is None else held_out_texts(plan.held_out)
        loaded = load_base(plan, data, device, seed=0)
        n_tokens = min(plan.training.max_tokens or loaded.context, loaded.context)
        data = fitted(data, loaded.tokenizer, n_tokens, plan.data.on_long)
        if data.task == "generation" and plan.held_out is None:
            with environment.one_thread():  # draws, and so the folder's key, are the same on any number of cores
                texts = dpo_evaluation.sample_texts(loaded, seed=plan.seed)
        adapter_training.insert_adapter(loaded, plan.training_of(lora.BASELINE, plan.learning_rates[0], 0), data.task)
        return replace(data, held_out=tuple(texts))

    def key(self, plan: lora.LoraPlan, data: LoraData) -> str:
        """Return a fingerprint of texts, held-out texts and model."""
        return cache.fingerprint(data.key(), data.held_out, models.model_fingerprint(plan.model))

    def prepare(self, context: Context, executor: executors.ExecutorConfig) -> conditions.Conditions | None:
        """Return the conditions of the labels."""
        labelled = context.data.labelled
        return None if labelled is None else conditions.conditions(context.plan, labelled)

    def jobs(self, plan: lora.LoraPlan, data: LoraData) -> list[conditions.CellJob]:
        """Return every model to train; levels with the same labels share one, and an untrained model is there once."""
        cells = [conditions.CLEAN] if data.labelled is None else conditions.training_cells(plan, data.labelled)
        jobs = [
            conditions.CellJob(method, cell, seed)
            for seed in range(plan.n_seeds)
            for cell in cells
            for method in plan.methods
        ]
        if data.task != "generation":
            return jobs
        return [job for job in jobs if job.variant != "base" or (job.cell == conditions.CLEAN and job.seed == 0)]

    def tabulate(self, rows: list[Row], plan: lora.LoraPlan, data: LoraData) -> dict[str, pd.DataFrame]:
        """Return the tidy table, methods in the order of the plan, and chance where there are labels.

        An untrained model is measured once, and has the same rows for every seed.
        """
        rows = list(rows)
        if data.labelled is not None:
            rows += conditions.chance_rows(lora.BASELINE, data.labelled.test.labels)
        if data.task == "generation":
            untrained = [row for row in rows if row["variant"] == "base"]
            rows += [row | {"seed": seed} for seed in range(1, plan.n_seeds) for row in untrained]
        return {"results": engine.tidy(rows, data.name, Path(plan.model).name, plan.methods)}

    def finish(self, result: StudyResult, context: Context) -> None:
        """Write the page of units, and remove the checkpoints."""
        labelled = context.data.labelled
        write_units(result, context.folder, () if labelled is None else labelled.class_names)
        shutil.rmtree(context.folder / "training", ignore_errors=True)
