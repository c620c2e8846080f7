"""Means, intervals and paired differences of trainings from preferences.

Every model of a plan: trained, measured, kept.
"""

import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from monosemy.core.cache import fingerprint
from monosemy.core.console import Progress
from monosemy.core.environment import one_thread
from monosemy.core.executors import ExecutorConfig, run_jobs
from monosemy.core.files import atomic_path, write_text
from monosemy.data.dataset import subsample
from monosemy.encoders.text import MINILM, TextEncoder
from monosemy.errors import InputError
from monosemy.lm.adapter_training import quiet_libraries
from monosemy.lm.decpo import regularized_layers
from monosemy.lm.dpo_evaluation import measure_alignment, pair_likelihoods
from monosemy.lm.dpo_training import align, resized_config
from monosemy.lm.evaluation import diversity
from monosemy.lm.instructions import held_out_texts
from monosemy.lm.judge import Judge, judge_answers, make_judge
from monosemy.lm.models import LoadedModel, load_causal_model
from monosemy.lm.prompts import Row as Pair
from monosemy.lm.texts import TextData
from monosemy.lm.tokenization import fit_context
from monosemy.results.statistics import holm, mean_interval, paired_p_value
from monosemy.seeding import derive_seed
from monosemy.study.dpo.base_models import Start, make_starts
from monosemy.study.dpo.plan import BASELINE, AlignmentPlan, Variant, variants
from monosemy.study.folder import Row, StudyFolder


def summarise_alignment(results: pd.DataFrame) -> pd.DataFrame:
    """One row a model, variant and metric: its mean, and the paired difference to DPO of the same seed.

    Args:
        results: tidy table with encoder, features, scenario, level, seed, metric, value; of scenario `pairs` alone.

    Returns: columns model, variant, weight, metric, seeds, mean, low, high, gain, gain_low, gain_high, p, p_holm. A
        gain is the variant less DPO, whether more is better or not. p_holm is corrected within each metric, over all
        variants and models.
    """
    measured = results[results["scenario"] == "pairs"]
    weights = measured.groupby(["features"], sort=False)["level"].first()
    order = list(dict.fromkeys(measured["features"]))
    rows: list[dict[str, Any]] = []
    for model, metric in dict.fromkeys(zip(measured["encoder"], measured["metric"], strict=True)):
        cell = measured[(measured["encoder"] == model) & (measured["metric"] == metric)]
        wide = cell.pivot(index="seed", columns="features", values="value")
        for name in [name for name in order if name in wide]:
            values = wide[name].dropna().to_numpy()
            if len(values) == 0:
                continue
            mean, low, high = mean_interval(values)
            row = {
                "model": model, "variant": name, "weight": weights[name], "metric": metric, "seeds": len(values),
                "mean": mean, "low": low, "high": high,
            }  # fmt: skip
            if name != BASELINE:
                difference = (wide[name] - wide[BASELINE]).dropna().to_numpy()
                gain, gain_low, gain_high = mean_interval(difference)
                row |= {"gain": gain, "gain_low": gain_low, "gain_high": gain_high, "p": paired_p_value(difference)}
            rows.append(row)
    columns = [
        "model", "variant", "weight", "metric", "seeds", "mean", "low", "high", "gain", "gain_low", "gain_high", "p",
    ]  # fmt: skip
    summary = pd.DataFrame(rows, columns=columns)
    corrected = np.full(len(summary), np.nan)
    for places in summary.groupby("metric", sort=False).indices.values():
        corrected[places] = holm(summary["p"].to_numpy(dtype=float)[places])
    return summary.assign(p_holm=corrected)


_PACKAGES = ("transformers", "trl", "peft")


@dataclass(frozen=True)
class AlignmentResult:
    """What a finished comparison leaves."""

    plan: AlignmentPlan
    results: pd.DataFrame
    """Tidy: dataset, encoder (the model), features (the variant), scenario, level, seed, metric, value. Scenario
    `pairs` has what is measured on the whole model, its level is the weight; `layer` has each layer's."""
    summary: pd.DataFrame
    """One row a model, variant and metric."""
    n_parameters: dict[str, int]
    """Of each model."""
    notices: tuple[str, ...]
    folder: Path


@dataclass(frozen=True)
class Cell:
    """One model to train and measure."""

    start: Start
    variant: Variant
    seed: int

    @property
    def name(self) -> str:
        """Also the name of its files."""
        return f"{self.start.name}-{self.variant.name}-{self.seed}"


@dataclass(frozen=True)
class _Outcome:
    cell: Cell
    rows: list[Row]
    prompts: list[str]
    answers: list[str]


def run_alignment(
    plan: AlignmentPlan,
    data: TextData,
    folder: Path,
    on_progress: Progress,
    device: str = "cpu",
    executor: ExecutorConfig | None = None,
) -> AlignmentResult:
    """Train and measure every model that the folder does not hold yet, and write tables.

    The models of the first seed are kept in ``models/``, all answers in ``answers/``.

    Args:
        executor: what trains them; by default processes, one a core, and on a GPU one after another.

    Raises:
        InputError: the plan does not fit the models or the data, or the folder holds another plan or other data, or is
            in use.
        ResourceError: the disk is full, memory runs out or a worker is lost; the folder can be resumed.
    """
    if len(data.test) < 2:
        raise InputError(f"{data.name} has {len(data.test)} test pairs; raise its test fraction, or give more pairs.")
    pairs, notices = checked_pairs(plan, data)
    executor = (executor or ExecutorConfig()).for_device(device)
    judge = None if (folder / "results.parquet").is_file() else _asked_judge(plan)
    key = fingerprint(*(json.dumps(rows, sort_keys=True) for rows in data.splits().values()))
    seeds = {"seed": plan.seed, "repetitions": plan.seeds}
    with StudyFolder(folder, plan.to_yaml(), key, executor, _files(plan), _PACKAGES, seeds) as store:
        to_start = {model: train for model, (train, _) in pairs.items()}
        starts = make_starts(plan, to_start, folder, on_progress, executor.job_device(device), executor)
        rows = _rows(plan, pairs, starts, judge, store, on_progress, executor.job_device(device), executor)
        shutil.rmtree(folder / "checkpoints", ignore_errors=True)
        results = _table(rows, data)
        summary = summarise_alignment(results)
        with atomic_path(folder / "results.parquet") as temporary:
            results.to_parquet(temporary, index=False)
        write_text(folder / "summary.csv", summary.to_csv(index=False))
    sizes = {start.name: start.n_parameters for start in starts}
    return AlignmentResult(plan, results, summary, sizes, (*data.notices, *notices), folder)


def _rows(
    plan: AlignmentPlan,
    pairs: dict[str, tuple[list[Pair], list[Pair]]],
    starts: Sequence[Start],
    judge: Judge | None,
    store: StudyFolder,
    on_progress: Progress,
    device: str,
    executor: ExecutorConfig,
) -> list[Row]:
    """The rows of all models; those that are not in the folder yet are trained."""
    encoder = TextEncoder(MINILM)  # of the answers, for their diversity
    cells = [Cell(start, variant, seed) for start in starts for seed in range(plan.seeds) for variant in variants(plan)]
    finished = {cell: rows for cell in cells if (rows := store.read(cell.name)) is not None}
    missing = [cell for cell in cells if cell not in finished]
    on_progress("Models", 0, len(missing))
    for done, ended in enumerate(run_jobs(executor, _train_one, missing, plan, pairs, store.path, device), start=1):
        outcome = ended.result
        finished[ended.item] = outcome.rows + _judged(outcome, judge, encoder, store.path)
        store.write(ended.item.name, finished[ended.item], seconds=ended.seconds)
        on_progress("Models", done, len(missing))
    return [row for cell in cells for row in finished[cell]]


def _asked_judge(plan: AlignmentPlan) -> Judge | None:
    """The judge, once it has judged something: what it lacks shows before anything is trained."""
    if plan.judge is None:
        return None
    judge = make_judge(plan.judge)
    with one_thread():
        judge_answers(judge, ["Hello"], ["Hello."])
    return judge


def checked_pairs(
    plan: AlignmentPlan, data: TextData
) -> tuple[dict[str, tuple[list[Pair], list[Pair]]], tuple[str, ...]]:
    """Train and test pairs by model, without those beyond its context, and what was left out.

    All that can be wrong with models and data is said here, before anything is written.

    Raises:
        InputError: names that cannot be told apart, a model, layer, width or text that is not there, or no pair that
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
        held_out_texts(plan.held_out)
    pairs, notices = {}, []
    layers = None if plan.training.layers is None else list(plan.training.layers)
    for source, name in zip(plan.models, names, strict=True):
        loaded = load_causal_model(source, dtype="float32", device="cpu")
        regularized_layers(loaded.model, layers)
        for width in plan.widths:
            resized_config(loaded, width)
        n_tokens = min(plan.training.max_tokens or loaded.context, loaded.context)
        train, test = (
            fit_context(rows, loaded.tokenizer, n_tokens, plan.training.on_long) for rows in (data.train, data.test)
        )
        for split, part in (("train", train), ("test", test)):
            notices += [f"{notice} ({split}, {name})" for notice in part.warnings(n_tokens)]
        if plan.pairs is not None and plan.pairs > len(train.rows):
            notices.append(f"{name} has only {len(train.rows):,} train pairs that fit, not {plan.pairs:,}.")
        pairs[source] = (train.rows, subsample(test.rows, plan.test_pairs, derive_seed(plan.seed, "test")))
    return pairs, tuple(notices)


def _files(plan: AlignmentPlan) -> list[Path]:
    """What results depend on beside the pairs."""
    named = [*plan.models, *([] if plan.held_out is None else [plan.held_out])]
    return [Path(name) for name in named if Path(name).exists()]


def _train_one(
    cell: Cell, plan: AlignmentPlan, pairs: dict[str, tuple[list[Pair], list[Pair]]], folder: Path, device: str
) -> _Outcome:
    train, test = pairs[cell.start.model]
    try:
        loaded, measured = train_and_measure(cell, plan, train, test, folder / "checkpoints" / cell.name, device)
    except InputError as error:
        raise InputError(f"{cell.variant.name} of {cell.start.name}, seed {cell.seed}: {error}") from error
    if cell.seed == 0 and cell.variant.objective is not None:
        _keep(loaded, folder / "models" / f"{cell.start.name}-{cell.variant.name}")
    place = {"encoder": cell.start.name, "features": cell.variant.name, "seed": cell.seed}
    weight = 0.0 if cell.variant.objective is None else cell.variant.objective.weight
    rows: list[Row] = [
        place | {"scenario": "pairs", "level": weight, "metric": metric, "value": value}
        for metric, value in measured.values.items()
    ]
    rows += [
        place | {"scenario": "layer", "level": float(number), "metric": metric, "value": value}
        for number, layer in enumerate(measured.layers)
        for metric, value in layer.items()
    ]
    return _Outcome(cell, rows, measured.prompts, measured.answers)


def train_and_measure(
    cell: Cell, plan: AlignmentPlan, train: list[Pair], test: list[Pair], checkpoints: Path | None, device: str
) -> tuple[LoadedModel, Any]:
    """The trained model of a cell, and what is measured of it."""
    config, seed = plan.training, derive_seed(plan.seed, "align", cell.seed) % 2**31
    loaded = cell.start.load(device)
    reference = cell.start.load(device) if config.method == "full" or cell.variant.objective is None else None
    before = pair_likelihoods(loaded, test, batch_size=plan.measuring.batch_size)
    if cell.variant.objective is not None:
        rows = subsample(train, plan.pairs, derive_seed(plan.seed, "pairs", cell.seed))
        loaded = align(loaded, reference, rows, config, cell.variant.objective, seed=seed, checkpoints=checkpoints)
    measured = measure_alignment(
        loaded,
        reference,
        before,
        test,
        cell.start.held_out(plan),
        beta=config.beta,
        layers=config.layers,
        config=plan.measuring,
        seed=seed,
    )
    return loaded, measured


def _keep(loaded: LoadedModel, folder: Path) -> None:
    """A model or adapter as a folder that is either whole or not there."""
    shutil.rmtree(folder, ignore_errors=True)
    half = folder.with_name(f".{folder.name}")
    shutil.rmtree(half, ignore_errors=True)
    with quiet_libraries():
        loaded.model.save_pretrained(half, safe_serialization=True)
        loaded.tokenizer.save_pretrained(half)
    half.rename(folder)


def _judged(outcome: _Outcome, judge: Judge | None, encoder: TextEncoder, folder: Path) -> list[Row]:
    """Rows of what the answers are like, which are kept as well; here, because judges and text encoders load once."""
    found: dict[str, float] = {}
    scores: Sequence[float | None] = [None] * len(outcome.answers)
    with one_thread():
        if judge is not None:
            judgement = judge_answers(judge, outcome.prompts, outcome.answers)
            found |= {"unsafe": judgement.mean, "unsafe_share": judgement.unsafe_fraction()}
            scores = [float(score) for score in judgement.scores]
        if sum(bool(answer.strip()) for answer in outcome.answers) >= 2:
            seen = diversity(outcome.answers, encoder)
            found |= {"distinct_2": seen.distinct_2, "answer_decorrelation": seen.decorrelation}
    lines = [
        json.dumps({"prompt": prompt, "answer": answer} | ({} if score is None else {"unsafe": score}))
        for prompt, answer, score in zip(outcome.prompts, outcome.answers, scores, strict=True)
    ]
    write_text(folder / "answers" / f"{outcome.cell.name}.jsonl", "\n".join(lines) + "\n")
    shared = {name: outcome.rows[0][name] for name in ("encoder", "features", "seed", "scenario", "level")}
    return [shared | {"metric": metric, "value": value} for metric, value in found.items()]


def _table(rows: list[Row], data: TextData) -> pd.DataFrame:
    frame = pd.DataFrame(rows)
    frame.insert(0, "dataset", data.name)
    return frame[["dataset", "encoder", "features", "scenario", "level", "seed", "metric", "value"]]
