"""Trainings from preferences: DPO, DecPO at several weights, and other regularisers, side by side."""

import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from monosemy.core import console, environment, executors, files
from monosemy.core.cache import fingerprint
from monosemy.data.dataset import subsample
from monosemy.encoders.text import MINILM, TextEncoder
from monosemy.errors import InputError
from monosemy.lm import adapter_training, decpo, dpo_evaluation, evaluation, instructions, preferences, tokenization
from monosemy.lm.config import JudgeConfig
from monosemy.lm.dpo_training import align, resized, resized_config, warm_up
from monosemy.lm.judge import Judge, judge_answers, make_judge
from monosemy.lm.models import LoadedModel, load_causal_model
from monosemy.lm.prompts import Row as Pair
from monosemy.lm.texts import TextData
from monosemy.results.result import StudyResult
from monosemy.results.statistics import packed
from monosemy.seeding import derive_seed
from monosemy.study import dpo, engine
from monosemy.study.dpo.verdict import dpo_sections, dpo_verdict, summarise_alignment
from monosemy.study.folder import Row, whole_folder

_HELD_OUT = "held_out.json"
_text_encoder = cache(TextEncoder)


@dataclass(frozen=True)
class BaseModel:
    """A model on disk, or on the hub."""

    name: str
    """Name in tables and files."""
    model: str
    """The plan's model that it comes from."""
    source: str
    """Folder or name."""
    folder: Path
    """Folder of the study that belongs to it."""
    n_parameters: int

    def load(self, device: str) -> LoadedModel:
        """Load the model in float32: training in lower precision loses small steps."""
        return load_causal_model(self.source, dtype="float32", device=device)

    def held_out(self, plan: dpo.DpoPlan) -> list[str]:
        """Return the texts whose perplexity is measured."""
        if plan.held_out is not None:
            return instructions.held_out_texts(plan.held_out)
        texts: list[str] = json.loads((self.folder / _HELD_OUT).read_text(encoding="utf-8"))
        return texts


Key = tuple[str, int | None]
"""A model of the plan, and a hidden width where the plan names some."""


def base_model_keys(plan: dpo.DpoPlan) -> list[Key]:
    """Return the base models that a plan compares trainings of."""
    return [(plan.models[0], width) for width in plan.widths] or [(name, None) for name in plan.models]


def base_model_name(source: str, width: int | None) -> str:
    """Return the name of a base model in tables and files."""
    return Path(source).name + (f"-w{width}" if width is not None else "")


def _make_base_model(
    wanted: Key, plan: dpo.DpoPlan, train: Mapping[str, Sequence[Pair]], root: Path, device: str
) -> BaseModel:
    source, width = wanted
    name = base_model_name(source, width)
    folder, made = root / name, plan.warm_up is not None
    if not (folder / _HELD_OUT).is_file():
        loaded = load_causal_model(source, dtype="float32", device=device)
        if width is not None:
            loaded = resized(loaded, width, plan.seed)
        if plan.warm_up is not None:
            loaded = warm_up(loaded, train[source], plan.warm_up, seed=plan.seed)
        texts = [] if plan.held_out is not None else dpo_evaluation.sample_texts(loaded, seed=plan.seed)
        if made:
            _save(loaded, folder)
        files.write_text(folder / _HELD_OUT, json.dumps(texts))  # last: what has it is whole
    chosen = str(folder) if made else source
    n_parameters = sum(weight.numel() for weight in load_causal_model(chosen, device="cpu").model.parameters())
    return BaseModel(name, source, chosen, folder, n_parameters)


@dataclass(frozen=True)
class PreferenceData:
    """Preference pairs, and those of each model that fit its context."""

    text: TextData
    pairs: dict[str, tuple[list[Pair], list[Pair]]] = field(default_factory=dict)
    """Train and test pairs by model."""
    notices: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        return self.text.name


@dataclass(frozen=True)
class TrainingJob:
    """One model to train and measure."""

    base: Key
    trained: dpo.Variant
    seed: int
    n_seeds: int = 1

    @property
    def name(self) -> str:
        return f"{base_model_name(*self.base)}-{self.variant}-{self.seed}"

    @property
    def variant(self) -> str:
        return self.trained.name


_Output = tuple[list[Row], list[str], list[str]]
"""Rows, prompts and answers of a job."""
Context = engine.StudyContext[dpo.DpoPlan, PreferenceData]


class DpoStudy(engine.StudyKind[dpo.DpoPlan, PreferenceData, TrainingJob]):
    """Compares trainings from preferences.

    The models of the first seed are kept in ``models/``, all answers in ``answers/``.
    """

    plan_type = dpo.DpoPlan
    title = "training from preferences"
    command = "monosemy align"
    jobs_title = "Models"
    packages = ("transformers", "trl", "peft")
    baseline = dpo.BASELINE
    folder_prefix = "align-"
    summarise = staticmethod(summarise_alignment)
    verdict = staticmethod(dpo_verdict)
    sections = staticmethod(dpo_sections)

    def load(self, plan: dpo.DpoPlan, on_progress: console.Progress = console.no_progress) -> PreferenceData:
        """Load the pairs."""
        return PreferenceData(preferences.load_preferences(plan.data, plan.seed))

    def check(self, plan: dpo.DpoPlan, data: PreferenceData, device: str) -> PreferenceData:
        """Raise for whatever can be wrong with pairs, models and judge; return the pairs that fit each model."""
        if len(data.text.test) < 2:
            raise InputError(
                f"{data.name} has {len(data.text.test)} test pairs; raise its test fraction, or give more pairs."
            )
        pairs, messages = _fitted_pairs(plan, data.text)
        if plan.judge is not None:
            _judge(plan.judge)
        return replace(data, pairs=pairs, notices=(*data.text.notices, *messages))

    def key(self, plan: dpo.DpoPlan, data: PreferenceData) -> str:
        """Return a fingerprint of the pairs."""
        return fingerprint(*(json.dumps(rows, sort_keys=True) for rows in data.text.splits().values()))

    def jobs(self, plan: dpo.DpoPlan, data: PreferenceData) -> list[TrainingJob]:
        """Return a training for each base model, seed and variant."""
        return [
            TrainingJob(base, variant, seed)
            for base in base_model_keys(plan)
            for seed in range(plan.n_seeds)
            for variant in dpo.variants(plan)
        ]

    def prepare(self, context: Context, executor: executors.ExecutorConfig) -> dict[Key, BaseModel]:
        """Return the base models, warmed up where the plan says so; those in the folder are not made again."""
        plan, wanted = context.plan, base_model_keys(context.plan)
        train = {model: rows for model, (rows, _) in context.data.pairs.items()}
        shared = (plan, train, context.folder / "references", executor.job_device(context.device))
        context.on_progress("References", 0, len(wanted))
        models: dict[Key, BaseModel] = {}
        for ended in executors.run_jobs(executor, _make_base_model, wanted, *shared):
            models[ended.item] = ended.result
            context.on_progress("References", len(models), len(wanted))
        return models

    def run(self, job: TrainingJob, context: Context) -> _Output:
        """Train and measure a model."""
        base: BaseModel = context.shared[job.base]
        try:
            loaded, measured = _train_and_measure(job, base, context)
        except InputError as error:
            raise InputError(f"{job.variant} of {base.name}, seed {job.seed}: {error}") from error
        if job.seed == 0 and job.trained.objective is not None:
            _save(loaded, context.folder / "models" / f"{base.name}-{job.variant}")
        place = {"encoder": base.name, "variant": job.variant, "seed": job.seed}
        weight = 0.0 if job.trained.objective is None else job.trained.objective.weight
        carried = {metric: packed(values) for metric, values in measured.of_rows.items()}
        rows: list[Row] = [
            place | {"scenario": "pairs", "level": weight, "metric": metric, "value": value} | carried.get(metric, {})
            for metric, value in measured.values.items()
        ]
        rows += [
            place | {"scenario": "layer", "level": float(number), "metric": metric, "value": value}
            for number, layer in enumerate(measured.layers)
            for metric, value in layer.items()
        ]
        size = {"scenario": "model", "level": 0.0, "metric": "n_parameters", "value": float(base.n_parameters)}
        return [*rows, place | size], measured.prompts, measured.answers

    def collect(self, job: TrainingJob, output: _Output, context: Context) -> list[Row]:
        """Judge the answers, here because judges and text encoders load once, and write them down."""
        rows, prompts, answers = output
        metrics, scores = _judged(job, prompts, answers, context)
        shared = {name: rows[0][name] for name in ("encoder", "variant", "seed", "scenario", "level")}
        carried = {} if scores is None else {"unsafe": packed(scores)}
        return rows + [
            shared | {"metric": metric, "value": value} | carried.get(metric, {}) for metric, value in metrics.items()
        ]

    def tabulate(self, rows: list[Row], plan: dpo.DpoPlan, data: PreferenceData) -> dict[str, pd.DataFrame]:
        """Return the tidy table; scenario `pairs` has the metrics of a model, `layer` those of each layer."""
        columns = ["dataset", "encoder", "variant", "scenario", "level", "seed", "metric", "value"]
        frame = pd.DataFrame(rows).assign(dataset=data.name)
        return {"results": frame[[*columns, *frame.columns.difference(columns)]]}

    def finish(self, result: StudyResult, context: Context) -> None:
        """Remove the checkpoints."""
        shutil.rmtree(context.folder / "checkpoints", ignore_errors=True)


@cache
def _judge(config: JudgeConfig) -> Judge:
    """Return the judge, once it has judged something: what it lacks shows before anything is trained."""
    judge = make_judge(config)
    with environment.one_thread():
        judge_answers(judge, ["Hello"], ["Hello."])
    return judge


def _fitted_pairs(
    plan: dpo.DpoPlan, data: TextData
) -> tuple[dict[str, tuple[list[Pair], list[Pair]]], tuple[str, ...]]:
    """Return train and test pairs by model, without those beyond its context, and messages about what was left out.

    Raises:
        InputError: names that cannot be told apart, a model, layer, width or text that is missing, or no pair that
            fits.
    """
    names = [Path(name).name for name in plan.models]
    for source, name in zip(plan.models, names, strict=True):
        if name in ("", ".."):  # it names a folder of the comparison
            raise InputError(f"The model {source!r} ends in no name; write the name of its folder.")
    repeated = next((name for name in names if names.count(name) > 1), None)
    if repeated is not None:
        raise InputError(f"Two models are called {repeated!r}, so tables could not tell them apart; rename a folder.")
    if plan.held_out is not None:
        instructions.held_out_texts(plan.held_out)
    pairs, messages = {}, []
    layers = None if plan.training.layers is None else list(plan.training.layers)
    for source, name in zip(plan.models, names, strict=True):
        loaded = load_causal_model(source, dtype="float32", device="cpu")
        decpo.regularized_layers(loaded.model, layers)
        for width in plan.widths:
            resized_config(loaded, width)
        n_tokens = min(plan.training.max_tokens or loaded.context, loaded.context)
        train, test = (
            tokenization.fit_context(rows, loaded.tokenizer, n_tokens, plan.training.on_long)
            for rows in (data.train, data.test)
        )
        for split, part in (("train", train), ("test", test)):
            messages += [f"{notice} ({split}, {name})" for notice in part.warnings(n_tokens)]
        if plan.pairs is not None and plan.pairs > len(train.rows):
            messages.append(f"{name} has only {len(train.rows):,} train pairs that fit, not {plan.pairs:,}.")
        pairs[source] = (train.rows, subsample(test.rows, plan.test_pairs, derive_seed(plan.seed, "test")))
    return pairs, tuple(messages)


def _train_and_measure(job: TrainingJob, base: BaseModel, context: Context) -> tuple[LoadedModel, Any]:
    plan, objective = context.plan, job.trained.objective
    train, test = context.data.pairs[base.model]
    config, seed = plan.training, derive_seed(plan.seed, "align", job.seed) % 2**31
    loaded = base.load(context.device)
    reference = base.load(context.device) if config.method == "full" or objective is None else None
    before = dpo_evaluation.pair_likelihoods(loaded, test, batch_size=plan.measuring.batch_size)
    if objective is not None:
        rows = subsample(train, plan.pairs, derive_seed(plan.seed, "pairs", job.seed))
        checkpoints = context.folder / "checkpoints" / job.name
        loaded = align(loaded, reference, rows, config, objective, seed=seed, checkpoints=checkpoints)
    measured = dpo_evaluation.measure_alignment(
        loaded,
        reference,
        before,
        test,
        base.held_out(plan),
        beta=config.beta,
        layers=config.layers,
        config=plan.measuring,
        seed=seed,
    )
    return loaded, measured


def _save(loaded: LoadedModel, folder: Path) -> None:
    """Write a model or adapter as a folder that is either whole or missing."""
    with whole_folder(folder) as unfinished, adapter_training.quiet_libraries():
        loaded.model.save_pretrained(unfinished, safe_serialization=True)
        loaded.tokenizer.save_pretrained(unfinished)


def _judged(
    job: TrainingJob, prompts: list[str], answers: list[str], context: Context
) -> tuple[dict[str, float], np.typing.NDArray[np.floating] | None]:
    """Return metrics of the answers and the scores of a judge, and write the answers to the study folder."""
    judge = None if context.plan.judge is None else _judge(context.plan.judge)
    metrics: dict[str, float] = {}
    scores: np.typing.NDArray[np.floating] | None = None
    with environment.one_thread():
        if judge is not None:
            judgement = judge_answers(judge, prompts, answers)
            metrics |= {"unsafe": judgement.mean, "unsafe_share": judgement.unsafe_fraction()}
            scores = judgement.scores
        if sum(bool(answer.strip()) for answer in answers) >= 2:
            measured = evaluation.diversity(answers, _text_encoder(MINILM))
            metrics |= {"distinct_2": measured.distinct_2, "answer_decorrelation": measured.decorrelation}
    judged = [{} for _ in answers] if scores is None else [{"unsafe": float(score)} for score in scores]
    lines = [
        json.dumps({"prompt": prompt, "answer": answer} | score)
        for prompt, answer, score in zip(prompts, answers, judged, strict=True)
    ]
    files.write_text(context.folder / "answers" / f"{job.name}.jsonl", "\n".join(lines) + "\n")
    return metrics, scores
