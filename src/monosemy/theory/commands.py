"""What `monosemy toy` and `monosemy theory` do: options in; a folder, tables and an answer out."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from rich.console import Console

from monosemy.core.console import json_text, progress
from monosemy.core.environment import write_environment
from monosemy.core.files import atomic_path, write_text
from monosemy.errors import InputError
from monosemy.seeding import numpy_rng
from monosemy.theory.two_features import (
    MONO,
    check_input_noise,
    check_sparsity,
    check_weights,
    overtaking,
    scale_free_separability,
    score_separability,
    two_feature_moments,
)


def toy(
    *,
    out: Path,
    features: int,
    dimensions: int,
    sparsity: float,
    label_noise: str,
    input_noise: str,
    seeds: int,
    importance_decay: float,
    steps: int,
    sweep: bool,
    console: Console,
    as_json: bool = False,
) -> None:
    """Toy model of superposition: does a code with one feature a dimension stand noise better?

    Trains the toy model, probes its code and the code that keeps m features as they are, clean, under label noise and
    under input noise, and draws where which of them wins.
    """
    from monosemy.theory import answers, figures
    from monosemy.theory.runs import SweepSetting, ToySetting, run_sweep, run_toy
    from monosemy.theory.toy import ToyConfig
    from monosemy.theory.toy_study import TaskConfig

    task = TaskConfig(
        label_noise=parse_numbers("label_noise", label_noise), input_noise=parse_numbers("input_noise", input_noise)
    )
    setting = ToySetting(
        features, dimensions, sparsity, seeds, importance_decay, task=task, training=ToyConfig(steps=steps)
    )
    setting.check()
    folder = _folder(out, {"repetitions": seeds})
    with progress(console) as tell:
        run = run_toy(setting, tell)
        _write(run.results, folder / "results.parquet")
        figures.save(figures.superposition_figure(run), folder, "superposition")
        figures.save(figures.accuracy_figure(run), folder, "accuracy")
        sentences = answers.toy_answer(run)
        if sweep:
            grid = SweepSetting(training=ToyConfig(steps=steps))
            swept = run_sweep(grid, tell)
            _write(swept, folder / "sweep.parquet")
            figures.save(figures.phase_figure(swept, grid), folder, "phase")
            sentences += answers.sweep_answer(swept)
    _conclude(answers.toy_tables(run), sentences, folder, console, as_json)


def theory(
    *,
    out: Path,
    sparsity: str,
    weights: str,
    input_noise: float,
    classes: str,
    seeds: int,
    samples: int,
    console: Console,
    as_json: bool = False,
) -> None:
    """Separability J under noise: closed forms for two features, simulation for more classes.

    Says at which share of wrong labels the single feature x1 separates two classes better than a mixture, checks the
    closed forms against simulation, and shows what becomes of it when J's unit is taken away.
    """
    from monosemy.theory import answers, figures
    from monosemy.theory.simulation import simulate_classes

    sparsities = [float(s) for s in check_sparsity(parse_numbers("sparsity", sparsity))]
    poly = parse_weights(weights)
    check_input_noise(input_noise)
    numbers = _check_simulation(parse_numbers("classes", classes), seeds, samples)
    folder = _folder(out, {"repetitions": seeds})
    with progress(console) as tell:
        simulated: dict[int, list[Any]] = {}
        for row, c in enumerate(numbers):
            grid = np.linspace(0, 0.98 * (c - 1) / c, 50)
            simulated[c] = []
            for k, s in enumerate(sparsities):
                simulated[c].append(simulate_classes(c, s, grid, seeds, samples))
                tell("simulations", row * len(sparsities) + k + 1, len(numbers) * len(sparsities))
    check = _check_rows(sparsities, poly, input_noise, seeds, samples)
    _write(_theory_frame(sparsities, poly, input_noise, simulated, check), folder / "results.parquet")
    figures.save(figures.noise_figure(sparsities, poly, input_noise), folder, "separability")
    two = simulated.get(2, [])
    figures.save(figures.threshold_figure(sparsities if two else [], two, input_noise), folder, "threshold")
    middle = sparsities.index(0.2) if 0.2 in sparsities else len(sparsities) // 2
    chosen = {c: simulations[middle] for c, simulations in simulated.items()}
    figures.save(figures.classes_figure(chosen, sparsities[middle]), folder, "classes")
    check_words = _check_sentence(check, poly, input_noise)
    tables = [answers.theory_table(sparsities, poly, input_noise), answers.classes_table(sparsities, simulated)]
    _conclude(tables, [*answers.theory_answer(sparsities, poly, input_noise), check_words], folder, console, as_json)


def parse_numbers(name: str, text: str) -> tuple[float, ...]:
    """ "0.3,0.9" to (0.3, 0.9); each once."""
    try:
        values = tuple(dict.fromkeys(float(part) for part in text.split(",")))
    except ValueError as error:
        raise InputError(f"{name} is {text!r}; give numbers with commas between them, as in 0.2,0.5.") from error
    return values


def parse_weights(text: str) -> tuple[float, float]:
    """ "1,0.5" to (1.0, 0.5)."""
    try:
        values = [float(part) for part in text.split(",") if part.strip()]
    except ValueError as error:
        raise InputError(f"weights is {text!r}; give two numbers with a comma between them, as in 1,0.5.") from error
    return check_weights(values)


def _check_simulation(classes: tuple[float, ...], seeds: int, samples: int) -> list[int]:
    """The numbers of classes as integers."""
    for c in classes:
        if not 2 <= c <= 100 or c != int(c):
            raise InputError(f"classes is {c:g}; give whole numbers of at least 2 and at most 100.")
        if samples < 100 * c:
            raise InputError(f"samples is {samples}; give at least {100 * int(c)} for {int(c)} classes.")
    if seeds < 1:
        raise InputError(f"seeds is {seeds}; give at least 1, and 5 for intervals that mean something.")
    return [int(c) for c in classes]


def _folder(out: Path, seeds: dict[str, int]) -> Path:
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"out is {str(out)!r}, which is no folder one can write to; give another.") from error
    write_environment(out, seeds)
    return out


def _write(frame: pd.DataFrame, path: Path) -> None:
    with atomic_path(path) as temporary:
        frame.to_parquet(temporary, index=False)


def _check_rows(
    sparsities: list[float], poly: tuple[float, float], input_noise: float, seeds: int, samples: int
) -> list[dict[str, Any]]:
    """Clean J of both scores, drawn and measured, seed by seed."""
    from monosemy.theory.simulation import simulate_two_features

    return [
        {
            "classes": 2, "sparsity": s, "score": score, "label_noise": 0.0, "input_noise": input_noise,
            "source": "simulation", "seed": seed, "metric": "J",
            "value": float(score_separability(simulate_two_features(
                s, weights, samples, numpy_rng("theory-check", s, seed), input_noise=input_noise
            ))),
        }
        for s in sparsities
        for score, weights in (("mono", MONO), ("poly", poly))
        for seed in range(seeds)
    ]  # fmt: skip


def _check_sentence(check: list[dict[str, Any]], poly: tuple[float, float], input_noise: float) -> str:
    """How far the simulated means lie from the closed forms."""
    from monosemy.theory.answers import values_by

    deviations = []
    for (s, score), values in values_by(pd.DataFrame(check), "J", "sparsity", "score").items():
        exact = float(score_separability(two_feature_moments(s, MONO if score == "mono" else poly, input_noise)))
        deviations.append(abs(values.mean() - exact) / max(abs(exact), 1e-12))
    return f"Simulated clean J lies within {max(deviations):.2%} of the closed form for every S and score."


def _theory_frame(
    sparsities: list[float],
    poly: tuple[float, float],
    input_noise: float,
    simulated: dict[int, list[Any]],
    check: list[dict[str, Any]],
) -> pd.DataFrame:
    """Tidy: classes, sparsity, score, label_noise, input_noise, source, seed, metric, value."""
    from monosemy.theory.simulation import SCORES

    rows: list[dict[str, Any]] = []
    eta = np.linspace(0, 0.49, 50)
    for s in sparsities:
        moments = {name: two_feature_moments(s, w, input_noise) for name, w in (("mono", MONO), ("poly", poly))}
        place = {"classes": 2, "sparsity": s, "input_noise": input_noise, "source": "closed form", "seed": -1}
        for name, m in moments.items():
            for metric, form in (("J", score_separability), ("d", scale_free_separability)):
                rows += [
                    place | {"score": name, "label_noise": e, "metric": metric, "value": v}
                    for e, v in zip(eta, form(m, eta), strict=True)
                ]
        threshold = overtaking(moments["mono"], moments["poly"]).threshold
        rows.append(place | {"score": "poly", "label_noise": np.nan, "metric": "threshold", "value": threshold})
    for c, simulations in simulated.items():
        for s, simulation in zip(sparsities, simulations, strict=True):
            place = {"classes": c, "sparsity": s, "input_noise": 0.0, "source": "simulation"}
            for (seed, k, e), value in np.ndenumerate(simulation.separability):
                noise = simulation.label_noise[e]
                rows.append(
                    place | {"score": SCORES[k], "label_noise": noise, "seed": seed, "metric": "J", "value": value}
                )
            for (seed, k), value in np.ndenumerate(simulation.threshold):
                rows.append(
                    place
                    | {
                        "score": SCORES[k + 1],
                        "label_noise": np.nan,
                        "seed": seed,
                        "metric": "threshold",
                        "value": value,
                    }
                )
    return pd.DataFrame(rows + check)


def _conclude(tables: list[Any], sentences: list[str], folder: Path, console: Console, as_json: bool) -> None:
    if as_json:
        print(json_text({"answer": sentences, "results": folder / "results.parquet", "folder": folder}))
    for table in tables:
        console.print(table)
    for sentence in sentences:
        console.print(sentence, highlight=False, markup=False)
    write_text(folder / "answer.txt", "\n".join(sentences) + "\n")
    console.print(f"Results and figures: {folder}", highlight=False, markup=False)
