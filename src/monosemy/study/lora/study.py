"""Language models finetuned with LoRA and MonoLoRA, side by side."""

import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pandas as pd

from monosemy.core.cache import fingerprint
from monosemy.core.console import Progress, no_progress
from monosemy.core.environment import one_thread
from monosemy.core.executors import ExecutorConfig
from monosemy.data.sources import read_lines
from monosemy.errors import InputError
from monosemy.lm.adapter_training import insert_adapter
from monosemy.lm.dpo_evaluation import sample_texts
from monosemy.lm.instructions import held_out_texts
from monosemy.lm.judge import judge_answers, make_judge
from monosemy.lm.models import model_fingerprint
from monosemy.report.tables import Section
from monosemy.results.result import StudyResult, Verdict
from monosemy.study.conditions import Cell, Conditions, Evaluation, Training, conditions, make_cells
from monosemy.study.engine import StudyKind
from monosemy.study.folder import Row
from monosemy.study.lora.adapter import AdapterJob, Context, finetune_and_measure, load_base
from monosemy.study.lora.data import LoraData, fitted, load_lora_data
from monosemy.study.lora.plan import BASELINE, LoraPlan
from monosemy.study.lora.verdict import lora_sections, lora_verdict, write_units


class LoraStudy(StudyKind[LoraPlan, LoraData, AdapterJob]):
    """Compares adapters of a language model."""

    plan_type = LoraPlan
    title = "finetuned language models"
    command = "monosemy finetune lm"
    jobs_title = "Adapters"
    packages = ("transformers", "peft", "trl")
    baseline = BASELINE
    distributed = True

    def load(self, plan: LoraPlan, on_progress: Progress = no_progress) -> LoraData:
        """Load the texts."""
        return load_lora_data(plan.data, plan.seed)

    def resolve(self, plan: LoraPlan, data: LoraData) -> LoraPlan:
        """Fill in the task that the data suggests."""
        return plan.with_defaults({"data": {"task": data.task}})

    def check(self, plan: LoraPlan, data: LoraData, device: str) -> LoraData:
        """Raise for whatever can be wrong with model, data and judge; return the data that fits the model."""
        if BASELINE not in plan.methods:
            raise InputError(f"The methods {', '.join(plan.methods)} lack {BASELINE!r}, the baseline; add it.")
        if data.labelled is not None:
            conditions(plan, data.labelled)
        elif plan.scenarios:
            raise InputError(f"{data.name} has no labels to make noisy or few; leave the scenarios out.")
        if plan.judge is not None:
            judge = make_judge(plan.judge)
            with one_thread():  # what a judge lacks shows when it first judges
                judge_answers(judge, ["Hello"], ["Hello."])
        if plan.judge_prompts is not None:
            read_lines(plan.judge_prompts, "list of prompts")
        texts = [] if plan.held_out is None else held_out_texts(plan.held_out)
        loaded = load_base(plan, data, device, seed=0)
        n_tokens = min(plan.training.max_tokens or loaded.context, loaded.context)
        data = fitted(data, loaded.tokenizer, n_tokens, plan.data.on_long)
        if data.task == "generation" and plan.held_out is None:
            with one_thread():  # the draws, and with them the folder's key, are the same on any number of cores
                texts = sample_texts(loaded, seed=plan.seed)
        insert_adapter(loaded, plan.training_of(BASELINE, plan.learning_rates[0], 0), data.task)
        return replace(data, held_out=tuple(texts))

    def key(self, plan: LoraPlan, data: LoraData) -> str:
        """Return a fingerprint of texts, held-out texts and model."""
        return fingerprint(data.key(), data.held_out, model_fingerprint(plan.model))

    def prepare(self, context: Context, executor: ExecutorConfig) -> Conditions | None:
        """Return the conditions of the labels."""
        labelled = context.data.labelled
        return None if labelled is None else conditions(context.plan, labelled)

    def jobs(self, plan: LoraPlan, data: LoraData) -> list[AdapterJob]:
        """Return every model to train; levels with the same labels share one, and an untrained model is there once."""
        clean = Cell("clean", 0.0, Training(), Evaluation())
        by_training: dict[Training, Cell] = {}
        for cell in [clean] if data.labelled is None else make_cells(plan, data.labelled):
            by_training.setdefault(cell.training, cell)
        jobs = [
            AdapterJob(method, cell, seed)
            for seed in range(plan.n_seeds)
            for cell in by_training.values()
            for method in plan.methods
        ]
        untrained = data.task == "generation"
        return [job for job in jobs if not (untrained and job.features == "base" and (job.cell != clean or job.seed))]

    def run(self, job: AdapterJob, context: Context) -> list[Row]:
        """Finetune and measure an adapter."""
        return finetune_and_measure(job, context)

    def tabulate(self, rows: list[Row], plan: LoraPlan, data: LoraData) -> dict[str, pd.DataFrame]:
        """Return the tidy table, methods in the order of the plan."""
        frame = pd.DataFrame(rows)
        frame.insert(0, "dataset", data.name)
        frame.insert(1, "encoder", Path(plan.model).name)
        order = {name: place for place, name in enumerate(plan.methods)}
        by_method = frame.sort_values("features", key=lambda names: names.map(order), kind="stable", ignore_index=True)
        return {"results": by_method}

    def verdict(self, result: StudyResult) -> Verdict:
        """Return every MonoLoRA against LoRA, sparsity, monosemanticity and forgetting."""
        return lora_verdict(result)

    def sections(self, result: StudyResult) -> Sequence[Section]:
        """Return units, abilities and the figure of forgetting."""
        return lora_sections(result)

    def finish(self, result: StudyResult, context: Context) -> None:
        """Write the page of units, and remove the checkpoints."""
        labelled = context.data.labelled
        write_units(result, context.folder, () if labelled is None else labelled.class_names)
        shutil.rmtree(context.folder / "training", ignore_errors=True)

    def folder_name(self, plan: LoraPlan, data: LoraData) -> str:
        """Return the name of the default folder."""
        return f"finetune-{Path(data.name).stem}"
